//! Hands results over in the order of discovery. Memory stays bounded because discovery runs ahead
//! of the oldest unfinished file by no more than a window.

use std::collections::BTreeMap;
use std::path::Path;

use super::Done;

/// Bytes that sort as paths are walked: component by component.
pub fn path_key(path: &Path) -> Vec<u8> {
    let mut key = Vec::new();
    for part in path.components() {
        // No file name holds a NUL, and nothing sorts before it.
        key.extend_from_slice(part.as_os_str().as_encoded_bytes());
        key.push(0);
    }
    key
}

/// Puts results in order, or lets them through as they come.
pub struct Order {
    sorted: bool,
    next: u64,
    waiting: BTreeMap<u64, Done>,
}

impl Order {
    /// An order; `sorted` by number, or none.
    pub fn new(sorted: bool) -> Order {
        Order {
            sorted,
            next: 0,
            waiting: BTreeMap::new(),
        }
    }

    /// Adds a result and gives those whose turn has come.
    pub fn add(&mut self, done: Done) -> Vec<Done> {
        if !self.sorted {
            return vec![done];
        }
        self.waiting.insert(done.number, done);
        let mut ready = Vec::new();
        while let Some(done) = self.waiting.remove(&self.next) {
            self.next += 1;
            ready.push(done);
        }
        ready
    }

    /// What is left when a run ends early, in order.
    pub fn rest(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.waiting).into_values().collect()
    }
}
