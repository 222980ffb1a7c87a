//! ARM64 registers.

use crate::machine::Reg;

/// Names in the order of the numbers below.
pub const NAMES: &[&str] = &[
    "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14",
    "x15", "x16", "x17", "x18", "x19", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27",
    "x28", "fp", "lr", "sp", "pc", "cpsr",
];

/// Number of `x0`.
pub const X0: Reg = Reg(0);
/// Number of `x1`.
pub const X1: Reg = Reg(1);
/// Number of `x2`.
pub const X2: Reg = Reg(2);
/// Number of `x3`.
pub const X3: Reg = Reg(3);
/// Number of `x4`.
pub const X4: Reg = Reg(4);
/// Number of `x5`.
pub const X5: Reg = Reg(5);
/// Number of `x6`.
pub const X6: Reg = Reg(6);
/// Number of `x7`.
pub const X7: Reg = Reg(7);
/// Number of `x8`.
pub const X8: Reg = Reg(8);
/// Number of `x9`.
pub const X9: Reg = Reg(9);
/// Number of `x10`.
pub const X10: Reg = Reg(10);
/// Number of `x11`.
pub const X11: Reg = Reg(11);
/// Number of `x12`.
pub const X12: Reg = Reg(12);
/// Number of `x13`.
pub const X13: Reg = Reg(13);
/// Number of `x14`.
pub const X14: Reg = Reg(14);
/// Number of `x15`.
pub const X15: Reg = Reg(15);
/// Number of `x16`.
pub const X16: Reg = Reg(16);
/// Number of `x17`.
pub const X17: Reg = Reg(17);
/// Number of `x18`.
pub const X18: Reg = Reg(18);
/// Number of `x19`.
pub const X19: Reg = Reg(19);
/// Number of `x20`.
pub const X20: Reg = Reg(20);
/// Number of `x21`.
pub const X21: Reg = Reg(21);
/// Number of `x22`.
pub const X22: Reg = Reg(22);
/// Number of `x23`.
pub const X23: Reg = Reg(23);
/// Number of `x24`.
pub const X24: Reg = Reg(24);
/// Number of `x25`.
pub const X25: Reg = Reg(25);
/// Number of `x26`.
pub const X26: Reg = Reg(26);
/// Number of `x27`.
pub const X27: Reg = Reg(27);
/// Number of `x28`.
pub const X28: Reg = Reg(28);
/// Number of `fp`.
pub const FP: Reg = Reg(29);
/// Number of `lr`.
pub const LR: Reg = Reg(30);
/// Number of `sp`.
pub const SP: Reg = Reg(31);
/// Number of `pc`.
pub const PC: Reg = Reg(32);
/// Number of `cpsr`.
pub const CPSR: Reg = Reg(33);
