//! Which other known problems this crash looks like, each by its own rule and with the reason.

use crate::facts::CrashFacts;
use crate::knowledge::article::{self, LookAlike};
use crate::knowledge::builds::BuildTable;
use crate::knowledge::versions::Applicability;

use super::articles;
use super::conditions::{Holds, holds};

/// A look-alike and why it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its id.
    pub id: String,
    /// Why.
    pub why: String,
}

/// The look-alikes of this crash, nearest first. One whose fix the machine has is not named, nor one that
/// nothing tells apart where no other is named before it.
pub fn look_alikes(facts: &CrashFacts, builds: &BuildTable) -> Vec<Named> {
    let mut named: Vec<Named> = Vec::new();
    for other in article::look_alikes() {
        if other.alone || !named.is_empty() {
            named.extend(name(other, facts, builds));
        }
    }
    named
}

fn name(other: &LookAlike, facts: &CrashFacts, builds: &BuildTable) -> Option<Named> {
    let why = other
        .rules
        .iter()
        .find_map(|rule| match holds(&rule.when, facts) {
            Holds::Yes(seen) if seen.is_empty() => Some(rule.why.to_string()),
            Holds::Yes(seen) => Some(format!("{} ({})", rule.why, seen.join("; "))),
            Holds::No | Holds::Unknown(_) => None,
        })?;
    (!has_fix(&other.id, facts, builds)).then(|| Named {
        id: other.id.to_string(),
        why,
    })
}

/// True when an embedded article of that name says that the machine holds its fix.
fn has_fix(id: &str, facts: &CrashFacts, builds: &BuildTable) -> bool {
    let article = article::embedded()
        .iter()
        .find(|article| article::same(&article.kb, id));
    article.is_some_and(|article| {
        matches!(
            articles::servicing(article, facts, builds).applicability,
            Applicability::AlreadyInstalled
                | Applicability::IncludedInLaterUpdate
                | Applicability::SupersededByServicePack
        )
    })
}
