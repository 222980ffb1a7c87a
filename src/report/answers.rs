//! The answers about articles as records: from decisions to `hotfix` and `other_articles`.
//!
//! Decides nothing and words nothing of its own; names are those of the report contract.

use super::model as m;
use crate::verdict::{Answer, Missing};

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

fn matching(answer: &Answer) -> m::Match {
    let decision = &answer.decision;
    m::Match {
        status: decision.status,
        rule: Some(decision.rule.to_owned()),
        decided_by: decision.decided_by.clone(),
        missing: decision.missing.iter().map(missing).collect(),
        evidence: answer
            .evidence
            .iter()
            .map(|e| m::EvidenceRecord {
                id: e.id.to_string(),
                supports: e.supports,
                strength: e.strength,
                summary: e.summary.clone(),
                place: e.place.clone(),
                basis: e.basis,
            })
            .collect(),
        look_alikes: answer
            .look_alikes
            .iter()
            .map(|other| m::LookAlikeRecord {
                id: other.id.clone(),
                why: other.why.clone(),
            })
            .collect(),
    }
}

/// The record of one article's answer.
pub(super) fn hotfix(answer: &Answer) -> m::Hotfix {
    let servicing = &answer.servicing;
    m::Hotfix {
        kb: answer.kb.to_string(),
        matching: matching(answer),
        applicability: m::ApplicabilityRecord {
            status: servicing.applicability,
            reason: servicing.reason.clone(),
            decided_from: servicing
                .decided_from
                .iter()
                .map(|d| m::DecidedFrom {
                    file: d.file.clone(),
                    version: d.version.map(|v| v.to_string()),
                    fixed_in: d.fixed_in.map(|v| v.to_string()),
                    source: d.source.to_owned(),
                    basis: d.basis.to_owned(),
                })
                .collect(),
        },
        verdict: answer.verdict,
        actions: answer
            .actions
            .iter()
            .map(|a| m::Action {
                action: a.id.to_string(),
                text: a.text.clone(),
                command: a.command.clone(),
            })
            .collect(),
        would_settle: answer.would_settle.clone(),
    }
}
