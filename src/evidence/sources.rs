//! Sources of one dump that contradict each other: every disagreement is a finding of its own, with both values.
//!
//! Which Windows it was is said by the dump's header, by NtBuildLab, by the version of tcpip.sys and by its link
//! date. What a dump's own memory says is believed before its header, and a file's version before a date; a rule that
//! excludes rests on no source that a better one contradicts. Windows 6.0.6002 and 6003 are one system here: the latter
//! is an update level of the former.

use crate::facts::{CrashFacts, ReadFrom, VersionSource, Writer};
use crate::knowledge::Basis;
use crate::knowledge::builds::BuildTable;
use crate::knowledge::defect::{self, DateFinding};
use crate::knowledge::hotfix::KB943650;
use crate::knowledge::releases::{self, day};
use crate::knowledge::versions::{FixState, judge};

use super::servicing::claim;
use super::{Context, Evidence, Observation, Outcome, Strength};

/// Builds whose files carry real link times: later ones may carry a hash instead.
const DATED: std::ops::RangeInclusive<u32> = 6000..=9600;
/// No file of a Windows from this build on was linked before this Unix time: the month of its release build (7600:
/// 2009-07; 9200: 2012-07; 9600: 2013-08).
const LINKED_FROM: [(u32, u32); 3] = [
    (7600, 1_246_406_400),
    (9200, 1_341_100_800),
    (9600, 1_375_315_200),
];
/// A file that Windows has had since 6.0.
const SINCE_6_0: &str = "netio.sys";
/// Builds of Windows 6.0.
const WINDOWS_6_0: std::ops::RangeInclusive<u32> = 6000..=6003;

/// Another source than the believed one, and what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Other {
    /// In words, the build or the date included.
    pub says: String,
    /// The build it stands for, where it names one.
    pub build: Option<u32>,
    /// It is as good as the believed one, or better: nothing excludes against it.
    pub weighs: bool,
}

/// Sources that contradict the build that is believed. Empty where they agree or are silent.
pub(super) fn against_build(facts: &CrashFacts, builds: &BuildTable) -> Vec<Other> {
    let Some(believed) = facts.system.build else {
        return Vec::new();
    };
    let mut others = Vec::new();
    let lab = facts.system.build_lab.as_deref().and_then(lab_build);
    let from_memory = facts.system.build_source == Some(ReadFrom::Memory) || lab == Some(believed);
    let invented = facts.dump.writer.is_some_and(Writer::invents_build);
    let header = facts.dump.header.build.filter(|build| *build != believed);
    if let Some(header) = header.filter(|_| !invented) {
        others.push(Other {
            says: format!("the dump's header says build {header}"),
            build: Some(header),
            weighs: false,
        });
    }
    if let Some(lab) = lab.filter(|lab| !same_system(*lab, believed)) {
        others.push(Other {
            says: format!("NtBuildLab in its memory says {lab}"),
            build: Some(lab),
            weighs: true,
        });
    }
    if believed < *WINDOWS_6_0.start() && facts.modules.find(SINCE_6_0).is_some() {
        others.push(Other {
            says: format!("it lists {SINCE_6_0}, which Windows has had since Vista"),
            build: None,
            weighs: true,
        });
    }
    let Some((_, tcpip)) = facts.modules.find(KB943650.decides) else {
        return others;
    };
    if let Some((version, source)) = claim(tcpip, builds) {
        let file = u32::from(version.build);
        // An inventory may be older or newer than the crash.
        let own = source != VersionSource::Inventory;
        if own && !same_system(file, believed) && (is_6_0(file) || is_6_0(believed)) {
            others.push(Other {
                says: format!("tcpip.sys is {version}"),
                build: Some(file),
                weighs: true,
            });
        }
        return others;
    }
    // Without a version the link date speaks, against a header alone.
    let stamp = tcpip.time_date_stamp;
    let architecture = facts.dump.architecture;
    let release = releases::of_stamp(stamp, architecture).map(|release| release.build);
    // Files of newer systems carry hashes for dates; those of older ones were all linked before 6.0.
    let dated = DATED.contains(&believed) || (believed < *DATED.start() && release.is_some());
    if from_memory || !dated {
        return others;
    }
    let finding = defect::judge_stamp(stamp).map(|window| window.finding);
    let before_it_was = LINKED_FROM
        .iter()
        .any(|(build, first)| believed >= *build && stamp < *first);
    let older = believed > 6001 && finding == Some(DateFinding::ProbablyNotFixed)
        || before_it_was && finding.is_some_and(|finding| finding != DateFinding::Implausible);
    if release.is_some_and(|build| !same_system(build, believed)) || older {
        others.push(Other {
            says: format!(
                "tcpip.sys was linked {}, which is no file of that Windows",
                day(stamp)
            ),
            build: release,
            // No file of a Windows was linked before that Windows was.
            weighs: true,
        });
    }
    others
}

