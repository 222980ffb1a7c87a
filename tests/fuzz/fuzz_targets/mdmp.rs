//! A user-mode minidump to a finished report, with mutations that know where the format keeps its
//! structure. Panics inside the MDMP parser are contained by the reader and count as findings here.
#![no_main]

use std::sync::OnceLock;

use kbtriage::dump::user::{self, UserDumpError};
use kbtriage::source::SourceInfo;
use kbtriage::triage::{Engine, Request};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[path = "../../support/mdmp_fields.rs"]
mod mdmp_fields;
#[allow(dead_code)]
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
    match user::read(&bytes) {
        Ok(dump) => {
            assert!(dump.stack.len() <= 256);
            assert!(dump.damage.len() <= 65);
            let report = engine().triage(&bytes, Request::new(&SourceInfo::default())).report;
            serde_json::to_vec(&report).expect("a report is always JSON");
        }
        Err(error) => assert!(!matches!(error, UserDumpError::Parser(_)), "{error}"),
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if seed % 3 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let mut dump = data[..size].to_vec();
    let fields = mdmp_fields::fields(&dump);
    if fields.is_empty() {
        return fuzzer_mutate(data, size, max_size);
    }
    mutate::mutate(&mut dump, &fields, &mut Prng::new(u64::from(seed)));
    let len = dump.len().min(max_size);
    data[..len].copy_from_slice(&dump[..len]);
    len
});
