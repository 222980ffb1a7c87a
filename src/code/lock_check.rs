//! The fix, seen in the code: which lock does the forwarding function hold when it restarts the
//! timer of a multicast forwarding entry?
//!
//! Fixed code drops the read lock and takes the write lock (an in-stack queued spin lock) first;
//! the defect is the same call under the read lock [P, A: `docs/kb943650.md`]. The answer is given
//! only when every path to every such call agrees; whatever is not understood makes it unknown.

use iced_x86::{Instruction, Mnemonic, OpKind};

use super::CodeSource;
use super::flow::{self, State, Target};
use crate::bytes::Budget;
use crate::knowledge::defect;

/// The function that forwards multicast packets.
const FORWARDING: &str = "IppForwardMulticastPackets";
/// The function that restarts an entry's timer.
const RESTART: &str = "IppRestartMfeTimer";
/// The module both are in, as symbol families name it.
const MODULE: &str = "tcpip";

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockFinding {
    /// The timer is restarted under the write lock: the code is fixed.
    WriteLock,
    /// It is restarted under the read lock: the code has the defect.
    ReadLock,
    /// Not every path could be followed, or they disagree.
    Unknown,
}

/// The finding, with the reason for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockCheck {
    /// What was found.
    pub finding: LockFinding,
    /// Where, or why nothing was.
    pub reason: String,
}

impl LockCheck {
    fn unknown(reason: impl Into<String>) -> LockCheck {
        LockCheck {
            finding: LockFinding::Unknown,
            reason: reason.into(),
        }
    }
}

/// Which locks may be held: one bit for each combination of the three facts below.
#[derive(Clone, Copy, PartialEq)]
struct Locks(u8);

/// The read lock was taken and not released.
const READ: u8 = 1;
/// A write lock or a spin lock is held.
const WRITE: u8 = 2;
/// Since the read lock was taken something ran whose effect on locks is not known.
const UNSURE: u8 = 4;
/// Combinations of the three.
const COMBINATIONS: u8 = 8;

impl Locks {
    /// No lock is held.
    const FREE: Locks = Locks(1);

    fn map(&mut self, change: impl Fn(u8) -> u8) {
        let mut next = 0;
        for held in 0..COMBINATIONS {
            if self.0 >> held & 1 == 1 {
                next |= 1 << change(held);
            }
        }
        self.0 = next;
    }

    fn all(self, holds: impl Fn(u8) -> bool) -> bool {
        self.0 != 0 && (0..COMBINATIONS).all(|held| self.0 >> held & 1 == 0 || holds(held))
    }
}

/// The locks, and the code whose names say what a call does to them.
#[derive(Clone)]
struct Held<'a> {
    locks: Locks,
    code: &'a dyn CodeSource,
}

impl PartialEq for Held<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.locks == other.locks
    }
}

/// What a function does to a lock, by its name.
enum Effect {
    TakesRead,
    DropsRead,
    TakesWrite,
    DropsWrite,
    Unsure,
    Nothing,
}

fn effect(name: &str) -> Effect {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["RtlAcquireReadLock", "RtlAcquireScalableReadLock"]) {
        Effect::TakesRead
    } else if starts(&["RtlReleaseReadLock", "RtlReleaseScalableReadLock"]) {
        Effect::DropsRead
    } else if starts(&[
        "KeAcquireInStackQueuedSpinLock",
        "RtlAcquireWriteLock",
        "RtlAcquireScalableWriteLock",
    ]) {
        Effect::TakesWrite
    } else if starts(&[
        "KeReleaseInStackQueuedSpinLock",
        "RtlReleaseWriteLock",
        "RtlReleaseScalableWriteLock",
    ]) {
        Effect::DropsWrite
    } else if name.contains("Lock") && !name.ends_with("UnderLock") {
        Effect::Unsure
    } else {
        Effect::Nothing
    }
}

