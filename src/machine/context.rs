//! Reading a CONTEXT record by a table of its fields: the same for every architecture.

use super::{Machine, Reg, Registers};
use crate::bytes::View;

/// Bits of ContextFlags that describe how a context was taken, not whose it is.
const STATE_FLAGS: u32 = 0xE800_0000;
/// The half of ContextFlags that names the architecture.
const ARCHITECTURE_FLAGS: u32 = 0xFFFF_0000;

/// Reads a record of `size` bytes. `flags` is the offset of ContextFlags and the bit that names the
/// architecture; `fields` gives number, offset and width in bytes of each register. `None` when the
/// record is cut short or its flags name another machine.
pub(super) fn read(
    view: View<'_>,
    machine: Machine,
    size: usize,
    flags: (usize, u32),
    fields: &[(Reg, usize, usize)],
) -> Option<Registers> {
    view.bytes(0, size)?;
    if view.u32(flags.0)? & ARCHITECTURE_FLAGS & !STATE_FLAGS != flags.1 {
        return None;
    }
    let mut registers = Registers::new(machine);
    for (reg, at, width) in fields {
        let value = match width {
            2 => view.u16(*at).map(u64::from),
            4 => view.u32(*at).map(u64::from),
            _ => view.u64(*at),
        };
        registers.set(*reg, value?);
    }
    Some(registers)
}
