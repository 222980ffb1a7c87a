//! What many dumps say together: machines, buckets, tickets. Pure functions of summaries.

pub mod bucket;
mod crash;
mod machine;
mod machines;
mod member;
mod page;
#[cfg(feature = "online")]
mod redact;
mod signs;
mod spool;
#[cfg(feature = "tickets")]
pub mod template;
pub mod ticket;
#[cfg(feature = "online")]
pub mod webhook;

pub use bucket::{BucketRow, Buckets};
pub use machines::Machines;
pub use page::FleetPage;
