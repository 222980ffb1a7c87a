//! ARM64 CONTEXT: 0x390 bytes, from the public `winnt.h`.

use super::registers as r;
use crate::bytes::View;
use crate::machine::{Machine, Reg, Registers, context};

/// Size of the record in bytes.
pub const SIZE: usize = 0x390;

/// Offset of ContextFlags.
const CONTEXT_FLAGS: usize = 0x0;
/// The bit of ContextFlags that names this architecture.
const ARCHITECTURE_FLAG: u32 = 0x0040_0000;

/// Where each register lies: number, offset, width in bytes.
const FIELDS: &[(Reg, usize, usize)] = &[
    (r::X0, 0x8, 8),
    (r::X1, 0x10, 8),
    (r::X2, 0x18, 8),
    (r::X3, 0x20, 8),
    (r::X4, 0x28, 8),
    (r::X5, 0x30, 8),
    (r::X6, 0x38, 8),
    (r::X7, 0x40, 8),
    (r::X8, 0x48, 8),
    (r::X9, 0x50, 8),
    (r::X10, 0x58, 8),
    (r::X11, 0x60, 8),
    (r::X12, 0x68, 8),
    (r::X13, 0x70, 8),
    (r::X14, 0x78, 8),
    (r::X15, 0x80, 8),
    (r::X16, 0x88, 8),
    (r::X17, 0x90, 8),
    (r::X18, 0x98, 8),
    (r::X19, 0xa0, 8),
    (r::X20, 0xa8, 8),
    (r::X21, 0xb0, 8),
    (r::X22, 0xb8, 8),
    (r::X23, 0xc0, 8),
    (r::X24, 0xc8, 8),
    (r::X25, 0xd0, 8),
    (r::X26, 0xd8, 8),
    (r::X27, 0xe0, 8),
    (r::X28, 0xe8, 8),
    (r::FP, 0xf0, 8),
    (r::LR, 0xf8, 8),
    (r::SP, 0x100, 8),
    (r::PC, 0x108, 8),
    (r::CPSR, 0x4, 4),
];

/// Reads the record; `None` when it is cut short or its flags name another machine.
pub fn read(view: View<'_>) -> Option<Registers> {
    let flags = (CONTEXT_FLAGS, ARCHITECTURE_FLAG);
    context::read(view, Machine::Arm64, SIZE, flags, FIELDS)
}
