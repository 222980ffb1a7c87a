//! The lists of timer tables: which entries they lead to, from their heads on, both ways.
//!
//! Where a table is comes from sets and registers; which block is a forwarding entry, and at which offset
//! of it the timer's link lies, from pool tags and from most entries of the lists themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::set::{self, FORWARDING, TIMERS};
use crate::bytes::Gva;
use crate::kernel::pool::{self, PoolBlock};

use crate::gather::forwarding::findings::PoolView;

/// Bytes of a page.
const PAGE: u64 = 0x1000;
/// Pages before and after an address in which other entries are looked for.
const NEAR_PAGES: u64 = 48;
/// Words of a timer table's block that are taken for list heads.
const MOST_HEADS: u64 = 4096;
/// Entries of all lists of a table that are walked.
const MOST_ENTRIES: usize = 0x1_0000;
/// Pages of a table that is a large allocation.
const MOST_TABLE_PAGES: u64 = 16;

/// What leads to the entries of a table's lists.
pub(in crate::gather) struct Linked {
    /// (entry, where its list's forward walk comes from or leads).
    pub forward: Vec<(u64, u64)>,
    pub backward: Vec<(u64, u64)>,
    /// Both again, backward ones marked: where a walk has been already.
    walked: BTreeSet<(bool, u64, u64)>,
    /// Offset of the link in the blocks of forwarding entries: what the image's own code says, else the one most entries
    /// of the lists have that lead back to where they were reached from. Nothing that merely lies in memory with the
    /// entries' tag decides it: the set and other things have that tag, too.
    pub offset: Option<u64>,
    /// Every list was walked to its head, both ways, but for entries that lead nowhere.
    pub whole: bool,
    /// Tables whose lists lead to forwarding entries.
    pub forwarding: Vec<u64>,
    /// First address of each table's memory and the one past it.
    tables: Vec<(u64, u64)>,
}

impl Linked {
    /// A list head of a table, or the timer link of an entry: where an entry may lead to that nobody
    /// wrote over, even if another processor has since changed what lies there.
    pub fn is_place(&self, pool: &PoolView<'_>, at: u64) -> bool {
        let head = |(low, high): &(u64, u64)| (*low..*high).contains(&at);
        self.tables.iter().any(head) || self.is_entry(pool, at)
    }

    /// The timer link of an allocated forwarding entry, at the offset that is proven.
    pub fn is_entry(&self, pool: &PoolView<'_>, at: u64) -> bool {
        self.offset.is_some() && forwarding_offset(pool, at) == self.offset
    }
}

/// The timer table whose block an address lies in.
pub(in crate::gather) fn table_block(pool: &PoolView<'_>, at: u64) -> Option<u64> {
    let block = pool.block(at)?;
    (block.allocated && block.tag == TIMERS).then_some(block.body)
}

/// The first page of the table around an address that lies in no pool block: the lists' heads go on from
/// page to page.
pub(in crate::gather) fn large_table(pool: &PoolView<'_>, at: u64) -> Option<u64> {
    let page = at & !(PAGE - 1);
    // A page of stack can point to entries too: only one with empty lists is a table's.
    let heads = |page: u64| {
        pool.block(page).is_none() && set::holds_empty_lists(pool.memory, page, pool.machine)
    };
    if !set::is_kernel(at, pool.machine) || pool.block(at).is_some() {
        return None;
    }
    if at == page && holds_lists(pool, page) {
        return Some(page);
    }
    (0..MOST_TABLE_PAGES)
        .map_while(|n| page.checked_sub(n * PAGE))
        .take_while(|page| heads(*page))
        .last()
}

fn holds_lists(pool: &PoolView<'_>, page: u64) -> bool {
    let block_of = |at: u64| pool.block(at);
    set::holds_lists(pool.memory, page, pool.machine, &block_of, pool.budget)
}

/// One of the two links of an entry or a head.
pub(in crate::gather) fn link(pool: &PoolView<'_>, at: u64, second: bool) -> Option<u64> {
    let width = pool.machine.pointer_width();
    let at = at.checked_add(if second { width as u64 } else { 0 })?;
    pool.memory.read_pointer(Gva(at), width).ok()
}

/// Walks the lists whose heads lie in the tables, both ways. `by_code` is the offset of the link that the image's own
/// code uses.
pub(in crate::gather) fn lists_of(
    pool: &PoolView<'_>,
    tables: &[u64],
    by_code: Option<u64>,
) -> Linked {
    let mut linked = Linked {
        forward: Vec::new(),
        backward: Vec::new(),
        walked: BTreeSet::new(),
        offset: None,
        whole: true,
        forwarding: Vec::new(),
        tables: Vec::new(),
    };
    let mut offsets: BTreeMap<u64, usize> = BTreeMap::new();
    for table in tables {
        let Some(range) = extent(pool, *table) else {
            continue;
        };
        linked.tables.push(range);
        let before = linked.forward.len();
        heads(pool, range, &mut linked);
        let entries = linked.forward.get(before..).unwrap_or_default().iter();
        let mut found = false;
        for (to, from) in entries {
            let Some(offset) = forwarding_offset(pool, *to) else {
                continue;
            };
            found |= by_code.is_none_or(|known| known == offset);
            if link(pool, *to, true) == Some(*from) {
                *offsets.entry(offset).or_default() += 1;
            }
        }
        if found {
            linked.forwarding.push(*table);
        }
    }
    linked.offset = by_code.or_else(|| most_common(&offsets));
    linked
}

