//! The function table (`.pdata`): sorted `RUNTIME_FUNCTION` records of three RVAs.
//!
//! Nothing is assumed of the data but its size: an unsorted table makes look-ups miss, no more.

use crate::bytes::View;
use crate::unwind::{CodeInfo, ExceptionDirectory, ModuleSpan};

use super::CHAIN_LIMIT;

/// Size of a `RUNTIME_FUNCTION` in bytes.
const ENTRY_SIZE: u32 = 12;

/// One `RUNTIME_FUNCTION`: a range of code and where its unwind information lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionEntry {
    /// RVA of the first byte.
    pub begin: u32,
    /// RVA past the last byte.
    pub end: u32,
    /// RVA of the `UNWIND_INFO`; with bit 0 set, of another `RUNTIME_FUNCTION`.
    pub unwind: u32,
}

impl FunctionEntry {
    /// Reads an entry at `at` of `view`.
    pub fn parse(view: View<'_>, at: usize) -> Option<FunctionEntry> {
        Some(FunctionEntry {
            begin: view.u32(at)?,
            end: view.u32(at.checked_add(4)?)?,
            unwind: view.u32(at.checked_add(8)?)?,
        })
    }

    /// True when the code at `rva` belongs to the entry.
    pub fn contains(&self, rva: u32) -> bool {
        self.begin <= rva && rva < self.end
    }
}

/// Reads the `RUNTIME_FUNCTION` at `rva` of the image.
pub fn read_entry(code: &dyn CodeInfo, module: ModuleSpan, rva: u32) -> Option<FunctionEntry> {
    let mut bytes = [0; ENTRY_SIZE as usize];
    code.read_image(module, rva, &mut bytes)
        .then(|| FunctionEntry::parse(View(&bytes), 0))
        .flatten()
}

/// What a look-up in the function table found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryLookup {
    /// The entry that covers the address.
    Entry {
        /// Its range, and the unwind information that applies.
        entry: FunctionEntry,
        /// The unwind information is that of another entry, reached by indirection: this range
        /// has no prologue of its own.
        indirect: bool,
    },
    /// The table was read and has no entry there: a leaf function, or not code.
    NoEntry,
    /// A part of the table that the search needs is not at hand.
    Unreadable,
}

/// Finds the entry that covers `rva`.
pub fn find(
    code: &dyn CodeInfo,
    module: ModuleSpan,
    directory: ExceptionDirectory,
    rva: u32,
) -> EntryLookup {
    let (mut low, mut high) = (0, directory.size / ENTRY_SIZE);
    // Halving a u32 count ends within 32 rounds.
    while low < high {
        let middle = low + (high - low) / 2;
        let Some(entry) = middle
            .checked_mul(ENTRY_SIZE)
            .and_then(|offset| directory.rva.checked_add(offset))
            .and_then(|at| read_entry(code, module, at))
        else {
            return EntryLookup::Unreadable;
        };
        if rva < entry.begin {
            high = middle;
        } else if rva >= entry.end {
            low = middle + 1;
        } else {
            return match resolve(code, module, entry) {
                Some(target) => EntryLookup::Entry {
                    entry: FunctionEntry {
                        unwind: target.unwind,
                        ..entry
                    },
                    indirect: target != entry,
                },
                None => EntryLookup::Unreadable,
            };
        }
    }
    EntryLookup::NoEntry
}

/// Follows indirect entries to the one that has unwind information; `None` when they do not end.
pub fn resolve(
    code: &dyn CodeInfo,
    module: ModuleSpan,
    entry: FunctionEntry,
) -> Option<FunctionEntry> {
    let mut target = entry;
    for _ in 0..CHAIN_LIMIT {
        if target.unwind & 1 == 0 {
            return Some(target);
        }
        target = read_entry(code, module, target.unwind & !1)?;
    }
    None
}
