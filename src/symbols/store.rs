//! Looking for one file in the folders of a symbol path.
//!
//! A folder may be a store (`name/key/name`, two-tier with `index2.txt`, `file.ptr`, compressed) or
//! a plain directory (flat, `symbols/sys`, one level down): "SymStore folder structure" and "How the
//! debugger searches" in the debugger documentation. Nothing found counts before its identity is
//! verified, and no name is opened that is not one checked component below the folder.

use std::fs;
use std::path::{Path, PathBuf};

use super::compressed;
use super::files;
use super::identity::FileName;

/// Subdirectories of a plain directory that are looked into.
const MAX_SUBDIRECTORIES: usize = 512;
/// Longest `file.ptr`.
const MAX_POINTER: u64 = 4096;

/// What is looked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// File name.
    pub name: FileName,
    /// Folder name in a store.
    pub key: String,
    /// Extension of the image, which names the folder below `symbols`.
    pub image_extension: String,
    /// Largest file that is read, in bytes.
    pub limit: u64,
    /// Length of the file when its content is already known: a file of that length under the
    /// right key is then taken without reading it.
    pub known_len: Option<u64>,
}

/// What a verifier says about a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the file.
    Match,
    /// A file of that name and kind with another identity.
    Mismatch {
        /// The identity it has, in the form of a key.
        found: String,
    },
    /// Not a file of that kind, or damaged.
    Unusable {
        /// Why.
        reason: String,
    },
}

/// Decides about a candidate by its bytes.
pub type Verify<'a> = &'a dyn Fn(&[u8]) -> Verdict;

/// A verified file.
#[derive(Clone, Debug)]
pub struct FoundFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its content, unpacked; `None` when it was known before.
    pub bytes: Option<Vec<u8>>,
}

/// What a search came across, best last.
#[derive(Clone, Debug, Default)]
pub struct Trail {
    /// Places and files that were tried without success, in order.
    pub tried: Vec<String>,
    /// The first file of that name with another identity.
    pub mismatched: Option<(PathBuf, String)>,
}

impl Trail {
    /// Notes a place that did not help.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.tried.contains(&text) {
            self.tried.push(text);
        }
    }
}

/// Looks in a store, which is there.
pub fn in_store(
    root: &Path,
    wanted: &Wanted,
    verify: Verify<'_>,
    trail: &mut Trail,
) -> Option<FoundFile> {
    let Some(folder) = store_folder(root, wanted) else {
        trail.note(shown(root));
        return None;
    };
    if let Some(len) = wanted.known_len
        && let Some(path) = files::child(&folder, wanted.name.as_str())
        && fs::metadata(&path).is_ok_and(|m| m.is_file() && m.len() == len)
        && files::is_below(root, &path)
    {
        return Some(FoundFile { path, bytes: None });
    }
    let candidates = [wanted.name.clone(), wanted.name.compressed()];
    for name in &candidates {
        if let Some(path) = files::child(&folder, name.as_str())
            && stays(root, &path, trail)
            && let Some(found) = candidate(&path, wanted, verify, trail)
        {
            return Some(found);
        }
    }
    pointer(&folder, wanted, verify, trail).or_else(|| {
        trail.note(shown(&folder));
        None
    })
}

/// The folder of the wanted file in a store, when the store has one.
fn store_folder(root: &Path, wanted: &Wanted) -> Option<PathBuf> {
    let name = wanted.name.as_str();
    let tier = first_two(name).and_then(|two| files::child(root, &two));
    let two_tier = has_two_tiers(root);
    let below = |folder: PathBuf| {
        let named = files::child(&folder, name)?;
        files::child(&named, &wanted.key).filter(|folder| folder.is_dir())
    };
    // A store may have been converted without moving what it held.
    match two_tier {
        true => tier.and_then(below).or_else(|| below(root.to_owned())),
        false => below(root.to_owned()),
    }
}

/// Where a file is put into a store.
fn path_in_store(root: &Path, name: &FileName, key: &str) -> PathBuf {
    let text = name.as_str();
    let base = match (has_two_tiers(root), first_two(text)) {
        (true, Some(two)) => root.join(two),
        _ => root.to_owned(),
    };
    base.join(text).join(key).join(text)
}

/// True for a two-tier store. The few spellings spare the listing of a large folder.
fn has_two_tiers(root: &Path) -> bool {
    ["index2.txt", "Index2.txt", "INDEX2.TXT"]
        .iter()
        .any(|name| root.join(name).is_file())
}

/// The folder above a file's own in a two-tier store.
pub fn first_two(name: &str) -> Option<String> {
    // "a.pdb" lies in "a" in a two-tier store: a folder name cannot end with a dot.
    let two: String = name
        .chars()
        .take(2)
        .collect::<String>()
        .to_ascii_lowercase();
    Some(two.trim_end_matches(['.', ' ']).to_owned()).filter(|t| !t.is_empty())
}

