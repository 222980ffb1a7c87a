//! An article of the Knowledge Base as data, and KB943650 with everything its text says.
//!
//! Facts of the archived article are in our own words; the file tables are complete. What does not
//! come from the article carries its basis. Which versions hold the fix: `versions`.

use serde::Serialize;

use super::Basis;
use super::tables;
use super::versions::FileVersion;
use crate::machine::Machine;

/// KB943650.
pub static KB943650: &Hotfix = &tables::hotfix::KB943650;

/// The architectures that the hotfix has a package for.
pub const ARCHITECTURES: [Machine; 3] = [Machine::X86, Machine::X64, Machine::Ia64];

/// One Knowledge Base article.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hotfix {
    /// `KB943650`.
    pub kb: &'static str,
    /// What the article is about.
    pub title: &'static str,
    /// Day of publication, `YYYY-MM-DD`.
    pub published: &'static str,
    /// Revision of the article.
    pub revision: u32,
    /// First version of the deciding file that holds the fix.
    pub fixed_version: FileVersion,
    /// The file that decides, lower case.
    pub decides: &'static str,
    /// What a user sees.
    pub symptoms: &'static [&'static str],
    /// Stop codes that the article names as examples.
    #[serde(serialize_with = "codes_as_text")]
    pub stop_codes: &'static [u32],
    /// Why it happens.
    pub cause: &'static str,
    /// What has to be installed first.
    pub prerequisites: &'static [&'static str],
    /// Is a restart needed?
    pub restart_required: bool,
    /// Whether a restart is needed, as a sentence.
    pub restart: &'static str,
    /// Which hotfixes it replaces.
    pub replacement: &'static str,
    /// Microsoft's position.
    pub status: &'static str,
    /// Products by architecture.
    pub applies_to: &'static [AppliesTo],
    /// What helps without the hotfix.
    pub workaround: Workaround,
    /// How to get the fix today.
    pub availability: Availability,
    /// What the version of each file can tell.
    pub roles: &'static [RoleRow],
    /// Every row of the file tables.
    pub files: &'static [FileRow],
    /// Every manifest and .mum.
    pub manifests: &'static [ManifestRow],
    /// Later bulletins that bring the deciding file.
    pub later_updates: &'static [LaterUpdate],
}

fn codes_as_text<S: serde::Serializer>(codes: &&[u32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(codes.iter().map(|code| format!("0x{code:08X}")))
}

impl Hotfix {
    /// What the version of a file (any case, no path) can tell; `None`: not in the package, or
    /// without a version.
    pub fn role(&self, file: &str) -> Option<FileRole> {
        self.roles
            .iter()
            .find(|row| row.file.eq_ignore_ascii_case(file))
            .map(|row| row.role)
    }

    /// The files that a package installs, in the order of the article.
    pub fn files_of(&self, package: Machine) -> impl Iterator<Item = &'static FileRow> {
        self.files.iter().filter(move |row| row.package == package)
    }

    /// The names of the packages (the .mum files without their suffix) of one architecture.
    pub fn packages(&self, package: Machine) -> impl Iterator<Item = &'static str> {
        self.manifests
            .iter()
            .filter(move |row| row.package == package)
            .filter_map(|row| row.name.strip_suffix(".mum"))
    }
}

/// An architecture and the products of it that the hotfix is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AppliesTo {
    /// Processor architecture of the package.
    pub architecture: Machine,
    /// Windows versions.
    pub products: &'static str,
}

/// What helps without the hotfix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Workaround {
    /// What to do.
    pub text: &'static str,
    /// What stops working: to be said whenever the workaround is offered.
    pub side_effect: &'static str,
    /// Command lines for it, in order.
    pub commands: &'static [Command],
}

/// A command line for the affected machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Command {
    /// Command line as typed.
    pub command: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// What the row rests on.
    pub basis: Basis,
}

/// How to get the fix today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Availability {
    /// What to do.
    pub text: &'static str,
    /// What the row rests on.
    pub basis: Basis,
    /// What to expect after installing.
    pub afterwards: &'static str,
    /// Other updates, best first.
    pub alternatives: &'static [Alternative],
}

/// Another update that brings the fix, to be offered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Alternative {
    /// Article number.
    pub kb: &'static str,
    /// Name in full.
    pub name: &'static str,
    /// Why it helps.
    pub why: &'static str,
    /// What the row rests on.
    pub basis: Basis,
}

/// What the version of a file of the package can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileRole {
    /// The defect is in this file: its version decides.
    Decides,
    /// Network stack: may lag behind or lead the deciding file.
    Stack,
    /// Another component of the package: an older one shows that the package is not installed.
    Component,
}

/// A file of the package and its role. The name is lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RoleRow {
    /// File name.
    pub file: &'static str,
    /// What its version can tell.
    pub role: FileRole,
}

/// A row of the article's file tables. Date and time are UTC as listed there: when the file was
/// signed, which is later than the link time in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileRow {
    /// Architecture of the package, not of the file.
    pub package: Machine,
    /// As the article writes it, `Tcpip.sys`.
    pub name: &'static str,
    pub version: Option<FileVersion>,
    /// Bytes.
    pub size: u64,
    /// `YYYY-MM-DD`.
    pub date: &'static str,
    /// `HH:MM`.
    pub time: &'static str,
    /// As the article writes it: `x86`, `x64`, `IA-64`.
    pub platform: Option<&'static str>,
}

/// A manifest or update description (.mum) of the package. The article gives neither a version nor a
/// platform for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ManifestRow {
    /// Architecture of the package, not of the file.
    pub package: Machine,
    /// Name in full.
    pub name: &'static str,
    /// Bytes.
    pub size: u64,
    /// `YYYY-MM-DD`.
    pub date: &'static str,
    /// `HH:MM`.
    pub time: &'static str,
}

/// First builds of the deciding file in a later bulletin, for one Windows build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LaterUpdate {
    /// Security bulletin.
    pub bulletin: &'static str,
    /// Windows build, 6001 or 6002.
    pub build: u16,
    /// On 6001 this one lacks the fix.
    pub gdr: FileVersion,
    /// This one contains the fix.
    pub ldr: FileVersion,
}
