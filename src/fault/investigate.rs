//! From a crash to its fault: the context, completed by a first walk where unwind data allow; then
//! the access, the instruction, and the walk that counts.

use crate::bytes::Budget;
use crate::kernel::processor::{ProcessorState, ThreadStack};
use crate::knowledge::bugchecks::{self, Leads};
use crate::machine::{Machine, x64::trap_frame};
use crate::unwind::{Boundary, Frame, StackKind, StackRange, Trust, Walk, Walker, names};

use super::access::{FaultAccess, fault_access};
use super::context::{FaultContext, Source, add_missing, find_context};
use super::ia64;
use super::instruction::{FaultInstruction, fault_instruction};
use super::{Access, Crash, Kind, Snapshot};

/// Size of a kernel stack of a thread on x64; DPC stacks are as large.
const STACK_X64: u64 = 0x6000;
/// Size of a kernel stack of a thread on IA-64; its register stack is as large again.
const STACK_IA64: u64 = 0x8000;
/// Size of a kernel stack of a thread on x86.
const STACK_X86: u64 = 0x3000;
/// Largest kernel stack, for threads whose lower limit is not known.
const LARGEST_STACK: u64 = 0x18000;

/// What is known of the fault of one crash.
#[derive(Clone, Debug)]
pub struct Investigation {
    /// The registers at the fault; for codes that are no fault, those of the bug check.
    pub context: Option<FaultContext>,
    /// The access that failed.
    pub access: FaultAccess,
    /// The faulting instruction.
    pub instruction: Option<FaultInstruction>,
    /// The stack that led to it.
    pub walk: Walk,
    /// The address that stands for the fault in a failure bucket: the faulting instruction, the
    /// caller of a bad pointer, or the caller of the bug check.
    pub place: Option<u64>,
    /// What had to be settled by what it leads to, in words: IA-64 only.
    pub remarks: Vec<String>,
    /// Position in the walk of the frame that called an address that holds no code.
    pub caller: Option<usize>,
}

/// Finds everything about the fault that the dump and the loaded code allow.
pub fn investigate(crash: &Crash<'_>, budget: &Budget) -> Investigation {
    let snapshot = match crash.stack {
        Some((low, high)) => Snapshot::take(crash.memory, low, high),
        None => Snapshot::default(),
    };
    let stacks = stacks(crash);
    let walker = Walker {
        code: crash.code_info,
        memory: crash.memory,
        stacks: &stacks,
        budget,
    };
    let mut context = find_context(crash, &snapshot);
    let mut remarks: Vec<String> = Vec::new();
    if needs_first_walk(crash, context.as_ref())
        && let Some(header) = &crash.context
    {
        let first = walker.walk(header);
        remarks.extend(first.remarks.iter().map(ToString::to_string));
        complete(crash, &mut context, &first);
    }
    if crash.machine == Machine::Ia64
        && let Some(context) = &mut context
    {
        let reading = ia64::place_registers(crash, context);
        remarks.extend(reading.map(str::to_owned));
        remarks.extend(ia64::disagreement(crash, context));
    }
    let mut access = fault_access(crash, context.as_ref());
    let instruction = context
        .as_ref()
        .filter(|c| crash.is_of_fault(c))
        .and_then(|c| fault_instruction(crash, &c.registers, &access));
    if access.access.is_none()
        && (access.address.is_some() || access.address_withheld)
        && let Some(instruction) = &instruction
    {
        access.access = instruction.access;
    }
    let walk = match &context {
        Some(context) => walker.walk(&context.registers),
        None => Walk {
            frames: Vec::new(),
            faulting_activity: 0,
            complete: false,
            stopped_because: None,
            remarks: Vec::new(),
        },
    };
    let caller = caller(crash, context.as_ref(), &access, &walk);
    let place = match caller.and_then(|n| walk.frames.get(n)) {
        Some(caller) => caller.ip(),
        None => place(crash, context.as_ref(), &walk),
    };
    for remark in &walk.remarks {
        if !remarks.iter().any(|known| known == remark) {
            remarks.push((*remark).to_owned());
        }
    }
    Investigation {
        context,
        access,
        instruction,
        walk,
        place,
        remarks,
        caller,
    }
}

