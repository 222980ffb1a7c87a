//! Adapters between positional sources and the streams that archive libraries want, and the place
//! where unpacked bytes stay: memory, or an unnamed temporary file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use crate::bytes::{FileReader, ReadAt, ReadError};

use super::super::pulse::Pulse;

/// Bytes kept in memory before a temporary file is used.
const IN_MEMORY: usize = 4 * 1024 * 1024;
/// Bytes of one read.
const CHUNK: usize = 64 * 1024;

/// A positional source as a stream.
pub struct Stream<'a> {
    source: &'a dyn ReadAt,
    at: u64,
}

impl<'a> Stream<'a> {
    /// A stream from the beginning.
    pub fn new(source: &'a dyn ReadAt) -> Stream<'a> {
        Stream { source, at: 0 }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self
            .source
            .read_at(self.at, buf)
            .map_err(|error| match error {
                ReadError::Io { source, .. } => source,
                past @ ReadError::PastEnd { .. } => {
                    io::Error::new(io::ErrorKind::UnexpectedEof, past)
                }
            })?;
        self.at = self.at.saturating_add(read as u64);
        Ok(read)
    }
}

impl Seek for Stream<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.source.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// What came of keeping a stream's bytes.
pub enum Spooled {
    /// All of them.
    Bytes(Box<dyn ReadAt>),
    /// There were more than are allowed.
    OverLimit,
}

/// Reads all of `input`, taking from the `left` bytes that are allowed.
pub fn spool(input: &mut dyn Read, left: &mut u64, pulse: &Pulse) -> io::Result<Spooled> {
    let mut memory = Vec::new();
    let mut file: Option<File> = None;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let Some(rest) = left.checked_sub(read as u64) else {
            *left = 0;
            return Ok(Spooled::OverLimit);
        };
        *left = rest;
        let part = chunk.get(..read).unwrap_or_default();
        match &mut file {
            Some(file) => pulse.during(|| file.write_all(part))?,
            None if memory.len() + part.len() <= IN_MEMORY => memory.extend_from_slice(part),
            None => {
                // Unnamed, in the system's place for temporary files.
                let mut spill = tempfile::tempfile()?;
                spill.write_all(&memory)?;
                spill.write_all(part)?;
                memory = Vec::new();
                file = Some(spill);
            }
        }
    }
    Ok(Spooled::Bytes(match file {
        Some(file) => Box::new(FileReader::new(file)?),
        None => Box::new(memory),
    }))
}
