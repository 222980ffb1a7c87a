//! Several processors in the same code, and processors that do not advance: what that proves.
//!
//! Many processors in the forwarding function are the normal state of a loaded router, and fixed builds
//! queue there for the lock. Two inside the restart of the same timer table cannot be under a write
//! lock. Source: `docs/kb943650.md`.

use crate::facts::{CrashFacts, SpinFacts, SpinKind, StackFacts};
use crate::knowledge::Basis;
use crate::knowledge::defect::{FORWARDING_FUNCTION, FORWARDING_TAG, FamilyId};

use super::lock::{self, certain, function};
use super::{Context, Evidence, Observation, Outcome, Strength};

/// Two processors that change one table.
pub(super) fn past_the_lock(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "processors.past-the-lock",
        question: "Were two processors inside the restart of one timer table at once?",
        outcome: judge_past(facts),
    }
}

fn judge_past(facts: &CrashFacts) -> Outcome {
    let Some(memory) = &facts.memory else {
        return Outcome::NotObservable("the dump does not hold the other processors".to_owned());
    };
    let restarts = lock::timer_restarts(facts);
    if restarts.len() < 2 {
        let forwarding = facts
            .stack
            .iter()
            .chain(&memory.other_stacks)
            .filter(|stack| forwards(facts, stack))
            .count();
        return Outcome::Neutral(match forwarding {
            0 | 1 => "no second processor is known to be past the lock".to_owned(),
            n => format!(
                "{n} processors forward multicast: the normal state of a loaded router, fixed or not"
            ),
        });
    }
    let shared = restarts.iter().enumerate().find_map(|(i, one)| {
        restarts.iter().skip(i + 1).find_map(|other| {
            let tables = other.tables();
            let table = one.tables().into_iter().find(|t| tables.contains(t))?;
            Some((one.processor, other.processor, table))
        })
    });
    let Some((one, other, table)) = shared else {
        return Outcome::Neutral(
            "two processors restart a forwarding entry's timer, but nothing shows that it is in one \
             table"
                .to_owned(),
        );
    };
    let number = |n: Option<u32>| n.map_or("?".to_owned(), |n| n.to_string());
    Outcome::Found(vec![
        Evidence::pro(
            "processors.two-past-the-lock",
            Strength::Decisive,
            Basis::PublicSymbol,
            format!(
                "processors {} and {} are both inside the restart of a timer of the table at \
                 {table:#x}, which a write lock does not allow",
                number(one),
                number(other)
            ),
        )
        .at("stacks"),
    ])
}

/// True when the forwarding function is on the certain part of a stack.
fn forwards(facts: &CrashFacts, stack: &StackFacts) -> bool {
    certain(stack)
        .any(|frame| function(facts, frame).is_some_and(|(_, name)| name == FORWARDING_FUNCTION))
}

/// Processors that spin.
pub(super) fn spinning(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "processors.spinning",
        question: "Does a processor walk the timer queue without end?",
        outcome: judge_spin(facts),
    }
}

fn judge_spin(facts: &CrashFacts) -> Outcome {
    let Some(memory) = &facts.memory else {
        return Outcome::NotObservable("the dump does not hold the processors' memory".to_owned());
    };
    let stuck = memory
        .processors
        .iter()
        .filter_map(|processor| Some((processor.number, processor.spin.as_ref()?)));
    let mut found = Vec::new();
    let mut waiting = Vec::new();
    for (number, spin) in stuck {
        match timer_code(facts, number) {
            Some(name) if spin.kind.is_walk() => found.push(walker(number, name, spin)),
            _ => waiting.push(format!("processor {number}: {}", spin.kind)),
        }
    }
    if !found.is_empty() {
        return Outcome::Found(found);
    }
    match waiting.is_empty() {
        true => Outcome::Neutral("no processor is in a loop that is known not to end".to_owned()),
        false => Outcome::Neutral(format!("not in timer code ({})", waiting.join(", "))),
    }
}
/// The innermost function of a processor, when it is timer code.
fn timer_code(facts: &CrashFacts, number: u32) -> Option<&str> {
    let memory = facts.memory.as_ref()?;
    let stack = facts
        .stack
        .iter()
        .chain(&memory.other_stacks)
        .find(|stack| stack.processor == Some(number))?;
    let frame = certain(stack).next()?;
    let (family, name) = function(facts, frame)?;
    matches!(
        family,
        FamilyId::Timer | FamilyId::MfeTimer | FamilyId::MfeExpiry
    )
    .then_some(name)
}

