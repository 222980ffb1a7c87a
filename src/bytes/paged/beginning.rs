//! How a source begins, in one read, into room that the last dump of the thread left: the one cache that belongs to
//! a thread.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::{PREFIX, WHOLE};
use crate::bytes::{ReadAt, ReadError, make_room};

thread_local! {
    /// The head of the last dump read on this thread: a scan reads thousands, one after the other.
    static HEADS: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How a source begins, read once: enough to see what it is, and the first part of what its reader needs.
pub struct Beginning {
    head: Vec<u8>,
    /// How long reading it took.
    pub(super) took: Duration,
}

impl Beginning {
    /// Reads all of a source of up to 512 KiB, or the first 192 KiB of a longer one, in one read.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the system fails.
    pub fn read(source: &dyn ReadAt) -> Result<Beginning, ReadError> {
        let len = match source.len() {
            len if len <= WHOLE => usize::try_from(len).unwrap_or(PREFIX),
            _ => PREFIX,
        };
        // What an earlier dump left is overwritten or cut off.
        let mut beginning = Beginning {
            head: HEADS.take(),
            took: Duration::ZERO,
        };
        make_room(&mut beginning.head, len);
        let started = Instant::now();
        let read = source.read_up_to(0, &mut beginning.head)?;
        beginning.took = started.elapsed();
        beginning.head.truncate(read);
        Ok(beginning)
    }

    /// The bytes, from offset 0.
    pub fn bytes(&self) -> &[u8] {
        &self.head
    }
}

impl Drop for Beginning {
    fn drop(&mut self) {
        // A thread that ends has no more dumps to read.
        let _ = HEADS.try_with(|kept| kept.set(std::mem::take(&mut self.head)));
    }
}
