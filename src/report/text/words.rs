//! The words of the contract for people: verdicts, statuses, times, products. Plain English, nothing that
//! needs a manual.

use crate::evidence::Strength;
use crate::facts::{Machine, OperatingSystem, Product};
use crate::knowledge::Basis;
use crate::report::model::{ApplicabilityRecord, Hotfix, Report, System};
use crate::verdict::{Applicability, MatchStatus, Verdict};

use super::super::escape::visible;

/// `APPLIES AFTER SERVICE PACK`.
pub fn verdict_headline(verdict: Verdict) -> String {
    verdict.as_str().replace('-', " ").to_uppercase()
}

/// How many dumps or machines have a verdict: `2 may apply`.
pub fn verdict_count(verdict: Verdict, n: u64) -> String {
    let words = match (verdict, n == 1) {
        (Verdict::Applies, true) => "applies",
        (Verdict::Applies, false) => "apply",
        (Verdict::AppliesAfterServicePack, true) => "applies after a service pack",
        (Verdict::AppliesAfterServicePack, false) => "apply after a service pack",
        (Verdict::ProbablyApplies, true) => "probably applies",
        (Verdict::ProbablyApplies, false) => "probably apply",
        (Verdict::MayApply, _) => "may apply",
        (Verdict::DoesNotApply, true) => "does not apply",
        (Verdict::DoesNotApply, false) => "do not apply",
        (Verdict::Undetermined, _) => "cannot be told",
    };
    format!("{} {words}", grouped(n))
}

/// `1 dump`, `1,204 dumps`.
pub fn counted(n: u64, one: &str) -> String {
    let many = match one {
        _ if n == 1 => return format!("1 {one}"),
        "crash" => "crashes".to_owned(),
        "directory" => "directories".to_owned(),
        "entry" => "entries".to_owned(),
        one => format!("{one}s"),
    };
    format!("{} {many}", grouped(n))
}

/// `1,204`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// How many of what has each verdict, the most urgent first.
pub fn verdict_counts(counts: &std::collections::BTreeMap<String, u64>) -> String {
    let known = Verdict::ALL.iter().filter_map(|verdict| {
        let n = *counts.get(verdict.as_str())?;
        (n > 0).then(|| verdict_count(*verdict, n))
    });
    known.collect::<Vec<_>>().join(", ")
}

/// How well a crash matches.
pub fn status(status: MatchStatus) -> &'static str {
    match status {
        MatchStatus::Confirmed => "confirmed",
        MatchStatus::Probable => "probable",
        MatchStatus::Possible => "possible",
        MatchStatus::InsufficientData => "cannot be told",
        MatchStatus::Unlikely => "unlikely",
        MatchStatus::Excluded => "ruled out",
    }
}

/// How much a piece of evidence weighs.
pub fn strength(strength: Strength) -> &'static str {
    match strength {
        Strength::Excluding => "rules it out",
        Strength::Decisive => "very strong",
        Strength::Strong => "strong",
        Strength::Moderate => "moderate",
        Strength::Weak => "weak",
    }
}

/// The order of evidence, the heaviest first.
pub fn weight(strength: Strength) -> u8 {
    match strength {
        Strength::Excluding => 0,
        Strength::Decisive => 1,
        Strength::Strong => 2,
        Strength::Moderate => 3,
        Strength::Weak => 4,
    }
}

/// `0xD1` of a code's eight digits.
pub fn stop_code(code: &str) -> String {
    short_hex(code).to_uppercase().replacen("0X", "0x", 1)
}

/// What a rule rests on.
pub fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Inference => "our reasoning",
        Basis::PublicSymbol => "Microsoft's public symbols",
        Basis::PublicSource => "a published source",
        Basis::Article => "the article",
        Basis::ServicingRule => "how Windows updates are numbered",
        Basis::Expert => "expert knowledge",
        Basis::None => "no source",
    }
}

/// The state of the file that decides, in two or three words.
pub fn fix_state(record: &ApplicabilityRecord) -> &'static str {
    let by_date = record.is_by_date();
    match record.status {
        Applicability::Applicable if by_date => "probably not fixed",
        Applicability::Applicable => "not fixed",
        Applicability::NeedsServicePack => "not fixed, no service pack",
        Applicability::PartiallyServiced => "not fixed, though other files are",
        Applicability::AlreadyInstalled
        | Applicability::IncludedInLaterUpdate
        | Applicability::SupersededByServicePack => "fixed",
        Applicability::NotApplicable => "another Windows",
        // What is known of it is contradicted.
        Applicability::Unknown
            if record
                .decided_from
                .iter()
                .any(|from| from.version.is_some()) =>
        {
            "sources disagree"
        }
        Applicability::Unknown => "version not known",
    }
}

