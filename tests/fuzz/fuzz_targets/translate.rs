//! Page tables and the kernel's own structures: a complete dump whose memory is the input. CR3, the
//! addresses in the header and the context come from its first page. All facts are gathered: lists, pool,
//! processors, locks and spins, the fault, the registry with and without the search of all pages.
#![no_main]

use kbtriage::bytes::{Budget, PagedReader};
use kbtriage::{dump, gather};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((mode, memory)) = data.split_first() else {
        return;
    };
    let pages = (memory.len() / 0x1000) as u64;
    if pages < 2 || memory.len() < 0x1000 {
        return;
    }
    let wide = mode & 1 == 0;
    let size = if wide { 0x2000 } else { 0x1000 };
    let mut bytes = vec![0u8; size];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    let field = |n: usize| u64::from_le_bytes(memory[n * 8..n * 8 + 8].try_into().unwrap());
    let build = 6000 + u32::from(mode >> 1) % 3;
    if wide {
        put(0, b"PAGEDU64");
        put(0x0C, &build.to_le_bytes());
        put(0x10, &(field(0) % (pages << 12)).to_le_bytes());
        put(0x20, &field(1).to_le_bytes());
        put(0x28, &field(2).to_le_bytes());
        put(0x30, &0x8664u32.to_le_bytes());
        put(0x34, &4u32.to_le_bytes());
        put(0x80, &field(3).to_le_bytes());
        put(0x88, &1u32.to_le_bytes());
        put(0x90, &pages.to_le_bytes());
        put(0xA0, &pages.to_le_bytes());
        put(0x38, &memory[0x20..0x24]);
        put(0x40, &memory[0x28..0x48]);
        put(0x348, &memory[0x100..0x5D0]);
        put(0xF98, &1u32.to_le_bytes());
    } else {
        put(0, b"PAGEDUMP");
        put(0x0C, &build.to_le_bytes());
        put(0x10, &((field(0) % (pages << 12)) as u32).to_le_bytes());
        put(0x18, &(field(1) as u32).to_le_bytes());
        put(0x1C, &(field(2) as u32).to_le_bytes());
        put(0x20, &0x14Cu32.to_le_bytes());
        put(0x24, &4u32.to_le_bytes());
        put(0x5C, &[mode >> 7]);
        put(0x60, &(field(3) as u32).to_le_bytes());
        put(0x64, &1u32.to_le_bytes());
        put(0x68, &(pages as u32).to_le_bytes());
        put(0x70, &(pages as u32).to_le_bytes());
        put(0x28, &memory[0x20..0x24]);
        put(0x2C, &memory[0x28..0x38]);
        put(0x320, &memory[0x100..0x3CC]);
        put(0xF88, &1u32.to_le_bytes());
    }
    bytes.extend_from_slice(memory);
    let reader = PagedReader::open(&bytes).expect("memory does not fail");
    let budget = Budget::new(1_000_000, None);
    if let Ok(dump) = dump::open(&reader, &budget) {
        let deep = mode & 0x40 != 0;
        std::hint::black_box(gather::gather(&reader, dump, None, deep, &budget));
    }
});
