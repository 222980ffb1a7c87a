//! Why: the evidence that is worth a line of the screen, for and against, the heaviest first, and what is missing.

use crate::evidence::Strength;
use crate::knowledge::article;
use crate::knowledge::hotfix::KB943650;
use crate::report::model::{EvidenceRecord, Hotfix, Report, Stack};
use crate::verdict::{Applicability, MatchStatus, Verdict};

use super::answer::{reason, without_brackets};
use super::happened::CONTRADICTIONS;
use super::words;

/// What is said of memory that somebody wrote over: the answer's sentence says what it means, a line what was seen.
const OVERWRITTEN: &str = "memory.overwritten-";
/// Evidence that every crash of its kind has, or that another line of the screen says.
const SAID_ELSEWHERE: [&str; 6] = [
    "code.primary",
    "code.right-place",
    "irql.dispatch",
    "machine.processors",
    "hang.forced",
    "hang.no-bug-check",
];

/// The functions from the fault outward, as far as they have names.
fn chain(stack: &Stack) -> Option<String> {
    /// More do not fit a line.
    const MOST: usize = 4;
    let activity = stack.faulting_activity.map_or(MOST, |n| n as usize);
    let names: Vec<&str> = stack
        .frames
        .iter()
        .take(activity.min(MOST))
        .map_while(|frame| frame.symbol.as_deref())
        .collect();
    // With fewer the summary says more.
    (names.len() > 1).then(|| {
        let mut text = String::new();
        for name in names {
            if !text.is_empty() && text.len() + name.len() > 67 {
                break;
            }
            if !text.is_empty() {
                text.push_str(" < ");
            }
            text.push_str(name);
        }
        text
    })
}

/// What would settle an open answer, the beginning of each sentence.
pub(super) fn missing(hotfix: &Hotfix) -> Option<String> {
    if hotfix.verdict == Verdict::DoesNotApply
        || matches!(hotfix.applicability.status, Applicability::NotApplicable)
    {
        return None;
    }
    let heads: Vec<&str> = hotfix
        .would_settle
        .iter()
        .map(|text| {
            let end = text.find([':', ',', ';', '(']).unwrap_or(text.len());
            text.get(..end).unwrap_or(text).trim_end()
        })
        .collect();
    (!heads.is_empty()).then(|| heads.join("; "))
}

/// What is worth a line of the evidence, for and against, the heaviest first.
pub(super) fn evidence(report: &Report, hotfix: &Hotfix) -> (Vec<String>, Vec<String>) {
    let decided = &hotfix.matching.decided_by;
    let negative = hotfix.verdict == Verdict::DoesNotApply;
    // The reason of a "does not apply" is the answer's own sentence.
    let reason = reason(hotfix).map(|evidence| &evidence.id);
    let ruled_out = hotfix.matching.status == MatchStatus::Excluded;
    let mut all: Vec<&EvidenceRecord> = hotfix
        .matching
        .evidence
        .iter()
        .filter(|e| !SAID_ELSEWHERE.contains(&e.id.as_str()))
        .filter(|e| !CONTRADICTIONS.contains(&e.id.as_str()))
        .filter(|e| !(negative && Some(&e.id) == reason && !e.id.starts_with(OVERWRITTEN)))
        .filter(|_| !ruled_out)
        .collect();
    // What the headline says of the file's state is worth a line where there is room.
    let about_build =
        |e: &EvidenceRecord| e.id.starts_with("build.") && !e.id.ends_with("-by-code");
    all.sort_by_key(|e| {
        (
            about_build(e),
            !decided.contains(&e.id),
            words::weight(e.strength),
        )
    });
    let seen = |id: &str| all.iter().any(|e| e.id == id);
    let by_code = seen("build.unfixed-by-code");
    let by_frames = seen("frame.mfe-timer") || seen("frame.mfe-list");
    let telling = |e: &&&EvidenceRecord| match negative {
        // What speaks for a defect that it is not is worth a line where it is strong only.
        true => {
            words::weight(e.strength) <= words::weight(Strength::Strong)
                && !e.id.starts_with("build.")
        }
        false => e.strength != Strength::Weak || decided.contains(&e.id),
    };
    let supporting = all
        .iter()
        .filter(|e| e.supports)
        .filter(telling)
        .filter(|e| !(by_code && e.id == "build.unfixed"))
        .filter(|e| !(by_frames && e.id == "fault.queue-module"))
        .map(|e| brief(report, hotfix, e))
        .collect();
    let against = all
        .iter()
        .filter(|e| !e.supports)
        .map(|e| brief(report, hotfix, e))
        .collect();
    (supporting, against)
}

/// A piece of evidence in a line or two.
fn brief(report: &Report, hotfix: &Hotfix, evidence: &EvidenceRecord) -> String {
    let special = match evidence.id.as_str() {
        "frame.mfe-timer" | "frame.mfe-list" => report.stack.as_ref().and_then(chain),
        "instruction.list-operation" => report
            .fault
            .as_ref()
            .and_then(|fault| fault.instruction.as_ref())
            .map(|text| format!("{text}: list operation, at the address its registers give")),
        "build.unfixed-by-code" => Some(format!(
            "tcpip.sys{} restarts the timer under the read lock",
            version(report).map(|v| format!(" {v}")).unwrap_or_default()
        )),
        "lock.changed-under-read-lock" if hotfix.verdict == Verdict::DoesNotApply => Some(
            "the queue was being changed under the read lock, as code without the fix does"
                .to_owned(),
        ),
        "filters.on-path" => evidence
            .summary
            .split_once(" between frames")
            .map(|(names, _)| format!("{names} (other vendors) on the path: weak")),
        _ => None,
    };
    special.unwrap_or_else(|| without_brackets(&evidence.summary))
}

/// The other known problem that an open answer looks most like.
pub(super) fn other(hotfix: &Hotfix) -> Option<String> {
    let open = hotfix.verdict != Verdict::DoesNotApply;
    let first = hotfix.matching.look_alikes.first().filter(|_| open)?;
    let name = article::look_alike_name(&first.id);
    // A problem without an article has nothing to read: what was seen says more than the rule.
    let seen = first
        .why
        .strip_suffix(')')
        .and_then(|why| why.split_once(" ("));
    Some(match seen {
        Some((_, seen)) if name != first.id => format!("{name}: {seen}"),
        _ => format!("{name}: {}", without_brackets(&first.why)),
    })
}

/// The version of tcpip.sys, where it is known.
fn version(report: &Report) -> Option<&str> {
    let modules = report.modules.as_deref()?;
    let named = |m: &&crate::report::model::Module| {
        let name = m.name.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(KB943650.decides))
    };
    modules.iter().find(named)?.version.as_deref()
}

/// What was asked besides.
pub(super) fn others(report: &Report) -> Option<String> {
    let others = &report.other_articles;
    let texts: Vec<String> = others
        .iter()
        .map(|other| format!("{}: {}", other.kb, other.verdict.as_str().replace('-', " ")))
        .collect();
    (!texts.is_empty()).then(|| texts.join("; "))
}
