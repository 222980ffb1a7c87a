//! A source whose first failed read is its last: what a disk could not give is never taken for what a
//! dump does not hold. Knows the time limit as well, for reads that wait.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{ReadAt, ReadError};

/// A source that remembers its first failure and refuses every read after it. A dying disk takes
/// half a minute for each bad read: asking on would take hours, and the answer would be none.
pub struct Sticky<'a> {
    inner: &'a dyn ReadAt,
    deadline: Option<Instant>,
    failed: AtomicBool,
    failure: Mutex<Option<Failure>>,
}

/// The first read that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Offset of the read in bytes.
    pub at: u64,
    /// What the system said.
    pub message: String,
    /// It did not fail: the time was up before it.
    pub late: bool,
}

impl<'a> Sticky<'a> {
    /// `inner`, with no limit of time.
    pub fn new(inner: &'a dyn ReadAt) -> Sticky<'a> {
        Sticky::until(inner, None)
    }

    /// `inner`, not read after `deadline`.
    pub fn until(inner: &'a dyn ReadAt, deadline: Option<Instant>) -> Sticky<'a> {
        Sticky {
            inner,
            deadline,
            failed: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    /// The first read that failed; `None` while all went well.
    pub fn failure(&self) -> Option<Failure> {
        if !self.failed.load(Ordering::Acquire) {
            return None;
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    }

    fn keep(&self, failure: Failure) {
        let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(failure);
        self.failed.store(true, Ordering::Release);
    }
}

impl ReadAt for Sticky<'_> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        if let Some(failure) = self.failure() {
            let kind = match failure.late {
                true => io::ErrorKind::TimedOut,
                false => io::ErrorKind::Other,
            };
            let source = io::Error::new(kind, failure.message);
            return Err(ReadError::Io { at, source });
        }
        if self.deadline.is_some_and(|end| Instant::now() >= end) {
            let message = "the time limit was reached".to_owned();
            let source = io::Error::new(io::ErrorKind::TimedOut, message.clone());
            self.keep(Failure {
                at,
                message,
                late: true,
            });
            return Err(ReadError::Io { at, source });
        }
        let read = self.inner.read_at(at, buf);
        if let Err(ReadError::Io { at, source }) = &read {
            self.keep(Failure {
                at: *at,
                message: source.to_string(),
                late: false,
            });
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails once, at its second read.
    struct Once(AtomicBool, AtomicBool);

    impl ReadAt for Once {
        fn len(&self) -> u64 {
            100
        }

        fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
            let second = self.0.swap(true, Ordering::Relaxed);
            if second && !self.1.swap(true, Ordering::Relaxed) {
                let source = io::Error::other("a bad sector");
                return Err(ReadError::Io { at, source });
            }
            buf.fill(7);
            Ok(buf.len())
        }
    }

    #[test]
    fn a_read_that_failed_once_is_never_forgotten() {
        let once = Once(AtomicBool::new(false), AtomicBool::new(false));
        let sticky = Sticky::new(&once);
        let mut buf = [0; 4];
        assert_eq!(sticky.read_at(0, &mut buf).unwrap(), 4);
        assert_eq!(sticky.failure(), None);
        assert!(sticky.read_at(8, &mut buf).is_err());
        assert!(sticky.read_at(0, &mut buf).is_err());
        let failure = sticky.failure().unwrap();
        assert_eq!((failure.at, failure.late), (8, false));
        assert_eq!(failure.message, "a bad sector");
    }

    #[test]
    fn no_read_begins_after_the_deadline() {
        let bytes = vec![0; 8];
        let sticky = Sticky::until(&bytes, Some(Instant::now()));
        assert!(sticky.read_at(0, &mut [0; 4]).is_err());
        assert!(sticky.failure().unwrap().late);
    }
}
