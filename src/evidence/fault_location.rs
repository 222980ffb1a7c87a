//! Where the fault happened: which module owns the faulting instruction.
//!
//! Without names a module is all there is: it makes the defect possible, never more.

use crate::facts::is_kernel;
use crate::facts::{Boundary, CrashFacts, FrameFacts, StackFacts, Trust};
use crate::knowledge::Basis;
use crate::knowledge::defect::is_stack_module;

use super::{Context, Evidence, Observation, Outcome, Strength, frames};

/// `module+0x1234`, or the address where no module holds it.
fn location(facts: &CrashFacts, address: u64) -> String {
    let located = facts.modules.locate(address).and_then(|(id, offset)| {
        let name = facts.modules.get(id)?.name()?;
        Some(format!("{name}+{offset:#x}"))
    });
    located.unwrap_or_else(|| format!("{address:#x}"))
}

/// The module at `address`.
fn module_name(facts: &CrashFacts, address: u64) -> Option<&str> {
    let (id, _) = facts.modules.locate(address)?;
    facts.modules.get(id)?.name()
}

/// The module at the fault's instruction.
pub(super) fn module(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "fault.location",
        question: "Is the faulting instruction in the code that works on the timer queue?",
        outcome: judge_location(facts),
    }
}

fn judge_location(facts: &CrashFacts) -> Outcome {
    let Some(ip) = facts.fault.ip else {
        return Outcome::NotObservable(
            "the dump does not say which instruction faulted".to_owned(),
        );
    };
    if facts.modules.is_empty() {
        return Outcome::NotObservable("the dump holds no module list".to_owned());
    }
    if let Some(caller) = &facts.fault.caller {
        return judge_call(facts, caller, ip);
    }
    let at = location(facts, ip);
    let forced = frames::nothing_faulted(facts);
    let dump = match facts.dump.running {
        true => "image of memory",
        false => "forced dump",
    };
    match module_name(facts, ip) {
        Some(name) if forced && !is_stack_module(name) => Outcome::Neutral(format!(
            "the {dump} interrupted {at} on this processor; the one that hangs may be another"
        )),
        // Nothing faulted there: whether a processor hangs in it is another question.
        Some(_) if forced => Outcome::Neutral(format!(
            "the {dump} interrupted {at}: no fault, and being there says nothing alone"
        )),
        Some(name) if is_stack_module(name) => Outcome::Found(vec![
            Evidence::pro(
                "fault.queue-module",
                Strength::Moderate,
                Basis::Inference,
                in_module(facts, name),
            )
            .at(at),
        ]),
        Some(name) if is_kernel(name) => Outcome::Neutral(format!(
            "the fault is in {at}: the kernel faults for its caller, so the frame outside it counts"
        )),
        Some(name) => Outcome::Found(vec![
            Evidence::contra(
                "fault.other-module",
                Strength::Strong,
                Basis::Inference,
                format!(
                    "the fault is in {}, which has no timer-queue code",
                    name.to_ascii_lowercase()
                ),
            )
            .at(at),
        ]),
        None => Outcome::Neutral(format!(
            "the faulting instruction {at} lies in no loaded module: a trashed callback or a \
             driver that is gone"
        )),
    }
}

/// A module that holds the timer queue's code, and the function where it is known.
fn in_module(facts: &CrashFacts, module: &str) -> String {
    let module = module.to_ascii_lowercase();
    match facts.fault.name.as_ref().filter(|name| name.is_certain()) {
        Some(name) => format!("the fault is in {module}, in {}", name.symbol),
        None => format!("the fault is in {module}; without names it may be anything in it"),
    }
}

/// A call through a null or trashed pointer is its caller's fault: the timer queue's code calls its
/// callbacks, and one of them trashed is a shape of the defect (`docs/kb943650.md`, what it looks like).
fn judge_call(facts: &CrashFacts, caller: &FrameFacts, ip: u64) -> Outcome {
    let at = location(facts, caller.ip);
    let Some(name) = module_name(facts, caller.ip) else {
        return Outcome::Neutral(format!(
            "{ip:#x}, which holds no code, was called from nowhere"
        ));
    };
    let lower = name.to_ascii_lowercase();
    if is_stack_module(name) {
        return Outcome::Found(vec![
            Evidence::pro(
                "fault.queue-module",
                Strength::Moderate,
                Basis::Inference,
                format!(
                    "{lower} called {ip:#x}, which holds no code: the timer queue's callbacks are \
                     called like that, and so are others of it"
                ),
            )
            .at(at),
        ]);
    }
    // What is on top of the stack may have been left there by a jump.
    if is_kernel(name) || caller.trust == Trust::Scan {
        return Outcome::Neutral(format!("{at} called {ip:#x}, which holds no code"));
    }
    Outcome::Found(vec![
        Evidence::contra(
            "fault.other-module",
            Strength::Strong,
            Basis::Inference,
            format!("{lower} called {ip:#x}, which holds no code, and has no timer-queue code"),
        )
        .at(at),
    ])
}

