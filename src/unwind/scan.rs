//! Candidates from the stack: words that look like return addresses, and trap frames that can be
//! recognised on their own.
//!
//! A candidate lies in the executable part of a module, behind a call instruction where the code
//! is at hand, and where an x64 call would have pushed it. It is shown as what it is.

use crate::bytes::Gva;
use crate::machine::x64::trap_frame::MachineFrame;
use crate::machine::{Machine, Registers, x64, x86};
use crate::memory::Memory;

use super::CodeInfo;
use super::frame::{Boundary, Stop, Trust};
use super::walk::{MOST_CANDIDATES, Outward, State, Walker};
use super::{traps_x86, walk_x64};

/// Steps that a word of a stack costs.
const SLOT: u64 = 2;
/// Steps that a word costs besides that may be an address of code, whose bytes are looked at.
const CODE: u64 = 8;
/// Bytes of stack searched for the next candidate: larger frames are rare in the kernel.
const WINDOW: u64 = 0x2000;
/// Bytes of stack read at once.
const PIECE: usize = 256;
/// The longest call instruction, prefixes included.
const LONGEST_CALL: usize = 8;

/// How well a word is confirmed as a return address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// A call instruction ends there.
    Call,
    /// It lies in code, or in a module whose code is not at hand.
    Place,
}

/// Whether `value`, found at stack address `slot`, looks like a return address.
pub fn looks_like_return(
    code: &dyn CodeInfo,
    machine: Machine,
    value: u64,
    slot: u64,
) -> Option<Confirmed> {
    let module = code.module_at(value)?;
    let rva = module.rva(value)?;
    if rva < 0x1000 || code.is_executable(module, rva) == Some(false) {
        return None;
    }
    let mut bytes = [0; LONGEST_CALL];
    let before = rva.checked_sub(LONGEST_CALL as u32)?;
    if code.read_image(module, before, &mut bytes) {
        return ends_with_call(&bytes).then_some(Confirmed::Call);
    }
    // The x64 convention keeps the stack aligned to 16 at every call.
    (machine != Machine::X64 || slot % 16 == 8).then_some(Confirmed::Place)
}

/// True when a call instruction ends with the last byte: relative, through a register, or through
/// memory in any of its encodings. The same on x86 and x64.
fn ends_with_call(bytes: &[u8; LONGEST_CALL]) -> bool {
    let byte = |from_end: usize| {
        bytes
            .len()
            .checked_sub(from_end)
            .and_then(|at| bytes.get(at))
            .copied()
    };
    if byte(5) == Some(0xE8) {
        return true;
    }
    // FF /2: length by addressing mode, counted from the opcode.
    (2..=7).any(|length| {
        let (Some(0xFF), Some(modrm)) = (byte(length), byte(length - 1)) else {
            return false;
        };
        if modrm >> 3 & 7 != 2 {
            return false;
        }
        let sib = usize::from(modrm >> 6 != 3 && modrm & 7 == 4);
        let displacement = match (modrm >> 6, modrm & 7) {
            (0, 5) => 4,
            (0, 4) if byte(length.saturating_sub(2)).is_some_and(|sib| sib & 7 == 5) => 4,
            (1, _) => 1,
            (2, _) => 4,
            _ => 0,
        };
        length == 2 + sib + displacement
    })
}

/// Words of a stack that are read one after the other: a few dozen at once where all are there.
struct Words<'a> {
    memory: &'a dyn Memory,
    start: u64,
    held: usize,
    bytes: [u8; PIECE],
    /// A piece could not be had: words below this address are read one by one.
    alone_below: u64,
}

impl<'a> Words<'a> {
    fn new(memory: &'a dyn Memory) -> Words<'a> {
        Words {
            memory,
            start: 0,
            held: 0,
            bytes: [0; PIECE],
            alone_below: 0,
        }
    }

    fn pointer(&mut self, at: u64, machine: Machine) -> Option<u64> {
        match machine.pointer_width() {
            4 => self.array(at).map(u32::from_le_bytes).map(u64::from),
            _ => self.u64(at),
        }
    }

    fn u64(&mut self, at: u64) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self, at: u64) -> Option<[u8; N]> {
        if let Some(array) = self.in_piece(at) {
            return Some(array);
        }
        if at >= self.alone_below {
            match self.memory.read(Gva(at), &mut self.bytes) {
                Ok(()) => {
                    (self.start, self.held) = (at, PIECE);
                    return self.in_piece(at);
                }
                Err(_) => {
                    self.held = 0;
                    self.alone_below = at.saturating_add(PIECE as u64);
                }
            }
        }
        let mut array = [0; N];
        self.memory.read(Gva(at), &mut array).ok()?;
        Some(array)
    }