/// The file that decides about an article.
pub fn deciding_file(hotfix: &Hotfix) -> &str {
    let files = hotfix.applicability.decided_from.iter();
    files
        .map(|from| from.file.as_str())
        .find(|file| file.contains('.'))
        .unwrap_or("tcpip.sys")
}

/// Whole days, hours and minutes, or seconds for a short time.
pub fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) if minutes == 0 => format!("{seconds} s"),
        (0, 0) => format!("{minutes} min"),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `2009-12-22 00:47 UTC` of an RFC 3339 time.
pub fn minute(time: &str) -> String {
    match (time.get(..10), time.get(11..16)) {
        (Some(day), Some(minute)) => format!("{day} {minute} UTC"),
        _ => visible(time),
    }
}

/// `0xD1` of `0x000000D1` or of an address.
pub fn short_hex(hex: &str) -> String {
    let digits = hex.trim_start_matches("0x").trim_start_matches('0');
    format!("0x{}", if digits.is_empty() { "0" } else { digits })
}

/// True for a system that is not Windows.
pub fn is_other_system(system: &System) -> bool {
    let platform = system.platform.as_deref();
    platform.is_some_and(|platform| platform != OperatingSystem::Windows.as_str())
}

/// The Windows, by the edition where it is known: `Windows Server 2008 (6001)`.
pub fn windows(report: &Report) -> String {
    let Some(system) = &report.system else {
        return "Windows".to_owned();
    };
    if is_other_system(system) {
        let parts = [system.name.as_deref(), system.version.as_deref()];
        let parts: Vec<String> = parts.into_iter().flatten().map(visible).collect();
        // Behind a description a version is no part of a name.
        let described = parts.first().is_some_and(|name| name.contains(','));
        return parts.join(if described { ", " } else { " " });
    }
    let dump = report.dump.as_ref();
    let of_kernel = dump.filter(|dump| dump.format.starts_with("kernel"));
    let architecture = of_kernel.and_then(|dump| dump.architecture.as_deref());
    let name = edition(system, architecture);
    match system.build {
        Some(build @ 1..) => format!("{name} ({build})"),
        _ => name,
    }
}

/// One of the products that share a build, where the dump says which kind of system it is, or the kernel's
/// architecture leaves one: no server after 2008 is x86, and no Vista or Windows 7 is for Itanium.
fn edition(system: &System, architecture: Option<&str>) -> String {
    let name = system.name.as_deref().unwrap_or("Windows");
    let mut parts = name.split(" / ");
    let (first, second) = (parts.next().unwrap_or(name), parts.next());
    let product = match (architecture.and_then(Machine::named), system.build) {
        (Some(Machine::X86), Some(6004..)) => Some(Product::Workstation),
        (Some(Machine::Ia64), Some(6000..)) => Some(Product::Server),
        _ => system.product.as_deref().and_then(Product::named),
    };
    let product = match (product, second, parts.next()) {
        (Some(Product::Workstation), Some(second), None) => {
            match second.strip_suffix(" or later") {
                Some(_) => format!("{first} or later"),
                None => first.to_owned(),
            }
        }
        (Some(Product::Server | Product::DomainController), Some(second), None) => {
            match second.starts_with("Windows") {
                true => second.to_owned(),
                false => format!("Windows {second}"),
            }
        }
        _ => name.to_owned(),
    };
    // Windows 6.0 says its service pack with its build; 6.1 has a build for its only one, and later ones have none.
    let has_packs = match (system.build, system.service_pack) {
        (Some(7601), Some(1)) | (Some(1..6000), Some(1..)) => second.is_some(),
        _ => false,
    };
    match system.service_pack.filter(|_| has_packs) {
        Some(pack) => format!("{} SP{pack}", visible(&product)),
        None => visible(&product),
    }
}

/// Behind an address that no module holds, where modules are `listed` or are not.
pub fn outside(listed: bool) -> &'static str {
    match listed {
        true => ", in no loaded module",
        false => "; in which module is not known, for the list of modules could not be read",
    }
}

/// The first letter as a capital and a full stop at the end.
pub fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    // The name of a file or a function keeps its spelling.
    let word = text.split([' ', ',', ':']).next().unwrap_or_default();
    let start = match word.contains(['.', '!', '_', '+']) || word.starts_with("0x") {
        true => first.to_string(),
        false => first.to_uppercase().to_string(),
    };
    let stop = if text.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{start}{}{stop}", chars.as_str())
}
