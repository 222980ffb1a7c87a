//! The instructions of one function in the order control can reach them, with a state that the
//! caller defines carried along every path.
//!
//! A forward data-flow: where paths meet their states are joined, and a place is read again when
//! its state grew. Calls are resolved through registers that hold an import, import slots and
//! thunks. What leads outside the function, an indirect jump for one, ends the path.

use std::collections::BTreeMap;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, Mnemonic,
    OpAccess, OpKind, Register,
};

use super::CodeSource;
use crate::bytes::Budget;

/// Instructions of one function at most; the longest of tcpip.sys have a few thousand.
const MOST_INSTRUCTIONS: usize = 0x4000;
/// Readings of instructions altogether.
const MOST_STEPS: u64 = 0x4_0000;
/// Longest instruction, in bytes.
const LONGEST: usize = 15;

/// What a call or a jump out of the function leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A function of the same module, by RVA.
    Own(u32),
    /// An imported function, by name.
    Import(String),
    /// Not known.
    Unknown,
}

/// What is carried along paths.
pub trait State: Clone + PartialEq {
    /// What one instruction takes from the budget.
    const COST: u64 = 1;

    /// Both paths' knowledge, where they meet: at an instruction, or where the function ends ([`END`]).
    fn join(&mut self, other: &Self, at: u32);
    /// The effect of a call (or of a jump that leaves the function).
    fn call(&mut self, at: u32, target: &Target);
    /// The effect of any other instruction, at its RVA.
    fn step(&mut self, at: u32, instruction: &Instruction);
    /// The effect of a return.
    fn leave(&mut self, _: &Instruction) {}
    /// The effect of a jump to another function, which returns for this one.
    fn jump(&mut self, at: u32, target: &Target) {
        self.call(at, target);
    }
}

/// The place where a function's paths meet at its end.
pub const END: u32 = u32::MAX;

/// Registers that hold the contents of an import slot, by number.
type Held = [Option<u32>; 16];

#[derive(Clone, PartialEq)]
struct Path<S> {
    state: S,
    held: Held,
}

impl<S: State> Path<S> {
    fn join(&mut self, other: &Self, at: u32) {
        self.state.join(&other.state, at);
        for (own, other) in self.held.iter_mut().zip(&other.held) {
            if own != other {
                *own = None;
            }
        }
    }
}

/// How a function was read.
#[derive(Clone)]
pub struct Reading<S> {
    /// Every path was followed to its end; false when bytes are absent, make no sense or lead where
    /// no reading can follow.
    pub whole: bool,
    /// RVAs that control reaches, ascending.
    pub places: Vec<u32>,
    /// What holds where the function returns; `None` when no path does.
    pub end: Option<S>,
}

/// Reads the function at `entry`. `None` when nothing of it can be read or the budget is spent.
pub fn read<S: State>(
    code: &dyn CodeSource,
    entry: u32,
    start: S,
    budget: &Budget,
    seen: &mut dyn FnMut(u32, &Target, &S),
) -> Option<Reading<S>> {
    let bits = code.bits()?;
    let mut places: BTreeMap<u32, Path<S>> = BTreeMap::new();
    let mut work = vec![entry];
    places.insert(
        entry,
        Path {
            state: start,
            held: [None; 16],
        },
    );
    let mut whole = true;
    let mut steps = 0u64;
    let mut info = InstructionInfoFactory::new();
    while let Some(at) = work.pop() {
        steps += 1;
        if steps > MOST_STEPS || places.len() > MOST_INSTRUCTIONS || budget.spend(S::COST).is_err()
        {
            return None;
        }
        let Some(mut path) = places.get(&at).cloned() else {
            continue;
        };
        let Some(instruction) = decode(code, bits, at) else {
            if at == entry {
                return None;
            }
            whole = false;
            continue;
        };
        let mut next: Vec<u32> = Vec::new();
        let after = at.wrapping_add(u32::try_from(instruction.len()).unwrap_or(1));
        let flow = instruction.flow_control();
        match flow {
            FlowControl::Call | FlowControl::IndirectCall => {
                let target = target(code, &instruction, &path.held, bits);
                path.state.call(at, &target);
                for volatile in [0, 1, 2, 8, 9, 10, 11] {
                    if (bits == 64 || volatile < 8)
                        && let Some(slot) = path.held.get_mut(volatile)
                    {
                        *slot = None;
                    }
                }
                next.push(after);
            }
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                match branch(code, &instruction) {
                    // A jump to another function's start is a call that does not come back.
                    Some(to) if to != entry && starts(code, to) => {}
                    Some(to) => next.push(to),
                    None => whole = false,
                }
                if flow == FlowControl::ConditionalBranch {
                    next.push(after);
                }
            }
            FlowControl::IndirectBranch => match target(code, &instruction, &path.held, bits) {
                Target::Unknown => whole = false,
                Target::Own(_) | Target::Import(_) => {}
            },
            FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => {}
            _ => {
                path.state.step(at, &instruction);
                hold(code, &instruction, bits, &mut path.held, &mut info);
                next.push(after);
            }
        }
        // Control does not fall into another function: a call before it did not come back.
        next.retain(|to| *to != after || !starts(code, *to));
        for to in next {
            match places.get_mut(&to) {
                None => {
                    places.insert(to, path.clone());
                    work.push(to);
                }
                Some(known) => {
                    let before = known.clone();
                    known.join(&path, to);
                    if *known != before {
                        work.push(to);
                    }
                }
            }
        }
    }
    // The states are final now: report each call with the state it is reached in.
    let mut end: Option<S> = None;
    let mut ends = |state: S| match &mut end {
        None => end = Some(state),
        Some(known) => known.join(&state, END),
    };
    for (at, path) in &places {
        let Some(instruction) = decode(code, bits, *at) else {
            continue;
        };
        let to = match instruction.flow_control() {
            FlowControl::Call | FlowControl::IndirectCall => {
                let to = target(code, &instruction, &path.held, bits);
                seen(*at, &to, &path.state);
                continue;
            }
            FlowControl::Return => {
                let mut state = path.state.clone();
                state.leave(&instruction);
                ends(state);
                continue;
            }
            FlowControl::IndirectBranch => target(code, &instruction, &path.held, bits),
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                match branch(code, &instruction) {
                    Some(to) if to != entry && starts(code, to) => Target::Own(to),
                    _ => continue,
                }
            }
            _ => continue,
        };
        // A jump that does not come back: the function it leads to returns for this one.
        seen(*at, &to, &path.state);
        let mut state = path.state.clone();
        state.jump(*at, &to);
        ends(state);
    }
    Some(Reading {
        whole,
        places: places.into_keys().collect(),
        end,
    })
}

