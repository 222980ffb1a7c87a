//! Who calls a function: every direct call and jump in an image's code that leads to it.
//!
//! A sweep over the bytes, because no table says which functions call which. It may take data for a call,
//! so it names callers too many rather than too few; calls through pointers it does not see.

use std::collections::{BTreeMap, BTreeSet};

use super::CodeSource;
use crate::bytes::Budget;

/// `call rel32` and `jmp rel32`.
const DIRECT: [u8; 2] = [0xE8, 0xE9];
/// First byte of the two-byte `jcc rel32`, and the range of the second.
const ESCAPE: u8 = 0x0F;
const CONDITIONS: std::ops::RangeInclusive<u8> = 0x80..=0x8F;
/// Bytes of code that are looked at: tcpip.sys has less than one million.
const MOST_CODE: u64 = 16 << 20;
/// Bytes that cost one step of the budget.
const BYTES_A_STEP: u64 = 64;
/// Bytes read at once.
const CHUNK: usize = 0x1000;
/// Places that lead to one function, at most.
const MOST_SITES: usize = 256;

/// Every place that leads to each of the functions, ascending. `None` where the code is not all at hand, where
/// it is too much, or where the budget is spent.
pub fn call_sites(
    code: &dyn CodeSource,
    targets: &BTreeSet<u32>,
    budget: &Budget,
) -> Option<BTreeMap<u32, Vec<u32>>> {
    code.bits()?;
    let ranges = code.code_ranges();
    let all: u64 = ranges.iter().map(|(_, size)| u64::from(*size)).sum();
    if ranges.is_empty() || all > MOST_CODE {
        return None;
    }
    budget.spend(all / BYTES_A_STEP).ok()?;
    let mut found: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (start, size) in ranges {
        let bytes = whole(code, start, size)?;
        let conditional = |at: usize| {
            let pair = bytes.get(at.checked_sub(1)?..=at)?;
            matches!(pair, [ESCAPE, second] if CONDITIONS.contains(second)).then_some(())
        };
        for (at, window) in bytes.windows(5).enumerate() {
            let [first, distance @ ..] = window else {
                continue;
            };
            if !DIRECT.contains(first) && conditional(at).is_none() {
                continue;
            }
            let Ok(distance) = <[u8; 4]>::try_from(distance) else {
                continue;
            };
            let site = start.wrapping_add(u32::try_from(at).ok()?);
            let to = site
                .wrapping_add(5)
                .wrapping_add_signed(i32::from_le_bytes(distance));
            if targets.contains(&to) {
                let sites = found.entry(to).or_default();
                if sites.len() >= MOST_SITES {
                    return None;
                }
                sites.push(site);
            }
        }
    }
    Some(found)
}

/// All bytes of a range; `None` where some are not there.
fn whole(code: &dyn CodeSource, start: u32, size: u32) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = start;
    let end = start.checked_add(size)?;
    while at < end {
        let mut chunk = [0; CHUNK];
        let want = usize::try_from(end - at).ok()?.min(CHUNK);
        let read = code.read(at, chunk.get_mut(..want)?);
        if read < want {
            return None;
        }
        bytes.extend_from_slice(chunk.get(..want)?);
        at = at.checked_add(u32::try_from(want).ok()?)?;
    }
    Some(bytes)
}
