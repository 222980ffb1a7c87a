//! The fault's context on an x86 stack, without symbols: trap frames by their selectors, CONTEXT
//! and EXCEPTION_RECORD by the exact address, the task state a double fault leaves.

use crate::bytes::View;
use crate::machine::x86::{registers as r, trap_frame};
use crate::machine::{ExceptionRecord, Machine, Registers};

use super::context::{Candidate, Source, Target, read};
use super::{Crash, Kind, Snapshot};

/// Candidates kept: a stack with more matches than this proves nothing.
const MOST: usize = 64;
/// Offset of Eip in CONTEXT.
const CONTEXT_EIP: u64 = 0xB8;
/// The trap number of a double fault, first parameter of 0x7F.
const DOUBLE_FAULT: u64 = 8;

/// Everything on the stack that can be the fault's context, innermost first.
pub(super) fn search(crash: &Crash<'_>, stack: &Snapshot<'_>, target: &Target) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (at, value) in stack.slots(4) {
        if found.len() >= MOST {
            break;
        }
        let wanted = match target.ip {
            Some(ip) => value == ip,
            None => crash.code_info.module_at(value).is_some(),
        };
        if !wanted {
            continue;
        }
        found.extend(trap_frame_at(stack, target, at));
        if target.ip.is_some() {
            found.extend(context_record(stack, at));
            found.extend(exception_record(stack, target, at));
        }
    }
    if target.ip.is_none() {
        match target.check.kind {
            Kind::Forced | Kind::Hang => found.truncate(1),
            // Without an address, only a trap that 0x7F reports can be told from an interrupt.
            Kind::Fault if target.check.code == 0x7F => {}
            _ => found.clear(),
        }
    }
    found
}

/// A trap frame whose Eip lies at `at`.
fn trap_frame_at(stack: &Snapshot<'_>, target: &Target, at: u64) -> Option<Candidate> {
    let base = at.checked_sub(trap_frame::EIP)?;
    let view = stack
        .view(base, trap_frame::USER_SIZE)
        .or_else(|| stack.view(base, trap_frame::KERNEL_SIZE))?;
    if !trap_frame::selectors_plausible(view) {
        return None;
    }
    let registers = trap_frame::read(view, base)?;
    let copied = trap_frame::debugger_copy_agrees(view);
    if target.ip.is_none() && !copied {
        return None;
    }
    Some(Candidate {
        registers,
        source: Source::TrapFrame,
        trap_frame: Some(base),
        access_violation: None,
        score: if copied { 6 } else { 4 },
    })
}

/// A CONTEXT whose Eip lies at `at`.
fn context_record(stack: &Snapshot<'_>, at: u64) -> Option<Candidate> {
    let base = at.checked_sub(CONTEXT_EIP)?;
    let View(bytes) = stack.view(base, Machine::X86.context_general_size())?;
    let registers = Machine::X86.read_context(bytes)?;
    let segment = registers.get(r::CS)?;
    [trap_frame::KERNEL_CS, trap_frame::USER_CS]
        .contains(&segment)
        .then_some(Candidate {
            registers,
            source: Source::ContextRecord,
            trap_frame: None,
            access_violation: None,
            score: 5,
        })
}

/// An EXCEPTION_RECORD whose address lies at `at`: the address, nothing more.
fn exception_record(stack: &Snapshot<'_>, target: &Target, at: u64) -> Option<Candidate> {
    let base = at.checked_sub(ExceptionRecord::address_offset(4))?;
    let record = ExceptionRecord::read(stack.view(base, ExceptionRecord::size(4))?, 4)?;
    if !record.plausible(target.ip?) || target.exception.is_some_and(|code| code != record.code) {
        return None;
    }
    let mut registers = Registers::new(Machine::X86);
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

/// The state a double fault found: the task state segment that the second parameter of 0x7F names.
pub(super) fn double_fault(crash: &Crash<'_>) -> Option<Registers> {
    let [Some(trap), Some(segment), ..] = crash.parameters else {
        return None;
    };
    if crash.machine != Machine::X86
        || crash.check().code != 0x7F
        || trap != DOUBLE_FAULT
        || segment == 0
    {
        return None;
    }
    let bytes = read(
        crash,
        crash.machine.truncate(segment),
        trap_frame::TASK_STATE_SIZE,
    )?;
    let registers = trap_frame::read_task_state(View(&bytes))?;
    let flags = u32::try_from(registers.get(r::EFLAGS)?).ok()?;
    let segment = registers.get(r::CS)?;
    (trap_frame::flags_plausible(flags)
        && [trap_frame::KERNEL_CS, trap_frame::USER_CS].contains(&segment))
    .then_some(registers)
}