/// A day after the last hour in which the hotfix's files may have been linked, Unix seconds.
fn last_link_of_hotfix() -> u32 {
    let window = defect::date_window(DateFinding::HotfixWindow);
    let end = window.map_or(u64::from(u32::MAX), |window| window.before + 86_400);
    u32::try_from(end).unwrap_or(u32::MAX)
}

/// What contradicts a version of tcpip.sys that was not read from the file itself but said beside the dump, in words:
/// its link time, where it is in the hours of a release with another version, or before the fix was made.
pub(super) fn against_version(facts: &CrashFacts, builds: &BuildTable) -> Option<String> {
    let (_, tcpip) = facts.modules.find(KB943650.decides)?;
    let (version, source) = claim(tcpip, builds)?;
    let by = match source {
        VersionSource::WerReport => "the error report beside the dump",
        VersionSource::Inventory => "the inventory",
        _ => return None,
    };
    let stamp = tcpip.time_date_stamp;
    let architecture = facts.dump.architecture;
    let state = |version| judge(KB943650.decides, version).state;
    let linked = match releases::of_stamp(stamp, architecture) {
        // Another update without the fix answers the same.
        Some(release) if state(release.version) == state(version) => return None,
        Some(release) => format!("in the same hours as the files of {}", release.version),
        None => match defect::judge_stamp(stamp)?.finding {
            DateFinding::ProbablyNotFixed if state(version) == FixState::Fixed => {
                format!("{}, before the fix was made", day(stamp))
            }
            DateFinding::HotfixWindow if version != KB943650.fixed_version => {
                format!("{}, as the files of {}", day(stamp), KB943650.fixed_version)
            }
            DateFinding::SaysNothing
                if version == KB943650.fixed_version && stamp > last_link_of_hotfix() =>
            {
                format!("{}, after the files of {version}", day(stamp))
            }
            _ => return None,
        },
    };
    Some(format!(
        "{by} says tcpip.sys {version}, but the dump's tcpip.sys was linked {linked}"
    ))
}

/// True where a source that is as good as the believed build contradicts it.
pub(super) fn is_disputed(facts: &CrashFacts, builds: &BuildTable) -> bool {
    against_build(facts, builds)
        .iter()
        .any(|other| other.weighs)
}

/// The number that NtBuildLab starts with: `6001.18000.amd64fre.longhorn_rtm.080118-1840`.
fn lab_build(text: &str) -> Option<u32> {
    text.split('.').next()?.parse().ok()
}

fn is_6_0(build: u32) -> bool {
    WINDOWS_6_0.contains(&build)
}

fn same_system(one: u32, other: u32) -> bool {
    let second = |build: u32| if build == 6003 { 6002 } else { build };
    second(one) == second(other)
}

/// Sources about the Windows that crashed.
pub(super) fn windows(facts: &CrashFacts, context: &Context<'_>) -> Observation {
    let others = against_build(facts, context.builds);
    if let (Some(_), [], Some(said)) = (
        facts.system.build,
        others.as_slice(),
        against_version(facts, context.builds),
    ) {
        return sources(Outcome::Found(vec![
            Evidence::contra(
                "build.sources-disagree",
                Strength::Weak,
                Basis::Inference,
                said,
            )
            .at("tcpip.sys"),
        ]));
    }
    let outcome = match (facts.system.build, others.as_slice()) {
        (None, _) => Outcome::NotObservable("the dump does not name its Windows build".to_owned()),
        (Some(_), []) => {
            Outcome::Neutral("nothing in the dump contradicts its Windows build".to_owned())
        }
        (Some(build), others) => {
            let source = match facts.system.build_source {
                Some(ReadFrom::Memory) => "the dump's memory",
                Some(ReadFrom::Module) => "the version of tcpip.sys",
                _ => "the dump's header",
            };
            let said: Vec<&str> = others.iter().map(|other| other.says.as_str()).collect();
            Outcome::Found(vec![
                Evidence::contra(
                    "build.sources-disagree",
                    Strength::Weak,
                    Basis::Inference,
                    format!("{source} says build {build}, but {}", said.join(", and ")),
                )
                .at(source),
            ])
        }
    };
    sources(outcome)
}

