//! What one file found may still cost: bytes unpacked, members looked at, time. Also the one place that
//! remembers why reading it ended early, whatever a library made of that.

use std::cell::{Cell, RefCell};
use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::scan::UnpackLimits;
use crate::source::{ErrorKind, SourceError};

/// The limits of one file found, and what is left of them.
pub struct Meter {
    bytes: Cell<u64>,
    members: Cell<u64>,
    deadline: Cell<Option<Instant>>,
    stopped: RefCell<Option<SourceError>>,
}

impl Meter {
    /// All of `limits`; the time runs from now on.
    pub fn new(limits: &UnpackLimits) -> Meter {
        Meter {
            bytes: Cell::new(limits.bytes),
            members: Cell::new(limits.members),
            deadline: Cell::new(Instant::now().checked_add(limits.time)),
            stopped: RefCell::default(),
        }
    }

    /// Why nothing more is read; `None` while all goes well.
    pub fn stopped(&self) -> Option<SourceError> {
        self.stopped.borrow().clone()
    }

    /// Ends the reading for `error`; the first one counts.
    pub fn stop(&self, error: SourceError) {
        self.stopped.borrow_mut().get_or_insert(error);
    }

    /// Counts a member.
    ///
    /// # Errors
    /// The limit, once it is reached.
    pub fn member(&self) -> Result<(), SourceError> {
        self.look().map_err(|_| self.reason())?;
        match self.members.get().checked_sub(1) {
            Some(left) => {
                self.members.set(left);
                Ok(())
            }
            None => {
                self.stop(SourceError::new(
                    ErrorKind::Limit,
                    "the archive has more members than are looked at: what follows was not looked into",
                ));
                Err(self.reason())
            }
        }
    }

    /// Refuses once the time is up or something ended the reading.
    ///
    /// # Errors
    /// A word for libraries: [`Meter::stopped`] has the reason.
    pub fn look(&self) -> io::Result<()> {
        if self.deadline.get().is_some_and(|end| Instant::now() >= end) {
            self.stop(SourceError::new(
                ErrorKind::Limit,
                "unpacking the archive took longer than is allowed: --limit-time",
            ));
        }
        match self.stopped.borrow().is_some() {
            true => Err(io::Error::other("stopped")),
            false => Ok(()),
        }
    }

    /// Takes `count` unpacked bytes.
    fn spend(&self, count: usize) -> io::Result<()> {
        match self.bytes.get().checked_sub(count as u64) {
            Some(left) => {
                self.bytes.set(left);
                Ok(())
            }
            None => {
                self.bytes.set(0);
                self.stop(SourceError::new(
                    ErrorKind::Limit,
                    "the archive unpacks to more bytes than are allowed: --limit-unpacked",
                ));
                Err(io::Error::other("stopped"))
            }
        }
    }

    /// Runs `call`, whose time is not the archive's: the analysis of a member has a limit of its own.
    pub fn outside<T>(&self, call: impl FnOnce() -> T) -> T {
        let since = Instant::now();
        let result = call();
        let took: Duration = since.elapsed();
        self.deadline
            .set(self.deadline.get().and_then(|end| end.checked_add(took)));
        result
    }

    /// Notes that the system failed to give a part of the file.
    pub fn failed(&self, error: &io::Error) {
        self.stop(SourceError::new(
            ErrorKind::Io,
            format!("reading it failed while unpacking: {error}"),
        ));
    }

    fn reason(&self) -> SourceError {
        self.stopped()
            .unwrap_or_else(|| SourceError::new(ErrorKind::Limit, "a limit was reached"))
    }
}

/// Unpacked bytes, each of them paid for, those that are skipped included.
pub struct Paid<'a> {
    inner: &'a mut dyn Read,
    meter: &'a Meter,
}

impl<'a> Paid<'a> {
    /// The bytes of `inner`, paid by `meter`.
    pub fn new(inner: &'a mut dyn Read, meter: &'a Meter) -> Paid<'a> {
        Paid { inner, meter }
    }
}

impl Read for Paid<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.meter.look()?;
        let read = self.inner.read(buf)?;
        self.meter.spend(read)?;
        Ok(read)
    }
}

/// Exactly so many bytes of a stream: one that ends before is cut.
pub struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Exactly<R> {
    /// The next `len` bytes of `inner`.
    pub fn new(inner: R, len: u64) -> Exactly<R> {
        Exactly { inner, left: len }
    }
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let room = usize::try_from(self.left).map_or(buf.len(), |left| left.min(buf.len()));
        let part = buf.get_mut(..room).unwrap_or_default();
        if part.is_empty() {
            return Ok(0);
        }
        let read = self.inner.read(part)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left = self.left.saturating_sub(read as u64);
        Ok(read)
    }
}
