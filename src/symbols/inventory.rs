//! Which files dumps need, which of them are there, and how missing ones are fetched elsewhere.
//!
//! The list of missing files has the form of a `symchk` manifest (`symchk /om`): a line a file,
//! `name,key,1`. What another machine brings back is taken into a store by content, not by name.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files;
use super::identity::{FileName, ModuleIdentity};
use super::library::SymbolLibrary;
use super::lookup::{Lookup, Resolved};
use super::pdb_file::{self, identify};
use super::store;
use crate::image::{self, CodeView, Image};
use crate::machine::Machine;
use crate::vocabulary::closed_enum;

/// Directory entries an import looks at.
const MAX_ENTRIES: usize = 100_000;
/// Levels below the directory that is imported.
const MAX_DEPTH: usize = 6;

closed_enum! {
    /// What a file is.
    FileKind {
        /// A PE image.
        Image = "image",
        /// A PDB.
        Pdb = "pdb",
    }
}

/// One file that dumps need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// Image or PDB.
    pub kind: FileKind,
    /// File name.
    pub name: FileName,
    /// Folder name in a symbol store.
    pub key: String,
    /// Where it was found, or why not.
    pub state: Lookup<Option<PathBuf>>,
}

/// The files one module needs, looked for in the library: its image and the PDB that names, or
/// that the `record` in the dump names.
pub fn needs(
    library: &SymbolLibrary,
    module: &ModuleIdentity,
    machine: Machine,
    record: Option<&CodeView>,
) -> (Vec<Need>, Arc<Resolved>) {
    let resolved = library.resolve(module, machine, record);
    let mut needs = vec![Need {
        kind: FileKind::Image,
        name: module.name.clone(),
        key: module.key(),
        state: resolved.image.clone().map(|_| resolved.image_path.clone()),
    }];
    if let Some(pdb) = &resolved.pdb {
        needs.push(Need {
            kind: FileKind::Pdb,
            name: pdb.name.clone(),
            key: pdb.key(),
            state: resolved.symbols.clone().map(|_| resolved.pdb_path.clone()),
        });
    }
    (needs, resolved)
}

/// The lines of a manifest for the files that are missing or mismatched, sorted, each once.
pub fn manifest<'a>(needs: impl IntoIterator<Item = &'a Need>) -> String {
    let missing: BTreeMap<(String, &str), &Need> = needs
        .into_iter()
        .filter(|need| !matches!(need.state, Lookup::Found(_) | Lookup::NotNeeded))
        .map(|need| {
            (
                (need.name.as_str().to_ascii_lowercase(), need.key.as_str()),
                need,
            )
        })
        .collect();
    missing
        .values()
        .map(|need| format!("{},{},1\r\n", need.name, need.key))
        .collect()
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Files taken: name and key.
    pub taken: Vec<(String, String)>,
    /// Files left alone, with the reason.
    pub refused: Vec<(PathBuf, String)>,
    /// Files that are neither images nor PDBs.
    pub other: usize,
}

/// Takes every image and PDB below `from`, compressed or not, into the store at `root`.
///
/// # Errors
/// What the system says about `from` itself, or about writing into the store.
pub fn import(from: &Path, root: &Path) -> io::Result<Imported> {
    let mut done = Imported::default();
    let mut waiting = vec![(from.to_owned(), 0)];
    let mut left = MAX_ENTRIES;
    while let Some((folder, depth)) = waiting.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if depth == 0 => return Err(error),
            Err(error) => {
                done.refused.push((folder, error.to_string()));
                continue;
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.into_iter().rev() {
            let Some(rest) = left.checked_sub(1) else {
                done.refused.push((path, "too many files".to_owned()));
                return Ok(done);
            };
            left = rest;
            match path.metadata() {
                Ok(data) if data.is_dir() && depth < MAX_DEPTH => waiting.push((path, depth + 1)),
                Ok(data) if data.is_file() => take(&path, root, &mut done)?,
                _ => {}
            }
        }
    }
    done.taken.sort();
    Ok(done)
}

fn take(path: &Path, root: &Path, done: &mut Imported) -> io::Result<()> {
    let limit = pdb_file::MAX_FILE.max(image::MAX_FILE);
    let content = files::read(path, limit).map_err(|e| e.to_string());
    let bytes = match content.and_then(|bytes| store::unpacked(bytes, limit)) {
        Ok(bytes) => bytes,
        Err(reason) => {
            done.refused.push((path.to_owned(), reason));
            return Ok(());
        }
    };
    let Some(key) = key_of(&bytes) else {
        done.other += 1;
        return Ok(());
    };
    match name_of(path, &bytes) {
        Some(name) => {
            store::fill(root, &name, &key, &bytes)?;
            done.taken.push((name.to_string(), key));
        }
        None => done
            .refused
            .push((path.to_owned(), "its name is not usable".to_owned())),
    }
    Ok(())
}

fn key_of(bytes: &[u8]) -> Option<String> {
    if let Ok((stamp, size)) = Image::identity_of(bytes) {
        return Some(format!("{stamp:08X}{size:x}"));
    }
    let info = identify(bytes).ok()?;
    Some(format!("{}{:X}", info.guid, info.matching_age()))
}

/// The name a file has in a store: its own; a compressed one's last letter comes from the folder
/// above its key, or from the kind of the content.
fn name_of(path: &Path, bytes: &[u8]) -> Option<FileName> {
    let own = path.file_name()?.to_str()?;
    let Some(stem) = own.strip_suffix('_') else {
        return FileName::new(own).ok();
    };
    let above = path
        .parent()
        .and_then(Path::parent)
        .and_then(Path::file_name);
    let above = above.and_then(|name| name.to_str());
    if let Some(above) = above.filter(|a| a.len() == own.len() && a.get(..stem.len()) == Some(stem))
    {
        return FileName::new(above).ok();
    }
    let last = match bytes.starts_with(b"MZ") {
        false => 'b',
        true if stem.ends_with(".sy") => 's',
        true if stem.ends_with(".ex") => 'e',
        true => 'l',
    };
    FileName::new(&format!("{stem}{last}")).ok()
}
