//! What registers and memory hold at a place of a function, as far as instructions tell: what the caller
//! gave, what was loaded from where, a constant, or a value that is only known by where it was made.
//!
//! Two readings share it: one that follows single paths to their end, one that joins paths. It also sees
//! the two operations on doubly linked lists by their stores, whatever registers they go through.

mod operands;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register};

pub(super) use value::{Origin, Value};

use super::flow::number;

/// Number of the stack pointer.
pub(super) const STACK: usize = 4;
/// Number of the frame pointer.
const FRAME: usize = 5;
/// Registers that a call may change, by number, on both architectures.
const VOLATILE: [usize; 3] = [0, 1, 2];
/// More of them on x64.
const VOLATILE_X64: [usize; 4] = [8, 9, 10, 11];
/// Registers that hold the first arguments on x64, by number.
const ARGUMENTS_X64: [usize; 4] = [1, 2, 8, 9];
/// What an instruction read with values takes from a budget, against one that is only decoded.
pub(super) const COST: u64 = 64;
/// Places in memory that are kept apart.
const MOST_PLACES: usize = 192;

/// Values at one place.
#[derive(Clone, PartialEq)]
pub(super) struct Values {
    pub bits: u32,
    pub width: i64,
    registers: [Value; 16],
    /// Vector registers that were cleared, a bit each.
    cleared: u32,
    /// What was stored where; `None` for what is not known.
    stored: BTreeMap<Value, Option<Value>>,
    /// More was stored than is kept apart: what memory holds is not known any more.
    full: bool,
    /// Places written since the last call: the arguments of the next one on x86.
    recent: BTreeSet<Value>,
    /// Entries whose neighbours were joined by the last instruction.
    pub unlinked: Vec<Value>,
    /// Entries that the last instruction put between two neighbours.
    pub inserted: Vec<Value>,
    /// Registers that went from link to link, with the link's offset.
    pub walked: BTreeSet<(u32, i64)>,
    /// What tells values made here from values made elsewhere.
    pub tick: u32,
}

impl Values {
    pub fn new(bits: u32) -> Values {
        Values {
            bits,
            width: i64::from(bits / 8),
            registers: std::array::from_fn(|n| Value::of(Origin::Given(n))),
            cleared: 0,
            stored: BTreeMap::new(),
            full: false,
            recent: BTreeSet::new(),
            unlinked: Vec::new(),
            inserted: Vec::new(),
            walked: BTreeSet::new(),
            tick: 0,
        }
    }

    fn made(&self, register: usize) -> Value {
        Value::of(Origin::Made(self.tick, register))
    }

    fn set(&mut self, register: usize, value: Option<Value>) {
        let value = value.unwrap_or_else(|| self.made(register));
        if let Some(slot) = self.registers.get_mut(register) {
            *slot = value;
        }
    }

    pub fn get(&self, register: usize) -> Value {
        let value = self.registers.get(register).cloned();
        value.unwrap_or_else(|| self.made(register))
    }

    pub fn load(&self, place: &Value) -> Option<Value> {
        match self.stored.get(place) {
            Some(value) => value.clone(),
            None if self.full => None,
            None => place.loaded(),
        }
    }

    /// The first arguments of a call that is about to be made. On x86 those on the stack where some were put
    /// there for it, else those in registers.
    pub fn arguments(&self) -> Vec<Value> {
        if self.bits == 64 {
            return ARGUMENTS_X64.iter().map(|n| self.get(*n)).collect();
        }
        let top = self.get(STACK);
        let pushed: Vec<Value> = (0..6)
            .map(|n| top.plus(n * self.width))
            .take_while(|place| self.recent.contains(place))
            .map(|place| self.load(&place).unwrap_or_else(|| self.made(16)))
            .take_while(|value| !saved(value))
            .collect();
        match pushed.is_empty() {
            true => vec![self.get(1), self.get(2)],
            false => pushed,
        }
    }

    /// The stack pointer goes up by so many bytes.
    pub fn drop_from_stack(&mut self, bytes: i64) {
        let top = self.get(STACK).plus(bytes);
        self.set(STACK, Some(top));
    }

    /// Where the stack pointer is after a call is not known.
    pub fn lose_stack(&mut self) {
        self.set(STACK, None);
    }

    /// What a call that is not followed leaves behind.
    pub fn after_call(&mut self) {
        let more = match self.bits {
            64 => &VOLATILE_X64[..],
            _ => &[],
        };
        for n in VOLATILE.iter().chain(more) {
            self.set(*n, None);
        }
        self.cleared = 0;
        self.recent.clear();
    }

    /// Control enters a function: its return address is pushed.
    pub fn enter(&mut self) {
        self.push(None);
    }

    /// Control came back from a function that was followed, to a place where `before` was so.
    pub fn leave(&mut self, before: &Values) {
        let result = self.get(0);
        let top = self.get(STACK);
        for n in 0..16 {
            self.set(n, Some(before.get(n)));
        }
        self.after_call();
        self.set(0, Some(result));
        self.set(
            STACK,
            Some(top)
                .filter(|_| self.bits != 64)
                .or(Some(before.get(STACK))),
        );
    }

