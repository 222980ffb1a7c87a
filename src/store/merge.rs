//! Puts the stores of several shards together, and checks that together they are the whole.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::config::DbConfig;

use super::{APPLICATION, Store, StoreError};
use crate::report::records::{ScanRecord, Shard};
use crate::source::platform;

/// Pages kept in memory while stores are put together, in KiB.
const CACHE: u32 = 256 * 1024;

/// Above the number of any row of a store, and far below what a number can hold.
const MOST_ROWS: i64 = 1 << 48;

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
    #[error("{0}: not a shard of the same list as the others, or scanned with other options")]
    Other(String),
    /// Two parts cannot be compared.
    #[error(
        "{0}: scanned with other options, or by another version, than {1}: scan one of them again as the other was"
    )]
    Options(String, String),
    /// Two parts are the same shard.
    #[error("{0} and {1} are the same shard")]
    Doubled(String, String),
    /// Somebody asked to stop.
    #[error("interrupted: nothing was merged")]
    Interrupted,
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
    let Shard {
        count,
        list: of_list,
        ..
    } = first
        .scan
        .shard
        .ok_or_else(|| MergeError::Other(shown(first)))?;
    let mut found: Vec<Option<&Part>> = Vec::new();
    found.resize(usize::try_from(count).unwrap_or(0).min(1 << 20), None);
    for part in parts {
        if !part.scan.complete {
            return Err(MergeError::Incomplete(shown(part)));
        }
        if part.scan.tool != first.scan.tool {
            return Err(MergeError::Options(shown(part), shown(first)));
        }
        let slot = match part.scan.shard {
            Some(Shard {
                index,
                count: of,
                list,
            }) if of == count && list == of_list && part.scan.roots == first.scan.roots => {
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
/// last one says. It has its name only when it is whole. Ends behind a part when `stop` is set, and leaves nothing.
///
/// # Errors
/// [`MergeError::Exists`] where there is something already; [`MergeError::Interrupted`]; [`StoreError`], with the path
/// it is about.
pub fn merge(into: &Path, parts: &[PathBuf], stop: &AtomicBool) -> Result<(), MergeError> {
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
    write_unguarded(&store).map_err(at(into))?;
    for part in parts {
        if stop.load(Ordering::Relaxed) {
            return Err(MergeError::Interrupted);
        }
        // Refuse what is no store, or a damaged one, before it is attached.
        let open = Store::open_unseen(part).map_err(at(part))?;
        open.check_whole().map_err(at(part))?;
        open.check_numbers().map_err(at(part))?;
        drop(open);
        copy(&store, part).map_err(|error| match error.is_full() {
            true => at(into)(error),
            false => at(part)(error),
        })?;
        if let Ok(file) = platform::open(part) {
            platform::read_for_good(&file);
        }
    }
    let whole = format!("PRAGMA application_id = {APPLICATION};");
    let whole = store.connection.execute_batch(&whole);
    whole.map_err(|error| at(into)(error.into()))?;
    drop(store);
    std::fs::File::options()
        .write(true)
        .open(&temporary)
        .and_then(|file| file.sync_all())
        .map_err(|error| at(into)(error.into()))?;
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

/// Writes every page once and waits for the disk at the end alone: until a merge is whole its file has no name, and what
/// a failed one leaves is deleted.
fn write_unguarded(store: &Store) -> Result<(), StoreError> {
    // The guard forbids a store without a journal. Its other parts stay on.
    store
        .connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    // The paths of a million files fit in: each part's lie all over their index, which was read and written again for
    // each of them where it did not.
    // And what a killed one leaves is no store.
    Ok(store.connection.execute_batch(&format!(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE};
         PRAGMA application_id = 0;"
    ))?)
}

impl Store {
    /// Rows have numbers that a scan gives, which a merge adds to, and belong to rows that are there.
    fn check_numbers(&self) -> Result<(), StoreError> {
        for (table, number) in [
            ("file", "id"),
            ("record", "id"),
            ("record", "file"),
            ("facts", "record"),
        ] {
            let select = format!(
                "SELECT coalesce(min({number}), 1) > 0 AND coalesce(max({number}), 1) < ?1 FROM {table}"
            );
            let fits = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
            if !self.connection.query_row(&select, [MOST_ROWS], fits)? {
                return Err(StoreError::Broken(format!(
                    "numbers in `{table}` that no scan gives"
                )));
            }
        }
        match self
            .connection
            .prepare("PRAGMA foreign_key_check")?
            .exists([])?
        {
            true => Err(StoreError::Broken(
                "records of files that it does not know".to_owned(),
            )),
            false => Ok(()),
        }
    }
}

fn copy(store: &Store, part: &Path) -> Result<(), StoreError> {
    let part = super::plain(part);
    let path = part.to_str().ok_or(StoreError::Foreign)?;
    store
        .connection
        .execute("ATTACH DATABASE ?1 AS part", [path])?;
    // Rows of the part follow those that are there, in their order and with numbers that say which they were: nothing is
    // looked up for them, and every table grows at its end.
    store.connection.execute_batch(
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
         CREATE TEMP TABLE before AS SELECT
             (SELECT coalesce(max(id), 0) FROM main.file) AS files,
             (SELECT coalesce(max(id), 0) FROM main.record) AS records;
         INSERT INTO main.file
             (id, path, relative, size, modified, number, made_by, skipped, message, earlier, first_seen,
              last_seen)
             SELECT id + files, path, relative, size, modified, number, made_by, skipped, message,
                 earlier, first_seen, last_seen
             FROM part.file CROSS JOIN temp.before ORDER BY id;
         INSERT INTO main.record
             (id, file, position, machine, crash_id, crash_time, verdict, bucket, outline, summary)
             SELECT id + records, file + files, position, machine, crash_id, crash_time, verdict, bucket,
                 outline, summary
             FROM part.record CROSS JOIN temp.before ORDER BY id;
         INSERT INTO main.facts (record, facts)
             SELECT record + records, facts FROM part.facts CROSS JOIN temp.before ORDER BY record;
         DROP TABLE temp.before;
         INSERT INTO main.run (scan) SELECT scan FROM part.run ORDER BY id;
         COMMIT;
         DETACH DATABASE part;",
    )?;
    Ok(())
}
