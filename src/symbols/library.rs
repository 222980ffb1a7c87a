//! The symbols of a process: every image and PDB is looked for once and shared.
//!
//! One library serves all threads. Misses are remembered like finds, so a file that a thousand
//! dumps need is asked for once. What is held is bounded by bytes; the least recently used goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use super::cache::Cache;
use super::identity::{FileName, ModuleIdentity, PdbIdentity};
use super::index::PdbIndex;
use super::lookup::{Lookup, Resolved};
use super::module::ModuleSymbols;
use super::path::{Element, ElementKind, Origin, SymbolPath};
use super::pdb_file::{self, identify};
use super::roots::{RootState, StoreRoots};
use super::search::{Finder, Network};
use super::server::{OnProgress, ServerLimits, Servers};
use super::store::{FoundFile, Trail, Verdict, Wanted, shown};
use crate::image::{self, CodeView, Image};
use crate::machine::Machine;

/// Modules whose symbols are always worth having, by name without extension.
const ALWAYS: &[&str] = &[
    "ntoskrnl", "ntkrnlpa", "ntkrnlmp", "ntkrpamp", "ndis", "fwpkclnt",
];
/// Files one installed name may come from: the kernel and the HAL are renamed at installation.
const RENAMED: &[(&str, &[&str])] = &[
    (
        "ntoskrnl.exe",
        &["ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe"],
    ),
    (
        "hal.dll",
        &[
            "halmacpi.dll",
            "halacpi.dll",
            "halaacpi.dll",
            "halmps.dll",
            "halapic.dll",
        ],
    ),
];
/// Outcomes remembered, misses included.
const MAX_ENTRIES: usize = 20_000;
/// Bytes of images and indexes held by default.
const DEFAULT_LIMIT: usize = 512 << 20;

/// Where and how to look.
#[derive(Default)]
pub struct SymbolOptions {
    /// Where symbol files are.
    pub symbols: SymbolPath,
    /// Where images are, before the symbol path.
    pub images: SymbolPath,
    /// Which servers may be asked.
    pub network: Network,
    /// The cache directory; `None` for no cache on disk.
    pub cache: Option<Cache>,
    /// Bytes of images and indexes to hold; 0 for the default.
    pub limit: usize,
    /// How servers are dealt with.
    pub servers: ServerLimits,
    /// Told about downloads.
    pub progress: Option<Box<OnProgress>>,
}

impl SymbolOptions {
    /// Adds the debuggers' environment variables behind what is there:
    /// `_NT_ALT_SYMBOL_PATH`, which is for private symbols, `_NT_SYMBOL_PATH` and `_NT_EXECUTABLE_IMAGE_PATH`.
    pub fn with_environment(mut self) -> SymbolOptions {
        let read = |name: &str| {
            let value = std::env::var(name).unwrap_or_default();
            SymbolPath::parse(&value, Origin::Environment)
        };
        self.symbols.append(read("_NT_ALT_SYMBOL_PATH"));
        self.symbols.append(read("_NT_SYMBOL_PATH"));
        self.images.append(read("_NT_EXECUTABLE_IMAGE_PATH"));
        self
    }
}

/// A module, where it was found in a dump its CodeView record, and the architecture: images of two
/// architectures may share name, TimeDateStamp and SizeOfImage.
type Key = (ModuleIdentity, Option<PdbIdentity>, Machine);

/// One module's outcome, and the folder of a dump that was searched for it, too.
type Sought = (Key, Option<PathBuf>);

/// A library as one dump uses it: with the folder that the dump lies in, where images or symbol files lie there
/// too. What has another identity is not used there either.
#[derive(Clone, Copy, Debug)]
pub struct Near<'a> {
    library: &'a SymbolLibrary,
    folder: Option<&'a Path>,
}

impl Near<'_> {
    /// As [`SymbolLibrary::resolve`]; the folder comes last.
    pub fn resolve(
        &self,
        module: &ModuleIdentity,
        machine: Machine,
        record: Option<&CodeView>,
    ) -> Arc<Resolved> {
        let everywhere = self.library.resolve(module, machine, record);
        let complete = everywhere.image.found().is_some() && everywhere.symbols.found().is_some();
        match self.folder.filter(|_| !complete) {
            Some(folder) => {
                let key = key(module, machine, record);
                let place = (key, Some(folder.to_owned()));
                let library = self.library;
                library.once(place, |key| library.load_near(key, folder, &everywhere))
            }
            None => everywhere,
        }
    }
}

