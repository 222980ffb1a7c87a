//! The answer in a headline and a sentence or two: what the verdict means for this dump, or why it is no.
//!
//! Reads the record only. The sentence names what decided, in words of its own where the evidence's are long.

use crate::evidence::Strength;
use crate::facts::Format;
use crate::knowledge::hotfix::KB943650;
use crate::report::escape::visible;
use crate::report::model::{EvidenceRecord, Hotfix, Report};
use crate::verdict::{MatchStatus, Verdict, WHOLE_FILE};

use super::happened::{is_forced, is_running};
use super::words;

/// What a report answers about one article, in a headline and a sentence or two.
pub struct Answered {
    /// `KB943650: APPLIES`.
    pub headline: String,
    /// How sure, and the state of the file that decides.
    pub detail: String,
    /// What it means, or why not.
    pub meaning: String,
}

/// The answer about `hotfix` as the screen gives it.
pub fn answered(report: &Report, hotfix: &Hotfix) -> Answered {
    Answered {
        headline: format!(
            "{}: {}",
            visible(&hotfix.kb),
            words::verdict_headline(hotfix.verdict)
        ),
        detail: match hotfix.verdict {
            Verdict::DoesNotApply => String::new(),
            _ => format!(
                "crash: {}; {}: {}",
                words::status(hotfix.matching.status),
                visible(words::deciding_file(hotfix)),
                words::fix_state(&hotfix.applicability)
            ),
        },
        meaning: visible(&meaning(report, hotfix)),
    }
}

/// The evidence that made it a "does not apply".
pub(super) fn reason(hotfix: &Hotfix) -> Option<&EvidenceRecord> {
    let against = || hotfix.matching.evidence.iter().filter(|e| !e.supports);
    let decided = &hotfix.matching.decided_by;
    against()
        .filter(|e| decided.contains(&e.id))
        .min_by_key(|e| words::weight(e.strength))
        .or_else(|| against().find(|e| e.strength == Strength::Excluding))
}

/// What the answer means, and for a "does not apply" why.
fn meaning(report: &Report, hotfix: &Hotfix) -> String {
    if hotfix.verdict == Verdict::DoesNotApply {
        return why_not(report, hotfix);
    }
    if hotfix.kb != KB943650.kb {
        return words::sentence(&hotfix.applicability.reason);
    }
    match hotfix.matching.status {
        MatchStatus::Confirmed => "The timer queue of multicast forwarding was corrupt.",
        MatchStatus::Probable => {
            "The timer queue of multicast forwarding probably was corrupt; not proven here."
        }
        MatchStatus::Possible if is_forced(report) => {
            "Windows was in the network stack when this dump was forced; this defect can hang it there."
        }
        MatchStatus::Possible if is_running(report) => {
            "Windows was in the network stack when its memory was saved; this defect can hang it there."
        }
        MatchStatus::Possible => {
            "The network stack faulted as this defect makes it fault; other bugs do, too."
        }
        _ if is_forced(report) => {
            "This dump was forced, as one does when Windows hangs. What hung it is not in the dump."
        }
        _ if is_running(report) => {
            "Windows was running when its memory was saved. Nothing shows that this defect hung it."
        }
        _ => match report.dump.as_ref() {
            Some(_) if hotfix.would_settle.iter().any(|what| what.starts_with(WHOLE_FILE)) => {
                "Only a part of the dump's file is here: not enough to tell."
            }
            Some(dump) if dump.format == Format::KernelHeaderOnly.as_str() => {
                "This dump is no more than a header: not enough to tell."
            }
            _ => "This dump does not hold enough to tell.",
        },
    }
    .to_owned()
}

fn why_not(report: &Report, hotfix: &Hotfix) -> String {
    let windows = words::windows(report);
    let Some(reason) = reason(hotfix) else {
        return words::sentence(&hotfix.applicability.reason);
    };
    let build = report.system.as_ref().and_then(|system| system.build);
    match (reason.id.as_str(), build) {
        ("build.other-system", Some(build)) if build > 6003 => {
            format!("{windows} is newer than any Windows this article covers.")
        }
        ("build.other-system", Some(build)) if build < 6000 => {
            format!("{windows} is older than any Windows this article covers.")
        }
        ("build.fixed-by-service-pack", _) => {
            format!("{windows} contains the fix: Service Pack 2 brought it.")
        }
        ("memory.overwritten-entry" | "memory.overwritten-list", _) => {
            "Something wrote over the timer queue. This defect leaves whole entries, wrongly linked."
                .to_owned()
        }
        ("dump.user-mode", _) => {
            "A program crashed here, not Windows: this defect stops or hangs all of Windows."
                .to_owned()
        }
        _ => words::sentence(&without_brackets(&reason.summary)),
    }
}

/// The text without remarks in round brackets.
pub(super) fn without_brackets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut depth = 0u32;
    for c in text.chars() {
        match c {
            '(' => {
                depth += 1;
                if out.ends_with(' ') {
                    out.pop();
                }
            }
            ')' if depth > 0 => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
    }
    out
}
