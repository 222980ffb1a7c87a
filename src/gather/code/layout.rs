//! What the network stack's own code says of its lists: what an unnamed or unknown function does to them,
//! where in a forwarding entry its timer's link lies, where in the set its lock and its table.
//!
//! Read from instructions alone (`code/`); the names of the functions that are asked are those of the public
//! symbols (`docs/kb943650.md`). Where they are called otherwise, the stack of the fault says who calls whom.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes::Budget;
use crate::code::{self, CodeSource, Passed};
use crate::facts::{
    FrameFacts, ListWorkFacts, SetLayoutFacts, StackFacts, SymbolKind, TimerLinkFacts,
};
use crate::knowledge::defect::{
    self, FORWARDING_FUNCTION, FamilyId, RESTART_FUNCTION, STOP_FUNCTION,
};
use crate::knowledge::hotfix::KB943650;
use crate::unwind::{CodeInfo, ModuleSpan};

use super::{ModuleCode, called};
use crate::gather::fault::Found;
use crate::gather::session::Session;

/// Frames of the faulting activity that are looked at.
const MOST_FRAMES: usize = 8;
/// Functions that stop a forwarding entry's timer, and no other's.
const OWNERS: [&str; 3] = [
    RESTART_FUNCTION,
    "IppRemoveMfeUnderLock",
    FORWARDING_FUNCTION,
];
/// Families whose name says what a function does.
const KNOWN: [FamilyId; 4] = [
    FamilyId::MfeTimer,
    FamilyId::MfeExpiry,
    FamilyId::Mfe,
    FamilyId::Timer,
];
/// Families of functions that pass forwarding entries and no other timer's owner.
const ENTRY_FAMILIES: [FamilyId; 2] = [FamilyId::MfeTimer, FamilyId::Mfe];
/// Bytes of an entry or a set, at most.
const MOST_BYTES: i64 = 0x1000;

/// What functions of the faulting activity do to lists, where no family knows their name.
pub(super) fn list_work(
    session: &Session<'_>,
    stack: &StackFacts,
    budget: &Budget,
) -> Vec<ListWorkFacts> {
    let activity = stack.faulting_activity.unwrap_or(0) as usize;
    let pairs = stack.frames.iter().zip(stack.frames.iter().skip(1));
    pairs
        .take(activity.min(MOST_FRAMES))
        .filter_map(|(frame, outer)| work_of(session, frame, outer, budget))
        .collect()
}

/// The innermost frame of a stack, where its instruction lies in a loop that walks a list.
pub(super) fn walking(session: &Session<'_>, stack: &StackFacts, budget: &Budget) -> Option<u64> {
    let ip = stack.frames.first()?.ip;
    let span = stack_module(session, ip)?;
    let code = ModuleCode::unnamed(session, span);
    code::walks_at(&code, span.rva(ip)?, budget)?.then_some(ip)
}

fn work_of(
    session: &Session<'_>,
    frame: &FrameFacts,
    outer: &FrameFacts,
    budget: &Budget,
) -> Option<ListWorkFacts> {
    let span = stack_module(session, frame.ip)?;
    if family(session, span, frame).is_some_and(|family| KNOWN.contains(&family)) {
        return None;
    }
    let entry = function_of(session, span, frame, outer)?;
    let code = ModuleCode::unnamed(session, span);
    let work = code::list_work(&code, span.rva(entry)?, budget)?;
    Some(ListWorkFacts {
        ip: frame.ip,
        unlinks: work.unlinks,
        inserts: work.inserts,
        walks: work.walks,
        whole: work.whole,
        moves_one: work.moves_one(),
    })
}

/// The module around an address, if it is one of the network stack.
fn stack_module(session: &Session<'_>, ip: u64) -> Option<ModuleSpan> {
    let span = session.module_at(ip)?;
    let name = session.module_name(span)?;
    defect::is_stack_module(&name).then_some(span)
}

/// The family of a frame's certain name.
pub(super) fn family(
    session: &Session<'_>,
    span: ModuleSpan,
    frame: &FrameFacts,
) -> Option<FamilyId> {
    let name = frame.name.as_ref()?;
    if !name.is_certain() {
        return None;
    }
    let module = session.module_name(span)?;
    let names =
        std::iter::once(name.symbol.as_str()).chain(name.aliases.iter().map(String::as_str));
    defect::family_of_all(&module, names)
}

/// Where a frame's function starts: by its certain name, else by the call that led there.
pub(super) fn function_of(
    session: &Session<'_>,
    span: ModuleSpan,
    frame: &FrameFacts,
    outer: &FrameFacts,
) -> Option<u64> {
    let named = frame
        .name
        .as_ref()
        .filter(|name| name.kind == SymbolKind::Exact);
    let entry = match named {
        Some(name) => frame.ip.checked_sub(name.displacement),
        None => called(session, outer.ip),
    }?;
    // A fault in a tail call is in another function than the one that was called.
    (entry <= frame.ip && span.rva(entry).is_some()).then_some(entry)
}

/// Where a timer's link lies in a forwarding entry, and the parts of the set.
pub(super) fn layout(
    session: &Session<'_>,
    found: &Found,
    budget: &Budget,
) -> (Vec<TimerLinkFacts>, SetLayoutFacts) {
    let Some((id, module)) = session.modules.find(KB943650.decides) else {
        return Default::default();
    };
    let span = ModuleSpan {
        id,
        base: module.base,
        size: u64::from(module.size),
    };
    let mut links = Links::default();
    let mut set = SetLayoutFacts::default();
    if let Some(code) = ModuleCode::new(session, span) {
        named(&code, budget, &mut links, &mut set);
    }
    if links.0.is_empty() {
        on_stack(session, found, budget, &mut links);
    }
    (links.facts(), set)
}

