//! The registers at the fault: every way to them, tried in order of what it rests on.

use crate::bytes::{Gva, View};
use crate::machine::{Machine, Registers, x64 as machine_x64, x86 as machine_x86};

use super::{Access, Crash, Kind, Slot, Snapshot, ia64, x64, x86};
use crate::knowledge::bugchecks::BugCheck;

pub use crate::facts::FaultSource as Source;

/// The registers at the fault and what they rest on.
#[derive(Clone, Debug)]
pub struct FaultContext {
    /// Registers recovered; the others are not known.
    pub registers: Registers,
    /// How they were found.
    pub source: Source,
    /// Contexts that fitted equally well, this one included. More than one means that the choice
    /// among them (the innermost) is not proven.
    pub candidates: u32,
    /// Address of the trap frame, where there is one.
    pub trap_frame: Option<u64>,
    /// Every way that led to this same context, ascending.
    pub confirmed_by: Vec<Source>,
    /// Kind of access and address from the EXCEPTION_RECORD of an access violation.
    pub access_violation: Option<[u64; 2]>,
}

/// What a search looks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    /// The instruction, when a parameter names it.
    pub ip: Option<u64>,
    /// The address accessed, when the trap frame must hold it.
    pub address: Option<u64>,
    /// The exception's status.
    pub exception: Option<u32>,
    /// What is known of the code.
    pub check: BugCheck,
}

/// A context found on the stack.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub registers: Registers,
    pub source: Source,
    pub trap_frame: Option<u64>,
    pub access_violation: Option<[u64; 2]>,
    /// What speaks for it; only the order matters.
    pub score: u32,
}

/// Finds the fault's registers. `None` when the dump has no context at all and names no address.
///
/// `stack` is the stack the bug check ran on.
pub fn find_context(crash: &Crash<'_>, stack: &Snapshot<'_>) -> Option<FaultContext> {
    let check = crash.check();
    let target = Target {
        ip: crash.named_ip(),
        address: match check.slot(Slot::Accessed) {
            Some(_) => crash.stated().violation().and_then(|v| v.address),
            None => None,
        },
        exception: crash.exception_code(),
        check,
    };
    let mut context = named_by_parameters(crash, &target)
        .or_else(|| header_is_the_fault(crash, &target))
        .map(|context| confirm(crash, stack, &target, context))
        .or_else(|| best(search(crash, stack, &target)))
        .or_else(|| on_other_stacks(crash, stack, &target))
        .or_else(|| at_what_could_not_be_executed(crash, stack, &target))
        .or_else(|| fall_back(crash, &target))?;
    if check.kind == Kind::Fault && context.trap_frame.is_none() {
        frame_below_stack_pointer(crash, &target, &mut context);
    }
    Some(context)
}

/// The trap frame of what could not be executed, where the parameter that names the frame does not lead to it: nearly
/// always the instruction is the address itself, or it ends there.
fn at_what_could_not_be_executed(
    crash: &Crash<'_>,
    stack: &Snapshot<'_>,
    target: &Target,
) -> Option<FaultContext> {
    if target.ip.is_some() || target.check.access != Some(Access::Execute) {
        return None;
    }
    let target = Target {
        ip: Some(target.address?),
        address: None,
        ..*target
    };
    best(search(crash, stack, &target)).or_else(|| on_other_stacks(crash, stack, &target))
}

/// Looks on the current thread's stack and on the DPC stack, where the bug check ran on neither.
fn on_other_stacks(
    crash: &Crash<'_>,
    searched: &Snapshot<'_>,
    target: &Target,
) -> Option<FaultContext> {
    target.ip?;
    super::investigate::stacks(crash)
        .iter()
        .filter(|stack| !searched.contains(stack.high.saturating_sub(8)))
        .map(|stack| Snapshot::take(crash.memory, stack.low, stack.high))
        .find_map(|stack| best(search(crash, &stack, target)))
}

/// The trap frame of a context whose stack the search did not see: it lies just below the stack
/// pointer, at the address the processor's own alignment gives.
fn frame_below_stack_pointer(crash: &Crash<'_>, target: &Target, context: &mut FaultContext) {
    let Some(sp) = context.registers.sp() else {
        return;
    };
    let around = |below: u64| {
        let low = (sp & !15).saturating_sub(below);
        Snapshot::take(crash.memory, low, sp.saturating_add(16))
    };
    let stack = match crash.machine {
        Machine::X64 => around(0x28 + 0x168 + 0x1E0),
        Machine::X86 => around(0x100),
        _ => return,
    };
    let searched = Target {
        ip: context.registers.ip(),
        ..*target
    };
    let frames = search(crash, &stack, &searched)
        .into_iter()
        .filter(|found| found.trap_frame.is_some() && found.registers.sp() == Some(sp));
    for found in frames {
        context.confirmed_by.push(found.source);
        context.confirmed_by.sort_unstable();
        context.confirmed_by.dedup();
        context.trap_frame = found.trap_frame;
        context.access_violation = context.access_violation.or(found.access_violation);
        add_missing(&mut context.registers, &found.registers);
    }
}

