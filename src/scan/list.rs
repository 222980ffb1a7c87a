//! The work list: what discovery found, written once, so that several workers can share it.
//!
//! Lines of JSON: a head with the roots, one line an entry, a tail with their number, so that a
//! cut list is noticed. A plain list of names, as `find` writes it, is taken too.

use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Skip;
use super::discover::{Found, What, shown};
use super::order::path_key;
use super::pulse::Pulse;
use crate::report::json;
use crate::report::records::Shard;
use crate::source::path_from_bytes;
use crate::source::platform::exact_folder;

/// A list, or one worker's part of it.
#[derive(Clone, Debug, Default)]
pub struct WorkList {
    /// The roots it was made from.
    pub roots: Vec<PathBuf>,
    /// What was found.
    pub entries: Vec<Entry>,
    /// Tells the whole list from others, also in a part of it.
    pub digest: Option<u32>,
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its root's place in the list of roots; `None` in a plain list.
    pub root: Option<usize>,
    /// The path below the root; the whole path in a plain list.
    pub relative: PathBuf,
    /// Why it is not analysed.
    pub what: What,
}

/// A list that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The system failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A line that is none of a list.
    #[error("line {0} is not one of a work list")]
    Line(usize),
    /// The tail is missing or counts something else.
    #[error("the list is cut: it ends before its last line")]
    Cut,
    /// A plain list is not readable.
    #[error(transparent)]
    Plain(#[from] crate::source::SourceError),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
enum Line {
    ListHead {
        roots: Vec<Name>,
    },
    File {
        root: usize,
        #[serde(flatten)]
        name: Name,
    },
    Skipped {
        root: usize,
        #[serde(flatten)]
        name: Name,
        reason: String,
        message: String,
    },
    Unreadable {
        root: usize,
        #[serde(flatten)]
        name: Name,
        message: String,
    },
    ListTail {
        entries: u64,
    },
}

/// A path that may not be Unicode.
#[derive(Serialize, Deserialize)]
struct Name {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    path_exact: Option<String>,
}

impl Name {
    fn of(path: &Path) -> Name {
        Name {
            path: path.to_string_lossy().into_owned(),
            path_exact: path
                .to_str()
                .is_none()
                .then(|| BASE64.encode(path.as_os_str().as_encoded_bytes())),
        }
    }

    /// A path below a root, with the separator that every system takes: another one may work on the list.
    #[cfg(windows)]
    fn below(path: &Path) -> Name {
        let parts: Vec<_> = path.iter().collect();
        Name::of(Path::new(&parts.join(std::ffi::OsStr::new("/"))))
    }

    /// A path below a root.
    #[cfg(not(windows))]
    fn below(path: &Path) -> Name {
        Name::of(path)
    }

    fn path(self) -> Option<PathBuf> {
        match self.path_exact {
            None => Some(PathBuf::from(self.path)),
            Some(exact) => path_from_bytes(&BASE64.decode(exact).ok()?),
        }
    }
}

/// The reasons a list can name.
const REASONS: [&str; 4] = ["link", "special-file", "loop", "offline"];

/// Writes a list as it is found.
pub struct ListWriter<W: Write> {
    out: W,
    entries: u64,
}

impl<W: Write> ListWriter<W> {
    /// Begins a list.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn new(mut out: W, roots: &[PathBuf]) -> io::Result<ListWriter<W>> {
        let head = Line::ListHead {
            roots: roots.iter().map(|root| Name::of(root)).collect(),
        };
        line(&mut out, &head)?;
        Ok(ListWriter { out, entries: 0 })
    }

    /// Writes one entry; true for a file to analyse.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn add(&mut self, found: Found) -> io::Result<bool> {
        let root = found.root.unwrap_or_default();
        let name = Name::below(&found.relative);
        let is_file = found.what == What::File;
        let entry = match found.what {
            What::File => Line::File { root, name },
            What::Skipped(skip) => Line::Skipped {
                root,
                name,
                reason: skip.reason.into_owned(),
                message: skip.message,
            },
            What::Unreadable(message) => Line::Unreadable {
                root,
                name,
                message,
            },
        };
        self.entries += 1;
        line(&mut self.out, &entry)?;
        Ok(is_file)
    }

    /// Ends the list.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn finish(mut self) -> io::Result<()> {
        let entries = self.entries;
        line(&mut self.out, &Line::ListTail { entries })?;
        self.out.flush()
    }
}

