//! What the store knows of a file: whether it may be answered with as it is, or judged again from its facts.

use crate::bytes::PagedReader;
use crate::report::model::Detail;
use crate::report::summary::Summary;
use crate::scan::{Item, Outcome, Record, Stored, StoredOutcome, StoredRecord};
use crate::source::{self, ErrorKind, SourceInfo};

use super::Worker;
use super::record::rejudge;

impl Worker<'_> {
    /// The stored outcome of a file that did not change, and whether the store holds it just so;
    /// `None` when the file has to be read again. What is answered with is taken out of `stored`.
    pub(super) fn unchanged(
        &mut self,
        item: &Item,
        stored: &mut Stored,
    ) -> Option<(Outcome, bool)> {
        let records = match &mut stored.outcome {
            StoredOutcome::Skipped(skip) if stored.current => {
                return Some((Outcome::Skipped(skip.clone()), true));
            }
            StoredOutcome::Skipped(_) => return None,
            StoredOutcome::Records(records) => records,
        };
        let as_stored = stored.current && self.job.options.detail == Detail::Summary;
        let records = match as_stored {
            true => as_stored_before(records),
            false => self.judged_again(item, stored.id, records),
        };
        Some((Outcome::Records(records?), as_stored))
    }

    /// The records by the facts of stored ones: knowledge or options changed, not the dump.
    fn judged_again(
        &mut self,
        item: &Item,
        id: i64,
        stored: &[StoredRecord],
    ) -> Option<Vec<Record>> {
        let lookup = self.lookup.as_mut()?;
        let judged = stored.iter().enumerate().map(|(position, stored)| {
            let summary: Summary = serde_json::from_str(&stored.line).ok()?;
            if has_passed(&summary) {
                return None;
            }
            let facts = lookup.facts(id, position)?;
            let mut record = rejudge(self.job, &item.relative, &summary, &facts)?;
            record.facts = Some(facts);
            Some(record)
        });
        judged.collect()
    }

    /// The stored record of a dump whose size and fingerprint are still those that were stored:
    /// only its time or place on the disk changed.
    pub(super) fn same_content(
        &mut self,
        item: &Item,
        reader: &mut PagedReader<'_>,
        info: &SourceInfo,
        stored: &Stored,
    ) -> Option<Record> {
        let StoredOutcome::Records(records) = &stored.outcome else {
            return None;
        };
        let [record] = records.as_slice() else {
            return None;
        };
        let mut summary: Summary = serde_json::from_str(&record.line).ok()?;
        if stored.stat.size != reader.source_len() || summary.source.fingerprint.is_none() {
            return None;
        }
        if source::fingerprint_read(reader).ok() != summary.source.fingerprint {
            return None;
        }
        summary.source.modified = info.modified.and_then(crate::report::rfc3339_from_unix);
        let facts = self.lookup.as_mut()?.facts(stored.id, 0)?;
        let mut record = rejudge(self.job, &item.relative, &summary, &facts)?;
        record.facts = Some(facts);
        Some(record)
    }
}

/// Stored records as they are, taken out of `stored`; `None`, and nothing taken, when one of them is not to be
/// answered with.
fn as_stored_before(stored: &mut [StoredRecord]) -> Option<Vec<Record>> {
    let usable = |record: &StoredRecord| record.counted.as_ref().is_some_and(|o| !has_passed(o));
    if !stored.iter().all(usable) {
        return None;
    }
    let taken = stored.iter_mut().map(|stored| {
        Some(Record {
            summary: stored.counted.take()?,
            line: std::mem::take(&mut stored.line),
            is_full: false,
            facts: None,
        })
    });
    taken.collect()
}

/// True for a stored failure that may have passed since.
fn has_passed(summary: &Summary) -> bool {
    summary
        .error
        .as_ref()
        .is_some_and(|error| may_pass(error.kind))
}

/// Failures that say nothing about the content: the next run tries again.
fn may_pass(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Growing
            | ErrorKind::Io
            | ErrorKind::NotFound
            | ErrorKind::Permission
            | ErrorKind::Timeout
    )
}
