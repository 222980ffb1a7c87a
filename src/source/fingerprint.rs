//! Names for contents: a cheap fingerprint for resume and duplicates, and the SHA-256 of all bytes.

use sha2::{Digest, Sha256};

use crate::bytes::{ReadAt, ReadError};

/// Bytes at the start that a fingerprint covers.
pub const FINGERPRINT_HEAD: usize = 192 * 1024;
/// Bytes at the end that a fingerprint covers.
pub const FINGERPRINT_TAIL: usize = 4 * 1024;
/// Bytes of the digest that are kept.
const KEPT: usize = 16;
/// Bytes of one read when everything is hashed.
const CHUNK: usize = 256 * 1024;

/// `f1:` and 32 hex digits: the first 16 bytes of the BLAKE3 hash of the size (8 bytes, little-endian), the
/// first 192 KiB and the last 4 KiB. Not an integrity proof: bytes between are not looked at. BLAKE3,
/// because a scan takes the fingerprint of every file: SHA-256 took half of its time.
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

/// [`fingerprint`] where the start of the source was read already: `prefix` holds at least its first
/// 192 KiB, or all of it.
///
/// # Errors
/// As [`fingerprint`].
pub fn fingerprint_with(source: &dyn ReadAt, prefix: &[u8]) -> Result<String, ReadError> {
    let size = source.len();
    let head = prefix.get(..FINGERPRINT_HEAD).unwrap_or(prefix);
    let mut tail = vec![0; FINGERPRINT_TAIL.min(usize::try_from(size).unwrap_or(usize::MAX))];
    let start = size.saturating_sub(tail.len() as u64);
    let read = match usize::try_from(start)
        .ok()
        .and_then(|start| prefix.get(start..start.checked_add(tail.len())?))
    {
        Some(known) => {
            tail.copy_from_slice(known);
            known.len()
        }
        None => source.read_up_to(start, &mut tail)?,
    };
    tail.truncate(read);
    let mut hash = blake3::Hasher::new();
    hash.update(&size.to_le_bytes()).update(head).update(&tail);
    let digest = hash.finalize();
    Ok(format!("f1:{}", hex(digest.as_bytes().iter().take(KEPT))))
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
    Ok(hex(hasher.finalize().iter()))
}

fn hex<'a>(bytes: impl Iterator<Item = &'a u8>) -> String {
    bytes.map(|byte| format!("{byte:02x}")).collect()
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
    fn a_fingerprint_is_the_same_with_and_without_a_known_prefix() {
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
            assert_eq!(fingerprint_with(&bytes, &bytes).unwrap(), whole);
            let head = &bytes[..len.min(FINGERPRINT_HEAD)];
            assert_eq!(fingerprint_with(&bytes, head).unwrap(), whole);
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