#[derive(Debug, Default)]
struct Held {
    entries: BTreeMap<Sought, Entry>,
    clock: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Entry {
    cell: Arc<OnceLock<Arc<Resolved>>>,
    used: u64,
    bytes: usize,
}

/// Finds, loads and holds symbols. `Send` and `Sync`: one for a process.
#[derive(Debug)]
pub struct SymbolLibrary {
    symbols: SymbolPath,
    images: SymbolPath,
    finder: Finder,
    limit: usize,
    held: Mutex<Held>,
}

impl SymbolLibrary {
    /// A library over a symbol path as debuggers write it: folders and stores between semicolons. No server is asked,
    /// and nothing is kept on disk. Reads nothing yet; a place that cannot be read holds no files.
    pub fn offline(path: &str) -> SymbolLibrary {
        SymbolLibrary::new(SymbolOptions {
            symbols: SymbolPath::parse(path, Origin::CommandLine),
            ..SymbolOptions::default()
        })
    }

    /// A library that looks where the options say. Reads nothing yet.
    pub fn new(options: SymbolOptions) -> SymbolLibrary {
        let hosts = [&options.symbols, &options.images].map(|path| path.hosts());
        let servers = Servers::new(options.servers, options.progress).naming(hosts.concat());
        let own = options.cache.as_ref().map(Cache::downstream);
        let folders = [&options.symbols, &options.images].map(|path| path.folders());
        let roots = StoreRoots::new(folders.into_iter().flatten().chain(own));
        SymbolLibrary {
            symbols: options.symbols,
            images: options.images,
            finder: Finder::new(options.network, servers, options.cache, roots),
            limit: match options.limit {
                0 => DEFAULT_LIMIT,
                limit => limit,
            },
            held: Mutex::default(),
        }
    }

    /// True for modules that are asked for even when they are not on a stack.
    pub fn always_wanted(name: &FileName) -> bool {
        let name = name.as_str().to_ascii_lowercase();
        let stem = name.split('.').next().unwrap_or_default();
        ALWAYS.contains(&stem)
    }

    /// Parts of the symbol path that cannot be used here, and folders that are not there. One that gives no answer
    /// is a silent server.
    pub fn problems(&self) -> impl Iterator<Item = String> + '_ {
        let paths = [&self.symbols, &self.images];
        let all = paths.into_iter().flat_map(|path| &path.problems);
        let folders = paths.into_iter().flat_map(SymbolPath::required_folders);
        let absent = folders.filter_map(|folder| match self.finder.roots.state(&folder) {
            RootState::Absent(why) => Some(format!("{}: {why}", folder.display())),
            _ => None,
        });
        all.map(ToString::to_string).chain(absent)
    }

    /// Servers, and folders on servers, that gave no answer so far, without credentials, each with the first reason.
    pub fn silent_servers(&self) -> Vec<(String, String)> {
        self.finder.silent_servers()
    }

    /// The image with that identity.
    pub fn image(&self, module: &ModuleIdentity, machine: Machine) -> Lookup<Arc<Image>> {
        self.resolve(module, machine, None).image.clone()
    }

    /// The PDB symbols of the image with that identity.
    pub fn symbols(&self, module: &ModuleIdentity, machine: Machine) -> Lookup<Arc<ModuleSymbols>> {
        self.resolve(module, machine, None).symbols.clone()
    }

    /// The library as the dumps of one folder use it: the folder is searched last.
    pub fn near<'a>(&'a self, folder: Option<&'a Path>) -> Near<'a> {
        Near {
            library: self,
            folder,
        }
    }

    /// Everything about one module, loaded once. `record` is the CodeView record when a dump
    /// holds the module's headers, so that the PDB can be found without the image.
    pub fn resolve(
        &self,
        module: &ModuleIdentity,
        machine: Machine,
        record: Option<&CodeView>,
    ) -> Arc<Resolved> {
        let place = (key(module, machine, record), None);
        self.once(place, |key| self.load(key))
    }

    /// What is held of a place; loaded where nothing is.
    fn once(&self, place: Sought, load: impl Fn(&Key) -> Resolved) -> Arc<Resolved> {
        let cell = match self.held.lock() {
            Ok(mut held) => held.touch(&place),
            Err(_) => return Arc::new(load(&place.0)),
        };
        let mut is_new = false;
        let resolved = Arc::clone(cell.get_or_init(|| {
            is_new = true;
            Arc::new(load(&place.0))
        }));
        // What was held before is accounted for.
        if is_new && let Ok(mut held) = self.held.lock() {
            held.account(&place, resolved.held_bytes(), self.limit);
        }
        resolved
    }

