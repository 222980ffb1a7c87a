//! A report on one screen: the answer first, then what happened, why, and what to do now.
//!
//! Never more than 24 lines, whatever the dump holds. Reads the record only, so that text and JSON never
//! disagree; everything from the dump is made harmless by [`visible`].

use crate::evidence::Strength;
use crate::knowledge::bugchecks;
use crate::knowledge::hotfix::KB943650;
use crate::report::escape::visible;
use crate::report::model::{DumpKind, EvidenceRecord, Fault, Hotfix, Report, Severity, Stack};
use crate::verdict::{Applicability, MatchStatus, Verdict};

use super::advice;
use super::fit::{self, Block};
use super::palette::Palette;
use super::words;

/// Lines of a terminal as it comes.
pub const LINES: usize = 24;
/// Column at which a labelled line's text begins.
const INDENT: usize = 9;
/// Evidence that every crash of its kind has, or that another line of the screen says.
const SAID_ELSEWHERE: [&str; 5] = [
    "code.primary",
    "code.right-place",
    "irql.dispatch",
    "machine.processors",
    "hang.forced",
];

/// Sources of one dump, or fields of it, that contradict each other: what does not fit together is said apart from what
/// counts for or against.
const CONTRADICTIONS: [&str; 5] = [
    "build.sources-disagree",
    "build.linked-after-crash",
    "code.sources-disagree",
    "machine.counts-disagree",
    "parameters.disagree",
];

/// Notes of no weight for the report that a person wants to know: a file that was given and not used, a header
/// that is not believed.
const WORTH_A_LINE: [&str; 5] = [
    "dump.header-not-believed",
    "dump.header-only-says",
    "modules.inventory",
    "modules.wer-report",
    "system.registry-file",
];

/// The screen of one report, ending with a line end. `titled`: one of several, each under its path.
pub fn render(report: &Report, palette: Palette, titled: bool) -> String {
    let page = Page { report, palette };
    let mut blocks = Vec::new();
    if titled {
        let path = fit::middle(&visible(&report.source.path), palette.width);
        blocks.push(keep(vec![palette.heading(&path)]));
    }
    match &report.hotfix {
        Some(hotfix) => page.about(hotfix, &mut blocks),
        None => {
            page.crash(&mut blocks);
            page.closing(&mut blocks);
        }
    }
    let mut out = fit::fitting(blocks, LINES).join("\n");
    out.push('\n');
    out
}

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

/// What happened, as pairs of label and text: what the screen says before its reasons.
pub fn happened(report: &Report) -> Vec<(&'static str, String)> {
    let bucket = report.bucket.as_ref();
    let bucket = bucket.map(|b| visible(b.name.as_ref().unwrap_or(&b.key)));
    let mut facts = vec![
        ("Stop", stop(report, usize::MAX).join(", ")),
        ("System", system(report).join(", ")),
        ("Fault", fault(report)),
        ("Bucket", bucket.unwrap_or_default()),
    ];
    facts.extend(odd(report).into_iter().map(|text| ("Odd", visible(&text))));
    facts.retain(|(_, text)| !text.is_empty());
    facts
}

/// One screen in the making.
struct Page<'a> {
    report: &'a Report,
    palette: Palette,
}

fn keep(lines: Vec<String>) -> Block {
    Block { lines, goes: 0 }
}

fn blank() -> Block {
    keep(vec![String::new()])
}

