//! One dump as a row of a table, for spreadsheets and wikis. The names of the columns are stable: new ones are
//! added at the end.

use super::summary::Summary;
use crate::knowledge::hotfix::KB943650;
use crate::verdict::Verdict;

/// The columns.
pub const COLUMNS: [&str; 22] = [
    "path",
    "status",
    "verdict",
    "match",
    "applicability",
    "machine",
    "crash_time",
    "code",
    "name",
    "bucket",
    "build",
    "crash_id",
    "error",
    "p1",
    "p2",
    "p3",
    "p4",
    "fault",
    "process",
    "uptime_seconds",
    "tcpip_version",
    "suspect",
];

/// The cells of one dump in the order of [`COLUMNS`]; what is not known is empty.
pub fn row(summary: &Summary) -> [String; COLUMNS.len()] {
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let hotfix = summary.hotfix.as_ref();
    let bugcheck = summary.bugcheck.as_ref();
    let dump = summary.dump.as_ref();
    let machine = summary.machine.as_ref().map(|m| m.name.as_str());
    let own = summary.system.as_ref().and_then(|s| s.machine.as_deref());
    let build = summary.system.as_ref().and_then(|s| s.build);
    let bucket = summary.bucket.as_ref();
    let parameter = |index: usize| {
        let parameters = bugcheck
            .map(|b| b.parameters.as_slice())
            .unwrap_or_default();
        text(
            parameters
                .get(index)
                .and_then(|p| Some(p.value.as_ref()?.0.as_str())),
        )
    };
    let location = summary.fault.as_ref().and_then(|f| f.location.as_ref());
    let tcpip = summary.modules.iter().find(|module| {
        let name = module.name.as_deref();
        name.is_some_and(|name| name.eq_ignore_ascii_case(KB943650.decides))
    });
    [
        summary.source.path.clone(),
        summary.status.to_string(),
        text(summary.verdict().map(Verdict::as_str)),
        text(hotfix.map(|h| h.matching.status.as_str())),
        text(hotfix.map(|h| h.applicability.status.as_str())),
        text(machine.or(own)),
        text(dump.and_then(|d| d.crash_time.as_deref())),
        text(bugcheck.map(|b| b.code.0.as_str())),
        text(bugcheck.and_then(|b| b.name.as_deref())),
        text(bucket.map(|b| b.name.as_ref().unwrap_or(&b.key).as_str())),
        build.map(|build| build.to_string()).unwrap_or_default(),
        text(summary.crash_id.as_deref()),
        text(summary.error.as_ref().map(|e| e.message.as_str())),
        parameter(0),
        parameter(1),
        parameter(2),
        parameter(3),
        location
            .map(|l| format!("{}+{}", l.module.as_deref().unwrap_or("?"), l.offset.0))
            .unwrap_or_default(),
        text(summary.process.as_deref()),
        dump.and_then(|d| d.uptime_seconds)
            .map(|seconds| seconds.to_string())
            .unwrap_or_default(),
        text(tcpip.and_then(|module| module.version.as_deref())),
        suspects(summary),
    ]
}

/// Whom the crash is laid to; several that cannot be told apart with `or` between them.
fn suspects(summary: &Summary) -> String {
    let suspects = summary.cause.iter().flat_map(|cause| &cause.suspects);
    let names: Vec<String> = suspects
        .map(|suspect| match &suspect.module {
            Some(module) => module.to_ascii_lowercase(),
            None => suspect.what.as_str().to_owned(),
        })
        .collect();
    names.join(" or ")
}
