//! Facts as bytes for a store: JSON, deflated when it is large. What a later version no longer understands is
//! `None`: the dump has to be read again.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::CrashFacts;

/// Largest unpacked facts, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Facts up to this size, in bytes, stay as they are: packing them would take longer than all else
/// that a scan does with a small dump.
const USUAL: usize = 32 * 1024;

/// The facts as bytes.
pub fn pack(facts: &CrashFacts) -> Option<Vec<u8>> {
    let mut json = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut json, facts).ok()?;
    if json.len() <= USUAL {
        json.shrink_to_fit();
        return Some(json);
    }
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&json).ok()?;
    packed.finish().ok()
}

/// The facts that `packed` holds.
pub fn unpack(packed: &[u8]) -> Option<CrashFacts> {
    if packed.starts_with(b"{") {
        return serde_json::from_slice(packed).ok();
    }
    let mut json = Vec::new();
    DeflateDecoder::new(packed)
        .take(LARGEST)
        .read_to_end(&mut json)
        .ok()?;
    serde_json::from_slice(&json).ok()
}
