//! The IRQL that an unhandled exception implies.
//!
//! A page fault at IRQL 2, where the timer queue is worked on, never becomes an exception: it ends at once as 0xD1 or
//! 0x0A. So an access violation that names an address, and is no general protection fault, happened below. A
//! general protection fault (an address that is not canonical) can come at any IRQL; Windows reports all ones
//! for its address.

use crate::facts::{CrashFacts, Machine, Module};
use crate::knowledge::Basis;
use crate::knowledge::bugchecks::{self, RaisedAt};
use crate::knowledge::defect::is_stack_module;

use super::{Context, Evidence, Observation, Outcome, Strength};

/// STATUS_ACCESS_VIOLATION.
const ACCESS_VIOLATION: u64 = 0xC000_0005;
/// DISPATCH_LEVEL.
const DISPATCH_LEVEL: u8 = 2;

/// What an exception says about the IRQL.
pub(super) fn irql(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "code.exception-irql",
        question: "Could the exception have happened at DISPATCH_LEVEL?",
        outcome: judge(facts),
    }
}

fn judge(facts: &CrashFacts) -> Outcome {
    let Some(bugcheck) = facts.bugcheck else {
        return Outcome::NotObservable("the dump holds no bug check".to_owned());
    };
    let code = bugchecks::base_code(bugcheck.raw_code);
    let raised = bugchecks::find(bugcheck.raw_code).irql;
    if raised == RaisedAt::BelowDispatch {
        return judge_page_fault(facts, code);
    }
    // The status is sign-extended on x64.
    let status = bugcheck.parameters[0] & 0xFFFF_FFFF;
    if raised != RaisedAt::BelowDispatchWithAddress || status != ACCESS_VIOLATION {
        return Outcome::Neutral(
            "the code is not that of an unhandled access violation".to_owned(),
        );
    }
    // How Windows ends a fault at IRQL 2 on Itanium is not known here.
    if !matches!(facts.dump.architecture, Some(Machine::X86 | Machine::X64)) {
        return Outcome::Neutral("nothing is known of this architecture's page faults".to_owned());
    }
    let Some(address) = address(facts, code, bugcheck.parameters[3]) else {
        return Outcome::NotObservable(
            "the dump does not name the address of the violation".to_owned(),
        );
    };
    if !is_page_fault(address, facts.dump.pointer) {
        return Outcome::Neutral(
            "a general protection fault: it can come at any IRQL, DISPATCH_LEVEL included"
                .to_owned(),
        );
    }
    Outcome::Found(vec![
        Evidence::contra(
            "irql.below-dispatch",
            Strength::Strong,
            Basis::Inference,
            format!(
                "0x{code:X} for an access violation at {address:#x}, an address like any other: at IRQL \
                 {DISPATCH_LEVEL}, where the timer queue is worked on, that would have been 0xD1 or 0x0A"
            ),
        )
        .at("bug check code"),
    ])
}

/// A code that comes from an IRQL below 2 always, as 0x50 does: what faulted was no work on the timer queue. Where something else than the
/// network stack faulted, it may have met what the defect left.
fn judge_page_fault(facts: &CrashFacts, code: u32) -> Outcome {
    if !is_in_stack(facts) {
        return Outcome::Neutral("the fault is not in the network stack".to_owned());
    }
    Outcome::Found(vec![
        Evidence::contra(
            "irql.below-dispatch",
            Strength::Strong,
            Basis::Inference,
            format!(
                "0x{code:X} in the network stack itself: it comes from an IRQL below {DISPATCH_LEVEL} only, and the timer \
                 queue is worked on at {DISPATCH_LEVEL}, where that would have been 0xD1 or 0x0A"
            ),
        )
        .at("bug check code"),
    ])
}

/// The faulting instruction lies in a module of the network stack.
pub(super) fn is_in_stack(facts: &CrashFacts) -> bool {
    let module = facts.fault.ip.and_then(|ip| facts.modules.locate(ip));
    module
        .and_then(|(id, _)| facts.modules.get(id))
        .and_then(Module::name)
        .is_some_and(is_stack_module)
}

/// The address of the violation: the parameter of 0x1E, else the fault's own, else what the registers give.
fn address(facts: &CrashFacts, code: u32, parameter: u64) -> Option<u64> {
    if code == 0x1E {
        return Some(parameter);
    }
    let fault = &facts.fault;
    let agreed = fault.effective_address.map(|(address, _)| address);
    fault.address.or(agreed).or(fault.computed)
}

/// False for all ones, by which Windows reports a general protection fault, and for an address that is not canonical.
fn is_page_fault(address: u64, pointer: usize) -> bool {
    match pointer {
        4 => address & 0xFFFF_FFFF != 0xFFFF_FFFF,
        _ => address != u64::MAX && matches!(address >> 47, 0 | 0x1_FFFF),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_general_protection_fault_is_told_from_a_page_fault() {
        for (address, pointer, page_fault) in [
            (0x10, 8, true),
            (0xFFFF_FA80_0000_0010, 8, true),
            (u64::MAX, 8, false),
            (0x000E_0EA8_3700_0000, 8, false),
            (0x10, 4, true),
            (0xFFFF_FFFF, 4, false),
            (u64::MAX, 4, false),
        ] {
            assert_eq!(
                is_page_fault(address, pointer),
                page_fault,
                "{address:#x} {pointer}"
            );
        }
    }
}
