//! `kbtriage fleet`: what a store's dumps say together: machines, buckets, tickets.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::fleet::{Buckets, FleetPage, Machines};
use crate::report::escape::visible;
use crate::report::json;
use crate::report::records::MachineRecord;
use crate::report::summary::Summary;
use crate::report::table::{Table, TableForm};
use crate::report::text::words;
use crate::store::{Store, StoreError};
use crate::verdict::Verdict;

use super::output::Color;
use super::select::FilterArgs;
use super::triage::usage;

mod metrics;
mod overview;

// Its words for `--help` stand in `cli::Command`.
#[derive(Clone, Debug, Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum FleetCommand {
    /// Machines: which need the hotfix, with evidence and dumps
    #[command(after_help = "\
Examples:
  kbtriage fleet machines --db dumps.db
  kbtriage fleet machines --db dumps.db --only applies,probably-applies --format csv")]
    Machines(ListArgs),
    /// Crashes by bucket: how many, where, first and last seen, by month
    #[command(after_help = "\
Example:
  kbtriage fleet buckets --db dumps.db --since 2008-07-01 --format markdown")]
    Buckets(ListArgs),
    /// The payloads that ticket systems take, one for each machine or bucket
    #[cfg(feature = "tickets")]
    Tickets(super::tickets::TicketArgs),
    Metrics(metrics::MetricsArgs),
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TableFormat {
    /// For a person
    Text,
    /// An array of records
    Json,
    /// One record a line
    Jsonl,
    /// For spreadsheets
    Csv,
    /// The same, marked as UTF-8 for Excel
    CsvExcel,
    /// For tickets and wikis
    Markdown,
    /// A page about the whole fleet for people, in one file
    Html,
}

/// What every command about a fleet can be told.
#[derive(Clone, Debug, Args)]
pub struct SelectArgs {
    /// The result store that scan --db wrote
    #[arg(long, value_name = "FILE")]
    pub db: PathBuf,
    /// Which crashes and verdicts.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Exit with 10 when a machine or bucket that is written has, or probably
    /// has, this defect
    #[arg(long)]
    pub exit_verdict: bool,
    /// Records of the store that could not be read.
    #[arg(skip)]
    unreadable: Cell<u64>,
}

#[derive(Clone, Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = TableFormat::Text)]
    format: TableFormat,
    /// Every detail of each in the text
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &FleetArgs, out: &mut dyn Write) -> io::Result<u8> {
    let (status, select) = match &args.command {
        FleetCommand::Machines(args) => (machines(args, out)?, &args.select),
        FleetCommand::Buckets(args) => (buckets(args, out)?, &args.select),
        #[cfg(feature = "tickets")]
        FleetCommand::Tickets(args) => (super::tickets::run(args, out)?, &args.select),
        FleetCommand::Metrics(args) => (metrics::run(args, out)?, &args.select),
    };
    let unreadable = select.unreadable.get();
    say_unreadable(unreadable)?;
    Ok(match (status, unreadable) {
        // Part of the answer is missing.
        (0, 1..) => 1,
        _ => status,
    })
}

/// Says how many records of a store cannot be read.
///
/// # Errors
/// Whatever standard error says.
pub fn say_unreadable(unreadable: u64) -> io::Result<()> {
    if unreadable == 0 {
        return Ok(());
    }
    writeln!(
        crate::cli::terminal::stderr(),
        "kbtriage: {} of the store cannot be read and {} missing here: scan the dumps into a new store",
        words::counted(unreadable, "record"),
        if unreadable == 1 { "is" } else { "are" }
    )
}

impl SelectArgs {
    /// Gives each summary of the store that is asked for to `take`.
    ///
    /// # Errors
    /// A line for a person.
    pub fn each(&self, mut take: impl FnMut(Summary)) -> Result<(), String> {
        let failed =
            |error: StoreError| format!("--db: {}: {error}", visible(&self.db.to_string_lossy()));
        let store = self.open()?;
        store
            .each_summary::<StoreError>(|summary| {
                if self.filter.wants_time(&summary) {
                    take(summary);
                }
                Ok(())
            })
            .map(|unreadable| self.unreadable.set(unreadable))
            .map_err(failed)
    }

    /// The store.
    ///
    /// # Errors
    /// A line for a person.
    pub fn open(&self) -> Result<Store, String> {
        let shown = visible(&self.db.to_string_lossy());
        if !self.db.exists() {
            return Err(format!(
                "--db: {shown}: no such file (kbtriage scan DIR --db FILE makes one)"
            ));
        }
        Store::open(&self.db).map_err(|error| format!("--db: {shown}: {error}"))
    }

    /// True when something with this verdict is asked for.
    pub fn wants(&self, verdict: Verdict) -> bool {
        self.filter.wants(verdict)
    }

