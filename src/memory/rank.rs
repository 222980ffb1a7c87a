//! Ranks of a page bitmap: how many pages lie in the file before a given one.
//!
//! Counted from the bits themselves, front to back and only as far as asked for, in large reads.
//! A bitmap of ordinary size is kept; of a larger one only the counts are.

use crate::bytes::{Budget, PagedReader, make_room};
use crate::dump::physical::Bitmap;

use super::Absent;

/// Bytes of bitmap between two stored counts.
const BLOCK: u64 = 512;
/// Bytes read at once; a multiple of [`BLOCK`].
const CHUNK: u64 = 256 * 1024;
/// A bitmap up to this many bytes (256 GiB of memory) is kept.
const KEEP: u64 = 8 * 1024 * 1024;

/// The counts of one bitmap, as far as they were needed.
#[derive(Default)]
pub struct Ranks {
    /// Set bits before block n.
    before: Vec<u64>,
    /// Set bits in all blocks counted.
    counted: u64,
    /// The bits counted, when they are kept.
    kept: Vec<u8>,
    /// Bytes of the bitmap counted.
    bytes: u64,
    /// The file ends inside the bitmap.
    cut: bool,
}

impl Ranks {
    /// The number of pages in the file before page `pfn`.
    ///
    /// # Errors
    /// [`Absent::NotInDump`] when the page's bit is clear or beyond the bitmap or the budget is
    /// spent, [`Absent::Truncated`] when the file ends before the bit.
    pub fn rank(
        &mut self,
        reader: &PagedReader<'_>,
        map: &Bitmap,
        pfn: u64,
        budget: &Budget,
    ) -> Result<u64, Absent> {
        if pfn >= map.bits {
            return Err(Absent::NotInDump);
        }
        let byte = pfn / 8;
        while self.bytes <= byte {
            self.count_more(reader, map, budget)?;
        }
        let block = byte / BLOCK;
        let start = block * BLOCK;
        let index = usize::try_from(block).map_err(|_| Absent::NotInDump)?;
        let before = *self.before.get(index).ok_or(Absent::NotInDump)?;
        let mut bits = [0u8; BLOCK as usize];
        let n = usize::try_from(byte - start + 1).map_err(|_| Absent::NotInDump)?;
        let part = bits.get_mut(..n).ok_or(Absent::NotInDump)?;
        self.bits(reader, map, start, part)?;
        let (last, whole) = part.split_last().ok_or(Absent::NotInDump)?;
        let bit = pfn % 8;
        if last & (1 << bit) == 0 {
            return Err(Absent::NotInDump);
        }
        let below = last & ((1u8 << bit) - 1);
        Ok(before + ones(whole) + u64::from(below.count_ones()))
    }

    /// Set bits of the whole bitmap; `None` unless all of them were counted.
    pub fn total(&self, map: &Bitmap) -> Option<u64> {
        let all = map.bits > 0 && !self.cut && self.bytes >= map.bits.div_ceil(8);
        all.then_some(self.counted)
    }

    /// Copies bits that were counted before.
    fn bits(
        &self,
        reader: &PagedReader<'_>,
        map: &Bitmap,
        at: u64,
        buf: &mut [u8],
    ) -> Result<(), Absent> {
        let kept = usize::try_from(at)
            .ok()
            .and_then(|at| self.kept.get(at..at.checked_add(buf.len())?));
        match kept {
            Some(bits) => {
                buf.copy_from_slice(bits);
                Ok(())
            }
            None => reader
                .read_exact_at(map.bits_at.saturating_add(at), buf)
                .map_err(|_| Absent::Truncated),
        }
    }

    /// Counts the next chunk.
    fn count_more(
        &mut self,
        reader: &PagedReader<'_>,
        map: &Bitmap,
        budget: &Budget,
    ) -> Result<(), Absent> {
        let size = map.bits.div_ceil(8);
        let n = size.saturating_sub(self.bytes).min(CHUNK);
        budget.spend(n / 64 + 1).map_err(|_| Absent::NotInDump)?;
        let mut chunk = vec![0; usize::try_from(n).map_err(|_| Absent::NotInDump)?];
        let at = map.bits_at.saturating_add(self.bytes);
        let read = reader
            .read_uncached(at, &mut chunk)
            .map_err(|_| Absent::NotInDump)?;
        chunk.truncate(read);
        if chunk.is_empty() {
            return Err(Absent::Truncated);
        }
        // Bits past the number the body states are padding.
        let spare = (self.bytes + read as u64)
            .saturating_mul(8)
            .saturating_sub(map.bits);
        if let (Some(last), 1..=7) = (chunk.last_mut(), spare) {
            *last &= 0xFF >> spare;
        }
        for block in chunk.chunks(BLOCK as usize) {
            self.before.push(self.counted);
            self.counted += ones(block);
        }
        self.bytes += read as u64;
        if size <= KEEP {
            self.kept.extend_from_slice(&chunk);
        }
        if (read as u64) < n {
            // The file ends inside the bitmap. Blocks stay aligned; nothing behind is counted.
            self.cut = true;
            self.bytes = self.bytes.next_multiple_of(BLOCK);
        }
        Ok(())
    }
}

/// The numbers of a bitmap's pages, ascending; ends where the file does.
pub struct SetBits<'a> {
    reader: &'a PagedReader<'a>,
    map: Bitmap,
    /// Bytes of the bitmap in front of the piece.
    before: u64,
    piece: Vec<u8>,
    /// The next bit of the piece.
    bit: usize,
}

impl<'a> SetBits<'a> {
    /// All bits of `map`.
    pub fn new(reader: &'a PagedReader<'a>, map: &Bitmap) -> SetBits<'a> {
        SetBits {
            reader,
            map: *map,
            before: 0,
            piece: Vec::new(),
            bit: 0,
        }
    }

    /// Reads the next piece; false at the end.
    fn more(&mut self) -> bool {
        self.before += self.piece.len() as u64;
        self.bit = 0;
        let left = self.map.bits.div_ceil(8).saturating_sub(self.before);
        let len = usize::try_from(left.min(CHUNK)).unwrap_or(0);
        make_room(&mut self.piece, len);
        let at = self.map.bits_at.saturating_add(self.before);
        let read = self.reader.read_uncached(at, &mut self.piece).unwrap_or(0);
        self.piece.truncate(read);
        read > 0
    }
}

impl Iterator for SetBits<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            let Some(byte) = self.piece.get(self.bit / 8).copied() else {
                if self.more() {
                    continue;
                }
                return None;
            };
            let rest = byte >> (self.bit % 8);
            if rest == 0 {
                self.bit = (self.bit / 8 + 1) * 8;
                continue;
            }
            let bit = self.bit + rest.trailing_zeros() as usize;
            self.bit = bit + 1;
            let number = self.before * 8 + bit as u64;
            return (number < self.map.bits).then_some(number);
        }
    }
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let whole: u64 = words
        .iter()
        .map(|word| u64::from(u64::from_le_bytes(*word).count_ones()))
        .sum();
    let tail: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    whole + tail
}
