//! The body of a memory dump: which physical pages the file holds and where.
//!
//! Only the body's own header is read here, one file a layout; pages and the bits of a bitmap are
//! read when memory is asked for. Nothing a body says about its size is allocated unchecked.
//! Source: `docs/memory-dumps.md`.

use crate::bytes::{Budget, PagedReader};

use super::{Damages, DumpType, Header, bitmap, complete, ranges, summary};

/// A run of pages that lie one after another in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileRun {
    /// First page frame number.
    pub base_page: u64,
    /// Pages in the run, never 0.
    pub page_count: u64,
    /// File offset of the first page, in bytes.
    pub offset: u64,
}

/// A bitmap of the pages in the file: bit n (byte n / 8, least significant first) is page n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// File offset of the bits.
    pub bits_at: u64,
    /// Number of bits.
    pub bits: u64,
    /// File offset of the first page; need not be aligned.
    pub first_page: u64,
    /// Pages in the file by the body's own count.
    pub pages: u64,
}

/// Where pages lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageMap {
    /// Ascending runs that do not overlap.
    Runs(Vec<FileRun>),
    /// Set bits, in ascending order, are the pages in the file.
    Bitmap(Bitmap),
}

/// The physical memory of a memory dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalBody {
    /// Size of a page in bytes.
    pub page_size: u64,
    /// Where pages lie.
    pub map: PageMap,
}

impl PhysicalBody {
    /// First file offset past the last page; `None` when there are no pages or no such offset.
    pub fn end(&self) -> Option<u64> {
        match &self.map {
            PageMap::Runs(runs) => runs
                .iter()
                .map(|run| {
                    run.page_count
                        .checked_mul(self.page_size)?
                        .checked_add(run.offset)
                })
                .try_fold(None, |most: Option<u64>, end| Some(most.max(Some(end?))))
                .flatten(),
            PageMap::Bitmap(bitmap) => bitmap
                .pages
                .checked_mul(self.page_size)?
                .checked_add(bitmap.first_page),
        }
    }
}

/// Reads the body's header. `None`, with the reason in `damage`, when no page can be found.
pub fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    budget: &Budget,
    damage: &mut Damages,
) -> Option<PhysicalBody> {
    let start = header.size();
    if reader.len() <= start {
        // A header that is cut off itself was noted.
        if reader.len() == start {
            damage.note("header intact, body missing", Some(start));
        }
        return None;
    }
    let page_size = header.machine?.page_size();
    let map = match header.dump_type {
        DumpType::Complete => complete::read(header, page_size, damage),
        DumpType::Summary => summary::read(reader, header, damage),
        DumpType::BitmapComplete | DumpType::BitmapKernel => bitmap::read(reader, header, damage),
        DumpType::Ranges(_) => ranges::read(reader, header, page_size, budget, damage),
        DumpType::Triage | DumpType::HeaderOnly | DumpType::Unknown(_) => None,
    };
    let Some(map) = map else {
        damage.note("how large the dump should be cannot be told", Some(start));
        return None;
    };
    let body = PhysicalBody { page_size, map };
    match body.end() {
        Some(end) if end > reader.len() => damage.note(
            format!(
                "the file is truncated: {} of {end} bytes, {} missing",
                reader.len(),
                end - reader.len()
            ),
            Some(reader.len()),
        ),
        Some(_) => {}
        None => damage.note(
            "the dump declares more pages than any file holds",
            Some(start),
        ),
    }
    Some(body)
}
