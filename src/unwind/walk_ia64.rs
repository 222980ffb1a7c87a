//! IA-64 steps of a walk: descriptors, the trap frame behind a handler, the root.
//!
//! What Windows keeps in RsBSP and where a handler's registers begin was never seen in a real dump:
//! each reading is tried, the one that fits is kept and named (`docs/stacks.md`).

use crate::bytes::{Gva, View};
use crate::machine::Registers;
use crate::machine::ia64::register_stack::{self, FrameMarker};
use crate::machine::ia64::registers as r;
use crate::machine::ia64::trap_frame::{self, Kind, TrapFrame};
use crate::memory::Memory;

use super::CodeInfo;
use super::frame::{Boundary, Stop, Trust};
use super::ia64::{self, FunctionRules, Position, StepError};
use super::walk::{Outward, StackKind, Stuck, Walker};

/// Owner of the frames that P10 marks: Windows NT.
const NT: u8 = 2;
/// Bytes above a handler's stack pointer in which its trap frame is looked for.
const WINDOW: u64 = 0x400;
/// Steps that a reading of RsBSP has to allow when nothing else tells.
const STEPS: usize = 2;
/// RsBSP holds what the handler's frame begins with.
const BEHIND: &str =
    "RsBSP of a trap frame was read as the end of the interrupted frame's registers";
/// RsBSP holds where r32 lies.
const AT_FIRST: &str = "RsBSP of a trap frame was read as the place of the interrupted r32";

/// A context's RsBSP is where r32 lies.
const CONTEXT_AT_FIRST: &str = "RsBSP of a context was read as the place of its r32";
/// A context's RsBSP is the end of its frame.
const CONTEXT_BEHIND: &str = "RsBSP of a context was read as the end of its frame's registers";

/// A context with `bsp` where r32 lies. A state that a trap frame kept was settled when it was read.
pub(super) fn settle(walker: &Walker<'_>, start: &Registers) -> (Registers, Option<&'static str>) {
    let mut settled = start.clone();
    let read = match start.get(r::ISR) {
        None => context_reading(walker.code, walker.memory, start),
        Some(_) => None,
    };
    let Some((bsp, remark)) = read else {
        return (settled, None);
    };
    settled.set(r::BSP, bsp);
    (settled, Some(remark))
}

/// Where r32 of a context's frame lies: which of the two readings of RsBSP leads to a caller decides.
/// `None` when neither does or the frame has no registers.
pub fn context_reading(
    code: &dyn CodeInfo,
    memory: &dyn Memory,
    context: &Registers,
) -> Option<(u64, &'static str)> {
    let bsp = context.get(r::BSP)?;
    let marker = context.get(r::IFS).and_then(FrameMarker::of)?;
    let behind = before(bsp, marker);
    let callers = |bsp| leads(code, memory, context, bsp).frames;
    let (first, last) = (callers(bsp), callers(behind));
    match marker.size() {
        0 => None,
        _ if last > first => Some((behind, CONTEXT_BEHIND)),
        _ if first > 0 => Some((bsp, CONTEXT_AT_FIRST)),
        _ => None,
    }
}

/// How the instruction pointer of a frame is meant.
pub fn position(registers: &Registers, exact: bool) -> Position {
    match registers.get(r::IPSR) {
        // A captured context is that of a call: the return address is its instruction pointer.
        _ if !exact => Position::Return,
        _ if registers.get(r::RP) == registers.ip() => Position::Return,
        ipsr => Position::Exact(ipsr.map_or(0, trap_frame::slot)),
    }
}

/// One step by the image's own rules.
pub(super) fn step(walker: &Walker<'_>, from: &Registers, exact: bool) -> Result<Outward, Stuck> {
    let position = position(from, exact);
    let ip = from.ip().ok_or_else(|| stuck(&StepError::NoModule))?;
    let function = match ia64::function_rules(walker.code, ip, position) {
        Ok(function) => function,
        Err(StepError::NoModule) if exact => return called_wild(walker, from),
        Err(error) => return Err(stuck(&error)),
    };
    if let Some((NT, _)) = function.found.abi {
        return cross(walker, from, &function);
    }
    let step = ia64::outward(walker.memory, from, position, &function).map_err(|e| stuck(&e))?;
    let mut outward = Outward::new(step.registers, Trust::UnwindInfo);
    outward.root = outward.registers.ip() == Some(0);
    Ok(outward)
}

fn stuck(error: &StepError) -> Stuck {
    match error {
        StepError::Stack { at, .. } => Stuck(Stop::NoStack { at: *at }),
        other => Stuck(Stop::Step(other.to_string())),
    }
}