/// The context, trap frame or task state a parameter points to.
fn named_by_parameters(crash: &Crash<'_>, target: &Target) -> Option<FaultContext> {
    let stated = crash.stated();
    let fits = |registers: &Registers| match target.ip {
        Some(ip) => registers.ip() == Some(ip),
        None => registers.ip().is_some_and(|ip| ip != 0),
    };
    let context = stated
        .record(Slot::ContextRecord)
        .and_then(|at| read(crash, at, crash.machine.context_general_size()))
        .and_then(|bytes| crash.machine.read_context(&bytes))
        .filter(fits)
        .map(|registers| (registers, Source::ContextRecord, None));
    let (registers, source, trap_frame) = context
        .or_else(|| {
            let at = stated.record(Slot::TrapFrame)?;
            let registers = read_trap_frame(crash, at).filter(fits)?;
            Some((registers, Source::TrapFrame, Some(at)))
        })
        .or_else(|| {
            let registers = x86::double_fault(crash)?;
            Some((registers, Source::ContextRecord, None))
        })?;
    Some(FaultContext {
        registers,
        source,
        candidates: 1,
        trap_frame,
        confirmed_by: vec![source],
        access_violation: access_violation(crash),
    })
}

/// Parameters 0 and 1 of the access violation whose record a bug check parameter points to.
fn access_violation(crash: &Crash<'_>) -> Option<[u64; 2]> {
    let at = crash.stated().record(Slot::ExceptionRecord)?;
    let width = crash.machine.pointer_width();
    let bytes = read(crash, at, crate::machine::ExceptionRecord::size(width))?;
    let record = crate::machine::ExceptionRecord::read(View(&bytes), width)?;
    (record.code == 0xC000_0005 && record.parameters >= 2).then_some(record.information)
}

/// Reads a trap frame of this machine and checks that it can be one.
fn read_trap_frame(crash: &Crash<'_>, at: u64) -> Option<Registers> {
    match crash.machine {
        Machine::X64 => {
            let bytes = read(crash, at, machine_x64::trap_frame::SIZE)?;
            let registers = machine_x64::trap_frame::read(View(&bytes))?;
            let frame = machine_x64::trap_frame::MachineFrame::read(View(&bytes), 0x168)?;
            (frame.flags_plausible() && [0x10, 0x33, 0x23].contains(&(frame.cs & 0xFFFF)))
                .then_some(registers)
        }
        Machine::X86 => {
            let bytes = read(crash, at, machine_x86::trap_frame::USER_SIZE)
                .or_else(|| read(crash, at, machine_x86::trap_frame::KERNEL_SIZE))?;
            machine_x86::trap_frame::flags_plausible(View(&bytes).u32(0x70)?)
                .then(|| machine_x86::trap_frame::read(View(&bytes), at))
                .flatten()
        }
        Machine::Ia64 => ia64::named_trap_frame(crash, at),
        _ => None,
    }
}

/// The dump's own context, when it is at the address the parameters name.
fn header_is_the_fault(crash: &Crash<'_>, target: &Target) -> Option<FaultContext> {
    let registers = crash.context.as_ref()?;
    (target.ip.is_some() && registers.ip() == target.ip).then(|| FaultContext {
        registers: registers.clone(),
        source: Source::HeaderContext,
        candidates: 1,
        trap_frame: None,
        confirmed_by: vec![Source::HeaderContext],
        access_violation: access_violation(crash),
    })
}

/// Looks on the stack for the context that is already known: agreement is worth reporting, the
/// trap frame's address is worth having, and registers that are missing may be there.
fn confirm(
    crash: &Crash<'_>,
    stack: &Snapshot<'_>,
    target: &Target,
    mut context: FaultContext,
) -> FaultContext {
    if header_is_the_fault(crash, target)
        .is_some_and(|h| h.registers.sp() == context.registers.sp())
    {
        context.confirmed_by.push(Source::HeaderContext);
    }
    let searched = Target {
        ip: context.registers.ip(),
        ..*target
    };
    for found in search(crash, stack, &searched) {
        // An EXCEPTION_RECORD holds no stack pointer; its address is all it can agree in.
        let record = found.source == Source::ExceptionRecord;
        if !record && found.registers.sp() != context.registers.sp() {
            continue;
        }
        context.confirmed_by.push(found.source);
        context.trap_frame = context.trap_frame.or(found.trap_frame);
        context.access_violation = context.access_violation.or(found.access_violation);
        add_missing(&mut context.registers, &found.registers);
    }
    context.confirmed_by.sort_unstable();
    context.confirmed_by.dedup();
    context
}

