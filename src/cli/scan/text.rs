//! A scan for a person: a table with what needs attention first, at most a screen of it, and the closing words.

use std::cmp::Reverse;
use std::io::{self, Write};

use textwrap::core::display_width;

use crate::report::escape::visible;
use crate::report::records::{MachineRecord, ScanRecord};
use crate::report::summary::Summary;
use crate::report::text::{self, Palette, words};
use crate::scan::Finished;
use crate::verdict::Verdict;

/// Rows kept at most where a screen of them is printed: far more than any screen has.
const KEPT: usize = 4096;
/// Lines of a terminal that the closing words take.
const CLOSING: usize = 8;
/// Most columns of each cell but the last, which takes the rest of the line.
const MOST: [usize; 5] = [12, 16, 15, 5, 30];
const COLUMNS: [&str; 6] = ["verdict", "time (UTC)", "machine", "stop", "bucket", "path"];
/// Fewest columns of a path.
const PATH: usize = 16;

/// One dump.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    /// `None` for one that could not be read.
    verdict: Option<Verdict>,
    /// A report of a running system.
    live: bool,
    time: String,
    machine: String,
    stop: String,
    bucket: String,
    path: String,
}

impl Row {
    fn of(summary: &Summary) -> Row {
        let time = summary.dump.as_ref().and_then(|d| d.crash_time.as_deref());
        let time = time.and_then(|time| Some((time.get(..10)?, time.get(11..16)?)));
        let bucket = summary.bucket.as_ref();
        let bucket = bucket.map(|b| b.name.as_ref().unwrap_or(&b.key).as_str());
        let bucket = match &summary.error {
            Some(error) => visible(&error.message),
            None => visible(bucket.unwrap_or_default()),
        };
        let code = summary.bugcheck.as_ref().map(|b| b.code.0.as_str());
        Row {
            verdict: summary.verdict().filter(|_| summary.error.is_none()),
            live: summary.is_live(),
            time: time
                .map(|(day, minute)| format!("{day} {minute}"))
                .unwrap_or_default(),
            machine: visible(summary.machine.as_ref().map_or("", |m| m.name.as_str())),
            stop: code
                .map(|code| {
                    code.trim_start_matches("0x")
                        .trim_start_matches('0')
                        .to_owned()
                })
                .unwrap_or_default(),
            bucket,
            path: visible(&summary.source.path),
        }
    }

    /// What needs attention first: matches, then what could not be read.
    fn rank(&self) -> u8 {
        match self.verdict {
            Some(Verdict::DoesNotApply | Verdict::Undetermined) if self.live => 7,
            Some(Verdict::Applies) => 0,
            Some(Verdict::AppliesAfterServicePack) => 1,
            Some(Verdict::ProbablyApplies) => 2,
            Some(Verdict::MayApply) => 3,
            None => 4,
            Some(Verdict::Undetermined) => 5,
            Some(Verdict::DoesNotApply) => 6,
        }
    }

    fn cells(&self) -> [&str; 6] {
        [
            self.word(),
            &self.time,
            &self.machine,
            &self.stop,
            &self.bucket,
            &self.path,
        ]
    }

    fn word(&self) -> &'static str {
        match self.verdict {
            // It stopped nothing, so that no fix is asked for.
            Some(Verdict::DoesNotApply | Verdict::Undetermined) if self.live => "live report",
            Some(Verdict::Applies) => "applies",
            Some(Verdict::AppliesAfterServicePack) => "after SP",
            Some(Verdict::ProbablyApplies) => "probably",
            Some(Verdict::MayApply) => "may apply",
            Some(Verdict::DoesNotApply) => "does not",
            Some(Verdict::Undetermined) => "cannot tell",
            None => "not read",
        }
    }
}

/// Rows that wait to be printed together.
pub struct Rows {
    rows: Vec<Row>,
    seen: u64,
    /// Everything is printed.
    all: bool,
    by_machine: bool,
    palette: Palette,
}

