//! What hostile user-mode dumps cost. One test in a program of its own, because the system tells only
//! the peak of a whole process.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kbtriage::bytes::{ReadAt, ReadError};
use kbtriage::dump::user;

/// A minidump put together by hand: records at the end, streams listed in front.
struct Writer {
    bytes: Vec<u8>,
    streams: Vec<[u32; 3]>,
}

impl Writer {
    fn new() -> Writer {
        let mut bytes = vec![0; 32 + 12 * 8];
        bytes[..8].copy_from_slice(b"MDMP\x93\xA7\0\0");
        bytes[12] = 32;
        Writer {
            bytes,
            streams: Vec::new(),
        }
    }

    fn append(&mut self, record: &[u8]) -> u32 {
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(record);
        at
    }

    fn stream(&mut self, kind: u32, record: &[u8]) {
        let at = self.append(record);
        self.streams.push([kind, record.len() as u32, at]);
    }

    fn words(values: &[u32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Windows on x64.
    fn system(&mut self) {
        let csd = self.append(&[0; 8]);
        let words = [9, 1 << 16, 6, 0, 6001, 2, csd, 0, 0, 0, 0, 0, 0, 0];
        self.stream(7, &Writer::words(&words));
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes[8] = self.streams.len() as u8;
        let directory: Vec<u8> = self
            .streams
            .iter()
            .flat_map(|entry| Writer::words(entry))
            .collect();
        self.bytes[32..32 + directory.len()].copy_from_slice(&directory);
        self.bytes
    }
}

/// Every module names the same 64 KiB of text and the same record.
fn modules_that_share_a_long_name(count: u32) -> Vec<u8> {
    let mut dump = Writer::new();
    dump.system();
    let mut name = Writer::words(&[0xFFFE]);
    name.resize(4 + 0xFFFE + 2, b'n');
    let name = dump.append(&name);
    let mut record = b"RSDS".to_vec();
    record.resize(4096, b'r');
    let record = dump.append(&record);
    let mut list = Writer::words(&[count]);
    for index in 0..count {
        let mut module = [0; 27];
        module[0] = index << 16;
        module[2] = 0x1_0000;
        module[5] = name;
        (module[19], module[20]) = (4096, record);
        list.extend(Writer::words(&module));
    }
    dump.stream(4, &list);
    dump.finish()
}

/// A crashed x64 thread whose stack is one chain of frame pointers, 16 bytes a frame.
fn an_endless_chain_of_frames(frames: u64) -> Vec<u8> {
    const STACK: u64 = 0x10_0000;
    let mut dump = Writer::new();
    dump.system();
    let chain: Vec<u8> = (1..=frames)
        .flat_map(|i| [STACK + 16 * i, 0x7FF0_0000_0000])
        .flat_map(u64::to_le_bytes)
        .collect();
    let size = chain.len() as u32;
    let chain = dump.append(&chain);
    let mut context = vec![0; 1232];
    context[0x30..0x34].copy_from_slice(&0x10_001Fu32.to_le_bytes());
    context[0x98..0xA0].copy_from_slice(&STACK.to_le_bytes());
    context[0xA0..0xA8].copy_from_slice(&STACK.to_le_bytes());
    context[0xF8..0x100].copy_from_slice(&0x7FF0_0000_0000u64.to_le_bytes());
    let context = dump.append(&context);
    let thread = [
        1,
        7,
        0,
        0,
        0,
        0,
        0,
        STACK as u32,
        0,
        size,
        chain,
        1232,
        context,
    ];
    dump.stream(3, &Writer::words(&thread));
    let mut exception = [0; 42];
    exception[0] = 7;
    exception[2] = 0xC000_0005;
    (exception[40], exception[41]) = (1232, context);
    dump.stream(6, &Writer::words(&exception));
    dump.finish()
}

/// Lists that claim as many records as their counts can say.
fn counts_without_records() -> Vec<u8> {
    let mut dump = Writer::new();
    dump.system();
    for kind in [3, 4, 5] {
        dump.stream(kind, &Writer::words(&[u32::MAX, 0, 0, 0]));
    }
    dump.stream(9, &[0xFF; 16]);
    dump.stream(14, &Writer::words(&[12, 24, u32::MAX]));
    dump.finish()
}

/// A file of 3 GiB of which only the beginning is real. Counts the bytes read.
struct Huge(Vec<u8>, AtomicU64);

impl Huge {
    fn new(bytes: Vec<u8>) -> Huge {
        Huge(bytes, AtomicU64::new(0))
    }
}

impl ReadAt for Huge {
    fn len(&self) -> u64 {
        3 << 30
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let known = self.0.read_up_to(at, buf)?;
        buf[known..].fill(0xFF);
        self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
        Ok(buf.len())
    }
}

/// Peak of the process in KiB, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn hostile_counts_chains_and_shared_names_stay_within_64_mib_and_seconds() {
    let mut dumps: Vec<(&str, Box<dyn ReadAt>)> = vec![
        ("counts", Box::new(counts_without_records())),
        (
            "counts in a huge file",
            Box::new(Huge::new(counts_without_records())),
        ),
        ("chain", Box::new(an_endless_chain_of_frames(500_000))),
        ("names", Box::new(modules_that_share_a_long_name(60_000))),
    ];
    let mut huge = modules_that_share_a_long_name(1_000);
    let at = huge.len() - 1_000 * 108 - 4;
    huge[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    dumps.push(("modules in a huge file", Box::new(Huge::new(huge))));

    let before = peak();
    for (name, bytes) in &dumps {
        let start = Instant::now();
        let dump = user::read(bytes.as_ref()).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!(
            "{name}: {} modules, {} frames, {:?}, peak {:?} KiB",
            dump.modules.len(),
            dump.stack.len(),
            start.elapsed(),
            peak()
        );
        assert!(start.elapsed() < Duration::from_secs(10), "{name}");
        assert!(dump.modules.len() <= 16 * 1024);
        assert!(dump.stack.len() <= 256);
        match *name {
            "chain" => {
                assert!(dump.stack_cut);
                assert_eq!(dump.stack.len(), 256);
            }
            _ => assert!(!dump.damage.is_empty(), "{name}"),
        }
    }
    let crashed = Huge::new(an_endless_chain_of_frames(1_000));
    let dump = user::read(&crashed).unwrap();
    assert_eq!(dump.exception.unwrap().thread, 7);
    let cost = crashed.1.load(Ordering::Relaxed);
    assert!(cost <= 512 * 1024, "{cost} bytes read of 3 GiB");

    match before.zip(peak()) {
        Some((before, after)) => assert!(after - before < 64 * 1024, "{} KiB", after - before),
        None => println!("SKIPPED: this system does not tell the peak of memory"),
    }
}
