//! What a function does to doubly linked lists that its arguments lead to, whatever its name: it takes an
//! entry off, puts one on, or follows links in a loop; and with which displacements its callers call it.
//!
//! Calls into the same module are followed two deep. What is not seen is not denied: a function that
//! cannot be read whole may do more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use iced_x86::{Instruction, InstructionInfoFactory};

use super::CodeSource;
use super::flow::{self, State, Target};
use super::values::{COST, Origin, STACK, Value, Values};
use crate::bytes::Budget;

/// Calls deep that a function is followed.
const DEEPEST: u8 = 2;
/// Functions read for one answer.
const MOST_FUNCTIONS: u32 = 48;
/// Registers that hold the first arguments on x64, by number.
const ARGUMENTS_X64: [usize; 4] = [1, 2, 8, 9];

/// What a function does to lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListWork {
    /// It joins the neighbours of an entry.
    pub unlinks: bool,
    /// It puts an entry between two neighbours.
    pub inserts: bool,
    /// It goes from link to link in a loop.
    pub walks: bool,
    /// Every path was read.
    pub whole: bool,
    /// The arguments that lead to entries it takes off, by position, each with the distance of the
    /// entry's links from what the argument points at.
    pub entries: BTreeSet<(usize, i64)>,
    /// The arguments that lead to entries it puts on a list, in the same form.
    pub put_on: BTreeSet<(usize, i64)>,
}

impl ListWork {
    /// It takes one entry off a list and puts the same one on again, and no other: the restart of a timer.
    pub fn moves_one(&self) -> bool {
        self.entries.len() == 1 && self.entries == self.put_on
    }

    /// Its caller hands it an entry that it takes off a list or puts on one.
    pub fn is_given_entries(&self) -> bool {
        !self.entries.is_empty() || !self.put_on.is_empty()
    }
}

/// One argument of a call, as far as the caller's code tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// A pointer that the caller has, plus so many bytes.
    pub displacement: Option<i64>,
    /// What the caller's pointer plus so many bytes leads to.
    pub loaded_from: Option<i64>,
}

/// What the function at `entry` does to lists. `None` when nothing of it can be read.
pub fn list_work(code: &dyn CodeSource, entry: u32, budget: &Budget) -> Option<ListWork> {
    let notes = Notes::new(code, budget);
    let walked = notes.read(entry, Values::new(code.bits()?), 0)?;
    let mut work = notes.work.into_inner();
    work.walks |= !walked.walked.is_empty();
    work.whole = notes.whole.get();
    Some(work)
}

/// What each call of `callee` in the function at `entry` passes. Empty when there is none.
pub fn passed(code: &dyn CodeSource, entry: u32, callee: u32, budget: &Budget) -> Vec<Vec<Passed>> {
    let Some(bits) = code.bits() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let start = Caller(Values::new(bits));
    flow::read(code, entry, start, budget, &mut |_, target, state| {
        if *target == Target::Own(callee) {
            found.push(state.0.arguments().iter().map(told).collect());
        }
    });
    found
}

/// The locks that calls of imported or own functions with an accepted name are given, as displacements
/// from what the caller's pointer leads to.
pub fn passed_by_name(
    code: &dyn CodeSource,
    entry: u32,
    budget: &Budget,
    accept: &dyn Fn(&str) -> bool,
) -> Vec<Vec<Passed>> {
    let Some(bits) = code.bits() else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let start = Caller(Values::new(bits));
    flow::read(code, entry, start, budget, &mut |_, target, state| {
        let wanted = match target {
            Target::Import(name) => accept(name),
            Target::Own(rva) => code.names_at(*rva).iter().any(|name| accept(name)),
            Target::Unknown => false,
        };
        if wanted {
            found.push(state.0.arguments().iter().map(told).collect());
        }
    });
    found
}

fn told(value: &Value) -> Passed {
    let pointer = value.origin.is_some() && !value.on_stack();
    let loaded_from = match &value.origin {
        Some(Origin::At(place)) if value.plus == 0 && !place.on_stack() => Some(place.plus),
        _ => None,
    };
    Passed {
        displacement: pointer.then_some(value.plus),
        loaded_from,
    }
}

/// Values along a path of a function whose calls are not followed.
#[derive(Clone, PartialEq)]
struct Caller(Values);

impl State for Caller {
    const COST: u64 = COST;

