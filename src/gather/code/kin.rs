//! Which frames belong to multicast forwarding by whom their functions call, whatever their names.
//!
//! A routine that takes an entry off a list for its caller, or puts one on, serves whoever keeps such entries. Where
//! every other function that calls it is multicast forwarding by its public name, the function that calls it
//! here is multicast forwarding, too. Names: `docs/kb943650.md`; callers: every direct call in the image.

use std::collections::{BTreeMap, BTreeSet};

use crate::bytes::Budget;
use crate::code::{self, CodeSource};
use crate::facts::{ForwardingFunctionFacts, StackFacts, SymbolKind};
use crate::knowledge::defect::{self, FamilyId};
use crate::knowledge::hotfix::KB943650;
use crate::unwind::{CodeInfo, ModuleSpan};

use super::ModuleCode;
use super::layout::{family, function_of};
use crate::gather::session::Session;

/// Frames of one activity that are looked at.
const MOST_FRAMES: usize = 8;
/// Functions of all stacks that are looked at.
const MOST_FUNCTIONS: usize = 16;
/// Routines that one function calls and that are looked at.
const MOST_ROUTINES: usize = 64;
/// Families whose functions work on forwarding entries by their name.
const OWN: [FamilyId; 3] = [FamilyId::Mfe, FamilyId::MfeExpiry, FamilyId::MfeTimer];

/// A function of the deciding module that no family names, by the frames it has.
struct Asked {
    entry: u32,
    ips: Vec<u64>,
    calls: Vec<u32>,
}

/// Frames of the stacks' own activities whose function belongs to multicast forwarding.
pub(super) fn forwarding<'a>(
    session: &Session<'_>,
    stacks: impl Iterator<Item = &'a StackFacts>,
    budget: &Budget,
) -> Vec<ForwardingFunctionFacts> {
    let Some((id, module)) = session.modules.find(KB943650.decides) else {
        return Vec::new();
    };
    let span = ModuleSpan {
        id,
        base: module.base,
        size: u64::from(module.size),
    };
    let Some(code) = ModuleCode::new(session, span) else {
        return Vec::new();
    };
    let asked = asked(session, span, &code, stacks, budget);
    let routines: BTreeSet<u32> = asked.iter().flat_map(|f| f.calls.clone()).collect();
    if routines.is_empty() {
        return Vec::new();
    }
    let Some(sites) = code::call_sites(&code, &routines, budget) else {
        return Vec::new();
    };
    let stem = KB943650.decides.split('.').next().unwrap_or_default();
    let mut found = Vec::new();
    for function in &asked {
        let shared = function.calls.iter().find_map(|routine| {
            let callers =
                only_forwarding(&code, stem, function.entry, sites.get(routine)?, budget)?;
            let given = code::list_work(&code, *routine, budget)?.is_given_entries();
            given.then(|| (name_of(&code, *routine), callers))
        });
        let Some((routine, callers)) = shared else {
            continue;
        };
        found.extend(function.ips.iter().map(|ip| ForwardingFunctionFacts {
            ip: *ip,
            routine: routine.clone(),
            callers: callers.clone(),
        }));
    }
    found
}

/// The functions that are asked, each once.
fn asked<'a>(
    session: &Session<'_>,
    span: ModuleSpan,
    code: &dyn CodeSource,
    stacks: impl Iterator<Item = &'a StackFacts>,
    budget: &Budget,
) -> Vec<Asked> {
    let mut by_entry: BTreeMap<u32, Asked> = BTreeMap::new();
    for stack in stacks {
        let activity = stack.faulting_activity.unwrap_or(0) as usize;
        let pairs = stack.frames.iter().zip(stack.frames.iter().skip(1));
        for (frame, outer) in pairs.take(activity.min(MOST_FRAMES)) {
            let own = session
                .module_at(frame.ip)
                .is_some_and(|at| at.id == span.id);
            if !own || family(session, span, frame).is_some() {
                continue;
            }
            let entry = function_of(session, span, frame, outer).and_then(|at| span.rva(at));
            let Some(entry) = entry else {
                continue;
            };
            if by_entry.len() >= MOST_FUNCTIONS && !by_entry.contains_key(&entry) {
                continue;
            }
            let asked = by_entry.entry(entry).or_insert_with(|| Asked {
                entry,
                ips: Vec::new(),
                calls: code::called(code, entry, budget)
                    .into_iter()
                    .take(MOST_ROUTINES)
                    .collect(),
            });
            if !asked.ips.contains(&frame.ip) {
                asked.ips.push(frame.ip);
            }
        }
    }
    by_entry.into_values().collect()
}

/// The functions that call from these places, where all but the one at `own` are multicast forwarding by their
/// names, and there is one. `None` otherwise.
fn only_forwarding(
    code: &ModuleCode<'_>,
    stem: &str,
    own: u32,
    sites: &[u32],
    budget: &Budget,
) -> Option<Vec<String>> {
    let mut callers = BTreeSet::new();
    for site in sites {
        if code::reaches(code, own, *site, budget) {
            continue;
        }
        let hit = code.hit(*site)?;
        let start = site.checked_sub(hit.displacement)?;
        let certain = match hit.kind {
            SymbolKind::Exact | SymbolKind::Cold => true,
            SymbolKind::Approximate => code::reaches(code, start, *site, budget),
            _ => false,
        };
        let names =
            std::iter::once(hit.name.as_str()).chain(hit.aliases.iter().map(String::as_str));
        let family = defect::family_of_all(stem, names).filter(|_| certain)?;
        if !OWN.contains(&family) {
            return None;
        }
        callers.insert(defect::undecorated(&hit.name).to_owned());
    }
    (!callers.is_empty()).then(|| callers.into_iter().collect())
}

fn name_of(code: &dyn CodeSource, routine: u32) -> String {
    match code.names_at(routine).first() {
        Some(name) => defect::undecorated(name).to_owned(),
        None => format!("the routine at +{routine:#x}"),
    }
}
