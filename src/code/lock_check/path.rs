//! One path through the forwarding function and its helpers, with the locks it holds carried along.

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpKind};

use super::held::{Effect, Locks};
use super::reader::{MOST_STEPS, Nature, Reader, Site, serves_timers};
use crate::code::flow::{self, State, Target};
use crate::code::values::{COST, Value, Values};

/// One path through the forwarding function and its helpers.
#[derive(Clone)]
pub(super) struct Path<'a> {
    pub(super) values: Values,
    pub(super) locks: Locks,
    pub(super) reader: &'a Reader<'a>,
    /// The calls that led here.
    pub(super) within: Vec<u32>,
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
