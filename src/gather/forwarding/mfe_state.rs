//! What became of the forwarding entry whose timer link a list operation faulted on.
//!
//! Two processors that unlink and relink leave an entry that another one has taken off already, or
//! lists of real entries that disagree. Whoever writes over a linked entry leaves something else in
//! it, and its neighbours still lead to it. The neighbours are found from the timer table's heads.
//! A null link is either's work, unless the build's own code is known not to leave one.
//! Source of the distinction: `docs/kb943650.md`.

use super::set::{self, FORWARDING, TIMERS};
use crate::kernel::pool::PoolBlock;

use super::meanwhile::changed;
use super::overwritten::{overwritten, through_null};
use super::removal::Removal;
use super::tears::torn_queue;
use super::timer_lists::{
    Linked, blocks_near, forwarding_offset, large_table, link, lists_of, table_block,
};
use crate::facts::{FaultFacts, Finding, FindingKind, InstructionKind};
use crate::gather::fault::Found;
use crate::gather::forwarding::findings::PoolView;
use crate::gather::session::Session;

/// What other parts of memory lead to.
pub(in crate::gather) struct Known<'a> {
    /// Forwarding sets.
    pub sets: &'a [u64],
    /// The tables that they name.
    pub tables: &'a [u64],
    /// Tables that the crashed processor's pointers lead to, whose ever.
    pub seen: &'a [u64],
    /// Offset of the timer link in an entry, as the image's own code says it.
    pub by_code: Option<u64>,
}

fn is_list_operation(fault: &FaultFacts) -> bool {
    fault
        .instruction_kind
        .is_some_and(InstructionKind::is_list_operation)
}

/// True for a fault that an entry can have led to: a list operation, or an access on the way along a list.
pub(in crate::gather) fn may_concern(fault: &FaultFacts) -> bool {
    is_list_operation(fault) || fault.instruction_kind == Some(InstructionKind::PlainAccess)
}

/// What the fault worked on: the forwarding entry at its registers, and that entry's state. Nothing
/// where no register points to one. `removal` is what this build leaves in a stopped timer.
pub(in crate::gather) fn at_mfe(
    pool: &PoolView<'_>,
    session: &Session<'_>,
    found: &Found,
    known: &Known<'_>,
    removal: Option<&Removal>,
) -> Vec<Finding> {
    let fault = &found.fault;
    let mut tables: Vec<u64> = known.tables.iter().chain(known.seen).copied().collect();
    tables.extend(
        fault
            .registers
            .iter()
            .filter_map(|(_, value)| table_block(pool, *value).or(large_table(pool, *value))),
    );
    tables.sort_unstable();
    tables.dedup();
    let linked = lists_of(pool, &tables, known.by_code);
    let met = overwritten(pool, fault, &linked, known.sets, removal);
    let torn = torn_queue(pool, &linked);
    if !is_list_operation(fault) {
        return met.into_iter().chain(torn).collect();
    }
    let changed = changed(pool, session, found, &linked);
    let worked_on = worked_on(pool, fault, &linked, known.tables);
    let null = match (&worked_on, removal) {
        (Some(_), None) => null_link(pool, fault, &linked),
        _ => None,
    };
    let state = mfe_state(pool, fault, &linked, removal).or(met);
    worked_on
        .into_iter()
        .chain(null)
        .chain(state)
        .chain(changed)
        .chain(torn)
        .collect()
}

/// What the lists of a forced dump show: those of every table that a processor works with, or a set names.
pub(in crate::gather) fn in_queues(pool: &PoolView<'_>, known: &Known<'_>) -> Option<Finding> {
    let mut tables: Vec<u64> = known.tables.iter().chain(known.seen).copied().collect();
    tables.sort_unstable();
    tables.dedup();
    torn_queue(pool, &lists_of(pool, &tables, known.by_code))
}

