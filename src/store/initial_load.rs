//! The initial load of a new store. SQLite writes every page twice, to its log and to the file, and waits for
//! the disk after each piece of both: a scan stood still for half of its time.
//!
//! A new store holds nothing that could be lost and grows at its end. So SQLite keeps a rollback journal,
//! which holds only the few pages that change, and waits for nothing; a thread moves what is written to
//! the disk beside the scan, and at the end everything is waited for. A killed program leaves a whole
//! store all the same: what was written is the system's, and a transaction that was cut off is taken back.
//! Only a system that fails before the end can leave a damaged one, which opening it tells
//! (`Store::create`).

use std::fs::File;
use std::io;
use std::sync::Arc;

use super::{Store, StoreError};
use crate::scan::Writeback;

/// An initial load that goes on.
pub(super) struct InitialLoad {
    /// Of the store's file. Closing that would take SQLite's own locks with it (POSIX locks are a process's,
    /// not a handle's): it has to outlive the connection.
    writeback: Writeback,
    settled: bool,
}

impl InitialLoad {
    /// Starts the load of a store that was made just now; `None` for others, which are written with care.
    pub fn start(store: &Store) -> Option<InitialLoad> {
        if !store.fresh {
            return None;
        }
        let file = File::options()
            .read(true)
            .write(true)
            .open(&store.path)
            .ok()?;
        let load = InitialLoad {
            writeback: Writeback::new(Arc::new(file)),
            settled: false,
        };
        let pragmas = "PRAGMA journal_mode = DELETE; PRAGMA synchronous = OFF;";
        let begun = store
            .mark_loading(true)
            // The mark itself is on the disk before anything else may be.
            .and_then(|()| store.checkpoint())
            .and_then(|()| Ok(store.connection.execute_batch(pragmas)?));
        // With an error the store is written like any other; the file stays open all the same.
        Some(InitialLoad {
            settled: begun.is_err(),
            ..load
        })
    }

    /// Everything is on the disk, and the store is written like any other.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Moves what was written to the disk, unless that still goes on.
    ///
    /// # Errors
    /// What the system said to the last try.
    pub fn push(&mut self) -> io::Result<()> {
        match self.settled {
            true => Ok(()),
            false => self.writeback.push(),
        }
    }

    /// Waits until everything is on the disk. From here on the store is written like any other.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn settle(&mut self, store: &Store) -> Result<(), StoreError> {
        if self.settled {
            return Ok(());
        }
        // Before the disk is waited for, once for all; while another process reads, it stays as it is.
        let _ = store.log();
        store.checkpoint()?;
        self.writeback.finish()?;
        store
            .connection
            .execute_batch("PRAGMA synchronous = NORMAL;")?;
        self.settled = true;
        Ok(())
    }
}