    fn load(&self, key: &Key) -> Resolved {
        let (module, record, machine) = key;
        let own = [&self.images, &self.symbols];
        let image = self.load_image(module, *machine, &own);
        self.load_symbols(module, record.as_ref(), *machine, image, &[own[1], own[0]])
    }

    /// What the folder of a dump adds to what is found everywhere else.
    fn load_near(&self, key: &Key, folder: &Path, everywhere: &Resolved) -> Resolved {
        let (module, record, machine) = key;
        let near = SymbolPath {
            elements: vec![Element {
                kind: ElementKind::Directory(folder.to_owned()),
                copy_to: None,
            }],
            ..SymbolPath::default()
        };
        let before = || (everywhere.image.clone(), everywhere.image_path.clone());
        let image = match &everywhere.image {
            Lookup::Found(_) => before(),
            _ => match self.load_image(module, *machine, &[&near]) {
                (Lookup::Missing { .. }, _) => before(),
                found => found,
            },
        };
        // Everywhere else a PDB of that identity was looked for in vain, if it was known which one is looked for.
        let paths: &[&SymbolPath] = match (&everywhere.pdb, &everywhere.symbols) {
            (Some(_), Lookup::Missing { .. } | Lookup::Mismatched { .. }) => &[&near],
            _ => &[&self.symbols, &self.images, &near],
        };
        self.load_symbols(module, record.as_ref(), *machine, image, paths)
    }

    /// The symbols for an image that was found or was not.
    fn load_symbols(
        &self,
        module: &ModuleIdentity,
        record: Option<&PdbIdentity>,
        machine: Machine,
        (image, image_path): (Lookup<Arc<Image>>, Option<PathBuf>),
        paths: &[&SymbolPath],
    ) -> Resolved {
        let found = image.found().cloned();
        let own = found.as_ref().and_then(|image| image.codeview());
        let own = own.and_then(|record| PdbIdentity::from_codeview(&record).ok().flatten());
        let pdb = own.or_else(|| record.cloned());
        let (index, pdb_path) = match &pdb {
            Some(pdb) => self.load_index(pdb, module, image_path.as_ref(), paths),
            None => {
                let why = match found.is_some() {
                    true => "the image names no PDB of a kind that can be looked for",
                    false => "which PDB belongs to it is known only from the image",
                };
                let tried = vec![why.to_owned()];
                (Lookup::Missing { tried }, None)
            }
        };
        let with = |index: Option<(PdbIdentity, PdbIndex)>| {
            Arc::new(ModuleSymbols::new(
                module.clone(),
                machine,
                index,
                found.clone(),
            ))
        };
        let symbols = index.map(|index| with(pdb.clone().map(|pdb| (pdb, index))));
        let exports = match (&symbols, &found) {
            (Lookup::Found(_), _) | (_, None) => None,
            _ => Some(with(None)),
        };
        Resolved {
            image,
            image_path,
            pdb,
            symbols,
            pdb_path,
            exports,
        }
    }

    fn load_image(
        &self,
        module: &ModuleIdentity,
        machine: Machine,
        paths: &[&SymbolPath],
    ) -> (Lookup<Arc<Image>>, Option<PathBuf>) {
        let verify = |bytes: &[u8]| match Image::identity_of(bytes) {
            Ok((stamp, size))
                if (stamp, size) == (module.time_date_stamp, module.size_of_image) =>
            {
                // One link time and size for two architectures: rare, and never the same code.
                match Image::machine_of(bytes) {
                    Ok(Some(other)) if other != machine => Verdict::Mismatch {
                        found: format!("{stamp:08X}{size:x} for {}", other.as_str()),
                    },
                    _ => Verdict::Match,
                }
            }
            Ok((stamp, size)) => Verdict::Mismatch {
                found: format!("{stamp:08X}{size:x}"),
            },
            Err(error) => Verdict::Unusable {
                reason: error.to_string(),
            },
        };
        let mut trail = Trail::default();
        let renamed = RENAMED
            .iter()
            .find(|(name, _)| module.name.as_str().eq_ignore_ascii_case(name))
            .map_or(&[][..], |(_, files)| files);
        let names = std::iter::once(module.name.clone())
            .chain(renamed.iter().filter_map(|name| FileName::new(name).ok()));
        for name in names {
            let wanted = Wanted {
                image_extension: name.extension(),
                name,
                key: module.key(),
                limit: image::MAX_FILE,
                known_len: None,
            };
            let found = paths
                .iter()
                .find_map(|path| self.finder.find(path, &wanted, &verify, &mut trail));
            if let Some(FoundFile {
                path,
                bytes: Some(bytes),
            }) = found
            {
                match Image::from_file(bytes) {
                    Ok(image) => return (Lookup::Found(Arc::new(image)), Some(path)),
                    Err(error) => trail.note(format!("{}: {error}", shown(&path))),
                }
            }
        }
        (outcome(trail, module.key()), None)
    }

