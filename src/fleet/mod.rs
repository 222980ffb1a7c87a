//! What many dumps say together: machines, buckets, tickets. Pure functions of summaries.

pub mod bucket;
pub mod machine;

pub use bucket::{BucketRow, Buckets};
pub use machine::Fleet;
