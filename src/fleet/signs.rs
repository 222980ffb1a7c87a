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
    let mut own: Vec<(i64, &str, &Crash<'_>)> = crashes
        .iter()
        .filter(|crash| crash.status >= MatchStatus::Possible)
        .filter_map(|crash| Some((crash.time()?, crash.code()?.0, crash)))
        .collect();
    own.sort_by_key(|(time, ..)| *time);
    let codes: Vec<(i64, &str)> = own.iter().map(|(time, code, _)| (*time, *code)).collect();
    let involved = near_another_code(&codes);
    if involved.is_empty() {
        return None;
    }
    let dumps: Vec<String> = own
        .iter()
        .enumerate()
        .filter(|(index, _)| involved.contains(index))
        .filter_map(|(_, (_, _, crash))| crash.dumps.first().map(|dump| dump.path.to_owned()))
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

/// The places of crashes, in seconds and in order, that have one with another code within days of them: enough
/// to name, and all that lie near the last of these.
fn near_another_code(crashes: &[(i64, &str)]) -> BTreeSet<usize> {
    // Where the next one with another code is: a machine may have a hundred thousand with the same, and each is not
    // held against each.
    let mut another = vec![crashes.len(); crashes.len()];
    for at in (1..crashes.len()).rev() {
        let (before, here) = (at - 1, crashes.get(at).map(|(_, code)| code));
        let next = match crashes.get(before).map(|(_, code)| code) == here {
            true => another.get(at).copied(),
            false => Some(at),
        };
        if let (Some(slot), Some(next)) = (another.get_mut(before), next) {
            *slot = next;
        }
    }
    let mut involved: BTreeSet<usize> = BTreeSet::new();
    for (a, ((first, code), another)) in crashes.iter().zip(another).enumerate() {
        let later = crashes.iter().enumerate().skip(another);
        let near = later.take_while(|(_, (second, _))| second.saturating_sub(*first) <= DAYS);
        for (b, _) in near.filter(|(_, (_, other))| other != code) {
            involved.extend([a, b]);
        }
        // Enough to name: more pairs say nothing new.
        if involved.len() >= NAMED {
            break;
        }
    }
    involved
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The rule itself, pair by pair.
    fn by_pairs(crashes: &[(i64, &str)]) -> BTreeSet<usize> {
        let mut involved = BTreeSet::new();
        for a in 0..crashes.len() {
            for b in a + 1..crashes.len() {
                let near = crashes[b].0 - crashes[a].0 <= 7 * 86_400;
                if near && crashes[a].1 != crashes[b].1 {
                    involved.extend([a, b]);
                }
            }
            if involved.len() >= 5 {
                break;
            }
        }
        involved
    }

    #[test]
    fn crashes_near_one_with_another_code_are_those_that_pairs_give() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut some = 0;
        for _ in 0..2000 {
            let mut times: Vec<i64> = (0..random(12))
                .map(|_| random(60) as i64 * 86_400)
                .collect();
            times.sort_unstable();
            let crashes: Vec<(i64, &str)> = times
                .into_iter()
                .map(|time| (time, ["0x1E", "0x1E", "0xD1"][random(3) as usize]))
                .collect();
            let expected = by_pairs(&crashes);
            some += usize::from(!expected.is_empty());
            assert_eq!(near_another_code(&crashes), expected, "{crashes:?}");
        }
        assert!(some > 500, "{some}");
    }

    #[test]
    fn a_million_crashes_with_one_code_are_not_held_each_against_each() {
        let mut crashes = vec![(0, "0xD1"); 1_000_000];
        assert!(near_another_code(&crashes).is_empty());
        crashes.push((1, "0x1E"));
        assert_eq!(near_another_code(&crashes).len(), 5);
    }
}
