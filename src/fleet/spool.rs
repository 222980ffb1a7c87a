//! Bytes that wait for their turn: so many in memory, those beyond in an unnamed temporary file.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bytes held in memory: some tens of thousands of dumps.
const HELD: usize = 32 << 20;

/// Pieces of bytes, as they come.
pub(super) struct Spool {
    held: Vec<u8>,
    limit: usize,
    file: Option<BufWriter<File>>,
    end: u64,
}

/// Where one piece lies: offset behind all before it, and length in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    at: u64,
    len: u32,
}

/// All pieces, to be read in any order by several threads.
pub(super) struct Spooled {
    held: Vec<u8>,
    file: Option<Mutex<File>>,
}

impl Default for Spool {
    fn default() -> Spool {
        Spool::holding(HELD)
    }
}

impl Spool {
    /// One that holds at most `limit` bytes in memory.
    pub fn holding(limit: usize) -> Spool {
        Spool {
            held: Vec::new(),
            limit,
            file: None,
            end: 0,
        }
    }

    /// Keeps a piece.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<Place> {
        let len = u32::try_from(piece.len()).map_err(io::Error::other)?;
        let place = Place { at: self.end, len };
        match &mut self.file {
            Some(file) => file.write_all(piece)?,
            None if self.held.len().saturating_add(piece.len()) <= self.limit => {
                self.held.extend_from_slice(piece);
            }
            None => {
                let file = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
                self.file.insert(file).write_all(piece)?;
            }
        }
        self.end += u64::from(len);
        Ok(place)
    }

    /// Ends the writing.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn finish(self) -> io::Result<Spooled> {
        let file = match self.file {
            Some(file) => Some(Mutex::new(file.into_inner()?)),
            None => None,
        };
        Ok(Spooled {
            held: self.held,
            file,
        })
    }
}

impl Spooled {
    /// Appends a piece to `into`, and says where it is there.
    ///
    /// # Errors
    /// Those of the temporary file.
    pub fn read(&self, place: Place, into: &mut Vec<u8>) -> io::Result<Range<usize>> {
        let start = into.len();
        let end = start.saturating_add(usize::try_from(place.len).map_err(io::Error::other)?);
        into.resize(end, 0);
        let piece = into.get_mut(start..).unwrap_or_default();
        match place.at.checked_sub(self.held.len() as u64) {
            None => {
                let at = usize::try_from(place.at).map_err(io::Error::other)?;
                self.held.get(at..).unwrap_or_default().read_exact(piece)?;
            }
            Some(at) => {
                let file = self.file.as_ref().ok_or(io::ErrorKind::UnexpectedEof)?;
                // What is read has no half-changed state that a panic could leave.
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(piece)?;
            }
        }
        Ok(start..end)
    }
}
