//! Everything a report says, at length, for those who want more than the screen: the crash, the rule that
//! decided, all evidence by weight with a legend, other problems it could be, every step.

use crate::facts::{Activity, Trust};
use crate::knowledge::bugchecks::Access;
use std::fmt::Write as _;

use super::super::believed;
use super::super::escape::visible;
use super::super::model::{
    Action, EvidenceRecord, Fault, Frame, Hotfix, Match, Report, Stack, Status,
};
use super::fit::{self, whole_words};
use super::palette::Palette;
use super::{happened, place, words};

/// Frames shown in the report; the stack command shows all.
const SHOWN_FRAMES: usize = 6;
/// Column at which a labelled line's text begins.
const INDENT: usize = 13;

/// Everything about the crash and each answer, ending with a line end.
pub fn long(report: &Report, palette: Palette) -> String {
    let mut out = Out {
        text: String::new(),
        palette,
    };
    if report.status == Status::Failed {
        return out.text;
    }
    out.heading("The crash");
    what(report, &mut out);
    for (index, hotfix) in report
        .hotfix
        .iter()
        .chain(&report.other_articles)
        .enumerate()
    {
        if index > 0 {
            let verdict = words::verdict_headline(hotfix.verdict);
            let _ = writeln!(
                out.text,
                "\n{}: {}",
                palette.heading(&visible(&hotfix.kb)),
                palette.verdict(hotfix.verdict, &verdict)
            );
        }
        answer(hotfix, &mut out);
    }
    out.text
}

/// Text in the making.
struct Out {
    text: String,
    palette: Palette,
}

impl Out {
    fn heading(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        let _ = writeln!(self.text, "{}", self.palette.heading(text));
    }

    fn labelled(&mut self, label: &str, text: &str) {
        let first = format!("  {label:<width$}", width = INDENT - 2);
        self.wrapped(&first, &" ".repeat(INDENT), text);
    }

    /// A command to copy.
    fn command(&mut self, command: Option<&str>, indent: usize) {
        let room = self.palette.width.saturating_sub(indent);
        let lines = command.map(|text| fit::command(&visible(text), room));
        for line in lines.into_iter().flatten() {
            let _ = writeln!(self.text, "{:indent$}{line}", "");
        }
    }

    fn wrapped(&mut self, first: &str, rest: &str, text: &str) {
        let options = whole_words(self.palette.width)
            .initial_indent(first)
            .subsequent_indent(rest)
            .break_words(true);
        for line in textwrap::wrap(text, options) {
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }
}

/// The crash: system, time, bug check, fault, damage.
fn what(report: &Report, out: &mut Out) {
    for (label, text) in [
        ("System", system(report)),
        ("Dump", dump(report)),
        ("Crash", crash(report)),
        (
            match happened::is_live(report) {
                true => "Report",
                false => "Stop",
            },
            stop(report),
        ),
    ] {
        if let Some(text) = text {
            out.labelled(label, &text);
        }
    }
    // The fault's line says what the parameters of its codes say.
    if report.fault.as_ref().and_then(fault).is_none() {
        parameter_lines(report, out);
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
        out.labelled("Exception", &text);
    }
    if let Some(text) = report.fault.as_ref().and_then(fault) {
        out.labelled("Fault", &text);
    }
    if let Some(text) = report.stack.as_ref().and_then(stack) {
        out.labelled("Stack", &text);
    }
    if let Some(cause) = &report.cause {
        let text = format!("{}: {}", visible(&cause.headline), visible(&cause.reason));
        out.labelled("Cause", &text);
        for hint in &cause.hints {
            out.labelled("Hint", &visible(&hint.text));
        }
        for step in &cause.next {
            out.labelled("Next", &visible(&step.text));
            out.command(step.command.as_deref(), INDENT + 2);
        }
    }
    for note in &report.notes {
        out.labelled("Note", &visible(&note.message));
    }
    for damage in report.dump.iter().flat_map(|dump| &dump.damage) {
        out.labelled("Damage", &visible(&damage.what));
    }
}

/// Each bug check parameter with its meaning.
pub fn parameters(report: &Report, palette: Palette) -> String {
    let mut out = Out {
        text: String::new(),
        palette,
    };
    parameter_lines(report, &mut out);
    out.text
}

fn parameter_lines(report: &Report, out: &mut Out) {
    for (index, parameter) in report
        .bugcheck
        .iter()
        .flat_map(|bugcheck| &bugcheck.parameters)
        .enumerate()
    {
        let Some(value) = &parameter.value else {
            continue;
        };
        let mut text = format!("P{} {}", index + 1, value.0);
        if let Some(meaning) = &parameter.meaning {
            let _ = write!(text, "  {}", visible(meaning));
        }
        if let Some(decoded) = &parameter.decoded {
            let _ = write!(text, ": {}", visible(decoded));
        }
        out.labelled("", &text);
    }
}

fn system(report: &Report) -> Option<String> {
    let system = report.system.as_ref()?;
    let mut parts = vec![system.name.clone().unwrap_or_else(|| "Windows".to_owned())];
    if words::is_other_system(system) {
        let version = system.version.as_deref().map(visible);
        parts = vec![
            parts
                .into_iter()
                .chain(version)
                .collect::<Vec<_>>()
                .join(" "),
        ];
    }
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
        .map(|writer| format!(", written by {}", believed::writer_in_words(writer)))
        .unwrap_or_default();
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
        .map(|seconds| format!(", up for {}", words::duration(seconds)));
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
        .map(|p| match &p.value {
            Some(value) => words::short_hex(&value.0),
            None => "?".to_owned(),
        })
        .collect();
    Some(format!(
        "{} {name}{stored} ({})",
        bugcheck.code.0,
        parameters.join(", ")
    ))
}

fn fault(fault: &Fault) -> Option<String> {
    let ip = fault.instruction_pointer.as_ref()?;
    let mut text = match &fault.location {
        Some(location) => place(location),
        None => format!("{} (in no loaded module)", ip.0),
    };
    if let Some(called) = fault
        .caller
        .as_ref()
        .and_then(|caller| caller.location.as_ref())
    {
        let _ = write!(text, ", called from {}", place(called));
    }
    if let Some(access) = &fault.access {
        let verb = match Access::named(access) {
            Some(Access::Read) => "reading",
            Some(Access::Write) => "writing",
            _ => "executing",
        };
        let _ = write!(text, ", {verb}");
        if let Some(address) = &fault.address {
            let _ = write!(text, " {}", words::short_hex(&address.0));
        }
    }
    if let Some(irql) = fault.irql {
        let _ = write!(text, ", IRQL {irql}");
    }
    if let Some(context) = &fault.context {
        let place = match Activity::named(context) {
            Some(Activity::Idle) => "the idle loop".to_owned(),
            Some(Activity::Dpc) => "a DPC".to_owned(),
            Some(Activity::Interrupt) => "an interrupt".to_owned(),
            Some(Activity::Thread) | None => format!("a {}", visible(context)),
        };
        let _ = write!(text, ", in {place}");
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
            let mark = if frame.trust == Trust::Scan.as_str() {
                "?"
            } else {
                ""
            };
            format!("{mark}{}", frame_place(frame))
        })
        .collect();
    (frames.len() > 1).then(|| frames.join(" < "))
}

