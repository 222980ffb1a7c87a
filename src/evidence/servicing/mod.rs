//! Which Windows and which tcpip.sys: does this machine lack the fix, and how sure is that?
//!
//! The answer serves twice: as evidence about the crash (fixed code cannot fail this way) and as
//! the hotfix's applicability to the machine. It is worked out once, here.

mod observers;

pub(super) use observers::{code_check, kernel_dump, system, tcpip};

use crate::facts::{CrashFacts, LockCheckFacts, LockFact, Machine, Module, VersionSource};
use crate::knowledge::Basis;
use crate::knowledge::builds::{self, BuildTable, Identified};
use crate::knowledge::defect::{self, DateFinding};
use crate::knowledge::hotfix::KB943650;
use crate::knowledge::releases;
use crate::knowledge::versions::{
    Agreement, Applicability, ByCode, FileVersion, FixState, Judgement, OLDER_INVENTORY,
    PARTIALLY_SERVICED, by_code, judge, judge_package, judge_system,
};

use super::link_times::linked_together;
use super::sources::{against_build, against_version, is_disputed};

/// The build the hotfix is made for.
pub(super) const SERVICE_PACK_1: u32 = 6001;

/// What is concluded from a link date alone rests on that.
pub const BY_DATE: &str = "date";
/// Or on that date beside those of the files it was linked together with.
pub const BY_CO_DATING: &str = "co-dating";

/// How a file's state was learnt and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedFrom {
    /// File name, or `windows build` where the system alone decides.
    pub file: String,
    /// Version, when known.
    pub version: Option<FileVersion>,
    /// First version of a file that holds the fix, where a file decides and that is known.
    pub fixed_in: Option<FileVersion>,
    /// How it was learnt: `image`, `table`, `time-date-stamp`, …
    pub source: &'static str,
    /// What the rule rests on, in the contract's words.
    pub basis: &'static str,
}

/// Does this machine hold the fix of an article, and does its update apply to it?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Servicing {
    /// State of the deciding file.
    pub state: FixState,
    /// True when the state was concluded from a date only.
    pub by_date: bool,
    /// True when sources about this Windows contradict each other: nothing that rests on one alone excludes.
    pub disputed: bool,
    /// Nothing known says that this system holds the fix: the match stays open.
    pub may_lack_fix: bool,
    /// Applicability of the update.
    pub applicability: Applicability,
    /// What the deciding rule rests on.
    pub basis: Basis,
    /// In words.
    pub reason: String,
    /// What it was decided from.
    pub decided_from: Vec<DecidedFrom>,
}

/// Works out the machine's servicing state from the best source there is.
pub fn servicing(facts: &CrashFacts, builds: &BuildTable) -> Servicing {
    let said = best_known(facts, builds);
    // Where sources disagree about the Windows, another one than the believed may be right.
    let has_build = |build| defect::BUILDS.contains(&build);
    let may_have_defect = said.disputed || facts.system.build.is_some_and(has_build);
    Servicing {
        may_lack_fix: may_have_defect
            && matches!(said.state, FixState::NotFixed | FixState::Unknown),
        reason: of_its_architecture(facts, &said.reason),
        ..said
    }
}

/// Without what an architecture never was: IA-64 had servers only.
fn of_its_architecture(facts: &CrashFacts, text: &str) -> String {
    match facts.dump.architecture {
        Some(Machine::Ia64) => text
            .replace("Windows Vista SP1 / ", "")
            .replace("Windows Vista SP2 / ", "")
            .replace("Windows Vista and ", "")
            .replace("Windows Vista", "Windows Server 2008"),
        _ => text.to_owned(),
    }
}

fn best_known(facts: &CrashFacts, builds: &BuildTable) -> Servicing {
    let Some(build) = facts.system.build else {
        return unknown("the dump does not say which Windows it is from".to_owned());
    };
    if is_disputed(facts, builds) {
        return disputed(facts, builds, build);
    }
    if let Some(contradiction) = against_version(facts, builds).filter(|_| build == SERVICE_PACK_1)
    {
        let tcpip = facts.modules.find(KB943650.decides);
        let claimed = tcpip.and_then(|(_, module)| claim(module, builds));
        let said = Servicing {
            disputed: true,
            decided_from: claimed
                .map(|(version, source)| DecidedFrom {
                    file: KB943650.decides.to_owned(),
                    version: Some(version),
                    source: source.as_str(),
                    basis: Basis::None.as_str(),
                    fixed_in: Some(KB943650.fixed_version),
                })
                .into_iter()
                .collect(),
            ..unknown(format!("sources disagree: {contradiction}"))
        };
        return match facts.code.lock_check.as_ref() {
            Some(check) => with_code(said, check),
            None => said,
        };
    }
    if build != SERVICE_PACK_1 {
        let said = by_system(build);
        let check = facts.code.lock_check.as_ref();
        return match check.filter(|_| said.state == FixState::NotFixed) {
            Some(check) => with_code(said, check),
            None => said,
        };
    }
    let Some((_, tcpip)) = facts.modules.find(KB943650.decides) else {
        return unknown(
            "Windows build 6001 with an unknown tcpip.sys: the dump holds no module list that names it"
                .to_owned(),
        );
    };
    let said = match claim(tcpip, builds) {
        Some((version, source)) => by_version(facts, builds, version, source),
        None => by_date(facts, tcpip, builds),
    };
    match facts.code.lock_check.as_ref() {
        Some(check) => with_code(said, check),
        None => said,
    }
}

