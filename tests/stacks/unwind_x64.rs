//! x64 unwinding of hand-made unwind data: operations no image of the store has, and hostile data.
//! The records are written from Microsoft's description of the format.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kbtriage::bytes::{Gva, ModuleId};
use kbtriage::machine::{Machine, Registers, x64::registers as r};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::x64::{Position, Rule, Step, StepError, step};
use kbtriage::unwind::{CodeInfo, ExceptionDirectory, FrameData, ModuleSpan, Name};

const BASE: u64 = 0xFFFF_F880_0200_0000;
const STACK: u64 = 0xFFFF_F880_0300_0000;
const PDATA: u32 = 0x800;
const XDATA: u32 = 0xA00;

/// An image of 8 KB whose function starts at 0x1000, and a stack of named slots.
struct Machine64 {
    image: Vec<u8>,
    pdata: u32,
    stack: BTreeMap<u64, u64>,
}

impl Machine64 {
    /// A function `begin..end` with an unwind record.
    fn with(begin: u32, end: u32, record: &[u8]) -> Machine64 {
        let mut machine = Machine64 {
            image: vec![0xCC; 0x2000],
            pdata: 12,
            stack: BTreeMap::new(),
        };
        machine.entry(PDATA, begin, end, XDATA);
        machine.put(XDATA, record);
        machine
    }

    fn put(&mut self, rva: u32, bytes: &[u8]) {
        self.image[rva as usize..rva as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn entry(&mut self, at: u32, begin: u32, end: u32, unwind: u32) {
        for (n, value) in (0u32..).zip([begin, end, unwind]) {
            self.put(at + n * 4, &value.to_le_bytes());
        }
    }

    fn slots(mut self, slots: &[(u64, u64)]) -> Machine64 {
        self.stack
            .extend(slots.iter().map(|(at, v)| (STACK + at, *v)));
        self
    }

    fn unwind(&self, rva: u64, position: Position) -> Result<Step, StepError> {
        let mut registers = Registers::new(Machine::X64);
        registers.set_ip(BASE + rva);
        registers.set_sp(STACK);
        registers.set(r::RBP, STACK + 0x80);
        registers.set(r::RBX, 0xB0);
        registers.set(r::RAX, 0xA0);
        step(self, self, &registers, position)
    }
}

impl Memory for Machine64 {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let value = self.stack.get(&at.0).ok_or(Absent::NotInDump)?;
        buf.copy_from_slice(&value.to_le_bytes());
        Ok(())
    }
}

impl CodeInfo for Machine64 {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        let span = ModuleSpan {
            id: ModuleId(0),
            base: BASE,
            size: 0x2000,
        };
        span.contains(address).then_some(span)
    }
    fn is_executable(&self, _: ModuleSpan, _: u32) -> Option<bool> {
        None
    }
    fn read_image(&self, _: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        let from = rva as usize;
        let bytes = self.image.get(from..from.saturating_add(buf.len()));
        bytes.map(|b| buf.copy_from_slice(b)).is_some()
    }
    fn exception_directory(&self, _: ModuleSpan) -> Option<ExceptionDirectory> {
        Some(ExceptionDirectory {
            rva: PDATA,
            size: self.pdata,
        })
    }
    fn frame_data(&self, _: u64) -> Option<FrameData<'_>> {
        None
    }
    fn name_at(&self, _: u64) -> Option<Name<'_>> {
        None
    }
    fn module_name(&self, _: ModuleSpan) -> Option<Cow<'_, str>> {
        None
    }
}

#[test]
fn a_machine_frame_leads_into_the_interrupted_code() {
    // sub rsp, 0x20 over a machine frame with an error code.
    let machine = Machine64::with(0x1000, 0x1100, &[1, 4, 2, 0, 4, 0x32, 0, 0x1A]).slots(&[
        (0x20, 0xE),
        (0x28, BASE + 0x1234),
        (0x30, 0x10),
        (0x38, 0x10246),
        (0x40, STACK + 0x100),
        (0x48, 0x18),
    ]);
    let caller = machine.unwind(0x1050, Position::Exact).unwrap();
    assert_eq!(caller.machine_frame.unwrap().at, STACK + 0x28);
    assert_eq!(caller.registers.ip(), Some(BASE + 0x1234));
    assert_eq!(caller.registers.sp(), Some(STACK + 0x100));
    assert_eq!(caller.registers.get(r::EFLAGS), Some(0x10246));
    assert_eq!(caller.registers.get(r::CS), Some(0x10));
    assert_eq!(caller.registers.get(r::RBX), Some(0xB0));
    assert_eq!(caller.registers.get(r::RAX), None);
}

