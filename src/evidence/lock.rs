//! The lock of the forwarding set while its timer queue was changed: the article's cause, observed.
//!
//! Looks at every processor inside the restart of a forwarding entry's timer under
//! `IppForwardMulticastPackets`. There the defective code holds the set's lock for reading; fixed code
//! owns it through a queue handle in that function's own frame. Source: `docs/kb943650.md`.

use crate::facts::{
    CrashFacts, FrameFacts, HandleFacts, MemoryFacts, NameFact, SetFacts, StackFacts, Trust,
};
use crate::knowledge::Basis;
use crate::knowledge::defect::{self, FORWARDING_FUNCTION, FORWARDING_TAG, FamilyId};

use super::{Context, Evidence, Observation, Outcome, Strength};

/// Timer plumbing that belongs to registration, which holds the write lock in every build.
const REGISTRATION: &str = "IppStartMfeTimer";

/// A processor inside the restart of a forwarding entry's timer.
pub(super) struct TimerRestart<'a> {
    /// Number; `None` where the dump does not say.
    pub processor: Option<u32>,
    /// What the dump says of that processor's memory.
    memory: &'a MemoryFacts,
    /// Stack pointers of the forwarding function's frame and of its caller.
    frame: (u64, Option<u64>),
    /// Every frame from the timer code to the forwarding function has a name.
    named: bool,
}

impl TimerRestart<'_> {
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

    /// True when the stack up to the forwarding function's caller was there to be searched for handles.
    fn was_searched(&self) -> bool {
        self.memory
            .processors
            .iter()
            .find(|processor| Some(processor.number) == self.processor)
            .and_then(|processor| processor.searched)
            .zip(self.frame.1)
            .is_some_and(|((low, high), caller)| low <= self.frame.0 && caller <= high)
    }

    fn place(&self) -> String {
        match self.processor {
            Some(number) => format!("processor {number}"),
            None => "stack".to_owned(),
        }
    }
}

