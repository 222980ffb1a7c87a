//! Bytes and addresses: where raw data is read from and what a number from it means.
//!
//! Knows positional reads, checked little-endian access, address types and the work
//! budget. Knows nothing about dumps. Everything above reads files through this room,
//! so a hostile count or offset is stopped here.

mod address;
mod budget;
mod contain;
mod paged;
mod read_at;
mod sticky;
pub mod text;
mod view;

pub use address::{Gpa, Gva, ModuleId, Pfn};
pub use budget::{Budget, Limit};
pub use contain::{Panicked, contained};
pub use paged::{Beginning, PagedReader};
pub use read_at::{FileReader, ReadAt, ReadError};
pub use sticky::{Failure, Sticky};
pub use view::View;

/// Gives `buffer` that many bytes, to be overwritten: what was there stays, zeros follow. A program that is built small
/// fills byte by byte in [`Vec::resize`], which took two fifths of all instructions for a small dump.
pub fn make_room(buffer: &mut Vec<u8>, len: usize) {
    const ZEROS: [u8; 4096] = [0; 4096];
    buffer.truncate(len);
    buffer.reserve_exact(len.saturating_sub(buffer.len()));
    loop {
        let left = len.saturating_sub(buffer.len()).min(ZEROS.len());
        match ZEROS.get(..left) {
            Some(zeros) if left > 0 => buffer.extend_from_slice(zeros),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn room_has_its_length_and_keeps_what_was_there() {
        let mut buffer = vec![7; 3];
        for len in [0, 1, 3, 4096, 5000, 9000, 2] {
            super::make_room(&mut buffer, len);
            assert_eq!(buffer.len(), len);
            buffer.iter_mut().for_each(|byte| *byte = 9);
        }
        super::make_room(&mut buffer, 4);
        assert_eq!(buffer, [9, 9, 0, 0]);
    }
}
