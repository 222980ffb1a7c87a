//! Reading a whole store, for the fleet's commands.

use std::path::PathBuf;

use rusqlite::{OptionalExtension, Row};

use super::{Store, StoreError};
use crate::report::counted;
use crate::report::records::ScanRecord;
use crate::report::summary::{Seen, Summary};
use crate::scan::FileStat;

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