/// Where nothing faulted: a processor that hangs in the code that works on the timer queue.
pub(super) fn hang(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "hang.location",
        question: "In a forced dump: does a processor hang in the code that works on the timer queue?",
        outcome: judge_hang(facts),
    }
}

fn judge_hang(facts: &CrashFacts) -> Outcome {
    if !frames::nothing_faulted(facts) {
        return Outcome::Neutral("nobody forced the dump".to_owned());
    }
    let others = facts.memory.iter().flat_map(|memory| &memory.other_stacks);
    let stacks: Vec<&StackFacts> = facts.stack.iter().chain(others).collect();
    if stacks.is_empty() {
        return Outcome::NotObservable("no call stack could be walked".to_owned());
    }
    let hanging = stacks.into_iter().find_map(|stack| {
        let frame = stack.frames.first()?;
        let name = module_name(facts, frame.ip)?;
        let why = frames::stuck(facts, stack).filter(|_| is_stack_module(name))?;
        Some((frame.ip, name, why))
    });
    let Some((ip, name, why)) = hanging else {
        return Outcome::Neutral(
            "no processor is known to hang in tcpip.sys or netio.sys".to_owned(),
        );
    };
    let (id, fits) = match facts.bugcheck {
        Some(_) => (
            "hang.forced",
            "a machine that hangs leaves a dump only where somebody forces it: the code fits",
        ),
        None => (
            "hang.no-bug-check",
            "a machine that hangs raises no bug check: an image of its memory without one fits",
        ),
    };
    Outcome::Found(vec![
        Evidence::pro(
            "hang.in-queue-module",
            Strength::Moderate,
            Basis::Inference,
            format!("a processor hangs in {}: {why}", name.to_ascii_lowercase()),
        )
        .at(location(facts, ip)),
        Evidence::pro(id, Strength::Weak, Basis::Inference, fits).at("bug check code"),
    ])
}

/// For a fault in the kernel: the first frame outside it.
pub(super) fn one_frame_out(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "fault.one-frame-out",
        question: "For a fault inside the kernel: which module called it?",
        outcome: judge_caller(facts),
    }
}

fn judge_caller(facts: &CrashFacts) -> Outcome {
    if frames::nothing_faulted(facts) {
        return Outcome::Neutral(format!("{}: nothing faulted", frames::how_taken(facts)));
    }
    let in_kernel = |address| module_name(facts, address).is_some_and(is_kernel);
    if !facts.fault.ip.is_some_and(in_kernel) {
        return Outcome::Neutral("the fault is not inside the kernel".to_owned());
    }
    let Some(stack) = facts
        .stack
        .as_ref()
        .filter(|stack| !stack.frames.is_empty())
    else {
        return Outcome::NotObservable("no call stack could be walked".to_owned());
    };
    // Outward of an interruption is somebody else's activity.
    let caller = stack
        .frames
        .iter()
        .take_while(|frame| !frame.boundary.is_some_and(Boundary::ends_activity))
        .find(|frame| !in_kernel(frame.ip));
    let Some(frame) = caller else {
        return Outcome::Neutral("no frame outside the kernel belongs to the fault".to_owned());
    };
    let at = location(facts, frame.ip);
    // A frame found by scanning may be a leftover of an earlier call: it hints, nothing more.
    let certain = frame.trust != Trust::Scan;
    match module_name(facts, frame.ip) {
        Some(name) if is_stack_module(name) => Outcome::Found(vec![
            Evidence::pro(
                "fault.called-from-queue-module",
                if certain {
                    Strength::Moderate
                } else {
                    Strength::Weak
                },
                Basis::Inference,
                format!("the kernel faulted for {}", name.to_ascii_lowercase()),
            )
            .at(at),
        ]),
        Some(name) if certain => Outcome::Found(vec![
            Evidence::contra(
                "fault.called-from-other-module",
                Strength::Moderate,
                Basis::Inference,
                format!("the kernel faulted for {}", name.to_ascii_lowercase()),
            )
            .at(at),
        ]),
        _ => Outcome::Neutral(format!(
            "the frame outside the kernel, {at}, names nobody surely"
        )),
    }
}
