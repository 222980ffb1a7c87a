//! An Itanium that crashed: its memory, its stacks of both kinds, and the dumps of them.
//!
//! Written from the published formats alone; no constant is shared with the reader.

pub mod descriptors;
pub mod dump;
pub mod image;
pub mod machine;
pub mod scene;
pub mod small;

/// The address of the n-th register behind the one stored at `at`, or before it, counted word by
/// word: every 64th word holds no register.
pub fn register_behind(mut at: u64, n: i64) -> u64 {
    for _ in 0..n.abs() {
        at = at.wrapping_add_signed(8 * n.signum());
        if at % 512 == 504 {
            at = at.wrapping_add_signed(8 * n.signum());
        }
    }
    at
}

/// A frame marker: registers, and how many of them callees do not see.
pub fn marker(size: u64, locals: u64) -> u64 {
    size | locals << 7
}
