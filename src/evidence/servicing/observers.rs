//! What the machine's servicing says about the crash: fixed code cannot fail this way.

use crate::evidence::sources::is_disputed;
use crate::evidence::{Context, Evidence, Observation, Outcome, Strength};
use crate::facts::{CrashFacts, Format, LockCheckFacts, LockFact, ReadFrom};
use crate::knowledge::Basis;
use crate::knowledge::versions::{Applicability, FixState, judge_system};

use super::{SERVICE_PACK_1, Servicing, of_its_architecture, servicing};

/// Is it a kernel dump at all?
pub(in crate::evidence) fn kernel_dump(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = if facts.dump.format == Format::UserMinidump {
        Outcome::Found(vec![Evidence::contra(
            "dump.user-mode",
            Strength::Excluding,
            Basis::Article,
            "a program crashed, not Windows: the defect ends in a Stop or a hang of the system",
        )])
    } else if facts.bugcheck.is_none() && facts.dump.running {
        Outcome::Neutral(
            "it is the memory of a Windows that had not stopped: it may have hung".to_owned(),
        )
    } else {
        Outcome::Neutral("it is a kernel crash dump".to_owned())
    };
    Observation {
        observer: "dump.kind",
        question: "Did Windows itself stop, as the defect makes it?",
        outcome,
    }
}

/// The Windows version by its build number.
pub(in crate::evidence) fn system(facts: &CrashFacts, context: &Context<'_>) -> Observation {
    let outcome = match facts.system.build {
        None => Outcome::NotObservable("the dump does not name its Windows build".to_owned()),
        Some(build) if is_disputed(facts, context.builds) => Outcome::Neutral(format!(
            "build {build} is contradicted: nothing rests on it alone"
        )),
        Some(build) => judge_build(facts, build, &servicing(facts, context.builds)),
    };
    Observation {
        observer: "build.system",
        question: "Is it a Windows that can have the defect?",
        outcome,
    }
}

/// Where the build was read.
fn build_place(facts: &CrashFacts) -> &'static str {
    match facts.system.build_source {
        Some(ReadFrom::Memory) => "dump's memory",
        Some(ReadFrom::Module) => "version of tcpip.sys",
        _ => "dump header",
    }
}

fn judge_build(facts: &CrashFacts, build: u32, servicing: &Servicing) -> Outcome {
    let rule = judge_system(build);
    let name = of_its_architecture(facts, rule.name.unwrap_or("an unnamed Windows"));
    let reason = of_its_architecture(facts, rule.reason);
    match rule.applicability {
        Applicability::NotApplicable => Outcome::Found(vec![
            Evidence::contra(
                "build.other-system",
                Strength::Excluding,
                rule.basis,
                format!("build {build} is {name}: {reason}"),
            )
            .at(build_place(facts)),
        ]),
        Applicability::SupersededByServicePack => Outcome::Found(vec![
            Evidence::contra(
                "build.fixed-by-service-pack",
                Strength::Excluding,
                rule.basis,
                format!("build {build} is {name}: {reason}"),
            )
            .at(build_place(facts)),
        ]),
        // Its code says otherwise: nobody knows then.
        Applicability::NeedsServicePack if servicing.state != FixState::NotFixed => {
            Outcome::Neutral(servicing.reason.clone())
        }
        Applicability::NeedsServicePack => Outcome::Found(vec![
            Evidence::pro(
                "build.before-service-pack",
                Strength::Moderate,
                rule.basis,
                format!("build {build} is {name}, which the hotfix's prerequisite says is older than the fix"),
            )
            .at(build_place(facts)),
        ]),
        _ if build == SERVICE_PACK_1 => Outcome::Neutral(format!(
            "build {build} is {name}: the version of tcpip.sys decides"
        )),
        _ => Outcome::NotObservable(format!("build {build}: {reason}")),
    }
}

