//! Itanium.

pub mod context;
pub mod register_stack;
pub mod registers;
pub mod trap_frame;
