//! What a memory dump shows of multicast forwarding, put together: locks and sets on the stacks, the entry that the
//! fault worked on, and whether forwarding was on at all.

use crate::facts::{CodeFacts, ForwardingFacts, ForwardingSource, MemoryFacts};
use crate::gather::fault::Found;
use crate::gather::forwarding::findings::PoolView;
use crate::gather::session::Session;
use crate::kernel::pool::Tag;
use crate::knowledge::defect::{EMPTY_SETS, FORWARDING_TAG};

use super::locks::{self, ProcessorStack};
use super::mfe_state::{Known, at_mfe, in_queues, may_concern};
use super::removal::removal;
use super::set::{FORWARDING, SetLayout, TIMERS};

/// The tags whose allocations are counted.
pub(in crate::gather) const TAGS: [Tag; 2] = [FORWARDING, TIMERS];

/// Adds locks and sets to processors and their stacks, and what became of the entry that the fault worked on; of a
/// `forced` dump, where nothing faulted and any processor may be the one that hangs, of entries in the timer queues.
pub(in crate::gather) fn add(
    pool: &PoolView<'_>,
    session: &Session<'_>,
    found: Option<&Found>,
    stacks: &[ProcessorStack],
    forced: bool,
    facts: &mut MemoryFacts,
) {
    let layout = SetLayout::of(found.map(|found| &found.code.set_layout), pool.machine);
    locks::add(pool, stacks, session, layout, facts);
    let concerned = found.filter(|found| may_concern(&found.fault));
    if !forced && concerned.is_none() {
        return;
    }
    let sets: Vec<u64> = facts.sets.iter().map(|set| set.address).collect();
    let tables: Vec<u64> = facts.sets.iter().map(|set| set.table).collect();
    // Of a forced dump any processor may be the one that hangs.
    let looked_at = facts.processors.iter().filter(|p| p.crashed || forced);
    let seen: Vec<u64> = looked_at
        .flat_map(|p| &p.tables)
        .map(|table| table.table)
        .collect();
    let known = Known {
        sets: &sets,
        tables: &tables,
        seen: &seen,
        by_code: found.and_then(|found| timer_link(&found.code)),
    };
    let more = match (forced, concerned) {
        (true, _) => in_queues(pool, &known).into_iter().collect(),
        (false, Some(found)) => {
            let removal = removal(session, found, pool.budget);
            at_mfe(pool, session, found, &known, removal.as_ref())
        }
        (false, None) => Vec::new(),
    };
    facts.findings.extend(more);
}

/// The one offset of the timer link in an entry that the image's own code uses.
fn timer_link(code: &CodeFacts) -> Option<u64> {
    let mut links = code.timer_links.iter().map(|link| link.displacement);
    let first = links.next()?;
    links.all(|other| other == first).then_some(first)
}

/// What the tracking table and the sets themselves say about forwarding: entries exist only where it is
/// on. Neither says for which family.
pub(in crate::gather) fn forwarding(
    facts: &MemoryFacts,
    crash_time: Option<u64>,
) -> ForwardingFacts {
    let entries = facts
        .pool_tags
        .as_deref()
        .unwrap_or_default()
        .iter()
        .any(|count| count.tag == FORWARDING_TAG && count.outstanding > EMPTY_SETS);
    let counted = facts
        .sets
        .iter()
        .any(|set| set.entries.is_some_and(|entries| entries > 0));
    let source = match (entries, counted) {
        (true, _) => ForwardingSource::PoolAllocations,
        (false, true) => ForwardingSource::ForwardingSet,
        (false, false) => return ForwardingFacts::default(),
    };
    ForwardingFacts {
        any: Some(true),
        source: Some(source),
        as_of: crash_time,
        at_crash: true,
        ..ForwardingFacts::default()
    }
}
