//! One dump as a row of a table, for spreadsheets and wikis. The names of the columns are stable: new ones are
//! added at the end.

use super::model::{Location, Stack};
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
        text(nearest_driver(location, summary.stack.as_ref())),
    ]
}

/// The module of the fault, or the first on the stack that is neither the kernel nor the hardware's.
pub fn nearest_driver<'a>(
    location: Option<&'a Location>,
    stack: Option<&'a Stack>,
) -> Option<&'a str> {
    const KERNEL: [&str; 6] = ["ntoskrnl", "ntkrnlpa", "ntkrnlmp", "ntkrpamp", "nt", "hal"];
    let own = location.and_then(|location| location.module.as_deref());
    let activity = stack.and_then(|stack| stack.faulting_activity);
    let most = activity.map_or(usize::MAX, |n| n as usize);
    let frames = stack
        .iter()
        .flat_map(|stack| stack.frames.iter().take(most));
    // What only looks like a return address names nobody.
    let sure = frames.filter(|frame| frame.trust != "scan");
    own.into_iter()
        .chain(sure.filter_map(|frame| frame.module.as_deref()))
        .find(|name| {
            let stem = name.split('.').next().unwrap_or(name);
            !KERNEL.iter().any(|own| own.eq_ignore_ascii_case(stem))
        })
}
