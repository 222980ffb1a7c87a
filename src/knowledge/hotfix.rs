//! An article of the Knowledge Base as data, and KB943650 with everything its text says.
//!
//! Facts of the archived article are in our own words; the file tables are complete. What does not
//! come from the article carries its basis. Which versions hold the fix: `versions`.

use serde::Serialize;

use super::Basis;
use super::tables;
use super::versions::FileVersion;

/// KB943650.
pub static KB943650: &Article = &tables::article::KB943650;

/// Every article this program knows.
pub fn articles() -> &'static [&'static Article] {
    static ALL: [&Article; 1] = [&tables::article::KB943650];
    &ALL
}

/// Finds an article by its number, with or without `KB`, in any case.
pub fn article(kb: &str) -> Option<&'static Article> {
    let number = |text: &str| -> String {
        let upper = text.trim().to_ascii_uppercase();
        upper
            .strip_prefix("KB")
            .map_or_else(|| upper.clone(), str::to_owned)
    };
    articles()
        .iter()
        .copied()
        .find(|article| number(article.kb) == number(kb))
}

/// Processor architecture of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    X86,
    X64,
    Ia64,
}

impl Architecture {
    pub const ALL: [Self; 3] = [Self::X86, Self::X64, Self::Ia64];

    /// The word of the report contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86 => "x86",
            Self::X64 => "x64",
            Self::Ia64 => "ia64",
        }
    }
}

/// One Knowledge Base article.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Article {
    /// `KB943650`.
    pub kb: &'static str,
    pub title: &'static str,
    /// Day of publication, `YYYY-MM-DD`.
    pub published: &'static str,
    pub revision: u32,
    /// First version of the deciding file that holds the fix.
    pub fixed_version: FileVersion,
    /// The file that decides, lower case.
    pub decides: &'static str,
    pub symptoms: &'static [&'static str],
    /// Stop codes that the article names as examples.
    #[serde(serialize_with = "codes_as_text")]
    pub stop_codes: &'static [u32],
    pub cause: &'static str,
    pub prerequisites: &'static [&'static str],
    pub restart_required: bool,
    pub restart: &'static str,
    pub replacement: &'static str,
    pub status: &'static str,
    pub applies_to: &'static [AppliesTo],
    pub workaround: Workaround,
    pub availability: Availability,
    pub roles: &'static [RoleRow],
    pub files: &'static [FileRow],
    pub manifests: &'static [ManifestRow],
    pub later_updates: &'static [LaterUpdate],
}

fn codes_as_text<S: serde::Serializer>(codes: &&[u32], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(codes.iter().map(|code| format!("0x{code:08X}")))
}

impl Article {
    /// What the version of a file (any case, no path) can tell; `None`: not in the package, or
    /// without a version.
    pub fn role(&self, file: &str) -> Option<FileRole> {
        self.roles
            .iter()
            .find(|row| row.file.eq_ignore_ascii_case(file))
            .map(|row| row.role)
    }

    /// The files that a package installs, in the order of the article.
    pub fn files_of(&self, package: Architecture) -> impl Iterator<Item = &'static FileRow> {
        self.files.iter().filter(move |row| row.package == package)
    }

    /// The names of the packages (the .mum files without their suffix) of one architecture.
    pub fn packages(&self, package: Architecture) -> impl Iterator<Item = &'static str> {
        self.manifests
            .iter()
            .filter(move |row| row.package == package)
            .filter_map(|row| row.name.strip_suffix(".mum"))
    }
}

/// An architecture and the products of it that the hotfix is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AppliesTo {
    pub architecture: Architecture,
    pub products: &'static str,
}

/// What helps without the hotfix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Workaround {
    pub text: &'static str,
    /// What stops working: to be said whenever the workaround is offered.
    pub side_effect: &'static str,
    pub commands: &'static [Command],
}

/// A command line for the affected machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Command {
    pub command: &'static str,
    pub purpose: &'static str,
    pub basis: Basis,
}

/// How to get the fix today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Availability {
    pub text: &'static str,
    pub basis: Basis,
    /// What to expect after installing.
    pub afterwards: &'static str,
    pub alternatives: &'static [Alternative],
}

/// Another update that brings the fix, to be offered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Alternative {
    pub kb: &'static str,
    pub name: &'static str,
    pub why: &'static str,
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
    pub file: &'static str,
    pub role: FileRole,
}

/// A row of the article's file tables. Date and time are UTC as listed there: when the file was
/// signed, which is later than the link time in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileRow {
    pub package: Architecture,
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
    pub package: Architecture,
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
    pub bulletin: &'static str,
    pub build: u16,
    /// On 6001 this one lacks the fix.
    pub gdr: FileVersion,
    /// This one contains the fix.
    pub ldr: FileVersion,
}
