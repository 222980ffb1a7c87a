//! From virtual to physical addresses through the page tables of the processor that crashed.
//!
//! x86 without and with PAE, x64 with four and five levels, IA-64. Entries that are not valid still tell
//! something on Windows: a page in transition is readable, a prototype entry leads on, once.
//! Sources: Intel's manual for valid entries; the MMPTE layouts of build 6001 for the others.

mod entry;
mod ia64;
mod tables;

pub use entry::Entry;
pub use ia64::{Ia64Tables, Window};
pub use tables::Paging;

use crate::bytes::{Gpa, Gva};
use crate::vocabulary::open_enum;

use super::{Absent, Physical};

open_enum! {
    /// Where a translation stood, by its name in messages.
    Level {
        /// Before any table: the address itself.
        Address = "address",
        /// First of the three levels of IA-64.
        Root = "root page table",
        /// Fifth level of x64.
        Pml5 = "PML5",
        /// Fourth level of x64.
        Pml4 = "PML4",
        /// Directory pointers of PAE and x64.
        DirectoryPointer = "page directory pointer table",
        /// Page directory.
        Directory = "page directory",
        /// Page table.
        Table = "page table",
        /// The prototype entry a page table entry led to.
        Prototype = "prototype entry",
        /// The page itself.
        Page = "page",
    }
}

/// Why an address has no bytes, and where that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason} ({level})")]
pub struct Missing {
    /// Why.
    pub reason: Absent,
    /// The level whose table or entry gave the answer.
    pub level: Level,
}

impl Missing {
    fn at(level: Level, reason: Absent) -> Missing {
        Missing { reason, level }
    }
}

/// How a page was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A valid entry.
    Valid,
    /// A page on its way out, its contents still in place.
    Transition,
    /// A prototype entry, valid or in transition.
    Prototype,
}

/// The physical place of a virtual address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Physical address.
    pub address: Gpa,
    /// Size of the page that holds it, in bytes.
    pub page_size: u64,
    /// How it was found.
    pub via: Via,
}

/// One set of page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// Format.
    pub paging: Paging,
    /// Physical address of the first table.
    pub root: Gpa,
    /// Lowest address of paged pool, which x86 prototype entries without PAE count from.
    pub paged_pool: Option<u64>,
}

impl Tables {
    /// The tables CR3 names; bits of CR3 that are no address are masked.
    pub fn new(paging: Paging, cr3: u64) -> Tables {
        Tables {
            paging,
            root: Gpa(cr3 & paging.root_mask()),
            paged_pool: None,
        }
    }

    /// Translates one address.
    ///
    /// # Errors
    /// [`Missing`]: the reason and the level that gave it.
    pub fn translate(&self, memory: &Physical<'_>, at: Gva) -> Result<Translation, Missing> {
        self.walk(memory, at, true)
    }

    /// Walks the tables. Every level reads one entry, so no table can make this run long.
    fn walk(
        &self,
        memory: &Physical<'_>,
        at: Gva,
        follow_prototype: bool,
    ) -> Result<Translation, Missing> {
        let address = self
            .paging
            .canonical(at.0)
            .ok_or(Missing::at(Level::Address, Absent::NonCanonical))?;
        let mut table = self.root.0;
        for step in self.paging.steps() {
            let index = (address >> step.shift) & step.index_mask;
            let raw = table
                .checked_add(index * self.paging.entry_size())
                .ok_or(Absent::NotInDump)
                .and_then(|at| read_entry(memory, Gpa(at), self.paging))
                .map_err(|reason| Missing::at(step.level, reason))?;
            let missing = |reason| Missing::at(step.level, reason);
            let (frame, via) = match entry::decode(raw, self.paging) {
                Entry::Valid { frame, large } if large && step.large => {
                    return Ok(self.large(raw, frame, address, step.shift));
                }
                Entry::Valid { frame, .. } => (frame, Via::Valid),
                Entry::Transition { frame } => (frame, Via::Transition),
                Entry::Empty => return Err(missing(Absent::NotMapped)),
                Entry::Software => return Err(missing(Absent::PagedOut)),
                Entry::Prototype { .. } if step.level != Level::Table || !follow_prototype => {
                    return Err(missing(Absent::PagedOut));
                }
                Entry::Prototype { at } => (self.prototype(memory, at)?, Via::Prototype),
            };
            if step.level == Level::Table {
                return Ok(Translation {
                    address: Gpa(frame | (address & 0xFFF)),
                    page_size: 0x1000,
                    via,
                });
            }
            table = frame;
        }
        Err(Missing::at(Level::Table, Absent::NotMapped))
    }

    /// The page of a large entry at the level whose index starts at bit `shift`.
    fn large(&self, raw: u64, frame: u64, address: u64, shift: u32) -> Translation {
        let page_size = 1u64 << shift;
        let base = self.paging.large_base(raw, frame, page_size);
        Translation {
            address: Gpa(base | (address & (page_size - 1))),
            page_size,
            via: Via::Valid,
        }
    }

    /// The frame a prototype entry leads to. One hop: what it leads to is never followed again.
    fn prototype(&self, memory: &Physical<'_>, at: entry::PrototypeAt) -> Result<u64, Missing> {
        let missing = |reason| Missing::at(Level::Prototype, reason);
        let address = match at {
            // "See the address descriptors": not resident as far as page tables tell.
            entry::PrototypeAt::Descriptor => return Err(missing(Absent::PagedOut)),
            entry::PrototypeAt::Address(address) => address,
            entry::PrototypeAt::PagedPool(offset) => self
                .paged_pool
                .and_then(|start| start.checked_add(offset))
                .ok_or(missing(Absent::PagedOut))?,
        };
        let place = self
            .walk(memory, Gva(address), false)
            .map_err(|inner| missing(inner.reason))?;
        let raw = read_entry(memory, place.address, self.paging).map_err(missing)?;
        match entry::decode(raw, self.paging) {
            Entry::Valid { frame, .. } | Entry::Transition { frame } => Ok(frame),
            Entry::Empty => Err(missing(Absent::NotMapped)),
            Entry::Software | Entry::Prototype { .. } => Err(missing(Absent::PagedOut)),
        }
    }
}

/// One table entry, zero-extended.
fn read_entry(memory: &Physical<'_>, at: Gpa, paging: Paging) -> Result<u64, Absent> {
    let mut bytes = [0; 8];
    let size = if paging.entry_size() == 4 { 4 } else { 8 };
    let part = bytes.get_mut(..size).ok_or(Absent::NotInDump)?;
    memory.read(at, part)?;
    Ok(u64::from_le_bytes(bytes))
}
