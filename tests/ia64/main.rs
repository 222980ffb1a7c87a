//! Itanium: unwind descriptors, the register stack, and stepping, against an independent decoder
//! and executed code; memory dumps of it are tested through the program itself.

#[path = "../support/shared.rs"]
mod shared;

mod assemble;
mod elf;
mod labs;
mod oracle;
mod records;
mod steps;