    /// What there is where nothing has the verdicts asked for: a line for a person.
    pub fn nothing(&self, what: &str, there: &BTreeMap<String, u64>) -> Option<String> {
        let asked: Vec<&str> = self.filter.only.iter().map(|v| v.as_str()).collect();
        if asked.is_empty() {
            return None;
        }
        let there = match words::verdict_counts(there) {
            none if none.is_empty() => "there is none at all".to_owned(),
            there => format!("there are: {there}"),
        };
        Some(format!("no {what} with {}; {there}", asked.join(", ")))
    }

    /// Every machine, whatever its verdict: those that need something first; and the dumps that count for none.
    ///
    /// # Errors
    /// A line for a person.
    pub fn all_machines(&self) -> Result<(Vec<MachineRecord>, u64), String> {
        let failed = |error: io::Error| format!("a temporary file: {error}");
        let mut machines = Machines::default();
        let mut nameless = 0;
        let mut added = Ok(());
        self.each(|summary| {
            nameless += u64::from(summary.machine.is_none() && summary.verdict().is_some());
            if added.is_ok() {
                added = machines.add(&summary);
            }
        })?;
        added.map_err(failed)?;
        let mut records = machines.into_records().map_err(failed)?;
        records.sort_by_key(|record| record.hotfix.verdict);
        Ok((records, nameless))
    }

    /// The exit status after verdicts were written.
    pub fn status(&self, verdicts: impl IntoIterator<Item = Verdict>) -> u8 {
        let matched = verdicts.into_iter().any(|verdict| {
            matches!(
                verdict,
                Verdict::Applies | Verdict::AppliesAfterServicePack | Verdict::ProbablyApplies
            )
        });
        if self.exit_verdict && matched { 10 } else { 0 }
    }
}

/// Says how many dumps count for no machine, and how they can.
///
/// # Errors
/// Whatever standard error says.
pub fn say_nameless(nameless: u64) -> io::Result<()> {
    if nameless == 0 {
        return Ok(());
    }
    let verb = if nameless == 1 { "s" } else { "" };
    writeln!(
        crate::cli::terminal::stderr(),
        "kbtriage: {} tell{verb} no machine and count{verb} for none: scan with --machine NAME, \
         --machine-from or --machine-map; fleet buckets counts all",
        words::counted(nameless, "dump")
    )
}

fn machines(args: &ListArgs, out: &mut dyn Write) -> io::Result<u8> {
    if args.format == TableFormat::Html {
        return page(args, out);
    }
    let (all, nameless) = match args.select.all_machines() {
        Ok(found) => found,
        Err(message) => return usage(&message),
    };
    say_nameless(nameless)?;
    let there = overview::verdicts(&all);
    let records: Vec<MachineRecord> = all
        .into_iter()
        .filter(|record| args.select.wants(record.hotfix.verdict))
        .collect();
    if args.format == TableFormat::Text && !args.verbose {
        let new = args.select.open().and_then(|store| {
            let new = store.new_in_last_scan();
            new.map_err(|error| format!("--db: {error}"))
        });
        let new = match new {
            Ok(new) => new,
            Err(message) => return usage(&message),
        };
        match args
            .select
            .nothing("machine", &there)
            .filter(|_| records.is_empty())
        {
            Some(line) => writeln!(out, "{line}")?,
            None => overview::print(&records, new, Color::Auto.palette(), out)?,
        }
        return Ok(args
            .select
            .status(records.iter().map(|record| record.hotfix.verdict)));
    }
    if records.is_empty()
        && let Some(line) = args.select.nothing("machine", &there)
    {
        writeln!(crate::cli::terminal::stderr(), "kbtriage: {line}")?;
    }
    let columns = [
        "machine",
        "verdict",
        "match",
        "applicability",
        "crashes",
        "dumps",
        "first_crash",
        "last_crash",
        "stop_codes",
        "tcpip.sys",
        "decided_by",
        "first_seen",
        "last_seen",
        "overwritten_dumps",
        "shared_suspects",
    ];
    write(args.format, out, &records, &columns, |record| {
        let codes: Vec<&str> = record
            .stop_codes
            .iter()
            .map(|s| s.code.0.as_str())
            .collect();
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            record.machine.name.clone(),
            record.hotfix.verdict.to_string(),
            record.hotfix.matching.status.to_string(),
            record.hotfix.applicability.status.as_str().to_owned(),
            record.dumps.crashes.to_string(),
            record.dumps.count.to_string(),
            text(&record.first_crash),
            text(&record.last_crash),
            codes.join(" "),
            record
                .versions
                .iter()
                .find(|known| known.file == "tcpip.sys")
                .map(|known| known.version.clone())
                .unwrap_or_default(),
            text(&record.hotfix.matching.decided_by),
            text(&record.first_seen),
            text(&record.last_seen),
            match record.dumps.overwritten {
                0 => String::new(),
                n => n.to_string(),
            },
            shared_suspects(record),
        ]
    })?;
    Ok(args
        .select
        .status(records.iter().map(|record| record.hotfix.verdict)))
}