/// The instruction pointer lies in no code: a call through a bad pointer, whose return address is
/// in b0 still.
fn called_wild(walker: &Walker<'_>, from: &Registers) -> Result<Outward, Stuck> {
    let error = || stuck(&StepError::NoModule);
    let back = from.get(r::RP).ok_or_else(error)?;
    let trust = match looks_like_return(walker.code, back) {
        Some(true) => Trust::UnwindInfo,
        Some(false) => Trust::Scan,
        None => return Err(error()),
    };
    let step = ia64::outward(walker.memory, from, Position::Exact(0), &ia64::leaf());
    Ok(Outward::new(step.map_err(|e| stuck(&e))?.registers, trust))
}

/// Whether a call lies before `address`: `Some(false)` where the code is not at hand, `None` when
/// it is no address behind a call.
fn looks_like_return(code: &dyn CodeInfo, address: u64) -> Option<bool> {
    let before = address.checked_sub(16).filter(|at| at.is_multiple_of(16))?;
    let module = code.module_at(before)?;
    let rva = module.rva(before)?;
    if code.is_executable(module, rva) == Some(false) {
        return None;
    }
    let mut bundle = [0; 16];
    match code.read_image(module, rva, &mut bundle) {
        true => ia64::holds_call(u128::from_le_bytes(bundle)).then_some(true),
        false => Some(false),
    }
}

/// The state that a trap handler's frame keeps of what it interrupted.
fn cross(
    walker: &Walker<'_>,
    from: &Registers,
    function: &FunctionRules,
) -> Result<Outward, Stuck> {
    let stop = |why: &str| Stuck(Stop::Step(why.to_owned()));
    let (at, frame) = trap_at(walker.memory, from)
        .ok_or_else(|| stop("no trap frame at the trap handler's stack pointer"))?;
    if frame.kind == Kind::SystemCall && !frame.is_from_user() {
        return Err(stop("a system call made by the kernel is not followed"));
    }
    let mut registers = frame.registers.clone();
    ia64::preserved(walker.memory, from, function, &mut registers);
    let (bsp, remark) = match frame.is_from_user() {
        true => (None, None),
        false => {
            let (bsp, remark) = interrupted(walker, from, &frame, &registers)
                .ok_or_else(|| stop("the register stack of the interrupted code is not known"))?;
            (Some(bsp), Some(remark))
        }
    };
    registers.assign(r::BSP, bsp);
    let mut outward = Outward::new(registers, Trust::TrapFrame);
    outward.trap = Some(at);
    outward.boundary = match frame.kind {
        Kind::Interrupt => Some(Boundary::Interrupt),
        Kind::Exception | Kind::Context => Some(Boundary::Exception),
        Kind::DpcStack => Some(Boundary::Dpc),
        Kind::SystemCall => None,
    };
    outward.remark = remark;
    outward.switched = true;
    Ok(outward)
}

/// The trap frame at or above a handler's stack pointer.
fn trap_at(memory: &dyn Memory, handler: &Registers) -> Option<(u64, TrapFrame)> {
    let sp = handler.sp()?;
    (0..=WINDOW)
        .step_by(16)
        .filter_map(|offset| sp.checked_add(offset))
        .find_map(|at| Some((at, read(memory, at)?)))
}

/// True when the bundle before `address` can be code of a module.
fn in_code(code: &dyn CodeInfo, address: u64) -> bool {
    address
        .checked_sub(16)
        .filter(|at| at.is_multiple_of(16))
        .and_then(|before| {
            let module = code.module_at(before)?;
            code.is_executable(module, module.rva(before)?)
                .or(Some(true))
        })
        .unwrap_or(false)
}

/// The trap frame at `at`, if there is one.
pub fn read(memory: &dyn Memory, at: u64) -> Option<TrapFrame> {
    let marker = memory
        .read_u64(Gva(at.checked_add(trap_frame::MARKER)?))
        .ok()?;
    trap_frame::kind(marker)?;
    let mut bytes = [0; trap_frame::SIZE];
    memory.read(Gva(at), &mut bytes).ok()?;
    TrapFrame::read(View(&bytes), at)
}

/// Where r32 of the interrupted frame lies. The handler's registers begin where the interrupted
/// frame's end, unless the register stack was changed.
fn interrupted(
    walker: &Walker<'_>,
    from: &Registers,
    frame: &TrapFrame,
    registers: &Registers,
) -> Option<(u64, &'static str)> {
    let handler = from.get(r::BSP)?;
    let first = before(handler, frame.marker);
    let switched = frame.kind == Kind::DpcStack;
    if !switched && frame.rs_bsp == handler {
        return Some((first, BEHIND));
    }
    if !switched && frame.rs_bsp == first {
        return Some((first, AT_FIRST));
    }
    reading(walker.code, walker.memory, frame, registers)
}

