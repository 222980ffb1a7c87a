//! What a store knows of one file: a rescan asks it for every file it finds.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rusqlite::{Row, params};

use super::{Store, StoreError, path_bytes};
use crate::report::counted;
use crate::scan::{Catalogue, FileStat, Lookup, Skip, Stored, StoredOutcome, StoredRecord};

/// Pages that one connection has in memory, in KiB. What is asked of a store merged of 64 parts lies in as many places
/// of each table and index.
const CACHE: u32 = 16 * 1024;
/// Connections for all workers of a scan.
const CONNECTIONS: usize = 4;

/// Gives workers a look at a store: a few connections for all, as the next file is nearly always on the pages of the one
/// before, whichever worker asks.
pub struct StoreCatalogue {
    path: PathBuf,
    made_by: String,
    open: Mutex<Open>,
}

/// Connections that workers have, and how many looks were given.
#[derive(Default)]
struct Open {
    stores: [Weak<Mutex<Store>>; CONNECTIONS],
    given: usize,
}

impl StoreCatalogue {
    /// A catalogue of the store at `path` for a run whose results have the origin `made_by`.
    pub fn new(path: PathBuf, made_by: String) -> StoreCatalogue {
        StoreCatalogue {
            path,
            made_by,
            open: Mutex::default(),
        }
    }
}

impl Catalogue for StoreCatalogue {
    fn lookup(&self) -> Option<Box<dyn Lookup>> {
        let mut open = locked(&self.open);
        let turn = open.given % CONNECTIONS;
        open.given += 1;
        let shared = open.stores.get_mut(turn)?;
        let store = match shared.upgrade() {
            Some(store) => store,
            None => {
                let store = Arc::new(Mutex::new(self.open()?));
                *shared = Arc::downgrade(&store);
                store
            }
        };
        Some(Box::new(StoreLookup {
            store,
            made_by: self.made_by.clone(),
        }))
    }
}

impl StoreCatalogue {
    fn open(&self) -> Option<Store> {
        let store = Store::open_unseen(&self.path).ok()?;
        // A new store knows nothing, and what this run adds it has not to ask for.
        let knows = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
        let select = "SELECT EXISTS (SELECT 1 FROM file)";
        if !store.connection.query_row(select, [], knows).ok()? {
            return None;
        }
        let cache = format!("PRAGMA cache_size = -{CACHE}");
        store.connection.execute_batch(&cache).ok()?;
        Some(store)
    }
}

/// What a panic of another worker left is whole: a look changes nothing.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file and its records in one question, which a rescan asks for every file.
const LOOK: &str =
    "SELECT file.id, size, modified, number, made_by = ?2, skipped, message, outline, summary,
            last_seen < date('now')
     FROM file LEFT JOIN record ON record.file = file.id
     WHERE path = ?1 AND earlier = '' ORDER BY position";

struct StoreLookup {
    store: Arc<Mutex<Store>>,
    made_by: String,
}

/// A record as it lies there: its line, and what is counted of it.
type Kept = (String, Option<Vec<u8>>);

impl StoreLookup {
    fn look(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        let Some((mut stored, kept)) = self.rows(path)? else {
            return Ok(None);
        };
        if let StoredOutcome::Records(records) = &mut stored.outcome {
            records.extend(kept.into_iter().map(|(line, outline)| StoredRecord {
                line,
                counted: outline.as_deref().and_then(counted::unpack),
            }));
        }
        Ok(Some(stored))
    }

    /// The file and its records. Others wait meanwhile: nothing is done here but to copy them.
    fn rows(&self, path: &Path) -> Result<Option<(Stored, Vec<Kept>)>, StoreError> {
        let store = locked(&self.store);
        let mut select = store.connection.prepare_cached(LOOK)?;
        let mut rows = select.query(params![path_bytes(path), self.made_by])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let stored = file(row)?;
        let mut kept = Vec::from_iter(record(row)?);
        // Nearly every file has one.
        let mut counted = None;
        while let Some(row) = rows.next()? {
            counted.get_or_insert_with(|| store.rows()).count()?;
            kept.extend(record(row)?);
        }
        Ok(Some((stored, kept)))
    }
}

/// What a row of [`StoreLookup::look`] says of the file; its records are still to be added.
fn file(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let skip: Option<String> = row.get(5)?;
    let message: Option<String> = row.get(6)?;
    Ok(Stored {
        id: row.get(0)?,
        stat: FileStat {
            size: row.get::<_, i64>(1)?.cast_unsigned(),
            modified: row.get(2)?,
            file: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
        },
        current: row.get(4)?,
        dated_before_today: row.get(9)?,
        outcome: match skip {
            Some(reason) => StoredOutcome::Skipped(Skip::new(reason, message.unwrap_or_default())),
            None => StoredOutcome::Records(Vec::new()),
        },
    })
}

/// The record in a row of [`StoreLookup::look`]; `None` for a file without any.
fn record(row: &Row<'_>) -> rusqlite::Result<Option<Kept>> {
    match row.get(8)? {
        Some(line) => Ok(Some((line, row.get(7)?))),
        None => Ok(None),
    }
}

impl Lookup for StoreLookup {
    fn find(&mut self, path: &Path) -> Option<Stored> {
        // A store that cannot be read knows nothing: the file is read again.
        self.look(path).ok().flatten()
    }

