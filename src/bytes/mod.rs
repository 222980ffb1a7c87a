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
