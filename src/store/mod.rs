//! The result store: facts and summary of each dump in one SQLite file, so that a share is read once.
//!
//! A killed run loses no more than its last second; what is in the file is always whole. Knows files
//! by path, size, time and number; never opens a dump.

mod export;
mod initial_load;
mod lookup;
mod merge;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, ffi};

pub use export::{ExportForm, export};
pub use lookup::StoreCatalogue;
pub use merge::{MergeError, Part, check, merge};
pub use write::StoreWriter;

/// The time of a scan, as SQLite tells it.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')";

/// `PRAGMA application_id`: "KBTR".
const APPLICATION: i32 = 0x4B42_5452;
/// `PRAGMA user_version`: raised when a table changes.
const VERSION: i32 = 3;
/// Bit of `user_version`: the first fill has not ended, and what was written may not be on the disk.
const FILLING: i32 = 1 << 16;
/// Bytes of a page: it holds the facts of five small dumps, or twelve summaries. With smaller ones a quarter of the
/// file was the ends of pages that the next facts did not fit in.
const PAGE: u32 = 64 * 1024;
/// Pages kept in memory, in KiB: about one transaction's.
const CACHE: u32 = 16 * 1024;
/// Pages in the log before they are moved to the file, each time with two waits for the disk.
const LOG_PAGES: u32 = 1024;
/// A statement keeps its plan whatever is bound to it: with the statistics of a large store SQLite planned
/// every look-up anew (sqlite.org/queryplanner-ng.html, section 3.1).
const STABLE_PLANS: DbConfig = DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG;
/// Longest value in a store, in bytes: a summary, or the facts of one dump.
const LONGEST_VALUE: i32 = 64 << 20;
/// Largest store that is looked through before it is read, in bytes: a tenth of a second. What a larger one may cost
/// is bounded by [`Rows`].
const LOOKED_THROUGH: u64 = 64 << 20;
/// As [`LOOKED_THROUGH`], before a scan adds to it: a rescan takes less than a second.
const LOOKED_THROUGH_BY_SCAN: u64 = 16 << 20;
/// Bytes that a row takes at least, of any table: times, names and JSON are in each.
const SHORTEST_ROW: u64 = 64;
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
CREATE TABLE file (
    id       INTEGER PRIMARY KEY,
    path     BLOB NOT NULL,         -- bytes of the path
    relative BLOB NOT NULL,         -- bytes of the path below its root
    size     INTEGER NOT NULL,      -- bytes
    modified INTEGER,               -- nanoseconds since 1970-01-01 UTC
    number   INTEGER,               -- inode
    made_by  TEXT NOT NULL,         -- program, knowledge and options
    skipped  TEXT,                  -- reason, when it is no dump
    message  TEXT,                  -- the reason for a person
    -- The crash whose dump lay at the path before another one took its place (MEMORY.DMP is written anew
    -- at every crash); empty for what lies there now.
    earlier    TEXT NOT NULL DEFAULT '',
    first_seen TEXT NOT NULL,       -- RFC 3339 UTC, of the scan that met it first
    last_seen  TEXT NOT NULL,       -- of the last one that met it, to the day
    UNIQUE (path, earlier)
);
CREATE TABLE record (
    id         INTEGER PRIMARY KEY,
    file       INTEGER NOT NULL REFERENCES file(id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,    -- in an archive
    machine    TEXT,
    crash_id   TEXT,
    crash_time TEXT,                -- RFC 3339 UTC
    verdict    TEXT,
    bucket     TEXT,
    outline    BLOB NOT NULL,       -- what counts and machine records need of the summary
    summary    TEXT NOT NULL,       -- the summary record, JSON
    UNIQUE (file, position)
);
-- Findings by crash: two files of one crash are told once.
CREATE INDEX finding ON record (crash_id)
    WHERE verdict NOT IN ('does-not-apply', 'undetermined');
-- Apart from the records, which every rescan and every question about the fleet reads.
CREATE TABLE facts (
    record INTEGER PRIMARY KEY REFERENCES record(id) ON DELETE CASCADE,
    facts  BLOB NOT NULL            -- packed, see src/facts/packed.rs
);
CREATE TABLE run (
    id   INTEGER PRIMARY KEY,
    scan TEXT NOT NULL              -- the scan record, JSON
);
";

/// The table of marks, as SQLite keeps its text: made when there is one.
const MARK: &str = "CREATE TABLE mark (name TEXT PRIMARY KEY, value TEXT NOT NULL)";

/// How often, and after which pause, a store is asked to be without its log at the end of a run: half a second in all.
const LEAVE_TRIES: u32 = 100;
const LEAVE_PAUSE: Duration = Duration::from_millis(5);

/// What goes wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database says so.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The file cannot be made safe.
    #[error("writing it to the disk failed: {0}")]
    Sync(#[from] std::io::Error),
    /// A database of something else.
    #[error("not a result store of kbtriage")]
    Foreign,
    /// The scan that made it never ended, and the computer did before everything was on the disk.
    #[error(
        "the scan that made this store was cut off, and it is damaged ({0}): delete it and scan again"
    )]
    Damaged(String),
    /// A file that says it is a store, and holds what no scan makes.
    #[error("not as a scan makes it: it holds other tables, views or triggers, and is not used")]
    Altered,
    /// A directory; a pipe, a socket or a device, of which opening one can wait for ever.
    #[error("no file: a store is one")]
    NoFile,
    /// No file can have this name.
    #[error(transparent)]
    Name(std::io::Error),
    /// Another program has it open for itself alone.
    #[error("another program holds this file open: close it there, or name another")]
    Held,
    /// It can be read and not written to.
    #[error("may not be written to: look at its rights and at its folder's")]
    ReadOnly,
    /// Its content is damaged.
    #[error("the store is damaged ({0}): scan again")]
    Broken(String),
    /// A store of another version of this program.
    #[error(
        "a result store of version {0}; this program knows version {VERSION}: scan into a new one"
    )]
    Version(i32),
}

