//! x86 CONTEXT: 0x2CC bytes (`docs/dump-format.md`, CONTEXT records).

use super::registers as r;
use crate::bytes::View;
use crate::machine::{Machine, Reg, Registers};

/// Size of the record in bytes.
pub const SIZE: usize = 0x2cc;

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

/// Reads the record; `None` when it is cut short or its flags name another machine.
pub fn read(view: View<'_>) -> Option<Registers> {
    view.bytes(0, SIZE)?;
    let flags = view.u32(CONTEXT_FLAGS)?;
    if flags & 0xFFFF_0000 & !0xE800_0000 != ARCHITECTURE_FLAG {
        return None;
    }
    let mut registers = Registers::new(Machine::X86);
    for (reg, at, width) in FIELDS {
        let value = match width {
            2 => view.u16(*at).map(u64::from),
            4 => view.u32(*at).map(u64::from),
            _ => view.u64(*at),
        };
        registers.set(*reg, value?);
    }
    Some(registers)
}
