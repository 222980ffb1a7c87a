//! What became of the forwarding entry whose timer link a list operation faulted on.
//!
//! Two processors that unlink and relink leave an entry that another one has taken off already, or
//! lists of real entries that disagree. Whoever writes over a linked entry leaves something else in
//! it, and its neighbours still lead to it. The neighbours are found from the timer table's heads.
//! A null link is either's work, unless the build's own code is known not to leave one.
//! Source of the distinction: `docs/kb943650.md`.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes::Gva;
use crate::kernel::locks::{self, FORWARDING, TIMERS};
use crate::kernel::pool::{self, PoolBlock};
use crate::memory::Absent;

use super::findings::Scene;
use super::removal::Removal;
use super::{FaultFacts, Finding};

/// Bytes of a page.
const PAGE: u64 = 0x1000;
/// Pages before and after an entry in which other entries are looked for.
const NEAR_PAGES: u64 = 48;
/// Words of a timer table's block that are taken for list heads.
const MOST_HEADS: usize = 4096;
/// Entries of all lists of a table that are walked.
const MOST_ENTRIES: usize = 0x1_0000;

/// Bytes from an entry's link in which a walk reads.
const LINK_FIELDS: u64 = 0x20;
/// Pages of a table that is a large allocation.
const MOST_TABLE_PAGES: u64 = 16;

/// What leads to the entries of a table's lists.
struct Linked {
    /// (entry, where its list's forward walk comes from or leads).
    forward: Vec<(u64, u64)>,
    backward: Vec<(u64, u64)>,
    /// Both again, backward ones marked: where a walk has been already.
    walked: BTreeSet<(bool, u64, u64)>,
    /// Offset of the link in the blocks of forwarding entries: the one most entries have. An entry
    /// that another table's list leads to by mistake must not decide it.
    offset: Option<u64>,
    /// Tables whose lists lead to forwarding entries.
    forwarding: Vec<u64>,
    /// First address of each table's memory and the one past it.
    tables: Vec<(u64, u64)>,
}

impl Linked {
    /// A list head of a table, or the timer link of an entry: where an entry may lead to that nobody
    /// wrote over, even if another processor has since changed what lies there.
    fn is_place(&self, scene: &Scene<'_>, at: u64) -> bool {
        let head = |(low, high): &(u64, u64)| (*low..*high).contains(&at);
        let entry = || self.offset.is_some() && forwarding_offset(scene, at) == self.offset;
        self.tables.iter().any(head) || entry()
    }
}

/// What the fault worked on: the forwarding entry at its registers, and that entry's state. Nothing
/// where no register points to one. `sets` are the tables that forwarding sets name, `seen` the tables
/// that the crashed processor's pointers lead to. `removal` is what this build leaves in a stopped timer.
pub(super) fn at_entry(
    scene: &Scene<'_>,
    fault: &FaultFacts,
    sets: &[u64],
    seen: &[u64],
    removal: Option<&Removal>,
) -> Vec<Finding> {
    let kind = fault.instruction_kind.as_deref();
    let list = kind.is_some_and(|kind| kind.starts_with("list-"));
    if !list && kind != Some("plain-access") {
        return Vec::new();
    }
    let mut tables: Vec<u64> = sets.iter().chain(seen).copied().collect();
    tables.extend(
        fault
            .registers
            .iter()
            .filter_map(|(_, value)| table_block(scene, *value).or(large_table(scene, *value))),
    );
    tables.sort_unstable();
    tables.dedup();
    let linked = lists_of(scene, &tables);
    let met = overwritten_on_list(scene, fault, &linked, removal);
    if !list {
        return met.into_iter().collect();
    }
    let worked_on = worked_on(scene, fault, &linked, sets);
    let null = worked_on
        .as_ref()
        .filter(|_| removal.is_none())
        .and_then(|entry| null_link(scene, fault, entry.address?));
    let state = entry_state(scene, fault, &linked, removal).or(met);
    worked_on.into_iter().chain(null).chain(state).collect()
}

/// True when the fault's address is what an access through a null link gives.
fn through_null(fault: &FaultFacts) -> bool {
    fault.address.is_some_and(|at| at < LINK_FIELDS)
}

