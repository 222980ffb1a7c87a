//! An Itanium's physical memory with page tables, for tests of memory dumps.
//!
//! Written from the processor manual and the published description of the address space alone;
//! shares nothing with the reader.

use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a page.
pub const PAGE: usize = 8192;

/// Physical pages by frame number, and the tables of the kernel's region in them.
pub struct Machine {
    pub pages: BTreeMap<u64, Vec<u8>>,
    /// Frame of the root table.
    pub root: u64,
    /// Ranges that no table has to map: virtual start, physical start, bytes.
    pub pinned: Vec<(u64, u64, u64)>,
    /// Frame by virtual page, for everything the tables map.
    pub mapped: BTreeMap<u64, u64>,
    next: u64,
    stride: u64,
    large: BTreeSet<u64>,
}

/// The bits a table entry has besides the frame: present, accessed, dirty, and all of the rights.
const PRESENT: u64 = 0b1 | 1 << 5 | 1 << 6 | 0b11 << 9;

impl Machine {
    /// A machine whose pages are given out from `first` on, `stride` frames apart.
    pub fn new(first: u64, stride: u64) -> Machine {
        let mut machine = Machine {
            pages: BTreeMap::new(),
            root: 0,
            pinned: Vec::new(),
            mapped: BTreeMap::new(),
            next: first,
            stride,
            large: BTreeSet::new(),
        };
        machine.root = machine.new_page();
        machine
    }

    pub fn new_page(&mut self) -> u64 {
        let frame = self.next;
        self.next += self.stride;
        self.pages.insert(frame, vec![0; PAGE]);
        frame
    }

    pub fn read_physical(&self, at: u64) -> u64 {
        let page = &self.pages[&(at >> 13)];
        let from = at as usize % PAGE;
        u64::from_le_bytes(page[from..from + 8].try_into().unwrap())
    }

    pub fn write_physical(&mut self, at: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let here = at + done as u64;
            let from = here as usize % PAGE;
            let n = (PAGE - from).min(bytes.len() - done);
            let page = self
                .pages
                .entry(here >> 13)
                .or_insert_with(|| vec![0; PAGE]);
            page[from..from + n].copy_from_slice(&bytes[done..done + n]);
            done += n;
        }
    }

    /// Where the entry lies that maps `address` at a level: 0 root, 1 directory, 2 table. Tables that
    /// are missing are made.
    pub fn entry(&mut self, address: u64, level: usize) -> u64 {
        let indexes = [33, 23, 13].map(|shift| address / (1 << shift) % 1024);
        let mut table = self.root;
        for (depth, index) in indexes.into_iter().enumerate() {
            let at = table * PAGE as u64 + index * 8;
            if depth == level {
                return at;
            }
            let entry = self.read_physical(at);
            table = match entry & 1 {
                1 => (entry & 0x0003_FFFF_FFFF_E000) >> 13,
                _ => {
                    let made = self.new_page();
                    self.write_physical(at, &(made << 13 | PRESENT).to_le_bytes());
                    made
                }
            };
        }
        unreachable!("there are three levels")
    }

    pub fn set_entry(&mut self, address: u64, level: usize, value: u64) {
        let at = self.entry(address, level);
        self.write_physical(at, &value.to_le_bytes());
    }

    /// Maps one page to a new frame, once.
    pub fn map(&mut self, address: u64) -> u64 {
        let page = address >> 13;
        if let Some(frame) = self.mapped.get(&page) {
            return *frame;
        }
        let frame = self.new_page();
        self.set_entry(address, 2, frame << 13 | PRESENT);
        self.mapped.insert(page, frame);
        frame
    }

    /// Maps 16 MiB with a large page at a frame that is a multiple of 16 MiB: two directory entries.
    pub fn map_large(&mut self, address: u64, frame: u64) {
        for half in [address, address + (1 << 23)] {
            self.set_entry(half, 1, frame << 13 | 1 << 54 | PRESENT);
        }
        self.large.insert(address);
        for n in 0..2048 {
            self.mapped.insert((address >> 13) + n, frame + n);
        }
    }

    /// Makes `bytes` from `address` on lie in one piece from `physical` on, without tables.
    pub fn pin(&mut self, address: u64, physical: u64, bytes: u64) {
        self.pinned.push((address, physical, bytes));
    }

    /// Where an address lies.
    pub fn physical(&mut self, address: u64) -> u64 {
        if address >> 61 == 0b100 {
            return address - 0x8000_0000_0000_0000;
        }
        let pinned = self
            .pinned
            .iter()
            .find(|(start, _, bytes)| (*start..start + bytes).contains(&address));
        match pinned {
            Some((start, physical, _)) => physical + (address - start),
            None => (self.map(address) << 13) + address % PAGE as u64,
        }
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let here = address + done as u64;
            let n = (PAGE - here as usize % PAGE).min(bytes.len() - done);
            let physical = self.physical(here);
            self.write_physical(physical, &bytes[done..done + n]);
            done += n;
        }
    }

    pub fn word(&mut self, address: u64, value: u64) {
        self.write(address, &value.to_le_bytes());
    }

    /// Takes the page at an address out of the dump; the tables still name it.
    pub fn drop_page(&mut self, address: u64) {
        let frame = self.physical(address) >> 13;
        self.pages.remove(&frame);
    }

    /// Frame past the highest.
    pub fn end(&self) -> u64 {
        self.pages
            .last_key_value()
            .map_or(0, |(frame, _)| frame + 1)
    }
}
