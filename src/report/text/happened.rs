//! What happened, in one line each: stop, system, fault, and what does not fit together.
//!
//! Reads the record only; the page for people without a terminal shows the same lines.

use crate::facts::Format;
use crate::knowledge::bugchecks::{self, Access};
use crate::report::escape::visible;
use crate::report::model::{DumpKind, Fault, Report, Severity};

use super::fit;
use super::words;

/// Sources of one dump, or fields of it, that contradict each other: what does not fit together is said apart from what
/// counts for or against.
pub(super) const CONTRADICTIONS: [&str; 5] = [
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

fn kind(report: &Report) -> Option<DumpKind> {
    report.dump.as_ref()?.kind
}

/// True for a dump that a person or a monitor forced, as one does with a machine that hangs.
pub(super) fn is_forced(report: &Report) -> bool {
    let code = report.bugcheck.as_ref().and_then(|b| b.code.number());
    code.is_some_and(|code| bugchecks::find(code).is_forced())
}

/// True for the memory of a Windows that had raised no bug check, as a hypervisor saves that of a guest that hangs.
pub(super) fn is_running(report: &Report) -> bool {
    kind(report) == Some(DumpKind::Running)
}

/// True for a report of a running Windows, which stopped nothing.
pub(super) fn is_live(report: &Report) -> bool {
    kind(report) == Some(DumpKind::LiveReport)
}

/// Code, name, time and uptime; of a program's dump, the exception.
pub(super) fn stop(report: &Report, room: usize) -> Vec<String> {
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
        let format = report.dump.as_ref().map(|dump| dump.format.as_str());
        parts.push(match format {
            Some(format) if format == Format::UserMinidump.as_str() => {
                "none; a program's dump, without an exception".to_owned()
            }
            _ if is_running(report) => "none: Windows was running".to_owned(),
            _ => "not known".to_owned(),
        });
    }
    if let Some(dump) = &report.dump {
        parts.extend(dump.crash_time.as_deref().map(words::minute));
        let up = dump.uptime_seconds.map(words::duration);
        parts.extend(up.map(|up| format!("up {up}")));
    }
    fit::packed(&parts, room, 2)
}

/// Product, processors, name.
pub(super) fn system(report: &Report) -> Vec<String> {
    let dump = report.dump.as_ref();
    let architecture = dump.and_then(|dump| dump.architecture.as_deref());
    let mut first = words::windows(report);
    if let Some(architecture) = architecture {
        // Behind a description it is no part of a name.
        let joint = if first.contains(',') { ", " } else { " " };
        first.push_str(joint);
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
pub(super) fn fault(report: &Report) -> String {
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
    let (mut text, outside) = match &fault.location {
        Some(location) => (super::place(location), ""),
        None => (words::short_hex(&ip.0), words::outside(listed)),
    };
    if let Some(called) = fault
        .caller
        .as_ref()
        .and_then(|caller| caller.location.as_ref())
    {
        return Some(format!(
            "{text}{outside}, called from {}",
            super::place(called)
        ));
    }
    let verb = match fault.access.as_deref().and_then(Access::named) {
        Some(Access::Read) => "reading",
        Some(Access::Write) => "writing",
        Some(Access::Execute) => "executing",
        None => return Some(format!("{text}{outside}")),
    };
    // A general protection fault reports no address; the registers may give it.
    let effective = fault.effective_address.as_ref();
    let address = match (&fault.address, effective) {
        (Some(address), _) => words::short_hex(&address.0),
        (None, Some(effective)) => {
            format!("{}, by its registers", words::short_hex(&effective.value.0))
        }
        (None, None) => "an address that was not reported".to_owned(),
    };
    text.push_str(&format!(" {verb} {address}{outside}"));
    Some(text)
}

/// What does not fit together, and what of the file could not be read.
pub(super) fn odd(report: &Report) -> Vec<String> {
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
