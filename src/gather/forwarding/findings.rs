//! What lies at the addresses a fault worked with: pool blocks, and lists that do not add up.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;

use crate::bytes::{Budget, Gva};
use crate::kernel::lists::{self, Direction, End, Rules};
use crate::kernel::pool::{self, PoolBlock, Tag};
use crate::kernel::structures;
use crate::machine::Machine;
use crate::memory::Memory;

use super::set::FORWARDING;

use crate::facts::{FaultFacts, Finding, FindingKind, InstructionKind, PoolTagFacts};

/// Entries of one list that are walked.
const MOST_ENTRIES: usize = 4096;
/// Pages that are looked at for pool blocks.
const MOST_PAGES: usize = 256;

/// A dump's memory by its pool blocks: what findings, lists and locks are searched in.
pub(in crate::gather) struct PoolView<'a> {
    pub memory: &'a dyn Memory,
    pub machine: Machine,
    pub build: Option<u32>,
    pub budget: &'a Budget,
    /// Addresses of PoolBigPageTable and PoolBigPageTableSize, where symbols name them.
    pub large_table: Option<(u64, u64)>,
    /// Pages whose blocks are known; the pool around a fault is few pages, asked for often.
    pages: RefCell<BTreeMap<u64, Vec<PoolBlock>>>,
    large: OnceCell<Vec<PoolBlock>>,
}

