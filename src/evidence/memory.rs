//! Memory around the fault: does it work on a multicast forwarding entry, and is its list torn?

use crate::facts::{CrashFacts, Finding, InstructionKind};
use crate::knowledge::Basis;
use crate::knowledge::defect::{FORWARDING_TAG, is_stack_module};

use super::{Context, Evidence, Observation, Outcome, Strength};

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
    let list = facts
        .fault
        .instruction_kind
        .is_some_and(InstructionKind::is_list_operation);
    let own = facts
        .fault
        .ip
        .and_then(|ip| facts.modules.locate(ip))
        .and_then(|(id, _)| facts.modules.get(id)?.name())
        .is_some_and(|name| is_stack_module(name));
    if !own {
        return Outcome::Neutral(
            "the fault is not in the network stack: the pool allocator keeps its own lists \
             in free blocks"
                .to_owned(),
        );
    }
    let tagged = |kind: &str| {
        let of = |finding: &&Finding| {
            finding.kind == kind && finding.tag.as_deref() == Some(FORWARDING_TAG)
        };
        memory.findings.iter().find(of)
    };
    let mut found = Vec::new();
    if !list {
        // A walk that an overwritten entry led astray faults on any instruction.
        return match tagged("overwritten-entry") {
            Some(finding) => Outcome::Found(vec![Evidence {
                supports: false,
                ..piece("memory.overwritten-entry", Strength::Strong, finding)
            }]),
            None => Outcome::Neutral("the faulting instruction is no list operation".to_owned()),
        };
    }
    // Any register may be left over from earlier code: only the entry the operation worked on counts.
    if let Some(entry) = tagged("forwarding-entry") {
        let link = memory.findings.iter().find(|finding| {
            finding.kind == "shared-list-link"
                && finding.tag.as_deref() == Some(FORWARDING_TAG)
                && finding.address == entry.address
        });
        // A list torn as a race tears it explains a null link, too.
        let null = tagged("null-link").filter(|_| tagged("torn-list").is_none());
        found.push(match (null, link) {
            (Some(null), _) => piece("memory.mfe-null-link", Strength::Weak, null),
            (None, Some(link)) => piece("memory.mfe-link", Strength::Decisive, link),
            (None, None) => piece("memory.mfe-block", Strength::Strong, entry),
        });
    }
    if let Some(finding) = tagged("overwritten-list") {
        found.push(Evidence {
            supports: false,
            ..piece("memory.overwritten-list", Strength::Moderate, finding)
        });
    }
    if let Some(finding) = tagged("overwritten-entry") {
        found.push(Evidence {
            supports: false,
            ..piece("memory.overwritten-entry", Strength::Strong, finding)
        });
    }
    if let Some(finding) = tagged("unlinked-entry") {
        found.push(piece("memory.unlinked-entry", Strength::Strong, finding));
    }
    if let Some(finding) = tagged("torn-list") {
        found.push(piece("memory.torn-list", Strength::Decisive, finding));
    }
    match found.is_empty() {
        true => Outcome::Neutral(
            "no pointer of the list operation leads to a multicast forwarding entry".to_owned(),
        ),
        false => Outcome::Found(found),
    }
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
                kind: finding.to_owned(),
                address: Some(0x1000),
                tag: Some(FORWARDING_TAG.to_owned()),
                detail: "what was seen".to_owned(),
            }],
            ..Default::default()
        });
        match outcome(&facts) {
            Outcome::Found(found) => found.iter().map(|e| (e.id, e.supports)).collect(),
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
        // A walk only passes by other entries, and another driver's fault has nothing to do with them.
        assert_eq!(seen("plain-access", 0x10_0100, "torn-list"), []);
        assert_eq!(seen("plain-access", 0x30_0100, "overwritten-entry"), []);
    }
}
