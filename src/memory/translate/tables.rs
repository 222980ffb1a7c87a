//! The page table formats: levels, index bits, entry sizes, address rules.

use super::Level;

/// A page table format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// x86, two levels of 32-bit entries.
    X86,
    /// x86 with Physical Address Extension, three levels of 64-bit entries.
    Pae,
    /// x64, four levels.
    X64,
    /// x64, five levels (LA57).
    X64FiveLevel,
}

/// One level of a walk.
#[derive(Debug)]
pub(super) struct Step {
    pub level: Level,
    /// Lowest bit of the address that indexes this table: also the size of its large page.
    pub shift: u32,
    pub index_mask: u64,
    /// An entry here may map a large page.
    pub large: bool,
}

const fn step(level: Level, shift: u32, index_mask: u64, large: bool) -> Step {
    Step {
        level,
        shift,
        index_mask,
        large,
    }
}

static X86: [Step; 2] = [
    step(Level::Directory, 22, 0x3FF, true),
    step(Level::Table, 12, 0x3FF, false),
];
static PAE: [Step; 3] = [
    step(Level::DirectoryPointer, 30, 0x3, false),
    step(Level::Directory, 21, 0x1FF, true),
    step(Level::Table, 12, 0x1FF, false),
];
static X64: [Step; 5] = [
    step(Level::Pml5, 48, 0x1FF, false),
    step(Level::Pml4, 39, 0x1FF, false),
    step(Level::DirectoryPointer, 30, 0x1FF, true),
    step(Level::Directory, 21, 0x1FF, true),
    step(Level::Table, 12, 0x1FF, false),
];

/// Bits of a 64-bit entry that are a physical address.
const FRAME64: u64 = 0x000F_FFFF_FFFF_F000;

impl Paging {
    pub(super) fn steps(self) -> &'static [Step] {
        match self {
            Paging::X86 => &X86,
            Paging::Pae => &PAE,
            Paging::X64 => X64.get(1..).unwrap_or_default(),
            Paging::X64FiveLevel => &X64,
        }
    }

    /// Size of an entry in bytes.
    pub fn entry_size(self) -> u64 {
        match self {
            Paging::X86 => 4,
            _ => 8,
        }
    }

    /// Bits of CR3 that are the address of the first table.
    pub(super) fn root_mask(self) -> u64 {
        match self {
            Paging::X86 => 0xFFFF_F000,
            // The four directory pointers need 32 bytes and need not start a page.
            Paging::Pae => 0xFFFF_FFE0,
            Paging::X64 | Paging::X64FiveLevel => FRAME64,
        }
    }

    /// Bits of a valid entry that are a physical address.
    pub(super) fn frame_mask(self) -> u64 {
        match self {
            Paging::X86 => 0xFFFF_F000,
            _ => FRAME64,
        }
    }

    /// The address as this format sees it; `None` when no processor would take it.
    pub(super) fn canonical(self, address: u64) -> Option<u64> {
        let extended = |bits: u32| {
            let unused = 64 - bits;
            ((address << unused).cast_signed() >> unused).cast_unsigned() == address
        };
        match self {
            Paging::X86 | Paging::Pae => match address >> 32 {
                // Some fields of 32-bit dumps are sign-extended.
                0 | 0xFFFF_FFFF => Some(address & 0xFFFF_FFFF),
                _ => None,
            },
            Paging::X64 => extended(48).then_some(address),
            Paging::X64FiveLevel => extended(57).then_some(address),
        }
    }

    /// Physical base of a large page. Bits below the page size are attributes, except that
    /// PSE-36 keeps address bits 32 to 39 in bits 13 to 20 of a 32-bit entry.
    pub(super) fn large_base(self, raw: u64, frame: u64, page_size: u64) -> u64 {
        let base = frame & !(page_size - 1);
        match self {
            Paging::X86 => (base & 0xFFC0_0000) | (((raw >> 13) & 0xFF) << 32),
            _ => base,
        }
    }
}
