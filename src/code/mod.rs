//! What a function does, read from its instructions: which functions it calls and what it passes, which lock
//! it holds when it calls them, what it does to lists, and what it leaves in an entry that it takes off one.
//!
//! Knows no dump and no verdict. Bytes, names and imports come through [`CodeSource`], so that one
//! reading serves an image file, an image in a dump's memory and a test. Decoding is iced-x86's.

mod callers;
mod calls;
mod flow;
mod lists;
mod lock_check;
mod removal;
mod values;
mod walks;

pub use callers::call_sites;
pub use calls::{called, only_calls, reaches};
pub use lists::{ListWork, Passed, list_work, passed, passed_by_name};
pub use lock_check::check;
pub use removal::{LeftBehind, left_behind};
pub use walks::walks_at;

use std::collections::BTreeMap;

use crate::image::Image;
use crate::machine::Machine;
use crate::symbols::{ModuleSymbols, SymbolKind};

/// The code of one module, by RVA.
pub trait CodeSource {
    /// 32 or 64; `None` for a machine whose code is not read.
    fn bits(&self) -> Option<u32>;

    /// The address that absolute addresses in the code are counted from.
    fn base(&self) -> u64;

    /// Copies bytes from `rva` on and returns how many there are.
    fn read(&self, rva: u32, buf: &mut [u8]) -> usize;

    /// All names of the function that starts at `rva`; empty where none is known.
    fn names_at(&self, rva: u32) -> Vec<String>;

    /// The lowest address of a name.
    fn address_of(&self, name: &str) -> Option<u32>;

    /// The function that the import slot at `rva` stands for.
    fn import_at(&self, rva: u32) -> Option<String>;

    /// Start and size of every part that holds code. Empty where that is not known.
    fn code_ranges(&self) -> Vec<(u32, u32)> {
        Vec::new()
    }
}

/// The parts of an image that hold code and that its file holds, too.
pub fn code_ranges_of(image: &Image) -> Vec<(u32, u32)> {
    let sections = image.sections().iter();
    sections
        .filter(|section| section.is_executable())
        .map(|section| (section.rva, section.virtual_size.min(section.raw_size)))
        .filter(|(_, size)| *size > 0)
        .collect()
}

/// 32 or 64 for the machines whose code is read here.
pub fn bits_of(machine: Machine) -> Option<u32> {
    match machine {
        Machine::X86 => Some(32),
        Machine::X64 => Some(64),
        _ => None,
    }
}

/// Names of the function that starts exactly at `rva`, from a module's symbols.
pub fn names_of(symbols: &ModuleSymbols, rva: u32) -> Vec<String> {
    match symbols.name_at(rva) {
        // The start of a part that was moved away from its function is no function's start.
        Some(hit) if hit.displacement == 0 && hit.kind != SymbolKind::Cold => {
            std::iter::once(hit.name).chain(hit.aliases).collect()
        }
        _ => Vec::new(),
    }
}

/// An image file with the symbols that belong to it.
pub struct ImageCode<'a> {
    image: &'a Image,
    symbols: &'a ModuleSymbols,
    imports: BTreeMap<u32, String>,
}

impl<'a> ImageCode<'a> {
    /// The code of `image`, named by `symbols`.
    pub fn new(image: &'a Image, symbols: &'a ModuleSymbols) -> ImageCode<'a> {
        ImageCode {
            image,
            symbols,
            imports: image
                .imports()
                .into_iter()
                .map(|import| (import.slot, import.name))
                .collect(),
        }
    }
}

impl CodeSource for ImageCode<'_> {
    fn bits(&self) -> Option<u32> {
        bits_of(self.image.machine()?)
    }

    fn base(&self) -> u64 {
        self.image.image_base()
    }

    fn read(&self, rva: u32, buf: &mut [u8]) -> usize {
        self.image.read_up_to(rva, buf)
    }

    fn names_at(&self, rva: u32) -> Vec<String> {
        names_of(self.symbols, rva)
    }

    fn address_of(&self, name: &str) -> Option<u32> {
        self.symbols.address_of(name)
    }

    fn import_at(&self, rva: u32) -> Option<String> {
        self.imports.get(&rva).cloned()
    }

    fn code_ranges(&self) -> Vec<(u32, u32)> {
        code_ranges_of(self.image)
    }
}
