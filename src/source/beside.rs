//! What lies in the folder of a dump: the other files of an error report, and whether there are images or
//! symbol files. Only names that are known are read, and little of each.

use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::platform;
use crate::facts::Beside;

/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 4096;
/// Largest file that is read, in bytes: a sysdata.xml has some hundred kilobytes.
pub const LARGEST_PART: u64 = 4 << 20;
/// Files that are read.
const MOST_PARTS: usize = 4;

/// The names of a folder that matter to the dumps in it: told by whoever lists it, so that it is listed once.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    path: PathBuf,
    parts: Vec<String>,
    dumps: usize,
    has_images: bool,
    entries: usize,
    read: OnceLock<Arc<Beside>>,
}

impl Folder {
    /// The folder at `path`, of which nothing is known yet.
    pub fn at(path: &Path) -> Folder {
        Folder {
            path: path.to_owned(),
            ..Folder::default()
        }
    }

    /// Takes the name of one regular file in it. `is_part` tells by its name whether a file is one of a report. A
    /// link may lead anywhere, and a special file may never end: neither is told.
    pub fn add(&mut self, name: &OsStr, is_part: fn(&str) -> bool) {
        self.entries += 1;
        let Some(name) = name.to_str().filter(|_| self.entries <= MOST_ENTRIES) else {
            return;
        };
        let extension = name.rsplit_once('.').map(|(_, tail)| tail);
        let is = |known: &[&str]| {
            extension.is_some_and(|own| known.iter().any(|one| own.eq_ignore_ascii_case(one)))
        };
        if is(&["dmp", "mdmp", "hdmp"]) {
            self.dumps += 1;
        } else if is(&["sys", "exe", "dll", "pdb"]) {
            self.has_images = true;
        } else if is_part(name) {
            self.parts.push(name.to_owned());
        }
    }

    /// A dump lies in it.
    pub fn has_dumps(&self) -> bool {
        self.dumps > 0
    }

    /// What lies beside its dumps: the files of the report are read once.
    pub fn beside(&self) -> Arc<Beside> {
        Arc::clone(self.read.get_or_init(|| Arc::new(self.read())))
    }

    fn read(&self) -> Beside {
        let mut found = Beside {
            parts: Vec::new(),
            dumps: self.dumps,
            has_images: self.has_images,
        };
        let mut parts = self.parts.clone();
        parts.sort();
        for name in parts.into_iter().take(MOST_PARTS) {
            let mut bytes = Vec::new();
            let path = self.path.join(&name);
            let read = fs::File::open(path)
                .and_then(|file| file.take(LARGEST_PART).read_to_end(&mut bytes));
            if read.is_ok() {
                found.parts.push((name, bytes));
            }
        }
        found
    }
}

/// Looks into the folder of `dump`. `is_part` tells by its name whether a file is one of a report. Nothing is
/// found where the folder cannot be read.
pub fn look(dump: &Path, is_part: fn(&str) -> bool) -> Beside {
    let path = match dump.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => return Beside::default(),
    };
    let mut folder = Folder::at(path);
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    for entry in entries.take(MOST_ENTRIES) {
        // What would have to be fetched is not read for the sake of a dump beside it.
        if entry.file_type().is_ok_and(|kind| kind.is_file())
            && !platform::is_listed_offline(|| entry.metadata().ok())
        {
            folder.add(&entry.file_name(), is_part);
        }
    }
    folder.read()
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
