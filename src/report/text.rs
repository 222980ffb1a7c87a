//! A report for a person: what, when, where, the answer, its evidence, what to do now.
//!
//! Reads the record only, so text and JSON never disagree. Fits 80 columns; everything from the
//! dump is made harmless by [`visible`].

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::escape::visible;
use super::model::{
    Action, EvidenceRecord, Fault, Frame, Hotfix, Location, Match, Report, Stack, Status,
};
use crate::knowledge::hotfix::KB943650;
use crate::verdict::{MatchStatus, Verdict};

/// Columns of the text.
const WIDTH: usize = 80;
/// Frames shown in the report; the stack command shows all.
const SHOWN_FRAMES: usize = 6;
/// Column at which a labelled line's text begins.
const INDENT: usize = 13;

/// How text is decorated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Palette {
    /// Colours and bold text; only for a terminal.
    pub color: bool,
}

impl Palette {
    fn paint(self, style: Style, text: &str) -> String {
        if self.color {
            format!("{style}{text}{style:#}")
        } else {
            text.to_owned()
        }
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    fn verdict(self, verdict: Verdict) -> String {
        let text = verdict.as_str().replace('-', " ").to_uppercase();
        let color = match verdict {
            Verdict::Applies | Verdict::AppliesAfterServicePack | Verdict::ProbablyApplies => {
                AnsiColor::Red
            }
            Verdict::MayApply | Verdict::Undetermined => AnsiColor::Yellow,
            Verdict::DoesNotApply => AnsiColor::Green,
        };
        self.paint(Style::new().bold().fg_color(Some(color.into())), &text)
    }

    fn sign(self, supports: bool) -> String {
        let (text, color) = match supports {
            true => ("+", AnsiColor::Red),
            false => ("-", AnsiColor::Green),
        };
        self.paint(Style::new().bold().fg_color(Some(color.into())), text)
    }
}

/// The report as text, ending with a line end. Empty for a failed report: its error is a line
/// for standard error.
pub fn render(report: &Report, palette: Palette) -> String {
    let mut out = String::new();
    if report.status == Status::Failed {
        return out;
    }
    out.push_str(&palette.heading(&visible(&report.source.path)));
    out.push('\n');
    what(report, &mut out);
    if let Some(hotfix) = &report.hotfix {
        answer(hotfix, palette, &mut out);
    }
    for other in &report.other_articles {
        answer(other, palette, &mut out);
    }
    out
}

/// The crash: system, time, bug check, fault, damage.
fn what(report: &Report, out: &mut String) {
    for (label, text) in [
        ("System", system(report)),
        ("Dump", dump(report)),
        ("Crash", crash(report)),
        ("Stop", stop(report)),
    ] {
        if let Some(text) = text {
            labelled(out, label, &text);
        }
    }
    // The fault's line says what the parameters of its codes say.
    if report.fault.as_ref().and_then(fault).is_none() {
        parameters(report, out);
    }
    if let Some(exception) = &report.exception {
        let name = exception.name.as_deref().unwrap_or("exception");
        let module = exception
            .module
            .as_deref()
            .map(|m| format!(" in {}", visible(m)));
        let text = format!(
            "{} {}{}",
            exception.code.0,
            visible(name),
            module.unwrap_or_default()
        );
        labelled(out, "Exception", &text);
    }
    if let Some(text) = report.fault.as_ref().and_then(fault) {
        labelled(out, "Fault", &text);
    }
    if let Some(text) = report.stack.as_ref().and_then(stack) {
        labelled(out, "Stack", &text);
    }
    for note in &report.notes {
        labelled(out, "Note", &visible(&note.message));
    }
    for damage in report.dump.iter().flat_map(|dump| &dump.damage) {
        labelled(out, "Damage", &visible(&damage.what));
    }
}

/// Each bug check parameter with its meaning.
pub fn parameters(report: &Report, out: &mut String) {
    for (index, parameter) in report
        .bugcheck
        .iter()
        .flat_map(|bugcheck| &bugcheck.parameters)
        .enumerate()
    {
        let mut text = format!("P{} {}", index + 1, parameter.value.0);
        if let Some(meaning) = &parameter.meaning {
            let _ = write!(text, "  {}", visible(meaning));
        }
        if let Some(decoded) = &parameter.decoded {
            let _ = write!(text, ": {}", visible(decoded));
        }
        labelled(out, "", &text);
    }
}

fn system(report: &Report) -> Option<String> {
    let system = report.system.as_ref()?;
    let mut parts = vec![system.name.clone().unwrap_or_else(|| "Windows".to_owned())];
    if let Some(build) = system.build {
        let pack = match system.service_pack {
            Some(0) | None => String::new(),
            Some(n) => format!(" SP{n}"),
        };
        parts.push(format!("build {build}{pack}"));
    }
    parts.extend(system.product.clone());
    let dump = report.dump.as_ref()?;
    parts.extend(dump.architecture.clone());
    parts.extend(dump.processors.map(|n| match n {
        1 => "1 processor".to_owned(),
        n => format!("{n} processors"),
    }));
    parts.extend(system.machine.as_deref().map(visible));
    Some(parts.join(", "))
}

fn dump(report: &Report) -> Option<String> {
    let dump = report.dump.as_ref()?;
    let writer = dump
        .writer
        .as_deref()
        .map(|w| format!(", written by a {w}"));
    let writer = match dump.writer.as_deref() {
        Some("kernel") => ", written by the kernel".to_owned(),
        _ => writer.unwrap_or_default(),
    };
    Some(format!(
        "{}, {} bytes{writer}",
        dump.format, dump.bytes_present
    ))
}

fn crash(report: &Report) -> Option<String> {
    let dump = report.dump.as_ref()?;
    let when = dump.crash_time.as_ref()?;
    let up = dump
        .uptime_seconds
        .map(|seconds| format!(", up for {}", duration(seconds)));
    let process = report
        .process
        .as_deref()
        .map(|p| format!(", in {}", visible(p)));
    Some(format!(
        "{when}{}{}",
        up.unwrap_or_default(),
        process.unwrap_or_default()
    ))
}

/// Whole days, hours and minutes, or seconds for a short time.
fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) if minutes == 0 => format!("{seconds} s"),
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