/// The null link of the entry at `at` that the fault went through, where nothing says whose work it is.
fn null_link(scene: &Scene<'_>, fault: &FaultFacts, at: u64) -> Option<Finding> {
    let links = [link(scene, at, false)?, link(scene, at, true)?];
    (through_null(fault) && links.contains(&0)).then(|| Finding {
        kind: "null-link".to_owned(),
        address: Some(at),
        tag: Some(FORWARDING.to_string()),
        detail: format!(
            "the forwarding entry's timer link at {at:#x} is null: stopping a timer leaves that in some \
             builds, and so does whoever clears memory; this build's code was not read"
        ),
    })
}

/// An entry that its table's lists still hold, with a link that no entry, no list head and no removal
/// leaves there: the one that led the fault astray where there is one, else any.
fn overwritten_on_list(
    scene: &Scene<'_>,
    fault: &FaultFacts,
    linked: &Linked,
    removal: Option<&Removal>,
) -> Option<Finding> {
    let foreign_null = removal.filter(|removal| !removal.leaves_null());
    let address = fault.address;
    let mut entries: Vec<u64> = linked
        .forward
        .iter()
        .chain(&linked.backward)
        .map(|(to, _)| *to)
        .filter(|at| linked.offset.is_some() && forwarding_offset(scene, *at) == linked.offset)
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
        value => leads_nowhere(scene, value) && !linked.is_place(scene, value),
    };
    let overwritten = entries.into_iter().filter_map(|at| {
        let links = [link(scene, at, false)?, link(scene, at, true)?];
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
            kind: "overwritten-entry".to_owned(),
            address: Some(*at),
            tag: Some(FORWARDING.to_string()),
            detail: format!(
                "the forwarding entry's timer link at {at:#x} is still on its list and holds {what}{whose}"
            ),
        }
    })
}

/// True when nothing can have been at an address: it is no kernel address, or its page is not mapped.
fn leads_nowhere(scene: &Scene<'_>, at: u64) -> bool {
    let width = scene.machine.pointer_width();
    !locks::is_kernel(at, scene.machine)
        || matches!(
            scene.memory.read_pointer(Gva(at), width),
            Err(Absent::NotMapped | Absent::NonCanonical)
        )
}

/// The timer table whose block an address lies in.
fn table_block(scene: &Scene<'_>, at: u64) -> Option<u64> {
    let block = scene.block(at)?;
    (block.allocated && block.tag == TIMERS).then_some(block.body)
}

/// The first page of the table around an address that lies in no pool block: the lists' heads go on from
/// page to page.
fn large_table(scene: &Scene<'_>, at: u64) -> Option<u64> {
    let page = at & !(PAGE - 1);
    // A page of stack can point to entries too: only one with empty lists is a table's.
    let heads = |page: u64| {
        scene.block(page).is_none() && locks::holds_empty_lists(scene.memory, page, scene.machine)
    };
    if !locks::is_kernel(at, scene.machine) || scene.block(at).is_some() {
        return None;
    }
    if at == page && holds_lists(scene, page) {
        return Some(page);
    }
    (0..MOST_TABLE_PAGES)
        .map_while(|n| page.checked_sub(n * PAGE))
        .take_while(|page| heads(*page))
        .last()
}

fn holds_lists(scene: &Scene<'_>, page: u64) -> bool {
    let block_of = |at: u64| scene.block(at);
    locks::holds_lists(scene.memory, page, scene.machine, &block_of, scene.budget)
}

/// The forwarding entry whose timer link the list operation worked on. A register that merely lies
/// in memory with the entries' tag is a left-over of earlier code, and memory with that tag is freed and
/// used again like any other, so both have to agree: where in the block the pointer leads, and whose table
/// the operation worked on.
fn worked_on(
    scene: &Scene<'_>,
    fault: &FaultFacts,
    linked: &Linked,
    sets: &[u64],
) -> Option<Finding> {
    let ours = |table: u64| sets.contains(&table) || linked.forwarding.contains(&table);
    let values = || fault.registers.iter().map(|(_, value)| *value);
    let foreign = |value: u64| {
        let table = |block: &PoolBlock| block.tag == TIMERS && block.body == value;
        !ours(value) && scene.block(value).as_ref().is_some_and(table)
    };
    let known = !sets.is_empty() || !linked.forwarding.is_empty();
    if known && values().any(foreign) && !values().any(ours) {
        return None;
    }
    fault.registers.iter().find_map(|(name, at)| {
        let block = scene.block(*at).filter(|block| block.tag == FORWARDING)?;
        let offset = block.offset(*at)?;
        let link = match linked.offset {
            Some(known) => offset == known,
            None => is_operand(scene, fault, name, *at),
        };
        link.then(|| Finding {
            kind: "forwarding-entry".to_owned(),
            address: Some(*at),
            tag: Some(FORWARDING.to_string()),
            detail: format!(
                "{name} points to the timer link of a forwarding entry: {offset:#x} bytes into the {} \
                 pool block of {:#x} bytes tagged {FORWARDING}",
                if block.allocated { "allocated" } else { "free" },
                block.size,
            ),
        })
    })
}

