//! The fix, seen in the code: which lock does the forwarding function hold when it restarts the
//! timer of a multicast forwarding entry?
//!
//! Fixed code drops the set's read lock and takes its write lock (an in-stack queued spin lock) first; the
//! defect is the same call under the read lock [P, A: `docs/kb943650.md`]. The lock that counts is that of
//! the set the entry was looked up in: an entry's own lock under the set's read lock is no fix. The answer
//! is given only when every path to every restart agrees; whatever is not understood makes it unknown.

mod held;
mod path;
mod reader;

use super::CodeSource;
use super::values::{Origin, Value};
use crate::bytes::Budget;
use crate::facts::LockFact;
use crate::knowledge::defect::FORWARDING_FUNCTION;
use held::Held;
use reader::{Reader, Site};

/// The finding, with the reason for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockCheck {
    /// What was found.
    pub finding: LockFact,
    /// Where, or why nothing was.
    pub reason: String,
}

impl LockCheck {
    fn unknown(reason: impl Into<String>) -> LockCheck {
        LockCheck {
            finding: LockFact::Unknown,
            reason: reason.into(),
        }
    }
}

/// Looks at the lock that the forwarding function of `tcpip.sys` holds when it restarts a timer.
pub fn check(code: &dyn CodeSource, budget: &Budget) -> LockCheck {
    let Some(bits) = code.bits() else {
        return LockCheck::unknown("code of this architecture is not read");
    };
    let Some(entry) = code.address_of(FORWARDING_FUNCTION) else {
        return LockCheck::unknown(format!("no symbol says where {FORWARDING_FUNCTION} is"));
    };
    // By the names of timer code where it has them, else by what functions do to lists.
    let mut reader = Reader::new(code, budget, bits, false);
    let mut read = reader.read(entry);
    let mut sites = reader.sites();
    if read.is_some() && sites.is_empty() {
        reader = Reader::new(code, budget, bits, true);
        read = reader.read(entry);
        sites = reader.sites();
    }
    let Some(calls) = read else {
        return LockCheck::unknown(format!("the code of {FORWARDING_FUNCTION} is not at hand"));
    };
    let Some(first) = sites.first() else {
        return LockCheck::unknown(format!(
            "none of {calls} calls in {FORWARDING_FUNCTION} restarts an entry's timer"
        ));
    };
    let place = format!("{FORWARDING_FUNCTION}+{:#x}", first.at.wrapping_sub(entry));
    let findings: Vec<LockFact> = sites.iter().map(|site| judge(site, &reader)).collect();
    match findings.split_first() {
        Some((LockFact::WriteLock, others)) if others.iter().all(|f| *f == LockFact::WriteLock) => {
            LockCheck {
                finding: LockFact::WriteLock,
                reason: format!("the timer is restarted under the write lock ({place})"),
            }
        }
        Some((LockFact::ReadLock, others)) if others.iter().all(|f| *f == LockFact::ReadLock) => {
            LockCheck {
                finding: LockFact::ReadLock,
                reason: format!("the timer is restarted under the read lock ({place})"),
            }
        }
        _ => LockCheck::unknown(format!(
            "the lock held where the timer is restarted ({place}) is not certain"
        )),
    }
}

/// The lock held at one restart.
fn judge(site: &Site, reader: &Reader<'_>) -> LockFact {
    let width = i64::from(reader.bits / 8);
    let reach = 2 * width;
    // What the entry was looked up in: what its look-up was given, or what that leads to.
    let sets: Vec<Value> = site
        .arguments
        .iter()
        .filter_map(|value| looked_up(value, reader))
        .flatten()
        .filter(|value| value.origin.is_some() && !value.on_stack())
        .collect();
    let in_set = |lock: &Value| sets.iter().any(|set| lock.comes_from(set));
    let own_set = |lock: &Value| sets.is_empty() || in_set(lock);
    let (named, counted) = reader.read_locks();
    let mut locks: Vec<Value> = named.into_iter().filter(|lock| own_set(lock)).collect();
    if locks.is_empty() {
        // A lock whose readers are counted in line: the word before the count is what owners take.
        locks = counted.into_iter().filter(in_set).collect();
    }
    let same = |lock: &Value| {
        locks
            .iter()
            .any(|read| read.behind(lock).is_some_and(|by| (0..reach).contains(&by)))
    };
    let of_entry = |lock: &Value| {
        !in_set(lock)
            && site.arguments.iter().any(|value| {
                value.origin.is_some() && lock.behind(value).is_some() && !own_root(value, &locks)
            })
    };
    let judge_one = |held: &Held| {
        let reads = held.readers.iter().any(|read| locks.contains(read));
        let owns = match locks.is_empty() {
            false => held.owned.iter().any(|(lock, _)| same(lock)),
            // Never read: looked up and restarted under one lock of the set.
            true => held.owned.iter().any(|(lock, _)| in_set(lock)),
        };
        let others = held
            .owned
            .iter()
            .any(|(lock, _)| !same(lock) && !of_entry(lock));
        match (held.unsure, reads, owns) {
            (false, false, true) => LockFact::WriteLock,
            (false, true, false) if !others => LockFact::ReadLock,
            _ => LockFact::Unknown,
        }
    };
    let mut findings = site.locks.0.iter().map(judge_one);
    match findings.next() {
        Some(first) if findings.all(|other| other == first) => first,
        _ => LockFact::Unknown,
    }
}

/// A value of the set itself rather than of an entry.
fn own_root(value: &Value, locks: &[Value]) -> bool {
    locks.iter().any(|lock| lock.behind(value).is_some())
}

/// What the call that gave a value was given.
fn looked_up(value: &Value, reader: &Reader<'_>) -> Option<Vec<Value>> {
    match &value.origin {
        Some(Origin::Made(at, 0)) => reader.call(*at),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
