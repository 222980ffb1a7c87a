//! Writers of small images and PDBs for tests. They share no code or constants with the readers.
//!
//! Layouts: "PE Format" (Microsoft) and "The PDB File Format" (LLVM documentation).

#![allow(dead_code)]

/// Puts values one after the other, little-endian.
#[derive(Default, Clone)]
pub struct Out(pub Vec<u8>);

impl Out {
    pub fn u8(&mut self, v: u8) -> &mut Out {
        self.0.push(v);
        self
    }
    pub fn u16(&mut self, v: u16) -> &mut Out {
        self.0.extend(v.to_le_bytes());
        self
    }
    pub fn u32(&mut self, v: u32) -> &mut Out {
        self.0.extend(v.to_le_bytes());
        self
    }
    pub fn u64(&mut self, v: u64) -> &mut Out {
        self.0.extend(v.to_le_bytes());
        self
    }
    pub fn bytes(&mut self, v: &[u8]) -> &mut Out {
        self.0.extend_from_slice(v);
        self
    }
    pub fn fill(&mut self, to: usize) -> &mut Out {
        assert!(self.0.len() <= to, "{} > {to}", self.0.len());
        self.0.resize(to, 0);
        self
    }
}

/// An image of 0x4000 bytes, for x64 unless said, with `.text` at 0x1000 and an RSDS record.
pub struct Pe {
    pub stamp: u32,
    pub size: u32,
    pub guid: [u8; 16],
    pub age: u32,
    pub pdb: Vec<u8>,
    pub x86: bool,
    /// Every byte of `.text`.
    pub code: u8,
}

impl Pe {
    pub fn new(stamp: u32, guid: [u8; 16], age: u32, pdb: &str) -> Pe {
        Pe {
            stamp,
            size: 0x4000,
            guid,
            age,
            pdb: pdb.as_bytes().to_vec(),
            x86: false,
            code: 0xC3,
        }
    }

    pub fn key(&self) -> String {
        format!("{:08X}{:x}", self.stamp, self.size)
    }

    pub fn write(&self) -> Vec<u8> {
        let mut o = Out::default();
        o.bytes(b"MZ")
            .fill(0x3c)
            .u32(0x80)
            .fill(0x80)
            .bytes(b"PE\0\0");
        let (machine, optional, magic) = match self.x86 {
            true => (0x014C, 224, 0x10b),
            false => (0x8664, 240, 0x20b),
        };
        o.u16(machine)
            .u16(2)
            .u32(self.stamp)
            .u32(0)
            .u32(0)
            .u16(optional)
            .u16(0x2022);
        o.u16(magic)
            .u8(9)
            .u8(0)
            .u32(0x1000)
            .u32(0x2000)
            .u32(0)
            .u32(0x1000)
            .u32(0x1000);
        match self.x86 {
            true => o.u32(0x2000).u32(0x10000),
            false => o.u64(0x10000),
        };
        o.u32(0x1000)
            .u32(0x200)
            .u16(6)
            .u16(0)
            .u16(6)
            .u16(0)
            .u16(6)
            .u16(0)
            .u32(0);
        o.u32(self.size).u32(0x400).u32(0x1234).u16(1).u16(0);
        for size in [0x40000, 0x1000, 0x100000, 0x1000] {
            match self.x86 {
                true => o.u32(size),
                false => o.u64(size.into()),
            };
        }
        o.u32(0).u32(16);
        for directory in 0..16 {
            match directory {
                6 => o.u32(0x2000).u32(28),
                _ => o.u32(0).u32(0),
            };
        }
        o.bytes(b".text\0\0\0")
            .u32(0x1000)
            .u32(0x1000)
            .u32(0x200)
            .u32(0x400);
        o.u32(0).u32(0).u32(0).u32(0x6000_0020);
        let record = 24 + self.pdb.len() as u32 + 1;
        let raw = (28 + record).next_multiple_of(0x200);
        o.bytes(b".rdata\0\0")
            .u32(raw)
            .u32(0x2000)
            .u32(raw)
            .u32(0x600);
        o.u32(0).u32(0).u32(0).u32(0x4000_0040);
        o.fill(0x400).bytes(&[self.code; 0x200]);
        o.u32(0)
            .u32(self.stamp)
            .u16(0)
            .u16(0)
            .u32(2)
            .u32(record)
            .u32(0x201c)
            .u32(0x61c);
        o.bytes(b"RSDS")
            .bytes(&self.guid)
            .u32(self.age)
            .bytes(&self.pdb)
            .u8(0);
        o.fill(0x600 + raw as usize);
        o.0
    }
}

