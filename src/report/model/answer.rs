//! What a report answers about one article: match, evidence, applicability, look-alikes, actions.

use serde::{Deserialize, Serialize};

use crate::evidence::servicing::{BY_CO_DATING, BY_DATE};
use crate::evidence::{Basis, Strength};
use crate::verdict::{Applicability, MatchStatus, Verdict};

/// The answer about one article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Hotfix {
    /// The article.
    pub kb: String,
    /// Does this crash match the defect?
    #[serde(rename = "match")]
    pub matching: Match,
    /// Does the hotfix apply to this machine?
    pub applicability: ApplicabilityRecord,
    /// One word for a ticket, derived from the two above.
    pub verdict: Verdict,
    /// What to do now, in order.
    pub actions: Vec<Action>,
    /// What would settle an open question.
    pub would_settle: Vec<String>,
}

/// Does this crash match the defect?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Match {
    /// The answer.
    pub status: MatchStatus,
    /// The rule that gave it, in words.
    #[serde(default)]
    pub rule: Option<String>,
    /// Ids of the evidence that decided: what the rule rests on, or what speaks against.
    #[serde(default)]
    pub decided_by: Vec<String>,
    /// What the next higher status would need; alternatives where there are several.
    #[serde(default)]
    pub missing: Vec<MissingRecord>,
    /// What it rests on, for and against.
    pub evidence: Vec<EvidenceRecord>,
    /// Other known problems it could be.
    pub look_alikes: Vec<LookAlikeRecord>,
}

/// What a higher match status would need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MissingRecord {
    /// The status.
    pub status: MatchStatus,
    /// The effects that no evidence has, in the words of the rule table.
    pub needs: Vec<String>,
    /// For a person.
    pub text: String,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EvidenceRecord {
    /// Stable, for programs.
    pub id: String,
    /// For the match (true) or against it.
    #[serde(rename = "for")]
    pub supports: bool,
    /// How much it weighs.
    pub strength: Strength,
    /// What was seen.
    pub summary: String,
    /// Where it was seen.
    #[serde(rename = "where")]
    pub place: Option<String>,
    /// What the rule behind it rests on.
    pub basis: Basis,
}

/// Another known problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LookAlikeRecord {
    /// Article or a word.
    pub id: String,
    /// Why it could be that.
    pub why: String,
}

/// Does the hotfix apply to this machine?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ApplicabilityRecord {
    /// The answer.
    pub status: Applicability,
    /// In words.
    pub reason: String,
    /// The files it was decided from.
    pub decided_from: Vec<DecidedFrom>,
}

impl ApplicabilityRecord {
    /// True when it was concluded from a link date, and no version is known.
    pub fn is_by_date(&self) -> bool {
        let by_date = |from: &DecidedFrom| [BY_DATE, BY_CO_DATING].contains(&from.basis.as_str());
        self.decided_from.iter().any(by_date)
    }
}

/// One file that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DecidedFrom {
    /// File name.
    pub file: String,
    /// Its version, when known.
    pub version: Option<String>,
    /// The version that holds the fix.
    pub fixed_in: Option<String>,
    /// How the file's state was learnt.
    pub source: String,
    /// What the rule rests on.
    pub basis: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Action {
    /// Stable, for programs.
    #[serde(rename = "do")]
    pub action: String,
    /// For a person.
    pub text: String,
    /// The exact command.
    pub command: Option<String>,
}
