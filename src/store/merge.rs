//! Puts the stores of several shards together, and checks that together they are the whole.

use std::path::{Path, PathBuf};

use super::{Store, StoreError};
use crate::report::records::{ScanRecord, Shard};

/// Pages kept in memory while stores are put together, in KiB.
const CACHE: u32 = 256 * 1024;

/// One part of a merge: where it is and how its run ended.
pub struct Part {
    /// Its file.
    pub path: PathBuf,
    /// The closing record.
    pub scan: ScanRecord,
}

/// Why parts do not make a whole.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// A store cannot be read or written.
    #[error("{path}: {error}")]
    Store {
        /// Which.
        path: String,
        /// Why.
        error: StoreError,
    },
    /// There is something at the place of the result.
    #[error("{0}: exists already: name a new file for the merged store")]
    Exists(String),
    /// A part is not whole.
    #[error("{0}: its run did not end: run that shard again")]
    Incomplete(String),
    /// A part is no shard, or of another list.
    #[error("{0}: not a shard of the same list as the others")]
    Other(String),
    /// Two parts are the same shard.
    #[error("{0} and {1} are the same shard")]
    Doubled(String, String),
    /// A shard is not there.
    #[error("shard {0} of {1} is missing")]
    Missing(u32, u32),
}

/// Checks that the parts are every shard of one list, each once.
///
/// # Errors
/// [`MergeError`].
pub fn check(parts: &[Part]) -> Result<(), MergeError> {
    let shown = |part: &Part| part.path.to_string_lossy().into_owned();
    let Some(first) = parts.first() else {
        return Ok(());
    };
    let count = first
        .scan
        .shard
        .ok_or_else(|| MergeError::Other(shown(first)))?
        .count;
    let mut found: Vec<Option<&Part>> = Vec::new();
    found.resize(usize::try_from(count).unwrap_or(0).min(1 << 20), None);
    for part in parts {
        if !part.scan.complete {
            return Err(MergeError::Incomplete(shown(part)));
        }
        let slot = match part.scan.shard {
            Some(Shard { index, count: of })
                if of == count && part.scan.roots == first.scan.roots =>
            {
                usize::try_from(index)
                    .ok()
                    .and_then(|index| found.get_mut(index.checked_sub(1)?))
            }
            _ => None,
        };
        match slot {
            None => return Err(MergeError::Other(shown(part))),
            Some(Some(other)) => return Err(MergeError::Doubled(shown(other), shown(part))),
            Some(slot) => *slot = Some(part),
        }
    }
    for (slot, index) in found.iter().zip(1..) {
        if slot.is_none() {
            return Err(MergeError::Missing(index, count));
        }
    }
    Ok(())
}

/// Copies the stores at `parts` into a new store at `into`. A file that several know keeps what the
/// last one says. It has its name only when it is whole.
///
/// # Errors
/// [`MergeError::Exists`] where there is something already; [`StoreError`], with the path it is about.
pub fn merge(into: &Path, parts: &[PathBuf]) -> Result<(), MergeError> {
    let at = |path: &Path| {
        let path = path.to_string_lossy().into_owned();
        move |error: StoreError| MergeError::Store { path, error }
    };
    // One of the parts, or what an earlier merge made: neither is written to.
    if into.symlink_metadata().is_ok() {
        return Err(MergeError::Exists(into.to_string_lossy().into_owned()));
    }
    let folder = match into.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let unfinished = tempfile::Builder::new()
        .prefix(".kbtriage-merge-")
        .tempdir_in(folder)
        .map_err(|error| at(into)(error.into()))?;
    let temporary = unfinished.path().join("store.db");
    let store = Store::create(&temporary).map_err(at(into))?;
    // The paths of a million files: each part's lie all over their index, which was read and written again for
    // each of them where it did not fit.
    store
        .connection
        .execute_batch(&format!("PRAGMA cache_size = -{CACHE};"))
        .map_err(|error| at(into)(error.into()))?;
    for part in parts {
        // Refuse what is no store, or a damaged one, before it is attached.
        let open = Store::open_unseen(part).map_err(at(part))?;
        open.check_whole().map_err(at(part))?;
        drop(open);
        copy(&store, part).map_err(at(part))?;
    }
    // One file, which nothing has to be added to.
    store
        .connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;")
        .map_err(|error| at(into)(error.into()))?;
    drop(store);
    // Never over what came there meanwhile.
    std::fs::hard_link(&temporary, into)
        .or_else(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Err(error),
            // File systems without links.
            _ if into.symlink_metadata().is_ok() => Err(std::io::ErrorKind::AlreadyExists.into()),
            _ => std::fs::rename(&temporary, into),
        })
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                MergeError::Exists(into.to_string_lossy().into_owned())
            }
            _ => at(into)(error.into()),
        })
}

