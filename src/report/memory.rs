//! What only a dump with memory tells, as findings of a report.

use super::model as m;
use super::values::Hex;
use crate::facts::{MemoryFacts, ProcessorFacts};

/// The state of every processor, then what was seen at addresses.
pub(super) fn findings(memory: &MemoryFacts, pointer: usize) -> Vec<m::MemoryFinding> {
    let states = memory.processors.iter().map(|processor| m::MemoryFinding {
        kind: "processor-state".to_owned(),
        address: processor.ip.map(|ip| Hex::address(ip, pointer)),
        tag: None,
        detail: processor_state(processor, pointer),
    });
    let findings = memory.findings.iter().map(|finding| m::MemoryFinding {
        kind: finding.kind.clone(),
        address: finding.address.map(|at| Hex::address(at, pointer)),
        tag: finding.tag.clone(),
        detail: finding.detail.clone(),
    });
    states.chain(findings).collect()
}

/// What is known of a processor besides its stack, in words.
fn processor_state(processor: &ProcessorFacts, pointer: usize) -> String {
    let mut parts = Vec::new();
    if processor.crashed {
        parts.push("crashed here".to_owned());
    }
    parts.extend(processor.irql.map(|irql| format!("IRQL {irql}")));
    parts.extend(processor.dpc_active.map(|active| match active {
        true => "a DPC routine is active".to_owned(),
        false => "no DPC routine is active".to_owned(),
    }));
    parts.extend(
        processor
            .dpc_time
            .map(|(count, limit)| format!("DPC time {count} of {limit} ticks")),
    );
    parts.extend(
        processor
            .thread
            .map(|thread| format!("thread {}", Hex::address(thread, pointer).0)),
    );
    parts.extend(processor.process.clone());
    format!("processor {}: {}", processor.number, parts.join(", "))
}
