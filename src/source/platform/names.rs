//! Names of files: which none may have, which lead elsewhere than they say, how one path is spelt in several ways.

#[cfg(any(unix, windows))]
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

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
    } else if name.ends_with(['.', ' ']) {
        "Windows drops dots and blanks at the end of a name, so it would be another file: choose another"
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
pub(super) fn device(name: &str) -> Option<String> {
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
        .or_else(|| verbatim(folder).ok())
        .unwrap_or_else(|| folder.to_owned())
}

/// The name of a path for who gives names to the system as they are.
///
/// # Errors
/// None.
#[cfg(not(windows))]
pub fn verbatim(path: &Path) -> io::Result<PathBuf> {
    Ok(path.to_owned())
}

/// The verbatim name of a path for who gives names to the system as they are, which takes 260 characters of others.
/// Nothing is looked at: not every drive can say where a file of it lies.
///
/// # Errors
/// A path that is none.
#[cfg(windows)]
pub fn verbatim(path: &Path) -> io::Result<PathBuf> {
    use std::path::Prefix;
    let path = std::path::absolute(path)?;
    let mut parts = path.components();
    let Some(std::path::Component::Prefix(prefix)) = parts.next() else {
        return Ok(path);
    };
    let mut long = OsString::from(r"\\?\");
    match prefix.kind() {
        Prefix::Disk(_) => long.push(prefix.as_os_str()),
        Prefix::UNC(server, share) => {
            for part in [r"UNC\".as_ref(), server, r"\".as_ref(), share] {
                long.push(part);
            }
        }
        _ => return Ok(path),
    }
    long.push(parts.as_path());
    Ok(PathBuf::from(long))
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

    #[cfg(windows)]
    #[test]
    fn names_for_the_system_are_verbatim() {
        for (path, long) in [
            (r"C:\store\a.pdb", r"\\?\C:\store\a.pdb"),
            ("C:/store/b/../a.pdb", r"\\?\C:\store\a.pdb"),
            (r"\\s\sym\a.pdb", r"\\?\UNC\s\sym\a.pdb"),
            (r"\\?\C:\store\a.pdb", r"\\?\C:\store\a.pdb"),
        ] {
            assert_eq!(verbatim(Path::new(path)).unwrap(), Path::new(long));
        }
        let long = verbatim(Path::new(r"store\a.pdb")).unwrap();
        assert!(long.to_str().unwrap().starts_with(r"\\?\"), "{long:?}");
    }
}
