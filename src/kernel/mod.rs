//! What Windows left in memory: the debugger data block, the processor block, the process.
//!
//! Knows kernel structures, chosen by build; finds nothing on its own and judges nothing.

pub mod believed;
pub mod debugger_data;
mod find;
pub mod ia64;
pub mod layouts;
pub mod lists;
pub mod modules;
pub mod pool;
pub mod process;
pub mod processor;
pub mod processors;
pub mod registry;
pub mod shared_data;
pub mod state;
pub mod structures;
pub mod unloaded;

pub use debugger_data::DebuggerData;
