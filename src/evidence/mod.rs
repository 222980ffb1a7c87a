//! Evidence for and against the defect: pure observers over the facts of one crash.
//!
//! Each observer asks one question, needs nothing another one found, and says why when it could
//! not look. Knows nothing about how evidence is weighed: that is the verdict's business.

pub mod articles;
mod code;
mod conditions;
mod exceptions;
mod fault_location;
mod filters;
mod forwarding;
mod frames;
mod inventory;
mod link_times;
mod lock;
pub mod look_alikes;
mod machine;
mod memory;
mod parameters;
mod processors;
mod release_window;
pub mod servicing;
mod sources;
#[cfg(test)]
mod testing;

pub use servicing::{Servicing, servicing};

use std::borrow::Cow;

use crate::facts::CrashFacts;
use crate::knowledge::builds::BuildTable;

pub use crate::knowledge::Basis;
pub use crate::knowledge::matching::Strength;

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Stable name, `group.detail`.
    pub id: Cow<'static, str>,
    /// For the match (true) or against it.
    pub supports: bool,
    /// Weight.
    pub strength: Strength,
    /// What was seen, for a person.
    pub summary: String,
    /// Where it was seen.
    pub place: Option<String>,
    /// What the rule behind it rests on.
    pub basis: Basis,
}

impl Evidence {
    fn pro(id: &'static str, strength: Strength, basis: Basis, summary: impl Into<String>) -> Self {
        Evidence {
            id: Cow::Borrowed(id),
            supports: true,
            strength,
            summary: summary.into(),
            place: None,
            basis,
        }
    }

    fn contra(
        id: &'static str,
        strength: Strength,
        basis: Basis,
        summary: impl Into<String>,
    ) -> Self {
        Evidence {
            supports: false,
            ..Evidence::pro(id, strength, basis, summary)
        }
    }

    fn at(mut self, place: impl Into<String>) -> Self {
        self.place = Some(place.into());
        self
    }
}

/// What one observer found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Evidence, for or against.
    Found(Vec<Evidence>),
    /// It looked and saw nothing that counts.
    Neutral(String),
    /// It could not look.
    NotObservable(String),
}

/// One observer's question and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// The observer, stable.
    pub observer: &'static str,
    /// What it looked for.
    pub question: &'static str,
    /// What came of it.
    pub outcome: Outcome,
}

/// What observers may know besides the facts.
pub struct Context<'a> {
    /// Known builds by identity.
    pub builds: &'a BuildTable,
}

type Observer = fn(&CrashFacts, &Context<'_>) -> Observation;

/// Every observer, in the order in which a person would ask.
const OBSERVERS: &[Observer] = &[
    servicing::kernel_dump,
    servicing::system,
    sources::windows,
    sources::dates,
    servicing::tcpip,
    servicing::code_check,
    link_times::observe,
    release_window::observe,
    inventory::observe,
    code::role,
    code::irql,
    exceptions::irql,
    sources::bugcheck,
    parameters::place,
    parameters::agreement,
    parameters::pattern,
    machine::processors,
    sources::processors,
    machine::uptime,
    forwarding::observe,
    fault_location::module,
    fault_location::one_frame_out,
    fault_location::hang,
    frames::nearest_caller,
    frames::on_stack,
    frames::dated,
    filters::observe,
    frames::instruction,
    memory::observe,
    lock::observe,
    processors::past_the_lock,
    processors::spinning,
];

/// Asks every observer. The order of the result is fixed; no observer depends on another.
pub fn observe(facts: &CrashFacts, context: &Context<'_>) -> Vec<Observation> {
    OBSERVERS.iter().map(|ask| ask(facts, context)).collect()
}

/// The evidence of all observations, in their order.
pub fn evidence(observations: &[Observation]) -> Vec<Evidence> {
    observations
        .iter()
        .filter_map(|observation| match &observation.outcome {
            Outcome::Found(found) => Some(found.iter().cloned()),
            Outcome::Neutral(_) | Outcome::NotObservable(_) => None,
        })
        .flatten()
        .collect()
}
