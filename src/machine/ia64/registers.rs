//! IA-64 registers a triage report shows: static general registers, branch return, register stack and interruption state.

use crate::machine::Reg;

/// Names in the order of the numbers below.
pub const NAMES: &[&str] = &[
    "gp", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "sp", "r13", "rp", "pr", "unat", "lc", "pfs",
    "bsp", "bspstore", "rsc", "rnat", "ipsr", "iip", "ifs",
];

/// Number of `gp`.
pub const GP: Reg = Reg(0);
/// Number of `r2`.
pub const T0: Reg = Reg(1);
/// Number of `r3`.
pub const T1: Reg = Reg(2);
/// Number of `r4`.
pub const S0: Reg = Reg(3);
/// Number of `r5`.
pub const S1: Reg = Reg(4);
/// Number of `r6`.
pub const S2: Reg = Reg(5);
/// Number of `r7`.
pub const S3: Reg = Reg(6);
/// Number of `r8`.
pub const V0: Reg = Reg(7);
/// Number of `sp`.
pub const SP: Reg = Reg(8);
/// Number of `r13`.
pub const TEB: Reg = Reg(9);
/// Number of `rp`.
pub const RP: Reg = Reg(10);
/// Number of `pr`.
pub const PREDS: Reg = Reg(11);
/// Number of `unat`.
pub const UNAT: Reg = Reg(12);
/// Number of `lc`.
pub const LC: Reg = Reg(13);
/// Number of `pfs`.
pub const PFS: Reg = Reg(14);
/// Number of `bsp`.
pub const BSP: Reg = Reg(15);
/// Number of `bspstore`.
pub const BSPSTORE: Reg = Reg(16);
/// Number of `rsc`.
pub const RSC: Reg = Reg(17);
/// Number of `rnat`.
pub const RNAT: Reg = Reg(18);
/// Number of `ipsr`.
pub const IPSR: Reg = Reg(19);
/// Number of `iip`.
pub const IIP: Reg = Reg(20);
/// Number of `ifs`.
pub const IFS: Reg = Reg(21);
