//! The result store: facts and summary of each dump in one SQLite file, so that a share is read once.
//!
//! A killed run loses no more than its last second; what is in the file is always whole. Knows files
//! by path, size, time and number; never opens a dump.

mod filling;
mod merge;
mod read;
mod write;

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

pub use merge::{MergeError, Part, check, merge};
pub use read::{StoreCatalogue, StoredFile};
pub use write::StoreWriter;

/// `PRAGMA application_id`: "KBTR".
const APPLICATION: i32 = 0x4B42_5452;
/// `PRAGMA user_version`: raised when a table changes.
const VERSION: i32 = 1;
/// Bit of `user_version`: the first fill has not ended, and what was written may not be on the disk.
const FILLING: i32 = 1 << 16;
/// Bytes of a page: summary and facts of a small dump lie in two or three.
const PAGE: u32 = 16 * 1024;
/// Pages kept in memory, in KiB: about one transaction's.
const CACHE: u32 = 16 * 1024;
/// Pages in the log before they are moved to the file, each time with two waits for the disk.
const LOG_PAGES: u32 = 4096;
/// How long another process may hold the file.
const BUSY: Duration = Duration::from_secs(30);

const SCHEMA: &str = "
CREATE TABLE file (
    id       INTEGER PRIMARY KEY,
    path     BLOB NOT NULL UNIQUE,  -- bytes of the path
    relative BLOB NOT NULL,         -- bytes of the path below its root
    size     INTEGER NOT NULL,      -- bytes
    modified INTEGER,               -- nanoseconds since 1970-01-01 UTC
    number   INTEGER,               -- inode
    made_by  TEXT NOT NULL,         -- program, knowledge and options
    skipped  TEXT,                  -- reason, when it is no dump
    message  TEXT                   -- the reason for a person
);
CREATE TABLE record (
    file       INTEGER NOT NULL REFERENCES file(id) ON DELETE CASCADE,
    position   INTEGER NOT NULL,    -- in an archive
    machine    TEXT,
    crash_id   TEXT,
    crash_time TEXT,                -- RFC 3339 UTC
    verdict    TEXT,
    bucket     TEXT,
    summary    TEXT NOT NULL,       -- the summary record, JSON
    facts      BLOB,                -- deflated JSON
    UNIQUE (file, position)
);
CREATE INDEX record_by_machine ON record(machine);
CREATE INDEX record_by_time ON record(crash_time);
CREATE TABLE run (
    id   INTEGER PRIMARY KEY,
    scan TEXT NOT NULL              -- the scan record, JSON
);
";

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
    /// A store of another version of this program.
    #[error("a result store of version {0}: this program knows version {VERSION}")]
    Version(i32),
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
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
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
        }
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
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
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

    fn is_filling(&self) -> Result<bool, StoreError> {
        Ok(self.pragma("user_version")? & FILLING != 0)
    }

    fn mark_filling(&self, on: bool) -> Result<(), StoreError> {
        let version = if on { VERSION | FILLING } else { VERSION };
        let text = format!("PRAGMA user_version = {version}");
        Ok(self.connection.execute_batch(&text)?)
    }

    /// A store whose first fill was cut off, before the disk was waited for.
    fn check_first_fill(&self) -> Result<(), StoreError> {
        if !self.is_filling()? {
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
            VERSION => Ok(()),
            other => Err(StoreError::Version(other)),
        }
    }
}

/// The bytes of a path, as they are kept.
fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_encoded_bytes()
}
