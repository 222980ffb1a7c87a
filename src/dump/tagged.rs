//! Secondary ("tagged") data: blocks that bug check callbacks add behind a dump.
//!
//! Only listed, by tag and size; what a block holds is its writer's business. Kernel-written
//! files end in slack, so leftover bytes are normal.

use crate::bytes::{Budget, PagedReader, View};

use super::Damages;

/// Size of `DUMP_BLOB_FILE_HEADER`.
const FILE_HEADER: usize = 0x10;
/// Size of a block's header.
const BLOCK_HEADER: usize = 0x20;
/// Real dumps carry up to about forty.
const MOST: usize = 1024;

/// One tagged block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaggedBlock {
    /// The tag, as GUID text in lower case.
    pub guid: String,
    /// Bytes of data.
    pub size: u32,
    /// Absolute file offset of the data.
    pub offset: u64,
}

/// Lists the blocks that start at file offset `at`; empty when there are none.
pub fn read(
    reader: &PagedReader<'_>,
    at: u64,
    budget: &Budget,
    damage: &mut Damages,
) -> Vec<TaggedBlock> {
    let mut blocks = Vec::new();
    let mut header = [0; FILE_HEADER];
    if reader.read_exact_at(at, &mut header).is_err() || !header.starts_with(b"DumpBlob") {
        return blocks;
    }
    let mut next = View(&header)
        .u32(8)
        .and_then(|size| at.checked_add(u64::from(size)));
    while let Some(start) = next {
        if blocks.len() >= MOST || budget.spend(1).is_err() {
            damage.note(
                "the secondary data were not listed to their end",
                Some(start),
            );
            break;
        }
        let Some((block, end)) = block(reader, start) else {
            break;
        };
        blocks.push(block);
        next = end;
    }
    blocks
}

/// The block at `start` and where the next one begins; `None` at the end of the list.
fn block(reader: &PagedReader<'_>, start: u64) -> Option<(TaggedBlock, Option<u64>)> {
    let mut bytes = [0; BLOCK_HEADER];
    reader.read_exact_at(start, &mut bytes).ok()?;
    let view = View(&bytes);
    let header_size = view.u32(0).filter(|size| *size as usize >= BLOCK_HEADER)?;
    let (size, pre, post) = (view.u32(20)?, view.u32(24)?, view.u32(28)?);
    let offset = start
        .checked_add(u64::from(header_size))?
        .checked_add(u64::from(pre))?;
    let data_end = offset.checked_add(u64::from(size))?;
    if data_end > reader.len() {
        return None;
    }
    let block = TaggedBlock {
        guid: guid(view)?,
        size,
        offset,
    };
    Some((block, data_end.checked_add(u64::from(post))))
}

/// The GUID at offset 4 in its usual text form.
fn guid(view: View<'_>) -> Option<String> {
    let (a, b, c) = (view.u32(4)?, view.u16(8)?, view.u16(10)?);
    let d = view.bytes(12, 2)?;
    let e = view.bytes(14, 6)?;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Some(format!("{a:08x}-{b:04x}-{c:04x}-{}-{}", hex(d), hex(e)))
}
