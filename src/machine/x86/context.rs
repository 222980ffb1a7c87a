//! x86 CONTEXT: 0x2CC bytes (`docs/dump-format.md`, CONTEXT records).

use super::registers as r;
use crate::bytes::View;
use crate::machine::{Machine, Reg, Registers, context};

/// Size of the record in bytes.
pub const SIZE: usize = 0x2cc;
/// Bytes of the part that holds segments, flags and general registers.
pub const GENERAL: usize = 0xcc;

/// Offset of ContextFlags.
const CONTEXT_FLAGS: usize = 0x0;
/// The bit of ContextFlags that names this architecture.
const ARCHITECTURE_FLAG: u32 = 0x0001_0000;

/// Where each register lies: number, offset, width in bytes.
const FIELDS: &[(Reg, usize, usize)] = &[
    (r::EAX, 0xb0, 4),
    (r::ECX, 0xac, 4),
    (r::EDX, 0xa8, 4),
    (r::EBX, 0xa4, 4),
    (r::ESP, 0xc4, 4),
    (r::EBP, 0xb4, 4),
    (r::ESI, 0xa0, 4),
    (r::EDI, 0x9c, 4),
    (r::EIP, 0xb8, 4),
    (r::EFLAGS, 0xc0, 4),
    (r::CS, 0xbc, 2),
    (r::DS, 0x98, 2),
    (r::ES, 0x94, 2),
    (r::FS, 0x90, 2),
    (r::GS, 0x8c, 2),
    (r::SS, 0xc8, 2),
];

/// Reads the record, of which only the general part has to be there; `None` when that is cut short
/// or its flags name another machine.
pub fn read(view: View<'_>) -> Option<Registers> {
    let flags = (CONTEXT_FLAGS, ARCHITECTURE_FLAG);
    context::read(view, Machine::X86, GENERAL, flags, FIELDS)
}
