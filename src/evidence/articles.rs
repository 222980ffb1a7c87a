//! The signs of an article that a rule file describes, seen in the facts of one crash.

use crate::facts::CrashFacts;
use crate::knowledge::Basis;
use crate::knowledge::article::Article;
use crate::knowledge::builds::BuildTable;
use crate::knowledge::matching::{Effect, Strength};
use crate::knowledge::versions::{Applicability, FileVersion};

use super::conditions::{Holds, holds};
use super::servicing::claim;

/// A sign that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// `group.detail`.
    pub id: String,
    /// For the match (true) or against it.
    pub supports: bool,
    /// For a reader.
    pub strength: Strength,
    /// What it does to the match.
    pub effect: Effect,
    /// What the row rests on.
    pub basis: Basis,
    /// What was seen.
    pub summary: String,
}

/// How the machine stands to an article.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Does its update apply?
    pub applicability: Applicability,
    /// In words.
    pub reason: String,
    /// The deciding file's version and how it was learnt, where that decided.
    pub version: Option<(FileVersion, &'static str)>,
    /// What the deciding row rests on.
    pub basis: Basis,
    /// The machine lacks the fix, or is one that has the defect unless a fixed file is known.
    pub may_lack_fix: bool,
}

/// What builds and versions say.
pub fn standing(article: &Article, facts: &CrashFacts, builds: &BuildTable) -> Standing {
    let lacks = |applicability| {
        matches!(
            applicability,
            Applicability::Applicable
                | Applicability::NeedsServicePack
                | Applicability::PartiallyServiced
        )
    };
    let known = facts
        .modules
        .find(&article.decides)
        .and_then(|(_, module)| claim(module, builds));
    if let Some((version, source)) = known
        && let Some(row) = article
            .versions
            .iter()
            .find(|r| (r.from..=r.to).contains(&version))
    {
        return Standing {
            applicability: row.applicability,
            reason: format!("{} {version}: {}", article.decides, row.reason),
            version: Some((version, source)),
            basis: row.basis,
            may_lack_fix: lacks(row.applicability),
        };
    }
    let row = facts.system.build.and_then(|build| {
        article
            .systems
            .iter()
            .find(|row| (row.from..=row.to).contains(&build))
    });
    match row {
        Some(row) => Standing {
            applicability: row.applicability,
            reason: row.reason.to_string(),
            version: None,
            basis: row.basis,
            may_lack_fix: lacks(row.applicability) || row.applicability == Applicability::Unknown,
        },
        None => Standing {
            applicability: Applicability::Unknown,
            reason: match facts.system.build {
                Some(build) => format!(
                    "the rules of {} say nothing about build {build}",
                    article.kb
                ),
                None => "the dump does not say which Windows it is from".to_owned(),
            },
            version: None,
            basis: Basis::None,
            may_lack_fix: false,
        },
    }
}

/// The signs that were seen, in the order of the rule file; what the machine's state says comes
/// first.
pub fn signs(article: &Article, facts: &CrashFacts, standing: &Standing) -> Vec<Sign> {
    let mut signs: Vec<Sign> = state(standing).into_iter().collect();
    signs.extend(article.evidence.iter().filter_map(|row| {
        let Holds::Yes(seen) = holds(&row.when, facts) else {
            return None;
        };
        let mut summary = row.says.to_string();
        if !seen.is_empty() {
            summary = format!("{summary} ({})", seen.join("; "));
        }
        Some(Sign {
            id: row.id.to_string(),
            supports: row.supports,
            strength: row.strength,
            effect: row.effect,
            basis: row.basis,
            summary,
        })
    }));
    signs
}

fn state(standing: &Standing) -> Option<Sign> {
    let sign = |id: &str, effect: Effect, strength| Sign {
        id: id.to_owned(),
        supports: effect.side() != Some(false),
        strength,
        effect,
        basis: standing.basis,
        summary: standing.reason.clone(),
    };
    match standing.applicability {
        Applicability::Applicable
        | Applicability::NeedsServicePack
        | Applicability::PartiallyServiced => {
            Some(sign("build.unfixed", Effect::Unfixed, Strength::Moderate))
        }
        Applicability::AlreadyInstalled
        | Applicability::IncludedInLaterUpdate
        | Applicability::SupersededByServicePack => {
            Some(sign("build.fixed", Effect::Excludes, Strength::Excluding))
        }
        Applicability::NotApplicable => Some(sign(
            "build.other-system",
            Effect::Excludes,
            Strength::Excluding,
        )),
        Applicability::Unknown => None,
    }
}
