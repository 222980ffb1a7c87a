//! Crashes by bucket: how many, on how many machines, first and last seen, by month.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::crash::richness;
use crate::facts::Format;
use crate::report::SCHEMA_VERSION;
use crate::report::model::Status;
use crate::report::summary::Summary;
use crate::verdict::Verdict;

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BucketRow {
    /// Always `bucket`.
    #[serde(rename = "type")]
    pub record_type: String,
    /// Version of the contract.
    pub schema_version: String,
    /// The key: code, access, module identity, offset.
    pub key: String,
    /// What people read.
    pub name: Option<String>,
    /// Crashes, by `crash_id`.
    pub crashes: u64,
    /// Reports of a running system: no crashes.
    #[serde(default)]
    pub live_reports: u64,
    /// Machines that had them, where they are known.
    pub machines: u64,
    /// RFC 3339 UTC.
    pub first_seen: Option<String>,
    /// RFC 3339 UTC.
    pub last_seen: Option<String>,
    /// Crashes by month, `2008-07`.
    pub months: BTreeMap<String, u64>,
    /// Crashes by verdict.
    pub verdicts: BTreeMap<String, u64>,
    /// The first dump by path.
    pub example: String,
}

/// How well a dump tells of its crash, the best first: it tells something, it holds much of the crash; then by path, so
/// that the order of dumps does not matter. What a poorer dump could not see does not count against a richer one.
type Rank = (bool, Reverse<(u8, bool)>, String);

/// One crash, or one report of a running system.
#[derive(Clone, Debug, Default)]
pub(super) struct Occurrence {
    /// In upper case; empty where it is not known.
    pub machine: String,
    /// RFC 3339 UTC.
    pub time: Option<String>,
    /// A report of a running system.
    pub live: bool,
    /// The dump of a program.
    pub user_mode: bool,
    /// The verdict of the dump that tells most, and how well that tells.
    verdict: Option<(Rank, Verdict)>,
    /// Dumps of one crash may fall into several buckets: it is counted for the key that the dump that tells most has.
    bucket: Option<(Rank, Arc<str>)>,
}

impl Occurrence {
    /// The verdict of the dump that tells most.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.as_ref().map(|(_, verdict)| *verdict)
    }
}

/// Keeps what the better of two dumps says.
fn keep<T>(known: &mut Option<(Rank, T)>, rank: &Rank, value: impl FnOnce() -> T) {
    if known.as_ref().is_none_or(|(best, _)| rank < best) {
        *known = Some((rank.clone(), value()));
    }
}

/// Crashes by `crash_id`, and their buckets.
#[derive(Clone, Debug, Default)]
pub struct Buckets {
    crashes: BTreeMap<String, Occurrence>,
    /// What people read, by key: the longest that a dump gives.
    names: BTreeMap<Arc<str>, Option<String>>,
}

impl Buckets {
    /// Counts one dump.
    pub fn add(&mut self, summary: &Summary) {
        let path = &summary.source.path;
        let key = summary.bucket.as_ref().map(|found| {
            let known = self.names.get_key_value(found.key.as_str());
            let key =
                known.map_or_else(|| Arc::from(found.key.as_str()), |(key, _)| Arc::clone(key));
            let name = self.names.entry(Arc::clone(&key)).or_default();
            if *name < found.name {
                name.clone_from(&found.name);
            }
            key
        });
        let id = summary.crash_id.as_ref().unwrap_or(path);
        let crash = self.crashes.entry(id.clone()).or_default();
        let machine = summary.machine.as_ref().map(|m| m.name.to_uppercase());
        // Of several names always the same.
        if let Some(machine) = machine
            && (crash.machine.is_empty() || machine < crash.machine)
        {
            crash.machine = machine;
        }
        let dump = summary.dump.as_ref();
        let time = dump.and_then(|dump| dump.crash_time.clone());
        crash.time = match (crash.time.take(), time) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let format = dump.map_or("", |dump| &dump.format);
        crash.live |= summary.is_live();
        // A program's dump is no crash of the machine.
        crash.user_mode |= format == Format::UserMinidump.as_str();
        let silent = summary
            .verdict()
            .is_none_or(|verdict| verdict == Verdict::Undetermined);
        let rich = richness(format, summary.status != Status::Ok);
        let rank = (silent, Reverse(rich), path.clone());
        if let Some(verdict) = summary.verdict() {
            keep(&mut crash.verdict, &rank, || verdict);
        }
        if let Some(key) = key {
            keep(&mut crash.bucket, &rank, || key);
        }
    }

    /// The crashes of machines that have one of the verdicts wanted.
    pub(super) fn crashes(
        &self,
        wanted: impl Fn(Verdict) -> bool,
    ) -> impl Iterator<Item = &Occurrence> {
        self.crashes.values().filter(move |crash| {
            !crash.live && !crash.user_mode && crash.verdict().is_some_and(&wanted)
        })
    }

    /// A row for each bucket that has crashes with one of the verdicts wanted: most crashes first, then by key.
    pub fn rows(&self, wanted: impl Fn(Verdict) -> bool) -> Vec<BucketRow> {
        let mut grouped: BTreeMap<&str, Vec<&Occurrence>> = BTreeMap::new();
        for crash in self.crashes.values() {
            let counts = crash.verdict().is_some_and(&wanted);
            if let Some((_, key)) = crash.bucket.as_ref().filter(|_| counts) {
                grouped.entry(key).or_default().push(crash);
            }
        }
        let mut rows: Vec<BucketRow> = grouped
            .into_iter()
            .map(|(key, crashes)| {
                let name = self.names.get(key).cloned().flatten();
                row(key, name, &crashes)
            })
            .collect();
        rows.sort_by(|a, b| (b.crashes, &a.key).cmp(&(a.crashes, &b.key)));
        rows
    }
}

fn row(key: &str, name: Option<String>, all: &[&Occurrence]) -> BucketRow {
    let mut months = BTreeMap::new();
    let mut verdicts = BTreeMap::new();
    let stopped = || all.iter().filter(|crash| !crash.live);
    for crash in stopped() {
        if let Some(month) = crash.time.as_deref().and_then(|time| time.get(..7)) {
            *months.entry(month.to_owned()).or_insert(0) += 1;
        }
        if let Some(verdict) = crash.verdict() {
            *verdicts.entry(verdict.as_str().to_owned()).or_insert(0) += 1;
        }
    }
    let times = || stopped().filter_map(|crash| crash.time.clone());
    let machines: BTreeSet<&str> = all.iter().map(|crash| crash.machine.as_str()).collect();
    let dumps = all.iter().filter_map(|crash| crash.bucket.as_ref());
    BucketRow {
        record_type: "bucket".to_owned(),
        schema_version: SCHEMA_VERSION.to_owned(),
        key: key.to_owned(),
        name,
        crashes: stopped().count() as u64,
        live_reports: all.iter().filter(|crash| crash.live).count() as u64,
        machines: machines.iter().filter(|name| !name.is_empty()).count() as u64,
        first_seen: times().min(),
        last_seen: times().max(),
        months,
        verdicts,
        example: dumps
            .map(|((.., path), _)| path.clone())
            .min()
            .unwrap_or_default(),
    }
}
