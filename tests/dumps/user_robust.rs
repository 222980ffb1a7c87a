//! User-mode dumps that are cut, changed or made to hurt: a clear error, or a degraded result that says
//! what is missing.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::prng::Prng;
use crate::support::{mdmp_fields, mutate};
use kbtriage::dump::user::{self, UserDump, UserDumpError};

/// Our fixtures, and the real dumps where they are at hand.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    for folder in ["fixtures/user", "../shared/data/dumps/user"] {
        if !Path::new(folder).exists() {
            println!("SKIPPED: ../shared is absent");
            continue;
        }
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "dmp") {
                seeds.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    seeds.sort();
    assert!(seeds.len() >= 5);
    seeds
}

fn same_but_for_damage(a: &UserDump, b: &UserDump) -> bool {
    let mut b = b.clone();
    b.damage.clone_from(&a.damage);
    *a == b
}

#[test]
fn a_dump_cut_anywhere_is_refused_or_says_what_is_missing() {
    for (name, bytes) in seeds() {
        let whole = user::read(&bytes).unwrap();
        // Our small dumps at every third byte, the real ones at hundreds of places.
        let step = (bytes.len() / 400).max(3);
        for len in (0..bytes.len()).step_by(step) {
            match user::read(&bytes[..len].to_vec()) {
                Ok(cut) => assert!(
                    !cut.damage.is_empty() || same_but_for_damage(&whole, &cut),
                    "{name} cut to {len} bytes differs and does not say so"
                ),
                Err(UserDumpError::NotMinidump) => assert!(len < 4, "{name} cut to {len}"),
                Err(UserDumpError::Cut { present }) => assert_eq!(present, len as u64),
                Err(UserDumpError::Nothing) => {}
                Err(other) => panic!("{name} cut to {len}: {other}"),
            }
        }
    }
}

#[test]
fn thousands_of_changed_dumps_neither_panic_nor_hang() {
    let mut random = Prng::new(943_650);
    let (mut read, mut refused, mut contained) = (0, 0, 0);
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    for (name, bytes) in seeds() {
        let fields = mdmp_fields::fields(&bytes);
        for _ in 0..160 {
            let mut changed = bytes.clone();
            mutate::mutate(&mut changed, &fields, &mut random);
            let start = Instant::now();
            match user::read(&changed) {
                Ok(_) => read += 1,
                Err(UserDumpError::Parser(_)) => contained += 1,
                Err(_) => refused += 1,
            }
            slowest = slowest.max(start.elapsed());
            assert!(slowest < Duration::from_secs(5), "{name}: {slowest:?}");
        }
    }
    println!(
        "{read} read, {refused} refused, {contained} contained panics, slowest {slowest:?}, {:?}",
        begin.elapsed()
    );
    assert!(read > refused);
    assert_eq!(
        contained, 0,
        "the checked copy keeps the parser from panicking"
    );
}

#[test]
fn what_is_no_minidump_is_refused() {
    assert!(matches!(
        user::read(&b"PAGEDU64 and so on, long enough for a header".to_vec()),
        Err(UserDumpError::NotMinidump)
    ));
    assert!(matches!(
        user::read(&Vec::new()),
        Err(UserDumpError::NotMinidump)
    ));
    let mut header = b"MDMP\x93\xA7\0\0".to_vec();
    assert!(matches!(
        user::read(&header),
        Err(UserDumpError::Cut { present: 8 })
    ));
    header.resize(64, 0);
    assert!(matches!(
        user::read(&header),
        Err(UserDumpError::Cut { present: 64 })
    ));
    header[4] = 0;
    assert!(matches!(
        user::read(&header),
        Err(UserDumpError::NotMinidump)
    ));
}
