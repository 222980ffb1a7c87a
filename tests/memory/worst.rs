//! The most work that a memory dump can ask for: a machine in which every address leads somewhere and everything
//! looks like what is searched for, with the kernel's own pointers bent into it. The time of the whole report is
//! bounded, whatever the dump holds, and what was left out for that is said.
//!
//! `cargo test --release --test memory worst -- --nocapture` prints the slowest of each pattern;
//! `KBTRIAGE_WORST=300` tries that many bends of each.

use std::time::{Duration, Instant};

use kbtriage::report::model::Status;
use kbtriage::source::SourceInfo;
use kbtriage::triage::{Engine, Request};

use crate::support::memory_dump::{Fill, write};
use crate::support::memory_machine::Mode;
use crate::support::memory_state::{SMALL, State};
use crate::support::prng::Prng;

/// Two seconds of work in a build as users have it; a build without optimisation is some twenty times slower, and
/// the machines that tests run on do other things meanwhile.
const LONGEST: Duration = if cfg!(debug_assertions) {
    Duration::from_secs(60)
} else {
    Duration::from_secs(2)
};
/// Different pages that the spare addresses lead to.
const MIRRORS: u64 = 64;

/// What the pages look like that every spare address leads to.
#[derive(Clone, Copy, Debug)]
enum Pattern {
    /// Addresses in the code of drivers: stacks that never end.
    Code,
    /// Addresses of such pages: lists and trees that never end.
    Links,
    /// Pool blocks of the tags that are looked for, linked to each other.
    Blocks,
    /// Images whose resources lead to themselves.
    Images,
    /// Hives, cells and names of great length.
    Cells,
    /// All of it.
    Mixed,
}

const PATTERNS: [Pattern; 6] = [
    Pattern::Code,
    Pattern::Links,
    Pattern::Blocks,
    Pattern::Images,
    Pattern::Cells,
    Pattern::Mixed,
];

/// An address that leads to a mirror, in memory that the machine does not use otherwise.
fn spare(mode: Mode, random: &mut Prng) -> u64 {
    let within = random.below(MIRRORS as usize * 0x1000) as u64 & !0xF;
    match mode {
        Mode::X86 | Mode::X86Pae => 0xB000_0000 + within,
        _ => 0xFFFF_E000_0000_0000 + ((random.below(1 << 20) as u64) << 18) + within,
    }
}

fn pointer_bytes(mode: Mode, value: u64) -> Vec<u8> {
    value.to_le_bytes()[..mode.pointer()].to_vec()
}

