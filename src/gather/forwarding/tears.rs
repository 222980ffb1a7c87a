//! Lists of forwarding timers whose real entries disagree, and whether only two processors at once can have left
//! them so.
//!
//! Every entry that counts is an allocated forwarding entry at the proven offset of the link, on a list of its own:
//! neighbours that disagree about it, and nothing that somebody wrote over. Two mistakes leave that. Two
//! processors that take neighbours off at once leave one entry that only its old predecessor leads to and another that only
//! its old successor leads to. An entry that was freed while linked, allocated again and started again is led to by both of
//! its old neighbours, and so is one that was put on a list twice: which of the two it was, memory does not
//! say. Source: `docs/kb943650.md`.

use std::collections::BTreeSet;

use super::set::FORWARDING;

use super::timer_lists::{Linked, link};
use crate::facts::{Finding, FindingKind};
use crate::gather::forwarding::findings::PoolView;

/// An entry, and the neighbour that leads to it although the entry leads back elsewhere.
type Tear = (u64, u64);

/// What the lists show: a tear that only a race leaves before one that others leave, too. `None` where they agree.
pub(in crate::gather) fn torn_queue(pool: &PoolView<'_>, linked: &Linked) -> Option<Finding> {
    let forward = tears(pool, linked, &linked.forward, false);
    let backward = tears(pool, linked, &linked.backward, true);
    let entries = |tears: &[Tear]| -> BTreeSet<u64> { tears.iter().map(|(to, _)| *to).collect() };
    let (after, before) = (entries(&forward), entries(&backward));
    let one_sided = |(to, _): &&Tear| after.contains(to) != before.contains(to);
    // What was not walked to its end may hold the other side, and what somebody wrote over tears lists, too.
    let raced = forward
        .iter()
        .chain(&backward)
        .find(one_sided)
        .filter(|_| linked.whole && is_clean(pool, linked));
    let (kind, (entry, from), words) = match (raced, forward.first().or(backward.first())) {
        (Some(tear), _) => (
            FindingKind::RacedList,
            *tear,
            "and nothing else of its old list does: two processors changed the queue at once",
        ),
        (None, Some(tear)) => (
            FindingKind::TornQueue,
            *tear,
            "an entry that is put on the queue twice leaves that as well, or freed while it is on it, or written over",
        ),
        (None, None) => return None,
    };
    Some(Finding {
        kind,
        address: Some(entry),
        tag: Some(FORWARDING.to_string()),
        detail: format!(
            "the forwarding entry's timer link at {entry:#x} is on a list of its own, and {from:#x} of another \
             one leads to it, too; {words}"
        ),
        list: Vec::new(),
    })
}

/// Every entry that both of its neighbours lead to holds two places of the queue.
fn is_clean(pool: &PoolView<'_>, linked: &Linked) -> bool {
    let behind: BTreeSet<u64> = linked.backward.iter().map(|(to, _)| *to).collect();
    let mut both = linked.forward.iter().filter(|(to, _)| behind.contains(to));
    both.all(|(to, _)| {
        let holds = |second| link(pool, *to, second).is_some_and(|at| linked.is_place(pool, at));
        holds(false) && holds(true)
    })
}

/// A place that leads to an entry: another entry, or a list's head. A table's words are read as heads wherever they could
/// be one; one of whose neighbours leads back to it is one.
fn leads(pool: &PoolView<'_>, linked: &Linked, from: u64) -> bool {
    let neighbour = |second: bool| {
        let at = link(pool, from, second)?;
        Some(link(pool, at, !second)? == from)
    };
    linked.is_entry(pool, from)
        || (linked.is_place(pool, from)
            && (neighbour(false) == Some(true) || neighbour(true) == Some(true)))
}

/// The steps of walks in one direction to an entry that does not lead back.
fn tears(pool: &PoolView<'_>, linked: &Linked, steps: &[(u64, u64)], backward: bool) -> Vec<Tear> {
    steps
        .iter()
        .copied()
        .filter(|(to, from)| {
            let Some(back) = link(pool, *to, !backward) else {
                return false;
            };
            back != *from
                && back != *to
                && linked.is_entry(pool, *to)
                && leads(pool, linked, *from)
                && linked.is_place(pool, back)
                // On a list of its own: the neighbour that it leads back to leads to it.
                && link(pool, back, backward) == Some(*to)
        })
        .collect()
}
