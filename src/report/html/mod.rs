//! Pages for people: one self-contained file that opens anywhere, without network and, to be read, without script.
//!
//! Every value is escaped by the template library, and what could deceive a reader was made visible before. The
//! page allows itself exactly its own style and script, by their hashes.

mod drawing;
mod dump;
mod scan;

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::escape::visible;
use crate::verdict::Verdict;

pub use dump::dump;
pub use scan::{Counts, ScanPage};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");
const PAGE: &str = include_str!("page.html");

/// What surrounds a page's own part.
#[derive(Serialize)]
struct Frame<'a> {
    title: &'a str,
    body: &'a str,
    style: &'static str,
    script: &'static str,
    style_hash: String,
    script_hash: String,
    made_by: &'static str,
}

/// A whole page: `template` filled with `content`.
///
/// # Errors
/// Those of the template library, which its own templates do not cause.
pub fn page<T: Serialize>(title: &str, template: &'static str, content: &T) -> io::Result<String> {
    let body = render("body.html", template, content)?;
    let hash = |text: &str| BASE64.encode(Sha256::digest(text.as_bytes()));
    render(
        "page.html",
        PAGE,
        &Frame {
            title,
            body: &body,
            style: STYLE,
            script: SCRIPT,
            style_hash: hash(STYLE),
            script_hash: hash(SCRIPT),
            made_by: concat!("kbtriage ", env!("CARGO_PKG_VERSION")),
        },
    )
}

fn render<T: Serialize>(name: &'static str, text: &'static str, content: &T) -> io::Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .add_template(name, text)
        .map_err(io::Error::other)?;
    let mut out = Vec::new();
    environment
        .get_template(name)
        .and_then(|template| template.render_captured_to(Value::from(Serde(content)), &mut out))
        .map_err(io::Error::other)?;
    String::from_utf8(out).map_err(io::Error::other)
}

/// The class of what a chart draws for a verdict: the colours of the text.
pub fn bar(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Applies | Verdict::AppliesAfterServicePack | Verdict::ProbablyApplies => "bar-red",
        Verdict::MayApply | Verdict::Undetermined => "bar-yellow",
        Verdict::DoesNotApply => "bar-grey",
    }
}

/// A headline number.
#[derive(Debug, Serialize)]
pub struct Number {
    /// The class of its colour, or nothing.
    pub class: &'static str,
    /// The number.
    pub value: String,
    /// Of what.
    pub label: String,
}

impl Number {
    /// A plain number of something.
    pub fn plain(n: u64, one: &str) -> Number {
        let text = super::text::words::counted(n, one);
        let (value, label) = text.split_once(' ').unwrap_or((&text, ""));
        Number {
            class: "",
            value: value.to_owned(),
            label: label.to_owned(),
        }
    }

    /// How many have a verdict.
    pub fn verdict(verdict: Verdict, n: u64) -> Number {
        let text = super::text::words::verdict_count(verdict, n);
        let (value, label) = text.split_once(' ').unwrap_or((&text, ""));
        Number {
            class: verdict.as_str(),
            value: value.to_owned(),
            label: label.to_owned(),
        }
    }
}

/// Optional text made harmless; empty for none.
fn shown(text: Option<&str>) -> String {
    visible(text.unwrap_or_default())
}
