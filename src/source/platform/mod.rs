//! The seam where operating systems differ: what a path names, opening without waiting, file name
//! bytes, wildcards.

mod offline;
mod wildcards;

use std::ffi::OsString;
use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

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

/// Whether a new file can have the name of `path`.
///
/// # Errors
/// Why it cannot.
#[cfg(not(windows))]
pub fn can_be_named(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Whether a new file can have the name of `path`: some mean a device in every directory, and what follows a colon
/// is a stream of another file, which nobody sees.
///
/// # Errors
/// Why it cannot.
#[cfg(windows)]
pub fn can_be_named(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let reason = if has_forbidden(&name) {
        "Windows has no file names with < > : \" | ? or *: choose another"
    } else if !is_verbatim(path) && device(&name).is_some() {
        "Windows takes this name for a device: choose another"
    } else {
        return Ok(());
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// A file name holds what none may hold on Windows ("Naming Files, Paths, and Namespaces").
#[cfg(any(windows, test))]
fn has_forbidden(name: &str) -> bool {
    name.contains(|c: char| c < ' ' || r#"<>:"|?*"#.contains(c))
}

/// The device that a file name means to Windows, whatever follows its first dot or colon ("Naming Files, Paths,
/// and Namespaces" in Microsoft's documentation).
#[cfg(any(not(unix), test))]
fn device(name: &str) -> Option<String> {
    let stem = name.split(['.', ':']).next().unwrap_or_default();
    let stem = stem.trim_end().to_ascii_lowercase();
    let numbered = |port: &str| {
        stem.strip_prefix(port).is_some_and(|number| {
            let mut digits = number.chars();
            matches!(digits.next(), Some('0'..='9' | '¹' | '²' | '³')) && digits.next().is_none()
        })
    };
    let known = ["con", "prn", "aux", "nul", "conin$", "conout$"].contains(&stem.as_str());
    (known || numbered("com") || numbered("lpt")).then_some(stem)
}

/// True for a path that Windows takes as it is, without rules for names.
#[cfg(windows)]
fn is_verbatim(path: &Path) -> bool {
    use std::path::Component;
    matches!(path.components().next(), Some(Component::Prefix(prefix)) if prefix.kind().is_verbatim())
}

/// The path in the one spelling that is compared: two names of one file differ in it all the same.
#[cfg(not(windows))]
pub fn folded(path: &Path) -> PathBuf {
    path.to_owned()
}

/// The path in the one spelling that is compared, without the prefix of a verbatim path: Windows keeps names without
/// case and takes both slashes.
#[cfg(windows)]
pub fn folded(path: &Path) -> PathBuf {
    folded_text(&path.to_string_lossy()).into()
}

/// [`folded`], of text.
#[cfg(any(windows, test))]
fn folded_text(path: &str) -> String {
    let path = path.replace('/', r"\").to_lowercase();
    match path.strip_prefix(r"\\?\unc\") {
        Some(rest) => format!(r"\\{rest}"),
        None => {
            let plain = [r"\\?\", r"\\.\"]
                .iter()
                .find_map(|prefix| path.strip_prefix(prefix));
            plain.map(str::to_owned).unwrap_or(path)
        }
    }
}

/// True for a path that names another computer: looking at it asks that one.
#[cfg(not(windows))]
pub fn is_remote(_: &Path) -> bool {
    false
}

/// True for a path that names another computer: looking at it asks that one.
#[cfg(windows)]
pub fn is_remote(path: &Path) -> bool {
    folded(path).to_string_lossy().starts_with(r"\\")
}

/// The folder under the name below which every entry can be reached, however it is called.
#[cfg(not(windows))]
pub fn exact_folder(folder: &Path) -> PathBuf {
    folder.to_owned()
}

/// The folder under the name below which every entry can be reached, however it is called: only a verbatim
/// path leads to a file called `NUL` or `x.`, which other systems put on a share.
#[cfg(windows)]
pub fn exact_folder(folder: &Path) -> PathBuf {
    folder
        .canonicalize()
        .ok()
        .filter(|real| is_verbatim(real))
        .unwrap_or_else(|| folder.to_owned())
}

/// True when the names of `relative` are taken as they are in any path.
#[cfg(not(windows))]
pub fn is_plain(_: &Path) -> bool {
    true
}

/// True when the names of `relative` are taken as they are in any path: Windows drops dots and blanks at the
/// end and takes some names for devices.
#[cfg(windows)]
pub fn is_plain(relative: &Path) -> bool {
    relative.iter().all(|name| {
        let name = name.to_string_lossy();
        !name.ends_with(['.', ' ']) && device(&name).is_none()
    })
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

/// The path that `bytes` name. Unix paths are bytes.
#[cfg(unix)]
pub fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    Some(PathBuf::from(OsString::from_vec(bytes.to_vec())))
}

/// The path that `bytes` name, `None` when they are not text. Names there are units of UTF-16, of which a
/// surrogate may stand alone.
#[cfg(windows)]
pub fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    use std::os::windows::ffi::OsStringExt;
    wide(bytes).map(|units| PathBuf::from(OsString::from_wide(&units)))
}

/// The path that `bytes` name, `None` when they are not UTF-8.
#[cfg(not(any(unix, windows)))]
pub fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// UTF-16 of UTF-8 in which a surrogate that stands alone has three bytes as well (WTF-8), as
/// [`std::ffi::OsStr::as_encoded_bytes`] gives it on Windows.
#[cfg(any(windows, test))]
fn wide(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let good = match std::str::from_utf8(rest) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let (text, after) = rest.split_at(good);
        units.extend(std::str::from_utf8(text).ok()?.encode_utf16());
        rest = match after {
            [] => after,
            [0xED, high @ 0xA0..=0xBF, low @ 0x80..=0xBF, after @ ..] => {
                units.push(0xD000 | u16::from(high & 0x3F) << 6 | u16::from(low & 0x3F));
                after
            }
            _ => return None,
        };
    }
    Some(units)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surrogate_that_stands_alone_stays_what_it_is() {
        // U+D800 alone, then a pair for U+1F4A5, then U+DFFF alone.
        let bytes = b"a\xED\xA0\x80\xF0\x9F\x92\xA5\xED\xBF\xBF";
        let units = [0x61, 0xD800, 0xD83D, 0xDCA5, 0xDFFF];
        assert_eq!(wide(bytes).unwrap(), units);
        for broken in [&b"\xFF"[..], b"\xED\xA0", b"a\xED\xA0a"] {
            assert_eq!(wide(broken), None);
        }
    }

    #[test]
    fn names_of_devices_are_known_with_every_ending() {
        for name in [
            "NUL",
            "nul.txt",
            "Con",
            "aux.tar.gz",
            "COM1",
            "lpt9:",
            "COM\u{B2}",
            "prn ",
        ] {
            assert!(device(name).is_some(), "{name}");
        }
        for name in ["null", "console.dmp", "COM10", "COM", "a.nul", "", "lpt"] {
            assert_eq!(device(name), None, "{name}");
        }
    }

    #[test]
    fn spellings_of_one_path_are_compared_as_one() {
        for (path, expected) in [
            (r"\\?\Z:\Dumps\A.dmp", r"z:\dumps\a.dmp"),
            (r"Z:/dumps/a.DMP", r"z:\dumps\a.dmp"),
            (r"\\.\Z:\dumps\a.dmp", r"z:\dumps\a.dmp"),
            (r"\\?\UNC\Server\d\a.dmp", r"\\server\d\a.dmp"),
            ("\\\\SERVER\\d/\u{c4}.dmp", "\\\\server\\d\\\u{e4}.dmp"),
        ] {
            assert_eq!(folded_text(path), expected, "{path}");
        }
    }

    #[test]
    fn what_no_name_may_hold_is_known() {
        for name in ["a:b", "x?.dmp", "a\"b", "a|b", "a\tb"] {
            assert!(has_forbidden(name), "{name}");
        }
        assert!(!has_forbidden("\u{e9} (1)[2].dmp"));
    }

    #[cfg(unix)]
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