/// A PDB with publics and code contributions in one section at 0x1000.
pub struct Pdb {
    pub guid: [u8; 16],
    pub info_age: u32,
    pub dbi_age: u32,
    pub publics: Vec<(u32, String)>,
    pub contributions: Vec<(u32, u32)>,
    /// Original to final addresses: (from, to), `to` 0 for code that was removed.
    pub omap: Vec<(u32, u32)>,
    /// `FPO_DATA` records, 16 bytes each.
    pub fpo: Vec<u8>,
    /// `FRAMEDATA` records, 32 bytes each.
    pub frame_data: Vec<u8>,
    /// COFF machine number.
    pub machine: u16,
}

impl Pdb {
    pub fn new(guid: [u8; 16], age: u32, publics: &[(u32, &str)]) -> Pdb {
        Pdb {
            guid,
            info_age: age,
            dbi_age: age,
            publics: publics.iter().map(|(o, n)| (*o, (*n).to_owned())).collect(),
            contributions: Vec::new(),
            omap: Vec::new(),
            fpo: Vec::new(),
            frame_data: Vec::new(),
            machine: 0x8664,
        }
    }

    pub fn key(&self) -> String {
        let g = &self.guid;
        let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        let text: String = order.iter().map(|i| format!("{:02X}", g[*i])).collect();
        format!("{text}{:X}", self.dbi_age)
    }

    pub fn write(&self) -> Vec<u8> {
        let mut info = Out::default();
        info.u32(20000404)
            .u32(1)
            .u32(self.info_age)
            .bytes(&self.guid);
        info.u32(0).u32(0).u32(1).u32(0).u32(0).u32(0);

        let mut records = Out::default();
        for (offset, name) in &self.publics {
            let len = (2 + 4 + 4 + 2 + name.len() + 1).next_multiple_of(4) + 2;
            let len = (len + 2).next_multiple_of(4) - 2;
            let end = records.0.len() + 2 + len;
            records
                .u16(len as u16)
                .u16(0x110e)
                .u32(2)
                .u32(*offset)
                .u16(1);
            records.bytes(name.as_bytes()).fill(end);
        }
        let mut contributions = Out::default();
        contributions.u32(0xF12E_BA2D);
        for (offset, size) in &self.contributions {
            contributions
                .u16(1)
                .u16(0)
                .u32(*offset)
                .u32(*size)
                .u32(0x6000_0020);
            contributions.u16(0).u16(0).u32(0).u32(0);
        }
        let mut sections = Out::default();
        sections
            .bytes(b".text\0\0\0")
            .u32(0x80_0000)
            .u32(0x1000)
            .u32(0x80_0000)
            .u32(0x400);
        sections.u32(0).u32(0).u32(0).u32(0x6000_0020);

        let mut dbi = Out::default();
        dbi.u32(u32::MAX).u32(19990903).u32(self.dbi_age);
        dbi.u16(u16::MAX)
            .u16(0x8e00)
            .u16(u16::MAX)
            .u16(0)
            .u16(4)
            .u16(0);
        dbi.u32(0)
            .u32(contributions.0.len() as u32)
            .u32(0)
            .u32(0)
            .u32(0)
            .u32(0)
            .u32(22)
            .u32(0);
        dbi.u16(0).u16(self.machine).u32(0).bytes(&contributions.0);
        // Optional debug header: FPO, exception, fixup, OMAP to source, OMAP from source, sections,
        // token map, xdata, pdata, FRAMEDATA, original sections.
        let has = |stream: u16, present: bool| if present { stream } else { u16::MAX };
        let moved = !self.omap.is_empty();
        dbi.u16(has(6, !self.fpo.is_empty()))
            .u16(u16::MAX)
            .u16(u16::MAX);
        dbi.u16(has(7, moved)).u16(has(8, moved)).u16(5);
        dbi.u16(u16::MAX).u16(u16::MAX).u16(u16::MAX);
        dbi.u16(has(9, !self.frame_data.is_empty()))
            .u16(has(5, moved));
        let (mut from, mut to) = (Out::default(), Out::default());
        for (a, b) in &self.omap {
            from.u32(*a).u32(*b);
        }
        let mut back: Vec<(u32, u32)> = self.omap.iter().filter(|m| m.1 != 0).copied().collect();
        back.sort_by_key(|m| m.1);
        for (a, b) in back {
            to.u32(b).u32(a);
        }
        msf(&[
            &[],
            &info.0,
            &[],
            &dbi.0,
            &records.0,
            &sections.0,
            &self.fpo,
            &to.0,
            &from.0,
            &self.frame_data,
        ])
    }
}