/// The reading of RsBSP that leads on, when the frame of the handler does not tell: two frames, or at
/// least further than the other until memory is missing.
pub fn reading(
    code: &dyn CodeInfo,
    memory: &dyn Memory,
    frame: &TrapFrame,
    registers: &Registers,
) -> Option<(u64, &'static str)> {
    let end = before(frame.rs_bsp, frame.marker);
    let (behind, first) = (
        leads(code, memory, registers, end),
        leads(code, memory, registers, frame.rs_bsp),
    );
    let chosen = |lead: Lead, other: Lead| {
        lead.frames >= STEPS || (lead.frames > other.frames && lead.absent)
    };
    if chosen(behind, first) {
        return Some((end, BEHIND));
    }
    chosen(first, behind).then_some((frame.rs_bsp, AT_FIRST))
}

/// How far a reading leads.
#[derive(Clone, Copy)]
struct Lead {
    /// Steps from code to code.
    frames: usize,
    /// What ended it was missing memory.
    absent: bool,
}

/// How far steps lead from code to code when r32 lies at `bsp`.
fn leads(code: &dyn CodeInfo, memory: &dyn Memory, start: &Registers, bsp: u64) -> Lead {
    let mut frame = start.clone();
    frame.set(r::BSP, bsp);
    let ended = |frames, absent| Lead { frames, absent };
    for n in 0..STEPS {
        let position = position(&frame, n == 0);
        let rules = frame
            .ip()
            .map(|ip| ia64::function_rules(code, ip, position));
        let called = frame.get(r::RP).is_some_and(|rp| in_code(code, rp));
        let function = match rules {
            Some(Ok(function)) => function,
            // Called through a bad pointer: the return address is in b0 still.
            Some(Err(StepError::NoModule)) if n == 0 && called => ia64::leaf(),
            _ => return ended(n, false),
        };
        if let Some((NT, _)) = function.found.abi {
            // The handler of a trap: its frame's own signature says that it is there.
            let there = trap_at(memory, &frame).is_some();
            return ended(if there { STEPS } else { n }, false);
        }
        let step = match ia64::outward(memory, &frame, position, &function) {
            Ok(step) => step,
            Err(StepError::Stack { .. } | StepError::Store { .. }) => return ended(n, true),
            Err(_) => return ended(n, false),
        };
        match step.registers.ip() {
            // The root: nothing further to ask for.
            Some(0) if n > 0 => return ended(STEPS, false),
            Some(ip) if in_code(code, ip) => frame = step.registers,
            _ => return ended(n, false),
        }
    }
    ended(STEPS, false)
}

/// Where the registers of a frame begin that ends at `end`.
pub fn before(end: u64, marker: FrameMarker) -> u64 {
    register_stack::skip(end, -marker.size().cast_signed())
}

/// Both stacks are left outward: the memory stack upward, the register stack downward, one of them
/// at every step but that of a leaf.
pub(super) fn check_progress(
    walker: &Walker<'_>,
    from: &Registers,
    outward: &Outward,
    exact: bool,
) -> Result<(), Stop> {
    let sp = from.sp().ok_or(Stop::NoStackPointer)?;
    let next = outward.registers.sp().ok_or(Stop::NoStackPointer)?;
    let stores = (from.get(r::BSP), outward.registers.get(r::BSP));
    let none = Err(Stop::NoProgress { at: sp });
    let (stays, rises) = match stores {
        (Some(own), Some(next)) => (own == next, next > own),
        _ => (true, false),
    };
    if outward.trap.is_some() && (next <= sp || rises) {
        // A change of stacks: allowed between stacks whose limits are known.
        let known = |at: u64| walker.stack_of(at).is_some();
        return if known(next) && next != sp {
            Ok(())
        } else {
            none
        };
    }
    if next < sp || rises || (next == sp && stays && !exact) {
        return none;
    }
    let beyond = |range: &&super::StackRange| match range.kind {
        StackKind::RegisterStack => stores.0.is_some_and(|own| {
            range.contains(own) && stores.1.is_some_and(|next| next < range.low)
        }),
        StackKind::Thread | StackKind::Idle => range.contains(sp) && next > range.high,
        _ => false,
    };
    match walker.stacks.iter().find(beyond) {
        Some(_) => none,
        None => Ok(()),
    }
}
