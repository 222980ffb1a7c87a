//! The walk: step after step outward, with candidates from the stack where nothing better is
//! known, and every way a hostile stack could keep it going shut.
//!
//! Facts on activities and their boundaries: `docs/stacks.md`.

use crate::bytes::{Budget, Gva};
use crate::machine::{Machine, Registers};
use crate::memory::Memory;

use super::frame::{Boundary, Frame, Stop, Trust, Walk};
use super::{CodeInfo, names, scan, walk_ia64, walk_x64, walk_x86};

/// Frames of a walk: the deepest kernel stack (96 KB) of smallest frames is far below.
pub const MOST_FRAMES: usize = 512;
/// Candidates shown where code bytes cannot confirm them.
pub const MOST_CANDIDATES: usize = 16;
/// Changes of stack in one walk: user mode, thread, DPC, interrupt, double fault, and some.
const MOST_SWITCHES: usize = 16;

/// A stack whose limits are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackRange {
    /// Lowest address.
    pub low: u64,
    /// Address past the top.
    pub high: u64,
    /// What runs on it.
    pub kind: StackKind,
}

/// What runs on a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackKind {
    /// The current thread.
    Thread,
    /// Deferred procedure calls.
    Dpc,
    /// The idle thread, while it runs deferred procedure calls.
    Idle,
    /// Not known: only how far the dump holds it.
    Held,
    /// IA-64: stacked registers of the current thread. It grows upward.
    RegisterStack,
}

impl StackRange {
    pub(super) fn contains(&self, address: u64) -> bool {
        self.low <= address && address < self.high
    }
}

/// What a walk needs.
pub struct Walker<'a> {
    /// Loaded code.
    pub code: &'a dyn CodeInfo,
    /// The address space.
    pub memory: &'a dyn Memory,
    /// Stacks whose limits are known.
    pub stacks: &'a [StackRange],
    /// The dump's budget.
    pub budget: &'a Budget,
}

/// One step outward, by whatever means.
pub(super) struct Outward {
    pub registers: Registers,
    pub trust: Trust,
    /// Where the interrupted state was read, when the step crossed a trap.
    pub trap: Option<u64>,
    pub boundary: Option<Boundary>,
    /// The caller of everything: nothing lies further out.
    pub root: bool,
    /// The stack pointer was taken from a register or a saved word, so that it may leave the
    /// stack it was on.
    pub switched: bool,
    /// A reading that was settled on the way.
    pub remark: Option<&'static str>,
}

impl Outward {
    pub(super) fn new(registers: Registers, trust: Trust) -> Outward {
        Outward {
            registers,
            trust,
            trap: None,
            boundary: None,
            root: false,
            switched: false,
            remark: None,
        }
    }
}

/// Why no step was made: the reason to report if nothing better turns up.
pub(super) struct Stuck(pub Stop);

/// What a walk remembers between steps.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The last step relied on a candidate: everything unwound from there is one too.
    pub guessed: bool,
    /// Candidates that no code bytes confirmed.
    pub unconfirmed: usize,
    /// x86: bytes of parameters that the callee just unwound removes from the stack.
    pub callee_parameters: u32,
    switches: usize,
}