impl<'a> PoolView<'a> {
    /// A view whose large allocations are unknown until `large_table` is set.
    pub fn new(
        memory: &'a dyn Memory,
        machine: Machine,
        build: Option<u32>,
        budget: &'a Budget,
    ) -> PoolView<'a> {
        PoolView {
            memory,
            machine,
            build,
            budget,
            large_table: None,
            pages: RefCell::default(),
            large: OnceCell::new(),
        }
    }

    /// Outstanding allocations of `tags`, in their order. `table` is the address of the pointer to
    /// the tracking table.
    pub fn pool_tags(&self, table: u64, tags: &[Tag]) -> Option<Vec<PoolTagFacts>> {
        let layout = structures::find(self.build, self.machine)?;
        let counts = pool::tracked(self.memory, table, layout, tags, self.budget)?;
        let counted = tags
            .iter()
            .filter_map(|tag| counts.iter().find(|count| count.tag == *tag));
        let facts = counted.map(|count| PoolTagFacts {
            tag: count.tag.to_string(),
            outstanding: count.outstanding,
        });
        Some(facts.collect())
    }

    /// Findings at the fault's registers, in the order of the registers.
    pub fn at_fault(&self, fault: &FaultFacts) -> Vec<Finding> {
        let list = fault
            .instruction_kind
            .is_some_and(InstructionKind::is_list_operation);
        let mut found = Vec::new();
        let mut seen = Vec::new();
        for (name, value) in &fault.registers {
            if seen.contains(value) {
                continue;
            }
            seen.push(*value);
            if let Some(block) = self.block(*value) {
                found.push(block_finding(name, *value, &block));
            }
            if list {
                // Two registers may point into one list: what is wrong with it is said once.
                for finding in self.list_at(name, *value) {
                    if !found.contains(&finding) {
                        found.push(finding);
                    }
                }
            }
        }
        found
    }

    /// The pool block that holds an address: a small one, or one of the table of large allocations.
    pub fn block(&self, address: u64) -> Option<PoolBlock> {
        self.small_block(address)
            .or_else(|| pool::block_among(self.large_blocks(), address))
    }

    fn small_block(&self, address: u64) -> Option<PoolBlock> {
        let page = address & !0xFFF;
        let mut pages = self.pages.borrow_mut();
        if let Some(blocks) = pages.get(&page) {
            return pool::block_among(blocks, address);
        }
        if pages.len() >= MOST_PAGES {
            return None;
        }
        let blocks = pool::blocks_of_page(self.memory, page, self.machine, self.build);
        let blocks = pages.entry(page).or_insert(blocks.unwrap_or_default());
        pool::block_among(blocks, address)
    }

    fn large_blocks(&self) -> &[PoolBlock] {
        self.large.get_or_init(|| {
            let layout = structures::find(self.build, self.machine);
            self.large_table
                .zip(layout)
                .and_then(|(table, layout)| {
                    pool::large_blocks(self.memory, table, layout, self.budget)
                })
                .unwrap_or_default()
        })
    }

    /// The tag of the allocated block at an address.
    pub fn tag(&self, address: u64) -> Option<Tag> {
        self.block(address)
            .filter(|block| block.allocated)
            .map(|block| block.tag)
    }

    /// The list a register points into. Only a pointer that at least one neighbour points back to
    /// is taken for a list entry.
    fn list_at(&self, name: &str, at: u64) -> Vec<Finding> {
        let width = self.machine.pointer_width();
        let link = |at: u64, offset: usize| {
            let at = at.checked_add(offset as u64)?;
            self.memory.read_pointer(Gva(at), width).ok()
        };
        let (Some(next), Some(previous)) = (link(at, 0), link(at, width)) else {
            return Vec::new();
        };
        let neighbour = [link(next, width), link(previous, 0)].contains(&Some(at));
        // An entry that leads to itself is the usual idle state.
        if !neighbour || next == at {
            return Vec::new();
        }
        let mut found = Vec::new();
        if let Some(finding) = self.shared_link(name, at, next, previous) {
            found.push(finding);
        }
        let rules = Rules {
            width,
            most: MOST_ENTRIES,
            reciprocal: true,
            budget: self.budget,
        };
        for direction in [Direction::Forward, Direction::Backward] {
            let walk = lists::walk(self.memory, at, direction, rules);
            if let End::Torn { from, to, back } = walk.end {
                found.extend(self.torn(from, to, back));
                let backward = direction == Direction::Backward;
                found.extend(self.one_way(from, to, back, backward));
                break;
            }
        }
        found
    }

    /// The entry and a neighbour lie at the same offset of blocks of one tag.
    fn shared_link(&self, name: &str, at: u64, next: u64, previous: u64) -> Option<Finding> {
        let own = self.block(at).filter(|block| block.allocated)?;
        let shared = [next, previous].into_iter().any(|other| {
            self.block(other)
                .is_some_and(|b| b.tag == own.tag && b.offset(other) == own.offset(at))
        });
        shared.then(|| Finding {
            kind: FindingKind::SharedListLink,
            address: Some(at),
            tag: Some(own.tag.to_string()),
            detail: format!(
                "{name} points to a list entry at the same offset ({:#x}) of its block as a \
                 neighbour's, both tagged {}",
                own.offset(at).unwrap_or(0),
                own.tag
            ),
            list: Vec::new(),
        })
    }

    /// A list whose neighbours disagree. A race leaves pointers to real list entries; whoever writes
    /// over a linked entry leaves anything else.
    /// A null link says neither: an entry that was taken off has one in some builds.
    fn torn(&self, from: u64, to: u64, back: u64) -> Option<Finding> {
        if back == 0 {
            return None;
        }
        let tags = [self.tag(from), self.tag(to)];
        // A place like the entry's own is a link, whatever became of the entry there.
        let place = |at: u64| {
            let block = self.block(at).filter(|block| block.tag == FORWARDING)?;
            block.offset(at)
        };
        let linked = self.is_linked(back) || (place(back).is_some() && place(back) == place(to));
        // Freed memory may hold anything: only the written entry's own block says whose it is.
        let tag = match linked {
            true => tags.into_iter().flatten().next(),
            false => self.tag(to),
        };
        let named = |address: u64, tag: Option<Tag>| match tag {
            Some(tag) => format!("{address:#x} ({tag})"),
            None => format!("{address:#x}"),
        };
        let (kind, form) = match linked {
            true => (FindingKind::TornList, "another list entry"),
            false => (FindingKind::OverwrittenList, "no list entry"),
        };
        Some(Finding {
            kind,
            address: Some(from),
            tag: tag.map(|tag| tag.to_string()),
            detail: format!(
                "the list entry {} leads to {}, which leads back to {back:#x}, {form}",
                named(from, tags.first().copied().flatten()),
                named(to, tags.last().copied().flatten()),
            ),
            list: vec![from, to, back],
        })
    }

    /// A forwarding entry that its list still leads to one way only: its neighbours on both sides are in order with
    /// it or with each other, and none of them was written over. One processor at a time leaves an entry on its list or off
    /// it.
    fn one_way(&self, from: u64, to: u64, back: u64, backward: bool) -> Option<Finding> {
        let width = self.machine.pointer_width();
        let link = |at: u64, second: bool| {
            let at = at.checked_add(if second { width as u64 } else { 0 })?;
            self.memory.read_pointer(Gva(at), width).ok()
        };
        let skips = link(from, !backward)? == back && link(back, backward)? == from;
        let offset = |at: u64| {
            let block = self.block(at)?;
            (block.allocated && block.tag == FORWARDING)
                .then(|| block.offset(at))
                .flatten()
        };
        let own = offset(from)?;
        let entries = [to, back].into_iter().all(|at| offset(at) == Some(own));
        (skips && entries && from != to && to != back).then(|| Finding {
            kind: FindingKind::RacedList,
            address: Some(from),
            tag: Some(FORWARDING.to_string()),
            detail: format!(
                "the forwarding entry's timer link at {from:#x} lies between {to:#x} and {back:#x}, which lead to each \
                 other past it one way and to it the other way: two processors changed the queue at once"
            ),
            list: Vec::new(),
        })
    }

    /// True for a list entry that is really linked: a neighbour points back to it. An entry of a
    /// free block is on the pool's own lists, not on one of the network stack's.
    pub fn is_linked(&self, at: u64) -> bool {
        let width = self.machine.pointer_width();
        let link = |at: u64, offset: usize| {
            let at = at.checked_add(offset as u64)?;
            self.memory.read_pointer(Gva(at), width).ok()
        };
        let (Some(next), Some(previous)) = (link(at, 0), link(at, width)) else {
            return false;
        };
        let linked = [link(next, width), link(previous, 0)].contains(&Some(at));
        linked && self.block(at).is_none_or(|block| block.allocated)
    }
}

fn block_finding(name: &str, value: u64, block: &PoolBlock) -> Finding {
    let state = if block.allocated { "allocated" } else { "free" };
    let place = match block.offset(value) {
        Some(offset) => format!("{offset:#x} bytes into"),
        None => "in the header of".to_owned(),
    };
    Finding {
        kind: FindingKind::PoolBlock,
        address: Some(value),
        tag: Some(block.tag.to_string()),
        detail: format!(
            "{name} points {place} the {state} pool block of {:#x} bytes tagged {}",
            block.size, block.tag
        ),
        list: Vec::new(),
    }
}
