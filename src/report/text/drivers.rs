//! The drivers of a dump as a table: version where it is known, link date, and the address they were loaded at.

use std::fmt::Write as _;

use textwrap::core::display_width;

use crate::report::escape::visible;
use crate::report::model::{Module, Report};
use crate::report::rfc3339_from_unix;

use super::fit;
use super::palette::Palette;
use super::words;

/// Columns of a name.
const NAME: usize = 24;
/// Columns of a version: five digits in each part.
const VERSION: usize = 17;

/// A line for each loaded driver in the dump's order, then the unloaded ones.
pub fn table(report: &Report, palette: Palette) -> String {
    let mut out = String::new();
    let modules = report.modules.as_deref().unwrap_or_default();
    let count = words::counted(modules.len() as u64, "driver");
    let _ = writeln!(
        out,
        "{}",
        palette.heading(&format!("{count}, in the order they were loaded"))
    );
    let _ = writeln!(
        out,
        "  {:NAME$} {:VERSION$} {:10} base",
        "name", "version", "linked"
    );
    for module in modules {
        let name = name(module.name.as_deref());
        let version = module.version.as_deref().map(visible);
        let version = fit::cut(&version.unwrap_or_else(|| "-".to_owned()), VERSION);
        let pad = " ".repeat(NAME.saturating_sub(display_width(&name)));
        let linked = linked(module).unwrap_or_else(|| "-".to_owned());
        let _ = writeln!(
            out,
            "  {name}{pad} {version:VERSION$} {linked:10} {}",
            module.base.0
        );
    }
    let unloaded = report.unloaded_modules.as_deref().unwrap_or_default();
    if !unloaded.is_empty() {
        let names: Vec<String> = unloaded.iter().map(|m| name(m.name.as_deref())).collect();
        let options = fit::whole_words(palette.width)
            .initial_indent("Unloaded: ")
            .subsequent_indent("          ");
        for line in textwrap::wrap(&names.join(", "), options) {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

fn name(name: Option<&str>) -> String {
    fit::cut(&visible(name.unwrap_or("?")), NAME)
}

/// The day the image was linked, by its TimeDateStamp. Later linkers may write a checksum there instead.
pub fn linked(module: &Module) -> Option<String> {
    let digits = module.time_date_stamp.0.trim_start_matches("0x");
    let stamp = i64::from_str_radix(digits, 16)
        .ok()
        .filter(|stamp| *stamp > 0)?;
    rfc3339_from_unix(stamp)?.get(..10).map(str::to_owned)
}
