//! The bug check code and its IRQL parameter: can the defect end this way?

use crate::facts::{Boundary, BugCheckFacts, CrashFacts, Machine, ReadFrom, Trust};
use crate::knowledge::Basis;
use crate::knowledge::bugchecks::{self, Kind, RaisedAt, RoleKind};
use crate::knowledge::defect::is_stack_module;

use super::{Context, Evidence, Observation, Outcome, Strength, exceptions};

/// DISPATCH_LEVEL: every operation on the timer queue runs at it.
const DISPATCH_LEVEL: u64 = 2;

/// Codes later than Windows 6.0: they are numbered in the order in which they came, and 0x133 came with Windows 8.
const LATER_CODES: std::ops::RangeInclusive<u32> = 0x133..=0xFFFF;

/// Part of the code in the defect.
pub(super) fn role(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match facts.bugcheck {
        None if facts.dump.running => {
            Outcome::Neutral("no bug check was raised: Windows was running".to_owned())
        }
        None => Outcome::NotObservable("the dump holds no bug check".to_owned()),
        Some(bugcheck) => {
            let outcome = match bugchecks::find(bugcheck.raw_code).irql {
                // What it says then is `code.exception-irql`'s.
                RaisedAt::BelowDispatch if exceptions::is_in_stack(facts) => Outcome::Neutral(
                    "a page fault in the network stack itself: at which IRQL is asked below"
                        .to_owned(),
                ),
                _ => judge_code(bugcheck.raw_code, facts.dump.architecture),
            };
            match disputed(facts, bugcheck) {
                Some(place) => weakened(outcome, &place),
                None => outcome,
            }
        }
    };
    Observation {
        observer: "code.role",
        question: "Can the defect end in this bug check code?",
        outcome,
    }
}

/// The code is the header's alone, and it is no fault's, but what the dump holds of a fault is in the network stack: where.
fn disputed(facts: &CrashFacts, bugcheck: BugCheckFacts) -> Option<String> {
    if bugcheck.source != ReadFrom::Header || bugchecks::find(bugcheck.raw_code).kind == Kind::Fault
    {
        return None;
    }
    let name_at = |address: u64| {
        let (id, _) = facts.modules.locate(address)?;
        facts.modules.get(id)?.name()
    };
    let frames = facts.stack.iter().flat_map(|stack| &stack.frames);
    let trapped = frames
        .filter(|frame| {
            frame.trust == Trust::TrapFrame && frame.boundary == Some(Boundary::Exception)
        })
        .map(|frame| frame.ip);
    // Whoever asks for a report of a running system does so in the kernel, never in the network stack.
    let mut places = trapped.chain(facts.fault.ip).filter_map(name_at);
    places.find(|name| is_stack_module(name)).map(str::to_owned)
}

/// What excludes by a code that memory does not bear out is shown and excludes nothing.
fn weakened(outcome: Outcome, place: &str) -> Outcome {
    let Outcome::Found(found) = outcome else {
        return outcome;
    };
    let weaker = |evidence: Evidence| match evidence.id.as_ref() {
        "code.impossible" => Evidence::contra(
            "code.sources-disagree",
            Strength::Weak,
            Basis::Inference,
            format!(
                "{}; only the dump's header has that code, and the fault that the dump holds is in {place}",
                evidence.summary
            ),
        ),
        _ => evidence,
    };
    Outcome::Found(found.into_iter().map(weaker).collect())
}

fn judge_code(raw: u32, architecture: Option<Machine>) -> Outcome {
    let info = bugchecks::find(raw);
    let code = match info.name {
        Some(name) => format!("0x{:X} {name}", info.code),
        None => format!("0x{:X}", info.code),
    };
    let Some(role) = bugchecks::role(raw) else {
        if let Some(why) = never(&info) {
            return Outcome::Found(vec![Evidence::contra(
                "code.impossible",
                Strength::Excluding,
                Basis::Expert,
                format!("{code}: {why}"),
            )]);
        }
        return Outcome::Found(vec![Evidence::contra(
            "code.unrelated",
            Strength::Weak,
            Basis::Inference,
            format!("{code} is no code that the defect is known or expected to raise"),
        )]);
    };
    match architecture {
        _ if role.architectures.is_empty() => {}
        Some(own) if role.architectures.contains(&own) => {}
        Some(_) => {
            return Outcome::Found(vec![Evidence::contra(
                "code.other-architecture",
                Strength::Weak,
                role.basis,
                format!("{code} is not how an unhandled fault ends on this architecture"),
            )]);
        }
        None => {
            return Outcome::NotObservable(format!(
                "the dump does not name its architecture, and {code} ends a fault on some only"
            ));
        }
    }
    let evidence = match role.kind {
        RoleKind::Primary => Evidence::pro(
            "code.primary",
            Strength::Weak,
            role.basis,
            format!(
                "0x{:X} is a Stop code that this defect can cause",
                info.code
            ),
        ),
        RoleKind::SecondaryVictim => Evidence::pro(
            "code.secondary-victim",
            Strength::Weak,
            role.basis,
            format!("{code}: {}", role.meaning),
        ),
        RoleKind::Forced => return Outcome::Neutral(format!("{code}: {}", role.meaning)),
        RoleKind::WeaklyAgainst => Evidence::contra(
            "code.weakly-against",
            Strength::Weak,
            role.basis,
            format!("{code}: {}", role.meaning),
        ),
        RoleKind::Impossible => Evidence::contra(
            "code.impossible",
            Strength::Excluding,
            role.basis,
            format!("{code}: {}", role.meaning),
        ),
    };
    Outcome::Found(vec![evidence])
}

/// Why no Stop of Windows 6.0 has the code; `None` where one may.
fn never(info: &bugchecks::BugCheck) -> Option<&'static str> {
    if info.is_live() {
        return Some(
            "a report of a running Windows, not a crash: the defect stops the machine or hangs it",
        );
    }
    LATER_CODES
        .contains(&info.code)
        .then_some("Windows 6.0 cannot raise this code: it came with a later Windows")
}

/// The IRQL at the fault, for codes whose second parameter is one.
pub(super) fn irql(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match facts.bugcheck {
        None => Outcome::NotObservable("the dump holds no bug check".to_owned()),
        Some(bugcheck) => match bugchecks::base_code(bugcheck.raw_code) {
            0x0A | 0xD1 => match bugcheck.parameter(1) {
                Some(irql) => judge_irql(irql),
                None => Outcome::NotObservable(
                    "the bug check's parameters were never written".to_owned(),
                ),
            },
            code => Outcome::Neutral(format!("0x{code:X} is no code whose IRQL counts")),
        },
    };
    Observation {
        observer: "code.irql",
        question: "Did the fault happen at DISPATCH_LEVEL, where the timer queue is worked on?",
        outcome,
    }
}

fn judge_irql(irql: u64) -> Outcome {
    let evidence = match irql {
        DISPATCH_LEVEL => Evidence::pro(
            "irql.dispatch",
            Strength::Weak,
            Basis::Inference,
            "IRQL 2, at which the timer queue is worked on",
        ),
        other => Evidence::contra(
            "irql.not-dispatch",
            Strength::Strong,
            Basis::Inference,
            format!("IRQL {other}: the timer queue is worked on at IRQL 2 only"),
        ),
    };
    Outcome::Found(vec![evidence.at("bug check parameter 2")])
}
