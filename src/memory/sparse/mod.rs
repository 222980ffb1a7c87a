//! A sparse virtual address space: the blocks a triage dump carries, with exact validity.
//!
//! Blocks overlap in real dumps (the stack is often repeated in a data block). At each address the
//! largest block wins, then the one that starts first, then the one that comes first in the file: one
//! read rarely crosses a seam. Bytes are read from the file when asked for.

mod ordered;
mod pages;

use std::cell::Cell;
use std::cmp::Reverse;

use crate::bytes::{Gva, PagedReader, ReadError};

use ordered::Ordered;
use pages::Pages;

use super::{Absent, Memory};

/// What a block of a triage dump is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockKind {
    /// The kernel stack at the bug check.
    Stack,
    /// A `TRIAGE_DATA_BLOCK`.
    Data,
    /// The single data page of older writers.
    DataPage,
    /// `KDDEBUGGER_DATA64`.
    DebuggerData,
    /// `KPRCB` of the processor that crashed.
    Prcb,
    /// `ETHREAD` of the current thread.
    Thread,
    /// `EPROCESS` of the current process.
    Process,
    /// IA-64: the register stack at the bug check.
    RegisterStack,
}

/// A contiguous range of virtual memory and where its bytes lie in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First address.
    pub start: Gva,
    /// Length in bytes.
    pub len: u64,
    /// File offset of the first byte.
    pub offset: u64,
    /// What it is.
    pub kind: BlockKind,
}

/// A block that holds something, or a part of one. Neither its addresses nor its offsets wrap.
#[derive(Clone, Copy, Default)]
struct Piece {
    start: u64,
    end: u64,
    offset: u64,
}

impl Piece {
    /// `None` for an empty or wrapping block.
    fn of(block: &Block) -> Option<Piece> {
        let end = block.start.0.checked_add(block.len)?;
        block.offset.checked_add(block.len)?;
        (block.len > 0).then_some(Piece {
            start: block.start.0,
            end,
            offset: block.offset,
        })
    }

    fn holds(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }

    /// Where the byte at `address` lies in the file, which must not be below the start.
    fn offset_of(&self, address: u64) -> u64 {
        self.offset.saturating_add(address - self.start)
    }

    fn len(&self) -> u64 {
        self.end - self.start
    }

    /// The piece that wins has the highest.
    fn rank(&self) -> (u64, Reverse<u64>, Reverse<u64>) {
        (self.len(), Reverse(self.start), Reverse(self.offset))
    }
}

/// How the piece at an address is found.
enum Index {
    Pages(Pages),
    Ordered(Ordered),
}

impl Index {
    fn new(pieces: &[Piece]) -> Index {
        match Pages::new(pieces) {
            Some(pages) => Index::Pages(pages),
            None => Index::Ordered(Ordered::new(pieces)),
        }
    }
}

/// The blocks of one triage dump as one address space.
pub struct Sparse<'a> {
    reader: &'a PagedReader<'a>,
    pieces: Vec<Piece>,
    index: Index,
    /// What was read last. One read follows another in the same segment mostly.
    last: Cell<Piece>,
}

impl<'a> Sparse<'a> {
    /// Builds the space of the blocks in two lists, one after the other. Empty and wrapping blocks are
    /// dropped; a block that reaches past the end of the file is kept as far as it is there, the rest reads as
    /// [`Absent::Truncated`].
    pub fn new(reader: &'a PagedReader<'a>, blocks: &[Block], more: &[Block]) -> Sparse<'a> {
        let mut pieces = Vec::with_capacity(blocks.len() + more.len() + 1);
        pieces.extend(blocks.iter().chain(more).filter_map(Piece::of));
        Sparse {
            reader,
            index: Index::new(&pieces),
            pieces,
            last: Cell::default(),
        }
    }

    /// Adds a block behind the others.
    pub fn add(&mut self, block: &Block) {
        let Some(piece) = Piece::of(block) else {
            return;
        };
        let number = u32::try_from(self.pieces.len()).ok();
        self.pieces.push(piece);
        let added = match (&mut self.index, number) {
            (Index::Pages(pages), Some(number)) => pages.add(number, &piece),
            _ => None,
        };
        if added.is_none() {
            self.index = Index::Ordered(Ordered::new(&self.pieces));
        }
        self.last = Cell::default();
    }

    /// A piece that holds `address`, and nothing that another one wins.
    fn segment(&self, address: u64) -> Option<Piece> {
        let again = self.last.get();
        if again.holds(address) {
            return Some(again);
        }
        let found = match &self.index {
            Index::Pages(pages) => pages.segment(&self.pieces, address),
            Index::Ordered(ordered) => ordered.segment(address),
        }?;
        self.last.set(found);
        Some(found)
    }
}

