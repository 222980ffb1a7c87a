//! Facts as bytes for a store: the modules in Postcard's notation and JSON of all else, deflated when it is large. What
//! a later version no longer understands is `None`: the dump has to be read again.

use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;

use super::CrashFacts;

/// The first byte of facts that are not deflated. A deflated stream cannot begin with it: the type of
/// block in its low bits is reserved (RFC 1951, 3.2.3). Another one, of which that holds, for another form:
/// `F` had the modules in a table of its own.
const PLAIN: u8 = b'G';

/// Largest unpacked facts, in bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// Facts up to this size, in bytes, stay as they are: packing them would take longer than all else
/// that a scan does with a small dump.
const USUAL: usize = 32 * 1024;

/// The facts as bytes: [`PLAIN`], the length of the modules in four bytes, the modules, and the rest as
/// JSON.
pub fn pack(mut facts: CrashFacts) -> Option<Vec<u8>> {
    let modules = postcard::to_allocvec(&std::mem::take(&mut facts.modules)).ok()?;
    let mut bytes = Vec::with_capacity(modules.len() + USUAL / 4);
    bytes.push(PLAIN);
    bytes.extend_from_slice(&u32::try_from(modules.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&modules);
    serde_json::to_writer(&mut bytes, &facts).ok()?;
    if bytes.len() <= USUAL {
        return Some(bytes);
    }
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&bytes).ok()?;
    packed.finish().ok()
}

/// The facts that `packed` holds.
pub fn unpack(packed: &[u8]) -> Option<CrashFacts> {
    if packed.first() == Some(&PLAIN) {
        return plain(packed);
    }
    let mut bytes = Vec::new();
    DeflateDecoder::new(packed)
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .ok()?;
    plain(&bytes)
}

fn plain(bytes: &[u8]) -> Option<CrashFacts> {
    let (len, rest) = bytes.strip_prefix(&[PLAIN])?.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
    let (modules, json) = rest.split_at_checked(len)?;
    let mut facts: CrashFacts = serde_json::from_slice(json).ok()?;
    facts.modules = postcard::from_bytes(modules).ok()?;
    Some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceInfo;
    use crate::triage::{Engine, Request};

    fn facts() -> CrashFacts {
        let bytes: Vec<u8> = std::fs::read(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/dumps/server2008-x64-d1.dmp"
        ))
        .unwrap();
        let info = SourceInfo::default();
        let triaged = Engine::default().triage(&bytes, Request::new(&info));
        triaged.facts.unwrap()
    }

    #[test]
    fn packed_facts_come_back_small_and_large() {
        let mut facts = facts();
        assert!(!facts.modules.is_empty());
        let small = pack(facts.clone()).unwrap();
        assert_eq!(small[0], PLAIN);
        assert_eq!(unpack(&small), Some(facts.clone()));
        facts.process = Some("x".repeat(USUAL));
        let large = pack(facts.clone()).unwrap();
        assert!(large[0] != PLAIN && large.len() < USUAL);
        assert_eq!(unpack(&large), Some(facts));
    }

    #[test]
    fn what_is_cut_or_something_else_is_refused() {
        let packed = pack(facts()).unwrap();
        for cut in 0..packed.len() {
            assert_eq!(unpack(&packed[..cut]), None, "{cut}");
        }
        assert_eq!(unpack(b"{}"), None);
    }
}
