//! Files of stores: reading with a limit, writing so that nobody ever sees half a file.
//!
//! Writers put a file beside its place and rename it, so several processes may fill one store.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
#[cfg(unix)]
use std::sync::OnceLock;

use crate::source::platform;

/// Entries of one directory that are looked through for a name in other case.
const MAX_ENTRIES: usize = 200_000;

/// Reads a regular file of at most `limit` bytes.
///
/// # Errors
/// What the system says, or `InvalidData` for a larger file or something that is no file.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = crate::source::open_without_waiting(path)?;
    let opened = file.metadata()?;
    if !opened.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file",
        ));
    }
    let len = opened.len();
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

/// Writes a file whole or not at all; creates the directories above it, for this user alone.
///
/// # Errors
/// What the system says; nothing is left behind.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    create_private(folder)?;
    let write = || {
        // `tempfile` renames by the names it is given.
        let place = platform::verbatim(path)?;
        // A name that nobody can guess, made there and nowhere else.
        let mut file = tempfile::Builder::new()
            .prefix(".kbtriage-")
            .suffix(".tmp")
            .tempfile_in(place.parent().unwrap_or(folder))?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(&place)
            .map(|_| ())
            .map_err(|error| error.error)
    };
    write().or_else(|error| {
        // On Windows a file that another process has just put there and reads cannot be replaced.
        let there = fs::metadata(path);
        match there.is_ok_and(|m| m.is_file() && m.len() == bytes.len() as u64) {
            true => Ok(()),
            false => Err(error),
        }
    })
}

/// Creates a folder and those above it that are not there; whatever the umask, nobody else writes there.
///
/// # Errors
/// What the system says.
pub fn create_private(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// True when this user made the file: nobody else's is believed. Where files have no owner, always.
#[cfg(unix)]
pub fn is_own(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    static OWN: OnceLock<Option<u32>> = OnceLock::new();
    // Who a new file belongs to is who this process runs as.
    let own = OWN.get_or_init(|| Some(tempfile::tempfile().ok()?.metadata().ok()?.uid()));
    let owner = fs::symlink_metadata(path).ok().map(|found| found.uid());
    owner.is_some() && owner == *own
}

/// True when this user made the file.
#[cfg(not(unix))]
pub fn is_own(_: &Path) -> bool {
    true
}

/// True when `path` really lies below `root`: no link on the way leads out of it.
pub fn is_below(root: &Path, path: &Path) -> bool {
    match (root.canonicalize(), path.canonicalize()) {
        (Ok(root), Ok(path)) => path.starts_with(root),
        // Windows cannot say where anything lies on a drive that its mount manager does not know, as some RAM disks.
        (Err(_), Err(_)) => is_below_without_links(root, path),
        _ => false,
    }
}

/// True when `path` is there, its name begins with that of `root`, and nothing between them is a link.
fn is_below_without_links(root: &Path, path: &Path) -> bool {
    let Ok(below) = path.strip_prefix(root) else {
        return false;
    };
    let mut at = root.to_owned();
    let mut parts = below.components().peekable();
    parts.peek().is_some()
        && parts.all(|part| {
            at.push(part);
            matches!(part, Component::Normal(_))
                && at.symlink_metadata().is_ok_and(|found| !found.is_symlink())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_place_can_be_told_nothing_between_may_be_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let key = root.join("a.pdb").join("1");
        fs::create_dir_all(&key).unwrap();
        let file = key.join("a.pdb");
        fs::write(&file, b"x").unwrap();
        assert!(is_below_without_links(&root, &file));
        assert!(!is_below_without_links(&root, &root));
        assert!(!is_below_without_links(&root, &key.join("b.pdb")));
        assert!(!is_below_without_links(&root.join("b.pdb"), &file));
        let around = root.join("..").join("store").join("a.pdb");
        assert!(around.exists() && !is_below_without_links(&root, &around));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_of_a_file_or_of_a_folder_above_it_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let (root, away) = (dir.path().join("store"), dir.path().join("away"));
        for folder in [&root, &away] {
            fs::create_dir_all(folder.join("1")).unwrap();
            fs::write(folder.join("1").join("a.pdb"), b"x").unwrap();
        }
        std::os::unix::fs::symlink(away.join("1"), root.join("2")).unwrap();
        std::os::unix::fs::symlink(away.join("1").join("a.pdb"), root.join("b.pdb")).unwrap();
        // The root itself may be one.
        let named = dir.path().join("named");
        std::os::unix::fs::symlink(&root, &named).unwrap();
        for (root, below, is) in [
            (&root, "1/a.pdb", true),
            (&named, "1/a.pdb", true),
            (&root, "2/a.pdb", false),
            (&root, "b.pdb", false),
        ] {
            let path = root.join(below);
            assert!(path.is_file());
            assert_eq!(is_below_without_links(root, &path), is, "{below}");
            // Where places can be told, the answer is the same.
            assert_eq!(is_below(root, &path), is, "{below}");
        }
    }

    #[test]
    fn a_file_is_put_where_names_are_longer_than_windows_takes_them() {
        let dir = tempfile::tempdir().unwrap();
        let long = (0..8).fold(dir.path().to_owned(), |path, _| path.join("x".repeat(50)));
        let path = long.join("a.pdb");
        write_atomically(&path, b"one").unwrap();
        write_atomically(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        // Nothing else is left there.
        assert_eq!(fs::read_dir(&long).unwrap().count(), 1);
    }
}
