//! One library for a process: what it loads once, remembers, lets go, and keeps on disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::symbol_pair::{
    library, library_with, name_of, one_tier, pdb, pe, put, tcpip, text,
};
use crate::support::symbols::{GUID, Pe};
use kbtriage::machine::Machine;
use kbtriage::symbols::{Cache, ModuleIdentity, Origin, SymbolLibrary, SymbolOptions, SymbolPath};
use tempfile::TempDir;

#[test]
fn one_file_is_loaded_once_for_all_threads_and_misses_are_remembered() {
    let dir = TempDir::new().unwrap();
    one_tier(dir.path());
    let library = library(&text(&dir));
    let first = library.resolve(&tcpip(), Machine::X64, None);
    let absent = ModuleIdentity::new("gone.sys", 1, 2).unwrap();
    assert_eq!(
        library.image(&absent, Machine::X64).state().as_str(),
        "missing"
    );
    put(
        dir.path().join("gone.sys"),
        &Pe {
            stamp: 1,
            size: 2,
            ..pe()
        }
        .write(),
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                assert!(Arc::ptr_eq(
                    &first,
                    &library.resolve(&tcpip(), Machine::X64, None)
                ));
                assert_eq!(
                    library.image(&absent, Machine::X64).state().as_str(),
                    "missing"
                );
            });
        }
    });
}

#[test]
fn a_library_lets_go_of_what_was_used_longest_ago() {
    let dir = TempDir::new().unwrap();
    let one = Pe::new(1, GUID, 1, "x.pdb");
    let names: Vec<String> = (0..8).map(|i| format!("d{i}.sys")).collect();
    for name in &names {
        put(dir.path().join(name), &one.write());
    }
    let library = SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(&text(&dir), Origin::CommandLine),
        limit: one.write().len() * 3,
        ..SymbolOptions::default()
    });
    let load = |name: &str| {
        let id = ModuleIdentity::new(name, 1, 0x4000).unwrap();
        Arc::downgrade(library.image(&id, Machine::X64).found().unwrap())
    };
    let held: Vec<_> = names.iter().map(|n| load(n)).collect();
    let alive: Vec<bool> = held.iter().map(|w| w.upgrade().is_some()).collect();
    assert_eq!(alive, [false, false, false, false, false, true, true, true]);
}

#[test]
fn a_second_run_takes_the_index_from_the_cache_and_a_damaged_cache_is_not_believed() {
    let (dir, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    one_tier(dir.path());
    let run = || {
        let library = library_with(&text(&dir), Some(cache.path()));
        name_of(&library.resolve(&tcpip(), Machine::X64, None), 0x1040)
    };
    assert_eq!(run().as_deref(), Some("TtStopTimer"));
    let info = Cache::at(cache.path().to_owned()).info();
    assert_eq!(info.indexes, 1);

    // A PDB of the same length that no parser accepts: only the cache can still name anything.
    let file = dir
        .path()
        .join("tcpip.pdb")
        .join(pdb().key())
        .join("tcpip.pdb");
    let whole = fs::read(&file).unwrap();
    fs::write(&file, vec![0; whole.len()]).unwrap();
    assert_eq!(run().as_deref(), Some("TtStopTimer"));
    // Without a PDB in the path the cache alone gives nothing: a report depends on the path.
    fs::remove_file(&file).unwrap();
    assert_eq!(run(), None);

    fs::write(&file, &whole).unwrap();
    let index = walk(cache.path())
        .into_iter()
        .find(|p| p.extension().is_some_and(|e| e == "idx"))
        .unwrap();
    let good = fs::read(&index).unwrap();
    for damage in [0, 9, 30, good.len() / 2, good.len() - 1] {
        let mut bad = good.clone();
        bad[damage] ^= 0x40;
        fs::write(&index, bad).unwrap();
        assert_eq!(run().as_deref(), Some("TtStopTimer"));
        assert_eq!(
            fs::read(&index).unwrap(),
            good,
            "rewritten after damage at {damage}"
        );
    }
    let cache = Cache::at(cache.path().to_owned());
    put(cache.root().join("not-ours/file"), b"");
    cache.clear().unwrap();
    assert_eq!(cache.info(), kbtriage::symbols::CacheInfo::default());
    assert!(cache.root().join("not-ours/file").is_file());
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(walk(&path)),
            path => found.push(path),
        }
    }
    found
}
