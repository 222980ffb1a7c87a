//! Windows file versions and the rules that say which of them hold the fix of KB943650.
//!
//! The rules are rows of `data/version-rules.tsv` and `data/system-rules.tsv`, each with its basis;
//! this file looks them up. `tcpip.sys` alone decides, because the lock and the call are in it: the
//! other files of the package are inventory. Knows no file and no dump.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Basis;
use super::hotfix::{FileRole, KB943650};
use super::tables::rules::{SYSTEM_RULES, VERSION_RULES};
use crate::machine::Machine;
use crate::vocabulary::closed_enum;

/// A four-part Windows file version as VS_FIXEDFILEINFO holds it. Ordered by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileVersion {
    /// High half of `dwFileVersionMS`: 6 for Vista.
    pub major: u16,
    /// Low half of `dwFileVersionMS`.
    pub minor: u16,
    /// High half of `dwFileVersionLS`: 6001 for Service Pack 1.
    pub build: u16,
    /// Low half of `dwFileVersionLS`: tells the branch on 6.0.
    pub revision: u16,
}

impl FileVersion {
    /// From its four parts.
    pub const fn new(major: u16, minor: u16, build: u16, revision: u16) -> Self {
        Self {
            major,
            minor,
            build,
            revision,
        }
    }

    /// From the two halves `dwFileVersionMS` and `dwFileVersionLS` of VS_FIXEDFILEINFO.
    pub const fn from_halves(most: u32, least: u32) -> Self {
        Self::new(
            (most >> 16) as u16,
            most as u16,
            (least >> 16) as u16,
            least as u16,
        )
    }
}

impl fmt::Display for FileVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{}.{}.{}",
            self.major, self.minor, self.build, self.revision
        )
    }
}

impl Serialize for FileVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FileVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Why a text is no file version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a file version: expected four numbers from 0 to 65535 joined by dots, such as 6.0.6001.18000"
)]
pub struct NotAVersion;

impl FromStr for FileVersion {
    type Err = NotAVersion;

    /// Accepts `6.0.6001.18000` and the form of the FileVersion string,
    /// `6.0.6001.18000 (longhorn_rtm.080118-1840)`; surrounding blanks are ignored.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let text = text.trim();
        let numbers = match text.split_once(char::is_whitespace) {
            None => text,
            Some((numbers, lab)) => {
                let lab = lab.trim();
                if !(lab.starts_with('(') && lab.ends_with(')')) {
                    return Err(NotAVersion);
                }
                numbers
            }
        };
        let mut parts = numbers.split('.').map(decimal_u16);
        let mut next = || parts.next().flatten().ok_or(NotAVersion);
        let version = Self::new(next()?, next()?, next()?, next()?);
        match parts.next() {
            None => Ok(version),
            Some(_) => Err(NotAVersion),
        }
    }
}

/// Digits only: `u16::from_str` would also take a sign.
fn decimal_u16(text: &str) -> Option<u16> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// What a reading of the code does to what the version says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByCode {
    /// Both say the same.
    Agrees,
    /// The version says nothing that is sure: the code decides.
    Decides,
    /// They contradict each other, and the version is published exactly: the reading of the code may be wrong, and
    /// the publication is not.
    Outweighed,
    /// They contradict each other, and which of them is right is not known.
    Disputed,
}

/// What code that shows the state `shown` does to `said`, the state by `version`; [`FixState::Unknown`] for one that was
/// concluded from a date.
pub fn by_code(said: FixState, version: Option<FileVersion>, shown: FixState) -> ByCode {
    match said {
        FixState::Unknown => ByCode::Decides,
        said if said == shown => ByCode::Agrees,
        _ if version.is_some_and(is_published) => ByCode::Outweighed,
        _ => ByCode::Disputed,
    }
}

/// True for a version that a source states exactly: the hotfix's own, a release build, the LDR file of a bulletin.
/// A reading of code does not outweigh it.
fn is_published(version: FileVersion) -> bool {
    let row = |rule: &VersionRule| rule.from == version && rule.to == version;
    VERSION_RULES.iter().any(row)
        || KB943650
            .later_updates
            .iter()
            .any(|update| update.ldr == version)
}