fn copy(store: &Store, part: &Path) -> Result<(), StoreError> {
    let part = super::plain(part);
    let path = part.to_str().ok_or(StoreError::Foreign)?;
    store
        .connection
        .execute("ATTACH DATABASE ?1 AS part", [path])?;
    let copied = store.connection.execute_batch(
        "BEGIN IMMEDIATE;
         -- Crashes of files that the other store knows with another content are kept as earlier ones.
         CREATE TEMP TABLE aside AS
             SELECT record.id AS record, file.id AS file, record.crash_id AS crash
             -- From the part to the whole: the other way each part would cost the size of the whole.
             FROM part.file AS other CROSS JOIN main.file CROSS JOIN main.record
             WHERE other.earlier = '' AND file.path = other.path AND file.earlier = ''
             AND record.file = file.id AND record.crash_id <> ''
             AND NOT EXISTS (SELECT 1 FROM part.record AS theirs
                 JOIN part.file AS their_file ON their_file.id = theirs.file
                 WHERE their_file.path = file.path AND theirs.crash_id = record.crash_id);
         INSERT OR IGNORE INTO main.file
             (path, relative, size, modified, number, made_by, earlier, first_seen, last_seen)
             SELECT path, relative, size, modified, number, made_by, crash, first_seen, last_seen
             FROM temp.aside JOIN main.file ON file.id = aside.file;
         UPDATE OR IGNORE main.record SET position = 0, file = (
                 SELECT kept.id FROM temp.aside JOIN main.file AS own ON own.id = aside.file
                 JOIN main.file AS kept ON kept.path = own.path AND kept.earlier = aside.crash
                 WHERE aside.record = record.id)
             WHERE id IN (SELECT record FROM temp.aside);
         DROP TABLE temp.aside;
         DELETE FROM main.file WHERE id IN (
             SELECT own.id FROM part.file AS other CROSS JOIN main.file AS own
             WHERE own.path = other.path AND own.earlier = other.earlier);
         DELETE FROM main.file WHERE id IN (
             SELECT own.id FROM part.record AS theirs
             CROSS JOIN part.file AS their_file CROSS JOIN main.file AS own
             WHERE theirs.crash_id <> '' AND their_file.id = theirs.file AND their_file.earlier = ''
             AND own.path = their_file.path AND own.earlier = theirs.crash_id);
         INSERT INTO main.file
             (path, relative, size, modified, number, made_by, skipped, message, earlier, first_seen,
              last_seen)
             SELECT path, relative, size, modified, number, made_by, skipped, message, earlier,
                 first_seen, last_seen
             FROM part.file ORDER BY path, earlier;
         INSERT INTO main.record
             (file, position, machine, crash_id, crash_time, verdict, bucket, outline, summary)
             SELECT mine.id, position, machine, crash_id, crash_time, verdict, bucket, outline, summary
             FROM part.record JOIN part.file AS theirs ON theirs.id = part.record.file
             JOIN main.file AS mine
                 ON mine.path = theirs.path AND mine.earlier = theirs.earlier;
         INSERT INTO main.facts (record, facts)
             SELECT mine.id, facts
             FROM part.facts JOIN part.record AS their_record ON their_record.id = part.facts.record
             JOIN part.file AS theirs ON theirs.id = their_record.file
             JOIN main.file
                 ON main.file.path = theirs.path AND main.file.earlier = theirs.earlier
             JOIN main.record AS mine
                 ON mine.file = main.file.id AND mine.position = their_record.position;
         INSERT INTO main.run (scan) SELECT scan FROM part.run ORDER BY id;
         COMMIT;",
    );
    if copied.is_err() {
        let _ = store.connection.execute_batch("ROLLBACK");
    }
    store.connection.execute_batch("DETACH DATABASE part")?;
    Ok(copied?)
}