fn line<W: Write>(out: &mut W, entry: &Line) -> io::Result<()> {
    json::write_compact(&mut *out, entry)?;
    out.write_all(b"\n")
}

/// Reads a list; of a shard only the part that is the shard's.
///
/// # Errors
/// [`ListError`].
pub fn read(input: &mut dyn BufRead, shard: Option<Shard>) -> Result<WorkList, ListError> {
    let marks: [&[u8]; 3] = [b"\xFF\xFE", b"\xFE\xFF", b"\xEF\xBB\xBF"];
    let begins = input.fill_buf()?;
    if marks.iter().any(|mark| begins.starts_with(mark)) {
        let text = crate::source::read_decoded(&mut &mut *input)?;
        return read_plain(&mut text.as_slice(), shard);
    }
    read_plain(input, shard)
}

/// Reads a list in UTF-8 without a mark.
fn read_plain(input: &mut dyn BufRead, shard: Option<Shard>) -> Result<WorkList, ListError> {
    if !input.fill_buf()?.starts_with(br#"{"type":"list-head""#) {
        let names = crate::source::read_list(&mut &mut *input)?;
        let mut whole = Sha256::new();
        for name in &names {
            whole.update(path_key(name));
            whole.update(b"\n");
        }
        return Ok(WorkList {
            digest: digest(whole),
            roots: Vec::new(),
            entries: names
                .into_iter()
                .filter(|path| is_mine(shard, path))
                .map(|relative| Entry {
                    root: None,
                    relative,
                    what: What::File,
                })
                .collect(),
        });
    }
    let mut work = WorkList::default();
    let mut whole = Sha256::new();
    let mut count = 0u64;
    let mut complete = false;
    for (text, number) in input.lines().zip(1..) {
        let bad = || ListError::Line(number);
        let text = text?;
        whole.update(text.as_bytes());
        whole.update(b"\n");
        let entry = serde_json::from_str(&text).map_err(|_| bad())?;
        if complete {
            return Err(bad());
        }
        let (root, name, what) = match entry {
            Line::ListHead { roots } => {
                for root in roots {
                    work.roots.push(root.path().ok_or_else(bad)?);
                }
                continue;
            }
            Line::ListTail { entries } => {
                complete = entries == count;
                continue;
            }
            Line::File { root, name } => (root, name, What::File),
            Line::Skipped {
                root,
                name,
                reason,
                message,
            } => {
                let reason = REASONS
                    .into_iter()
                    .find(|known| *known == reason)
                    .ok_or_else(bad)?;
                (root, name, What::Skipped(Skip::new(reason, message)))
            }
            Line::Unreadable {
                root,
                name,
                message,
            } => (root, name, What::Unreadable(message)),
        };
        count += 1;
        let relative = name.path().ok_or_else(bad)?;
        // With the separators of this system.
        #[cfg(windows)]
        let relative: PathBuf = relative.components().collect();
        if root >= work.roots.len() {
            return Err(bad());
        }
        if is_mine(shard, &relative) {
            work.entries.push(Entry {
                root: Some(root),
                relative,
                what,
            });
        }
    }
    if complete {
        work.digest = digest(whole);
        Ok(work)
    } else {
        Err(ListError::Cut)
    }
}

/// The first four bytes of a list's hash.
fn digest(whole: Sha256) -> Option<u32> {
    let bytes = whole.finalize();
    bytes.first_chunk().map(|first| u32::from_be_bytes(*first))
}

