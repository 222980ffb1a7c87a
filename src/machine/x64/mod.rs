//! x86-64.

pub mod context;
pub mod registers;
pub mod trap_frame;
