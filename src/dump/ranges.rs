//! Types 8, 9 and 0xA: `RDMP`, ranges of page frames, written by debuggers since 2022.
//!
//! Source: the structures of the `kdmp-parser` crate. The table is bounded by its own size, by
//! the first page and, in type 0xA, by a total; pages follow in the order of the table.

use crate::bytes::{Budget, PagedReader, View};

use super::physical::{FileRun, PageMap};
use super::{Damages, DumpType, Header};

const MARKER: u32 = 0x40;
const METADATA_SIZE: usize = 0x10;
const FIRST_PAGE: usize = 0x18;
const TOTAL_PAGES: usize = 0x28;
const RANGES: u64 = 0x30;
/// Bytes of one range.
const RANGE: u64 = 16;
/// Ranges read: a 64 GiB live dump has some ten thousand.
const MOST: u64 = 1 << 18;
/// Type 0xA counts its pages.
const COMPLETE: u32 = 0xA;

/// Reads the table of ranges.
pub fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    page_size: u64,
    budget: &Budget,
    damage: &mut Damages,
) -> Option<PageMap> {
    let start = header.size();
    let head = reader.read_vec(start, RANGES).ok()?;
    let view = View(&head);
    if view.u32(0) != Some(MARKER) || head.get(4..12) != Some(b"RDMPDUMP".as_slice()) {
        damage.note("the body does not start with RDMP", Some(start));
        return None;
    }
    let first_page = view.u64(FIRST_PAGE)?;
    let table = start.checked_add(RANGES)?;
    let room = first_page.checked_sub(table)?.min(view.u64(METADATA_SIZE)?);
    let held = reader.len().saturating_sub(table);
    let count = room.min(held) / RANGE;
    if count > MOST {
        damage.note(
            format!("{count} ranges of pages: only {MOST} are read"),
            Some(table),
        );
    }
    let bytes = reader
        .read_vec(table, count.min(MOST).checked_mul(RANGE)?)
        .ok()?;
    let total = (header.dump_type == DumpType::Ranges(COMPLETE))
        .then(|| view.u64(TOTAL_PAGES))
        .flatten()
        .filter(|total| *total != 0);
    let ranges = bytes
        .as_chunks::<16>()
        .0
        .iter()
        .filter_map(|range| Some((View(range).u64(0)?, View(range).u64(8)?)));
    let runs = lay_out(ranges, first_page, page_size, total, budget, damage);
    Some(PageMap::Runs(disjoint(runs, damage)))
}

/// Gives every range its place in the file.
fn lay_out(
    ranges: impl Iterator<Item = (u64, u64)>,
    first_page: u64,
    page_size: u64,
    total: Option<u64>,
    budget: &Budget,
    damage: &mut Damages,
) -> Vec<FileRun> {
    let mut runs = Vec::new();
    let (mut offset, mut pages) = (first_page, 0u64);
    for (index, (base_page, page_count)) in ranges.enumerate() {
        let ended = page_count == 0 || (base_page == 0 && index > 0);
        if ended || total.is_some_and(|total| pages >= total) || budget.spend(1).is_err() {
            break;
        }
        let next = page_count
            .checked_mul(page_size)
            .and_then(|bytes| offset.checked_add(bytes));
        let (Some(next), Some(_)) = (next, base_page.checked_add(page_count)) else {
            damage.note("a range of pages is larger than any file", None);
            break;
        };
        runs.push(FileRun {
            base_page,
            page_count,
            offset,
        });
        offset = next;
        pages = pages.saturating_add(page_count);
    }
    runs
}

/// Sorts the ranges; where two overlap, the one that starts first keeps its pages.
fn disjoint(mut runs: Vec<FileRun>, damage: &mut Damages) -> Vec<FileRun> {
    runs.sort_by_key(|run| (run.base_page, run.offset));
    let before = runs.len();
    let mut end = 0;
    runs.retain(|run| {
        let apart = run.base_page >= end;
        if apart {
            end = run.base_page.saturating_add(run.page_count);
        }
        apart
    });
    if runs.len() < before {
        damage.note(
            format!(
                "{} ranges of pages overlap others and are left out",
                before - runs.len()
            ),
            None,
        );
    }
    runs
}
