//! Files of stores: reading with a limit, writing so that nobody ever sees half a file.
//!
//! Writers put a file beside its place and rename it, so several processes may fill one store.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Entries of one directory that are looked through for a name in other case.
const MAX_ENTRIES: usize = 200_000;

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// What the system says, or `InvalidData` for a larger file or something that is no file.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file",
        ));
    }
    let file = File::open(path)?;
    let len = file.metadata()?.len();
    let too_large = || io::Error::new(io::ErrorKind::InvalidData, "larger than any such file");
    if len > limit {
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or_default());
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(too_large()),
        false => Ok(bytes),
    }
}

/// Writes a file whole or not at all; creates the directories above it.
///
/// # Errors
/// What the system says; nothing is left behind.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = folder.join(format!(".kbtriage-{}-{number}.tmp", std::process::id()));
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        drop(file);
        fs::rename(&temporary, path)
    };
    write().or_else(|error| {
        let _ = fs::remove_file(&temporary);
        // On Windows a file that another process has just put there and reads cannot be replaced.
        let there = fs::metadata(path);
        match there.is_ok_and(|m| m.is_file() && m.len() == bytes.len() as u64) {
            true => Ok(()),
            false => Err(error),
        }
    })
}

/// The entry of `folder` with that name, or with that name in other case.
///
/// `name` must be one component; callers pass checked names and keys only.
pub fn child(folder: &Path, name: &str) -> Option<PathBuf> {
    let exact = folder.join(name);
    if exact.symlink_metadata().is_ok() {
        return Some(exact);
    }
    if cfg!(windows) {
        return None;
    }
    let lower = folder.join(name.to_ascii_lowercase());
    if lower.symlink_metadata().is_ok() {
        return Some(lower);
    }
    let mut fitting: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .take(MAX_ENTRIES)
        .flatten()
        .filter(|entry| {
            let entry = entry.file_name();
            entry.to_str().is_some_and(|e| e.eq_ignore_ascii_case(name))
        })
        .map(|entry| entry.path())
        .collect();
    fitting.sort();
    fitting.into_iter().next()
}
