//! The roll-up of one machine's dumps into a machine record. The order of dumps does not matter.
//!
//! One crash counts once, whatever number of dumps it left. What one dump shows of a file serves
//! every dump with the same file; a single report never changes because of its siblings.

use std::collections::{BTreeMap, BTreeSet};

use crate::evidence::Strength;
use crate::knowledge::hotfix::KB943650;
use crate::report::SCHEMA_VERSION;
use crate::report::model::{ApplicabilityRecord, Module, MulticastForwarding};
use crate::report::records::{
    DumpCount, FileKnown, MachineEvidence, MachineHotfix, MachineMatch, MachineRecord, RecordKind,
    StopCode,
};
use crate::report::summary::Summary;
use crate::report::{Code, unix_from_rfc3339};
use crate::verdict::{Applicability, MatchStatus, verdict};

/// Dumps named with a piece of evidence.
const NAMED: usize = 5;
/// Crashes further apart than this do not strengthen each other: the article's machines restart
/// again and again.
const DAYS: i64 = 7 * 86_400;

/// Machines and their dumps.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// By name in upper case: Windows compares computer names so.
    machines: BTreeMap<String, RollUp>,
}

impl Fleet {
    /// Counts one dump; one without a machine, or that was not analysed, counts for none.
    pub fn add(&mut self, summary: &Summary) {
        let (Some(machine), Some(member)) = (&summary.machine, Member::of(summary)) else {
            return;
        };
        let roll_up = self.machines.entry(machine_key(&machine.name)).or_default();
        // Of several spellings one is shown, always the same.
        if roll_up.name.is_empty() || machine.name < roll_up.name {
            roll_up.name.clone_from(&machine.name);
        }
        roll_up.members.push(member);
    }

    /// A record for each machine with the key it is sorted by.
    pub(super) fn keyed_records(&self) -> impl Iterator<Item = (String, MachineRecord)> {
        self.machines
            .iter()
            .map(|(key, roll_up)| (key.clone(), roll_up.record()))
    }

    /// The record of one machine, which is forgotten.
    pub(super) fn take(&mut self, key: &str) -> Option<MachineRecord> {
        self.machines.remove(key).map(|roll_up| roll_up.record())
    }

    /// How many machines there are.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// True when no dump was counted for any machine.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// A record for each machine, by name.
    pub fn records(&self) -> impl Iterator<Item = MachineRecord> {
        self.machines.values().map(RollUp::record)
    }
}

/// What spellings of one machine's name have in common.
pub(super) fn machine_key(name: &str) -> String {
    name.to_uppercase()
}

/// The dumps of one machine.
#[derive(Clone, Debug, Default)]
struct RollUp {
    name: String,
    members: Vec<Member>,
}

/// What counts of one dump.
#[derive(Clone, Debug)]
struct Member {
    path: String,
    /// Dumps of one crash share it.
    crash: String,
    /// RFC 3339 UTC: sorts as text.
    time: Option<String>,
    code: Option<(Code, Option<String>)>,
    build: Option<u32>,
    status: MatchStatus,
    evidence: Vec<(String, bool, Strength, String)>,
    applicability: ApplicabilityRecord,
    files: Vec<File>,
    forwarding: MulticastForwarding,
}

/// One file of a machine at the time of a crash.
#[derive(Clone, Debug)]
struct File {
    name: String,
    identity: (String, u32),
    version: Option<(String, Option<String>)>,
}

impl Member {
    fn of(summary: &Summary) -> Option<Member> {
        let hotfix = summary.hotfix.as_ref()?;
        let path = summary.source.path.clone();
        Some(Member {
            crash: summary.crash_id.clone().unwrap_or_else(|| path.clone()),
            path,
            time: summary.dump.as_ref().and_then(|d| d.crash_time.clone()),
            code: summary
                .bugcheck
                .as_ref()
                .map(|b| (b.code.clone(), b.name.clone())),
            build: summary.system.as_ref().and_then(|s| s.build),
            status: hotfix.matching.status,
            evidence: hotfix
                .matching
                .evidence
                .iter()
                .map(|e| (e.id.clone(), e.supports, e.strength, e.summary.clone()))
                .collect(),
            applicability: hotfix.applicability.clone(),
            files: summary.modules.iter().filter_map(File::of).collect(),
            forwarding: summary
                .system
                .as_ref()
                .map(|s| s.multicast_forwarding.clone())
                .unwrap_or_default(),
        })
    }

    /// The file that decides about the hotfix.
    fn deciding(&self) -> Option<&File> {
        self.files.iter().find(|file| file.name == KB943650.decides)
    }
}

