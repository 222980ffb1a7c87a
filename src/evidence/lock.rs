//! The lock of the forwarding set while its timer queue was changed: the article's cause, observed.
//!
//! Looks at every processor inside the restart of a forwarding entry's timer under
//! `IppForwardMulticastPackets`. There the defective code holds the set's lock for reading; fixed code
//! owns it through a queue handle in that function's own frame. Source: `docs/kb943650.md`.

use crate::facts::{CrashFacts, FrameFacts, HandleFacts, MemoryFacts, SetFacts, StackFacts};
use crate::knowledge::Basis;
use crate::knowledge::defect;

use super::{Context, Evidence, Observation, Outcome, Strength};

/// The function that looks an entry up and restarts its timer.
const FORWARD: &str = "IppForwardMulticastPackets";
/// The pool tag of forwarding entries and their sets.
const TAG: &str = "IPmf";
/// Timer plumbing that belongs to registration, which holds the write lock in every build.
const REGISTRATION: &str = "IppStartMfeTimer";

/// A processor inside the restart of a forwarding entry's timer.
pub(super) struct Inside<'a> {
    /// Number; `None` where the dump does not say.
    pub processor: Option<u32>,
    /// What the dump says of that processor's memory.
    memory: &'a MemoryFacts,
    /// Stack pointers of the forwarding function's frame and of its caller.
    frame: (u64, Option<u64>),
}

impl Inside<'_> {
    fn handles(&self) -> &[HandleFacts] {
        self.memory
            .processors
            .iter()
            .find(|processor| Some(processor.number) == self.processor)
            .map_or(&[], |processor| &processor.handles)
    }

    /// The one set this processor works on.
    fn set(&self) -> Option<&SetFacts> {
        let processor = self.processor?;
        let mut seen = self
            .memory
            .sets
            .iter()
            .filter(|set| set.seen_on.contains(&processor));
        let first = seen.next();
        first.filter(|_| seen.next().is_none())
    }

    /// Timer tables that this processor works with, from the fault outward to the forwarding function.
    pub fn tables(&self) -> Vec<u64> {
        let end = self.frame.1.unwrap_or(u64::MAX);
        let of_set = self.set().map(|set| set.table);
        let seen = self
            .memory
            .processors
            .iter()
            .filter(|processor| Some(processor.number) == self.processor)
            .flat_map(|processor| &processor.tables)
            .filter(|seen| seen.seen_at.is_none_or(|at| at < end))
            .map(|seen| seen.table);
        of_set.into_iter().chain(seen).collect()
    }

    /// True for an address in the forwarding function's own frame.
    fn in_frame(&self, at: u64) -> bool {
        at >= self.frame.0 && self.frame.1.is_none_or(|end| at < end)
    }

    fn place(&self) -> String {
        match self.processor {
            Some(number) => format!("processor {number}"),
            None => "stack".to_owned(),
        }
    }
}

/// Every processor inside the restart.
pub(super) fn inside(facts: &CrashFacts) -> Vec<Inside<'_>> {
    let Some(memory) = &facts.memory else {
        return Vec::new();
    };
    facts
        .stack
        .iter()
        .chain(&memory.other_stacks)
        .filter_map(|stack| {
            Some(Inside {
                processor: stack.processor,
                memory,
                frame: restart(facts, stack)?,
            })
        })
        .collect()
}

/// The certain frames of the stack's own activity, innermost first.
pub(super) fn certain(stack: &StackFacts) -> impl Iterator<Item = &FrameFacts> {
    let activity = stack.faulting_activity.map_or(1, |n| n as usize);
    stack
        .frames
        .iter()
        .take(activity)
        .take_while(|frame| frame.trust != "scan")
}

/// The family and the name of a frame's function, when all its names agree.
pub(super) fn function<'a>(
    facts: &CrashFacts,
    frame: &'a FrameFacts,
) -> Option<(&'static str, &'a str)> {
    let (id, _) = facts.modules.locate(frame.ip)?;
    let module = facts.modules.get(id)?.name.as_deref()?;
    let stem = module.split('.').next().unwrap_or(module);
    let name = frame
        .name
        .as_ref()
        .filter(|name| matches!(name.kind.as_str(), "exact" | "cold"))?;
    let names =
        std::iter::once(name.symbol.as_str()).chain(name.aliases.iter().map(String::as_str));
    let family = defect::family_of_all(stem, names)?;
    Some((family.id, defect::undecorated(&name.symbol)))
}

