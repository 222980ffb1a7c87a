//! A report for a person: one screen with the answer first, or everything at length.
//!
//! Reads the record only, so text and JSON never disagree. Everything from the dump is made harmless by
//! [`visible`].

mod advice;
mod answer;
mod drivers;
mod fit;
mod happened;
mod long;
mod palette;
mod reasons;
mod screen;
pub mod words;

pub use advice::quoted;
pub use answer::{Answered, answered};
pub use drivers::linked;
pub use fit::{cut, lines, middle, whole_words};
pub use happened::happened;
pub use long::{frame_place, long, parameters};
pub use palette::{COLUMNS, MOST_COLUMNS, Palette};
pub use screen::LINES;

use super::escape::visible;
use super::model::{Location, Report, Status};
use crate::facts::SymbolKind;

/// How much of a report is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Length {
    /// Everything instead of one screen.
    pub long: bool,
    /// One of several: under its path.
    pub titled: bool,
    /// With the table of drivers.
    pub drivers: bool,
}

/// The report as text, ending with a line end. Empty for a failed report: its error is a line
/// for standard error.
pub fn render(report: &Report, palette: Palette, length: Length) -> String {
    if report.status == Status::Failed {
        return String::new();
    }
    let mut out = screen::render(report, palette, length.titled);
    if length.long {
        out.push('\n');
        out.push_str(&long(report, palette));
    }
    if length.drivers {
        out.push('\n');
        out.push_str(&drivers::table(report, palette));
    }
    out
}

/// `module!symbol+0x12` or `module+0x1234`.
pub fn place(location: &Location) -> String {
    let module = visible(location.module.as_deref().unwrap_or("?"));
    match (&location.symbol, &location.displacement) {
        (Some(symbol), Some(displacement)) => {
            let stem = module
                .rsplit_once('.')
                .map_or(module.as_str(), |(stem, _)| stem);
            let doubt = doubt(location.symbol_kind.as_deref());
            format!("{stem}!{}+{}{doubt}", visible(symbol), displacement.0)
        }
        _ => format!("{module}+{}", location.offset.0),
    }
}

/// What is said behind a name that may be its neighbour's.
pub fn doubt(symbol_kind: Option<&str>) -> &'static str {
    match symbol_kind.and_then(SymbolKind::named) {
        Some(SymbolKind::Approximate) => " (approximate)",
        _ => "",
    }
}