/// A PDB on which the `pdb` crate panics: the sizes in the header of its debug-information stream
/// overflow when they are added up.
pub fn panicking(pdb: &Pdb) -> Vec<u8> {
    let mut file = pdb.write();
    let mut start = Out::default();
    start.u32(u32::MAX).u32(19990903).u32(pdb.dbi_age);
    let header = file.windows(12).position(|at| at == start.0).unwrap();
    // The size of the section map, which nothing else reads.
    file[header + 32..header + 36].fill(0xFF);
    file
}

/// The container with blocks of 4096 bytes.
pub fn msf(streams: &[&[u8]]) -> Vec<u8> {
    msf_with(4096, streams)
}

/// The container: a superblock, two free-block maps, streams, a directory and its block list.
pub fn msf_with(block: usize, streams: &[&[u8]]) -> Vec<u8> {
    let mut file = vec![0; 3 * block];
    let mut directory = Out::default();
    directory.u32(streams.len() as u32);
    for stream in streams {
        directory.u32(stream.len() as u32);
    }
    let append = |file: &mut Vec<u8>, bytes: &[u8]| {
        let at = (file.len() / block) as u32;
        file.extend_from_slice(bytes);
        file.resize(file.len().next_multiple_of(block), 0);
        at
    };
    for part in streams.iter().flat_map(|stream| stream.chunks(block)) {
        let at = append(&mut file, part);
        directory.u32(at);
    }
    let mut map = Out::default();
    for part in directory.0.chunks(block) {
        let at = append(&mut file, part);
        map.u32(at);
    }
    let map_block = (file.len() / block) as u32;
    let map_blocks = map.0.len().div_ceil(block) as u32;
    append(&mut file, &map.0);
    // Readers take a whole first page of 4096 bytes.
    file.resize(file.len().max(4096), 0);
    let mut head = Out::default();
    head.bytes(b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0");
    head.u32(block as u32)
        .u32(1)
        .u32((file.len() / block) as u32);
    head.u32(directory.0.len() as u32).u32(0);
    for i in 0..map_blocks {
        head.u32(map_block + i);
    }
    file[..head.0.len()].copy_from_slice(&head.0);
    file
}

/// The streams of a container, for tests that take real ones apart. `None` when it is damaged.
pub fn msf_streams(file: &[u8]) -> Option<Vec<Vec<u8>>> {
    let word = |bytes: &[u8], at: usize| {
        Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize)
    };
    let block = word(file, 32)?.max(1);
    let gather = |list: &[u8], first: usize, len: usize| {
        let mut out = Vec::new();
        for i in 0..len.div_ceil(block) {
            let at = word(list, first + i * 4)?.checked_mul(block)?;
            out.extend_from_slice(file.get(at..at.checked_add(block)?)?);
        }
        out.truncate(len);
        Some(out)
    };
    let len = word(file, 44)?;
    let list = gather(file, 52, len.div_ceil(block) * 4)?;
    let directory = gather(&list, 0, len)?;
    let count = word(&directory, 0)?;
    let mut first = 4usize.checked_add(count.checked_mul(4)?)?;
    let mut streams = Vec::new();
    for i in 0..count {
        let len = match word(&directory, 4 + i * 4)? {
            0xFFFF_FFFF => 0,
            len => len,
        };
        streams.push(gather(&directory, first, len)?);
        first += len.div_ceil(block) * 4;
    }
    Some(streams)
}

/// A GUID of test data.
pub const GUID: [u8; 16] = [
    0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE, 1, 2, 3, 4, 5, 6, 7, 8,
];