fn stop(report: &Report) -> Option<String> {
    let bugcheck = report.bugcheck.as_ref()?;
    let name = bugcheck.name.as_deref().unwrap_or("(no public name)");
    let stored = if bugcheck.raw_code == bugcheck.code {
        String::new()
    } else {
        format!(" (stored as {})", bugcheck.raw_code.0)
    };
    let parameters: Vec<String> = bugcheck
        .parameters
        .iter()
        .map(|p| short(&p.value.0))
        .collect();
    Some(format!(
        "{} {name}{stored} ({})",
        bugcheck.code.0,
        parameters.join(", ")
    ))
}

/// A hex number without leading zeros.
fn short(hex: &str) -> String {
    let digits = hex.trim_start_matches("0x").trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// `module!symbol+0x12` or `module+0x1234`.
pub fn place(location: &Location) -> String {
    let module = visible(location.module.as_deref().unwrap_or("?"));
    match (&location.symbol, &location.displacement) {
        (Some(symbol), Some(displacement)) => {
            let stem = module
                .rsplit_once('.')
                .map_or(module.as_str(), |(stem, _)| stem);
            let doubt = doubt(location.symbol_kind.as_deref());
            format!("{stem}!{}+{}{doubt}", visible(symbol), displacement.0)
        }
        _ => format!("{module}+{}", location.offset.0),
    }
}

/// What is said behind a name that may be its neighbour's.
pub fn doubt(symbol_kind: Option<&str>) -> &'static str {
    match symbol_kind {
        Some("approximate") => " (approximate)",
        _ => "",
    }
}

