//! Adds to a kernel dump's facts what the error report beside it says: versions of drivers at the crash, which a
//! small dump lacks. Used only where the report is of this crash by all that both say.

use crate::facts::{Beside, CrashFacts, Format, ReadFrom, VersionClaim, VersionSource};
use crate::knowledge::bugchecks::base_code;
use crate::knowledge::versions::carries_build;
use crate::knowledge::wer_report::WerReport;

/// Adds what the files beside the dump say.
pub fn apply(facts: &mut CrashFacts, beside: &Beside) {
    if beside.parts.is_empty() || facts.dump.format == Format::UserMinidump {
        return;
    }
    let mut report = WerReport::default();
    for (name, bytes) in &beside.parts {
        report.add(name, bytes);
    }
    let mut remarks = std::mem::take(&mut report.remarks);
    match of_another(facts, &report, beside) {
        Some(why) => remarks.push(format!(
            "the error report beside the dump was not used: {why}"
        )),
        None => use_report(facts, &report, &mut remarks),
    }
    facts.report_remarks.extend(remarks);
}

/// Why the report is not of this crash, or cannot be told to be.
fn of_another(facts: &CrashFacts, report: &WerReport, beside: &Beside) -> Option<String> {
    if beside.dumps > 1 {
        return Some(format!(
            "{} dumps lie in its folder, and it does not say which one it is about",
            beside.dumps
        ));
    }
    if let Some((own, other)) = facts.system.build.zip(report.build)
        && own != other
    {
        return Some(format!("it is of build {other}, the dump of {own}"));
    }
    let code = facts.bugcheck.map(|bugcheck| base_code(bugcheck.raw_code));
    if let Some((own, other)) = code.zip(report.bugcheck.map(base_code))
        && own != other
    {
        return Some(format!(
            "it is about a bug check 0x{other:X}, the dump has 0x{own:X}"
        ));
    }
    None
}

fn use_report(facts: &mut CrashFacts, report: &WerReport, remarks: &mut Vec<String>) {
    if facts.system.build.is_none() && report.build.is_some() {
        facts.system.build = report.build;
        facts.system.build_source = Some(ReadFrom::WerReport);
    }
    if facts.system.build_lab.is_none() {
        facts.system.build_lab.clone_from(&report.build_lab);
    }
    if facts.system.service_pack.is_none() {
        facts.system.service_pack = report.service_pack;
    }
    let build = facts.system.build;
    for id in facts.modules.ids() {
        let module = facts.modules.get(id).filter(|m| m.version.is_none());
        let Some(name) = module.and_then(|module| module.name()).map(str::to_owned) else {
            continue;
        };
        if carries_build(&name) && report.contradicts_itself(&name) {
            remarks.push(format!(
                "the error report has several versions of {}: none was used",
                name.to_ascii_lowercase()
            ));
        }
        let Some(v) = report.version(&name) else {
            continue;
        };
        if carries_build(&name) && build.is_some_and(|own| own != u32::from(v.build)) {
            remarks.push(format!(
                "the error report's {} {v} is of another Windows than the dump: it was not used",
                name.to_ascii_lowercase()
            ));
            continue;
        }
        facts.modules.update(id, |module| {
            module.version = Some(VersionClaim {
                version: v,
                branch_tag: None,
                source: VersionSource::WerReport,
            });
        });
    }
}
