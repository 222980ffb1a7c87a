//! An IA-64 driver as it lies in memory: code that is calls alone, a function table, descriptors, a
//! version.

use super::descriptors::Descriptors;
use crate::support::memory_image::{CODE, Image, SIZE};

/// Where the function table and the descriptors begin.
const TABLE: u32 = SIZE;
const RECORDS: u32 = SIZE + 0x400;
/// Where gp points: far outside, as in real drivers.
const GLOBALS: u32 = 0x22_0000;
/// Bytes of an image: a whole number of pages.
pub const BYTES: u32 = 0x6000;

/// One function: begin and end as offsets from the image, its descriptors; none: a leaf.
pub struct Function {
    pub begin: u32,
    pub end: u32,
    pub descriptors: Option<Descriptors>,
}

/// A bundle of template MIB whose branch is `br.call`.
fn call() -> [u8; 16] {
    let bundle: u128 = 0x11 | 0b0101 << (87 + 37);
    bundle.to_le_bytes()
}

/// The image's bytes, `extra` bytes of data behind it.
pub fn bytes(image: &Image, functions: &[Function], extra: u32) -> Vec<u8> {
    let mut bytes = image.bytes();
    bytes.resize((BYTES + extra) as usize, 0);
    let mut put = |at: u32, data: &[u8]| {
        bytes[at as usize..at as usize + data.len()].copy_from_slice(data);
    };
    for at in (CODE..CODE + 0x1000).step_by(16) {
        put(at, &call());
    }
    let pe = 0x80;
    put(pe + 4, &0x200u16.to_le_bytes());
    put(pe + 24 + 56, &(BYTES + extra).to_le_bytes());
    let (mut row, mut record) = (TABLE, RECORDS);
    for function in functions {
        let Some(descriptors) = &function.descriptors else {
            continue;
        };
        for value in [function.begin, function.end, record] {
            put(row, &value.to_le_bytes());
            row += 4;
        }
        let data = descriptors.clone().record();
        put(record, &data);
        record += data.len() as u32;
    }
    let directory = pe + 24 + 112 + 3 * 8;
    put(directory, &TABLE.to_le_bytes());
    put(directory + 4, &(row - TABLE).to_le_bytes());
    // One more section, for what was added.
    put(pe + 6, &4u16.to_le_bytes());
    let section = pe + 24 + 0xF0 + 3 * 40;
    put(section, b".pdata");
    for (at, value) in [
        (8, BYTES - SIZE),
        (12, TABLE),
        (16, BYTES - SIZE),
        (20, TABLE),
    ] {
        put(section + at, &u32::to_le_bytes(value));
    }
    put(section + 36, &0x4000_0040u32.to_le_bytes());
    put(pe + 24 + 112 + 8 * 8, &GLOBALS.to_le_bytes());
    bytes
}

/// Writes the descriptor of the function at `target` to `at` of an image that lies at address zero.
pub fn describe(bytes: &mut [u8], at: u32, target: u32) {
    let words = [u64::from(target), u64::from(GLOBALS)].map(u64::to_le_bytes);
    bytes[at as usize..at as usize + 16].copy_from_slice(words.as_flattened());
}