    /// A return takes its address and, on x86, arguments off the stack.
    pub fn returned(&mut self, instruction: &Instruction) {
        let bytes = match instruction.op_count() {
            0 => 0,
            _ => i64::from(instruction.immediate16()),
        };
        self.drop_from_stack(self.width + bytes);
    }

    /// Both paths' knowledge where they meet, at an instruction.
    pub fn join(&mut self, other: &Values, at: u32) {
        for n in 0..16 {
            let (own, new) = (self.get(n), other.get(n));
            if own == new {
                continue;
            }
            // The stack is as deep on every path: the one that knows how deep tells.
            if n == STACK {
                let known = [own, new].into_iter().min_by_key(|value| {
                    let vague = !matches!(value.origin, Some(Origin::Given(_)));
                    (vague, value.clone())
                });
                self.set(n, known);
                continue;
            }
            if let Some(offset) = self.follows(&own, &new) {
                self.walked.insert((at, offset));
            }
            self.set(n, Some(Value::of(Origin::Joined(at, n))));
        }
        self.cleared &= other.cleared;
        self.full |= other.full;
        for (place, value) in &mut self.stored {
            if other.stored.get(place) != Some(value) {
                *value = None;
            }
        }
        for place in other.stored.keys() {
            if !self.stored.contains_key(place) {
                self.stored.insert(place.clone(), None);
            }
        }
        self.bound();
        self.recent.retain(|place| other.recent.contains(place));
        self.walked.extend(&other.walked);
    }

    /// A step along a list: `new` is what `own` leads to, by a link, and `own` was led to the same way.
    fn follows(&self, own: &Value, new: &Value) -> Option<i64> {
        let link = |value: &Value| match (&value.origin, value.plus) {
            (Some(Origin::At(place)), 0) => Some((**place).clone()),
            _ => None,
        };
        let (from, to) = (link(own)?, link(new)?);
        let offset = to.behind(own)?;
        ((offset == 0 || offset == self.width) && !from.on_stack()).then_some(offset)
    }

    fn bound(&mut self) {
        if self.stored.len() > MOST_PLACES {
            self.stored.clear();
            self.full = true;
        }
    }

    /// A store, and what it does to a list.
    fn store(&mut self, place: Value, value: Option<Value>) {
        if let Some(value) = &value {
            self.see_list(&place, value);
        }
        if place.on_stack() || self.bits != 64 {
            self.recent.insert(place.clone());
        }
        self.stored.insert(place, value);
        self.bound();
    }

    fn see_list(&mut self, place: &Value, value: &Value) {
        let near = |by: i64| by == 0 || by == self.width;
        if let Some(Origin::At(link)) = &place.origin
            && near(place.plus)
        {
            // A neighbour is led to the entry's other neighbour.
            let entry = match place.plus {
                0 => link.plus(-self.width),
                _ => (**link).clone(),
            };
            if entry.plus(place.plus).loaded().as_ref() == Some(value) {
                self.unlinked.push(entry);
            }
        }
        // An entry's address stands in a link and in the back link of what the link led to before.
        let leads = |at: &Value| {
            self.stored
                .get(at)
                .is_some_and(|held| held.as_ref() == Some(value))
        };
        let neighbour = match &place.origin {
            Some(Origin::At(link)) if near(place.plus) => leads(link),
            _ => false,
        };
        let head = || {
            place
                .loaded()
                .is_some_and(|other| leads(&other) || leads(&other.plus(self.width)))
        };
        if value.origin.is_some() && (neighbour || head()) {
            self.inserted.push(value.clone());
        }
    }

    /// Stores to the memory operand, as many pointers as it has.
    fn write(&mut self, instruction: &Instruction, value: &Option<Value>) {
        let Some(place) = self.place(instruction) else {
            return;
        };
        let size = i64::try_from(instruction.memory_size().size()).unwrap_or(0);
        let mut done = 0;
        while done < size {
            let whole = size - done >= self.width;
            self.store(place.plus(done), value.clone().filter(|_| whole));
            done += self.width;
        }
    }

