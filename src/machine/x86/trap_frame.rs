//! x86 KTRAP_FRAME: what the kernel saves at an interrupt, exception or system call; and the task
//! state segment a double fault leaves.
//!
//! Trap frame offsets: `docs/dump-format.md`, KTRAP_FRAME. Task state: Intel's manual, volume 3.

use super::registers as r;
use crate::bytes::View;
use crate::machine::{Machine, Reg, Registers};

/// Bytes that are there after a trap from user mode; those of virtual-8086 mode follow.
pub const USER_SIZE: usize = 0x7C;
/// Bytes that are there after a trap from kernel mode: no stack pointer is pushed then.
pub const KERNEL_SIZE: usize = 0x74;
/// Offset of Eip.
pub const EIP: u64 = 0x68;
/// Code segment selector of the kernel.
pub const KERNEL_CS: u64 = 0x08;
/// Code segment selector of user mode.
pub const USER_CS: u64 = 0x1B;

/// Fields that become registers: number, offset.
const FIELDS: &[(Reg, usize)] = &[
    (r::EDX, 0x3C),
    (r::ECX, 0x40),
    (r::EAX, 0x44),
    (r::EDI, 0x54),
    (r::ESI, 0x58),
    (r::EBX, 0x5C),
    (r::EBP, 0x60),
    (r::EIP, 0x68),
    (r::EFLAGS, 0x70),
];

/// Selectors: number, offset.
const SELECTORS: &[(Reg, usize)] = &[
    (r::GS, 0x30),
    (r::ES, 0x34),
    (r::DS, 0x38),
    (r::FS, 0x50),
    (r::CS, 0x6C),
];

/// Task state: number, offset. Registers first, then selectors.
const TASK_STATE: &[(Reg, usize)] = &[
    (r::EIP, 0x20),
    (r::EFLAGS, 0x24),
    (r::EAX, 0x28),
    (r::ECX, 0x2C),
    (r::EDX, 0x30),
    (r::EBX, 0x34),
    (r::ESP, 0x38),
    (r::EBP, 0x3C),
    (r::ESI, 0x40),
    (r::EDI, 0x44),
    (r::ES, 0x48),
    (r::CS, 0x4C),
    (r::SS, 0x50),
    (r::DS, 0x54),
    (r::FS, 0x58),
    (r::GS, 0x5C),
];

/// Bytes of the hardware part of a task state segment.
pub const TASK_STATE_SIZE: usize = 0x68;

/// Reads the frame that lies at `address`; `view` starts there.
///
/// The stack pointer of a trap from kernel mode is where the frame ends; the kernel edits a frame
/// (selector without its index bits) when it moves the stack pointer, and keeps the new value.
pub fn read(view: View<'_>, address: u64) -> Option<Registers> {
    let mut registers = Registers::new(Machine::X86);
    for (reg, at) in FIELDS {
        registers.set(*reg, u64::from(view.u32(*at)?));
    }
    for (reg, at) in SELECTORS {
        registers.set(*reg, u64::from(view.u16(*at)?));
    }
    let cs = u64::from(view.u16(0x6C)?);
    if cs & 3 != 0 {
        registers.set(r::ESP, u64::from(view.u32(0x74)?));
        registers.set(r::SS, u64::from(view.u16(0x78)?));
    } else if cs & 0xFFF8 == 0 {
        registers.set(r::CS, u64::from(view.u16(0x10)?));
        registers.set(r::ESP, u64::from(view.u32(0x14)?));
        registers.set(r::SS, 0x10);
    } else {
        registers.set(r::ESP, address.checked_add(KERNEL_SIZE as u64)?);
        registers.set(r::SS, 0x10);
    }
    Some(registers)
}

/// True when the selectors and flags are those of a trap frame made in the kernel's own code
/// (`at` is the frame's offset in `view`): the pattern of Microsoft's article Q159672.
pub fn selectors_plausible(view: View<'_>) -> bool {
    let word = |at| view.u32(at).unwrap_or(u32::MAX);
    word(0x34) & 0xFFFF == 0x23
        && word(0x38) & 0xFFFF == 0x23
        && word(0x50) & 0xFFFF == 0x30
        && u64::from(word(0x6C) & 0xFFFF) == KERNEL_CS
        && flags_plausible(word(0x70))
}

/// True when the flags can be a processor's: bit 1 always set, reserved bits clear.
pub fn flags_plausible(flags: u32) -> bool {
    flags & 2 != 0 && flags >> 22 == 0 && flags & 0x8028 == 0
}

/// True when the debugger's copy of Eip in the frame equals Eip, which the kernel's macros do for
/// frames they complete.
pub fn debugger_copy_agrees(view: View<'_>) -> bool {
    view.u32(4).is_some() && view.u32(4) == view.u32(0x68)
}

/// Reads the registers of a task state segment, as the double-fault handler finds them.
pub fn read_task_state(view: View<'_>) -> Option<Registers> {
    view.bytes(0, TASK_STATE_SIZE)?;
    let mut registers = Registers::new(Machine::X86);
    for (reg, at) in TASK_STATE {
        let value = view.u32(*at)?;
        let selector = reg.0 >= r::CS.0;
        registers.set(
            *reg,
            u64::from(if selector { value & 0xFFFF } else { value }),
        );
    }
    Some(registers)
}
