//! Reading from a store: what is known of a file, and everything for the fleet's commands.

use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, path_bytes};
use crate::report::records::ScanRecord;
use crate::report::summary::Summary;
use crate::scan::{Catalogue, FileStat, Lookup, Skip, Stored, StoredOutcome};

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
        let store = Store::open(&self.path).ok()?;
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

struct StoreLookup {
    store: Store,
    made_by: String,
}

impl StoreLookup {
    fn look(&self, path: &Path) -> Result<Option<Stored>, StoreError> {
        let found = self
            .store
            .connection
            .prepare_cached(
                "SELECT id, size, modified, number, made_by = ?2, skipped, message
                 FROM file WHERE path = ?1",
            )?
            .query_row(params![path_bytes(path), self.made_by], |row| {
                let stat = FileStat {
                    size: row.get::<_, i64>(1)?.cast_unsigned(),
                    modified: row.get(2)?,
                    file: row.get::<_, Option<i64>>(3)?.map(i64::cast_unsigned),
                };
                let skip: Option<String> = row.get(5)?;
                let message: Option<String> = row.get(6)?;
                Ok((row.get::<_, i64>(0)?, stat, row.get(4)?, skip, message))
            })
            .optional()?;
        let Some((id, stat, current, skip, message)) = found else {
            return Ok(None);
        };
        let outcome = match skip {
            Some(reason) => StoredOutcome::Skipped(Skip::new(reason, message.unwrap_or_default())),
            None => StoredOutcome::Records(lines(&self.store, id)?),
        };
        Ok(Some(Stored {
            id,
            stat,
            outcome,
            current,
        }))
    }
}

fn lines(store: &Store, file: i64) -> Result<Vec<String>, StoreError> {
    let mut select = store
        .connection
        .prepare_cached("SELECT summary FROM record WHERE file = ?1 ORDER BY position")?;
    let lines = select.query_map([file], |row| row.get(0))?;
    Ok(lines.collect::<Result<_, _>>()?)
}

impl Lookup for StoreLookup {
    fn find(&mut self, path: &Path) -> Option<Stored> {
        // A store that cannot be read knows nothing: the file is read again.
        self.look(path).ok().flatten()
    }

    fn facts(&mut self, id: i64, position: usize) -> Option<Vec<u8>> {
        self.store
            .connection
            .prepare_cached("SELECT facts FROM record WHERE file = ?1 AND position = ?2")
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
    /// When it was stored, it looked so.
    pub stat: FileStat,
    /// Summaries and facts, in the order of an archive's members.
    pub records: Vec<(Summary, Option<Vec<u8>>)>,
}

impl Store {
    /// Every summary, in the order of paths. One that this version cannot read is left out and
    /// counted.
    ///
    /// # Errors
    /// Those of the database, and those of `take`.
    pub fn each_summary<E: From<StoreError>>(
        &self,
        mut take: impl FnMut(Summary) -> Result<(), E>,
    ) -> Result<u64, E> {
        let sql = |error: rusqlite::Error| E::from(StoreError::from(error));
        let mut unreadable = 0;
        let mut select = self
            .connection
            .prepare(
                "SELECT summary FROM record JOIN file ON file.id = record.file
                 ORDER BY path, position",
            )
            .map_err(sql)?;
        let mut rows = select.query([]).map_err(sql)?;
        while let Some(row) = rows.next().map_err(sql)? {
            let text: String = row.get(0).map_err(sql)?;
            match serde_json::from_str(&text) {
                Ok(summary) => take(summary)?,
                Err(_) => unreadable += 1,
            }
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
                "SELECT id, path, relative, size, modified, number FROM file
                 WHERE skipped IS NULL ORDER BY path",
            )
            .map_err(sql)?;
        let mut records = self
            .connection
            .prepare("SELECT summary, facts FROM record WHERE file = ?1 ORDER BY position")
            .map_err(sql)?;
        let mut rows = files.query([]).map_err(sql)?;
        while let Some(row) = rows.next().map_err(sql)? {
            let id: i64 = row.get(0).map_err(sql)?;
            let path = |index| -> Result<PathBuf, E> {
                let bytes: Vec<u8> = row.get(index).map_err(sql)?;
                Ok(crate::scan::path_from_bytes(bytes).unwrap_or_default())
            };
            let stat = FileStat {
                size: row.get::<_, i64>(3).map_err(sql)?.cast_unsigned(),
                modified: row.get(4).map_err(sql)?,
                file: row
                    .get::<_, Option<i64>>(5)
                    .map_err(sql)?
                    .map(i64::cast_unsigned),
            };
            let found = records
                .query_map([id], |row| {
                    Ok((row.get::<_, String>(0)?, row.get::<_, Option<Vec<u8>>>(1)?))
                })
                .map_err(sql)?
                .collect::<Result<Vec<_>, _>>()
                .map_err(sql)?;
            let file = StoredFile {
                path: path(1)?,
                relative: path(2)?,
                stat,
                records: found
                    .into_iter()
                    .filter_map(|(text, facts)| Some((serde_json::from_str(&text).ok()?, facts)))
                    .collect(),
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
        let texts = select
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(texts
            .iter()
            .filter_map(|text| serde_json::from_str(text).ok())
            .collect())
    }

    /// How many files and records it holds.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn counts(&self) -> Result<(u64, u64), StoreError> {
        let count = |table: &str| -> Result<u64, StoreError> {
            let n: i64 =
                self.connection
                    .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                        row.get(0)
                    })?;
            Ok(n.cast_unsigned())
        };
        Ok((count("file")?, count("record")?))
    }
}
