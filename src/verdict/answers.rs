//! The answer about one article: KB943650, whose rules are built in, or one that a rule file describes. The
//! same types, the same words.

use std::borrow::Cow;

use crate::evidence::look_alikes::{Named, look_alikes};
use crate::evidence::{self, Evidence, Observation, Servicing, articles};
use crate::facts::CrashFacts;
use crate::knowledge::article::Article;
use crate::knowledge::builds::BuildTable;
use crate::knowledge::hotfix::KB943650;

use super::{
    Action, Decision, MatchStatus, Piece, Verdict, actions, decide, judge, verdict, would_settle,
};

/// The decisions about one crash and one article.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its number or name.
    pub kb: Cow<'static, str>,
    /// Does the crash match, and by which rule?
    pub decision: Decision,
    /// What was seen, in the observers' or the rule file's order.
    pub evidence: Vec<Evidence>,
    /// Other known problems that it may be instead.
    pub look_alikes: Vec<Named>,
    /// Does its update apply?
    pub servicing: Servicing,
    /// One word.
    pub verdict: Verdict,
    /// What to do.
    pub actions: Vec<Action>,
    /// What would settle it.
    pub would_settle: Vec<String>,
}

/// The answer about KB943650. Advice and look-alikes follow from the facts and are worked out for a `full` answer
/// alone.
pub fn defect_answer(
    facts: &CrashFacts,
    builds: &BuildTable,
    observations: &[Observation],
    full: bool,
) -> Answer {
    let evidence = evidence::evidence(observations);
    let servicing = evidence::servicing(facts, builds);
    let decision = decide(&evidence, servicing.may_lack_fix);
    let status = decision.status;
    let verdict = verdict(status, servicing.applicability);
    Answer {
        kb: Cow::Borrowed(KB943650.kb),
        look_alikes: match status {
            // Proven: nothing else is asked.
            MatchStatus::Confirmed => Vec::new(),
            _ if full => look_alikes(facts, builds),
            _ => Vec::new(),
        },
        verdict,
        actions: match full {
            true => actions(facts, &servicing, (&decision, &evidence), verdict),
            false => Vec::new(),
        },
        would_settle: match full {
            true => would_settle(facts, &servicing, status),
            false => Vec::new(),
        },
        decision,
        evidence,
        servicing,
    }
}

/// The answer about an article that a rule file describes.
pub fn article_answer(article: &Article, facts: &CrashFacts, builds: &BuildTable) -> Answer {
    let servicing = articles::servicing(article, facts, builds);
    let seen = articles::evidence(article, facts, &servicing);
    let pieces: Vec<Piece<'_>> = seen
        .iter()
        .map(|(evidence, effect)| Piece {
            id: &evidence.id,
            effect: *effect,
            unless: &[],
        })
        .collect();
    let decision = judge(&pieces, servicing.may_lack_fix);
    let word = verdict(decision.status, servicing.applicability);
    let open = (MatchStatus::InsufficientData..MatchStatus::Confirmed).contains(&decision.status)
        && word != Verdict::DoesNotApply;
    Answer {
        kb: article.kb.clone(),
        actions: article_actions(article, &decision, &servicing, word),
        would_settle: match open {
            true => article
                .would_settle
                .iter()
                .map(ToString::to_string)
                .collect(),
            false => Vec::new(),
        },
        decision,
        evidence: seen.into_iter().map(|(evidence, _)| evidence).collect(),
        look_alikes: Vec::new(),
        servicing,
        verdict: word,
    }
}

fn article_actions(
    article: &Article,
    decision: &Decision,
    servicing: &Servicing,
    word: Verdict,
) -> Vec<Action> {
    if word == Verdict::DoesNotApply {
        return vec![Action {
            id: "look-elsewhere".into(),
            text: format!(
                "This crash is something else: {} is no answer to it.",
                article.kb
            ),
            command: None,
        }];
    }
    article
        .actions
        .iter()
        .filter(|row| decision.status >= row.at_least)
        .filter(|row| {
            row.applicability.is_empty() || row.applicability.contains(&servicing.applicability)
        })
        .map(|row| Action {
            id: row.id.clone(),
            text: row.text.to_string(),
            command: row.command.as_ref().map(ToString::to_string),
        })
        .collect()
}