/// True when a function starts there.
fn starts(code: &dyn CodeSource, at: u32) -> bool {
    !code.names_at(at).is_empty()
}

pub(super) fn decode(code: &dyn CodeSource, bits: u32, at: u32) -> Option<Instruction> {
    let mut bytes = [0; LONGEST];
    let n = code.read(at, &mut bytes);
    let ip = code.base().wrapping_add(u64::from(at));
    let mut decoder = Decoder::with_ip(bits, bytes.get(..n)?, ip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}

/// Where a direct branch or call leads, as an RVA.
pub(super) fn branch(code: &dyn CodeSource, instruction: &Instruction) -> Option<u32> {
    match instruction.op0_kind() {
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            let to = instruction.near_branch_target().wrapping_sub(code.base());
            u32::try_from(to).ok()
        }
        _ => None,
    }
}

/// The slot an instruction's memory operand names, as an RVA.
fn slot(code: &dyn CodeSource, instruction: &Instruction) -> Option<u32> {
    let absolute = match (instruction.memory_base(), instruction.memory_index()) {
        (Register::RIP, Register::None) => instruction.ip_rel_memory_address(),
        (Register::None, Register::None) => instruction.memory_displacement64(),
        _ => return None,
    };
    u32::try_from(absolute.wrapping_sub(code.base())).ok()
}

fn target(code: &dyn CodeSource, instruction: &Instruction, held: &Held, bits: u32) -> Target {
    let import = |slot: u32| code.import_at(slot).map(Target::Import);
    if let Some(to) = branch(code, instruction) {
        return thunk(code, bits, to)
            .and_then(import)
            .unwrap_or(Target::Own(to));
    }
    let through = match instruction.op0_kind() {
        OpKind::Memory => slot(code, instruction),
        OpKind::Register => number(instruction.op0_register())
            .and_then(|n| held.get(n).copied())
            .flatten(),
        _ => None,
    };
    through.and_then(import).unwrap_or(Target::Unknown)
}

/// The slot a thunk jumps through: `jmp [slot]` and nothing else.
fn thunk(code: &dyn CodeSource, bits: u32, at: u32) -> Option<u32> {
    let instruction = decode(code, bits, at)?;
    (matches!(instruction.code(), Code::Jmp_rm64 | Code::Jmp_rm32)
        && instruction.op0_kind() == OpKind::Memory)
        .then(|| slot(code, &instruction))
        .flatten()
}

/// Number of a general register, whatever part of it is named.
pub(super) fn number(register: Register) -> Option<usize> {
    register.is_gpr().then(|| register.full_register().number())
}

/// Keeps track of registers that are loaded from an import slot.
fn hold(
    code: &dyn CodeSource,
    instruction: &Instruction,
    bits: u32,
    held: &mut Held,
    info: &mut InstructionInfoFactory,
) {
    let width = if bits == 64 { 8 } else { 4 };
    let loaded = (instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Memory
        && instruction.op0_register().size() == width)
        .then(|| slot(code, instruction))
        .flatten()
        .filter(|slot| code.import_at(*slot).is_some());
    let copied = (instruction.mnemonic() == Mnemonic::Mov
        && instruction.op1_kind() == OpKind::Register)
        .then(|| number(instruction.op1_register()))
        .flatten()
        .and_then(|n| held.get(n).copied())
        .flatten();
    for used in info.info(instruction).used_registers() {
        let written = matches!(
            used.access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        );
        if written && let Some(slot) = number(used.register()).and_then(|n| held.get_mut(n)) {
            *slot = None;
        }
    }
    if instruction.op0_kind() == OpKind::Register
        && let Some(own) = number(instruction.op0_register()).and_then(|n| held.get_mut(n))
        && let Some(known) = loaded.or(copied)
    {
        *own = Some(known);
    }
}
