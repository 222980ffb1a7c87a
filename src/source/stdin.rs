//! Standard input as a source: dumps are read by offset, so a stream is spooled first, in memory
//! while it is small and then in a temporary file that has no name.

use std::fs::File;
use std::io::{self, Read, Write};

use crate::bytes::{FileReader, ReadAt};

use super::{ErrorKind, Source, SourceError, SourceInfo};

/// Bytes kept in memory before a temporary file is used.
const IN_MEMORY: usize = 4 * 1024 * 1024;
/// Bytes of one read.
const CHUNK: usize = 64 * 1024;

/// Reads all of standard input, at most `limit` bytes.
///
/// # Errors
/// As [`spool`].
pub fn stdin(limit: u64) -> Result<Source, SourceError> {
    spool(&mut io::stdin().lock(), limit)
}

/// Reads all of `input`, at most `limit` bytes. Past a few MiB the bytes go to an unnamed file in the
/// system's directory for temporary files, which vanishes with the source.
///
/// # Errors
/// [`ErrorKind::Limit`] when there is more than `limit`, [`ErrorKind::Io`] when the input or the
/// temporary file fails.
pub fn spool(input: &mut dyn Read, limit: u64) -> Result<Source, SourceError> {
    let mut memory = Vec::new();
    let mut file: Option<File> = None;
    let mut total: u64 = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match input.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(failed("reading standard input", &e)),
        };
        let part = chunk.get(..read).unwrap_or_default();
        total = total.saturating_add(read as u64);
        if total > limit {
            return Err(SourceError::new(
                ErrorKind::Limit,
                format!(
                    "standard input has more than {limit} bytes: save it to a file and pass that"
                ),
            ));
        }
        match &mut file {
            Some(file) => write(file, part)?,
            None if memory.len() + part.len() <= IN_MEMORY => memory.extend_from_slice(part),
            None => {
                let mut spill = tempfile::tempfile()
                    .map_err(|e| failed("making a temporary file for standard input", &e))?;
                write(&mut spill, &memory)?;
                write(&mut spill, part)?;
                memory = Vec::new();
                file = Some(spill);
            }
        }
    }
    let bytes: Box<dyn ReadAt> = match file {
        Some(file) => {
            Box::new(FileReader::new(file).map_err(|e| failed("reading back standard input", &e))?)
        }
        None => Box::new(memory),
    };
    let info = SourceInfo {
        path: "-".to_owned(),
        size: Some(total),
        ..SourceInfo::default()
    };
    Ok(Source::new(info, bytes))
}

fn write(file: &mut File, part: &[u8]) -> Result<(), SourceError> {
    file.write_all(part)
        .map_err(|e| failed("writing standard input to a temporary file", &e))
}

fn failed(doing: &str, error: &io::Error) -> SourceError {
    SourceError::new(ErrorKind::Io, format!("{error} while {doing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_reads_back_as_it_came_whether_it_fits_memory_or_not() {
        for len in [0, 17, IN_MEMORY, IN_MEMORY + 1, IN_MEMORY + 3 * CHUNK + 5] {
            let bytes: Vec<u8> = (0..len).map(|i| (i / 251) as u8).collect();
            let source = spool(&mut bytes.as_slice(), u64::MAX).unwrap();
            assert_eq!(source.info.size, Some(len as u64));
            assert_eq!(source.bytes().len(), len as u64);
            let mut back = vec![0; len];
            assert_eq!(source.bytes().read_up_to(0, &mut back).unwrap(), len);
            assert_eq!(back, bytes);
        }
    }

    #[test]
    fn an_endless_stream_ends_at_the_limit() {
        let error = spool(&mut io::repeat(7), 10_000_000).err().unwrap();
        assert_eq!(error.kind, ErrorKind::Limit);
        assert!(error.message.contains("10000000 bytes"), "{error}");
    }

    #[test]
    fn exactly_the_limit_is_allowed() {
        assert!(spool(&mut [1, 2, 3].as_slice(), 3).is_ok());
        assert!(spool(&mut [1, 2, 3].as_slice(), 2).is_err());
    }
}
