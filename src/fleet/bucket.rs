//! Crashes by bucket: how many, on how many machines, first and last seen, by month.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::SCHEMA_VERSION;
use crate::report::summary::Summary;
use crate::verdict::Verdict;

/// One bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

#[derive(Clone, Debug, Default)]
struct Bucket {
    name: Option<String>,
    machines: BTreeSet<String>,
    crashes: BTreeMap<String, (Option<String>, Option<Verdict>)>,
    live: BTreeSet<String>,
    example: Option<String>,
}

/// Buckets and their crashes.
#[derive(Clone, Debug, Default)]
pub struct Buckets(BTreeMap<String, Bucket>);

impl Buckets {
    /// Counts one dump; one without a bucket counts for none.
    pub fn add(&mut self, summary: &Summary) {
        let Some(found) = &summary.bucket else {
            return;
        };
        let path = &summary.source.path;
        let bucket = self.0.entry(found.key.clone()).or_default();
        if bucket.name < found.name {
            bucket.name.clone_from(&found.name);
        }
        if let Some(machine) = &summary.machine {
            bucket.machines.insert(machine.name.to_uppercase());
        }
        let crash = summary.crash_id.clone().unwrap_or_else(|| path.clone());
        if bucket.example.as_ref().is_none_or(|example| path < example) {
            bucket.example = Some(path.clone());
        }
        if summary.is_live() {
            bucket.live.insert(crash);
            return;
        }
        let time = summary.dump.as_ref().and_then(|d| d.crash_time.clone());
        let entry = bucket
            .crashes
            .entry(crash)
            .or_insert_with(|| (time.clone(), summary.verdict()));
        // The same whatever the order of dumps.
        entry.0 = match (entry.0.take(), time) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        // Verdicts are declared from the best match downwards.
        entry.1 = match (entry.1, summary.verdict()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    /// A row for each bucket: most crashes first, then by key.
    pub fn rows(&self) -> Vec<BucketRow> {
        let mut rows: Vec<BucketRow> = self.0.iter().map(row).collect();
        rows.sort_by(|a, b| (b.crashes, &a.key).cmp(&(a.crashes, &b.key)));
        rows
    }
}

fn row((key, bucket): (&String, &Bucket)) -> BucketRow {
    let mut months = BTreeMap::new();
    let mut verdicts = BTreeMap::new();
    for (time, verdict) in bucket.crashes.values() {
        if let Some(month) = time.as_deref().and_then(|time| time.get(..7)) {
            *months.entry(month.to_owned()).or_insert(0) += 1;
        }
        if let Some(verdict) = verdict {
            *verdicts.entry(verdict.as_str().to_owned()).or_insert(0) += 1;
        }
    }
    let times = || bucket.crashes.values().filter_map(|(time, _)| time.clone());
    BucketRow {
        record_type: "bucket".to_owned(),
        schema_version: SCHEMA_VERSION.to_owned(),
        key: key.clone(),
        name: bucket.name.clone(),
        crashes: bucket.crashes.len() as u64,
        live_reports: bucket.live.len() as u64,
        machines: bucket.machines.len() as u64,
        first_seen: times().min(),
        last_seen: times().max(),
        months,
        verdicts,
        example: bucket.example.clone().unwrap_or_default(),
    }
}
