//! A sparse virtual address space: the blocks a triage dump carries, with exact validity.
//!
//! Blocks overlap in real dumps (the stack is often repeated in a data block), so they are cut
//! into disjoint segments when the space is built: the larger block wins, so that one read
//! rarely crosses a seam. Bytes are read from the file when asked for.

use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::bytes::{Gva, PagedReader, ReadError, ascending};

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

impl Block {
    /// True when it holds something, and neither its addresses nor its offsets wrap.
    fn is_sound(&self) -> bool {
        self.len > 0 && self.end().is_some() && self.offset.checked_add(self.len).is_some()
    }

    /// First address past the block; `None` when it would wrap.
    fn end(&self) -> Option<u64> {
        self.start.0.checked_add(self.len)
    }
}

#[derive(Clone, Copy, Debug)]
struct Segment {
    start: u64,
    end: u64,
    offset: u64,
    /// Where the block begins that it was cut from.
    block: Gva,
}

/// The blocks of one triage dump as one address space.
pub struct Sparse<'a> {
    reader: &'a PagedReader<'a>,
    segments: Vec<Segment>,
    /// The segment that was read last.
    last: Cell<usize>,
}

impl<'a> Sparse<'a> {
    /// Builds the space of the blocks in several lists, one after the other. Empty and wrapping blocks are
    /// dropped; a block that reaches past the end of the file is kept as far as it is there, the rest reads as
    /// [`Absent::Truncated`].
    pub fn new(reader: &'a PagedReader<'a>, blocks: &[&[Block]]) -> Sparse<'a> {
        let count = blocks.iter().map(|list| list.len()).sum();
        Sparse::of(reader, blocks, count, |_| true)
    }

    /// The space of the blocks that hold any of the `len` bytes at `at`: those bytes read as in the space
    /// of all blocks. For one question, where building that is not worth while.
    pub fn around(
        reader: &'a PagedReader<'a>,
        blocks: &[&[Block]],
        at: Gva,
        len: u64,
    ) -> Sparse<'a> {
        let past = at.0.saturating_add(len);
        Sparse::of(reader, blocks, 0, |b| {
            b.start.0 < past && at.0.saturating_sub(b.start.0) < b.len
        })
    }

    fn of(
        reader: &'a PagedReader<'a>,
        blocks: &[&[Block]],
        expected: usize,
        wanted: impl Fn(&Block) -> bool,
    ) -> Sparse<'a> {
        let mut starts: Vec<(u64, u64)> = Vec::with_capacity(expected);
        for (block, index) in blocks.iter().copied().flatten().zip(0..) {
            if wanted(block) && block.is_sound() {
                starts.push((block.start.0, index));
            }
        }
        let order = ascending(starts);
        let ordered = order.iter().filter_map(|index| {
            let index = usize::try_from(*index).ok()?;
            nth(blocks, index)
        });
        let ordered: Vec<&Block> = ordered.collect();
        Sparse {
            reader,
            segments: segments(&ordered),
            last: Cell::new(0),
        }
    }

    /// The disjoint address ranges held, ascending: first address and length in bytes.
    pub fn ranges(&self) -> impl Iterator<Item = (Gva, u64)> + '_ {
        self.segments
            .iter()
            .map(|s| (Gva(s.start), s.end - s.start))
    }

    /// The segment that holds `address`. One read follows another in the same segment mostly.
    fn segment(&self, address: u64) -> Option<&Segment> {
        let holds = |s: &&Segment| s.start <= address && address < s.end;
        if let Some(again) = self.segments.get(self.last.get()).filter(holds) {
            return Some(again);
        }
        let after = self.segments.partition_point(|s| s.start <= address);
        let index = after.checked_sub(1)?;
        let found = self.segments.get(index).filter(holds)?;
        self.last.set(index);
        Some(found)
    }
}

/// The block with that index in all lists together.
fn nth<'b>(lists: &[&'b [Block]], mut index: usize) -> Option<&'b Block> {
    for list in lists {
        match list.get(index) {
            None => index -= list.len(),
            found => return found,
        }
    }
    None
}

/// The segments of blocks, given by ascending start. Few of thousands overlap others: those are cut.
fn segments(blocks: &[&Block]) -> Vec<Segment> {
    let mut segments = Vec::with_capacity(blocks.len());
    let mut rest = blocks;
    while !rest.is_empty() {
        let (together, after) = rest.split_at(overlapping(rest));
        match together {
            [alone] => segments.push(Segment {
                start: alone.start.0,
                end: alone.start.0.saturating_add(alone.len),
                offset: alone.offset,
                block: alone.start,
            }),
            several => disjoint(several, &mut segments),
        }
        rest = after;
    }
    segments
}

