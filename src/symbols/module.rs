//! The symbols of one module: its PDB's index and its image together answer for an address.
//!
//! A name reaches only as far as its function does. On x64 the image's exception directory says
//! where a function ends and to which function a part belongs; elsewhere private procedure
//! records, object-file contributions and frame records bound it. Where nothing does, the nearest
//! name is given as approximate, and never across a bound that is known.

use std::sync::{Arc, OnceLock};

use super::identity::{ModuleIdentity, PdbIdentity};
use super::index::{FrameRecord, PdbIndex};
use super::names::{Glob, readable};
pub use crate::facts::SymbolKind;
use crate::image::{Export, Image};
use crate::machine::Machine;

/// Names of one address that are kept: identical code folding gives up to a few dozen.
const MAX_ALIASES: usize = 64;
/// Bytes before an address that are searched for the padding between two functions.
const MAX_PADDING_SCAN: u32 = 0x1000;

/// A name for an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolHit {
    /// Readable name.
    pub name: String,
    /// Bytes from the start of the function, or for [`SymbolKind::Cold`] of the moved part.
    pub displacement: u32,
    /// How well it fits.
    pub kind: SymbolKind,
    /// Other names of the same function, in order; identical functions are folded by the linker.
    pub aliases: Vec<String>,
    /// Source file, from private symbols.
    pub file: Option<String>,
    /// Source line, from private symbols.
    pub line: Option<u32>,
}

/// Where the code around an address begins, ends and belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// Part `begin` of the function at `owner`.
    Part { begin: u32, owner: u32, cold: bool },
    /// Between functions that are known, in none of them.
    Outside,
    /// Nothing is known.
    Unknown,
}

/// Names, lines and frame records of one module. Shared between threads.
#[derive(Debug)]
pub struct ModuleSymbols {
    /// The image these symbols are for.
    pub module: ModuleIdentity,
    /// The PDB they come from; `None` when only the image's exports are known.
    pub pdb: Option<PdbIdentity>,
    machine: Machine,
    index: Option<PdbIndex>,
    image: Option<Arc<Image>>,
    exports: OnceLock<Vec<Export>>,
    /// IA-64: begin of a function and number of the symbol at its descriptor, in order.
    described: OnceLock<Vec<(u32, usize)>>,
}

impl ModuleSymbols {
    /// Puts together what was found for a module.
    pub fn new(
        module: ModuleIdentity,
        machine: Machine,
        pdb: Option<(PdbIdentity, PdbIndex)>,
        image: Option<Arc<Image>>,
    ) -> ModuleSymbols {
        let (pdb, index) = match pdb {
            Some((identity, index)) => (Some(identity), Some(index)),
            None => (None, None),
        };
        ModuleSymbols {
            module,
            pdb,
            machine,
            index,
            image,
            exports: OnceLock::new(),
            described: OnceLock::new(),
        }
    }

    /// The image, when it was found.
    pub fn image(&self) -> Option<&Arc<Image>> {
        self.image.as_ref()
    }

    /// The index of the PDB, when one was found.
    pub fn index(&self) -> Option<&PdbIndex> {
        self.index.as_ref()
    }

    /// Bytes held in memory, without the image.
    pub fn held_bytes(&self) -> usize {
        self.index
            .as_ref()
            .map_or(0, |index| index.as_bytes().len())
    }

    /// The name for an address, by RVA. `None` where no function is known to be.
    pub fn name_at(&self, rva: u32) -> Option<SymbolHit> {
        let Some(index) = &self.index else {
            return self.export_at(rva);
        };
        let mut hit = self.named(index, rva)?;
        let from = rva.saturating_sub(hit.displacement);
        if let Some((file, line)) = index.line_at(rva, from) {
            hit.file = Some(file.to_owned());
            hit.line = Some(line);
        }
        Some(hit)
    }

    fn named(&self, index: &PdbIndex, rva: u32) -> Option<SymbolHit> {
        if index.symbols_at(rva).next().is_some() {
            return self.hit(index, rva, 0, SymbolKind::Exact);
        }
        let nearest = index.nearest_at_or_below(rva);
        match self.extent(index, rva) {
            Extent::Part {
                begin,
                owner,
                cold: true,
            } => self.hit(index, owner, rva - begin, SymbolKind::Cold),
            Extent::Part { owner, .. } => {
                // A label inside the function is nearer to what the reader of a listing sees.
                if let Some(at) = nearest.filter(|at| *at >= owner) {
                    return self.hit(index, at, rva - at, SymbolKind::Exact);
                }
                if self.machine != Machine::Ia64 {
                    return None;
                }
                // A part of an IA-64 function has a row of its own, which does not say whose it is.
                match index.part_at(rva) {
                    Some((begin, owner)) => self.hit(index, owner, rva - begin, SymbolKind::Cold),
                    None => self.described(index, owner, rva - owner),
                }
            }
            Extent::Outside => None,
            Extent::Unknown => self.approximate(index, nearest?, rva),
        }
    }

