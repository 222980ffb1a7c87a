//! The memory a triage dump carries: the stack, the data page and `TRIAGE_DATA_BLOCK`s.

use crate::bytes::{Budget, Gva, Limit, PagedReader};
use crate::memory::{Block, BlockKind};

use super::{Damages, Fields, Header, StackCopy};

/// Size of `TRIAGE_DATA_BLOCK` in both widths.
const ENTRY: usize = 16;
/// Entries paid for at once.
const PIECE: usize = 64;
/// Real dumps carry up to about five thousand.
const MOST: u64 = 16_384;

pub(super) fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    stack: Option<StackCopy>,
    budget: &Budget,
    damage: &mut Damages,
) -> Vec<Block> {
    let mut blocks = Vec::new();
    blocks.extend(stack.map(|stack| Block {
        start: stack.start,
        len: stack.len,
        offset: stack.offset,
        kind: BlockKind::Stack,
    }));
    blocks.extend(data_page(header, fields));
    read_data_blocks(reader, header, fields, budget, damage, &mut blocks);
    blocks
}

fn data_page(header: &Header, fields: &Fields<'_>) -> Option<Block> {
    let layout = fields.layout;
    Some(Block {
        start: Gva(header.truncate(fields.address(layout.data_page_address)?)),
        len: u64::from(fields.written(layout.data_page_size)?),
        offset: u64::from(fields.written(layout.data_page_offset)?),
        kind: BlockKind::DataPage,
    })
}

fn read_data_blocks(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    budget: &Budget,
    damage: &mut Damages,
    blocks: &mut Vec<Block>,
) {
    let (Some(at), Some(count)) = (
        fields.written(fields.layout.data_blocks_offset),
        fields.written(fields.layout.data_blocks_count),
    ) else {
        return;
    };
    let at = u64::from(at);
    let held = reader.len().saturating_sub(at) / ENTRY as u64;
    let listed = u64::from(count).min(MOST).min(held);
    if u64::from(count) > MOST && held > listed {
        budget.reach(Limit::Candidates);
    }
    if listed < u64::from(count) {
        damage.note(
            format!("the list of data blocks is cut off: {listed} of {count} entries"),
            Some(at),
        );
    }
    let Ok(bytes) = reader.bytes(at, listed.saturating_mul(ENTRY as u64)) else {
        damage.note("the list of data blocks cannot be read", Some(at));
        return;
    };
    let len = reader.len();
    let mut outside = 0u64;
    let (entries, _) = bytes.as_chunks::<ENTRY>();
    blocks.reserve(entries.len());
    for piece in entries.chunks(PIECE) {
        if budget.spend(piece.len() as u64).is_err() {
            damage.note(
                "the list of data blocks was not read to its end: work limit",
                Some(at),
            );
            break;
        }
        blocks.extend(piece.iter().map(|entry| {
            // Address: 8 bytes; offset in the file and size: 4 each.
            let entry = u128::from_le_bytes(*entry);
            let (offset, size) = ((entry >> 64) as u32, (entry >> 96) as u32);
            outside += u64::from(u64::from(offset) + u64::from(size) > len);
            Block {
                start: Gva(header.truncate(entry as u64)),
                len: u64::from(size),
                offset: u64::from(offset),
                kind: BlockKind::Data,
            }
        }));
    }
    if outside > 0 {
        damage.note(
            format!("{outside} of {listed} data blocks reach past the end of the file"),
            Some(at),
        );
    }
}