fn sources(outcome: Outcome) -> Observation {
    Observation {
        observer: "build.sources",
        question: "Do all sources name the same Windows?",
        outcome,
    }
}

/// Sources about the bug check.
pub(super) fn bugcheck(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match (facts.bugcheck, facts.dump.header.bugcheck_code) {
        (None, _) => Outcome::NotObservable("the dump holds no bug check".to_owned()),
        // What it puts into the header is its own.
        _ if facts.dump.writer.is_some_and(Writer::converts) => Outcome::Neutral(
            "the program that made the dump filled its header: only memory names the code"
                .to_owned(),
        ),
        (Some(bugcheck), Some(header)) if header != bugcheck.raw_code => Outcome::Found(vec![
            Evidence::contra(
                "code.sources-disagree",
                Strength::Weak,
                Basis::Inference,
                format!(
                    "the dump's header says code 0x{header:X}, but the kernel kept 0x{:X}",
                    bugcheck.raw_code
                ),
            )
            .at("KiBugCheckData"),
        ]),
        (Some(_), _) => Outcome::Neutral("nothing in the dump contradicts its code".to_owned()),
    };
    Observation {
        observer: "code.sources",
        question: "Do all sources name the same bug check?",
        outcome,
    }
}

/// Sources about the number of processors.
pub(super) fn processors(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    let outcome = match (facts.dump.processors, facts.dump.header.processors) {
        (None, _) => {
            Outcome::NotObservable("the dump does not say how many processors there are".to_owned())
        }
        (Some(own), Some(header)) if header != own => Outcome::Found(vec![
            Evidence::contra(
                "machine.counts-disagree",
                Strength::Weak,
                Basis::Inference,
                format!(
                    "the dump's header counts {header} processor{}, but the kernel {own}",
                    if header == 1 { "" } else { "s" }
                ),
            )
            .at("processor blocks"),
        ]),
        (Some(_), _) => Outcome::Neutral("nothing contradicts the number of processors".to_owned()),
    };
    Observation {
        observer: "machine.sources",
        question: "Do all sources count the same processors?",
        outcome,
    }
}

/// A crash that is older than the file that crashed: a clock or a stamp is wrong.
pub(super) fn dates(facts: &CrashFacts, _: &Context<'_>) -> Observation {
    Observation {
        observer: "build.dates",
        question: "Is the crash later than the files that crashed?",
        outcome: judge_dates(facts),
    }
}

fn judge_dates(facts: &CrashFacts) -> Outcome {
    /// Seconds from 1601 to 1970.
    const EPOCH: u64 = 11_644_473_600;
    const SECOND: u64 = 10_000_000;
    let crash = facts
        .dump
        .crash_time
        .and_then(|time| (time / SECOND).checked_sub(EPOCH));
    let tcpip = facts.modules.find(KB943650.decides);
    let (Some(crash), Some((_, tcpip))) = (crash, tcpip) else {
        return Outcome::NotObservable("the dump lacks its date or its tcpip.sys".to_owned());
    };
    let dated = facts
        .system
        .build
        .is_some_and(|build| DATED.contains(&build));
    let stamp = tcpip.time_date_stamp;
    if !dated || crash >= u64::from(stamp) {
        return Outcome::Neutral("the crash is later than the link date of tcpip.sys".to_owned());
    }
    Outcome::Found(vec![
        Evidence::contra(
            "build.linked-after-crash",
            Strength::Weak,
            Basis::Inference,
            format!(
                "the crash is dated {}, before tcpip.sys was linked ({}): the machine's clock or the \
                 stamp was wrong, so dates count for little",
                day(u32::try_from(crash).unwrap_or(u32::MAX)),
                day(stamp)
            ),
        )
        .at("dates"),
    ])
}
