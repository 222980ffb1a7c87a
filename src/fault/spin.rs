//! What a processor that does not advance waits for: its loop, executed on the dump's own memory.
//!
//! From the saved registers on, the few instructions that spin-wait loops and list walks are made of are
//! carried out; writes go to a copy. When the same state comes back, the processor cannot leave the loop
//! unless another one changes what it reads. Whatever else is met ends the attempt: nothing is said then.
//! Semantics: Intel's manual, volume 2.

use std::collections::BTreeMap;

use iced_x86::{
    ConditionCode, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register as R,
};

use crate::bytes::{Budget, Gva};
use crate::machine::{Machine, Reg, Registers};
use crate::memory::Memory;
use crate::unwind::CodeInfo;

use super::instruction::image_bytes;

/// Instructions that are carried out.
const MOST_STEPS: usize = 4096;
/// Jumps back whose states are kept: entries of a list that leads back into itself.
const MOST_STATES: usize = 512;
/// Places read in one round that are kept.
const MOST_READS: usize = 4096;
/// Longest instruction in bytes.
const LONGEST: usize = 15;

/// A loop that does not end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spin {
    /// It reads the value at `address` until that changes.
    Reads {
        /// Where it reads.
        address: u64,
        /// What is there, as wide as it reads.
        value: u64,
    },
    /// It walks a list whose entry at `entry` leads to itself.
    SelfLinked {
        /// The entry.
        entry: u64,
    },
    /// It walks a list that leads back into itself past its head.
    Cyclic {
        /// The entries of the cycle in the order of their addresses, two or more.
        entries: Vec<u64>,
    },
}

/// The loop a processor with these registers cannot leave; `None` when it can or when that is not known.
pub fn spin(
    registers: &Registers,
    memory: &dyn Memory,
    code: &dyn CodeInfo,
    budget: &Budget,
) -> Option<Spin> {
    let mut machine = Execution::new(registers, memory, code)?;
    let mut states: Vec<(State, usize)> = Vec::new();
    for _ in 0..MOST_STEPS {
        budget.spend(1).ok()?;
        let before = machine.state.ip;
        machine.step()?;
        if machine.state.ip > before {
            continue;
        }
        let now = machine.state;
        if let Some((_, from)) = states.iter().find(|(state, _)| *state == now) {
            let width = registers.machine().pointer_width();
            return classify(machine.reads.get(*from..)?, width);
        }
        if states.len() >= MOST_STATES || machine.reads.len() >= MOST_READS {
            return None;
        }
        states.push((now, machine.reads.len()));
    }
    None
}

/// What one whole round of the loop reads says about it.
fn classify(reads: &[Read], width: usize) -> Option<Spin> {
    // A walk: what one read gives is where another one reads.
    let mut entries: Vec<u64> = reads
        .iter()
        .filter(|read| read.size == width)
        .map(|read| read.value)
        .filter(|value| reads.iter().any(|r| r.address == *value && r.size == width))
        .collect();
    entries.sort_unstable();
    entries.dedup();
    match entries[..] {
        [] => reads.first().map(|read| Spin::Reads {
            address: read.address,
            value: read.value,
        }),
        [entry] => Some(Spin::SelfLinked { entry }),
        _ => Some(Spin::Cyclic { entries }),
    }
}

/// One read of memory.
#[derive(Clone, Copy)]
struct Read {
    address: u64,
    size: usize,
    value: u64,
}

/// Zero, sign, carry and overflow.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags {
    zero: bool,
    sign: bool,
    carry: bool,
    overflow: bool,
}

/// Everything the next instruction depends on. `version` counts the writes that changed something.
#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    ip: u64,
    general: [Option<u64>; 16],
    flags: Option<Flags>,
    version: u32,
}

struct Execution<'a> {
    machine: Machine,
    bits: u32,
    memory: &'a dyn Memory,
    code: &'a dyn CodeInfo,
    state: State,
    written: BTreeMap<u64, u8>,
    reads: Vec<Read>,
    decoded: BTreeMap<u64, Instruction>,
}