closed_enum! {
    /// Servicing branch of a Windows 6.0 file.
    Branch {
        /// The release build of a Windows version or service pack.
        Rtm = "rtm",
        /// General distribution release: security updates only, never a hotfix.
        Gdr = "gdr",
        /// Limited distribution release: hotfixes and everything after them.
        Ldr = "ldr",
    }
}

closed_enum! {
    /// Does a file hold the fix?
    FixState {
        /// Holds the fix.
        Fixed = "fixed",
        /// Lacks the fix.
        NotFixed = "not-fixed",
        /// The article does not cover this Windows.
        NotApplicable = "not-applicable",
        /// Not known.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// Does the hotfix apply to a machine? The words of the report contract.
    Applicability {
        /// It lacks the fix and the hotfix can be installed.
        Applicable = "applicable",
        /// It lacks the fix; a service pack has to come first.
        NeedsServicePack = "needs-service-pack",
        /// The deciding file is the hotfix's.
        AlreadyInstalled = "already-installed",
        /// A later update of the same branch holds the fix.
        IncludedInLaterUpdate = "included-in-later-update",
        /// The service pack holds the fix.
        SupersededByServicePack = "superseded-by-service-pack",
        /// The deciding file lacks the fix although other files of the package are there.
        PartiallyServiced = "partially-serviced",
        /// The article does not cover this Windows.
        NotApplicable = "not-applicable",
        /// Not known.
        Unknown = "unknown",
    }
}

closed_enum! {
    /// How firmly a version rule holds.
    Certainty {
        /// The article states it.
        Stated = "stated",
        /// Follows from the article and how updates work; nobody disputes it.
        Established = "established",
        /// Servicing practice says so; a look at the code would settle it.
        Inferred = "inferred",
        /// No source says anything.
        Unknown = "unknown",
    }
}

/// One row of the version table: all versions from `from` to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct VersionRule {
    /// First version covered.
    pub from: FileVersion,
    /// Last version covered.
    pub to: FileVersion,
    /// Whether these versions hold the fix.
    pub state: FixState,
    /// What that means for installing the hotfix.
    pub applicability: Applicability,
    /// Servicing branch, where the number tells one.
    pub branch: Option<Branch>,
    /// What the row or answer rests on.
    pub basis: Basis,
    /// How firmly it holds.
    pub certainty: Certainty,
    /// One sentence for a person.
    pub reason: &'static str,
}

/// All version rules, ascending; together they cover every version exactly once.
pub fn version_rules() -> &'static [VersionRule] {
    VERSION_RULES
}

/// The one rule that covers a version of `tcpip.sys`. `None` only if the table had a gap, which a
/// test excludes.
fn rule_for(version: FileVersion) -> Option<&'static VersionRule> {
    let after = VERSION_RULES.partition_point(|rule| rule.from <= version);
    VERSION_RULES
        .get(after.checked_sub(1)?)
        .filter(|rule| version <= rule.to)
}

/// What one file at one version says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Whether these versions hold the fix.
    pub state: FixState,
    /// What that means for installing the hotfix.
    pub applicability: Applicability,
    /// Servicing branch, where the number tells one.
    pub branch: Option<Branch>,
    /// What the row or answer rests on.
    pub basis: Basis,
    /// How firmly it holds.
    pub certainty: Certainty,
    /// One sentence for a person.
    pub reason: &'static str,
    /// The file's part in the hotfix; `None` for a file that the hotfix does not contain.
    pub role: Option<FileRole>,
    /// `Some(false)`: this file shows that the KB943650 package is not installed. Never `Some(true)`:
    /// a newer file of the package proves nothing about `tcpip.sys`.
    pub package_installed: Option<bool>,
}

const FOREIGN_FILE: &str =
    "not a file whose version KB943650 changes: it says nothing; check tcpip.sys";
