//! Named frames: who called the timer code that faulted?
//!
//! A name on the stack proves nothing; position does. Timer code serves more than twenty callers, and
//! the forwarding function reaches the whole send path, so evidence belongs to the nearest caller
//! outward of the fault that is not timer code itself. Families and positions: `docs/kb943650.md`.

use crate::facts::is_kernel;
use crate::facts::{
    BugCheckFacts, CrashFacts, ForwardingFunctionFacts, FrameFacts, InstructionKind, Machine,
    ProcessorFacts, SpinFacts, StackFacts,
};
use crate::knowledge::Basis;
use crate::knowledge::bugchecks;
use crate::knowledge::defect::{self, FORWARDING_FUNCTION, FamilyId, RESTART_FUNCTION};

use super::{Context, Evidence, Observation, Outcome, Strength, lock};
use nearest::{against, is_list_operation};

mod nearest;

/// One frame of the faulting activity as the rules see it.
struct Seen<'a> {
    /// Instruction pointer.
    ip: u64,
    /// Name of the function, undecorated, when it is certain.
    symbol: Option<&'a str>,
    /// `tcpip.sys!TtStopTimer`, for people.
    text: String,
    /// File name of its module.
    module: &'a str,
    /// The family all its names belong to.
    family: Option<FamilyId>,
    /// A function of the network stack, whether a family knows it or not.
    own: bool,
    /// Its code calls timer code and nothing else, whatever its name.
    wrapper: bool,
    /// Its code takes an entry at an argument off a list, puts one on, or walks one, whatever its name.
    lists: bool,
    /// By whom it calls it is a multicast forwarding function; only where no family knows its name.
    forwarding: Option<&'a ForwardingFunctionFacts>,
}

/// Clock ticks (of 10 to 16 ms) that no healthy DPC takes.
const LONG_DPC: u32 = 8;
/// Kernel functions that 6.0 does not have, and what brought them.
const LATER_FRAMES: &[(&str, &str)] = &[
    ("KiProcessTimerDpcTable", "Windows 7"),
    ("KiExecuteAllDpcs", "Windows 7 (x86) and Windows 8"),
];
/// Frames from the fault on in which a restart is looked for: the fault's own, what stops the timer, and a wrapper.
const RESTART_DEPTH: usize = 3;

/// The frames that belong to the fault and are no mere candidates, innermost first.
fn frames(facts: &CrashFacts) -> Vec<Seen<'_>> {
    match &facts.stack {
        Some(stack) => frames_of(facts, stack),
        None => Vec::new(),
    }
}

/// The same for one processor's stack.
fn frames_of<'a>(facts: &'a CrashFacts, stack: &'a StackFacts) -> Vec<Seen<'a>> {
    lock::certain(stack)
        .filter_map(|frame| seen(facts, frame))
        .collect()
}

fn seen<'a>(facts: &'a CrashFacts, frame: &'a FrameFacts) -> Option<Seen<'a>> {
    let (id, offset) = facts.modules.locate(frame.ip)?;
    let module = facts.modules.get(id)?.name()?;
    let stem = module.split('.').next().unwrap_or(module);
    // An approximate name may be a neighbour's, and an export's may reach too far: no rule uses them.
    let name = frame.name.as_ref().filter(|name| name.is_certain());
    let family = name.and_then(|name| {
        let names =
            std::iter::once(name.symbol.as_str()).chain(name.aliases.iter().map(String::as_str));
        defect::family_of_all(stem, names)
    });
    Some(Seen {
        ip: frame.ip,
        symbol: name.map(|name| defect::undecorated(&name.symbol)),
        text: match name {
            Some(name) => format!("{stem}!{}", name.symbol),
            None => format!("{module}+{offset:#x}"),
        },
        module,
        family,
        own: defect::is_stack_module(module),
        wrapper: family.is_none() && facts.code.timer_wrappers.contains(&frame.ip),
        lists: facts
            .code
            .list_work
            .iter()
            .any(|work| work.ip == frame.ip && (work.unlinks || work.inserts || work.walks)),
        forwarding: facts
            .code
            .forwarding
            .iter()
            .find(|own| family.is_none() && own.ip == frame.ip),
    })
}