    /// The effect of an instruction that is no call, jump or return.
    pub fn step(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        self.unlinked.clear();
        self.inserted.clear();
        let same = instruction.op_count() >= 2
            && instruction.op0_kind() == OpKind::Register
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_register() == instruction.op1_register();
        match instruction.mnemonic() {
            Mnemonic::Push => {
                let value = self.operand(instruction, 0);
                self.push(value);
            }
            Mnemonic::Pop if instruction.op0_kind() == OpKind::Register => {
                self.pop(number(instruction.op0_register()));
            }
            Mnemonic::Leave => {
                let frame = self.get(FRAME);
                self.set(STACK, Some(frame));
                self.pop(Some(FRAME));
            }
            Mnemonic::Mov => {
                let value = self.operand(instruction, 1);
                self.assign(instruction, value);
            }
            Mnemonic::Lea => {
                let value = self.place(instruction);
                self.assign(instruction, value);
            }
            Mnemonic::Xor | Mnemonic::Sub if same => self.assign(instruction, Some(Value::ZERO)),
            Mnemonic::And if self.immediate(instruction, 1) == Some(0) => {
                self.assign(instruction, Some(Value::ZERO));
            }
            // A stack that is aligned down stays the stack.
            Mnemonic::And
                if instruction.op0_kind() == OpKind::Register
                    && number(instruction.op0_register()) == Some(STACK) =>
            {
                self.set(STACK, None);
            }
            Mnemonic::Or if self.immediate(instruction, 1) == Some(-1) => {
                self.assign(instruction, Some(Value::constant(-1)));
            }
            Mnemonic::Add | Mnemonic::Sub
                if instruction.op0_kind() == OpKind::Register
                    && self.immediate(instruction, 1).is_some() =>
            {
                let value = self.moved(instruction);
                self.assign(instruction, value);
            }
            Mnemonic::Add
                if instruction.op0_kind() == OpKind::Register
                    && instruction.op1_kind() == OpKind::Register =>
            {
                let both = (self.operand(instruction, 0), self.operand(instruction, 1));
                let sum = match both {
                    (Some(a), Some(b)) if a.origin.is_some() && b.origin.is_some() => a.and(&b, 1),
                    _ => None,
                };
                self.assign(instruction, sum);
            }
            Mnemonic::Xorps | Mnemonic::Xorpd | Mnemonic::Pxor if same => {
                self.cleared |= bit(instruction.op0_register());
            }
            _ if stores_vector(instruction) => {
                let cleared = self.cleared & bit(instruction.op1_register()) != 0;
                self.write(instruction, &cleared.then_some(Value::ZERO));
            }
            _ => self.forget(instruction, info),
        }
    }

    /// A register with a constant added or subtracted.
    fn moved(&self, instruction: &Instruction) -> Option<Value> {
        let by = self.immediate(instruction, 1)?;
        let by = match instruction.mnemonic() {
            Mnemonic::Sub => by.wrapping_neg(),
            _ => by,
        };
        Some(self.operand(instruction, 0)?.plus(by))
    }

    fn push(&mut self, value: Option<Value>) {
        let top = self.get(STACK).plus(-self.width);
        self.set(STACK, Some(top.clone()));
        self.store(top, value);
    }

    fn pop(&mut self, register: Option<usize>) {
        let stack = self.get(STACK);
        self.set(STACK, Some(stack.plus(self.width)));
        if let Some(register) = register {
            let value = self.load(&stack);
            self.set(register, value);
        }
    }

    /// Puts a value where the first operand says.
    fn assign(&mut self, instruction: &Instruction, value: Option<Value>) {
        match instruction.op0_kind() {
            OpKind::Memory => self.write(instruction, &value),
            OpKind::Register => {
                let register = instruction.op0_register();
                // On x64 four bytes clear the rest: only a constant stays known.
                let whole = i64::try_from(register.size()) == Ok(self.width);
                let constant = value
                    .as_ref()
                    .filter(|v| v.origin.is_none() && register.size() == 4);
                let short = constant.map(|v| Value::constant(v.plus & 0xFFFF_FFFF));
                if let Some(n) = number(register) {
                    self.set(n, if whole { value } else { short });
                }
            }
            _ => {}
        }
    }

    /// Whatever an instruction writes is not known any more.
    fn forget(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
        for used in info.info(instruction).used_registers() {
            if written(used.access()) {
                if let Some(n) = number(used.register()) {
                    self.set(n, None);
                }
                self.cleared &= !bit(used.register());
            }
        }
        let memory = info.info(instruction).op0_access();
        if instruction.op_count() > 0 && instruction.op0_kind() == OpKind::Memory && written(memory)
        {
            self.write(instruction, &None);
        }
    }
}

/// A caller's register that a function saves on entry: no argument.
fn saved(value: &Value) -> bool {
    matches!(value.origin, Some(Origin::Given(3 | 5 | 6 | 7))) && value.plus == 0
}

fn written(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// The bit of a vector register; none for any other.
fn bit(register: Register) -> u32 {
    let number = u32::try_from(register.number()).unwrap_or(u32::MAX);
    match register.is_vector_register() {
        true => 1u32.checked_shl(number).unwrap_or(0),
        false => 0,
    }
}

/// A whole vector register is stored.
fn stores_vector(instruction: &Instruction) -> bool {
    instruction.op_count() == 2
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register
        && matches!(
            instruction.mnemonic(),
            Mnemonic::Movups
                | Mnemonic::Movaps
                | Mnemonic::Movupd
                | Mnemonic::Movapd
                | Mnemonic::Movdqu
                | Mnemonic::Movdqa
                | Mnemonic::Movq
                | Mnemonic::Movlps
        )
}