/// How many of the blocks, from the first on, each begin before all those ahead of it end; one at least.
fn overlapping(blocks: &[&Block]) -> usize {
    let mut past = 0;
    let begins_behind = |block: &&Block| {
        let behind = past > 0 && block.start.0 >= past;
        past = past.max(block.start.0.saturating_add(block.len));
        behind
    };
    let found = blocks.iter().position(begins_behind);
    found.unwrap_or(blocks.len())
}

/// Cuts blocks, given by ascending start, into segments that do not overlap. At each address the
/// largest block wins, then the one that starts first, then the one that comes first in the file.
fn disjoint(ordered: &[&Block], segments: &mut Vec<Segment>) {
    let rank = |b: &Block| (b.len, Reverse(b.start), Reverse(b.offset));
    let mut blocks = ordered.iter().copied().peekable();
    // Blocks that reach past `at`, the best on top; those that ended are dropped when they come up.
    let mut open = BinaryHeap::new();
    let mut at = 0;
    loop {
        while let Some(block) = blocks.next_if(|block| block.start.0 <= at) {
            open.push((rank(block), block.end().unwrap_or(at)));
        }
        let Some(((_, Reverse(start), Reverse(offset)), end)) = open.peek().copied() else {
            match blocks.peek() {
                Some(block) => at = block.start.0,
                None => break,
            }
            continue;
        };
        if end <= at {
            open.pop();
            continue;
        }
        // The next block may be a better one.
        let stop = blocks.peek().map_or(end, |next| end.min(next.start.0));
        let offset = offset.saturating_add(at - start.0);
        match segments.last_mut() {
            // The same block goes on.
            Some(last)
                if last.end == at
                    && last.block == start
                    && last.offset.saturating_add(at - last.start) == offset =>
            {
                last.end = stop;
            }
            _ => segments.push(Segment {
                start: at,
                end: stop,
                offset,
                block: start,
            }),
        }
        at = stop;
    }
}

impl Memory for Sparse<'_> {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let mut done = 0;
        while done < buf.len() {
            let address = at.0.checked_add(done as u64).ok_or(Absent::NotInDump)?;
            let segment = self.segment(address).ok_or(Absent::NotInDump)?;
            let held = usize::try_from(segment.end - address).unwrap_or(usize::MAX);
            let n = held.min(buf.len() - done);
            let part = buf.get_mut(done..done + n).ok_or(Absent::NotInDump)?;
            let offset = segment.offset.saturating_add(address - segment.start);
            match self.reader.read_exact_at(offset, part) {
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

    #[test]
    fn any_blocks_read_as_the_rule_says() {
        let file: Vec<u8> = (0..1024u32).map(|i| (i * 7 % 251) as u8).collect();
        let reader = PagedReader::open(&file).unwrap();
        let mut random = 12_345u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            u64::from((random >> 8) % below)
        };
        for _ in 0..300 {
            let blocks: Vec<Block> = (0..next(12))
                .map(|_| block(100 + next(60), next(20), next(900)))
                .collect();
            let (some, others) = blocks.split_at(blocks.len() / 2);
            let space = Sparse::new(&reader, &[some, others]);
            for address in 90..190 {
                let expected = by_rule(&blocks, &file, address);
                assert_eq!(space.read_u8(Gva(address)).ok(), expected, "{blocks:?}");
                let near = Sparse::around(&reader, &[&blocks], Gva(address), 2);
                assert_eq!(near.read_u16(Gva(address)), space.read_u16(Gva(address)));
            }
            let ranges: Vec<_> = space.ranges().collect();
            assert!(ranges.is_sorted_by(|a, b| a.0.0 + a.1 <= b.0.0));
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
        let space = Sparse::new(&reader, &[&blocks]);
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
        let space = Sparse::new(&reader, &[&blocks]);
        let ranges: Vec<_> = space.ranges().collect();
        assert_eq!(ranges.iter().map(|r| r.1).sum::<u64>(), 0x158 - 0xF0);
        assert_eq!(space.read_u8(Gva(0x0F0)), Ok(0x80));
        assert_eq!(space.read_u8(Gva(0x100)), Ok(0));
        assert_eq!(space.read_u8(Gva(0x140)), Ok(0xD0));
    }

    #[test]
    fn a_block_past_the_end_of_the_file_is_truncated_not_zero() {
        let file = vec![7; 32];
        let reader = PagedReader::open(&file).unwrap();
        let space = Sparse::new(&reader, &[&[block(0x1000, 64, 16)]]);
        assert_eq!(space.read_u8(Gva(0x100F)), Ok(7));
        assert_eq!(space.read_u8(Gva(0x1010)), Err(Absent::Truncated));
    }

    #[test]
    fn a_block_that_wraps_the_address_space_is_dropped() {
        let file = vec![7; 32];
        let reader = PagedReader::open(&file).unwrap();
        let space = Sparse::new(&reader, &[&[block(u64::MAX - 3, 16, 0), block(5, 0, 0)]]);
        assert_eq!(space.ranges().count(), 0);
    }
}
