//! What a routine that takes an entry off a doubly linked list leaves in the entry's own two links:
//! null pointers, pointers to itself, or what was there.
//!
//! The few instructions of such a routine are followed with symbolic values: a register holds what the
//! caller gave, what was loaded from a place, or a constant. Both habits are common, and which one
//! a build has says whether a null link in a linked entry can be the routine's own work. The
//! answer is given only when every path that unlinks agrees.

use iced_x86::{FlowControl, InstructionInfoFactory};

use super::CodeSource;
use super::flow::{branch, decode};
use super::values::{Value, Values};
use crate::bytes::Budget;

/// Instructions of one path; a removal has a dozen.
const MOST_STEPS: u32 = 160;
/// Paths through one routine.
const MOST_PATHS: usize = 64;
/// What the links of an entry hold after it was taken off its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeftBehind {
    /// Null, both.
    Null,
    /// The entry's own address, both: an empty list's head.
    Itself,
    /// What they held before.
    Unchanged,
}

/// What the routine at `entry` leaves in the links of the entry that it takes off its list. `None`
/// when it takes none off, moves it to another list, calls another function afterwards, or cannot be read
/// whole.
pub fn left_behind(code: &dyn CodeSource, entry: u32, budget: &Budget) -> Option<LeftBehind> {
    let bits = code.bits()?;
    let mut work = vec![(entry, Path::new(bits))];
    let mut paths = 0;
    let mut found: Option<LeftBehind> = None;
    while let Some((at, path)) = work.pop() {
        paths += 1;
        if paths > MOST_PATHS {
            return None;
        }
        let path = follow(code, at, path, &mut work, budget)?;
        let whole = path.ended && !path.called;
        for left in path.left_behind() {
            let left = left.filter(|left| whole && found.is_none_or(|known| known == *left));
            found = Some(left?);
        }
    }
    found
}

/// Follows one path to its end; where it forks, the other way is put to `work`. `None` when the budget
/// is spent.
fn follow(
    code: &dyn CodeSource,
    mut at: u32,
    mut path: Path,
    work: &mut Vec<(u32, Path)>,
    budget: &Budget,
) -> Option<Path> {
    let mut info = InstructionInfoFactory::new();
    while path.steps < MOST_STEPS {
        budget.spend(1).ok()?;
        path.steps += 1;
        let Some(instruction) = decode(code, path.values.bits, at) else {
            break;
        };
        let after = at.wrapping_add(u32::try_from(instruction.len()).unwrap_or(1));
        match instruction.flow_control() {
            FlowControl::Return => {
                path.ended = true;
                break;
            }
            FlowControl::ConditionalBranch => {
                if let Some(to) = branch(code, &instruction) {
                    work.push((to, path.clone()));
                }
                at = after;
            }
            FlowControl::UnconditionalBranch => match branch(code, &instruction) {
                Some(to) => at = to,
                None => break,
            },
            FlowControl::Call | FlowControl::IndirectCall => {
                path.call();
                at = after;
            }
            FlowControl::Next => {
                path.values.tick = path.steps;
                path.values.step(&instruction, &mut info);
                path.unlinked.append(&mut path.values.unlinked);
                at = after;
            }
            _ => break,
        }
    }
    Some(path)
}

/// Values along one path.
#[derive(Clone)]
struct Path {
    values: Values,
    /// Entries whose neighbours were joined.
    unlinked: Vec<Value>,
    steps: u32,
    /// It came to a return.
    ended: bool,
    /// Another function ran after an entry was taken off: what it did to the links is not known.
    called: bool,
}

impl Path {
    fn new(bits: u32) -> Path {
        Path {
            values: Values::new(bits),
            unlinked: Vec::new(),
            steps: 0,
            ended: false,
            called: false,
        }
    }

    /// For each entry taken off, what its links hold now; `None` for anything else than a removal.
    fn left_behind(&self) -> Vec<Option<LeftBehind>> {
        let values = &self.values;
        let left = |entry: &Value| {
            let second = entry.plus(values.width);
            let links = [values.load(entry)?, values.load(&second)?];
            let unchanged = [entry.loaded()?, second.loaded()?];
            match links {
                [Value::ZERO, Value::ZERO] => Some(LeftBehind::Null),
                [a, b] if a == *entry && b == *entry => Some(LeftBehind::Itself),
                links if links == unchanged => Some(LeftBehind::Unchanged),
                _ => None,
            }
        };
        self.unlinked.iter().map(left).collect()
    }

    fn call(&mut self) {
        self.called |= !self.unlinked.is_empty();
        self.values.tick = self.steps;
        self.values.after_call();
    }
}

#[cfg(test)]
mod tests;