/// Everything on the stack that can be the fault's context.
fn search(crash: &Crash<'_>, stack: &Snapshot<'_>, target: &Target) -> Vec<Candidate> {
    match crash.machine {
        Machine::X64 => x64::search(crash, stack, target),
        Machine::X86 => x86::search(crash, stack, target),
        Machine::Ia64 => ia64::search(crash, stack, target),
        _ => Vec::new(),
    }
}

/// Chooses the context with the best support and says how many have as much.
fn best(candidates: Vec<Candidate>) -> Option<FaultContext> {
    // Several records of one event (trap frame, CONTEXT, EXCEPTION_RECORD) are one context.
    let (records, contexts): (Vec<_>, Vec<_>) = candidates
        .into_iter()
        .partition(|c| c.source == Source::ExceptionRecord);
    let violation = records.iter().find_map(|r| r.access_violation);
    let recorded = !records.is_empty();
    let candidates = match contexts.is_empty() {
        true => records,
        false => contexts,
    };
    let mut merged: Vec<(Candidate, Vec<Source>)> = Vec::new();
    for candidate in candidates {
        let key = |c: &Candidate| (c.registers.ip(), c.registers.sp());
        match merged.iter_mut().find(|(m, _)| key(m) == key(&candidate)) {
            Some((known, sources)) => {
                sources.push(candidate.source);
                merge(known, candidate);
            }
            None => {
                let source = candidate.source;
                merged.push((candidate, vec![source]));
            }
        }
    }
    let top = merged.iter().map(|(c, _)| c.score).max()?;
    let count = merged.iter().filter(|(c, _)| c.score == top).count();
    let (chosen, mut sources) = merged.into_iter().find(|(c, _)| c.score == top)?;
    if recorded {
        sources.push(Source::ExceptionRecord);
    }
    sources.sort_unstable();
    sources.dedup();
    Some(FaultContext {
        registers: chosen.registers,
        source: chosen.source,
        candidates: u32::try_from(count).unwrap_or(u32::MAX),
        trap_frame: chosen.trap_frame,
        confirmed_by: sources,
        access_violation: chosen.access_violation.or(violation),
    })
}

/// Joins two records of the same context: the better supported one leads, the other completes.
fn merge(known: &mut Candidate, other: Candidate) {
    let total = known.score.saturating_add(other.score);
    let (mut lead, rest) = match known.score >= other.score {
        true => (known.clone(), other),
        false => (other, known.clone()),
    };
    add_missing(&mut lead.registers, &rest.registers);
    lead.trap_frame = lead.trap_frame.or(rest.trap_frame);
    lead.access_violation = lead.access_violation.or(rest.access_violation);
    lead.score = total;
    *known = lead;
}

/// Adds the registers of `from` that `to` does not have.
pub(super) fn add_missing(to: &mut Registers, from: &Registers) {
    let count = u8::try_from(to.machine().register_names().len()).unwrap_or(0);
    for reg in (0..count).map(crate::machine::Reg) {
        if to.get(reg).is_none()
            && let Some(value) = from.get(reg)
        {
            to.set(reg, value);
        }
    }
}

/// What is left when nothing was found: the address the parameters name, or, for codes that are no
/// fault, the context of the bug check itself.
fn fall_back(crash: &Crash<'_>, target: &Target) -> Option<FaultContext> {
    let (registers, source) = match (target.check.kind, target.ip, &crash.context) {
        (Kind::Fault, Some(ip), _) => {
            let mut registers = Registers::new(crash.machine);
            registers.set_ip(ip);
            (registers, Source::BugcheckParameters)
        }
        (_, _, Some(context)) => (context.clone(), Source::HeaderContext),
        (_, _, None) => return None,
    };
    Some(FaultContext {
        registers,
        source,
        candidates: 1,
        trap_frame: None,
        confirmed_by: vec![source],
        access_violation: None,
    })
}

/// `len` bytes of the dump's memory.
pub(super) fn read(crash: &Crash<'_>, at: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    crash.memory.read(Gva(at), &mut bytes).ok()?;
    Some(bytes)
}
