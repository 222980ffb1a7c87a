//! Loaded and unloaded drivers, each with what identifies its file and the best claim about its
//! version, found by position, name and address.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::bytes::ModuleId;
use crate::knowledge::versions::FileVersion;
use crate::vocabulary::open_enum;

open_enum! {
    /// Where a module's version was learnt.
    VersionSource {
        /// The dump's own module list (user-mode dumps).
        Dump = "dump",
        /// The version resource of the image with this identity.
        Image = "image",
        /// The version resource in the dump's own memory.
        Memory = "memory",
        /// The table of known builds, by timestamp and size.
        Table = "table",
        /// A version inventory of the same machine.
        Inventory = "inventory",
        /// The error report that Windows made of the crash.
        WerReport = "wer-report",
    }
}

/// A file version and how it was learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionClaim {
    /// The version.
    pub version: FileVersion,
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

open_enum! {
    /// What became of a module's symbols.
    #[derive(Default)]
    SymbolState {
        /// Names come from its PDB.
        Loaded = "loaded",
        /// No symbol path holds it.
        Missing = "missing",
        /// A file of that name has another identity and was not used.
        Mismatched = "mismatched",
        /// Nothing in the report needed it.
        #[default]
        NotNeeded = "not-needed",
    }
}

/// One loaded module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// The best claim about the file's version.
    pub version: Option<VersionClaim>,
    /// The PDB the image names, when the image was read.
    pub pdb: Option<PdbIdentity>,
    /// What became of its symbols.
    pub symbols: SymbolState,
    /// Files that were found in its place.
    pub wrong_files: Vec<WrongFile>,
}

impl Module {
    /// Last component of the path; `None` when the dump's name cannot be read.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// True when the file's name is `name`, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.name()
            .is_some_and(|own| own.eq_ignore_ascii_case(name))
    }
}

/// The modules of one dump in the order of the dump's own list, with an index by address.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    list: Vec<Module>,
    /// Base and position of each, ascending.
    by_base: Vec<(u64, u16)>,
    /// No module holds an address above.
    last: u64,
}

impl PartialEq for Modules {
    fn eq(&self, other: &Self) -> bool {
        self.list == other.list
    }
}

impl Eq for Modules {}

impl Serialize for Modules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.list.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Modules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Modules, D::Error> {
        Ok(Modules::from(Vec::deserialize(deserializer)?))
    }
}

impl From<Vec<Module>> for Modules {
    fn from(list: Vec<Module>) -> Modules {
        let bases = list.iter().zip(0..=u16::MAX);
        let mut by_base: Vec<(u64, u16)> = bases.map(|(module, id)| (module.base, id)).collect();
        by_base.sort_unstable();
        let last = list
            .iter()
            .map(|module| module.base.saturating_add(module.size.into()))
            .max()
            .unwrap_or(0);
        Modules {
            list,
            by_base,
            last,
        }
    }
}

impl Modules {
    /// All modules in the order of the dump's list.
    pub fn iter(&self) -> std::slice::Iter<'_, Module> {
        self.list.iter()
    }

    /// The modules by their position, in the order of the dump's list.
    pub fn ids(&self) -> impl Iterator<Item = ModuleId> + use<> {
        let count = u16::try_from(self.list.len()).unwrap_or(u16::MAX);
        (0..count).map(ModuleId)
    }

    /// Number of modules.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// True when the dump lists none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// One module.
    pub fn get(&self, id: ModuleId) -> Option<&Module> {
        self.list.get(usize::from(id.0))
    }

    /// Records what was learnt of a module. Its base and size stay what they are.
    pub fn update(&mut self, id: ModuleId, change: impl FnOnce(&mut Module)) {
        if let Some(module) = self.list.get_mut(usize::from(id.0)) {
            let at = (module.base, module.size);
            change(module);
            // The index by address stays what it is.
            (module.base, module.size) = at;
        }
    }

    /// The first module of that file name, whatever the case.
    pub fn find(&self, name: &str) -> Option<(ModuleId, &Module)> {
        let (module, id) = self
            .list
            .iter()
            .zip(0..=u16::MAX)
            .find(|(module, _)| module.is(name))?;
        Some((ModuleId(id), module))
    }

    /// No module holds an address below the one or above the other.
    pub fn bounds(&self) -> (u64, u64) {
        let lowest = self.by_base.first().map_or(u64::MAX, |(base, _)| *base);
        (lowest, self.last)
    }

    /// The module that holds `address` and the offset in it. Where a damaged list has modules
    /// that overlap, the one with the highest base wins.
    pub fn locate(&self, address: u64) -> Option<(ModuleId, u64)> {
        let after = self.by_base.partition_point(|(base, _)| *base <= address);
        let (base, id) = *self.by_base.get(after.checked_sub(1)?)?;
        let offset = address - base;
        let size = self.list.get(usize::from(id))?.size;
        (offset < u64::from(size)).then_some((ModuleId(id), offset))
    }
}

/// True for the file names of the kernel and the HAL in all their flavours.
pub fn is_kernel(file: &str) -> bool {
    const FILES: [&str; 8] = [
        "ntoskrnl.exe",
        "ntkrnlmp.exe",
        "ntkrnlpa.exe",
        "ntkrpamp.exe",
        "hal.dll",
        "halmacpi.dll",
        "halacpi.dll",
        "nt",
    ];
    FILES.iter().any(|own| file.eq_ignore_ascii_case(own))
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
    /// Name, cut at twelve characters in small dumps; `None` when the dump does not hold it.
    pub name: Option<String>,
    /// First address it occupied.
    pub start: u64,
    /// First address past it.
    pub end: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(name: &str, base: u64, size: u32) -> Module {
        Module {
            name: Some(name.to_owned()),
            base,
            size,
            ..Module::default()
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
        assert_eq!(modules.locate(0x9000), None);
        assert_eq!(modules.bounds(), (0x2000, 0x9000));
        assert_eq!(modules.find("TCPIP.SYS").unwrap().0, ModuleId(1));
        assert!(modules.find("ip.sys").is_none());
        let (lowest, highest) = Modules::default().bounds();
        assert!(lowest > highest);
    }

    #[test]
    fn modules_that_overlap_are_told_apart_by_the_higher_base() {
        let modules = Modules::from(vec![
            module("outer.sys", 0x1000, 0x4000),
            module("inner.sys", 0x2000, 0x1000),
        ]);
        assert_eq!(modules.locate(0x2800), Some((ModuleId(1), 0x800)));
        assert_eq!(modules.locate(0x1800), Some((ModuleId(0), 0x800)));
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