impl Memory for Sparse<'_> {
    fn held(&self, at: Gva, len: usize) -> Option<&[u8]> {
        let past = at.0.checked_add(u64::try_from(len).ok()?)?;
        let mut segment = self.segment(at.0)?;
        let offset = segment.offset_of(at.0);
        // The segments that go on in the file as they do in memory.
        while segment.end < past {
            let next = self.segment(segment.end)?;
            let goes_on = segment.offset_of(segment.end) == next.offset_of(segment.end);
            segment = Some(next).filter(|_| goes_on)?;
        }
        self.reader.held(offset, len)
    }

    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let mut done = 0;
        while done < buf.len() {
            let address = at.0.checked_add(done as u64).ok_or(Absent::NotInDump)?;
            let segment = self.segment(address).ok_or(Absent::NotInDump)?;
            let held = usize::try_from(segment.end - address).unwrap_or(usize::MAX);
            let n = held.min(buf.len() - done);
            let part = buf.get_mut(done..done + n).ok_or(Absent::NotInDump)?;
            match self.reader.read_exact_at(segment.offset_of(address), part) {
                Ok(()) => done += n,
                Err(ReadError::PastEnd { .. }) => return Err(Absent::Truncated),
                Err(ReadError::Io { .. }) => return Err(Absent::NotInDump),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a byte is by the rule itself, without any space.
    fn by_rule(blocks: &[Block], file: &[u8], address: u64) -> Option<u8> {
        let holds = |b: &&Block| (b.start.0..b.start.0 + b.len).contains(&address);
        let best = blocks
            .iter()
            .filter(holds)
            .min_by_key(|b| (Reverse(b.len), b.start, b.offset))?;
        file.get((best.offset + address - best.start.0) as usize)
            .copied()
    }

    /// Numbers below `below`, one after the other.
    fn random(mut seed: u32) -> impl FnMut(u64) -> u64 {
        move |below| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u64::from(seed >> 8) % below
        }
    }

    fn is_ordered(space: &Sparse<'_>) -> bool {
        matches!(space.index, Index::Ordered(_))
    }

    #[test]
    fn any_blocks_read_as_the_rule_says() {
        let file: Vec<u8> = (0..120_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let reader = PagedReader::open(&file).unwrap();
        let mut next = random(12_345);
        // Around a page's end, with blocks of few bytes, of a few pages, and of many.
        for round in 0..300 {
            let (count, longest) = [(12, 20), (12, 40_000), (40, 100_000)][round % 3];
            let blocks: Vec<Block> = (0..next(count))
                .map(|_| block(0x4FF0 + next(60), next(longest), next(20_000)))
                .collect();
            let (some, others) = blocks.split_at(blocks.len() / 2);
            let space = Sparse::new(&reader, some, others);
            let mut added = Sparse::new(&reader, some, &[]);
            others.iter().for_each(|block| added.add(block));
            for address in (0x4FE0..0x5040).chain((0x5F00..0x1_8000).step_by(0xFF)) {
                let expected = by_rule(&blocks, &file, address);
                assert_eq!(space.read_u8(Gva(address)).ok(), expected, "{blocks:?}");
                assert_eq!(added.read_u8(Gva(address)).ok(), expected, "{blocks:?}");
                let two = expected.zip(by_rule(&blocks, &file, address + 1));
                let two = two.map(|(low, high)| u16::from_le_bytes([low, high]));
                assert_eq!(space.read_u16(Gva(address)).ok(), two, "{blocks:?}");
                let len = 1 + next(9_000) as usize;
                if let Some(held) = space.held(Gva(address), len) {
                    let mut read = vec![0; len];
                    space.read(Gva(address), &mut read).unwrap();
                    assert!(held == read, "{blocks:?}");
                }
            }
        }
    }

    #[test]
    fn many_blocks_in_one_place_read_as_the_rule_says() {
        let file: Vec<u8> = (0..120_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let reader = PagedReader::open(&file).unwrap();
        let mut next = random(99);
        for (count, longest) in [(400, 300), (600, 100_000)] {
            let blocks: Vec<Block> = (0..count)
                .map(|_| block(0x4800 + next(1000), 1 + next(longest), next(10_000)))
                .collect();
            let mut space = Sparse::new(&reader, &blocks, &[]);
            assert!(is_ordered(&space));
            let more = block(0x4810, 60, 5);
            space.add(&more);
            let all = [blocks, vec![more]].concat();
            for address in 0x47F0..0x4D00 {
                assert_eq!(
                    space.read_u8(Gva(address)).ok(),
                    by_rule(&all, &file, address)
                );
            }
        }
    }

    #[test]
    fn a_stack_that_is_repeated_in_small_blocks_is_held_in_one_piece() {
        let file: Vec<u8> = (0..60_000u32).map(|i| (i * 7 % 251) as u8).collect();
        let reader = PagedReader::open(&file).unwrap();
        let stack = block(0x10_0010, 30_000, 100);
        let repeated = (0..50).map(|n| block(0x10_0010 + n * 601, 256, 100 + n * 601));
        let larger = block(0x90_0000, 40_000, 0);
        let blocks: Vec<Block> = repeated.chain([stack, larger]).collect();
        let space = Sparse::new(&reader, &blocks, &[]);
        let held = |at, len| space.held(Gva(at), len);
        assert!(held(0x10_0010, 30_000) == Some(&file[100..30_100]));
        assert!(held(0x10_1000, 1) == Some(&file[100 + 0xFF0..][..1]));
        assert_eq!(held(0x10_0010, 30_001), None);
        assert_eq!(held(0x10_000F, 2), None);
        assert_eq!(held(u64::MAX - 1, 8), None);
    }

    #[test]
    fn thousands_of_blocks_are_not_put_in_order() {
        let file = vec![7; 4096];
        let reader = PagedReader::open(&file).unwrap();
        let mut next = random(3);
        let blocks: Vec<Block> = (0..5_000)
            .map(|_| block(0xFFFF_F800_0000_0000 + next(1 << 24), 256, next(3_000)))
            .collect();
        let space = Sparse::new(&reader, &blocks, &[block(0xFFFF_F800_0000_0000, 45_000, 0)]);
        assert!(!is_ordered(&space));
        for at in blocks.iter().step_by(97).map(|b| b.start) {
            assert_eq!(space.read_u8(at), Ok(7));
        }
    }

    fn block(start: u64, len: u64, offset: u64) -> Block {
        Block {
            start: Gva(start),
            len,
            offset,
            kind: BlockKind::Data,
        }
    }

    #[test]
    fn adjacent_and_overlapping_blocks_read_as_one_range() {
        let file: Vec<u8> = (0..=255).collect();
        let reader = PagedReader::open(&file).unwrap();
        // 0x1000..0x1010 from 0, 0x1010..0x1020 from 0x40, and a small one inside the first.
        let blocks = [
            block(0x1000, 16, 0),
            block(0x1010, 16, 0x40),
            block(0x1004, 4, 0x80),
        ];
        let space = Sparse::new(&reader, &blocks, &[]);
        let mut buf = [0; 32];
        space.read(Gva(0x1000), &mut buf).unwrap();
        assert_eq!(buf[..16], file[..16]);
        assert_eq!(buf[16..], file[0x40..0x50]);
        assert_eq!(space.read_u8(Gva(0xFFF)), Err(Absent::NotInDump));
        assert_eq!(space.read_u16(Gva(0x101F)), Err(Absent::NotInDump));
    }

    #[test]
    fn a_large_block_around_a_small_gap_fills_both_sides() {
        let file: Vec<u8> = (0..=255).collect();
        let reader = PagedReader::open(&file).unwrap();
        let blocks = [
            block(0x100, 64, 0),
            block(0x0F0, 40, 0x80),
            block(0x130, 40, 0xC0),
        ];
        let space = Sparse::new(&reader, &blocks, &[]);
        let held = (0..0x200).filter(|at| space.read_u8(Gva(*at)).is_ok());
        assert_eq!(held.count(), 0x158 - 0xF0);
        assert_eq!(space.read_u8(Gva(0x0F0)), Ok(0x80));
        assert_eq!(space.read_u8(Gva(0x100)), Ok(0));
        assert_eq!(space.read_u8(Gva(0x140)), Ok(0xD0));
    }

    #[test]
    fn a_block_past_the_end_of_the_file_is_truncated_not_zero() {
        let file = vec![7; 32];
        let reader = PagedReader::open(&file).unwrap();
        let space = Sparse::new(&reader, &[block(0x1000, 64, 16)], &[]);
        assert_eq!(space.read_u8(Gva(0x100F)), Ok(7));
        assert_eq!(space.read_u8(Gva(0x1010)), Err(Absent::Truncated));
    }

    #[test]
    fn a_block_that_wraps_the_address_space_is_dropped() {
        let file = vec![7; 32];
        let reader = PagedReader::open(&file).unwrap();
        let blocks = [block(u64::MAX - 3, 16, 0), block(5, 0, 0)];
        let space = Sparse::new(&reader, &blocks, &[]);
        for address in [0, 5, u64::MAX - 3, u64::MAX - 1, u64::MAX] {
            assert_eq!(space.read_u8(Gva(address)), Err(Absent::NotInDump));
        }
        assert!(space.pieces.is_empty());
    }
}
