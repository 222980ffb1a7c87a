//! What a routine that takes an entry off a doubly linked list leaves in the entry's own two links:
//! null pointers, pointers to itself, or what was there.
//!
//! The few instructions of such a routine are followed with symbolic values: a register holds what the
//! caller gave, what was loaded from a place, or a constant. Both habits are common, and which one
//! a build has says whether a null link in a linked entry can be the routine's own work. The
//! answer is given only when every path that unlinks agrees.

use std::rc::Rc;

use iced_x86::{FlowControl, Instruction, InstructionInfoFactory, Mnemonic, OpAccess, OpKind};

use super::CodeSource;
use super::flow::{branch, decode, number};
use crate::bytes::Budget;

/// Instructions of one path; a removal has a dozen.
const MOST_STEPS: u32 = 160;
/// Paths through one routine.
const MOST_PATHS: usize = 64;
/// Number of the stack pointer.
const STACK: usize = 4;
/// Number of the frame pointer.
const FRAME: usize = 5;
/// Registers that a call may change, by number, on both architectures.
const VOLATILE: [usize; 3] = [0, 1, 2];
/// More of them on x64.
const VOLATILE_X64: [usize; 4] = [8, 9, 10, 11];

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
        let Some(instruction) = decode(code, path.bits, at) else {
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
                path.step(&instruction, &mut info);
                at = after;
            }
            _ => break,
        }
    }
    Some(path)
}

/// What a value was made from.
#[derive(Clone, PartialEq, Eq)]
enum Origin {
    /// What a register held at the start, by number.
    Given(usize),
    /// What memory held at a place.
    At(Rc<Value>),
}

/// A pointer-wide value: an origin and a distance from it. Without an origin it is a constant.
#[derive(Clone, PartialEq, Eq)]
struct Value {
    origin: Option<Origin>,
    plus: i64,
}

impl Value {
    const ZERO: Value = Value {
        origin: None,
        plus: 0,
    };

    fn plus(&self, distance: i64) -> Value {
        Value {
            origin: self.origin.clone(),
            plus: self.plus.wrapping_add(distance),
        }
    }

    /// What memory holds there.
    fn loaded(&self) -> Value {
        Value {
            origin: Some(Origin::At(Rc::new(self.clone()))),
            plus: 0,
        }
    }
}

