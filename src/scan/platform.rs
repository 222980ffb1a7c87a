//! The seam where operating systems differ: a file's identity, and how a root is spelt.

use std::fs::{DirEntry, Metadata};
use std::path::{Path, PathBuf};
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

/// A root as reports and stores name it: as it was given. Another spelling is another name.
#[cfg(not(windows))]
pub fn spelt(given: &Path) -> PathBuf {
    given.to_owned()
}

/// A root as reports and stores name it, however it was typed: with backslashes, a drive in upper case, a server and
/// its share in lower case, and every other name as the file system has it. It stays relative, and leads through the
/// same links.
#[cfg(windows)]
pub fn spelt(given: &Path) -> PathBuf {
    let plain = with_prefix(given, false);
    let Ok(real) = given.canonicalize() else {
        return plain;
    };
    let spelt = with_prefix(&as_kept(given, &real), true);
    if spelt.as_os_str() == given.as_os_str() {
        return spelt;
    }
    // Where case tells folders apart it may be another one.
    match same_file::is_same_file(&spelt, given) {
        Ok(true) => spelt,
        _ => plain,
    }
}

/// The names of `given` in the case that they have in `real`, to which it leads, as far as that has the same names.
#[cfg(any(windows, test))]
fn as_kept(given: &Path, real: &Path) -> PathBuf {
    use std::path::Component;
    let mut real = real.components().rev();
    let mut level = true;
    let mut parts = Vec::new();
    for part in given.components().rev() {
        let kept = match (part, real.next()) {
            (Component::Normal(name), Some(Component::Normal(kept))) if level => {
                let lower = |name: &std::ffi::OsStr| name.to_string_lossy().to_lowercase();
                // Behind a link, or a short name for a long one, others may follow that are the same.
                (lower(name) == lower(kept)).then_some(kept)
            }
            _ => {
                level = false;
                None
            }
        };
        parts.push(kept.unwrap_or(part.as_os_str()));
    }
    parts.into_iter().rev().collect()
}

/// The path with backslashes and one spelling of its drive; of its server and share, too, if `share` says so.
#[cfg(windows)]
fn with_prefix(path: &Path, share: bool) -> PathBuf {
    use std::ffi::{OsStr, OsString};
    use std::path::{Component, Prefix};
    let cased = |name: &OsStr| match name.to_str() {
        Some(text) if share => OsString::from(text.to_lowercase()),
        _ => name.to_owned(),
    };
    let network = |head: &str, server: &OsStr, name: &OsStr| {
        let mut prefix = OsString::from(head);
        prefix.push(cased(server));
        prefix.push("\\");
        prefix.push(cased(name));
        prefix
    };
    let drive = |head: &str, letter: u8| {
        OsString::from(format!(
            "{head}{}:",
            char::from(letter.to_ascii_uppercase())
        ))
    };
    path.components()
        .map(|part| match part {
            Component::Prefix(prefix) => match prefix.kind() {
                Prefix::Disk(letter) => drive("", letter),
                Prefix::VerbatimDisk(letter) => drive(r"\\?\", letter),
                Prefix::UNC(server, name) => network(r"\\", server, name),
                Prefix::VerbatimUNC(server, name) => network(r"\\?\UNC\", server, name),
                Prefix::Verbatim(_) | Prefix::DeviceNS(_) => prefix.as_os_str().to_owned(),
            },
            other => other.as_os_str().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_case_of_the_file_system_and_no_other_name() {
        for (given, real, kept) in [
            ("/Tmp/S1/H", "/tmp/s1/h", "/tmp/s1/h"),
            ("S1", "/tmp/s1", "s1"),
            ("a/../S1", "/tmp/s1", "a/../s1"),
            ("./S1", "/tmp/s1", "./s1"),
            // A link stays one, and so does a short name; a drive may stand for a folder of a share.
            ("/Dumps/Current", "/dumps/2008", "/dumps/Current"),
            (
                "/USERS/RUNNER~1/TEMP",
                "/Users/runneradmin/Temp",
                "/Users/RUNNER~1/Temp",
            ),
            ("/In", "/dumps/all/in", "/in"),
            ("/", "/", "/"),
        ] {
            let found = as_kept(Path::new(given), Path::new(real));
            let found = found.to_string_lossy().replace('\\', "/");
            assert_eq!(found, kept, "{given}");
        }
    }

    #[cfg(windows)]
    #[test]
    fn a_root_has_one_spelling() {
        for (given, plain, shared) in [
            ("z:/tmp/s1/", r"Z:\tmp\s1", r"Z:\tmp\s1"),
            (r"z:tmp", r"Z:tmp", r"Z:tmp"),
            ("z:/", r"Z:\", r"Z:\"),
            (r"s1/a\b", r"s1\a\b", r"s1\a\b"),
            (r".\s1", r".\s1", r".\s1"),
            ("//FS/Dumps/a", r"\\FS\Dumps\a", r"\\fs\dumps\a"),
            (r"\\FS\Dumps", r"\\FS\Dumps\", r"\\fs\dumps\"),
            (r"\\?\z:\tmp", r"\\?\Z:\tmp", r"\\?\Z:\tmp"),
            (r"\\?\UNC\FS\D\a", r"\\?\UNC\FS\D\a", r"\\?\UNC\fs\d\a"),
            (r"\\.\z:\tmp", r"\\.\z:\tmp", r"\\.\z:\tmp"),
        ] {
            let found = |share| with_prefix(Path::new(given), share).into_os_string();
            assert_eq!(found(false), plain);
            assert_eq!(found(true), shared);
        }
        // One that is not there stays what it is.
        let none = Path::new("z:/No-Such/Folder");
        assert_eq!(spelt(none).as_os_str(), r"Z:\No-Such\Folder");
    }
}
