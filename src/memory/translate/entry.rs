//! One page table entry: what a valid one says, and what Windows keeps in the others.
//!
//! Software layouts are those of build 6001 (MMPTE_TRANSITION, MMPTE_PROTOTYPE, MMPTE_SOFTWARE);
//! the flag bits have been the same from Vista on.

use super::Paging;

const VALID: u64 = 1;
const LARGE: u64 = 1 << 7;
const PROTOTYPE: u64 = 1 << 10;
const TRANSITION: u64 = 1 << 11;
/// ProtoAddress of x64 that means "see the address descriptor".
const DESCRIPTOR64: u64 = 0xFFFF_FFFF_0000;

/// A decoded entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The processor uses it: physical address of the next table or page, and the large-page bit.
    Valid {
        /// Physical address.
        frame: u64,
        /// Bit 7.
        large: bool,
    },
    /// The page left a working set; its contents are still in place.
    Transition {
        /// Physical address.
        frame: u64,
    },
    /// Shared memory: the real entry is elsewhere.
    Prototype {
        /// Where.
        at: PrototypeAt,
    },
    /// In a page file, or zeros not yet given out.
    Software,
    /// Nothing is mapped.
    Empty,
}

/// Where a prototype entry lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrototypeAt {
    /// At a virtual address.
    Address(u64),
    /// That many bytes above the start of paged pool (x86 without PAE).
    PagedPool(u64),
    /// Nowhere: the address descriptors know.
    Descriptor,
}

/// Reads one entry.
pub fn decode(raw: u64, paging: Paging) -> Entry {
    if raw & VALID != 0 {
        return Entry::Valid {
            frame: raw & paging.frame_mask(),
            large: raw & LARGE != 0,
        };
    }
    if raw == 0 {
        return Entry::Empty;
    }
    if raw & PROTOTYPE != 0 {
        return Entry::Prototype {
            at: prototype(raw, paging),
        };
    }
    if raw & TRANSITION != 0 {
        let frame = match paging {
            Paging::X86 => raw & 0xFFFF_F000,
            // 26 bits of page frame number.
            Paging::Pae => raw & 0x0000_003F_FFFF_F000,
            Paging::X64 | Paging::X64FiveLevel => raw & 0x0000_FFFF_FFFF_F000,
        };
        return Entry::Transition { frame };
    }
    Entry::Software
}

fn prototype(raw: u64, paging: Paging) -> PrototypeAt {
    match paging {
        Paging::X86 => {
            // ProtoAddressLow: bits 1 to 7 in units of 4; ProtoAddressHigh: bits 11 to 31 in
            // units of 512. All ones has no such place.
            let (low, high) = ((raw >> 1) & 0x7F, (raw >> 11) & 0x1F_FFFF);
            match high {
                0x1F_FFFF => PrototypeAt::Descriptor,
                _ => PrototypeAt::PagedPool(high * 512 + low * 4),
            }
        }
        Paging::Pae => match raw >> 32 {
            0xFFFF_FFFF => PrototypeAt::Descriptor,
            address => PrototypeAt::Address(address),
        },
        Paging::X64 | Paging::X64FiveLevel => match raw >> 16 {
            DESCRIPTOR64 => PrototypeAt::Descriptor,
            _ => PrototypeAt::Address((raw.cast_signed() >> 16).cast_unsigned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_transition_keeps_its_frame() {
        let raw = 0x0000_0001_2345_6000 | TRANSITION | (4 << 5);
        let frame = 0x0000_0001_2345_6000;
        assert_eq!(decode(raw, Paging::X64), Entry::Transition { frame });
        assert_eq!(decode(raw, Paging::Pae), Entry::Transition { frame });
    }

    #[test]
    fn the_prototype_flag_counts_before_the_transition_flag() {
        let raw = 0xF8A0_0012_3450_0000 | PROTOTYPE | TRANSITION;
        let at = PrototypeAt::Address(0xFFFF_F8A0_0012_3450);
        assert_eq!(decode(raw, Paging::X64), Entry::Prototype { at });
    }

    #[test]
    fn a_prototype_address_of_all_ones_names_no_address() {
        let raw = (DESCRIPTOR64 << 16) | PROTOTYPE;
        let at = PrototypeAt::Descriptor;
        assert_eq!(decode(raw, Paging::X64), Entry::Prototype { at });
        let raw = (0xFFFF_FFFF << 32) | PROTOTYPE;
        assert_eq!(decode(raw, Paging::Pae), Entry::Prototype { at });
    }

    #[test]
    fn a_page_file_entry_and_an_empty_one_are_different() {
        assert_eq!(decode(0x0000_1234_0000_0086, Paging::X64), Entry::Software);
        assert_eq!(decode(0, Paging::X64), Entry::Empty);
        assert_eq!(decode(0x0012_3086, Paging::X86), Entry::Software);
    }
}
