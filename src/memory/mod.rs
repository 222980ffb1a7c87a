//! Address spaces: what a virtual address held when the dump was written.
//!
//! Knows which bytes are really there and why others are not; never pads, never guesses. A
//! lifetime from here ends with the dump: the facts above own what they keep.

mod paged;
mod physical;
mod rank;
mod sparse;
pub mod translate;

pub use paged::Paged;
pub use physical::Physical;
pub use sparse::{Block, BlockKind, Sparse};

use crate::bytes::Gva;

/// Why bytes at an address cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// No translation exists for the address.
    #[error("not mapped")]
    NotMapped,
    /// The page was in a page file.
    #[error("paged out")]
    PagedOut,
    /// The address may have been valid, but this dump does not hold it.
    #[error("not in this dump")]
    NotInDump,
    /// The dump should hold it, but the file ends before.
    #[error("cut off: the file is truncated")]
    Truncated,
    /// The page table entry is none that the processor uses, and what Windows keeps in such entries
    /// of this machine is not known.
    #[error("not in memory: the format of its page table entry is not known")]
    UnknownEntry,
    /// Translated by page tables that are not read.
    #[error("in an address space whose page tables are not known")]
    OtherTables,
    /// Not an address of this machine.
    #[error("not a canonical address")]
    NonCanonical,
}

/// Virtual memory of one dump. Reads are all or nothing.
pub trait Memory {
    /// Fills `buf` from `at`.
    ///
    /// # Errors
    /// [`Absent`] says why when any byte of the range is missing.
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent>;

    /// The `len` bytes at `at` where they lie in one piece in memory of this process: no copy. `None` says
    /// nothing about whether they can be read.
    fn held(&self, _at: Gva, _len: usize) -> Option<&[u8]> {
        None
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Memory::read`], and so for the other widths.
    fn read_u8(&self, at: Gva) -> Result<u8, Absent> {
        let mut bytes = [0; 1];
        self.read(at, &mut bytes).map(|()| u8::from_le_bytes(bytes))
    }

    /// Two bytes, little-endian.
    fn read_u16(&self, at: Gva) -> Result<u16, Absent> {
        let mut bytes = [0; 2];
        self.read(at, &mut bytes)
            .map(|()| u16::from_le_bytes(bytes))
    }

    /// Four bytes, little-endian.
    fn read_u32(&self, at: Gva) -> Result<u32, Absent> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes)
            .map(|()| u32::from_le_bytes(bytes))
    }

    /// Eight bytes, little-endian.
    fn read_u64(&self, at: Gva) -> Result<u64, Absent> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes)
            .map(|()| u64::from_le_bytes(bytes))
    }

    /// A pointer of `width` bytes (4, otherwise 8), zero-extended.
    fn read_pointer(&self, at: Gva, width: usize) -> Result<u64, Absent> {
        match width {
            4 => self.read_u32(at).map(u64::from),
            _ => self.read_u64(at),
        }
    }
}
