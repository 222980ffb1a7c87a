//! The records about many dumps: what a machine's dumps say together, and the summary of a run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{ApplicabilityRecord, MulticastForwarding, Tool};
use super::summary::MachineName;
use super::values::Code;
use crate::evidence::Strength;
use crate::verdict::{MatchStatus, Verdict};
use crate::vocabulary::closed_enum;

closed_enum! {
    /// Kinds of record about many dumps.
    RecordKind {
        /// What the dumps of one machine say together.
        Machine = "machine",
        /// The summary of one run over many files.
        Scan = "scan",
    }
}

/// What the dumps of one machine say together: a pure function of their reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineRecord {
    /// Always `machine`.
    #[serde(rename = "type")]
    pub record_type: RecordKind,
    /// Version of the contract.
    pub schema_version: String,
    /// Its name, and how it was learnt.
    pub machine: MachineName,
    /// How many dumps and how many crashes.
    pub dumps: DumpCount,
    /// Time of the first crash, RFC 3339 UTC.
    pub first_crash: Option<String>,
    /// Time of the last crash, RFC 3339 UTC.
    pub last_crash: Option<String>,
    /// When scans first and last saw a dump of it, RFC 3339 UTC, the last to the day; only in what a store gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<String>,
    /// See `first_seen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Codes of its crashes, by code.
    pub stop_codes: Vec<StopCode>,
    /// Files whose version is known, by name.
    pub versions: Vec<FileKnown>,
    /// Whether multicast forwarding was on when that was last seen.
    pub multicast_forwarding: MulticastForwarding,
    /// Drivers that several of its crashes are laid to, whatever the article: most crashes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shared_suspects: Vec<SharedSuspect>,
    /// The answer for the machine.
    pub hotfix: MachineHotfix,
}

/// A driver that several crashes of one machine are laid to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SharedSuspect {
    /// Its file name in lower case.
    pub module: String,
    /// Crashes that are laid to it.
    pub crashes: u64,
}

/// Dumps of one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DumpCount {
    /// Dumps that were analysed.
    pub count: u64,
    /// Distinct crashes, by `crash_id`.
    pub crashes: u64,
    /// Reports of a running system among the dumps: no crashes.
    #[serde(default)]
    pub live_reports: u64,
    /// Dumps whose place another one took since: MEMORY.DMP is written anew at every crash. Only in what a store
    /// gives, and only where there are any.
    #[serde(default, skip_serializing_if = "is_none")]
    pub overwritten: u64,
}

/// True for none: what is not counted is left out.
fn is_none(count: &u64) -> bool {
    *count == 0
}

/// One stop code of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StopCode {
    /// The code.
    pub code: Code,
    /// Its name.
    pub name: Option<String>,
    /// Crashes with it.
    pub crashes: u64,
}

/// The version of one file of a machine, as last seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FileKnown {
    /// File name in lower case.
    pub file: String,
    /// Version.
    pub version: String,
    /// How it was learnt.
    pub source: Option<String>,
    /// Time of the crash whose dump shows it, RFC 3339 UTC.
    pub as_of: Option<String>,
}

/// The answer for a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineHotfix {
    /// The article.
    pub kb: String,
    /// Do its crashes match the defect?
    #[serde(rename = "match")]
    pub matching: MachineMatch,
    /// Does the hotfix apply to the machine, as last seen?
    pub applicability: ApplicabilityRecord,
    /// One word for a ticket.
    pub verdict: Verdict,
}

/// Do a machine's crashes match the defect?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineMatch {
    /// That of the crash that matches best.
    pub status: MatchStatus,
    /// Path of the dump that decided: of that crash the one that holds most. `None` for a machine without a crash.
    #[serde(default)]
    pub decided_by: Option<String>,
    /// What it rests on, with the dumps that show it.
    pub evidence: Vec<MachineEvidence>,
}

/// Evidence and the dumps that show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineEvidence {
    /// Stable, for programs.
    pub id: String,
    /// For the match (true) or against it.
    #[serde(rename = "for")]
    pub supports: bool,
    /// How much it weighs.
    pub strength: Strength,
    /// What was seen, in the first of the dumps.
    pub summary: String,
    /// Crashes that show it.
    pub crashes: u64,
    /// The first dumps that show it, by path.
    pub dumps: Vec<String>,
}

/// One of several workers that share a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Shard {
    /// From 1.
    pub index: u32,
    /// How many there are.
    pub count: u32,
    /// Tells the list from others: the first four bytes of its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list: Option<u32>,
}

impl Shard {
    /// Part `index`, from 1, of `count`; of which list is not known yet.
    pub fn new(index: u32, count: u32) -> Shard {
        Shard {
            index,
            count,
            list: None,
        }
    }
}

/// The summary of a run over many files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ScanRecord {
    /// Always `scan`.
    #[serde(rename = "type")]
    pub record_type: RecordKind,
    /// Version of the contract.
    pub schema_version: String,
    /// The program and its options.
    pub tool: Tool,
    /// Directories and files that were asked for.
    pub roots: Vec<String>,
    /// Which part of a shared list this run was.
    pub shard: Option<Shard>,
    /// False when the run was interrupted.
    pub complete: bool,
    /// What was found below the roots, directories left out: each counted once.
    pub entries: u64,
    /// Records about dumps: one archive can give several.
    pub reports: u64,
    /// Records by status, and entries that were skipped.
    pub statuses: BTreeMap<String, u64>,
    /// Records by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// Records about reports of a running system, which are no crashes.
    #[serde(default)]
    pub live_reports: u64,
    /// Records that failed, by kind of error.
    pub errors: BTreeMap<String, u64>,
    /// Machines that have a record.
    pub machines: u64,
    /// What was skipped, by reason.
    pub skipped: Vec<SkippedCount>,
    /// Directories that could not be read.
    pub unreadable: Unreadable,
}

/// How much was skipped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SkippedCount {
    /// Stable, for programs.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = ["not-a-dump", "no-dump-inside", "link", "special-file", "offline", "loop", "compressed", "growing", "vanished", "error-report"])))]
    pub reason: String,
    /// How many entries.
    pub count: u64,
    /// The first of them, by path.
    pub examples: Vec<String>,
}

/// Directories that could not be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Unreadable {
    /// How many.
    pub count: u64,
    /// The first of them, by path.
    pub examples: Vec<UnreadableDirectory>,
}

/// A directory that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnreadableDirectory {
    /// Its path.
    pub path: String,
    /// Why, for a person.
    pub message: String,
}