/// Displacements, each with the routine and who passes it.
#[derive(Default)]
struct Links(BTreeMap<(u64, String), BTreeSet<String>>);

impl Links {
    fn add(&mut self, displacement: i64, routine: &str, caller: &str) {
        // An entry does not begin with its timer: that is a timer's own address, passed on.
        if let Ok(at) = u64::try_from(displacement)
            && (1..MOST_BYTES).contains(&displacement)
        {
            let key = (at, routine.to_owned());
            self.0.entry(key).or_default().insert(caller.to_owned());
        }
    }

    fn facts(self) -> Vec<TimerLinkFacts> {
        let of = |((displacement, routine), callers): ((u64, String), BTreeSet<String>)| {
            TimerLinkFacts {
                displacement,
                routine,
                callers: callers.into_iter().collect(),
            }
        };
        self.0.into_iter().map(of).collect()
    }
}

/// By the names of the functions that stop a forwarding entry's timer.
fn named(code: &dyn CodeSource, budget: &Budget, links: &mut Links, set: &mut SetLayoutFacts) {
    let stop = code.address_of(STOP_FUNCTION);
    for owner in OWNERS {
        let (Some(entry), Some(stop)) = (code.address_of(owner), stop) else {
            continue;
        };
        for (link, arguments) in stops(code, entry, stop, budget) {
            links.add(link, STOP_FUNCTION, owner);
            let table = arguments.iter().find_map(|passed| passed.loaded_from);
            set.table = set.table.or(table.and_then(within));
        }
    }
    // The restart takes one entry off one list, whatever it calls for that.
    if let Some(entry) = code
        .address_of(RESTART_FUNCTION)
        .filter(|_| links.0.is_empty())
        && let Some(work) = code::list_work(code, entry, budget)
    {
        for (_, link) in work.entries {
            links.add(link, RESTART_FUNCTION, RESTART_FUNCTION);
        }
    }
    if let Some(entry) = code.address_of(FORWARDING_FUNCTION) {
        if links.0.is_empty() {
            restarts(code, entry, budget, links);
        }
        let reads = |name: &str| name.starts_with("RtlAcquireReadLock");
        let calls = code::passed_by_name(code, entry, budget, &reads);
        let mut places: BTreeSet<i64> = calls
            .iter()
            .filter_map(|arguments| arguments.first()?.displacement)
            .collect();
        set.lock = match places.len() {
            1 => places.pop_first().and_then(within),
            _ => None,
        };
    }
}

/// By what the forwarding function calls: a function that takes one entry off its list and puts one on is
/// the restart, whatever its name.
fn restarts(code: &dyn CodeSource, forwarding: u32, budget: &Budget, links: &mut Links) {
    for routine in code::called(code, forwarding, budget) {
        let Some(work) = code::list_work(code, routine, budget) else {
            continue;
        };
        let mut entries = work.entries.into_iter();
        if let (true, true, Some((_, link)), None) =
            (work.unlinks, work.inserts, entries.next(), entries.next())
        {
            let names = code.names_at(routine);
            let name = names.first().map_or("an unnamed routine", String::as_str);
            links.add(link, name, FORWARDING_FUNCTION);
        }
    }
}

fn within(at: i64) -> Option<u64> {
    u64::try_from(at).ok().filter(|_| at < MOST_BYTES)
}

/// Calls in the function at `entry` of the routine at `stop`, which takes an entry off a list: where the
/// entry's link lies behind the caller's pointer, and what is passed beside it.
fn stops(code: &dyn CodeSource, entry: u32, stop: u32, budget: &Budget) -> Vec<(i64, Vec<Passed>)> {
    let Some(work) = code::list_work(code, stop, budget) else {
        return Vec::new();
    };
    // More than one entry is not what a timer's stop takes off.
    let mut entries = work.entries.into_iter();
    let (Some((position, inside)), None) = (entries.next(), entries.next()) else {
        return Vec::new();
    };
    let calls = code::passed(code, entry, stop, budget).into_iter();
    calls
        .filter_map(|mut arguments| {
            if position >= arguments.len() {
                return None;
            }
            let timer = arguments.remove(position);
            Some((timer.displacement?.checked_add(inside)?, arguments))
        })
        .collect()
}

/// By the fault's own stack: the innermost function takes an entry off a list and a function whose name
/// says that it serves forwarding entries called it.
fn on_stack(session: &Session<'_>, found: &Found, budget: &Budget, links: &mut Links) {
    let Some(stack) = &found.stack else {
        return;
    };
    let [inner, caller, outer, ..] = stack.frames.as_slice() else {
        return;
    };
    let find = || {
        let span = stack_module(session, inner.ip)?;
        let own = stack_module(session, caller.ip).filter(|own| own.id == span.id)?;
        let named = family(session, own, caller)?;
        if !ENTRY_FAMILIES.contains(&named) {
            return None;
        }
        let stop = span.rva(function_of(session, span, inner, caller)?)?;
        let entry = own.rva(function_of(session, own, caller, outer)?)?;
        let name = caller.name.as_ref()?.symbol.clone();
        let code = ModuleCode::unnamed(session, span);
        Some((stops(&code, entry, stop, budget), name))
    };
    if let Some((found, name)) = find() {
        let routine = inner.name.as_ref().map(|name| name.symbol.as_str());
        for (link, _) in found {
            links.add(link, routine.unwrap_or("the faulting routine"), &name);
        }
    }
}