impl File {
    fn of(module: &Module) -> Option<File> {
        Some(File {
            name: module.name.as_ref()?.to_ascii_lowercase(),
            identity: (module.time_date_stamp.0.clone(), module.size),
            version: module
                .version
                .clone()
                .map(|version| (version, module.version_source.clone())),
        })
    }
}

/// One crash: its dumps, and how well it matches.
struct Crash<'a> {
    dumps: Vec<&'a Member>,
    status: MatchStatus,
}

impl Crash<'_> {
    fn time(&self) -> Option<i64> {
        let text = self.dumps.iter().find_map(|dump| dump.time.as_deref())?;
        unix_from_rfc3339(text)
    }

    fn code(&self) -> Option<&Code> {
        self.dumps
            .iter()
            .find_map(|dump| dump.code.as_ref().map(|(code, _)| code))
    }
}

impl RollUp {
    fn record(&self) -> MachineRecord {
        let mut members: Vec<&Member> = self.members.iter().collect();
        members.sort_by(|a, b| (&a.time, &a.path).cmp(&(&b.time, &b.path)));
        let crashes = crashes(&members);
        let status = crashes
            .iter()
            .map(|crash| crash.status)
            .max()
            .unwrap_or(MatchStatus::InsufficientData);
        let applicability = applicability(&members);
        let times = || members.iter().filter_map(|m| m.time.clone());
        MachineRecord {
            record_type: RecordKind::Machine,
            schema_version: SCHEMA_VERSION.to_owned(),
            machine: self.name.clone(),
            dumps: DumpCount {
                count: members.len() as u64,
                crashes: crashes.len() as u64,
            },
            first_crash: times().min(),
            last_crash: times().max(),
            stop_codes: stop_codes(&crashes),
            versions: versions(&members),
            multicast_forwarding: members
                .iter()
                .rev()
                .map(|m| &m.forwarding)
                .find(|f| f.ipv4.is_some() || f.ipv6.is_some())
                .cloned()
                .unwrap_or_default(),
            hotfix: MachineHotfix {
                kb: KB943650.kb.to_owned(),
                verdict: verdict(status, applicability.status),
                matching: MachineMatch {
                    status,
                    evidence: evidence(&crashes, status),
                },
                applicability,
            },
        }
    }
}

/// The crashes among a machine's dumps, in the order of their first dump.
fn crashes<'a>(members: &[&'a Member]) -> Vec<Crash<'a>> {
    let fixed = fixed_files(members);
    let mut order: Vec<&str> = Vec::new();
    let mut groups: BTreeMap<&str, Vec<&'a Member>> = BTreeMap::new();
    for member in members {
        let group = groups.entry(&member.crash).or_insert_with(|| {
            order.push(&member.crash);
            Vec::new()
        });
        group.push(member);
    }
    order
        .into_iter()
        .filter_map(|key| groups.remove(key))
        .map(|dumps| {
            let has_fix = dumps
                .iter()
                .filter_map(|dump| dump.deciding())
                .any(|file| fixed.contains(&file.identity));
            let best = dumps.iter().map(|dump| dump.status).max();
            let status = match best {
                // Another dump shows that the very same file holds the fix.
                Some(status) if has_fix => status.min(MatchStatus::Excluded),
                status => status.unwrap_or(MatchStatus::InsufficientData),
            };
            Crash { dumps, status }
        })
        .collect()
}

/// Identities of the deciding file that some dump knows to hold the fix, by version.
fn fixed_files(members: &[&Member]) -> BTreeSet<(String, u32)> {
    members
        .iter()
        .filter(|member| {
            matches!(
                member.applicability.status,
                Applicability::AlreadyInstalled | Applicability::IncludedInLaterUpdate
            ) && foundation(&member.applicability) == Foundation::Version
        })
        .filter_map(|member| member.deciding())
        .map(|file| file.identity.clone())
        .collect()
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
    let by_date = record
        .decided_from
        .iter()
        .any(|from| matches!(from.basis.as_str(), "date" | "co-dating"));
    if by_date {
        Foundation::Date
    } else {
        Foundation::Version
    }
}

/// The applicability as last seen: that of the last known deciding file, from the dump that knows
/// most about it; where no dump names the file, that of the last known system.
fn applicability(members: &[&Member]) -> ApplicabilityRecord {
    let last_build = members.iter().rev().find_map(|member| member.build);
    let of_build = || members.iter().filter(|member| member.build == last_build);
    let last_file = of_build()
        .filter_map(|member| member.deciding())
        .next_back()
        .map(|file| &file.identity);
    let same_file = |member: &&&Member| match last_file {
        Some(identity) => member
            .deciding()
            .is_some_and(|file| &file.identity == identity),
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
            |member| member.applicability.clone(),
        )
}

