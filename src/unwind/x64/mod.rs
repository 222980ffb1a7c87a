//! x64: one step from a function's registers to its caller's, by the image's unwind data.
//!
//! Facts: Microsoft, "x64 exception handling" (format of `.pdata` and `UNWIND_INFO`, version 1)
//! and the public .NET runtime's unwinder (version 2, epilogue rules).

mod epilogue;
mod function_table;
mod step;
mod unwind_info;

pub use function_table::{EntryLookup, FunctionEntry, find, read_entry};
pub use step::{MachineFrame, Position, Rule, Step, StepError, step};
pub use unwind_info::{Operation, UnwindInfo};

/// Entries followed through indirect and chained records before the data counts as cyclic:
/// Windows gives up after the same number.
pub const CHAIN_LIMIT: usize = 32;
