//! Triage of Windows kernel crash dumps: what crashed, where, whether it is the timer-queue
//! corruption of KB943650, and whether that hotfix applies to the machine.
//!
//! You give the bytes of a dump, of any size, as [`bytes::ReadAt`]; nothing else is read unless a
//! [`symbols::SymbolLibrary`] says where symbols are. You get a [`report::Report`], whatever the bytes
//! are: what cannot be read is listed in it. The same bytes and options give the same report.
//!
//! ```
//! use std::path::Path;
//!
//! use kbtriage::source::SourceInfo;
//! use kbtriage::triage::{Engine, Request};
//! use kbtriage::verdict::{Applicability, MatchStatus};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let path = Path::new("fixtures/dumps/server2008-x64-d1.dmp");
//! let bytes = std::fs::read(path)?;
//! let report = Engine::default().triage(&bytes, Request::new(&SourceInfo::of_path(path))).report;
//!
//! assert_eq!(report.bugcheck.ok_or("no bug check")?.code.0, "0x000000D1");
//! let answer = report.hotfix.ok_or("no answer")?;
//! // A fault in tcpip.sys of Server 2008 without its fix: the defect is possible, the hotfix fits.
//! assert!(answer.matching.status >= MatchStatus::Possible);
//! assert_eq!(answer.applicability.status, Applicability::Applicable);
//! # Ok(())
//! # }
//! ```
//!
//! [`triage::Engine`] reads a dump and judges it; [`triage::judge`] judges [`facts::CrashFacts`] that were
//! gathered before. `docs/architecture.md` describes the rooms below and the order in which data passes
//! them.

#![forbid(unsafe_code)]

pub mod bytes;
pub mod cause;
pub mod cli;
pub mod code;
pub mod dump;
pub mod evidence;
pub mod facts;
pub mod fault;
pub mod fleet;
pub mod gather;
mod hex;
#[cfg(feature = "online")]
mod https;
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
