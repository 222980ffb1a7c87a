//! The answers about articles as records: from decisions to `hotfix` and `other_articles`.
//!
//! Decides nothing and words nothing of its own; names are those of the report contract.

use super::build::{Answer, AnswerOf};
use super::model as m;
use crate::knowledge::hotfix::KB943650;
use crate::verdict::{Action, ArticleAnswer, Decision, Missing};

fn missing(missing: &Missing) -> m::MissingRecord {
    let phrases: Vec<&str> = missing.needs.iter().map(|need| need.phrase()).collect();
    m::MissingRecord {
        status: missing.status,
        needs: missing
            .needs
            .iter()
            .map(|n| n.as_str().to_owned())
            .collect(),
        text: phrases.join("; and "),
    }
}

fn matching(
    decision: &Decision,
    evidence: Vec<m::EvidenceRecord>,
    look_alikes: Vec<m::LookAlikeRecord>,
) -> m::Match {
    m::Match {
        status: decision.status,
        rule: Some(decision.rule.to_owned()),
        decided_by: decision.decided_by.clone(),
        missing: decision.missing.iter().map(missing).collect(),
        evidence,
        look_alikes,
    }
}

/// The record of one article's answer.
pub(super) fn hotfix_of(answer: &AnswerOf) -> m::Hotfix {
    match answer {
        AnswerOf::Defect(answer) => hotfix(answer),
        AnswerOf::Article(answer) => article(answer),
    }
}

fn article(answer: &ArticleAnswer) -> m::Hotfix {
    let (file, fixed_in) = &answer.decides;
    let standing = &answer.standing;
    m::Hotfix {
        kb: answer.kb.clone(),
        matching: matching(
            &answer.decision,
            answer
                .signs
                .iter()
                .map(|sign| m::EvidenceRecord {
                    id: sign.id.clone(),
                    supports: sign.supports,
                    strength: sign.strength,
                    summary: sign.summary.clone(),
                    place: None,
                    basis: sign.basis,
                })
                .collect(),
            Vec::new(),
        ),
        applicability: m::ApplicabilityRecord {
            status: standing.applicability,
            reason: standing.reason.clone(),
            decided_from: vec![m::DecidedFrom {
                file: match &standing.version {
                    Some(_) => file.clone(),
                    None => "windows build".to_owned(),
                },
                version: standing.version.map(|(version, _)| version.to_string()),
                fixed_in: standing.version.and_then(|_| fixed_in.clone()),
                source: standing
                    .version
                    .map_or("dump-header", |(_, source)| source)
                    .to_owned(),
                basis: standing.basis.as_str().to_owned(),
            }],
        },
        verdict: answer.verdict,
        actions: actions(&answer.actions),
        would_settle: answer.would_settle.clone(),
    }
}

fn actions(actions: &[Action]) -> Vec<m::Action> {
    actions
        .iter()
        .map(|a| m::Action {
            action: a.id.to_string(),
            text: a.text.clone(),
            command: a.command.clone(),
        })
        .collect()
}

fn hotfix(answer: &Answer) -> m::Hotfix {
    m::Hotfix {
        kb: KB943650.kb.to_owned(),
        matching: matching(
            &answer.decision,
            answer
                .evidence
                .iter()
                .map(|e| m::EvidenceRecord {
                    id: e.id.to_owned(),
                    supports: e.supports,
                    strength: e.strength,
                    summary: e.summary.clone(),
                    place: e.place.clone(),
                    basis: e.basis,
                })
                .collect(),
            answer
                .look_alikes
                .iter()
                .map(|other| m::LookAlikeRecord {
                    id: other.id.clone(),
                    why: other.why.clone(),
                })
                .collect(),
        ),
        applicability: m::ApplicabilityRecord {
            status: answer.servicing.applicability,
            reason: answer.servicing.reason.clone(),
            decided_from: answer
                .servicing
                .decided_from
                .iter()
                .map(|d| m::DecidedFrom {
                    file: d.file.clone(),
                    version: d.version.map(|v| v.to_string()),
                    fixed_in: (d.file != "windows build")
                        .then(|| KB943650.fixed_version.to_string()),
                    source: d.source.to_owned(),
                    basis: d.basis.to_owned(),
                })
                .collect(),
        },
        verdict: answer.verdict,
        actions: actions(&answer.actions),
        would_settle: answer.would_settle.clone(),
    }
}
