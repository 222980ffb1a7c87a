//! The fault and the stack as facts: what the fault room found, with names and module identities.

use crate::facts::Modules;
use crate::fault::{self, Crash, Investigation};
use crate::unwind::{Frame, Walk};

use super::clues;
use crate::facts::{
    BucketFacts, ClueFacts, CodeFacts, FaultFacts, FrameFacts, NameFact, StackFacts,
};

/// What an investigation found.
pub(super) struct Found {
    pub fault: FaultFacts,
    pub stack: Option<StackFacts>,
    pub bucket: BucketFacts,
    /// Added by whoever holds the code.
    pub code: CodeFacts,
    /// What had to be settled by what it leads to.
    pub remarks: Vec<String>,
    /// Signs of other causes.
    pub clues: ClueFacts,
}

/// Turns an investigation into facts. `code` names addresses; `processor` is the number of the
/// processor that crashed.
pub(super) fn found(
    crash: &Crash<'_>,
    investigation: &Investigation,
    modules: &Modules,
    code: &dyn Naming,
    processor: Option<u32>,
) -> Found {
    Found {
        fault: fault_facts(crash, investigation, code),
        stack: walk_facts(&investigation.walk, code, processor),
        bucket: bucket_facts(crash, investigation, modules, code),
        code: CodeFacts::default(),
        remarks: investigation.remarks.clone(),
        clues: clues::clues(crash, investigation, modules),
    }
}

/// Full names for addresses: what a report shows beyond what a walk needs.
pub(crate) trait Naming {
    /// The name of the function that owns `address`; `is_return` says that the address is where a
    /// call returns to, so that the call itself lies just before it.
    fn full_name(&self, address: u64, is_return: bool) -> Option<NameFact>;
}

fn fault_facts(crash: &Crash<'_>, found: &Investigation, code: &dyn Naming) -> FaultFacts {
    // A code that is no fault has only the bug check's own context: no fault to report.
    let own = found.context.as_ref().filter(|c| crash.is_of_fault(c));
    let access = &found.access;
    let instruction = found.instruction.as_ref();
    let ip = own.and_then(|c| c.registers.ip());
    FaultFacts {
        ip,
        name: ip.and_then(|ip| code.full_name(ip, false)),
        source: own.map(|c| c.source),
        candidates: own.map_or(0, |c| c.candidates),
        address: access.address,
        access: access.access,
        irql: access.irql,
        context: access.activity,
        instruction: instruction.and_then(|i| i.text.clone()),
        instruction_kind: instruction.and_then(|i| i.kind),
        caller: found
            .caller
            .and_then(|n| found.walk.frames.get(n))
            .and_then(|frame| frame_facts(frame, code)),
        effective_address: instruction
            .and_then(|i| i.effective_address)
            .and_then(|e| Some((e.value, e.agrees?))),
        computed: instruction
            .and_then(|i| i.effective_address)
            .filter(|e| e.agrees.is_none())
            .map(|e| e.value),
        registers: own
            .map(|c| {
                c.registers
                    .iter()
                    .map(|(name, value)| (name.into(), value))
                    .collect()
            })
            .unwrap_or_default(),
    }
}

/// A walk as facts; `None` when it has no frame.
pub(super) fn walk_facts(
    walk: &Walk,
    code: &dyn Naming,
    processor: Option<u32>,
) -> Option<StackFacts> {
    if walk.frames.is_empty() {
        return None;
    }
    Some(StackFacts {
        processor,
        frames: walk
            .frames
            .iter()
            .filter_map(|frame| frame_facts(frame, code))
            .collect(),
        faulting_activity: u32::try_from(walk.faulting_activity).ok(),
        complete: walk.complete,
        stopped_because: walk.stopped_because.as_ref().map(ToString::to_string),
    })
}

fn frame_facts(frame: &Frame, code: &dyn Naming) -> Option<FrameFacts> {
    use crate::unwind::Trust;
    let ip = frame.ip()?;
    let is_return = frame.trust != Trust::Context && frame.trap.is_none();
    Some(FrameFacts {
        ip,
        sp: frame.sp(),
        name: code.full_name(ip, is_return),
        trust: frame.trust,
        boundary: frame.boundary,
    })
}

fn bucket_facts(
    crash: &Crash<'_>,
    found: &Investigation,
    modules: &Modules,
    code: &dyn Naming,
) -> BucketFacts {
    let called = found.caller.is_some();
    let name = found.place.and_then(|ip| code.full_name(ip, called));
    let place = found.place.and_then(|ip| {
        let (id, rva) = modules.locate(ip)?;
        let module = modules.get(id)?;
        Some(fault::FaultPlace {
            module: module.name()?,
            time_date_stamp: module.time_date_stamp,
            size_of_image: module.size,
            rva,
            symbol: name.as_ref().map(|n| (n.symbol.as_str(), n.displacement)),
        })
    });
    let bucket = fault::bucket(
        crash.code,
        crash.exception_code(),
        found.access.access,
        place.as_ref(),
    );
    BucketFacts {
        key: bucket.key,
        name: bucket.name,
        offset: bucket.offset,
    }
}
