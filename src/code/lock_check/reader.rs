//! Reads the forwarding function with the locks it holds carried along, into helpers a few calls deep, and
//! notes where an entry's timer is restarted.
//!
//! A helper is followed by what it does (it touches locks or lists, and can be read whole), whatever its
//! name; a restart is a call of timer code by its family's name, or an entry that is taken off a list and put on one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpKind};

use super::super::CodeSource;
use super::super::flow::{self, State, Target};
use super::super::values::{COST, Value, Values};
use super::held::{Effect, Locks, effect};
use crate::bytes::Budget;
use crate::knowledge::defect;

/// The function that restarts an entry's timer.
const RESTART: &str = "IppRestartMfeTimer";
/// The module the code is in, as symbol families name it.
const MODULE: &str = "tcpip";
/// Calls deep that a helper is followed.
const DEEPEST: usize = 3;
/// Instructions of a helper that is followed.
const MOST_PLACES: usize = 500;
/// Instructions read in helpers altogether.
const MOST_STEPS: u64 = 300_000;

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
enum Nature {
    /// It touches neither locks nor, where that is asked, lists.
    Harmless,
    /// It does, and every path of it can be read.
    Readable,
    /// It cannot be read whole, or is too large.
    Opaque,
}

/// What is noted while the function and its helpers are read.
pub(super) struct Reader<'a> {
    code: &'a dyn CodeSource,
    budget: &'a Budget,
    pub bits: u32,
    /// Restarts are told by what is done to lists.
    by_work: bool,
    natures: RefCell<BTreeMap<(u32, usize), Nature>>,
    /// Which own functions restart a timer: each is asked about again and again.
    restarts: RefCell<BTreeMap<u32, bool>>,
    named_read: RefCell<BTreeSet<Value>>,
    counted: RefCell<BTreeSet<Value>>,
    counted_down: RefCell<BTreeSet<Value>>,
    calls: RefCell<BTreeMap<u32, Vec<Value>>>,
    sites: RefCell<BTreeMap<Vec<u32>, Site>>,
    inserted: RefCell<BTreeSet<Value>>,
    steps: Cell<u64>,
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

    fn nature(&self, rva: u32, depth: usize) -> Nature {
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

    fn look(&self, rva: u32, depth: usize) -> Nature {
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

    fn names(&self, target: &Target) -> Vec<String> {
        match target {
            Target::Import(name) => vec![name.clone()],
            Target::Own(rva) => self.code.names_at(*rva),
            Target::Unknown => Vec::new(),
        }
    }

    /// What a call does to locks, by name: folded names of functions that do the same, any of them tells.
    fn by_name(&self, target: &Target) -> Effect {
        let names = self.names(target);
        let mut effects = names.iter().map(|name| effect(defect::undecorated(name)));
        effects
            .find(|effect| *effect != Effect::Nothing)
            .unwrap_or(Effect::Nothing)
    }

    /// The restart by name, timer code called directly (the restart built in), or a function without
    /// a public name that does nothing but stop and start a timer.
    fn is_restart(&self, target: &Target) -> bool {
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
            .any(|name| defect::undecorated(name) == RESTART)
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
    defect::family_of_all(MODULE, names.iter().map(String::as_str))
        .is_some_and(|family| family.id == "timer")
}

/// An imported function that serves timers, by its name; the kernel's own timers are no entry's.
fn serves_timers(name: &str) -> bool {
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

/// One path through the forwarding function and its helpers.
#[derive(Clone)]
struct Path<'a> {
    values: Values,
    locks: Locks,
    reader: &'a Reader<'a>,
    /// The calls that led here.
    within: Vec<u32>,
}

impl PartialEq for Path<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values && self.locks == other.locks
    }
}

