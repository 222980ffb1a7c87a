//! The answer about an article that a rule file describes: the same rows, the same words.

use crate::evidence::articles::{self, Sign, Standing};
use crate::facts::CrashFacts;
use crate::knowledge::article::Article;
use crate::knowledge::builds::BuildTable;

use super::{Action, Decision, MatchStatus, Piece, Verdict, judge, verdict};

/// The decisions about one crash and one such article.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArticleAnswer {
    /// Its number or name.
    pub kb: String,
    /// The file that decides, and the first version that holds the fix, where it is known.
    pub decides: (String, Option<String>),
    /// Does the crash match, and by which rule?
    pub decision: Decision,
    /// What was seen.
    pub signs: Vec<Sign>,
    /// Does its update apply?
    pub standing: Standing,
    /// One word.
    pub verdict: Verdict,
    /// What to do.
    pub actions: Vec<Action>,
    /// What would settle it.
    pub would_settle: Vec<String>,
}

/// What the facts say about the article.
pub fn answer(article: &Article, facts: &CrashFacts, builds: &BuildTable) -> ArticleAnswer {
    let standing = articles::standing(article, facts, builds);
    let signs = articles::signs(article, facts, &standing);
    let pieces: Vec<Piece<'_>> = signs
        .iter()
        .map(|sign| Piece {
            id: &sign.id,
            effect: sign.effect,
            unless: &[],
        })
        .collect();
    let decision = judge(&pieces, standing.may_lack_fix);
    let word = verdict(decision.status, standing.applicability);
    let open = (MatchStatus::InsufficientData..MatchStatus::Confirmed).contains(&decision.status)
        && word != Verdict::DoesNotApply;
    ArticleAnswer {
        kb: article.kb.to_string(),
        decides: (
            article.decides.to_string(),
            article.fixed_in.map(|version| version.to_string()),
        ),
        actions: actions(article, &decision, &standing, word),
        would_settle: match open {
            true => article
                .would_settle
                .iter()
                .map(ToString::to_string)
                .collect(),
            false => Vec::new(),
        },
        decision,
        signs,
        standing,
        verdict: word,
    }
}

fn actions(
    article: &Article,
    decision: &Decision,
    standing: &Standing,
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
            row.applicability.is_empty() || row.applicability.contains(&standing.applicability)
        })
        .map(|row| Action {
            id: row.id.clone(),
            text: row.text.to_string(),
            command: row.command.as_ref().map(ToString::to_string),
        })
        .collect()
}