fn walker(number: u32, name: &str, spin: &SpinFacts) -> Evidence {
    let entry = spin.address;
    let own = spin.tag.as_deref() == Some(FORWARDING_TAG);
    let (id, strength, whose) = match own {
        true => (
            "processors.endless-timer-queue",
            Strength::Decisive,
            "a forwarding entry's timer",
        ),
        false => (
            "processors.endless-list-in-timer-code",
            Strength::Moderate,
            "a list entry",
        ),
    };
    Evidence::pro(
        id,
        strength,
        Basis::Inference,
        format!(
            "{name} walks the timer queue and never gets past {whose} at {entry:#x}, which leads {}: \
             the queue is torn, by whom that does not show",
            match spin.kind {
                SpinKind::SelfLinkedEntry => "to itself although the queue leads to it",
                _ => "back into the same entries without the queue's head",
            }
        ),
    )
    .at(format!("processor {number}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use serde_json::{Value, json};

    const TABLE: u64 = 0xFFFF_FA80_0180_D000;

    /// Processors 0 and 1 with these tcpip.sys functions and timer tables.
    fn crash(processors: [(&[&str], u64, Value); 2]) -> CrashFacts {
        let stack = |number: usize, functions: &[&str]| {
            let frames: Vec<_> = functions
                .iter()
                .zip(1u64..)
                .map(|(name, n)| {
                    json!({ "ip": 0x1000 + n, "sp": 0x9_0000 + n * 0x100, "trust": "unwind-info",
                            "boundary": null,
                            "name": { "symbol": name, "displacement": 4, "kind": "exact",
                                      "aliases": [], "line": null } })
                })
                .collect();
            json!({ "processor": number, "frames": frames, "faulting_activity": functions.len(),
                    "complete": true, "stopped_because": null })
        };
        let states: Vec<_> = processors
            .iter()
            .enumerate()
            .map(|(number, (_, table, spin))| {
                json!({ "number": number, "crashed": number == 0, "ip": null, "irql": 2,
                        "dpc_active": null, "dpc_time": null, "thread": null, "process": null,
                        "spin": spin, "handles": [],
                        "tables": [{ "seen_at": null, "table": table }] })
            })
            .collect();
        let told = json!({
            "dump": { "format": "kernel-summary", "dump_type": 2, "architecture": "x86", "pointer": 4,
                      "pae": true },
            "stack": stack(0, processors[0].0),
            "memory": { "processors": states, "other_stacks": [stack(1, processors[1].0)],
                        "pool_tags": null, "findings": [] }
        });
        testing::crash(&[("tcpip.sys", 0x1000)], told)
    }

    const PAST: &[&str] = &[
        "TtStopTimer",
        "IppRestartMfeTimer",
        "IppForwardMulticastPackets",
        "IppDispatchReceivePacketHelper",
    ];
    const BEFORE: &[&str] = &[
        "IppForwardMulticastPackets",
        "IppDispatchReceivePacketHelper",
    ];

    fn ids(outcome: &Outcome) -> Vec<&'static str> {
        match outcome {
            Outcome::Found(found) => found.iter().map(testing::id).collect(),
            Outcome::Neutral(_) | Outcome::NotObservable(_) => Vec::new(),
        }
    }

    #[test]
    fn two_processors_inside_the_restart_of_one_table_are_near_proof() {
        let facts = crash([(PAST, TABLE, json!(null)), (PAST, TABLE, json!(null))]);
        assert_eq!(ids(&judge_past(&facts)), ["processors.two-past-the-lock"]);
        let two_tables = crash([
            (PAST, TABLE, json!(null)),
            (PAST, TABLE + 0x2000, json!(null)),
        ]);
        assert_eq!(
            ids(&judge_past(&two_tables)),
            [""; 0],
            "IPv4 and IPv6 have their own"
        );
    }

    #[test]
    fn several_processors_in_the_forwarding_function_are_a_loaded_router() {
        for first in [PAST, BEFORE] {
            let facts = crash([(first, TABLE, json!(null)), (BEFORE, TABLE, json!(null))]);
            let outcome = judge_past(&facts);
            assert!(
                matches!(&outcome, Outcome::Neutral(text) if text.contains("loaded router")),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn only_an_endless_walk_in_timer_code_counts() {
        let spin = |kind: &str, tag: &str| json!({ "kind": kind, "address": 0x8460_0040u32, "value": null, "lock": null, "tag": tag });
        let expiry: &[&str] = &["TtFireTimer", "IppMfeSetTimeOut", "IppTimeout"];
        for (functions, kind, tag, expected) in [
            (
                expiry,
                "self-linked-entry",
                "IPmf",
                &["processors.endless-timer-queue"][..],
            ),
            (
                expiry,
                "cyclic-list",
                "IPmf",
                &["processors.endless-timer-queue"],
            ),
            (
                expiry,
                "cyclic-list",
                "Iptt",
                &["processors.endless-list-in-timer-code"],
            ),
            (expiry, "spin-lock", "IPmf", &[]),
            (BEFORE, "self-linked-entry", "IPmf", &[]),
        ] {
            let facts = crash([
                (functions, TABLE, spin(kind, tag)),
                (BEFORE, TABLE, json!(null)),
            ]);
            assert_eq!(ids(&judge_spin(&facts)), expected, "{kind} {tag}");
        }
    }
}
