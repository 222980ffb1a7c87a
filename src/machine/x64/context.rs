//! x64 CONTEXT: 0x4D0 bytes (`docs/dump-format.md`, CONTEXT records).

use super::registers as r;
use crate::bytes::View;
use crate::machine::{Machine, Reg, Registers, context};

/// Size of the record in bytes.
pub const SIZE: usize = 0x4d0;
/// Bytes of the part that holds segments, flags and general registers.
pub const GENERAL: usize = 0x100;

/// Offset of ContextFlags.
const CONTEXT_FLAGS: usize = 0x30;
/// The bit of ContextFlags that names this architecture.
const ARCHITECTURE_FLAG: u32 = 0x0010_0000;

/// Where each register lies: number, offset, width in bytes.
const FIELDS: &[(Reg, usize, usize)] = &[
    (r::RAX, 0x78, 8),
    (r::RCX, 0x80, 8),
    (r::RDX, 0x88, 8),
    (r::RBX, 0x90, 8),
    (r::RSP, 0x98, 8),
    (r::RBP, 0xa0, 8),
    (r::RSI, 0xa8, 8),
    (r::RDI, 0xb0, 8),
    (r::R8, 0xb8, 8),
    (r::R9, 0xc0, 8),
    (r::R10, 0xc8, 8),
    (r::R11, 0xd0, 8),
    (r::R12, 0xd8, 8),
    (r::R13, 0xe0, 8),
    (r::R14, 0xe8, 8),
    (r::R15, 0xf0, 8),
    (r::RIP, 0xf8, 8),
    (r::EFLAGS, 0x44, 4),
    (r::CS, 0x38, 2),
    (r::DS, 0x3a, 2),
    (r::ES, 0x3c, 2),
    (r::FS, 0x3e, 2),
    (r::GS, 0x40, 2),
    (r::SS, 0x42, 2),
];

/// Reads the record, of which only the general part has to be there; `None` when that is cut short
/// or its flags name another machine.
pub fn read(view: View<'_>) -> Option<Registers> {
    let flags = (CONTEXT_FLAGS, ARCHITECTURE_FLAG);
    context::read(view, Machine::X64, GENERAL, flags, FIELDS)
}
