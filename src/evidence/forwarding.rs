//! Is multicast forwarding on? Without it the defect's code does not run.
//!
//! Windows 6.0 keeps the setting of `netsh` away from the registry value documented for Windows
//! 2000: a value that is present counts, an absent one says nothing. Allocations of the forwarding
//! entries' own pool tag prove more than any value.

use crate::facts::{CrashFacts, ForwardingSource};
use crate::knowledge::Basis;
use crate::knowledge::defect::{EMPTY_SETS, FORWARDING_TAG};

use super::{Context, Evidence, Observation, Outcome, Strength};

/// 366 days, in units of 100 ns as FILETIMEs count.
const YEAR: u64 = 366 * 86_400 * 10_000_000;

/// Forwarding at the time of the crash.
pub(super) fn observe(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let mut found = Vec::new();
    found.extend(entries(facts).or_else(|| counted(facts)));
    let none_exist = found
        .iter()
        .any(|e: &Evidence| e.id == "forwarding.no-entries");
    let state = &facts.system.multicast_forwarding;
    let place = state.source.map(|source| source.to_string());
    let before = state
        .as_of
        .zip(facts.dump.crash_time)
        .is_some_and(|(seen, crash)| seen <= crash);
    let timely = state.at_crash || before;
    match (state.ipv4, state.ipv6) {
        (Some(true), _) | (_, Some(true)) if timely => found.push(with_place(
            Evidence::pro(
                "forwarding.on",
                Strength::Weak,
                Basis::Article,
                "multicast forwarding was set to on",
            ),
            place,
        )),
        (Some(false), Some(false) | None) | (None, Some(false))
            // The registry value is not where netsh keeps its setting: only netsh's own output counts.
            if before && !state.at_crash && state.source == Some(ForwardingSource::NetshOutput) =>
        {
            found.push(with_place(off_before(facts), place));
        }
        (Some(false), Some(false) | None) | (None, Some(false)) if state.at_crash => {
            found.push(with_place(
                Evidence::contra(
                    "forwarding.off",
                    Strength::Weak,
                    Basis::PublicSource,
                    "the registry value that turns multicast forwarding on was 0; netsh keeps \
                     its setting elsewhere",
                ),
                place.clone(),
            ));
            if none_exist {
                found.push(with_place(
                    Evidence::contra(
                        "forwarding.off-at-crash",
                        Strength::Excluding,
                        Basis::Article,
                        "multicast forwarding was off at the crash: its registry value was 0, and no \
                         forwarding entry or set existed in memory",
                    ),
                    place,
                ));
            }
        }
        _ => {}
    }
    let outcome = if !found.is_empty() {
        Outcome::Found(found)
    } else if state.is_known() {
        Outcome::Neutral(
            "what is known about multicast forwarding is not from the time of the crash".to_owned(),
        )
    } else {
        Outcome::NotObservable("nothing says whether multicast forwarding was on".to_owned())
    };
    Observation {
        observer: "forwarding.state",
        question: "Was multicast forwarding on?",
        outcome,
    }
}

/// What `netsh` said before the crash: it counts where it was asked about both protocols and not long ago. What it was
/// not asked about may have been on.
fn off_before(facts: &CrashFacts) -> Evidence {
    let state = &facts.system.multicast_forwarding;
    let both = (state.ipv4, state.ipv6) == (Some(false), Some(false));
    let age = facts
        .dump
        .crash_time
        .zip(state.as_of)
        .map(|(crash, seen)| crash.saturating_sub(seen));
    let recent = age.is_some_and(|age| age <= YEAR);
    if both && recent {
        return Evidence::contra(
            "forwarding.off-before",
            Strength::Moderate,
            Basis::Article,
            "multicast forwarding was off when it was looked at before the crash",
        );
    }
    let of = match (state.ipv4, state.ipv6) {
        (Some(false), None) => " for IPv4",
        (None, Some(false)) => " for IPv6",
        _ => "",
    };
    let but = match recent {
        true => "nothing says so of the other protocol",
        false => "that was more than a year before",
    };
    Evidence::contra(
        "forwarding.partly-off-before",
        Strength::Weak,
        Basis::Article,
        format!(
            "multicast forwarding was off{of} when it was looked at before the crash, but {but}"
        ),
    )
}

/// Forwarding entries in the pool.
fn entries(facts: &CrashFacts) -> Option<Evidence> {
    let tags = facts.memory.as_ref()?.pool_tags.as_ref()?;
    let count = tags
        .iter()
        .find(|count| count.tag == FORWARDING_TAG)?
        .outstanding;
    if count == 0 {
        return Some(
            Evidence::contra(
                "forwarding.no-entries",
                Strength::Weak,
                Basis::PublicSource,
                format!(
                    "no allocation is tagged {FORWARDING_TAG}: not even a set of forwarding entries exists"
                ),
            )
            .at("pool tracking table"),
        );
    }
    (count > EMPTY_SETS).then(|| {
        Evidence::pro(
            "forwarding.entries-exist",
            Strength::Moderate,
            Basis::PublicSource,
            format!(
                "{count} allocations tagged {FORWARDING_TAG}: multicast forwarding entries exist"
            ),
        )
        .at("pool tracking table")
    })
}

/// The forwarding sets' own count of entries.
fn counted(facts: &CrashFacts) -> Option<Evidence> {
    let sets = &facts.memory.as_ref()?.sets;
    let (set, entries) = sets
        .iter()
        .find_map(|set| Some((set, set.entries.filter(|entries| *entries > 0)?)))?;
    Some(
        Evidence::pro(
            "forwarding.entries-exist",
            Strength::Moderate,
            Basis::PublicSymbol,
            format!(
                "the forwarding set at {:#x} counts {entries} {}: multicast was forwarded (layout of \
                 the set: fixed x64 build of Windows 10)",
                set.address,
                if entries == 1 { "entry" } else { "entries" }
            ),
        )
        .at("forwarding set"),
    )
}

fn with_place(evidence: Evidence, place: Option<String>) -> Evidence {
    match place {
        Some(place) => evidence.at(place),
        None => evidence,
    }
}
