//! Loaded and unloaded drivers, each with what identifies its file and every claim about its
//! version, best source first.
//!
//! Knows how to find the module of an address. Does not read images; versions are told to it.

pub mod from_memory;
pub mod inventory;
mod list;
mod packed;

use serde::{Deserialize, Serialize};

pub use list::{Entry, ModuleRef, Modules};

/// Where a module's version was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VersionSource {
    /// The dump's own module list (user-mode dumps).
    Dump,
    /// The version resource of the image with this identity.
    Image,
    /// The version resource in the dump's own memory.
    Memory,
    /// The table of known builds, by timestamp and size.
    Table,
    /// A version inventory of the same machine.
    Inventory,
}

impl VersionSource {
    /// The word of the report contract.
    pub fn as_str(self) -> &'static str {
        match self {
            VersionSource::Dump => "dump",
            VersionSource::Image => "image",
            VersionSource::Memory => "memory",
            VersionSource::Table => "table",
            VersionSource::Inventory => "inventory",
        }
    }
}

impl SymbolState {
    /// The word of the report contract.
    pub fn as_str(self) -> &'static str {
        match self {
            SymbolState::Loaded => "loaded",
            SymbolState::Missing => "missing",
            SymbolState::Mismatched => "mismatched",
            SymbolState::NotNeeded => "not-needed",
        }
    }
}

/// A file version and how it was learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionClaim {
    /// Major, minor, build, revision.
    pub version: [u16; 4],
    /// The branch tag of the version string, such as `longhorn_rtm`, when it was read.
    pub branch_tag: Option<String>,
    /// Where it was learnt.
    pub source: VersionSource,
}

/// The PDB an image names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PdbIdentity {
    /// Last component of the path in the image.
    pub name: String,
    /// GUID in upper-case hex followed by the age in hex, as symbol stores write it.
    pub guid_age: String,
}

/// A file of a module's name whose identity is another one: found, and not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrongFile {
    /// Name of the image or PDB.
    pub file: String,
    /// Identity looked for, as symbol stores write it.
    pub wanted: String,
    /// Identity of the file.
    pub found: String,
}

/// What became of a module's symbols.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SymbolState {
    /// Names come from its PDB.
    Loaded,
    /// No symbol path holds it.
    Missing,
    /// A file of that name has another identity and was not used.
    Mismatched,
    /// Nothing in the report needed it.
    #[default]
    NotNeeded,
}

/// One loaded module by itself: [`Modules`] are made of them where names come one by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Last component of the path; `None` when the dump's name cannot be read.
    pub name: Option<String>,
    /// The path where the dump holds more than a name.
    pub path: Option<String>,
    /// Load address.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u32,
    /// TimeDateStamp.
    pub time_date_stamp: u32,
    /// CheckSum; `None` when the source has none.
    pub checksum: Option<u32>,
    /// What else is known of it.
    pub details: Details,
}

/// What is learnt of a module besides its entry in the dump's list: of few of hundreds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The best claim about the file's version.
    pub version: Option<VersionClaim>,
    /// The PDB the image names, when the image was read.
    pub pdb: Option<PdbIdentity>,
    /// What became of its symbols.
    pub symbols: SymbolState,
    /// Files that were found in its place.
    pub wrong_files: Vec<WrongFile>,
}

/// The last component of a Windows path.
pub fn file_name(path: &str) -> &str {
    // Both separators are ASCII: what follows one is a boundary of characters.
    path.bytes()
        .rposition(|byte| matches!(byte, b'\\' | b'/'))
        .and_then(|at| path.get(at + 1..))
        .unwrap_or(path)
}

/// A driver that was unloaded before the crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnloadedModule {
    /// Name, cut at twelve characters by Windows.
    pub name: Option<String>,
    /// First address it occupied.
    pub start: u64,
    /// First address past it.
    pub end: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::ModuleId;

    fn module(name: &str, base: u64, size: u32) -> Module {
        Module {
            name: Some(name.to_owned()),
            path: None,
            base,
            size,
            time_date_stamp: 0,
            checksum: None,
            details: Details::default(),
        }
    }

    #[test]
    fn an_address_belongs_to_the_module_whose_range_holds_it() {
        let modules = Modules::from(vec![
            module("nt", 0x8000, 0x1000),
            module("tcpip.sys", 0x2000, 0x1000),
        ]);
        assert_eq!(modules.locate(0x2FFF), Some((ModuleId(1), 0xFFF)));
        assert_eq!(modules.locate(0x3000), None);
        assert_eq!(modules.locate(0x1FFF), None);
        assert_eq!(modules.find("TCPIP.SYS").unwrap().0, ModuleId(1));
    }

    #[test]
    fn the_last_component_of_a_driver_path_is_its_name() {
        assert_eq!(
            file_name(r"\SystemRoot\System32\drivers\tcpip.sys"),
            "tcpip.sys"
        );
        assert_eq!(file_name("tcpip.sys"), "tcpip.sys");
    }
}
