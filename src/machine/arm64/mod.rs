//! 64-bit Arm.

pub mod context;
pub mod registers;
