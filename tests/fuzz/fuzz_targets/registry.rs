//! Hive files, registry exports and saved netsh output.
#![no_main]

use kbtriage::bytes::{Budget, PagedReader};
use kbtriage::gather::external;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let bytes = data.to_vec();
    let reader = PagedReader::open(&bytes).expect("memory does not fail");
    let budget = Budget::new(1_000_000, None);
    std::hint::black_box(external::read(&reader, Some(0), &budget));
});