const STACK_FILE: &str = "an inventory file of this hotfix that may lag behind or lead tcpip.sys; tcpip.sys alone decides: check it";
const COMPONENT_OLDER: &str = "older than 6.0.6001.22222, so the KB943650 package is not installed; a later update may still have replaced tcpip.sys, which alone decides: check it";
const COMPONENT_GDR: &str = "release build or GDR branch, so the KB943650 package is not installed, whatever the file's date; a later update may still have replaced tcpip.sys, which alone decides: check it";
const COMPONENT_NEWER: &str = "at or above the version of this hotfix, which does not prove that the package is installed; tcpip.sys alone decides: check it";

/// True for a file whose version names the build of its Windows, as those of the package do: one of another build is
/// of another Windows.
pub fn carries_build(file: &str) -> bool {
    KB943650.role(file).is_some()
}

/// Judges one file by its name (any case, no path) and version. A file of the package other than
/// `tcpip.sys` settles the Windows version and service pack, but within Service Pack 1 its state is
/// `unknown`.
pub fn judge(file: &str, version: FileVersion) -> Judgement {
    let role = KB943650.role(file);
    let Some(rule) = rule_for(version).filter(|_| role.is_some()) else {
        return Judgement {
            state: FixState::Unknown,
            applicability: Applicability::Unknown,
            branch: None,
            basis: Basis::None,
            certainty: Certainty::Unknown,
            reason: FOREIGN_FILE,
            role,
            package_installed: None,
        };
    };
    let by_rule = Judgement {
        state: rule.state,
        applicability: rule.applicability,
        branch: rule.branch,
        basis: rule.basis,
        certainty: rule.certainty,
        reason: rule.reason,
        role,
        package_installed: None,
    };
    let within_service_pack_1 = matches!(
        rule.applicability,
        Applicability::Applicable
            | Applicability::AlreadyInstalled
            | Applicability::IncludedInLaterUpdate
    );
    if role == Some(FileRole::Decides) || !within_service_pack_1 {
        return by_rule;
    }
    let gdr = matches!(rule.branch, Some(Branch::Rtm | Branch::Gdr));
    let (reason, package_installed) = match role {
        Some(FileRole::Component) if gdr => (COMPONENT_GDR, Some(false)),
        Some(FileRole::Component) if version < KB943650.fixed_version => {
            (COMPONENT_OLDER, Some(false))
        }
        Some(FileRole::Component) => (COMPONENT_NEWER, None),
        _ => (STACK_FILE, None),
    };
    Judgement {
        state: FixState::Unknown,
        applicability: Applicability::Unknown,
        basis: Basis::ServicingRule,
        certainty: Certainty::Inferred,
        reason,
        package_installed,
        ..by_rule
    }
}

/// What [`Agreement::PartiallyServiced`] is, for a person; the files that disagree are named after it.
pub const PARTIALLY_SERVICED: &str = "partially serviced: tcpip.sys lacks the fix while other files of the package are at the hotfix's version or later";
/// What [`Agreement::FixedWithOlderFiles`] is, for a person.
pub const OLDER_INVENTORY: &str = "tcpip.sys holds the fix while other files of the package are older: normal, because Windows chooses the branch of each component on its own";

/// How the files of one machine agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// `tcpip.sys` is unfixed while another file of the package is at the hotfix or later.
    PartiallyServiced,
    /// `tcpip.sys` is fixed while another file lags behind: normal, branches are chosen per component.
    FixedWithOlderFiles,
    /// Nothing to remark.
    Agrees,
}

/// What the files of one machine say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageJudgement {
    /// From `tcpip.sys`, and `partially-serviced` where the others contradict it; without a
    /// `tcpip.sys`, what the others settle by their Windows version, else `unknown`.
    pub applicability: Applicability,
    /// Whether the other files contradict `tcpip.sys`.
    pub agreement: Agreement,
    /// Indices into the given files that disagree with `tcpip.sys`.
    pub disagreeing: Vec<usize>,
}

