//! `kbtriage triage`: the answer for each dump named.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::report::html::{self, Counts, ScanPage};
use crate::report::rows;
use crate::report::summary::Summary;
use crate::report::table::{Table, TableForm};
use crate::report::text::{self, Length, Palette, words};
use crate::report::{Report, Status};
use crate::scan::Folders;
use crate::source;
use crate::verdict::Verdict;

use super::USAGE;
use super::analysis::{AnalysisArgs, error_line, files};
use super::collection;
use super::output::{Color, Records};

/// Exit status with --exit-verdict when a dump matches.
const VERDICT: u8 = 10;
/// Exit status with --exit-verdict when a dump matches and some input could not be analysed.
const VERDICT_AND_FAILURE: u8 = 11;

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TriageFormat {
    /// For a person
    Text,
    /// An array of records
    Json,
    /// One record a line
    Jsonl,
    /// A table for spreadsheets, a row a dump
    Csv,
    /// The same, marked as UTF-8 for Excel
    CsvExcel,
    /// A table for tickets and wikis, a row a dump
    Markdown,
    /// A page for people, in one file; of several dumps a table
    Html,
}

// Its words for `--help` stand in `cli::Command`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kbtriage triage MEMORY.DMP
  kbtriage triage --format jsonl Minidump/*.dmp > reports.jsonl
  find /dumps -name '*.dmp' -print0 | kbtriage triage --files-from -

Exit status: 0 every input was analysed; 1 some input could not be; 2 wrong
usage. With --exit-verdict: 10 when a verdict is applies, probably-applies or
applies-after-service-pack, 11 when also some input could not be analysed.")]
pub struct TriageArgs {
    /// Crash dumps; - reads one from standard input
    #[arg(value_name = "DUMP", required_unless_present = "files_from", value_hint = clap::ValueHint::FilePath)]
    pub dumps: Vec<OsString>,
    /// Read more names from a file, one a line or NUL-separated; - is standard
    /// input
    #[arg(long, value_name = "FILE")]
    pub files_from: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = TriageFormat::Text)]
    pub format: TriageFormat,
    /// Everything instead of one screen: all evidence by weight, every step
    #[arg(long, short)]
    pub verbose: bool,
    /// The table of drivers with versions and link dates, below each answer
    #[arg(long)]
    pub drivers: bool,
    /// Exit with 10 when a dump is, or probably is, this defect
    #[arg(long)]
    pub exit_verdict: bool,
    /// When to colour text
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Options of the analysis.
    #[command(flatten)]
    pub analysis: AnalysisArgs,
}

/// What became of the inputs, for the exit status.
#[derive(Default)]
struct Tally {
    failed: bool,
    matched: bool,
}

impl Tally {
    fn count(&mut self, report: &Report) {
        self.failed |= report.status == Status::Failed;
        self.matched |= report.hotfix.as_ref().is_some_and(|hotfix| {
            matches!(
                hotfix.verdict,
                Verdict::Applies | Verdict::AppliesAfterServicePack | Verdict::ProbablyApplies
            )
        });
    }

    fn status(&self, exit_verdict: bool) -> u8 {
        match (exit_verdict && self.matched, self.failed) {
            (true, true) => VERDICT_AND_FAILURE,
            (true, false) => VERDICT,
            (false, failed) => u8::from(failed),
        }
    }
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &TriageArgs, out: &mut dyn Write) -> io::Result<u8> {
    let mut engine = match args.analysis.engine() {
        Ok(engine) => engine,
        Err(message) => return usage(&message),
    };
    let given = match files(args.dumps.iter().cloned()) {
        Ok(given) => given,
        Err(message) => return usage(&message),
    };
    let folders: Vec<PathBuf> = given
        .iter()
        .filter(|path| collection::is_collection(path))
        .cloned()
        .collect();
    collection::add(&mut engine, &folders)?;
    // A folder that the script made of a machine stands for its dumps.
    let mut paths: Vec<PathBuf> = given
        .into_iter()
        .flat_map(|path| match folders.contains(&path) {
            true => collection::dumps(&path),
            false => vec![path],
        })
        .collect();
    if paths.is_empty() && !folders.is_empty() {
        return usage("there is no dump in the folder");
    }
    if let Some(list) = &args.files_from {
        match source::files_from(list) {
            Ok(more) => paths.extend(more),
            Err(error) => return usage(&format!("--files-from: {error}")),
        }
    }
    if paths.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return usage("standard input (-) can be read once only");
    }
    let mut tally = Tally::default();
    let beside = Folders::default();
    let reports = paths.iter().map(|path| {
        let report = args.analysis.analyse(&engine, &beside, path).report;
        tally.count(&report);
        report
    });
    match args.format {
        TriageFormat::Text => {
            let length = Length {
                long: args.verbose,
                titled: paths.len() > 1,
                drivers: args.drivers,
            };
            let (counts, failed) = print_text(reports, args.color.palette(), length, out)?;
            if length.titled {
                writeln!(out, "\n{}", totals(&counts, failed))?;
            }
        }
        TriageFormat::Html => print_html(reports, paths.len() > 1, out)?,
        TriageFormat::Csv | TriageFormat::CsvExcel | TriageFormat::Markdown => {
            let form = match args.format {
                TriageFormat::Csv => TableForm::Csv,
                TriageFormat::CsvExcel => crate::cli::output::marked(false),
                _ => TableForm::Markdown,
            };
            let mut table = Table::new(form, out, &rows::COLUMNS)?;
            for report in reports {
                if let Some(line) = error_line(&report) {
                    writeln!(crate::cli::terminal::stderr(), "{line}")?;
                }
                table.row(&rows::row(&Summary::of(report, None)))?;
            }
            table.flush()?;
        }
        TriageFormat::Json | TriageFormat::Jsonl => {
            let mut records = Records::new(out, args.format == TriageFormat::Json);
            for report in reports {
                if let Some(line) = error_line(&report) {
                    writeln!(crate::cli::terminal::stderr(), "{line}")?;
                }
                records.write(&report)?;
            }
            records.finish()?;
        }
    }
    args.analysis.say_silent_servers(&engine)?;
    Ok(tally.status(args.exit_verdict))
}

/// The page about one dump, or a table of several.
fn print_html(
    reports: impl Iterator<Item = Report>,
    several: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let mut page = ScanPage::default();
    let mut counts = Counts::default();
    for report in reports {
        if let Some(line) = error_line(&report) {
            writeln!(crate::cli::terminal::stderr(), "{line}")?;
        }
        if !several {
            return out.write_all(html::dump(&report)?.as_bytes());
        }
        counts.dumps += 1;
        counts.failed += u64::from(report.error.is_some());
        if let Some(hotfix) = &report.hotfix {
            let verdict = hotfix.verdict.as_str().to_owned();
            *counts.verdicts.entry(verdict).or_default() += 1;
        }
        page.add(&Summary::of(report, None));
    }
    out.write_all(page.render(&counts, Vec::new())?.as_bytes())
}

/// Prints reports and gives how many there were of each verdict, and how many inputs gave none.
fn print_text(
    reports: impl Iterator<Item = Report>,
    palette: Palette,
    length: Length,
    out: &mut dyn Write,
) -> io::Result<(BTreeMap<Verdict, u64>, u64)> {
    let mut counts = BTreeMap::new();
    let mut failed = 0;
    let mut first = true;
    for report in reports {
        if let Some(line) = error_line(&report) {
            failed += 1;
            // Keep the order a person sees: what was found before comes first.
            out.flush()?;
            writeln!(crate::cli::terminal::stderr(), "{line}")?;
            continue;
        }
        if let Some(hotfix) = &report.hotfix {
            *counts.entry(hotfix.verdict).or_default() += 1;
        }
        if !first {
            writeln!(out)?;
        }
        first = false;
        out.write_all(text::render(&report, palette, length).as_bytes())?;
    }
    Ok((counts, failed))
}

/// `5 dumps: 1 applies, 3 may apply, 1 does not apply`.
fn totals(counts: &BTreeMap<Verdict, u64>, failed: u64) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(verdict, n)| words::verdict_count(*verdict, *n))
        .collect();
    let dumps = words::counted(counts.values().sum(), "dump");
    let mut line = match parts.is_empty() {
        true => dumps,
        false => format!("{dumps}: {}", parts.join(", ")),
    };
    if failed > 0 {
        let not = words::counted(failed, "file");
        line.push_str(&format!("; {not} could not be analysed"));
    }
    line
}

/// Says what is wrong with the call.
pub(super) fn usage(message: &str) -> io::Result<u8> {
    writeln!(crate::cli::terminal::stderr(), "kbtriage: {message}")?;
    Ok(USAGE)
}
