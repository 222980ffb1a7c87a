//! Stack unwinding: from a processor's registers to those of its callers.
//!
//! Knows machine code conventions and what unwind data say; knows no fault and no dump format.
//! What it needs of the loaded modules it asks of a [`CodeInfo`], which a higher room provides.
//! Every frame says how far it can be trusted. Facts: `docs/stacks.md`.

mod code_info;
mod memory_code;
pub mod x64;

pub use code_info::{
    CodeInfo, ExceptionDirectory, FrameData, FrameProgram, ModuleSpan, Name, NoCode,
};
pub use memory_code::MemoryCode;
