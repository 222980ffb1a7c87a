//! Translation is held against the tables the test machine was made with.

use kbtriage::bytes::{Budget, Gva};
use kbtriage::memory::translate::{Level, Missing, Via};
use kbtriage::memory::{Absent, Memory, Paged, Physical};

use crate::support::memory_dump::{Fill, SparseFile, write};
use crate::support::memory_machine::{Machine, Mode};
use crate::{TYPES, body, header, opened, reader};

/// Builds a machine with a little of everything a kernel maps.
fn machine(mode: Mode) -> Machine {
    let mut machine = Machine::new(mode, 0x11, 3);
    for i in 0..40u64 {
        let text = format!("page {i} of {mode:?}");
        machine.put(mode.kernel(i * 0x5000 + 0xFF8), text.as_bytes());
    }
    machine.put(mode.kernel(0x40_0000 * 7), b"another directory entry");
    machine
}

/// Runs `test` over the machine written as a complete dump.
fn with<T>(machine: &Machine, test: impl FnOnce(&Paged<'_>) -> T) -> T {
    with_file(&write(machine, &header(machine, 1), Fill::All), test)
}

fn with_file<T>(file: &SparseFile, test: impl FnOnce(&Paged<'_>) -> T) -> T {
    let reader = reader(file);
    let dump = opened(&reader);
    let budget = Budget::default();
    let physical = Physical::new(&reader, body(&dump), &budget);
    test(&Paged::of_crash(&physical, &dump.header).unwrap())
}

fn missing(space: &Paged<'_>, at: u64) -> Missing {
    space.read_or_level(Gva(at), &mut [0; 1]).unwrap_err()
}

#[test]
fn every_mapped_page_translates_to_where_the_tables_put_it_in_every_type_and_mode() {
    for mode in Mode::ALL {
        let machine = machine(mode);
        for dump_type in TYPES {
            if mode.is_32_bit() && dump_type >= 8 {
                continue;
            }
            let mut h = header(&machine, dump_type);
            // Four and five levels are told apart by what the header points to.
            h.module_list = mode.kernel(0x1000);
            let file = write(&machine, &h, Fill::Written);
            with_file(&file, |space| {
                assert!(machine.mapped.len() >= 41);
                for page in &machine.mapped {
                    let found = space.translate(Gva(page.va)).unwrap();
                    assert_eq!(
                        found.address.0, page.pa,
                        "{mode:?} {dump_type} {:#x}",
                        page.va
                    );
                    assert_eq!(found.via, Via::Valid);
                    let mut bytes = [0; 0x1000];
                    space.read(Gva(page.va), &mut bytes).unwrap();
                    assert_eq!(bytes.as_slice(), machine.pages[&(page.pa >> 12)]);
                }
            });
        }
    }
}

#[test]
fn a_read_across_pages_joins_frames_that_lie_apart() {
    for mode in Mode::ALL {
        let mut machine = machine(mode);
        let text: Vec<u8> = (0..0x3000u32).map(|i| (i / 16) as u8).collect();
        machine.put(mode.kernel(0x30_0800), &text);
        let mut h = header(&machine, 1);
        h.module_list = mode.kernel(0x1000);
        with_file(&write(&machine, &h, Fill::All), |space| {
            let mut bytes = vec![0; text.len()];
            space.read(Gva(mode.kernel(0x30_0800)), &mut bytes).unwrap();
            assert_eq!(bytes, text);
        });
    }
}

#[test]
fn large_and_huge_pages_are_one_piece_of_memory() {
    // Levels above the page table at which each mode maps large pages.
    for (mode, up, size) in [
        (Mode::X86, 1, 4u64 << 20),
        (Mode::X86Pae, 1, 2 << 20),
        (Mode::X64, 1, 2 << 20),
        (Mode::X64, 2, 1 << 30),
    ] {
        let mut machine = machine(mode);
        let va = match mode {
            Mode::X64 => 0xFFFF_FA80_4000_0000,
            _ => 0x8400_0000,
        };
        let pa = 3 * size.max(1 << 22);
        machine.map_large(va, pa, up);
        let at = size - 0x1234;
        machine.put_physical(pa + at, b"inside a large page");
        with(&machine, |space| {
            let found = space.translate(Gva(va + at)).unwrap();
            assert_eq!(
                (found.address.0, found.page_size),
                (pa + at, size),
                "{mode:?}"
            );
            let mut bytes = [0; 19];
            space.read(Gva(va + at), &mut bytes).unwrap();
            assert_eq!(&bytes, b"inside a large page");
        });
    }
}

#[test]
fn a_four_megabyte_page_reaches_above_four_gigabytes_with_pse_36() {
    let mut machine = machine(Mode::X86);
    let pa = 0x5_0040_0000;
    machine.map_large(0x8440_0000, pa, 1);
    with(&machine, |space| {
        let found = space.translate(Gva(0x8440_0123)).unwrap();
        assert_eq!(found.address.0, pa + 0x123);
    });
}

#[test]
fn attribute_bits_of_a_large_page_are_not_part_of_its_address() {
    let mut machine = machine(Mode::X64);
    let va = 0xFFFF_FA80_0020_0000;
    machine.map_large(va, 0x60_0000, 1);
    let entry = machine.upper(va, 1);
    // PAT is bit 12 here, where a page table entry keeps its lowest address bit.
    machine.put_entry(entry, 0x60_0000 | 0x11E3);
    with(&machine, |space| {
        let found = space.translate(Gva(va + 0x5678)).unwrap();
        assert_eq!(found.address.0, 0x60_5678);
    });
}

#[test]
fn a_page_in_transition_is_read_from_where_it_still_lies() {
    for mode in Mode::ALL {
        let mut machine = machine(mode);
        let va = mode.kernel(0x20_0000);
        machine.put(va, b"on its way out");
        let pa = machine.place(va).unwrap();
        let entry = machine.pte(va);
        machine.put_entry(entry, pa | (1 << 11) | (4 << 5));
        let mut h = header(&machine, 1);
        h.module_list = mode.kernel(0x1000);
        with_file(&write(&machine, &h, Fill::All), |space| {
            let found = space.translate(Gva(va + 3)).unwrap();
            assert_eq!((found.address.0, found.via), (pa + 3, Via::Transition));
        });
    }
}

/// The bits by which a page table entry names a prototype entry at `at`.
fn prototype(mode: Mode, at: u64) -> u64 {
    match mode {
        // ProtoAddressLow counts words from bit 1, ProtoAddressHigh 512 bytes from bit 11.
        Mode::X86 => {
            let offset = at - mode.paged_pool();
            ((offset >> 9) << 11) | (((offset >> 2) & 0x7F) << 1) | (1 << 10)
        }
        Mode::X86Pae => (at << 32) | (1 << 10),
        _ => (at << 16) | (1 << 10),
    }
}

#[test]
fn a_prototype_entry_leads_to_its_page_once() {
    for mode in Mode::ALL {
        let mut machine = machine(mode);
        let (va, at) = (mode.kernel(0x20_0000), mode.paged_pool() + 0x1A28);
        machine.put(mode.kernel(0x21_0000), b"shared page");
        let pa = machine.place(mode.kernel(0x21_0000)).unwrap();
        let n = if mode == Mode::X86 { 4 } else { 8 };
        let raw = |value: u64| value.to_le_bytes()[..n].to_vec();
        machine.put(at, &raw(pa | 0x121));
        machine.put(at + 8, &raw(pa | 0x800));
        machine.put(at + 16, &raw(0x0007_0086));
        machine.put(at + 24, &raw(prototype(mode, at + 24)));
        for (i, place) in [at, at + 8, at + 16, at + 24].into_iter().enumerate() {
            let entry = machine.pte(va + i as u64 * 0x1000);
            machine.put_entry(entry, prototype(mode, place));
        }
        let all_ones = match mode {
            Mode::X86 => 0xFFFF_FBFE | (1 << 10),
            Mode::X86Pae => (0xFFFF_FFFF << 32) | (1 << 10),
            _ => (0xFFFF_FFFF_0000 << 16) | (1 << 10),
        };
        let entry = machine.pte(va + 0x4000);
        machine.put_entry(entry, all_ones);
        let mut h = header(&machine, 1);
        h.module_list = mode.kernel(0x1000);
        let file = write(&machine, &h, Fill::All);
        let reader = reader(&file);
        let dump = opened(&reader);
        let budget = Budget::default();
        let physical = Physical::new(&reader, body(&dump), &budget);
        let space = Paged::of_crash(&physical, &dump.header)
            .unwrap()
            .with_paged_pool(Some(mode.paged_pool()));
        for i in [0, 0x1000] {
            let found = space.translate(Gva(va + i + 5)).unwrap();
            assert_eq!(
                (found.address.0, found.via),
                (pa + 5, Via::Prototype),
                "{mode:?}"
            );
        }
        for i in [0x2000, 0x3000, 0x4000] {
            let expected = Missing {
                reason: Absent::PagedOut,
                level: Level::Prototype,
            };
            assert_eq!(missing(&space, va + i), expected, "{mode:?} {i:#x}");
        }
    }
}

#[test]
fn each_way_to_be_absent_is_a_different_answer_with_its_level() {
    let mode = Mode::X64;
    let mut machine = machine(mode);
    let va = mode.kernel(0x20_0000);
    let answer = |reason, level| Missing { reason, level };
    let page_file = machine.pte(va);
    machine.put_entry(page_file, (0x1234 << 32) | 0x86);
    let beyond = machine.pte(va + 0x1000);
    machine.put_entry(beyond, (0x7_0000_0000 << 12) | 0x163);
    let no_table = machine.upper(0xFFFF_FA00_0000_0000, 2);
    machine.put_entry(no_table, (0x6_0000_0000 << 12) | 0x63);
    let file = write(&machine, &header(&machine, 1), Fill::All);
    with_file(&file, |space| {
        for (at, expected) in [
            (va, answer(Absent::PagedOut, Level::Table)),
            (va + 0x1000, answer(Absent::NotInDump, Level::Page)),
            (va + 0x2000, answer(Absent::NotMapped, Level::Table)),
            (
                mode.kernel(0x4000_0000),
                answer(Absent::NotMapped, Level::DirectoryPointer),
            ),
            (
                0xFFFF_FA00_0000_0000,
                answer(Absent::NotInDump, Level::Directory),
            ),
            (
                0xFFFF_9000_0000_0000,
                answer(Absent::NotMapped, Level::Pml4),
            ),
            (
                0x0000_9000_0000_0000,
                answer(Absent::NonCanonical, Level::Address),
            ),
        ] {
            assert_eq!(missing(space, at), expected, "{at:#x}");
        }
    });
}

#[test]
fn what_lies_behind_the_end_of_a_truncated_file_is_truncated_and_the_rest_is_there() {
    let machine = machine(Mode::X64);
    let mut file = write(&machine, &header(&machine, 1), Fill::All);
    // The run starts at page 1, directly behind the header.
    let last = machine.mapped[70];
    let place = 0x2000 + last.pa - 0x1000;
    file.truncate(place + 0x800);
    with_file(&file, |space| {
        assert_eq!(space.read_u8(Gva(last.va + 0x7FF)), Ok(0));
        assert_eq!(
            missing(space, last.va + 0x800),
            Missing {
                reason: Absent::Truncated,
                level: Level::Page
            }
        );
        let first = machine.mapped[0];
        assert!(space.read_u64(Gva(first.va)).is_ok());
    });
}

#[test]
fn a_table_that_names_itself_ends_after_as_many_levels_as_there_are() {
    for mode in Mode::ALL {
        let mut machine = machine(mode);
        // Every entry of the root leads back to the root.
        let root = machine.cr3 & !0xFFF;
        let entries = if mode == Mode::X86Pae { 4 } else { 0x200 };
        let mut bytes = Vec::new();
        for _ in 0..entries {
            bytes.extend((root | 0x163).to_le_bytes());
        }
        machine.put_physical(machine.cr3, &bytes);
        let mut h = header(&machine, 1);
        h.module_list = mode.kernel(0x1000);
        with_file(&write(&machine, &h, Fill::All), |space| {
            for page in 0..2048u64 {
                let _ = space.read_u8(Gva(mode.kernel(page << 12)));
            }
        });
    }
}

#[test]
fn an_entry_that_points_beyond_every_run_reads_nothing() {
    for mode in Mode::ALL {
        let mut machine = machine(mode);
        let va = mode.kernel(0x20_0000);
        let entry = machine.pte(va);
        machine.put_entry(entry, 0x000F_FFFF_FFFF_F000 | 0x163);
        let mut h = header(&machine, 1);
        h.module_list = mode.kernel(0x1000);
        with_file(&write(&machine, &h, Fill::All), |space| {
            assert_eq!(space.read_u8(Gva(va)), Err(Absent::NotInDump), "{mode:?}");
        });
    }
}

#[test]
fn a_sign_extended_address_of_a_32_bit_dump_is_its_low_half() {
    let machine = machine(Mode::X86Pae);
    with(&machine, |space| {
        let page = machine.mapped[0];
        let wide = page.va | 0xFFFF_FFFF_0000_0000;
        assert_eq!(space.read_u32(Gva(wide)), space.read_u32(Gva(page.va)));
        assert!(space.read_u32(Gva(page.va)).is_ok());
        assert_eq!(missing(space, 0x1_8180_0000).reason, Absent::NonCanonical);
    });
}
