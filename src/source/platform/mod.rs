//! The seam where operating systems differ: what a path names, opening without waiting, file name
//! bytes, wildcards.

mod names;
mod offline;
mod wildcards;

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

#[cfg(not(unix))]
use names::device;
pub use names::{
    can_be_named, exact_folder, folded, is_plain, is_remote, path_from_bytes, verbatim,
};
pub use offline::{is_listed_offline, is_offline};
pub use wildcards::{expand_one, unread_folder};

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

/// Tells the system that what it holds of `file` in memory is not wanted again: a file of many gigabytes that is read
/// once leaves the rest of the machine its memory. Linux; elsewhere nothing is said.
pub fn read_for_good(file: &File) {
    // What the advice is worth is the system's business.
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = file;
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

/// As [`open`], but a link is not followed: `None`.
#[cfg(unix)]
pub fn open_itself(path: &Path) -> io::Result<Option<File>> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW)
        .open(path);
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => Ok(None),
        Err(error) => Err(error),
    }
}

/// As [`open`]: nothing tells a link from a file whose content a filter keeps elsewhere.
#[cfg(not(unix))]
pub fn open_itself(path: &Path) -> io::Result<Option<File>> {
    open(path).map(Some)
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

/// Opens what [`is_stream`] says is one, for writing. A pipe that nobody reads is refused: opening it would wait for a reader,
/// and no signal ends that.
///
/// # Errors
/// Whatever the system says.
#[cfg(unix)]
pub fn open_stream(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::ENXIO) => io::Error::new(
            error.kind(),
            "a pipe that nobody reads: start its reader first",
        ),
        _ => error,
    };
    // Held until the pipe is open: a reader that sees its only writer go is at the end.
    let _held = path
        .metadata()?
        .file_type()
        .is_fifo()
        .then(|| {
            File::options()
                .write(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(path)
        })
        .transpose()
        .map_err(refused)?;
    File::options().write(true).open(path)
}

/// Opens what [`is_stream`] says is one, for writing.
///
/// # Errors
/// Whatever the system says.
#[cfg(not(unix))]
pub fn open_stream(path: &Path) -> io::Result<File> {
    File::options().write(true).open(path)
}

/// Whether what is written to `path` goes to the console or nowhere: these names mean that in every directory.
#[cfg(not(unix))]
pub fn is_stream(path: &Path) -> bool {
    let text = path.to_string_lossy();
    let text = text.strip_prefix(r"\\.\").unwrap_or(&text);
    device(text.rsplit(['/', '\\']).next().unwrap_or_default())
        .is_some_and(|name| ["nul", "con", "conout$"].contains(&name.as_str()))
}

/// Whether a new file can take the place of what is at `path`; a program that holds it open forbids that on
/// Windows, and only there.
///
/// # Errors
/// Why it cannot.
#[cfg(not(windows))]
pub fn can_be_replaced(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether a new file can take the place of what is at `path`: a program that holds it open may forbid that.
///
/// # Errors
/// Why it cannot.
#[cfg(windows)]
pub fn can_be_replaced(path: &Path) -> io::Result<()> {
    use std::os::windows::fs::OpenOptionsExt;
    /// The right that a rename over a file needs (`DELETE` of winnt.h).
    const DELETE: u32 = 0x0001_0000;
    match OpenOptions::new().access_mode(DELETE).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if is_held(&error) => {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "another program holds this file open (a spreadsheet?): close it there, or name another",
            ));
        }
        Err(error) => return Err(error),
    }
    if path.metadata()?.permissions().readonly() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "this file is marked read-only: name another, or take the mark away",
        ));
    }
    Ok(())
}

/// True when the terminal on standard output draws colours by escape sequences. Unix terminals do.
#[cfg(not(windows))]
pub fn stdout_takes_escapes() -> bool {
    true
}

/// True when the terminal on standard error follows escape sequences. Unix terminals do.
#[cfg(not(windows))]
pub fn stderr_takes_escapes() -> bool {
    true
}

/// True when the console on standard output draws colours by escape sequences, which it is told to do here: it does
/// from Windows 10 (1511) on and prints them as characters before. The terminal of a Unix shell does without.
#[cfg(windows)]
pub fn stdout_takes_escapes() -> bool {
    console::Term::stdout().features().colors_supported()
}

/// As [`stdout_takes_escapes`], of standard error.
#[cfg(windows)]
pub fn stderr_takes_escapes() -> bool {
    console::Term::stderr().features().colors_supported()
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

/// How often a name is tried for, and how long is waited in between: a scanner of viruses may look at the file just then.
const TRIES: u32 = 20;
const BETWEEN_TRIES: Duration = Duration::from_millis(100);

/// Renames a file, over another one where there is one, or a folder. On Windows a program that looks at what was just
/// written may be in the way for a moment.
///
/// # Errors
/// Whatever the system says at last.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let mut left = TRIES;
    loop {
        left -= 1;
        match std::fs::rename(from, to) {
            Err(error) if left > 0 && is_in_the_way(&error) => std::thread::sleep(BETWEEN_TRIES),
            done => return done,
        }
    }
}

/// True for the error of a rename that another program is in the way of: the system says "access denied" then.
fn is_in_the_way(error: &io::Error) -> bool {
    is_held(error) || (cfg!(windows) && error.kind() == io::ErrorKind::PermissionDenied)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

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
