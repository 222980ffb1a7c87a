//! An image in a dump's memory, of which pages are fetched as they are needed.
//!
//! Whatever looks at the image meets only bytes that are there; a page that is absent stays
//! absent and is never read as zeros.

use std::sync::atomic::Ordering;

use super::layout::Layout;
use super::{Image, ImageError};

/// Bytes of a page.
const PAGE: u32 = 0x1000;
/// Pages fetched for one question: the largest answer, a version resource, has a few.
const MOST_PAGES: usize = 24;

impl Image {
    /// The image whose first page `fetch` gives for RVA 0.
    ///
    /// # Errors
    /// [`ImageError`] when that page is absent or no image starts there.
    pub fn mapped(fetch: &mut dyn FnMut(u32) -> Option<Vec<u8>>) -> Result<Image, ImageError> {
        let mut pieces = Vec::new();
        // The headers of an image with many sections reach into a second page.
        for rva in [0, PAGE] {
            pieces.extend(fetch(rva).map(|bytes| (rva, bytes)));
            match Image::from_mapped(pieces.clone()) {
                Err(ImageError::HeadersCutOff) => {}
                result => return result,
            }
        }
        Err(ImageError::HeadersCutOff)
    }

    /// Asks `question` again and again, each time with the page that was missing before, until
    /// there is an answer, nothing is missing or a page is not to be had.
    pub fn with_pages<T>(
        &mut self,
        fetch: &mut dyn FnMut(u32) -> Option<Vec<u8>>,
        question: impl Fn(&Image) -> Option<T>,
    ) -> Option<T> {
        for _ in 0..MOST_PAGES {
            let _ = self.take_missed();
            let answer = question(self);
            let Some(missed) = self.take_missed() else {
                return answer;
            };
            let page = missed - missed % PAGE;
            let Some(bytes) = fetch(page) else {
                return answer;
            };
            self.add(page, bytes);
        }
        None
    }

    /// The RVA last asked for in vain.
    fn take_missed(&self) -> Option<u32> {
        match &self.layout {
            Layout::Mapped { missed, .. } => {
                let missed = missed.swap(0, Ordering::Relaxed).checked_sub(1)?;
                u32::try_from(missed).ok()
            }
            Layout::File { .. } => None,
        }
    }

    /// Adds a page that was missing.
    fn add(&mut self, rva: u32, bytes: Vec<u8>) {
        if let Layout::Mapped { pieces, .. } = &mut self.layout {
            let at = pieces.partition_point(|(start, _)| *start < rva);
            pieces.insert(at, (rva, bytes));
        }
    }
}
