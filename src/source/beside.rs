//! What lies in the folder of a dump: the other files of an error report, and whether there are images or
//! symbol files. Only names that are known are read, and little of each.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use crate::facts::Beside;

/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 4096;
/// Largest file that is read, in bytes: a sysdata.xml has some hundred kilobytes.
pub const LARGEST_PART: u64 = 4 << 20;
/// Files that are read.
const MOST_PARTS: usize = 4;

/// Looks into the folder of `dump`. `is_part` tells by its name whether a file is one of a report. Nothing is
/// found where the folder cannot be read.
pub fn look(dump: &Path, is_part: fn(&str) -> bool) -> Beside {
    let folder = match dump.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Beside::default(),
    };
    let mut found = Beside::default();
    let mut parts = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.take(MOST_ENTRIES) {
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        // A link may lead anywhere, and a special file may never end.
        if !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let extension = name
            .rsplit_once('.')
            .map(|(_, tail)| tail.to_ascii_lowercase());
        match extension.as_deref() {
            Some("dmp" | "mdmp" | "hdmp") => found.dumps += 1,
            Some("sys" | "exe" | "dll" | "pdb") => found.has_images = true,
            _ if is_part(&name) => parts.push((name, entry.path())),
            _ => {}
        }
    }
    parts.sort();
    for (name, path) in parts.into_iter().take(MOST_PARTS) {
        let mut bytes = Vec::new();
        let read =
            fs::File::open(path).and_then(|file| file.take(LARGEST_PART).read_to_end(&mut bytes));
        if read.is_ok() {
            found.parts.push((name, bytes));
        }
    }
    found
}

/// Adds a file of a report that lies with the dump in an archive.
pub fn add(beside: &mut Beside, name: &str, content: Result<super::Source, super::SourceError>) {
    let Ok(source) = content else {
        return;
    };
    let name = name.rsplit(['!', '\\', '/']).next().unwrap_or(name);
    let room = source.bytes().len().min(LARGEST_PART);
    let mut bytes = vec![0; usize::try_from(room).unwrap_or(0)];
    if beside.parts.len() < MOST_PARTS
        && let Ok(read) = source.bytes().read_up_to(0, &mut bytes)
    {
        bytes.truncate(read);
        beside.parts.push((name.to_owned(), bytes));
    }
}
