//! Which locks are held: what one path took and released, by the address of each lock, and what calls and
//! instructions do to that.
//!
//! Names of the lock functions: the WDK's documentation, and `docs/kb943650.md` for those of the network
//! stack's reader/writer lock. A reader is counted up and down with a locked instruction beside the lock's
//! spin word.

use std::collections::BTreeSet;

use super::super::values::Value;

/// Alternatives that are kept apart.
const MOST_ALTERNATIVES: usize = 24;
/// Locks of one kind that one path holds.
const MOST_HELD: usize = 12;

/// What one path holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Held {
    /// Locks taken for reading, and counts that were counted up (a reader's is one).
    pub readers: BTreeSet<Value>,
    /// Locks taken for oneself alone, each with its queue handle.
    pub owned: BTreeSet<(Value, Option<Value>)>,
    /// Something ran whose effect on locks is not known.
    pub unsure: bool,
}

/// What the paths to a place hold: one alternative each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Locks(pub BTreeSet<Held>);

/// What a function does to locks, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    TakesRead,
    DropsRead,
    Takes,
    Drops,
    /// Something, by its name.
    Unsure,
    Nothing,
}

/// Words in the names of functions that do something to locks.
const DOUBTFUL: [&str; 4] = ["Lock", "Acquire", "Exclusive", "Shared"];

/// What a name says.
pub(super) fn effect(name: &str) -> Effect {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["RtlAcquireReadLock", "RtlAcquireScalableReadLock"]) {
        Effect::TakesRead
    } else if starts(&["RtlReleaseReadLock", "RtlReleaseScalableReadLock"]) {
        Effect::DropsRead
    } else if starts(&[
        "KeAcquireInStackQueuedSpinLock",
        "RtlAcquireWriteLock",
        "RtlAcquireScalableWriteLock",
        "KeAcquireSpinLock",
        "KfAcquireSpinLock",
        "KefAcquireSpinLock",
    ]) {
        Effect::Takes
    } else if starts(&[
        "KeReleaseInStackQueuedSpinLock",
        "RtlReleaseWriteLock",
        "RtlReleaseScalableWriteLock",
        "KeReleaseSpinLock",
        "KfReleaseSpinLock",
        "KefReleaseSpinLock",
    ]) {
        Effect::Drops
    } else if DOUBTFUL.iter().any(|word| name.contains(word)) && !name.ends_with("UnderLock") {
        Effect::Unsure
    } else {
        Effect::Nothing
    }
}

impl Locks {
    /// No lock is held.
    pub fn free() -> Locks {
        Locks(BTreeSet::from([Held::default()]))
    }

    pub fn join(&mut self, other: &Locks) {
        self.0.extend(other.0.iter().cloned());
        self.bound();
    }

    fn bound(&mut self) {
        if self.0.len() > MOST_ALTERNATIVES {
            let unsure = Held {
                unsure: true,
                ..Held::default()
            };
            self.0 = BTreeSet::from([unsure]);
        }
    }

    fn change(&mut self, change: impl Fn(&mut Held)) {
        let held = std::mem::take(&mut self.0);
        self.0 = held
            .into_iter()
            .map(|mut held| {
                change(&mut held);
                if held.readers.len() > MOST_HELD || held.owned.len() > MOST_HELD {
                    held = Held {
                        unsure: true,
                        ..Held::default()
                    };
                }
                held
            })
            .collect();
        self.bound();
    }

    /// Something ran whose effect is not known.
    pub fn unsure(&mut self) {
        self.change(|held| held.unsure = true);
    }

    /// A lock was taken for reading, or something counted up.
    pub fn read(&mut self, lock: &Value) {
        self.change(|held| {
            held.readers.insert(lock.clone());
        });
    }

    /// A function that is known to take a lock for reading took it: whatever ran before, it is held for reading now.
    pub fn read_by_name(&mut self, lock: &Value) {
        self.change(|held| {
            held.readers.insert(lock.clone());
            held.unsure = false;
        });
    }

    /// A reader leaves the lock at `lock`, or the count at it is counted down; `reach` is how far a count
    /// lies behind its lock at most.
    pub fn unread(&mut self, lock: &Value, reach: i64) {
        self.change(|held| {
            held.readers
                .retain(|read| !lock.behind(read).is_some_and(|by| (0..reach).contains(&by)));
        });
    }

    /// A lock was taken for oneself alone. Whoever still read it would wait for himself: then what is
    /// known of its readers is wrong.
    pub fn own(&mut self, lock: &Value, handle: Option<&Value>, reach: i64) {
        self.change(|held| {
            let reads = held
                .readers
                .iter()
                .any(|read| read.behind(lock).is_some_and(|by| (0..reach).contains(&by)));
            if reads && held.unsure {
                held.readers
                    .retain(|read| !read.behind(lock).is_some_and(|by| (0..reach).contains(&by)));
            }
            held.unsure = reads && !held.unsure;
            held.owned.insert((lock.clone(), handle.cloned()));
        });
    }

    /// One of these is a lock or a queue handle that is given up.
    pub fn disown(&mut self, given: &[Value]) {
        self.change(|held| {
            let before = held.owned.len();
            held.owned.retain(|(lock, handle)| {
                !given.contains(lock) && !handle.as_ref().is_some_and(|h| given.contains(h))
            });
            if held.owned.len() == before && before > 0 {
                held.unsure = true;
            }
        });
    }
}
