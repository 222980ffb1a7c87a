//! Is a file still being written: by its age, and by what a dump of it lacks.

use std::fs::Metadata;
use std::time::{Duration, SystemTime};

use crate::report::summary::Summary;
use crate::scan::{Job, Outcome, Skip};
use crate::source::ErrorKind;

/// The coarsest clock of a file system, and some time for the clocks of two computers to differ.
const JUST_NOW: Duration = Duration::from_secs(5);

/// The fingerprint of a dump that changed so short a time ago that another change may bear the same time.
pub(super) fn read_just_now<'o>(outcome: &'o Outcome, found: Option<&Metadata>) -> Option<&'o str> {
    let Outcome::Records(records) = outcome else {
        return None;
    };
    match (records.as_slice(), found) {
        ([record], Some(found)) if changed_within(found, JUST_NOW) => {
            let source = &record.summary.source;
            // That of a dump in an archive is not the archive's.
            match source.container {
                None => source.fingerprint.as_deref(),
                Some(_) => None,
            }
        }
        _ => None,
    }
}

pub(super) fn is_recent(found: &Metadata, job: &Job) -> bool {
    changed_within(found, job.options.settle.recent)
}

fn changed_within(found: &Metadata, limit: Duration) -> bool {
    let age = found
        .modified()
        .ok()
        .map(|time| SystemTime::now().duration_since(time));
    match age {
        Some(Ok(age)) => age < limit,
        // A time in the future: the clocks differ a little.
        Some(Err(ahead)) => ahead.duration() < Duration::from_secs(60),
        None => false,
    }
}

/// A dump that ends before its end: it may still be on its way.
pub(super) fn is_incomplete(summary: &Summary) -> bool {
    let truncated = summary
        .error
        .as_ref()
        .is_some_and(|error| error.kind == ErrorKind::Truncated);
    truncated
        || summary
            .dump
            .as_ref()
            .is_some_and(|dump| !dump.damage.is_empty())
}

pub(super) fn still_growing() -> Outcome {
    Outcome::Skipped(Skip::new("growing", "it is still being written"))
}
