//! x64 registers. General registers carry the numbers the instruction encoding and unwind data use.

use crate::machine::Reg;

/// Names in the order of the numbers below.
pub const NAMES: &[&str] = &[
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "eflags", "cs", "ds", "es", "fs", "gs", "ss",
];

/// Number of `rax`.
pub const RAX: Reg = Reg(0);
/// Number of `rcx`.
pub const RCX: Reg = Reg(1);
/// Number of `rdx`.
pub const RDX: Reg = Reg(2);
/// Number of `rbx`.
pub const RBX: Reg = Reg(3);
/// Number of `rsp`.
pub const RSP: Reg = Reg(4);
/// Number of `rbp`.
pub const RBP: Reg = Reg(5);
/// Number of `rsi`.
pub const RSI: Reg = Reg(6);
/// Number of `rdi`.
pub const RDI: Reg = Reg(7);
/// Number of `r8`.
pub const R8: Reg = Reg(8);
/// Number of `r9`.
pub const R9: Reg = Reg(9);
/// Number of `r10`.
pub const R10: Reg = Reg(10);
/// Number of `r11`.
pub const R11: Reg = Reg(11);
/// Number of `r12`.
pub const R12: Reg = Reg(12);
/// Number of `r13`.
pub const R13: Reg = Reg(13);
/// Number of `r14`.
pub const R14: Reg = Reg(14);
/// Number of `r15`.
pub const R15: Reg = Reg(15);
/// Number of `rip`.
pub const RIP: Reg = Reg(16);
/// Number of `eflags`.
pub const EFLAGS: Reg = Reg(17);
/// Number of `cs`.
pub const CS: Reg = Reg(18);
/// Number of `ds`.
pub const DS: Reg = Reg(19);
/// Number of `es`.
pub const ES: Reg = Reg(20);
/// Number of `fs`.
pub const FS: Reg = Reg(21);
/// Number of `gs`.
pub const GS: Reg = Reg(22);
/// Number of `ss`.
pub const SS: Reg = Reg(23);
