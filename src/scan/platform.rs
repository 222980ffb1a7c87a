//! The seam where operating systems differ: a file's identity, and files whose content is elsewhere.

use std::fs::Metadata;
use std::path::Path;
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
pub fn entry_number(entry: &walkdir::DirEntry) -> Option<u64> {
    Some(walkdir::DirEntryExt::ino(entry))
}

/// The number that a directory gives for an entry.
#[cfg(not(unix))]
pub fn entry_number(_: &walkdir::DirEntry) -> Option<u64> {
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

/// True when reading the file would fetch it from somewhere else: a hierarchical store's stub has a
/// size but no blocks. A file that is nothing but a hole looks the same, and holds nothing either.
#[cfg(unix)]
pub fn is_offline(found: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    found.len() >= 4096 && found.blocks() == 0
}

/// True when reading the file would fetch it from somewhere else: `FILE_ATTRIBUTE_OFFLINE`,
/// `FILE_ATTRIBUTE_RECALL_ON_OPEN` or `FILE_ATTRIBUTE_RECALL_ON_DATA_ACCESS`.
#[cfg(windows)]
pub fn is_offline(found: &Metadata) -> bool {
    const ELSEWHERE: u32 = 0x1000 | 0x4_0000 | 0x40_0000;
    std::os::windows::fs::MetadataExt::file_attributes(found) & ELSEWHERE != 0
}

/// True when reading the file would fetch it from somewhere else.
#[cfg(not(any(unix, windows)))]
pub fn is_offline(_: &Metadata) -> bool {
    false
}

/// True when `path` lies on a file system that another computer serves: more workers than
/// processors pay off there.
#[cfg(target_os = "linux")]
pub fn is_remote(path: &Path) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    let Ok(mounts) = std::fs::read_to_string("/proc/self/mounts") else {
        return false;
    };
    let remote = |kind: &str| {
        matches!(
            kind,
            "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "ceph" | "afs" | "fuse.sshfs"
        )
    };
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let point = fields.next()?.replace("\\040", " ");
            Some((point, fields.next()?.to_owned()))
        })
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .is_some_and(|(_, kind)| remote(&kind))
}

/// True when `path` lies on a file system that another computer serves: the real name of what is on a drive
/// letter that stands for a share begins with the share's as well.
#[cfg(windows)]
pub fn is_remote(path: &Path) -> bool {
    use std::path::{Component, Prefix};
    let served = |path: &Path| match path.components().next() {
        Some(Component::Prefix(prefix)) => {
            matches!(prefix.kind(), Prefix::UNC(..) | Prefix::VerbatimUNC(..))
        }
        _ => false,
    };
    served(path) || path.canonicalize().is_ok_and(|real| served(&real))
}

/// True when `path` lies on a file system that another computer serves, as the system marks it.
#[cfg(target_os = "macos")]
pub fn is_remote(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| found.f_flags & libc::MNT_LOCAL as u32 == 0)
}

/// True when `path` lies on a file system that another computer serves. Not told here.
#[cfg(not(any(target_os = "linux", target_os = "macos", windows)))]
pub fn is_remote(_: &Path) -> bool {
    false
}
