//! A user's template of a ticket, as it is read.
#![no_main]

use kbtriage::fleet::template::Template;
use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(text) = std::str::from_utf8(data) else {
        return Corpus::Reject;
    };
    if let Err(error) = Template::new("ticket.html", text.to_owned()) {
        assert!(!error.to_string().is_empty());
    }
    Corpus::Keep
});