/// Sources contradict each other about the Windows: tcpip.sys is asked alone, because the fix is in it; what it
/// lacks is no certainty then.
fn disputed(facts: &CrashFacts, builds: &BuildTable, build: u32) -> Servicing {
    let others = against_build(facts, builds);
    let said: Vec<&str> = others.iter().map(|other| other.says.as_str()).collect();
    let contradiction = format!("build {build} by one source, but {}", said.join(", and "));
    let version = facts
        .modules
        .find(KB943650.decides)
        .and_then(|(_, module)| claim(module, builds));
    let known = version.map(|(version, source)| by_version(facts, builds, version, source));
    match known {
        Some(known) if matches!(known.state, FixState::Fixed | FixState::NotFixed) => Servicing {
            applicability: match known.state {
                FixState::Fixed => known.applicability,
                _ => Applicability::Unknown,
            },
            reason: format!("{}; sources disagree: {contradiction}", known.reason),
            disputed: true,
            ..known
        },
        _ => Servicing {
            disputed: true,
            ..unknown(format!("sources disagree: {contradiction}"))
        },
    }
}

/// What the code itself shows outweighs a date, and a version of which nothing is known.
fn with_code(said: Servicing, check: &LockCheckFacts) -> Servicing {
    let (state, words) = match check.finding {
        LockFact::Unknown => return said,
        LockFact::ReadLock => (FixState::NotFixed, "has the defect"),
        LockFact::WriteLock => (FixState::Fixed, "has the fix"),
    };
    let known = if said.by_date {
        FixState::Unknown
    } else {
        said.state
    };
    let version = said.decided_from.first().and_then(|from| from.version);
    let mut decided_from = said.decided_from.clone();
    decided_from.push(DecidedFrom {
        file: KB943650.decides.to_owned(),
        version: None,
        fixed_in: Some(KB943650.fixed_version),
        source: check.source.as_str(),
        basis: "code",
    });
    let both = format!("{}; but its code {words}: {}", said.reason, check.reason);
    let reason = format!("{}; its code {words}: {}", said.reason, check.reason);
    match by_code(known, version, state) {
        ByCode::Agrees => Servicing {
            reason,
            decided_from,
            ..said
        },
        ByCode::Outweighed => Servicing {
            reason: format!("{both}; the published version decides"),
            ..said
        },
        ByCode::Disputed => Servicing {
            state: FixState::Unknown,
            applicability: Applicability::Unknown,
            basis: Basis::None,
            reason: format!("{both}: which of them is right is not known"),
            decided_from,
            ..said
        },
        ByCode::Decides => Servicing {
            state,
            by_date: false,
            disputed: false,
            may_lack_fix: false,
            applicability: match state {
                FixState::NotFixed => Applicability::Applicable,
                _ => Applicability::IncludedInLaterUpdate,
            },
            basis: Basis::PublicSymbol,
            reason,
            decided_from,
        },
    }
}

fn unknown(reason: String) -> Servicing {
    Servicing {
        state: FixState::Unknown,
        by_date: false,
        disputed: false,
        may_lack_fix: false,
        applicability: Applicability::Unknown,
        basis: Basis::None,
        reason,
        decided_from: Vec::new(),
    }
}

fn by_system(build: u32) -> Servicing {
    let rule = judge_system(build);
    let state = match rule.applicability {
        Applicability::NeedsServicePack => FixState::NotFixed,
        Applicability::SupersededByServicePack => FixState::Fixed,
        Applicability::NotApplicable => FixState::NotApplicable,
        _ => FixState::Unknown,
    };
    let name = rule.name.map(|n| format!("{n}: ")).unwrap_or_default();
    Servicing {
        state,
        by_date: false,
        disputed: false,
        may_lack_fix: false,
        applicability: rule.applicability,
        basis: rule.basis,
        reason: format!("{name}{}", rule.reason),
        decided_from: vec![DecidedFrom {
            file: "windows build".to_owned(),
            version: None,
            fixed_in: None,
            source: "dump-header",
            basis: rule.basis.as_str(),
        }],
    }
}

/// The best claim about a module's version and where it comes from.
pub(super) fn claim(module: &Module, builds: &BuildTable) -> Option<(FileVersion, VersionSource)> {
    if let Some(claim) = &module.version {
        return Some((claim.version, claim.source));
    }
    let name = module.name()?;
    match builds.identify(name, module.time_date_stamp, module.size) {
        Identified::Known(build) => Some((build.version, VersionSource::Table)),
        Identified::Contradicted(..) => None,
        Identified::Unknown => {
            let symbols = module.pdb.as_ref()?;
            let row = builds::by_symbols(name, &symbols.guid_age)?;
            Some((row.version, VersionSource::Table))
        }
    }
}

