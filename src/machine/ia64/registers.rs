//! IA-64 registers a triage report shows: static general registers, branch registers, register
//! stack and interruption state. Stacked registers lie in memory; floating-point ones are not kept.

use crate::machine::Reg;

/// Names in the order of the numbers below.
pub const NAMES: &[&str] = &[
    "gp", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "sp", "r13", "rp", "pr", "unat", "lc", "pfs",
    "bsp", "bspstore", "rsc", "rnat", "ipsr", "iip", "ifs", "r9", "r10", "r11", "r14", "r15",
    "r16", "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27", "r28",
    "r29", "r30", "r31", "b1", "b2", "b3", "b4", "b5", "b6", "b7", "isr", "ifa",
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
/// Number of `rp`, which is b0.
pub const RP: Reg = Reg(10);
/// Number of `pr`.
pub const PREDS: Reg = Reg(11);
/// Number of `unat`.
pub const UNAT: Reg = Reg(12);
/// Number of `lc`.
pub const LC: Reg = Reg(13);
/// Number of `pfs`: the frame marker of the caller, as a call leaves it.
pub const PFS: Reg = Reg(14);
/// Number of `bsp`: where r32 of the frame lies in memory.
pub const BSP: Reg = Reg(15);
/// Number of `bspstore`: what lies below is written.
pub const BSPSTORE: Reg = Reg(16);
/// Number of `rsc`.
pub const RSC: Reg = Reg(17);
/// Number of `rnat`.
pub const RNAT: Reg = Reg(18);
/// Number of `ipsr`.
pub const IPSR: Reg = Reg(19);
/// Number of `iip`.
pub const IIP: Reg = Reg(20);
/// Number of `ifs`: the frame marker in its low 38 bits.
pub const IFS: Reg = Reg(21);
/// Number of `r9`; `r10` and `r11` follow.
pub const R9: Reg = Reg(22);
/// Number of `r14`; those up to `r31` follow.
pub const R14: Reg = Reg(25);
/// Number of `b1`.
pub const B1: Reg = Reg(43);
/// Number of `b2`.
pub const B2: Reg = Reg(44);
/// Number of `b3`.
pub const B3: Reg = Reg(45);
/// Number of `b4`.
pub const B4: Reg = Reg(46);
/// Number of `b5`.
pub const B5: Reg = Reg(47);
/// Number of `b6`.
pub const B6: Reg = Reg(48);
/// Number of `b7`.
pub const B7: Reg = Reg(49);
/// Number of `isr`: what a fault was about.
pub const ISR: Reg = Reg(50);
/// Number of `ifa`: the address that a fault was about.
pub const IFA: Reg = Reg(51);

/// Static general register `n` (1 to 31); r0 is no register but zero.
pub fn general(n: u8) -> Option<Reg> {
    match n {
        1..=8 => Some(Reg(n - 1)),
        9..=11 => Some(Reg(R9.0 + n - 9)),
        12 => Some(SP),
        13 => Some(TEB),
        14..=31 => Some(Reg(R14.0 + n - 14)),
        _ => None,
    }
}

/// Branch register `n` (0 to 7).
pub fn branch(n: u8) -> Option<Reg> {
    match n {
        0 => Some(RP),
        1..=7 => Some(Reg(B1.0 + n - 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_agree() {
        let name = |reg: Option<Reg>| NAMES[usize::from(reg.unwrap().0)].to_owned();
        for n in (2..=31).filter(|n| *n != 12) {
            assert_eq!(name(general(n)), format!("r{n}"));
        }
        for n in 1..=7 {
            assert_eq!(name(branch(n)), format!("b{n}"));
        }
        assert_eq!((general(0), general(32), branch(8)), (None, None, None));
        assert_eq!(name(Some(IFA)), "ifa");
        assert_eq!(name(Some(ISR)), "isr");
    }
}
