//! Physical memory: where pages lie in a file, and what it costs to find out.

use kbtriage::bytes::{Budget, Gpa, PagedReader, Pfn};
use kbtriage::dump::Body;
use kbtriage::memory::{Absent, Physical};

use crate::support::memory_dump::{Fill, SparseFile, write};
use crate::support::memory_machine::{Machine, Mode};
use crate::{TYPES, body, damage, header, opened, reader};

/// Pages `pfns`, each holding its own number.
fn machine(mode: Mode, pfns: &[u64]) -> Machine {
    let mut machine = Machine::new(mode, 2, 1);
    for pfn in pfns {
        machine.put_physical(pfn << 12, &pfn.to_le_bytes());
        machine.put_physical((pfn << 12) + 0xFF8, &(!pfn).to_le_bytes());
    }
    machine
}

fn with<T>(file: &SparseFile, test: impl FnOnce(&Physical<'_>) -> T) -> T {
    let reader = reader(file);
    let dump = opened(&reader);
    let budget = Budget::default();
    test(&Physical::new(&reader, body(&dump), &budget))
}

fn number(memory: &Physical<'_>, at: u64) -> Result<u64, Absent> {
    let mut bytes = [0; 8];
    memory.read(Gpa(at), &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[test]
fn every_page_of_every_type_is_found_at_its_place() {
    let pfns = [3, 5, 7, 8, 9, 63, 64, 511, 512, 4095, 4096, 4097, 40_000];
    for mode in [Mode::X86Pae, Mode::X64] {
        let machine = machine(mode, &pfns);
        for dump_type in TYPES {
            let mut h = header(&machine, dump_type);
            h.runs = vec![(1, 0x9E), (0x100, 40_001 - 0x100)];
            with(&write(&machine, &h, Fill::Written), |memory| {
                for pfn in pfns {
                    assert_eq!(number(memory, pfn << 12), Ok(pfn), "{dump_type} {pfn}");
                    assert_eq!(number(memory, (pfn << 12) + 0xFF8), Ok(!pfn));
                }
                assert_eq!(number(memory, 0xA0 << 12), Err(Absent::NotInDump));
                assert_eq!(number(memory, 40_001 << 12), Err(Absent::NotInDump));
                assert_eq!(number(memory, u64::MAX - 3), Err(Absent::NotInDump));
                let unwritten = number(memory, 6 << 12);
                let all = dump_type == 1;
                assert_eq!(unwritten, if all { Ok(0) } else { Err(Absent::NotInDump) });
            });
        }
    }
}

#[test]
fn a_read_across_two_frames_takes_from_both() {
    let machine = machine(Mode::X64, &[8, 9]);
    for dump_type in TYPES {
        let file = write(&machine, &header(&machine, dump_type), Fill::Written);
        with(&file, |memory| {
            let mut bytes = [0; 16];
            memory.read(Gpa(0x8FF8), &mut bytes).unwrap();
            assert_eq!(bytes[..8], (!8u64).to_le_bytes());
            assert_eq!(bytes[8..], 9u64.to_le_bytes());
        });
    }
}

/// A little machine at the top of 64 GiB, in a file that claims all of it.
fn large(dump_type: u32, pages: u64, fill: Fill) -> (SparseFile, Vec<u64>) {
    let pfns: Vec<u64> = (0..1500u64)
        .map(|i| pages - 1 - i * (pages / 1600))
        .collect();
    let machine = machine(Mode::X64, &pfns);
    let mut h = header(&machine, dump_type);
    h.runs = vec![(1, 0x9E), (0x100, pages - 0x100)];
    (write(&machine, &h, fill), pfns)
}

#[test]
fn the_cost_of_a_page_does_not_depend_on_the_size_of_the_dump() {
    for dump_type in TYPES {
        let mut cost = Vec::new();
        for pages in [1u64 << 18, 1 << 24] {
            let (file, pfns) = large(dump_type, pages, Fill::All);
            with(&file, |memory| {
                for pfn in &pfns {
                    assert_eq!(number(memory, pfn << 12), Ok(*pfn));
                }
            });
            cost.push(file.counts());
        }
        let [(small, _), (reads, bytes)] = cost[..] else {
            panic!()
        };
        // The first read of 192 KiB, one a page, and the bitmap in pieces of 256 KiB.
        assert!(reads <= 1500 + 1 + 9, "{dump_type}: {reads} reads");
        assert!(
            bytes <= (1500 * 4 + 192 + 2304) * 1024,
            "{dump_type}: {bytes} bytes"
        );
        assert!(
            reads * 100 <= small * 105,
            "{dump_type}: {reads} after {small}"
        );
    }
}

#[test]
fn opening_reads_the_beginning_and_nothing_else() {
    for dump_type in TYPES {
        let (file, _) = large(dump_type, 1 << 24, Fill::All);
        with(&file, |_| {});
        assert_eq!(file.counts(), (1, 192 * 1024), "{dump_type}");
    }
}

#[test]
fn a_missing_body_and_a_truncated_one_are_told_apart() {
    let machine = machine(Mode::X64, &[8, 9]);
    let mut file = write(&machine, &header(&machine, 1), Fill::All);
    file.truncate(0x2000);
    let cut = PagedReader::open(&file).unwrap();
    let dump = opened(&cut);
    assert!(matches!(dump.body, Body::Physical(None)));
    assert_eq!(damage(dump), ["header intact, body missing"]);

    let mut file = write(&machine, &header(&machine, 2), Fill::All);
    file.truncate(file.len - 0x1001);
    let cut = PagedReader::open(&file).unwrap();
    let what = damage(opened(&cut));
    assert_eq!(what.len(), 1);
    assert!(what[0].starts_with("the file is truncated"), "{what:?}");
}

#[test]
fn a_bitmap_that_the_file_ends_in_gives_the_pages_before_and_says_truncated_behind() {
    let (mut file, _) = large(5, 1 << 24, Fill::All);
    file.truncate(0x2038 + 100_000);
    let reader = PagedReader::open(&file).unwrap();
    let dump = opened(&reader);
    let budget = Budget::default();
    let memory = Physical::new(&reader, body(&dump), &budget);
    // The bit is there, its page is not; then the bit is not there either.
    assert_eq!(number(&memory, 799_000 << 12), Err(Absent::Truncated));
    assert_eq!(number(&memory, 801_000 << 12), Err(Absent::Truncated));
    assert_eq!(
        memory.file_offset(Pfn(0x100)),
        Ok(0x2038 + 0x20_0000 + 0x9E * 0x1000)
    );
    assert_eq!(memory.file_offset(Pfn(0xA0)), Err(Absent::NotInDump));
}

#[test]
fn the_bitmap_is_trusted_where_it_contradicts_the_count_of_pages() {
    let machine = machine(Mode::X64, &[8, 9]);
    let mut file = write(&machine, &header(&machine, 2), Fill::Written);
    file.patch(0x2014, &77u32.to_le_bytes());
    with(&file, |memory| {
        assert_eq!(number(memory, 9 << 12), Ok(9));
        assert!(memory.bitmap_contradicts_count());
    });
}

#[test]
fn a_summary_dump_with_the_newer_layout_is_read_as_what_it_is() {
    let machine = machine(Mode::X64, &[8, 9]);
    let mut file = write(&machine, &header(&machine, 6), Fill::Written);
    file.patch(0xF98, &2u32.to_le_bytes());
    with(&file, |memory| assert_eq!(number(memory, 9 << 12), Ok(9)));
}

#[test]
fn hostile_counts_are_refused_before_anything_is_allocated() {
    let machine = machine(Mode::X64, &[8, 9]);
    // Offsets of 64-bit counts in the bodies of types 5 and 8, 32-bit ones in type 2.
    for (dump_type, at, size) in [
        (5, 0x2020, 8),
        (5, 0x2028, 8),
        (5, 0x2030, 8),
        (6, 0x2030, 8),
        (2, 0x200C, 4),
        (2, 0x2010, 4),
        (2, 0x2014, 4),
        (8, 0x2010, 8),
        (8, 0x2018, 8),
        (8, 0x2030, 8),
        (8, 0x2038, 8),
        (10, 0x2028, 8),
        (1, 0x90, 8),
        (1, 0x98, 8),
        (1, 0xA0, 8),
    ] {
        for value in [0u64, 1, 1 << 31, 1 << 32, 1 << 63, u64::MAX] {
            let mut file = write(&machine, &header(&machine, dump_type), Fill::Written);
            file.patch(at, &value.to_le_bytes()[..size]);
            let reader = PagedReader::open(&file).unwrap();
            let dump = opened(&reader);
            let Body::Physical(Some(body)) = dump.body else {
                continue;
            };
            let budget = Budget::default();
            let memory = Physical::new(&reader, body, &budget);
            for pfn in [0, 8, 9, 1 << 31, 1 << 40, 1 << 51] {
                let _ = number(&memory, pfn << 12);
            }
            let (reads, _) = file.counts();
            assert!(reads < 64, "{dump_type} {at:#x} {value:#x}: {reads} reads");
        }
    }
}

#[test]
fn overlapping_ranges_give_each_page_one_place() {
    let machine = machine(Mode::X64, &[8, 9, 40]);
    let mut file = write(&machine, &header(&machine, 8), Fill::Written);
    // The third range starts inside the second.
    file.patch(0x2050, &9u64.to_le_bytes());
    let reader = PagedReader::open(&file).unwrap();
    let dump = opened(&reader);
    let found = body(&dump);
    let budget = Budget::default();
    let memory = Physical::new(&reader, found, &budget);
    assert!(number(&memory, 8 << 12).is_ok());
    assert!(damage(dump).iter().any(|what| what.contains("overlap")));
}

#[test]
fn pages_of_itanium_dumps_are_8_kib_and_their_report_has_the_headers_facts() {
    let machine = machine(Mode::X64, &[3, 4, 5, 6, 7, 8]);
    let mut h = header(&machine, 1);
    h.runs = vec![(3, 6)];
    let mut file = write(&machine, &h, Fill::All);
    // The file's six pages of 4 KiB are three of 8 KiB: page 0x10 and two at 0x20.
    file.patch(0x30, &0x0200u32.to_le_bytes());
    file.patch(0x88, &2u32.to_le_bytes());
    file.patch(0x90, &3u64.to_le_bytes());
    for (i, value) in [0x10u64, 1, 0x20, 2].iter().enumerate() {
        file.patch(0x98 + i as u64 * 8, &value.to_le_bytes());
    }
    with(&file, |memory| {
        for (at, number_there) in [(0x10 << 13, 3), (0x20 << 13, 5), ((0x21 << 13) + 0x1000, 8)] {
            assert_eq!(number(memory, at), Ok(number_there), "{at:#x}");
        }
        assert_eq!(number(memory, 0x11 << 13), Err(Absent::NotInDump));
        assert_eq!(number(memory, 0x22 << 13), Err(Absent::NotInDump));
    });
    let got = crate::reports::report(&file);
    assert_eq!(got["dump"]["architecture"], "ia64");
    assert_eq!(got["bugcheck"]["code"], "0x000000D1");
    assert_eq!(got["status"], "degraded");
}
