//! How much of a dump is read. Work is counted, not timed: the counts are the same on every machine.

use std::fs;
use std::sync::Mutex;

use crate::support::catalogue;
use crate::support::shared::shared;
use kbtriage::bytes::{ReadAt, ReadError};
use kbtriage::source::SourceInfo;
use kbtriage::triage::{Engine, Request};

/// Records every read: where, and how many bytes came back.
struct Recording {
    bytes: Vec<u8>,
    reads: Mutex<Vec<(u64, u64)>>,
}

impl Recording {
    fn new(bytes: Vec<u8>) -> Recording {
        Recording {
            bytes,
            reads: Mutex::default(),
        }
    }

    /// Number and bytes of the reads that began below `end`.
    fn below(&self, end: u64) -> (usize, u64) {
        let reads = self.reads.lock().unwrap();
        let those = || reads.iter().filter(|read| read.0 < end);
        (those().count(), those().map(|read| read.1).sum())
    }
}

impl ReadAt for Recording {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let n = self.bytes.read_at(at, buf)?;
        self.reads.lock().unwrap().push((at, n as u64));
        Ok(n)
    }
}

/// Where the fixed part of a triage dump ends: its stack, processor block, driver list, strings and
/// table of data blocks, by the dump's own offsets (format page §7). Data, tagged or not, comes after.
fn fixed_part_end(bytes: &[u8]) -> u64 {
    let number = |at: usize| u64::from(u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()));
    let wide = &bytes[4..8] == b"DU64";
    let t = if wide { 0x2000 } else { 0x1000 };
    let (debugger_data, blocks) = if wide { (0x70, 0x78) } else { (0x58, 0x60) };
    [
        number(t + 0x1C),
        number(t + 0x20),
        number(t + 0x24),
        number(t + 0x28) + number(t + 0x2C),
        number(t + 0x38) + number(t + 0x3C),
        number(t + debugger_data) + number(t + debugger_data + 4),
        number(t + blocks) + number(t + blocks + 4) * 16,
    ]
    .into_iter()
    .max()
    .unwrap()
}

#[test]
fn a_real_triage_dump_costs_two_reads_for_its_fixed_part_and_half_a_mebibyte_in_all() {
    let Some(folder) = shared("data/dumps/kernel") else {
        return;
    };
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let dump = Recording::new(fs::read(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy();
        let _ = Engine::default().triage(&dump, Request::new(&SourceInfo::default()));
        let end = fixed_part_end(&dump.bytes);
        let (fixed_reads, fixed_bytes) = dump.below(end);
        let (reads, read) = dump.below(u64::MAX);
        println!(
            "{name}: fixed part of {end} bytes: {fixed_reads} reads, {fixed_bytes} bytes; \
             whole report: {reads} reads, {read} bytes of {}",
            dump.bytes.len()
        );
        assert!(fixed_reads <= 2, "{name}: {fixed_reads} reads");
        // One of up to 512 KiB is read whole.
        assert!(
            fixed_bytes <= 256 << 10 || reads == 1,
            "{name}: {fixed_bytes} bytes"
        );
        assert!(read <= 512 << 10, "{name}: {read} bytes");
        seen += 1;
    }
    assert_eq!(seen, 23);
}

/// A source whose every read waits, as behind a server: the wait alone tells a reader that.
struct Far(Recording);

impl ReadAt for Far {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        std::thread::sleep(std::time::Duration::from_millis(20));
        self.0.read_at(at, buf)
    }
}

#[test]
fn a_real_dump_that_is_far_away_costs_three_reads() {
    let mut seen = 0;
    for folder in ["data/dumps/kernel", "data/dumps/user"] {
        let Some(folder) = shared(folder) else {
            return;
        };
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let size = bytes.len();
            if !bytes.starts_with(b"PAGE") && !bytes.starts_with(b"MDMP") {
                continue;
            }
            let name = path.file_name().unwrap().to_string_lossy();
            let near = Engine::default()
                .triage(&bytes, Request::new(&SourceInfo::default()))
                .report;
            // A small one in one read; one of ten megabytes takes two windows.
            let most = match size {
                0..=0x8_0000 => 1,
                0x8_0001..=0x48_0000 => 3,
                _ => 4,
            };
            // A machine that does other work waits longer now and then than the source does.
            let reads = (0..3).map(|_| {
                let dump = Far(Recording::new(bytes.clone()));
                let far = Engine::default()
                    .triage(&dump, Request::new(&SourceInfo::default()))
                    .report;
                assert_eq!(far, near, "{name}");
                let (reads, read) = dump.0.below(u64::MAX);
                println!("{name}: {reads} reads, {read} bytes of {size}");
                reads
            });
            assert!(reads.into_iter().any(|reads| reads <= most), "{name}");
            seen += 1;
        }
    }
    assert!(seen >= 31, "{seen}");
}

#[test]
fn a_fixture_is_read_once() {
    for fixture in catalogue::all() {
        let bytes = crate::support::write(&fixture.state);
        let size = bytes.len() as u64;
        let dump = Recording::new(bytes);
        let _ = Engine::default().triage(&dump, Request::new(&SourceInfo::default()));
        let (reads, read) = dump.below(u64::MAX);
        if size <= 512 << 10 {
            assert_eq!((reads, read), (1, size), "{}", fixture.name);
        } else {
            assert!(reads <= 3, "{}: {reads} reads", fixture.name);
        }
    }
}