    /// The nearest name below, if nothing known lies between it and the address.
    fn approximate(&self, index: &PdbIndex, at: u32, rva: u32) -> Option<SymbolHit> {
        let bounded = |e: Extent| matches!(e, Extent::Part { .. } | Extent::Outside);
        if bounded(self.extent(index, at)) || !self.same_section(index, at, rva) {
            return None;
        }
        // What a descriptor is called is no name of the code behind it.
        if self
            .image
            .as_ref()
            .is_some_and(|image| image.descriptor_target(at).is_some())
        {
            return None;
        }
        self.hit(index, at, rva - at, SymbolKind::Approximate)
    }

    /// The name of the IA-64 function at `begin` by its descriptor, where its code has none.
    fn described(&self, index: &PdbIndex, begin: u32, displacement: u32) -> Option<SymbolHit> {
        let image = self.image.as_ref()?;
        let all = self.described.get_or_init(|| {
            let named = (0..index.symbol_count()).filter_map(|n| {
                let target = image.descriptor_target(index.symbol(n)?.rva)?;
                Some((target, n))
            });
            let mut all: Vec<(u32, usize)> = named.collect();
            all.sort_unstable();
            all
        });
        let first = all.partition_point(|(at, _)| *at < begin);
        let mut names: Vec<String> = all
            .iter()
            .skip(first)
            .take_while(|(at, _)| *at == begin)
            .take(MAX_ALIASES)
            .filter_map(|(_, n)| index.symbol(*n))
            .map(|s| readable(s.name, self.machine).into_owned())
            .collect();
        names.sort();
        names.dedup();
        let mut names = names.into_iter();
        Some(SymbolHit {
            name: names.next()?,
            displacement,
            kind: SymbolKind::Exact,
            aliases: names.collect(),
            file: None,
            line: None,
        })
    }

    /// Builds a hit from all names at `at`.
    fn hit(
        &self,
        index: &PdbIndex,
        at: u32,
        displacement: u32,
        kind: SymbolKind,
    ) -> Option<SymbolHit> {
        let mut names: Vec<(bool, String)> = index
            .symbols_at(at)
            .take(MAX_ALIASES)
            .map(|s| (!s.function, readable(s.name, self.machine).into_owned()))
            .collect();
        names.sort();
        names.dedup_by(|a, b| a.1 == b.1);
        let mut names = names.into_iter().map(|(_, name)| name);
        Some(SymbolHit {
            name: names.next()?,
            displacement,
            kind,
            aliases: names.collect(),
            file: None,
            line: None,
        })
    }

    /// What bounds the code at `rva`, best source first.
    fn extent(&self, index: &PdbIndex, rva: u32) -> Extent {
        if let Some(image) = &self.image
            && image.function_count() > 0
            && image.is_executable(rva)
        {
            if let Some(part) = image.primary_function(rva) {
                return Extent::Part {
                    begin: part.begin,
                    owner: part.primary_begin,
                    cold: part.cold,
                };
            }
            return self.leaf_extent(index, image, rva);
        }
        self.extent_without_unwind_data(index, rva)
    }

    /// A function without an exception-directory row: it calls nothing and saves nothing. It ends
    /// at the latest where the next row begins, and it cannot hold the end of an earlier row.
    fn leaf_extent(&self, index: &PdbIndex, image: &Image, rva: u32) -> Extent {
        let Some(begin) = index.nearest_at_or_below(rva) else {
            return Extent::Outside;
        };
        if image.primary_function(begin).is_some() || image.row_between(begin, rva) {
            return Extent::Outside;
        }
        match self.extent_without_unwind_data(index, rva) {
            Extent::Unknown if padding_between(image, begin, rva) => Extent::Outside,
            Extent::Unknown => Extent::Unknown,
            known => known,
        }
    }

    fn extent_without_unwind_data(&self, index: &PdbIndex, rva: u32) -> Extent {
        if let Some((begin, owner)) = index.part_at(rva) {
            return Extent::Part {
                begin,
                owner,
                cold: true,
            };
        }
        let Some(at) = index.nearest_at_or_below(rva) else {
            return Extent::Outside;
        };
        let part = |begin: u32| Extent::Part {
            begin,
            owner: begin,
            cold: false,
        };
        let size = index
            .symbols_at(at)
            .map(|s| s.size)
            .max()
            .unwrap_or_default();
        if size > 0 {
            return match rva - at < size {
                true => part(at),
                false => Extent::Outside,
            };
        }
        if self.machine == Machine::X86
            && let Some(extent) = self.frame_extent(index, at, rva)
        {
            return extent;
        }
        match (index.contribution_at(rva), index.contribution_at(at)) {
            (Some(here), Some(there)) if here == there => match here.0 == at {
                true => part(at),
                false => Extent::Unknown,
            },
            (None, None) => Extent::Unknown,
            _ => Extent::Outside,
        }
    }