/// Where nothing says at which offset the link is: the instruction names the register, or works with
/// pointers that the entry there holds.
fn is_operand(scene: &Scene<'_>, fault: &FaultFacts, name: &str, at: u64) -> bool {
    let text = fault.instruction.as_deref().unwrap_or_default();
    let named = |register: &str| {
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word == register)
    };
    if named(name) {
        return true;
    }
    let mut operands = fault
        .registers
        .iter()
        .filter(|(register, _)| named(register));
    let held = [link(scene, at, false), link(scene, at, true)];
    // One link of the entry may have changed since it was read; null links are anybody's.
    let both = operands.clone().count() == 2
        && operands
            .clone()
            .all(|(_, value)| held.contains(&Some(*value)));
    both || operands.any(|(_, value)| *value != 0 && held.contains(&Some(*value)))
}

/// The state of the entry that the fault worked on; `None` where no register points to one.
fn entry_state(
    scene: &Scene<'_>,
    fault: &FaultFacts,
    linked: &Linked,
    removal: Option<&Removal>,
) -> Option<Finding> {
    let unlink = fault.instruction_kind.as_deref() == Some("list-unlink");
    if !unlink {
        return None;
    }
    let entry = |value: &u64| {
        scene.block(*value).is_some_and(|b| {
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
        .filter_map(|at| state(scene, linked, fault, removal, *at));
    // An entry that says something before one that only stands beside it.
    let mut best: Option<(u8, Finding)> = None;
    for (rank, finding) in found {
        if best.as_ref().is_none_or(|(known, _)| rank > *known) {
            best = Some((rank, finding));
        }
    }
    best.map(|(_, finding)| finding)
}

fn link(scene: &Scene<'_>, at: u64, second: bool) -> Option<u64> {
    let width = scene.machine.pointer_width();
    let at = at.checked_add(if second { width as u64 } else { 0 })?;
    scene.memory.read_pointer(Gva(at), width).ok()
}

/// Walks the lists whose heads lie in the tables, both ways.
fn lists_of(scene: &Scene<'_>, tables: &[u64]) -> Linked {
    let mut linked = Linked {
        forward: Vec::new(),
        backward: Vec::new(),
        walked: BTreeSet::new(),
        offset: None,
        forwarding: Vec::new(),
        tables: Vec::new(),
    };
    let mut offsets: BTreeMap<u64, usize> = BTreeMap::new();
    for table in tables {
        let Some(range) = extent(scene, *table) else {
            continue;
        };
        linked.tables.push(range);
        let before = linked.forward.len();
        heads(scene, range, &mut linked);
        let entries = linked.forward.get(before..).unwrap_or_default().iter();
        let mut found = false;
        for offset in entries.filter_map(|(to, _)| forwarding_offset(scene, *to)) {
            *offsets.entry(offset).or_default() += 1;
            found = true;
        }
        if found {
            linked.forwarding.push(*table);
        }
    }
    let most = offsets.into_iter().max_by_key(|(_, count)| *count);
    linked.offset = most.map(|(offset, _)| offset);
    linked
}

/// First address of a table's memory and the one past it: its block, or as many pages of list heads as
/// follow each other.
fn extent(scene: &Scene<'_>, table: u64) -> Option<(u64, u64)> {
    if let Some(block) = scene.block(table) {
        return Some((block.body, block.header.saturating_add(block.size)));
    }
    let page = |n: u64| table.checked_add(n * PAGE);
    let pages = (0..MOST_TABLE_PAGES)
        .take_while(|n| page(*n).is_some_and(|at| holds_lists(scene, at)))
        .count() as u64;
    (pages > 0).then(|| Some((table, page(pages)?)))?
}

/// Walks the lists whose heads lie in a range.
fn heads(scene: &Scene<'_>, range: (u64, u64), linked: &mut Linked) {
    let width = scene.machine.pointer_width() as u64;
    let words = locks::words_on(scene.memory, range, scene.machine);
    for (at, value) in words.into_iter().take(MOST_HEADS) {
        let inside = |address: u64| (range.0..range.1).contains(&address);
        let pair = link(scene, at, true);
        // A head: two kernel pointers, not into the table itself unless the list is empty.
        let pointers = locks::is_kernel(value, scene.machine)
            && pair.is_some_and(|p| locks::is_kernel(p, scene.machine));
        if !pointers || value % width != 0 || inside(value) {
            continue;
        }
        walk(scene, at, false, linked);
        walk(scene, at, true, linked);
    }
}

/// The offset of an address in the allocated block of a forwarding entry.
fn forwarding_offset(scene: &Scene<'_>, at: u64) -> Option<u64> {
    scene
        .block(at)
        .filter(|block| block.allocated && block.tag == FORWARDING)
        .and_then(|block| block.offset(at))
}

fn walk(scene: &Scene<'_>, head: u64, backward: bool, linked: &mut Linked) {
    let mut from = head;
    for _ in 0..MOST_ENTRIES {
        let Some(to) = link(scene, from, backward) else {
            return;
        };
        let seen = match backward {
            true => &mut linked.backward,
            false => &mut linked.forward,
        };
        if to == head
            || !locks::is_kernel(to, scene.machine)
            || seen.len() >= MOST_ENTRIES
            || !linked.walked.insert((backward, to, from))
            || scene.budget.spend(1).is_err()
        {
            return;
        }
        seen.push((to, from));
        from = to;
    }
}

/// How many links in the pool pages around an entry lead to it: those of forwarding entries at its
/// own offset, and those of timer tables.
fn near(scene: &Scene<'_>, at: u64) -> usize {
    let width = scene.machine.pointer_width() as u64;
    let Some(offset) = scene.block(at).and_then(|block| block.offset(at)) else {
        return 0;
    };
    let page = at & !(PAGE - 1);
    let mut count = 0;
    for n in 0..=2 * NEAR_PAGES {
        let Some(page) = page
            .checked_add(n * PAGE)
            .and_then(|page| page.checked_sub(NEAR_PAGES * PAGE))
        else {
            continue;
        };
        if scene.budget.spend(1).is_err() {
            break;
        }
        let blocks = pool::blocks_of_page(scene.memory, page, scene.machine, scene.build);
        for block in blocks.unwrap_or_default() {
            let range = match block.tag {
                FORWARDING if block.allocated => {
                    let link = block.body.saturating_add(offset);
                    (link, link.saturating_add(2 * width))
                }
                TIMERS if block.allocated => (block.body, block.header.saturating_add(block.size)),
                _ => continue,
            };
            if range.0 == at || range.1 > block.header.saturating_add(block.size) {
                continue;
            }
            let words = locks::words_on(scene.memory, range, scene.machine);
            count += words.iter().filter(|(_, value)| *value == at).count();
        }
    }
    count
}

/// The state of one entry, with how much it says.
fn state(
    scene: &Scene<'_>,
    linked: &Linked,
    fault: &FaultFacts,
    removal: Option<&Removal>,
    at: u64,
) -> Option<(u8, Finding)> {
    let (next, previous) = (link(scene, at, false)?, link(scene, at, true)?);
    let led_to = |list: &[(u64, u64)]| list.iter().any(|(to, _)| *to == at);
    let walked = (led_to(&linked.forward), led_to(&linked.backward));
    let near = near(scene, at);
    if linked.offset.is_none() && near == 0 {
        return None;
    }
    let sides = match near {
        0 => walked,
        1 => (walked.0 || !walked.1, walked.1),
        _ => (true, true),
    };
    let wild = |value: u64| {
        value != 0 && value != at && !scene.is_linked(value) && !linked.is_place(scene, value)
    };
    let used = |value: u64| fault.registers.iter().any(|(_, held)| *held == value);
    let finding = |kind: &str, words: String| Finding {
        kind: kind.to_owned(),
        address: Some(at),
        tag: Some(FORWARDING.to_string()),
        detail: format!("the forwarding entry's timer link at {at:#x} {words}"),
    };
    let overwritten = |words: String| Some((3, finding("overwritten-entry", words)));
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
        (2, (false, false)) => Some((
            2,
            finding(
                "unlinked-entry",
                "is null and no entry of its table leads to it: another processor had taken it \
                 off the queue"
                    .to_owned(),
            ),
        )),
        _ => None,
    }
}
