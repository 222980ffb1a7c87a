//! What only a dump with memory tells, as findings of a report.

use super::model as m;
use super::values::Hex;
use crate::facts::{
    HandleFacts, IrqlSource, MemoryFacts, ProcessorFacts, SetFacts, SpinFacts, SpinKind, TableMark,
};
use crate::knowledge::defect::FORWARDING_TAG;

/// Kinds of findings that are made here.
pub(super) const PROCESSOR_STATE: &str = "processor-state";
pub(super) const SPINNING: &str = "spinning-processor";

/// The state of every processor, then what was seen at addresses.
pub(super) fn findings(memory: &MemoryFacts, pointer: usize) -> Vec<m::MemoryFinding> {
    let states = memory.processors.iter().map(|processor| m::MemoryFinding {
        kind: PROCESSOR_STATE.to_owned(),
        address: processor.ip.map(|ip| Hex::address(ip, pointer)),
        tag: None,
        detail: processor_state(processor, pointer),
        list: Vec::new(),
    });
    let findings = memory.findings.iter().map(|finding| m::MemoryFinding {
        kind: finding.kind.to_string(),
        address: finding.address.map(|at| Hex::address(at, pointer)),
        tag: finding.tag.clone(),
        detail: finding.detail.clone(),
        list: finding.list.clone(),
    });
    let sets = memory.sets.iter().map(|set| set_finding(set, pointer));
    let waits = memory.processors.iter().flat_map(|processor| {
        let handles = processor
            .handles
            .iter()
            .map(move |handle| handle_finding(processor, handle, memory, pointer));
        let spin = processor
            .spin
            .iter()
            .map(move |spin| spin_finding(processor, spin, memory, pointer));
        handles.chain(spin)
    });
    states.chain(findings).chain(sets).chain(waits).collect()
}

/// The forwarding set and the state of its lock.
fn set_finding(set: &SetFacts, pointer: usize) -> m::MemoryFinding {
    let hex = |at: u64| Hex::address(at, pointer).0;
    let held = match set.held_by {
        0 => "free".to_owned(),
        1 => "held".to_owned(),
        handle => format!("held, the last queue handle is {}", hex(handle)),
    };
    let entries = match set.entries {
        Some(entries) => format!(" with {}", counted(entries, "entry", "entries")),
        None => String::new(),
    };
    let layout = match set.by_code {
        true => "by the code of this tcpip.sys",
        false => "of the fixed x64 build of Windows 10",
    };
    let readers = counted(set.readers, "reader", "readers");
    m::MemoryFinding {
        kind: "forwarding-set".to_owned(),
        address: Some(Hex::address(set.address, pointer)),
        tag: Some(FORWARDING_TAG.to_owned()),
        detail: format!(
            "multicast forwarding set{entries}: spin lock {} is {held}, {readers} inside, timer \
             table {}; layout {layout}, taken because the table {}",
            hex(set.spin_lock),
            hex(set.table),
            match set.table_has {
                TableMark::Tag => "is a block tagged Iptt",
                TableMark::Lists => "is a large allocation of list heads",
            }
        ),
        list: Vec::new(),
    }
}

fn counted(n: u32, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// `0x... (the forwarding set's)`.
fn lock_name(lock: u64, memory: &MemoryFacts, pointer: usize) -> String {
    let at = Hex::address(lock, pointer).0;
    match memory.sets.iter().any(|set| set.spin_lock == lock) {
        true => format!("{at}, the forwarding set's"),
        false => at,
    }
}

fn handle_finding(
    processor: &ProcessorFacts,
    handle: &HandleFacts,
    memory: &MemoryFacts,
    pointer: usize,
) -> m::MemoryFinding {
    let does = if handle.waiting { "waits for" } else { "owns" };
    m::MemoryFinding {
        kind: "queue-handle".to_owned(),
        address: Some(Hex::address(handle.address, pointer)),
        tag: handle.tag.clone(),
        detail: format!(
            "processor {}: a queue handle on its stack {does} the spin lock at {}",
            processor.number,
            lock_name(handle.lock, memory, pointer)
        ),
        list: Vec::new(),
    }
}

fn spin_finding(
    processor: &ProcessorFacts,
    spin: &SpinFacts,
    memory: &MemoryFacts,
    pointer: usize,
) -> m::MemoryFinding {
    let at = Hex::address(spin.address, pointer).0;
    let lock = |lock: Option<u64>| lock_name(lock.unwrap_or(spin.address), memory, pointer);
    let what = match spin.kind {
        SpinKind::QueuedSpinLock => {
            format!("waits for the queued spin lock at {}", lock(spin.lock))
        }
        SpinKind::SpinLock => format!("waits for the spin lock at {}", lock(spin.lock)),
        SpinKind::Readers => format!(
            "waits until the readers of the lock at {} have left",
            lock(spin.lock)
        ),
        SpinKind::SelfLinkedEntry => {
            format!("walks a list and does not get past the entry at {at}, which leads to itself")
        }
        SpinKind::CyclicList => format!(
            "walks a list that leads back into itself: it passes the entry at {at} again and again"
        ),
        SpinKind::Memory => format!("repeats a loop that only reads {at}"),
    };
    m::MemoryFinding {
        kind: SPINNING.to_owned(),
        address: Some(Hex::address(spin.address, pointer)),
        tag: spin.tag.clone(),
        detail: format!("processor {}: {what}", processor.number),
        list: match spin.kind.is_walk() {
            true => vec![spin.address],
            false => Vec::new(),
        },
    }
}

/// What is known of a processor besides its stack, in words.
fn processor_state(processor: &ProcessorFacts, pointer: usize) -> String {
    let mut parts = Vec::new();
    if processor.crashed {
        parts.push("crashed here".to_owned());
    }
    parts.extend(processor.irql.map(|irql| match processor.irql_source {
        Some(IrqlSource::Kpcr) => format!("IRQL {irql} by KPCR.Irql"),
        _ => format!("IRQL {irql}"),
    }));
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
