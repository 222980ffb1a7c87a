//! The seam where operating systems differ: a file's identity, and files whose content is elsewhere.

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

/// True when a directory says that an entry's content is elsewhere: opening it may fetch it.
#[cfg(windows)]
pub fn is_listed_offline(entry: &DirEntry) -> bool {
    // Windows tells it with the name.
    entry.metadata().is_ok_and(|found| is_offline(&found))
}

/// True when a directory says that an entry's content is elsewhere. Only Windows tells so, and elsewhere opening
/// a file fetches nothing.
#[cfg(not(windows))]
pub fn is_listed_offline(_: &DirEntry) -> bool {
    false
}

#[cfg(unix)]
fn file_number(found: &Metadata) -> Option<u64> {
    Some(std::os::unix::fs::MetadataExt::ino(found))
}

#[cfg(not(unix))]
fn file_number(_: &Metadata) -> Option<u64> {
    None
}

/// True when reading the file would fetch it from somewhere else: a hierarchical store's stub has a
/// size but no blocks. A file that is nothing but a hole looks the same, and holds nothing either.
#[cfg(unix)]
pub fn is_offline(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.len() >= 4096 && found.blocks() == 0
}

/// True when reading the file would fetch it from somewhere else.
#[cfg(windows)]
pub fn is_offline(found: &Metadata) -> bool {
    is_elsewhere(std::os::windows::fs::MetadataExt::file_attributes(found))
}

/// True for the attributes of a file whose content a tape library or a cloud has: `FILE_ATTRIBUTE_OFFLINE`,
/// `FILE_ATTRIBUTE_RECALL_ON_OPEN` or `FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS` ("File Attribute Constants" in Microsoft's
/// documentation).
#[cfg(any(windows, test))]
fn is_elsewhere(attributes: u32) -> bool {
    attributes & (0x1000 | 0x4_0000 | 0x40_0000) != 0
}

/// True when reading the file would fetch it from somewhere else.
#[cfg(not(any(unix, windows)))]
pub fn is_offline(_: &Metadata) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_of_placeholders_are_told_from_those_of_files_that_are_here() {
        // Archive, sparse, reparse point, unpinned: a cloud's file that was fetched and may be given back.
        let here = 0x20 | 0x200 | 0x400 | 0x10_0000;
        assert!(!is_elsewhere(here));
        for elsewhere in [0x1000, 0x4_0000, 0x40_0000] {
            assert!(is_elsewhere(here | elsewhere), "{elsewhere:#x}");
        }
    }
}
