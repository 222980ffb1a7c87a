//! Physical memory of a memory dump: bytes by physical address.
//!
//! Runs are found by binary search, bitmap pages by rank. Pages are read one by one, positionally,
//! into a small cache, so resident memory does not grow with the dump and a file that shrinks
//! under the reader gives [`Absent::Truncated`], never a fault.

use std::cell::RefCell;

use crate::bytes::{Budget, Gpa, PagedReader, Pfn};
use crate::dump::physical::{PageMap, PhysicalBody};

use super::Absent;
use super::rank::{Ranks, SetBits};

/// Sets of the page cache.
const SETS: usize = 128;
/// Pages that a search of the whole file reads at once.
const PAGES_A_PIECE: usize = 256;
/// Steps that a read from a page at hand costs; one step is about a tenth of a microsecond.
const HIT: u64 = 1;
/// Steps that a page of the file costs besides its bytes.
const MISS: u64 = 16;
/// Bytes of a page that cost a step.
const BYTES_A_STEP: u64 = 256;
/// Pages a set holds: 512 pages altogether, 2 MiB of 4 KiB pages.
const WAYS: usize = 4;

/// The physical memory of one dump on one thread.
pub struct Physical<'a> {
    reader: &'a PagedReader<'a>,
    body: PhysicalBody,
    budget: &'a Budget,
    ranks: RefCell<Ranks>,
    cache: RefCell<PageCache>,
}

#[derive(Default)]
struct PageCache {
    clock: u64,
    sets: Vec<Vec<CachedPage>>,
}

struct CachedPage {
    pfn: u64,
    used: u64,
    /// As much of the page as the file holds.
    bytes: Vec<u8>,
}

