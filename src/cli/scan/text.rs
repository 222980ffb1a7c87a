//! The closing words of a scan for a person.

use std::io::{self, Write};

use crate::report::escape::visible;
use crate::report::records::{MachineRecord, ScanRecord};
use crate::scan::Finished;
use crate::verdict::Verdict;

/// Writes what a scan found.
pub fn closing(
    scan: &ScanRecord,
    machines: &[MachineRecord],
    finished: &Finished,
    out: &mut dyn Write,
) -> io::Result<()> {
    let interesting = machines.iter().filter(|machine| {
        !matches!(
            machine.hotfix.verdict,
            Verdict::DoesNotApply | Verdict::Undetermined
        )
    });
    for (number, machine) in interesting.enumerate() {
        if number == 0 {
            writeln!(out, "\nMachines")?;
        }
        writeln!(
            out,
            "  {}: {} ({}), {} crashes in {} dumps, last {}",
            visible(&machine.machine),
            machine.hotfix.verdict.as_str().replace('-', " "),
            machine
                .hotfix
                .applicability
                .status
                .as_str()
                .replace('-', " "),
            machine.dumps.crashes,
            machine.dumps.count,
            machine
                .last_crash
                .as_deref()
                .unwrap_or("at an unknown time"),
        )?;
    }
    let counts = |map: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<String> = map
            .iter()
            .map(|(name, n)| format!("{n} {}", name.replace('-', " ")))
            .collect();
        parts.join(", ")
    };
    writeln!(
        out,
        "\n{} entries, {} dumps of {} machines{}",
        scan.entries,
        scan.reports,
        scan.machines,
        if finished.complete {
            ""
        } else {
            "; not complete"
        }
    )?;
    for (label, text) in [
        ("Verdicts", counts(&scan.verdicts)),
        ("Status", counts(&scan.statuses)),
        ("Errors", counts(&scan.errors)),
    ] {
        if !text.is_empty() {
            writeln!(out, "  {label:<9} {text}")?;
        }
    }
    if !scan.skipped.is_empty() {
        let parts: Vec<String> = scan
            .skipped
            .iter()
            .map(|skip| format!("{} {}", skip.count, skip.reason.replace('-', " ")))
            .collect();
        writeln!(out, "  {:<9} {}", "Skipped", parts.join(", "))?;
    }
    if scan.unreadable.count > 0 {
        writeln!(
            out,
            "  {:<9} {} directories could not be read",
            "Missing", scan.unreadable.count
        )?;
    }
    Ok(())
}
