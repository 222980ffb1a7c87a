//! Pool memory: the block around an address, the table of large allocations, and the allocation counts
//! of the tracking table.
//!
//! POOL_HEADER as builds 6000 to 7601 lay it out. A block is believed only when every header from
//! the start of its page on agrees with the next: any other bytes could look like one.

use crate::bytes::{Budget, Gva, View};
use crate::machine::Machine;
use crate::memory::Memory;

use super::structures::Structures;

const PAGE: u64 = 0x1000;
/// First and last build with these headers.
const BUILDS: std::ops::RangeInclusive<u32> = 6000..=7601;
/// The bit of a tag that guards its block against being freed under another tag.
const PROTECTED: u32 = 0x8000_0000;
/// Pages of the tracking table that are looked at.
const MOST_TABLE_PAGES: u64 = 64;
/// Entries of the table of large allocations that are looked at.
const MOST_LARGE: u64 = 1 << 15;

/// A pool tag: four characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag(pub [u8; 4]);

impl Tag {
    /// The tag that debuggers show as `text`, four bytes long; blanks fill a shorter one.
    pub const fn named(text: &str) -> Tag {
        let mut tag = [b' '; 4];
        let (mut left, mut at) = (text.as_bytes(), 0);
        while let ([first, rest @ ..], 0..4) = (left, at) {
            tag[at] = *first;
            (left, at) = (rest, at + 1);
        }
        Tag(tag)
    }

    fn of(value: u32) -> Tag {
        Tag((value & !PROTECTED).to_le_bytes())
    }

    /// True when all four bytes are printable ASCII, as those of every documented tag.
    fn is_printable(self) -> bool {
        self.0.iter().all(|byte| (0x20..0x7F).contains(byte))
    }
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for byte in self.0 {
            let shown = if (0x20..0x7F).contains(&byte) {
                byte
            } else {
                b'.'
            };
            write!(f, "{}", char::from(shown))?;
        }
        Ok(())
    }
}

/// A pool block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolBlock {
    /// Address of its header.
    pub header: u64,
    /// Address of its first byte for the owner.
    pub body: u64,
    /// Bytes from the header to the next block's.
    pub size: u64,
    /// Its tag; a free block keeps its last owner's.
    pub tag: Tag,
    /// False when it is free.
    pub allocated: bool,
}

impl PoolBlock {
    /// Offset of `address` in the owner's bytes; `None` inside the header.
    pub fn offset(&self, address: u64) -> Option<u64> {
        address.checked_sub(self.body)
    }

    /// The address past it.
    pub fn end(&self) -> u64 {
        self.header.saturating_add(self.size)
    }
}

/// The block that holds `address`, in memory that is small pool blocks from the start of its page
/// on. `None` for anything else: large allocations, stacks, images, absent pages.
pub fn block_at(
    memory: &dyn Memory,
    address: u64,
    machine: Machine,
    build: Option<u32>,
) -> Option<PoolBlock> {
    let blocks = blocks_of_page(memory, address & !(PAGE - 1), machine, build)?;
    block_among(&blocks, address)
}

/// The block of a page's blocks that holds `address`.
pub fn block_among(blocks: &[PoolBlock], address: u64) -> Option<PoolBlock> {
    blocks
        .iter()
        .find(|block| {
            address
                .checked_sub(block.header)
                .is_some_and(|at| at < block.size)
        })
        .filter(|block| block.tag.is_printable())
        .copied()
}

/// All blocks of the page at `page`, which must be small pool blocks from its start to its end.
pub fn blocks_of_page(
    memory: &dyn Memory,
    page: u64,
    machine: Machine,
    build: Option<u32>,
) -> Option<Vec<PoolBlock>> {
    // Size of a header, bytes of a unit, bits of the two sizes.
    let (header, unit, mask) = match machine {
        Machine::X86 => (8, 8, 0x1FF),
        Machine::X64 => (16, 16, 0xFF),
        _ => return None,
    };
    if !build.is_some_and(|build| BUILDS.contains(&build)) {
        return None;
    }
    let mut bytes = [0; PAGE as usize];
    memory.read(Gva(page), &mut bytes).ok()?;
    let view = View(&bytes);
    let (mut at, mut previous, mut found) = (0u64, 0u16, Vec::new());
    while at < PAGE {
        let offset = usize::try_from(at).ok()?;
        let (low, high) = (view.u16(offset)?, view.u16(offset + 2)?);
        let units = high & mask;
        let size = u64::from(units) * unit;
        if low & mask != previous || units == 0 || at + size > PAGE {
            return None;
        }
        found.push(PoolBlock {
            header: page.checked_add(at)?,
            body: page.checked_add(at + header)?,
            size,
            tag: Tag::of(view.u32(offset + 4)?),
            allocated: high & !mask != 0,
        });
        previous = units;
        at += size;
    }
    Some(found)
}