/// `module!function` or `module+0x1234` of a frame.
pub fn frame_place(frame: &Frame) -> String {
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

/// The two answers, the evidence, and what to do.
fn answer(hotfix: &Hotfix, out: &mut Out) {
    out.heading(&format!("Does this crash match {}?", visible(&hotfix.kb)));
    out.wrapped(
        "  ",
        "  ",
        &words::sentence(words::status(hotfix.matching.status)),
    );
    decision(&hotfix.matching, out);
    out.heading("Does its fix apply to this machine?");
    let state = format!(
        "{}: {}",
        hotfix.applicability.status.as_str().replace('-', " "),
        visible(&hotfix.applicability.reason)
    );
    out.wrapped("  ", "  ", &words::sentence(&state));
    evidence(&hotfix.matching, out);
    let list = |out: &mut Out, title: &str, items: &[String]| {
        if !items.is_empty() {
            out.heading(title);
        }
        for item in items {
            out.wrapped("  * ", "    ", item);
        }
    };
    let others: Vec<String> = hotfix
        .matching
        .look_alikes
        .iter()
        .map(|other| {
            let name = crate::knowledge::article::look_alike_name(&other.id);
            visible(&format!("{name}: {}", other.why))
        })
        .collect();
    list(out, "It could also be", &others);
    let open: Vec<String> = hotfix
        .would_settle
        .iter()
        .map(|text| visible(text))
        .collect();
    list(out, "What would settle it", &open);
    if !hotfix.actions.is_empty() {
        out.heading("What to do, in this order");
    }
    for (number, action) in (1..).zip(&hotfix.actions) {
        action_lines(number, action, out);
    }
}

/// The rule that decided, and what the next higher status lacks.
fn decision(matching: &Match, out: &mut Out) {
    if let Some(rule) = &matching.rule {
        out.wrapped("  ", "  ", &format!("The rule: {}", visible(rule)));
    }
    for (index, missing) in matching.missing.iter().enumerate() {
        let lead = match index {
            0 => format!("Missing for {}:", words::status(missing.status)),
            _ => "or:".to_owned(),
        };
        out.wrapped("  ", "    ", &format!("{lead} {}", visible(&missing.text)));
    }
}

/// All evidence, for and against, the heaviest first.
fn evidence(matching: &Match, out: &mut Out) {
    if matching.evidence.is_empty() {
        return;
    }
    out.heading("Evidence");
    out.wrapped(
        "  ",
        "  ",
        "The heaviest first; > marks what decided. In square brackets: where it was seen; behind it, \
         what the rule rests on.",
    );
    for (supports, title) in [(true, "For"), (false, "Against")] {
        let mut own: Vec<&EvidenceRecord> = matching
            .evidence
            .iter()
            .filter(|e| e.supports == supports)
            .collect();
        own.sort_by_key(|e| words::weight(e.strength));
        if !own.is_empty() {
            let _ = writeln!(out.text, "  {}", out.palette.heading(title));
        }
        for e in own {
            let mark = match matching.decided_by.contains(&e.id) {
                true => ">",
                false => " ",
            };
            let place = e.place.as_deref();
            let place = place.map(|place| format!(" [{}]", visible(place)));
            let text = format!(
                "{}: {}{}; {}",
                words::strength(e.strength),
                visible(&e.summary),
                place.unwrap_or_default(),
                words::basis(e.basis)
            );
            out.wrapped(&format!("  {mark} "), "      ", &text);
        }
    }
}

fn action_lines(number: usize, action: &Action, out: &mut Out) {
    out.wrapped(&format!("{number:3}. "), "     ", &visible(&action.text));
    if let Some(command) = &action.command {
        out.command(Some(command), 7);
    }
}
