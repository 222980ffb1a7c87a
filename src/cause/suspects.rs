//! Whom a crash is laid to.

use super::places::{Place, place, places, places_of};
use super::{Confidence, Suspect, What};
use crate::facts::file_name;
use crate::facts::{CrashFacts, FindingKind};
use crate::knowledge::bugchecks::{self, Blames, BugCheck, Kind, Leads};
use crate::knowledge::windows;

/// Code 0x133's first parameter when no single call was too long, but all together.
const ALL_TOGETHER: u64 = 1;
/// CLOCK_WATCHDOG_TIMEOUT: one processor reports that another does not get on.
const CLOCK_WATCHDOG: u32 = 0x101;
/// Places of a stack that a reason names.
const NAMED_PLACES: usize = 3;
/// Codes of Driver Verifier: they stop the driver at its own mistake.
const CAUGHT: [u32; 3] = [0xC4, 0xC9, 0xE6];
/// FILETIME of 1970-01-01.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
/// The first year whose links can be those of a kernel driver: 1993.
const FIRST_LINK: u32 = 725_846_400;

/// The suspects and the reason for there being none, one or several.
pub(super) fn suspects(facts: &CrashFacts, check: &BugCheck) -> (Vec<Suspect>, String) {
    let found = match check.blames {
        Blames::Nobody => {
            let reason = match check.is_live_in(facts.dump.live_mark) {
                true => "somebody asked for a report of the running system: nothing failed",
                false => "somebody stopped this Windows on purpose: the code says nothing of why",
            };
            return (Vec::new(), reason.to_owned());
        }
        Blames::Parameter => named(facts, check),
        Blames::Hardware => vec![hardware(facts, check)],
        Blames::Firmware => vec![Suspect {
            what: What::Firmware,
            ..bare(
                Confidence::Moderate,
                "the code reports a mistake of the firmware (BIOS, UEFI)",
            )
        }],
        Blames::Process => vec![Suspect {
            what: What::Process,
            ..bare(
                Confidence::Weak,
                "a program ended that Windows cannot do without",
            )
        }],
        Blames::Storage => match by_stack(facts, check) {
            // An exception inside the file system has a place like any other.
            found if facts.fault.ip.is_some() && third_party(&found) => found,
            _ => vec![storage(facts)],
        },
        Blames::Damage => damage(facts, check),
        Blames::Stack if check.code == CLOCK_WATCHDOG => return hung(facts),
        Blames::Stack => {
            let found = by_stack(facts, check);
            match found.is_empty() {
                true => named(facts, check),
                false => found,
            }
        }
    };
    let reason = match found.as_slice() {
        [] => nobody(facts, check),
        [one] => one.reason.clone(),
        [first, others @ ..] => {
            let others: Vec<&str> = others.iter().map(|s| s.reason.as_str()).collect();
            format!(
                "{}; {}: the dump does not tell which",
                first.reason,
                others.join("; ")
            )
        }
    };
    (found, reason)
}

fn bare(trust: Confidence, reason: impl Into<String>) -> Suspect {
    Suspect {
        what: What::Hardware,
        module: None,
        place: None,
        trust,
        reason: reason.into(),
        linked: None,
    }
}

fn third_party(found: &[Suspect]) -> bool {
    found.iter().any(|suspect| suspect.what == What::Driver)
}

/// A suspect at a place.
fn at(
    facts: &CrashFacts,
    place: &Place<'_>,
    trust: Confidence,
    reason: impl Into<String>,
) -> Suspect {
    Suspect {
        what: match place.part {
            Some(_) => What::Windows,
            None => What::Driver,
        },
        module: Some(place.file.to_owned()),
        place: Some((place.offset, place.function.map(str::to_owned))),
        linked: linked(facts, place.stamp),
        ..bare(trust, reason)
    }
}

/// When a module was linked, where its stamp can be a date: newer builds of Windows and of some drivers hold
/// a hash there.
fn linked(facts: &CrashFacts, stamp: u32) -> Option<u32> {
    let crash = facts.dump.crash_time?.checked_sub(UNIX_EPOCH)? / 10_000_000;
    (stamp >= FIRST_LINK && u64::from(stamp) <= crash).then_some(stamp)
}

