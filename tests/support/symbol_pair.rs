//! A small tcpip.sys and its PDB in a store, and a library that looks there.

#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};

use kbtriage::symbols::{
    Cache, ModuleIdentity, Origin, Resolved, SymbolLibrary, SymbolOptions, SymbolPath,
};
use tempfile::TempDir;

use super::symbols::{GUID, Pdb, Pe};

pub const STAMP: u32 = 0x4791_9120;

pub fn pe() -> Pe {
    Pe::new(STAMP, GUID, 1, "tcpip.pdb")
}

pub fn pdb() -> Pdb {
    Pdb::new(GUID, 1, &[(0x10, "TtStartTimer"), (0x40, "TtStopTimer")])
}

pub fn put(path: PathBuf, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

/// A one-tier store with the pair.
pub fn one_tier(root: &Path) {
    put(
        root.join("tcpip.sys").join(pe().key()).join("tcpip.sys"),
        &pe().write(),
    );
    put(
        root.join("tcpip.pdb").join(pdb().key()).join("tcpip.pdb"),
        &pdb().write(),
    );
}

pub fn tcpip() -> ModuleIdentity {
    ModuleIdentity::new(r"\SystemRoot\System32\drivers\tcpip.sys", STAMP, 0x4000).unwrap()
}

pub fn library(path: &str) -> SymbolLibrary {
    library_with(path, None)
}

pub fn library_with(path: &str, cache: Option<&Path>) -> SymbolLibrary {
    SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(path, Origin::CommandLine),
        cache: cache.map(|c| Cache::at(c.to_owned())),
        ..SymbolOptions::default()
    })
}

/// The name at an address, when a PDB was loaded.
pub fn name_of(resolved: &Resolved, rva: u32) -> Option<String> {
    Some(resolved.symbols.found()?.name_at(rva)?.name)
}

pub fn text(dir: &TempDir) -> String {
    dir.path().to_str().unwrap().to_owned()
}
