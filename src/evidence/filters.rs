//! Drivers of other vendors on the path of the packet that crashed.
//!
//! A driver's name does not say that it filters the network, so a list of loaded drivers shows
//! nothing. What is certain is a frame: a module that is not one of Windows' own, between frames of
//! the network stack, on the stack of the fault. Present is not guilty: only nearest the fault it
//! counts (`place`, `frames`).

use crate::facts::{CrashFacts, Trust};
use crate::knowledge::Basis;
use crate::knowledge::windows;

use super::{Context, Evidence, Observation, Outcome, Strength};

/// The modules between which a filter lies.
const NETWORK: &[&str] = &[
    "ndis.sys",
    "tcpip.sys",
    "netio.sys",
    "fwpkclnt.sys",
    "tdi.sys",
    "tdx.sys",
    "afd.sys",
];

/// Foreign modules between network frames.
pub(super) fn observe(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "filters.on-path",
        question: "Are drivers of other vendors on the path of the packet?",
        outcome: outcome(facts),
    }
}

fn outcome(facts: &CrashFacts) -> Outcome {
    let Some(stack) = &facts.stack else {
        return Outcome::NotObservable("no call stack could be walked".to_owned());
    };
    let names: Vec<&str> = stack
        .frames
        .iter()
        .filter(|frame| frame.trust != Trust::Scan)
        .filter_map(|frame| {
            let (id, _) = facts.modules.locate(frame.ip)?;
            facts.modules.get(id)?.name()
        })
        .collect();
    let network = |name: &&str| NETWORK.iter().any(|known| name.eq_ignore_ascii_case(known));
    let first = names.iter().position(&network);
    let last = names.iter().rposition(network);
    let (Some(first), Some(last)) = (first, last) else {
        return Outcome::Neutral("no certain frame is the network stack's".to_owned());
    };
    let mut foreign: Vec<String> = names
        .get(first..last)
        .unwrap_or_default()
        .iter()
        .filter(|name| windows::part(name).is_none())
        .map(|name| name.to_ascii_lowercase())
        .collect();
    foreign.sort();
    foreign.dedup();
    if foreign.is_empty() {
        return Outcome::Neutral(
            "no frame between those of the network stack is another vendor's; which of the loaded \
             drivers filter the network cannot be known by name"
                .to_owned(),
        );
    }
    Outcome::Found(vec![
        Evidence::contra(
            "filters.on-path",
            Strength::Weak,
            Basis::Inference,
            format!(
                "{} between frames of the network stack: by its place on the stack a network filter \
                 or adapter driver of another vendor",
                foreign.join(", ")
            ),
        )
        .at("stack"),
    ])
}
