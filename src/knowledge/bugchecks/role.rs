//! What a bug check code says about KB943650: a table of its own (`data/bugcheck-roles.tsv`).

use serde::Serialize;

use super::base_code;
use crate::knowledge::Basis;
use crate::knowledge::tables::bugchecks::ROLES;
use crate::machine::Machine;

/// What a code says about KB943650.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleKind {
    /// The corrupted list itself can raise it.
    Primary,
    /// Damage done by the defect, found later by somebody else.
    SecondaryVictim,
    /// A person or a monitor forced the dump: the code says nothing, what the processors did does.
    Forced,
    /// Speaks against, without excluding.
    WeaklyAgainst,
    /// Windows 6.0 cannot raise it: excludes.
    Impossible,
}

/// A code's part in KB943650.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CodeRole {
    /// Without the M bit.
    pub code: u32,
    /// What the code is to the defect.
    pub kind: RoleKind,
    /// Where the system raises it so; empty: everywhere.
    pub architectures: &'static [Machine],
    /// What the row rests on.
    pub basis: Basis,
    /// One sentence for a person.
    pub meaning: &'static str,
}

/// A code's part in KB943650; `None`: none that is known. `raw` may carry the M bit.
pub fn role(raw: u32) -> Option<&'static CodeRole> {
    let code = base_code(raw);
    ROLES.iter().find(|role| role.code == code)
}

/// All codes with a part in KB943650, ascending by code.
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn roles() -> &'static [CodeRole] {
    ROLES
}
