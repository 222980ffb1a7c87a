//! One dump's reader: its beginning read once, then pages on demand through a small cache.
//!
//! A file of up to 512 KiB is read whole in one read. Of a longer one the fixed part of a triage dump ends within the
//! first 192 KiB; what lies behind is read where it is needed: page by page where a read costs little, and
//! where each one waits for a server, so much at once as comes in the time of one wait. Memory is bounded
//! whatever the size.

mod beginning;
mod cache;

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{Duration, Instant};

pub use beginning::Beginning;

use self::cache::{Cache, Window};
use super::{ReadAt, ReadError, make_room};

/// Bytes of the beginning of a long source.
const PREFIX: usize = PagedReader::PREFIX;
/// Sources up to this long are read whole.
const WHOLE: u64 = 512 * 1024;
/// Bytes of a cached page.
const PAGE: usize = 4096;
/// Bytes read at the end of a long source.
const TAIL: usize = 4096;
/// A read of [`TAIL`] that takes longer waits for something far away.
const FAR: Duration = Duration::from_micros(500);
/// Most bytes of one window: a small dump of Windows 10 has one to four MiB.
const WINDOW: usize = 4 << 20;
/// Longest source that is read in windows. What is asked of a larger dump lies far apart.
const SMALL: u64 = 64 << 20;
/// Windows that one reader keeps.
const WINDOWS: usize = 2;

/// A reader for one dump on one thread. Reads past the end are errors; nothing is ever padded.
pub struct PagedReader<'a> {
    source: &'a dyn ReadAt,
    beginning: Beginning,
    /// The last bytes of a long source.
    tail: Vec<u8>,
    cache: RefCell<Cache>,
    /// Bytes of one read behind the beginning.
    piece: usize,
}

/// How much one read fetches: as much as comes in the time that a read waits before anything comes. `short` is how
/// long one of [`TAIL`] took, `long` one of [`PREFIX`].
fn piece(long: Duration, short: Duration) -> usize {
    if short < FAR {
        return PAGE;
    }
    // Two waits differ by half of one.
    let coming = long.saturating_sub(short + short / 2).as_secs_f64();
    let bytes = (PREFIX - TAIL) as f64 * short.as_secs_f64() / coming.max(1e-9);
    // A float beyond the range becomes its end.
    (bytes as usize).clamp(PREFIX, WINDOW)
}

impl<'a> PagedReader<'a> {
    /// Bytes read of a long source when it is opened.
    pub const PREFIX: usize = 192 * 1024;

    /// Opens `source` by reading its beginning.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the first read fails.
    pub fn open(source: &'a dyn ReadAt) -> Result<PagedReader<'a>, ReadError> {
        Ok(PagedReader::begun(source, Beginning::read(source)?))
    }

    /// A reader of `source`, whose beginning was read already.
    pub fn begun(source: &'a dyn ReadAt, beginning: Beginning) -> PagedReader<'a> {
        PagedReader {
            source,
            beginning,
            tail: Vec::new(),
            cache: RefCell::default(),
            piece: PAGE,
        }
    }

    /// What was read of the beginning, for another reader.
    pub fn into_beginning(self) -> Beginning {
        self.beginning
    }

    /// Reads the last 4 KiB of a source that is longer than its beginning, which also tells how far away it is.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the system fails.
    pub fn read_tail(&mut self) -> Result<(), ReadError> {
        if self.len() <= self.prefix().len() as u64 {
            return Ok(());
        }
        let mut tail = vec![0; TAIL];
        let started = Instant::now();
        let read = self
            .source
            .read_up_to(self.len().saturating_sub(TAIL as u64), &mut tail)?;
        if self.len() <= SMALL {
            self.piece = piece(self.beginning.took, started.elapsed());
        }
        tail.truncate(read);
        self.tail = tail;
        Ok(())
    }

    /// The last `len` bytes, as far as the beginning and [`PagedReader::read_tail`] hold them.
    pub fn last(&self, len: usize) -> &[u8] {
        let held = match self.tail.is_empty() {
            true => self.prefix(),
            false => &self.tail,
        };
        held.get(held.len().saturating_sub(len)..)
            .unwrap_or_default()
    }

    /// Length of the source in bytes.
    pub fn len(&self) -> u64 {
        // A file that shrank below its prefix since it was opened has what was read.
        match self.source.len() {
            len if len <= WHOLE => self.prefix().len() as u64,
            _ if self.prefix().len() < PREFIX => self.prefix().len() as u64,
            len => len,
        }
    }

    /// Length of the source in bytes when it was opened, whatever came of it since.
    pub fn source_len(&self) -> u64 {
        self.source.len()
    }

    /// The bytes read when the source was opened, from offset 0: all of a source of up to 512 KiB, else 192 KiB.
    pub fn prefix(&self) -> &[u8] {
        self.beginning.bytes()
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
        if self.copy_from_window(at, buf)? {
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

    /// Fills `buf` from the tail or, where the source is far away, from a window; false where neither serves.
    fn copy_from_window(&self, at: u64, buf: &mut [u8]) -> Result<bool, ReadError> {
        let tail_start = self.len().saturating_sub(self.tail.len() as u64);
        if copy(tail_start, &self.tail, at, buf) {
            return Ok(true);
        }
        if self.piece <= PAGE || buf.len() > self.piece {
            return Ok(false);
        }
        let mut cache = self.cache.borrow_mut();
        for window in &cache.windows {
            if copy(window.start, &window.bytes, at, buf) {
                return Ok(true);
            }
        }
        let Some(mut window) = Window::reserve(self.piece) else {
            return Ok(false);
        };
        // Windows lie side by side behind the beginning; what reaches over a seam has one of its own.
        let (first, piece) = (self.prefix().len() as u64, self.piece as u64);
        let behind = at.saturating_sub(first);
        window.start = first.saturating_add(behind - behind % piece);
        let end = at.saturating_add(buf.len() as u64);
        if end > window.start.saturating_add(piece) || at < first {
            window.start = at;
        }
        // The last bytes are here already.
        let room = tail_start.max(end).saturating_sub(window.start).min(piece);
        make_room(&mut window.bytes, usize::try_from(room).unwrap_or(0));
        let read = self.source.read_up_to(window.start, &mut window.bytes)?;
        window.bytes.truncate(read);
        let served = copy(window.start, &window.bytes, at, buf);
        if cache.windows.len() >= WINDOWS {
            cache.windows.remove(0);
        }
        cache.windows.push(window);
        Ok(served)
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

/// Fills `buf` from `bytes`, which lie at `start`, if they hold all of it.
fn copy(start: u64, bytes: &[u8], at: u64, buf: &mut [u8]) -> bool {
    let from = at
        .checked_sub(start)
        .and_then(|skip| usize::try_from(skip).ok())
        .and_then(|skip| bytes.get(skip..skip.checked_add(buf.len())?));
    match from {
        Some(from) => {
            buf.copy_from_slice(from);
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests;
