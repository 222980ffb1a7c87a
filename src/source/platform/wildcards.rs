//! Wildcards, which Windows shells leave to the program.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(any(windows, test))]
use regex::Regex;

/// The shell has expanded wildcards already.
#[cfg(not(windows))]
pub fn expand_one(argument: OsString, into: &mut Vec<PathBuf>) {
    into.push(PathBuf::from(argument));
}

/// Expands `*` and `?`. An argument without them, or that matches nothing, stays as it is.
#[cfg(windows)]
pub fn expand_one(argument: OsString, into: &mut Vec<PathBuf>) {
    let path = PathBuf::from(argument);
    match matches(&path) {
        found if found.is_empty() => into.push(path),
        found => into.extend(found),
    }
}

/// The folder whose listing was refused, of a path that is still a pattern.
pub fn unread_folder(pattern: &Path) -> Option<io::Error> {
    let folder = pattern.ancestors().skip(1).find(|folder| {
        !folder
            .iter()
            .any(|name| is_pattern(&name.to_string_lossy()))
    })?;
    let folder = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    std::fs::read_dir(folder).err()
}

/// The prefix of a verbatim path is none, although it has a question mark.
fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?']) && !name.starts_with(r"\\?\")
}

/// What matches, folder by folder in the order of names. A folder that cannot be listed stands as the pattern below
/// it, for whoever opens that to say why.
#[cfg(any(windows, test))]
fn matches(pattern: &Path) -> Vec<PathBuf> {
    let names: Vec<_> = pattern.components().collect();
    let patterns: Vec<Option<Regex>> = names
        .iter()
        .map(|name| match name {
            std::path::Component::Normal(name) => matcher(&name.to_string_lossy()),
            _ => None,
        })
        .collect();
    if patterns.iter().all(Option::is_none) {
        return Vec::new();
    }
    let mut found = vec![PathBuf::new()];
    let mut refused = Vec::new();
    let mut is_listed = false;
    for (index, (name, pattern)) in names.iter().zip(&patterns).enumerate() {
        let Some(pattern) = pattern else {
            for path in &mut found {
                path.push(name);
            }
            // What stands before the first pattern is tried by listing it.
            found.retain(|path| !is_listed || path.symlink_metadata().is_ok());
            continue;
        };
        let rest = || names.iter().skip(index).collect::<PathBuf>();
        let is_last = index + 1 == names.len();
        let mut below = Vec::new();
        for folder in found {
            match listed(&folder, pattern, is_last) {
                Ok(names) => below.extend(names.into_iter().map(|name| entry(&folder, &name))),
                Err(error) if is_no_folder(&error) => {}
                Err(_) => refused.push(folder.join(rest())),
            }
        }
        found = below;
        is_listed = true;
    }
    found.append(&mut refused);
    found
}

/// The path of an entry: only a verbatim one leads to `NUL` or `x.`, which other systems put on a share.
#[cfg(any(windows, test))]
fn entry(folder: &Path, name: &OsString) -> PathBuf {
    match super::is_plain(Path::new(name)) {
        true => folder.join(name),
        false if folder.as_os_str().is_empty() => super::exact_folder(Path::new(".")).join(name),
        false => super::exact_folder(folder).join(name),
    }
}

#[cfg(any(windows, test))]
fn is_no_folder(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The names in a folder that match, of folders alone where more follows.
#[cfg(any(windows, test))]
fn listed(folder: &Path, pattern: &Regex, is_last: bool) -> io::Result<Vec<OsString>> {
    let shown = match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shown)? {
        let entry = entry?;
        let name = entry.file_name();
        let path = || self::entry(folder, &name);
        if pattern.is_match(&name.to_string_lossy()) && (is_last || path().is_dir()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// What a name with wildcards stands for, without case; `None` for a plain one. `*.*` is every name, as Windows
/// always had it.
#[cfg(any(windows, test))]
fn matcher(name: &str) -> Option<Regex> {
    if !is_pattern(name) {
        return None;
    }
    let name = match name {
        "*.*" => "*",
        _ => name,
    };
    let escaped = regex::escape(name).replace(r"\*", ".*").replace(r"\?", ".");
    Regex::new(&format!("(?si)^{escaped}$")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_stands_for_names_without_case_and_for_nothing_else() {
        for (pattern, name, expected) in [
            ("*.dmp", "A.DMP", true),
            ("*.dmp", "a.dmp.txt", false),
            ("*.*", "MEMORY", true),
            ("\u{e4}?.dmp", "\u{c4}\u{e9}.dmp", true),
            ("mini[1]*", "Mini[1]a", true),
            ("mini[1]*", "mini1a", false),
            ("a.?mp", "axdmp", false),
            ("*", "\u{fffd}.dmp", true),
        ] {
            let is_match = matcher(pattern).unwrap().is_match(name);
            assert_eq!(is_match, expected, "{pattern} {name}");
        }
        assert!(matcher("a.dmp").is_none());
    }

    #[test]
    fn patterns_in_folders_and_in_names_are_expanded_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["b/x1.dmp", "a/x1.dmp", "a/x0.DMP", "a/y.txt", "c/z/x.dmp"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::fs::write(dir.path().join("file.dmp"), "").unwrap();
        let found = |pattern: &str| -> Vec<String> {
            let found = matches(&dir.path().join(pattern));
            let below = found
                .iter()
                .map(|path| path.strip_prefix(dir.path()).unwrap());
            below
                .map(|path| path.to_str().unwrap().replace('\\', "/"))
                .collect()
        };
        assert_eq!(found("?/x*.dmp"), ["a/x0.DMP", "a/x1.dmp", "b/x1.dmp"]);
        assert_eq!(found("*/x1.dmp"), ["a/x1.dmp", "b/x1.dmp"]);
        assert_eq!(found("*/z/*"), ["c/z/x.dmp"]);
        assert_eq!(found("no/*"), Vec::<String>::new());
        assert_eq!(found("a/x1.dmp"), Vec::<String>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_cannot_be_listed_stands_as_the_pattern_below_it() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let pattern = dir.path().join("loop/*.dmp");
        assert_eq!(matches(&pattern), std::slice::from_ref(&pattern));
        assert!(unread_folder(&pattern).is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_may_not_be_listed_is_not_one_where_nothing_matches() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let closed = dir.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        if std::fs::read_dir(&closed).is_ok() {
            println!("SKIPPED: who runs this may list every folder");
            return;
        }
        let pattern = closed.join("*.dmp");
        let found = matches(&dir.path().join("*/*.dmp"));
        assert_eq!(found, std::slice::from_ref(&pattern));
        let error = unread_folder(&pattern).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(unread_folder(&dir.path().join("*.dmp")).is_none());
    }
}
