//! Names for contents: a cheap fingerprint for resume and duplicates, and the SHA-256 of all bytes.

use sha2::{Digest, Sha256};
use twox_hash::XxHash3_128;

use crate::bytes::{PagedReader, ReadAt, ReadError};
use crate::hex;

/// Bytes at the start that a fingerprint covers.
const FINGERPRINT_HEAD: usize = 192 * 1024;
/// Bytes at the end that a fingerprint covers.
const FINGERPRINT_TAIL: usize = 4 * 1024;
/// Bytes of one read when everything is hashed.
const CHUNK: usize = 256 * 1024;

/// `f1:` and 32 hex digits: the 128-bit XXH3 hash (xxHash specification, `xxh128sum`) of the size (8 bytes,
/// little-endian), the first 192 KiB and the last 4 KiB. Not an integrity proof: bytes between are not looked
/// at, so that a hash against forgery would protect nothing, and a scan takes the fingerprint of every file:
/// SHA-256 took half of its time, BLAKE3 a tenth.
///
/// # Errors
/// [`ReadError::Io`] when the source cannot be read.
pub fn fingerprint(source: &dyn ReadAt) -> Result<String, ReadError> {
    let head = usize::try_from(source.len())
        .unwrap_or(FINGERPRINT_HEAD)
        .min(FINGERPRINT_HEAD);
    let mut prefix = vec![0; head];
    let read = source.read_up_to(0, &mut prefix)?;
    prefix.truncate(read);
    fingerprint_with(source, &prefix)
}

/// [`fingerprint`] of the source of `reader`, whose beginning is there: it is neither read nor copied again.
///
/// # Errors
/// As [`fingerprint`].
pub fn fingerprint_read(reader: &mut PagedReader<'_>) -> Result<String, ReadError> {
    const { assert!(PagedReader::PREFIX == FINGERPRINT_HEAD) };
    reader.read_tail()?;
    let prefix = reader.prefix();
    let head = prefix.get(..FINGERPRINT_HEAD).unwrap_or(prefix);
    Ok(named(
        reader.source_len(),
        head,
        reader.last(FINGERPRINT_TAIL),
    ))
}

fn fingerprint_with(source: &dyn ReadAt, head: &[u8]) -> Result<String, ReadError> {
    let mut tail = [0; FINGERPRINT_TAIL];
    let tail = read_tail(source, head, &mut tail)?;
    Ok(named(source.len(), head, tail))
}

/// The last bytes of `source`, or all of a shorter one. `head` is how it begins.
fn read_tail<'t>(
    source: &dyn ReadAt,
    head: &[u8],
    tail: &'t mut [u8; FINGERPRINT_TAIL],
) -> Result<&'t [u8], ReadError> {
    let size = source.len();
    let len = usize::try_from(size).map_or(FINGERPRINT_TAIL, |size| size.min(FINGERPRINT_TAIL));
    let tail = tail.get_mut(..len).unwrap_or_default();
    let start = size.saturating_sub(len as u64);
    let known = usize::try_from(start)
        .ok()
        .and_then(|start| head.get(start..start.checked_add(len)?));
    let read = match known {
        Some(known) => {
            tail.copy_from_slice(known);
            len
        }
        None => source.read_up_to(start, tail)?,
    };
    Ok(tail.get(..read).unwrap_or_default())
}

fn named(size: u64, head: &[u8], tail: &[u8]) -> String {
    let mut hasher = XxHash3_128::new();
    hasher.write(&size.to_le_bytes());
    hasher.write(head);
    hasher.write(tail);
    format!("f1:{:032x}", hasher.finish_128())
}

/// The SHA-256 of all bytes in lower-case hex, read in pieces.
///
/// # Errors
/// [`ReadError::Io`] when the source cannot be read.
pub fn sha256(source: &dyn ReadAt) -> Result<String, ReadError> {
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut at: u64 = 0;
    // A file that grows while it is hashed counts as long as it was when it was opened.
    while at < source.len() {
        let left = usize::try_from(source.len() - at).unwrap_or(CHUNK);
        let room = chunk.get_mut(..left.min(CHUNK)).unwrap_or_default();
        let read = source.read_up_to(at, room)?;
        if read == 0 {
            break;
        }
        hasher.update(room.get(..read).unwrap_or_default());
        at = at.saturating_add(read as u64);
    }
    Ok(hex::bytes(&hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sha256_of_published_test_vectors() {
        // FIPS 180-2, appendix B: "abc", and a million times "a".
        assert_eq!(
            sha256(&b"abc".to_vec()).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            sha256(&vec![b'a'; 1_000_000]).unwrap(),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        );
    }

    #[test]
    fn a_fingerprint_is_that_of_xxh128sum() {
        let bytes: Vec<u8> = (0..300_000).map(|i| (i % 253) as u8).collect();
        // Of size, beginning and end, by the reference implementation.
        assert_eq!(
            fingerprint(&bytes).unwrap(),
            "f1:b861acbf312dab13a0e6cb257517c832"
        );
        assert_eq!(
            fingerprint(&bytes[..5000].to_vec()).unwrap(),
            "f1:6ec791d7ee5d3cd9c5d2118f033e5f6f"
        );
    }

    #[test]
    fn a_fingerprint_is_the_same_with_and_without_a_reader() {
        for len in [
            0,
            1,
            4095,
            4097,
            FINGERPRINT_HEAD,
            FINGERPRINT_HEAD + 1,
            300_000,
        ] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
            let whole = fingerprint(&bytes).unwrap();
            let mut reader = PagedReader::open(&bytes).unwrap();
            assert_eq!(fingerprint_read(&mut reader).unwrap(), whole);
            assert_eq!(reader.prefix(), bytes);
            assert_eq!(whole.len(), 3 + 32);
        }
    }

    #[test]
    fn a_fingerprint_sees_size_head_and_tail_but_not_the_middle() {
        let bytes = vec![5u8; 400_000];
        let name = fingerprint(&bytes).unwrap();
        let changed = |at: usize| {
            let mut other = bytes.clone();
            other[at] ^= 1;
            fingerprint(&other).unwrap()
        };
        assert_ne!(changed(0), name);
        assert_ne!(changed(FINGERPRINT_HEAD - 1), name);
        assert_eq!(changed(FINGERPRINT_HEAD), name);
        assert_eq!(changed(400_000 - FINGERPRINT_TAIL - 1), name);
        assert_ne!(changed(400_000 - FINGERPRINT_TAIL), name);
        assert_ne!(fingerprint(&vec![5u8; 400_001]).unwrap(), name);
    }
}
