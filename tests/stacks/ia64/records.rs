//! Damaged descriptors: every prefix and every changed byte ends in an answer.

use kbtriage::unwind::ia64::UnwindInfo;
use kbtriage::unwind::ia64::descriptors::{Damage, Descriptors as Reader, Item};
use kbtriage::unwind::ia64::{Executed, rules};

use super::elf::{Image, word32};
use super::oracle::map;
use crate::support::itanium::descriptors::Descriptors;
use crate::support::shared::shared;
use kbtriage::unwind::CodeInfo;

/// A function with an epilogue in the middle and code behind it.
fn function() -> Descriptors {
    Descriptors::default()
        .prologue(8)
        .pfs_gr(0, 38)
        .frame(1, 48)
        .rp_gr(2, 37)
        .body(19)
        .label(1)
        .epilogue(5, 1)
        .body(40)
        .copy(1)
        .moved(0, 4, 45, 7)
        .epilogue(2, 1)
}

/// Reads and runs descriptors at several instructions; true when they are whole.
fn run(bytes: &[u8]) -> bool {
    let whole = Reader::new(bytes).all(|item| item.is_ok());
    let items = Reader::new(bytes).count();
    assert!(items <= bytes.len());
    for slots in [0, 1, 3, 8, 9, 27, 28, 64, 1 << 40] {
        for call in [false, true] {
            let _ = rules(bytes, Executed { slots, call });
        }
    }
    whole
}

#[test]
fn every_prefix_and_every_flipped_bit_of_assembled_descriptors_ends() {
    let bytes = function().0;
    assert!(run(&bytes));
    for length in 0..bytes.len() {
        run(&bytes[..length]);
    }
    let mut refused = 0;
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << bit;
            refused += usize::from(!run(&changed));
        }
    }
    assert!(refused > 0);
}

#[test]
fn every_prefix_and_every_flipped_byte_of_real_tables_ends() {
    let Some(file) = shared("data/ia64/libusb0-phywe/libusb0.sys") else {
        return;
    };
    let image = map(&std::fs::read(file).unwrap());
    let module = image.module_at(image.base).unwrap();
    let rows = image.table.rva as usize..(image.table.rva + image.table.size) as usize;
    for row in rows.step_by(12) {
        let info = word32(&image.bytes, row + 8);
        let bytes = UnwindInfo::read(&image, module, info).unwrap().descriptors;
        for length in 0..bytes.len() {
            run(&bytes[..length]);
        }
        for at in 0..bytes.len() {
            for value in [0x00, 0x7F, 0x80, 0xE0, 0xF0, 0xF9, 0xFF, bytes[at] ^ 0x55] {
                let mut changed = bytes.clone();
                changed[at] = value;
                run(&changed);
            }
        }
    }
}

#[test]
fn numbers_beyond_any_use_and_bytes_of_no_format_are_damage() {
    let first = |bytes: &[u8]| {
        Reader::new(bytes)
            .find_map(Result::err)
            .expect("damage is found")
    };
    // A length of more than 64 bits, one that does not end, a record before any region.
    let mut long = vec![0x61];
    long.extend([0xFF; 10]);
    assert_eq!(first(&long), Damage::Number);
    assert_eq!(first(&[0x61, 0x80]), Damage::Short);
    assert_eq!(first(&[0x80]), Damage::Unknown(0x80));
    // A spill mask for more slots than there are bytes.
    let mut mask = vec![0x60];
    mask.extend([0xFF, 0xFF, 0x7F, 0xB8, 0]);
    assert_eq!(first(&mask), Damage::Short);
    // Body records in a prologue and the other way round.
    assert_eq!(first(&[0x21, 0xE1]), Damage::Unknown(0xE1));
    assert_eq!(first(&[0x01, 0xF8]), Damage::Unknown(0xF8));
    let items: Vec<_> = Reader::new(&[0, 0, 0]).collect();
    assert!(matches!(
        items[..],
        [
            Ok(Item::Region(_)),
            Ok(Item::Region(_)),
            Ok(Item::Region(_))
        ]
    ));
}

#[test]
fn states_that_do_not_go_together_are_damage() {
    let at = Executed {
        slots: 1000,
        call: false,
    };
    let unknown = Descriptors::default().prologue(3).body(9).copy(4);
    assert_eq!(rules(&unknown.0, at).unwrap_err(), Damage::Unbalanced);
    let undone_twice = Descriptors::default().prologue(3).body(9).epilogue(1, 2);
    assert_eq!(rules(&undone_twice.0, at).unwrap_err(), Damage::Unbalanced);
    let mut nested = Descriptors::default();
    for _ in 0..600 {
        nested = nested.prologue(1);
    }
    assert_eq!(rules(&nested.0, at).unwrap_err(), Damage::Endless);
    let mut many = Descriptors::default().prologue(3);
    for _ in 0..600 {
        many = many.rp_gr(1, 40);
    }
    assert_eq!(rules(&many.0, at).unwrap_err(), Damage::Endless);
}

#[test]
fn an_unwind_record_of_unknown_version_or_impossible_length_is_not_read() {
    let record = function().record();
    let image = |bytes: Vec<u8>| Image {
        base: 0x1_0000,
        bytes,
        table: kbtriage::unwind::ExceptionDirectory { rva: 0, size: 0 },
    };
    let read = |bytes: &[u8]| {
        let image = image(bytes.to_vec());
        UnwindInfo::read(&image, image.module_at(0x1_0000).unwrap(), 0)
    };
    assert_eq!(read(&record).unwrap().version, 3);
    let changed = |at: usize, value: u8| {
        let mut changed = record.clone();
        changed[at] = value;
        changed
    };
    assert_eq!(
        read(&changed(0, 2)).unwrap().descriptors,
        read(&record).unwrap().descriptors
    );
    assert_eq!(read(&changed(0, 4)), None);
    assert_eq!(read(&changed(7, 0x80)), None);
    assert_eq!(read(&record[..record.len() - 1]), None);
}
