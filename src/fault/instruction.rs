//! The faulting instruction: its text, the address it really accessed, and what kind of list or
//! call operation it is.
//!
//! The effective address is computed from the recovered registers and held against the bug check's:
//! agreement shows that registers, code and parameters belong together. Which instruction sequences
//! are list operations: `docs/stacks.md`.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory,
    Mnemonic, NasmFormatter, OpAccess, OpKind, Register as R,
};

use crate::bytes::Gva;
pub use crate::facts::InstructionKind;
use crate::machine::{Machine, Reg, Registers, x64, x86};
use crate::unwind::CodeInfo;

use super::Access;
use super::Crash;
use super::access::FaultAccess;
use super::ia64;

/// Longest instruction of the architecture in bytes.
const LONGEST: usize = 15;
/// Bytes of code looked at before and after the instruction for its partners.
const NEIGHBOURHOOD: usize = 48;
/// Instructions looked at on each side.
const NEIGHBOURS: usize = 6;

/// The address an instruction accessed, computed from the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectiveAddress {
    /// The address.
    pub value: u64,
    /// Whether it is the one the bug check reports; `None` when that reports none.
    pub agrees: Option<bool>,
}

/// The faulting instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultInstruction {
    /// Text in lower-case NASM syntax, as `mov [rax+8],rcx`; `None` when its bytes are not at hand.
    pub text: Option<String>,
    /// What it does; `None` when that cannot be told.
    pub kind: Option<InstructionKind>,
    /// What it accessed.
    pub effective_address: Option<EffectiveAddress>,
    /// How it accessed it.
    pub access: Option<Access>,
}

/// Decodes the instruction at the registers' instruction pointer. `None` when neither its bytes nor
/// the way it was reached are known.
pub fn fault_instruction(
    crash: &Crash<'_>,
    registers: &Registers,
    fault: &FaultAccess,
) -> Option<FaultInstruction> {
    let ip = registers.ip()?;
    if crash.machine == Machine::Ia64 {
        return Some(FaultInstruction {
            text: Some(ia64::instruction(registers)?),
            kind: None,
            effective_address: None,
            access: None,
        });
    }
    if fault.access == Some(Access::Execute) {
        return called(crash, registers);
    }
    let bits = match crash.machine {
        Machine::X86 => 32,
        Machine::X64 => 64,
        _ => return None,
    };
    let code = code_at(crash, ip, LONGEST);
    let mut decoder = Decoder::with_ip(bits, &code, ip, DecoderOptions::NONE);
    let instruction = decoder.decode();
    if instruction.is_invalid() {
        return None;
    }
    let from_image = crash.memory.read(Gva(ip), &mut [0]).is_err();
    let accessed = accessed(&instruction, registers, fault, from_image);
    Some(FaultInstruction {
        text: Some(text(&instruction)),
        kind: kind(crash, &instruction, bits),
        effective_address: accessed.map(|(address, _)| address),
        access: accessed.and_then(|(_, access)| access),
    })
}

/// The instruction could not be fetched: what led there is the caller's business.
fn called(crash: &Crash<'_>, registers: &Registers) -> Option<FaultInstruction> {
    let sp = registers.sp()?;
    let width = crash.machine.pointer_width();
    let back = crash.memory.read_pointer(Gva(sp), width).ok()?;
    crate::unwind::looks_like_return(crash.code_info, crash.machine, back, sp)?;
    Some(FaultInstruction {
        text: None,
        kind: Some(InstructionKind::CallThroughPointer),
        effective_address: None,
        access: None,
    })
}

/// Up to `len` bytes of code at `address`: from memory, else from the image.
fn code_at(crash: &Crash<'_>, address: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for n in (1..=len).rev() {
        let Some(part) = bytes.get_mut(..n) else {
            break;
        };
        if crash.memory.read(Gva(address), part).is_ok()
            || image_bytes(crash.code_info, address, part)
        {
            bytes.truncate(n);
            return bytes;
        }
    }
    Vec::new()
}

pub(super) fn image_bytes(code: &dyn CodeInfo, address: u64, buf: &mut [u8]) -> bool {
    code.module_at(address)
        .and_then(|module| Some(code.read_image(module, module.rva(address)?, buf)))
        .unwrap_or(false)
}

fn text(instruction: &Instruction) -> String {
    let mut formatter = NasmFormatter::new();
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(true);
    options.set_branch_leading_zeros(false);
    let mut text = String::new();
    formatter.format(instruction, &mut text);
    text
}

