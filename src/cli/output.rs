//! Forms of output and whether they may be coloured.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

use crate::report::json;
use crate::report::model::Report;
use crate::report::table::TableForm;
use crate::report::text::{COLUMNS, MOST_COLUMNS, Palette};
use crate::source::platform;

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For a person
    Text,
    /// An array of records
    Json,
    /// One record a line
    Jsonl,
}

/// When to colour text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    /// How standard output is decorated.
    pub fn palette(self) -> Palette {
        let color = match self {
            Color::Always => {
                // A console has to be told, whatever it makes of it.
                platform::stdout_takes_escapes();
                true
            }
            Color::Never => false,
            Color::Auto => {
                let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
                let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
                !refused && !dumb && io::stdout().is_terminal() && platform::stdout_takes_escapes()
            }
        };
        if color {
            super::terminal::allow_styles();
        }
        Palette {
            color,
            width: width(),
        }
    }
}

/// CSV that begins with a byte order mark, which standard output lets pass.
pub fn marked(to_file: bool) -> TableForm {
    if !to_file {
        super::terminal::allow_mark();
    }
    TableForm::CsvMarked
}

/// True when nobody reads what is written any more, whatever library the error came through.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return true;
    }
    let mut source: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(error) = source {
        let inner = error.downcast_ref::<io::Error>();
        let inner = inner.or_else(|| match error.downcast_ref::<csv::Error>()?.kind() {
            csv::ErrorKind::Io(error) => Some(error),
            _ => None,
        });
        if inner.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        source = error.source();
    }
    false
}

/// Columns of text on standard output: those of the terminal, within what can be read well.
fn width() -> usize {
    match terminal_size::terminal_size_of(io::stdout()) {
        Some((terminal_size::Width(columns), _)) => {
            usize::from(columns).clamp(COLUMNS, MOST_COLUMNS)
        }
        None => COLUMNS,
    }
}

/// Writes records one by one, as an array or as lines.
pub struct Records<'a> {
    out: &'a mut dyn Write,
    array: bool,
    written: usize,
}

impl<'a> Records<'a> {
    /// A writer of an array (`array`) or of lines.
    pub fn new(out: &'a mut dyn Write, array: bool) -> Records<'a> {
        Records {
            out,
            array,
            written: 0,
        }
    }

    /// Writes one record.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn write(&mut self, report: &Report) -> io::Result<()> {
        if self.array {
            self.out
                .write_all(if self.written == 0 { b"[\n" } else { b",\n" })?;
            json::write_pretty(&mut *self.out, report)?;
        } else {
            json::write_compact(&mut *self.out, report)?;
            self.out.write_all(b"\n")?;
        }
        self.written += 1;
        Ok(())
    }

    /// Closes the array.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn finish(self) -> io::Result<()> {
        match (self.array, self.written) {
            (false, _) => Ok(()),
            (true, 0) => self.out.write_all(b"[]\n"),
            (true, _) => self.out.write_all(b"\n]\n"),
        }
    }
}
