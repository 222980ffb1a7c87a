//! IA-64 CONTEXT: 0xA70 bytes, computed from the public `winnt.h` (`docs/dump-format.md`).

use super::registers as r;
use crate::bytes::View;
use crate::machine::{Machine, Reg, Registers, context};

/// Size of the record in bytes.
pub const SIZE: usize = 0xa70;

/// Offset of ContextFlags.
const CONTEXT_FLAGS: usize = 0x0;
/// The bit of ContextFlags that names this architecture.
const ARCHITECTURE_FLAG: u32 = 0x0008_0000;

/// Where each register lies: number, offset, width in bytes.
const FIELDS: &[(Reg, usize, usize)] = &[
    (r::GP, 0x878, 8),
    (r::T0, 0x880, 8),
    (r::T1, 0x888, 8),
    (r::S0, 0x890, 8),
    (r::S1, 0x898, 8),
    (r::S2, 0x8a0, 8),
    (r::S3, 0x8a8, 8),
    (r::V0, 0x8b0, 8),
    (r::SP, 0x8d0, 8),
    (r::TEB, 0x8d8, 8),
    (r::RP, 0x980, 8),
    (r::PREDS, 0x978, 8),
    (r::UNAT, 0x9c0, 8),
    (r::LC, 0x9c8, 8),
    (r::PFS, 0x9e8, 8),
    (r::BSP, 0x9f0, 8),
    (r::BSPSTORE, 0x9f8, 8),
    (r::RSC, 0xa00, 8),
    (r::RNAT, 0xa08, 8),
    (r::IPSR, 0xa10, 8),
    (r::IIP, 0xa18, 8),
    (r::IFS, 0xa20, 8),
];

/// First general register, offset of it, how many follow one another.
const GENERAL: [(u8, usize, u8); 2] = [(9, 0x8b8, 3), (14, 0x8e0, 18)];
/// Offset of b1; b2 to b7 follow it.
const BRANCH: usize = 0x988;

/// Reads the record; `None` when it is cut short or its flags name another machine.
pub fn read(view: View<'_>) -> Option<Registers> {
    let flags = (CONTEXT_FLAGS, ARCHITECTURE_FLAG);
    let mut registers = context::read(view, Machine::Ia64, SIZE, flags, FIELDS)?;
    let general = GENERAL
        .into_iter()
        .flat_map(|(first, at, n)| (first..first + n).zip((at..).step_by(8)))
        .filter_map(|(n, at)| Some((r::general(n)?, at)));
    let branch = (1..=7).zip((BRANCH..).step_by(8));
    let branch = branch.filter_map(|(n, at)| Some((r::branch(n)?, at)));
    for (reg, at) in general.chain(branch) {
        registers.set(reg, view.u64(at)?);
    }
    Some(registers)
}