/// The offset that more entries have than any other.
fn most_common(offsets: &BTreeMap<u64, usize>) -> Option<u64> {
    let most = offsets.values().max()?;
    let mut common = offsets.iter().filter(|(_, count)| *count == most);
    let (offset, _) = common.next()?;
    common.next().is_none().then_some(*offset)
}

/// First address of a table's memory and the one past it: its block, or as many pages of list heads as
/// follow each other.
fn extent(pool: &PoolView<'_>, table: u64) -> Option<(u64, u64)> {
    if let Some(block) = pool.block(table) {
        return Some((block.body, block.end()));
    }
    let page = |n: u64| table.checked_add(n * PAGE);
    let pages = (0..MOST_TABLE_PAGES)
        .take_while(|n| page(*n).is_some_and(|at| holds_lists(pool, at)))
        .count() as u64;
    (pages > 0).then(|| Some((table, page(pages)?)))?
}

/// Walks the lists whose heads lie in a range.
fn heads(pool: &PoolView<'_>, range: (u64, u64), linked: &mut Linked) {
    let width = pool.machine.pointer_width() as u64;
    // A large block is as large as a table in the dump says.
    let most = range.0.saturating_add(MOST_HEADS * width);
    let words = set::words_on(pool.memory, (range.0, range.1.min(most)), pool.machine);
    for (at, value) in words {
        let inside = |address: u64| (range.0..range.1).contains(&address);
        let pair = link(pool, at, true);
        // A head: two kernel pointers, not into the table itself unless the list is empty.
        let pointers = set::is_kernel(value, pool.machine)
            && pair.is_some_and(|p| set::is_kernel(p, pool.machine));
        if !pointers || value % width != 0 || inside(value) {
            continue;
        }
        walk(pool, at, false, linked);
        walk(pool, at, true, linked);
    }
}

/// The offset of an address in the allocated block of a forwarding entry.
pub(in crate::gather) fn forwarding_offset(pool: &PoolView<'_>, at: u64) -> Option<u64> {
    pool.block(at)
        .filter(|block| block.allocated && block.tag == FORWARDING)
        .and_then(|block| block.offset(at))
}

fn walk(pool: &PoolView<'_>, head: u64, backward: bool, linked: &mut Linked) {
    let mut from = head;
    for _ in 0..MOST_ENTRIES {
        let Some(to) = link(pool, from, backward) else {
            linked.whole = false;
            return;
        };
        let seen = match backward {
            true => &mut linked.backward,
            false => &mut linked.forward,
        };
        if to == head {
            return;
        }
        if seen.len() >= MOST_ENTRIES || pool.budget.spend(1).is_err() {
            linked.whole = false;
            return;
        }
        // A list may run into another one, or into a circle of its own.
        if !linked.walked.insert((backward, to, from)) {
            return;
        }
        if !set::is_kernel(to, pool.machine) {
            linked.whole &= to == 0;
            return;
        }
        seen.push((to, from));
        from = to;
    }
    linked.whole = false;
}

/// The allocated pool blocks in the pages around an address, as far as the budget goes.
pub(in crate::gather) fn blocks_near(pool: &PoolView<'_>, at: u64) -> Vec<PoolBlock> {
    let first = (at & !(PAGE - 1)).saturating_sub(NEAR_PAGES * PAGE);
    let pages = (0..=2 * NEAR_PAGES).filter_map(|n| first.checked_add(n * PAGE));
    pages
        .take_while(|_| pool.budget.spend(1).is_ok())
        .filter_map(|page| pool::blocks_of_page(pool.memory, page, pool.machine, pool.build))
        .flatten()
        .filter(|block| block.allocated)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use crate::bytes::Budget;
    use crate::machine::Machine;
    use crate::memory::{Absent, Memory};

    use super::*;

    /// Memory that is there at every address, all zero, and counts what is read of it.
    struct Everywhere(Cell<u64>);

    impl Memory for Everywhere {
        fn read(&self, _: Gva, buf: &mut [u8]) -> Result<(), Absent> {
            self.0.set(self.0.get() + buf.len() as u64);
            buf.fill(0);
            Ok(())
        }
    }

    #[test]
    fn a_table_of_any_size_is_read_as_far_as_real_ones_go() {
        let memory = Everywhere(Cell::new(0));
        let budget = Budget::default();
        let pool = PoolView::new(&memory, Machine::X64, Some(6001), &budget);
        let mut linked = lists_of(&pool, &[], None);
        let table = 0xFFFF_FA80_0100_0000;
        heads(&pool, (table, table + (1 << 40)), &mut linked);
        // Each word, and the one behind it once more.
        assert_eq!(memory.0.get(), MOST_HEADS * 8 * 2);
        assert!(linked.forward.is_empty());
    }
}