fn page(state: &State, pattern: Pattern, random: &mut Prng) -> Vec<u8> {
    let mode = state.machine.mode;
    let mut page: Vec<u8> = Vec::with_capacity(0x1000);
    let code = |random: &mut Prng| {
        let driver = &state.drivers[random.below(state.drivers.len())];
        driver.base + u64::from(crate::support::memory_image::CODE) + random.below(0x400) as u64
    };
    match pattern {
        Pattern::Code => {
            while page.len() < 0x1000 {
                let address = code(random);
                page.extend(pointer_bytes(mode, address));
            }
        }
        Pattern::Links => {
            while page.len() < 0x1000 {
                let address = spare(mode, random);
                page.extend(pointer_bytes(mode, address));
            }
        }
        Pattern::Blocks => {
            // Pool header of 6.0: previous size, index, size, type, then the tag; granules of two pointers.
            let granule = 2 * mode.pointer();
            let size = 0x100 / granule;
            while page.len() < 0x1000 {
                let before = if page.is_empty() { 0 } else { size as u16 };
                let start = page.len();
                if mode.is_32_bit() {
                    page.extend(before.to_le_bytes());
                    page.extend((size as u16 | 5 << 9).to_le_bytes());
                    page.extend(b"IPmf");
                } else {
                    page.extend([before as u8, 0, size as u8, 2]);
                    page.extend(b"IPmf");
                    page.extend([0; 8]);
                }
                while page.len() < start + 0x100 {
                    let address = match random.below(8) {
                        0 => code(random),
                        _ => spare(mode, random),
                    };
                    page.extend(pointer_bytes(mode, address));
                }
            }
        }
        Pattern::Images => {
            page = state.drivers[1].image.bytes();
            page.resize(0x1000, 0);
            // Directories of resources of 60 subdirectories each, which are these directories again.
            let optional = 0x80 + 24;
            let directories = optional + if mode.is_32_bit() { 96 } else { 112 };
            page[directories + 16..directories + 20].copy_from_slice(&0x600u32.to_le_bytes());
            page[directories + 20..directories + 24].copy_from_slice(&0xA00u32.to_le_bytes());
            for start in [0x600usize, 0x800, 0xA00] {
                page[start + 12..start + 16].copy_from_slice(&[0, 0, 60, 0]);
                for entry in 0..60 {
                    let at = start + 16 + entry * 8;
                    page[at..at + 4].copy_from_slice(&16u32.to_le_bytes());
                    let to = 0x8000_0000u32 + 0x200 * (entry as u32 % 3);
                    page[at + 4..at + 8].copy_from_slice(&to.to_le_bytes());
                }
            }
        }
        Pattern::Cells => {
            page.extend(b"regf");
            page.resize(0x20, 0);
            page.extend(b"hbin");
            page.resize(0x40, 0);
            while page.len() < 0x1000 {
                page.extend((-0x60i32).to_le_bytes());
                page.extend([b"nk", b"lf", b"vk", b"ri"][random.below(4)]);
                page.extend([0xFF, 0x7F]);
                for _ in 0..22 {
                    page.extend((0x20 + 0x60 * random.below(42) as u32).to_le_bytes());
                }
            }
        }
        Pattern::Mixed => {
            let which = PATTERNS[random.below(5)];
            return self::page(state, which, random);
        }
    }
    page.truncate(0x1000);
    page
}

/// Gives every spare address of the kernel's half a page: tables that all lead to the same pages.
fn fill(state: &mut State, pattern: Pattern, random: &mut Prng) {
    let mode = state.machine.mode;
    let (levels, width, entries) = match mode {
        Mode::X86 => (2, 4usize, 1024usize),
        Mode::X86Pae => (3, 8, 512),
        _ => (4, 8, 512),
    };
    let mut below: Vec<u64> = (0..MIRRORS)
        .map(|_| {
            let pfn = state.machine.new_page();
            let content = page(state, pattern, random);
            state.machine.pages.insert(pfn, content);
            pfn
        })
        .collect();
    // What a spare entry of a table of each level holds, the innermost first.
    let mut fillers = vec![below.clone()];
    for _ in 1..levels {
        let table = state.machine.new_page();
        for entry in 0..entries {
            let raw = (below[entry % below.len()] << 12) | 0x63;
            let at = (table << 12) + (entry * width) as u64;
            state.machine.put_entry(at, raw);
        }
        below = vec![table];
        fillers.push(below.clone());
    }
    let mut tables = vec![(state.machine.cr3 & !0x1F, 0usize)];
    let mut seen = std::collections::BTreeSet::new();
    while let Some((table, level)) = tables.pop() {
        if !seen.insert((table, level)) {
            continue;
        }
        let filler = &fillers[levels - 1 - level];
        let count = if mode == Mode::X86Pae && level == 0 {
            4
        } else {
            entries
        };
        let first = if level == 0 { count / 2 } else { 0 };
        for entry in first..count {
            let at = table + (entry * width) as u64;
            let within = (at & 0xFFF) as usize;
            let Some(page) = state.machine.pages.get(&(at >> 12)) else {
                break;
            };
            let mut raw = [0; 8];
            raw[..width].copy_from_slice(&page[within..within + width]);
            let raw = u64::from_le_bytes(raw);
            let flags = if mode == Mode::X86Pae && level == 0 {
                1
            } else {
                0x63
            };
            match raw {
                0 => state
                    .machine
                    .put_entry(at, (filler[entry % filler.len()] << 12) | flags),
                raw if level + 1 < levels && raw & 0x80 == 0 && raw & 1 != 0 => {
                    tables.push((raw & 0x000F_FFFF_FFFF_F000, level + 1));
                }
                _ => {}
            }
        }
    }
}

