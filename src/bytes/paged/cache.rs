//! What a reader keeps of what lies behind the beginning: pages, and windows of a source that is far away.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Pages kept.
pub(super) const PAGES: usize = 64;
/// Bytes of all readers' windows together; who finds no room reads page by page.
pub(super) const WINDOW_BYTES: usize = 128 << 20;

/// Bytes of windows in use.
pub(super) static IN_USE: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
pub(super) struct Cache {
    pub(super) clock: u64,
    pub(super) pages: Vec<CachedPage>,
    pub(super) windows: Vec<Window>,
}

pub(super) struct CachedPage {
    pub(super) number: u64,
    pub(super) used: u64,
    pub(super) bytes: Vec<u8>,
}

impl Cache {
    /// Adds a page, dropping the one unused for longest when the cache is full.
    pub(super) fn insert(&mut self, number: u64, bytes: Vec<u8>) -> usize {
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

/// A long piece of a source that is far away. Its bytes count in [`IN_USE`].
pub(super) struct Window {
    pub(super) start: u64,
    pub(super) bytes: Vec<u8>,
    room: usize,
}

impl Window {
    /// Room for a window; `None` when all readers together have no more.
    pub(super) fn reserve(room: usize) -> Option<Window> {
        let taken = IN_USE.fetch_add(room, Ordering::Relaxed);
        let window = Window {
            start: 0,
            bytes: Vec::new(),
            room,
        };
        // Dropping it gives the room back.
        (taken.saturating_add(room) <= WINDOW_BYTES).then_some(window)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        IN_USE.fetch_sub(self.room, Ordering::Relaxed);
    }
}
