//! x86 steps of a walk, in this order: the DPC stack's way back, the PDB's frame data, the chain
//! of frame pointers with trap frames on it. What none of them gives is left to the scan.

use crate::bytes::Gva;
use crate::machine::x86::registers as r;
use crate::machine::{Machine, Registers};

use super::frame::{Stop, Trust};
use super::scan::{self, Confirmed};
use super::traps_x86::{cross, handler_between, stale_trap_frame, trap_frame_at};
use super::walk::{Outward, StackKind, State, Stuck, Walker};
use super::x86::{Inputs, evaluate};
use super::{FrameData, FrameProgram, names};

/// Slots searched for a frame's return address above where its size says it is.
const RETURN_SEARCH: u32 = 32;
/// Widest distance of a frame pointer from the stack pointer that is believed.
const WIDEST_FRAME: u64 = 0x8000;
/// Bytes at the top of a thread's stack in which its first function's frame lies: the floating-point
/// save area (0x210) and the first frame.
const TOP_OF_STACK: u64 = 0x400;
/// Words above the interrupted stack pointer among which KiDispatchInterrupt's return address lies.
const SAVED_WORDS: usize = 8;

/// One step by rule.
pub(super) fn step(
    walker: &Walker<'_>,
    from: &Registers,
    exact: bool,
    state: &mut State,
) -> Result<Outward, Stuck> {
    let callee_parameters = std::mem::take(&mut state.callee_parameters);
    if let Some(saved) = interrupted_stack(walker, from) {
        return leave_dpc_stack(walker, from, saved, state);
    }
    let ip = from.ip().unwrap_or(0);
    let within = if exact { ip } else { ip.saturating_sub(1) };
    let described = walker
        .code
        .frame_data(within)
        .and_then(|frame| by_frame_data(walker, from, &frame, callee_parameters, state));
    if let Some(outward) = described {
        return Ok(root_checked(outward));
    }
    if exact && let Some(outward) = at_function_border(walker, from) {
        return Ok(root_checked(outward));
    }
    if !exact && first_of_thread(walker, from) {
        let mut root = Outward::new(from.clone(), Trust::FramePointer);
        root.root = true;
        return Ok(root);
    }
    let chained = by_frame_pointer(walker, from).map(|mut outward| {
        if exact && outward.trap.is_none() && perhaps_without_frame(walker, from) {
            outward.trust = Trust::Scan;
        }
        outward
    });
    chained
        .map(root_checked)
        .ok_or_else(|| Stuck(Stop::Step("no frame data and no frame pointer".to_owned())))
}

/// True for the kernel function a thread begins in: at the top of its stack, it starts the chain with
/// a frame pointer of zero.
fn first_of_thread(walker: &Walker<'_>, from: &Registers) -> bool {
    let at_top = from.sp().is_some_and(|sp| {
        walker.stacks.iter().any(|stack| {
            matches!(stack.kind, StackKind::Thread | StackKind::Idle)
                && stack.contains(sp)
                && stack.high - sp <= TOP_OF_STACK
        })
    });
    if !at_top {
        return false;
    }
    let kernel = from
        .ip()
        .and_then(|ip| walker.code.module_name(walker.code.module_at(ip)?))
        .is_some_and(|file| names::is_kernel(&file));
    kernel && from.get(r::EBP) == Some(0)
}

fn root_checked(mut outward: Outward) -> Outward {
    outward.root = outward.registers.ip() == Some(0);
    outward
}

/// The stack pointer that `KiDispatchInterrupt` left in the topmost word of the DPC stack, when
/// `from` is its frame.
fn interrupted_stack(walker: &Walker<'_>, from: &Registers) -> Option<u64> {
    let sp = from.sp()?;
    let dpc = walker
        .stacks
        .iter()
        .find(|stack| stack.kind == StackKind::Dpc)?;
    let top = dpc.high.checked_sub(4)?;
    // Only the arguments of what it called can lie between.
    if sp > top || top - sp > 8 {
        return None;
    }
    let saved = walker.word(top, Machine::X86).ok()?;
    let outside = saved < dpc.low || saved >= dpc.high;
    (outside && saved % 4 == 0 && saved != 0).then_some(saved)
}