    fn in_piece<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let from = usize::try_from(at.checked_sub(self.start)?).ok()?;
        let held = self.bytes.get(..self.held)?;
        held.get(from..)?.first_chunk().copied()
    }
}

/// The next candidate outward of `from`, or `None` when the window holds none.
pub(super) fn next(
    walker: &Walker<'_>,
    from: &Registers,
    state: &mut State,
) -> Result<Option<Outward>, Stop> {
    let machine = from.machine();
    let width = machine.pointer_width() as u64;
    let Some(start) = from.sp().and_then(|sp| sp.checked_next_multiple_of(width)) else {
        return Err(Stop::NoStackPointer);
    };
    if state.unconfirmed >= MOST_CANDIDATES {
        return Err(Stop::Candidates(MOST_CANDIDATES));
    }
    let end = walker
        .stack_of(start)
        .map_or(u64::MAX, |stack| stack.high)
        .min(start.saturating_add(WINDOW));
    let mut words = Words::new(walker.memory);
    let (lowest, highest) = walker.code.bounds();
    let mut at = start;
    while at < end {
        walker.budget.spend(SLOT).map_err(|_| Stop::Budget)?;
        let Some(value) = words.pointer(at, machine) else {
            return match at == start {
                true => Err(Stop::NoStack { at }),
                false => Ok(None),
            };
        };
        if let Some(outward) = trap_frame_at(walker, from, at, &mut words) {
            return Ok(Some(outward));
        }
        if !(lowest..=highest).contains(&value) {
            at = at.saturating_add(width);
            continue;
        }
        walker.budget.spend(CODE).map_err(|_| Stop::Budget)?;
        if let Some(confirmed) = looks_like_return(walker.code, machine, value, at)
            && SavedState::around_slot(walker, from, at, &mut words)?
                .is_none_or(|saved| saved.admits(walker, value, at, confirmed))
        {
            state.unconfirmed += usize::from(confirmed == Confirmed::Place);
            let mut registers = Registers::new(machine);
            registers.set_ip(value);
            registers.set_sp(at.saturating_add(width));
            return Ok(Some(Outward::new(registers, Trust::Scan)));
        }
        at = at.saturating_add(width);
    }
    Ok(None)
}

/// The stretch of stack in which the kernel saved what a recognised trap stopped: words there are registers
/// and what earlier calls left, whatever they look like.
#[derive(Clone, Copy, Debug)]
struct SavedState {
    /// First address of the exception frame, or of the words below the trap frame.
    start: u64,
    /// First address of the trap frame.
    trap: u64,
    /// Past the machine frame, or the trap frame of x86.
    end: u64,
}

/// Bytes below a trap frame in which nothing but the handler's own return address is believed unless a
/// call instruction confirms it: the exception frame and record of x64 (0x1E0), and the handler's arguments
/// on x86.
const BELOW_X64: u64 = 0x1E0;
const BELOW_X86: u64 = 0x20;

impl SavedState {
    /// What the slot at `at` lies in, if a trap frame is recognised so near above it.
    fn around_slot(
        walker: &Walker<'_>,
        from: &Registers,
        at: u64,
        words: &mut Words<'_>,
    ) -> Result<Option<SavedState>, Stop> {
        let machine = from.machine();
        let (width, reach) = match machine {
            Machine::X64 => (8, x64::trap_frame::MACHINE_FRAME + BELOW_X64),
            _ => (4, BELOW_X86),
        };
        let last = at.saturating_add(reach);
        let mut above = at.saturating_add(width);
        while above <= last {
            walker.budget.spend(1).map_err(|_| Stop::Budget)?;
            if words.pointer(above, machine).is_none() {
                break;
            }
            if trap_frame_at(walker, from, above, words).is_some() {
                return Ok(Some(SavedState::around(machine, above)));
            }
            above = above.saturating_add(width);
        }
        Ok(None)
    }

    /// `at` is where [`trap_frame_at`] recognised one.
    fn around(machine: Machine, at: u64) -> SavedState {
        let (trap, below, end) = match machine {
            Machine::X64 => {
                let trap = at.saturating_sub(x64::trap_frame::MACHINE_FRAME);
                (trap, BELOW_X64, at.saturating_add(0x28))
            }
            _ => (
                at,
                BELOW_X86,
                at.saturating_add(x86::trap_frame::KERNEL_SIZE as u64),
            ),
        };
        SavedState {
            start: trap.saturating_sub(below),
            trap,
            end,
        }
    }

