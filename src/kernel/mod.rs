//! What Windows left in memory: the debugger data block, the processor block, the process.
//!
//! Knows kernel structures, chosen by build; finds nothing on its own and judges nothing.

pub mod debugger_data;
pub mod layouts;
pub mod process;
pub mod processor;

pub use debugger_data::DebuggerData;
