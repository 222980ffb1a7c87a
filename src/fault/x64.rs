//! The fault's context on an x64 stack, without symbols.
//!
//! The processor's own machine frame is recognised by its five words and by the alignment of the
//! stack pointer; the kernel's trap frame lies around it, its exception frame at a fixed distance
//! below. CONTEXT and EXCEPTION_RECORD are recognised by the exact address.

use crate::bytes::View;
use crate::machine::x64::registers as r;
use crate::machine::x64::trap_frame::{self, MachineFrame};
use crate::machine::{ExceptionRecord, Machine, Registers};

use super::context::{Candidate, Source, Target};
use super::{Crash, Snapshot};
use crate::knowledge::bugchecks::RaisedBy;

/// Candidates kept: a stack with more matches than this proves nothing.
const MOST: usize = 64;
/// The EXCEPTION_RECORD of KiExceptionDispatch below the trap frame.
const RECORD_BELOW: u64 = 0xA8;
/// The KEXCEPTION_FRAME of KiExceptionDispatch below the trap frame.
const DISPATCH_FRAME_BELOW: u64 = 0x1E0;
/// The KEXCEPTION_FRAME of KiBugCheckDispatch below the trap frame.
const BUG_CHECK_FRAME_BELOW: u64 = 0x140;
/// Offset of Rip in CONTEXT.
const CONTEXT_RIP: u64 = 0xF8;

/// Everything on the stack that can be the fault's context, innermost first.
pub(super) fn search(crash: &Crash<'_>, stack: &Snapshot<'_>, target: &Target) -> Vec<Candidate> {
    let mut found = Vec::new();
    let (lowest, highest) = crash.code_info.bounds();
    let in_code =
        |value| (lowest..=highest).contains(&value) && crash.code_info.module_at(value).is_some();
    for (at, value) in stack.slots(8) {
        if found.len() >= MOST {
            break;
        }
        match target.ip {
            Some(ip) if value == ip => found.extend(
                [
                    interrupted_at(crash, stack, target, at),
                    context_record(stack, at),
                    exception_record(crash, stack, target, at),
                ]
                .into_iter()
                .flatten(),
            ),
            Some(_) => {}
            None if in_code(value) => {
                found.extend(interrupted_at(crash, stack, target, at));
            }
            None => {}
        }
    }
    if target.ip.is_none() && target.check.kind.interrupts() {
        // Forced dumps: the innermost activity that was interrupted is the one that counts.
        found.truncate(1);
    }
    found
}

/// A machine frame whose instruction pointer lies at `at`.
fn interrupted_at(
    crash: &Crash<'_>,
    stack: &Snapshot<'_>,
    target: &Target,
    at: u64,
) -> Option<Candidate> {
    let frame = MachineFrame::read(stack.view(at, 0x28)?, 0)?;
    let accepted = frame.same_stack(at)
        || (target.ip.is_some() && frame.is_from_user())
        || (may_switch_stacks(target) && on_another_stack(&frame));
    if !accepted {
        return None;
    }
    let base = at.checked_sub(trap_frame::MACHINE_FRAME)?;
    let Some(view) = stack.view(base, trap_frame::SIZE) else {
        return without_trap_frame(target, &frame);
    };
    let mut registers = trap_frame::read(view)?;
    let mut validated = false;
    let mut score = 4;
    if let Some(address) = target.address {
        if trap_frame::fault_address(view) == Some(address) {
            validated = true;
            score += 4;
        } else if target.ip.is_none() {
            // Nothing but the address says which of several trap frames is the fault's.
            return None;
        } else {
            score -= 2;
        }
    } else if target.ip.is_none() && !target.check.kind.interrupts() && target.check.code != 0x7F {
        return None;
    }
    let mut access_violation = None;
    if let Some(record) = record_below(stack, base, frame.rip) {
        validated = true;
        score += 4;
        access_violation =
            (record.code == 0xC000_0005 && record.parameters >= 2).then_some(record.information);
        exception_frame(stack, base, DISPATCH_FRAME_BELOW, &mut registers);
    } else if target.check.raised_by == RaisedBy::Trap && dispatched_from_kernel(crash, stack, base)
    {
        validated = true;
        score += 1;
        exception_frame(stack, base, BUG_CHECK_FRAME_BELOW, &mut registers);
    }
    Some(Candidate {
        registers,
        source: match validated {
            true => Source::TrapFrame,
            false => Source::MachineFrame,
        },
        trap_frame: Some(base),
        access_violation,
        score,
    })
}

