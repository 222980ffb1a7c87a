//! The seam where operating systems differ: what tells whether a file is still the same.

use std::fs::{DirEntry, Metadata};
use std::time::UNIX_EPOCH;

/// What tells whether a file is still the one that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileStat {
    /// Size in bytes.
    pub size: u64,
    /// Last modification in nanoseconds since 1970-01-01 UTC; `None` when unknown.
    pub modified: Option<i64>,
    /// Number of the file on its file system; `None` where there is none.
    pub file: Option<u64>,
}

impl FileStat {
    /// That of `found`.
    pub fn of(found: &Metadata) -> FileStat {
        let modified =
            found
                .modified()
                .ok()
                .and_then(|time| match time.duration_since(UNIX_EPOCH) {
                    Ok(after) => i64::try_from(after.as_nanos()).ok(),
                    Err(before) => i64::try_from(before.duration().as_nanos())
                        .ok()
                        .and_then(i64::checked_neg),
                });
        FileStat {
            size: found.len(),
            modified,
            file: file_number(found),
        }
    }
}

/// The number that a directory gives for an entry, without a look at the file.
#[cfg(unix)]
pub fn entry_number(entry: &DirEntry) -> Option<u64> {
    Some(std::os::unix::fs::DirEntryExt::ino(entry))
}

/// The number that a directory gives for an entry.
#[cfg(not(unix))]
pub fn entry_number(_: &DirEntry) -> Option<u64> {
    None
}

#[cfg(unix)]
fn file_number(found: &Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::ino(found))
}

#[cfg(not(unix))]
fn file_number(_: &Metadata) -> Option<u64> {
    None
}
