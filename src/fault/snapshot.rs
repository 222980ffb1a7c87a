//! The bytes of one stack, taken once: searches look at every slot of it.

use std::borrow::Cow;

use crate::bytes::{Gva, View};
use crate::memory::Memory;

/// Most bytes of a stack that are looked at: four times the largest kernel stack of Windows.
pub const LARGEST: u64 = 0x60000;
/// Granularity in which an incomplete stack is read.
const PAGE: u64 = 0x1000;

/// A range of stack addresses and the bytes there; what is absent is known to be.
#[derive(Debug, Default)]
pub struct Snapshot<'a> {
    start: u64,
    bytes: Cow<'a, [u8]>,
    /// Offsets of absent pieces: start, end.
    absent: Vec<(usize, usize)>,
}

impl<'a> Snapshot<'a> {
    /// Takes the bytes of `start..end`, at most [`LARGEST`] from the low end.
    pub fn take(memory: &'a dyn Memory, start: u64, end: u64) -> Snapshot<'a> {
        let length = usize::try_from(end.saturating_sub(start).min(LARGEST)).unwrap_or(0);
        let mut absent = Vec::new();
        let bytes = match memory.held(Gva(start), length) {
            Some(bytes) => Cow::Borrowed(bytes),
            None => {
                let mut bytes = vec![0; length];
                if memory.read(Gva(start), &mut bytes).is_err() {
                    absent = take_pages(memory, start, &mut bytes);
                }
                Cow::Owned(bytes)
            }
        };
        Snapshot {
            start,
            bytes,
            absent,
        }
    }

    /// Address past the highest byte.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    /// True when `address` lies in the range.
    pub fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end()
    }

    /// The `len` bytes at `address` when all of them are there.
    pub fn view(&self, address: u64, len: usize) -> Option<View<'_>> {
        let from = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let to = from.checked_add(len)?;
        let bytes = self.bytes.get(from..to)?;
        let whole = self.absent.iter().all(|(a, b)| to <= *a || *b <= from);
        whole.then_some(View(bytes))
    }

    /// Every whole slot of `width` bytes (4 or 8) with its address, ascending. Absent slots read
    /// as zero; a caller that matches zero asks [`Snapshot::view`].
    pub fn slots(&self, width: usize) -> impl Iterator<Item = (u64, u64)> + '_ {
        let step = width.max(1);
        let misaligned = self.start % step as u64;
        let skip = match misaligned {
            0 => 0,
            n => step - usize::try_from(n).unwrap_or(0),
        };
        let first = self.start.saturating_add(skip as u64);
        self.bytes
            .get(skip..)
            .unwrap_or_default()
            .chunks_exact(step)
            .zip(0u64..)
            .map(move |(chunk, n)| {
                let value = match (chunk.first_chunk(), chunk.first_chunk()) {
                    (Some(eight), _) => u64::from_le_bytes(*eight),
                    (None, Some(four)) => u64::from(u32::from_le_bytes(*four)),
                    (None, None) => 0,
                };
                let address = first.saturating_add(n.saturating_mul(step as u64));
                (address, value)
            })
    }
}

/// Reads page by page and gives the offsets of absent pieces, which read as zero.
fn take_pages(memory: &dyn Memory, start: u64, bytes: &mut [u8]) -> Vec<(usize, usize)> {
    let mut absent = Vec::new();
    let mut from = 0;
    while from < bytes.len() {
        let address = start.saturating_add(from as u64);
        let to_boundary = usize::try_from(PAGE - address % PAGE).unwrap_or(1);
        let to = (from + to_boundary).min(bytes.len());
        if let Some(piece) = bytes.get_mut(from..to)
            && memory.read(Gva(address), piece).is_err()
        {
            piece.fill(0);
            absent.push((from, to));
        }
        from = to;
    }
    absent
}
