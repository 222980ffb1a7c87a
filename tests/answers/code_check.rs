//! The code check against builds whose lock is known: the two real `tcpip.sys` of the shared store,
//! both of which hold the fix, and the builds of the fixture lab, whose lists say which were compiled with
//! it: those of the committed corpus, and drawn ones where the lab was built. Right or unknown, never wrong.

use std::path::{Path, PathBuf};

use kbtriage::bytes::Budget;
use kbtriage::code::{self, CodeSource, ImageCode, LeftBehind, ListWork};
use kbtriage::facts::LockFact;
use kbtriage::image::Image;
use kbtriage::machine::Machine;
use kbtriage::symbols::{ModuleIdentity, Origin, SymbolLibrary, SymbolOptions, SymbolPath};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads the code of the image at `file` with the symbols of `store`.
fn with_code<T>(
    file: &Path,
    machine: Machine,
    images: &Path,
    store: &Path,
    read: impl Fn(&ImageCode<'_>) -> T,
) -> Option<T> {
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
    Some(read(&ImageCode::new(&image, &symbols)))
}

/// The finding for the image at `file`, with the symbols of `store`.
fn finding(file: &Path, machine: Machine, images: &Path, store: &Path) -> Option<LockFact> {
    with_code(file, machine, images, store, |code| {
        let check = code::check(code, &Budget::default());
        println!("{}: {:?}: {}", file.display(), check.finding, check.reason);
        check.finding
    })
}

/// What its TtStopTimer leaves in a timer's links; `None` where it has no such name.
fn left(file: &Path, machine: Machine, images: &Path, store: &Path) -> Option<Option<LeftBehind>> {
    let stop = |code: &ImageCode<'_>| {
        let entry = code.address_of("TtStopTimer")?;
        Some(code::left_behind(code, entry, &Budget::default()))
    };
    with_code(file, machine, images, store, stop)?
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
        assert_eq!(found, Some(LockFact::WriteLock), "{}", file.display());
    }
}

/// Link times of the builds compiled with the fix: 22222 and Service Pack 2 (the lab's list).
const FIXED: [&str; 2] = ["487BE9B7", "49E020E4"];
/// Link times of the fixed builds that the lab's grammar draws: within an hour behind 22222.
const DRAWN_FIXED: std::ops::Range<u32> = 0x487B_E9C0..0x487B_F960;

/// The link time in the name of the folder that a store keeps an image in.
fn stamp(file: &Path) -> String {
    let key = file.parent().unwrap().file_name().unwrap();
    key.to_string_lossy().chars().take(8).collect()
}

#[test]
fn every_build_of_the_corpus_is_told_by_its_code() {
    let corpus = root().join("fixtures/corpus");
    for (machine, folder) in [(Machine::X64, "x64"), (Machine::X86, "x86")] {
        let images = corpus.join("images").join(folder);
        let files = builds(&images);
        assert!(files.len() >= 6, "{folder}: {}", files.len());
        for file in &files {
            let right = match FIXED.contains(&stamp(file).as_str()) {
                true => LockFact::WriteLock,
                false => LockFact::ReadLock,
            };
            let found = finding(file, machine, &images, &corpus.join("symbols"));
            assert_eq!(found, Some(right), "{folder} {}", file.display());
        }
    }
}

#[test]
fn drawn_builds_are_told_by_their_code_or_left_open() {
    let lab = root().join("fixtures/lab/build");
    if !lab.join("variants.txt").is_file() {
        println!("SKIPPED: the lab's builds are not there (fixtures/lab/README.md)");
        return;
    }
    for (machine, folder) in [(Machine::X64, "x64"), (Machine::X86, "x86")] {
        let images = lab.join("images").join(folder);
        let (mut told, mut files) = (0, 0);
        for file in builds(&images) {
            let stamp = stamp(&file);
            let drawn = u32::from_str_radix(&stamp, 16).is_ok_and(|s| DRAWN_FIXED.contains(&s));
            let right = match drawn || FIXED.contains(&stamp.as_str()) {
                true => LockFact::WriteLock,
                false => LockFact::ReadLock,
            };
            let found = finding(&file, machine, &images, &lab.join("symbols"));
            let found = found.expect("the lab holds every build's symbols");
            assert!(
                found == right || found == LockFact::Unknown,
                "{folder} {stamp}: {found:?}, really {right:?}"
            );
            told += usize::from(found == right);
            files += 1;
        }
        assert!(told * 3 >= files * 2, "{folder}: {told} of {files} told");
    }
}

