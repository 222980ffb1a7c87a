//! The record of one report: what is counted of it, its line, and its facts for the store.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::report::json;
use crate::report::model::Detail;
use crate::report::summary::{MachineName, Summary};
use crate::report::{Input, Report};
use crate::scan::{Item, Job, Record};
use crate::source::{Container, SourceInfo};
use crate::triage::Triaged;

/// The record of one report, counted for the machine that the file's place or the dump names.
pub(super) fn record(job: &Job, item: &Item, mut triaged: Triaged) -> Record {
    let own = triaged
        .report
        .system
        .as_ref()
        .and_then(|system| system.machine.as_deref());
    let machine = job.options.machines.name(&item.relative, own);
    // Facts that a limit cut short are not judged again: the file is read again when limits change.
    let whole = triaged.facts.as_ref().is_some_and(|f| f.limits.is_empty());
    let facts = match job.options.keep_facts && whole {
        true => triaged.facts.take().and_then(crate::facts::pack),
        false => None,
    };
    let full = match job.options.detail {
        Detail::Full => full_line(&triaged.report, machine.as_ref()),
        Detail::Summary => None,
    };
    let summary = Summary::of(triaged.report, machine);
    Record {
        is_full: full.is_some(),
        line: full.unwrap_or_else(|| line(&summary)),
        summary,
        facts,
    }
}

/// A whole report with the machine it is counted for.
fn full_line(report: &Report, machine: Option<&MachineName>) -> Option<String> {
    #[derive(serde::Serialize)]
    struct Full<'a> {
        #[serde(flatten)]
        report: &'a Report,
        machine: Option<&'a MachineName>,
    }
    compact(&Full { report, machine })
}

/// The line of a summary.
pub fn line(summary: &Summary) -> String {
    compact(summary).unwrap_or_default()
}

fn compact<T: serde::Serialize>(value: &T) -> Option<String> {
    let mut out = Vec::with_capacity(8192);
    json::write_compact(&mut out, value).ok()?;
    String::from_utf8(out).ok()
}

/// Judges stored facts again: the record as if the file had been read now.
pub fn rejudge(
    job: &Job,
    relative: &std::path::Path,
    summary: &Summary,
    facts: &[u8],
) -> Option<Record> {
    let facts = crate::facts::unpack(facts)?;
    let machine = job.machine(relative, facts.system.machine.as_deref());
    let source = &summary.source;
    let info = SourceInfo {
        beside: None,
        path: source.path.clone(),
        path_exact: source
            .path_exact
            .as_ref()
            .and_then(|text| BASE64.decode(text).ok()),
        size: source.size,
        modified: source
            .modified
            .as_deref()
            .and_then(crate::report::unix_from_rfc3339),
        container: source.container.as_ref().map(|container| Container {
            path: container.path.clone(),
            member: container.member.clone(),
        }),
    };
    let input = Input {
        info: &info,
        fingerprint: source.fingerprint.clone(),
        sha256: source.sha256.clone(),
    };
    let item = Item {
        number: 0,
        path: std::path::PathBuf::new(),
        relative: relative.to_owned(),
        file: None,
        is_listed: false,
        folder: None,
        attempt: 0,
    };
    let mut triaged = job
        .engine
        .report_on(facts, input, job.options.detail, machine.as_deref());
    // The caller has them packed.
    triaged.facts = None;
    Some(record(job, &item, triaged))
}
