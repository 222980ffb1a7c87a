//! Forwarding entries that somebody wrote over: their timer link holds what no entry, no list head and no
//! removal leaves there.
//!
//! They are found on the lists of their table; where its heads cannot be read, by the pointer that led the
//! fault astray. Source of the distinction: `docs/kb943650.md`.

use super::set::{self, FORWARDING, TIMERS};
use crate::bytes::Gva;
use crate::kernel::pool::PoolBlock;
use crate::memory::Absent;

use super::removal::Removal;
use super::timer_lists::{Linked, blocks_near, forwarding_offset, link};
use crate::facts::{FaultFacts, Finding, FindingKind};
use crate::gather::forwarding::findings::PoolView;

/// Bytes from an entry's link in which a walk reads.
const LINK_FIELDS: u64 = 0x20;
/// Below this, values are counts and flags rather than pointers.
const SMALL: u64 = 0x1_0000;

/// An entry that somebody wrote over: of the table's lists, else of the pool around the `sets` and what the
/// registers point to. Nothing where no list and no code says at which offset an entry has its link: other things have the
/// entries' tag as well.
pub(in crate::gather) fn overwritten(
    pool: &PoolView<'_>,
    fault: &FaultFacts,
    linked: &Linked,
    sets: &[u64],
    removal: Option<&Removal>,
) -> Option<Finding> {
    let offset = linked.offset?;
    match linked.forward.is_empty() {
        true => in_pool(pool, fault, offset, sets),
        false => on_list(pool, fault, (linked, offset), removal),
    }
}

/// True when the fault's address is what an access through a null link gives.
pub(in crate::gather) fn through_null(fault: &FaultFacts) -> bool {
    fault.address.is_some_and(|at| at < LINK_FIELDS)
}

/// An entry that its table's lists still hold, with a link that no entry, no list head and no removal
/// leaves there: the one that led the fault astray where there is one, else any.
fn on_list(
    pool: &PoolView<'_>,
    fault: &FaultFacts,
    (linked, offset): (&Linked, u64),
    removal: Option<&Removal>,
) -> Option<Finding> {
    let foreign_null = removal.filter(|removal| !removal.leaves_null());
    let address = fault.address;
    let mut entries: Vec<u64> = linked
        .forward
        .iter()
        .chain(&linked.backward)
        .map(|(to, _)| *to)
        .filter(|at| forwarding_offset(pool, *at) == Some(offset))
        .collect();
    entries.sort_unstable();
    entries.dedup();
    let read = |value: u64| match value {
        0 => through_null(fault),
        _ => {
            address.is_some_and(|read| read.checked_sub(value).is_some_and(|by| by < LINK_FIELDS))
                || fault.registers.iter().any(|(_, held)| *held == value)
        }
    };
    let bad = |value: &u64| match *value {
        0 => foreign_null.is_some(),
        value => leads_nowhere(pool, value) && !linked.is_place(pool, value),
    };
    let overwritten = entries.into_iter().filter_map(|at| {
        let links = [link(pool, at, false)?, link(pool, at, true)?];
        let bad = links.into_iter().find(bad)?;
        Some((at, bad, read(bad)))
    });
    let mut overwritten: Vec<_> = overwritten.collect();
    // The first of those that the fault met, else the first.
    overwritten.sort_by_key(|(_, _, met)| !met);
    overwritten.first().map(|(at, bad, met)| {
        let what = match (bad, foreign_null) {
            (0, Some(removal)) => format!("a null pointer, and {}", removal.habit()),
            _ => format!("{bad:#x}, where nothing is"),
        };
        let whose = if *met { "" } else { "; the fault was at another one" };
        Finding {
            kind: FindingKind::OverwrittenEntry,
            address: Some(*at),
            tag: Some(FORWARDING.to_string()),
            detail: format!(
                "the forwarding entry's timer link at {at:#x} is still on its list and holds {what}{whose}"
            ),
            list: vec![*at, *bad],
        }
    })
}

/// True when nothing can have been at an address: it is no kernel address, or its page is not mapped.
fn leads_nowhere(pool: &PoolView<'_>, at: u64) -> bool {
    let width = pool.machine.pointer_width();
    !set::is_kernel(at, pool.machine)
        || matches!(
            pool.memory.read_pointer(Gva(at), width),
            Err(Absent::NotMapped | Absent::NonCanonical)
        )
}

/// The forwarding entry that holds the pointer to nowhere which the fault went through, beside one that is in
/// order: half of a list entry.
fn in_pool(pool: &PoolView<'_>, fault: &FaultFacts, offset: u64, sets: &[u64]) -> Option<Finding> {
    let bad: Vec<u64> = went_through(fault)
        .filter(|value| *value >= SMALL && leads_nowhere(pool, *value))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let registers = fault.registers.iter().map(|(_, value)| *value);
    let forwarding = registers.filter(|at| forwarding_offset(pool, *at).is_some());
    let mut around: Vec<u64> = sets.iter().copied().chain(forwarding).collect();
    around.sort_unstable();
    // What lies in one stretch of pool is looked at once.
    around.dedup_by_key(|at| *at >> 17);
    let mut entries = around
        .into_iter()
        .flat_map(|at| blocks_near(pool, at))
        .filter(|block| block.tag == FORWARDING);
    let (at, value) = entries.find_map(|block| half_link(pool, &block, offset, &bad))?;
    Some(Finding {
        kind: FindingKind::OverwrittenEntry,
        address: Some(at),
        tag: Some(FORWARDING.to_string()),
        detail: format!(
            "the forwarding entry's timer link at {at:#x} holds {value:#x}, where nothing is and the fault went"
        ),
        list: vec![at, value],
    })
}

/// Registers that the faulting access went through: near its address; where no address is reported, those
/// that the instruction names.
fn went_through(fault: &FaultFacts) -> impl Iterator<Item = u64> {
    let registers = fault.registers.iter();
    registers
        .filter(move |(name, value)| match fault.address {
            Some(at) => at.checked_sub(*value).is_some_and(|by| by < LINK_FIELDS),
            None => fault.names_register(name),
        })
        .map(|(_, value)| *value)
}

/// The link of a forwarding entry's block, when one half of it is `bad` and the other leads to a table or to another
/// forwarding entry at the same offset.
fn half_link(
    pool: &PoolView<'_>,
    block: &PoolBlock,
    offset: u64,
    bad: &[u64],
) -> Option<(u64, u64)> {
    let at = block
        .body
        .checked_add(offset)
        .filter(|at| *at < block.end())?;
    let (first, second) = (link(pool, at, false)?, link(pool, at, true)?);
    let in_order = |value: u64| {
        let table = pool
            .block(value)
            .is_some_and(|b| b.allocated && b.tag == TIMERS);
        table || forwarding_offset(pool, value) == Some(offset)
    };
    match (bad.contains(&first), bad.contains(&second)) {
        (true, false) if in_order(second) => Some((at, first)),
        (false, true) if in_order(first) => Some((at, second)),
        _ => None,
    }
}
