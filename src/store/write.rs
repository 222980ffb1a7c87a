//! Writing to a store: one thread, batched transactions.

use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension, params};

use super::initial_load::InitialLoad;
use super::{NOW, Store, StoreError, path_bytes};
use crate::report::counted;
use crate::report::records::ScanRecord;
use crate::scan::{Done, FileStat, Keeper, Outcome, Part, Record, Skip};

/// Entries in one transaction.
const BATCH: u32 = 500;
/// Longest time until what was written is safe.
const INTERVAL: Duration = Duration::from_millis(500);

/// Writes results as they come.
pub struct StoreWriter {
    store: Store,
    /// Closed after the store: see there.
    load: Option<InitialLoad>,
    made_by: String,
    /// Records of files that no run before had seen; `None` in a store's first run, where all are.
    new_records: Option<u64>,
    /// The file whose parts come now is a new one.
    grows: bool,
    /// Crashes of the file that comes now were set aside: another content lay at its path.
    aside: bool,
    pending: u32,
    since: Instant,
}

/// The crashes of records, those that are known.
fn crashes(records: &[Record]) -> Vec<&str> {
    let crashes = records.iter().map(|record| &record.summary.crash_id);
    crashes.filter_map(Option::as_deref).collect()
}

impl StoreWriter {
    /// A writer of results that `made_by` names the origin of.
    pub fn new(store: Store, made_by: String) -> StoreWriter {
        StoreWriter {
            new_records: (!store.fresh).then_some(0),
            grows: false,
            aside: false,
            load: InitialLoad::start(&store),
            store,
            made_by,
            pending: 0,
            since: Instant::now(),
        }
    }

    fn add(&mut self, done: &Done) -> Result<(), StoreError> {
        let Some(stat) = done.stat else {
            return Ok(());
        };
        let (records, skip): (&[Record], _) = match &done.outcome {
            Outcome::Records(records) => (records, None),
            // What is elsewhere may come back without a new time, and what grows is looked at again.
            Outcome::Skipped(skip)
                if matches!(skip.reason.as_ref(), "offline" | "growing" | "vanished") =>
            {
                return Ok(());
            }
            Outcome::Skipped(skip) => (&[], Some(skip)),
            _ => return Ok(()),
        };
        if self.pending == 0 {
            self.store.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.since = Instant::now();
        }
        // What is not whole yet must not be taken for it by a later run: it has another size till then.
        let shown = match done.part {
            Part::First => FileStat {
                size: u64::MAX,
                ..stat
            },
            Part::Whole | Part::Next | Part::Last => stat,
        };
        let (file, is_new, first) = match done.part {
            Part::Whole | Part::First => {
                let (file, is_new) = self.file(done, &shown, skip, records)?;
                self.grows = is_new;
                (file, is_new, 0i64)
            }
            Part::Next | Part::Last => {
                let (file, first) = self.file_again(done)?;
                if self.aside {
                    self.take_back(file, &crashes(records))?;
                }
                (file, self.grows, first)
            }
        };
        if let Some(count) = self.new_records.as_mut().filter(|_| is_new) {
            *count += records.len() as u64;
        }
        let mut insert = self.store.connection.prepare_cached(
            "INSERT INTO record
             (file, position, machine, crash_id, crash_time, verdict, bucket, outline, summary)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?;
        let mut insert_facts = self
            .store
            .connection
            .prepare_cached("INSERT INTO facts (record, facts) VALUES (?1, ?2)")?;
        for (record, position) in records.iter().zip(first..) {
            let summary = &record.summary;
            let whole;
            // With --detail full the line is another record.
            let line = if record.is_full {
                whole = crate::scan::summary_line(summary);
                &whole
            } else {
                &record.line
            };
            let record_id = insert.insert(params![
                file,
                position,
                summary.machine.as_ref().map(|machine| &machine.name),
                summary.crash_id,
                summary.dump.as_ref().and_then(|d| d.crash_time.as_ref()),
                summary.verdict().map(|verdict| verdict.as_str()),
                summary.bucket.as_ref().map(|bucket| &bucket.key),
                counted::pack(summary),
                line,
            ])?;
            if let Some(facts) = &record.facts {
                insert_facts.execute(params![record_id, facts])?;
            }
        }
        drop((insert, insert_facts));
        if done.part == Part::Last {
            self.store
                .connection
                .prepare_cached("UPDATE file SET size = ?2 WHERE id = ?1")?
                .execute(params![file, stat.size.cast_signed()])?;
        }
        self.pending += 1;
        if self.pending >= BATCH || self.since.elapsed() >= INTERVAL {
            self.commit()?;
        }
        Ok(())
    }

    /// The row of a file, which holds no records yet, and whether it is new.
    fn file(
        &mut self,
        done: &Done,
        stat: &FileStat,
        skip: Option<&Skip>,
        records: &[Record],
    ) -> Result<(i64, bool), StoreError> {
        let earlier = done.earlier.as_deref().unwrap_or_default();
        let connection = &self.store.connection;
        let values = params![
            path_bytes(&done.path),
            path_bytes(&done.relative),
            stat.size.cast_signed(),
            stat.modified,
            stat.file.map(u64::cast_signed),
            self.made_by,
            skip.map(|skip| skip.reason.as_ref()),
            skip.map(|skip| &skip.message),
            earlier,
        ];
        // A new file first: a statement that may change several rows keeps a copy of every page.
        let new = connection
            .prepare_cached(&format!(
                "INSERT OR IGNORE INTO file
                 (path, relative, size, modified, number, made_by, skipped, message, earlier,
                  first_seen, last_seen)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, {NOW}, {NOW})"
            ))?
            .execute(values)?;
        if new == 1 {
            return Ok((connection.last_insert_rowid(), true));
        }
        let file = connection
            .prepare_cached("SELECT id FROM file WHERE path = ?1 AND earlier = ?2")?
            .query_row(params![path_bytes(&done.path), earlier], |row| row.get(0))?;
        // Another version of the program may count the crash of the same file otherwise.
        let changed = connection
            .prepare_cached(
                "SELECT (size, modified, number) IS NOT (?2, ?3, ?4) FROM file WHERE id = ?1",
            )?
            .query_row(
                params![
                    file,
                    stat.size.cast_signed(),
                    stat.modified,
                    stat.file.map(u64::cast_signed)
                ],
                |row| row.get(0),
            )?;
        let now = crashes(records);
        // Of an archive that is read in parts no more is known than the first: all is set aside, and taken back as
        // it is met again.
        let stays: &[&str] = match done.part {
            Part::Whole => &now,
            _ => &[],
        };
        self.aside = done.earlier.is_none() && changed;
        let another = self.aside && self.set_aside(file, stays)?;
        let connection = &self.store.connection;
        connection
            .prepare_cached(
                "UPDATE file SET relative = ?2, size = ?3, modified = ?4, number = ?5,
                     made_by = ?6, skipped = ?7, message = ?8
                 WHERE path = ?1 AND earlier = ?9",
            )?
            .execute(values)?;
        connection
            .prepare_cached(&format!(
                "UPDATE file SET last_seen = {NOW}, first_seen = iif(?2, {NOW}, first_seen)
                 WHERE id = ?1 AND earlier = ''"
            ))?
            .execute(params![file, another])?;
        connection
            .prepare_cached("DELETE FROM record WHERE file = ?1")?
            .execute([file])?;
        if self.aside {
            self.take_back(file, &now)?;
        }
        Ok((file, false))
    }