impl<'a> Physical<'a> {
    /// Memory of a dump whose body was read from the same `reader`.
    pub fn new(
        reader: &'a PagedReader<'a>,
        body: PhysicalBody,
        budget: &'a Budget,
    ) -> Physical<'a> {
        Physical {
            reader,
            body,
            budget,
            ranks: RefCell::default(),
            cache: RefCell::default(),
        }
    }

    /// The work this dump may still cost.
    pub fn budget(&self) -> &'a Budget {
        self.budget
    }

    /// True when all bits of the bitmap were counted and they are not the number of pages the
    /// body states. False also where nobody had to look that far.
    pub fn bitmap_contradicts_count(&self) -> bool {
        match &self.body.map {
            PageMap::Bitmap(map) => self
                .ranks
                .borrow()
                .total(map)
                .is_some_and(|total| total != map.pages),
            PageMap::Runs(_) => false,
        }
    }

    /// Where a page lies in the file, in bytes.
    ///
    /// # Errors
    /// [`Absent::NotInDump`] when the dump does not hold it, [`Absent::Truncated`] when the file
    /// ends before what tells.
    pub fn file_offset(&self, pfn: Pfn) -> Result<u64, Absent> {
        let (first, index) = match &self.body.map {
            PageMap::Runs(runs) => {
                let after = runs.partition_point(|run| run.base_page <= pfn.0);
                let run = after
                    .checked_sub(1)
                    .and_then(|i| runs.get(i))
                    .filter(|run| pfn.0 - run.base_page < run.page_count)
                    .ok_or(Absent::NotInDump)?;
                (run.offset, pfn.0 - run.base_page)
            }
            PageMap::Bitmap(map) => {
                let mut ranks = self.ranks.borrow_mut();
                let rank = ranks.rank(self.reader, map, pfn.0, self.budget)?;
                (map.first_page, rank)
            }
        };
        index
            .checked_mul(self.body.page_size)
            .and_then(|bytes| first.checked_add(bytes))
            .ok_or(Absent::Truncated)
    }

    /// Fills `buf` from physical address `at`; it may cross pages.
    ///
    /// # Errors
    /// [`Absent::NotInDump`] or [`Absent::Truncated`] when any byte is missing.
    pub fn read(&self, at: Gpa, buf: &mut [u8]) -> Result<(), Absent> {
        let page = self.body.page_size;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let address = at.0.checked_add(done as u64).ok_or(Absent::NotInDump)?;
            let within = usize::try_from(address % page).map_err(|_| Absent::NotInDump)?;
            let room = usize::try_from(page).map_err(|_| Absent::NotInDump)? - within;
            let n = rest.len().min(room);
            let part = rest.get_mut(..n).ok_or(Absent::NotInDump)?;
            self.read_in_page(Pfn(address / page), within, part)?;
            done += n;
        }
        Ok(())
    }

    /// Shows every page the file holds to `visit`, in the order of the file, until it returns false.
    /// Reads the whole file in large pieces, past the cache; spends a step a page. Stops where the
    /// file does.
    pub fn each_page(&self, visit: &mut dyn FnMut(Pfn, &[u8]) -> bool) {
        let regions: Vec<(u64, u64, Option<u64>)> = match &self.body.map {
            PageMap::Runs(runs) => runs
                .iter()
                .map(|run| (run.offset, run.page_count, Some(run.base_page)))
                .collect(),
            PageMap::Bitmap(map) => vec![(map.first_page, map.pages, None)],
        };
        let mut marked = match &self.body.map {
            PageMap::Bitmap(map) => Some(SetBits::new(self.reader, map)),
            PageMap::Runs(_) => None,
        };
        let Ok(page) = usize::try_from(self.body.page_size) else {
            return;
        };
        let mut piece = vec![0; page.saturating_mul(PAGES_A_PIECE)];
        for (start, pages, base) in regions {
            let mut done = 0u64;
            while done < pages {
                let at = done
                    .checked_mul(self.body.page_size)
                    .and_then(|bytes| start.checked_add(bytes));
                let Some(at) = at else {
                    return;
                };
                let wanted = pages - done;
                let most = usize::try_from(wanted).unwrap_or(PAGES_A_PIECE);
                let len = most.min(PAGES_A_PIECE).saturating_mul(page);
                let Some(part) = piece.get_mut(..len) else {
                    return;
                };
                let read = self.reader.read_uncached(at, part).unwrap_or(0);
                let whole = part.get(..read).unwrap_or_default().chunks_exact(page);
                if whole.len() == 0 {
                    break;
                }
                for bytes in whole {
                    let pfn = match base {
                        Some(base) => base.checked_add(done),
                        None => marked.as_mut().and_then(Iterator::next),
                    };
                    let Some(pfn) = pfn else {
                        return;
                    };
                    done += 1;
                    if self.budget.spend(1).is_err() || !visit(Pfn(pfn), bytes) {
                        return;
                    }
                }
            }
        }
    }

    /// Fills `buf` from one page. Whoever asks pays, for a page of the file more than for one at hand:
    /// so every loop over memory is bounded, whatever else it counts.
    fn read_in_page(&self, pfn: Pfn, within: usize, buf: &mut [u8]) -> Result<(), Absent> {
        self.budget.spend(HIT).map_err(|_| Absent::NotInDump)?;
        let mut cache = self.cache.borrow_mut();
        let mut copy = |bytes: &[u8]| {
            let end = within.checked_add(buf.len())?;
            buf.copy_from_slice(bytes.get(within..end)?);
            Some(())
        };
        if let Some(bytes) = cache.get(pfn.0) {
            return copy(bytes).ok_or(Absent::Truncated);
        }
        let page = self.body.page_size / BYTES_A_STEP;
        self.budget
            .spend(MISS.saturating_add(page))
            .map_err(|_| Absent::NotInDump)?;
        let offset = self.file_offset(pfn)?;
        let size = usize::try_from(self.body.page_size).map_err(|_| Absent::NotInDump)?;
        let mut bytes = vec![0; size];
        let read = self
            .reader
            .read_uncached(offset, &mut bytes)
            .map_err(|_| Absent::NotInDump)?;
        bytes.truncate(read);
        let copied = copy(&bytes);
        cache.insert(pfn.0, bytes);
        copied.ok_or(Absent::Truncated)
    }
}

impl PageCache {
    fn get(&mut self, pfn: u64) -> Option<&[u8]> {
        self.clock += 1;
        let set = self.sets.get_mut((pfn % SETS as u64) as usize)?;
        let page = set.iter_mut().find(|page| page.pfn == pfn)?;
        page.used = self.clock;
        Some(&page.bytes)
    }

    /// Keeps a page; the one of its set unused for longest goes when the set is full.
    fn insert(&mut self, pfn: u64, bytes: Vec<u8>) {
        if self.sets.is_empty() {
            self.sets.resize_with(SETS, Vec::new);
        }
        let used = self.clock;
        let Some(set) = self.sets.get_mut((pfn % SETS as u64) as usize) else {
            return;
        };
        let page = CachedPage { pfn, used, bytes };
        if set.len() < WAYS {
            set.push(page);
        } else if let Some(oldest) = set.iter_mut().min_by_key(|page| page.used) {
            *oldest = page;
        }
    }
}