#[test]
fn a_routine_that_calls_on_with_the_entry_says_nothing() {
    let store = root().join("../shared/data/symbols");
    if !store.is_dir() {
        println!("SKIPPED: ../shared is absent");
        return;
    }
    // Read in a disassembly: after the unlink, in a cold part, both links are cleared, and then an import
    // of netio.sys gets the timer.
    for file in builds(&store) {
        let found = left(&file, Machine::X64, &store, &store);
        assert_eq!(found, Some(None), "{}", file.display());
    }
}

#[test]
fn what_each_build_of_the_corpus_leaves_in_a_stopped_timer_is_read_from_its_code() {
    let corpus = root().join("fixtures/corpus");
    // Link times of the builds compiled with STOP_NULLS (the lab's list).
    let nulls = ["4A855C31", "4876B1C4", "49E020E4", "47919131", "4791913A"];
    let mut read = 0;
    for (machine, folder) in [(Machine::X64, "x64"), (Machine::X86, "x86")] {
        let images = corpus.join("images").join(folder);
        for file in builds(&images) {
            let right = match nulls.contains(&stamp(&file).as_str()) {
                true => LeftBehind::Null,
                false => LeftBehind::Itself,
            };
            // One build withholds the name.
            if let Some(found) = left(&file, machine, &images, &corpus.join("symbols")) {
                assert_eq!(found, Some(right), "{folder} {}", file.display());
                read += 1;
            }
        }
    }
    assert!(read >= 11, "{read}");
}

/// What a named function does to lists; `None` where the build has no such name.
fn work(
    (file, machine): (&Path, Machine),
    (images, store): (&Path, &Path),
    name: &str,
) -> Option<ListWork> {
    let read =
        |code: &ImageCode<'_>| code::list_work(code, code.address_of(name)?, &Budget::default());
    with_code(file, machine, images, store, read)?
}

#[test]
fn what_functions_do_to_lists_is_read_from_their_code() {
    let corpus = root().join("fixtures/corpus");
    // Where the timer lies in an entry: fixtures/lab/guest/tcpip/tcpip.h.
    for (machine, folder, timer) in [(Machine::X64, "x64", 0x40), (Machine::X86, "x86", 0x3C)] {
        let images = corpus.join("images").join(folder);
        for file in builds(&images) {
            let store = corpus.join("symbols");
            let of = |name: &str| work((&file, machine), (&images, &store), name);
            let seen = |work: ListWork| (work.unlinks, work.inserts, work.walks);
            let context = format!("{folder} {}", file.display());
            if let Some(stop) = of("TtStopTimer") {
                assert_eq!(stop.entries, [(1, 0)].into(), "{context}");
                assert_eq!(seen(stop), (true, false, false), "{context}");
                let start = of("TtStartTimer").expect("it has both names");
                assert_eq!(seen(start), (false, true, false), "{context}");
                let fire = of("TtFireTimer").expect("it has all three names");
                assert_eq!(seen(fire), (true, true, true), "{context}");
            }
            if let Some(restart) = of("IppRestartMfeTimer") {
                assert_eq!(restart.entries, [(1, timer)].into(), "{context}");
                assert!(restart.moves_one(), "{context}");
                assert_eq!(seen(restart), (true, true, false), "{context}");
            }
            // A removal takes off what it is given and puts nothing on.
            if let Some(removal) = of("IppRemoveMfeUnderLock") {
                assert!(
                    !removal.moves_one() && removal.is_given_entries(),
                    "{context}"
                );
            }
            let find = of("IppFindMfeUnderLock").expect("every build has the name");
            assert_eq!(seen(find), (false, false, true), "{context}");
        }
    }
}

