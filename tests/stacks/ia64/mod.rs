//! Itanium: unwind descriptors, the register stack, and stepping, against an independent decoder and
//! executed code. Dumps of it: `tests/memory/itanium.rs`.

mod elf;
mod labs;
mod oracle;
mod records;
mod steps;
