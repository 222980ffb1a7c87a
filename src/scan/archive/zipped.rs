//! Members of a zip archive, by the `zip` library.

use std::io::Read;

use zip::ZipArchive;
use zip::result::ZipError;

use super::reader::Stream;
use super::{Unpack, broken};
use crate::bytes::ReadAt;
use crate::source::{ErrorKind, SourceError};

/// Largest central directory read, in bytes: the library holds all of it in memory. An archive with
/// more is no archive of dumps.
const DIRECTORY: u64 = 16 * 1024 * 1024;
/// Bytes at the end in which the end record lies: its own 22 and the longest comment.
const TAIL: usize = 22 + 65_535;

pub(super) fn walk(
    unpack: &mut Unpack<'_>,
    bytes: &dyn ReadAt,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    if directory_size(bytes).is_some_and(|size| size > DIRECTORY) {
        return Err(SourceError::new(
            ErrorKind::Limit,
            "the archive's directory is larger than any archive of dumps needs",
        ));
    }
    let mut archive = ZipArchive::new(Stream::new(bytes))
        .map_err(|_| broken("the zip archive is cut or damaged"))?;
    for index in 0..archive.len() {
        unpack.allowance.member()?;
        let name = archive
            .name_for_index(index)
            .and_then(Result::ok)
            .map_or_else(|| format!("member {index}"), |name| name.into_owned());
        let entry = match archive.by_index(index) {
            Ok(entry) => entry,
            Err(error) => {
                unpack.unreadable(name, outer, refused(&error));
                continue;
            }
        };
        if entry.is_dir() {
            continue;
        }
        let mut content: Box<dyn Read + '_> = Box::new(entry);
        unpack.member(name, outer, depth, &mut content)?;
    }
    Ok(())
}

fn refused(error: &ZipError) -> SourceError {
    match error {
        ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) => SourceError::new(
            ErrorKind::Unsupported,
            "encrypted: unpack it with its password first",
        ),
        ZipError::UnsupportedArchive(_) => SourceError::new(
            ErrorKind::Unsupported,
            "packed with a method that is not read: unpack it first",
        ),
        ZipError::Io(error) => super::unpacking(error),
        _ => broken("the zip archive is cut or damaged"),
    }
}

/// The size of the central directory as the end record states it (APPNOTE 4.3.16).
fn directory_size(bytes: &dyn ReadAt) -> Option<u64> {
    let start = bytes.len().saturating_sub(TAIL as u64);
    let mut tail = vec![0; TAIL];
    let read = bytes.read_up_to(start, &mut tail).ok()?;
    tail.truncate(read);
    let at = tail.windows(4).rposition(|four| four == b"PK\x05\x06")?;
    let field = tail.get(at.checked_add(12)?..at.checked_add(16)?)?;
    Some(u64::from(u32::from_le_bytes(field.try_into().ok()?)))
}
