//! What was seen and points somewhere, each with where it was seen. No hint makes or unmakes a suspect.

use std::collections::BTreeMap;

use super::places::{candidates, place, places};
use super::{Cause, Hint, HintKind, What};
use crate::facts::CrashFacts;
use crate::knowledge::bugchecks::BugCheck;

/// Bytes of a stack below which it is nearly exhausted: a page.
const LITTLE_ROOM: u64 = 0x1000;
/// How often a return address repeats before a stack counts as recursion.
const REPEATS: usize = 4;
/// The lowest bit whose flip is no neighbour: pointers into one allocation differ below it.
const FAR_BIT: u32 = 20;
/// Lowest address of the kernel's half on x64, and of 32-bit kernels without /3GB.
const KERNEL_X64: u64 = 0xFFFF_8000_0000_0000;
const KERNEL_X86: u64 = 0x8000_0000;
/// Seconds of a year.
const YEAR: u64 = 31_556_952;
/// FILETIME of 1970-01-01.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
/// An age in years worth a word.
const OLD: u64 = 3;
/// Codes that Driver Verifier and its special pool raise.
const VERIFIER: [u32; 9] = [0xC1, 0xC4, 0xC6, 0xC9, 0xCC, 0xCD, 0xD5, 0xD6, 0xE6];
/// Candidates named.
const NAMED: usize = 4;

