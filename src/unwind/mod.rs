//! Stack unwinding: from a processor's registers to those of its callers.
//!
//! Knows machine code conventions and what unwind data say; knows no fault and no dump format.
//! What it needs of the loaded modules it asks of a [`CodeInfo`], which a higher room provides.
//! Every frame says how far it can be trusted. Facts: `docs/stacks.md`.

mod code_info;
mod frame;
pub mod ia64;
mod memory_code;
pub mod names;
mod scan;
mod traps_x86;
mod walk;
pub(crate) mod walk_ia64;
mod walk_x64;
mod walk_x86;
pub mod x64;
pub mod x86;

pub use code_info::{CodeInfo, ExceptionDirectory, FrameData, FrameProgram, ModuleSpan, Name};
pub use frame::{Boundary, Frame, Stop, Trust, Walk};
pub use memory_code::MemoryCode;
pub use scan::looks_like_return;
pub use walk::{MOST_CANDIDATES, MOST_FRAMES, StackKind, StackRange, Walker};
