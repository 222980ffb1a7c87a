//! x64 unwinding of real images, held against `pe-unwind-info` at every instruction.

use std::collections::BTreeMap;

use crate::support::unwind::{Image, store, store_images};
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register as R};
use kbtriage::bytes::Gva;
use kbtriage::machine::{Machine, Reg, Registers, x64::registers as r};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::x64::{Position, step};
use pe_unwind_info::x86_64 as oracle;

/// A stack without end in which every quadword differs from every other.
struct Everywhere;

fn content(at: u64) -> u64 {
    let mixed = (at >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24;
    0xFFFF_F880_0000_0000 | mixed & 0xFFFF_FFF0
}

impl Memory for Everywhere {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        buf.copy_from_slice(&content(at.0).to_le_bytes()[..buf.len()]);
        Ok(())
    }
}

/// The oracle's view of a register file.
struct State([u64; 16]);

impl oracle::UnwindState for State {
    fn read_register(&mut self, register: oracle::Register) -> u64 {
        self.0[register as usize]
    }

    fn read_stack(&mut self, at: u64) -> Option<u64> {
        Some(content(at))
    }

    fn write_register(&mut self, register: oracle::Register, value: u64) {
        self.0[register as usize] = value;
    }

    fn write_xmm_register(&mut self, _: oracle::XmmRegister, _: u128) {}
}

/// General registers at the start: the value says which register it is.
fn start() -> [u64; 16] {
    std::array::from_fn(|n| 0xFFFF_F900_0000_0000 + ((n as u64) << 24))
}

const NONVOLATILE: [Reg; 9] = [
    r::RBX,
    r::RBP,
    r::RSI,
    r::RDI,
    r::R12,
    r::R13,
    r::R14,
    r::R15,
    r::RSP,
];

type Caller = (u64, [u64; 9]);

fn theirs(image: &Image, rva: u32) -> Option<Caller> {
    let from = image.directory.rva as usize;
    let table = &image.bytes[from..from + image.directory.size as usize];
    let entries = oracle::FunctionTableEntries::parse(table);
    let mut state = State(start());
    let ip = entries.unwind_frame(&mut state, |at| image.bytes.get(at as usize..), rva)?;
    Some((ip, NONVOLATILE.map(|reg| state.0[usize::from(reg.0)])))
}

fn ours(image: &Image, rva: u32) -> Option<Caller> {
    let mut registers = Registers::new(Machine::X64);
    for (number, value) in (0u8..).zip(start()) {
        registers.set(Reg(number), value);
    }
    registers.set_ip(image.span.base + u64::from(rva));
    let step = step(image, &Everywhere, &registers, Position::Exact).ok()?;
    Some((
        step.registers.ip()?,
        NONVOLATILE.map(|reg| step.registers.get(reg).unwrap()),
    ))
}

/// The function at an entry: its instructions, as far as they decode.
fn instructions(image: &Image, begin: u32, end: u32) -> Vec<Instruction> {
    let code = &image.bytes[begin as usize..end as usize];
    let decoder = Decoder::with_ip(64, code, u64::from(begin), DecoderOptions::NONE);
    decoder
        .into_iter()
        .take_while(|i| !i.is_invalid())
        .collect()
}

/// What executing from `rva` gives when only pops, stack adjustments and a way out are left: the
/// caller by the meaning of the instructions, without any unwind data. `None` for all other code.
fn executed(image: &Image, rva: u32, function: (u32, u32)) -> Option<Caller> {
    let mut registers = start();
    let number = |register: R| (register.is_gpr64()).then(|| register.number());
    let stack = R::RSP.number();
    for at in instructions(image, rva, function.1) {
        match (at.mnemonic(), at.op0_kind()) {
            (Mnemonic::Pop, OpKind::Register) => {
                let value = content(registers[stack]);
                registers[stack] += 8;
                registers[number(at.op0_register())?] = value;
            }
            (Mnemonic::Add, OpKind::Register) if at.op0_register() == R::RSP => {
                registers[stack] = registers[stack].wrapping_add(at.immediate(1));
            }
            (Mnemonic::Lea, OpKind::Register) if at.op0_register() == R::RSP => {
                if at.memory_index() != R::None {
                    return None;
                }
                let base = registers[number(at.memory_base())?];
                registers[stack] = base.wrapping_add(at.memory_displacement64());
            }
            (Mnemonic::Ret, _) => return Some(returned(registers)),
            (Mnemonic::Jmp, OpKind::NearBranch64) => {
                let target = at.near_branch_target() as u32;
                let outside = !(function.0 + 1..function.1).contains(&target);
                return outside.then(|| returned(registers));
            }
            (Mnemonic::Jmp, _) => return Some(returned(registers)),
            _ => return None,
        }
    }
    None
}