impl StoreError {
    /// True where the disk that is written to has no room left.
    fn is_full(&self) -> bool {
        match self {
            StoreError::Sqlite(error) => {
                error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            StoreError::Sync(error) => error.kind() == std::io::ErrorKind::StorageFull,
            _ => false,
        }
    }
}

impl From<StoreError> for std::io::Error {
    fn from(error: StoreError) -> std::io::Error {
        std::io::Error::other(error)
    }
}

/// An open store.
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// It was made just now.
    fresh: bool,
}

impl Store {
    /// Opens the store at `path` for writing; makes it when there is none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn create(path: &Path) -> Result<Store, StoreError> {
        require_file(path)?;
        crate::source::platform::can_be_named(path).map_err(StoreError::Name)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(plain(path), flags)?;
        // SQLite opens it for reading then, and says so at the first write.
        if connection.is_readonly("main")? {
            return Err(StoreError::ReadOnly);
        }
        guard(&connection)?;
        let empty: bool = connection.query_row(
            "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)",
            [],
            |row| row.get(0),
        )?;
        if empty {
            connection.execute_batch(&format!(
                "PRAGMA page_size = {PAGE};
                 PRAGMA journal_mode = WAL;
                 BEGIN IMMEDIATE;
                 PRAGMA application_id = {APPLICATION};
                 PRAGMA user_version = {VERSION};
                 {SCHEMA}
                 COMMIT;"
            ))?;
        }
        let store = Store {
            connection,
            path: path.to_owned(),
            fresh: empty,
        };
        store.check()?;
        if !empty {
            store.check_first_fill()?;
            store.look_through(LOOKED_THROUGH_BY_SCAN)?;
        }
        // A first fill that was cut off wrote without a log; while another process reads, that stays so.
        let _ = store.log();
        store.connection.execute_batch(&format!(
            "PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON; PRAGMA cache_size = -{CACHE};
             PRAGMA wal_autocheckpoint = {LOG_PAGES};"
        ))?;
        Ok(store)
    }

    /// Opens the store at `path` for reading.
    ///
    /// # Errors
    /// [`StoreError`]; one that does not exist is not made.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let store = Store::open_unseen(path)?;
        store.look_through(LOOKED_THROUGH)?;
        Ok(store)
    }

    /// As [`Store::open`], of a store that this process opened before.
    fn open_unseen(path: &Path) -> Result<Store, StoreError> {
        match Store::open_as_it_is(path) {
            Err(StoreError::Sqlite(error)) if is_cut_off(&error) => {
                roll_back(path)?;
                Store::open_as_it_is(path)
            }
            opened => opened,
        }
    }

    fn open_as_it_is(path: &Path) -> Result<Store, StoreError> {
        require_file(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(plain(path), flags)?;
        guard(&connection)?;
        let store = Store {
            connection,
            path: path.to_owned(),
            fresh: false,
        };
        store.check()?;
        Ok(store)
    }

    fn pragma(&self, name: &str) -> Result<i32, StoreError> {
        Ok(self
            .connection
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?)
    }

    /// Moves the whole log to the file.
    fn checkpoint(&self) -> Result<(), StoreError> {
        // A row: whether others kept it from that, and two counts.
        let _: i64 = self
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        Ok(())
    }

    /// Leaves a store without a log: readers should not need it beside the file, nor to be allowed to write there. A worker
    /// that just ends may have the store open for a moment still; for another program it is not waited longer.
    fn leave_log(&self) {
        let leave = "PRAGMA journal_mode = DELETE";
        for _ in 0..LEAVE_TRIES {
            let mode: Result<String, _> = self.connection.query_row(leave, [], |row| row.get(0));
            if mode.is_ok_and(|mode| mode == "delete") {
                return;
            }
            std::thread::sleep(LEAVE_PAUSE);
        }
    }

    /// Writes through a log from here on: others read while this process writes.
    fn log(&self) -> Result<(), StoreError> {
        Ok(self.connection.execute_batch("PRAGMA journal_mode = WAL")?)
    }

    fn is_loading(&self) -> Result<bool, StoreError> {
        Ok(self.pragma("user_version")? & FILLING != 0)
    }

    fn mark_loading(&self, on: bool) -> Result<(), StoreError> {
        let version = if on { VERSION | FILLING } else { VERSION };
        let text = format!("PRAGMA user_version = {version}");
        Ok(self.connection.execute_batch(&text)?)
    }

    /// A store whose first fill was cut off, before the disk was waited for.
    fn check_first_fill(&self) -> Result<(), StoreError> {
        if !self.is_loading()? {
            return Ok(());
        }
        let found: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(StoreError::Damaged(found)),
        }
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.pragma("application_id")? != APPLICATION {
            return Err(StoreError::Foreign);
        }
        match self.pragma("user_version")? & !FILLING {
            VERSION => self.check_schema(),
            other => Err(StoreError::Version(other)),
        }
    }

    /// Only what a scan makes is in there: no view, no trigger, no table of another form. Whoever made a file
    /// decides what its schema does when it is asked.
    fn check_schema(&self) -> Result<(), StoreError> {
        let expected = Connection::open_in_memory()?;
        expected.execute_batch(SCHEMA)?;
        let expected = schema_of(&expected)?;
        let mut found = schema_of(&self.connection)?;
        found.retain(|(_, name, sql)| match name.as_str() {
            "mark" => sql != MARK,
            "sqlite_autoindex_mark_1" => !sql.is_empty(),
            _ => true,
        });
        match found == expected {
            true => Ok(()),
            false => Err(StoreError::Altered),
        }
    }

    /// Bytes of its files.
    fn bytes(&self) -> u64 {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let len = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        len(&self.path).saturating_add(len(Path::new(&log)))
    }

    /// Looks through a store of at most so many bytes.
    fn look_through(&self, most: u64) -> Result<(), StoreError> {
        match self.bytes() <= most {
            true => self.check_whole(),
            false => Ok(()),
        }
    }

    /// The rows that one question may give.
    fn rows(&self) -> Rows {
        Rows {
            left: self.bytes() / SHORTEST_ROW,
        }
    }

    /// Looks through the whole file before a store of somebody else is used.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that is wrong.
    pub fn check_whole(&self) -> Result<(), StoreError> {
        let found: String = self
            .connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        match found.as_str() {
            "ok" => Ok(()),
            _ => Err(StoreError::Broken(found)),
        }
    }
}

