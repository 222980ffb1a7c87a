//! The page about a scan: headline numbers, and a table of dumps that can be filtered.

use std::collections::BTreeMap;
use std::io;

use serde::Serialize;

use super::Number;
use crate::report::escape::visible;
use crate::report::rows;
use crate::report::summary::Summary;
use crate::report::text::words;
use crate::verdict::Verdict;

/// Rows of a page at most: a browser is slow with more.
const MOST_ROWS: usize = 5000;

/// One dump.
#[derive(Serialize)]
struct Row {
    rank: usize,
    class: &'static str,
    verdict: String,
    time: String,
    machine: String,
    stop: String,
    bucket: String,
    suspect: String,
    path: String,
}

/// What a page's headline counts.
#[derive(Default)]
pub struct Counts {
    /// Dumps.
    pub dumps: u64,
    /// Machines, where they are known.
    pub machines: u64,
    /// Dumps by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Files that could not be analysed.
    pub failed: u64,
}

/// The page in the making.
#[derive(Default)]
pub struct ScanPage {
    rows: Vec<Row>,
    seen: u64,
}

#[derive(Serialize)]
struct Page {
    title: String,
    numbers: Vec<Number>,
    remarks: Vec<String>,
    more: String,
    rows: Vec<Row>,
}

impl ScanPage {
    /// Adds a dump.
    pub fn add(&mut self, summary: &Summary) {
        self.seen += 1;
        let cells = rows::row(summary);
        let cell = |name: &str| {
            let index = rows::COLUMNS.iter().position(|column| *column == name);
            visible(
                index
                    .and_then(|index| cells.get(index))
                    .map_or("", String::as_str),
            )
        };
        let verdict = summary.verdict().filter(|_| summary.error.is_none());
        let rank = verdict.and_then(|own| Verdict::ALL.iter().position(|v| *v == own));
        let time = cell("crash_time");
        self.rows.push(Row {
            // What could not be read comes behind what may be the defect.
            rank: match rank {
                Some(rank) if rank < 4 => rank,
                None => 4,
                Some(rank) => rank + 1,
            },
            class: verdict.map_or("", Verdict::as_str),
            verdict: match verdict {
                Some(verdict) => words::verdict_headline(verdict).to_lowercase(),
                None => "not read".to_owned(),
            },
            time: time.get(..16).unwrap_or(&time).replace('T', " "),
            machine: cell("machine"),
            stop: match cell("code") {
                none if none.is_empty() => none,
                code => words::stop_code(&code),
            },
            bucket: match cell("error") {
                none if none.is_empty() => cell("bucket"),
                error => error,
            },
            suspect: cell("suspect"),
            path: cell("path"),
        });
        if self.rows.len() >= 2 * MOST_ROWS {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.rows
            .sort_by(|a, b| (a.rank, &b.time, &a.path).cmp(&(b.rank, &a.time, &b.path)));
        self.rows.truncate(MOST_ROWS);
    }

    /// The page of a run that is over.
    ///
    /// # Errors
    /// Those of the template library.
    pub fn render(mut self, counts: &Counts, remarks: Vec<String>) -> io::Result<String> {
        self.cut();
        let mut numbers = vec![Number::plain(counts.dumps, "dump")];
        if counts.machines > 0 {
            numbers.push(Number::plain(counts.machines, "machine"));
        }
        numbers.extend(verdict_numbers(&counts.verdicts));
        if counts.failed > 0 {
            let mut number = Number::plain(counts.failed, "file");
            number.label.push_str(" could not be analysed");
            numbers.push(number);
        }
        let more = self.seen.saturating_sub(self.rows.len() as u64);
        let page = Page {
            title: "Crash dumps and KB943650".to_owned(),
            numbers,
            remarks: remarks.iter().map(|text| visible(text)).collect(),
            more: match more {
                0 => String::new(),
                more => words::grouped(more),
            },
            rows: self.rows,
        };
        super::page(&page.title, include_str!("scan.html"), &page)
    }
}

/// A number for each verdict there is.
fn verdict_numbers(counts: &BTreeMap<String, u64>) -> Vec<Number> {
    let known = Verdict::ALL.iter().filter_map(|verdict| {
        let n = *counts.get(verdict.as_str())?;
        (n > 0).then(|| Number::verdict(*verdict, n))
    });
    known.collect()
}
