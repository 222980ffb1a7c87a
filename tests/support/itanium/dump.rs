//! Writes an Itanium's memory as a complete or a kernel dump. Offsets are those of the published
//! header of 64-bit dumps, stated here once more.

use super::machine::{Machine, PAGE};

/// What a header says besides the pages.
#[derive(Clone, Debug)]
pub struct Header {
    pub dump_type: u32,
    pub build: u32,
    pub directory_table_base: u64,
    pub debugger_data: u64,
    pub module_list: u64,
    pub process_list: u64,
    pub processors: u32,
    pub code: u32,
    pub parameters: [u64; 4],
    pub context: Vec<u8>,
}

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn header(h: &Header, runs: &[(u64, u64)]) -> Vec<u8> {
    let mut image: Vec<u8> = b"PAGE".iter().copied().cycle().take(PAGE).collect();
    put(&mut image, 0, b"PAGEDU64");
    let words = [
        (0x08, 15),
        (0x0C, h.build),
        (0x30, 0x200),
        (0x34, h.processors),
        (0x38, h.code),
        (0x88, runs.len() as u32),
        (0xF98, h.dump_type),
        (0x1040, 3),
    ];
    for (at, value) in words {
        put(&mut image, at, &value.to_le_bytes());
    }
    let longs = [
        (0x10, h.directory_table_base),
        (0x18, 0xE000_0000_0600_0000),
        (0x20, h.module_list),
        (0x28, h.process_list),
        (0x80, h.debugger_data),
        (0x90, runs.iter().map(|run| run.1).sum()),
        (0xFA8, 128_606_796_000_000_000),
        (0x1030, 36_000_000_000),
    ];
    for (at, value) in longs {
        put(&mut image, at, &u64::to_le_bytes(value));
    }
    for (n, parameter) in h.parameters.iter().enumerate() {
        put(&mut image, 0x40 + n * 8, &parameter.to_le_bytes());
    }
    for (n, (base, count)) in runs.iter().enumerate() {
        put(&mut image, 0x98 + n * 16, &base.to_le_bytes());
        put(&mut image, 0xA0 + n * 16, &count.to_le_bytes());
    }
    put(&mut image, 0x348, &h.context);
    image
}

/// Pages as ascending runs.
fn runs(machine: &Machine) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for frame in machine.pages.keys() {
        match runs.last_mut() {
            Some((base, count)) if *base + *count == *frame => *count += 1,
            _ => runs.push((*frame, 1)),
        }
    }
    runs
}

/// The file: type 1 holds runs of pages, type 2 a bitmap and the pages it marks.
pub fn write(machine: &Machine, h: &Header) -> Vec<u8> {
    let runs = runs(machine);
    let stated = match h.dump_type {
        1 => runs,
        _ => vec![(0, machine.end())],
    };
    let mut file = header(h, &stated);
    if h.dump_type == 2 {
        let bits = machine.end();
        let mut map = vec![0u8; (bits.div_ceil(32) * 4) as usize];
        for frame in machine.pages.keys() {
            map[(frame / 8) as usize] |= 1 << (frame % 8);
        }
        let first = (PAGE + 0x28 + map.len()).next_multiple_of(PAGE);
        let mut body = vec![0; 0x28];
        put(&mut body, 0, b"SDMPDUMP");
        let counts = [
            1,
            first as u32,
            bits as u32,
            machine.pages.len() as u32,
            bits as u32,
        ];
        for (n, value) in counts.iter().enumerate() {
            put(&mut body, 8 + n * 4, &value.to_le_bytes());
        }
        body.extend(map);
        file.extend(body);
        file.resize(first, 0);
    }
    for page in machine.pages.values() {
        file.extend(page);
    }
    file
}
