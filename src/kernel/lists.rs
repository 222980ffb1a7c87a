//! Doubly linked lists of LIST_ENTRY: a bounded walk that reports the first inconsistency.
//!
//! A list that several processors changed at once keeps valid links whose neighbours disagree; an
//! overrun leaves garbage. The walk tells where, not why.

use std::collections::BTreeSet;

use crate::bytes::{Budget, Gva};
use crate::memory::{Absent, Memory};

/// Which link a walk follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Flink.
    Forward,
    /// Blink.
    Backward,
}

/// Why a walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It came back to where it began: the list is whole in this direction.
    Whole,
    /// The entry `from` leads to `to`, whose link back leads to `back` instead.
    Torn {
        /// The entry before.
        from: u64,
        /// The entry it leads to.
        to: u64,
        /// Where that one's link back leads.
        back: u64,
    },
    /// The walk met an entry twice without coming back to where it began.
    Cycle {
        /// The entry met twice.
        at: u64,
    },
    /// A link cannot be read.
    Absent {
        /// The entry whose links are not there.
        at: u64,
        /// Why.
        reason: Absent,
    },
    /// More entries than any list has, or the budget is spent.
    Limit,
}

/// A walk: the entries met after the first, and why it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Addresses of LIST_ENTRYs in the order met, without the one the walk began at.
    pub entries: Vec<u64>,
    /// Why it ended.
    pub end: End,
}

/// How a walk is bounded and how wide its pointers are.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// Pointer width in bytes.
    pub width: usize,
    /// Entries at most.
    pub most: usize,
    /// Stop at the first neighbour that does not point back.
    pub reciprocal: bool,
    /// The dump's budget.
    pub budget: &'a Budget,
}

/// Walks from the LIST_ENTRY at `start` until it comes back there or something is wrong.
pub fn walk(memory: &dyn Memory, start: u64, direction: Direction, rules: Rules<'_>) -> Walk {
    let width = rules.width as u64;
    let (ahead, behind) = match direction {
        Direction::Forward => (0, width),
        Direction::Backward => (width, 0),
    };
    let link = |at: u64, offset: u64| {
        let address = at.checked_add(offset).ok_or(Absent::NonCanonical)?;
        memory.read_pointer(Gva(address), rules.width)
    };
    let mut entries = Vec::new();
    let mut seen = BTreeSet::new();
    let mut from = start;
    let end = loop {
        if entries.len() >= rules.most || rules.budget.spend(1).is_err() {
            break End::Limit;
        }
        let to = match link(from, ahead) {
            Ok(to) => to,
            Err(reason) => break End::Absent { at: from, reason },
        };
        if rules.reciprocal {
            match link(to, behind) {
                Ok(back) if back == from => {}
                Ok(back) => break End::Torn { from, to, back },
                Err(reason) => break End::Absent { at: to, reason },
            }
        }
        if to == start {
            break End::Whole;
        }
        if !seen.insert(to) {
            break End::Cycle { at: to };
        }
        entries.push(to);
        from = to;
    };
    Walk { entries, end }
}
