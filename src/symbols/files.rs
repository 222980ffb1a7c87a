//! Files of stores: reading with a limit, writing so that nobody ever sees half a file.
//!
//! Writers put a file beside its place and rename it, so several processes may fill one store.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::OnceLock;

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
        // A name that nobody can guess, made there and nowhere else.
        let mut file = tempfile::Builder::new()
            .prefix(".kbtriage-")
            .suffix(".tmp")
            .tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path).map(|_| ()).map_err(|error| error.error)
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
        _ => false,
    }
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
