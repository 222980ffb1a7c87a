//! The page about one dump: the answer, what to do with commands to copy, evidence, drawings, stack, drivers.

use std::io;

use serde::Serialize;

use super::drawing::{self, List, Point};
use super::shown;
use crate::facts::Boundary;
use crate::knowledge::article::look_alike_name;
use crate::report::escape::visible;
use crate::report::model::{Action, Cause, EvidenceRecord, Frame, Hotfix, Report};
use crate::report::text::{self, words};
use crate::verdict::Verdict;

/// Drivers and frames that a page shows: more than any machine has, fewer than a hostile dump may name.
const MOST_ROWS: usize = 2000;

#[derive(Serialize)]
struct Page {
    answers: Vec<Answer>,
    facts: Vec<(&'static str, String)>,
    cause: Option<Other>,
    list: Option<List>,
    strip: Vec<Point>,
    frames: Vec<FrameRow>,
    stack_caption: String,
    drivers: Vec<Driver>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct Answer {
    number: usize,
    kb: String,
    verdict: &'static str,
    headline: String,
    detail: String,
    meaning: String,
    steps: Vec<Step>,
    rule: String,
    evidence: Vec<EvidenceRow>,
    open: Vec<String>,
    others: Vec<String>,
}

/// Whom the crash is laid to, apart from the article.
#[derive(Serialize)]
struct Other {
    headline: String,
    reason: String,
    hints: Vec<String>,
    steps: Vec<Step>,
}

#[derive(Serialize)]
struct Step {
    text: String,
    command: Option<String>,
}

#[derive(Serialize)]
struct EvidenceRow {
    side: &'static str,
    weight: &'static str,
    decided: bool,
    text: String,
    place: Option<String>,
    basis: &'static str,
}

#[derive(Serialize)]
struct FrameRow {
    class: &'static str,
    number: u32,
    place: String,
    remark: &'static str,
    address: String,
    trust: String,
}

#[derive(Serialize)]
struct Driver {
    name: String,
    version: String,
    linked: String,
    base: String,
    symbols: String,
}

/// The page about `report`; one that could not be analysed says why.
///
/// # Errors
/// Those of the template library.
pub fn dump(report: &Report) -> io::Result<String> {
    let hotfixes = report.hotfix.iter().chain(&report.other_articles);
    let answers: Vec<Answer> = (0..)
        .zip(hotfixes)
        .map(|(n, h)| answer(n, report, h))
        .collect();
    let first = answers.first().map(|answer| answer.headline.as_str());
    let path = visible(&report.source.path);
    let title = format!("{}: {path}", first.unwrap_or("Not analysed"));
    let mut facts = text::happened(report);
    facts.push(("File", path));
    let (frames, stack_caption) = frames(report);
    let mut notes: Vec<String> = report
        .notes
        .iter()
        .map(|note| visible(&note.message))
        .collect();
    notes.extend(report.error.iter().map(|error| visible(&error.message)));
    let damage = report.dump.iter().flat_map(|dump| &dump.damage);
    notes.extend(damage.map(|damage| format!("Damaged: {}", visible(&damage.what))));
    let page = Page {
        answers,
        facts,
        cause: report.cause.as_ref().map(other),
        list: drawing::list(report),
        strip: drawing::strip(report),
        frames,
        stack_caption,
        drivers: drivers(report),
        notes,
    };
    super::page(&title, include_str!("dump.html"), &page)
}

fn answer(number: usize, report: &Report, hotfix: &Hotfix) -> Answer {
    let said = text::answered(report, hotfix);
    let others = hotfix.matching.look_alikes.iter();
    Answer {
        number,
        kb: visible(&hotfix.kb),
        verdict: hotfix.verdict.as_str(),
        headline: said.headline,
        detail: said.detail,
        meaning: said.meaning,
        steps: hotfix.actions.iter().map(step).collect(),
        rule: match &hotfix.matching.rule {
            Some(rule) => words::sentence(&format!("The rule that decided: {}", visible(rule))),
            None => String::new(),
        },
        evidence: evidence(hotfix),
        open: hotfix
            .would_settle
            .iter()
            .map(|text| visible(text))
            .collect(),
        others: others
            .map(|o| visible(&format!("{}: {}", look_alike_name(&o.id), o.why)))
            .collect(),
    }
}

fn step(action: &Action) -> Step {
    Step {
        text: visible(&action.text),
        command: action.command.as_deref().map(visible),
    }
}

fn other(cause: &Cause) -> Other {
    Other {
        headline: words::sentence(&visible(&cause.headline)),
        reason: words::sentence(&visible(&cause.reason)),
        hints: cause
            .hints
            .iter()
            .map(|hint| words::sentence(&visible(&hint.text)))
            .collect(),
        steps: cause.next.iter().map(step).collect(),
    }
}

fn evidence(hotfix: &Hotfix) -> Vec<EvidenceRow> {
    let mut all: Vec<&EvidenceRecord> = hotfix.matching.evidence.iter().collect();
    // What the answer rests on comes first.
    let negative = hotfix.verdict == Verdict::DoesNotApply;
    all.sort_by_key(|e| (e.supports == negative, words::weight(e.strength)));
    let row = |e: &EvidenceRecord| EvidenceRow {
        side: if e.supports { "for" } else { "against" },
        weight: words::strength(e.strength),
        decided: hotfix.matching.decided_by.contains(&e.id),
        text: visible(&e.summary),
        place: e.place.as_deref().map(visible),
        basis: words::basis(e.basis),
    };
    all.into_iter().map(row).collect()
}

/// The frames with the faulting one marked; beyond the faulting activity is what it interrupted.
fn frames(report: &Report) -> (Vec<FrameRow>, String) {
    let Some(stack) = &report.stack else {
        return (Vec::new(), String::new());
    };
    let own = stack.faulting_activity.unwrap_or(u32::MAX);
    let row = |frame: &Frame| FrameRow {
        class: match (frame.index, frame.index < own) {
            (0, _) => "fault",
            (_, true) => "",
            (_, false) => "outside",
        },
        number: frame.index,
        place: text::frame_place(frame),
        remark: match (
            frame.index,
            frame.boundary.as_deref().and_then(Boundary::named),
        ) {
            (0, _) => "the fault",
            (_, Some(Boundary::Interrupt)) => "interrupted here",
            (_, Some(Boundary::Dpc)) => "ran the deferred procedure call",
            (_, Some(Boundary::Exception)) => "raised the exception",
            (_, Some(Boundary::User)) => "user mode",
            (_, None) => "",
        },
        address: frame.instruction_pointer.0.clone(),
        trust: visible(&frame.trust.replace('-', " ")),
    };
    let caption = match (own, stack.frames.len()) {
        (u32::MAX, _) => "Innermost first.".to_owned(),
        (own, all) if (own as usize) < all => format!(
            "Innermost first. The first {} belong to what faulted; the others were interrupted or only \
             look like return addresses.",
            words::counted(own.into(), "frame")
        ),
        _ => "Innermost first; all belong to what faulted.".to_owned(),
    };
    (
        stack.frames.iter().take(MOST_ROWS).map(row).collect(),
        caption,
    )
}

fn drivers(report: &Report) -> Vec<Driver> {
    let modules = report.modules.as_deref().unwrap_or_default();
    modules
        .iter()
        .take(MOST_ROWS)
        .map(|module| Driver {
            name: shown(module.name.as_deref()),
            version: shown(module.version.as_deref()),
            linked: text::linked(module).unwrap_or_default(),
            base: module.base.0.clone(),
            symbols: visible(&module.symbols.replace('-', " ")),
        })
        .collect()
}
