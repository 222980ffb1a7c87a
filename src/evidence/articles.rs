//! What a rule file's article asks, answered from the facts of one crash: how the machine stands to it, and
//! which of its evidence is there.

use crate::facts::CrashFacts;
use crate::knowledge::Basis;
use crate::knowledge::article::Article;
use crate::knowledge::builds::BuildTable;
use crate::knowledge::matching::{Effect, Strength};
use crate::knowledge::versions::{Applicability, FixState};

use super::Evidence;
use super::conditions::{Holds, holds};
use super::servicing::{DecidedFrom, Servicing, claim};

/// How the machine stands to the article: what builds and versions say.
pub fn servicing(article: &Article, facts: &CrashFacts, builds: &BuildTable) -> Servicing {
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
        return Servicing {
            may_lack_fix: state(row.applicability) == FixState::NotFixed,
            ..said(
                row.applicability,
                row.basis,
                format!("{} {version}: {}", article.decides, row.reason),
                DecidedFrom {
                    file: article.decides.to_string(),
                    version: Some(version),
                    fixed_in: article.fixed_in,
                    source: source.as_str(),
                    basis: row.basis.as_str(),
                },
            )
        };
    }
    let row = facts.system.build.and_then(|build| {
        article
            .systems
            .iter()
            .find(|row| (row.from..=row.to).contains(&build))
    });
    let (applicability, basis, reason) = match (row, facts.system.build) {
        (Some(row), _) => (row.applicability, row.basis, row.reason.to_string()),
        (None, Some(build)) => (
            Applicability::Unknown,
            Basis::None,
            format!(
                "the rules of {} say nothing about build {build}",
                article.kb
            ),
        ),
        (None, None) => (
            Applicability::Unknown,
            Basis::None,
            "the dump does not say which Windows it is from".to_owned(),
        ),
    };
    let state = state(applicability);
    Servicing {
        may_lack_fix: row.is_some() && matches!(state, FixState::NotFixed | FixState::Unknown),
        ..said(
            applicability,
            basis,
            reason,
            DecidedFrom {
                file: "windows build".to_owned(),
                version: None,
                fixed_in: None,
                source: "dump-header",
                basis: basis.as_str(),
            },
        )
    }
}

fn said(
    applicability: Applicability,
    basis: Basis,
    reason: String,
    from: DecidedFrom,
) -> Servicing {
    Servicing {
        state: state(applicability),
        by_date: false,
        disputed: false,
        may_lack_fix: false,
        applicability,
        basis,
        reason,
        decided_from: vec![from],
    }
}

/// What an article's applicability says of the deciding file.
fn state(applicability: Applicability) -> FixState {
    match applicability {
        Applicability::Applicable
        | Applicability::NeedsServicePack
        | Applicability::PartiallyServiced => FixState::NotFixed,
        Applicability::AlreadyInstalled
        | Applicability::IncludedInLaterUpdate
        | Applicability::SupersededByServicePack => FixState::Fixed,
        Applicability::NotApplicable => FixState::NotApplicable,
        Applicability::Unknown => FixState::Unknown,
    }
}

/// The evidence that was seen and what each piece does to the match, in the order of the rule file; what the
/// machine's state says comes first.
pub fn evidence(
    article: &Article,
    facts: &CrashFacts,
    servicing: &Servicing,
) -> Vec<(Evidence, Effect)> {
    let mut seen: Vec<(Evidence, Effect)> = of_state(servicing).into_iter().collect();
    seen.extend(article.evidence.iter().filter_map(|row| {
        let Holds::Yes(found) = holds(&row.when, facts) else {
            return None;
        };
        let mut summary = row.says.to_string();
        if !found.is_empty() {
            summary = format!("{summary} ({})", found.join("; "));
        }
        let evidence = Evidence {
            id: row.id.clone(),
            supports: row.supports,
            strength: row.strength,
            summary,
            place: None,
            basis: row.basis,
        };
        Some((evidence, row.effect))
    }));
    seen
}

fn of_state(servicing: &Servicing) -> Option<(Evidence, Effect)> {
    let reason = servicing.reason.as_str();
    let basis = servicing.basis;
    Some(match servicing.state {
        FixState::NotFixed => (
            Evidence::pro("build.unfixed", Strength::Moderate, basis, reason),
            Effect::Unfixed,
        ),
        FixState::Fixed => (
            Evidence::contra("build.fixed", Strength::Excluding, basis, reason),
            Effect::Excludes,
        ),
        FixState::NotApplicable => (
            Evidence::contra("build.other-system", Strength::Excluding, basis, reason),
            Effect::Excludes,
        ),
        FixState::Unknown => return None,
    })
}
