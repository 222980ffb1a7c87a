//! Triage of Windows kernel crash dumps: what crashed, where, whether it is the timer-queue
//! corruption of KB943650, and whether that hotfix applies to the machine.
//!
//! You give the bytes of a dump, of any size, as [`ReadAt`]; nothing else is read unless a
//! [`SymbolLibrary`] says where symbols are. You get a [`Report`], whatever the bytes are: what cannot
//! be read is listed in it. The same bytes and options give the same report.
//!
//! ```
//! use std::path::Path;
//!
//! use kbtriage::{Applicability, Engine, MatchStatus, Request, SourceInfo};
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
//! [`Engine`] reads a dump and judges it; [`judge`] judges [`CrashFacts`] that were gathered before.
//! `docs/architecture.md` describes the rooms behind this door and the order in which data passes them.

#![forbid(unsafe_code)]
// What a smaller build leaves unused is used by the whole one, which the lints look at.
#![cfg_attr(
    not(all(feature = "online", feature = "store", feature = "tickets")),
    allow(dead_code, unused_imports, unfulfilled_lint_expectations)
)]
// Rooms offer more at their doors than each other need: what the tests of a room ask for.
#![cfg_attr(not(feature = "internals"), allow(unused_imports), warn(missing_docs))]
// And nobody asks them all that a library's type would be asked.
#![cfg_attr(feature = "internals", allow(clippy::len_without_is_empty))]

// The rooms are private. The tests, benches and fuzz targets reach into them by the feature `internals`.
cfg_if::cfg_if! {
    if #[cfg(feature = "internals")] {
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
        pub mod hex;
        #[cfg(feature = "online")]
        pub mod https;
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
        pub mod vocabulary;
    } else {
        mod bytes;
        mod cause;
        mod cli;
        mod code;
        mod dump;
        mod evidence;
        mod facts;
        mod fault;
        mod fleet;
        mod gather;
        mod hex;
        #[cfg(feature = "online")]
        mod https;
        mod image;
        mod kernel;
        mod knowledge;
        mod machine;
        mod memory;
        mod report;
        mod scan;
        mod source;
        #[cfg(feature = "store")]
        mod store;
        mod symbols;
        mod triage;
        mod unwind;
        mod verdict;
        mod vocabulary;
    }
}

pub use bytes::{ReadAt, ReadError};
pub use facts::CrashFacts;
pub use knowledge::Knowledge;
pub use report::{Code, Hex, RegisterValues, Report, model};
pub use source::SourceInfo;
pub use symbols::SymbolLibrary;
pub use triage::{Engine, Judged, Limits, Request, Triaged, judge};
pub use verdict::{Applicability, MatchStatus, Verdict};

#[doc(hidden)]
pub use cli::main;