/// The version of a module, by whatever source.
pub(super) fn version_of(module: &Module, builds: &BuildTable) -> Option<FileVersion> {
    claim(module, builds).map(|(version, _)| version)
}

fn by_version(
    facts: &CrashFacts,
    builds: &BuildTable,
    version: FileVersion,
    source: VersionSource,
) -> Servicing {
    let Judgement {
        state,
        basis,
        reason,
        ..
    } = judge(KB943650.decides, version);
    let decided = |file: &str, version, source: VersionSource, basis: Basis| DecidedFrom {
        file: file.to_owned(),
        version: Some(version),
        fixed_in: Some(KB943650.fixed_version),
        source: source.as_str(),
        basis: basis.as_str(),
    };
    let mut decided_from = vec![decided(KB943650.decides, version, source, basis)];
    let others: Vec<(&str, FileVersion, VersionSource)> = facts
        .modules
        .iter()
        .filter(|module| {
            module
                .name()
                .is_some_and(|name| KB943650.role(name).is_some())
        })
        .filter(|module| !module.is(KB943650.decides))
        .filter_map(|module| {
            let name = module.name()?;
            let (version, source) = claim(module, builds)?;
            Some((name, version, source))
        })
        .collect();
    let mut files = vec![(KB943650.decides, version)];
    files.extend(others.iter().map(|(name, version, _)| (*name, *version)));
    let package = judge_package(&files);
    let mut reason = format!("tcpip.sys {version}: {reason}");
    let mut disagreeing = Vec::new();
    for index in &package.disagreeing {
        let Some((name, version, source)) = index.checked_sub(1).and_then(|i| others.get(i)) else {
            continue;
        };
        disagreeing.push(format!("{} {version}", name.to_ascii_lowercase()));
        decided_from.push(decided(name, *version, *source, Basis::ServicingRule));
    }
    let together = match package.agreement {
        Agreement::Agrees => None,
        Agreement::PartiallyServiced => Some(PARTIALLY_SERVICED),
        Agreement::FixedWithOlderFiles => Some(OLDER_INVENTORY),
    };
    if let Some(together) = together.filter(|_| !disagreeing.is_empty()) {
        reason.push_str(&format!("; {together} ({})", disagreeing.join(", ")));
    }
    Servicing {
        state,
        by_date: false,
        disputed: false,
        may_lack_fix: false,
        applicability: package.applicability,
        basis,
        reason,
        decided_from,
    }
}

/// No version is known: the link time says something for builds before the hotfix.
fn by_date(facts: &CrashFacts, tcpip: &Module, builds: &BuildTable) -> Servicing {
    let stamp = tcpip.time_date_stamp;
    let Some(window) = defect::judge_stamp(stamp) else {
        return unknown(format!(
            "nothing is known about tcpip.sys with time stamp {stamp:#010x}"
        ));
    };
    let (state, applicability) = match window.finding {
        DateFinding::ProbablyNotFixed => (FixState::NotFixed, Applicability::Applicable),
        DateFinding::HotfixWindow | DateFinding::SaysNothing | DateFinding::Implausible => {
            (FixState::Unknown, Applicability::Unknown)
        }
    };
    let probably = match window.finding {
        DateFinding::ProbablyNotFixed => "probably not fixed, by date: ",
        DateFinding::HotfixWindow => "probably the hotfix itself, by date: ",
        DateFinding::SaysNothing | DateFinding::Implausible => "",
    };
    let from = |basis| DecidedFrom {
        file: KB943650.decides.to_owned(),
        version: None,
        fixed_in: Some(KB943650.fixed_version),
        source: "time-date-stamp",
        basis,
    };
    let mut decided_from = vec![from(BY_DATE)];
    if state == FixState::NotFixed && linked_together(facts, tcpip) {
        decided_from.push(from(BY_CO_DATING));
    }
    let mut reason = format!("{probably}tcpip.sys was {}", window.reason);
    let architecture = facts.dump.architecture;
    if let Some(release) = releases::of_stamp(stamp, architecture) {
        reason.push_str(&format!(
            ", in the same hours as the files of {}",
            release.version
        ));
    }
    let name = tcpip.name().unwrap_or(KB943650.decides);
    let by_stamp = builds
        .by_stamp(name, stamp)
        .filter(|_| architecture != Some(Machine::Ia64));
    if let Some(build) = by_stamp {
        reason.push_str(&format!(
            "; its stamp is that of {} ({})",
            build.version, build.provenance
        ));
        decided_from.push(DecidedFrom {
            version: Some(build.version),
            source: "table",
            ..from(BY_DATE)
        });
    }
    Servicing {
        state,
        by_date: true,
        disputed: false,
        may_lack_fix: false,
        applicability,
        basis: window.basis,
        reason,
        decided_from,
    }
}