impl Page<'_> {
    fn about(&self, hotfix: &Hotfix, blocks: &mut Vec<Block>) {
        blocks.push(keep(self.answer(hotfix)));
        blocks.push(blank());
        self.crash(blocks);
        self.reasons(hotfix, blocks);
        blocks.push(blank());
        let room = match blocks.iter().map(|block| block.lines.len()).sum::<usize>() {
            // Where little happened there is room for more advice.
            used if used + 14 <= LINES => 11,
            _ => advice::FEW,
        };
        let lines = advice::lines(self.report, hotfix, self.palette, room);
        blocks.push(keep(lines));
        self.closing(blocks);
    }

    /// The verdict and what it means, in a sentence or two.
    fn answer(&self, hotfix: &Hotfix) -> Vec<String> {
        let said = answered(self.report, hotfix);
        let detail = match said.detail.is_empty() {
            true => String::new(),
            false => format!(" ({})", said.detail),
        };
        let kb = visible(&hotfix.kb);
        let verdict = words::verdict_headline(hotfix.verdict);
        let room = self.palette.width.saturating_sub(verdict.len() + 2);
        let kb = fit::cut(&kb, room);
        let detail = fit::cut(&detail, room.saturating_sub(kb.len()));
        let mut lines = vec![format!(
            "{}: {}{detail}",
            self.palette.heading(&kb),
            self.palette.verdict(hotfix.verdict, &verdict)
        )];
        let wrapped = fit::lines(&said.meaning, self.palette.width - 2, 2);
        lines.extend(wrapped.iter().map(|line| format!("  {line}")));
        lines
    }

    /// What happened: stop, system, fault, bucket.
    fn crash(&self, blocks: &mut Vec<Block>) {
        let report = self.report;
        let room = self.palette.width - INDENT;
        let mut row = |label: &str, lines: Vec<String>, goes: u8| {
            if lines.iter().any(|line| !line.is_empty()) {
                blocks.push(Block {
                    lines: self.labelled(label, lines),
                    goes,
                });
            }
        };
        let label = match is_live(report) {
            true => "Live",
            false => "Stop",
        };
        row(label, stop(report, room), 0);
        row("System", fit::packed(&system(report), room, 1), 0);
        row("Fault", fit::lines(&fault(report), room, 2), 0);
        if let Some(bucket) = &report.bucket {
            let name = bucket.name.as_ref().unwrap_or(&bucket.key);
            row("Bucket", vec![fit::cut(&visible(name), room)], 1);
        }
    }

    /// Why: what speaks for and against, what is odd, what is missing.
    fn reasons(&self, hotfix: &Hotfix, blocks: &mut Vec<Block>) {
        let width = self.palette.width - INDENT;
        let mut rows = |label: &str, texts: Vec<String>, each: usize, most: usize, goes: u8| {
            let mut left = most;
            for (index, text) in texts.iter().enumerate() {
                let lines = fit::lines(&visible(text), width, each.min(left));
                left -= lines.len();
                let label = if index == 0 { label } else { "" };
                // The first of a kind goes last.
                let goes = goes.saturating_add(u8::from(index > 0));
                blocks.push(Block {
                    lines: self.labelled(label, lines),
                    goes,
                });
                if left == 0 {
                    break;
                }
            }
        };
        let (supporting, against) = self.evidence(hotfix);
        rows("For", supporting, 2, 4, 3);
        rows("Against", against, 2, 3, 4);
        // What makes the answer doubtful stays longest.
        rows("Odd", odd(self.report), 2, 4, 1);
        let missing = missing(hotfix);
        rows("Missing", missing.into_iter().collect(), 3, 3, 2);
        rows("Also", self.others().into_iter().collect(), 1, 1, 7);
    }

    /// What is worth a line of the evidence, for and against, the heaviest first.
    fn evidence(&self, hotfix: &Hotfix) -> (Vec<String>, Vec<String>) {
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
            .filter(|e| !(negative && Some(&e.id) == reason))
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
            .map(|e| self.brief(e))
            .collect();
        let against = all
            .iter()
            .filter(|e| !e.supports)
            .map(|e| self.brief(e))
            .collect();
        (supporting, against)
    }

    /// A piece of evidence in a line or two.
    fn brief(&self, evidence: &EvidenceRecord) -> String {
        let special = match evidence.id.as_str() {
            "frame.mfe-timer" | "frame.mfe-list" => self.report.stack.as_ref().and_then(chain),
            "instruction.list-operation" => self
                .report
                .fault
                .as_ref()
                .and_then(|fault| fault.instruction.as_ref())
                .map(|text| format!("{text}: list operation, at the address its registers give")),
            "build.unfixed-by-code" => Some(format!(
                "tcpip.sys{} restarts the timer under the read lock",
                self.version().map(|v| format!(" {v}")).unwrap_or_default()
            )),
            "filters.on-path" => evidence
                .summary
                .split_once(" between frames")
                .map(|(names, _)| format!("{names} (other vendors) on the path: weak")),
            _ => None,
        };
        special.unwrap_or_else(|| without_brackets(&evidence.summary))
    }

    /// The version of tcpip.sys, where it is known.
    fn version(&self) -> Option<&str> {
        let modules = self.report.modules.as_deref()?;
        let named = |m: &&crate::report::model::Module| {
            let name = m.name.as_deref();
            name.is_some_and(|name| name.eq_ignore_ascii_case(KB943650.decides))
        };
        modules.iter().find(named)?.version.as_deref()
    }

    /// What was asked besides.
    fn others(&self) -> Option<String> {
        let others = &self.report.other_articles;
        let texts: Vec<String> = others
            .iter()
            .map(|other| format!("{}: {}", other.kb, other.verdict.as_str().replace('-', " ")))
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    fn labelled(&self, label: &str, lines: Vec<String>) -> Vec<String> {
        let lines = lines.into_iter().enumerate();
        lines
            .map(|(index, line)| match index {
                0 => {
                    let pad = " ".repeat(INDENT.saturating_sub(label.len()));
                    let line = format!("{}{pad}{line}", self.palette.heading(label));
                    line.trim_end().to_owned()
                }
                _ => format!("{}{line}", " ".repeat(INDENT)),
            })
            .collect()
    }

    /// Where the rest is.
    fn closing(&self, blocks: &mut Vec<Block>) {
        blocks.push(blank());
        let lead = "Everything else: ";
        let command = advice::command("explain", self.report, self.palette.width - 2);
        let lines = match lead.len() + command.chars().count() <= self.palette.width {
            true => vec![format!("{lead}{command}")],
            false => vec![lead.trim_end().to_owned(), format!("  {command}")],
        };
        blocks.push(keep(lines));
    }
}

