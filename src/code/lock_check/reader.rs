//! Reads the forwarding function with the locks it holds carried along, into helpers a few calls deep, and
//! notes where an entry's timer is restarted.
//!
//! A helper is followed by what it does (it touches locks or lists, and can be read whole), whatever its
//! name; a restart is a call of timer code by its family's name, or an entry that is taken off a list and put on one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::super::CodeSource;
use super::super::flow::{self, State, Target};
use super::super::values::{Value, Values};
use super::held::{Effect, Locks, effect};
use super::path::Path;
use crate::bytes::Budget;
use crate::knowledge::defect::{self, FamilyId, RESTART_FUNCTION};

/// The module the code is in, as symbol families name it.
const MODULE: &str = "tcpip";
/// Calls deep that a helper is followed.
const DEEPEST: usize = 3;
/// Instructions of a helper that is followed.
const MOST_PLACES: usize = 500;
/// Instructions read in helpers altogether.
pub(super) const MOST_STEPS: u64 = 300_000;

/// Where an entry's timer is restarted.
#[derive(Clone)]
pub(super) struct Site {
    /// The place in the forwarding function.
    pub at: u32,
    /// What the restart is given; where it is built in, the entry's links.
    pub arguments: Vec<Value>,
    pub locks: Locks,
}

/// What a function is, to one that might follow it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Nature {
    /// It touches neither locks nor, where that is asked, lists.
    Harmless,
    /// It does, and every path of it can be read.
    Readable,
    /// It cannot be read whole, or is too large.
    Opaque,
}

/// What is noted while the function and its helpers are read.
pub(super) struct Reader<'a> {
    pub(super) code: &'a dyn CodeSource,
    pub(super) budget: &'a Budget,
    pub bits: u32,
    /// Restarts are told by what is done to lists.
    pub(super) by_work: bool,
    pub(super) natures: RefCell<BTreeMap<(u32, usize), Nature>>,
    /// Which own functions restart a timer: each is asked about again and again.
    pub(super) restarts: RefCell<BTreeMap<u32, bool>>,
    pub(super) named_read: RefCell<BTreeSet<Value>>,
    pub(super) counted: RefCell<BTreeSet<Value>>,
    pub(super) counted_down: RefCell<BTreeSet<Value>>,
    pub(super) calls: RefCell<BTreeMap<u32, Vec<Value>>>,
    pub(super) sites: RefCell<BTreeMap<Vec<u32>, Site>>,
    pub(super) inserted: RefCell<BTreeSet<Value>>,
    pub(super) steps: Cell<u64>,
}