fn stop_codes(crashes: &[Crash<'_>]) -> Vec<StopCode> {
    let mut counts: BTreeMap<&str, StopCode> = BTreeMap::new();
    for crash in crashes {
        let Some((code, name)) = crash.dumps.iter().find_map(|dump| dump.code.as_ref()) else {
            continue;
        };
        counts
            .entry(&code.0)
            .or_insert_with(|| StopCode {
                code: code.clone(),
                name: name.clone(),
                crashes: 0,
            })
            .crashes += 1;
    }
    counts.into_values().collect()
}

/// Every file whose version is known, as last seen.
fn versions(members: &[&Member]) -> Vec<FileKnown> {
    let mut known: BTreeMap<&str, FileKnown> = BTreeMap::new();
    for member in members {
        for file in &member.files {
            let Some((version, source)) = &file.version else {
                continue;
            };
            known.insert(
                &file.name,
                FileKnown {
                    file: file.name.clone(),
                    version: version.clone(),
                    source: source.clone(),
                    as_of: member.time.clone(),
                },
            );
        }
    }
    known.into_values().collect()
}

/// The evidence of the crashes that match best, with the dumps that show it.
fn evidence(crashes: &[Crash<'_>], status: MatchStatus) -> Vec<MachineEvidence> {
    let mut merged: BTreeMap<(&str, bool), MachineEvidence> = BTreeMap::new();
    for crash in crashes.iter().filter(|crash| crash.status == status) {
        let mut counted = BTreeSet::new();
        for dump in &crash.dumps {
            for (id, supports, strength, summary) in &dump.evidence {
                let entry = merged
                    .entry((id, *supports))
                    .or_insert_with(|| MachineEvidence {
                        id: id.clone(),
                        supports: *supports,
                        strength: *strength,
                        summary: summary.clone(),
                        crashes: 0,
                        dumps: Vec::new(),
                    });
                if counted.insert((id, *supports)) {
                    entry.crashes += 1;
                }
                entry.strength = stronger(entry.strength, *strength);
                if entry.dumps.len() < NAMED && !entry.dumps.contains(&dump.path) {
                    entry.dumps.push(dump.path.clone());
                }
            }
        }
    }
    let mut merged: Vec<MachineEvidence> = merged.into_values().collect();
    merged.extend(varied_codes(crashes));
    merged.sort_by(|a, b| {
        (!a.supports, rank(a.strength), &a.id).cmp(&(!b.supports, rank(b.strength), &b.id))
    });
    merged
}

/// Restarts with different stop codes within days: the article's headline symptom. Bad memory gives
/// them too, so only crashes with their own sign of the defect count.
fn varied_codes(crashes: &[Crash<'_>]) -> Option<MachineEvidence> {
    let own: Vec<&Crash<'_>> = crashes
        .iter()
        .filter(|crash| crash.status >= MatchStatus::Possible && crash.code().is_some())
        .collect();
    let mut involved: BTreeSet<usize> = BTreeSet::new();
    for (a, first) in own.iter().enumerate() {
        for (b, second) in own.iter().enumerate().skip(a + 1) {
            let near = match (first.time(), second.time()) {
                (Some(first), Some(second)) => first.abs_diff(second) <= DAYS.unsigned_abs(),
                _ => false,
            };
            if near && first.code() != second.code() {
                involved.extend([a, b]);
            }
        }
        // Enough to name: more pairs say nothing new.
        if involved.len() >= NAMED {
            break;
        }
    }
    if involved.is_empty() {
        return None;
    }
    let dumps: Vec<String> = own
        .iter()
        .enumerate()
        .filter(|(index, _)| involved.contains(index))
        .filter_map(|(_, crash)| crash.dumps.first().map(|dump| dump.path.clone()))
        .take(NAMED)
        .collect();
    Some(MachineEvidence {
        id: "machine.varied-stop-codes".to_owned(),
        supports: true,
        strength: Strength::Moderate,
        summary: "crashes with different stop codes within a week, each with its own sign of the \
                  defect"
            .to_owned(),
        crashes: involved.len() as u64,
        dumps,
    })
}

/// From the heaviest.
fn rank(strength: Strength) -> u8 {
    match strength {
        Strength::Excluding => 0,
        Strength::Decisive => 1,
        Strength::Strong => 2,
        Strength::Moderate => 3,
        Strength::Weak => 4,
    }
}

fn stronger(a: Strength, b: Strength) -> Strength {
    if rank(b) < rank(a) { b } else { a }
}
