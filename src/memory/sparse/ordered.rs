//! The segments of all blocks, in order: for any number of blocks that overlap as they like.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Piece;

/// Segments that do not overlap, ascending.
pub(super) struct Ordered(Vec<Piece>);

impl Ordered {
    /// The segments of `pieces`, given in any order.
    pub fn new(pieces: &[Piece]) -> Ordered {
        let mut ordered: Vec<&Piece> = pieces.iter().collect();
        ordered.sort_by_key(|piece| piece.start);
        Ordered(disjoint(ordered.into_iter()))
    }

    /// The segment that holds `address`.
    pub fn segment(&self, address: u64) -> Option<Piece> {
        let after = self.0.partition_point(|s| s.start <= address);
        let found = self.0.get(after.checked_sub(1)?)?;
        found.holds(address).then_some(*found)
    }
}

/// Cuts pieces, given by ascending start, into segments that do not overlap: at each address the best piece
/// wins.
fn disjoint<'p>(ordered: impl Iterator<Item = &'p Piece>) -> Vec<Piece> {
    let mut segments: Vec<Piece> = Vec::new();
    let mut pieces = ordered.peekable();
    // Pieces that reach past `at`, the best on top; those that ended are dropped when they come up.
    let mut open = BinaryHeap::new();
    let mut at = 0;
    loop {
        while let Some(piece) = pieces.next_if(|piece| piece.start <= at) {
            open.push((piece.rank(), piece.end));
        }
        let Some(((_, Reverse(start), Reverse(offset)), end)) = open.peek().copied() else {
            match pieces.peek() {
                Some(piece) => at = piece.start,
                None => break,
            }
            continue;
        };
        if end <= at {
            open.pop();
            continue;
        }
        // The next piece may be a better one.
        let stop = pieces.peek().map_or(end, |next| end.min(next.start));
        let offset = offset.saturating_add(at - start);
        match segments.last_mut() {
            // The same bytes go on.
            Some(last) if last.end == at && last.offset_of(at) == offset => last.end = stop,
            _ => segments.push(Piece {
                start: at,
                end: stop,
                offset,
            }),
        }
        at = stop;
    }
    segments
}
