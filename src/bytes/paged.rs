//! One dump's reader: a prefix read once, then pages on demand through a small cache.
//!
//! The fixed part of a triage dump ends within its first 192 KiB, so one read serves it; what
//! lies behind is read page by page where it is needed. Memory is bounded whatever the size.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use super::{ReadAt, ReadError};

/// Bytes of the prefix.
const PREFIX: usize = PagedReader::PREFIX;
/// Bytes kept free ahead of the prefix.
const ROOM: usize = 8;
/// Bytes of a cached page.
const PAGE: usize = 4096;
/// Pages kept.
const PAGES: usize = 64;

/// A reader for one dump on one thread. Reads past the end are errors; nothing is ever padded.
pub struct PagedReader<'a> {
    source: &'a dyn ReadAt,
    /// [`ROOM`] bytes, and the prefix.
    head: Vec<u8>,
    cache: RefCell<Cache>,
}

thread_local! {
    /// The head of the last dump read on this thread: a scan reads thousands, one after the other.
    static HEADS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Drop for PagedReader<'_> {
    fn drop(&mut self) {
        // A thread that ends has no more dumps to read.
        let _ = HEADS.try_with(|kept| kept.set(std::mem::take(&mut self.head)));
    }
}

#[derive(Default)]
struct Cache {
    clock: u64,
    pages: Vec<CachedPage>,
}

struct CachedPage {
    number: u64,
    used: u64,
    bytes: Vec<u8>,
}

impl<'a> PagedReader<'a> {
    /// Bytes read when a source is opened.
    pub const PREFIX: usize = 192 * 1024;

    /// Opens `source` by reading its first 192 KiB (or all of it when it is shorter).
    ///
    /// # Errors
    /// [`ReadError::Io`] when the first read fails.
    pub fn open(source: &'a dyn ReadAt) -> Result<PagedReader<'a>, ReadError> {
        let len = usize::try_from(source.len()).unwrap_or(PREFIX).min(PREFIX);
        let mut head = HEADS.take();
        // What an earlier dump left is overwritten or cut off.
        head.resize(ROOM + len, 0);
        let read = source.read_up_to(0, head.get_mut(ROOM..).unwrap_or_default())?;
        head.truncate(ROOM + read);
        Ok(PagedReader {
            source,
            head,
            cache: RefCell::default(),
        })
    }

    /// Length of the source in bytes.
    pub fn len(&self) -> u64 {
        // A file that shrank below its prefix since it was opened has what was read.
        if self.prefix().len() < PREFIX {
            self.prefix().len() as u64
        } else {
            self.source.len()
        }
    }

    /// True when there is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes read when the source was opened, from offset 0.
    pub fn prefix(&self) -> &[u8] {
        self.head.get(ROOM..).unwrap_or_default()
    }

    /// Gives `take` the prefix with `before` ahead of it and `after` behind it in one piece: hashing one piece
    /// takes a sixth less time than hashing three.
    pub fn enclosed<T>(
        &mut self,
        before: [u8; ROOM],
        after: &[u8],
        take: impl FnOnce(&[u8]) -> T,
    ) -> T {
        if let Some(room) = self.head.first_chunk_mut() {
            *room = before;
        }
        let len = self.head.len();
        self.head.extend_from_slice(after);
        let taken = take(&self.head);
        self.head.truncate(len);
        taken
    }

    /// Fills `buf` from offset `at`.
    ///
    /// # Errors
    /// [`ReadError::PastEnd`] when any byte lies past the end, [`ReadError::Io`] when the system fails.
    pub fn read_exact_at(&self, at: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let past_end = || ReadError::PastEnd {
            at,
            wanted: buf.len() as u64,
            len: self.len(),
        };
        let end = at.checked_add(buf.len() as u64).ok_or_else(past_end)?;
        if end > self.len() {
            return Err(past_end());
        }
        if let Some(from) = usize::try_from(at)
            .ok()
            .and_then(|start| self.prefix().get(start..start.checked_add(buf.len())?))
        {
            buf.copy_from_slice(from);
            return Ok(());
        }
        if buf.len() > PAGE * 4 {
            return self.read_directly(at, buf);
        }
        let mut done = 0;
        while done < buf.len() {
            let position = at.saturating_add(done as u64);
            let copied = self.copy_from_page(position, buf.get_mut(done..).unwrap_or_default())?;
            if copied == 0 {
                return Err(ReadError::PastEnd {
                    at: position,
                    wanted: (buf.len() - done) as u64,
                    len: self.len(),
                });
            }
            done += copied;
        }
        Ok(())
    }

    /// The `len` bytes at `at`, owned. `len` is checked against the source before it is allocated.
    ///
    /// # Errors
    /// As [`PagedReader::read_exact_at`].
    pub fn read_vec(&self, at: u64, len: u64) -> Result<Vec<u8>, ReadError> {
        let fits = at.checked_add(len).is_some_and(|end| end <= self.len());
        let Some(len) = usize::try_from(len).ok().filter(|_| fits) else {
            return Err(ReadError::PastEnd {
                at,
                wanted: len,
                len: self.len(),
            });
        };
        let mut bytes = vec![0; len];
        self.read_exact_at(at, &mut bytes)?;
        Ok(bytes)
    }

    /// The `len` bytes at `at`, borrowed where the prefix holds them.
    ///
    /// # Errors
    /// As [`PagedReader::read_exact_at`].
    pub fn bytes(&self, at: u64, len: u64) -> Result<Cow<'_, [u8]>, ReadError> {
        let held = usize::try_from(len).ok().and_then(|len| self.held(at, len));
        match held {
            Some(bytes) => Ok(Cow::Borrowed(bytes)),
            None => self.read_vec(at, len).map(Cow::Owned),
        }
    }