/// True when the frame is timer plumbing: it only serves somebody.
fn is_timer(frame: &Seen<'_>) -> bool {
    frame.wrapper || matches!(frame.family, Some(FamilyId::Timer | FamilyId::MfeTimer))
}

/// The faulting function and the nearest caller of timer code.
pub(super) fn nearest_caller(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "frame.nearest-caller",
        question: "Is it the multicast forwarding timer that faulted, by name and by caller?",
        outcome: judge_caller(facts),
    }
}

fn judge_caller(facts: &CrashFacts) -> Outcome {
    match nothing_faulted(facts) {
        true => judge_hang(facts),
        false => nearest::judge(&frames(facts), is_list_operation(facts)),
    }
}

/// Nothing faulted: what each processor was doing is what counts, and being found in
/// timer code counts only on a processor that had not got out of it for long.
fn judge_hang(facts: &CrashFacts) -> Outcome {
    let others = facts.memory.iter().flat_map(|memory| &memory.other_stacks);
    let (mut passing, mut against) = (None, None);
    let mut walked = false;
    for stack in facts.stack.iter().chain(others) {
        walked = true;
        let stuck = stuck(facts, stack);
        let walks = spin(facts, stack).is_some_and(|spin| spin.kind.is_walk());
        let frames = frames_of(facts, stack);
        let walks = walks || walks_by_code(facts, &frames);
        let Outcome::Found(found) = nearest::judge(&frames, walks) else {
            continue;
        };
        let Some(decisive) = found.iter().find(|evidence| evidence.supports).cloned() else {
            // Where a processor hangs in somebody else's timer, that is who hangs.
            if stuck.is_some() && against.is_none() {
                against = Some(found);
            }
            continue;
        };
        let place = match stack.processor {
            Some(number) => format!("interrupted frames of processor {number}"),
            None => "interrupted frames".to_owned(),
        };
        match stuck {
            Some(why) if is_decisive(&decisive.id) => {
                let summary = format!("{}; {why}", decisive.summary.replace("faulted", "hangs"));
                return Outcome::Found(vec![
                    Evidence {
                        summary,
                        ..decisive
                    }
                    .at(place),
                ]);
            }
            _ => {
                passing = passing.or(Some(
                    Evidence {
                        id: "frame.mfe-timer-passing".into(),
                        strength: Strength::Weak,
                        summary: format!(
                            "{}; nothing shows that the processor had been there for long",
                            decisive.summary.replace("faulted", "was interrupted")
                        ),
                        ..decisive
                    }
                    .at(place),
                ));
            }
        }
    }
    if let Some(found) = against {
        return Outcome::Found(found);
    }
    match (passing, walked) {
        (Some(evidence), _) => Outcome::Found(vec![evidence]),
        (None, true) => Outcome::Neutral(format!(
            "a{}: no interrupted activity with certain names is the multicast forwarding timer",
            match facts.dump.running {
                true => "n image of a running Windows",
                false => " forced dump",
            }
        )),
        (None, false) => Outcome::NotObservable("no call stack could be walked".to_owned()),
    }
}

/// The instruction lies in a loop that walks a list. Where it is a forwarding function's own loop that is its look-up of
/// entries, unless the timers' root called it.
fn walks_by_code(facts: &CrashFacts, frames: &[Seen<'_>]) -> bool {
    let Some(first) = frames.first() else {
        return false;
    };
    let timeout = || {
        let outer = frames.get(1).and_then(|frame| frame.family);
        outer == Some(FamilyId::IpTimeout)
    };
    let looks_up = first.forwarding.is_some() || first.family == Some(FamilyId::Mfe);
    facts.code.walking.contains(&first.ip) && (!looks_up || timeout())
}

/// True for a dump that somebody forced, and for an image of memory in which no bug check was raised, such as a
/// hypervisor saves of a guest that hangs.
pub(super) fn nothing_faulted(facts: &CrashFacts) -> bool {
    let forced = |bugcheck: BugCheckFacts| bugchecks::find(bugcheck.raw_code).is_forced();
    facts.bugcheck.map_or(facts.dump.running, forced)
}

/// Why nothing faulted.
pub(super) fn how_taken(facts: &CrashFacts) -> &'static str {
    match facts.dump.running {
        true => "Windows was running when the image was taken",
        false => "the dump was forced",
    }
}