fn fault(fault: &Fault) -> Option<String> {
    let ip = fault.instruction_pointer.as_ref()?;
    let mut text = match &fault.location {
        Some(location) => place(location),
        None => format!("{} (in no loaded module)", ip.0),
    };
    if let Some(access) = &fault.access {
        let verb = match access.as_str() {
            "read" => "reading",
            "write" => "writing",
            _ => "executing",
        };
        let _ = write!(text, ", {verb}");
        if let Some(address) = &fault.address {
            let _ = write!(text, " {}", short(&address.0));
        }
    }
    if let Some(irql) = fault.irql {
        let _ = write!(text, ", IRQL {irql}");
    }
    if let Some(context) = &fault.context {
        let _ = write!(text, ", in a {context}");
    }
    if let Some(instruction) = &fault.instruction {
        let _ = write!(text, ": {}", visible(instruction));
    }
    let source = fault
        .source
        .as_deref()
        .unwrap_or("unknown")
        .replace('-', " ");
    let _ = write!(text, " (from the {source})");
    Some(text.replace("bugcheck parameters", "bug check's parameters"))
}

/// The innermost frames of the activity that faulted; a candidate carries a question mark.
fn stack(stack: &Stack) -> Option<String> {
    let activity = stack.faulting_activity.map_or(SHOWN_FRAMES, |n| n as usize);
    // Without a known boundary the next frames are still worth seeing: as candidates.
    let shown = activity.clamp(3, SHOWN_FRAMES);
    let frames: Vec<String> = stack
        .frames
        .iter()
        .take(shown)
        .take_while(|frame| frame.index == 0 || frame.boundary.is_none())
        .map(|frame| {
            let mark = if frame.trust == "scan" { "?" } else { "" };
            format!("{mark}{}", frame_place(frame))
        })
        .collect();
    (frames.len() > 1).then(|| frames.join(" < "))
}

fn frame_place(frame: &Frame) -> String {
    let Some(module) = frame.module.as_deref().map(visible) else {
        return frame.instruction_pointer.0.clone();
    };
    let stem = module
        .rsplit_once('.')
        .map_or(module.as_str(), |(stem, _)| stem);
    match (&frame.symbol, &frame.offset) {
        (Some(symbol), _) => format!("{stem}!{}", visible(symbol)),
        (None, Some(offset)) => format!("{stem}+{}", offset.0),
        (None, None) => module,
    }
}

/// The two answers, the word, the evidence, and what to do.
fn answer(hotfix: &Hotfix, palette: Palette, out: &mut String) {
    let _ = writeln!(
        out,
        "\n{}: {}",
        palette.heading(&hotfix.kb),
        palette.verdict(hotfix.verdict)
    );
    if hotfix.kb == KB943650.kb {
        wrapped(out, "  ", "  ", meaning(hotfix.matching.status));
        out.push('\n');
    }
    let _ = writeln!(
        out,
        "  Does this crash match the defect?      {}",
        hotfix.matching.status
    );
    decision(&hotfix.matching, out);
    let _ = writeln!(
        out,
        "  Does the hotfix apply to this machine? {}",
        hotfix.applicability.status
    );
    wrapped(out, "    ", "    ", &visible(&hotfix.applicability.reason));
    let decided = &hotfix.matching.decided_by;
    section(
        out,
        palette,
        "Evidence (* decided)",
        &hotfix.matching.evidence,
        |out, evidence| {
            evidence_line(evidence, decided.contains(&evidence.id), palette, out);
        },
    );
    section(
        out,
        palette,
        "It could also be",
        &hotfix.matching.look_alikes,
        |out, other| {
            wrapped(out, "  * ", "    ", &format!("{}: {}", other.id, other.why));
        },
    );
    section(
        out,
        palette,
        "What would settle it",
        &hotfix.would_settle,
        |out, text| {
            wrapped(out, "  * ", "    ", &visible(text));
        },
    );
    let mut number = 0;
    section(
        out,
        palette,
        "What to do now",
        &hotfix.actions,
        |out, action| {
            number += 1;
            action_lines(number, action, out);
        },
    );
}

