//! The committed dumps of `fixtures/dumps` are exactly what the writer makes of the catalogue.
//!
//! `KBTRIAGE_BLESS=1 cargo test --test cli fixtures` writes them again after a change of the catalogue.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Once;

use crate::support::catalogue;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps")
}

/// Writes the folder, once a run, when that was asked for.
fn bless() {
    static ONCE: Once = Once::new();
    if std::env::var_os("KBTRIAGE_BLESS").is_some() {
        ONCE.call_once(|| {
            fs::create_dir_all(folder()).unwrap();
            fs::write(folder().join("README.md"), readme()).unwrap();
            for fixture in catalogue::all() {
                fs::write(
                    folder().join(fixture.name),
                    crate::support::write(&fixture.state),
                )
                .unwrap();
            }
        });
    }
}

fn readme() -> String {
    let mut text = String::from(
        "# Crash dumps written for the tests\n\n\
         Every file here is made by the writer in `tests/support` from the catalogue beside it; none is a real\n\
         dump. Machines, processes, stack contents, third-party drivers, image bases and sizes are invented;\n\
         build numbers, link dates of the releases and the structure offsets of builds 6000 to 6002 are the\n\
         published ones. `KBTRIAGE_BLESS=1 cargo test --test cli fixtures` writes the folder again.\n\n\
         | file | what it shows |\n|---|---|\n",
    );
    for fixture in catalogue::all() {
        text.push_str(&format!("| `{}` | {} |\n", fixture.name, fixture.shows));
    }
    text
}

#[test]
fn committed_dumps_are_what_the_writer_makes() {
    bless();
    for fixture in catalogue::all() {
        let path = folder().join(fixture.name);
        let made = crate::support::write(&fixture.state);
        let committed = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(
            committed == made,
            "{} differs from its description",
            fixture.name
        );
    }
}

#[test]
fn the_writer_is_deterministic() {
    for (one, two) in catalogue::all().iter().zip(catalogue::all().iter()) {
        assert!(crate::support::write(&one.state) == crate::support::write(&two.state));
    }
}

#[test]
fn every_dump_is_listed_in_the_readme_and_none_is_left_over() {
    bless();
    let committed = fs::read_to_string(folder().join("README.md")).unwrap();
    assert_eq!(committed, readme());

    let listed: BTreeSet<String> = catalogue::all()
        .iter()
        .map(|fixture| fixture.name.to_owned())
        .chain(["README.md".to_owned()])
        .collect();
    let present: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(present, listed);
}

#[test]
fn fixtures_stay_small() {
    let sizes: Vec<usize> = catalogue::all()
        .iter()
        .map(|fixture| crate::support::write(&fixture.state).len())
        .collect();
    assert!(sizes.iter().all(|size| *size <= 64 * 1024), "{sizes:?}");
    assert!(sizes.iter().sum::<usize>() < 3 * 512 * 1024, "{sizes:?}");
}

/// `KBTRIAGE_SEEDS=FOLDER cargo test --test cli fixtures` writes the seeds of the fuzz targets there.
#[test]
fn fuzz_seeds_are_at_most_64_kib() {
    let folder = std::env::var_os("KBTRIAGE_SEEDS").map(PathBuf::from);
    for fixture in catalogue::all() {
        let bytes = crate::support::write(&fixture.state);
        assert!(bytes.len() <= 64 * 1024, "{}", fixture.name);
        let Some(folder) = &folder else { continue };
        // The header target needs no more of a triage dump than the first bytes after the header.
        let kept = if fixture.state.dump_type == 4 {
            fixture.state.machine.header_size() + 0x100
        } else {
            bytes.len()
        };
        for (target, seed) in [("triage", &bytes[..]), ("header", &bytes[..kept])] {
            fs::create_dir_all(folder.join(target)).unwrap();
            fs::write(folder.join(target).join(fixture.name), seed).unwrap();
        }
    }
}
