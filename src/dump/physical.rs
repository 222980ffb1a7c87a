//! How large the body of a memory dump must be: enough to say that a file is truncated.
//!
//! Source: `docs/dump-format.md`, complete, summary and bitmap dumps.

use crate::bytes::{PagedReader, View};

use super::{Damages, DumpType, Header};

/// Bytes of a body's own header that are read.
const BODY_HEADER: u64 = 0x40;

/// Notes a body that is missing or cut off.
pub fn check(reader: &PagedReader<'_>, header: &Header, damage: &mut Damages) {
    let start = header.size();
    if reader.len() <= start {
        damage.note("header intact, body missing", Some(start));
        return;
    }
    if matches!(header.dump_type, DumpType::Ranges(_)) {
        return;
    }
    let Some(end) = declared_end(reader, header) else {
        damage.note("how large the dump should be cannot be told", Some(start));
        return;
    };
    if end > reader.len() {
        damage.note(
            format!("the file is truncated: {} of {end} bytes", reader.len()),
            Some(reader.len()),
        );
    }
}

/// First offset past the last page the dump declares.
fn declared_end(reader: &PagedReader<'_>, header: &Header) -> Option<u64> {
    let page = header.machine?.page_size();
    let body = reader.read_vec(header.size(), BODY_HEADER).ok();
    let body = View(body.as_deref().unwrap_or_default());
    let (first, pages) = match header.dump_type {
        DumpType::Complete => {
            let runs = &header.physical_memory.as_ref()?.runs;
            let pages = runs
                .iter()
                .try_fold(0u64, |sum, run| sum.checked_add(run.page_count))?;
            (header.size(), pages)
        }
        DumpType::Summary => {
            // An offset of zero here is the layout of the newer bitmap types.
            let first = u64::from(body.u32(0x0C).filter(|_| body.0.starts_with(b"SDMP"))?);
            (first, u64::from(body.u32(0x14)?))
        }
        DumpType::BitmapComplete | DumpType::BitmapKernel => {
            let marked = body.0.starts_with(b"FDMP") || body.0.starts_with(b"SDMP");
            // Sources swap the names of the two counts; the pages present are never more
            // than the bits.
            let pages = body.u64(0x28)?.min(body.u64(0x30)?);
            (body.u64(0x20).filter(|_| marked)?, pages)
        }
        _ => return None,
    };
    pages
        .checked_mul(page)?
        .checked_add(first)
        .filter(|_| first >= header.size())
}