/// The evidence that made it a "does not apply".
fn reason(hotfix: &Hotfix) -> Option<&EvidenceRecord> {
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
            "Windows hung in the network stack, as this defect can make it hang."
        }
        MatchStatus::Possible => {
            "The network stack faulted as this defect makes it fault; other bugs do, too."
        }
        _ if is_forced(report) => {
            "Windows hung until somebody forced this dump. What hung it is not in the dump."
        }
        _ => "This dump does not hold enough to tell.",
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
        ("dump.user-mode", _) => {
            "A program crashed here, not Windows: this defect stops or hangs all of Windows."
                .to_owned()
        }
        _ => words::sentence(&without_brackets(&reason.summary)),
    }
}

/// The text without remarks in round brackets.
fn without_brackets(text: &str) -> String {
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

/// True for a dump that a person or a monitor forced, as one does with a machine that hangs.
pub(super) fn is_forced(report: &Report) -> bool {
    let code = report.bugcheck.as_ref().and_then(|b| b.code.number());
    code.is_some_and(|code| bugchecks::find(code).is_forced())
}

/// True for a report of a running Windows, which stopped nothing.
pub(super) fn is_live(report: &Report) -> bool {
    report.dump.as_ref().and_then(|dump| dump.kind) == Some(DumpKind::LiveReport)
}

/// Code, name, time and uptime; of a program's dump, the exception.
fn stop(report: &Report, room: usize) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(bugcheck) = &report.bugcheck {
        let name = bugcheck
            .name
            .as_deref()
            .map(|name| format!(" {}", visible(name)));
        let live = match is_live(report) {
            true => "report of a running Windows, no Stop: ",
            false => "",
        };
        parts.push(format!(
            "{live}{}{}",
            words::stop_code(&bugcheck.code.0),
            name.unwrap_or_default()
        ));
    } else if let Some(exception) = &report.exception {
        let name = exception.name.as_deref().unwrap_or("exception");
        parts.push(format!(
            "none; {} {} in a program",
            exception.code.0,
            visible(name)
        ));
    } else {
        parts.push("not known".to_owned());
    }
    if let Some(dump) = &report.dump {
        parts.extend(dump.crash_time.as_deref().map(words::minute));
        let up = dump.uptime_seconds.map(words::duration);
        parts.extend(up.map(|up| format!("up {up}")));
    }
    fit::packed(&parts, room, 2)
}

/// Product, processors, name.
fn system(report: &Report) -> Vec<String> {
    let dump = report.dump.as_ref();
    let architecture = dump.and_then(|dump| dump.architecture.as_deref());
    let mut first = words::windows(report);
    if let Some(architecture) = architecture {
        first.push(' ');
        first.push_str(architecture);
    }
    let mut parts = vec![first];
    let processors = dump.and_then(|dump| dump.processors);
    parts.extend(processors.map(|n| words::counted(n.into(), "processor")));
    let machine = report.system.as_ref().and_then(|s| s.machine.as_deref());
    parts.extend(machine.map(visible));
    parts
}

