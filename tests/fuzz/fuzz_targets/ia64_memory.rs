//! Memory of an Itanium: a complete dump whose memory is the input, with its addresses taken from its
//! first page. The kernel is looked for in it and all facts are gathered.
#![no_main]

use kbtriage::bytes::{Budget, PagedReader};
use kbtriage::{dump, gather};
use libfuzzer_sys::fuzz_target;

const PAGE: usize = 0x2000;

fuzz_target!(|data: &[u8]| {
    let pages = (data.len() / PAGE) as u64;
    if pages < 2 {
        return;
    }
    let mut bytes = vec![0u8; PAGE];
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(0, b"PAGEDU64");
    put(0x0C, &6001u32.to_le_bytes());
    // The root of the tables, the list of modules, the list of processes.
    put(0x10, &data[0..8]);
    put(0x20, &data[8..24]);
    put(0x30, &0x200u32.to_le_bytes());
    put(0x34, &2u32.to_le_bytes());
    put(0x38, &data[24..28]);
    put(0x40, &data[32..64]);
    put(0x80, &data[64..72]);
    put(0x88, &1u32.to_le_bytes());
    put(0x90, &pages.to_le_bytes());
    put(0xA0, &pages.to_le_bytes());
    put(0x348, &data[0x100..0xB70]);
    put(0xF98, &1u32.to_le_bytes());
    bytes.extend_from_slice(data);
    let reader = PagedReader::open(&bytes).expect("memory does not fail");
    let budget = Budget::new(1_000_000, None);
    if let Ok(dump) = dump::open(&reader, &budget) {
        std::hint::black_box(gather::gather(&reader, dump, None, false, &budget));
    }
});