/// Judges the versions of one machine's files together. Files that the hotfix does not contain are
/// ignored. With several `tcpip.sys`, the first one counts.
pub fn judge_package(files: &[(&str, FileVersion)]) -> PackageJudgement {
    let deciding = files
        .iter()
        .find(|(name, _)| KB943650.role(name) == Some(FileRole::Decides));
    let Some((name, version)) = deciding else {
        let settled = files
            .iter()
            .map(|(name, version)| judge(name, *version).applicability)
            .find(|applicability| *applicability != Applicability::Unknown);
        return PackageJudgement {
            applicability: settled.unwrap_or(Applicability::Unknown),
            agreement: Agreement::Agrees,
            disagreeing: Vec::new(),
        };
    };
    let decided = judge(name, *version);
    let inventory = |wanted: fn(FileVersion) -> bool| -> Vec<usize> {
        files
            .iter()
            .enumerate()
            .filter(|(_, (name, version))| {
                KB943650
                    .role(name)
                    .is_some_and(|role| role != FileRole::Decides)
                    && wanted(*version)
            })
            .map(|(index, _)| index)
            .collect()
    };
    let (agreement, disagreeing) = match decided.state {
        FixState::NotFixed => (Agreement::PartiallyServiced, inventory(reaches_hotfix)),
        FixState::Fixed => (Agreement::FixedWithOlderFiles, inventory(lags_hotfix)),
        _ => (Agreement::Agrees, Vec::new()),
    };
    if disagreeing.is_empty() {
        return PackageJudgement {
            applicability: decided.applicability,
            agreement: Agreement::Agrees,
            disagreeing,
        };
    }
    PackageJudgement {
        // A Windows that needs a service pack first needs it whatever its other files are.
        applicability: match (agreement, decided.applicability) {
            (Agreement::PartiallyServiced, Applicability::Applicable) => {
                Applicability::PartiallyServiced
            }
            (_, applicability) => applicability,
        },
        agreement,
        disagreeing,
    }
}

/// At the hotfix's version or later within Windows 6.0.
fn reaches_hotfix(version: FileVersion) -> bool {
    rule_for(version).is_some_and(|rule| rule.state == FixState::Fixed)
}

/// A Windows 6.0 version that is known to be older than the hotfix, or of the GDR branch.
fn lags_hotfix(version: FileVersion) -> bool {
    rule_for(version).is_some_and(|rule| rule.state == FixState::NotFixed)
}

/// One row of the build table: all Windows build numbers from `from` to `to`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SystemRule {
    /// First build number covered.
    pub from: u32,
    /// Last build number covered.
    pub to: u32,
    /// `unknown` for 6001: there the version of `tcpip.sys` decides.
    pub applicability: Applicability,
    /// What the row or answer rests on.
    pub basis: Basis,
    /// The Windows version, where the build number names one.
    pub name: Option<&'static str>,
    /// One sentence for a person.
    pub reason: &'static str,
}

/// All build rules, ascending; together they cover every build number exactly once.
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn system_rules() -> &'static [SystemRule] {
    SYSTEM_RULES
}

/// What the Windows build number of a dump header (`MinorVersion`) says without any file.
pub fn judge_system(build: u32) -> &'static SystemRule {
    let after = SYSTEM_RULES.partition_point(|rule| rule.from <= build);
    SYSTEM_RULES
        .get(after.saturating_sub(1))
        .unwrap_or(&NO_RULE)
}

/// The Windows version of a build on an architecture: Itanium had servers only, so that of two names
/// for one build the server's is the right one.
pub fn system_name(build: u32, architecture: Option<Machine>) -> Option<&'static str> {
    let name = judge_system(build).name?;
    match architecture {
        Some(Machine::Ia64) => name
            .split(" / ")
            .find(|one| !one.contains("Vista") && one.contains("Server")),
        _ => Some(name),
    }
}

static NO_RULE: SystemRule = SystemRule {
    from: 0,
    to: u32::MAX,
    applicability: Applicability::Unknown,
    basis: Basis::None,
    name: None,
    reason: "no source says anything about this build",
};
