//! Writes the physical memory of a test machine as each type of memory dump.
//!
//! The file is a sparse map of chunks over zeros, so that a dump of 64 GiB costs what is in it.
//! Offsets are stated here a second time, from the format page; nothing is shared with the reader.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use kbtriage::bytes::{ReadAt, ReadError};

use super::memory_machine::Machine;

/// Everything a header says besides the pages.
#[derive(Clone, Debug)]
pub struct Header {
    pub dump_type: u32,
    pub build: u32,
    pub cr3: u64,
    pub kdbg: u64,
    pub module_list: u64,
    pub process_list: u64,
    pub processors: u32,
    pub code: u32,
    pub parameters: [u64; 4],
    pub pae: Option<bool>,
    pub context: Vec<u8>,
    /// Runs of physical memory: first page, pages.
    pub runs: Vec<(u64, u64)>,
    /// Fields written over after all others, by their offset in the header: what a converter does.
    pub patches: Vec<(usize, Vec<u8>)>,
}

/// Which pages a bitmap or range dump holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Those the test machine wrote.
    Written,
    /// All of the header's runs.
    All,
}

/// A file of chunks over zeros that counts what is read of it.
#[derive(Default)]
pub struct SparseFile {
    pub len: u64,
    pub chunks: BTreeMap<u64, Vec<u8>>,
    pub reads: AtomicU64,
    pub bytes: AtomicU64,
}

impl SparseFile {
    pub fn put(&mut self, at: u64, data: &[u8]) {
        self.len = self.len.max(at + data.len() as u64);
        self.chunks.insert(at, data.to_vec());
    }

    pub fn patch(&mut self, at: u64, data: &[u8]) {
        let (start, chunk) = self.chunks.range_mut(..=at).next_back().unwrap();
        let from = (at - start) as usize;
        chunk[from..from + data.len()].copy_from_slice(data);
    }

    pub fn truncate(&mut self, len: u64) {
        self.len = len;
        self.chunks.retain(|at, _| *at < len);
        for (at, chunk) in &mut self.chunks {
            chunk.truncate((len - at).min(chunk.len() as u64) as usize);
        }
    }

    pub fn counts(&self) -> (u64, u64) {
        (
            self.reads.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        )
    }

    /// All bytes; for small files.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        for (at, chunk) in &self.chunks {
            bytes[*at as usize..*at as usize + chunk.len()].copy_from_slice(chunk);
        }
        bytes
    }

    /// Writes it as a sparse file on disk.
    pub fn save(&self, path: &Path) {
        let mut file = File::create(path).unwrap();
        file.set_len(self.len).unwrap();
        for (at, chunk) in &self.chunks {
            file.seek(SeekFrom::Start(*at)).unwrap();
            file.write_all(chunk).unwrap();
        }
    }
}

impl ReadAt for SparseFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let n = (buf.len() as u64).min(self.len.saturating_sub(at)) as usize;
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        buf[..n].fill(0);
        let end = at + n as u64;
        let first = self
            .chunks
            .range(..=at)
            .next_back()
            .map_or(at, |(start, _)| *start);
        for (start, chunk) in self.chunks.range(first..end) {
            let (from, to) = ((*start).max(at), (start + chunk.len() as u64).min(end));
            if from < to {
                buf[(from - at) as usize..(to - at) as usize]
                    .copy_from_slice(&chunk[(from - start) as usize..(to - start) as usize]);
            }
        }
        Ok(n)
    }
}

fn put(image: &mut [u8], at: usize, data: &[u8]) {
    image[at..at + data.len()].copy_from_slice(data);
}

fn painted(size: usize) -> Vec<u8> {
    b"PAGE".iter().copied().cycle().take(size).collect()
}

fn header(machine: &Machine, h: &Header) -> Vec<u8> {
    let wide = !machine.mode.is_32_bit();
    let mut image = painted(if wide { 0x2000 } else { 0x1000 });
    let width = if wide { 8 } else { 4 };
    let ptr = |image: &mut [u8], at: usize, value: u64| {
        put(image, at, &value.to_le_bytes()[..width]);
    };
    let word = |image: &mut [u8], at: usize, value: u32| put(image, at, &value.to_le_bytes());
    put(&mut image, 0, if wide { b"PAGEDU64" } else { b"PAGEDUMP" });
    word(&mut image, 8, 0xF);
    word(&mut image, 0xC, h.build);
    let pages: u64 = h.runs.iter().map(|run| run.1).sum();
    let block = if wide { 0x88 } else { 0x64 };
    word(&mut image, block, h.runs.len() as u32);
    ptr(&mut image, block + width, pages);
    for (i, (base, count)) in h.runs.iter().enumerate() {
        ptr(&mut image, block + 2 * width + i * 2 * width, *base);
        ptr(&mut image, block + 3 * width + i * 2 * width, *count);
    }
    if wide {
        for (at, value) in [
            (0x10, h.cr3),
            (0x18, 0),
            (0x20, h.module_list),
            (0x28, h.process_list),
        ] {
            ptr(&mut image, at, value);
        }
        word(&mut image, 0x30, 0x8664);
        word(&mut image, 0x34, h.processors);
        word(&mut image, 0x38, h.code);
        for (i, value) in h.parameters.iter().enumerate() {
            ptr(&mut image, 0x40 + 8 * i, *value);
        }
        ptr(&mut image, 0x80, h.kdbg);
        put(&mut image, 0x348, &h.context);
        word(&mut image, 0xF98, h.dump_type);
        put(&mut image, 0xFA8, &128_606_796_000_000_000u64.to_le_bytes());
        put(&mut image, 0x1030, &36_000_000_000u64.to_le_bytes());
        word(&mut image, 0x1040, 3);
    } else {
        for (at, value) in [
            (0x10, h.cr3),
            (0x14, 0),
            (0x18, h.module_list),
            (0x1C, h.process_list),
        ] {
            ptr(&mut image, at, value);
        }
        word(&mut image, 0x20, 0x14C);
        word(&mut image, 0x24, h.processors);
        word(&mut image, 0x28, h.code);
        for (i, value) in h.parameters.iter().enumerate() {
            ptr(&mut image, 0x2C + 4 * i, *value);
        }
        if let Some(pae) = h.pae {
            image[0x5C] = u8::from(pae);
        }
        ptr(&mut image, 0x60, h.kdbg);
        put(&mut image, 0x320, &h.context);
        word(&mut image, 0xF88, h.dump_type);
        put(&mut image, 0xFB8, &36_000_000_000u64.to_le_bytes());
        put(&mut image, 0xFC0, &128_606_796_000_000_000u64.to_le_bytes());
        word(&mut image, 0xF94, 3);
    }
    for (at, data) in &h.patches {
        put(&mut image, *at, data);
    }
    image
}

