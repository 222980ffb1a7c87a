//! Stepping over functions whose descriptors are assembled here: a test that runs on a bare clone.

use std::collections::BTreeMap;

use kbtriage::bytes::Gva;
use kbtriage::machine::ia64::registers as r;
use kbtriage::machine::{Machine, Registers};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::ia64::{Position, Rule, StepError, step};

use super::elf::Image;
use crate::support::itanium::descriptors::Descriptors;

const BASE: u64 = 0xE000_0165_9000_0000;
const SP: u64 = 0xE000_0165_993B_3800;
const BSP: u64 = 0xE000_0165_993B_4648;
/// The frame marker of the caller: 12 registers of which 9 are its own.
const CALLER: u64 = 12 | 9 << 7;
/// BSP less nine registers: no word of NaT bits lies between.
const CALLER_BSP: u64 = BSP - 9 * 8;
const RETURN: u64 = BASE + 0x5560;

/// Words by address.
#[derive(Clone, Default)]
struct Words(BTreeMap<u64, u64>);

impl Memory for Words {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let value = self.0.get(&at.0).ok_or(Absent::NotInDump)?;
        buf.copy_from_slice(&value.to_le_bytes()[..buf.len()]);
        Ok(())
    }
}

/// One function of `bundles` bundles at 0x2000, its table and its record behind.
fn image(descriptors: Descriptors, bundles: u32) -> Image {
    let mut bytes = vec![0; 0x6000];
    let end = 0x2000 + bundles * 16;
    for (at, value) in [0x2000, end, 0x5800].into_iter().enumerate() {
        bytes[0x5000 + at * 4..][..4].copy_from_slice(&u32::to_le_bytes(value));
    }
    let record = descriptors.record();
    bytes[0x5800..0x5800 + record.len()].copy_from_slice(&record);
    Image {
        base: BASE,
        bytes,
        table: kbtriage::unwind::ExceptionDirectory {
            rva: 0x5000,
            size: 12,
        },
    }
}

/// A frame of 14 registers in the function's bundle `bundle`.
fn frame(bundle: u64) -> Registers {
    let mut frame = Registers::new(Machine::Ia64);
    frame.set_ip(BASE + 0x2000 + bundle * 16);
    frame.set_sp(SP);
    frame.set(r::BSP, BSP);
    frame.set(r::IFS, 14 | 10 << 7);
    frame.set(r::RP, RETURN);
    frame.set(r::PFS, CALLER);
    frame
}

/// r32 + n of the frame.
fn stacked(n: u64) -> u64 {
    // No word of NaT bits lies within the first 46 registers from BSP on: it is at slot 9.
    BSP + n * 8
}

fn saved_in_registers() -> Words {
    Words(BTreeMap::from([(stacked(5), RETURN), (stacked(6), CALLER)]))
}

fn usual() -> Descriptors {
    Descriptors::default()
        .prologue(6)
        .pfs_gr(0, 38)
        .frame(1, 64)
        .rp_gr(2, 37)
        .body(24)
        .label(1)
        .epilogue(4, 1)
        .body(9)
        .copy(1)
}

#[test]
fn a_prologue_counts_as_far_as_its_slots_have_run() {
    let image = image(usual(), 13);
    // Before the first slot, after `alloc`, after the stack was lowered, after all.
    let at = |slot| step(&image, &Words::default(), &frame(0), Position::Exact(slot));
    let entered = at(0).unwrap();
    assert_eq!(entered.rule, Rule::Descriptors);
    assert_eq!(entered.registers.ip(), Some(RETURN));
    assert_eq!(entered.registers.sp(), Some(SP));
    assert_eq!(entered.registers.get(r::BSP), Some(CALLER_BSP));
    assert_eq!(entered.registers.get(r::IFS), Some(CALLER));
    let store = |at| StepError::Store {
        at,
        why: Absent::NotInDump,
    };
    assert_eq!(at(1).unwrap_err(), store(stacked(6)));
    let memory = Words(BTreeMap::from([(stacked(6), CALLER)]));
    let lowered = step(&image, &memory, &frame(0), Position::Exact(2)).unwrap();
    assert_eq!(lowered.registers.sp(), Some(SP + 64));
    // The return address has left b0 for r37 with the third slot.
    let after = step(&image, &memory, &frame(1), Position::Exact(0));
    assert_eq!(after.unwrap_err(), store(stacked(5)));
    let after = step(&image, &saved_in_registers(), &frame(1), Position::Exact(0)).unwrap();
    assert_eq!(after.registers.ip(), Some(RETURN));
}

#[test]
fn an_epilogue_gives_the_stack_back_and_what_follows_has_its_frame_again() {
    let image = image(usual(), 13);
    let memory = saved_in_registers();
    let sp = |bundle: u64, slot| {
        let step = step(&image, &memory, &frame(bundle), Position::Exact(slot));
        step.unwrap().registers.sp().unwrap() - SP
    };
    // The body is slots 6 to 29; the stack pointer comes back in slot 25.
    assert_eq!(sp(8, 0), 64);
    assert_eq!(sp(8, 1), 64);
    assert_eq!(sp(8, 2), 0);
    // Slot 30 begins the code that takes the labelled state.
    assert_eq!(sp(9, 2), 0);
    assert_eq!(sp(10, 0), 64);
}

#[test]
fn a_call_that_ends_its_function_is_looked_up_where_it_is() {
    let image = image(usual(), 13);
    let memory = saved_in_registers();
    let returned = step(&image, &memory, &frame(13), Position::Return).unwrap();
    assert_eq!(returned.registers.sp(), Some(SP + 64));
    assert_eq!(returned.registers.ip(), Some(RETURN));
    // Behind it lies no function: as an address of its own it is a leaf's, which a return address
    // never is.
    let leaf = step(&image, &memory, &frame(13), Position::Exact(0)).unwrap();
    assert_eq!((leaf.rule, leaf.registers.sp()), (Rule::Leaf, Some(SP)));
    let error = step(&image, &memory, &frame(14), Position::Return).unwrap_err();
    assert_eq!(error, StepError::NoEntry);
}

