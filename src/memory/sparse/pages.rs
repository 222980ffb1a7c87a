//! Blocks by the pages that they touch. A small dump holds a thousand blocks, and few dozen addresses of it
//! are asked for: putting all blocks in order took longer than all those answers.

use super::Piece;

/// Bytes of a page, as a power of two.
const SHIFT: u32 = 12;
/// A piece that touches more pages is looked at for every address. The processor blocks of Windows 10, one for
/// each processor, touch twelve.
const NARROW: u64 = 16;
/// Pieces that are looked at for every address: real dumps hold up to a few dozen.
const MOST_WIDE: usize = 128;
/// Pieces to a chain, about.
const PER_CHAIN: usize = 4;
/// Pieces that are looked at for the addresses of one page: real dumps hold up to about fifty.
const MOST_IN_CHAIN: u32 = 128;

/// Pieces by the pages that they touch.
#[derive(Default)]
pub(super) struct Pages {
    /// By a hash of the page's number.
    chains: Vec<Chain>,
    /// Bits that the hash is shifted right by.
    shift: u32,
    links: Vec<Link>,
    /// Indices of the pieces that touch many pages.
    wide: Vec<u32>,
    /// The best of all pieces.
    best: Option<Piece>,
}

#[derive(Clone, Copy, Default)]
struct Chain {
    /// Index of its first link, and one more; 0 when it has none.
    first: u32,
    links: u32,
}

struct Link {
    piece: u32,
    /// As in [`Chain`].
    next: u32,
}

impl Pages {
    /// The pieces by their pages; `None` when too many of them lie in one place.
    pub fn new(pieces: &[Piece]) -> Option<Pages> {
        // Small enough to stay in the processor's nearest memory: all are written, few are read.
        let chains = (pieces.len() / PER_CHAIN).max(2).next_power_of_two();
        let mut pages = Pages {
            chains: vec![Chain::default(); chains],
            shift: u64::BITS - chains.trailing_zeros(),
            links: Vec::with_capacity(pieces.len() + pieces.len() / 2),
            ..Pages::default()
        };
        let longest = pieces.iter().fold(0, |longest, p| p.len().max(longest));
        let best = pieces.iter().filter(|p| p.len() == longest);
        pages.best = best.max_by_key(|p| p.rank()).copied();
        let mut fits = true;
        for (piece, index) in pieces.iter().zip(0..) {
            fits &= pages.link(index, piece);
        }
        fits.then_some(pages)
    }

    /// Adds a piece; `None` when too many lie in one place.
    pub fn add(&mut self, index: u32, piece: &Piece) -> Option<()> {
        let best = self.best.get_or_insert(*piece);
        if piece.rank() > best.rank() {
            *best = *piece;
        }
        self.link(index, piece).then_some(())
    }

    /// Links a piece to its pages; false when too many lie in one place.
    fn link(&mut self, index: u32, piece: &Piece) -> bool {
        let (first, last) = (piece.start >> SHIFT, (piece.end - 1) >> SHIFT);
        if last - first >= NARROW {
            // More than that are none of this form: they need no place here.
            if self.wide.len() <= MOST_WIDE {
                self.wide.push(index);
            }
            return self.wide.len() <= MOST_WIDE;
        }
        let mut fits = true;
        // Page numbers have twelve bits to spare; an inclusive range takes longer.
        for page in first..last + 1 {
            let number = self.chain(page);
            if let Some(chain) = self.chains.get_mut(number) {
                self.links.push(Link {
                    piece: index,
                    next: chain.first,
                });
                // Sixteen for each of some ten thousand pieces at most.
                chain.first = self.links.len() as u32;
                chain.links += 1;
                fits &= chain.links <= MOST_IN_CHAIN;
            }
        }
        fits
    }

    /// Where the chain of a page begins. The multiplier is the golden ratio's (Knuth, *The Art of Computer
    /// Programming*, volume 3, 6.4).
    fn chain(&self, page: u64) -> usize {
        (page.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize
    }

    /// The pieces that may touch a page.
    fn near<'p>(&'p self, pieces: &'p [Piece], page: u64) -> impl Iterator<Item = &'p Piece> {
        let link = |next: u32| self.links.get(usize::try_from(next.checked_sub(1)?).ok()?);
        let first = self.chains.get(self.chain(page)).map_or(0, |c| c.first);
        std::iter::successors(link(first), move |at| link(at.next))
            .map(|link| link.piece)
            .chain(self.wide.iter().copied())
            .filter_map(|index| pieces.get(usize::try_from(index).ok()?))
    }

    /// A piece that holds `address`, and nothing that another one wins: within its page, or all of the best.
    pub fn segment(&self, pieces: &[Piece], address: u64) -> Option<Piece> {
        if let Some(best) = self.best.filter(|best| best.holds(address)) {
            return Some(best);
        }
        let mut found: Option<&Piece> = None;
        for piece in self.near(pieces, address >> SHIFT) {
            if piece.holds(address) && found.is_none_or(|f| piece.rank() > f.rank()) {
                found = Some(piece);
            }
        }
        let found = found?;
        let page = address >> SHIFT << SHIFT;
        let mut start = found.start.max(page);
        let mut end = found.end.min(page.saturating_add(1 << SHIFT));
        // No further than where a better one begins, or one ends.
        for better in self.near(pieces, address >> SHIFT) {
            if better.rank() <= found.rank() {
                continue;
            }
            if better.start > address {
                end = end.min(better.start);
            } else {
                start = start.max(better.end);
            }
        }
        Some(Piece {
            start,
            end,
            offset: found.offset_of(start),
        })
    }
}