/// POOL_TRACKER_BIG_PAGES: allocations of a page and more. Va is its first field; its lowest bit says
/// that the entry is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BigPages {
    /// Size of an entry.
    pub size: usize,
    /// Key: the tag.
    pub key: usize,
    /// NumberOfBytes, as wide as a pointer.
    pub bytes: usize,
}

/// The allocated entries of the table of large allocations. `table` and `count` are the addresses of
/// the kernel's pointer to it and of its number of entries (PoolBigPageTable and
/// PoolBigPageTableSize, which only symbols name). A page of the table that is absent is left out.
pub fn large_blocks(
    memory: &dyn Memory,
    (table, count): (u64, u64),
    structures: &Structures,
    budget: &Budget,
) -> Option<Vec<PoolBlock>> {
    let layout = structures.big_pages;
    let width = structures.machine.pointer_width();
    let pointer = |at: u64| memory.read_pointer(Gva(at), width).ok();
    let start = pointer(table).filter(|at| *at != 0)?;
    let count = pointer(count)?.min(MOST_LARGE);
    let mut blocks = Vec::new();
    let mut bytes = vec![0; layout.size];
    for index in 0..count {
        let at = start.checked_add(index.checked_mul(layout.size as u64)?)?;
        if budget.spend(1).is_err() {
            break;
        }
        if memory.read(Gva(at), &mut bytes).is_err() {
            continue;
        }
        let view = View(&bytes);
        let va = view.pointer(0, width)?;
        let size = view.pointer(layout.bytes, width)?;
        let tag = Tag::of(view.u32(layout.key)?);
        let sane = va & (PAGE - 1) == 0 && va != 0 && size != 0 && va.checked_add(size).is_some();
        if sane && tag.is_printable() {
            blocks.push(PoolBlock {
                header: va,
                body: va,
                size,
                tag,
                allocated: true,
            });
        }
    }
    Some(blocks)
}

/// Allocations of one tag that were not freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagCount {
    /// The tag.
    pub tag: Tag,
    /// Allocations minus frees, paged and not.
    pub outstanding: u64,
}

/// Counts the outstanding allocations of `tags` in the table that the pointer at `table` leads to.
/// The table has no length of its own: it ends where an entry is no tag or a page is absent, so a tag
/// that has no entry is left out: that says nothing about its allocations.
/// `None` when not even its first page is there.
pub fn tracked(
    memory: &dyn Memory,
    table: u64,
    structures: &Structures,
    tags: &[Tag],
    budget: &Budget,
) -> Option<Vec<TagCount>> {
    let layout = structures.tracker;
    let width = structures.machine.pointer_width();
    let start = memory
        .read_pointer(Gva(table), width)
        .ok()
        .filter(|at| *at != 0)?;
    let mut counts: Vec<TagCount> = Vec::new();
    let mut bytes = vec![0; layout.size];
    let most = MOST_TABLE_PAGES * PAGE / layout.size as u64;
    for index in 0..most {
        let at = start.checked_add(index.checked_mul(layout.size as u64)?)?;
        if budget.spend(1).is_err() || memory.read(Gva(at), &mut bytes).is_err() {
            return (index > 0).then_some(counts);
        }
        let view = View(&bytes);
        let key = view.u32(0)?;
        if key == 0 {
            continue;
        }
        let tag = Tag::of(key);
        if !tag.is_printable() {
            return (index > 0).then_some(counts);
        }
        let left = |(allocs, frees): (usize, usize)| {
            let allocs = view.u32(allocs).unwrap_or(0);
            allocs.saturating_sub(view.u32(frees).unwrap_or(0))
        };
        if !tags.contains(&tag) {
            continue;
        }
        let sum = u64::from(left(layout.non_paged)) + u64::from(left(layout.paged));
        match counts.iter_mut().find(|count| count.tag == tag) {
            Some(count) => count.outstanding = count.outstanding.saturating_add(sum),
            None => counts.push(TagCount {
                tag,
                outstanding: sum,
            }),
        }
    }
    Some(counts)
}
