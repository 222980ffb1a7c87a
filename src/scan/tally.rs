//! Counts what a run met, for its closing record. The same whatever the order of results, and sums
//! of parts are the whole.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Done, Outcome};
use crate::report::SCHEMA_VERSION;
use crate::report::model::{Status, Tool};
use crate::report::records::{
    RecordKind, ScanRecord, Shard, SkippedCount, Unreadable, UnreadableDirectory,
};
use crate::report::summary::Summary;
use crate::verdict::Verdict;

/// Examples kept of each kind: the first by path.
const EXAMPLES: usize = 10;

/// Counts of a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    entries: u64,
    reports: u64,
    statuses: BTreeMap<String, u64>,
    verdicts: BTreeMap<String, u64>,
    live_reports: u64,
    errors: BTreeMap<String, u64>,
    skipped: BTreeMap<String, (u64, BTreeSet<String>)>,
    unreadable: u64,
    unreadable_examples: BTreeSet<UnreadableDirectory>,
    /// Files that were named themselves and gave no report.
    refused: u64,
}

impl Tally {
    /// Counts one entry.
    pub fn add(&mut self, done: &Done) {
        match &done.outcome {
            Outcome::Records(records) => {
                self.entries += u64::from(done.part.ends());
                for record in records {
                    self.report(&record.summary);
                }
            }
            Outcome::Skipped(skip) => {
                self.entries += 1;
                self.skip(&skip.reason, 1, [shown(&done.path)]);
            }
            Outcome::Unreadable(message) => {
                self.unreadable += 1;
                self.unreadable_at([UnreadableDirectory {
                    path: shown(&done.path),
                    message: message.clone(),
                }]);
            }
            Outcome::Later => {}
        }
    }

    /// Counts a file that was named itself and gave no report: who named it wants to know.
    pub fn refuse(&mut self) {
        self.refused += 1;
    }

    fn report(&mut self, summary: &Summary) {
        self.reports += 1;
        self.live_reports += u64::from(summary.is_live());
        count(&mut self.statuses, summary.status.as_str(), 1);
        if let Some(error) = &summary.error {
            count(&mut self.errors, error.kind.as_str(), 1);
        }
        if let Some(verdict) = summary.verdict() {
            count(&mut self.verdicts, verdict.as_str(), 1);
        }
    }

    fn skip(&mut self, reason: &str, n: u64, paths: impl IntoIterator<Item = String>) {
        count(&mut self.statuses, Status::Skipped.as_str(), n);
        let (count, examples) = self.skipped.entry(reason.to_owned()).or_default();
        *count += n;
        examples.extend(paths);
        while examples.len() > EXAMPLES {
            examples.pop_last();
        }
    }

    fn unreadable_at(&mut self, found: impl IntoIterator<Item = UnreadableDirectory>) {
        self.unreadable_examples.extend(found);
        while self.unreadable_examples.len() > EXAMPLES {
            self.unreadable_examples.pop_last();
        }
    }

    /// Adds what another part of the same work counted.
    pub fn merge(&mut self, part: &ScanRecord) {
        self.entries += part.entries;
        self.reports += part.reports;
        self.live_reports += part.live_reports;
        for (from, to) in [
            (&part.verdicts, &mut self.verdicts),
            (&part.errors, &mut self.errors),
            (&part.statuses, &mut self.statuses),
        ] {
            for (name, n) in from {
                count(to, name, *n);
            }
        }
        for skipped in &part.skipped {
            self.skip(&skipped.reason, skipped.count, skipped.examples.clone());
            // The statuses above hold these already.
            if let Some(n) = self.statuses.get_mut(Status::Skipped.as_str()) {
                *n = n.saturating_sub(skipped.count);
            }
        }
        self.unreadable += part.unreadable.count;
        self.unreadable_at(part.unreadable.examples.clone());
    }

    /// True when something could not be analysed: a dump that failed, an unreadable directory, a file that was
    /// gone before it was opened, or one that was named itself and holds nothing that could be read.
    pub fn failed(&self) -> bool {
        self.unreadable > 0
            || self.refused > 0
            || self.skipped.contains_key("vanished")
            || self.statuses.contains_key(Status::Failed.as_str())
    }

    /// True when a dump is, or probably is, the defect.
    pub fn matched(&self) -> bool {
        [
            Verdict::Applies,
            Verdict::AppliesAfterServicePack,
            Verdict::ProbablyApplies,
        ]
        .iter()
        .any(|verdict| self.verdicts.contains_key(verdict.as_str()))
    }

    /// Entries counted.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Reports by verdict.
    pub fn verdicts(&self) -> &BTreeMap<String, u64> {
        &self.verdicts
    }

    /// The closing record.
    pub fn record(
        &self,
        tool: Tool,
        roots: Vec<String>,
        shard: Option<Shard>,
        complete: bool,
        machines: u64,
    ) -> ScanRecord {
        ScanRecord {
            record_type: RecordKind::Scan,
            schema_version: SCHEMA_VERSION.to_owned(),
            tool,
            roots,
            shard,
            complete,
            entries: self.entries,
            reports: self.reports,
            statuses: self.statuses.clone(),
            verdicts: self.verdicts.clone(),
            live_reports: self.live_reports,
            errors: self.errors.clone(),
            machines,
            skipped: self
                .skipped
                .iter()
                .map(|(reason, (count, examples))| SkippedCount {
                    reason: reason.clone(),
                    count: *count,
                    examples: examples.iter().cloned().collect(),
                })
                .collect(),
            unreadable: Unreadable {
                count: self.unreadable,
                examples: self.unreadable_examples.iter().cloned().collect(),
            },
        }
    }
}

fn count(map: &mut BTreeMap<String, u64>, name: &str, n: u64) {
    match map.get_mut(name) {
        Some(count) => *count += n,
        None => {
            map.insert(name.to_owned(), n);
        }
    }
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