impl Rows {
    /// None yet.
    pub fn new(all: bool, by_machine: bool, palette: Palette) -> Rows {
        Rows {
            rows: Vec::new(),
            seen: 0,
            all,
            by_machine,
            palette,
        }
    }

    /// Adds a dump.
    pub fn add(&mut self, summary: &Summary) {
        self.seen += 1;
        self.rows.push(Row::of(summary));
        if !self.all && self.rows.len() >= 2 * KEPT {
            self.sort();
            self.rows.truncate(KEPT);
        }
    }

    fn sort(&mut self) {
        self.rows
            .sort_by_cached_key(|row| (row.rank(), Reverse(row.time.clone()), row.path.clone()));
    }

    /// The rows so far, aligned; none are left.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn print(&mut self, screen: usize, out: &mut dyn Write) -> io::Result<()> {
        self.sort();
        let most = match self.all {
            true => usize::MAX,
            // A heading, and the line about the others.
            false => screen.saturating_sub(CLOSING + 2).max(5),
        };
        self.rows.truncate(most);
        if self.by_machine {
            // Machines in the order of their most urgent dump.
            let order: Vec<String> = self.rows.iter().map(|row| row.machine.clone()).collect();
            let place = |machine: &str| order.iter().position(|own| own == machine);
            self.rows.sort_by_cached_key(|row| {
                (place(&row.machine), row.time.clone(), row.path.clone())
            });
        }
        let widths = self.widths();
        if !self.rows.is_empty() {
            let head = line(&COLUMNS, &widths, None);
            writeln!(out, "{}", self.palette.heading(head.trim_end()))?;
        }
        let mut machine = None;
        for row in &self.rows {
            let mut cells = row.cells();
            if self.by_machine && machine.replace(&row.machine) == Some(&row.machine) {
                cells[2] = "";
            }
            let paint = |word: &str| match row.verdict {
                Some(verdict) => self.palette.verdict(verdict, word),
                None => word.to_owned(),
            };
            writeln!(out, "{}", line(&cells, &widths, Some(&paint)).trim_end())?;
        }
        let more = self.seen.saturating_sub(self.rows.len() as u64);
        if more > 0 {
            writeln!(out, "… and {} more: --all", words::grouped(more))?;
        }
        self.rows.clear();
        self.seen = 0;
        Ok(())
    }

    /// As wide as their cells, within bounds; the path takes what is left.
    fn widths(&self) -> [usize; 6] {
        let mut widths = [0; 6];
        for (index, width) in widths.iter_mut().enumerate() {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.cells().get(index).copied());
            let heading = COLUMNS.get(index).map_or(0, |text| text.len());
            // A column without a cell takes no room.
            let natural = match cells.map(display_width).max().unwrap_or(0) {
                0 => 0,
                widest => widest.max(heading),
            };
            *width = natural.min(MOST.get(index).copied().unwrap_or(usize::MAX));
        }
        let [_, _, _, _, bucket, path] = widths;
        let filled = widths.iter().take(4).filter(|width| **width > 0);
        let fixed: usize = filled.map(|width| width + 1).sum::<usize>() + 1;
        let left = self.palette.width.saturating_sub(fixed);
        // The path is shortened first, in its middle; then the bucket, at its end.
        let bucket = bucket.min(left.saturating_sub(PATH));
        widths[4] = bucket;
        widths[5] = path.min(left.saturating_sub(bucket));
        widths
    }
}

fn line(cells: &[&str; 6], widths: &[usize; 6], paint: Option<&dyn Fn(&str) -> String>) -> String {
    let mut out = String::new();
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let cell = match index {
            5 => text::middle(cell, *width),
            _ => text::cut(cell, *width),
        };
        if *width == 0 {
            continue;
        }
        let pad = width.saturating_sub(display_width(&cell));
        match (index, paint) {
            (0, Some(paint)) => out.push_str(&paint(&cell)),
            _ => out.push_str(&cell),
        }
        out.push_str(&" ".repeat(pad + 1));
    }
    out
}