/// The roots of a list, and the names by which what lies below them is reached.
pub struct ListedRoots<'a>(Vec<ListedRoot<'a>>);

struct ListedRoot<'a> {
    given: &'a Path,
    /// Below this every entry can be reached, however it is called.
    exact: PathBuf,
    /// It is its own only entry.
    is_file: bool,
}

impl<'a> ListedRoots<'a> {
    /// Those of a list. Asks the system about every root.
    pub fn of(work: &'a WorkList, pulse: &Pulse) -> ListedRoots<'a> {
        let place = |given: &'a PathBuf| ListedRoot {
            given,
            exact: pulse.during(|| exact_folder(given)),
            is_file: pulse.during(|| given.is_file()),
        };
        ListedRoots(work.roots.iter().map(place).collect())
    }

    /// What to open and to show for an entry: as a walk of its root does.
    pub fn path(&self, entry: &Entry) -> PathBuf {
        let relative = &entry.relative;
        match entry.root.and_then(|index| self.0.get(index)) {
            Some(root) if root.is_file => root.given.to_owned(),
            Some(root) => shown(root.given, &root.exact.join(relative), relative),
            None => relative.clone(),
        }
    }
}

/// The entry as discovery would give it.
pub(super) fn found(places: &ListedRoots<'_>, entry: &Entry) -> Found {
    Found {
        root: entry.root,
        path: places.path(entry),
        relative: entry.relative.clone(),
        file: None,
        // A directory said so when the list was made.
        is_listed: entry.root.is_some(),
        elsewhere: false,
        folder: None,
        what: entry.what.clone(),
    }
}

/// True when the file at `relative` belongs to `shard`: decided by the path below the root alone, so
/// that every worker and every run decides alike.
pub fn is_mine(shard: Option<Shard>, relative: &Path) -> bool {
    let Some(shard) = shard else {
        return true;
    };
    let digest = Sha256::digest(path_key(relative));
    let number = digest
        .iter()
        .take(8)
        .fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    let turn = u64::from(shard.index).checked_sub(1);
    turn.is_some() && number.checked_rem(u64::from(shard.count)) == turn
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Vec<u8> {
        let mut out = Vec::new();
        let mut list = ListWriter::new(&mut out, &[PathBuf::from("/share")]).unwrap();
        for n in 0..50 {
            list.add(Found {
                root: Some(0),
                path: PathBuf::from(format!("/share/h/{n}\n.dmp")),
                relative: PathBuf::from(format!("h/{n}\n.dmp")),
                file: None,
                is_listed: true,
                elsewhere: false,
                folder: None,
                what: What::File,
            })
            .unwrap();
        }
        list.finish().unwrap();
        out
    }

    #[test]
    fn shards_are_disjoint_and_together_the_whole_list() {
        let text = list();
        let whole = read(&mut text.as_slice(), None).unwrap().entries;
        assert_eq!(whole.len(), 50);
        let mut parts = Vec::new();
        for index in 1..=4 {
            let shard = Some(Shard::new(index, 4));
            let part = read(&mut text.as_slice(), shard).unwrap().entries;
            assert!(!part.is_empty(), "shard {index} has nothing of 50 entries");
            parts.extend(part);
        }
        parts.sort_by(|a, b| a.relative.cmp(&b.relative));
        let mut sorted = whole;
        sorted.sort_by(|a, b| a.relative.cmp(&b.relative));
        assert_eq!(parts, sorted);
    }

    #[test]
    fn a_cut_list_is_refused() {
        let text = list();
        let cut = text.len() - 40;
        assert!(matches!(
            read(&mut &text[..cut], None),
            Err(ListError::Cut | ListError::Line(_))
        ));
    }

    #[test]
    fn names_that_find_wrote_are_a_list() {
        let work = read(&mut &b"a/b.dmp\0c\n.dmp\0"[..], None).unwrap();
        assert_eq!(work.entries[1].relative, Path::new("c\n.dmp"));
        assert!(work.roots.is_empty());
    }
}
