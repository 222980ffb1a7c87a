//! The files a person named: arguments with wildcards, and `--files-from` lists.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::platform;
use super::{ErrorKind, SourceError};

/// How long a pipe may have no writer at first.
const NOBODY_WRITES: Duration = Duration::from_secs(3);
/// How long the writer of a pipe may be silent: it may be looking through a large share.
const SILENCE: Duration = Duration::from_secs(600);
/// Wait between two looks at a pipe.
const PAUSE: Duration = Duration::from_millis(5);
/// Bytes a list may have.
const LIST_BYTES: u64 = 64 * 1024 * 1024;
/// Names a list may have.
const LIST_NAMES: usize = 1_000_000;

/// An argument that holds what followed it on the command line.
#[derive(Debug, thiserror::Error)]
#[error("a backslash before the closing quote joins what follows to the path: leave it away")]
pub struct Joined {
    /// The argument.
    pub argument: OsString,
}

/// Expands wildcards where the shell leaves that to the program (Windows); elsewhere arguments are
/// paths as they are. Order is kept; what matches nothing stays, to be reported as not found.
///
/// # Errors
/// [`Joined`], on Windows.
pub fn expand(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<PathBuf>, Joined> {
    let mut paths = Vec::new();
    for argument in arguments {
        let argument = match cfg!(windows) {
            true => without_quote(argument)?,
            false => argument,
        };
        platform::expand_one(argument, &mut paths);
    }
    Ok(paths)
}

/// Mends an argument such as `"C:\dumps\"`: programs on Windows take a backslash and a quote for the quote itself,
/// which no name there holds. Where nothing follows it is certain what was meant.
fn without_quote(argument: OsString) -> Result<OsString, Joined> {
    let bytes = argument.as_encoded_bytes();
    let Some(at) = bytes.iter().position(|byte| *byte == b'"') else {
        return Ok(argument);
    };
    let path = match bytes.split_at(at) {
        ([], _) => None,
        (path, [_]) => platform::path_from_bytes(path),
        _ => None,
    };
    let Some(path) = path else {
        return Err(Joined { argument });
    };
    let mut path = path.into_os_string();
    // A drive: without the backslash it would be the folder that is the current one there.
    if path.as_encoded_bytes().ends_with(b":") {
        path.push("\\");
    }
    Ok(path)
}

/// Reads the names listed in `path`; `-` is standard input.
///
/// # Errors
/// Those of opening a file, [`ErrorKind::Limit`] for a list over 64 MiB or a million names,
/// [`ErrorKind::Unsupported`] for one that is not text.
pub fn files_from(path: &Path) -> Result<Vec<PathBuf>, SourceError> {
    if path.as_os_str() == "-" {
        return read_list(&mut std::io::stdin().lock());
    }
    let found = std::fs::metadata(path)
        .map_err(|e| SourceError::from_io(&e, path, "looking at the list"))?;
    if found.is_dir() {
        return Err(SourceError::new(
            ErrorKind::IsDirectory,
            "is a directory: --files-from wants a file with one name a line",
        ));
    }
    read_list(&mut open_list(path)?)
}

/// Opens a list. Unlike a dump, it may come from a pipe: `<(find ...)` names one. A pipe that nobody
/// writes to is given up.
///
/// # Errors
/// Those of opening a file.
pub fn open_list(path: &Path) -> Result<ListFile, SourceError> {
    let failed = |e: &std::io::Error| SourceError::from_io(e, path, "opening the list");
    let file = platform::open(path).map_err(|e| failed(&e))?;
    let found = file.metadata().map_err(|e| failed(&e))?;
    Ok(ListFile {
        file,
        is_file: found.is_file(),
        began: false,
    })
}

/// A list that is being read.
pub struct ListFile {
    file: std::fs::File,
    is_file: bool,
    /// Something came.
    began: bool,
}

impl Read for ListFile {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        if self.is_file || buf.is_empty() {
            return self.file.read(buf);
        }
        let since = Instant::now();
        loop {
            let limit = match self.file.read(buf) {
                // Nobody has opened the other end yet.
                Ok(0) if !self.began => NOBODY_WRITES,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => SILENCE,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                read => {
                    self.began = true;
                    return read;
                }
            };
            if since.elapsed() >= limit {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    "nothing comes from this pipe",
                ));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// Reads names that are separated by NUL bytes if there are any, by line ends otherwise. A byte order
/// mark decides the encoding (PowerShell writes UTF-16); blank lines are skipped. On Windows a line may stand between
/// quotes, which no name there holds: "Copy as path" writes it so.
///
/// # Errors
/// As [`files_from`].
pub fn read_list(input: &mut dyn Read) -> Result<Vec<PathBuf>, SourceError> {
    let bytes = read_decoded(input)?;
    let by_nul = bytes.contains(&0);
    let mut paths = Vec::new();
    for name in bytes.split(|byte| if by_nul { *byte == 0 } else { *byte == b'\n' }) {
        let name = match (by_nul, name.strip_suffix(b"\r").unwrap_or(name)) {
            (true, _) => name,
            (false, line) if cfg!(windows) => unquoted(line),
            (false, line) => line,
        };
        if name.is_empty() {
            continue;
        }
        if paths.len() == LIST_NAMES {
            return Err(SourceError::new(
                ErrorKind::Limit,
                format!("the list has more than {LIST_NAMES} names: split it"),
            ));
        }
        paths.push(platform::path_from_bytes(name).ok_or_else(not_text)?);
    }
    Ok(paths)
}

/// A line without the quotes around it, without blanks at its end (`echo name >>list` leaves one) and without the mark
/// at the end of a file that `copy` joined: no name on Windows ends so.
fn unquoted(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\x1A").unwrap_or(line);
    match line.trim_ascii_end() {
        [b'"', name @ .., b'"'] if !name.contains(&b'"') => name,
        line => line,
    }
}

/// Reads a list in UTF-8, with or without a mark, or in UTF-16 as PowerShell 5 and `cmd /u` write it: as UTF-8 without
/// a mark.
///
/// # Errors
/// As [`files_from`].
pub fn read_decoded(input: &mut dyn Read) -> Result<Vec<u8>, SourceError> {
    let mut bytes = Vec::new();
    input
        .take(LIST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| SourceError::new(ErrorKind::Io, format!("{e} while reading the list")))?;
    if bytes.len() as u64 > LIST_BYTES {
        return Err(SourceError::new(
            ErrorKind::Limit,
            format!("the list has more than {LIST_BYTES} bytes: is it a list of names?"),
        ));
    }
    decoded(bytes)
}

fn decoded(bytes: Vec<u8>) -> Result<Vec<u8>, SourceError> {
    if let Some(text) = bytes.strip_prefix(b"\xEF\xBB\xBF") {
        return Ok(text.to_vec());
    }
    let (text, unit): (_, fn([u8; 2]) -> u16) = match bytes.as_slice() {
        [0xFF, 0xFE, text @ ..] => (text, u16::from_le_bytes),
        [0xFE, 0xFF, text @ ..] => (text, u16::from_be_bytes),
        text if is_unmarked_utf16(text) => (text, u16::from_le_bytes),
        _ => return Ok(bytes),
    };
    let (units, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(not_text());
    }
    let mut decoded = Vec::with_capacity(text.len());
    for c in char::decode_utf16(units.iter().map(|pair| unit(*pair))) {
        match c {
            Ok(c) => decoded.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            // Part of a name on Windows: written as UTF-8 would write its number, which is how
            // the paths of Rust hold it.
            Err(alone) => {
                let [high, low] = alone.unpaired_surrogate().to_be_bytes();
                decoded.extend_from_slice(&[
                    0xED,
                    0x80 | (high & 0x0F) << 2 | low >> 6,
                    0x80 | low & 0x3F,
                ]);
            }
        }
    }
    Ok(decoded)
}

/// True for the lines that `cmd /u` writes: UTF-16 without a mark. Of names separated by NUL bytes one would be the end
/// of a line, and the next one the beginning of another.
fn is_unmarked_utf16(bytes: &[u8]) -> bool {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut pairs = units.iter().zip(units.iter().skip(1));
    rest.is_empty() && pairs.any(|(first, second)| first == b"\r\0" && second == b"\n\0")
}

fn not_text() -> SourceError {
    SourceError::new(
        ErrorKind::Unsupported,
        "the list is not readable text: one file name a line, UTF-8 or UTF-16",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(bytes: &[u8]) -> Vec<String> {
        read_list(&mut &bytes[..])
            .unwrap()
            .iter()
            .map(|path| path.to_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn lines_of_either_system_are_names() {
        assert_eq!(
            names(b"a.dmp\n\nb c.dmp\r\nd.dmp"),
            ["a.dmp", "b c.dmp", "d.dmp"]
        );
        assert_eq!(names(b""), Vec::<String>::new());
    }

    #[test]
    fn nul_separated_names_may_hold_line_ends() {
        assert_eq!(names(b"a\nb.dmp\0c.dmp\0"), ["a\nb.dmp", "c.dmp"]);
    }

    #[test]
    fn a_list_that_powershell_wrote_is_read() {
        let utf16: Vec<u8> = "\u{FEFF}a.dmp\r\n\u{E9}.dmp\r\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(names(&utf16), ["a.dmp", "\u{E9}.dmp"]);
        assert_eq!(names(b"\xEF\xBB\xBFa.dmp\n"), ["a.dmp"]);
    }

    #[test]
    fn a_list_that_the_command_prompt_wrote_is_read_without_a_mark() {
        let wide =
            |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
        assert_eq!(
            names(&wide("a b.dmp\r\n\u{E9}\u{4E2D}.dmp\r\n")),
            ["a b.dmp", "\u{E9}\u{4E2D}.dmp"]
        );
        assert_eq!(names(&wide("a.dmp\r\n")), ["a.dmp"]);
        // Names of one letter that NUL bytes separate, one of them with the end of a line.
        assert_eq!(names(b"a\0b\0c\0"), ["a", "b", "c"]);
        assert_eq!(names(b"a\0b\r\0c\0"), ["a", "b\r", "c"]);
    }

    #[test]
    fn one_pair_of_quotes_is_taken_off_a_line() {
        for (line, name) in [
            ("\"C:\\a b.dmp\"", r"C:\a b.dmp"),
            (r"C:\a b.dmp", r"C:\a b.dmp"),
            ("\"a\" \"b\"", "\"a\" \"b\""),
            ("\"a", "\"a"),
            ("\"", "\""),
            ("\"\"", ""),
        ] {
            assert_eq!(unquoted(line.as_bytes()), name.as_bytes(), "{line}");
        }
        let expected = if cfg!(windows) { "a b" } else { "\"a b\"" };
        assert_eq!(names(b"\"a b\"\r\n"), [expected]);
        assert_eq!(names(b"\"a b\"\0"), ["\"a b\""]);
    }

    #[test]
    fn a_quote_at_the_end_of_an_argument_is_taken_off_and_one_within_it_refused() {
        for (argument, path) in [
            (r"C:\dumps\", r"C:\dumps\"),
            ("C:\\dumps\"", r"C:\dumps"),
            ("C:\"", r"C:\"),
            ("\\\\server\\share\"", r"\\server\share"),
        ] {
            let mended = without_quote(argument.into()).unwrap();
            assert_eq!(mended, path, "{argument}");
        }
        for argument in [
            r#"C:\dumps" --quiet"#,
            "C:\\a\" C:\\b\"",
            "\"",
            "\"C:\\dumps\"",
        ] {
            let joined = without_quote(argument.into()).unwrap_err();
            assert_eq!(joined.argument, argument);
        }
    }

    #[test]
    fn an_endless_list_ends_at_the_limit() {
        let error = read_list(&mut std::io::repeat(b'x')).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit);
        let error = read_list(&mut b"x\n".repeat(LIST_NAMES + 1).as_slice()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Limit);
    }

    #[cfg(unix)]
    #[test]
    fn a_name_that_is_not_unicode_stays_exact() {
        use std::os::unix::ffi::OsStrExt;
        let paths = read_list(&mut &b"\xFFa.dmp\n"[..]).unwrap();
        assert_eq!(paths[0].as_os_str().as_bytes(), b"\xFFa.dmp");
        let info = crate::source::SourceInfo::of_path(&paths[0]);
        assert_eq!(info.path, "\u{FFFD}a.dmp");
        assert_eq!(info.path_exact.as_deref(), Some(&b"\xFFa.dmp"[..]));
    }
}
