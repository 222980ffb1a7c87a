//! The certain places of the activity that crashed, innermost first, and what of Windows they are.

use crate::facts::{CrashFacts, FrameFacts, NameFact, StackFacts, Trust};
use crate::knowledge::windows::{self, Part};

/// A place in code.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// Number of its frame, from 0.
    pub index: usize,
    /// File name of the module.
    pub file: &'a str,
    /// Offset from its base.
    pub offset: u64,
    /// TimeDateStamp of the module.
    pub stamp: u32,
    /// Its function, where the name is sure.
    pub function: Option<&'a str>,
    /// What of Windows it is.
    pub part: Option<Part>,
}

impl Place<'_> {
    /// The kernel, the HAL or a framework.
    pub fn faults_for_its_caller(&self) -> bool {
        self.part.is_some_and(Part::faults_for_its_caller)
    }

    /// `tcpip!IppForwardPackets` or `tcpip.sys+0x10e9`.
    pub fn text(&self) -> String {
        let file = self.file.to_ascii_lowercase();
        match self.function {
            Some(function) => {
                let stem = file
                    .rsplit_once('.')
                    .map_or(file.as_str(), |(stem, _)| stem);
                format!("{stem}!{function}")
            }
            None => format!("{file}+{:#x}", self.offset),
        }
    }
}

/// The place of an address, `None` where no module holds it.
pub(super) fn place<'a>(
    facts: &'a CrashFacts,
    ip: u64,
    name: Option<&'a NameFact>,
    index: usize,
) -> Option<Place<'a>> {
    let (id, offset) = facts.modules.locate(ip)?;
    let module = facts.modules.get(id)?;
    let file = module.name()?;
    let sure = name.filter(|name| name.is_certain());
    Some(Place {
        index,
        file,
        offset,
        stamp: module.time_date_stamp,
        function: sure.map(|name| name.symbol.as_str()),
        part: windows::part(file),
    })
}

/// The frames of the activity that crashed (in a forced dump or a hang: that was interrupted), with their
/// numbers, up to the first that was found by search.
fn certain(facts: &CrashFacts) -> impl Iterator<Item = (usize, &FrameFacts)> {
    facts.stack.iter().flat_map(|stack| {
        let most = stack.faulting_activity;
        let most = most.and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
        sure(stack).take(most.max(1))
    })
}

/// The frames of a stack up to the first that was found by search.
fn sure(stack: &StackFacts) -> impl Iterator<Item = (usize, &FrameFacts)> {
    let frames = stack.frames.iter().enumerate();
    frames.take_while(|(_, frame)| frame.trust != Trust::Scan)
}

/// The certain places of another processor's stack, whatever it did, innermost first.
pub(super) fn places_of<'a>(facts: &'a CrashFacts, stack: &'a StackFacts) -> Vec<Place<'a>> {
    sure(stack)
        .filter_map(|(index, frame)| place(facts, frame.ip, frame.name.as_ref(), index))
        .collect()
}

/// The certain places in modules, innermost first; the faulting one leads where it is known.
pub(super) fn places(facts: &CrashFacts) -> Vec<Place<'_>> {
    let fault = facts.fault.ip;
    let mut list: Vec<Place<'_>> = certain(facts)
        .filter_map(|(index, frame)| place(facts, frame.ip, frame.name.as_ref(), index))
        .collect();
    if let Some(ip) = fault {
        let own = place(facts, ip, facts.fault.name.as_ref(), 0);
        let first = certain(facts).next().map(|(_, frame)| frame.ip);
        match (own, first == Some(ip)) {
            (Some(own), true) => {
                if let Some(head) = list.first_mut() {
                    *head = Place {
                        function: own.function.or(head.function),
                        ..own
                    };
                }
            }
            (Some(own), false) => list.insert(0, own),
            (None, _) => {}
        }
    }
    list
}

/// Modules that are not of Windows and whose addresses the search met on the stack, each once.
pub(super) fn candidates(facts: &CrashFacts) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for frame in facts.stack.iter().flat_map(|stack| &stack.frames) {
        if frame.trust != Trust::Scan {
            continue;
        }
        let Some(found) = place(facts, frame.ip, None, 0) else {
            continue;
        };
        let name = found.file.to_ascii_lowercase();
        if found.part.is_none() && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