/// The null link that the fault went through, of a forwarding entry that a register points to, where
/// nothing says whose work it is.
fn null_link(pool: &PoolView<'_>, fault: &FaultFacts, linked: &Linked) -> Option<Finding> {
    let registers = fault.registers.iter().map(|(_, value)| *value);
    let mut entries = registers.filter(|at| {
        let own = forwarding_offset(pool, *at);
        let null = || link(pool, *at, false) == Some(0) || link(pool, *at, true) == Some(0);
        own.is_some() && linked.offset.is_none_or(|offset| own == Some(offset)) && null()
    });
    let at = entries.next().filter(|_| through_null(fault))?;
    Some(Finding {
        kind: FindingKind::NullLink,
        address: Some(at),
        tag: Some(FORWARDING.to_string()),
        detail: format!(
            "the forwarding entry's timer link at {at:#x} is null: stopping a timer leaves that in some \
             builds, and so does whoever clears memory; this build's code does not say which"
        ),
        list: Vec::new(),
    })
}

/// The forwarding entry whose timer link the list operation worked on. A register that merely lies
/// in memory with the entries' tag is a left-over of earlier code, and memory with that tag is freed and
/// used again like any other, so both have to agree: where in the block the pointer leads, and whose table
/// the operation worked on.
fn worked_on(
    pool: &PoolView<'_>,
    fault: &FaultFacts,
    linked: &Linked,
    tables: &[u64],
) -> Option<Finding> {
    let ours = |table: u64| tables.contains(&table) || linked.forwarding.contains(&table);
    let values = || fault.registers.iter().map(|(_, value)| *value);
    let foreign = |value: u64| {
        let table = |block: &PoolBlock| block.tag == TIMERS && block.body == value;
        !ours(value) && pool.block(value).as_ref().is_some_and(table)
    };
    let known = !tables.is_empty() || !linked.forwarding.is_empty();
    if known && values().any(foreign) && !values().any(ours) {
        return None;
    }
    fault.registers.iter().find_map(|(name, at)| {
        let block = pool.block(*at).filter(|block| block.tag == FORWARDING)?;
        let offset = block.offset(*at)?;
        let link = match linked.offset {
            Some(known) => offset == known,
            None => is_operand(pool, fault, name, *at),
        };
        link.then(|| Finding {
            kind: FindingKind::ForwardingEntry,
            address: Some(*at),
            tag: Some(FORWARDING.to_string()),
            detail: format!(
                "{name} points to {}: {offset:#x} bytes into the {} pool block of {:#x} bytes tagged \
                 {FORWARDING}",
                // Without a list or code that says where an entry has its link, it is what the instruction works on.
                match linked.offset {
                    Some(_) => "the timer link of a forwarding entry",
                    None => "the list entry that the instruction works on, in memory of multicast forwarding",
                },
                if block.allocated { "allocated" } else { "free" },
                block.size,
            ),
            list: Vec::new(),
        })
    })
}

/// Where nothing says at which offset the link is: the instruction names the register, or works with
/// pointers that the entry there holds.
fn is_operand(pool: &PoolView<'_>, fault: &FaultFacts, name: &str, at: u64) -> bool {
    if fault.names_register(name) {
        return true;
    }
    let mut operands = fault
        .registers
        .iter()
        .filter(|(register, _)| fault.names_register(register));
    let held = [link(pool, at, false), link(pool, at, true)];
    // One link of the entry may have changed since it was read; null links are anybody's.
    let both = operands.clone().count() == 2
        && operands
            .clone()
            .all(|(_, value)| held.contains(&Some(*value)));
    both || operands.any(|(_, value)| *value != 0 && held.contains(&Some(*value)))
}

/// The state of the entry that the fault worked on; `None` where no register points to one.
fn mfe_state(
    pool: &PoolView<'_>,
    fault: &FaultFacts,
    linked: &Linked,
    removal: Option<&Removal>,
) -> Option<Finding> {
    let unlink = fault.instruction_kind == Some(InstructionKind::ListUnlink);
    if !unlink {
        return None;
    }
    let entry = |value: &u64| {
        pool.block(*value).is_some_and(|b| {
            let own = b.offset(*value);
            b.allocated
                && b.tag == FORWARDING
                && own.is_some()
                && linked.offset.is_none_or(|offset| own == Some(offset))
        })
    };
    let mut entries: Vec<u64> = fault
        .registers
        .iter()
        .map(|(_, value)| *value)
        .filter(entry)
        .collect();
    entries.sort_unstable();
    entries.dedup();
    let found = entries
        .iter()
        .filter_map(|at| state(pool, linked, fault, removal, *at));
    // An entry that says something before one that only stands beside it.
    let mut best: Option<(u8, Finding)> = None;
    for (rank, finding) in found {
        if best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, finding));
        }
    }
    best.map(|(_, finding)| finding)
}