/// The caller of `KiDispatchInterrupt` on the interrupted stack: its return address lies above the
/// few words that were saved, the caller's frame pointer among them.
fn leave_dpc_stack(
    walker: &Walker<'_>,
    from: &Registers,
    saved: u64,
    state: &mut State,
) -> Result<Outward, Stuck> {
    let mut words = [0; SAVED_WORDS];
    for (word, at) in words.iter_mut().zip((saved..).step_by(4)) {
        *word = walker.word(at, Machine::X86).map_err(Stuck)?;
    }
    let slot_of = |n: usize| saved.saturating_add(n as u64 * 4);
    let found = words.iter().enumerate().find_map(|(n, word)| {
        let confirmed = scan::looks_like_return(walker.code, Machine::X86, *word, slot_of(n))?;
        Some((n, *word, confirmed))
    });
    let mut outward = match found {
        Some((n, back, confirmed)) => {
            let slot = slot_of(n);
            let mut chains: Vec<u64> = words
                .iter()
                .take(n)
                .copied()
                .filter(|word| continues_chain(walker, slot, *word))
                .collect();
            chains.sort_unstable();
            chains.dedup();
            // Another register can hold an outer frame's address; the caller's own is the nearest.
            let chain = chains.first().copied();
            let mut registers = Registers::new(Machine::X86);
            registers.set_ip(back);
            registers.set_sp(slot.saturating_add(4));
            registers.assign(r::EBP, chain);
            let trust = match (confirmed, chains.len()) {
                (Confirmed::Call, 1) => Trust::FramePointer,
                _ => Trust::Scan,
            };
            Outward::new(registers, trust)
        }
        None => {
            let mut interrupted = from.clone();
            interrupted.set_sp(saved);
            let none = || Stuck(Stop::Step("nothing on the interrupted stack".to_owned()));
            let next = scan::next(walker, &interrupted, state).map_err(Stuck)?;
            next.ok_or_else(none)?
        }
    };
    outward.switched = true;
    Ok(outward)
}

/// True when `ebp` can be the frame pointer of a frame above `slot`: a trap frame lies there, or a
/// frame pointer further out and a return address.
pub(super) fn continues_chain(walker: &Walker<'_>, slot: u64, ebp: u64) -> bool {
    if !ebp.is_multiple_of(4) || ebp <= slot || ebp - slot > WIDEST_FRAME {
        return false;
    }
    if trap_frame_at(walker, ebp).is_some() {
        return true;
    }
    let back_at = ebp.saturating_add(4);
    let word = |at: u64| walker.word(at, Machine::X86).ok();
    let (Some(above), Some(back)) = (word(ebp), word(back_at)) else {
        return false;
    };
    match (above, back) {
        (0, 0) => true,
        (above, back) => {
            (above == 0 || above > ebp)
                && scan::looks_like_return(walker.code, Machine::X86, back, back_at).is_some()
        }
    }
}

/// The step a frame record describes.
fn by_frame_data(
    walker: &Walker<'_>,
    from: &Registers,
    frame: &FrameData<'_>,
    callee_parameters: u32,
    state: &mut State,
) -> Option<Outward> {
    let outward = match &frame.program {
        FrameProgram::Program(text) => run_program(walker, from, frame, text, callee_parameters),
        FrameProgram::Fpo { uses_base_pointer } => {
            by_frame_size(walker, from, frame, *uses_base_pointer, callee_parameters)
        }
        FrameProgram::Standard => by_frame_pointer(walker, from),
        FrameProgram::Trap => {
            let at = [from.get(r::EBP), from.sp()].into_iter().flatten();
            at.into_iter().find_map(|at| cross(walker, from, at))
        }
    }?;
    if outward.trap.is_none() {
        state.callee_parameters = frame.parameters.min(0x1000);
    }
    Some(outward)
}

/// Where the return address lies: at the top of what the record says the frame holds, or the next
/// word above that looks like one.
fn return_slot(
    walker: &Walker<'_>,
    from: &Registers,
    frame: &FrameData<'_>,
    callee_parameters: u32,
) -> Option<u32> {
    let size = frame
        .locals
        .checked_add(frame.saved_registers)?
        .checked_add(callee_parameters)?;
    let start = u32::try_from(from.sp()?).ok()?.checked_add(size)?;
    (0..RETURN_SEARCH)
        .map_while(|n| start.checked_add(n * 4))
        .find(|slot| {
            let at = u64::from(*slot);
            walker.word(at, Machine::X86).is_ok_and(|value| {
                value == 0
                    || scan::looks_like_return(walker.code, Machine::X86, value, at).is_some()
            })
        })
}