/// The pages a file holds, as ascending runs.
fn held(machine: &Machine, h: &Header, fill: Fill) -> Vec<(u64, u64)> {
    if fill == Fill::All {
        return h.runs.clone();
    }
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for pfn in machine.pages.keys() {
        match runs.last_mut() {
            Some((base, count)) if *base + *count == *pfn => *count += 1,
            _ => runs.push((*pfn, 1)),
        }
    }
    runs
}

/// Writes the dump.
pub fn write(machine: &Machine, h: &Header, fill: Fill) -> SparseFile {
    let mut file = SparseFile::default();
    let head = header(machine, h);
    let start = head.len();
    file.put(0, &head);
    let runs = match h.dump_type {
        1 => h.runs.clone(),
        _ => held(machine, h, fill),
    };
    let pages: u64 = runs.iter().map(|run| run.1).sum();
    let bits = h.runs.iter().map(|run| run.0 + run.1).max().unwrap();
    let bitmap = || {
        let mut map = vec![0u8; bits.div_ceil(32) as usize * 4];
        for (base, count) in &runs {
            let end = base + count;
            let mut pfn = *base;
            while pfn < end {
                if pfn % 8 == 0 && end - pfn >= 8 {
                    map[(pfn / 8) as usize] = 0xFF;
                    pfn += 8;
                } else {
                    map[(pfn / 8) as usize] |= 1 << (pfn % 8);
                    pfn += 1;
                }
            }
        }
        map
    };
    let first_page = match h.dump_type {
        1 => start,
        2 => {
            let map = bitmap();
            let before = if machine.mode.is_32_bit() { 0x20 } else { 0x28 };
            let first = (start + before + map.len()).next_multiple_of(0x1000);
            let mut body = vec![0; before];
            put(&mut body, 0, b"SDMPDUMP");
            put(&mut body, 0x08, &1u32.to_le_bytes());
            put(&mut body, 0x0C, &(first as u32).to_le_bytes());
            put(&mut body, 0x10, &(bits as u32).to_le_bytes());
            put(&mut body, 0x14, &(pages as u32).to_le_bytes());
            put(&mut body, 0x18, &(bits as u32).to_le_bytes());
            body.extend(map);
            file.put(start as u64, &body);
            first
        }
        5 | 6 => {
            let map = bitmap();
            // Not page aligned, as one real writer leaves it.
            let first = start + 0x38 + map.len();
            let mut body = vec![0; 0x38];
            put(
                &mut body,
                0,
                if h.dump_type == 5 {
                    b"FDMPDUMP"
                } else {
                    b"SDMPDUMP"
                },
            );
            put(&mut body, 0x20, &(first as u64).to_le_bytes());
            put(&mut body, 0x28, &pages.to_le_bytes());
            put(&mut body, 0x30, &bits.to_le_bytes());
            body.extend(map);
            file.put(start as u64, &body);
            first
        }
        8..=10 => {
            let table = runs.len() * 16;
            let metadata = (table + 16).next_multiple_of(16);
            let first = start + 0x20 + metadata;
            let mut body = vec![0; 0x20 + metadata];
            put(&mut body, 0, &0x40u32.to_le_bytes());
            put(&mut body, 4, b"RDMPDUMP");
            put(&mut body, 0x10, &(metadata as u64).to_le_bytes());
            put(&mut body, 0x18, &(first as u64).to_le_bytes());
            if h.dump_type == 10 {
                put(&mut body, 0x20, &(runs.len() as u32).to_le_bytes());
                put(&mut body, 0x28, &pages.to_le_bytes());
            }
            for (i, (base, count)) in runs.iter().enumerate() {
                put(&mut body, 0x30 + 16 * i, &base.to_le_bytes());
                put(&mut body, 0x38 + 16 * i, &count.to_le_bytes());
            }
            file.put(start as u64, &body);
            first
        }
        other => panic!("dump type {other} is not written"),
    };
    let mut at = first_page as u64;
    for (base, count) in &runs {
        for (pfn, page) in machine.pages.range(*base..base + count) {
            file.put(at + (pfn - base) * 0x1000, page);
        }
        at += count * 0x1000;
    }
    file.len = at;
    file
}