/// Values along one path. `None` is a value that is not known.
#[derive(Clone)]
struct Path {
    bits: u32,
    width: i64,
    registers: [Option<Value>; 16],
    /// Vector registers that were cleared, a bit each.
    cleared: u32,
    /// What was stored, last first found from the end.
    stored: Vec<(Value, Option<Value>)>,
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
        let given = |n| {
            Some(Value {
                origin: Some(Origin::Given(n)),
                plus: 0,
            })
        };
        Path {
            bits,
            width: i64::from(bits / 8),
            registers: std::array::from_fn(given),
            cleared: 0,
            stored: Vec::new(),
            unlinked: Vec::new(),
            steps: 0,
            ended: false,
            called: false,
        }
    }

    /// For each entry taken off, what its links hold now; `None` for anything else than a removal.
    fn left_behind(&self) -> Vec<Option<LeftBehind>> {
        let left = |entry: &Value| {
            let second = entry.plus(self.width);
            let links = [self.load(entry)?, self.load(&second)?];
            let unchanged = [entry.loaded(), second.loaded()];
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
        let more = match self.bits {
            64 => &VOLATILE_X64[..],
            _ => &[],
        };
        for n in VOLATILE.iter().chain(more) {
            self.set(*n, None);
        }
        self.cleared = 0;
    }

    fn set(&mut self, register: usize, value: Option<Value>) {
        if let Some(slot) = self.registers.get_mut(register) {
            *slot = value;
        }
    }

    fn get(&self, register: usize) -> Option<Value> {
        self.registers.get(register).cloned().flatten()
    }

    fn load(&self, place: &Value) -> Option<Value> {
        match self.stored.iter().rev().find(|(at, _)| at == place) {
            Some((_, value)) => value.clone(),
            None => Some(place.loaded()),
        }
    }

    /// A store; one that leads an entry's neighbour to its other neighbour takes the entry off.
    fn store(&mut self, place: Value, value: Option<Value>) {
        if let (Some(Origin::At(link)), Some(value)) = (&place.origin, &value) {
            let entry = match place.plus {
                0 => Some((link.plus(-self.width), 0)),
                plus if plus == self.width => Some(((**link).clone(), self.width)),
                _ => None,
            };
            if let Some((entry, other)) = entry
                && *value == entry.plus(other).loaded()
                && !self.unlinked.contains(&entry)
            {
                self.unlinked.push(entry);
            }
        }
        self.stored.push((place, value));
    }

    /// The address of a memory operand with a known base and nothing else.
    fn place(&self, instruction: &Instruction) -> Option<Value> {
        use iced_x86::Register as R;
        let plain = instruction.memory_index() == R::None
            && !matches!(instruction.memory_segment(), R::FS | R::GS);
        let base = Some(instruction.memory_base()).filter(|base| base.is_gpr() && plain)?;
        let distance = match self.bits {
            64 => instruction.memory_displacement64().cast_signed(),
            _ => i64::from(instruction.memory_displacement32().cast_signed()),
        };
        Some(self.get(number(base)?)?.plus(distance))
    }

    /// The pointer-wide value of an operand.
    fn operand(&self, instruction: &Instruction, n: u32) -> Option<Value> {
        match instruction.op_kind(n) {
            OpKind::Register => {
                let register = instruction.op_register(n);
                let whole = i64::try_from(register.size()).ok()? == self.width;
                whole.then(|| self.get(number(register)?)).flatten()
            }
            OpKind::Memory => {
                let whole = i64::try_from(instruction.memory_size().size()).ok()? == self.width;
                whole
                    .then(|| self.load(&self.place(instruction)?))
                    .flatten()
            }
            _ => Some(Value {
                origin: None,
                plus: self.immediate(instruction, n)?,
            }),
        }
    }

    fn immediate(&self, instruction: &Instruction, n: u32) -> Option<i64> {
        let raw = instruction.try_immediate(n).ok()?;
        match self.bits {
            64 => Some(raw.cast_signed()),
            // Short ones come extended to 64 bits.
            _ => Some(i64::from(
                u32::try_from(raw & 0xFFFF_FFFF).ok()?.cast_signed(),
            )),
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

    fn step(&mut self, instruction: &Instruction, info: &mut InstructionInfoFactory) {
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
                self.set(STACK, frame);
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
            Mnemonic::Add | Mnemonic::Sub
                if instruction.op0_kind() == OpKind::Register
                    && self.immediate(instruction, 1).is_some() =>
            {
                let value = self.moved(instruction);
                self.assign(instruction, value);
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
        let top = self.get(STACK).map(|stack| stack.plus(-self.width));
        if let Some(top) = &top {
            self.store(top.clone(), value);
        }
        self.set(STACK, top);
    }

    fn pop(&mut self, register: Option<usize>) {
        let stack = self.get(STACK);
        self.set(STACK, stack.as_ref().map(|stack| stack.plus(self.width)));
        if let Some(register) = register {
            self.set(register, stack.and_then(|stack| self.load(&stack)));
        }
    }

    /// Puts a value where the first operand says.
    fn assign(&mut self, instruction: &Instruction, value: Option<Value>) {
        match instruction.op0_kind() {
            OpKind::Memory => self.write(instruction, &value),
            OpKind::Register => {
                let register = instruction.op0_register();
                // On x64 four bytes clear the rest; only a zero stays what it is.
                let whole = i64::try_from(register.size()) == Ok(self.width);
                let zero = register.size() == 4 && value == Some(Value::ZERO);
                if let Some(n) = number(register) {
                    self.set(n, value.filter(|_| whole || zero));
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

fn written(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// The bit of a vector register; none for any other.
fn bit(register: iced_x86::Register) -> u32 {
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

#[cfg(test)]
mod tests;
