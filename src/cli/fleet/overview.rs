//! Machines on a screen: a headline of what there is, then a line for each, those that need something first.

use std::collections::BTreeMap;
use std::io::{self, Write};

use textwrap::core::display_width;

use crate::report::escape::visible;
use crate::report::records::MachineRecord;
use crate::report::text::{self, Palette, words};

/// Most columns of a machine's name.
const NAME: usize = 24;

/// Machines by verdict.
pub fn verdicts(records: &[MachineRecord]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for record in records {
        let verdict = record.hotfix.verdict.as_str().to_owned();
        *counts.entry(verdict).or_default() += 1;
    }
    counts
}

/// The headline and the lines. `new`: dumps that the last scan was the first to find.
///
/// # Errors
/// Whatever the writer says.
pub fn print(
    records: &[MachineRecord],
    new: Option<u64>,
    palette: Palette,
    out: &mut dyn Write,
) -> io::Result<()> {
    let crashes: u64 = records.iter().map(|record| record.dumps.crashes).sum();
    let dumps: u64 = records.iter().map(|record| record.dumps.count).sum();
    let headline = format!(
        "{}, {} in {}",
        words::counted(records.len() as u64, "machine"),
        words::counted(crashes, "crash"),
        words::counted(dumps, "dump")
    );
    writeln!(out, "{}", palette.heading(&headline))?;
    if records.is_empty() {
        return Ok(());
    }
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        let state = words::fix_state(&record.hotfix.applicability);
        *states.entry(state).or_default() += 1;
    }
    let states: Vec<String> = states
        .iter()
        .map(|(state, n)| format!("{} {state}", words::grouped(*n)))
        .collect();
    let new = new.map(|n| format!("{} in the last scan", words::counted(n, "dump")));
    for (label, text) in [
        ("KB943650", words::verdict_counts(&verdicts(records))),
        ("tcpip.sys", states.join(", ")),
        ("New", new.unwrap_or_default()),
    ] {
        if text.is_empty() {
            continue;
        }
        let options = text::whole_words(palette.width)
            .initial_indent("  ")
            .subsequent_indent("            ");
        let line = format!("{label:10}{text}");
        for line in textwrap::wrap(&line, options) {
            writeln!(out, "{line}")?;
        }
    }
    writeln!(out)?;
    let names = records
        .iter()
        .map(|r| display_width(&visible(&r.machine.name)));
    let width = names.max().unwrap_or(0).clamp(7, NAME);
    for record in records {
        let name = text::cut(&visible(&record.machine.name), width);
        let pad = " ".repeat(width - display_width(&name));
        let verdict = record.hotfix.verdict;
        let word = words::verdict_headline(verdict).to_lowercase();
        let verdict_pad = " ".repeat(28usize.saturating_sub(word.len()));
        let last = record.last_crash.as_deref().and_then(|time| time.get(..10));
        let codes: Vec<String> = record
            .stop_codes
            .iter()
            .map(|stop| words::stop_code(&stop.code.0))
            .collect();
        let rest = format!(
            "{:>11}  {:10}  {}",
            words::counted(record.dumps.crashes, "crash"),
            last.unwrap_or("-"),
            codes.join(" ")
        );
        let room = palette.width.saturating_sub(width + 2 + 28);
        writeln!(
            out,
            "{name}{pad}  {}{verdict_pad}{}",
            palette.verdict(verdict, &word),
            text::cut(rest.trim_end(), room)
        )?;
    }
    writeln!(
        out,
        "\nEvidence and dumps of each: -v; one verdict: --only applies"
    )
}