impl<'a> Execution<'a> {
    fn new(
        registers: &Registers,
        memory: &'a dyn Memory,
        code: &'a dyn CodeInfo,
    ) -> Option<Execution<'a>> {
        let machine = registers.machine();
        let (bits, count) = match machine {
            Machine::X86 => (32, 8),
            Machine::X64 => (64, 16),
            _ => return None,
        };
        let mut general = [None; 16];
        for (slot, number) in general.iter_mut().zip(0..count) {
            *slot = registers.get(Reg(number));
        }
        let flags = registers
            .iter()
            .find(|(name, _)| matches!(*name, "eflags" | "rflags"))
            .map(|(_, value)| Flags {
                carry: value & 1 != 0,
                zero: value & 0x40 != 0,
                sign: value & 0x80 != 0,
                overflow: value & 0x800 != 0,
            });
        Some(Execution {
            machine,
            bits,
            memory,
            code,
            state: State {
                ip: registers.ip()?,
                general,
                flags,
                version: 0,
            },
            written: BTreeMap::new(),
            reads: Vec::new(),
            decoded: BTreeMap::new(),
        })
    }

    /// Carries out one instruction; `None` when it is none of those known.
    fn step(&mut self) -> Option<()> {
        let i = self.decode()?;
        let mut next = i.next_ip();
        match i.mnemonic() {
            Mnemonic::Nop | Mnemonic::Pause => {}
            Mnemonic::Jmp => next = target(&i)?,
            Mnemonic::Mov | Mnemonic::Movzx => {
                let value = self.operand(&i, 1)?;
                self.assign(&i, value)?;
            }
            Mnemonic::Lea => {
                let value = self.address(&i)?;
                self.assign(&i, value)?;
            }
            Mnemonic::Xchg => {
                let (a, b) = (self.operand(&i, 0)?, self.operand(&i, 1)?);
                self.assign(&i, b)?;
                self.assign_to(&i, 1, a)?;
            }
            Mnemonic::Cmp | Mnemonic::Sub => self.subtract(&i)?,
            Mnemonic::Add => self.add(&i)?,
            Mnemonic::Inc | Mnemonic::Dec => self.count(&i)?,
            Mnemonic::Test | Mnemonic::And | Mnemonic::Or | Mnemonic::Xor => self.logic(&i)?,
            _ if i.condition_code() != ConditionCode::None && i.is_jcc_short_or_near() => {
                if self.holds(i.condition_code())? {
                    next = target(&i)?;
                }
            }
            _ => return None,
        }
        self.state.ip = self.machine.truncate(next);
        Some(())
    }

    fn decode(&mut self) -> Option<Instruction> {
        let ip = self.state.ip;
        if let Some(known) = self.decoded.get(&ip) {
            return Some(*known);
        }
        let mut bytes = [0; LONGEST];
        let there = (1..=LONGEST).rev().find(|n| {
            bytes.get_mut(..*n).is_some_and(|part| {
                self.memory.read(Gva(ip), part).is_ok() || image_bytes(self.code, ip, part)
            })
        })?;
        let code = bytes.get(..there)?;
        let instruction = Decoder::with_ip(self.bits, code, ip, DecoderOptions::NONE).decode();
        if instruction.is_invalid() {
            return None;
        }
        self.decoded.insert(ip, instruction);
        Some(instruction)
    }

    /// The address of the memory operand; segments with a base of their own are not known.
    fn address(&self, i: &Instruction) -> Option<u64> {
        if matches!(i.memory_segment(), R::FS | R::GS) && i.mnemonic() != Mnemonic::Lea {
            return None;
        }
        let part = |register: R| match register {
            R::None => Some(0),
            R::RIP | R::EIP => Some(0),
            _ => self.register(register),
        };
        // A displacement from the instruction pointer is stated as the address itself.
        let sum = part(i.memory_base())?
            .wrapping_add(part(i.memory_index())?.wrapping_mul(u64::from(i.memory_index_scale())))
            .wrapping_add(i.memory_displacement64());
        Some(self.machine.truncate(sum))
    }

    fn register(&self, register: R) -> Option<u64> {
        let value = self
            .slot(register)
            .and_then(|n| self.state.general.get(n))?;
        Some((*value)? & mask(register.size()))
    }

    /// Number of a general register; the second bytes of the first four are not known.
    fn slot(&self, register: R) -> Option<usize> {
        let second = matches!(register, R::AH | R::BH | R::CH | R::DH);
        let general = register.is_gpr() && !second;
        general.then(|| register.full_register().number())
    }

    fn load(&mut self, at: u64, size: usize) -> Option<u64> {
        let mut bytes = [0; 8];
        let part = bytes.get_mut(..size)?;
        self.memory.read(Gva(at), part).ok()?;
        for (offset, byte) in (0u64..).zip(part.iter_mut()) {
            if let Some(written) = self.written.get(&at.wrapping_add(offset)) {
                *byte = *written;
            }
        }
        let value = u64::from_le_bytes(bytes);
        self.reads.push(Read {
            address: at,
            size,
            value,
        });
        Some(value)
    }

    fn store(&mut self, at: u64, size: usize, value: u64) -> Option<()> {
        let before = self.load(at, size)?;
        self.reads.pop();
        if before != value & mask(size) {
            self.state.version = self.state.version.checked_add(1)?;
        }
        for (offset, byte) in (0u64..).zip(value.to_le_bytes().into_iter().take(size)) {
            self.written.insert(at.wrapping_add(offset), byte);
        }
        Some(())
    }

    fn operand(&mut self, i: &Instruction, n: u32) -> Option<u64> {
        match i.op_kind(n) {
            OpKind::Register => self.register(i.op_register(n)),
            OpKind::Memory => {
                let size = i.memory_size().size();
                let at = self.address(i)?;
                self.load(at, size)
            }
            _ => Some(i.try_immediate(n).ok()? & mask(width(i)?)),
        }
    }

    fn assign(&mut self, i: &Instruction, value: u64) -> Option<()> {
        self.assign_to(i, 0, value)
    }

    fn assign_to(&mut self, i: &Instruction, n: u32, value: u64) -> Option<()> {
        match i.op_kind(n) {
            OpKind::Memory => {
                let at = self.address(i)?;
                self.store(at, i.memory_size().size(), value)
            }
            OpKind::Register => {
                let register = i.op_register(n);
                let slot = self.slot(register)?;
                let size = register.size();
                let place = self.state.general.get_mut(slot)?;
                // Four bytes clear the rest of a 64-bit register, one and two keep it.
                let kept = match size {
                    1 | 2 => (*place)? & !mask(size),
                    _ => 0,
                };
                *place = Some(kept | (value & mask(size)));
                Some(())
            }
            _ => None,
        }
    }

    fn subtract(&mut self, i: &Instruction) -> Option<()> {
        let size = width(i)?;
        let (a, b) = (self.operand(i, 0)?, self.operand(i, 1)? & mask(size));
        let result = a.wrapping_sub(b) & mask(size);
        let sign = sign_bit(size);
        self.state.flags = Some(Flags {
            zero: result == 0,
            sign: result & sign != 0,
            carry: a < b,
            overflow: (a ^ b) & (a ^ result) & sign != 0,
        });
        match i.mnemonic() {
            Mnemonic::Sub => self.assign(i, result),
            _ => Some(()),
        }
    }

    fn add(&mut self, i: &Instruction) -> Option<()> {
        let size = width(i)?;
        let (a, b) = (self.operand(i, 0)?, self.operand(i, 1)? & mask(size));
        let result = a.wrapping_add(b) & mask(size);
        let sign = sign_bit(size);
        self.state.flags = Some(Flags {
            zero: result == 0,
            sign: result & sign != 0,
            carry: result < a,
            overflow: (a ^ result) & (b ^ result) & sign != 0,
        });
        self.assign(i, result)
    }

    fn count(&mut self, i: &Instruction) -> Option<()> {
        let size = width(i)?;
        let a = self.operand(i, 0)?;
        let (up, sign) = (i.mnemonic() == Mnemonic::Inc, sign_bit(size));
        let step = if up { 1 } else { u64::MAX };
        let result = a.wrapping_add(step) & mask(size);
        let carry = self.state.flags?.carry;
        self.state.flags = Some(Flags {
            zero: result == 0,
            sign: result & sign != 0,
            carry,
            overflow: result == if up { sign } else { sign - 1 },
        });
        self.assign(i, result)
    }

    fn logic(&mut self, i: &Instruction) -> Option<()> {
        let size = width(i)?;
        // A register cleared with itself needs no value.
        let same = i.mnemonic() == Mnemonic::Xor
            && i.op0_kind() == OpKind::Register
            && i.op1_kind() == OpKind::Register
            && i.op0_register() == i.op1_register();
        let (a, b) = match same {
            true => (0, 0),
            false => (self.operand(i, 0)?, self.operand(i, 1)? & mask(size)),
        };
        let result = match i.mnemonic() {
            Mnemonic::Or => a | b,
            Mnemonic::Xor => a ^ b,
            _ => a & b,
        };
        self.state.flags = Some(Flags {
            zero: result == 0,
            sign: result & sign_bit(size) != 0,
            carry: false,
            overflow: false,
        });
        match i.mnemonic() {
            Mnemonic::Test => Some(()),
            _ => self.assign(i, result),
        }
    }

    fn holds(&self, condition: ConditionCode) -> Option<bool> {
        let f = self.state.flags?;
        Some(match condition {
            ConditionCode::e => f.zero,
            ConditionCode::ne => !f.zero,
            ConditionCode::b => f.carry,
            ConditionCode::ae => !f.carry,
            ConditionCode::be => f.carry || f.zero,
            ConditionCode::a => !f.carry && !f.zero,
            ConditionCode::s => f.sign,
            ConditionCode::ns => !f.sign,
            ConditionCode::l => f.sign != f.overflow,
            ConditionCode::ge => f.sign == f.overflow,
            ConditionCode::le => f.zero || f.sign != f.overflow,
            ConditionCode::g => !f.zero && f.sign == f.overflow,
            ConditionCode::o => f.overflow,
            ConditionCode::no => !f.overflow,
            _ => return None,
        })
    }
}

/// Where a direct jump goes.
fn target(i: &Instruction) -> Option<u64> {
    match i.op0_kind() {
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
            Some(i.near_branch_target())
        }
        _ => None,
    }
}

/// Bytes an instruction works on.
fn width(i: &Instruction) -> Option<usize> {
    let size = match i.op0_kind() {
        OpKind::Register => i.op0_register().size(),
        OpKind::Memory => i.memory_size().size(),
        _ => return None,
    };
    matches!(size, 1 | 2 | 4 | 8).then_some(size)
}

fn mask(size: usize) -> u64 {
    match size {
        1 => 0xFF,
        2 => 0xFFFF,
        4 => 0xFFFF_FFFF,
        _ => u64::MAX,
    }
}

fn sign_bit(size: usize) -> u64 {
    mask(size) ^ (mask(size) >> 1)
}
