//! The seam where operating systems differ: what a path names, opening without waiting, file name
//! bytes, wildcards.

use std::ffi::OsString;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What tells one state of a file from another, as exactly as the system knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    size: u64,
    modified: Option<SystemTime>,
    /// Last change of anything about it: a program may set the other time back, not this one.
    changed: Option<(i64, i64)>,
    file: Option<(u64, u64)>,
}

impl State {
    /// That of `found`.
    #[cfg(unix)]
    pub fn of(found: &Metadata) -> State {
        use std::os::unix::fs::MetadataExt;
        State {
            size: found.len(),
            modified: found.modified().ok(),
            changed: Some((found.ctime(), found.ctime_nsec())),
            file: Some((found.dev(), found.ino())),
        }
    }

    /// That of `found`.
    #[cfg(not(unix))]
    pub fn of(found: &Metadata) -> State {
        State {
            size: found.len(),
            modified: found.modified().ok(),
            changed: None,
            file: None,
        }
    }

    /// Last modification.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    /// True when both are of one file, whatever happened to it, as far as the system tells.
    pub fn same_file(&self, other: &State) -> bool {
        self.file == other.file
    }
}

/// Opens `path` for reading. A FIFO that took the place of a file after it was looked at does not
/// block, and a terminal does not become the controlling one.
#[cfg(unix)]
pub fn open(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
}

/// Opens `path` for reading.
#[cfg(not(unix))]
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

/// What something that is neither file nor directory is, for a person.
#[cfg(unix)]
pub fn special(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else if kind.is_block_device() || kind.is_char_device() {
        "a device"
    } else {
        "not a regular file"
    }
}

/// What something that is neither file nor directory is, for a person.
#[cfg(not(unix))]
pub fn special(_: FileType) -> &'static str {
    "not a regular file"
}

/// Whether what is written to `path` goes somewhere as it comes (a character device, a pipe, a socket, an open
/// descriptor's name) and there is no file that could take its place.
#[cfg(unix)]
pub fn is_stream(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok());
    // `/dev/stdout` leads to `/proc/self/fd/1`, which may be a plain file.
    let is_descriptor = folder.is_some_and(|folder| {
        folder == Path::new("/dev") || folder.starts_with("/proc") || folder == Path::new("/dev/fd")
    });
    match path.metadata().map(|found| found.file_type()) {
        Ok(kind) if kind.is_file() => is_descriptor,
        Ok(kind) => kind.is_char_device() || kind.is_fifo() || kind.is_socket(),
        Err(_) => false,
    }
}

/// Whether `path` is one of the names that mean a device in every directory: a file of that name cannot be made.
#[cfg(not(unix))]
pub fn is_stream(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    stem.is_some_and(|stem| {
        ["nul", "con", "conout$"]
            .iter()
            .any(|device| stem.trim_end().eq_ignore_ascii_case(device))
    })
}

/// The path that `bytes` name. Unix paths are bytes.
#[cfg(unix)]
pub fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(PathBuf::from(OsString::from_vec(bytes.to_vec())))
}

/// The path that `bytes` name, `None` when they are not UTF-8.
#[cfg(not(unix))]
pub fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// True when the terminal draws colours by escape sequences. Unix terminals do.
#[cfg(not(windows))]
pub fn understands_escapes() -> bool {
    true
}

/// True when the console draws colours by escape sequences, which it is told to do here: it does from
/// Windows 10 (1511) on and prints them as characters before.
#[cfg(windows)]
pub fn understands_escapes() -> bool {
    // `None`: a terminal that is no console, such as that of a Unix shell.
    anstyle_query::windows::enable_ansi_colors().unwrap_or(true)
}

/// True for the error of a file that another program holds open for itself alone: on Windows a dump
/// that is being written, or a MEMORY.DMP that is being collected.
#[cfg(windows)]
pub fn is_held(error: &io::Error) -> bool {
    const ERROR_SHARING_VIOLATION: i32 = 32;
    const ERROR_LOCK_VIOLATION: i32 = 33;
    matches!(
        error.raw_os_error(),
        Some(ERROR_SHARING_VIOLATION | ERROR_LOCK_VIOLATION)
    )
}

/// True for the error of a file that another program holds open for itself alone. Nothing else knows
/// such files.
#[cfg(not(windows))]
pub fn is_held(_: &io::Error) -> bool {
    false
}

/// The shell has expanded wildcards already.
#[cfg(not(windows))]
pub fn expand_one(argument: OsString, into: &mut Vec<PathBuf>) {
    into.push(PathBuf::from(argument));
}

/// Expands `*` and `?`, which Windows shells leave to the program. An argument that names an
/// existing file, is a device or verbatim path, or matches nothing stays as it is.
#[cfg(windows)]
pub fn expand_one(argument: OsString, into: &mut Vec<PathBuf>) {
    let path = PathBuf::from(argument);
    let pattern = path
        .to_str()
        .filter(|text| text.contains(['*', '?']) && !text.starts_with(r"\\?\"))
        .map(|text| text.replace('[', "[[]"));
    let before = into.len();
    let options = glob::MatchOptions {
        case_sensitive: false,
        ..glob::MatchOptions::default()
    };
    if let Some(Ok(paths)) = pattern.map(|pattern| glob::glob_with(&pattern, options)) {
        into.extend(paths.filter_map(Result::ok));
    }
    if into.len() == before {
        into.push(path);
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::is_stream;
    use std::path::Path;

    #[test]
    fn a_device_and_an_open_descriptor_are_streams_and_files_are_not() {
        assert!(is_stream(Path::new("/dev/null")));
        assert!(is_stream(Path::new("/dev/stdout")));
        assert!(!is_stream(Path::new("/dev")));
        assert!(!is_stream(Path::new("/no/such/file")));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!is_stream(file.path()));
    }
}
