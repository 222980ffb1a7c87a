//! The evidence of a machine: that of its crashes, and what only several crashes show together.

use std::collections::{BTreeMap, BTreeSet};

use super::crash::Crash;
use crate::evidence::Strength;
use crate::report::records::MachineEvidence;
use crate::verdict::MatchStatus;

/// Dumps named with a piece of evidence.
const NAMED: usize = 5;
/// Crashes further apart than this do not strengthen each other: the article's machines restart
/// again and again.
const DAYS: i64 = 7 * 86_400;

/// The evidence of the crashes that match best, with the dumps that show it.
pub(super) fn evidence(crashes: &[Crash<'_>], status: MatchStatus) -> Vec<MachineEvidence> {
    let mut merged: BTreeMap<(&str, bool), MachineEvidence> = BTreeMap::new();
    for crash in crashes.iter().filter(|crash| crash.status == status) {
        let mut counted = BTreeSet::new();
        for dump in &crash.counted {
            for (id, supports, strength, summary) in &dump.evidence {
                let entry = merged
                    .entry((id, *supports))
                    .or_insert_with(|| MachineEvidence {
                        id: (*id).to_owned(),
                        supports: *supports,
                        strength: *strength,
                        summary: (*summary).to_owned(),
                        crashes: 0,
                        dumps: Vec::new(),
                    });
                if counted.insert((id, *supports)) {
                    entry.crashes += 1;
                }
                entry.strength = stronger(entry.strength, *strength);
                if entry.dumps.len() < NAMED && !entry.dumps.iter().any(|known| known == dump.path)
                {
                    entry.dumps.push(dump.path.to_owned());
                }
            }
        }
    }
    let mut merged: Vec<MachineEvidence> = merged.into_values().collect();
    merged.extend(varied_codes(crashes));
    merged.extend(varied_modules(crashes));
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
            // They come in the order of their times.
            let past = first.time().zip(second.time());
            if past.is_none_or(|(first, second)| second.saturating_sub(first) > DAYS) {
                break;
            }
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
        .filter_map(|(_, crash)| crash.dumps.first().map(|dump| dump.path.to_owned()))
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

/// Different stop codes in different modules, and no crash with a sign of the defect: bad memory
/// looks so.
fn varied_modules(crashes: &[Crash<'_>]) -> Option<MachineEvidence> {
    /// Fewer modules than this can be chance.
    const MODULES: usize = 3;
    if crashes
        .iter()
        .any(|crash| crash.status >= MatchStatus::Possible)
    {
        return None;
    }
    let placed: Vec<&Crash<'_>> = crashes
        .iter()
        .filter(|crash| crash.code().is_some() && crash.module().is_some())
        .collect();
    let modules: BTreeSet<&str> = placed.iter().filter_map(|crash| crash.module()).collect();
    let codes: BTreeSet<&str> = placed.iter().filter_map(|c| Some(c.code()?.0)).collect();
    if modules.len() < MODULES || codes.len() < 2 {
        return None;
    }
    Some(MachineEvidence {
        id: "machine.varied-modules".to_owned(),
        supports: false,
        strength: Strength::Moderate,
        summary: format!(
            "{} stop codes in {} modules, none with a sign of the defect: bad memory looks so; test it",
            codes.len(),
            modules.len()
        ),
        crashes: placed.len() as u64,
        dumps: placed
            .iter()
            .filter_map(|crash| crash.dumps.first().map(|dump| dump.path.to_owned()))
            .take(NAMED)
            .collect(),
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