/// Displacements that x86 code in an image file has of its own data: for the base the linker preferred,
/// which the loader replaces. Below are offsets in structures, above what only loaded code names.
const LINKED: std::ops::Range<u64> = 0x1_0000..0x8000_0000;

/// The memory the instruction accessed: the operand that fits the reported access best. Where the code
/// is that of an image file, an operand that the loader relocates has an unknown address.
fn accessed(
    instruction: &Instruction,
    registers: &Registers,
    fault: &FaultAccess,
    from_image: bool,
) -> Option<(EffectiveAddress, Option<Access>)> {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let mut best: Option<(u32, EffectiveAddress, Option<Access>)> = None;
    let relocated = |displacement: u64| {
        from_image && registers.machine() == Machine::X86 && LINKED.contains(&displacement)
    };
    for used in info.used_memory() {
        if relocated(used.displacement()) {
            continue;
        }
        let access = match used.access() {
            OpAccess::Read | OpAccess::CondRead => Some(Access::Read),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite => Some(Access::Write),
            OpAccess::ReadCondWrite => Some(Access::Write),
            _ => continue,
        };
        let Some(value) = used.virtual_address(0, |register, _, _| value_of(registers, register))
        else {
            continue;
        };
        let value = registers.machine().truncate(value);
        let size = u64::try_from(used.memory_size().size()).unwrap_or(1).max(1);
        let agrees = match fault.address {
            Some(address) => Some(address.checked_sub(value).is_some_and(|d| d < size)),
            None if fault.address_withheld => Some(!is_canonical(value)),
            None => None,
        };
        // A read-modify-write faults as a read or as a write.
        let fits = fault.access.is_none()
            || fault.access == access
            || used.access() == OpAccess::ReadWrite;
        // Where no address is named, an operand that cannot be one explains the fault better than one that can.
        let explains = agrees.is_none() && !is_canonical(value);
        let rank = u32::from(agrees == Some(true) || explains) * 2 + u32::from(fits);
        if best.is_none_or(|(known, ..)| rank > known) {
            best = Some((rank, EffectiveAddress { value, agrees }, access));
        }
    }
    best.map(|(_, address, access)| (address, access))
}

/// True when bits 47 to 63 are equal, as the processor demands.
fn is_canonical(address: u64) -> bool {
    matches!(address >> 47, 0 | 0x1FFFF)
}

/// The value of a register operand, if it was recovered. Segment bases are zero but for `fs` and
/// `gs`, which no context holds.
fn value_of(registers: &Registers, register: R) -> Option<u64> {
    if register.is_segment_register() {
        return (register != R::FS && register != R::GS).then_some(0);
    }
    let full = register.full_register();
    let number = u8::try_from(full.number()).ok()?;
    let value = match registers.machine() {
        Machine::X64 if full.is_gpr64() => registers.get(Reg(number)),
        Machine::X64 if full == R::RIP => registers.get(x64::registers::RIP),
        Machine::X86 if full.is_gpr64() && number < 8 => registers.get(Reg(number)),
        Machine::X86 if full == R::RIP => registers.get(x86::registers::EIP),
        _ => None,
    }?;
    match register.size() {
        4 => Some(value & 0xFFFF_FFFF),
        2 => Some(value & 0xFFFF),
        8 => Some(value),
        _ => None,
    }
}

/// A store or load of a register through one register and a small displacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Link {
    base: R,
    displacement: u64,
    value: R,
}

/// `mov [base+d], value` of pointer width.
fn store(instruction: &Instruction, pointer: usize) -> Option<Link> {
    let plain = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op0_kind() == OpKind::Memory
        && instruction.op1_kind() == OpKind::Register;
    plain
        .then(|| link(instruction, instruction.op1_register(), pointer))
        .flatten()
}

/// `mov value, [base+d]` of pointer width.
fn load(instruction: &Instruction, pointer: usize) -> Option<Link> {
    let plain = instruction.mnemonic() == Mnemonic::Mov
        && instruction.op1_kind() == OpKind::Memory
        && instruction.op0_kind() == OpKind::Register;
    plain
        .then(|| link(instruction, instruction.op0_register(), pointer))
        .flatten()
}

