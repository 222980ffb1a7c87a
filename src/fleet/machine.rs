//! The roll-up of one machine's dumps into a machine record. The order of dumps does not matter.
//!
//! One crash counts once, whatever number of dumps it left. What one dump shows of a file serves
//! every dump with the same file; a single report never changes because of its siblings.

use std::collections::{BTreeMap, BTreeSet};

use super::crash::{self, Crash};
use super::member::Member;
use super::signs;
use crate::facts::VersionSource;
use crate::knowledge::hotfix::KB943650;
use crate::knowledge::inventory::{Inventory, Row};
use crate::knowledge::versions::{FileVersion, judge, judge_package};
use crate::report::model::{ApplicabilityRecord, DecidedFrom, MulticastForwarding};
use crate::report::records::{
    DumpCount, FileKnown, MachineHotfix, MachineMatch, MachineRecord, RecordKind, SharedSuspect,
    StopCode,
};
use crate::report::summary::{MachineName, NameSource};
use crate::report::{Code, SCHEMA_VERSION, rfc3339_from_unix, unix_from_rfc3339};
use crate::verdict::{Applicability, MatchStatus, verdict};

/// Drivers that at least two crashes are laid to.
fn shared_suspects(crashes: &[Crash<'_>]) -> Vec<SharedSuspect> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for crash in crashes {
        let own: BTreeSet<&str> = crash
            .counted
            .iter()
            .flat_map(|dump| dump.suspects.iter().map(|driver| &**driver))
            .collect();
        for module in own {
            *counts.entry(module).or_default() += 1;
        }
    }
    let mut shared: Vec<SharedSuspect> = counts
        .into_iter()
        .filter(|(_, crashes)| *crashes > 1)
        .map(|(module, crashes)| SharedSuspect {
            module: module.to_owned(),
            crashes,
        })
        .collect();
    shared.sort_by(|a, b| (b.crashes, &a.module).cmp(&(a.crashes, &b.module)));
    shared
}

