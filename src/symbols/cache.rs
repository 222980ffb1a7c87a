//! The tool's cache directory: indexes of PDBs, answers "not found" of servers, and the default
//! downstream store. Losing any of it costs time only.
//!
//! `KBTRIAGE_CACHE_DIR` names it, otherwise the system's place for caches. Index files are keyed
//! by PDB identity and format version, carry a checksum, and are written atomically.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::files;
use super::identity::PdbIdentity;
use super::index::{FORMAT_VERSION, PdbIndex};

/// Names below the cache directory; nothing else there is touched, whatever directory it is.
const INDEX: &str = "kbtriage-index-";
const STORE: &str = "kbtriage-store";
const MISSING: &str = "kbtriage-missing";
/// How long a server's "not found" is believed.
const MISSING_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest index file that is read.
const MAX_INDEX: u64 = 1 << 30;
/// Levels and entries that are walked to sum up the cache.
const MAX_DEPTH: usize = 6;

/// The cache directory.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// What the cache holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheInfo {
    /// PDB indexes.
    pub indexes: u64,
    /// Bytes of them.
    pub index_bytes: u64,
    /// Files of the default downstream store.
    pub files: u64,
    /// Bytes of them.
    pub file_bytes: u64,
    /// Remembered "not found" answers.
    pub missing: u64,
}

impl Cache {
    /// A cache at a directory, which need not exist yet.
    pub fn at(root: PathBuf) -> Cache {
        Cache { root }
    }

    /// The user's cache directory by the environment; `None` where nothing names one. A variable of the system with a
    /// relative path counts as none: it would be another folder with each working directory.
    pub fn of_user() -> Option<Cache> {
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let set_by_system = |name: &str| set(name).filter(|path| path.is_absolute());
        let system = || {
            let set = set_by_system;
            if cfg!(windows) {
                set("LOCALAPPDATA").map(|base| base.join("kbtriage").join("cache"))
            } else if cfg!(target_os = "macos") {
                set("HOME").map(|home| home.join("Library/Caches/kbtriage"))
            } else {
                set("XDG_CACHE_HOME")
                    .or_else(|| set("HOME").map(|home| home.join(".cache")))
                    .map(|base| base.join("kbtriage"))
            }
        };
        set("KBTRIAGE_CACHE_DIR").or_else(system).map(Cache::at)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The default downstream store.
    pub fn downstream(&self) -> PathBuf {
        self.root.join(STORE)
    }

    fn index_path(&self, pdb: &PdbIdentity) -> PathBuf {
        let folder = format!("{INDEX}{FORMAT_VERSION}");
        let file = format!("{}.idx", pdb.key());
        self.root
            .join(folder)
            .join(pdb.name.as_str().to_ascii_lowercase())
            .join(file)
    }

    /// The index of a PDB, if it is there, whole, of this format and of that identity.
    pub fn load(&self, pdb: &PdbIdentity) -> Option<PdbIndex> {
        let path = self.index_path(pdb);
        if !files::is_own(&path) {
            return None;
        }
        let bytes = files::read(&path, MAX_INDEX).ok()?;
        let index = PdbIndex::from_bytes(bytes).ok()?;
        (index.guid() == Some(pdb.guid)).then_some(index)
    }

    /// Keeps an index.
    ///
    /// # Errors
    /// What the system says; a cache that cannot be written is no reason to fail.
    pub fn save(&self, pdb: &PdbIdentity, index: &PdbIndex) -> io::Result<()> {
        files::write_atomically(&self.index_path(pdb), index.as_bytes())
    }

    fn missing_path(&self, url: &str) -> PathBuf {
        use sha2::{Digest, Sha256};
        let name: String = Sha256::digest(url.as_bytes())
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        self.root.join(MISSING).join(name)
    }

    /// True when a server said within a day that it has no such file.
    pub fn is_missing(&self, url: &str) -> bool {
        let path = self.missing_path(url);
        let written = fs::symlink_metadata(&path).and_then(|m| m.modified());
        files::is_own(&path)
            && written.is_ok_and(|at| match SystemTime::now().duration_since(at) {
                Ok(age) => age < MISSING_FOR,
                Err(_) => false,
            })
    }

    /// Remembers that a server has no such file.
    pub fn remember_missing(&self, url: &str) {
        let _ = files::write_atomically(&self.missing_path(url), b"");
    }

    /// Sums up what is there.
    pub fn info(&self) -> CacheInfo {
        let mut info = CacheInfo::default();
        for entry in entries(&self.root) {
            let name = entry.file_name().map(|n| n.to_string_lossy().into_owned());
            match name.unwrap_or_default() {
                name if name.starts_with(INDEX) => {
                    let (count, bytes) = sum(&entry);
                    info.indexes += count;
                    info.index_bytes += bytes;
                }
                name if name == STORE => (info.files, info.file_bytes) = sum(&entry),
                name if name == MISSING => info.missing = sum(&entry).0,
                _ => {}
            }
        }
        info
    }

    /// Deletes what this tool put there, and only that.
    ///
    /// # Errors
    /// The first thing that could not be deleted.
    pub fn clear(&self) -> io::Result<()> {
        for entry in entries(&self.root) {
            let name = entry.file_name().map(|n| n.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            if name.starts_with(INDEX) || name == STORE || name == MISSING {
                fs::remove_dir_all(&entry)?;
            }
        }
        Ok(())
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).into_iter().flatten().flatten();
    read.map(|entry| entry.path()).collect()
}

/// Number of files below a folder and their bytes; links are not followed.
fn sum(folder: &Path) -> (u64, u64) {
    let (mut count, mut bytes) = (0, 0);
    let mut waiting = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = waiting.pop() {
        for entry in entries(&folder) {
            match entry.symlink_metadata() {
                Ok(data) if data.is_dir() && depth < MAX_DEPTH => waiting.push((entry, depth + 1)),
                Ok(data) if data.is_file() && !entry.ends_with("pingme.txt") => {
                    count += 1;
                    bytes += data.len();
                }
                _ => {}
            }
        }
    }
    (count, bytes)
}
