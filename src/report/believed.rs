//! In words: which program made a dump, and what its header says that is not believed.

use super::values::rfc3339_from_filetime;
use crate::facts::{CrashFacts, Format, HeaderFacts, ReadFrom, Writer};
use crate::knowledge::bugchecks::base_code;

/// The writer as people name it; `writer` is the word of the report.
pub fn writer_in_words(writer: &str) -> &str {
    match Writer::named(writer) {
        Some(Writer::Kernel) => "the kernel",
        Some(Writer::Debugger) => "a debugger",
        Some(Writer::LiveKd) => "LiveKd",
        Some(Writer::Qemu) => "QEMU",
        Some(Writer::Elf2dmp) => "elf2dmp",
        Some(Writer::Rekall) => "Rekall",
        Some(Writer::Volatility) => "Volatility",
        Some(Writer::Bin2dmp) => "Bin2Dmp or a relative of it",
        Some(Writer::Converter) => "a program that converts images of memory",
        None => writer,
    }
}

/// What a reader should know about the header: remarks, each with the field it is about.
pub fn remarks(facts: &CrashFacts) -> Vec<(&'static str, &'static str, String)> {
    let dump = &facts.dump;
    if dump.format == Format::UserMinidump {
        return Vec::new();
    }
    let mut remarks = Vec::new();
    let header = &dump.header;
    if *header != HeaderFacts::default() {
        remarks.push((
            "dump.header-not-believed",
            "/dump/header",
            format!("the dump's header is not believed: {}", differences(facts)),
        ));
    }
    if facts.bugcheck.is_none() {
        let text = match dump.running {
            true => {
                "the kernel's memory holds no bug check: Windows was running when this image of \
                 its memory was taken"
            }
            false => "the dump does not say which bug check was raised",
        };
        remarks.push(("dump.no-bugcheck", "/bugcheck", text.to_owned()));
    }
    if let Some(writer) = dump.writer.filter(|writer| writer.converts()) {
        let mut only = Vec::new();
        if facts.system.build_source == Some(ReadFrom::Header) {
            only.push("the build");
        }
        if facts.bugcheck.is_some_and(|b| b.source == ReadFrom::Header) {
            only.push("the bug check");
        }
        if !only.is_empty() {
            remarks.push((
                "dump.header-only-says",
                "/dump/writer",
                format!(
                    "only the header, which {} wrote, says {}",
                    writer_in_words(writer.as_str()),
                    only.join(" and ")
                ),
            ));
        }
    }
    remarks
}

/// The header's values and what is believed in their place.
fn differences(facts: &CrashFacts) -> String {
    let header = &facts.dump.header;
    let mut parts = Vec::new();
    let mut part = |what: &str, stated: String, believed: Option<String>| {
        parts.push(match believed {
            Some(believed) => format!("{what} {stated} there, {believed} in memory"),
            None => format!("{what} {stated} there, which is no more than a placeholder"),
        });
    };
    if let Some(code) = header.bugcheck_code {
        let memory = facts
            .bugcheck
            .map(|bugcheck| format!("0x{:X}", base_code(bugcheck.raw_code)));
        part("bug check", format!("0x{code:X}"), memory);
    }
    if let Some(build) = header.build {
        part(
            "build",
            build.to_string(),
            facts.system.build.map(|build| build.to_string()),
        );
    }
    if let Some(count) = header.processors {
        part(
            "processors",
            count.to_string(),
            facts.dump.processors.map(|count| count.to_string()),
        );
    }
    if let Some(time) = header.crash_time.and_then(rfc3339_from_filetime) {
        let memory = facts.dump.crash_time.and_then(rfc3339_from_filetime);
        part("time", time, memory);
    }
    if parts.is_empty() {
        return "memory says otherwise".to_owned();
    }
    parts.join("; ")
}
