//! Types 5 and 6: `BITMAP_DUMP` of Windows 8 and later, one layout for both widths.
//!
//! Sources swap the names of the two counts; the number of bits is never the smaller. The first
//! page need not be aligned.

use crate::bytes::{PagedReader, View};

use super::physical::{Bitmap, PageMap};
use super::{Damages, Header};

const FIRST_PAGE: usize = 0x20;
const PAGES: usize = 0x28;
const NUMBER_OF_BITS: usize = 0x30;
const BITS: u64 = 0x38;
/// 16 TiB of 4 KiB pages: more than any Windows addresses.
const MOST_BITS: u64 = 1 << 32;

/// Reads the body's header.
pub fn read(reader: &PagedReader<'_>, header: &Header, damage: &mut Damages) -> Option<PageMap> {
    let start = header.size();
    let bytes = reader
        .read_vec(start, reader.len().saturating_sub(start).min(BITS))
        .ok()?;
    let view = View(&bytes);
    if !bytes.starts_with(b"FDMP") && !bytes.starts_with(b"SDMP") {
        damage.note("the body starts with neither FDMP nor SDMP", Some(start));
        return None;
    }
    let counts = (view.u64(PAGES)?, view.u64(NUMBER_OF_BITS)?);
    let map = Bitmap {
        bits_at: start.checked_add(BITS)?,
        bits: counts.0.max(counts.1),
        first_page: view.u64(FIRST_PAGE)?,
        pages: counts.0.min(counts.1),
    };
    checked(map, damage)
}

/// Refuses a bitmap that overlaps the pages or describes more memory than exists.
pub(super) fn checked(map: Bitmap, damage: &mut Damages) -> Option<PageMap> {
    let end = map.bits_at.checked_add(map.bits.div_ceil(8))?;
    if map.bits > MOST_BITS || end > map.first_page {
        damage.note(
            format!(
                "a page bitmap of {} bits does not end before the first page at {:#x}",
                map.bits, map.first_page
            ),
            Some(map.bits_at),
        );
        return None;
    }
    if map.pages > map.bits {
        damage.note(
            "the dump counts more pages than its bitmap has bits",
            Some(map.bits_at),
        );
    }
    Some(PageMap::Bitmap(map))
}
