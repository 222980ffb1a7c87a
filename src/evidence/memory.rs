//! Memory around the fault: does it work on a multicast forwarding entry, and is its list torn?

use crate::facts::{CrashFacts, Finding, FindingKind, InstructionKind};
use crate::knowledge::Basis;
use crate::knowledge::defect::{FORWARDING_TAG, is_stack_module};

use super::{Context, Evidence, Observation, Outcome, Strength, frames};

/// Pool blocks and lists at the fault's registers.
pub(super) fn observe(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "memory.at-fault",
        question: "Did the fault work on the list of a multicast forwarding entry's timer?",
        outcome: outcome(facts),
    }
}

fn outcome(facts: &CrashFacts) -> Outcome {
    let Some(memory) = &facts.memory else {
        return Outcome::NotObservable(
            "the dump does not hold the memory the fault worked on".to_owned(),
        );
    };
    let of = |kind: FindingKind| {
        let of = |finding: &&Finding| {
            finding.kind == kind && finding.tag.as_deref() == Some(FORWARDING_TAG)
        };
        memory.findings.iter().find(of)
    };
    if frames::nothing_faulted(facts) {
        return match queue(&of) {
            found if found.is_empty() => Outcome::Neutral(
                "no list of forwarding timers is torn, where the processors' pointers lead"
                    .to_owned(),
            ),
            found => Outcome::Found(found),
        };
    }
    let list = facts
        .fault
        .instruction_kind
        .is_some_and(InstructionKind::is_list_operation);
    let own = facts
        .fault
        .ip
        .and_then(|ip| facts.modules.locate(ip))
        .and_then(|(id, _)| facts.modules.get(id)?.name())
        .is_some_and(is_stack_module);
    if !own {
        return Outcome::Neutral(
            "the fault is not in the network stack: the pool allocator keeps its own lists \
             in free blocks"
                .to_owned(),
        );
    }
    let mut found = Vec::new();
    // Any register may be left over from earlier code: only the entry the operation worked on counts.
    if let Some(entry) = of(FindingKind::ForwardingEntry).filter(|_| list) {
        let link = memory.findings.iter().find(|finding| {
            finding.kind == FindingKind::SharedListLink
                && finding.tag.as_deref() == Some(FORWARDING_TAG)
                && finding.address == entry.address
        });
        // A list torn as a race tears it explains a null link, too.
        let torn = [
            FindingKind::RacedList,
            FindingKind::TornQueue,
            FindingKind::TornList,
        ]
        .into_iter()
        .any(|kind| of(kind).is_some());
        let null = of(FindingKind::NullLink).filter(|_| !torn);
        found.push(match (null, link) {
            (Some(null), _) => piece("memory.mfe-null-link", Strength::Weak, null),
            (None, Some(link)) => piece("memory.mfe-link", Strength::Decisive, link),
            (None, None) => piece("memory.mfe-block", Strength::Strong, entry),
        });
    }
    if let Some(finding) = of(FindingKind::OverwrittenList).filter(|_| list) {
        found.push(Evidence {
            supports: false,
            ..piece("memory.overwritten-list", Strength::Moderate, finding)
        });
    }
    // A walk that an overwritten entry led astray faults on any instruction.
    if let Some(finding) = of(FindingKind::OverwrittenEntry) {
        found.push(Evidence {
            supports: false,
            ..piece("memory.overwritten-entry", Strength::Strong, finding)
        });
    }
    // A removal that stops a timer a second time meets what it left itself: no second processor is needed.
    let another = list && frames::restarts(facts);
    if let Some(finding) = of(FindingKind::UnlinkedEntry).filter(|_| another) {
        found.push(piece("memory.unlinked-entry", Strength::Decisive, finding));
    }
    if let Some(finding) = of(FindingKind::ChangedEntry).filter(|_| list) {
        found.push(piece("memory.changed-entry", Strength::Decisive, finding));
    }
    found.extend(queue(&of));
    if let Some(finding) =
        of(FindingKind::TornList).filter(|_| list && of(FindingKind::TornQueue).is_none())
    {
        found.push(piece("memory.torn-list", Strength::Strong, finding));
    }
    match found.is_empty() {
        true => Outcome::Neutral(
            "no pointer of the fault leads to a multicast forwarding entry, and no list of theirs is \
             torn"
                .to_owned(),
        ),
        false => Outcome::Found(found),
    }
}

/// What the lists of the forwarding timers' tables show.
fn queue<'a>(of: &dyn Fn(FindingKind) -> Option<&'a Finding>) -> Vec<Evidence> {
    let raced =
        of(FindingKind::RacedList).map(|f| piece("memory.raced-list", Strength::Decisive, f));
    let torn = of(FindingKind::TornQueue).map(|f| piece("memory.torn-list", Strength::Strong, f));
    raced.into_iter().chain(torn).collect()
}

fn piece(id: &'static str, strength: Strength, finding: &Finding) -> Evidence {
    Evidence::pro(id, strength, Basis::PublicSource, finding.detail.clone()).at("memory")
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use serde_json::json;

    /// A fault at that offset of tcpip.sys by an instruction of that kind, with one finding.
    fn seen(instruction: &str, ip: u64, finding: &str) -> Vec<(&'static str, bool)> {
        let mut facts = testing::crash(
            &[("tcpip.sys", 0x10_0000), ("ndis.sys", 0x30_0000)],
            json!({}),
        );
        facts.fault.ip = Some(ip);
        facts.fault.instruction_kind = serde_json::from_value(json!(instruction)).unwrap();
        facts.memory = Some(crate::facts::MemoryFacts {
            findings: vec![Finding {
                kind: serde_json::from_value(json!(finding)).unwrap(),
                address: Some(0x1000),
                tag: Some(FORWARDING_TAG.to_owned()),
                detail: "what was seen".to_owned(),
                list: Vec::new(),
            }],
            ..Default::default()
        });
        match outcome(&facts) {
            Outcome::Found(found) => found.iter().map(|e| (testing::id(e), e.supports)).collect(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn an_overwritten_entry_counts_against_whatever_instruction_met_it() {
        let against = [("memory.overwritten-entry", false)];
        assert_eq!(
            seen("plain-access", 0x10_0100, "overwritten-entry"),
            against
        );
        assert_eq!(seen("list-unlink", 0x10_0100, "overwritten-entry"), against);
        // A tear that a register leads to is of the list that was worked on; a walk only passes by other entries, and
        // another driver's fault has nothing to do with them.
        assert_eq!(seen("plain-access", 0x10_0100, "torn-list"), []);
        assert_eq!(seen("plain-access", 0x30_0100, "overwritten-entry"), []);
    }
}
