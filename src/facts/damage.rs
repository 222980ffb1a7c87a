//! What is wrong with a file.

use serde::{Deserialize, Serialize};

/// One thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// What is wrong, in words.
    pub what: String,
    /// Absolute file offset it concerns, where there is one.
    pub offset: Option<u64>,
}
