//! Reads records, lists and memory of a minidump at checked places.

use crate::bytes::{PagedReader, View};
use crate::dump::Damages;

use super::copy::{Location, MEMORY_DESCRIPTOR};

/// Memory ranges looked at to find the one that holds an address.
const MOST_RANGES: u32 = 256 * 1024;

/// Where the dump has memory.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// The crashing thread's stack: address and place.
    pub stack: Option<(u64, Location)>,
    /// MINIDUMP_MEMORY_LIST.
    pub list: Location,
    /// MINIDUMP_MEMORY64_LIST, in dumps with full memory.
    pub list64: Location,
}

/// A piece of memory.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// The bytes; empty when the dump has none there.
    pub bytes: Vec<u8>,
    /// The range goes on behind them.
    pub more: bool,
    /// The range goes on behind the end of the file.
    pub cut: bool,
}

impl Ranges {
    /// The `len` bytes of memory at `address`, or as many as the dump has from there on in one range.
    pub fn read(&self, reader: &PagedReader<'_>, address: u64, len: u64) -> Piece {
        let Some((at, declared)) = self.find(reader, address) else {
            return Piece::default();
        };
        let left = declared.min(reader.len().saturating_sub(at));
        Piece {
            bytes: reader.read_vec(at, len.min(left)).unwrap_or_default(),
            more: left > len,
            cut: left < declared,
        }
    }

    /// File offset of the byte at `address` and how many bytes follow it in its range.
    fn find(&self, reader: &PagedReader<'_>, address: u64) -> Option<(u64, u64)> {
        let within = |start: u64, size: u64, at: u64| {
            let offset = address.checked_sub(start).filter(|o| *o < size)?;
            Some((at.checked_add(offset)?, size - offset))
        };
        if let Some((start, location)) = self.stack
            && let Some(found) = within(start, location.size.into(), location.rva.into())
        {
            return Some(found);
        }
        // A list that is cut short matters only when the address is not found, which the caller says.
        let unsaid = &mut Damages::default();
        if let Some((_, ranges)) =
            read_list(reader, self.list, MEMORY_DESCRIPTOR, MOST_RANGES, unsaid)
        {
            for range in ranges.as_chunks::<MEMORY_DESCRIPTOR>().0 {
                let view = View(range);
                let at = read_location(&view, 8)?;
                if let Some(found) = within(view.u64(0)?, at.size.into(), at.rva.into()) {
                    return Some(found);
                }
            }
        }
        let header = read_record(reader, self.list64, 16)?;
        let (count, mut at) = (View(&header).u64(0)?, View(&header).u64(8)?);
        let first = u64::from(self.list64.rva).checked_add(16)?;
        let room = reader.len().saturating_sub(first) / MEMORY_DESCRIPTOR as u64;
        let count = count.min(room).min(MOST_RANGES.into());
        let ranges = reader
            .read_vec(first, count.checked_mul(MEMORY_DESCRIPTOR as u64)?)
            .ok()?;
        for range in ranges.as_chunks::<MEMORY_DESCRIPTOR>().0 {
            let (start, size) = (View(range).u64(0)?, View(range).u64(8)?);
            if let Some(found) = within(start, size, at) {
                return Some(found);
            }
            at = at.checked_add(size)?;
        }
        None
    }
}

/// Copies the record at `location`, at most `most` bytes of it.
pub(super) fn read_record(
    reader: &PagedReader<'_>,
    location: Location,
    most: u32,
) -> Option<Vec<u8>> {
    let len = location.size.min(most);
    if len == 0 {
        return None;
    }
    reader.read_vec(location.rva.into(), len.into()).ok()
}

/// The records of a list that begins with a 32-bit count, as far as they lie in its stream and in the
/// file, and the count declared. Some writers put four bytes between count and records.
pub(super) fn read_list(
    reader: &PagedReader<'_>,
    at: Location,
    size: usize,
    most: u32,
    damage: &mut Damages,
) -> Option<(u32, Vec<u8>)> {
    let declared = View(&read_record(reader, at, 4)?).u32(0)?;
    let padded = u64::from(declared) * size as u64 + 8 == u64::from(at.size);
    let skip = if padded { 8 } else { 4 };
    let first = at.rva.checked_add(skip)?;
    let count = bounded(declared, most, "records of a list", damage);
    let in_stream = at.size.saturating_sub(skip) as usize / size;
    let in_stream = u32::try_from(in_stream).unwrap_or(u32::MAX).min(count);
    let fitting = fitting(reader, first, size, in_stream);
    if fitting < count {
        damage.note(
            format!("a list of {count} records is cut short after {fitting}"),
            offset(at),
        );
    }
    let records = reader
        .read_vec(first.into(), u64::from(fitting) * size as u64)
        .ok()?;
    Some((declared, records))
}

/// A MINIDUMP_LOCATION_DESCRIPTOR.
pub(super) fn read_location(view: &View<'_>, at: usize) -> Option<Location> {
    Some(Location {
        size: view.u32(at)?,
        rva: view.u32(at.checked_add(4)?)?,
    })
}

/// How many of `count` records of `size` bytes from `at` lie in the file.
pub(super) fn fitting(reader: &PagedReader<'_>, at: u32, size: usize, count: u32) -> u32 {
    let room = reader.len().saturating_sub(at.into()) / size as u64;
    u32::try_from(room).unwrap_or(u32::MAX).min(count)
}

/// `count`, at most `most`; more is damage.
pub(super) fn bounded(count: u32, most: u32, what: &str, damage: &mut Damages) -> u32 {
    if count > most {
        damage.note(
            format!("{count} {what} are declared: {most} are looked at"),
            None,
        );
    }
    count.min(most)
}

/// Where a record stands, for a finding; nothing for one that is absent.
pub(super) fn offset(at: Location) -> Option<u64> {
    (at.size > 0).then_some(at.rva.into())
}