/// The frame that called the faulting address, when that holds no code: its return address is what the call
/// has just pushed.
fn caller(
    crash: &Crash<'_>,
    context: Option<&FaultContext>,
    access: &FaultAccess,
    walk: &Walk,
) -> Option<usize> {
    let context = context.filter(|context| crash.is_of_fault(context))?;
    let ip = context.registers.ip()?;
    let wild = crash.is_wild(ip) || access.access == Some(Access::Execute);
    let frame = walk.frames.get(1).filter(|_| wild)?;
    let width = crash.machine.pointer_width() as u64;
    let pushed = frame.trap.is_none()
        && frame.module.is_some()
        && frame.sp() == context.registers.sp()?.checked_add(width);
    pushed.then_some(1)
}

/// The stacks whose limits are known.
pub(super) fn stacks(crash: &Crash<'_>) -> Vec<StackRange> {
    known_stacks(crash.machine, &crash.processor, &crash.thread, crash.stack)
}

/// The stacks a processor runs on, by its block and its current thread; `held` is one of which only
/// the extent is known.
pub(crate) fn known_stacks(
    machine: Machine,
    processor: &ProcessorState,
    thread: &ThreadStack,
    held: Option<(u64, u64)>,
) -> Vec<StackRange> {
    let idle = processor.current_thread.is_some()
        && processor.current_thread == processor.idle_thread
        && processor.dpc_active == Some(true);
    let thread_store = thread.store;
    let thread = thread.base.map(|high| StackRange {
        low: thread.limit.unwrap_or(high.saturating_sub(LARGEST_STACK)),
        high,
        kind: match idle {
            true => StackKind::Idle,
            false => StackKind::Thread,
        },
    });
    let dpc = processor.dpc_stack.map(|high| StackRange {
        low: high.saturating_sub(stack_size(machine)),
        high,
        kind: StackKind::Dpc,
    });
    let store = thread_store.map(|(low, high)| StackRange {
        low,
        high,
        kind: StackKind::RegisterStack,
    });
    let held = held.map(|(low, high)| StackRange {
        low,
        high,
        kind: StackKind::Held,
    });
    [thread, dpc, store, held].into_iter().flatten().collect()
}

/// Size of an ordinary kernel stack.
pub(super) fn stack_size(machine: Machine) -> u64 {
    match machine {
        Machine::X86 => STACK_X86,
        Machine::Ia64 => STACK_IA64,
        _ => STACK_X64,
    }
}

/// A walk from the bug check to the fault helps when the context was not found, lacks registers, or
/// is to be the interrupted one.
fn needs_first_walk(crash: &Crash<'_>, context: Option<&FaultContext>) -> bool {
    let Some(context) = context else {
        return true;
    };
    let general = match crash.machine {
        Machine::X64 => 16,
        _ => 8,
    };
    let recovered = (0..general)
        .filter(|n| context.registers.get(crate::machine::Reg(*n)).is_some())
        .count();
    match crash.check().kind {
        Kind::Fault => recovered < usize::from(general) || !crash.is_of_fault(context),
        Kind::Forced | Kind::Hang => true,
        Kind::Check => false,
    }
}

