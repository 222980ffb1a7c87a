//! What evidence does to a match, and which effects give which status: the rule tables.
//!
//! Rows only (`data/match-rules.tsv`, `match-effects.tsv`, `match-status.tsv`); `verdict::decide`
//! applies them. No number is weighed: a status follows from which effects are present.

use super::tables::matching::{EFFECTS, MATCH_RULES, STATUS_ROWS};
use crate::vocabulary::closed_enum;

closed_enum! {
    /// Does the crash match the defect? In ascending order.
    MatchStatus {
        /// Something rules it out.
        Excluded = "excluded",
        /// Evidence nearest the fault speaks against it.
        Unlikely = "unlikely",
        /// The dump lacks what even `possible` needs.
        InsufficientData = "insufficient-data",
        /// The fault is where the defect strikes, and nothing names another owner.
        Possible = "possible",
        /// A decisive sign, without proof.
        Probable = "probable",
        /// Proven.
        Confirmed = "confirmed",
    }
}

closed_enum! {
    /// How much a piece of evidence weighs.
    Strength {
        /// Settles the question together with few others.
        Decisive = "decisive",
        /// Weighs much.
        Strong = "strong",
        /// Weighs something.
        Moderate = "moderate",
        /// Hardly weighs.
        Weak = "weak",
        /// Rules the defect out, whatever else was seen.
        Excluding = "excluding",
    }
}

closed_enum! {
    /// What a piece of evidence does to the match.
    Effect {
        /// The build lacks the fix or could lack it.
        Vulnerable = "vulnerable",
        /// The version or the code, not only a date, says that the fix is missing. Brings
        /// `Vulnerable` with it.
        Unfixed = "unfixed",
        /// The fault is where the defect strikes.
        Struck = "struck",
        /// The code is one that the defect raises at the fault itself.
        RightCode = "right-code",
        /// The defect's own code by name and position.
        DecisiveFrame = "decisive-frame",
        /// The faulting pointer is the timer link of a forwarding entry in memory.
        DecisiveLink = "decisive-link",
        /// A list operation inside a forwarding entry's memory.
        MemoryBlock = "memory-block",
        /// What confirms on an unfixed build: the race itself, seen in memory.
        Proof = "proof",
        /// The list is torn as a race tears it.
        TornList = "torn-list",
        /// A processor hangs where the defect strikes.
        Hung = "hung",
        /// Forwarding was on at the crash.
        Forwards = "forwards",
        /// Shown, decides nothing alone.
        Listed = "listed",
        /// Makes the match unlikely.
        Counters = "counters",
        /// Rules the match out.
        Excludes = "excludes",
    }
}

impl Effect {
    /// The side evidence with this effect is on; `None`: either.
    pub fn side(self) -> Option<bool> {
        match self {
            Effect::Listed => None,
            Effect::Counters | Effect::Excludes => Some(false),
            _ => Some(true),
        }
    }

    /// What a person calls it: completes "missing: …" or "because of …".
    pub fn phrase(self) -> &'static str {
        EFFECTS
            .iter()
            .find(|(effect, _)| *effect == self)
            .map_or("", |(_, phrase)| phrase)
    }
}

/// One evidence id and what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchRule {
    /// Evidence id.
    pub id: &'static str,
    /// For the match (true) or against it.
    pub supports: bool,
    /// What it does.
    pub effect: Effect,
    /// Any of these takes the force of a countering piece away.
    pub unless: &'static [Effect],
    /// Why, for a reviewer.
    pub why: &'static str,
}

/// A status and the effects that give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusRow {
    /// The status.
    pub status: MatchStatus,
    /// All of them have to be present.
    pub needs: &'static [Effect],
    /// The rule in words.
    pub rule: &'static str,
}

/// Every evidence id of KB943650.
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn match_rules() -> &'static [MatchRule] {
    MATCH_RULES
}

/// The rule of an evidence id.
pub fn match_rule(id: &str) -> Option<&'static MatchRule> {
    MATCH_RULES.iter().find(|rule| rule.id == id)
}

/// The statuses that effects give, highest first.
pub fn status_rows() -> &'static [StatusRow] {
    STATUS_ROWS
}
