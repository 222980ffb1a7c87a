//! Reading from a store: what is known of a file, and everything for the fleet's commands.

use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, Row, params};

use super::{Store, StoreError, path_bytes};
use crate::report::counted;
use crate::report::records::ScanRecord;
use crate::report::summary::{Seen, Summary};
use crate::scan::{Catalogue, FileStat, Lookup, Skip, Stored, StoredOutcome, StoredRecord};

impl Store {
    /// Dumps in files that the last scan was the first to find; `None` for a store that was scanned into once, where
    /// everything is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn new_in_last_scan(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.mark(NEW_RECORDS)?.and_then(|n| n.parse().ok()))
    }

    /// What was remembered under a name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn mark(&self, name: &str) -> Result<Option<String>, StoreError> {
        let there: bool = self.connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'mark')",
            [],
            |row| row.get(0),
        )?;
        if !there {
            return Ok(None);
        }
        let value = self
            .connection
            .query_row("SELECT value FROM mark WHERE name = ?1", [name], |row| {
                row.get(0)
            })
            .optional()?;
        Ok(value)
    }

    /// Remembers something small under a name. The table is made when it is first wanted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn set_mark(&self, name: &str, value: &str) -> Result<(), StoreError> {
        self.connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS mark (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        )?;
        self.connection.execute(
            "INSERT INTO mark (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            [name, value],
        )?;
        Ok(())
    }
}

/// The mark of how many records the last scan found in files that were new.
pub(super) const NEW_RECORDS: &str = "new-in-last-scan";

/// Gives workers a look at a store.
pub struct StoreCatalogue {
    path: PathBuf,
    made_by: String,
}

impl StoreCatalogue {
    /// A catalogue of the store at `path` for a run whose results have the origin `made_by`.
    pub fn new(path: PathBuf, made_by: String) -> StoreCatalogue {
        StoreCatalogue { path, made_by }
    }
}

impl Catalogue for StoreCatalogue {
    fn lookup(&self) -> Option<Box<dyn Lookup>> {
        let store = Store::open_unseen(&self.path).ok()?;
        // A new store knows nothing, and what this run adds it has not to ask for.
        let knows = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
        let select = "SELECT EXISTS (SELECT 1 FROM file)";
        if !store.connection.query_row(select, [], knows).ok()? {
            return None;
        }
        Some(Box::new(StoreLookup {
            store,
            made_by: self.made_by.clone(),
        }))
    }
}

/// A file and its records in one question, which a rescan asks for every file.
const LOOK: &str =
    "SELECT file.id, size, modified, number, made_by = ?2, skipped, message, outline, summary,
            last_seen < date('now')
     FROM file LEFT JOIN record ON record.file = file.id
     WHERE path = ?1 AND earlier = '' ORDER BY position";

struct StoreLookup {
    store: Store,
    made_by: String,
}

