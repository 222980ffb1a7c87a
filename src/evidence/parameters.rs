//! The bug check's parameters: are they those of an operation on a torn list, and does the code fit
//! the place?
//!
//! What an unlink, an insertion or a walk does with a link that is null, stale or wild on each
//! architecture: `docs/kb943650.md`. Many other null pointers look alike: a hint, never more.

use crate::facts::CrashFacts;
use crate::facts::is_kernel;
use crate::knowledge::Basis;
use crate::knowledge::bugchecks;

use super::{Context, Evidence, Observation, Outcome, Strength};

/// Parameter 3 of 0xD1 and 0x0A.
const READ: u64 = 0;
const WRITE: u64 = 1;
const EXECUTE: u64 = 8;
/// Largest offset of a field that a walker reads through a null pointer.
const SMALL: u64 = 0x100;
/// STATUS_ACCESS_VIOLATION, which a non-canonical address ends in on x64.
const ACCESS_VIOLATION: u32 = 0xC000_0005;

/// The state of the list that the parameters of a fault fit.
pub(super) fn pattern(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match facts.bugcheck {
        None => Outcome::NotObservable("the dump holds no bug check".to_owned()),
        Some(bugcheck) => {
            let code = bugchecks::base_code(bugcheck.raw_code);
            let pointer = facts.dump.pointer as u64;
            match bugcheck
                .written()
                .and_then(|parameters| list_state(code, parameters, pointer))
            {
                Some(state) => Outcome::Found(vec![
                    Evidence::pro(
                        "parameters.list-pattern",
                        Strength::Weak,
                        Basis::Inference,
                        format!("the parameters are those of {state}"),
                    )
                    .at("bug check parameters"),
                ]),
                None => Outcome::Neutral(
                    "the parameters fit no operation on a torn list in particular".to_owned(),
                ),
            }
        }
    };
    Observation {
        observer: "parameters.pattern",
        question: "Are the parameters those of an operation on a torn list?",
        outcome,
    }
}

/// In words; `None` where no row fits. `pointer` is the pointer width in bytes.
fn list_state(code: u32, parameters: &[u64; 4], pointer: u64) -> Option<&'static str> {
    let [p1, _, p3, p4] = *parameters;
    match code {
        0xD1 | 0x0A => match (p1, p3) {
            (0, WRITE) => Some("the first store of an unlink whose links are both null"),
            (at, WRITE) if at == pointer => {
                Some("the second store of an unlink whose forward link is null")
            }
            (at, READ) if at < SMALL => {
                Some("a walk that reads a field of the next entry, where there is none")
            }
            (at, EXECUTE) if at == p4 => Some("a call of a trashed callback"),
            (at, _) if at == p4 => Some("a call of a trashed callback"),
            (at, READ | WRITE) if at >= 0x1_0000 => {
                Some("a link that leads where nothing is mapped")
            }
            _ => None,
        },
        0x1E if pointer == 8 => {
            // The status is sign-extended on x64.
            let status = p1 & 0xFFFF_FFFF;
            (status == u64::from(ACCESS_VIOLATION) && p3 == 0 && p4 == u64::MAX)
                .then_some("a link that is no address at all (non-canonical)")
        }
        0xBE => Some("a link that leads into read-only memory"),
        _ => None,
    }
}

/// Parameters that contradict each other: who runs an address faults at it, so the address that was to be executed is
/// the faulting instruction's own.
pub(super) fn agreement(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let written = facts.bugcheck.and_then(|bugcheck| {
        let code = bugchecks::base_code(bugcheck.raw_code);
        let faults = matches!(code, 0x0A | 0xD1);
        bugcheck.written().copied().filter(|_| faults)
    });
    let outcome = match written {
        None => Outcome::NotObservable("no code whose parameters name address, access and instruction".to_owned()),
        Some([address, _, EXECUTE, instruction]) if address != instruction => {
            Outcome::Found(vec![
                Evidence::contra(
                    "parameters.disagree",
                    Strength::Weak,
                    Basis::PublicSource,
                    format!(
                        "parameter 3 says that {address:#x} was to be executed, but the instruction of parameter 4 is \
                         {instruction:#x}{}: the two contradict each other",
                        module_at(facts, instruction)
                    ),
                )
                .at("bug check parameters"),
            ])
        }
        Some(_) => Outcome::Neutral("the parameters do not contradict each other".to_owned()),
    };
    Observation {
        observer: "parameters.agreement",
        question: "Do the bug check's parameters agree with each other?",
        outcome,
    }
}

/// `, in tcpip.sys`; empty outside of modules.
fn module_at(facts: &CrashFacts, address: u64) -> String {
    let module = facts.modules.locate(address);
    let name = module.and_then(|(id, _)| facts.modules.get(id)?.name());
    name.map(|name| format!(", in {name}")).unwrap_or_default()
}

/// 0xD1 is raised for drivers, 0x0A for the kernel's own code.
pub(super) fn place(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "code.place",
        question: "Is it the code that Windows 6.0 raises for a fault at that place?",
        outcome: judge_place(facts),
    }
}

fn judge_place(facts: &CrashFacts) -> Outcome {
    let Some(bugcheck) = facts.bugcheck else {
        return Outcome::NotObservable("the dump holds no bug check".to_owned());
    };
    let code = bugchecks::base_code(bugcheck.raw_code);
    if !matches!(code, 0x0A | 0xD1) {
        return Outcome::Neutral(format!("0x{code:X} may be raised for any place"));
    }
    let module = facts
        .fault
        .ip
        .and_then(|ip| facts.modules.locate(ip))
        .and_then(|(id, _)| facts.modules.get(id)?.name());
    let Some(module) = module else {
        return Outcome::NotObservable(
            "no loaded module holds the faulting instruction".to_owned(),
        );
    };
    let module = module.to_ascii_lowercase();
    let fits = (code == 0x0A) == is_kernel(&module);
    let evidence = match fits {
        true => Evidence::pro(
            "code.right-place",
            Strength::Weak,
            Basis::Inference,
            format!("0x{code:X} is the code for a fault in {module}"),
        ),
        false => Evidence::contra(
            "code.wrong-place",
            Strength::Weak,
            Basis::Inference,
            format!(
                "0x{code:X} for a fault in {module}: Windows raises 0x0A for faults in the kernel \
                 and 0xD1 for those in drivers"
            ),
        ),
    };
    Outcome::Found(vec![evidence.at("bug check code")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_reference_are_told_by_pointer_width() {
        let state = |code, p1, p3, pointer| list_state(code, &[p1, 2, p3, 0x8000_1000], pointer);
        for pointer in [4, 8] {
            assert!(state(0xD1, 0, WRITE, pointer).is_some_and(|s| s.contains("both null")));
            let other = 12 - pointer;
            assert!(state(0xD1, pointer, WRITE, pointer).is_some_and(|s| s.contains("forward")));
            assert_eq!(
                state(0xD1, other, WRITE, pointer),
                None,
                "the other width's offset"
            );
            assert!(state(0xD1, 0x18, READ, pointer).is_some_and(|s| s.contains("walk")));
        }
        assert!(state(0xD1, 0x8000_1000, 0, 4).is_some_and(|s| s.contains("callback")));
        let non_canonical = [0xFFFF_FFFF_C000_0005, 0x1000, 0, u64::MAX];
        assert!(list_state(0x1E, &non_canonical, 8).is_some());
        assert_eq!(list_state(0x1E, &non_canonical, 4), None);
        assert_eq!(list_state(0x50, &[0; 4], 8), None);
    }
}