/// Looks in a plain directory, which is there, and in the same folder as a store.
pub fn in_directory(
    root: &Path,
    wanted: &Wanted,
    verify: Verify<'_>,
    trail: &mut Trail,
) -> Option<FoundFile> {
    if store_folder(root, wanted).is_some()
        && let Some(found) = in_store(root, wanted, verify, trail)
    {
        return Some(found);
    }
    let mut folders = vec![root.to_owned()];
    let extension = wanted.image_extension.as_str();
    if !extension.is_empty() {
        let symbols = files::child(root, "symbols");
        folders.extend(symbols.and_then(|s| files::child(&s, extension)));
        folders.extend(files::child(root, extension));
    }
    folders.extend(subdirectories(root));
    for folder in folders {
        for name in [wanted.name.clone(), wanted.name.compressed()] {
            let Some(path) = files::child(&folder, name.as_str()).filter(|path| path.is_file())
            else {
                continue;
            };
            if stays(root, &path, trail)
                && let Some(found) = candidate(&path, wanted, verify, trail)
            {
                return Some(found);
            }
        }
    }
    trail.note(shown(root));
    None
}

/// False, and noted, for a file that a link in the store leads out of it for.
fn stays(root: &Path, path: &Path, trail: &mut Trail) -> bool {
    let stays = files::is_below(root, path);
    if !stays {
        trail.note(format!(
            "{}: a link that leads out of the store",
            shown(path)
        ));
    }
    stays
}

fn subdirectories(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .take(MAX_SUBDIRECTORIES)
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

/// Follows `file.ptr`: `PATH:` and a file, `MSG:` and a reason.
fn pointer(
    folder: &Path,
    wanted: &Wanted,
    verify: Verify<'_>,
    trail: &mut Trail,
) -> Option<FoundFile> {
    let path = files::child(folder, "file.ptr")?;
    let bytes = files::read(&path, MAX_POINTER).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_matches(['\u{feff}', '\r', '\n', ' ', '\0']);
    if let Some(message) = strip_prefix_ignore_case(text, "MSG:") {
        trail.note(format!("{}: {}", shown(&path), message.trim()));
        return None;
    }
    let target = strip_prefix_ignore_case(text, "PATH:")
        .unwrap_or(text)
        .trim();
    let foreign = target.starts_with(r"\\") || target.as_bytes().get(1) == Some(&b':');
    if target.is_empty() || (foreign && !cfg!(windows)) {
        trail.note(format!(
            "{}: points to a place this system cannot open",
            shown(&path)
        ));
        return None;
    }
    candidate(&folder.join(target), wanted, verify, trail)
}

fn strip_prefix_ignore_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.get(..prefix.len())
        .filter(|start| start.eq_ignore_ascii_case(prefix))
        .and_then(|_| text.get(prefix.len()..))
}

/// Reads, unpacks and verifies one file.
pub fn candidate(
    path: &Path,
    wanted: &Wanted,
    verify: Verify<'_>,
    trail: &mut Trail,
) -> Option<FoundFile> {
    let bytes = match files::read(path, wanted.limit) {
        Ok(bytes) => bytes,
        Err(error) => {
            trail.note(format!("{}: {error}", shown(path)));
            return None;
        }
    };
    match unpacked(bytes, wanted.limit).map(|bytes| (verify(&bytes), bytes)) {
        Ok((Verdict::Match, bytes)) => Some(FoundFile {
            path: path.to_owned(),
            bytes: Some(bytes),
        }),
        Ok((Verdict::Mismatch { found }, _)) => {
            trail.note(format!("{}: is {found}", shown(path)));
            trail
                .mismatched
                .get_or_insert_with(|| (path.to_owned(), found));
            None
        }
        Ok((Verdict::Unusable { reason }, _)) | Err(reason) => {
            trail.note(format!("{}: {reason}", shown(path)));
            None
        }
    }
}

/// The content of a file that may be compressed.
///
/// # Errors
/// Text that says why it cannot be unpacked.
pub fn unpacked(bytes: Vec<u8>, limit: u64) -> Result<Vec<u8>, String> {
    match compressed::is_cabinet(&bytes) {
        true => compressed::unpack(&bytes, limit).map_err(|e| e.to_string()),
        false => Ok(bytes),
    }
}

/// Puts a verified file into a store, as `symsrv` fills a downstream store.
///
/// # Errors
/// What the system says; the store is unchanged then.
pub fn fill(root: &Path, name: &FileName, key: &str, bytes: &[u8]) -> std::io::Result<PathBuf> {
    if !root.exists() {
        files::create_private(root)?;
        // Marks a folder as a store for the debuggers.
        let _ = fs::File::create_new(root.join("pingme.txt"));
    }
    let path = path_in_store(root, name, key);
    files::write_atomically(&path, bytes)?;
    Ok(path)
}

/// A path as text for people.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}