/// What the match says happened, in plain words; what is inferred says so.
fn meaning(status: MatchStatus) -> &'static str {
    match status {
        MatchStatus::Confirmed => {
            "Windows went down on the timer queue of multicast forwarding, and the queue was \
             corrupt. The TCP/IP component changes that queue while it holds only a read lock (the \
             article's cause), so that two processors can change it at once (inference)."
        }
        MatchStatus::Probable => {
            "Windows probably went down on the timer queue of multicast forwarding, which the \
             TCP/IP component can corrupt by changing it under a read lock (the article's cause). \
             What would prove it is not in this dump, or not yet looked at."
        }
        MatchStatus::Possible => {
            "The network stack faulted as the defect can make it fault. Nothing here says whether it \
             was the timer queue of multicast forwarding, which the defect corrupts."
        }
        MatchStatus::InsufficientData => {
            "This dump does not show enough to say whether it was the timer queue of multicast \
             forwarding, which the defect corrupts."
        }
        MatchStatus::Unlikely => {
            "Something else is nearest the fault, or the machine was in a state in which the defect \
             does not strike: see what is marked * below."
        }
        MatchStatus::Excluded => "It cannot be this defect: see what is marked * below.",
    }
}

/// The rule that decided, and what the next higher status lacks.
fn decision(matching: &Match, out: &mut String) {
    if let Some(rule) = &matching.rule {
        wrapped(out, "    ", "    ", rule);
    }
    for (index, missing) in matching.missing.iter().enumerate() {
        let lead = match index {
            0 => format!("missing for {}:", missing.status),
            _ => "or:".to_owned(),
        };
        wrapped(out, "    ", "      ", &format!("{lead} {}", missing.text));
    }
}

fn section<T>(
    out: &mut String,
    palette: Palette,
    title: &str,
    items: &[T],
    mut each: impl FnMut(&mut String, &T),
) {
    if items.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", palette.heading(title));
    for item in items {
        each(out, item);
    }
}

fn evidence_line(evidence: &EvidenceRecord, decided: bool, palette: Palette, out: &mut String) {
    let place = evidence
        .place
        .as_deref()
        .map(|place| format!(" [{}]", visible(place)))
        .unwrap_or_default();
    let text = format!(
        "{}: {}{place} ({})",
        evidence.strength,
        visible(&evidence.summary),
        evidence.basis
    );
    let lines = textwrap::wrap(&text, whole_words(WIDTH - 5));
    for (index, line) in lines.iter().enumerate() {
        let lead = match (index, decided) {
            (0, true) => format!("{}*", palette.sign(evidence.supports)),
            (0, false) => format!("{} ", palette.sign(evidence.supports)),
            _ => "  ".to_owned(),
        };
        let _ = writeln!(out, "  {lead} {line}");
    }
}

fn action_lines(number: usize, action: &Action, out: &mut String) {
    wrapped(
        out,
        &format!("{number:3}. "),
        "     ",
        &visible(&action.text),
    );
    if let Some(command) = &action.command {
        // A command is one line whatever its length: it is there to be copied.
        let _ = writeln!(out, "       {}", visible(command));
    }
}

fn labelled(out: &mut String, label: &str, text: &str) {
    let first = format!("  {label:<width$}", width = INDENT - 2);
    wrapped(out, &first, &" ".repeat(INDENT), text);
}

/// Breaks at blanks only: names with hyphens and `module!function` stay whole.
pub fn whole_words<'a>(width: usize) -> textwrap::Options<'a> {
    textwrap::Options::new(width)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
}

fn wrapped(out: &mut String, first: &str, rest: &str, text: &str) {
    let options = whole_words(WIDTH)
        .initial_indent(first)
        .subsequent_indent(rest)
        .break_words(false);
    for line in textwrap::wrap(text, options) {
        out.push_str(line.trim_end());
        out.push('\n');
    }
}
