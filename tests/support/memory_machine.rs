//! A machine's physical memory with page tables, for tests of memory dumps.
//!
//! Written from the processor manuals and the format page alone; shares nothing with the reader.
//! Every page that is mapped is remembered, so that a test can hold the reader against what the
//! tables were made from.
#![allow(dead_code)]

use std::collections::BTreeMap;

/// Page table formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    X86,
    X86Pae,
    X64,
    X64La57,
}

impl Mode {
    pub const ALL: [Mode; 4] = [Mode::X86, Mode::X86Pae, Mode::X64, Mode::X64La57];

    pub fn is_32_bit(self) -> bool {
        matches!(self, Mode::X86 | Mode::X86Pae)
    }

    pub fn pointer(self) -> usize {
        if self.is_32_bit() { 4 } else { 8 }
    }

    /// Lowest address bit that indexes each table, outermost first.
    fn shifts(self) -> &'static [u32] {
        match self {
            Mode::X86 => &[22, 12],
            Mode::X86Pae => &[30, 21, 12],
            Mode::X64 => &[39, 30, 21, 12],
            Mode::X64La57 => &[48, 39, 30, 21, 12],
        }
    }

    fn entry(self) -> u64 {
        if self == Mode::X86 { 4 } else { 8 }
    }

    fn index(self, va: u64, level: usize) -> u64 {
        let shifts = self.shifts();
        let bits = match (self, level) {
            (Mode::X86, _) => 10,
            (Mode::X86Pae, 0) => 2,
            _ => 9,
        };
        (va >> shifts[level]) & ((1 << bits) - 1)
    }

    /// An address in kernel space.
    pub fn kernel(self, offset: u64) -> u64 {
        match self {
            Mode::X86 | Mode::X86Pae => 0x8180_0000 + offset,
            Mode::X64 => 0xFFFF_F800_0180_0000 + offset,
            Mode::X64La57 => 0xFFA0_F800_0180_0000 + offset,
        }
    }

    /// An address in paged pool.
    pub fn paged_pool(self) -> u64 {
        match self {
            Mode::X86 | Mode::X86Pae => 0x8E00_0000,
            // The 48 bits of a prototype entry's address reach no lower with five levels either.
            Mode::X64 | Mode::X64La57 => 0xFFFF_F880_0000_0000,
        }
    }
}

/// What a test remembers of a mapping: virtual address, physical address, bytes.
#[derive(Clone, Copy, Debug)]
pub struct Mapped {
    pub va: u64,
    pub pa: u64,
    pub size: u64,
}

pub struct Machine {
    pub mode: Mode,
    pub pages: BTreeMap<u64, Vec<u8>>,
    pub cr3: u64,
    pub mapped: Vec<Mapped>,
    next: u64,
    stride: u64,
}

impl Machine {
    /// A machine whose pages are given out from `first_pfn` on, `stride` frames apart.
    pub fn new(mode: Mode, first_pfn: u64, stride: u64) -> Machine {
        let mut machine = Machine {
            mode,
            pages: BTreeMap::new(),
            cr3: 0,
            mapped: Vec::new(),
            next: first_pfn,
            stride,
        };
        let root = machine.new_page();
        machine.cr3 = root << 12;
        if mode == Mode::X86Pae {
            // The directory pointers need not start a page.
            machine.cr3 += 0x940;
        }
        machine
    }

    pub fn new_page(&mut self) -> u64 {
        let pfn = self.next;
        self.next += self.stride;
        self.pages.insert(pfn, vec![0; 0x1000]);
        pfn
    }

    /// Highest page frame in use plus one.
    pub fn end(&self) -> u64 {
        self.pages.last_key_value().map_or(0, |(pfn, _)| pfn + 1)
    }

    pub fn put_physical(&mut self, pa: u64, data: &[u8]) {
        let mut done = 0usize;
        while done < data.len() {
            let at = pa + done as u64;
            let within = (at & 0xFFF) as usize;
            let n = (0x1000 - within).min(data.len() - done);
            let page = self
                .pages
                .entry(at >> 12)
                .or_insert_with(|| vec![0; 0x1000]);
            page[within..within + n].copy_from_slice(&data[done..done + n]);
            done += n;
        }
    }

