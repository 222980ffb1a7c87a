//! A result store as somebody else may hand it over: opened, checked, and everything in it read. The only target that
//! writes a file, in memory where the system has a place for that: SQLite opens names.
#![no_main]

use std::path::{Path, PathBuf};

use kbtriage::store::{Store, StoreError};
use libfuzzer_sys::fuzz_target;

fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    folder.join(format!("kbtriage-fuzz-{}.db", std::process::id()))
}

fn read(path: &Path) -> Result<(), StoreError> {
    let store = Store::open(path)?;
    let whole = store.check_whole();
    let _ = (store.counts(), store.runs(), store.new_in_last_scan());
    let _ = store.each_summary(|summary| {
        std::hint::black_box(summary.source.path.len());
        Ok::<(), StoreError>(())
    });
    let _ = store.each_file(|file| {
        std::hint::black_box(file.records.len());
        Ok::<(), StoreError>(())
    });
    whole
}

fuzz_target!(|data: &[u8]| {
    let path = place();
    std::fs::write(&path, data).expect("room for a small file");
    if let Err(error) = read(&path) {
        assert!(!error.to_string().is_empty());
    }
    let left = std::fs::read(&path).expect("it is still there");
    assert!(left == data, "a store that is read is not written");
});
