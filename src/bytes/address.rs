//! Address types: a physical address must never be passed where a virtual one is meant.

use std::fmt;

/// Guest virtual address, zero-extended to 64 bits (32-bit dumps use the low 32 bits only).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gva(pub u64);

/// Guest physical address in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gpa(pub u64);

/// Page frame number: a physical address divided by the page size of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pfn(pub u64);

/// Position of a loaded module in the module list of one dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub u16);

impl Gva {
    /// The address `offset` bytes above this one, or `None` past the end of the address space.
    pub fn checked_add(self, offset: u64) -> Option<Gva> {
        self.0.checked_add(offset).map(Gva)
    }
}

impl fmt::LowerHex for Gva {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::LowerHex::fmt(&self.0, f)
    }
}