/// Double faults and non-maskable interrupts run on stacks of their own, and newer kernels have one
/// for device interrupts.
fn may_switch_stacks(target: &Target) -> bool {
    target.check.code == 0x7F || target.check.kind.interrupts()
}

/// A machine frame pushed on a switch of stacks: all but its position fits.
fn on_another_stack(frame: &MachineFrame) -> bool {
    frame.cs == trap_frame::KERNEL_CS
        && (frame.ss == 0x18 || frame.ss == 0)
        && frame.flags_plausible()
        && frame.rsp >> 47 == 0x1FFFF
        && frame.rsp.is_multiple_of(8)
}

/// Only the five words of the processor are in the dump.
fn without_trap_frame(target: &Target, frame: &MachineFrame) -> Option<Candidate> {
    target.ip?;
    let mut registers = Registers::new(Machine::X64);
    registers.set_ip(frame.rip);
    registers.set_sp(frame.rsp);
    registers.set(r::CS, frame.cs & 0xFFFF);
    registers.set(r::EFLAGS, frame.rflags & 0xFFFF_FFFF);
    registers.set(r::SS, frame.ss & 0xFFFF);
    Some(Candidate {
        registers,
        source: Source::MachineFrame,
        trap_frame: None,
        access_violation: None,
        score: 3,
    })
}

/// The record that KiExceptionDispatch builds below the trap frame at `base`.
fn record_below(stack: &Snapshot<'_>, base: u64, ip: u64) -> Option<ExceptionRecord> {
    let view = stack.view(base.checked_sub(RECORD_BELOW)?, ExceptionRecord::size(8))?;
    ExceptionRecord::read(view, 8).filter(|record| record.plausible(ip))
}

/// True when the word below the trap frame is a return address in the kernel: the trap handler
/// called KiBugCheckDispatch.
fn dispatched_from_kernel(crash: &Crash<'_>, stack: &Snapshot<'_>, base: u64) -> bool {
    let below = base.checked_sub(BUG_CHECK_FRAME_BELOW);
    below
        .and_then(|at| stack.view(at, trap_frame::EXCEPTION_FRAME_SIZE))
        .and_then(trap_frame::exception_frame_return)
        .is_some_and(|caller| crash.in_kernel(caller))
}

/// Adds the nonvolatile registers of the exception frame `below` the trap frame at `base`.
fn exception_frame(stack: &Snapshot<'_>, base: u64, below: u64, registers: &mut Registers) {
    if let Some(view) = base
        .checked_sub(below)
        .and_then(|at| stack.view(at, trap_frame::EXCEPTION_FRAME_SIZE))
    {
        let _ = trap_frame::read_exception_frame(view, registers);
    }
}

/// A CONTEXT whose Rip lies at `at`.
fn context_record(stack: &Snapshot<'_>, at: u64) -> Option<Candidate> {
    let base = at.checked_sub(CONTEXT_RIP)?;
    // CONTEXT holds 16-byte registers and is aligned to them.
    if base % 16 != 0 {
        return None;
    }
    let View(bytes) = stack.view(base, Machine::X64.context_general_size())?;
    let registers = Machine::X64.read_context(bytes)?;
    let segment = registers.get(r::CS)?;
    [0x10, 0x33, 0x23].contains(&segment).then_some(Candidate {
        registers,
        source: Source::ContextRecord,
        trap_frame: None,
        access_violation: None,
        score: 6,
    })
}

/// An EXCEPTION_RECORD whose address lies at `at`: gives the registers of the trap frame at its
/// distance, or the address alone.
fn exception_record(
    crash: &Crash<'_>,
    stack: &Snapshot<'_>,
    target: &Target,
    at: u64,
) -> Option<Candidate> {
    let base = at.checked_sub(ExceptionRecord::address_offset(8))?;
    let record = ExceptionRecord::read(stack.view(base, ExceptionRecord::size(8))?, 8)?;
    if !record.plausible(target.ip?) || target.exception.is_some_and(|code| code != record.code) {
        return None;
    }
    let frame = base
        .checked_add(RECORD_BELOW + trap_frame::MACHINE_FRAME)
        .filter(|frame| interrupted_at(crash, stack, target, *frame).is_some());
    // The trap frame is a candidate of its own, with this record counted for it.
    if frame.is_some() {
        return None;
    }
    let mut registers = Registers::new(Machine::X64);
    registers.set_ip(record.address);
    Some(Candidate {
        registers,
        source: Source::ExceptionRecord,
        trap_frame: None,
        access_violation: (record.code == 0xC000_0005 && record.parameters >= 2)
            .then_some(record.information),
        score: 1,
    })
}
