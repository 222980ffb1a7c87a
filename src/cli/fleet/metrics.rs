//! `kbtriage fleet metrics`: a store's counts in Prometheus' text format, for the node exporter's textfile collector.
//!
//! Format: Prometheus, "Text-based format", version 0.0.4. Names follow Prometheus' conventions and are stable.

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::Args;

use super::SelectArgs;
use crate::cli::triage::usage;
use crate::report::records::MachineRecord;
use crate::report::unix_from_rfc3339;
use crate::verdict::{Applicability, Verdict};

/// Counts for Prometheus: machines and crashes by verdict, machines by state
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  kbtriage fleet metrics --db dumps.db > /var/lib/node_exporter/kbtriage.prom.new
  mv /var/lib/node_exporter/kbtriage.prom.new /var/lib/node_exporter/kbtriage.prom")]
pub struct MetricsArgs {
    #[command(flatten)]
    pub(super) select: SelectArgs,
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &MetricsArgs, out: &mut dyn Write) -> io::Result<u8> {
    let (mut records, nameless) = match args.select.all_machines() {
        Ok(found) => found,
        Err(message) => return usage(&message),
    };
    super::say_nameless(nameless)?;
    records.retain(|record| args.select.wants(record.hotfix.verdict));
    write(&records, out)?;
    Ok(args.select.status(records.iter().map(|r| r.hotfix.verdict)))
}

fn write(records: &[MachineRecord], out: &mut dyn Write) -> io::Result<()> {
    let mut machines: BTreeMap<Verdict, u64> = BTreeMap::new();
    let mut crashes: BTreeMap<Verdict, u64> = BTreeMap::new();
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    for record in records {
        let verdict = record.hotfix.verdict;
        *machines.entry(verdict).or_default() += 1;
        *crashes.entry(verdict).or_default() += record.dumps.crashes;
        *states
            .entry(record.hotfix.applicability.status.as_str())
            .or_default() += 1;
    }
    // A series that is sometimes absent cannot be told from one that is not collected.
    let by_verdict = |counts: &BTreeMap<Verdict, u64>| -> Vec<(&'static str, u64)> {
        let value = |verdict: &Verdict| counts.get(verdict).copied().unwrap_or(0);
        Verdict::ALL
            .iter()
            .map(|v| (v.as_str(), value(v)))
            .collect()
    };
    let by_state: Vec<(&'static str, u64)> = Applicability::ALL
        .iter()
        .map(|state| {
            (
                state.as_str(),
                states.get(state.as_str()).copied().unwrap_or(0),
            )
        })
        .collect();
    family(
        out,
        "kbtriage_machines",
        "Machines by the verdict about KB943650.",
        "verdict",
        &by_verdict(&machines),
    )?;
    family(
        out,
        "kbtriage_machine_crashes",
        "Crashes by the verdict about their machine.",
        "verdict",
        &by_verdict(&crashes),
    )?;
    family(
        out,
        "kbtriage_machines_by_applicability",
        "Machines by whether the hotfix applies to them.",
        "applicability",
        &by_state,
    )?;
    let last = records
        .iter()
        .filter_map(|record| record.last_crash.as_deref());
    let last = last.filter_map(unix_from_rfc3339).max();
    if let Some(last) = last {
        writeln!(
            out,
            "# HELP kbtriage_last_crash_timestamp_seconds Time of the newest crash.\n\
             # TYPE kbtriage_last_crash_timestamp_seconds gauge\n\
             kbtriage_last_crash_timestamp_seconds {last}"
        )?;
    }
    Ok(())
}

/// One metric with a label of closed words.
fn family(
    out: &mut dyn Write,
    name: &str,
    help: &str,
    label: &str,
    values: &[(&'static str, u64)],
) -> io::Result<()> {
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} gauge")?;
    for (word, n) in values {
        writeln!(out, "{name}{{{label}=\"{word}\"}} {n}")?;
    }
    Ok(())
}
