//! Where a region's saved registers lie on the memory stack, and which slot stores each.
//!
//! Facts: Intel, "Itanium Software Conventions and Runtime Architecture Guide", chapter 11 and appendix B (spill area,
//! spill mask).

use super::descriptors::{Damage, Resource};
use super::rules::{SavedIn, Work};

/// psp + 16 - 4 * offset, as bytes from psp.
pub(super) fn below_psp(offset: u64) -> Result<i64, Damage> {
    above_sp(offset).map(|bytes| 16 - bytes)
}

/// 4 * offset in bytes: no stack is larger than the limit here.
pub(super) fn above_sp(offset: u64) -> Result<i64, Damage> {
    const MOST: u64 = 1 << 28;
    i64::try_from(offset)
        .ok()
        .filter(|_| offset < MOST)
        .map(|offset| offset * 4)
        .ok_or(Damage::Number)
}

/// The places of spilled registers by their position in `saves`: from the area's upper end down,
/// highest register first, floating-point before branch before general registers.
pub(super) fn spill_area(work: &Work<'_>) -> Result<Vec<(usize, SavedIn)>, Damage> {
    let rank = |what: Resource| match what {
        Resource::Fr(n) => (0, 255 - n),
        Resource::Br(n) => (1, 255 - n),
        Resource::Gr(n) => (2, 255 - n),
        _ => (3, 0),
    };
    let mut spilled: Vec<(usize, Resource)> = work
        .saves
        .iter()
        .enumerate()
        .filter(|(_, save)| save.place.is_none())
        .map(|(number, save)| (number, save.what))
        .collect();
    spilled.sort_by_key(|(_, what)| rank(*what));
    let mut end = below_psp(work.spill_base.unwrap_or(0))?;
    let places = spilled.into_iter().map(|(number, what)| {
        end -= match what {
            Resource::Fr(_) => 16,
            _ => 8,
        };
        (number, SavedIn::Psp(end))
    });
    Ok(places.collect())
}

/// The slot that the spill mask gives to the save at position `number`: the n-th slot marked with
/// a kind belongs to the n-th lowest register of the kind.
pub(super) fn masked_slot(work: &Work<'_>, number: usize) -> Option<u64> {
    let save = work.saves.get(number).filter(|save| save.masked)?;
    let (kind, own) = kind(save.what)?;
    let lower = work
        .saves
        .iter()
        .filter(|other| other.masked)
        .filter(|other| self::kind(other.what).is_some_and(|(k, n)| k == kind && n < own))
        .count();
    let slots = work.spill_mask?.iter().zip(0u64..).flat_map(|(byte, n)| {
        [6, 4, 2, 0]
            .into_iter()
            .zip(n * 4..)
            .map(move |(shift, slot)| (byte >> shift & 3, slot))
    });
    slots
        .filter(|(code, _)| *code == kind)
        .nth(lower)
        .map(|(_, slot)| slot)
}

/// The code of a register's kind in a spill mask, and its number.
fn kind(what: Resource) -> Option<(u8, u8)> {
    match what {
        Resource::Fr(n) => Some((1, n)),
        Resource::Gr(n) => Some((2, n)),
        Resource::Br(n) => Some((3, n)),
        _ => None,
    }
}
