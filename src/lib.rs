//! Triage of Windows kernel crash dumps: what crashed, where, whether it is the timer-queue
//! corruption of KB943650, and whether that hotfix applies to the machine.
//!
//! `docs/architecture.md` describes the rooms below and the order in which data passes them.

#![forbid(unsafe_code)]

pub mod bytes;
pub mod cli;
pub mod code;
pub mod dump;
pub mod evidence;
pub mod facts;
pub mod fault;
pub mod fleet;
pub mod gather;
mod hex;
pub mod image;
pub mod kernel;
pub mod knowledge;
pub mod machine;
pub mod memory;
pub mod report;
pub mod scan;
pub mod source;
#[cfg(feature = "store")]
pub mod store;
pub mod symbols;
pub mod triage;
pub mod unwind;
pub mod verdict;
mod vocabulary;