    fn join(&mut self, other: &Self, at: u32) {
        self.0.join(&other.0, at);
    }

    fn call(&mut self, at: u32, _: &Target) {
        self.0.tick = at;
        self.0.after_call();
        if self.0.bits != 64 {
            self.0.lose_stack();
        }
    }

    fn step(&mut self, at: u32, instruction: &Instruction) {
        self.0.tick = at;
        self.0.step(instruction, &mut InstructionInfoFactory::new());
    }
}

/// What is noted while a function and those it calls are read.
struct Notes<'a> {
    code: &'a dyn CodeSource,
    budget: &'a Budget,
    work: RefCell<ListWork>,
    whole: Cell<bool>,
    functions: Cell<u32>,
}

impl<'a> Notes<'a> {
    fn new(code: &'a dyn CodeSource, budget: &'a Budget) -> Notes<'a> {
        Notes {
            code,
            budget,
            work: RefCell::default(),
            whole: Cell::new(true),
            functions: Cell::new(0),
        }
    }

    fn read(&self, entry: u32, values: Values, depth: u8) -> Option<Values> {
        self.functions.set(self.functions.get() + 1);
        let start = Path {
            values,
            notes: self,
            depth,
        };
        let reading = flow::read(self.code, entry, start, self.budget, &mut |_, _, _| {})?;
        if !reading.whole {
            self.whole.set(false);
        }
        reading.end.map(|end| end.values)
    }

    fn unlinked(&self, entry: &Value) {
        if entry.on_stack() {
            return;
        }
        let mut work = self.work.borrow_mut();
        work.unlinks = true;
        if let Some(argument) = argument(entry) {
            work.entries.insert((argument, entry.plus));
        }
    }
}

/// The position of the argument that a value is a distance from.
fn argument(value: &Value) -> Option<usize> {
    match &value.origin {
        Some(Origin::Given(register)) => ARGUMENTS_X64.iter().position(|own| own == register),
        // On x86 arguments lie behind the return address.
        Some(Origin::At(place)) if place.origin == Some(Origin::Given(STACK)) => {
            let word = place.plus.checked_sub(4)?;
            (word >= 0 && word % 4 == 0).then(|| usize::try_from(word / 4).ok())?
        }
        _ => None,
    }
}

#[derive(Clone)]
struct Path<'a> {
    values: Values,
    notes: &'a Notes<'a>,
    depth: u8,
}

impl PartialEq for Path<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Path<'_> {
    fn go(&mut self, at: u32, target: &Target, comes_back: bool) {
        self.values.tick = at;
        let notes = self.notes;
        let before = self.values.clone();
        let mut inner = None;
        if let Target::Own(rva) = target
            && self.depth < DEEPEST
            && notes.functions.get() < MOST_FUNCTIONS
        {
            let mut start = self.values.clone();
            if comes_back {
                start.enter();
            }
            inner = notes.read(*rva, start, self.depth + 1);
        } else {
            notes.whole.set(false);
        }
        self.values.tick = at;
        match inner {
            Some(end) => {
                self.values = end;
                self.values.tick = at;
                self.values.leave(&before);
            }
            None => {
                self.values.after_call();
                if self.values.bits != 64 {
                    self.values.lose_stack();
                }
            }
        }
    }
}

impl State for Path<'_> {
    const COST: u64 = COST;

    fn join(&mut self, other: &Self, at: u32) {
        self.values.join(&other.values, at);
        if !self.values.walked.is_empty() {
            self.notes.work.borrow_mut().walks = true;
        }
    }

    fn call(&mut self, at: u32, target: &Target) {
        self.go(at, target, true);
    }

    fn jump(&mut self, at: u32, target: &Target) {
        self.go(at, target, false);
    }

    fn leave(&mut self, instruction: &Instruction) {
        self.values.returned(instruction);
    }

    fn step(&mut self, at: u32, instruction: &Instruction) {
        self.values.tick = at;
        self.values
            .step(instruction, &mut InstructionInfoFactory::new());
        for entry in self.values.unlinked.clone() {
            self.notes.unlinked(&entry);
        }
        for entry in self
            .values
            .inserted
            .iter()
            .filter(|entry| !entry.on_stack())
        {
            let mut work = self.notes.work.borrow_mut();
            work.inserts = true;
            if let Some(argument) = argument(entry) {
                work.put_on.insert((argument, entry.plus));
            }
        }
    }
}
