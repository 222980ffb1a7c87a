//! Takes results and writes them in the form that was asked for; counts for the closing record.

use std::io::{self, Write};

use super::args::{ScanArgs, ScanFormat};
use super::progress::Bar;
use crate::fleet::Fleet;
use crate::report::escape::visible;
use crate::report::json;
use crate::report::model::{ErrorRecord, Tool};
use crate::report::records::Shard;
use crate::report::summary::Summary;
use crate::report::table::{Table, TableForm};
use crate::scan::{Done, Finished, Keeper, Outcome, Progress, Record, Sink, Skip, Tally};
use crate::source::ErrorKind;
use crate::verdict::Verdict;

/// Columns of the tables.
const COLUMNS: [&str; 13] = [
    "path",
    "status",
    "verdict",
    "match",
    "applicability",
    "machine",
    "crash_time",
    "code",
    "name",
    "bucket",
    "build",
    "crash_id",
    "error",
];

/// Where a form of output goes.
enum Writer<'a> {
    Lines(&'a mut dyn Write),
    Array(&'a mut dyn Write, u64),
    Text(&'a mut dyn Write),
    Table(Box<Table<&'a mut dyn Write>>),
}

/// The sink of a scan on the command line.
pub struct ScanSink<'a> {
    writer: Writer<'a>,
    tally: Tally,
    fleet: Fleet,
    bar: Bar,
    all_files: bool,
    keeper: Option<Box<dyn Keeper>>,
    tell: Option<Tell<'a>>,
    only_new: bool,
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
        keeper: Option<Box<dyn Keeper>>,
        out: &'a mut dyn Write,
    ) -> io::Result<ScanSink<'a>> {
        let table = |form, out| Table::new(form, out, &COLUMNS).map(Box::new);
        let writer = match format {
            ScanFormat::Text => Writer::Text(out),
            ScanFormat::Jsonl => Writer::Lines(out),
            ScanFormat::Json => Writer::Array(out, 0),
            ScanFormat::Csv => Writer::Table(table(TableForm::Csv, out)?),
            ScanFormat::Markdown => Writer::Table(table(TableForm::Markdown, out)?),
        };
        Ok(ScanSink {
            writer,
            tally: Tally::default(),
            fleet: Fleet::default(),
            bar: Bar::new(args.quiet),
            all_files: args.all_files,
            keeper,
            tell: None,
            only_new: false,
        })
    }

    /// Tells `tell` about each new dump with something to do about it.
    pub fn telling(mut self, tell: Option<Tell<'a>>) -> ScanSink<'a> {
        self.tell = tell;
        self
    }

    /// Writes only what no store holds yet.
    pub fn only_new(mut self) -> ScanSink<'a> {
        self.only_new = true;
        self
    }

    /// Ends one of several runs: nothing is summed up yet.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn pause(mut self) -> io::Result<()> {
        if let Some(keeper) = &mut self.keeper {
            keeper.flush()?;
        }
        match self.writer {
            Writer::Lines(out) | Writer::Array(out, _) | Writer::Text(out) => out.flush(),
            Writer::Table(mut table) => table.flush(),
        }
    }

    fn record(&mut self, record: &Record) -> io::Result<()> {
        match &mut self.writer {
            Writer::Lines(_) | Writer::Array(..) => self.line(&record.line),
            Writer::Text(out) => match attention(&record.summary) {
                Some(line) => self.bar.hide(|| writeln!(out, "{line}")),
                None => Ok(()),
            },
            Writer::Table(table) => table.row(&row(&record.summary)),
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
            Writer::Text(_) | Writer::Table(_) => Ok(()),
        }
    }

    fn skipped(&mut self, done: &Done, skip: &Skip) -> io::Result<()> {
        let info = crate::source::SourceInfo::of_path(&done.path);
        let line = skipped_line(&info, skip)?;
        self.line(&line)
    }

    /// Writes the closing records and gives the counts.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn finish(
        mut self,
        tool: Tool,
        roots: Vec<String>,
        shard: Option<Shard>,
        finished: Finished,
    ) -> io::Result<Tally> {
        self.bar.finish();
        let machines: Vec<_> = self.fleet.records().collect();
        let scan = self
            .tally
            .record(tool, roots, shard, finished.complete, machines.len() as u64);
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
            Writer::Text(ref mut out) => super::text::closing(&scan, &machines, &finished, *out)?,
            Writer::Table(ref mut table) => table.flush()?,
        }
        Ok(self.tally)
    }
}

