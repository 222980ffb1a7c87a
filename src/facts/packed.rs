//! Facts as bytes for a store: JSON, deflated. What a later version no longer understands is
//! `None`: the dump has to be read again.

use std::cell::RefCell;
use std::io::Read;

use flate2::read::DeflateDecoder;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::CrashFacts;

/// Largest unpacked facts, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Bytes of the JSON of most facts.
const USUAL: usize = 64 * 1024;
/// Room for a stream's own bytes.
const SLACK: usize = 1024;

thread_local! {
    /// Its tables take longer to make than most facts to pack.
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Compression::fast(), false));
}

/// The facts as bytes.
pub fn pack(facts: &CrashFacts) -> Option<Vec<u8>> {
    let mut json = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut json, facts).ok()?;
    let mut packed = Vec::with_capacity(json.len() / 2 + SLACK);
    DEFLATE.with_borrow_mut(|deflate| {
        deflate.reset();
        while let Status::Ok = {
            let rest = json.get(usize::try_from(deflate.total_in()).ok()?..)?;
            deflate
                .compress_vec(rest, &mut packed, FlushCompress::Finish)
                .ok()?
        } {
            packed.reserve(json.len());
        }
        Some(())
    })?;
    Some(packed)
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