/// Every processor inside the restart.
pub(super) fn timer_restarts(facts: &CrashFacts) -> Vec<TimerRestart<'_>> {
    let Some(memory) = &facts.memory else {
        return Vec::new();
    };
    facts
        .stack
        .iter()
        .chain(&memory.other_stacks)
        .filter_map(|stack| {
            let (frame, named) = restart(facts, stack)?;
            Some(TimerRestart {
                processor: stack.processor,
                memory,
                frame,
                named,
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
        .take_while(|frame| frame.trust != Trust::Scan)
}

/// The family and the name of a frame's function, when all its names agree.
pub(super) fn function<'a>(
    facts: &CrashFacts,
    frame: &'a FrameFacts,
) -> Option<(FamilyId, &'a str)> {
    let (id, _) = facts.modules.locate(frame.ip)?;
    let module = facts.modules.get(id)?.name()?;
    let stem = module.split('.').next().unwrap_or(module);
    let name = frame.name.as_ref().filter(|name| name.is_certain())?;
    let names =
        std::iter::once(name.symbol.as_str()).chain(name.aliases.iter().map(String::as_str));
    let family = defect::family_of_all(stem, names)?;
    Some((family, defect::undecorated(&name.symbol)))
}

/// Timer code under the forwarding function: the stack pointers of that function's frame and of its
/// caller's, and whether every frame between has a name. One that has none may be registration, which
/// holds the write lock in every build.
fn restart(facts: &CrashFacts, stack: &StackFacts) -> Option<((u64, Option<u64>), bool)> {
    let (mut timer, mut named) = (false, true);
    let mut frames = certain(stack);
    while let Some(frame) = frames.next() {
        match function(facts, frame) {
            Some((FamilyId::Timer | FamilyId::MfeTimer, name)) if name != REGISTRATION => {
                timer = true
            }
            Some((FamilyId::Mfe, FORWARDING_FUNCTION)) if timer => {
                let caller = frames.next().and_then(|caller| caller.sp);
                return Some(((frame.sp?, caller), named));
            }
            None if timer && named && is_unnamed_tcpip(facts, frame) => named = false,
            _ => return None,
        }
    }
    None
}

/// A frame of tcpip.sys whose function no symbol names for certain.
fn is_unnamed_tcpip(facts: &CrashFacts, frame: &FrameFacts) -> bool {
    let own = || {
        let (id, _) = facts.modules.locate(frame.ip)?;
        let module = facts.modules.get(id)?.name()?;
        Some(module.eq_ignore_ascii_case("tcpip.sys"))
    };
    let certain = frame.name.as_ref().is_some_and(NameFact::is_certain);
    !certain && own() == Some(true)
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
        return Outcome::NotObservable("the dump does not hold the lock's memory".to_owned());
    }
    let restarts = timer_restarts(facts);
    if restarts.is_empty() {
        return Outcome::Neutral(
            "no processor is known to be inside the restart of a forwarding entry's timer"
                .to_owned(),
        );
    }
    let found: Vec<Evidence> = restarts.iter().filter_map(judge).collect();
    if !found.is_empty() {
        return Outcome::Found(found);
    }
    if restarts.iter().all(|one| one.set().is_none()) {
        return Outcome::NotObservable(
            "the forwarding set was not located: its layout is known for x64 only, and its table must \
             be recognisable"
                .to_owned(),
        );
    }
    Outcome::Neutral(
        "the set's lock has no reader, or who owns it cannot be told from the stack".to_owned(),
    )
}

/// What one processor inside the restart shows.
fn judge(restart: &TimerRestart<'_>) -> Option<Evidence> {
    let owned = |lock: &dyn Fn(&HandleFacts) -> bool| {
        let mut handles = restart.handles().iter();
        handles.find(|handle| !handle.waiting && lock(handle))
    };
    let Some(set) = restart.set() else {
        // Where the set's layout is not known, a lock in forwarding memory may be the set's, which only fixed
        // code owns there, or an entry's own, which any build may have: shown, and no more.
        let handle =
            owned(&|h| h.tag.as_deref() == Some(FORWARDING_TAG) && restart.in_frame(h.address))
                .filter(|_| restart.named)?;
        return Some(held(
            "lock.queue-handle-held",
            Strength::Weak,
            &format!(
                "a lock tagged {FORWARDING_TAG} (the set's, or an entry's own: which is not known)"
            ),
            handle,
            restart,
        ));
    };
    match owned(&|h| h.lock == set.spin_lock) {
        Some(handle) if restart.named && restart.in_frame(handle.address) => Some(held(
            "lock.write-lock-held",
            Strength::Excluding,
            "the forwarding set's spin lock",
            handle,
            restart,
        )),
        // Owned from elsewhere on the stack, or by what may be registration: says nothing.
        Some(_) => None,
        None if set.readers > 0 && restart.was_searched() => Some(
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
            .at(restart.place()),
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
    restart: &TimerRestart<'_>,
) -> Evidence {
    Evidence::contra(
        id,
        strength,
        Basis::PublicSymbol,
        format!(
            "{FORWARDING_FUNCTION} owns {lock} through the queue handle at {:#x} while it restarts the timer{}",
            handle.address,
            match strength {
                Strength::Excluding => ": the code is fixed",
                _ => "",
            }
        ),
    )
    .at(restart.place())
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;
    use serde_json::json;

    const LOCK: u64 = 0xFFFF_FA80_0100_0020;

    /// A crash on processor 1 with these tcpip.sys functions, innermost first, each frame 0x100 bytes.
    /// An empty name is a function without one.
    fn crash(functions: &[&str], readers: u32, handles: serde_json::Value) -> CrashFacts {
        let frames: Vec<_> = functions
            .iter()
            .zip(1u64..)
            .map(|(name, n)| {
                let name = (!name.is_empty()).then(|| {
                    json!({ "symbol": name, "displacement": 4, "kind": "exact", "aliases": [],
                            "line": null })
                });
                json!({ "ip": 0x1000 + n, "sp": 0x9_0000 + n * 0x100, "trust": "unwind-info",
                        "boundary": null, "name": name })
            })
            .collect();
        let held_by = u64::from(handles != json!([]));
        let told = json!({
            "dump": { "format": "kernel-summary", "dump_type": 2 },
            "stack": { "processor": 1, "frames": frames, "faulting_activity": functions.len(),
                       "complete": true, "stopped_because": null },
            "memory": {
                "processors": [{ "number": 1, "crashed": true, "ip": null, "irql": 2,
                                 "dpc_active": null, "dpc_time": null, "thread": null,
                                 "process": null, "handles": handles,
                                 "searched": [0x9_0100u64, 0x9_0800u64] }],
                "other_stacks": [], "pool_tags": null, "findings": [],
                "sets": [{ "address": LOCK - 0x10, "entries": 3, "spin_lock": LOCK,
                           "held_by": held_by, "readers": readers, "table": 0x5000,
                           "table_has": "tag", "seen_on": [1] }]
            }
        });
        testing::crash(&[("tcpip.sys", 0x1000)], told)
    }

    fn ids(facts: &CrashFacts) -> Vec<&'static str> {
        match outcome(facts) {
            Outcome::Found(found) => found.iter().map(testing::id).collect(),
            Outcome::Neutral(_) | Outcome::NotObservable(_) => Vec::new(),
        }
    }

    const RESTART: &[&str] = &[
        "TtStopTimer",
        "IppRestartMfeTimer",
        "IppForwardMulticastPackets",
        "IppDispatchReceivePacketHelper",
    ];

    fn handle(at: u64, lock: u64, waiting: bool) -> serde_json::Value {
        json!([{ "address": at, "lock": lock, "waiting": waiting, "tag": "IPmf" }])
    }

    #[test]
    fn a_queue_changed_with_a_reader_inside_and_no_owner_is_the_articles_cause() {
        let facts = crash(RESTART, 1, json!([]));
        assert_eq!(ids(&facts), ["lock.changed-under-read-lock"]);
        let nobody = crash(RESTART, 0, json!([]));
        assert_eq!(ids(&nobody), [""; 0], "nobody reads: nothing is shown");
    }

    #[test]
    fn a_stack_that_is_not_there_to_be_searched_shows_no_missing_owner() {
        let mut facts = crash(RESTART, 1, json!([]));
        let searched = |facts: &mut CrashFacts, part| {
            facts.memory.as_mut().unwrap().processors[0].searched = part;
        };
        searched(&mut facts, None);
        assert_eq!(ids(&facts), [""; 0]);
        // It ends inside the forwarding function's frame.
        searched(&mut facts, Some((0x9_0100, 0x9_0380)));
        assert_eq!(ids(&facts), [""; 0]);
    }

    #[test]
    fn a_live_handle_in_the_forwarding_frame_is_fixed_code() {
        // The forwarding function's frame reaches from 0x90300 to 0x90400.
        for readers in [0, 1] {
            let facts = crash(RESTART, readers, handle(0x9_0340, LOCK, false));
            assert_eq!(ids(&facts), ["lock.write-lock-held"], "{readers} readers");
        }
    }

    #[test]
    fn a_handle_that_waits_or_of_another_lock_owns_nothing() {
        let waits = crash(RESTART, 1, handle(0x9_0340, LOCK, true));
        assert_eq!(ids(&waits), ["lock.changed-under-read-lock"]);
        let other = crash(RESTART, 1, handle(0x9_0340, LOCK + 0x4000, false));
        assert_eq!(ids(&other), ["lock.changed-under-read-lock"]);
    }

    #[test]
    fn registration_holds_the_write_lock_in_every_build_and_proves_nothing() {
        let facts = crash(
            &[
                "TtStartTimer",
                "IppStartMfeTimer",
                "IppInsertMfeUnderLock",
                "IppForwardMulticastPackets",
            ],
            0,
            handle(0x9_0440, LOCK, false),
        );
        assert_eq!(ids(&facts), [""; 0]);
        let inlined = crash(
            &["TtStartTimer", "", "IppForwardMulticastPackets", "Caller"],
            0,
            handle(0x9_0340, LOCK, false),
        );
        assert_eq!(
            ids(&inlined),
            [""; 0],
            "what has no name may be registration"
        );
    }

    #[test]
    fn a_restart_without_a_name_still_shows_that_nobody_owned_the_lock() {
        let facts = crash(
            &["TtStopTimer", "", "IppForwardMulticastPackets", "Caller"],
            2,
            json!([]),
        );
        assert_eq!(ids(&facts), ["lock.changed-under-read-lock"]);
    }

    #[test]
    fn without_a_located_set_a_handle_of_forwarding_memory_is_shown() {
        let mut facts = crash(RESTART, 1, handle(0x9_0340, LOCK, false));
        facts.memory.as_mut().unwrap().sets.clear();
        assert_eq!(ids(&facts), ["lock.queue-handle-held"]);
        facts.memory.as_mut().unwrap().processors[0].handles.clear();
        assert!(matches!(outcome(&facts), Outcome::NotObservable(_)));
    }
}