#[test]
fn a_prologue_without_length_has_saved_everything_before_the_first_instruction() {
    let cold = Descriptors::default()
        .prologue(0)
        .pfs_gr(0, 38)
        .frame(0, 224)
        .rp_gr(0, 37)
        .body(9)
        .label(1);
    let image = image(cold, 3);
    let step = step(&image, &saved_in_registers(), &frame(0), Position::Exact(0)).unwrap();
    assert_eq!(step.registers.sp(), Some(SP + 224));
    assert_eq!(step.registers.get(r::BSP), Some(CALLER_BSP));
}

#[test]
fn a_register_saved_under_a_predicate_ends_the_walk_when_it_is_needed() {
    let conditional = Descriptors::default()
        .prologue_saving(0b0100, 38, 3)
        .body(9)
        .moved(9, 4, 40, 1)
        .rp_moved_if(9, 37, 2);
    let image = image(conditional, 4);
    let error = step(&image, &saved_in_registers(), &frame(2), Position::Exact(0)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "where the return address is depends on a predicate"
    );
}

#[test]
fn words_on_the_memory_stack_are_found_from_either_end() {
    let memory = Words(BTreeMap::from([
        (SP + 0x20, RETURN),
        (SP + 64 + 16 - 24, RETURN + 16),
        (stacked(6), CALLER),
    ]));
    let sprel = Descriptors::default()
        .prologue(6)
        .pfs_gr(0, 38)
        .frame(1, 64)
        .rp_sprel(4, 0x20)
        .body(9);
    let found = step(&image(sprel, 5), &memory, &frame(3), Position::Exact(0)).unwrap();
    assert_eq!(found.registers.ip(), Some(RETURN));
    let psprel = Descriptors::default()
        .prologue(6)
        .pfs_gr(0, 38)
        .frame(1, 64)
        .rp_psprel(4, 24)
        .body(9);
    let found = step(&image(psprel, 5), &memory, &frame(3), Position::Exact(0)).unwrap();
    assert_eq!(found.registers.ip(), Some(RETURN + 16));
    let saved_stack = Descriptors::default()
        .prologue_saving(0b1100, 37, 6)
        .psp_gr(4, 41)
        .body(9);
    let mut memory = saved_in_registers();
    memory.0.insert(stacked(9), SP + 0x500);
    let found = step(
        &image(saved_stack.clone(), 5),
        &memory,
        &frame(3),
        Position::Exact(0),
    )
    .unwrap();
    assert_eq!(found.registers.sp(), Some(SP + 0x500));
    for impossible in [SP - 16, SP + 8] {
        memory.0.insert(stacked(9), impossible);
        let error = step(
            &image(saved_stack.clone(), 5),
            &memory,
            &frame(3),
            Position::Exact(0),
        );
        assert_eq!(error.unwrap_err(), StepError::BadStackPointer(impossible));
    }
}

#[test]
fn a_return_address_of_zero_is_the_root() {
    let root = Descriptors::default()
        .prologue_saving(0b1000, 0, 1)
        .body(11);
    let found = step(
        &image(root, 4),
        &Words::default(),
        &frame(2),
        Position::Return,
    )
    .unwrap();
    assert_eq!(found.registers.ip(), Some(0));
}

#[test]
fn a_return_address_in_another_branch_register_is_taken_from_there() {
    let other = Descriptors::default()
        .prologue(1)
        .rp_br(6)
        .pfs_gr(0, 38)
        .body(11);
    let mut start = frame(2);
    start.set(r::B6, RETURN + 0x40);
    let found = step(
        &image(other, 4),
        &saved_in_registers(),
        &start,
        Position::Exact(0),
    )
    .unwrap();
    assert_eq!(found.registers.ip(), Some(RETURN + 0x40));
}

#[test]
fn a_stacked_register_that_was_not_stored_or_held_nothing_is_not_read() {
    let image = image(usual(), 13);
    let mut start = frame(3);
    start.set(r::BSPSTORE, stacked(5));
    let memory = saved_in_registers();
    let error = step(&image, &memory, &start, Position::Exact(0)).unwrap_err();
    assert_eq!(error, StepError::NotStored { at: stacked(5) });
    // The NaT bit of r37 lies in the next word whose address ends in 1F8.
    let mut memory = saved_in_registers();
    memory
        .0
        .insert(stacked(5) | 0x1F8, 1 << (stacked(5) >> 3 & 63));
    let error = step(&image, &memory, &frame(3), Position::Exact(0)).unwrap_err();
    assert_eq!(error, StepError::NotAThing(37));
    // A frame too small for the register that the descriptors name.
    let mut start = frame(3);
    start.set(r::IFS, 3);
    let error = step(&image, &saved_in_registers(), &start, Position::Exact(0)).unwrap_err();
    assert_eq!(error, StepError::NoRegister(37));
    // A saved marker that no processor makes.
    let mut memory = saved_in_registers();
    memory.0.insert(stacked(6), 100);
    let error = step(&image, &memory, &frame(3), Position::Exact(0)).unwrap_err();
    assert_eq!(error, StepError::BadMarker(100));
    let mut start = frame(3);
    start.set_ip(BASE + 0x2038);
    let error = step(&image, &memory, &start, Position::Exact(0)).unwrap_err();
    assert_eq!(error, StepError::NoBundle(BASE + 0x2038));
}