    /// The function a frame record describes, when the nearest name is its start.
    fn frame_extent(&self, index: &PdbIndex, at: u32, rva: u32) -> Option<Extent> {
        let function = index
            .frames_at(at)
            .find(|frame| frame.function_start && frame.start == at)?;
        Some(match rva - at < function.size {
            true => Extent::Part {
                begin: at,
                owner: at,
                cold: false,
            },
            false => Extent::Outside,
        })
    }

    fn same_section(&self, index: &PdbIndex, a: u32, b: u32) -> bool {
        match &self.image {
            Some(image) => image
                .sections()
                .iter()
                .any(|s| s.contains(a) && s.contains(b)),
            None => index
                .section_at(a)
                .is_some_and(|section| index.section_at(b) == Some(section)),
        }
    }

    /// The innermost x86 frame record that covers an address; `FRAMEDATA` before `FPO_DATA`.
    pub fn frame_data_at(&self, rva: u32) -> Option<FrameRecord<'_>> {
        let index = self.index.as_ref()?;
        let mut covering: Vec<FrameRecord<'_>> = index.frames_at(rva).collect();
        // Stable: among records of one form, the innermost stays first.
        covering.sort_by_key(|frame| (frame.program.is_none(), std::cmp::Reverse(frame.start)));
        covering.into_iter().next()
    }

    /// Names that fit a pattern, by address: (name, RVA). At most `limit`.
    pub fn find(&self, glob: &Glob, limit: usize) -> Vec<(String, u32)> {
        let mut found = Vec::new();
        let mut take = |raw: &str, rva: u32| {
            let name = readable(raw, self.machine);
            if glob.matches(&name) && found.last().is_none_or(|(n, r)| *r != rva || *n != name) {
                found.push((name.into_owned(), rva));
            }
            found.len() < limit
        };
        match &self.index {
            Some(index) => {
                let mut symbols = (0..index.symbol_count()).filter_map(|i| index.symbol(i));
                symbols.all(|s| take(s.name, s.rva));
            }
            None => {
                self.exports().iter().all(|e| take(&e.name, e.rva));
            }
        }
        found.dedup();
        found
    }

    /// The address of a name, in its readable or its raw form; the lowest when there are several.
    pub fn address_of(&self, name: &str) -> Option<u32> {
        match &self.index {
            Some(index) => (0..index.symbol_count())
                .filter_map(|i| index.symbol(i))
                .find(|s| {
                    s.name == name
                        || (s.name.contains(name) && readable(s.name, self.machine) == name)
                })
                .map(|s| s.rva),
            None => self
                .exports()
                .iter()
                .find(|e| e.name == name)
                .map(|e| e.rva),
        }
    }

    /// Exports in address order.
    fn exports(&self) -> &[Export] {
        self.exports.get_or_init(|| {
            let mut exports = self
                .image
                .as_ref()
                .map_or_else(Vec::new, |image| image.exports());
            exports.sort_by(|a, b| (a.rva, &a.name).cmp(&(b.rva, &b.name)));
            exports
        })
    }

    /// The exported function that holds an address; only where the exception directory says so
    /// or at the exported address itself.
    fn export_at(&self, rva: u32) -> Option<SymbolHit> {
        let exports = self.exports();
        let part = self
            .image
            .as_ref()
            .and_then(|image| image.primary_function(rva));
        let (at, displacement, kind) = match part {
            Some(part) if part.cold => (part.primary_begin, rva - part.begin, SymbolKind::Cold),
            Some(part) => (
                part.primary_begin,
                rva.checked_sub(part.primary_begin)?,
                SymbolKind::Export,
            ),
            None => (rva, 0, SymbolKind::Export),
        };
        let first = exports.partition_point(|e| e.rva < at);
        let mut names = exports
            .iter()
            .skip(first)
            .take_while(|e| e.rva == at)
            .take(MAX_ALIASES)
            .map(|e| readable(&e.name, self.machine).into_owned());
        Some(SymbolHit {
            name: names.next()?,
            displacement,
            kind,
            aliases: names.collect(),
            file: None,
            line: None,
        })
    }
}

/// True when `int3` padding, two bytes or more up to a 16-byte boundary, lies between the two.
fn padding_between(image: &Image, begin: u32, rva: u32) -> bool {
    let len = rva.saturating_sub(begin);
    if len > MAX_PADDING_SCAN {
        return true;
    }
    let mut bytes = vec![0; len as usize];
    let n = image.read_up_to(begin, &mut bytes);
    let pairs = bytes.get(..n).unwrap_or_default().windows(2).enumerate();
    pairs
        .filter(|(_, pair)| *pair == [0xCC, 0xCC])
        .any(|(i, _)| {
            let end = u32::try_from(i + 2).ok().and_then(|i| begin.checked_add(i));
            end.is_some_and(|end| end % 16 == 0)
        })
}
