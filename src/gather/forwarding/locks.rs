//! Locks and waits of every processor: queue handles on its stack, the forwarding set its pointers
//! lead to, and what it spins on.
//!
//! Searches registers and the stack of each processor's own activity, nothing else of the dump.

use std::collections::BTreeSet;

use super::set::{self, FORWARDING, ForwardingSet, QueueHandle, SetLayout, TIMERS};
use crate::fault::{self, Spin};
use crate::kernel::pool::PoolBlock;
use crate::machine::Registers;
use crate::unwind::CodeInfo;

use crate::facts::{HandleFacts, MemoryFacts, SetFacts, SpinFacts, SpinKind, TableFacts};
use crate::gather::forwarding::findings::PoolView;

/// Blocks of forwarding memory whose own pointers are followed.
const MOST_BLOCKS: usize = 64;
/// Bytes of such a block that are read.
const MOST_OF_BLOCK: u64 = 0x200;

/// A processor, its registers and the part of its stack that belongs to what it does.
pub(in crate::gather) struct ProcessorStack {
    pub number: u32,
    pub registers: Option<Registers>,
    /// Lowest address and address past the top.
    pub stack: Option<(u64, u64)>,
}

/// Looks at every processor. `stacks` are in the order of the facts' processors.
pub(in crate::gather) fn add(
    pool: &PoolView<'_>,
    stacks: &[ProcessorStack],
    code: &dyn CodeInfo,
    layout: Option<SetLayout>,
    facts: &mut MemoryFacts,
) {
    let mut sets: Vec<SetFacts> = Vec::new();
    for (cpu, processor) in stacks.iter().zip(&mut facts.processors) {
        let words = pointers(pool, cpu, code);
        for (layout, set) in layout.iter().flat_map(|layout| {
            sets_among(pool, &words, layout)
                .into_iter()
                .map(move |set| (layout, set))
        }) {
            match sets.iter_mut().find(|known| known.address == set.address) {
                Some(known) => known.seen_on.push(cpu.number),
                None => sets.push(set_facts(&set, layout, cpu.number)),
            }
        }
        let handles = cpu.stack.map_or_else(Vec::new, |range| {
            set::handles_on(pool.memory, range, pool.machine, pool.budget)
        });
        processor.searched = cpu.stack.and_then(|range| {
            let words = set::words_on(pool.memory, range, pool.machine);
            let (last, _) = words.last()?;
            Some((range.0, *last))
        });
        processor.handles = handles.iter().map(|h| handle_facts(pool, h)).collect();
        processor.tables = tables_among(pool, &words);
    }
    for (cpu, processor) in stacks.iter().zip(&mut facts.processors) {
        processor.spin = spin(pool, cpu, code, &sets);
    }
    sets.sort_by_key(|set| set.address);
    facts.sets = sets;
}

/// Kernel pointers of a processor that lead neither into an image nor to its own stack: where each
/// was found (`None` for a register) and its value.
fn pointers(
    pool: &PoolView<'_>,
    cpu: &ProcessorStack,
    code: &dyn CodeInfo,
) -> Vec<(Option<u64>, u64)> {
    let registers = cpu.registers.iter().flat_map(|registers| {
        let values: Vec<u64> = registers.iter().map(|(_, value)| value).collect();
        values.into_iter().map(|value| (None, value))
    });
    let stack = cpu.stack.into_iter().flat_map(|range| {
        set::words_on(pool.memory, range, pool.machine)
            .into_iter()
            .map(|(at, value)| (Some(at), value))
    });
    let own = |value: u64| {
        cpu.stack
            .is_some_and(|(low, high)| (low..high).contains(&value))
    };
    let align = pool.machine.pointer_width() as u64;
    registers
        .chain(stack)
        .filter(|(_, value)| {
            value.is_multiple_of(align)
                && set::is_kernel(*value, pool.machine)
                && !own(*value)
                && code.module_at(*value).is_none()
        })
        .collect()
}

