//! Writers of cabinets for tests: MSZIP through `cab`, LZX by hand (`cab` cannot write it).

#![allow(dead_code)]

use super::symbols::Out;

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

/// Uncompressed bytes of one data block.
const FRAME: usize = 0x8000;

/// A cabinet with one LZX file, as uncompressed LZX blocks of at most 32 KiB each (the [MS-PATCH]
/// description of LZX: one header bit, then per block 3 bits of type, 24 bits of size, padding to
/// 16 bits, three recent offsets, the bytes, and a padding byte behind an odd size).
pub fn lzx(name: &str, content: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    for (i, part) in content.chunks(FRAME).enumerate() {
        let mut bits = block_header(i, 3, part.len());
        bits.resize(bits.len().next_multiple_of(16), false);
        let mut o = packed(&bits);
        o.u32(1).u32(1).u32(1).bytes(part);
        if part.len() % 2 == 1 {
            o.u8(0);
        }
        data.push((o.0, part.len()));
    }
    lzx_cabinet(name, content.len(), &data)
}

/// The same as verbatim blocks, which are Huffman-coded: every byte is a literal of eight bits,
/// and no match is ever used. Code lengths are written as differences to those of the block
/// before, by a tree of two symbols: 0 (no change) and 9 (from 0 to 8, modulo 17).
pub fn lzx_huffman(name: &str, content: &[u8]) -> Vec<u8> {
    let number = |value: usize, n: usize| (0..n).rev().map(move |b| value >> b & 1 == 1);
    let tree = |bits: &mut Vec<bool>| {
        bits.extend(
            (0..20).flat_map(|symbol| number(usize::from(symbol % 9 == 0 && symbol < 10), 4)),
        );
    };
    let mut data = Vec::new();
    for (i, part) in content.chunks(FRAME).enumerate() {
        let mut bits = block_header(i, 1, part.len());
        tree(&mut bits);
        bits.extend([i == 0; 256]);
        // Matches of the window's 32 position slots, then their lengths: none.
        tree(&mut bits);
        bits.extend([false; 8 * 32]);
        tree(&mut bits);
        bits.extend([false; 249]);
        bits.extend(part.iter().flat_map(|byte| number(usize::from(*byte), 8)));
        bits.resize(bits.len().next_multiple_of(16), false);
        data.push((packed(&bits).0, part.len()));
    }
    lzx_cabinet(name, content.len(), &data)
}

fn block_header(i: usize, kind: usize, len: usize) -> Vec<bool> {
    let mut bits: Vec<bool> = Vec::new();
    if i == 0 {
        bits.push(false);
    }
    bits.extend((0..3).rev().map(|b| kind >> b & 1 == 1));
    bits.extend((0..24).rev().map(|b| len >> b & 1 == 1));
    bits
}

/// Bits in words of 16, the first bit highest.
fn packed(bits: &[bool]) -> Out {
    let mut o = Out::default();
    for word in bits.chunks(16) {
        o.u16(word.iter().fold(0, |v, b| v << 1 | u16::from(*b)));
    }
    o
}

fn lzx_cabinet(name: &str, len: usize, data: &[(Vec<u8>, usize)]) -> Vec<u8> {
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
    o.u32(len as u32).u32(0).u16(0).u16(0x3000).u16(0).u16(0x20);
    o.bytes(name.as_bytes()).u8(0);
    for (bytes, plain) in data {
        // A checksum of zero means that none is stored.
        o.u32(0)
            .u16(bytes.len() as u16)
            .u16(*plain as u16)
            .bytes(bytes);
    }
    o.0
}