/// `acme.sys=3 other.sys=2`.
fn shared_suspects(record: &MachineRecord) -> String {
    let shared = record.shared_suspects.iter();
    let parts: Vec<String> = shared
        .map(|suspect| format!("{}={}", suspect.module, suspect.crashes))
        .collect();
    parts.join(" ")
}

/// The page about the fleet: machines and buckets together.
fn page(args: &ListArgs, out: &mut dyn Write) -> io::Result<u8> {
    let mut page = FleetPage::default();
    let mut verdicts = BTreeSet::new();
    let mut added = Ok(());
    let read = args.select.each(|summary| {
        if added.is_ok() {
            verdicts.extend(summary.verdict().filter(|v| args.select.wants(*v)));
            added = page.add(&summary);
        }
    });
    if let Err(message) = read {
        return usage(&message);
    }
    added?;
    let page = page.render(|verdict| args.select.wants(verdict))?;
    out.write_all(page.as_bytes())?;
    Ok(args.select.status(verdicts))
}

fn buckets(args: &ListArgs, out: &mut dyn Write) -> io::Result<u8> {
    if args.format == TableFormat::Html {
        return page(args, out);
    }
    let mut buckets = Buckets::default();
    let mut there: BTreeMap<String, u64> = BTreeMap::new();
    let read = args.select.each(|summary| {
        if let Some(verdict) = summary.verdict() {
            *there.entry(verdict.as_str().to_owned()).or_default() += 1;
        }
        buckets.add(&summary);
    });
    if let Err(message) = read {
        return usage(&message);
    }
    let rows = buckets.rows(|verdict| args.select.wants(verdict));
    if rows.is_empty()
        && let Some(line) = args.select.nothing("dump", &there)
    {
        writeln!(crate::cli::terminal::stderr(), "kbtriage: {line}")?;
    }
    let columns = [
        "bucket",
        "key",
        "crashes",
        "machines",
        "first_seen",
        "last_seen",
        "months",
        "verdicts",
        "example",
    ];
    let pairs = |map: &std::collections::BTreeMap<String, u64>| {
        let parts: Vec<String> = map.iter().map(|(name, n)| format!("{name}={n}")).collect();
        parts.join(" ")
    };
    write(args.format, out, &rows, &columns, |row| {
        vec![
            row.name.clone().unwrap_or_else(|| row.key.clone()),
            row.key.clone(),
            row.crashes.to_string(),
            row.machines.to_string(),
            row.first_seen.clone().unwrap_or_default(),
            row.last_seen.clone().unwrap_or_default(),
            pairs(&row.months),
            pairs(&row.verdicts),
            row.example.clone(),
        ]
    })?;
    let verdicts = Verdict::ALL
        .iter()
        .copied()
        .filter(|v| rows.iter().any(|row| row.verdicts.contains_key(v.as_str())));
    Ok(args.select.status(verdicts))
}

/// Writes records in any form: as they are, or as rows of `cells`.
fn write<T: serde::Serialize>(
    format: TableFormat,
    out: &mut dyn Write,
    records: &[T],
    columns: &[&str],
    cells: impl Fn(&T) -> Vec<String>,
) -> io::Result<()> {
    match format {
        TableFormat::Json => {
            json::write_pretty(&mut *out, &records)?;
            writeln!(out)
        }
        TableFormat::Jsonl => {
            for record in records {
                json::write_compact(&mut *out, record)?;
                writeln!(out)?;
            }
            Ok(())
        }
        TableFormat::Html => Ok(()),
        TableFormat::Csv | TableFormat::CsvExcel | TableFormat::Markdown => {
            let form = match format {
                TableFormat::Csv => TableForm::Csv,
                TableFormat::CsvExcel => crate::cli::output::marked(false),
                _ => TableForm::Markdown,
            };
            let mut table = Table::new(form, out, columns)?;
            for record in records {
                table.row(&cells(record))?;
            }
            table.flush()
        }
        TableFormat::Text => {
            for record in records {
                for (number, (column, cell)) in columns.iter().zip(cells(record)).enumerate() {
                    match (number, cell.as_str()) {
                        (0, cell) => writeln!(out, "{}", visible(cell))?,
                        (_, "") => {}
                        (_, cell) => {
                            let label = column.replace('_', " ");
                            writeln!(out, "  {label:<14} {}", visible(cell))?;
                        }
                    }
                }
            }
            if records.is_empty() {
                writeln!(out, "nothing in the store fits")?;
            }
            Ok(())
        }
    }
}