/// Bends one in `odds` of the kernel's pointers, those of the header's context among them, into the mirrors.
fn bend(state: &mut State, odds: usize, random: &mut Prng) {
    let mode = state.machine.mode;
    let width = mode.pointer();
    let (low, high) = match mode {
        Mode::X86 | Mode::X86Pae => (0x8000_0000, 0xFFFF_FFFF),
        _ => (0xFFFF_8000_0000_0000, u64::MAX - 1),
    };
    let frames: Vec<u64> = state.machine.pages.keys().copied().collect();
    let mut bend_all = |bytes: &mut [u8]| {
        for slot in bytes.chunks_exact_mut(width) {
            let mut value = [0; 8];
            value[..width].copy_from_slice(slot);
            let value = u64::from_le_bytes(value);
            if (low..=high).contains(&value) && random.below(odds) == 0 {
                let to = spare(mode, random);
                slot.copy_from_slice(&to.to_le_bytes()[..width]);
            }
        }
    };
    for pfn in frames {
        bend_all(state.machine.pages.get_mut(&pfn).unwrap());
    }
    bend_all(&mut state.header.context);
}

/// The stack pointers of all processors lead into the mirrors, whatever else is bent.
fn deepen(state: &mut State, random: &mut Prng) {
    let mode = state.machine.mode;
    let to = pointer_bytes(mode, spare(mode, random));
    let at = if mode.is_32_bit() { 0xC4 } else { 0x98 };
    state.header.context[at..at + to.len()].copy_from_slice(&to);
}

#[test]
fn worst_memory_takes_bounded_time_and_what_was_left_out_is_said() {
    let asked = std::env::var("KBTRIAGE_WORST").ok();
    let bends: u64 = asked.and_then(|text| text.parse().ok()).unwrap_or(4);
    for mode in [Mode::X64, Mode::X86Pae, Mode::X86] {
        for pattern in PATTERNS {
            let mut worst = (Duration::ZERO, 0, String::new());
            for number in 0..bends {
                let mut random = Prng::new(number * 31 + 7);
                let mut state = State::new(mode, SMALL);
                if number > 0 {
                    bend(
                        &mut state,
                        [3, 10, 40, 200][number as usize % 4],
                        &mut random,
                    );
                }
                deepen(&mut state, &mut random);
                fill(&mut state, pattern, &mut random);
                state.refresh();
                let engine = Engine {
                    deep: number % 2 == 1,
                    ..Engine::default()
                };
                let file = write(&state.machine, &state.header, Fill::Written);
                let began = Instant::now();
                let report = engine
                    .triage(&file, Request::new(&SourceInfo::default()))
                    .report;
                let took = began.elapsed();
                let limited = report
                    .notes
                    .iter()
                    .any(|note| note.code.starts_with("limit."));
                assert!(
                    !limited || report.status == Status::Degraded,
                    "{mode:?} {pattern:?} {number}"
                );
                let size = serde_json::to_string(&report).unwrap().len();
                assert!(
                    size < 4 << 20,
                    "{mode:?} {pattern:?} {number}: {size} bytes"
                );
                assert!(took < LONGEST, "{mode:?} {pattern:?} {number}: {took:?}");
                if took > worst.0 {
                    let notes: Vec<_> =
                        report.notes.iter().map(|note| note.code.as_str()).collect();
                    worst = (took, number, format!("{size} bytes, {}", notes.join(" ")));
                }
            }
            println!(
                "{mode:?} {pattern:?}: {:.0?} (bend {}) {}",
                worst.0, worst.1, worst.2
            );
        }
    }
}