impl Path<'_> {
    fn reach(&self) -> i64 {
        2 * self.values.width
    }

    fn note(&self, at: u32, arguments: Vec<Value>) {
        let mut key = self.within.clone();
        key.push(at);
        let site = Site {
            at: *key.first().unwrap_or(&at),
            arguments,
            locks: self.locks.clone(),
        };
        self.reader.sites.borrow_mut().insert(key, site);
    }

    /// One of the arguments leads to a lock that was taken for reading, or is its owner.
    fn given_lock(&self, arguments: &[Value]) -> bool {
        let locks = self.reader.named_read.borrow();
        arguments.iter().any(|value| {
            !value.on_stack()
                && value.origin.is_some()
                && locks.iter().any(|lock| {
                    lock.behind(value)
                        .is_some_and(|by| (0..0x100).contains(&by))
                })
        })
    }

    fn go(&mut self, at: u32, target: &Target, comes_back: bool) {
        let reader = self.reader;
        self.values.tick = at;
        let arguments = self.values.arguments();
        reader.calls.borrow_mut().insert(at, arguments.clone());
        let restart = reader.is_restart(target)
            || matches!(target, Target::Import(name) if serves_timers(name));
        if restart {
            self.note(at, arguments);
            return self.past(target);
        }
        let first = arguments.first().cloned();
        match (reader.by_name(target), first) {
            (Effect::TakesRead, Some(lock)) => {
                reader.named_read.borrow_mut().insert(lock.clone());
                self.locks.read_by_name(&lock);
            }
            (Effect::DropsRead, Some(lock)) => self.locks.unread(&lock, self.reach()),
            (Effect::Takes, Some(lock)) => {
                let handle = arguments.get(1);
                self.locks.own(&lock, handle, self.reach());
            }
            (Effect::Drops, _) => self.locks.disown(&arguments),
            (by_name, _) => return self.into(at, target, by_name, &arguments, comes_back),
        }
        self.past(target);
    }

    /// A call whose name does not say what it does to locks.
    fn into(
        &mut self,
        at: u32,
        target: &Target,
        by_name: Effect,
        arguments: &[Value],
        comes_back: bool,
    ) {
        let reader = self.reader;
        let doubtful = by_name == Effect::Unsure || self.given_lock(arguments);
        match target {
            Target::Unknown => self.locks.unsure(),
            Target::Import(_) if doubtful => self.locks.unsure(),
            Target::Import(_) => {}
            Target::Own(rva) => match reader.nature(*rva, self.within.len()) {
                Nature::Readable if reader.steps.get() < MOST_STEPS => {
                    return self.follow(at, *rva, comes_back);
                }
                Nature::Harmless => {}
                _ => {
                    let names = reader.names(target);
                    let said = |name: &String| name.ends_with("UnderLock");
                    let trusted = !names.is_empty() && names.iter().all(said);
                    if names.is_empty() || (doubtful && !trusted) {
                        self.locks.unsure();
                    }
                }
            },
        }
        self.past(target);
    }

    /// Reads a helper with what is known here.
    fn follow(&mut self, at: u32, rva: u32, comes_back: bool) {
        let before = self.values.clone();
        let mut start = self.clone();
        start.within.push(at);
        if comes_back {
            start.values.enter();
        }
        let reader = self.reader;
        let reading = flow::read(reader.code, rva, start, reader.budget, &mut |_, _, _| {});
        self.values.tick = at;
        match reading {
            Some(reading) => {
                if let Some(end) = reading.end {
                    self.locks = end.locks;
                    self.values = end.values;
                    self.values.tick = at;
                    self.values.leave(&before);
                }
                if !reading.whole {
                    self.locks.unsure();
                }
            }
            None => {
                self.locks.unsure();
                self.values.after_call();
            }
        }
    }

    /// What a call that was not followed leaves behind.
    fn past(&mut self, target: &Target) {
        let bytes = match target {
            Target::Own(_) if self.values.bits != 64 => {
                let names = self.reader.names(target);
                names.iter().find_map(|name| popped(name))
            }
            _ => None,
        };
        self.values.after_call();
        if self.values.bits != 64 {
            match bytes {
                Some(bytes) => self.values.drop_from_stack(bytes),
                None => self.values.lose_stack(),
            }
        }
    }
}