impl<'a> Reader<'a> {
    pub fn new(
        code: &'a dyn CodeSource,
        budget: &'a Budget,
        bits: u32,
        by_work: bool,
    ) -> Reader<'a> {
        Reader {
            code,
            budget,
            bits,
            by_work,
            natures: RefCell::default(),
            restarts: RefCell::default(),
            named_read: RefCell::default(),
            counted: RefCell::default(),
            counted_down: RefCell::default(),
            calls: RefCell::default(),
            sites: RefCell::default(),
            inserted: RefCell::default(),
            steps: Cell::new(0),
        }
    }

    /// Reads the function and returns how many calls it has; `None` where it is not at hand.
    pub fn read(&self, entry: u32) -> Option<usize> {
        let start = Path {
            values: Values::new(self.bits),
            locks: Locks::free(),
            reader: self,
            within: Vec::new(),
        };
        let mut calls = 0;
        flow::read(self.code, entry, start, self.budget, &mut |_, _, _| {
            calls += 1;
        })?;
        Some(calls)
    }

    /// Where entries' timers are restarted.
    pub fn sites(&self) -> Vec<Site> {
        let inserted = self.inserted.borrow();
        let sites = self.sites.borrow();
        let again = |site: &&Site| {
            !self.by_work || site.arguments.len() != 1 || inserted.contains(&site.arguments[0])
        };
        sites.values().filter(again).cloned().collect()
    }

    /// Locks taken for reading by name, and counts that go up and down as a lock's readers do.
    pub fn read_locks(&self) -> (Vec<Value>, Vec<Value>) {
        let counted = self.counted.borrow();
        let both = counted
            .intersection(&self.counted_down.borrow())
            .cloned()
            .collect();
        (self.named_read.borrow().iter().cloned().collect(), both)
    }

    /// What the call at a place was given.
    pub fn call(&self, at: u32) -> Option<Vec<Value>> {
        self.calls.borrow().get(&at).cloned()
    }

    pub(super) fn nature(&self, rva: u32, depth: usize) -> Nature {
        if depth >= DEEPEST {
            return Nature::Opaque;
        }
        if let Some(known) = self.natures.borrow().get(&(rva, depth)) {
            return *known;
        }
        // What calls itself is not followed.
        self.natures
            .borrow_mut()
            .insert((rva, depth), Nature::Opaque);
        let nature = self.look(rva, depth);
        self.natures.borrow_mut().insert((rva, depth), nature);
        nature
    }

    pub(super) fn look(&self, rva: u32, depth: usize) -> Nature {
        let mut targets = Vec::new();
        let touched = Cell::new(false);
        let glance = Glance {
            touched: &touched,
            lists: self.by_work,
        };
        let reading = flow::read(self.code, rva, glance, self.budget, &mut |_, to, _| {
            targets.push(to.clone());
        });
        let Some(reading) = reading else {
            return Nature::Opaque;
        };
        if !reading.whole || reading.places.len() > MOST_PLACES {
            return Nature::Opaque;
        }
        let mut nature = match touched.get() {
            true => Nature::Readable,
            false => Nature::Harmless,
        };
        for target in targets {
            let effect = self.by_name(&target);
            let inner = match (&target, effect) {
                (_, Effect::TakesRead | Effect::DropsRead | Effect::Takes | Effect::Drops) => {
                    Nature::Readable
                }
                (Target::Own(_), _) if self.is_restart(&target) => Nature::Readable,
                (Target::Own(to), _) => self.nature(*to, depth + 1),
                (Target::Import(_), Effect::Nothing) => Nature::Harmless,
                (Target::Import(_) | Target::Unknown, _) => Nature::Opaque,
            };
            nature = match (nature, inner) {
                (Nature::Opaque, _) | (_, Nature::Opaque) => Nature::Opaque,
                (Nature::Readable, _) | (_, Nature::Readable) => Nature::Readable,
                _ => Nature::Harmless,
            };
        }
        nature
    }

    pub(super) fn names(&self, target: &Target) -> Vec<String> {
        match target {
            Target::Import(name) => vec![name.clone()],
            Target::Own(rva) => self.code.names_at(*rva),
            Target::Unknown => Vec::new(),
        }
    }

    /// What a call does to locks, by name: folded names of functions that do the same, any of them tells.
    pub(super) fn by_name(&self, target: &Target) -> Effect {
        let names = self.names(target);
        let mut effects = names.iter().map(|name| effect(defect::undecorated(name)));
        effects
            .find(|effect| *effect != Effect::Nothing)
            .unwrap_or(Effect::Nothing)
    }

    /// The restart by name, timer code called directly (the restart built in), or a function without
    /// a public name that does nothing but stop and start a timer.
    pub(super) fn is_restart(&self, target: &Target) -> bool {
        let Target::Own(rva) = target else {
            return self.may_restart(target);
        };
        if let Some(known) = self.restarts.borrow().get(rva) {
            return *known;
        }
        let restarts = self.may_restart(target);
        self.restarts.borrow_mut().insert(*rva, restarts);
        restarts
    }

    fn may_restart(&self, target: &Target) -> bool {
        let names = self.names(target);
        if names
            .iter()
            .any(|name| defect::undecorated(name) == RESTART_FUNCTION)
        {
            return true;
        }
        if timer_code(&names) {
            return !self.only_starts(target);
        }
        match target {
            Target::Own(rva) => {
                let wrapper = super::super::only_calls(self.code, *rva, self.budget, &timer_code);
                // A function that is named otherwise and only stops a timer is another's business.
                wrapper == Some(true) && self.stops_and_starts(*rva)
            }
            _ => false,
        }
    }

    /// It puts a timer on its list and takes none off: a new entry's, which is nobody else's yet.
    fn only_starts(&self, target: &Target) -> bool {
        let Target::Own(rva) = target else {
            return false;
        };
        let work = super::super::list_work(self.code, *rva, self.budget);
        work.is_some_and(|work| work.whole && work.inserts && !work.unlinks)
    }

    /// It calls two different functions: one stops the timer, one starts it.
    fn stops_and_starts(&self, rva: u32) -> bool {
        let mut called = BTreeSet::new();
        let touched = Cell::new(false);
        let glance = Glance {
            touched: &touched,
            lists: false,
        };
        let read = flow::read(self.code, rva, glance, self.budget, &mut |_, target, _| {
            if let Target::Own(rva) = target {
                called.insert(*rva);
            }
        });
        read.is_some() && called.len() >= 2
    }
}

/// Every name is one of the timer family.
fn timer_code(names: &[String]) -> bool {
    defect::family_of_all(MODULE, names.iter().map(String::as_str)) == Some(FamilyId::Timer)
}

/// An imported function that serves timers, by its name; the kernel's own timers are no entry's.
pub(super) fn serves_timers(name: &str) -> bool {
    name.contains("Timer")
        && !["Ke", "Ex", "Zw", "Nt", "Io"]
            .iter()
            .any(|own| name.starts_with(own))
}

/// Whether a function touches locks or lists at all.
#[derive(Clone)]
struct Glance<'a> {
    touched: &'a Cell<bool>,
    lists: bool,
}

impl PartialEq for Glance<'_> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl State for Glance<'_> {
    fn join(&mut self, _: &Self, _: u32) {}

    fn call(&mut self, _: u32, _: &Target) {}

    fn step(&mut self, _: u32, instruction: &Instruction) {
        let memory = instruction.op0_kind() == OpKind::Memory;
        let locked = instruction.has_lock_prefix()
            || (instruction.mnemonic() == Mnemonic::Xchg
                && (memory || instruction.op1_kind() == OpKind::Memory));
        let stores = self.lists && instruction.mnemonic() == Mnemonic::Mov && memory;
        if locked || stores {
            self.touched.set(true);
        }
    }
}