/// The sets that pointers lead to, directly or through one block of forwarding memory.
fn sets_among(
    pool: &PoolView<'_>,
    words: &[(Option<u64>, u64)],
    layout: &SetLayout,
) -> Vec<ForwardingSet> {
    let mut found: Vec<ForwardingSet> = Vec::new();
    let mut seen = BTreeSet::new();
    let mut blocks: Vec<PoolBlock> = Vec::new();
    let forwarding = |value: u64| {
        pool.block(value)
            .filter(|block| block.allocated && block.tag == FORWARDING)
    };
    for (_, value) in words {
        if blocks.len() >= MOST_BLOCKS || pool.budget.spend(1).is_err() {
            break;
        }
        blocks.extend(forwarding(*value).filter(|block| seen.insert(block.body)));
    }
    for block in &blocks.clone() {
        let end = block.header.saturating_add(block.size.min(MOST_OF_BLOCK));
        for (_, value) in set::words_on(pool.memory, (block.body, end), pool.machine) {
            if pool.budget.spend(1).is_err() {
                break;
            }
            if set::is_kernel(value, pool.machine) {
                let target = forwarding(value).filter(|target| target.body == value);
                blocks.extend(target.filter(|target| seen.insert(target.body)));
            }
        }
    }
    for block in &blocks {
        let block_of = |at: u64| pool.block(at);
        let by = (pool.machine, layout);
        let set = set::set_in(pool.memory, block, by, &block_of, pool.budget);
        found.extend(set);
    }
    found
}

fn tables_among(pool: &PoolView<'_>, words: &[(Option<u64>, u64)]) -> Vec<TableFacts> {
    let mut tables: Vec<TableFacts> = Vec::new();
    for (seen_at, value) in words {
        let block = pool
            .block(*value)
            .filter(|block| block.allocated && block.tag == TIMERS);
        if let Some(block) = block
            && !tables.iter().any(|known| known.table == block.body)
        {
            tables.push(TableFacts {
                seen_at: *seen_at,
                table: block.body,
            });
        }
    }
    tables
}

fn set_facts(set: &ForwardingSet, layout: &SetLayout, processor: u32) -> SetFacts {
    SetFacts {
        address: set.address,
        entries: set.entries,
        by_code: layout.is_by_code(),
        spin_lock: set.spin_lock,
        held_by: set.held_by,
        readers: set.readers,
        table: set.table,
        table_has: set.table_has,
        seen_on: vec![processor],
    }
}

fn handle_facts(pool: &PoolView<'_>, handle: &QueueHandle) -> HandleFacts {
    HandleFacts {
        address: handle.address,
        lock: handle.lock,
        waiting: handle.waiting,
        tag: pool.tag(handle.lock).map(|tag| tag.to_string()),
    }
}

/// What a processor spins on, with the lock where it waits for one.
fn spin(
    pool: &PoolView<'_>,
    cpu: &ProcessorStack,
    code: &dyn CodeInfo,
    sets: &[SetFacts],
) -> Option<SpinFacts> {
    let registers = cpu.registers.as_ref()?;
    let tag = |address: u64| pool.tag(address).map(|tag| tag.to_string());
    let found = fault::spin(registers, pool.memory, code, pool.budget)?;
    Some(match found {
        Spin::SelfLinked { entry } => SpinFacts {
            kind: SpinKind::SelfLinkedEntry,
            address: entry,
            value: None,
            lock: None,
            tag: tag(entry),
        },
        Spin::Cyclic { entries } => {
            let own = |at: &&u64| pool.tag(**at) == Some(FORWARDING);
            let entry = *entries.iter().find(own).or(entries.first())?;
            SpinFacts {
                kind: SpinKind::CyclicList,
                address: entry,
                value: None,
                lock: None,
                tag: tag(entry),
            }
        }
        Spin::Reads { address, value } => {
            let (kind, lock) = waited_for(pool, cpu, sets, address, value);
            SpinFacts {
                kind,
                address,
                value: Some(value),
                lock,
                tag: tag(lock.unwrap_or(address)),
            }
        }
    })
}

/// The lock whose word or queue handle a loop reads at `address`.
fn waited_for(
    pool: &PoolView<'_>,
    cpu: &ProcessorStack,
    sets: &[SetFacts],
    address: u64,
    value: u64,
) -> (SpinKind, Option<u64>) {
    let width = pool.machine.pointer_width() as u64;
    let handle = |at: u64| set::handle_at(pool.memory, at, pool.machine, pool.budget);
    // A queue handle lies on the waiting processor's own stack; the loop reads its Lock.
    let on_stack = cpu
        .stack
        .is_some_and(|(low, high)| (low..high).contains(&address));
    if on_stack && let Some(own) = address.checked_sub(width).and_then(handle) {
        return (SpinKind::QueuedSpinLock, Some(own.lock));
    }
    if let Some(set) = sets
        .iter()
        .find(|set| set.spin_lock.checked_add(width) == Some(address))
    {
        return (SpinKind::Readers, Some(set.spin_lock));
    }
    let queued = set::is_kernel(value, pool.machine)
        && handle(value).is_some_and(|tail| tail.lock == address);
    match value {
        1 => (SpinKind::SpinLock, Some(address)),
        _ if queued => (SpinKind::SpinLock, Some(address)),
        _ => (SpinKind::Memory, None),
    }
}
