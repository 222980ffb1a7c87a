//! An article of the Knowledge Base as a rule file describes it: which builds, which signs, what to
//! do. The two embedded ones and those of `--knowledge` are of this form; `docs/knowledge.md`.
//!
//! Data only. KB943650 itself has observers in code, and the same effects and status rows.

use serde::Serialize;

use super::Basis;
use super::conditions::{Conditions, List, Text};
use super::matching::{Effect, MatchStatus, Strength};
use super::tables::articles::ARTICLES;
use super::versions::{Applicability, FileVersion};

/// One article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Article {
    /// Its number or name: `KB972887`, `MS08-001`.
    pub kb: Text,
    /// What it is about.
    pub title: Text,
    /// The file whose version decides, lower case.
    pub decides: Text,
    /// First version that holds the fix, where it is known.
    #[serde(rename = "fixed_version")]
    pub fixed_in: Option<FileVersion>,
    /// What the Windows build says.
    #[serde(rename = "system_rules")]
    pub systems: List<SystemRow>,
    /// What the version of the deciding file says; outweighs the build.
    #[serde(rename = "version_rules")]
    pub versions: List<VersionRow>,
    /// Signs for and against.
    pub evidence: List<EvidenceRow>,
    /// What to do.
    pub actions: List<ActionRow>,
    /// What would settle an open question.
    #[serde(skip)]
    pub would_settle: List<Text>,
}

/// What is said for a range, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RangeRow<T> {
    /// First of the range.
    pub from: T,
    /// Last of the range.
    pub to: T,
    /// What it says; of a build `unknown` means: affected, and the version decides.
    pub applicability: Applicability,
    /// What the row rests on.
    pub basis: Basis,
    /// One sentence for a person.
    pub reason: Text,
}

/// A range of Windows builds.
pub type SystemRow = RangeRow<u32>;

/// A range of versions of the deciding file.
pub type VersionRow = RangeRow<FileVersion>;

/// A sign and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EvidenceRow {
    /// `group.detail`.
    pub id: Text,
    /// For the match (true) or against it.
    #[serde(rename = "for")]
    pub supports: bool,
    /// For a reader.
    pub strength: Strength,
    /// What it does to the match.
    pub effect: Effect,
    /// What the row rests on.
    pub basis: Basis,
    /// What was seen, for a person.
    pub says: Text,
    /// When.
    #[serde(skip)]
    pub when: Conditions,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ActionRow {
    /// Stable name for programs.
    #[serde(rename = "do")]
    pub id: Text,
    /// For a person.
    pub text: Text,
    /// The exact command.
    pub command: Option<Text>,
    /// Only with these answers about the machine; empty: with any that leaves it without the fix.
    #[serde(skip)]
    pub applicability: List<Applicability>,
    /// Only from this match on.
    #[serde(skip)]
    pub at_least: MatchStatus,
}

/// The embedded ones.
pub fn embedded() -> &'static [Article] {
    ARTICLES
}

/// True when two names of articles mean the same, `KB` or not, in any case.
pub fn same(a: &str, b: &str) -> bool {
    let bare = |text: &str| {
        let upper = text.trim().to_ascii_uppercase();
        upper
            .strip_prefix("KB")
            .map_or_else(|| upper.clone(), str::to_owned)
    };
    bare(a) == bare(b)
}

/// Another known problem that a report has to be able to name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LookAlike {
    /// Article or bulletin, or a word for a problem without one.
    pub id: Text,
    /// What people call a problem without an article; empty where the id says it.
    #[serde(skip)]
    pub name: Text,
    /// Where it occurs.
    #[serde(rename = "where")]
    pub place: Text,
    /// What it looks like.
    pub symptom: Text,
    /// How to tell it from KB943650.
    #[serde(rename = "how_to_tell")]
    pub tell: Text,
    /// It can be named alone: false for one that nothing tells apart, which is said beside others only.
    #[serde(skip)]
    pub alone: bool,
    /// When one dump is enough to name it; the first rule that holds gives the reason. Empty: one
    /// dump never is.
    #[serde(skip)]
    pub rules: List<LookAlikeRule>,
}

/// When a look-alike is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookAlikeRule {
    /// What has to hold.
    pub when: Conditions,
    /// Why it is named.
    pub why: Text,
}

/// All look-alikes, nearest first.
pub fn look_alikes() -> &'static [LookAlike] {
    super::tables::articles::LOOK_ALIKES
}

/// What people call the look-alike with this id: the id itself where it is an article's.
pub fn look_alike_name(id: &str) -> &str {
    match look_alikes().iter().find(|row| row.id == id) {
        Some(row) if !row.name.is_empty() => &row.name,
        _ => id,
    }
}
