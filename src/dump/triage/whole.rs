//! Is a small dump whole? A file that the kernel wrote states its size (RequiredDumpSpace); one that a
//! debugger derived keeps the size of the dump it came from, and has to be at least as long as its pieces.
//!
//! Facts: `docs/dump-format.md`, seen on 34 real files.

use crate::bytes::PagedReader;
use crate::memory::Block;

use super::{Damages, Fields, Header, Writer, field};

/// The four bytes that close the triage part of an undamaged file.
const VALID_MARK: &[u8] = b"TRGD";
/// Sizes above are no small dump's: the field holds something else.
const LARGEST: u64 = 1 << 32;

/// First file offset past every piece that the triage part names.
pub(super) fn extent(fields: &Fields<'_>, blocks: &[Block]) -> u64 {
    let layout = fields.layout;
    let range = |at: usize, len: u64| {
        fields
            .written(at)
            .map_or(0, |offset| u64::from(offset).saturating_add(len))
    };
    let counted = |at: usize, size: u64| {
        fields
            .written(at)
            .map_or(0, |n| u64::from(n).saturating_mul(size))
    };
    let mark = VALID_MARK.len() as u64;
    let strings = counted(field::STRING_POOL_SIZE, 1);
    [
        range(field::VALID_OFFSET, mark),
        range(
            field::CALL_STACK_OFFSET,
            counted(field::SIZE_OF_CALL_STACK, 1),
        ),
        range(field::STRING_POOL_OFFSET, strings),
        range(
            field::DRIVER_LIST_OFFSET,
            counted(field::DRIVER_COUNT, layout.driver_stride as u64),
        ),
        range(
            layout.data_blocks_offset,
            counted(layout.data_blocks_count, 16),
        ),
        range(
            layout.debugger_data_offset,
            counted(layout.debugger_data_size, 1),
        ),
    ]
    .into_iter()
    .chain(blocks.iter().map(|b| b.offset.saturating_add(b.len)))
    .filter(|end| *end < LARGEST)
    .max()
    .unwrap_or(0)
}

/// Notes how much of the file is missing, or a missing end mark.
pub(super) fn check(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    (writer, extent): (Option<Writer>, u64),
    damage: &mut Damages,
) {
    let len = reader.len();
    let stated = stated(header).filter(|_| writer == Some(Writer::Kernel));
    if let Some(stated) = stated.filter(|stated| len < *stated) {
        damage.note(cut_off(len, stated), Some(len));
        return;
    }
    if stated.is_none() && len < extent {
        let missing = extent - len;
        damage.note(
            format!(
                "the file is cut off: it has {len} bytes of at least {extent}, and at least \
                 {missing} missing"
            ),
            Some(len),
        );
        return;
    }
    let Some(at) = fields.written(field::VALID_OFFSET).map(u64::from) else {
        damage.note("the triage data names no end mark", None);
        return;
    };
    let mut mark = [0; 4];
    if reader.read_exact_at(at, &mut mark).is_err() || mark != VALID_MARK {
        damage.note(
            "the file has its full length, but bytes were lost or overwritten: the end mark is not \
             where it belongs",
            Some(at),
        );
    }
}

/// Notes that the file ends before the triage part. A header that is cut off itself was noted.
pub(super) fn without_body(reader: &PagedReader<'_>, header: &Header, damage: &mut Damages) {
    let len = reader.len();
    if len < header.size() {
        return;
    }
    // What a debugger puts there is the size of another file.
    let stated = stated(header).filter(|stated| len < *stated && header.writer_status.is_none());
    match stated {
        Some(stated) => damage.note(
            format!("{}: all but the header", cut_off(len, stated)),
            Some(len),
        ),
        None => damage.note("header intact, triage data missing", Some(header.size())),
    }
}

/// The size that the kernel wrote down for the file.
fn stated(header: &Header) -> Option<u64> {
    header
        .required_dump_space
        .filter(|bytes| (header.size()..LARGEST).contains(bytes))
}

fn cut_off(len: u64, stated: u64) -> String {
    format!(
        "the file is cut off: it has {len} of {stated} bytes, {} missing",
        stated.saturating_sub(len)
    )
}
