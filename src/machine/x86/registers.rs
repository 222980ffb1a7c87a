//! x86 registers. General registers carry the numbers the instruction encoding uses.

use crate::machine::Reg;

/// Names in the order of the numbers below.
pub const NAMES: &[&str] = &[
    "eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip", "eflags", "cs", "ds", "es",
    "fs", "gs", "ss",
];

/// Number of `eax`.
pub const EAX: Reg = Reg(0);
/// Number of `ecx`.
pub const ECX: Reg = Reg(1);
/// Number of `edx`.
pub const EDX: Reg = Reg(2);
/// Number of `ebx`.
pub const EBX: Reg = Reg(3);
/// Number of `esp`.
pub const ESP: Reg = Reg(4);
/// Number of `ebp`.
pub const EBP: Reg = Reg(5);
/// Number of `esi`.
pub const ESI: Reg = Reg(6);
/// Number of `edi`.
pub const EDI: Reg = Reg(7);
/// Number of `eip`.
pub const EIP: Reg = Reg(8);
/// Number of `eflags`.
pub const EFLAGS: Reg = Reg(9);
/// Number of `cs`.
pub const CS: Reg = Reg(10);
/// Number of `ds`.
pub const DS: Reg = Reg(11);
/// Number of `es`.
pub const ES: Reg = Reg(12);
/// Number of `fs`.
pub const FS: Reg = Reg(13);
/// Number of `gs`.
pub const GS: Reg = Reg(14);
/// Number of `ss`.
pub const SS: Reg = Reg(15);
