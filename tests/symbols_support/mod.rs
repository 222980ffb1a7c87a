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

/// An x64 image of 0x4000 bytes with `.text` at 0x1000 and an RSDS record.
pub struct Pe {
    pub stamp: u32,
    pub size: u32,
    pub guid: [u8; 16],
    pub age: u32,
    pub pdb: Vec<u8>,
}

impl Pe {
    pub fn new(stamp: u32, guid: [u8; 16], age: u32, pdb: &str) -> Pe {
        Pe {
            stamp,
            size: 0x4000,
            guid,
            age,
            pdb: pdb.as_bytes().to_vec(),
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
        o.u16(0x8664)
            .u16(2)
            .u32(self.stamp)
            .u32(0)
            .u32(0)
            .u16(240)
            .u16(0x2022);
        o.u16(0x20b)
            .u8(9)
            .u8(0)
            .u32(0x1000)
            .u32(0x2000)
            .u32(0)
            .u32(0x1000)
            .u32(0x1000);
        o.u64(0x10000)
            .u32(0x1000)
            .u32(0x200)
            .u16(6)
            .u16(0)
            .u16(6)
            .u16(0)
            .u16(6)
            .u16(0)
            .u32(0);
        o.u32(self.size).u32(0x400).u32(0x1234).u16(1).u16(0);
        o.u64(0x40000)
            .u64(0x1000)
            .u64(0x100000)
            .u64(0x1000)
            .u32(0)
            .u32(16);
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
        o.fill(0x400).bytes(&[0xC3; 0x200]);
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
}

impl Pdb {
    pub fn new(guid: [u8; 16], age: u32, publics: &[(u32, &str)]) -> Pdb {
        Pdb {
            guid,
            info_age: age,
            dbi_age: age,
            publics: publics.iter().map(|(o, n)| (*o, (*n).to_owned())).collect(),
            contributions: Vec::new(),
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
        dbi.u16(0).u16(0x8664).u32(0).bytes(&contributions.0);
        for slot in 0..11 {
            dbi.u16(if slot == 5 { 5 } else { u16::MAX });
        }
        msf(&[&[], &info.0, &[], &dbi.0, &records.0, &sections.0])
    }
}

/// The container: blocks of 4096 bytes, a superblock, two free-block maps, streams, a directory.
pub fn msf(streams: &[&[u8]]) -> Vec<u8> {
    const BLOCK: usize = 4096;
    let mut file = vec![0; 3 * BLOCK];
    let mut directory = Out::default();
    directory.u32(streams.len() as u32);
    for stream in streams {
        directory.u32(stream.len() as u32);
    }
    for stream in streams {
        for part in stream.chunks(BLOCK) {
            directory.u32((file.len() / BLOCK) as u32);
            file.extend_from_slice(part);
            file.resize(file.len().next_multiple_of(BLOCK), 0);
        }
    }
    let mut map = Out::default();
    for part in directory.0.chunks(BLOCK) {
        map.u32((file.len() / BLOCK) as u32);
        file.extend_from_slice(part);
        file.resize(file.len().next_multiple_of(BLOCK), 0);
    }
    let map_block = file.len() / BLOCK;
    assert!(map.0.len() <= BLOCK);
    file.extend_from_slice(&map.0);
    file.resize(file.len().next_multiple_of(BLOCK), 0);
    let mut head = Out::default();
    head.bytes(b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0");
    head.u32(BLOCK as u32)
        .u32(1)
        .u32((file.len() / BLOCK) as u32);
    head.u32(directory.0.len() as u32)
        .u32(0)
        .u32(map_block as u32);
    file[..head.0.len()].copy_from_slice(&head.0);
    file
}

/// A cabinet with one MSZIP file.
pub fn mszip(name: &str, content: &[u8]) -> Vec<u8> {
    use std::io::{Cursor, Write};
    let mut builder = cab::CabinetBuilder::new();
    builder
        .add_folder(cab::CompressionType::MsZip)
        .add_file(name);
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    while let Some(mut file) = writer.next_file().unwrap() {
        file.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A cabinet with one LZX file, as uncompressed LZX blocks of at most 32 KiB each (the [MS-PATCH]
/// description of LZX: one header bit, then per block 3 bits of type, 24 bits of size, padding to
/// 16 bits, three recent offsets, the bytes, and a padding byte behind an odd size).
pub fn lzx(name: &str, content: &[u8]) -> Vec<u8> {
    const FRAME: usize = 0x8000;
    let mut data = Vec::new();
    for (i, part) in content.chunks(FRAME).enumerate() {
        let mut bits: Vec<bool> = Vec::new();
        if i == 0 {
            bits.push(false);
        }
        bits.extend([false, true, true]);
        bits.extend((0..24).rev().map(|b| part.len() >> b & 1 == 1));
        while !bits.len().is_multiple_of(16) {
            bits.push(false);
        }
        let mut o = Out::default();
        for word in bits.chunks(16) {
            o.u16(word.iter().fold(0, |v, b| v << 1 | u16::from(*b)));
        }
        o.u32(1).u32(1).u32(1).bytes(part);
        if part.len() % 2 == 1 {
            o.u8(0);
        }
        data.push((o.0, part.len()));
    }
    let folder_at = 36 + 8 + 16 + name.len() + 1;
    let total: usize = folder_at + data.iter().map(|(d, _)| d.len() + 8).sum::<usize>();
    let mut o = Out::default();
    o.bytes(b"MSCF")
        .u32(0)
        .u32(total as u32)
        .u32(0)
        .u32(44)
        .u32(0)
        .u8(3)
        .u8(1);
    o.u16(1).u16(1).u16(0).u16(0).u16(0);
    o.u32(folder_at as u32)
        .u16(data.len() as u16)
        .u16(3 | 16 << 8);
    o.u32(content.len() as u32)
        .u32(0)
        .u16(0)
        .u16(0x3000)
        .u16(0)
        .u16(0x20);
    o.bytes(name.as_bytes()).u8(0);
    for (bytes, plain) in data {
        // A checksum of zero means that none is stored.
        o.u32(0)
            .u16(bytes.len() as u16)
            .u16(plain as u16)
            .bytes(&bytes);
    }
    o.0
}

/// A GUID of test data.
pub const GUID: [u8; 16] = [
    0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE, 1, 2, 3, 4, 5, 6, 7, 8,
];