fn link(instruction: &Instruction, value: R, pointer: usize) -> Option<Link> {
    let base = instruction.memory_base();
    let simple = instruction.memory_index() == R::None
        && base != R::None
        && !matches!(base, R::RSP | R::ESP | R::RIP | R::EIP)
        && value.size() == pointer;
    simple.then_some(Link {
        base,
        displacement: instruction.memory_displacement64(),
        value,
    })
}

/// What kind of operation the instruction is, from itself and its neighbours.
fn kind(crash: &Crash<'_>, instruction: &Instruction, bits: u32) -> Option<InstructionKind> {
    use InstructionKind as K;
    let pointer = crash.machine.pointer_width();
    let memory = (0..instruction.op_count()).any(|n| instruction.op_kind(n) == OpKind::Memory);
    match instruction.flow_control() {
        FlowControl::IndirectCall | FlowControl::IndirectBranch => {
            return Some(K::CallThroughPointer);
        }
        _ => {}
    }
    let (before, after) = neighbours(crash, instruction, bits);
    if instruction.code() == Code::Int_imm8 && instruction.immediate8() == 0x29 {
        return Some(K::CheckedUnlink);
    }
    if !memory {
        return None;
    }
    let width = pointer as u64;
    let is_link = |l: &Link| l.displacement == 0 || l.displacement == width;
    if let Some(own) = store(instruction, pointer).filter(is_link) {
        let partners = before
            .iter()
            .chain(&after)
            .filter_map(|i| store(i, pointer))
            .filter(is_link)
            .filter(|other| other.displacement != own.displacement);
        for other in partners {
            if other.base == own.value && other.value == own.base {
                return Some(K::ListUnlink);
            }
            if other.value == own.value && other.base != own.base {
                return Some(K::ListInsert);
            }
        }
        // Without its neighbours the store may be half of either.
        return (!before.is_empty() && !after.is_empty()).then_some(K::PlainAccess);
    }
    if let Some(own) = load(instruction, pointer).filter(is_link)
        && own.base == own.value
    {
        return Some(K::ListWalk);
    }
    let compares = instruction.mnemonic() == Mnemonic::Cmp
        && link(instruction, instruction.op1_register(), pointer).is_some_and(|l| is_link(&l));
    if compares
        && after
            .first()
            .is_some_and(|next| next.flow_control() == FlowControl::ConditionalBranch)
        && unlinks(&after, pointer)
    {
        return Some(K::CheckedUnlink);
    }
    Some(K::PlainAccess)
}

/// True when the code that follows a check stores two links into each other, or compares once more.
fn unlinks(after: &[Instruction], pointer: usize) -> bool {
    let stores: Vec<Link> = after.iter().filter_map(|i| store(i, pointer)).collect();
    let mutual = stores.iter().any(|a| {
        stores
            .iter()
            .any(|b| a.value == b.base && a.base == b.value)
    });
    mutual || after.iter().any(|i| i.mnemonic() == Mnemonic::Cmp)
}

/// The instructions just before and just after; those before are a best reading of the bytes.
fn neighbours(
    crash: &Crash<'_>,
    instruction: &Instruction,
    bits: u32,
) -> (Vec<Instruction>, Vec<Instruction>) {
    let decode = |code: &[u8], ip: u64| -> Vec<Instruction> {
        Decoder::with_ip(bits, code, ip, DecoderOptions::NONE)
            .into_iter()
            .take_while(|i| !i.is_invalid())
            .collect()
    };
    let following = code_at(crash, instruction.next_ip(), NEIGHBOURHOOD);
    let mut after = decode(&following, instruction.next_ip());
    after.truncate(NEIGHBOURS);
    let ip = instruction.ip();
    // Decoding from an earlier byte falls into step with the real instructions after a few: the
    // first start that arrives exactly at the instruction is taken.
    let mut before = Vec::new();
    for distance in (1..=NEIGHBOURHOOD).rev() {
        let Some(start) = ip.checked_sub(distance as u64) else {
            continue;
        };
        let mut code = vec![0; distance];
        let there = crash.memory.read(Gva(start), &mut code).is_ok()
            || image_bytes(crash.code_info, start, &mut code);
        if !there {
            continue;
        }
        let read = decode(&code, start);
        if read.last().is_some_and(|last| last.next_ip() == ip) {
            let from = read.len().saturating_sub(NEIGHBOURS);
            before = read.get(from..).unwrap_or_default().to_vec();
            break;
        }
    }
    (before, after)
}