/// How the name was learnt: the word of a dump that holds it or of an option where there is one.
fn name_source(members: &[Member<'_>]) -> String {
    let named = members.iter().find(|member| member.named);
    let member = named.or(members.first());
    member
        .map_or(NameSource::Path, |member| member.name_source)
        .to_string()
}

/// The record of the machine called `name`, by its dumps and by what an inventory tells besides.
pub(super) fn record(name: &str, dumps: &[Member<'_>], inventory: &Inventory) -> MachineRecord {
    let mut members: Vec<&Member<'_>> = dumps.iter().collect();
    members.sort_by_key(|member| (member.time, member.path));
    let known = crash::known(&members);
    let crashes = crash::crashes(&members, &known);
    let status = crashes
        .iter()
        .map(|crash| crash.status)
        .max()
        .unwrap_or(MatchStatus::InsufficientData);
    let times = || members.iter().filter_map(|m| m.time);
    let crash_times = || {
        let stopped = members.iter().filter(|member| !member.live);
        stopped.filter_map(|member| member.time)
    };
    let seen = || members.iter().filter_map(|member| member.seen);
    let mut versions = versions(&members);
    let last_build = members.iter().rev().find_map(|member| member.build);
    let listed = listed(inventory, name, times().max(), last_build, &versions);
    for file in &listed {
        versions.retain(|known| known.file != file.file);
        versions.push(file.clone());
    }
    versions.sort_by(|a, b| a.file.cmp(&b.file));
    let applicability = package(
        applicability_now(applicability(&members), &listed, last_build),
        &versions,
    );
    MachineRecord {
        record_type: RecordKind::Machine,
        schema_version: SCHEMA_VERSION.to_owned(),
        machine: MachineName {
            name: name.to_owned(),
            source: name_source(dumps),
        },
        dumps: DumpCount {
            count: members.len() as u64,
            crashes: crashes.len() as u64,
            live_reports: members.iter().filter(|member| member.live).count() as u64,
            overwritten: seen().filter(|seen| !seen.there).count() as u64,
        },
        first_crash: crash_times().min().map(str::to_owned),
        last_crash: crash_times().max().map(str::to_owned),
        first_seen: seen().map(|seen| seen.first).min().map(str::to_owned),
        last_seen: seen().map(|seen| seen.last).max().map(str::to_owned),
        stop_codes: stop_codes(&crashes),
        versions,
        multicast_forwarding: members
            .iter()
            .rev()
            .map(|m| &m.forwarding)
            .find(|f| f.ipv4.is_some() || f.ipv6.is_some())
            .map_or_else(MulticastForwarding::default, |f| f.clone().into_owned()),
        shared_suspects: shared_suspects(&crashes),
        hotfix: MachineHotfix {
            kb: KB943650.kb.to_owned(),
            verdict: verdict(status, applicability.status),
            matching: MachineMatch {
                status,
                decided_by: crashes
                    .iter()
                    .find(|crash| crash.status == status)
                    .and_then(|crash| Some(crash.counted.first()?.path.to_owned())),
                evidence: signs::evidence(&crashes, status),
            },
            applicability,
        },
    }
}

/// How well an applicability is founded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Foundation {
    Unknown,
    Date,
    Version,
}

fn foundation(record: &ApplicabilityRecord) -> Foundation {
    if record.status == Applicability::Unknown {
        return Foundation::Unknown;
    }
    if record.is_by_date() {
        Foundation::Date
    } else {
        Foundation::Version
    }
}

/// The applicability as last seen: that of the last known deciding file, from the dump that knows
/// most about it; where no dump names the file, that of the last known system.
fn applicability(members: &[&Member<'_>]) -> ApplicabilityRecord {
    let last_build = members.iter().rev().find_map(|member| member.build);
    let of_build = || members.iter().filter(|member| member.build == last_build);
    let last_file = of_build()
        .filter_map(|member| member.deciding())
        .next_back()
        .map(|file| file.identity);
    let same_file = |member: &&&Member<'_>| match last_file {
        Some(identity) => member
            .deciding()
            .is_some_and(|file| file.identity == identity),
        None => true,
    };
    of_build()
        .filter(same_file)
        .max_by_key(|member| foundation(&member.applicability))
        .map_or_else(
            || ApplicabilityRecord {
                status: Applicability::Unknown,
                reason: "no dump says which Windows it is from".to_owned(),
                decided_from: Vec::new(),
            },
            |member| member.applicability.clone().into_owned(),
        )
}

/// What the inventory tells of the machine beyond its dumps: a file that no dump knows, or that it
/// lists as of later than the last crash. Only files of the Windows that crashed: the inventory may be
/// older or of another machine with the name.
fn listed(
    inventory: &Inventory,
    machine: &str,
    last_crash: Option<&str>,
    build: Option<u32>,
    known: &[FileKnown],
) -> Vec<FileKnown> {
    let last_crash = last_crash.and_then(unix_from_rfc3339);
    let wanted = |file: &str, row: &Row| {
        let later = row
            .as_of
            .zip(last_crash)
            .is_some_and(|(at, crash)| at > crash);
        let unknown = !known.iter().any(|known| known.file == file);
        let ours = KB943650.role(file).is_some();
        ours && (later || unknown)
            && build.is_some_and(|build| build <= u32::from(row.version.build))
    };
    inventory
        .latest(machine)
        .into_iter()
        .filter(|(file, row)| wanted(file, row))
        .map(|(file, row)| FileKnown {
            file: file.to_owned(),
            version: row.version.to_string(),
            source: Some(VersionSource::Inventory.as_str().to_owned()),
            as_of: row.as_of.and_then(rfc3339_from_unix),
        })
        .collect()
}

/// The applicability by the deciding file's version in the inventory: later than every dump, or better
/// founded than what the dumps tell.
fn applicability_now(
    record: ApplicabilityRecord,
    listed: &[FileKnown],
    build: Option<u32>,
) -> ApplicabilityRecord {
    let file = listed.iter().find(|file| file.file == KB943650.decides);
    let version = file.and_then(|file| file.version.parse::<FileVersion>().ok());
    let (Some(file), Some(version)) = (file, version) else {
        return record;
    };
    let dated = file.as_of.is_some();
    // Another Windows than the dumps', or none that the file could be of, is told by the system's rule.
    let same_windows = build == Some(u32::from(version.build));
    if !dated && (foundation(&record) == Foundation::Version || !same_windows) {
        return record;
    }
    let judgement = judge(KB943650.decides, version);
    let when = match &file.as_of {
        Some(when) => format!(" as of {when}"),
        None => String::new(),
    };
    ApplicabilityRecord {
        status: judgement.applicability,
        reason: format!(
            "{} {version} by the inventory{when}: {}",
            KB943650.decides, judgement.reason
        ),
        decided_from: vec![DecidedFrom {
            file: KB943650.decides.to_owned(),
            version: Some(version.to_string()),
            fixed_in: Some(KB943650.fixed_version.to_string()),
            source: VersionSource::Inventory.as_str().to_owned(),
            basis: judgement.basis.as_str().to_owned(),
        }],
    }
}

/// The applicability with the other files of the package that any dump knows, a program's included:
/// an unfixed tcpip.sys beside newer files of the package is partly serviced.
fn package(mut record: ApplicabilityRecord, known: &[FileKnown]) -> ApplicabilityRecord {
    let deciding = record
        .decided_from
        .iter()
        .find(|from| from.file == KB943650.decides)
        .and_then(|from| from.version.as_deref()?.parse::<FileVersion>().ok());
    let (Applicability::Applicable, Some(deciding)) = (record.status, deciding) else {
        return record;
    };
    let others: Vec<(&FileKnown, FileVersion)> = known
        .iter()
        .filter(|file| file.file != KB943650.decides)
        .filter_map(|file| Some((file, file.version.parse().ok()?)))
        .collect();
    let mut files = vec![(KB943650.decides, deciding)];
    files.extend(
        others
            .iter()
            .map(|(file, version)| (file.file.as_str(), *version)),
    );
    let together = judge_package(&files);
    record.status = together.applicability;
    for index in together.disagreeing {
        let Some((file, version)) = index.checked_sub(1).and_then(|i| others.get(i)) else {
            continue;
        };
        record
            .reason
            .push_str(&format!("; {} is {version}", file.file));
        record.decided_from.push(DecidedFrom {
            file: file.file.clone(),
            version: Some(version.to_string()),
            fixed_in: Some(KB943650.fixed_version.to_string()),
            source: file.source.clone().unwrap_or_else(|| "unknown".to_owned()),
            basis: "servicing-rule".to_owned(),
        });
    }
    record
}

fn stop_codes(crashes: &[Crash<'_>]) -> Vec<StopCode> {
    let mut counts: BTreeMap<&str, StopCode> = BTreeMap::new();
    for crash in crashes {
        let Some((code, name)) = crash.code() else {
            continue;
        };
        counts
            .entry(code)
            .or_insert_with(|| StopCode {
                code: Code(code.to_owned()),
                name: name.map(str::to_owned),
                crashes: 0,
            })
            .crashes += 1;
    }
    counts.into_values().collect()
}

/// Every file whose version is known, as last seen.
fn versions(members: &[&Member<'_>]) -> Vec<FileKnown> {
    let mut known: BTreeMap<&str, FileKnown> = BTreeMap::new();
    for member in members {
        for file in &member.files {
            let Some((version, source)) = file.version else {
                continue;
            };
            known.insert(
                &file.name,
                FileKnown {
                    file: (*file.name).to_owned(),
                    version: version.to_owned(),
                    source: source.map(str::to_owned),
                    as_of: member.time.map(str::to_owned),
                },
            );
        }
    }
    known.into_values().collect()
}