    /// The row of a file of which a part was written, and the next record's position.
    fn file_again(&self, done: &Done) -> Result<(i64, i64), StoreError> {
        let select =
            "SELECT id, (SELECT coalesce(max(position) + 1, 0) FROM record WHERE file = file.id)
             FROM file WHERE path = ?1 AND earlier = ''";
        let mut select = self.store.connection.prepare_cached(select)?;
        Ok(select.query_row([path_bytes(&done.path)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?)
    }

    /// Keeps the crashes of a file but those that are in it still: each gets a file row of its own. True when none
    /// is in it any more.
    fn set_aside(&self, file: i64, still: &[&str]) -> Result<bool, StoreError> {
        let connection = &self.store.connection;
        let before = connection
            .prepare_cached("SELECT id, crash_id FROM record WHERE file = ?1 AND crash_id <> ''")?
            .query_map([file], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<Vec<(i64, String)>, _>>()?;
        let gone: Vec<&(i64, String)> = before
            .iter()
            .filter(|(_, id)| !still.contains(&id.as_str()))
            .collect();
        for (record, crash) in &gone {
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO file
                     (path, relative, size, modified, number, made_by, earlier, first_seen, last_seen)
                     SELECT path, relative, size, modified, number, made_by, ?2, first_seen, last_seen
                     FROM file WHERE id = ?1",
                )?
                .execute(params![file, crash])?;
            let aside: i64 = connection
                .prepare_cached(
                    "SELECT id FROM file WHERE earlier = ?2
                     AND path = (SELECT path FROM file WHERE id = ?1)",
                )?
                .query_row(params![file, crash], |row| row.get(0))?;
            connection
                .prepare_cached("DELETE FROM record WHERE file = ?1")?
                .execute([aside])?;
            connection
                .prepare_cached("UPDATE record SET file = ?2, position = 0 WHERE id = ?1")?
                .execute(params![record, aside])?;
        }
        Ok(!gone.is_empty() && gone.len() == before.len())
    }

    /// What is back at its path is no earlier crash any more.
    fn take_back(&self, file: i64, crashes: &[&str]) -> Result<(), StoreError> {
        let connection = &self.store.connection;
        for crash in crashes {
            let met_first: Option<String> = connection
                .prepare_cached(
                    "DELETE FROM file WHERE earlier = ?2
                     AND path = (SELECT path FROM file WHERE id = ?1) RETURNING first_seen",
                )?
                .query_row(params![file, crash], |row| row.get(0))
                .optional()?;
            if let Some(met_first) = met_first {
                connection
                    .prepare_cached(
                        "UPDATE file SET first_seen = min(first_seen, ?2) WHERE id = ?1",
                    )?
                    .execute(params![file, met_first])?;
            }
        }
        Ok(())
    }

    /// Dates a file that is as it was.
    fn date(&mut self, done: &Done) -> Result<(), StoreError> {
        if self.pending == 0 {
            self.store.connection.execute_batch("BEGIN IMMEDIATE")?;
            self.since = Instant::now();
        }
        self.store
            .connection
            .prepare_cached(&format!(
                "UPDATE file SET last_seen = {NOW} WHERE path = ?1 AND earlier = ''"
            ))?
            .execute([path_bytes(&done.path)])?;
        self.pending += 1;
        if self.pending >= BATCH {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if self.pending > 0 {
            self.store.connection.execute_batch("COMMIT")?;
            self.pending = 0;
            if let Some(load) = &mut self.load {
                load.push()?;
            }
        }
        Ok(())
    }

    /// Ends the first fill, this run's or one that was cut off: everything is on the disk, and the store is
    /// like any other from here on.
    fn settle(&mut self) -> Result<(), StoreError> {
        self.commit()?;
        if let Some(load) = &mut self.load {
            load.settle(&self.store)?;
        }
        if self.store.is_loading()? {
            self.store.checkpoint()?;
            self.store.mark_loading(false)?;
        }
        Ok(())
    }

    /// Writes the closing record of a run; one record for the same roots and shard is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn finish(&mut self, scan: &ScanRecord) -> Result<(), StoreError> {
        self.settle()?;
        self.run_record(scan)?;
        let tidy = "PRAGMA optimize; PRAGMA wal_checkpoint(TRUNCATE)";
        let _ = self.store.connection.execute_batch(tidy);
        self.store.leave_log();
        Ok(())
    }

    fn run_record(&mut self, scan: &ScanRecord) -> Result<(), StoreError> {
        let text = serde_json::to_string(scan)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let part = serde_json::to_string(&(&scan.roots, &scan.shard))
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let same: Option<i64> = self
            .store
            .connection
            .query_row(
                "SELECT id FROM run WHERE
                 json_array(json(scan -> 'roots'), json(scan -> 'shard')) = json(?1)",
                [&part],
                |row| row.get(0),
            )
            .optional()?;
        match same {
            Some(id) => self
                .store
                .connection
                .execute("UPDATE run SET scan = ?2 WHERE id = ?1", params![id, text])?,
            None => self
                .store
                .connection
                .execute("INSERT INTO run (scan) VALUES (?1)", [text])?,
        };
        if let Some(new) = self.new_records {
            self.store
                .set_mark(super::read::NEW_RECORDS, &new.to_string())?;
        }
        Ok(())
    }
}

impl Keeper for StoreWriter {
    fn begin(&mut self, scan: &ScanRecord) -> std::io::Result<()> {
        self.commit()?;
        // The next look of a watch: others read while it writes.
        if self.load.as_ref().is_none_or(InitialLoad::is_settled) {
            let _ = self.store.log();
        }
        Ok(self.run_record(scan)?)
    }

    fn keep(&mut self, done: &Done) -> std::io::Result<()> {
        Ok(self.add(done)?)
    }

    fn seen(&mut self, done: &Done) -> std::io::Result<()> {
        Ok(self.date(done)?)
    }

    fn knows(&mut self, crash: &str) -> bool {
        let select = "SELECT EXISTS (SELECT 1 FROM record WHERE crash_id = ?1
             AND verdict NOT IN ('does-not-apply', 'undetermined'))";
        let connection = &self.store.connection;
        connection
            .prepare_cached(select)
            .and_then(|mut select| select.query_row([crash], |row| row.get(0)))
            .unwrap_or(false)
    }

    fn tick(&mut self) -> std::io::Result<()> {
        if self.pending > 0 && self.since.elapsed() >= INTERVAL {
            self.commit()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(self.settle()?)
    }

    fn close(&mut self, scan: &ScanRecord) -> std::io::Result<()> {
        Ok(self.finish(scan)?)
    }
}
