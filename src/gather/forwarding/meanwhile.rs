//! Did another processor change a forwarding entry while this one took it off its list?
//!
//! The removal reads both links of the entry and stores each into the other's neighbour. Where its store faults, the
//! registers still hold what it had read, and the instructions before it say from where. Memory may hold other
//! links by then: the entry is linked again, or taken off. Under a lock for writing nobody else changes it, and
//! whoever writes over an entry does not link it again.

use std::ops::RangeInclusive;

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess,
    OpKind, Register,
};

use super::set::FORWARDING;
use crate::code::CodeSource;
use crate::unwind::CodeInfo;

use super::removal::function_of_fault;
use super::timer_lists::{Linked, link};
use crate::facts::{FaultFacts, Finding, FindingKind, InstructionKind};
use crate::gather::code::ModuleCode;
use crate::gather::fault::Found;
use crate::gather::forwarding::findings::PoolView;
use crate::gather::session::Session;

/// Bytes of the function that are read.
const MOST_CODE: usize = 0x800;

/// The entry that another processor changed meanwhile; `None` where that is not shown.
pub(in crate::gather) fn changed(
    pool: &PoolView<'_>,
    session: &Session<'_>,
    found: &Found,
    linked: &Linked,
) -> Option<Finding> {
    let fault = &found.fault;
    if fault.instruction_kind != Some(InstructionKind::ListUnlink) {
        return None;
    }
    let read = links_read(session, found)?;
    let at = register(fault, read.entry)?.wrapping_add(read.displacement);
    let at = pool.machine.truncate(at);
    let had = [register(fault, read.next)?, register(fault, read.previous)?];
    let now = [link(pool, at, false)?, link(pool, at, true)?];
    let through = register(fault, read.through)?;
    if !linked.is_entry(pool, at) || had == now || linked.is_place(pool, through) {
        return None;
    }
    let words = match now {
        _ if is_linked(pool, linked, at, now) => "where its neighbours lead to it",
        [0, 0] if is_alone(linked, at) => "and no entry of its table leads to it",
        [next, previous] if next == at && previous == at && is_alone(linked, at) => {
            "and no entry of its table leads to it"
        }
        _ => return None,
    };
    let [next, previous] = now;
    let [had_next, had_previous] = had;
    Some(Finding {
        kind: FindingKind::ChangedEntry,
        address: Some(at),
        tag: Some(FORWARDING.to_string()),
        detail: format!(
            "this processor had read {had_next:#x} and {had_previous:#x} from the forwarding entry's timer link at \
             {at:#x} and faulted through them; memory holds {next:#x} and {previous:#x} there, {words}: another \
             processor changed the entry meanwhile"
        ),
        list: Vec::new(),
    })
}

/// Both neighbours are places of the queue and lead to the entry.
fn is_linked(pool: &PoolView<'_>, linked: &Linked, at: u64, now: [u64; 2]) -> bool {
    let [next, previous] = now;
    next != at
        && linked.is_place(pool, next)
        && linked.is_place(pool, previous)
        && link(pool, next, true) == Some(at)
        && link(pool, previous, false) == Some(at)
}

/// Every list of the table was walked, and none leads to the entry.
fn is_alone(linked: &Linked, at: u64) -> bool {
    let mut steps = linked.forward.iter().chain(&linked.backward);
    linked.whole && !linked.forwarding.is_empty() && !steps.any(|(to, _)| *to == at)
}

fn register(fault: &FaultFacts, register: Register) -> Option<u64> {
    let name = format!("{register:?}").to_ascii_lowercase();
    let mut registers = fault.registers.iter();
    registers
        .find(|(own, _)| *own == name)
        .map(|(_, value)| *value)
}

/// Which registers hold what the removal had read of an entry.
struct Read {
    /// Points to the entry, with `displacement` bytes before its first link.
    entry: Register,
    displacement: u64,
    /// Holds the first link, and the second.
    next: Register,
    previous: Register,
    /// Which of the two the store that faulted went through.
    through: Register,
}

/// Reads it from the instructions between the function's start and the fault.
fn links_read(session: &Session<'_>, found: &Found) -> Option<Read> {
    let ip = found.fault.ip?;
    let span = session.module_at(ip)?;
    let start = function_of_fault(session, found)?;
    let code = ModuleCode::unnamed(session, span);
    let bits = code.bits()?;
    let mut bytes = vec![0; MOST_CODE];
    let there = code.read(span.rva(start)?, &mut bytes);
    bytes.truncate(there);
    let decoder = Decoder::with_ip(bits, &bytes, start, DecoderOptions::NONE);
    let all: Vec<Instruction> = decoder
        .into_iter()
        .take_while(|instruction| !instruction.is_invalid())
        .collect();
    let at = all.iter().position(|instruction| instruction.ip() == ip)?;
    let (before, from) = all.split_at(at);
    let width = u64::from(bits / 8);
    let store = from.first()?;
    let plain = store.mnemonic() == Mnemonic::Mov
        && store.op0_kind() == OpKind::Memory
        && store.op1_kind() == OpKind::Register
        && store.memory_index() == Register::None;
    let (through, value) = (store.memory_base(), store.op1_register());
    if !plain || through == Register::None {
        return None;
    }
    let (first, one) = loaded(before, through)?;
    let (second, other) = loaded(before, value)?;
    let begins = first.min(second);
    let (low, high) = match one.1 < other.1 {
        true => ((through, one), (value, other)),
        false => ((value, other), (through, one)),
    };
    let entry = low.1.0;
    let pair = entry == high.1.0 && high.1.1.checked_sub(low.1.1) == Some(width);
    let between = before.get(begins..)?;
    let straight = between.iter().all(|i| {
        matches!(
            i.flow_control(),
            FlowControl::Next | FlowControl::ConditionalBranch
        )
    }) && !between.iter().any(|i| writes(i, entry));
    // Nothing may come in from elsewhere behind the loads.
    let part = between.first()?.next_ip()..=ip;
    if !pair || !straight || all.iter().any(|i| leads_into(i, &part)) {
        return None;
    }
    Some(Read {
        entry,
        displacement: low.1.1,
        next: low.0,
        previous: high.0,
        through,
    })
}

/// The last load into a register before a place: its position, its base and its displacement. `None` when anything else
/// wrote the register last.
fn loaded(before: &[Instruction], register: Register) -> Option<(usize, (Register, u64))> {
    let position = before.iter().rposition(|i| writes(i, register))?;
    let load = before.get(position)?;
    let base = load.memory_base();
    let plain = load.mnemonic() == Mnemonic::Mov
        && load.op0_register() == register
        && load.op1_kind() == OpKind::Memory
        && load.memory_index() == Register::None
        && base != Register::None
        && base.full_register() != register.full_register()
        && !matches!(
            base,
            Register::RSP | Register::ESP | Register::RIP | Register::EIP
        );
    plain.then(|| (position, (base, load.memory_displacement64())))
}

/// The instruction changes any part of the register.
fn writes(instruction: &Instruction, register: Register) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    info.used_registers().iter().any(|used| {
        used.register().full_register() == register.full_register()
            && !matches!(
                used.access(),
                OpAccess::Read | OpAccess::CondRead | OpAccess::None
            )
    })
}

fn leads_into(instruction: &Instruction, part: &RangeInclusive<u64>) -> bool {
    let near = matches!(
        instruction.op0_kind(),
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
    );
    near && part.contains(&instruction.near_branch_target())
}