#[test]
fn a_machine_frame_without_an_error_code_starts_at_the_stack_pointer() {
    let machine = Machine64::with(0x1000, 0x1100, &[1, 0, 1, 0, 0, 0x0A]).slots(&[
        (0x00, 5),
        (0x08, 0x33),
        (0x10, 0x202),
        (0x18, 0x7FF0),
        (0x20, 0x2B),
    ]);
    let caller = machine.unwind(0x1050, Position::Exact).unwrap();
    assert_eq!(caller.registers.ip(), Some(5));
    assert_eq!(caller.registers.sp(), Some(0x7FF0));
}

#[test]
fn large_allocations_and_far_saves_are_undone() {
    // alloc 0x80000 in three slots, rbx saved at 0x80010 in three, alloc 0x100 in two.
    let record = [
        1, 20, 8, 0, //
        20, 0x35, 0x10, 0x00, 0x08, 0x00, // save rbx far at 0x80010
        16, 0x11, 0x00, 0x00, 0x08, 0x00, // alloc 0x80000
        8, 0x01, 0x20, 0x00, // alloc 0x20 * 8
    ];
    let machine = Machine64::with(0x1000, 0x1100, &record)
        .slots(&[(0x80010, 0x77), (0x80100, BASE + 0x1500)]);
    let caller = machine.unwind(0x1050, Position::Exact).unwrap();
    assert_eq!(caller.registers.get(r::RBX), Some(0x77));
    assert_eq!(caller.registers.ip(), Some(BASE + 0x1500));
    assert_eq!(caller.registers.sp(), Some(STACK + 0x80108));
}

#[test]
fn registers_saved_before_the_frame_register_is_set_are_counted_from_the_stack_pointer() {
    // mov rbx to [rsp+8] done at 4, rbp set to rsp+0x20 at 9.
    let record = [1, 9, 3, 0x25, 9, 0x03, 4, 0x34, 1, 0];
    let machine = Machine64::with(0x1000, 0x1100, &record).slots(&[
        (0x00, BASE + 0x1600),
        (0x08, 0x55),
        (0x60, BASE + 0x1700),
        (0x68, 0x66),
    ]);
    let early = machine.unwind(0x1004, Position::Exact).unwrap();
    assert_eq!(early.registers.get(r::RBX), Some(0x55));
    assert_eq!(early.registers.ip(), Some(BASE + 0x1600));
    // After that rbp (STACK + 0x80) less 0x20 is the frame.
    let late = machine.unwind(0x1050, Position::Exact).unwrap();
    assert_eq!(late.registers.get(r::RBX), Some(0x66));
    assert_eq!(late.registers.ip(), Some(BASE + 0x1700));
}

#[test]
fn an_indirect_entry_uses_the_unwind_data_of_the_entry_it_names() {
    let mut machine = Machine64::with(0x1000, 0x1100, &[1, 4, 1, 0, 4, 0x32]);
    machine.entry(0x900, 0x1400, 0x1500, XDATA);
    machine.entry(PDATA, 0x1000, 0x1100, 0x900 | 1);
    let machine = machine.slots(&[(0x20, BASE + 0x1800)]);
    // The part has no prologue of its own: even its first byte has the whole frame.
    let caller = machine.unwind(0x1000, Position::Exact).unwrap();
    assert_eq!(caller.registers.ip(), Some(BASE + 0x1800));
}

#[test]
fn a_return_address_past_the_last_byte_belongs_to_the_calling_function() {
    let machine =
        Machine64::with(0x1000, 0x1100, &[1, 4, 1, 0, 4, 0x32]).slots(&[(0x20, BASE + 0x1800)]);
    let caller = machine.unwind(0x1100, Position::Return).unwrap();
    assert_eq!(caller.registers.ip(), Some(BASE + 0x1800));
}