/// What the processor that did not answer the clock was doing: parameter 3 is its control block, parameter 4 its
/// number. The stack of the one that noticed says nothing.
fn hung(facts: &CrashFacts) -> (Vec<Suspect>, String) {
    let [_, _, block, index] = facts.bugcheck.map_or([0; 4], |b| b.parameters);
    let memory = facts.memory.as_ref();
    let processors = memory.map_or(&[][..], |memory| &memory.processors);
    let by_block = processors
        .iter()
        .find(|p| p.prcb == Some(block) && block != 0);
    let number = by_block
        .map(|p| p.number)
        .or_else(|| u32::try_from(index).ok());
    let who = number.map_or_else(|| "a processor".to_owned(), |n| format!("processor {n}"));
    let stacks = memory.map_or(&[][..], |memory| &memory.other_stacks);
    let stack = stacks
        .iter()
        .find(|s| s.processor.is_some() && s.processor == number);
    let list = stack
        .map(|stack| places_of(facts, stack))
        .unwrap_or_default();
    if list.is_empty() {
        let reason = format!("{who} did not answer the clock, and what it did is not in the dump");
        return (Vec::new(), reason);
    }
    let inner: Vec<String> = list.iter().take(NAMED_PLACES).map(Place::text).collect();
    let reason = format!(
        "{who} did not answer the clock; it was in {}",
        inner.join(", called from ")
    );
    let nearest = list.iter().find(|place| !place.faults_for_its_caller());
    let suspect = nearest.map(|place| at(facts, place, Confidence::Moderate, reason.clone()));
    (suspect.into_iter().collect(), reason)
}

/// Who faulted, or who called what did.
fn by_stack(facts: &CrashFacts, check: &BugCheck) -> Vec<Suspect> {
    let list = places(facts);
    let faulted = !check.kind.interrupts() && facts.fault.ip.is_some();
    let one = facts.fault.candidates <= 1;
    if faulted && let Some(found) = no_code(facts, &list) {
        return vec![found];
    }
    let Some((index, nearest)) = list
        .iter()
        .enumerate()
        .find(|(_, place)| !place.faults_for_its_caller())
    else {
        return Vec::new();
    };
    let mut found = match (index, faulted) {
        (0, true) => {
            let trust = match (nearest.part, one) {
                (None, true) => Confidence::Strong,
                (_, true) => Confidence::Moderate,
                (_, false) => Confidence::Weak,
            };
            vec![at(
                facts,
                nearest,
                trust,
                format!("the fault is in it, at {}", nearest.text()),
            )]
        }
        _ => {
            let trust = match (CAUGHT.contains(&check.code), check.kind) {
                (true, _) => Confidence::Strong,
                (_, Kind::Hang) if first(facts) == ALL_TOGETHER => Confidence::Weak,
                _ => Confidence::Moderate,
            };
            let called = match (check.kind, list.first()) {
                (Kind::Hang, _) => "it was running when the watchdog fired".to_owned(),
                (_, Some(inner)) if index > 0 && faulted => format!(
                    "it is the nearest that is certain outside Windows' kernel and frameworks (frame {}, \
                     {}); the fault is in {}",
                    nearest.index,
                    nearest.text(),
                    inner.text()
                ),
                _ => format!(
                    "it is the nearest that is certain outside Windows' kernel and frameworks (frame {}, \
                     {}), and the check that failed was made for it",
                    nearest.index,
                    nearest.text()
                ),
            };
            vec![at(facts, nearest, trust, called)]
        }
    };
    // A driver of Windows that faulted while it worked for one of another vendor.
    if nearest.part.is_some()
        && let Some(caller) = calls(&list, index)
    {
        found.push(at(
            facts,
            caller,
            Confidence::Moderate,
            format!(
                "{} called it (frame {}, {})",
                caller.file.to_ascii_lowercase(),
                caller.index,
                caller.text()
            ),
        ));
    }
    found
}

fn first(facts: &CrashFacts) -> u64 {
    facts.bugcheck.map_or(0, |bugcheck| bugcheck.parameters[0])
}

