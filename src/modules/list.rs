//! The modules of one dump, found by position, name and address.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Details, Module, PdbIdentity, SymbolState, VersionClaim, WrongFile, packed};
use crate::bytes::{ModuleId, Span, Texts, TextsBuilder, ascending};

/// A module as a dump's list has it; its names lie among those of all.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Last component of the path; `None` when the dump's name cannot be read.
    pub name: Option<Span>,
    /// The path where the dump holds more than a name.
    pub path: Option<Span>,
    /// Load address.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u32,
    /// TimeDateStamp.
    pub time_date_stamp: u32,
    /// CheckSum; `None` when the source has none.
    pub checksum: Option<u32>,
}

/// One of [`Modules`].
#[derive(Clone, Copy, Debug)]
pub struct ModuleRef<'a> {
    /// Last component of the path; `None` when the dump's name cannot be read.
    pub name: Option<&'a str>,
    /// The path where the dump holds more than a name.
    pub path: Option<&'a str>,
    /// Load address.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u32,
    /// TimeDateStamp.
    pub time_date_stamp: u32,
    /// CheckSum; `None` when the source has none.
    pub checksum: Option<u32>,
    pub(super) details: Option<&'a Details>,
}

impl<'a> ModuleRef<'a> {
    /// True when the file's name is `name`, whatever the case.
    pub fn is(&self, name: &str) -> bool {
        self.name.is_some_and(|own| own.eq_ignore_ascii_case(name))
    }

    /// The best claim about the file's version.
    pub fn version(&self) -> Option<&'a VersionClaim> {
        self.details?.version.as_ref()
    }

    /// The PDB the image names, when the image was read.
    pub fn pdb(&self) -> Option<&'a PdbIdentity> {
        self.details?.pdb.as_ref()
    }

    /// What became of its symbols.
    pub fn symbols(&self) -> SymbolState {
        self.details.map(|d| d.symbols).unwrap_or_default()
    }

    /// Files that were found in its place.
    pub fn wrong_files(&self) -> &'a [WrongFile] {
        self.details.map_or(&[], |d| &d.wrong_files)
    }
}

/// The same file at the same place, and the same is known of it.
impl PartialEq for ModuleRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let of = |m: &ModuleRef<'_>| (m.base, m.size, m.time_date_stamp, m.checksum);
        let known = |m: &ModuleRef<'_>| m.details.cloned().unwrap_or_default();
        (self.name, self.path) == (other.name, other.path)
            && of(self) == of(other)
            && known(self) == known(other)
    }
}

/// The modules of one dump in the order of the dump's own list, with an index by address. Names lie in one
/// piece, and what few modules have lies apart: hundreds of small pieces took longer than all that is
/// asked of them.
#[derive(Clone, Debug, Default)]
pub struct Modules {
    texts: Texts,
    list: Vec<Entry>,
    /// By ascending position in the list.
    details: Vec<(usize, Details)>,
    by_base: Vec<(u64, u16)>,
    /// No module holds an address above.
    last: u64,
}

impl PartialEq for Modules {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Modules {}

impl From<Vec<Module>> for Modules {
    fn from(list: Vec<Module>) -> Modules {
        let mut texts = TextsBuilder::default();
        let mut details = Vec::new();
        let mut entries = Vec::with_capacity(list.len());
        for (position, module) in list.into_iter().enumerate() {
            let mut add = |text: Option<String>| text.and_then(|text| texts.push(&text));
            entries.push(Entry {
                name: add(module.name),
                path: add(module.path),
                base: module.base,
                size: module.size,
                time_date_stamp: module.time_date_stamp,
                checksum: module.checksum,
            });
            if module.details != Details::default() {
                details.push((position, module.details));
            }
        }
        Modules::with(texts.finish(), entries, details)
    }
}

/// As one string, base64: see `packed`.
impl Serialize for Modules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.pack()))
    }
}

impl<'de> Deserialize<'de> for Modules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Modules, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64
            .decode(text)
            .ok()
            .and_then(|bytes| Modules::unpack(&bytes))
            .ok_or_else(|| D::Error::custom("not packed modules"))
    }
}

impl Modules {
    /// The modules of a list whose names are in `texts`.
    pub fn of(texts: Texts, list: Vec<Entry>) -> Modules {
        Modules::with(texts, list, Vec::new())
    }