    fn load_index(
        &self,
        pdb: &PdbIdentity,
        module: &ModuleIdentity,
        image: Option<&PathBuf>,
        paths: &[&SymbolPath],
    ) -> (Lookup<PdbIndex>, Option<PathBuf>) {
        let cache = self.finder.cache.as_ref();
        let cached = cache.and_then(|cache| cache.load(pdb));
        let verify = |bytes: &[u8]| match identify(bytes) {
            Ok(info) if info.matches(pdb) => Verdict::Match,
            Ok(info) => Verdict::Mismatch {
                found: format!("{}{:X}", info.guid, info.matching_age()),
            },
            Err(error) => Verdict::Unusable {
                reason: error.to_string(),
            },
        };
        let wanted = Wanted {
            name: pdb.name.clone(),
            key: pdb.key(),
            image_extension: module.name.extension(),
            limit: pdb_file::MAX_FILE,
            known_len: cached.as_ref().map(PdbIndex::source_len),
        };
        let mut trail = Trail::default();
        let found = paths
            .iter()
            .find_map(|path| self.finder.find(path, &wanted, &verify, &mut trail))
            .or_else(|| {
                let folder = image?.parent().filter(|folder| folder.is_dir())?;
                let beside = folder.join(pdb.name.as_str());
                let there = beside.is_file();
                there.then(|| super::store::candidate(&beside, &wanted, &verify, &mut trail))?
            });
        let Some(FoundFile { path, bytes }) = found else {
            return (outcome(trail, pdb.key()), None);
        };
        if let Some(index) = cached {
            return (Lookup::Found(index), Some(path));
        }
        match pdb_file::index(bytes.unwrap_or_default()) {
            Ok(index) => {
                if let Some(cache) = cache {
                    let _ = cache.save(pdb, &index);
                }
                (Lookup::Found(index), Some(path))
            }
            Err(error) => {
                trail.note(format!("{}: {error}", shown(&path)));
                (Lookup::Missing { tried: trail.tried }, None)
            }
        }
    }
}

fn key(module: &ModuleIdentity, machine: Machine, record: Option<&CodeView>) -> Key {
    let record = record.and_then(|record| PdbIdentity::from_codeview(record).ok().flatten());
    let mut module = module.clone();
    module.checksum = None;
    (module, record, machine)
}

fn outcome<T>(trail: Trail, wanted: String) -> Lookup<T> {
    match trail.mismatched {
        Some((path, found)) => Lookup::Mismatched {
            wanted,
            found,
            path,
        },
        None => Lookup::Missing { tried: trail.tried },
    }
}

impl Held {
    fn touch(&mut self, key: &Sought) -> Arc<OnceLock<Arc<Resolved>>> {
        self.clock += 1;
        let entry = match self.entries.get_mut(key) {
            Some(entry) => entry,
            None => self.entries.entry(key.clone()).or_default(),
        };
        entry.used = self.clock;
        Arc::clone(&entry.cell)
    }

    /// Notes what an entry holds and lets the least recently used ones go while it is too much.
    fn account(&mut self, key: &Sought, bytes: usize, limit: usize) {
        if let Some(entry) = self.entries.get_mut(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes).saturating_add(bytes);
            entry.bytes = bytes;
        }
        if self.entries.len() > MAX_ENTRIES {
            let mut used: Vec<u64> = self.entries.values().map(|entry| entry.used).collect();
            used.sort_unstable();
            let keep_from = used.get(used.len() / 2).copied().unwrap_or_default();
            self.entries.retain(|_, entry| entry.used >= keep_from);
            self.bytes = self.entries.values().map(|entry| entry.bytes).sum();
        }
        while self.bytes > limit {
            let oldest = self
                .entries
                .iter()
                .filter(|(other, entry)| *other != key && entry.bytes > 0)
                .min_by_key(|(_, entry)| entry.used)
                .map(|(other, _)| other.clone());
            let Some(entry) = oldest.and_then(|oldest| self.entries.remove(&oldest)) else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }
}
