//! The code check against builds whose lock is known: the two real `tcpip.sys` of the shared store,
//! both of which hold the fix, and every build of the fixture lab, whose list of builds says which
//! were compiled with it. Right or unknown, never wrong.

use std::path::{Path, PathBuf};

use kbtriage::bytes::Budget;
use kbtriage::code::{self, ImageCode, LockFinding};
use kbtriage::image::Image;
use kbtriage::machine::Machine;
use kbtriage::symbols::{ModuleIdentity, Origin, SymbolLibrary, SymbolOptions, SymbolPath};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The finding for the image at `file`, with the symbols of `store`.
fn finding(file: &Path, machine: Machine, images: &Path, store: &Path) -> Option<LockFinding> {
    let image = Image::from_file(std::fs::read(file).unwrap()).unwrap();
    let path = |place: &Path| SymbolPath::parse(&place.to_string_lossy(), Origin::CommandLine);
    let library = SymbolLibrary::new(SymbolOptions {
        symbols: path(store),
        images: path(images),
        ..SymbolOptions::default()
    });
    let identity =
        ModuleIdentity::new("tcpip.sys", image.time_date_stamp(), image.size_of_image()).unwrap();
    let resolved = library.resolve(&identity, machine, None);
    let symbols = resolved.symbols.found()?.clone();
    let check = code::check(&ImageCode::new(&image, &symbols), &Budget::default());
    println!("{}: {:?}: {}", file.display(), check.finding, check.reason);
    Some(check.finding)
}

/// Every `tcpip.sys` below a store's folder for that file.
fn builds(store: &Path) -> Vec<PathBuf> {
    let keys = std::fs::read_dir(store.join("tcpip.sys")).unwrap();
    let mut found: Vec<PathBuf> = keys
        .flatten()
        .map(|key| key.path().join("tcpip.sys"))
        .collect();
    found.sort();
    found
}

#[test]
fn both_real_builds_take_the_write_lock_first() {
    let store = root().join("../shared/data/symbols");
    if !store.is_dir() {
        println!("SKIPPED: ../shared is absent");
        return;
    }
    let files = builds(&store);
    assert_eq!(files.len(), 2);
    for file in files {
        let found = finding(&file, Machine::X64, &store, &store);
        assert_eq!(found, Some(LockFinding::WriteLock), "{}", file.display());
    }
}

#[test]
fn every_lab_build_is_told_by_its_code() {
    let lab = root().join("fixtures/lab/build");
    if !lab.join("symbols").is_dir() {
        println!("SKIPPED: the lab's builds are not there (fixtures/lab/README.md)");
        return;
    }
    // Link times of the builds compiled with the fix: 22222 and Service Pack 2 (the lab's list).
    let fixed = ["487BE9B7", "49E020E4"];
    for (machine, folder) in [(Machine::X64, "x64"), (Machine::X86, "x86")] {
        let images = lab.join("images").join(folder);
        let files = builds(&images);
        assert!(files.len() >= 9, "{folder}: {}", files.len());
        let mut told = 0;
        for file in &files {
            let key = file.parent().unwrap().file_name().unwrap();
            let key = key.to_string_lossy();
            let right = match fixed.iter().any(|stamp| key.starts_with(stamp)) {
                true => LockFinding::WriteLock,
                false => LockFinding::ReadLock,
            };
            let found = finding(file, machine, &images, &lab.join("symbols"));
            let found = found.expect("the lab holds every build's symbols");
            assert!(
                found == right || found == LockFinding::Unknown,
                "{folder} {key}: {found:?}, really {right:?}"
            );
            told += usize::from(found == right);
        }
        assert_eq!(
            told,
            files.len(),
            "{folder}: some build's code says nothing"
        );
    }
}
