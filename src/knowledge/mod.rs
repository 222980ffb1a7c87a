//! What is known about KB943650, Windows file versions and bug checks, as data compiled into tables.
//!
//! A leaf: it imports no other room (but the enumeration macro), reads no file and judges no dump. The facts stand in `data/`,
//! `tests/knowledge/tables.rs` turns them into the Rust tables of `tables/` and checks that both
//! agree (`KBTRIAGE_BLESS=1 cargo test --test knowledge` rewrites them), so that nothing is
//! parsed when the program starts.

pub mod article;
pub mod articles;
pub mod bugchecks;
pub mod builds;
pub mod conditions;
pub mod defect;
pub mod hotfix;
pub mod inventory;
pub mod load;
pub mod matching;
pub mod pool_tags;
pub mod releases;
#[rustfmt::skip] // generated
mod tables;
pub mod versions;
pub mod wer_report;
pub mod windows;

use crate::vocabulary::closed_enum;

/// What facts are judged by: the embedded tables and what the user added to them.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Known builds of files.
    pub builds: builds::BuildTable,
    /// The articles that are answered about.
    pub articles: articles::Articles,
}

/// Edition of the embedded knowledge: its date and the start of a SHA-256 over all data files,
/// `2026-11-22+sha256:01234567`. Reports carry it as `tool.knowledge`.
pub const VERSION: &str = tables::VERSION;

closed_enum! {
    /// What a statement rests on. Printed wherever the statement is.
    Basis {
        /// The archived article says so.
        Article = "article",
        /// Read in Microsoft's public symbols or a shipped binary.
        PublicSymbol = "public-symbol",
        /// Another published source.
        PublicSource = "public-source",
        /// How Windows servicing works: branches, service packs, cumulative updates.
        ServicingRule = "servicing-rule",
        /// Common expert knowledge of these systems, without a citable source.
        Expert = "expert",
        /// Concluded from the other facts.
        Inference = "inference",
        /// Nothing supports or contradicts it: the statement is that it is unknown.
        None = "none",
    }
}
