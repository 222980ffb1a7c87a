//! A PE image as the loader left it in memory: headers, code, a CodeView record, a version resource.
//!
//! Written from the PE format specification; shares nothing with the reader.
#![allow(dead_code)]

/// What an image says about itself.
#[derive(Clone, Debug)]
pub struct Image {
    pub name: String,
    pub wide: bool,
    pub time_date_stamp: u32,
    pub check_sum: u32,
    pub version: [u16; 4],
    pub lab: String,
    pub guid: [u8; 16],
    pub age: u32,
}

pub const SIZE: u32 = 0x5000;
pub const CODE: u32 = 0x1000;
pub const DEBUG: u32 = 0x2000;
pub const RESOURCES: u32 = 0x3000;

fn put(bytes: &mut [u8], at: usize, data: &[u8]) {
    bytes[at..at + data.len()].copy_from_slice(data);
}

fn word(bytes: &mut [u8], at: usize, value: u32) {
    put(bytes, at, &value.to_le_bytes());
}

fn half(bytes: &mut [u8], at: usize, value: u16) {
    put(bytes, at, &value.to_le_bytes());
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

/// A node of VS_VERSIONINFO.
fn node(key: &str, text: bool, value: &[u8], children: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; 6];
    bytes.extend(utf16(key));
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(value);
    for child in children {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(child);
    }
    let units = if text { value.len() / 2 } else { value.len() };
    let length = bytes.len() as u16;
    half(&mut bytes, 0, length);
    half(&mut bytes, 2, units as u16);
    half(&mut bytes, 4, u16::from(text));
    bytes
}

impl Image {
    fn version_resource(&self) -> Vec<u8> {
        let [major, minor, build, revision] = self.version;
        let mut fixed = vec![0; 52];
        word(&mut fixed, 0, 0xFEEF_04BD);
        word(&mut fixed, 4, 0x1_0000);
        for at in [8, 16] {
            half(&mut fixed, at, minor);
            half(&mut fixed, at + 2, major);
            half(&mut fixed, at + 4, revision);
            half(&mut fixed, at + 6, build);
        }
        let text = format!("{major}.{minor}.{build}.{revision} ({})", self.lab);
        let string = node("FileVersion", true, &utf16(&text), &[]);
        let table = node("040904B0", true, &[], &[string]);
        let info = node("StringFileInfo", true, &[], &[table]);
        node("VS_VERSION_INFO", false, &fixed, &[info])
    }

    /// All bytes of the image in memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut image = vec![0; SIZE as usize];
        put(&mut image, 0, b"MZ");
        word(&mut image, 0x3C, 0x80);
        let pe = 0x80;
        put(&mut image, pe, b"PE\0\0");
        half(&mut image, pe + 4, if self.wide { 0x8664 } else { 0x14C });
        half(&mut image, pe + 6, 3);
        word(&mut image, pe + 8, self.time_date_stamp);
        let optional = pe + 24;
        let size = if self.wide { 0xF0 } else { 0xE0 };
        half(&mut image, pe + 20, size as u16);
        half(&mut image, pe + 22, 0x2022);
        half(&mut image, optional, if self.wide { 0x20B } else { 0x10B });
        word(&mut image, optional + 16, CODE);
        word(&mut image, optional + 32, 0x1000);
        word(&mut image, optional + 36, 0x200);
        word(&mut image, optional + 56, SIZE);
        word(&mut image, optional + 60, 0x400);
        word(&mut image, optional + 64, self.check_sum);
        half(&mut image, optional + 68, 1);
        let directories = optional + if self.wide { 112 } else { 96 };
        word(&mut image, directories - 4, 16);
        let version = self.version_resource();
        let record_size = 24 + self.name.len() as u32 + 1;
        word(&mut image, directories + 16, RESOURCES);
        word(&mut image, directories + 20, 0x80 + version.len() as u32);
        word(&mut image, directories + 48, DEBUG);
        word(&mut image, directories + 52, 28);
        for (i, (name, rva, flags)) in [
            (".text", CODE, 0x6800_0020u32),
            (".rdata", DEBUG, 0x4800_0040),
            (".rsrc", RESOURCES, 0x4200_0040),
        ]
        .into_iter()
        .enumerate()
        {
            let row = optional + size + i * 40;
            put(&mut image, row, name.as_bytes());
            word(&mut image, row + 8, 0x1000);
            word(&mut image, row + 12, rva);
            word(&mut image, row + 16, 0x1000);
            word(&mut image, row + 20, rva);
            word(&mut image, row + 36, flags);
        }
        image[CODE as usize..DEBUG as usize].fill(0xCC);
        let debug = DEBUG as usize;
        word(&mut image, debug + 12, 2);
        word(&mut image, debug + 16, record_size);
        word(&mut image, debug + 20, DEBUG + 0x40);
        word(&mut image, debug + 24, DEBUG + 0x40);
        put(&mut image, debug + 0x40, b"RSDS");
        put(&mut image, debug + 0x44, &self.guid);
        word(&mut image, debug + 0x54, self.age);
        put(&mut image, debug + 0x58, self.name.as_bytes());
        // Three directories of one row: type 16, name 1, language 0x409.
        let root = RESOURCES as usize;
        for (level, (id, next)) in [(16, 0x8000_0018u32), (1, 0x8000_0030), (0x409, 0x48)]
            .into_iter()
            .enumerate()
        {
            let at = root + level * 0x18;
            half(&mut image, at + 14, 1);
            word(&mut image, at + 16, id);
            word(&mut image, at + 20, next);
        }
        word(&mut image, root + 0x48, RESOURCES + 0x80);
        word(&mut image, root + 0x4C, version.len() as u32);
        put(&mut image, root + 0x80, &version);
        image
    }
}
