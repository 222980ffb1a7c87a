//! Takes results and writes them in the form that was asked for; counts for the closing record.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::args::{ScanArgs, ScanFormat};
use super::progress::Bar;
use super::text::{Closing, Rows};
use crate::cli::output::Color;
use crate::cli::select::FilterArgs;
use crate::fleet::Machines;
use crate::knowledge::inventory::Inventory;
use crate::report::escape::visible;
use crate::report::html::{Counts, ScanPage};
use crate::report::json;
use crate::report::model::{Status, Tool};
use crate::report::records::Shard;
use crate::report::rows;
use crate::report::summary::Summary;
use crate::report::table::{Table, TableForm};
use crate::report::text::{LINES, Palette, words};
use crate::report::{self, Input};
use crate::scan::{Done, Finished, Keeper, Outcome, Part, Progress, Record, Sink, Skip, Tally};
use crate::source::{ErrorKind, SourceError, SourceInfo};
use crate::verdict::Verdict;

/// Where a form of output goes.
enum Writer<'a> {
    Lines(&'a mut dyn Write),
    Array(&'a mut dyn Write, u64),
    Text(&'a mut dyn Write, Rows),
    Html(&'a mut dyn Write, ScanPage),
    Table(Box<Table<&'a mut dyn Write>>),
}

/// The sink of a scan on the command line.
pub struct ScanSink<'a> {
    writer: Writer<'a>,
    tally: Tally,
    machines: Machines,
    /// What the last complete look of a watch saw, and what is new since: it closes a run that is
    /// stopped in the middle of a look.
    earlier: Option<Machines>,
    bar: Bar,
    all_files: bool,
    keeper: Option<Box<dyn Keeper>>,
    tell: Option<Tell<'a>>,
    /// Crashes told by this run.
    told: HashSet<String>,
    only_new: bool,
    /// What was named: a file among it is wanted, whatever it is.
    named: Vec<PathBuf>,
    filter: FilterArgs,
    /// Symbols or images were given.
    has_symbols: bool,
    tool: Tool,
}

/// Lines of the terminal.
fn lines() -> usize {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(LINES, |(_, terminal_size::Height(lines))| {
        usize::from(lines)
    })
}

/// Tells another system about a new finding.
pub type Tell<'a> = &'a dyn Fn(&Summary);

impl<'a> ScanSink<'a> {
    /// A sink that writes to `out`.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn new(
        format: ScanFormat,
        args: &ScanArgs,
        tool: Tool,
        keeper: Option<Box<dyn Keeper>>,
        out: &'a mut dyn Write,
    ) -> io::Result<ScanSink<'a>> {
        let table = |form, out| Table::new(form, out, &rows::COLUMNS).map(Box::new);
        let writer = match format {
            ScanFormat::Text => {
                let palette = match args.output.is_some() {
                    true => Palette::default(),
                    false => Color::Auto.palette(),
                };
                Writer::Text(out, Rows::new(args.all, args.sort.is_some(), palette))
            }
            ScanFormat::Jsonl => Writer::Lines(out),
            ScanFormat::Json => Writer::Array(out, 0),
            ScanFormat::Html => Writer::Html(out, ScanPage::default()),
            ScanFormat::Csv => Writer::Table(table(TableForm::Csv, out)?),
            ScanFormat::CsvExcel => {
                let form = crate::cli::output::marked(args.output.is_some());
                Writer::Table(table(form, out)?)
            }
            ScanFormat::Markdown => Writer::Table(table(TableForm::Markdown, out)?),
        };
        Ok(ScanSink {
            writer,
            tally: Tally::default(),
            machines: Machines::default(),
            earlier: None,
            bar: Bar::new(args.quiet),
            all_files: args.all_files,
            keeper,
            has_symbols: args.analysis.symbols.is_given() || args.analysis.symbols.online,
            filter: args.filter.clone(),
            tool,
            tell: None,
            told: HashSet::new(),
            only_new: false,
            named: Vec::new(),
        })
    }

    /// Says so when one of these paths is a file that gives no report.
    pub fn named(mut self, named: Vec<PathBuf>) -> ScanSink<'a> {
        self.named = named;
        self
    }

    /// Says why a file that was named itself gave no report.
    fn refuse(&mut self, done: &Done) -> io::Result<()> {
        if !self.named.contains(&done.path) {
            return Ok(());
        }
        let why = match &done.outcome {
            Outcome::Skipped(skip) => skip.message.clone(),
            Outcome::Records(records) if done.part == Part::Whole => {
                let skipped = |r: &Record| r.summary.status == Status::Skipped;
                match records.iter().find(|record| skipped(record)) {
                    Some(first) if records.iter().all(skipped) => {
                        let error = first.summary.error.as_ref();
                        error.map_or(String::new(), |error| error.message.clone())
                    }
                    _ => return Ok(()),
                }
            }
            _ => return Ok(()),
        };
        self.tally.refuse();
        let (path, why) = (visible(&done.path.to_string_lossy()), visible(&why));
        self.bar
            .hide(|| writeln!(crate::cli::terminal::stderr(), "kbtriage: {path}: {why}"))
    }

    /// Tells `tell` about each new dump with something to do about it.
    pub fn notifier(mut self, tell: Option<Tell<'a>>) -> ScanSink<'a> {
        self.tell = tell;
        self
    }

    /// Writes only what no store holds yet.
    #[cfg(feature = "store")]
    pub fn only_new(mut self) -> ScanSink<'a> {
        self.only_new = true;
        self
    }

    /// Counts what an inventory tells of the machines.
    pub fn with(mut self, inventory: Arc<Inventory>) -> ScanSink<'a> {
        self.machines = Machines::with(inventory);
        self
    }

    /// Takes over what the last look of a watch saw.
    #[cfg(feature = "store")]
    pub fn after(mut self, earlier: Machines) -> ScanSink<'a> {
        self.earlier = Some(earlier);
        self
    }

    /// Keeps that the run began, where results are kept.
    ///
    /// # Errors
    /// Those of the store.
    pub fn begin(&mut self, roots: &[String], shard: Option<Shard>) -> io::Result<()> {
        let Some(keeper) = &mut self.keeper else {
            return Ok(());
        };
        let none = Tally::default();
        keeper.begin(&none.record(self.tool.clone(), roots.to_vec(), shard, false, 0))
    }

    /// Ends one of several runs: nothing is summed up yet. Gives what was seen.
    ///
    /// # Errors
    /// Whatever the writer says.
    #[cfg(feature = "store")]
    pub fn pause(mut self) -> io::Result<Machines> {
        if let Some(keeper) = &mut self.keeper {
            keeper.flush()?;
        }
        match self.writer {
            Writer::Text(out, mut rows) => {
                rows.print(lines(), out)?;
                out.flush()?;
            }
            Writer::Lines(out) | Writer::Array(out, _) | Writer::Html(out, _) => out.flush()?,
            Writer::Table(mut table) => table.flush()?,
        }
        Ok(self.machines)
    }

    /// Whether each record's crash was told before, by this run or by one whose results the store keeps: two
    /// files of one crash are one finding.
    fn told_before(&mut self, done: &Done) -> Vec<bool> {
        let Outcome::Records(records) = &done.outcome else {
            return Vec::new();
        };
        let tells = self.tell.is_some() && !done.known;
        records
            .iter()
            .map(|record| {
                let summary = &record.summary;
                let finding = summary.verdict().is_some_and(calls_for_action);
                let Some(crash) = summary.crash_id.as_ref().filter(|_| tells && finding) else {
                    return false;
                };
                !self.told.insert(crash.clone())
                    || self
                        .keeper
                        .as_mut()
                        .is_some_and(|keeper| keeper.knows(crash))
            })
            .collect()
    }

    /// One record of a file, which the store knew already or not: written, told unless its crash was `told`,
    /// and counted.
    fn one_of(&mut self, record: Record, known: bool, told: bool) -> io::Result<()> {
        if !(known && self.only_new) && self.filter.wants_dump(&record.summary) {
            self.record(&record)?;
        }
        if let Some(tell) = self.tell.filter(|_| !known && !told)
            && record.summary.verdict().is_some_and(calls_for_action)
        {
            tell(&record.summary);
        }
        if let Some(earlier) = self.earlier.as_mut().filter(|_| !known) {
            earlier.add(&record.summary)?;
        }
        self.machines.add(&record.summary)
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        match &mut self.writer {
            Writer::Lines(_) | Writer::Array(..) => self.line(&record.line),
            Writer::Text(_, rows) => {
                rows.add(&record.summary);
                Ok(())
            }
            Writer::Html(_, page) => {
                page.add(&whole(record));
                Ok(())
            }
            Writer::Table(table) => table.row(&rows::row(&whole(record))),
        }
    }

    /// Writes one record that is JSON already.
    fn line(&mut self, line: &str) -> io::Result<()> {
        match &mut self.writer {
            Writer::Lines(out) => {
                out.write_all(line.as_bytes())?;
                out.write_all(b"\n")
            }
            Writer::Array(out, written) => {
                out.write_all(if *written == 0 { b"[\n" } else { b",\n" })?;
                *written += 1;
                out.write_all(line.as_bytes())
            }
            Writer::Text(..) | Writer::Html(..) | Writer::Table(_) => Ok(()),
        }
    }

    fn skipped(&mut self, path: &Path, skip: &Skip) -> io::Result<()> {
        let line = skipped_line(self.tool.clone(), path, skip)?;
        self.line(&line)
    }

    /// Says how far a run came that an error ended.
    pub fn say_stopped(&self) {
        self.bar.finish();
        let again = match self.keeper.is_some() {
            true => "run again to continue",
            false => "run again",
        };
        let done = words::counted(self.tally.entries(), "file");
        let _ = writeln!(
            crate::cli::terminal::stderr(),
            "kbtriage: stopped after {done}: {again}"
        );
    }

    /// Writes the closing records and gives the counts.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn finish(
        mut self,
        roots: Vec<String>,
        shard: Option<Shard>,
        finished: Finished,
        also: Option<&mut dyn Write>,
    ) -> io::Result<Tally> {
        self.bar.finish();
        let machines = match self.earlier.take() {
            Some(earlier) if !finished.complete => earlier,
            _ => std::mem::take(&mut self.machines),
        };
        let machines = machines.into_records()?;
        let scan = self.tally.record(
            self.tool.clone(),
            roots,
            shard,
            finished.complete,
            machines.len() as u64,
        );
        let closing = Closing {
            scan: &scan,
            machines: &machines,
            finished: &finished,
            has_symbols: self.has_symbols,
            has_store: self.keeper.is_some(),
        };
        if let Some(keeper) = &mut self.keeper {
            keeper.close(&scan)?;
        }
        match self.writer {
            Writer::Lines(_) | Writer::Array(..) => {
                for machine in &machines {
                    let line = text(machine)?;
                    self.line(&line)?;
                }
                let line = text(&scan)?;
                self.line(&line)?;
                if let Writer::Array(out, _) = &mut self.writer {
                    out.write_all(b"\n]\n")?;
                }
            }
            Writer::Text(ref mut out, ref mut rows) => {
                rows.print(lines(), *out)?;
                writeln!(out)?;
                closing.print(*out)?;
            }
            Writer::Html(ref mut out, ref mut page) => {
                let failed = scan.errors.values().sum();
                let counts = Counts {
                    dumps: scan.reports.saturating_sub(failed),
                    machines: scan.machines,
                    verdicts: scan.verdicts.clone(),
                    failed,
                };
                let mut remarks = Vec::new();
                closing.print(&mut remarks)?;
                // The first line says what the headline numbers say.
                let remarks = String::from_utf8_lossy(&remarks).into_owned();
                let remarks = remarks.lines().skip(1).map(|line| line.trim().to_owned());
                let page = std::mem::take(page).render(&counts, remarks.collect())?;
                out.write_all(page.as_bytes())?;
            }
            Writer::Table(ref mut table) => table.flush()?,
        }
        if let Some(also) = also {
            closing.print(also)?;
        }
        Ok(self.tally)
    }
}