/// Timer code directly under the forwarding function: the stack pointers of that function's frame and of
/// its caller's.
fn restart(facts: &CrashFacts, stack: &StackFacts) -> Option<(u64, Option<u64>)> {
    let mut timer = false;
    let mut frames = certain(stack);
    while let Some(frame) = frames.next() {
        let (family, name) = function(facts, frame)?;
        match family {
            "timer" | "mfe-timer" if name != REGISTRATION => timer = true,
            "mfe" if timer && name == FORWARD => {
                return Some((frame.sp?, frames.next().and_then(|caller| caller.sp)));
            }
            _ => return None,
        }
    }
    None
}

/// The state of the set's lock while its queue was changed.
pub(super) fn observe(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "lock.forwarding-set",
        question: "Was the timer queue changed while the set was locked for reading only?",
        outcome: outcome(facts),
    }
}

fn outcome(facts: &CrashFacts) -> Outcome {
    if facts.memory.is_none() {
        return Outcome::Blind("the dump does not hold the lock's memory".to_owned());
    }
    let inside = inside(facts);
    if inside.is_empty() {
        return Outcome::Neutral(
            "no processor is known to be inside the restart of a forwarding entry's timer"
                .to_owned(),
        );
    }
    let found: Vec<Evidence> = inside.iter().filter_map(judge).collect();
    if !found.is_empty() {
        return Outcome::Found(found);
    }
    if inside.iter().all(|one| one.set().is_none()) {
        return Outcome::Blind(
            "the forwarding set was not located: its layout is known for x64 only, and its table must \
             be recognisable"
                .to_owned(),
        );
    }
    Outcome::Neutral("the set's lock has no reader and no owner on the stack".to_owned())
}

/// What one processor inside the restart shows.
fn judge(inside: &Inside<'_>) -> Option<Evidence> {
    let owned = |lock: &dyn Fn(&HandleFacts) -> bool| {
        let mut handles = inside.handles().iter();
        handles.find(|handle| !handle.waiting && lock(handle))
    };
    let Some(set) = inside.set() else {
        // Where the set's layout is not known, a lock in forwarding memory that this function owns through
        // a handle in its own frame is still what only fixed code does.
        let handle = owned(&|h| h.tag.as_deref() == Some(TAG) && inside.in_frame(h.address))?;
        return Some(held(
            "lock.queue-handle-held",
            Strength::Strong,
            "a lock tagged IPmf",
            handle,
            inside,
        ));
    };
    match owned(&|h| h.lock == set.spin_lock) {
        Some(handle) if inside.in_frame(handle.address) => Some(held(
            "lock.write-lock-held",
            Strength::Excluding,
            "the forwarding set's spin lock",
            handle,
            inside,
        )),
        // Owned from elsewhere on the stack: no build is known to do that.
        Some(_) => None,
        None if set.readers > 0 => Some(
            Evidence::pro(
                "lock.changed-under-read-lock",
                Strength::Decisive,
                Basis::PublicSymbol,
                format!(
                    "the timer queue is being changed while the forwarding set's lock counts {} \
                     reader{} and no queue handle on this stack owns it: the article's cause \
                     (layout of the set: fixed x64 build of Windows 10)",
                    set.readers,
                    if set.readers == 1 { "" } else { "s" }
                ),
            )
            .at(inside.place()),
        ),
        None => None,
    }
}

/// The forwarding function owns a lock as fixed code does.
fn held(
    id: &'static str,
    strength: Strength,
    lock: &str,
    handle: &HandleFacts,
    inside: &Inside<'_>,
) -> Evidence {
    Evidence::contra(
        id,
        strength,
        Basis::PublicSymbol,
        format!(
            "{FORWARD} owns {lock} through the queue handle at {:#x} while it restarts the timer: the \
             code is fixed",
            handle.address
        ),
    )
    .at(inside.place())
}