/// Takes from a walk through the bug check's own frames what the search could not find.
fn complete(crash: &Crash<'_>, context: &mut Option<FaultContext>, walk: &Walk) {
    // Candidates prove nothing here.
    let certain = walk
        .frames
        .iter()
        .take_while(|frame| frame.trust != Trust::Scan)
        .filter(|frame| frame.trap.is_some());
    let found = |wanted: &dyn Fn(&Frame) -> bool| certain.clone().find(|f| wanted(f)).cloned();
    let stopped = |f: &Frame| matches!(f.boundary, Some(Boundary::Interrupt | Boundary::Exception));
    // The first thing met that was stopped: without nt's names a non-maskable interrupt looks like
    // an exception.
    if crash.check().kind.interrupts() {
        if let Some(frame) = found(&stopped) {
            *context = Some(unwound(crash, frame));
        }
        return;
    }
    let Some(known) = context else {
        return;
    };
    if !crash.is_of_fault(known) {
        if let Some(frame) = found(&|f| f.boundary == Some(Boundary::Exception)) {
            *context = Some(unwound(crash, frame));
        }
        return;
    }
    let by_walk = match known.source {
        Source::BugcheckParameters | Source::ExceptionRecord => {
            found(&|f| f.ip() == known.registers.ip())
        }
        _ => {
            let same = |f: &Frame| f.ip() == known.registers.ip() && f.sp() == known.registers.sp();
            if let Some(frame) = found(&same) {
                add_missing(&mut known.registers, &frame.registers);
            }
            None
        }
    };
    if let Some(frame) = by_walk {
        let access_violation = known.access_violation;
        *context = Some(FaultContext {
            access_violation,
            ..unwound(crash, frame)
        });
    }
}

/// The context of a frame behind a trap.
fn unwound(crash: &Crash<'_>, frame: Frame) -> FaultContext {
    let trap_frame = frame.trap.and_then(|at| match crash.machine {
        Machine::X64 => at.checked_sub(trap_frame::MACHINE_FRAME),
        _ => Some(at),
    });
    FaultContext {
        registers: frame.registers,
        source: Source::TrapFrame,
        candidates: 1,
        trap_frame,
        confirmed_by: vec![Source::TrapFrame],
        access_violation: None,
    }
}

/// The functions that a bug check itself goes through.
fn own_function(name: &str) -> bool {
    name.starts_with("KeBugCheck") || name.starts_with("KiBugCheckDispatch")
}

/// The code that a parameter names, for codes that are no fault: who called the bug check is the same
/// function of the kernel for all of them (0x4A: the end of every system call).
fn named_place(crash: &Crash<'_>) -> Option<u64> {
    if crash.check().kind != Kind::Check {
        return None;
    }
    bugchecks::driver_parameters(crash.code, crash.parameters[0].unwrap_or(0))
        .filter(|row| row.leads == Leads::Code)
        .filter_map(|row| crash.stated().value(usize::from(row.index)))
        .find(|at| crash.code_info.module_at(*at).is_some())
}

/// The address that stands for the fault.
fn place(crash: &Crash<'_>, context: Option<&FaultContext>, walk: &Walk) -> Option<u64> {
    if let Some(named) = named_place(crash) {
        return Some(named);
    }
    let context = context?;
    if crash.is_of_fault(context) {
        let own = context.registers.ip();
        // An address that holds no code is nobody's place: the nearest certain frame is.
        let certain = |frame: &&Frame| frame.trust != Trust::Scan && frame.module.is_some();
        return match own {
            Some(ip) if crash.is_wild(ip) => walk
                .frames
                .iter()
                .skip(1)
                .find(certain)
                .and_then(Frame::ip)
                .or(own),
            own => own,
        };
    }
    // The bug check's own functions are nobody's fault: the first caller that is none of them.
    let sp = context.registers.sp()?;
    let width = crash.machine.pointer_width() as u64;
    walk.frames
        .iter()
        .skip(1)
        .find(|frame| {
            // A candidate stands for the caller only where a call has just pushed it.
            let direct = frame.sp() == sp.checked_add(width);
            let name = frame
                .ip()
                .and_then(|ip| names::kernel_function(crash.code_info, ip));
            (frame.trust != Trust::Scan || direct) && !name.is_some_and(|name| own_function(&name))
        })
        .and_then(Frame::ip)
}
