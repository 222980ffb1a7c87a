//! Bytes to a finished report in JSON, with mutations that know where a dump keeps its structure.
#![no_main]

use std::sync::OnceLock;

use kbtriage::source::SourceInfo;
use kbtriage::triage::{Engine, Request};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[allow(dead_code)] // the robustness tests use all of it
#[path = "../../support/mutate.rs"]
mod mutate;
#[path = "../../support/prng.rs"]
mod prng;

use prng::Prng;

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::default)
}

fuzz_target!(|data: &[u8]| {
    let bytes = data.to_vec();
    let report = engine().triage(&bytes, Request::new(&SourceInfo::default())).report;
    let json = serde_json::to_vec(&report).expect("a report is always JSON");
    // A report may be larger than its dump, but not by orders of magnitude.
    assert!(
        json.len() < 64 * 1024 + 64 * data.len(),
        "{} bytes of report",
        json.len()
    );
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 3 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut dump = data[..size].to_vec();
    let fields = mutate::fields(&dump);
    if fields.is_empty() {
        return fuzzer_mutate(data, size, max_size);
    }
    mutate::mutate(&mut dump, &fields, &mut Prng::new(u64::from(seed)));
    let len = dump.len().min(max_size);
    data[..len].copy_from_slice(&dump[..len]);
    len
});
