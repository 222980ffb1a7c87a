//! Whose code faulted: the faulting function and the nearest caller that a rule knows.
//!
//! The world is open. A function of the network stack that no family names is neither the defect's nor another
//! owner's: it is named as unknown, and the nearest known function outward of it is asked. What it did is
//! read from the faulting instruction. Only a part of the stack that is positively known counts against.
//! Families and positions: `docs/kb943650.md`.

use crate::facts::is_kernel;
use crate::facts::{CrashFacts, FaultFacts, ForwardingFunctionFacts, InstructionKind};
use crate::knowledge::Basis;
use crate::knowledge::defect::{FORWARDING_FUNCTION, FamilyId};

use super::super::{Evidence, Outcome, Strength};
use super::{Seen, is_timer};

/// Unknown functions between the fault and a known one that are looked through. Each may be the timer's own
/// under another name: its removal, and what restarts it.
const MOST_UNKNOWN: usize = 2;

/// A function of the network stack with a certain name that no family has; or without one, where its code tells that it
/// works on a list.
fn is_unknown(frame: &Seen<'_>) -> bool {
    frame.own
        && frame.family.is_none()
        && frame.forwarding.is_none()
        && !frame.wrapper
        && (frame.symbol.is_some() || frame.lists)
}

/// What frames say, innermost first. `list`: what the innermost did was an operation on a list.
pub(super) fn judge(frames: &[Seen<'_>], list: bool) -> Outcome {
    let Some(fault) = frames.first() else {
        return Outcome::NotObservable("no frame of the fault is certain".to_owned());
    };
    if !frames
        .iter()
        .any(|frame| frame.family.is_some() || frame.forwarding.is_some())
    {
        return Outcome::NotObservable(format!(
            "no frame of the fault has a name that says anything (the fault is in {})",
            fault.text
        ));
    }
    if !is_timer(fault) && !is_unknown(fault) {
        return match fault.forwarding {
            Some(own) => own_code(fault, fault, own, &[], list),
            None => function(fault, list),
        };
    }
    let inner = frames
        .iter()
        .take_while(|frame| is_timer(frame) || is_unknown(frame))
        .count();
    let (serving, outer) = frames.split_at(inner);
    let unknown: Vec<&str> = serving
        .iter()
        .filter(|frame| is_unknown(frame))
        .map(|frame| frame.text.as_str())
        .collect();
    if unknown.len() > MOST_UNKNOWN {
        return Outcome::Neutral(format!(
            "{} functions that no rule knows lie between the fault in {} and the first known one",
            unknown.len(),
            fault.text
        ));
    }
    // Only multicast forwarding calls its plumbing, and that calls nothing but timer code, whatever its name.
    if let Some(own) = serving
        .iter()
        .find(|frame| frame.family == Some(FamilyId::MfeTimer))
    {
        return decisive(fault, outer.first().unwrap_or(own), &unknown);
    }
    let Some(caller) = outer.first() else {
        return Outcome::Neutral(match unknown.as_slice() {
            [] => "timer code whose caller is not on the certain part of the stack".to_owned(),
            names => format!(
                "no rule knows {}, and nobody known called it",
                names.join(", ")
            ),
        });
    };
    if let Some(own) = caller.forwarding {
        let timer = is_timer(fault) || list || fault.lists;
        return own_code(fault, caller, own, &unknown, timer);
    }
    match unknown.is_empty() {
        true => timer_of(fault, caller),
        false => through_unknown(fault, caller, &unknown, list || fault.lists),
    }
}

/// Timer code faulted, and a known function or another module called it.
fn timer_of(fault: &Seen<'_>, caller: &Seen<'_>) -> Outcome {
    match caller.family {
        Some(FamilyId::Mfe | FamilyId::MfeExpiry) => decisive(fault, caller, &[]),
        Some(FamilyId::IpTimeout) => root(caller),
        Some(family) if family.is_other_owner() && !family.keeps_timers() => {
            Outcome::Neutral(format!(
                "timer code under {}, which keeps no timers of its own: it does not say whose timer",
                caller.text
            ))
        }
        Some(_) => against(
            "frame.other-timer",
            Strength::Strong,
            format!("timer code that {} called: another timer", caller.text),
            &caller.text,
        ),
        None if caller.own || is_kernel(caller.module) => Outcome::Neutral(format!(
            "timer code called by {}, which no rule knows",
            caller.text
        )),
        None => against(
            "frame.foreign-caller",
            Strength::Strong,
            format!("timer code called from {}", caller.module),
            &caller.text,
        ),
    }
}

/// The nearest known function outward of functions that no rule knows.
fn through_unknown(fault: &Seen<'_>, caller: &Seen<'_>, unknown: &[&str], list: bool) -> Outcome {
    let names = unknown.join(", ");
    match caller.family {
        Some(FamilyId::Mfe | FamilyId::MfeExpiry) => {
            if is_timer(fault) {
                return decisive(fault, caller, unknown);
            }
            if list {
                return Outcome::Found(vec![
                    Evidence::pro(
                        "frame.mfe-list-unknown",
                        Strength::Strong,
                        Basis::Inference,
                        format!(
                            "{} faulted in a list operation for {}: multicast forwarding; no rule knows {names}, \
                             which by its code works on a list",
                            fault.text, caller.text
                        ),
                    )
                    .at("faulting frames"),
                ]);
            }
            Outcome::Neutral(format!(
                "no rule knows {names}, which {} called, and what faulted in it is no list operation",
                caller.text
            ))
        }
        Some(FamilyId::IpTimeout) => root(caller),
        Some(family) if family.keeps_timers() && unknown.len() == 1 => against(
            "frame.other-timer",
            Strength::Strong,
            format!(
                "{} faulted for {}, another part of the network stack; no rule knows {names}",
                fault.text, caller.text
            ),
            &caller.text,
        ),
        _ => Outcome::Neutral(format!(
            "no rule knows {names}: it may be anybody's, and {} does not say whose",
            caller.text
        )),
    }
}

fn root(caller: &Seen<'_>) -> Outcome {
    Outcome::Neutral(format!(
        "timer code under {}, the root of every IP timer: it does not say whose timer",
        caller.text
    ))
}

fn decisive(fault: &Seen<'_>, caller: &Seen<'_>, unknown: &[&str]) -> Outcome {
    let whose = match fault.text == caller.text {
        true => String::new(),
        false => format!(" for {}", caller.text),
    };
    let between = match unknown {
        [] => String::new(),
        names => format!(
            "; no rule knows {}, which lies between and calls or is timer code by its place",
            names.join(", ")
        ),
    };
    Outcome::Found(vec![
        Evidence::pro(
            "frame.mfe-timer",
            Strength::Decisive,
            Basis::PublicSymbol,
            format!(
                "{} faulted{whose}: the multicast forwarding timer{between}",
                fault.text
            ),
        )
        .at("faulting frames"),
    ])
}

/// The nearest function that is known is multicast forwarding by its code alone. `timer`: what faulted is timer code, or
/// worked on a list.
fn own_code(
    fault: &Seen<'_>,
    caller: &Seen<'_>,
    own: &ForwardingFunctionFacts,
    unknown: &[&str],
    timer: bool,
) -> Outcome {
    let why = format!(
        "no rule knows {}, but it calls {}, which otherwise only {} call{}",
        caller.text,
        own.routine,
        own.callers.join(", "),
        if own.callers.len() == 1 { "s" } else { "" }
    );
    if !timer {
        return Outcome::Neutral(format!(
            "{why}: multicast forwarding; what faulted is no list operation"
        ));
    }
    let whose = match fault.text == caller.text {
        true => String::new(),
        false => format!(" for {}", caller.text),
    };
    let between = match unknown {
        [] => String::new(),
        names => format!("; {} lies between", names.join(", ")),
    };
    Outcome::Found(vec![
        Evidence::pro(
            "frame.mfe-by-code",
            Strength::Strong,
            Basis::Inference,
            format!(
                "{} faulted in a list operation{whose}: the multicast forwarding timer by its code ({why}){between}",
                fault.text
            ),
        )
        .at("faulting frames"),
    ])
}

/// The faulting function is no timer code: who is it?
fn function(fault: &Seen<'_>, list: bool) -> Outcome {
    let Some(family) = fault.family else {
        return Outcome::Neutral(format!("{} is no function that a rule knows", fault.text));
    };
    match family {
        // The compiler may have put the timer's list operations into their callers.
        FamilyId::MfeExpiry if list => inlined(fault),
        FamilyId::Mfe if fault.symbol == Some(FORWARDING_FUNCTION) && list => inlined(fault),
        FamilyId::Mfe | FamilyId::MfeExpiry => Outcome::Found(vec![
            Evidence::pro(
                "frame.mfe",
                Strength::Moderate,
                Basis::PublicSymbol,
                format!(
                    "{} faulted itself: multicast forwarding, perhaps inlined timer code",
                    fault.text
                ),
            )
            .at("faulting frame"),
        ]),
        FamilyId::MfeOutward | FamilyId::Completion => against(
            "frame.completion",
            Strength::Moderate,
            format!(
                "{} faulted: completion or release, not the timer",
                fault.text
            ),
            &fault.text,
        ),
        FamilyId::IpTimeout => Outcome::Neutral(format!(
            "{} faulted: it holds the loops of several timers",
            fault.text
        )),
        // What calls multicast forwarding may have it built in.
        FamilyId::Packets if list => Outcome::Neutral(format!(
            "{} faulted in a list operation: multicast forwarding may be built into it",
            fault.text
        )),
        _ => against(
            "frame.other-function",
            Strength::Strong,
            format!("{} faulted: another part of the network stack", fault.text),
            &fault.text,
        ),
    }
}

/// A list operation inside the forwarding function or the expiry itself.
fn inlined(fault: &Seen<'_>) -> Outcome {
    Outcome::Found(vec![
        Evidence::pro(
            "frame.mfe-list",
            Strength::Strong,
            Basis::Inference,
            format!(
                "{} itself faulted in a list operation: the multicast forwarding timer, its code \
                 built into its caller",
                fault.text
            ),
        )
        .at("faulting frame"),
    ])
}

/// The faulting instruction works on a list, at the address that faulted.
pub(super) fn is_list_operation(facts: &CrashFacts) -> bool {
    let FaultFacts {
        instruction_kind,
        effective_address,
        ..
    } = &facts.fault;
    instruction_kind.is_some_and(InstructionKind::is_list_operation)
        && effective_address.is_none_or(|(_, agrees)| agrees)
}

pub(super) fn against(
    id: &'static str,
    strength: Strength,
    summary: String,
    place: &str,
) -> Outcome {
    Outcome::Found(vec![
        Evidence::contra(id, strength, Basis::PublicSymbol, summary).at(place),
    ])
}
