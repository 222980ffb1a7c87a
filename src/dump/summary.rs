//! Type 2: `SUMMARY_DUMP`, the kernel memory dump of Windows 2000 to 7.
//!
//! The signature `SDMP` also opens type 6, whose layout differs; the field at +0x0C tells them
//! apart: here a file offset, there zero or filler. No tool outside Windows was found to read it.

use crate::bytes::{PagedReader, View};

use super::filler::written32;
use super::physical::{Bitmap, PageMap};
use super::{Damages, Header, bitmap};

/// Bytes before the bits in a 32-bit and a 64-bit file.
const BITS: (u64, u64) = (0x20, 0x28);
const HEADER_SIZE: usize = 0x0C;
const BITMAP_SIZE: usize = 0x10;
const PAGES: usize = 0x14;
const SIZE_OF_BITMAP: usize = 0x18;

/// Reads the body's header.
pub fn read(reader: &PagedReader<'_>, header: &Header, damage: &mut Damages) -> Option<PageMap> {
    let start = header.size();
    let room = reader.len().saturating_sub(start).min(BITS.1);
    let bytes = reader.read_vec(start, room).ok()?;
    let view = View(&bytes);
    if !bytes.starts_with(b"SDMP") {
        damage.note("the body does not start with SDMP", Some(start));
        return None;
    }
    let Some(first_page) = view
        .u32(HEADER_SIZE)
        .and_then(written32)
        .filter(|offset| *offset != 0)
    else {
        damage.note(
            "the body has the layout of a newer bitmap dump and is read as one",
            Some(start),
        );
        return bitmap::read(reader, header, damage);
    };
    let bits = view.u32(BITMAP_SIZE)?;
    let pages = view.u32(PAGES)?;
    if view.u32(SIZE_OF_BITMAP) != Some(bits) {
        damage.note(
            "the two sizes of the page bitmap differ",
            start.checked_add(SIZE_OF_BITMAP as u64),
        );
    }
    let before = if header.pointer == 4 { BITS.0 } else { BITS.1 };
    let map = Bitmap {
        bits_at: start.checked_add(before)?,
        bits: u64::from(bits),
        first_page: u64::from(first_page),
        pages: u64::from(pages),
    };
    bitmap::checked(map, damage)
}