    fn get_entry(&self, pa: u64) -> u64 {
        let page = &self.pages[&(pa >> 12)];
        let at = (pa & 0xFFF) as usize;
        if self.mode.entry() == 4 {
            u64::from(u32::from_le_bytes(page[at..at + 4].try_into().unwrap()))
        } else {
            u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
        }
    }

    pub fn put_entry(&mut self, pa: u64, raw: u64) {
        let bytes = raw.to_le_bytes();
        let n = self.mode.entry() as usize;
        self.put_physical(pa, &bytes[..n]);
    }

    /// Physical address of the entry for `va` at `level` (0 outermost), tables made on the way.
    pub fn entry_at(&mut self, va: u64, level: usize) -> u64 {
        let mut table = self.cr3;
        for l in 0..level {
            let at = table + self.mode.index(va, l) * self.mode.entry();
            let mut raw = self.get_entry(at);
            if raw == 0 {
                let page = self.new_page();
                // Present, writable, accessed; PAE directory pointers keep all but present clear.
                let flags = if self.mode == Mode::X86Pae && l == 0 {
                    1
                } else {
                    0x63
                };
                raw = (page << 12) | flags;
                self.put_entry(at, raw);
            }
            table = raw & 0x000F_FFFF_FFFF_F000;
        }
        table + self.mode.index(va, level) * self.mode.entry()
    }

    /// The page table entry of `va`.
    pub fn pte(&mut self, va: u64) -> u64 {
        let last = self.mode.shifts().len() - 1;
        self.entry_at(va, last)
    }

    /// The entry `up` levels above the page table entry of `va`.
    pub fn upper(&mut self, va: u64, up: usize) -> u64 {
        let last = self.mode.shifts().len() - 1;
        self.entry_at(va, last - up)
    }

    pub fn map(&mut self, va: u64, pfn: u64) {
        let at = self.pte(va);
        let nx = if self.mode == Mode::X86 { 0 } else { 1 << 63 };
        self.put_entry(at, (pfn << 12) | 0x163 | nx);
        self.note(va, pfn << 12, 0x1000);
    }

    /// A large page whose entry lies `up` levels above a page table entry.
    pub fn map_large(&mut self, va: u64, pa: u64, up: usize) {
        let size = 1u64 << self.mode.shifts()[self.mode.shifts().len() - 1 - up];
        let at = self.upper(va, up);
        let mut raw = (pa & !(size - 1)) | 0x1E3;
        if self.mode == Mode::X86 {
            // PSE-36: address bits 32 to 39 in bits 13 to 20.
            raw = (pa & 0xFFC0_0000) | (((pa >> 32) & 0xFF) << 13) | 0x1E3;
        }
        self.put_entry(at, raw);
        self.note(va, pa, size);
    }

    pub fn note(&mut self, va: u64, pa: u64, size: u64) {
        self.mapped.push(Mapped { va, pa, size });
    }

    /// Writes at a virtual address, giving it pages where it has none.
    pub fn put(&mut self, va: u64, data: &[u8]) {
        let mut done = 0usize;
        while done < data.len() {
            let at = va + done as u64;
            let n = (0x1000 - (at & 0xFFF) as usize).min(data.len() - done);
            let pa = match self.place(at) {
                Some(pa) => pa,
                None => {
                    let page = self.new_page();
                    self.map(at & !0xFFF, page);
                    (page << 12) | (at & 0xFFF)
                }
            };
            self.put_physical(pa, &data[done..done + n]);
            done += n;
        }
    }

    pub fn put_u32(&mut self, va: u64, value: u32) {
        self.put(va, &value.to_le_bytes());
    }

    pub fn put_u64(&mut self, va: u64, value: u64) {
        self.put(va, &value.to_le_bytes());
    }

    pub fn put_ptr(&mut self, va: u64, value: u64) {
        let n = self.mode.pointer();
        self.put(va, &value.to_le_bytes()[..n]);
    }

    /// Where a virtual address was put, by what was remembered.
    pub fn place(&self, va: u64) -> Option<u64> {
        self.mapped
            .iter()
            .rev()
            .find(|m| (m.va..m.va + m.size).contains(&va))
            .map(|m| m.pa + (va - m.va))
    }

    pub fn physical_byte(&self, pa: u64) -> Option<u8> {
        self.pages
            .get(&(pa >> 12))
            .map(|page| page[(pa & 0xFFF) as usize])
    }
}