/// The hints of a crash, the most telling first.
pub(super) fn hints(facts: &CrashFacts, check: &BugCheck, cause: &Cause) -> Vec<Hint> {
    [
        changed_code(facts),
        one_bit(facts),
        room(facts),
        repeating(facts),
        block(facts),
        verifier(facts, check),
        age(facts, cause),
        searched(facts, cause),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn hint(kind: HintKind, place: impl Into<String>, text: impl Into<String>) -> Option<Hint> {
    Some(Hint {
        kind,
        text: text.into(),
        place: place.into(),
    })
}

/// Code that differs from the file it was loaded from.
fn changed_code(facts: &CrashFacts) -> Option<Hint> {
    let changed = facts.clues.changed.as_ref()?;
    let at = place(facts, changed.address, None, 0);
    let file = at.map_or_else(String::new, |place| place.file.to_ascii_lowercase());
    let what = match changed.bits {
        1 => "a single bit differs, as from bad memory".to_owned(),
        _ if changed.bytes == 1 => {
            "one byte differs: patched by other software, or damaged".to_owned()
        }
        _ => format!(
            "{} bytes differ: patched by other software, or damaged",
            changed.bytes
        ),
    };
    hint(
        HintKind::ChangedCode,
        format!("{:#x}", changed.address),
        format!("the code of {file} in memory is not that of its file: {what}"),
    )
}

/// A pointer that one bit makes good: of the address that failed, or of a register.
fn one_bit(facts: &CrashFacts) -> Option<Hint> {
    let wide = facts.dump.pointer == 8;
    let kernel = if wide { KERNEL_X64 } else { KERNEL_X86 };
    let canonical = |value: u64| !wide || !(0x8000_0000_0000..KERNEL_X64).contains(&value);
    let registers = &facts.fault.registers;
    let good: Vec<(&str, u64)> = registers
        .iter()
        .map(|(name, value)| (name.as_ref(), *value))
        .filter(|(name, value)| *value >= kernel && !is_flags(name) && canonical(*value))
        .collect();
    let page = |value: u64| value & !0xFFF;
    // `from` is the value as it is: what points where it does vouches for nothing.
    let sound = |value: u64, from: u64| -> Option<String> {
        if value < kernel {
            return None;
        }
        // Regions of the address space differ by one bit: a pointer that can be one has to meet more.
        if wide && !canonical(from) {
            if let Some(place) = place(facts, value, None, 0) {
                return Some(format!("an address in {}", place.file.to_ascii_lowercase()));
            }
            let stack = facts.clues.stack;
            if stack.is_some_and(|(low, high)| (low..high).contains(&value)) {
                return Some("an address on its stack".to_owned());
            }
        }
        // The same page as another pointer at hand.
        good.iter()
            .find(|(_, other)| page(*other) != page(from) && page(*other) == page(value))
            .map(|(name, _)| format!("an address in the page that {name} points to"))
    };
    let failed = facts
        .fault
        .address
        .map(|address| ("the address that failed", address));
    let suspects = registers
        .iter()
        .filter(|(name, value)| !is_flags(name) && !canonical(*value))
        .map(|(name, value)| (name.as_ref(), *value));
    failed
        .into_iter()
        .chain(suspects)
        .find_map(|(name, value)| {
            // Small numbers are null pointers with an offset, and a pointer that is good as it is needs no bit.
            if value < 0x1_0000 || place(facts, value, None, 0).is_some() {
                return None;
            }
            let bits = if wide { 64 } else { 32 };
            (FAR_BIT..bits).find_map(|bit| {
            let other = value ^ (1 << bit);
            let what = canonical(other).then(|| sound(other, value)).flatten()?;
            hint(
                HintKind::OneBit,
                name,
                format!(
                    "{name} ({value:#x}) is one bit (bit {bit}) away from {what}: bad memory, or a \
                     flag written into a pointer"
                ),
            )
        })
        })
}

fn is_flags(name: &str) -> bool {
    matches!(
        name,
        "eflags" | "rflags" | "efl" | "cs" | "ss" | "ds" | "es" | "fs" | "gs"
    ) || name.starts_with("seg")
        || name.starts_with("dr")
        || name.starts_with("cpsr")
}

/// The stack pointer near the stack's end.
fn room(facts: &CrashFacts) -> Option<Hint> {
    let (low, high) = facts.clues.stack?;
    let registers = &facts.fault.registers;
    let sp = registers
        .iter()
        .find(|(name, _)| matches!(name.as_ref(), "rsp" | "esp" | "sp"))
        .map(|(_, value)| *value)
        .or_else(|| facts.stack.as_ref()?.frames.first()?.sp)?;
    let size = high.checked_sub(low)?;
    let left = sp.checked_sub(low);
    match left {
        Some(left) if left < LITTLE_ROOM && sp < high => hint(
            HintKind::StackExhausted,
            format!("stack pointer {sp:#x}"),
            format!("the stack is nearly used up: {left} of {size} bytes are left"),
        ),
        None if low - sp <= LITTLE_ROOM => hint(
            HintKind::StackExhausted,
            format!("stack pointer {sp:#x}"),
            format!("the stack pointer is below the stack's end: all {size} bytes are used up"),
        ),
        _ => None,
    }
}

/// The same return address again and again.
fn repeating(facts: &CrashFacts) -> Option<Hint> {
    let stack = facts.stack.as_ref()?;
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for frame in stack
        .frames
        .iter()
        .filter(|frame| frame.trust != crate::facts::Trust::Scan)
    {
        *counts.entry(frame.ip).or_default() += 1;
    }
    let (ip, count) = counts
        .into_iter()
        .max_by_key(|(ip, count)| (*count, u64::MAX - ip))?;
    if count < REPEATS {
        return None;
    }
    let frame = stack.frames.iter().find(|frame| frame.ip == ip)?;
    let at = place(facts, ip, frame.name.as_ref(), 0)?;
    hint(
        HintKind::Recursion,
        "stack",
        format!(
            "{} is on the stack {count} times: it calls itself without end, or nearly",
            at.text()
        ),
    )
}

/// Whose memory the faulting address is.
fn block(facts: &CrashFacts) -> Option<Hint> {
    let block = facts.clues.block.as_ref()?;
    let address = facts.fault.address?;
    let owner = crate::knowledge::pool_tags::owner(&block.tag);
    let owner = owner.map_or_else(String::new, |owner| format!(" ({owner})"));
    let state = match block.allocated {
        true => "a pool block in use",
        false => "a pool block that is free",
    };
    hint(
        HintKind::PoolBlock,
        format!("{address:#x}"),
        format!(
            "the address lies in {state}, tag {}{owner}, {} bytes: {}",
            block.tag,
            block.size,
            match block.allocated {
                true => "its owner's data were used wrongly",
                false => "its last owner may use it still",
            }
        ),
    )
}

/// Driver Verifier is on.
fn verifier(facts: &CrashFacts, check: &BugCheck) -> Option<Hint> {
    let seen = places(facts).into_iter().find(|place| {
        let own = ["verifier.dll", "verifierext.sys"];
        let function = |f: &str| f.starts_with("Vf") || f.starts_with("Verifier");
        own.iter().any(|file| place.file.eq_ignore_ascii_case(file))
            || place.faults_for_its_caller() && place.function.is_some_and(function)
    });
    let by = match (VERIFIER.contains(&check.code), seen) {
        (true, _) => format!("code 0x{:X}", check.code),
        (false, Some(place)) => place.text(),
        (false, None) => return None,
    };
    hint(
        HintKind::Verifier,
        by,
        "Driver Verifier or its special pool was on: it stops a driver at its mistake, not later",
    )
}

/// A suspect's driver that is old.
fn age(facts: &CrashFacts, cause: &Cause) -> Option<Hint> {
    let crash = facts.dump.crash_time?.checked_sub(UNIX_EPOCH)? / 10_000_000;
    cause.suspects.iter().find_map(|suspect| {
        let file = suspect
            .module
            .as_ref()
            .filter(|_| suspect.what == What::Driver)?;
        let years = crash.checked_sub(u64::from(suspect.linked?))? / YEAR;
        (years >= OLD).then(|| {
            let text = format!(
                "{} was {years} years old at the crash",
                file.to_ascii_lowercase()
            );
            hint(HintKind::DriverAge, file.to_ascii_lowercase(), text)
        })?
    })
}

/// What the search met on a stack that could not be walked.
fn searched(facts: &CrashFacts, cause: &Cause) -> Option<Hint> {
    if cause
        .suspects
        .iter()
        .any(|suspect| suspect.what == What::Driver)
    {
        return None;
    }
    let names = candidates(facts);
    let first: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    if first.is_empty() {
        return None;
    }
    hint(
        HintKind::OnStack,
        "stack",
        format!(
            "addresses in {} lie on the stack; whether they were calls of this crash is not known",
            first.join(", ")
        ),
    )
}
