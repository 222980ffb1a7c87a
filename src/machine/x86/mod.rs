//! 32-bit x86.

pub mod context;
pub mod registers;
pub mod trap_frame;