    /// As [`Modules::of`], with what is known of some, by ascending position in the list.
    pub(super) fn with(texts: Texts, list: Vec<Entry>, details: Vec<(usize, Details)>) -> Modules {
        let bases = list.iter().zip(0..=u16::MAX);
        let order = ascending(bases.map(|(m, id)| (m.base, id.into())).collect());
        let by_base = order.into_iter().filter_map(|id| {
            let id = u16::try_from(id).ok()?;
            Some((list.get(usize::from(id))?.base, id))
        });
        let by_base = by_base.collect();
        let last = list
            .iter()
            .map(|module| module.base.saturating_add(module.size.into()))
            .max()
            .unwrap_or(0);
        Modules {
            texts,
            list,
            details,
            by_base,
            last,
        }
    }

    /// The modules as bytes for a store: see `packed`.
    pub fn pack(&self) -> Vec<u8> {
        packed::pack(self)
    }

    /// The modules in what [`Modules::pack`] wrote; `None` when it is something else.
    pub fn unpack(packed: &[u8]) -> Option<Modules> {
        packed::unpack(packed)
    }

    /// All modules in the order of the dump's list.
    pub fn iter(&self) -> impl Iterator<Item = ModuleRef<'_>> {
        let mut details = self.details.iter().peekable();
        self.list.iter().enumerate().map(move |(position, entry)| {
            let own = details.next_if(|(at, _)| *at == position);
            self.view(entry, own.map(|(_, details)| details))
        })
    }

    /// The modules whose names are `wanted`, in the order of the dump's list. Looks at nothing else of the others.
    pub fn named<'m>(
        &'m self,
        wanted: impl Fn(Option<&str>) -> bool + 'm,
    ) -> impl Iterator<Item = ModuleRef<'m>> {
        let positions = self.list.iter().enumerate();
        positions
            .filter(move |(_, entry)| wanted(self.text(entry.name)))
            .filter_map(|(position, _)| self.at(position))
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

    /// The entry of a module.
    pub fn entry(&self, id: ModuleId) -> Option<&Entry> {
        self.list.get(usize::from(id.0))
    }

    /// One module.
    pub fn get(&self, id: ModuleId) -> Option<ModuleRef<'_>> {
        self.at(usize::from(id.0))
    }

    /// What is known of a module besides its entry, to record what was learnt.
    pub fn details_mut(&mut self, id: ModuleId) -> Option<&mut Details> {
        let position = usize::from(id.0);
        self.list.get(position)?;
        let index = self.details_of(position).unwrap_or_else(|index| {
            self.details.insert(index, (position, Details::default()));
            index
        });
        self.details.get_mut(index).map(|(_, details)| details)
    }

    /// True when something is known of a module besides its entry.
    pub fn has_details(&self, id: ModuleId) -> bool {
        self.details_of(usize::from(id.0)).is_ok()
    }

    /// Index of what is known of the module at `position`, or where it would lie.
    fn details_of(&self, position: usize) -> Result<usize, usize> {
        self.details.binary_search_by_key(&position, |(at, _)| *at)
    }

    fn at(&self, position: usize) -> Option<ModuleRef<'_>> {
        let entry = self.list.get(position)?;
        let details = self.details_of(position).ok();
        let details = details.and_then(|index| self.details.get(index));
        Some(self.view(entry, details.map(|(_, details)| details)))
    }

    fn text(&self, span: Option<Span>) -> Option<&str> {
        self.texts.get(span?)
    }

    fn view<'a>(&'a self, entry: &Entry, details: Option<&'a Details>) -> ModuleRef<'a> {
        ModuleRef {
            name: self.text(entry.name),
            path: self.text(entry.path),
            base: entry.base,
            size: entry.size,
            time_date_stamp: entry.time_date_stamp,
            checksum: entry.checksum,
            details,
        }
    }

    /// The first module of that file name, whatever the case.
    pub fn find(&self, name: &str) -> Option<(ModuleId, ModuleRef<'_>)> {
        let is = |span: Span| {
            // Most names have another length: told without looking at them.
            span.len() == name.len()
                && self
                    .texts
                    .get(span)
                    .is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        let (_, id) = self
            .list
            .iter()
            .zip(0..=u16::MAX)
            .find(|(entry, _)| entry.name.is_some_and(is))?;
        Some((ModuleId(id), self.get(ModuleId(id))?))
    }

    /// No module holds an address below the one or above the other. Most words of a stack are none of code: told
    /// at once.
    pub fn bounds(&self) -> (u64, u64) {
        let lowest = self.by_base.first().map_or(u64::MAX, |(base, _)| *base);
        (lowest, self.last)
    }

    /// The module that holds `address` and the offset in it. Where a damaged list has modules
    /// that overlap, the one with the highest base wins.
    pub fn locate(&self, address: u64) -> Option<(ModuleId, u64)> {
        let (lowest, highest) = self.bounds();
        if address < lowest || address > highest {
            return None;
        }
        let after = self.by_base.partition_point(|(base, _)| *base <= address);
        let (base, id) = *self.by_base.get(after.checked_sub(1)?)?;
        let offset = address - base;
        let size = self.list.get(usize::from(id))?.size;
        (offset < u64::from(size)).then_some((ModuleId(id), offset))
    }

    /// The module that holds `address`: its place in the list, its base and its size in bytes.
    pub fn extent(&self, address: u64) -> Option<(ModuleId, u64, u32)> {
        let (id, _) = self.locate(address)?;
        let entry = self.list.get(usize::from(id.0))?;
        Some((id, entry.base, entry.size))
    }
}

