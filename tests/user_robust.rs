//! User-mode dumps that are cut, changed or made to hurt: a clear error, or a degraded result that says
//! what is missing.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

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

/// The same numbers in every run (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }
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
    const VALUES: [u32; 8] = [
        0,
        1,
        4,
        0x7FFF_FFFF,
        0x8000_0000,
        0xFFFF_FFFF,
        0xFFFF,
        0x1000,
    ];
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut read, mut refused, mut contained) = (0, 0, 0);
    let begin = Instant::now();
    let mut slowest = Duration::ZERO;
    for (name, bytes) in seeds() {
        // Headers, lists and names stand in the first part of these files; a stack is long.
        let reach = bytes.len().min(16 * 1024);
        for _ in 0..250 {
            let mut changed = bytes.clone();
            for _ in 0..1 + random.below(6) {
                let at = random.below(reach - 4);
                if random.below(2) == 0 {
                    changed[at] ^= 1 << random.below(8);
                } else {
                    let value = match random.below(3) {
                        0 => bytes.len() as u32,
                        _ => VALUES[random.below(VALUES.len())],
                    };
                    let field = at & !3;
                    changed[field..field + 4].copy_from_slice(&value.to_le_bytes());
                }
            }
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
    assert!(read > 10 * refused);
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
