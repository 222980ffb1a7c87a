//! The machine: the race needs two processors, and an expiry needs time.

use crate::facts::CrashFacts;
use crate::knowledge::Basis;

use super::{Context, Evidence, Observation, Outcome, Strength, frames};

/// Idle lifetime of a forwarding entry, in seconds: no entry expires before.
const IDLE_LIFETIME: u64 = 180;
/// FILETIME units in a second.
const SECOND: u64 = 10_000_000;

/// Number of processors.
pub(super) fn processors(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    // What memory counts is believed before the header, which converters and debuggers write: a header that says
    // one where memory shows two is a contradiction, and said as such.
    let seen = facts
        .memory
        .as_ref()
        .map_or(0, |memory| memory.processors.len());
    let stated = facts.dump.processors;
    let outcome = match (stated, stated == Some(1) && seen < 2) {
        (_, true) => Outcome::Found(vec![Evidence::contra(
            "machine.one-processor",
            Strength::Strong,
            Basis::Inference,
            "one processor: the race needs two, whatever the frames and the memory look like",
        )]),
        (None, false) => {
            Outcome::NotObservable("the dump does not say how many processors there are".to_owned())
        }
        (Some(n), false) => Outcome::Found(vec![Evidence::pro(
            "machine.processors",
            Strength::Weak,
            Basis::Inference,
            format!("{n} processors: the race needs two"),
        )]),
    };
    Observation {
        observer: "machine.processors",
        question: "Are there at least two processors, which the race needs?",
        outcome,
    }
}

/// Time since start-up.
pub(super) fn uptime(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match facts.dump.uptime.map(|uptime| uptime / SECOND) {
        None => Outcome::NotObservable(
            "the dump does not say how long the system had been up".to_owned(),
        ),
        Some(seconds) if seconds < IDLE_LIFETIME && frames::expired(facts) => Outcome::Found(vec![
            Evidence::contra(
                "machine.too-early-for-expiry",
                Strength::Weak,
                Basis::PublicSymbol,
                format!(
                    "an entry expired {seconds} s after start-up: the idle lifetime is \
                     {IDLE_LIFETIME} s, so it had another one"
                ),
            )
            .at("uptime"),
        ]),
        Some(seconds) if seconds < IDLE_LIFETIME => Outcome::Neutral(format!(
            "up for {seconds} s: no forwarding entry can have expired yet (that takes \
             {IDLE_LIFETIME} s), but the forwarding path can fail at once"
        )),
        Some(seconds) => {
            Outcome::Neutral(format!("up for {seconds} s: long enough for either way"))
        }
    };
    Observation {
        observer: "machine.uptime",
        question: "Had the system been up long enough for an entry to expire?",
        outcome,
    }
}
