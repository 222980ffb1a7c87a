//! Material that is not in the repository: real dumps and symbols.

use std::io::Write;
use std::path::{Path, PathBuf};

/// Says that a test did not run, past the test runner's capture of output.
pub fn skipped(why: &str) {
    let test = std::thread::current();
    let test = test.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// A path below `../shared`, or `None` with a visible line where it is absent.
pub fn shared(relative: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(relative);
    if path.exists() {
        return Some(path);
    }
    skipped(&format!("../shared/{relative} is absent"));
    None
}