/// The driver that is not of Windows and called the place at `from`. One that called NDIS and has nothing of
/// Windows further out is the network adapter's at the end of a receive path, which is always there and says
/// nothing.
fn calls<'p, 'a>(list: &'p [Place<'a>], from: usize) -> Option<&'p Place<'a>> {
    let outward = list.get(from + 1..)?;
    let at = outward.iter().position(|place| place.part.is_none())?;
    let caller = outward.get(at)?;
    let inward = list.get(from + at)?;
    let driver = |place: &Place<'_>| place.part == Some(windows::Part::Driver);
    let called = outward.get(at + 1..)?.iter().any(driver);
    (called || !inward.file.eq_ignore_ascii_case("ndis.sys")).then_some(caller)
}

/// A fault at an address that holds no loaded code: a driver that was unloaded, or the caller's bad pointer.
fn no_code(facts: &CrashFacts, list: &[Place<'_>]) -> Option<Suspect> {
    let ip = facts.fault.ip?;
    if place(facts, ip, None, 0).is_some() {
        return None;
    }
    let unloaded = facts
        .unloaded
        .iter()
        .flatten()
        .find(|module| (module.start..module.end).contains(&ip));
    if let Some(module) = unloaded
        && let Some(name) = &module.name
    {
        return Some(Suspect {
            what: match windows::part(name) {
                Some(_) => What::Windows,
                None => What::Driver,
            },
            module: Some(name.clone()),
            place: Some((ip.saturating_sub(module.start), None)),
            ..bare(
                Confidence::Strong,
                "it had been unloaded, and its code was called all the same",
            )
        });
    }
    // What a call has just pushed is certain, whatever the walk makes of the frames beyond.
    let pushed = pushed_caller(facts);
    let certain = pushed.iter().chain(list);
    let caller = certain
        .into_iter()
        .find(|place| !place.faults_for_its_caller())?;
    let reason = format!(
        "it called {ip:#x}, where no code is ({}{})",
        match caller.index {
            0 => String::new(),
            n => format!("frame {n}, "),
        },
        caller.text()
    );
    Some(at(facts, caller, Confidence::Moderate, reason))
}

/// Who called an address that holds no code.
fn pushed_caller(facts: &CrashFacts) -> Option<Place<'_>> {
    let caller = facts.fault.caller.as_ref()?;
    place(facts, caller.ip, caller.name.as_ref(), 1)
}

/// The drivers that the parameters lead to: the surest alone.
fn named(facts: &CrashFacts, check: &BugCheck) -> Vec<Suspect> {
    let Some(bugcheck) = facts.bugcheck else {
        return Vec::new();
    };
    for row in bugchecks::driver_parameters(check.code, first(facts)) {
        let number = row.index + 1;
        if row.leads == Leads::Code {
            let value = bugcheck.parameters.get(usize::from(row.index)).copied();
            let place = value.and_then(|value| place(facts, value, None, 0));
            if let Some(place) = place.filter(|place| !place.faults_for_its_caller()) {
                let reason = format!("parameter {number} of the code is an address in it");
                return vec![at(facts, &place, Confidence::Strong, reason)];
            }
            continue;
        }
        let Some(driver) = facts.clues.named.iter().find(|n| n.parameter == row.index) else {
            continue;
        };
        let file = file_name(&driver.name);
        let part = windows::part(file);
        if part.is_some_and(windows::Part::faults_for_its_caller) {
            continue;
        }
        let module = facts.modules.find(file).map(|(_, module)| module);
        return vec![Suspect {
            what: match part {
                Some(_) => What::Windows,
                None => What::Driver,
            },
            module: Some(file.to_owned()),
            linked: module.and_then(|module| linked(facts, module.time_date_stamp)),
            ..bare(
                Confidence::Strong,
                format!(
                    "parameter {number} of the code leads to it, over {}",
                    driver.over
                ),
            )
        }];
    }
    Vec::new()
}

/// Damage was found in memory: who is on the stack came across it.
fn damage(facts: &CrashFacts, check: &BugCheck) -> Vec<Suspect> {
    if faulty_memory(facts, check) {
        return vec![bare(
            Confidence::Moderate,
            "the damage is of a kind that bad memory makes rather than a driver",
        )];
    }
    let mut found = by_stack(facts, check);
    found.retain(|suspect| suspect.what == What::Driver);
    for suspect in &mut found {
        suspect.trust = Confidence::Weak;
        suspect.reason = format!(
            "memory was found damaged while it was at work ({}); who damaged it may be another",
            suspect.reason
        );
    }
    found
}