impl Walker<'_> {
    /// Walks outward from `start`.
    pub fn walk(&self, start: &Registers) -> Walk {
        let (start, remark) = match start.machine() {
            Machine::Ia64 => walk_ia64::settle(self, start),
            _ => (start.clone(), None),
        };
        let mut walk = Walk {
            frames: vec![self.frame(start, Trust::Context)],
            faulting_activity: 0,
            complete: false,
            stopped_because: None,
            remarks: remark.into_iter().collect(),
        };
        match self.extend(&mut walk) {
            // A root that candidates led to proves neither them nor that there are no more frames.
            Ok(()) if walk.frames.iter().any(|f| f.trust == Trust::Scan) => {
                walk.stopped_because = Some(Stop::Guessed);
            }
            Ok(()) => walk.complete = true,
            Err(stop) => walk.stopped_because = Some(stop),
        }
        self.mark_dpc(&mut walk);
        self.mark_idle(&mut walk);
        walk.faulting_activity = self.activity(&walk);
        walk
    }

    fn extend(&self, walk: &mut Walk) -> Result<(), Stop> {
        let mut state = State::default();
        loop {
            let Some(frame) = walk.frames.last_mut() else {
                return Ok(());
            };
            if is_user(&frame.registers) {
                frame.boundary = Some(Boundary::User);
                return Ok(());
            }
            let from = frame.registers.clone();
            let exact = frame.trust == Trust::Context || frame.trap.is_some();
            let sp = from.sp().ok_or(Stop::NoStackPointer)?;
            if walk.frames.len() >= MOST_FRAMES {
                return Err(Stop::TooManyFrames(MOST_FRAMES));
            }
            self.budget.spend(1).map_err(|_| Stop::Budget)?;
            let outward = self.step(walk, &from, &mut state)?;
            if outward.root {
                return Ok(());
            }
            match from.machine() {
                Machine::Ia64 => walk_ia64::check_progress(self, &from, &outward, exact)?,
                _ => self.check_progress(sp, &outward, &mut state)?,
            }
            walk.remarks.extend(outward.remark);
            state.guessed = outward.trust == Trust::Scan;
            let trust = outward.trust;
            let mut next = self.frame(outward.registers, trust);
            next.trap = outward.trap;
            next.boundary = outward.boundary;
            walk.frames.push(next);
        }
    }

    /// One step: by rule, else by candidates.
    fn step(&self, walk: &Walk, from: &Registers, state: &mut State) -> Result<Outward, Stop> {
        let exact = walk
            .frames
            .last()
            .is_some_and(|f| f.trust == Trust::Context || f.trap.is_some());
        let by_rule = match from.machine() {
            Machine::X64 => walk_x64::step(self, from, exact),
            Machine::X86 => walk_x86::step(self, from, exact, state),
            Machine::Ia64 => walk_ia64::step(self, from, exact),
            other => return Err(Stop::Unsupported(other.as_str())),
        };
        let Stuck(reason) = match by_rule {
            Ok(mut outward) => {
                // What follows from a candidate is a candidate. A trap frame is no exception: it
                // may be one that an interrupt long finished left behind.
                if state.guessed {
                    outward.trust = Trust::Scan;
                }
                return Ok(outward);
            }
            Err(stuck) => stuck,
        };
        // Return addresses of IA-64 are seldom on the memory stack: nothing there would be found.
        if from.machine() == Machine::Ia64 || matches!(reason, Stop::NoStack { .. }) {
            return Err(reason);
        }
        scan::next(self, from, state)?.ok_or(reason)
    }

    /// A stack grows downward: each caller lies above its callee, unless the step changed stacks.
    fn check_progress(&self, sp: u64, outward: &Outward, state: &mut State) -> Result<(), Stop> {
        let next = outward.registers.sp().ok_or(Stop::NoStackPointer)?;
        let moved_up = next > sp;
        if outward.trap.is_none() && !outward.switched {
            return match moved_up {
                true => Ok(()),
                false => Err(Stop::NoProgress { at: sp }),
            };
        }
        let same_stack = moved_up && next - sp < 0x10000;
        if !same_stack {
            state.switches += 1;
        }
        match state.switches > MOST_SWITCHES {
            true => Err(Stop::NoProgress { at: sp }),
            false => Ok(()),
        }
    }

    fn frame(&self, registers: Registers, trust: Trust) -> Frame {
        let module = registers.ip().and_then(|ip| {
            let module = self.code.module_at(ip)?;
            Some((module.id, ip.checked_sub(module.base)?))
        });
        Frame {
            registers,
            module,
            trust,
            boundary: None,
            trap: None,
        }
    }

    /// Marks where deferred procedure calls end: at the first of the kernel's dispatching functions
    /// by name, or where the stack pointer leaves the DPC stack.
    fn mark_dpc(&self, walk: &mut Walk) {
        let dpc_stack = self.stacks.iter().find(|s| s.kind == StackKind::Dpc);
        let (mut inside, mut dispatching, mut marked) = (false, false, false);
        for frame in &mut walk.frames {
            let on_dpc_stack = frame
                .sp()
                .zip(dpc_stack)
                .is_some_and(|(sp, stack)| stack.contains(sp));
            let left = inside && !on_dpc_stack;
            inside = on_dpc_stack;
            if frame.trust == Trust::Context {
                continue;
            }
            let by_name = frame
                .ip()
                .and_then(|ip| names::kernel_function(self.code, ip))
                .is_some_and(|name| names::dispatches_dpcs(&name));
            // The dispatcher's functions lie one after the other: one border, not several.
            let again = std::mem::replace(&mut dispatching, by_name || left);
            // A trap frame on the stack that was left for is an interruption of its own.
            let beyond = frame
                .trap
                .zip(dpc_stack)
                .is_some_and(|(at, stack)| !stack.contains(at));
            if left && !beyond {
                frame.boundary = (!marked).then_some(Boundary::Dpc);
                marked = false;
            } else if by_name && !again && frame.boundary.is_none() {
                frame.boundary = Some(Boundary::Dpc);
                marked = on_dpc_stack;
            }
        }
    }

    /// Marks where the idle loop begins that ran a deferred procedure call, when no name told: the
    /// call's dispatcher and the idle loop are what of the kernel's own lies at the root.
    fn mark_idle(&self, walk: &mut Walk) {
        let idle = self.stacks.iter().find(|s| s.kind == StackKind::Idle);
        let on_idle_stack = walk
            .frames
            .first()
            .and_then(Frame::sp)
            .zip(idle)
            .is_some_and(|(sp, stack)| stack.contains(sp));
        let known = walk
            .frames
            .iter()
            .any(|f| f.boundary.is_some_and(Boundary::ends_activity));
        if !on_idle_stack || !walk.complete || known {
            return;
        }
        let own = |frame: &Frame| {
            frame
                .ip()
                .and_then(|ip| self.code.module_name(self.code.module_at(ip)?))
                .is_some_and(|name| names::is_kernel(&name))
        };
        let outermost_of_others = walk.frames.iter().rposition(|frame| !own(frame));
        if let Some(frame) = outermost_of_others.and_then(|n| walk.frames.get_mut(n + 1)) {
            frame.boundary = Some(Boundary::Dpc);
        }
    }

    /// How many leading frames belong to the first one's activity: up to what it interrupted, and
    /// no candidate.
    fn activity(&self, walk: &Walk) -> usize {
        walk.frames
            .iter()
            .position(|f| f.trust == Trust::Scan || f.boundary.is_some_and(Boundary::ends_activity))
            .unwrap_or(walk.frames.len())
    }

    /// The known stack that holds `address`, narrowest first.
    pub(super) fn stack_of(&self, address: u64) -> Option<&StackRange> {
        self.stacks
            .iter()
            .filter(|s| s.contains(address))
            .min_by_key(|s| s.high - s.low)
    }

    /// A pointer-sized word of the stack.
    pub(super) fn word(&self, at: u64, machine: Machine) -> Result<u64, Stop> {
        self.memory
            .read_pointer(Gva(at), machine.pointer_width())
            .map_err(|_| Stop::NoStack { at })
    }
}

/// True when the code segment is one of user mode. An address alone does not say so: a wild jump
/// goes anywhere.
fn is_user(registers: &Registers) -> bool {
    if registers.machine() == Machine::Ia64 {
        let ipsr = registers.get(crate::machine::ia64::registers::IPSR);
        return ipsr.is_some_and(|ipsr| crate::machine::ia64::trap_frame::level(ipsr) == 3);
    }
    let segment = match registers.machine() {
        Machine::X64 => registers.get(crate::machine::x64::registers::CS),
        Machine::X86 => registers.get(crate::machine::x86::registers::CS),
        _ => None,
    };
    segment.is_some_and(|segment| segment & 3 == 3)
}