#[test]
fn where_the_timer_lies_in_an_entry_is_read_from_the_real_restart() {
    let store = root().join("../shared/data/symbols");
    if !store.is_dir() {
        println!("SKIPPED: ../shared is absent");
        return;
    }
    for file in builds(&store) {
        let restart = work(
            (&file, Machine::X64),
            (&store, &store),
            "IppRestartMfeTimer",
        );
        let restart = restart.expect("both have the name");
        // Read in the public symbols and a disassembly: docs/kb943650.md.
        assert_eq!(restart.entries, [(0, 0x40)].into(), "{}", file.display());
        assert!(restart.unlinks && restart.inserts);
    }
}

#[test]
fn who_calls_a_routine_is_found_in_the_whole_code() {
    // fixtures/lab/guest/tcpip/mfe.c.
    const CALLERS: [&str; 3] = [
        "IppMfeSetTimeOut",
        "IppCommitSetAllMfeParameters",
        "IppDeleteMfes",
    ];
    let corpus = root().join("fixtures/corpus");
    let mut read = 0;
    for (machine, folder) in [(Machine::X64, "x64"), (Machine::X86, "x86")] {
        let images = corpus.join("images").join(folder);
        for file in builds(&images) {
            let context = format!("{folder} {}", file.display());
            let counts = with_code(&file, machine, &images, &corpus.join("symbols"), |code| {
                let budget = Budget::default();
                let removal = code.address_of("IppRemoveMfeUnderLock")?;
                let sites = code::call_sites(code, &[removal].into(), &budget)?;
                let sites = sites.get(&removal)?;
                let of = |name: &str| {
                    let entry = code.address_of(name).expect("every build has the name");
                    let own = |at: &&u32| code::reaches(code, entry, **at, &budget);
                    sites.iter().filter(own).count()
                };
                Some((sites.len(), CALLERS.map(of)))
            });
            let Some((all, each)) = counts.flatten() else {
                continue;
            };
            assert_eq!(all, each.iter().sum::<usize>(), "{context}");
            assert!(each.iter().all(|count| *count > 0), "{context}: {each:?}");
            read += 1;
        }
    }
    assert!(read >= 11, "{read}");
}

#[test]
fn a_loop_that_walks_a_list_is_told_from_one_that_waits() {
    let corpus = root().join("fixtures/corpus");
    for (machine, folder) in [(Machine::X64, "x64"), (Machine::X86, "x86")] {
        let images = corpus.join("images").join(folder);
        for file in builds(&images) {
            let context = format!("{folder} {}", file.display());
            with_code(&file, machine, &images, &corpus.join("symbols"), |code| {
                let budget = Budget::default();
                let walked = |name: &str| {
                    let entry = code.address_of(name)?;
                    let places = (entry..entry + 0x200)
                        .filter(|at| code::reaches(code, entry, *at, &budget));
                    Some(
                        places
                            .filter(|at| code::walks_at(code, *at, &budget) == Some(true))
                            .count(),
                    )
                };
                // Look-up and expiry walk; stop and restart do not, and a removal under the write lock only waits.
                assert!(walked("IppFindMfeUnderLock") > Some(0), "{context}");
                assert!(walked("TtFireTimer").is_none_or(|n| n > 0), "{context}");
                for name in [
                    "TtStopTimer",
                    "TtStartTimer",
                    "IppRestartMfeTimer",
                    "IppMfeSetTimeOut",
                ] {
                    assert!(walked(name).is_none_or(|n| n == 0), "{context} {name}");
                }
            });
        }
    }
}
