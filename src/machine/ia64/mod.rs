//! Itanium.

pub mod context;
pub mod registers;