/// Evidence that the frames are those of the multicast forwarding timer.
fn is_decisive(id: &str) -> bool {
    matches!(
        id,
        "frame.mfe-timer" | "frame.mfe-list" | "frame.mfe-list-unknown" | "frame.mfe-by-code"
    )
}

/// The processor whose stack it is.
fn processor_of<'a>(facts: &'a CrashFacts, stack: &StackFacts) -> Option<&'a ProcessorFacts> {
    let own = |p: &&ProcessorFacts| match stack.processor {
        Some(number) => p.number == number,
        None => p.crashed,
    };
    facts.memory.as_ref()?.processors.iter().find(own)
}

/// What the processor of a stack spins on.
fn spin<'a>(facts: &'a CrashFacts, stack: &StackFacts) -> Option<&'a SpinFacts> {
    processor_of(facts, stack)?.spin.as_ref()
}

/// Why a processor is known not to have got on.
pub(super) fn stuck(facts: &CrashFacts, stack: &StackFacts) -> Option<String> {
    let processor = processor_of(facts, stack);
    if let Some(spin) = processor.and_then(|p| p.spin.as_ref()) {
        return Some(format!("it is in a loop that does not end ({})", spin.kind));
    }
    let crashed = processor.is_none_or(|p| p.crashed);
    let time = processor
        .and_then(|p| p.dpc_time)
        .or(facts.dpc_time.filter(|_| crashed));
    let (ticks, _) = time?;
    (ticks >= LONG_DPC).then(|| format!("its DPC had been running for {ticks} clock ticks"))
}

/// True when an expired forwarding entry was being removed.
pub(super) fn expired(facts: &CrashFacts) -> bool {
    let frames = frames(facts);
    let removal = |frame: &&Seen<'_>| frame.symbol.is_some_and(|s| s.starts_with("IppRemoveMfe"));
    let Some(at) = frames.iter().position(|frame| removal(&frame)) else {
        return false;
    };
    frames
        .get(at + 1)
        .is_some_and(|frame| frame.family == Some(FamilyId::MfeExpiry))
}

/// The faulting activity restarts a forwarding entry's timer, by a name or by what its code does: takes one
/// entry off its list and puts the same one on again. A removal or the expiry may meet its own work.
pub(super) fn restarts(facts: &CrashFacts) -> bool {
    let Some(stack) = &facts.stack else {
        return false;
    };
    let named =
        |frame: &Seen<'_>| matches!(frame.symbol, Some(RESTART_FUNCTION | FORWARDING_FUNCTION));
    let moves = |frame: &FrameFacts| {
        let work = facts.code.list_work.iter();
        work.filter(|work| work.ip == frame.ip)
            .any(|work| work.moves_one)
    };
    frames(facts).iter().any(named) || lock::certain(stack).take(RESTART_DEPTH).any(moves)
}

/// Multicast forwarding anywhere on the faulting part of the stack.
pub(super) fn on_stack(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let frames = frames(facts);
    let on_stack = frames
        .iter()
        .skip(1)
        .find(|frame| matches!(frame.family, Some(FamilyId::Mfe | FamilyId::MfeExpiry)));
    let decisive = || match judge_caller(facts) {
        Outcome::Found(found) => found.iter().any(|evidence| is_decisive(&evidence.id)),
        _ => false,
    };
    let outcome = match on_stack {
        // One fact counts once.
        Some(_) if decisive() => Outcome::Neutral(
            "the frames nearest the fault say so already: they are the multicast forwarding timer's"
                .to_owned(),
        ),
        Some(frame) => Outcome::Found(vec![
            Evidence::pro(
                "frame.multicast-on-stack",
                Strength::Weak,
                Basis::PublicSymbol,
                format!(
                    "{} is on the stack of what {}: it calls the whole send path, so that alone is weak",
                    frame.text,
                    if nothing_faulted(facts) { "was interrupted" } else { "faulted" }
                ),
            )
            .at(if nothing_faulted(facts) { "interrupted frames" } else { "faulting frames" }),
        ]),
        None if frames.iter().any(|frame| frame.family.is_some()) => {
            Outcome::Neutral("no multicast forwarding function outward of the fault".to_owned())
        }
        None => Outcome::NotObservable("no frame of the fault has a name that says anything".to_owned()),
    };
    Observation {
        observer: "frame.on-stack",
        question: "Was the machine forwarding multicast when it faulted?",
        outcome,
    }
}

