//! Compressed store files (`.pd_`, `.sy_`): a cabinet with one file, MSZIP or LZX, through `cab`.

use std::io::{Cursor, Read};

use crate::bytes::contained;

/// Why a compressed file could not be opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CabinetError {
    /// Not a cabinet.
    #[error("not a cabinet file")]
    NotACabinet,
    /// It holds more than the limit, or says so.
    #[error("the cabinet holds more than {0} bytes")]
    TooLarge(u64),
    /// It cannot be read to its end.
    #[error("the cabinet is damaged: {0}")]
    Damaged(String),
}

/// True when the bytes begin like a cabinet.
pub fn is_cabinet(bytes: &[u8]) -> bool {
    bytes.starts_with(b"MSCF\0\0\0\0")
}

/// Unpacks the only file, or the first one, of a cabinet. At most `limit` bytes.
///
/// # Errors
/// [`CabinetError`].
pub fn unpack(bytes: &[u8], limit: u64) -> Result<Vec<u8>, CabinetError> {
    if !is_cabinet(bytes) {
        return Err(CabinetError::NotACabinet);
    }
    contained(|| read(bytes, limit))
        .unwrap_or_else(|panicked| Err(CabinetError::Damaged(panicked.to_string())))
}

fn read(bytes: &[u8], limit: u64) -> Result<Vec<u8>, CabinetError> {
    let damaged = |e: std::io::Error| CabinetError::Damaged(e.to_string());
    let mut cabinet = cab::Cabinet::new(Cursor::new(bytes)).map_err(damaged)?;
    let entry = cabinet
        .folder_entries()
        .flat_map(|folder| folder.file_entries())
        .next()
        .map(|file| (file.name().to_owned(), u64::from(file.uncompressed_size())));
    let (name, size) = entry.ok_or_else(|| CabinetError::Damaged("it holds no file".to_owned()))?;
    if size > limit {
        return Err(CabinetError::TooLarge(limit));
    }
    let mut content = Vec::new();
    let mut file = cabinet.read_file(&name).map_err(damaged)?;
    file.by_ref()
        .take(limit.saturating_add(1))
        .read_to_end(&mut content)
        .map_err(damaged)?;
    match content.len() as u64 {
        n if n > limit => Err(CabinetError::TooLarge(limit)),
        n if n != size => Err(CabinetError::Damaged(format!("{n} of {size} bytes"))),
        _ => Ok(content),
    }
}
