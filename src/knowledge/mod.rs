//! What is known about KB943650, Windows file versions and bug checks, as data compiled into tables.
//!
//! A leaf: it imports no other room, reads no file and judges no dump. The facts stand in `data/`,
//! `tests/knowledge_tables.rs` turns them into the Rust tables of `tables/` and checks that both
//! agree (`KBTRIAGE_BLESS=1 cargo test --test knowledge_tables` rewrites them), so that nothing is
//! parsed when the program starts.

pub mod bugchecks;
pub mod builds;
pub mod defect;
pub mod hotfix;
#[rustfmt::skip] // generated
mod tables;
pub mod versions;

use serde::Serialize;

/// Edition of the embedded knowledge: its date and the start of a SHA-256 over all data files,
/// `2026-11-22+sha256:01234567`. Reports carry it as `tool.knowledge`.
pub const VERSION: &str = tables::VERSION;

/// What a statement rests on. Printed wherever the statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The archived article says so.
    Article,
    /// Read in Microsoft's public symbols or a shipped binary.
    PublicSymbol,
    /// Another published source.
    PublicSource,
    /// How Windows servicing works: branches, service packs, cumulative updates.
    ServicingRule,
    /// Common expert knowledge of these systems, without a citable source.
    Expert,
    /// Concluded from the other facts.
    Inference,
    /// Nothing supports or contradicts it: the statement is that it is unknown.
    None,
}

impl Basis {
    /// The kebab-case word that JSON uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Article => "article",
            Self::PublicSymbol => "public-symbol",
            Self::PublicSource => "public-source",
            Self::ServicingRule => "servicing-rule",
            Self::Expert => "expert",
            Self::Inference => "inference",
            Self::None => "none",
        }
    }
}