/// Counts rows: a file whose pages name one page again and again has no end of them, and no more fit in than its
/// bytes have room for.
struct Rows {
    left: u64,
}

impl Rows {
    /// Takes note of one.
    fn count(&mut self) -> Result<(), StoreError> {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(self.none_left()),
        }
    }

    fn none_left(&self) -> StoreError {
        StoreError::Broken("it has more rows than fit in its bytes".to_owned())
    }
}

/// Kind, name and text of everything in a schema, but for what SQLite keeps itself.
fn schema_of(connection: &Connection) -> Result<Vec<(String, String, String)>, StoreError> {
    let mut select = connection.prepare(
        "SELECT type, name, coalesce(sql, '') FROM sqlite_schema
         WHERE name NOT GLOB 'sqlite_stat[0-9]' ORDER BY type, name LIMIT 64",
    )?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Takes from a connection what a hostile file could use ("Defense against the dark arts", sqlite.org): code in
/// its schema, cells that lie about their size, values of any length.
fn guard(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(BUSY)?;
    for (option, on) in [
        (STABLE_PLANS, true),
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false),
    ] {
        connection.set_db_config(option, on)?;
    }
    connection.execute_batch("PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;")?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, LONGEST_VALUE),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
        (Limit::SQLITE_LIMIT_VDBE_OP, 25_000),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 8),
    ] {
        connection.set_limit(limit, most)?;
    }
    Ok(())
}

/// True when a killed program left a transaction half written, which only a writer takes back.
fn is_cut_off(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == ffi::SQLITE_READONLY_ROLLBACK)
}

/// Takes back the transaction that a killed program left half written.
fn roll_back(path: &Path) -> Result<(), StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(plain(path), flags)?;
    guard(&connection)?;
    // Any read does it.
    Ok(connection.query_row("PRAGMA schema_version", [], |_| Ok(()))?)
}

/// Refuses what is there and is no file.
fn require_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(StoreError::NoFile),
        // The library says of it only that it cannot be opened.
        Ok(_) if cfg!(windows) => match std::fs::File::open(path) {
            Err(error) if crate::source::platform::is_held(&error) => Err(StoreError::Held),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// A path that the library takes for nothing else: it is built to read `file:...` as an address with options,
/// whatever the flags.
fn plain(path: &Path) -> std::borrow::Cow<'_, Path> {
    match path_bytes(path).starts_with(b"file:") {
        true => Path::new(".").join(path).into(),
        false => path.into(),
    }
}

/// The bytes of a path, as they are kept.
fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
