//! Adapters between positional sources and the streams that archive libraries want, and the place
//! where unpacked bytes stay: memory, or an unnamed temporary file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::meter::Meter;
use crate::bytes::{FileReader, ReadAt, ReadError};
use crate::scan::pulse::Pulse;

/// Bytes kept in memory before a temporary file is used.
const IN_MEMORY: usize = 4 * 1024 * 1024;
/// Bytes of one read.
const CHUNK: usize = 64 * 1024;

/// A positional source as a stream, and as what the zip library reads.
pub struct Stream<'a> {
    source: &'a dyn ReadAt,
    meter: &'a Meter,
    at: u64,
}

impl<'a> Stream<'a> {
    /// A stream from the beginning.
    pub fn new(source: &'a dyn ReadAt, meter: &'a Meter) -> Stream<'a> {
        Stream {
            source,
            meter,
            at: 0,
        }
    }

    fn read_from(&self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.meter.look()?;
        self.source.read_at(at, buf).map_err(|error| match error {
            ReadError::Io { source, .. } => {
                self.meter.failed(&source);
                source
            }
            past @ ReadError::PastEnd { .. } => io::Error::new(io::ErrorKind::UnexpectedEof, past),
        })
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.read_from(self.at, buf)?;
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

impl rawzip::ReaderAt for Stream<'_> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.read_from(offset, buf)
    }
}

/// Keeps all of `input`.
pub fn spool(input: &mut dyn Read, pulse: &Pulse) -> io::Result<Box<dyn ReadAt>> {
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
        let part = chunk.get(..read).unwrap_or_default();
        match &mut file {
            Some(file) => pulse.during(|| file.write_all(part)).map_err(no_room)?,
            None if memory.len() + part.len() <= IN_MEMORY => memory.extend_from_slice(part),
            None => {
                // Unnamed, in the system's place for temporary files.
                let mut spill = tempfile::tempfile().map_err(no_room)?;
                pulse
                    .during(|| {
                        spill
                            .write_all(&memory)
                            .and_then(|()| spill.write_all(part))
                    })
                    .map_err(no_room)?;
                memory = Vec::new();
                file = Some(spill);
            }
        }
    }
    Ok(match file {
        Some(file) => Box::new(FileReader::new(file)?),
        None => Box::new(memory),
    })
}

/// An error of the temporary file, not of the archive.
fn no_room(error: io::Error) -> io::Error {
    io::Error::other(format!("{error} in the folder for temporary files"))
}