/// The caller when the return address lies at the stack pointer.
fn returned(mut registers: [u64; 16]) -> Caller {
    let stack = R::RSP.number();
    let ip = content(registers[stack]);
    registers[stack] += 8;
    (ip, NONVOLATILE.map(|reg| registers[usize::from(reg.0)]))
}

/// A separate part of a function that saves more registers reloads them before it jumps back: then
/// a register and its stack slot hold the same value, and both answers are right. True when the
/// callers differ only in registers that a `mov reg, [rsp + n]` of the part read from the slot.
fn restored_before_jump(
    image: &Image,
    jump: &Instruction,
    function: (u32, u32),
    mine: &Caller,
    after: &Caller,
) -> bool {
    let reloads: Vec<(u8, u64)> = instructions(image, function.0, jump.ip() as u32)
        .iter()
        .filter(|i| i.mnemonic() == Mnemonic::Mov && i.op0_register().is_gpr64())
        .filter(|i| i.op1_kind() == OpKind::Memory && i.memory_base() == R::RSP)
        .map(|i| {
            let slot = start()[R::RSP.number()].wrapping_add(i.memory_displacement64());
            (i.op0_register().number() as u8, content(slot))
        })
        .collect();
    let same_frame = mine.0 == after.0 && mine.1[8] == after.1[8];
    same_frame
        && NONVOLATILE
            .iter()
            .zip(mine.1)
            .zip(after.1)
            .all(|((reg, a), b)| a == b || reloads.contains(&(reg.0, a)))
}

/// Why the oracle differs, with a check that needs neither of the two unwinders' epilogue rules;
/// `None` leaves the disagreement unexplained.
fn explanation(image: &Image, at: &Instruction, function: (u32, u32)) -> Option<&'static str> {
    let rva = at.ip() as u32;
    let mine = ours(image, rva)?;
    let jumps = at.mnemonic() == Mnemonic::Jmp && at.op0_kind() == OpKind::NearBranch64;
    if executed(image, rva, function).is_some_and(|truth| truth == mine) {
        // The oracle (0.6.1) takes the operation's number for the high bits of an epilogue's
        // position, so it finds none in version 2 records.
        return Some("executing the rest of the epilogue gives our answer");
    }
    // Nothing happens between a jump and its target: both have the same caller. The oracle
    // takes every relative jump for the end of an epilogue.
    if jumps {
        let target = at.near_branch_target() as u32;
        if theirs(image, target) == Some(mine) {
            return Some("the jump's target has our answer as its caller by the oracle");
        }
        if ours(image, target) == Some(mine) {
            return Some("the jump's target has the same caller");
        }
        if restored_before_jump(image, at, function, &mine, &theirs(image, target)?) {
            return Some("the part has just reloaded the registers it had saved");
        }
    }
    None
}

#[test]
fn every_instruction_of_the_real_images_gives_the_caller_the_oracle_gives() {
    let Some(store) = store() else { return };
    let mut checked = 0u64;
    let mut explained: BTreeMap<&str, u64> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for (label, image) in store_images(&store) {
        if !image.is_x64 {
            continue;
        }
        let entries: Vec<(u32, u32)> = (0..image.directory.size / 12)
            .map(|n| image.directory.rva + n * 12)
            .map(|at| (image.u32(at), image.u32(at + 4)))
            .collect();
        for (begin, end) in &entries {
            for at in instructions(&image, *begin, *end) {
                checked += 1;
                let rva = at.ip() as u32;
                if theirs(&image, rva) == ours(&image, rva) {
                    continue;
                }
                match explanation(&image, &at, (*begin, *end)) {
                    Some(why) => *explained.entry(why).or_default() += 1,
                    None => unexplained.push(format!(
                        "{label}+{rva:#x} `{at}` in {begin:#x}..{end:#x}: {:x?} {:x?}",
                        theirs(&image, rva),
                        ours(&image, rva)
                    )),
                }
            }
        }
    }
    println!("{checked} instructions; explained: {explained:?}");
    assert!(checked > 500_000, "only {checked} instructions were there");
    assert!(
        unexplained.is_empty(),
        "{} disagreements: {:#?}",
        unexplained.len(),
        &unexplained[..unexplained.len().min(30)]
    );
}