impl State for Held<'_> {
    fn join(&mut self, other: &Self) {
        self.locks.0 |= other.locks.0;
    }

    fn call(&mut self, _: u32, target: &Target) {
        let effect = match target {
            Target::Import(name) => effect(name),
            Target::Own(rva) => {
                let names = self.code.names_at(*rva);
                match names.as_slice() {
                    [] => Effect::Unsure,
                    [name] => effect(name),
                    // Folded names of functions that do the same: any of them tells.
                    several => several
                        .iter()
                        .map(|name| effect(name))
                        .find(|effect| !matches!(effect, Effect::Nothing))
                        .unwrap_or(Effect::Nothing),
                }
            }
            Target::Unknown => Effect::Unsure,
        };
        self.locks.map(|held| match effect {
            Effect::TakesRead => (held | READ) & !UNSURE,
            Effect::DropsRead => held & !READ,
            Effect::TakesWrite => held | WRITE,
            Effect::DropsWrite => held & !WRITE,
            Effect::Unsure => held | UNSURE,
            Effect::Nothing => held,
        });
    }

    fn step(&mut self, instruction: &Instruction) {
        let memory = instruction.op0_kind() == OpKind::Memory;
        match instruction.mnemonic() {
            // A reader leaves by decrementing the count of readers.
            Mnemonic::Dec | Mnemonic::Sub if memory && instruction.has_lock_prefix() => {
                self.locks.map(|held| held & !READ);
            }
            // Counting a reference up changes no lock.
            Mnemonic::Inc | Mnemonic::Add if instruction.has_lock_prefix() => {}
            Mnemonic::Xchg if memory => self.locks.map(|held| held | UNSURE),
            _ if instruction.has_lock_prefix() => self.locks.map(|held| held | UNSURE),
            _ => {}
        }
    }
}

/// Looks at the lock that the forwarding function of `tcpip.sys` holds when it restarts a timer.
pub fn check(code: &dyn CodeSource, budget: &Budget) -> LockCheck {
    if code.bits().is_none() {
        return LockCheck::unknown("code of this architecture is not read");
    }
    let Some(entry) = code.address_of(FORWARDING) else {
        return LockCheck::unknown(format!("no symbol says where {FORWARDING} is"));
    };
    let start = Held {
        locks: Locks::FREE,
        code,
    };
    let mut sites: Vec<(u32, Locks)> = Vec::new();
    let mut calls = 0usize;
    let reading = flow::read(code, entry, start, budget, &mut |at, target, state| {
        calls += 1;
        if let Target::Own(rva) = target
            && restarts(code, *rva, budget)
        {
            sites.push((at, state.locks));
        }
    });
    if reading.is_none() {
        return LockCheck::unknown(format!("the code of {FORWARDING} is not at hand"));
    }
    let Some((first, _)) = sites.first() else {
        return LockCheck::unknown(format!(
            "none of {calls} calls in {FORWARDING} restarts an entry's timer"
        ));
    };
    let place = format!("{FORWARDING}+{:#x}", first.wrapping_sub(entry));
    let all = |holds: fn(u8) -> bool| sites.iter().all(|(_, locks)| locks.all(holds));
    if all(|held| held & WRITE != 0) {
        return LockCheck {
            finding: LockFinding::WriteLock,
            reason: format!("the timer is restarted under the write lock ({place})"),
        };
    }
    if all(|held| held == READ) {
        return LockCheck {
            finding: LockFinding::ReadLock,
            reason: format!("the timer is restarted under the read lock ({place})"),
        };
    }
    LockCheck::unknown(format!(
        "the lock held where the timer is restarted ({place}) is not certain"
    ))
}

/// True for the restart by name, for timer code called directly (the restart inlined), and for a
/// function without a public name that does nothing but stop and start a timer.
fn restarts(code: &dyn CodeSource, rva: u32, budget: &Budget) -> bool {
    let names = code.names_at(rva);
    if names.iter().any(|name| name == RESTART) || timer_code(&names) {
        return true;
    }
    let wrapper = super::only_calls(code, rva, budget, &timer_code);
    // A function that is named otherwise and only stops a timer is another's business.
    wrapper == Some(true) && stops_and_starts(code, rva, budget)
}

/// Every name is one of the timer family.
fn timer_code(names: &[String]) -> bool {
    defect::family_of_all(MODULE, names.iter().map(String::as_str))
        .is_some_and(|family| family.id == "timer")
}

/// It calls two different functions: one stops the timer, one starts it.
fn stops_and_starts(code: &dyn CodeSource, rva: u32, budget: &Budget) -> bool {
    let mut called = Vec::new();
    let start = Held {
        locks: Locks::FREE,
        code,
    };
    let read = flow::read(code, rva, start, budget, &mut |_, target, _| {
        if let Target::Own(rva) = target {
            called.push(*rva);
        }
    });
    called.sort_unstable();
    called.dedup();
    read.is_some() && called.len() >= 2
}