/// Which links in the pool around an entry lead to it: the first and the second ones of forwarding entries, and how many
/// words of timer tables.
fn near(pool: &PoolView<'_>, at: u64) -> (bool, bool, usize) {
    let width = pool.machine.pointer_width() as u64;
    let Some(offset) = pool.block(at).and_then(|block| block.offset(at)) else {
        return (false, false, 0);
    };
    let (mut first, mut second, mut heads) = (false, false, 0);
    for block in blocks_near(pool, at) {
        let end = block.end();
        match block.tag {
            FORWARDING => {
                let own = block.body.saturating_add(offset);
                if own != at && own.saturating_add(2 * width) <= end {
                    first |= link(pool, own, false) == Some(at);
                    second |= link(pool, own, true) == Some(at);
                }
            }
            TIMERS => {
                let words = set::words_on(pool.memory, (block.body, end), pool.machine);
                heads += words.iter().filter(|(_, value)| *value == at).count();
            }
            _ => {}
        }
    }
    (first, second, heads)
}

/// The state of one entry, with how much it says.
fn state(
    pool: &PoolView<'_>,
    linked: &Linked,
    fault: &FaultFacts,
    removal: Option<&Removal>,
    at: u64,
) -> Option<(u8, Finding)> {
    let (next, previous) = (link(pool, at, false)?, link(pool, at, true)?);
    let led_to = |list: &[(u64, u64)]| list.iter().any(|(to, _)| *to == at);
    let walked = (led_to(&linked.forward), led_to(&linked.backward));
    // Where an entry has its link is proven, or nothing is said of what it holds.
    linked.offset?;
    let (first, second, heads) = near(pool, at);
    let (from_before, from_after) = (walked.0 || first, walked.1 || second);
    // Which link of a head a table's word is, the walk says; one that no walk came by is the missing one.
    let sides = match heads {
        0 => (from_before, from_after),
        1 if from_before || from_after => (true, true),
        1 => (true, false),
        _ => (true, true),
    };
    // A link to an entry that was freed since is a stale one, and nobody wrote it.
    let entry = |value: u64| {
        let block = pool.block(value).filter(|b| b.tag == FORWARDING);
        block.is_some_and(|b| b.offset(value) == linked.offset)
    };
    let wild = |value: u64| {
        let place = || linked.is_place(pool, value) || entry(value);
        value != 0 && value != at && !pool.is_linked(value) && !place()
    };
    let used = |value: u64| fault.registers.iter().any(|(_, held)| *held == value);
    let finding = |kind: FindingKind, words: String| Finding {
        kind,
        address: Some(at),
        tag: Some(FORWARDING.to_string()),
        detail: format!("the forwarding entry's timer link at {at:#x} {words}"),
        list: vec![at, next, previous],
    };
    let overwritten = |words: String| Some((3, finding(FindingKind::OverwrittenEntry, words)));
    if wild(next) && used(next) || wild(previous) && used(previous) {
        let words = format!("holds {next:#x} and {previous:#x}, which are no list entries");
        return overwritten(words);
    }
    let nulls = [next, previous].iter().filter(|value| **value == 0).count();
    if let Some(removal) = removal.filter(|removal| !removal.leaves_null()) {
        let habit = removal.habit();
        return match nulls > 0 && through_null(fault) {
            true => overwritten(format!("holds {next:#x} and {previous:#x}, and {habit}")),
            false => None,
        };
    }
    match (nulls, sides) {
        // One null link is a state of the race itself: it says nothing.
        (2, (true, true)) => overwritten(format!(
            "holds {next:#x} and {previous:#x} while its neighbours still lead to it"
        )),
        // Lists that were not walked to their end may lead to it.
        (2, (false, false))
            if linked.whole && !linked.forwarding.is_empty() && through_null(fault) =>
        {
            let words = "is null and no entry of its table leads to it: another processor had taken it \
                         off the queue";
            Some((2, finding(FindingKind::UnlinkedEntry, words.to_owned())))
        }
        _ => None,
    }
}
