//! Positional reading: the only way file contents enter the program.

use std::fs::File;
use std::io;

/// Why a positional read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system refused.
    #[error("read at offset {at:#x} failed: {source}")]
    Io {
        /// Absolute file offset of the read.
        at: u64,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes asked for lie past the end.
    #[error("{wanted} bytes at offset {at:#x} reach past the end at {len:#x}")]
    PastEnd {
        /// Absolute offset of the read.
        at: u64,
        /// Bytes asked for.
        wanted: u64,
        /// Length of the source in bytes.
        len: u64,
    },
}

/// A source of bytes with a known length that is read by absolute offset.
///
/// Implementations never change a shared position, so one source serves several readers.
pub trait ReadAt: Send + Sync {
    /// Length in bytes when the source was opened.
    fn len(&self) -> u64;

    /// True when there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads up to `buf.len()` bytes at `at` and returns how many were read; 0 means the end.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the system fails.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError>;

    /// Fills `buf` as far as the source reaches and returns how many bytes were read.
    ///
    /// # Errors
    /// [`ReadError::Io`] when the system fails.
    fn read_up_to(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(position) = at.checked_add(done as u64) else {
                break;
            };
            match self.read_at(position, rest)? {
                0 => break,
                n => done = done.saturating_add(n).min(buf.len()),
            }
        }
        Ok(done)
    }
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let rest = usize::try_from(at)
            .ok()
            .and_then(|at| self.get(at..))
            .unwrap_or_default();
        let n = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        ReadAt::len(self.as_slice())
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.as_slice().read_at(at, buf)
    }
}

/// A regular file. The length is taken once: where a file ends before it, it shrank since, and that is
/// an error of the system, not the end of what it holds.
#[derive(Debug)]
pub struct FileReader {
    file: File,
    len: u64,
}

impl FileReader {
    /// Wraps an open file.
    ///
    /// # Errors
    /// Whatever the system says about the file's metadata.
    pub fn new(file: File) -> io::Result<FileReader> {
        let len = file.metadata()?.len();
        Ok(FileReader::of_len(file, len))
    }

    /// Wraps an open file that was `len` bytes long a moment ago.
    pub fn of_len(file: File, len: u64) -> FileReader {
        FileReader { file, len }
    }
}

impl ReadAt for FileReader {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        loop {
            match platform::read_at(&self.file, at, buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Io { at, source }),
                Ok(0) if at < self.len && !buf.is_empty() => {
                    let source = io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the file became shorter while it was read",
                    );
                    return Err(ReadError::Io { at, source });
                }
                Ok(n) => return Ok(n),
            }
        }
    }
}

/// The seam where operating systems differ.
mod platform {
    use std::fs::File;
    use std::io;

    #[cfg(unix)]
    pub fn read_at(file: &File, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(file, buf, at)
    }

    #[cfg(windows)]
    pub fn read_at(file: &File, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(file, buf, at)
    }
}
