//! What a reader should know about a report besides its answers: damage, what was left out, files
//! that were given and not used.

use super::model::{Note, Severity};
use crate::facts::{CrashFacts, Format, Limit, Machine};

/// What a reader should know about a report: `inventory` says why an inventory that was given was not used,
/// `silent` names each symbol server that gave no answer and says why.
pub fn notes(
    facts: &CrashFacts,
    inventory: Option<String>,
    silent: &[(String, String)],
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut add = |code: &str, severity, field: &str, message: &str| {
        notes.push(Note {
            code: code.to_owned(),
            severity,
            field: Some(field.to_owned()).filter(|field| !field.is_empty()),
            message: message.to_owned(),
        });
    };
    let dump = &facts.dump;
    if !dump.damage.is_empty() {
        add(
            "dump.damaged",
            Severity::Warning,
            "/dump/damage",
            "part of the dump could not be read; what is missing is listed there",
        );
    }
    for limit in &facts.limits {
        let (code, message) = limit_note(*limit);
        add(code, Severity::Warning, "", message);
    }
    for (code, field, text) in super::believed::remarks(facts) {
        add(code, Severity::Info, field, &text);
    }
    match dump.format {
        Format::KernelTriage | Format::UserMinidump => {}
        Format::KernelHeaderOnly => add(
            "dump.header-only",
            Severity::Info,
            "/dump/format",
            "the dump holds a header and no memory",
        ),
        Format::KernelUnknown => add(
            "dump.unknown-type",
            Severity::Warning,
            "/dump/type",
            "the dump type is not known: only the header was read",
        ),
        _ if facts.memory.is_some() => {}
        _ => add(
            "dump.body-not-read",
            Severity::Warning,
            "/dump/format",
            "the memory of this dump cannot be read: modules and stacks are not known",
        ),
    }
    if let Some(message) = itanium(facts) {
        add(
            "dump.itanium",
            Severity::Info,
            "/dump/architecture",
            &message,
        );
    }
    for remark in &facts.report_remarks {
        add("modules.wer-report", Severity::Info, "/modules", remark);
    }
    for remark in &facts.system.multicast_forwarding.remarks {
        add(
            "system.registry-file",
            Severity::Info,
            "/system/multicast_forwarding",
            remark,
        );
    }
    if dump.overflowed == Some(true) {
        add(
            "dump.overflowed",
            Severity::Info,
            "/dump/triage/overflowed",
            "Windows had to leave data out of this small dump",
        );
    }
    if facts.system.checked_build == Some(true) {
        add(
            "system.checked-build",
            Severity::Info,
            "/system/build",
            "a checked (debug) build of Windows: timestamps and offsets differ from the release",
        );
    }
    for wrong in facts.modules.iter().flat_map(|module| &module.wrong_files) {
        add(
            "modules.mismatched",
            Severity::Info,
            "/modules",
            &format!(
                "{}: the file found is {}, the dump's is {}; it was not used",
                wrong.file, wrong.found, wrong.wanted
            ),
        );
    }
    if let Some(why) = inventory {
        add("modules.inventory", Severity::Info, "/modules", &why);
    }
    // A report without names is not a report that has none.
    for (server, why) in silent {
        add(
            "symbols.server-silent",
            Severity::Info,
            "/modules",
            &format!("the symbol server {server} gave no answer: {why}"),
        );
    }
    notes
}

/// What a reader should know of a report on an Itanium: on every memory dump, and on a small dump where
/// something had to be settled.
fn itanium(facts: &CrashFacts) -> Option<String> {
    if facts.dump.architecture != Some(Machine::Ia64) {
        return None;
    }
    let settled = match facts.remarks.is_empty() {
        true => String::new(),
        false => format!(
            "; decided by what fits together: {}",
            facts.remarks.join("; ")
        ),
    };
    match facts.dump.format {
        Format::KernelComplete
        | Format::KernelSummary
        | Format::KernelBitmap
        | Format::KernelRanges => Some(format!(
            "Itanium memory: layouts from published headers, never met in a real dump{settled}. Not \
             known on Itanium: pool blocks, the registry, names of processes, what an instruction does; \
             a match is therefore at most probable"
        )),
        _ if settled.is_empty() => None,
        _ => Some(format!(
            "Itanium stack: layouts from published headers, never met in a real dump{settled}"
        )),
    }
}

/// What a reader has to know about a limit that was reached.
fn limit_note(limit: Limit) -> (&'static str, &'static str) {
    match limit {
        Limit::Time => (
            "limit.time",
            "the time for one dump was up: what had not been looked at by then is missing here; \
             --limit-time allows more",
        ),
        Limit::Steps => (
            "limit.steps",
            "the work for one dump was used up, more than any sane dump needs: what had not been \
             looked at by then is missing here",
        ),
        Limit::Candidates => (
            "limit.candidates",
            "there was more of one kind than is looked at: the rest of it is missing here",
        ),
        Limit::Text => (
            "limit.text",
            "names in this dump are longer than any real ones: they were cut",
        ),
    }
}