impl StoreLookup {
    fn look(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        let mut select = self.store.connection.prepare_cached(LOOK)?;
        let mut rows = select.query(params![path_bytes(path), self.made_by])?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let mut stored = file(row)?;
        if let StoredOutcome::Records(records) = &mut stored.outcome {
            records.extend(record(row)?);
            // Nearly every file has one.
            let mut counted = None;
            while let Some(row) = rows.next()? {
                let counted = counted.get_or_insert_with(|| self.store.rows());
                counted.count()?;
                records.extend(record(row)?);
            }
        }
        Ok(Some(stored))
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
fn record(row: &Row<'_>) -> rusqlite::Result<Option<StoredRecord>> {
    let Some(line) = row.get(8)? else {
        return Ok(None);
    };
    let kept = row.get_ref(7)?.as_blob_or_null()?;
    Ok(Some(StoredRecord {
        line,
        counted: kept.and_then(counted::unpack),
    }))
}

impl Lookup for StoreLookup {
    fn find(&mut self, path: &Path) -> Option<Stored> {
        // A store that cannot be read knows nothing: the file is read again.
        self.look(path).ok().flatten()
    }

    fn facts(&mut self, id: i64, position: usize) -> Option<Vec<u8>> {
        self.store
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

/// One file of a store with its records.
pub struct StoredFile {
    /// Its path.
    pub path: PathBuf,
    /// The path below its root.
    pub relative: PathBuf,
    /// The crash whose dump lay there before another one took its place.
    pub earlier: Option<String>,
    /// When it was stored, it looked so.
    pub stat: FileStat,
    /// Summaries and facts, in the order of an archive's members.
    pub records: Vec<(Summary, Option<Vec<u8>>)>,
    /// Records of it that this version cannot read.
    pub unreadable: u64,
}

impl Store {
    /// What counts of every summary, in no order; see [`counted`]. One that this version cannot read is left out
    /// and counted.
    ///
    /// # Errors
    /// Those of the database, and those of `take`.
    pub fn each_summary<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(Summary) -> Result<(), E>,
    ) -> Result<u64, E> {
        let sql = |error: rusqlite::Error| E::from(StoreError::from(error));
        let mut unreadable = 0;
        // As the records lie in the file: in the order of paths each would be read from another place of it.
        let mut select = self
            .connection
            .prepare(
                "SELECT outline, first_seen, last_seen, earlier = '', record.id
                 FROM record CROSS JOIN file ON file.id = record.file",
            )
            .map_err(sql)?;
        let mut whole = self
            .connection
            .prepare("SELECT summary FROM record WHERE id = ?1")
            .map_err(sql)?;
        let mut rows = select.query([]).map_err(sql)?;
        let mut counted = self.rows();
        while let Some(row) = rows.next().map_err(sql)? {
            counted.count()?;
            let outline = row.get_ref(0).map_err(sql)?.as_blob_or_null();
            let kept = outline.ok().flatten().and_then(counted::unpack);
            let summary = match kept {
                Some(summary) => Some(summary),
                // Another version of the program wrote it.
                None => {
                    let id: i64 = row.get(4).map_err(sql)?;
                    let text = |row: &Row<'_>| row.get::<_, String>(0);
                    let text = whole.query_row([id], text).map_err(sql)?;
                    serde_json::from_str(&text).ok()
                }
            };
            match summary {
                Some(mut summary) => {
                    summary.seen = Some(Seen {
                        first: row.get(1).map_err(sql)?,
                        last: row.get(2).map_err(sql)?,
                        there: row.get(3).map_err(sql)?,
                    });
                    take(summary)?;
                }
                None => unreadable += 1,
            }
        }
        Ok(unreadable)
    }

    /// Every summary and its line, in the order in which they were stored; one that this version cannot read is left
    /// out and counted.
    ///
    /// # Errors
    /// Those of the database, and those of `take`.
    pub fn each_line<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(Summary, &str) -> Result<(), E>,
    ) -> Result<u64, E> {
        let sql = |error: rusqlite::Error| E::from(StoreError::from(error));
        let mut select = self
            .connection
            .prepare(
                "SELECT summary, first_seen, last_seen, earlier = ''
                 FROM record CROSS JOIN file ON file.id = record.file",
            )
            .map_err(sql)?;
        let mut unreadable = 0;
        let mut rows = select.query([]).map_err(sql)?;
        let mut counted = self.rows();
        while let Some(row) = rows.next().map_err(sql)? {
            counted.count()?;
            let line: String = row.get(0).map_err(sql)?;
            let Ok(mut summary) = serde_json::from_str::<Summary>(&line) else {
                unreadable += 1;
                continue;
            };
            summary.seen = Some(Seen {
                first: row.get(1).map_err(sql)?,
                last: row.get(2).map_err(sql)?,
                there: row.get(3).map_err(sql)?,
            });
            take(summary, &line)?;
        }
        Ok(unreadable)
    }

    /// Every file that gave records, in the order of paths.
    ///
    /// # Errors
    /// Those of the database, and those of `take`.
    pub fn each_file<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(StoredFile) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql = |error: rusqlite::Error| E::from(StoreError::from(error));
        let mut files = self
            .connection
            .prepare(
                "SELECT id, path, relative, size, modified, number, earlier FROM file
                 WHERE skipped IS NULL ORDER BY path, earlier",
            )
            .map_err(sql)?;
        let mut records = self
            .connection
            .prepare(
                "SELECT summary, facts FROM record LEFT JOIN facts ON facts.record = record.id
                 WHERE file = ?1 ORDER BY position",
            )
            .map_err(sql)?;
        let mut rows = files.query([]).map_err(sql)?;
        let mut counted = self.rows();
        while let Some(row) = rows.next().map_err(sql)? {
            counted.count()?;
            let id: i64 = row.get(0).map_err(sql)?;
            let path = |index| -> Result<PathBuf, E> {
                let bytes: Vec<u8> = row.get(index).map_err(sql)?;
                Ok(crate::source::path_from_bytes(&bytes).unwrap_or_default())
            };
            let stat = FileStat {
                size: row.get::<_, i64>(3).map_err(sql)?.cast_unsigned(),
                modified: row.get(4).map_err(sql)?,
                file: row
                    .get::<_, Option<i64>>(5)
                    .map_err(sql)?
                    .map(i64::cast_unsigned),
            };
            let mut found = Vec::new();
            let mut own = records.query([id]).map_err(sql)?;
            while let Some(row) = own.next().map_err(sql)? {
                counted.count()?;
                found.push((
                    row.get::<_, String>(0).map_err(sql)?,
                    row.get::<_, Option<Vec<u8>>>(1).map_err(sql)?,
                ));
            }
            let stored = found.len();
            let readable: Vec<_> = found
                .into_iter()
                .filter_map(|(text, facts)| Some((serde_json::from_str(&text).ok()?, facts)))
                .collect();
            let file = StoredFile {
                path: path(1)?,
                relative: path(2)?,
                earlier: Some(row.get::<_, String>(6).map_err(sql)?)
                    .filter(|crash| !crash.is_empty()),
                stat,
                unreadable: stored.saturating_sub(readable.len()) as u64,
                records: readable,
            };
            take(file)?;
        }
        Ok(())
    }

    /// The closing records of its runs, in their order.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn runs(&self) -> Result<Vec<ScanRecord>, StoreError> {
        let mut select = self
            .connection
            .prepare("SELECT scan FROM run ORDER BY id")?;
        let mut counted = self.rows();
        let mut runs = Vec::new();
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            counted.count()?;
            runs.extend(serde_json::from_str(&row.get::<_, String>(0)?).ok());
        }
        Ok(runs)
    }

    /// How many files and records it holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn counts(&self) -> Result<(u64, u64), StoreError> {
        let count = |table: &str| -> Result<u64, StoreError> {
            let most = self.rows().left.saturating_add(1);
            let n: i64 = self.connection.query_row(
                &format!("SELECT count(*) FROM (SELECT 1 FROM {table} LIMIT ?1)"),
                [most.cast_signed()],
                |row| row.get(0),
            )?;
            match n.cast_unsigned() < most {
                true => Ok(n.cast_unsigned()),
                false => Err(self.rows().none_left()),
            }
        };
        Ok((count("file")?, count("record")?))
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::super::StoreWriter;
    use super::*;
    use crate::report::summary::MachineName;
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
            store: Store::open(path).unwrap(),
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
        let statement = lookup.store.connection.prepare_cached(LOOK).unwrap();
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
        let found = lookup.store.connection.query_row(select, [], machine);
        assert_eq!(found.unwrap(), "HOST");
    }
}
