//! The fault's context on an IA-64 stack: trap frames, which carry a signature of their own, and
//! what their fields must agree in before they are believed.
//!
//! No real IA-64 dump is known. What RsBSP holds is decided by what it leads to.

use crate::bytes::View;
use crate::machine::ia64::registers as r;
use crate::machine::ia64::trap_frame::{self, Kind as Trap, TrapFrame};
use crate::machine::{ExceptionRecord, Registers};
use crate::unwind::walk_ia64;

use super::context::{Candidate, FaultContext, Source, Target};
use super::{Crash, Kind, Slot, Snapshot};

/// Candidates kept: a stack with more matches than this proves nothing.
const MOST: usize = 64;
/// Bits of an instruction's address within its bundle.
const WITHIN_BUNDLE: u64 = 0xF;

/// The bundle of an instruction's address: debuggers and bug checks may add the slot.
pub(super) fn bundle(address: u64) -> u64 {
    address & !WITHIN_BUNDLE
}

/// Everything on the stack that can be the fault's context, innermost first.
pub(super) fn search(crash: &Crash<'_>, stack: &Snapshot<'_>, target: &Target) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = stack
        .slots(8)
        .filter(|(_, value)| trap_frame::kind(*value).is_some())
        .filter_map(|(at, _)| candidate(crash, stack, target, at.checked_sub(trap_frame::MARKER)?))
        .take(MOST)
        .collect();
    if target.ip.is_none() {
        let kind = target.check.kind;
        if kind.interrupts() {
            // The innermost activity that was interrupted is the one that counts.
            found.truncate(1);
        } else if kind != Kind::Fault || (target.address.is_none() && target.check.code != 0x7F) {
            found.clear();
        }
    }
    found
}

/// The trap frame at `base`, if it can be the fault's.
fn candidate(
    crash: &Crash<'_>,
    stack: &Snapshot<'_>,
    target: &Target,
    base: u64,
) -> Option<Candidate> {
    let frame = TrapFrame::read(stack.view(base, trap_frame::SIZE)?, base)?;
    let ip = frame.registers.ip()?;
    let in_code = crash.code_info.module_at(ip).is_some();
    let fits = match target.ip {
        // A wild jump faults outside of all code, and its address is the one named.
        Some(named) => ip == named,
        None => frame.is_from_user() || in_code,
    };
    if !fits {
        return None;
    }
    let mut score = 4 + u32::from(frame.kind == Trap::Exception);
    if let Some(address) = target.address {
        match frame.registers.get(r::IFA) == Some(address) {
            true => score += 4,
            // Nothing but the address says which of several trap frames is the fault's.
            false if target.ip.is_none() => return None,
            false => score -= 2,
        }
    }
    let record = frame
        .record
        .filter(|record| bundle(record.address) == ip && record.code >> 30 == 3);
    score += if record.is_some() { 2 } else { 0 };
    Some(Candidate {
        registers: with_store(crash, frame.registers),
        source: Source::TrapFrame,
        trap_frame: Some(base),
        access_violation: record.and_then(|record: ExceptionRecord| {
            (record.code == 0xC000_0005 && record.parameters >= 2).then_some(record.information)
        }),
        score,
    })
}

/// What the crash wrote of the register stack reaches further than what the trap found written.
fn with_store(crash: &Crash<'_>, mut registers: Registers) -> Registers {
    for reg in [r::BSPSTORE, r::RNAT] {
        let flushed = crash.context.as_ref().and_then(|context| context.get(reg));
        registers.assign(reg, flushed);
    }
    registers
}

/// The trap frame at an address that a parameter names.
pub(super) fn named_trap_frame(crash: &Crash<'_>, at: u64) -> Option<Registers> {
    let bytes = super::context::read(crash, at, trap_frame::SIZE)?;
    let frame = TrapFrame::read(View(&bytes), at)?;
    Some(with_store(crash, frame.registers))
}

/// Completes a context that a trap frame gave: where its stacked registers lie. Says which reading of
/// RsBSP was kept.
pub(super) fn place_registers(
    crash: &Crash<'_>,
    context: &mut FaultContext,
) -> Option<&'static str> {
    if context.source == Source::ContextRecord {
        context.registers = with_store(crash, context.registers.clone());
    }
    let at = context.trap_frame?;
    if context.registers.get(r::BSP).is_some() {
        // A CONTEXT record that the trap frame completed: RsBSP is the record's still.
        let recorded = matches!(
            context.source,
            Source::ContextRecord | Source::HeaderContext
        );
        let registers = recorded.then_some(&context.registers)?;
        let (bsp, remark) = walk_ia64::context_reading(crash.code_info, crash.memory, registers)?;
        context.registers.set(r::BSP, bsp);
        return Some(remark);
    }
    let frame = walk_ia64::read(crash.memory, at)?;
    let (bsp, remark) =
        walk_ia64::reading(crash.code_info, crash.memory, &frame, &context.registers)?;
    context.registers.set(r::BSP, bsp);
    Some(remark)
}

/// What the trap frame says against the bug check's parameters, and what of it is not as expected.
pub(super) fn disagreement(crash: &Crash<'_>, context: &FaultContext) -> Option<String> {
    crash.check().slot(Slot::Accessed)?;
    let named = crash.stated().violation()?.address?;
    let ifa = context
        .registers
        .get(r::IFA)
        .filter(|_| context.trap_frame.is_some())?;
    (ifa != named).then(|| {
        format!("IFA of the trap frame is {ifa:#x}, the bug check names the address {named:#x}")
    })
}

/// The instruction in words: no decoder of IA-64 is part of this program.
pub(super) fn instruction(registers: &Registers) -> Option<String> {
    let slot = trap_frame::slot(registers.get(r::IPSR)?);
    (slot < 3).then(|| format!("slot {slot} of its bundle (Itanium instructions are not decoded)"))
}