impl Sink for ScanSink<'_> {
    fn take(&mut self, done: Done) -> io::Result<()> {
        self.tally.add(&done);
        if let Some(keeper) = &mut self.keeper
            && !done.known
        {
            keeper.keep(&done)?;
        }
        match &done.outcome {
            Outcome::Records(records) => {
                for record in records {
                    self.fleet.add(&record.summary);
                    if done.known && self.only_new {
                        continue;
                    }
                    self.record(record)?;
                    if let Some(tell) = self.tell.filter(|_| !done.known)
                        && record.summary.verdict().is_some_and(calls_for_action)
                    {
                        tell(&record.summary);
                    }
                }
            }
            Outcome::Skipped(skip) if self.all_files => self.skipped(&done, skip)?,
            Outcome::Unreadable(message) => {
                let line = format!(
                    "kbtriage: {}: {}",
                    visible(&done.path.to_string_lossy()),
                    visible(message)
                );
                self.bar.hide(|| writeln!(io::stderr(), "{line}"))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        if let Some(keeper) = &mut self.keeper {
            keeper.tick()?;
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

/// A record about an entry that was not read.
fn skipped_line(info: &crate::source::SourceInfo, skip: &Skip) -> io::Result<String> {
    #[derive(serde::Serialize)]
    struct Skipped<'a> {
        #[serde(rename = "type")]
        record_type: &'static str,
        schema_version: &'static str,
        detail: &'static str,
        status: &'static str,
        reason: &'a str,
        error: ErrorRecord,
        source: Place<'a>,
    }
    #[derive(serde::Serialize)]
    struct Place<'a> {
        path: &'a str,
        path_exact: Option<String>,
    }
    use base64::Engine as _;
    text(&Skipped {
        record_type: "report",
        schema_version: crate::report::SCHEMA_VERSION,
        detail: "summary",
        status: "skipped",
        reason: &skip.reason,
        error: ErrorRecord {
            kind: match skip.reason.as_ref() {
                "compressed" => ErrorKind::Compressed,
                "link" | "special-file" | "loop" | "offline" => ErrorKind::Unsupported,
                _ => ErrorKind::NotADump,
            },
            message: skip.message.clone(),
        },
        source: Place {
            path: &info.path,
            path_exact: info
                .path_exact
                .as_ref()
                .map(|bytes| base64::engine::general_purpose::STANDARD.encode(bytes)),
        },
    })
}

fn calls_for_action(verdict: Verdict) -> bool {
    !matches!(verdict, Verdict::DoesNotApply | Verdict::Undetermined)
}

/// The line about a dump that a person should see: a match, or a failure.
fn attention(summary: &Summary) -> Option<String> {
    let path = visible(&summary.source.path);
    if let Some(error) = &summary.error {
        return Some(format!("not analysed: {path}: {}", visible(&error.message)));
    }
    let verdict = summary.verdict()?;
    if !calls_for_action(verdict) {
        return None;
    }
    let bucket = summary
        .bucket
        .as_ref()
        .map(|bucket| bucket.name.as_ref().unwrap_or(&bucket.key).as_str())
        .unwrap_or_default();
    let machine = summary
        .machine
        .as_ref()
        .map(|machine| format!(" on {}", visible(&machine.name)))
        .unwrap_or_default();
    Some(format!(
        "{}: {path}{machine} {}",
        verdict.as_str().replace('-', " "),
        visible(bucket)
    ))
}

fn row(summary: &Summary) -> [String; 13] {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let hotfix = summary.hotfix.as_ref();
    let bugcheck = summary.bugcheck.as_ref();
    [
        summary.source.path.clone(),
        summary.status.to_string(),
        text(summary.verdict().map(Verdict::as_str)),
        text(hotfix.map(|h| h.matching.status.as_str())),
        text(hotfix.map(|h| h.applicability.status.as_str())),
        text(summary.machine.as_ref().map(|m| m.name.as_str())),
        text(summary.dump.as_ref().and_then(|d| d.crash_time.as_deref())),
        text(bugcheck.map(|b| b.code.0.as_str())),
        text(bugcheck.and_then(|b| b.name.as_deref())),
        text(
            summary
                .bucket
                .as_ref()
                .map(|b| b.name.as_ref().unwrap_or(&b.key).as_str()),
        ),
        summary
            .system
            .as_ref()
            .and_then(|s| s.build)
            .map(|build| build.to_string())
            .unwrap_or_default(),
        text(summary.crash_id.as_deref()),
        text(summary.error.as_ref().map(|e| e.message.as_str())),
    ]
}