#[test]
fn a_leaf_function_returns_by_the_stack_pointer_but_never_makes_a_call() {
    let machine = Machine64::with(0x1000, 0x1100, &[1, 0, 0, 0]).slots(&[(0, BASE + 0x1900)]);
    let leaf = machine.unwind(0x1800, Position::Exact).unwrap();
    assert_eq!(leaf.rule, Rule::Leaf);
    assert_eq!(leaf.registers.sp(), Some(STACK + 8));
    let caller = machine.unwind(0x1800, Position::Return);
    assert_eq!(caller.unwrap_err(), StepError::NoEntry);
}

#[test]
fn an_epilogue_is_finished_with_its_negative_and_large_distances() {
    // rbp frame: lea rsp, [rbp-0x80]; pop rbp; ret
    let mut machine = Machine64::with(0x1000, 0x1100, &[1, 4, 2, 0x05, 4, 0x03, 1, 0x50]);
    machine.put(0x1080, &[0x48, 0x8D, 0x65, 0x80, 0x5D, 0xC3]);
    let machine = machine.slots(&[(0, 0x1111), (8, BASE + 0x1A00)]);
    let caller = machine.unwind(0x1080, Position::Exact).unwrap();
    assert_eq!(caller.rule, Rule::Epilogue);
    assert_eq!(caller.registers.get(r::RBP), Some(0x1111));
    assert_eq!(caller.registers.ip(), Some(BASE + 0x1A00));
}

#[test]
fn a_chain_that_ends_in_itself_is_given_up() {
    let mut machine = Machine64::with(0x1000, 0x1100, &[0x21, 0, 0, 0]);
    machine.entry(XDATA + 4, 0x1000, 0x1100, XDATA);
    let error = machine.unwind(0x1050, Position::Exact).unwrap_err();
    assert_eq!(error, StepError::Endless);
}

#[test]
fn an_indirection_that_ends_in_itself_is_given_up() {
    let mut machine = Machine64::with(0x1000, 0x1100, &[]);
    machine.entry(PDATA, 0x1000, 0x1100, PDATA | 1);
    let error = machine.unwind(0x1050, Position::Exact).unwrap_err();
    assert_eq!(error, StepError::NoUnwindData);
}

#[test]
fn wild_records_are_refused_with_a_reason() {
    let refused = |record: &[u8]| {
        let machine = Machine64::with(0x1000, 0x1100, record);
        machine.unwind(0x1050, Position::Exact).unwrap_err()
    };
    // Version 3, an unknown operation, an operation cut short, a frame set without a register.
    assert_eq!(refused(&[3, 0, 0, 0]), StepError::BadUnwindData);
    assert_eq!(refused(&[1, 0, 1, 0, 0, 0x0F]), StepError::BadUnwindData);
    assert_eq!(refused(&[1, 0, 1, 0, 0, 0x11]), StepError::BadUnwindData);
    assert_eq!(refused(&[1, 0, 1, 0, 0, 0x03]), StepError::BadUnwindData);
    // An allocation beyond the address space, and one that leaves the pointer misaligned.
    let wild = refused(&[1, 0, 3, 0, 0, 0x11, 0xFF, 0xFF, 0xFF, 0xFF]);
    assert!(matches!(wild, StepError::BadStackPointer(_)), "{wild:?}");
    // A frame register that was not recovered (r15).
    let unknown = refused(&[1, 0, 1, 0x0F, 0, 0x03]);
    assert_eq!(unknown, StepError::Unknown("r15"));
}

#[test]
fn a_misaligned_stack_pointer_is_refused() {
    let machine = Machine64::with(0x1000, 0x1100, &[1, 0, 0, 0]);
    let mut registers = Registers::new(Machine::X64);
    registers.set_ip(BASE + 0x1000);
    registers.set_sp(STACK + 4);
    let error = step(&machine, &machine, &registers, Position::Exact).unwrap_err();
    assert_eq!(error, StepError::BadStackPointer(STACK + 4));
}
