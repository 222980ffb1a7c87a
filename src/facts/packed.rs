//! Facts as bytes for a store: JSON, deflated. What a later version no longer understands is
//! `None`: the dump has to be read again.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::CrashFacts;

/// Largest unpacked facts, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// The facts as bytes.
pub fn pack(facts: &CrashFacts) -> Option<Vec<u8>> {
    let json = serde_json::to_vec(facts).ok()?;
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&json).ok()?;
    packed.finish().ok()
}

/// The facts that `packed` holds.
pub fn unpack(packed: &[u8]) -> Option<CrashFacts> {
    let mut json = Vec::new();
    DeflateDecoder::new(packed)
        .take(LARGEST)
        .read_to_end(&mut json)
        .ok()?;
    serde_json::from_slice(&json).ok()
}