fn run_program(
    walker: &Walker<'_>,
    from: &Registers,
    frame: &FrameData<'_>,
    text: &str,
    callee_parameters: u32,
) -> Option<Outward> {
    let known = |reg| from.get(reg).and_then(|value| u32::try_from(value).ok());
    let slot = return_slot(walker, from, frame, callee_parameters);
    if slot.is_none() && text.contains(".raSearch") {
        return None;
    }
    let inputs = Inputs {
        registers: [r::EIP, r::ESP, r::EBP, r::EBX, r::ESI, r::EDI].map(known),
        frame,
        callee_parameters,
        return_slot: slot.unwrap_or(0),
    };
    let read = |at: u32| walker.memory.read_u32(Gva(u64::from(at))).ok();
    let caller = evaluate(text, inputs, read).ok()?;
    let mut registers = Registers::new(Machine::X86);
    let numbers = [r::EIP, r::ESP, r::EBP, r::EBX, r::ESI, r::EDI];
    for (reg, value) in numbers.into_iter().zip(caller.registers) {
        registers.assign(reg, value.map(u64::from));
    }
    keep_untouched(from, &mut registers, frame);
    plausible(walker, &registers).then(|| Outward::new(registers, Trust::FrameData))
}

fn by_frame_size(
    walker: &Walker<'_>,
    from: &Registers,
    frame: &FrameData<'_>,
    uses_base_pointer: bool,
    callee_parameters: u32,
) -> Option<Outward> {
    let slot = u64::from(return_slot(walker, from, frame, callee_parameters)?);
    let mut registers = Registers::new(Machine::X86);
    registers.set_ip(walker.word(slot, Machine::X86).ok()?);
    registers.set_sp(slot.checked_add(4)?);
    if uses_base_pointer {
        // The frame's own push of ebp is the topmost of the saved registers' words but one.
        let saved = from
            .sp()?
            .checked_add(u64::from(callee_parameters))?
            .checked_add(u64::from(frame.saved_registers))?
            .checked_sub(8)
            .and_then(|at| walker.word(at, Machine::X86).ok());
        registers.assign(r::EBP, saved);
    }
    keep_untouched(from, &mut registers, frame);
    if uses_base_pointer && registers.get(r::EBP).is_none() {
        registers.forget(r::EBP);
    }
    plausible(walker, &registers).then(|| Outward::new(registers, Trust::FrameData))
}

/// Registers the function has to preserve and whose change the record does not describe: `ebp`
/// always, the others only when the frame saves none.
fn keep_untouched(from: &Registers, caller: &mut Registers, frame: &FrameData<'_>) {
    let preserved: &[_] = match frame.saved_registers {
        0 => &[r::EBP, r::EBX, r::ESI, r::EDI],
        _ => &[r::EBP],
    };
    for reg in preserved {
        if caller.get(*reg).is_none()
            && let Some(value) = from.get(*reg)
        {
            caller.set(*reg, value);
        }
    }
}

/// A caller is believed when its return address looks like one, or is the root's zero.
fn plausible(walker: &Walker<'_>, caller: &Registers) -> bool {
    let (Some(ip), Some(sp)) = (caller.ip(), caller.sp()) else {
        return false;
    };
    let slot = sp.saturating_sub(4);
    sp % 4 == 0
        && (ip == 0 || scan::looks_like_return(walker.code, Machine::X86, ip, slot).is_some())
}