    fn facts(&mut self, id: i64, position: usize) -> Option<Vec<u8>> {
        locked(&self.store)
            .connection
            .prepare_cached(
                "SELECT facts FROM facts JOIN record ON record.id = facts.record
                 WHERE file = ?1 AND position = ?2",
            )
            .ok()?
            .query_row(params![id, i64::try_from(position).ok()?], |row| row.get(0))
            .ok()?
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::StoreWriter;
    use super::*;
    use crate::report::summary::{MachineName, Summary};
    use crate::scan::{Done, Keeper, Outcome, Record, summary_line};
    use crate::source::SourceInfo;
    use crate::triage::{Engine, Request};

    /// A fixture's record, counted for `machine`.
    fn done(machine: &str, number: u64) -> Done {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/dumps/server2008-x64-d1.dmp"
        );
        let bytes = std::fs::read(path).unwrap();
        let report = Engine::default()
            .triage(&bytes, Request::new(&SourceInfo::of_path(Path::new(path))))
            .report;
        let machine = MachineName {
            name: machine.to_owned(),
            source: "path".to_owned(),
        };
        let summary = Summary::of(report, Some(machine));
        let path = PathBuf::from(format!("/share/{number}.dmp"));
        Done {
            number,
            relative: path.clone(),
            path,
            stat: Some(FileStat {
                size: number,
                ..FileStat::default()
            }),
            outcome: Outcome::Records(vec![Record {
                line: summary_line(&summary),
                summary,
                is_full: false,
                facts: Some(vec![b'F', 0, 0, 0, 0]),
            }]),
            known: false,
            part: crate::scan::Part::Whole,
            date: false,
            earlier: None,
        }
    }

    fn lookup(path: &Path) -> StoreLookup {
        StoreLookup {
            store: Arc::new(Mutex::new(Store::open(path).unwrap())),
            made_by: "these tests".to_owned(),
        }
    }

    #[test]
    fn a_rescan_asks_one_question_for_a_file_and_plans_it_once() {
        const FILES: u64 = 200;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dumps.db");
        let mut writer = StoreWriter::new(Store::create(&path).unwrap(), "these tests".to_owned());
        let mut done = done("HOST", 0);
        for number in 0..FILES {
            done.path = PathBuf::from(format!("/share/{number}.dmp"));
            writer.keep(&done).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        // What SQLite collects of a large store at the end of a run, and made a new plan by for each look-up.
        let store = rusqlite::Connection::open(&path).unwrap();
        store.execute_batch("ANALYZE").unwrap();
        let mut lookup = lookup(&path);
        let Outcome::Records(expected) = &done.outcome else {
            panic!("records");
        };
        for number in 0..FILES {
            let found = lookup.find(&PathBuf::from(format!("/share/{number}.dmp")));
            let StoredOutcome::Records(records) = found.unwrap().outcome else {
                panic!("records");
            };
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].line, expected[0].line);
            let counted = records[0].counted.as_ref().unwrap();
            assert_eq!(counted.verdict(), expected[0].summary.verdict());
        }
        assert!(lookup.find(Path::new("/share/none.dmp")).is_none());
        let store = locked(&lookup.store);
        let statement = store.connection.prepare_cached(LOOK).unwrap();
        let count = |what| u64::try_from(statement.get_status(what)).unwrap();
        assert_eq!(count(StatementStatus::Run), FILES + 1);
        assert_eq!(count(StatementStatus::RePrepare), 0);
        assert_eq!(count(StatementStatus::FullscanStep), 0);
        assert_eq!(count(StatementStatus::Sort), 0);
    }

    #[test]
    fn a_transaction_that_was_cut_off_is_taken_back_before_a_store_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dumps.db");
        let mut writer = StoreWriter::new(Store::create(&path).unwrap(), "these tests".to_owned());
        writer.keep(&done("HOST", 0)).unwrap();
        writer.flush().unwrap();
        drop(writer);
        // As a killed first fill leaves it: pages changed, their journal beside them, nobody at work.
        let store = rusqlite::Connection::open(&path).unwrap();
        store
            .execute_batch(
                "PRAGMA journal_mode = DELETE; PRAGMA cache_size = 1; BEGIN;
                 UPDATE record SET machine = hex(zeroblob(100000)); DELETE FROM facts;",
            )
            .unwrap();
        let copy = dir.path().join("copy.db");
        for tail in ["", "-journal"] {
            let from = dir.path().join(format!("dumps.db{tail}"));
            std::fs::copy(from, dir.path().join(format!("copy.db{tail}"))).unwrap();
        }
        drop(store);
        assert!(matches!(
            Store::open_as_it_is(&copy),
            Err(StoreError::Sqlite(error)) if super::super::is_cut_off(&error)
        ));
        let mut lookup = lookup(&copy);
        let found = lookup.find(Path::new("/share/0.dmp")).unwrap();
        assert!(lookup.facts(found.id, 0).is_some());
        let machine = |row: &Row<'_>| row.get::<_, String>(0);
        let select = "SELECT machine FROM record";
        let found = locked(&lookup.store)
            .connection
            .query_row(select, [], machine);
        assert_eq!(found.unwrap(), "HOST");
    }
}
