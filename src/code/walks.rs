//! Whether a place in a function lies in a loop that goes from entry to entry of a list.
//!
//! The loop is the instructions that lead from the place back to it without a call; in it a register is loaded
//! from where it points, directly or by way of others. A loop that waits for a lock reads one place again and again,
//! and its registers stay.

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::CodeSource;
use crate::bytes::Budget;

/// Instructions of one loop at most.
const MOST: usize = 256;
/// Longest instruction, in bytes.
const LONGEST: usize = 15;
/// Moves between registers that are followed from a load to the pointer it replaces.
const MOST_MOVES: usize = 4;

/// True when the instruction at `at` is part of a loop that follows pointers. `None` where it cannot be read.
pub fn walks_at(code: &dyn CodeSource, at: u32, budget: &Budget) -> Option<bool> {
    let bits = code.bits()?;
    let mut next: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut read: BTreeMap<u32, Instruction> = BTreeMap::new();
    let mut work = vec![at];
    while let Some(place) = work.pop() {
        if read.contains_key(&place) {
            continue;
        }
        if read.len() >= MOST || budget.spend(1).is_err() {
            return None;
        }
        let Some(instruction) = decode(code, bits, place) else {
            if place == at {
                return None;
            }
            continue;
        };
        let after = place.wrapping_add(u32::try_from(instruction.len()).ok()?);
        let target = |instruction: &Instruction| {
            let to = instruction.near_branch_target().wrapping_sub(code.base());
            u32::try_from(to).ok()
        };
        let to = match instruction.flow_control() {
            FlowControl::Next => vec![after],
            FlowControl::ConditionalBranch => {
                target(&instruction).into_iter().chain([after]).collect()
            }
            FlowControl::UnconditionalBranch => target(&instruction).into_iter().collect(),
            _ => Vec::new(),
        };
        work.extend(&to);
        next.insert(place, to);
        read.insert(place, instruction);
    }
    // What leads back to the place.
    let mut body = BTreeSet::from([at]);
    loop {
        let before = body.len();
        for (place, to) in &next {
            if to.iter().any(|to| body.contains(to)) {
                body.insert(*place);
            }
        }
        if body.len() == before {
            break;
        }
    }
    let entered = next
        .get(&at)
        .is_some_and(|to| to.iter().any(|to| body.contains(to)));
    let inside: Vec<&Instruction> = body.iter().filter_map(|place| read.get(place)).collect();
    Some(entered && inside.iter().any(|load| follows(load, &inside)))
}

/// The instruction loads a pointer from behind another one that it replaces in the loop, at once or through registers.
fn follows(load: &Instruction, inside: &[&Instruction]) -> bool {
    let loads = load.mnemonic() == Mnemonic::Mov
        && load.op0_kind() == OpKind::Register
        && load.op1_kind() == OpKind::Memory
        && load.memory_index() == Register::None;
    let base = load.memory_base();
    if !loads || !base.is_gpr() || base == Register::RSP || base == Register::ESP {
        return false;
    }
    // The link's value has the pointer's own width.
    if load.op0_register().size() != base.size() {
        return false;
    }
    let mut held = BTreeSet::from([load.op0_register() as u32]);
    for _ in 0..MOST_MOVES {
        if held.contains(&(base as u32)) {
            return true;
        }
        for other in inside {
            let moves = other.mnemonic() == Mnemonic::Mov
                && other.op0_kind() == OpKind::Register
                && other.op1_kind() == OpKind::Register;
            if moves && held.contains(&(other.op1_register() as u32)) {
                held.insert(other.op0_register() as u32);
            }
        }
    }
    held.contains(&(base as u32))
}

fn decode(code: &dyn CodeSource, bits: u32, at: u32) -> Option<Instruction> {
    let mut bytes = [0; LONGEST];
    let read = code.read(at, &mut bytes);
    let ip = code.base().wrapping_add(u64::from(at));
    let mut decoder = Decoder::with_ip(bits, bytes.get(..read)?, ip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    (!instruction.is_invalid()).then_some(instruction)
}