#[cfg(test)]
mod tests {
    use super::super::VersionSource;
    use super::*;

    fn modules() -> Modules {
        let mut texts = TextsBuilder::default();
        let mut list = Vec::new();
        let paths = [r"\drivers\NETIO.SYS", "nt", r"\drivers\netio.sys"];
        for (path, n) in paths.into_iter().zip(0u64..) {
            let span = texts.push(path).unwrap();
            let name = super::super::file_name(path).len();
            list.push(Entry {
                name: span.tail(name),
                path: Some(span).filter(|_| name < path.len()),
                base: 0x5000 - n * 0x1000,
                size: 0x800,
                time_date_stamp: 7,
                checksum: None,
            });
        }
        Modules::of(texts.finish(), list)
    }

    #[test]
    fn what_is_learnt_of_one_module_is_told_of_that_one() {
        let mut modules = modules();
        let claim = VersionClaim {
            version: [6, 0, 6001, 18000],
            branch_tag: None,
            source: VersionSource::Table,
        };
        modules.details_mut(ModuleId(2)).unwrap().version = Some(claim.clone());
        modules.details_mut(ModuleId(0)).unwrap().symbols = SymbolState::Missing;
        assert!(modules.details_mut(ModuleId(3)).is_none());
        let known: Vec<bool> = modules.ids().map(|id| modules.has_details(id)).collect();
        assert_eq!(known, [true, false, true]);
        let versions: Vec<_> = modules.iter().map(|m| m.version().cloned()).collect();
        assert_eq!(versions, [None, None, Some(claim.clone())]);
        for (module, id) in modules.iter().zip(modules.ids()) {
            assert_eq!(modules.get(id), Some(module));
        }
        let netio = |name: Option<&str>| name.is_some_and(|n| n.eq_ignore_ascii_case("netio.sys"));
        let paths: Vec<_> = modules
            .named(netio)
            .map(|m| (m.path, m.symbols()))
            .collect();
        assert_eq!(
            paths,
            [
                (Some(r"\drivers\NETIO.SYS"), SymbolState::Missing),
                (Some(r"\drivers\netio.sys"), SymbolState::NotNeeded),
            ]
        );
        assert_eq!(modules.find("netio.SYS").unwrap().0, ModuleId(0));
        assert_eq!(modules.find("NT").unwrap().1.path, None);
        assert_eq!(modules.find("io.sys"), None);
        let mut other = self::modules();
        assert!(other != modules);
        // What is known of nothing is nothing that is known.
        other.details_mut(ModuleId(1)).unwrap();
        assert!(other == self::modules());
    }

    #[test]
    fn no_module_lies_outside_of_the_bounds() {
        let modules = modules();
        assert_eq!(modules.bounds(), (0x3000, 0x5800));
        assert_eq!(modules.extent(0x4010), Some((ModuleId(1), 0x4000, 0x800)));
        assert_eq!(modules.extent(0x4800), None);
        let (lowest, highest) = Modules::default().bounds();
        assert!(lowest > highest);
    }
}