impl Sink for ScanSink<'_> {
    fn take(&mut self, done: Done) -> io::Result<()> {
        self.tally.add(&done);
        self.refuse(&done)?;
        let told = self.told_before(&done);
        if let Some(keeper) = &mut self.keeper {
            match (done.known, done.date) {
                (false, _) => keeper.keep(&done)?,
                (true, true) => keeper.seen(&done)?,
                (true, false) => {}
            }
        }
        match done.outcome {
            Outcome::Records(records) => {
                for (record, told) in records.into_iter().zip(told) {
                    self.one_of(record, done.known, told)?;
                }
            }
            Outcome::Skipped(skip) if self.all_files => self.skipped(&done.path, &skip)?,
            Outcome::Unreadable(message) => {
                let line = format!(
                    "kbtriage: {}: {}",
                    visible(&done.path.to_string_lossy()),
                    visible(&message)
                );
                self.bar
                    .hide(|| writeln!(crate::cli::terminal::stderr(), "{line}"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        if let Some(keeper) = &mut self.keeper {
            keeper.tick()?;
        }
        // Whoever reads the lines need not wait for a full buffer while a dump takes long.
        if let Writer::Lines(out) = &mut self.writer {
            out.flush()?;
        }
        self.bar.show(progress, &self.tally);
        Ok(())
    }
}

fn text<T: serde::Serialize>(value: &T) -> io::Result<String> {
    let mut out = Vec::new();
    json::write_compact(&mut out, value)?;
    String::from_utf8(out).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

/// A record about an entry that was not read: a summary with nothing but the reason.
fn skipped_line(tool: Tool, path: &Path, skip: &Skip) -> io::Result<String> {
    #[derive(serde::Serialize)]
    struct Skipped<'a> {
        #[serde(flatten)]
        summary: Summary,
        reason: &'a str,
    }
    let kind = match skip.reason.as_ref() {
        "compressed" => ErrorKind::Compressed,
        "growing" => ErrorKind::Growing,
        "vanished" => ErrorKind::NotFound,
        "link" | "special-file" | "loop" | "offline" => ErrorKind::Unsupported,
        _ => ErrorKind::NotADump,
    };
    let input = Input {
        info: &SourceInfo::of_path(path),
        fingerprint: None,
        sha256: None,
    };
    let error = SourceError::new(kind, skip.message.clone());
    let mut summary = Summary::of(report::failed(tool, input, &error), None);
    summary.status = Status::Skipped;
    text(&Skipped {
        summary,
        reason: &skip.reason,
    })
}

/// The summary with every field: what a store keeps for counts has not all of them, its line has.
fn whole(record: &Record) -> Cow<'_, Summary> {
    if !record.summary.schema_version.is_empty() {
        return Cow::Borrowed(&record.summary);
    }
    match serde_json::from_str(&record.line) {
        Ok(summary) => Cow::Owned(summary),
        Err(_) => Cow::Borrowed(&record.summary),
    }
}

fn calls_for_action(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::DoesNotApply | Verdict::Undetermined)
}