/// Memory shows that somebody wrote over the list that the fault met: who met it did not make it.
pub(super) fn written_over(facts: &CrashFacts, check: &BugCheck) -> bool {
    let findings = facts.memory.iter().flat_map(|memory| &memory.findings);
    check.blames == Blames::Stack
        && findings.into_iter().any(|finding| {
            matches!(
                finding.kind,
                FindingKind::OverwrittenEntry | FindingKind::OverwrittenList
            )
        })
}

/// The memory manager's checks that the reference lays to hardware: a relocated page that differs, a page read
/// back differently, and page tables that differ by one bit.
fn faulty_memory(facts: &CrashFacts, check: &BugCheck) -> bool {
    let [kind, _, third, fourth] = facts.bugcheck.map_or([0; 4], |b| b.parameters);
    check.code == 0x1A
        && match kind {
            0x31 | 0x3F => true,
            0x403 => (third ^ fourth).is_power_of_two(),
            _ => false,
        }
}

fn hardware(facts: &CrashFacts, check: &BugCheck) -> Suspect {
    let record = facts.clues.hardware.as_ref();
    let sections = record
        .map(|record| record.sections.join(", "))
        .unwrap_or_default();
    match (check.code, sections.is_empty()) {
        (_, false) => bare(
            Confidence::Strong,
            format!("the hardware reported an error itself: {sections}"),
        ),
        (0x124 | 0x9C, true) => bare(Confidence::Strong, "the hardware reported an error itself"),
        (0x12B | 0x127, true) => bare(
            Confidence::Moderate,
            "a page of memory did not hold what was written to it",
        ),
        _ => bare(
            Confidence::Moderate,
            "the code reports a failure of the hardware",
        ),
    }
}

fn storage(facts: &CrashFacts) -> Suspect {
    let bugcheck = facts.bugcheck;
    // Only the codes that report a read that failed hold its status.
    let index = match bugcheck.map(|b| bugchecks::base_code(b.raw_code)) {
        Some(0x7A | 0xED) => Some(1),
        Some(0x77) => Some(0),
        _ => None,
    };
    let status = index
        .and_then(|index: usize| bugcheck?.parameters.get(index).copied())
        .and_then(|value| u32::try_from(value & 0xFFFF_FFFF).ok())
        .filter(|status| status >> 30 == 3);
    let reason = match status {
        Some(status) => format!(
            "a disk or a controller did not deliver: {}",
            bugchecks::ntstatus_name(status).unwrap_or_else(|| format!("0x{status:08X}"))
        ),
        None => "a disk, its cable or controller did not deliver, or a file system is damaged"
            .to_owned(),
    };
    Suspect {
        what: What::Storage,
        ..bare(Confidence::Moderate, reason)
    }
}

/// Why nobody is suspected.
fn nobody(facts: &CrashFacts, check: &BugCheck) -> String {
    if check.blames == Blames::Damage {
        return "memory was found damaged, and nothing in the dump says who did it".to_owned();
    }
    if check.blames == Blames::Parameter {
        return "the code names a driver, and what its parameters lead to is not in the dump"
            .to_owned();
    }
    if let Some(caller) = pushed_caller(facts)
        && let Some(ip) = facts.fault.ip
    {
        return format!(
            "{} called {ip:#x}, where no code is; Windows' kernel and frameworks call what drivers give them, and \
             whose pointer that was is not in the dump",
            caller.text()
        );
    }
    let certain = places(facts);
    let searched = facts.stack.as_ref().is_some_and(|stack| {
        stack
            .frames
            .iter()
            .any(|frame| frame.trust == crate::facts::Trust::Scan)
    });
    match (facts.stack.is_some(), certain.len(), searched) {
        (false, 0, _) => "the dump holds no stack".to_owned(),
        (_, _, true) => {
            "only Windows' kernel and frameworks are certain on the stack; their callers show \
                         with the files of these modules (--images, --symbols)"
                .to_owned()
        }
        _ => "only Windows' kernel and frameworks are on the stack".to_owned(),
    }
}
