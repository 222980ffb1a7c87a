//! Bodies of memory dumps: the first byte chooses the dump type and the width, the rest is a file. Pages
//! are asked for at places an attacker would like, then all of them are walked.
#![no_main]

use kbtriage::bytes::{Budget, Gpa, PagedReader};
use kbtriage::dump::{self, Body};
use kbtriage::memory::Physical;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else {
        return;
    };
    let mut bytes = rest.to_vec();
    if kind & 0x80 != 0 && bytes.len() >= 0x1000 {
        bytes[..8].copy_from_slice(b"PAGEDUMP");
        bytes[0x20..0x24].copy_from_slice(&0x14Cu32.to_le_bytes());
        bytes[0xF88..0xF8C].copy_from_slice(&u32::from(kind % 12).to_le_bytes());
    } else if bytes.len() >= 0x2000 {
        bytes[..8].copy_from_slice(b"PAGEDU64");
        bytes[0x30..0x34].copy_from_slice(&0x8664u32.to_le_bytes());
        bytes[0xF98..0xF9C].copy_from_slice(&u32::from(kind % 12).to_le_bytes());
    }
    let reader = PagedReader::open(&bytes).expect("memory does not fail");
    let budget = Budget::new(1_000_000, None);
    let Ok(dump) = dump::open(&reader, &budget) else {
        return;
    };
    let Body::Physical(Some(body)) = dump.body else {
        return;
    };
    let memory = Physical::new(&reader, body, &budget);
    let mut buf = [0; 24];
    for page in [
        0u64,
        1,
        2,
        63,
        64,
        511,
        4096,
        1 << 20,
        1 << 31,
        1 << 40,
        1 << 51,
    ] {
        let _ = memory.read(Gpa((page << 12) | 0xFF8), &mut buf);
    }
    let mut seen = 0;
    memory.each_page(&mut |_, page| {
        seen += page.len();
        true
    });
    // Overlapping runs may show a page more than once, never without end.
    assert!(seen <= bytes.len() * 128);
});
