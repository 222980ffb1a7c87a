//! Applies the rule tables of `knowledge::matching`: from evidence to a status, with its reasons.
//!
//! A status follows from which effects are present, never from a sum. Order does not matter;
//! evidence for the match never lowers the status and evidence against it never raises it, because
//! a rule only asks whether an effect is present.

use crate::evidence::Evidence;
use crate::knowledge::matching::{self, Effect, MatchRule, MatchStatus};

/// The status, and what gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The status.
    pub status: MatchStatus,
    /// The rule that gave it, in words.
    pub rule: &'static str,
    /// Ids of the evidence that the rule rests on, in the order of the evidence.
    pub decided_by: Vec<String>,
    /// What the next higher status would need besides.
    pub missing: Vec<Missing>,
}

/// A higher status and the effects it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The status.
    pub status: MatchStatus,
    /// What is missing, all of it.
    pub needs: Vec<Effect>,
}

/// One piece of evidence as the rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its id.
    pub id: &'a str,
    /// What it does.
    pub effect: Effect,
    /// What takes its force away.
    pub unless: &'a [Effect],
}

/// What the evidence about KB943650 says together.
///
/// `may_lack_fix` is true when the system is one that has the defect unless a fixed tcpip.sys is
/// known: an unknown build of tcpip.sys on 6001 leaves the match possible.
pub fn decide(evidence: &[Evidence], may_lack_fix: bool) -> Decision {
    let pieces: Vec<Piece<'_>> = evidence.iter().map(piece).collect();
    judge(&pieces, may_lack_fix)
}

fn piece(evidence: &Evidence) -> Piece<'_> {
    let rule = matching::match_rule(&evidence.id);
    debug_assert!(
        rule.is_some_and(|rule| rule.supports == evidence.supports),
        "{}: no row in match-rules.tsv, or the other side",
        evidence.id
    );
    let rule = rule.filter(|rule| rule.supports == evidence.supports);
    Piece {
        id: &evidence.id,
        effect: rule.map_or(Effect::Listed, |rule| rule.effect),
        unless: rule.map_or(&[], |MatchRule { unless, .. }| unless),
    }
}

/// What the pieces say together, by the status rows.
pub fn judge(pieces: &[Piece<'_>], may_lack_fix: bool) -> Decision {
    let present: Vec<Effect> = effects(pieces, may_lack_fix);
    for (effect, status) in AGAINST {
        let against = in_force(pieces, effect, &present);
        if !against.is_empty() {
            return Decision {
                status,
                rule: effect.phrase(),
                decided_by: against,
                missing: Vec::new(),
            };
        }
    }
    let row = matching::status_rows()
        .iter()
        .find(|row| row.needs.iter().all(|need| present.contains(need)));
    let needs = row.map_or(&[][..], |row| row.needs);
    let status = row.map_or(MatchStatus::InsufficientData, |row| row.status);
    Decision {
        status,
        rule: row.map_or("the dump lacks what even possible needs", |row| row.rule),
        decided_by: carrying(pieces, needs),
        missing: missing(&present, status),
    }
}

/// One rule and whether it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleStep {
    /// What it gives.
    pub status: MatchStatus,
    /// The rule in words.
    pub rule: &'static str,
    /// It held.
    pub held: bool,
    /// The evidence that it rests on.
    pub by: Vec<String>,
    /// What it lacks.
    pub missing: Vec<Effect>,
}

/// Every rule in the order in which they are asked; the first that held gave the status.
pub fn trace(evidence: &[Evidence], may_lack_fix: bool) -> Vec<RuleStep> {
    let pieces: Vec<Piece<'_>> = evidence.iter().map(piece).collect();
    let present = effects(&pieces, may_lack_fix);
    let mut steps: Vec<RuleStep> = AGAINST
        .into_iter()
        .map(|(effect, status)| {
            let by = in_force(&pieces, effect, &present);
            RuleStep {
                status,
                rule: effect.phrase(),
                held: !by.is_empty(),
                by,
                missing: Vec::new(),
            }
        })
        .collect();
    steps.extend(matching::status_rows().iter().map(|row| {
        let missing = lacking(row.needs, &present);
        RuleStep {
            status: row.status,
            rule: row.rule,
            held: missing.is_empty(),
            by: carrying(&pieces, row.needs),
            missing,
        }
    }));
    steps
}

/// What stands before the rows.
const AGAINST: [(Effect, MatchStatus); 2] = [
    (Effect::Excludes, MatchStatus::Excluded),
    (Effect::Counters, MatchStatus::Unlikely),
];

/// The effects of `needs` that are not present.
fn lacking(needs: &[Effect], present: &[Effect]) -> Vec<Effect> {
    let absent = needs.iter().filter(|need| !present.contains(need));
    absent.copied().collect()
}

/// Ids of the pieces that carry an effect of `needs`, or one that brings it.
fn carrying(pieces: &[Piece<'_>], needs: &[Effect]) -> Vec<String> {
    let vulnerable = needs.contains(&Effect::Vulnerable);
    pieces
        .iter()
        .filter(|p| needs.contains(&p.effect) || (p.effect == Effect::Unfixed && vulnerable))
        .map(|piece| piece.id.to_owned())
        .collect()
}

/// Ids of the pieces with an effect against the match that have not lost their force.
fn in_force(pieces: &[Piece<'_>], effect: Effect, present: &[Effect]) -> Vec<String> {
    let cancelled = |piece: &&Piece<'_>| piece.unless.iter().any(|e| present.contains(e));
    pieces
        .iter()
        .filter(|piece| piece.effect == effect)
        .filter(|piece| !cancelled(piece))
        .map(|piece| piece.id.to_owned())
        .collect()
}

/// The effects of pieces for the match.
fn effects(pieces: &[Piece<'_>], may_lack_fix: bool) -> Vec<Effect> {
    let mut present: Vec<Effect> = pieces
        .iter()
        .map(|piece| piece.effect)
        .filter(|effect| effect.side() == Some(true))
        .collect();
    if may_lack_fix || present.contains(&Effect::Unfixed) {
        present.push(Effect::Vulnerable);
    }
    present
}

/// What the next higher status lacks, by the ways to it that lack least.
fn missing(present: &[Effect], status: MatchStatus) -> Vec<Missing> {
    let higher = || {
        matching::status_rows()
            .iter()
            .filter(|row| row.status > status)
    };
    let Some(next) = higher().map(|row| row.status).min() else {
        return Vec::new();
    };
    let ways: Vec<Missing> = higher()
        .filter(|row| row.status == next)
        .map(|row| Missing {
            status: next,
            needs: lacking(row.needs, present),
        })
        .collect();
    let least = ways.iter().map(|way| way.needs.len()).min();
    ways.into_iter()
        .filter(|way| Some(way.needs.len()) == least)
        .collect()
}