    /// True when the word at `at` can be a return address for all that is known of the trap.
    fn admits(&self, walker: &Walker<'_>, value: u64, at: u64, confirmed: Confirmed) -> bool {
        if at < self.start || at >= self.end {
            return true;
        }
        if at >= self.trap {
            return false;
        }
        // The word right below is where the handler called from, and the handler is the kernel's.
        let handler = self.trap - at <= 8
            && walker
                .code
                .module_at(value)
                .and_then(|module| walker.code.module_name(module))
                .is_some_and(|file| super::names::is_kernel(&file));
        handler || confirmed == Confirmed::Call
    }
}

/// A trap frame that can be recognised without symbols, its instruction pointer at `at` (x64) or
/// its first word (x86).
fn trap_frame_at(
    walker: &Walker<'_>,
    from: &Registers,
    at: u64,
    words: &mut Words<'_>,
) -> Option<Outward> {
    match from.machine() {
        Machine::X64 => machine_frame_at(walker, from, at, words),
        Machine::X86 => {
            let registers = traps_x86::trap_frame_at(walker, at)?;
            let mut outward = Outward::new(registers, Trust::Scan);
            outward.trap = Some(at);
            outward.boundary = traps_x86::border(walker, from, &outward.registers);
            Some(outward)
        }
        _ => None,
    }
}

fn machine_frame_at(
    walker: &Walker<'_>,
    from: &Registers,
    at: u64,
    words: &mut Words<'_>,
) -> Option<Outward> {
    // Cheapest test first: most slots hold no code segment selector next to them.
    let cs = words.u64(at.checked_add(8)?)?;
    if cs != x64::trap_frame::KERNEL_CS && cs != 0x33 && cs != 0x23 {
        return None;
    }
    let word = |n: u64| walker.memory.read_u64(Gva(at.checked_add(n * 8)?)).ok();
    let frame = MachineFrame {
        rip: word(0)?,
        cs,
        rflags: word(2)?,
        rsp: word(3)?,
        ss: word(4)?,
    };
    let kernel = frame.same_stack(at) && walker.code.module_at(frame.rip).is_some();
    if !kernel && !frame.is_from_user() {
        return None;
    }
    let mut registers = Registers::new(Machine::X64);
    registers.set_ip(frame.rip);
    registers.set_sp(frame.rsp);
    registers.set(x64::registers::CS, frame.cs);
    registers.set(x64::registers::EFLAGS, frame.rflags);
    registers.set(x64::registers::SS, frame.ss & 0xFFFF);
    let mut outward = Outward::new(registers, Trust::Scan);
    walk_x64::cross(walker, None, at, from, &mut outward);
    // Found, not unwound to: an interrupt long finished may have left it.
    outward.trust = Trust::Scan;
    if frame.is_from_user() {
        outward.boundary = Some(Boundary::User);
    }
    Some(outward)
}

/// True when `value` can be the segment of an x86 kernel trap; shared with the x86 steps.
pub(super) fn x86_kernel_segment(value: u64) -> bool {
    value & 0xFFFF == x86::trap_frame::KERNEL_CS
}

#[cfg(test)]
mod tests {
    use super::ends_with_call;

    #[test]
    fn every_encoding_of_a_call_is_recognised_by_its_end() {
        let ends = |code: &[u8]| {
            let mut bytes = [0x90; 8];
            let from = bytes.len() - code.len();
            bytes[from..].copy_from_slice(code);
            ends_with_call(&bytes)
        };
        assert!(ends(&[0xE8, 1, 2, 3, 4]), "call rel32");
        assert!(ends(&[0xFF, 0xD0]), "call rax");
        assert!(ends(&[0x41, 0xFF, 0xD2]), "call r10");
        assert!(ends(&[0xFF, 0x10]), "call [rax]");
        assert!(ends(&[0xFF, 0x50, 0x18]), "call [rax+18h]");
        assert!(ends(&[0xFF, 0x54, 0x24, 0x20]), "call [rsp+20h]");
        assert!(ends(&[0xFF, 0x15, 1, 2, 3, 4]), "call [rip+x]");
        assert!(ends(&[0xFF, 0x90, 0, 1, 0, 0]), "call [rax+100h]");
        assert!(ends(&[0xFF, 0x94, 0xC8, 0, 1, 0, 0]), "call [rax+rcx*8+x]");
        assert!(ends(&[0xFF, 0x14, 0xC5, 0, 1, 0, 0]), "call [rax*8+x]");
        assert!(!ends(&[0xFF, 0xE0]), "jmp rax");
        assert!(!ends(&[0xC3]), "ret");
        assert!(!ends(&[0x48, 0x89, 0xC8]), "mov rax, rcx");
    }
}
