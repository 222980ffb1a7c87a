//! What speaks of a cause other than the article's: drivers that parameters lead to, the hardware's error
//! record, room on the stack, the block around the faulting address, code that was changed.

use serde::{Deserialize, Serialize};

/// A driver that a bug check parameter leads to, over objects in the dump's memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedDriver {
    /// The parameter, from 0.
    pub parameter: u8,
    /// File name or driver name as the object has it.
    pub name: String,
    /// Over what it was reached, in words: `the request packet's device`.
    pub over: String,
}

/// The error record that the hardware left (WHEA_ERROR_RECORD, the UEFI's common platform error record).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HardwareRecord {
    /// What its sections are about, in words: `processor`, `memory`, `PCI Express`.
    pub sections: Vec<String>,
}

/// The pool block that holds the faulting address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultBlock {
    /// Its first byte for the owner.
    pub body: u64,
    /// Bytes from its header to the next block's.
    pub size: u64,
    /// Its tag; a free block keeps its last owner's.
    pub tag: String,
    /// False when it is free.
    pub allocated: bool,
}

/// Code in memory that is not the image's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedCode {
    /// Address of the first byte that differs.
    pub address: u64,
    /// Bytes that differ.
    pub bytes: u32,
    /// Bits that differ in all.
    pub bits: u32,
}

/// Signs of causes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClueFacts {
    /// Drivers that the parameters lead to, the surest first.
    pub named: Vec<NamedDriver>,
    /// What the hardware reported.
    pub hardware: Option<HardwareRecord>,
    /// Lowest address of the stack that the fault ran on, and the address past it.
    pub stack: Option<(u64, u64)>,
    /// The block around the faulting address.
    pub block: Option<FaultBlock>,
    /// Code at the fault that was changed.
    pub changed: Option<ChangedCode>,
}
