//! Tells a watcher how long a thread has been inside one system call, and wraps a source so that
//! each of its reads shows up there.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bytes::{ReadAt, ReadError};

/// Since when a thread waits for the system, and how much it waited.
#[derive(Debug)]
pub struct Pulse {
    origin: Instant,
    /// Microseconds since the origin, plus one; 0 when the thread does not wait.
    waits_since: AtomicU64,
    /// Microseconds of the waits that ended.
    waited: AtomicU64,
    /// Waits that ended.
    calls: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse {
            origin: Instant::now(),
            waits_since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            calls: AtomicU64::new(0),
        }
    }
}

impl Pulse {
    /// Runs `call`, which may wait for the system.
    pub fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        let began = self.now();
        self.waits_since
            .store(began.saturating_add(1), Ordering::Relaxed);
        let result = call();
        self.waits_since.store(0, Ordering::Relaxed);
        let took = self.now().saturating_sub(began);
        // Only this thread adds; others read.
        self.waited.fetch_add(took, Ordering::Relaxed);
        self.calls.fetch_add(1, Ordering::Relaxed);
        result
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// How long the thread has been waiting.
    pub fn waiting(&self) -> Duration {
        match self.waits_since.load(Ordering::Relaxed).checked_sub(1) {
            None => Duration::ZERO,
            Some(since) => Duration::from_micros(self.now().saturating_sub(since)),
        }
    }

    /// How long the thread waited in all, up to now, and the calls it waited for.
    pub fn waited(&self) -> (Duration, u64) {
        let ended = Duration::from_micros(self.waited.load(Ordering::Relaxed));
        (
            ended.saturating_add(self.waiting()),
            self.calls.load(Ordering::Relaxed),
        )
    }
}

/// A source whose reads a watcher can see.
pub struct Watched<'a> {
    /// The source.
    pub inner: &'a dyn ReadAt,
    /// The reading thread's pulse.
    pub pulse: &'a Pulse,
}

impl ReadAt for Watched<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.pulse.during(|| self.inner.read_at(at, buf))
    }
}
