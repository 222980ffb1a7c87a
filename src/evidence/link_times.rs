//! Was tcpip.sys linked together with the drivers of the release? Then no update replaced it.

use crate::facts::CrashFacts;
use crate::facts::Module;
use crate::knowledge::Basis;
use crate::knowledge::hotfix::KB943650;

use super::servicing::SERVICE_PACK_1;
use super::{Context, Evidence, Observation, Outcome, Strength};

/// In-box drivers that no network hotfix replaces. Their link times show when the system's
/// release build was made.
const RELEASE_DRIVERS: &[&str] = &[
    "acpi.sys",
    "atapi.sys",
    "beep.sys",
    "cdrom.sys",
    "clfs.sys",
    "disk.sys",
    "fastfat.sys",
    "fltmgr.sys",
    "hal.dll",
    "kbdclass.sys",
    "kdcom.dll",
    "ksecdd.sys",
    "mouclass.sys",
    "mountmgr.sys",
    "msfs.sys",
    "mup.sys",
    "npfs.sys",
    "ntfs.sys",
    "null.sys",
    "partmgr.sys",
    "pci.sys",
    "rdpcdd.sys",
    "volmgr.sys",
    "volmgrx.sys",
    "volsnap.sys",
    "watchdog.sys",
];
/// Fewest of them that make a cluster.
const CLUSTER: usize = 6;
/// A release build links within a day.
const CLUSTER_SPAN: u32 = 24 * 3600;
/// A driver of the same build is linked within hours of the others.
const NEAR: u32 = 6 * 3600;

/// tcpip.sys against the link times of drivers that came with the release.
pub(super) fn observe(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match facts.system.build {
        Some(SERVICE_PACK_1) => judge_link_times(facts),
        Some(_) => Outcome::Neutral("the Windows build decides already".to_owned()),
        None => Outcome::NotObservable("the dump does not name its Windows build".to_owned()),
    };
    Observation {
        observer: "build.co-dated",
        question: "Was tcpip.sys linked together with the drivers of the release?",
        outcome,
    }
}

fn judge_link_times(facts: &CrashFacts) -> Outcome {
    let Some((_, tcpip)) = facts.modules.find(KB943650.decides) else {
        return Outcome::NotObservable("the dump names no tcpip.sys".to_owned());
    };
    let Some((first, last, members)) = release_cluster(facts) else {
        return Outcome::NotObservable(format!(
            "fewer than {CLUSTER} drivers of the release were linked within a day"
        ));
    };
    let stamp = tcpip.time_date_stamp;
    let distance = distance(stamp, first, last);
    if distance <= NEAR {
        let summary =
            format!("linked together with {members} drivers of the release: probably untouched");
        return Outcome::Found(vec![
            Evidence::pro(
                "build.co-dated",
                Strength::Moderate,
                Basis::Inference,
                summary,
            )
            .at("tcpip.sys"),
        ]);
    }
    let when = if stamp > last { "after" } else { "before" };
    Outcome::Neutral(format!(
        "tcpip.sys was linked {} days {when} the {members} drivers of the release: an update \
         replaced it, fixed or not",
        distance / 86_400
    ))
}

/// Seconds from a stamp to the range of a cluster.
fn distance(stamp: u32, first: u32, last: u32) -> u32 {
    first.saturating_sub(stamp).max(stamp.saturating_sub(last))
}

/// True when tcpip.sys was linked with the drivers of the release.
pub(super) fn linked_together(facts: &CrashFacts, tcpip: &Module) -> bool {
    release_cluster(facts)
        .is_some_and(|(first, last, _)| distance(tcpip.time_date_stamp, first, last) <= NEAR)
}

fn of_the_release(name: &str) -> bool {
    RELEASE_DRIVERS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// First stamp, last stamp and size of the largest cluster of release drivers.
fn release_cluster(facts: &CrashFacts) -> Option<(u32, u32, usize)> {
    let mut stamps: Vec<u32> = facts
        .modules
        .iter()
        .filter(|module| module.name().is_some_and(of_the_release))
        .map(|module| module.time_date_stamp)
        .collect();
    stamps.sort_unstable();
    let mut best: Option<(u32, u32, usize)> = None;
    for (index, first) in stamps.iter().enumerate() {
        let members: Vec<u32> = stamps
            .iter()
            .skip(index)
            .copied()
            .take_while(|stamp| stamp - first <= CLUSTER_SPAN)
            .collect();
        if members.len() > best.map_or(CLUSTER - 1, |(_, _, n)| n) {
            best = Some((*first, *members.last()?, members.len()));
        }
    }
    best
}