/// A function's first and last instructions, where no frame pointer is set, and a call through a
/// bad pointer: the return address is at the stack pointer, or one word above.
fn at_function_border(walker: &Walker<'_>, from: &Registers) -> Option<Outward> {
    let ip = from.ip()?;
    let pushed = match walker.code.module_at(ip) {
        None => 0,
        Some(module) => {
            let mut code = [0; 5];
            if !walker.code.read_image(module, module.rva(ip)?, &mut code) {
                return None;
            }
            match code {
                // mov edi, edi; push ebp; mov ebp, esp (in either encoding), from its start, or
                // a return.
                [0x8B, 0xFF, 0x55, 0x8B, 0xEC] | [0x8B, 0xFF, 0x55, 0x89, 0xE5] => 0,
                [0x55, 0x8B, 0xEC, ..] | [0x55, 0x89, 0xE5, ..] => 0,
                [0xC3, ..] | [0xC2, ..] => 0,
                [0x8B, 0xEC, ..] | [0x89, 0xE5, ..] => 4,
                _ => return None,
            }
        }
    };
    let slot = from.sp()?.checked_add(pushed)?;
    let back = walker.word(slot, Machine::X86).ok()?;
    scan::looks_like_return(walker.code, Machine::X86, back, slot)?;
    let mut registers = from.clone();
    registers.set_ip(back);
    registers.set_sp(slot.checked_add(4)?);
    for reg in [r::EAX, r::ECX, r::EDX] {
        registers.forget(reg);
    }
    Some(Outward::new(registers, Trust::FramePointer))
}

/// The caller by the saved frame pointer; a trap frame on the chain is crossed.
fn by_frame_pointer(walker: &Walker<'_>, from: &Registers) -> Option<Outward> {
    let (sp, ebp) = (from.sp()?, from.get(r::EBP)?);
    let near = ebp >= sp && ebp - sp <= WIDEST_FRAME;
    if ebp % 4 != 0 || !(near || goes_to_another_stack(walker, from, sp, ebp)) {
        return None;
    }
    let stale = stale_trap_frame(walker, ebp);
    if stale.is_none()
        && let Some(crossed) = cross(walker, from, ebp)
    {
        return Some(handler_between(walker, from, ebp).unwrap_or(crossed));
    }
    let slot = ebp.checked_add(4)?;
    let back = walker.word(slot, Machine::X86).ok()?;
    let above = walker.word(ebp, Machine::X86).ok()?;
    if back != 0 {
        scan::looks_like_return(walker.code, Machine::X86, back, slot)?;
        // A saved frame pointer lies further out, or on the stack that was left.
        let outward = above > ebp
            || walker.stack_of(above) != walker.stack_of(ebp)
            || switches_stacks(walker, back);
        if above != 0 && !outward {
            return None;
        }
    }
    let mut registers = Registers::new(Machine::X86);
    registers.set_ip(back);
    registers.set_sp(ebp.checked_add(8)?);
    registers.set(r::EBP, above);
    let trust = match stale {
        Some(Confirmed::Place) => Trust::Scan,
        _ => Trust::FramePointer,
    };
    let mut outward = Outward::new(registers, trust);
    outward.switched = !near;
    Some(outward)
}

/// True where the code is not at hand and the stack pointer points at what an interrupted prologue would
/// leave: the return address, or the caller's frame pointer below it. The chain then leaves one
/// caller out.
fn perhaps_without_frame(walker: &Walker<'_>, from: &Registers) -> bool {
    let unseen = from.ip().is_some_and(|ip| {
        walker.code.module_at(ip).is_some_and(|module| {
            let rva = module.rva(ip);
            !rva.is_some_and(|rva| walker.code.read_image(module, rva, &mut [0]))
        })
    });
    let (true, Some(sp)) = (unseen, from.sp()) else {
        return false;
    };
    let word = |at: u64| walker.word(at, Machine::X86).ok();
    let returns = |at: u64| {
        word(at).is_some_and(|back| {
            scan::looks_like_return(walker.code, Machine::X86, back, at).is_some()
        })
    };
    let pushed = word(sp).is_some() && word(sp) == from.get(r::EBP);
    returns(sp) || pushed && returns(sp.saturating_add(4))
}

/// True when a frame pointer may leave the stack: in the function of the kernel that gave its caller
/// a larger one, or towards a stack whose limits are known.
fn goes_to_another_stack(walker: &Walker<'_>, from: &Registers, sp: u64, ebp: u64) -> bool {
    let known = walker
        .stack_of(ebp)
        .is_some_and(|stack| !stack.contains(sp));
    known || from.ip().is_some_and(|ip| switches_stacks(walker, ip))
}

/// True in the function of the kernel that lets its caller go on on another stack.
fn switches_stacks(walker: &Walker<'_>, ip: u64) -> bool {
    names::kernel_function(walker.code, ip).is_some_and(|name| names::switches_stacks(&name))
}
