//! The user's own ticket templates, by the `minijinja` library, with limits on work and size.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};

use super::ticket::Ticket;

/// Instructions one rendering may take.
const FUEL: u64 = 200_000;
/// Largest template, in bytes.
pub const LARGEST: usize = 64 * 1024;
/// Most operators in one expression. The library descends into each of them when it reads a template.
const OPERATORS: usize = 400;
/// Stack that a template is read with, in bytes: enough for one that is nothing but operators, however they
/// are hidden from the count of them.
const STACK: usize = 512 * 1024 * 1024;
/// Largest text of one ticket, in bytes.
const LARGEST_TEXT: usize = 1024 * 1024;
/// Name of the template, before the ending that decides the escaping.
const NAME: &str = "ticket";

/// A template that was understood.
pub struct Template {
    environment: Environment<'static>,
    name: String,
}

/// What is wrong with a template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Too large.
    #[error("the template or what it makes is larger than any ticket")]
    Size,
    /// An expression goes deeper than any ticket needs.
    #[error(
        "an expression of the template has more than {OPERATORS} operators: no ticket needs that"
    )]
    Nested,
    /// It cannot be read, or fails.
    #[error("{0:#}")]
    Template(#[from] minijinja::Error),
}

impl Template {
    /// The template `text`. The ending of `file` decides how values are escaped: `.html` and `.xml`
    /// for markup, `.json` as JSON values, anything else not at all.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub fn new(file: &str, text: String) -> Result<Template, TemplateError> {
        if text.len() > LARGEST {
            return Err(TemplateError::Size);
        }
        if most_operators(&text) > OPERATORS {
            return Err(TemplateError::Nested);
        }
        // A thread of its own: its stack is as large as the deepest template needs.
        let file = file.to_owned();
        std::thread::Builder::new()
            .name("template".to_owned())
            .stack_size(STACK)
            .spawn(move || Template::compile(&file, text))
            .map_err(|_| TemplateError::Size)?
            .join()
            .map_err(|_| TemplateError::Nested)?
    }

    fn compile(file: &str, text: String) -> Result<Template, TemplateError> {
        let ending = file.rsplit_once('.').map_or("txt", |(_, ending)| ending);
        let name = format!("{NAME}.{ending}");
        let mut environment = Environment::new();
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(50);
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_template_owned(name.clone(), text)?;
        Ok(Template { environment, name })
    }

    /// The ticket as the template writes it.
    ///
    /// # Errors
    /// [`TemplateError`] when the template fails or exceeds the limits.
    pub fn render(&self, ticket: &Ticket) -> Result<String, TemplateError> {
        let mut out = Bounded(Vec::new());
        self.environment
            .get_template(&self.name)?
            .render_captured_to(Value::from(Serde(ticket)), &mut out)?;
        String::from_utf8(out.0).map_err(|_| TemplateError::Size)
    }
}

/// The most operators between two pairs of braces.
fn most_operators(text: &str) -> usize {
    text.split("{{")
        .flat_map(|part| part.split("{%"))
        .filter_map(|part| part.split(['}']).next())
        .map(|inside| {
            inside
                .bytes()
                .filter(|byte| b".|[({+-*/~%=<>!".contains(byte))
                .count()
                .saturating_add(inside.matches(" not ").count())
        })
        .max()
        .unwrap_or(0)
}

/// Text that does not grow past the limit.
struct Bounded(Vec<u8>);

impl std::io::Write for Bounded {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        if self.0.len().saturating_add(buf.len()) > LARGEST_TEXT {
            return Err(std::io::Error::other("the ticket is too large"));
        }
        self.0.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
