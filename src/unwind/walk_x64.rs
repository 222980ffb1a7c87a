//! x64 steps of a walk: unwind data, the trap frame behind a machine frame, the root of a thread.

use crate::bytes::{Gva, View};
use crate::machine::x64::{registers as r, trap_frame};
use crate::machine::{Machine, Reg, Registers};

use super::frame::{Boundary, Stop, Trust};
use super::names;
use super::scan::{self, Confirmed};
use super::walk::{Outward, Stuck, Walker};
use super::x64::{self, Position, StepError};

/// Offset of ExceptionActive in KTRAP_FRAME: 0 interrupt, 1 exception, 2 system service.
const EXCEPTION_ACTIVE: u64 = 0x2B;

/// One step by the image's own rules.
pub(super) fn step(walker: &Walker<'_>, from: &Registers, exact: bool) -> Result<Outward, Stuck> {
    let position = match exact {
        true => Position::Exact,
        false => Position::Return,
    };
    let step = match x64::step(walker.code, walker.memory, from, position) {
        Ok(step) => step,
        Err(StepError::NoModule) if exact => return called_wild(walker, from),
        Err(StepError::Stack { at, .. }) => return Err(Stuck(Stop::NoStack { at })),
        Err(error) => return Err(Stuck(Stop::Step(error.to_string()))),
    };
    let handler = from.ip();
    let mut outward = Outward::new(step.registers, Trust::UnwindInfo);
    if let Some(machine_frame) = step.machine_frame {
        cross(walker, handler, machine_frame.at, from, &mut outward);
    } else {
        outward.switched = leaves_stack(walker, from, &outward.registers);
    }
    outward.root = outward.registers.ip() == Some(0);
    Ok(outward)
}

/// The machine frame at `at` was crossed: adds what the trap frame around it holds and says what
/// kind of border it is.
pub(super) fn cross(
    walker: &Walker<'_>,
    handler: Option<u64>,
    at: u64,
    from: &Registers,
    outward: &mut Outward,
) {
    outward.trust = Trust::TrapFrame;
    outward.trap = Some(at);
    let base = at.checked_sub(trap_frame::MACHINE_FRAME);
    // The handler's own frame ends at the trap frame: one further in is none.
    let base = base.filter(|base| from.sp().is_some_and(|sp| sp <= *base));
    let mut bytes = [0; trap_frame::SIZE];
    let present = base.is_some_and(|base| walker.memory.read(Gva(base), &mut bytes).is_ok());
    let mut active = None;
    if present && let Some(saved) = trap_frame::read(View(&bytes)) {
        for reg in (0..16).map(Reg).filter(|reg| *reg != r::RSP) {
            if outward.registers.get(reg).is_none()
                && let Some(value) = saved.get(reg)
            {
                outward.registers.set(reg, value);
            }
        }
        active = View(&bytes).u8(EXCEPTION_ACTIVE as usize);
    }
    let name = handler.and_then(|ip| names::kernel_function(walker.code, ip));
    outward.boundary = border(name.as_deref(), active);
}

/// What kind of border a trap handler is.
fn border(handler: Option<&str>, exception_active: Option<u8>) -> Option<Boundary> {
    match (handler, exception_active) {
        (Some(name), _) if names::handles_interrupts(name) => Some(Boundary::Interrupt),
        (Some(name), _) if names::dispatches_dpcs(name) => Some(Boundary::Dpc),
        (Some(name), _) if names::enters_services(name) => None,
        (Some(name), _) if names::switches_stacks(name) => None,
        (Some(name), _) if names::handles_exceptions(name) => Some(Boundary::Exception),
        (_, Some(1)) => Some(Boundary::Exception),
        (_, Some(2)) => None,
        // Not known to be the same activity: what lies behind must not count for the fault.
        _ => Some(Boundary::Interrupt),
    }
}

/// True when a step by a frame register went to another known stack.
fn leaves_stack(walker: &Walker<'_>, from: &Registers, to: &Registers) -> bool {
    match (from.sp(), to.sp()) {
        (Some(from), Some(to)) => {
            let (from, to) = (walker.stack_of(from), walker.stack_of(to));
            to.is_some() && from != to
        }
        _ => false,
    }
}

/// The instruction pointer lies in no code: a call through a bad pointer has just pushed its
/// return address.
fn called_wild(walker: &Walker<'_>, from: &Registers) -> Result<Outward, Stuck> {
    let error = || Stuck(Stop::Step(StepError::NoModule.to_string()));
    let sp = from.sp().ok_or_else(error)?;
    let back = walker.word(sp, Machine::X64).map_err(Stuck)?;
    let above = sp.checked_add(8).ok_or_else(error)?;
    let confirmed =
        scan::looks_like_return(walker.code, Machine::X64, back, sp).ok_or_else(error)?;
    let mut registers = from.clone();
    registers.set_ip(back);
    registers.set_sp(above);
    for reg in [r::RAX, r::RCX, r::RDX, r::R8, r::R9, r::R10, r::R11] {
        registers.forget(reg);
    }
    // A call instruction in front of it makes it the leaf rule, not a guess.
    let trust = match confirmed {
        Confirmed::Call => Trust::UnwindInfo,
        Confirmed::Place => Trust::Scan,
    };
    Ok(Outward::new(registers, trust))
}