/// What the closing words are about.
pub struct Closing<'a> {
    /// The counts.
    pub scan: &'a ScanRecord,
    /// What each machine's dumps say.
    pub machines: &'a [MachineRecord],
    /// How the run ended.
    pub finished: &'a Finished,
    /// Symbols or images were given.
    pub has_symbols: bool,
    /// Results are kept, so that another run goes on where this one stopped.
    pub has_store: bool,
}

impl Closing<'_> {
    /// Writes what the scan found, in a few lines.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let scan = self.scan;
        let failed: u64 = scan.errors.values().sum();
        let mut head = words::counted(scan.reports.saturating_sub(failed), "dump");
        if scan.machines > 0 {
            head.push_str(&format!(" of {}", words::counted(scan.machines, "machine")));
        }
        let verdicts = words::verdict_counts(&scan.verdicts);
        if !verdicts.is_empty() {
            head.push_str(&format!(": {verdicts}"));
        }
        writeln!(out, "{head}")?;
        if scan.live_reports > 0 {
            let n = words::counted(scan.live_reports, "dump");
            let (verb, what) = match scan.live_reports {
                1 => ("is a report", "crash"),
                _ => ("are reports", "crashes"),
            };
            writeln!(out, "  {n} {verb} of a running Windows, no {what}")?;
        }
        let with_something = self.machines.iter().filter(|machine| {
            !matches!(
                machine.hotfix.verdict,
                Verdict::DoesNotApply | Verdict::Undetermined
            )
        });
        let with_something = with_something.count() as u64;
        if with_something > 0 {
            let machines = words::counted(with_something, "machine");
            writeln!(out, "  {machines} with something to do about it")?;
        }
        if failed > 0 {
            let kinds: Vec<String> = scan
                .errors
                .iter()
                .map(|(kind, n)| format!("{} {}", words::grouped(*n), kind.replace('-', " ")))
                .collect();
            let failed = words::counted(failed, "file");
            writeln!(
                out,
                "  {failed} could not be analysed: {}",
                kinds.join(", ")
            )?;
        }
        if scan.unreadable.count > 0 {
            let n = words::counted(scan.unreadable.count, "directory");
            writeln!(out, "  {n} could not be read")?;
        }
        let skipped: u64 = scan.skipped.iter().map(|skip| skip.count).sum();
        if skipped > 0 {
            let reasons: Vec<String> = scan
                .skipped
                .iter()
                .map(|skip| {
                    let reason = skip.reason.replace('-', " ");
                    format!("{} {}", words::grouped(skip.count), visible(&reason))
                })
                .collect();
            let n = words::counted(skipped, "file");
            writeln!(out, "  {n} skipped: {}", reasons.join(", "))?;
        }
        let may = scan
            .verdicts
            .get(Verdict::MayApply.as_str())
            .copied()
            .unwrap_or(0);
        if may > 0 && !self.has_symbols {
            let root = scan.roots.first().map_or("DIR", String::as_str);
            writeln!(
                out,
                "  symbols can decide \"may apply\": kbtriage scan --online {}",
                text::middle(&text::quoted(visible(root)), 24)
            )?;
        }
        let progress = &self.finished.progress;
        let stopped = progress.done < progress.found || !progress.listed || self.finished.stuck > 0;
        if !self.finished.complete && !stopped {
            // All that is there was read, but a directory that was named is not there.
            let what = match scan.reports {
                0 => "nothing was scanned",
                _ => "not everything was scanned",
            };
            writeln!(out, "{what}: what was named is not there")?;
        } else if !self.finished.complete {
            let again = match self.has_store {
                true => "run again to continue",
                false => "run again; with --db FILE it continues where it stopped",
            };
            writeln!(
                out,
                "stopped after {} of {}{}: {again}",
                words::grouped(progress.done),
                words::grouped(progress.found),
                if progress.listed { "" } else { " found so far" }
            )?;
        }
        Ok(())
    }
}
