//! What the knowledge room says, against the article's text and against the domain.
//!
//! Expected values come from the archived article, Microsoft's public reference and real images, by
//! readers of their own here; nothing is compared with the room's own output.

mod article;
mod bugchecks;
mod builds;
mod defect;
mod functions;
mod reference;
mod rooms;
mod tables;
mod versions;

use std::path::{Path, PathBuf};

use kbtriage::knowledge::versions::FileVersion;

fn shared(path: &str) -> Option<PathBuf> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path);
    if full.exists() {
        return Some(full);
    }
    println!("SKIPPED: ../shared is absent");
    None
}

fn version(text: &str) -> FileVersion {
    text.parse().expect("a version")
}

#[test]
fn the_edition_is_a_date_and_a_hash() {
    let (date, hash) = kbtriage::knowledge::VERSION.split_once("+sha256:").unwrap();
    assert_eq!((date.len(), hash.len()), (10, 8));
    assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()));
}
