//! "Then what is it?": whom a crash is laid to, with the reason, hints and what to do next.
//!
//! Rules, in this order. What faulted, unless it is the kernel, the HAL or a framework of Windows, which
//! fault for their callers; else the nearest certain frame outside those; else the driver that the code
//! itself names. Codes that report something else (damaged memory, hardware, a disk, a program that ended)
//! are laid to that. A frame found by search makes no suspect. No suspect, and two that cannot be told
//! apart, are answers. Pure over facts; whose code a file is: `knowledge::windows`.

mod hints;
mod next;
mod places;
mod suspects;

use crate::facts::CrashFacts;
use crate::knowledge::bugchecks::{self, Kind};
use crate::vocabulary::open_enum;

pub use next::Step;

open_enum! {
    /// What kind of event a dump records.
    Event {
        /// Windows stopped by itself.
        Crash = "crash",
        /// A watchdog stopped a Windows that did not get on.
        Hang = "hang",
        /// A person or a monitor stopped it.
        Forced = "forced",
        /// Nothing stopped: a report of a running system.
        LiveReport = "live-report",
    }
}

open_enum! {
    /// How far a suspect can be trusted.
    Confidence {
        /// It was caught in the act, or named by the code.
        Strong = "strong",
        /// It is nearest of what is certain.
        Moderate = "moderate",
        /// It was there; others may have done it.
        Weak = "weak",
    }
}

open_enum! {
    /// What kind of thing a suspect is.
    What {
        /// A driver that is not known to be part of Windows.
        Driver = "driver",
        /// A driver of Windows.
        Windows = "windows",
        /// The machine: processor, memory, board, a card.
        Hardware = "hardware",
        /// The machine's firmware.
        Firmware = "firmware",
        /// A disk, its cable or controller, or a damaged file system.
        Storage = "storage",
        /// A program that Windows cannot do without.
        Process = "process",
    }
}

/// Whom a crash is laid to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// What it is.
    pub what: What,
    /// File name of a driver.
    pub module: Option<String>,
    /// Where in it: offset from its base, and the function where it is known.
    pub place: Option<(u64, Option<String>)>,
    /// How far it can be trusted.
    pub trust: Confidence,
    /// Why, in one clause.
    pub reason: String,
    /// When the driver was linked, seconds since 1970, where its stamp can be a date.
    pub linked: Option<u32>,
}

open_enum! {
    /// What a hint is about.
    HintKind {
        /// Code in memory differs from its file.
        ChangedCode = "changed-code",
        /// A value is one bit away from what it should be.
        OneBit = "one-bit",
        /// The stack is used up.
        StackExhausted = "stack-exhausted",
        /// Functions call each other again and again.
        Recursion = "recursion",
        /// The block of pool that the fault was in, and whose it is.
        PoolBlock = "pool-block",
        /// Driver Verifier stopped the system.
        Verifier = "verifier",
        /// A driver is much older than the Windows it ran on.
        DriverAge = "driver-age",
        /// Drivers that are on the stack and were not caught.
        OnStack = "on-stack",
    }
}

/// Something that was seen and that points somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// What was seen.
    pub kind: HintKind,
    /// For a person.
    pub text: String,
    /// Where it was seen.
    pub place: String,
}

/// What a crash is, apart from the article that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What kind of event.
    pub event: Event,
    /// The suspect; several that cannot be told apart; none.
    pub suspects: Vec<Suspect>,
    /// Why there is none, or why there are several; for one its own reason.
    pub reason: String,
    /// What points somewhere.
    pub hints: Vec<Hint>,
    /// What to do next, at most five.
    pub next: Vec<Step>,
}

/// What is known of the crash besides its facts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The crash may be the article's that was asked for: its name.
    pub article: Option<&'a str>,
    /// Other known problems that it looks like, nearest first: name and why.
    pub look_alikes: &'a [(&'a str, &'a str)],
    /// Hints and steps are wanted too.
    pub full: bool,
}

/// Judges a kernel dump's crash; `None` for a dump without a bug check.
pub fn judge(facts: &CrashFacts, known: &Known<'_>) -> Option<Cause> {
    let bugcheck = facts.bugcheck?;
    let check = bugchecks::find(bugcheck.raw_code);
    let event = match (check.is_live_in(facts.dump.live_mark), check.kind) {
        (true, _) => Event::LiveReport,
        (false, Kind::Forced) => Event::Forced,
        (false, Kind::Hang) => Event::Hang,
        (false, _) => Event::Crash,
    };
    let (suspects, reason) = match known.article {
        None if suspects::written_over(facts, &check) => (
            Vec::new(),
            "the memory that the fault met had been written over, and who wrote is not in the dump"
                .to_owned(),
        ),
        _ => suspects::suspects(facts, &check),
    };
    let mut cause = Cause {
        event,
        suspects,
        reason,
        hints: Vec::new(),
        next: Vec::new(),
    };
    if known.full {
        cause.hints = hints::hints(facts, &check, &cause);
        cause.next = next::steps(facts, &check, &cause, known);
    }
    Some(cause)
}
