//! What Windows left in memory: the debugger data block, the processor block, the process.
//!
//! Knows kernel structures, chosen by build; judges nothing. What a dump has of the kernel is read once: `pieces`
//! of a triage dump, `state` of one with memory.

pub mod believed;
pub mod debugger_data;
pub mod find;
pub mod ia64;
pub mod lists;
pub mod modules;
pub mod pieces;
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