/// Bytes of arguments that an x86 function takes off the stack, by the decoration of its name.
fn popped(name: &str) -> Option<i64> {
    let fast = name.starts_with('@');
    let Some((_, bytes)) = name.rsplit_once('@') else {
        return name.starts_with('_').then_some(0);
    };
    let bytes: i64 = bytes.parse().ok()?;
    Some(if fast { (bytes - 8).max(0) } else { bytes })
}

impl State for Path<'_> {
    const COST: u64 = COST;

    fn join(&mut self, other: &Self, at: u32) {
        self.values.join(&other.values, at);
        self.locks.join(&other.locks);
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
        if !self.within.is_empty() {
            self.reader.steps.set(self.reader.steps.get() + 1);
        }
        self.values.tick = at;
        self.locked(instruction);
        let mut info = InstructionInfoFactory::new();
        self.values.step(instruction, &mut info);
        if self.reader.by_work {
            for entry in self.values.unlinked.clone() {
                if !entry.on_stack() {
                    self.note(at, vec![entry]);
                }
            }
            let inserted = self.values.inserted.iter().cloned();
            self.reader.inserted.borrow_mut().extend(inserted);
        }
    }
}

impl Path<'_> {
    /// The effect of a locked instruction: a count goes up or down, a lock's word is taken or given back.
    fn locked(&mut self, instruction: &Instruction) {
        let memory = instruction.op0_kind() == OpKind::Memory;
        let exchange = instruction.mnemonic() == Mnemonic::Xchg
            && (memory || instruction.op1_kind() == OpKind::Memory);
        if !instruction.has_lock_prefix() && !exchange {
            return self.plain(instruction);
        }
        let Some(place) = self.values.place(instruction) else {
            return self.locks.unsure();
        };
        // Counters at fixed addresses are statistics.
        if place.on_stack() || place.origin.is_none() {
            return;
        }
        let by = match instruction.mnemonic() {
            Mnemonic::Inc => Some(1),
            Mnemonic::Dec => Some(-1),
            Mnemonic::Add => self.values.immediate(instruction, 1),
            Mnemonic::Sub => self.values.immediate(instruction, 1).map(i64::wrapping_neg),
            Mnemonic::Xadd => self.values.count(instruction, 1),
            _ => None,
        };
        match (instruction.mnemonic(), by) {
            (_, Some(by)) if by > 0 => {
                self.reader.counted.borrow_mut().insert(place.clone());
                self.locks.read(&place);
            }
            (_, Some(_)) => {
                self.reader.counted_down.borrow_mut().insert(place.clone());
                self.locks.unread(&place, self.reach());
            }
            (Mnemonic::Bts | Mnemonic::Xchg, _) => self.locks.own(&place, None, self.reach()),
            (Mnemonic::And | Mnemonic::Btr, _) => self.locks.disown(&[place]),
            _ if self.near_lock(&place) => self.locks.unsure(),
            _ => {}
        }
    }

    /// A plain store of zero gives back a lock that was taken by its word.
    fn plain(&mut self, instruction: &Instruction) {
        let zero = instruction.mnemonic() == Mnemonic::Mov
            && instruction.op0_kind() == OpKind::Memory
            && self.values.operand(instruction, 1) == Some(Value::ZERO);
        if let Some(place) = self.values.place(instruction).filter(|_| zero)
            && self
                .locks
                .0
                .iter()
                .any(|held| held.owned.iter().any(|(lock, _)| *lock == place))
        {
            self.locks.disown(&[place]);
        }
    }

    /// It is the word, or beside the word, of a lock that is taken for reading here.
    fn near_lock(&self, place: &Value) -> bool {
        let locks = self.reader.named_read.borrow();
        let reach = self.reach();
        locks.iter().any(|lock| {
            place
                .behind(lock)
                .is_some_and(|by| (0..reach).contains(&by))
        })
    }
}