    /// The `len` bytes at `at` where the prefix holds them: no copy, no read.
    pub fn held(&self, at: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(at).ok()?;
        self.prefix().get(start..start.checked_add(len)?)
    }

    /// Reads what there is at `at` in one read past this reader's own pages and returns how many
    /// bytes that were: for callers that keep pages of their own. What the prefix holds costs nothing.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the system fails.
    pub fn read_uncached(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let end = at.saturating_add(buf.len() as u64);
        if end <= self.prefix().len() as u64 {
            return self.read_exact_at(at, buf).map(|()| buf.len());
        }
        let room = usize::try_from(self.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let n = room.min(buf.len());
        match buf.get_mut(..n) {
            Some(part) if n > 0 => self.source.read_up_to(at, part),
            _ => Ok(0),
        }
    }

    fn read_directly(&self, at: u64, buf: &mut [u8]) -> Result<(), ReadError> {
        let read = self.source.read_up_to(at, buf)?;
        if read < buf.len() {
            return Err(ReadError::PastEnd {
                at,
                wanted: buf.len() as u64,
                len: self.len(),
            });
        }
        Ok(())
    }

    /// Copies what the page at `position` holds of `buf` and returns how many bytes that were.
    fn copy_from_page(&self, position: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let number = position / PAGE as u64;
        let offset = (position % PAGE as u64) as usize;
        let mut cache = self.cache.borrow_mut();
        let index = match cache.pages.iter().position(|page| page.number == number) {
            Some(index) => index,
            None => {
                let mut bytes = vec![0; PAGE];
                let read = self
                    .source
                    .read_up_to(number.saturating_mul(PAGE as u64), &mut bytes)?;
                bytes.truncate(read);
                cache.insert(number, bytes)
            }
        };
        cache.clock += 1;
        let used = cache.clock;
        let Some(page) = cache.pages.get_mut(index) else {
            return Ok(0);
        };
        page.used = used;
        let from = page.bytes.get(offset..).unwrap_or_default();
        let n = from.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), from.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
}

impl Cache {
    /// Adds a page, dropping the one unused for longest when the cache is full.
    fn insert(&mut self, number: u64, bytes: Vec<u8>) -> usize {
        let page = CachedPage {
            number,
            used: 0,
            bytes,
        };
        if self.pages.len() < PAGES {
            self.pages.push(page);
            return self.pages.len() - 1;
        }
        let oldest = self
            .pages
            .iter()
            .enumerate()
            .min_by_key(|(_, page)| page.used)
            .map_or(0, |(index, _)| index);
        if let Some(slot) = self.pages.get_mut(oldest) {
            *slot = page;
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 7) as u8).collect()
    }

    #[test]
    fn reads_across_prefix_and_pages_give_the_source_bytes() {
        let bytes = source(PREFIX + 3 * PAGE + 17);
        let reader = PagedReader::open(&bytes).unwrap();
        for (at, len) in [
            (0, 16),
            (PREFIX - 5, 10),
            (PREFIX + PAGE - 3, PAGE),
            (1, PREFIX + PAGE),
        ] {
            let mut buf = vec![0; len];
            reader.read_exact_at(at as u64, &mut buf).unwrap();
            assert_eq!(buf, bytes[at..at + len]);
        }
    }

    #[test]
    fn a_read_past_the_end_is_an_error_and_allocates_nothing() {
        let bytes = source(100);
        let reader = PagedReader::open(&bytes).unwrap();
        assert!(matches!(
            reader.read_vec(90, 11),
            Err(ReadError::PastEnd { .. })
        ));
        assert!(matches!(
            reader.read_vec(0, u64::MAX),
            Err(ReadError::PastEnd { .. })
        ));
        assert!(matches!(
            reader.read_vec(u64::MAX, 2),
            Err(ReadError::PastEnd { .. })
        ));
    }

    #[test]
    fn the_cache_stays_bounded_over_a_long_source() {
        let bytes = source(PREFIX + (PAGES + 40) * PAGE);
        let reader = PagedReader::open(&bytes).unwrap();
        for page in 0..PAGES + 40 {
            let at = PREFIX + page * PAGE;
            let mut buf = [0; 8];
            reader.read_exact_at(at as u64, &mut buf).unwrap();
            assert_eq!(buf, bytes[at..at + 8]);
        }
        assert_eq!(reader.cache.borrow().pages.len(), PAGES);
    }
}