/// The faulting instruction: a list operation?
pub(super) fn instruction(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "fault.instruction",
        question: "Is the faulting instruction an operation on a doubly linked list?",
        outcome: judge_instruction(facts),
    }
}

fn judge_instruction(facts: &CrashFacts) -> Outcome {
    use InstructionKind as K;
    let fault = &facts.fault;
    if nothing_faulted(facts) {
        return Outcome::Neutral(format!("{}: no instruction faulted", how_taken(facts)));
    }
    let Some(kind) = fault.instruction_kind else {
        if facts.dump.architecture == Some(Machine::Ia64) {
            return Outcome::NotObservable(
                "Itanium instructions are not decoded: what the faulting one does is not known"
                    .to_owned(),
            );
        }
        return Outcome::NotObservable(
            "the bytes of the faulting instruction are not at hand".to_owned(),
        );
    };
    let text = fault.instruction.as_deref().unwrap_or(kind.as_str());
    match (kind, fault.effective_address) {
        (K::CheckedUnlink, _) => against(
            "instruction.checked-unlink",
            Strength::Moderate,
            format!("{text}: a list operation that checks its links, which Windows 6.0 has not"),
            "faulting instruction",
        ),
        // Support, never proof: whoever writes over a linked entry makes the same instruction fault.
        (K::ListUnlink | K::ListInsert | K::ListWalk, Some((_, true))) => Outcome::Found(vec![
            Evidence::pro(
                "instruction.list-operation",
                Strength::Moderate,
                Basis::Inference,
                format!(
                    "{text}: a list operation, and the registers give the address that faulted; \
                     who spoiled the list it does not show"
                ),
            )
            .at("faulting instruction"),
        ]),
        (K::ListUnlink | K::ListInsert | K::ListWalk, _) => Outcome::Neutral(format!(
            "{text}: a list operation whose address the registers do not confirm"
        )),
        _ => Outcome::Neutral(format!("{text}: no list operation")),
    }
}

/// Kernel frames that later versions of Windows brought.
pub(super) fn dated(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "frame.dated",
        question: "Do kernel frames show a Windows later than 6.0?",
        outcome: judge_dated(facts),
    }
}

fn judge_dated(facts: &CrashFacts) -> Outcome {
    let Some(stack) = &facts.stack else {
        return Outcome::NotObservable("no call stack could be walked".to_owned());
    };
    let kernel = |frame: &&FrameFacts| {
        let module = facts
            .modules
            .locate(frame.ip)
            .and_then(|(id, _)| facts.modules.get(id)?.name());
        module.is_some_and(is_kernel)
    };
    let mut named = false;
    for frame in stack.frames.iter().filter(kernel) {
        let Some(name) = frame.name.as_ref().filter(|name| name.is_certain()) else {
            continue;
        };
        named = true;
        let later = |(function, _): &&(&str, &str)| name.symbol == *function;
        if let Some((function, since)) = LATER_FRAMES.iter().find(later) {
            return Outcome::Found(vec![
                Evidence::contra(
                    "frame.later-windows",
                    Strength::Excluding,
                    Basis::PublicSource,
                    format!("{function} is on the stack, which came with {since}"),
                )
                .at("kernel frames"),
            ]);
        }
    }
    match named {
        true => Outcome::Neutral("no kernel frame is of a later Windows".to_owned()),
        false => Outcome::NotObservable("no kernel frame has a certain name".to_owned()),
    }
}

#[cfg(test)]
mod tests;
