//! Bytes to facts for every kernel dump type: what the reader makes of headers and the headers of bodies.
#![no_main]

use kbtriage::bytes::{Budget, PagedReader};
use kbtriage::{dump, gather, source};
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let bytes = data.to_vec();
    let reader = PagedReader::open(&bytes).expect("memory does not fail");
    let kind = source::identify(reader.prefix(), reader.len());
    std::hint::black_box(kind.refusal());
    let budget = Budget::new(Budget::DEFAULT_STEPS, None);
    match dump::open(&reader, &budget) {
        Ok(dump) => {
            std::hint::black_box(gather::gather(&reader, dump, None, false, &budget));
            Corpus::Keep
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Corpus::Keep
        }
    }
});