/// Where it faulted, doing what, in which process.
fn fault(report: &Report) -> String {
    let process = report
        .process
        .as_deref()
        .filter(|name| !name.eq_ignore_ascii_case("System") && !name.is_empty())
        .map(|name| format!(", in {}", visible(name)))
        .unwrap_or_default();
    let listed = report.modules.as_ref().is_some_and(|all| !all.is_empty());
    if let Some(text) = report.fault.as_ref().and_then(|fault| place(fault, listed)) {
        return format!("{text}{process}");
    }
    let module = report.exception.as_ref().and_then(|e| e.module.as_deref());
    if let Some(module) = module {
        return format!("in {}{process}", visible(module));
    }
    if report.exception.is_some() || report.bugcheck.is_none() {
        return String::new();
    }
    match is_forced(report) {
        true => format!("none: somebody forced the dump{process}"),
        false => format!("not shown by this dump{process}"),
    }
}

fn place(fault: &Fault, listed: bool) -> Option<String> {
    let ip = fault.instruction_pointer.as_ref()?;
    let mut text = match &fault.location {
        Some(location) => super::place(location),
        None => format!("{} {}", words::short_hex(&ip.0), words::outside(listed)),
    };
    if let Some(called) = fault
        .caller
        .as_ref()
        .and_then(|caller| caller.location.as_ref())
    {
        return Some(format!("{text}, called from {}", super::place(called)));
    }
    let verb = match fault.access.as_deref() {
        Some("read") => " reading",
        Some("write") => " writing",
        Some("execute") => " executing",
        _ => return Some(text),
    };
    text.push_str(verb);
    if let Some(address) = &fault.address {
        text.push(' ');
        text.push_str(&words::short_hex(&address.0));
    }
    Some(text)
}

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

/// What does not fit together, and what of the file could not be read.
fn odd(report: &Report) -> Vec<String> {
    let mut texts = Vec::new();
    if let Some(fault) = &report.fault {
        texts.extend(wrong_address(fault));
        if fault.candidates > 1 {
            texts.push(format!(
                "{} places on the stack fit the fault equally well: the innermost is shown",
                fault.candidates
            ));
        }
    }
    let evidence = report
        .hotfix
        .iter()
        .flat_map(|hotfix| &hotfix.matching.evidence);
    let contradictions = evidence.filter(|e| CONTRADICTIONS.contains(&e.id.as_str()));
    let before = texts.len();
    texts.extend(contradictions.map(|e| e.summary.clone()));
    // Evidence says what the header says otherwise.
    let said = texts.len() > before;
    let damage = report.dump.iter().flat_map(|dump| &dump.damage);
    texts.extend(damage.map(|damage| format!("damaged: {}", damage.what)));
    let told =
        |code: &str| WORTH_A_LINE.contains(&code) && !(said && code == "dump.header-not-believed");
    let warnings = report.notes.iter().filter(|note| {
        told(&note.code) || (note.severity == Severity::Warning && note.code != "dump.damaged")
    });
    texts.extend(warnings.map(|note| note.message.clone()));
    texts
}

/// Registers that do not lead to the address reported: the sign of failing hardware, or of a context that is
/// not the fault's.
fn wrong_address(fault: &Fault) -> Option<String> {
    let effective = fault.effective_address.as_ref().filter(|e| !e.agrees)?;
    let reported = fault.address.as_ref()?;
    let instruction = fault.instruction.as_deref()?;
    let operand = instruction.split_once('[')?.1.split_once(']')?.0;
    let module = fault.location.as_ref().and_then(|l| l.module.as_deref());
    let blame = module.map(|module| format!(" before blaming {module}"));
    Some(format!(
        "{operand} is {}, not the {} reported: rule out failing memory or processor{}",
        effective.value.0,
        words::short_hex(&reported.0),
        blame.unwrap_or_default()
    ))
}

/// What would settle an open answer, the beginning of each sentence.
fn missing(hotfix: &Hotfix) -> Option<String> {
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
