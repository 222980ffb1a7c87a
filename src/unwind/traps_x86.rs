//! Trap frames on a chain of x86 frame pointers: telling a live one from what an earlier trap left, crossing
//! it, and the handler above a function that has no frame of its own.
//!
//! Layout: KTRAP_FRAME of the public symbols.

use crate::bytes::{Gva, View};
use crate::machine::x86::{registers as r, trap_frame};
use crate::machine::{Machine, Registers};

use super::frame::{Boundary, Trust};
use super::names;
use super::scan::{self, Confirmed};
use super::walk::{Outward, Walker};
use super::walk_x86::continues_chain;

/// Arguments that a trap handler gives to what it calls, in words.
const MOST_ARGUMENTS: u64 = 4;

/// Crosses the trap frame at `at`, if there is one.
pub(super) fn cross(walker: &Walker<'_>, from: &Registers, at: u64) -> Option<Outward> {
    let registers = trap_frame_at(walker, at)?;
    let mut outward = Outward::new(registers, Trust::TrapFrame);
    outward.trap = Some(at);
    outward.boundary = border(walker, from, &outward.registers);
    Some(outward)
}

/// The registers of the trap frame at `at`, when its selectors, flags and instruction pointer are
/// those of one.
pub(super) fn trap_frame_at(walker: &Walker<'_>, at: u64) -> Option<Registers> {
    let cs = walker.memory.read_u32(Gva(at.checked_add(0x6C)?)).ok()?;
    let user = u64::from(cs & 0xFFFF) == trap_frame::USER_CS;
    if !user && !scan::x86_kernel_segment(u64::from(cs)) {
        return None;
    }
    let mut bytes = [0; trap_frame::USER_SIZE];
    let size = match user {
        true => trap_frame::USER_SIZE,
        false => trap_frame::KERNEL_SIZE,
    };
    walker.memory.read(Gva(at), bytes.get_mut(..size)?).ok()?;
    let view = View(&bytes);
    let registers = trap_frame::read(view, at)?;
    let genuine = match user {
        true => {
            trap_frame::flags_plausible(view.u32(0x70)?)
                && view.u32(0x38)? & 0xFFFF == 0x23
                && view.u32(0x34)? & 0xFFFF == 0x23
        }
        false => {
            trap_frame::selectors_plausible(view)
                && walker.code.module_at(registers.ip()?).is_some()
        }
    };
    genuine.then_some(registers)
}

/// What kind of border the trap frame is that led from the handler `from` to `interrupted`.
pub(super) fn border(
    walker: &Walker<'_>,
    from: &Registers,
    interrupted: &Registers,
) -> Option<Boundary> {
    if interrupted.get(r::CS).is_some_and(|cs| cs & 3 == 3) {
        return Some(Boundary::User);
    }
    let name = from
        .ip()
        .and_then(|ip| names::kernel_function(walker.code, ip));
    match name.as_deref() {
        Some(name) if names::enters_services(name) => None,
        Some(name) if names::handles_exceptions(name) => Some(Boundary::Exception),
        _ => Some(Boundary::Interrupt),
    }
}

/// How the selectors above `at` can be what an earlier trap left behind: the first two words are a frame's
/// link to its caller, and not the copy of the interrupted EBP and EIP (DbgEbp, DbgEip) that a trap
/// puts there. As sure as the link is.
pub(super) fn stale_trap_frame(walker: &Walker<'_>, at: u64) -> Option<Confirmed> {
    let trap = trap_frame_at(walker, at)?;
    let back_at = at.saturating_add(4);
    let word = |at: u64| walker.word(at, Machine::X86).ok();
    let (above, back) = (word(at)?, word(back_at)?);
    let confirmed = scan::looks_like_return(walker.code, Machine::X86, back, back_at)?;
    let links = above > at && continues_chain(walker, at, above);
    (links && trap.ip() != Some(back)).then_some(confirmed)
}

/// The trap handler itself, when `from` is a function without a frame of its own that the handler
/// called: its return address lies right below the trap frame at `at`, or below the arguments it was given.
pub(super) fn handler_between(walker: &Walker<'_>, from: &Registers, at: u64) -> Option<Outward> {
    // What lies below the handler's own frame is its locals, not arguments.
    let arguments = match from.ip().is_some_and(|ip| in_kernel(walker, ip)) {
        true => 0,
        false => MOST_ARGUMENTS,
    };
    let slots = (0..=arguments).map_while(|n| at.checked_sub(4 * (n + 1)));
    let found = slots
        .take_while(|slot| Some(*slot) >= from.sp())
        .find_map(|slot| {
            let back = walker.word(slot, Machine::X86).ok()?;
            let confirmed = scan::looks_like_return(walker.code, Machine::X86, back, slot)?;
            in_kernel(walker, back).then_some((back, confirmed))
        });
    let (back, confirmed) = found?;
    let mut registers = Registers::new(Machine::X86);
    registers.set_ip(back);
    registers.set_sp(at);
    registers.set(r::EBP, at);
    let trust = match confirmed {
        Confirmed::Call => Trust::FramePointer,
        Confirmed::Place => Trust::Scan,
    };
    Some(Outward::new(registers, trust))
}

/// True for an address in the kernel's image.
fn in_kernel(walker: &Walker<'_>, at: u64) -> bool {
    let module = walker.code.module_at(at);
    let file = module.and_then(|module| walker.code.module_name(module));
    file.is_some_and(|file| names::is_kernel(&file))
}