/// tcpip.sys by version or date.
pub(in crate::evidence) fn tcpip(facts: &CrashFacts, context: &Context<'_>) -> Observation {
    let servicing = servicing(facts, context.builds);
    let outcome = match facts.system.build {
        Some(_) if servicing.disputed => judge_tcpip(&servicing),
        Some(SERVICE_PACK_1) => judge_tcpip(&servicing),
        Some(_) => Outcome::Neutral("the Windows build decides already".to_owned()),
        None => Outcome::NotObservable("the dump does not name its Windows build".to_owned()),
    };
    Observation {
        observer: "build.tcpip",
        question: "Does this machine's tcpip.sys lack the fix?",
        outcome,
    }
}

fn judge_tcpip(servicing: &Servicing) -> Outcome {
    let reason = servicing.reason.clone();
    let evidence = match (servicing.state, servicing.by_date) {
        (FixState::NotFixed, _) if servicing.disputed => Evidence::pro(
            "build.unfixed-disputed",
            Strength::Weak,
            servicing.basis,
            reason,
        ),
        (FixState::NotFixed, false) => {
            Evidence::pro("build.unfixed", Strength::Moderate, servicing.basis, reason)
        }
        (FixState::NotFixed, true) => Evidence::pro(
            "build.unfixed-by-date",
            Strength::Moderate,
            Basis::Inference,
            reason,
        ),
        (FixState::Fixed, _) => {
            Evidence::contra("build.fixed", Strength::Excluding, servicing.basis, reason)
        }
        (FixState::NotApplicable, _) => Evidence::contra(
            "build.other-system",
            Strength::Excluding,
            servicing.basis,
            reason,
        ),
        (FixState::Unknown, _) => return Outcome::NotObservable(reason),
    };
    Outcome::Found(vec![evidence.at("tcpip.sys")])
}

/// The lock that the forwarding code holds when it restarts a timer: the fix or the defect, seen.
pub(in crate::evidence) fn code_check(facts: &CrashFacts, context: &Context<'_>) -> Observation {
    let outcome = match &facts.code.lock_check {
        None if facts.system.build.is_some_and(|build| !may_lack_fix(build)) => {
            Outcome::Neutral("the Windows build decides already".to_owned())
        }
        None => Outcome::NotObservable(
            "function not located: only the symbols of tcpip.sys say where IppForwardMulticastPackets is \
             (--symbols), no export or call shape does with certainty; or its code is not at hand"
                .to_owned(),
        ),
        Some(check) if contradicts(check, &servicing(facts, context.builds)) => {
            Outcome::Neutral(format!(
                "the code shows {} ({}), but the file's version says otherwise",
                match check.finding {
                    LockFact::ReadLock => "the defect",
                    _ => "the fix",
                },
                check.reason
            ))
        }
        Some(check) => judge_code_check(check),
    };
    Observation {
        observer: "build.code-check",
        question: "Does the code take the write lock before it restarts a forwarding entry's timer?",
        outcome,
    }
}

/// The code says one thing and the machine's state, which knows the version as well, does not say the same.
fn contradicts(check: &LockCheckFacts, servicing: &Servicing) -> bool {
    match check.finding {
        LockFact::ReadLock => servicing.state != FixState::NotFixed,
        LockFact::WriteLock => servicing.state != FixState::Fixed,
        LockFact::Unknown => false,
    }
}

/// Builds whose tcpip.sys is asked for the fix.
fn may_lack_fix(build: u32) -> bool {
    build == SERVICE_PACK_1 || judge_system(build).applicability == Applicability::NeedsServicePack
}

fn judge_code_check(check: &LockCheckFacts) -> Outcome {
    let evidence = match check.finding {
        LockFact::Unknown => return Outcome::Neutral(check.reason.clone()),
        LockFact::ReadLock => Evidence::pro(
            "build.unfixed-by-code",
            Strength::Strong,
            Basis::PublicSymbol,
            format!("the code of tcpip.sys has the defect: {}", check.reason),
        ),
        LockFact::WriteLock => Evidence::contra(
            "build.fixed-by-code",
            Strength::Excluding,
            Basis::PublicSymbol,
            format!("the code of tcpip.sys has the fix: {}", check.reason),
        ),
    };
    Outcome::Found(vec![evidence.at(format!("tcpip.sys ({})", check.source))])
}
