//! What a report says of the crash itself: bug check, fault, stacks, memory, modules, bucket.

use serde::{Deserialize, Serialize};

use crate::report::values::{Code, Hex, RegisterValues};

/// The bug check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BugCheck {
    /// Without the M bit that triage dumps add to some codes.
    pub code: Code,
    /// As stored.
    pub raw_code: Code,
    /// Name from Microsoft's reference.
    pub name: Option<String>,
    /// Where it was read: in the kernel's variables, or in the header alone.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::ReadFrom::ALL)))]
    pub source: Option<String>,
    /// The four parameters.
    pub parameters: Vec<Parameter>,
}

/// One bug check parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Parameter {
    /// As stored, at pointer width; `null` when it was never written.
    pub value: Option<Hex>,
    /// What the parameter is.
    pub meaning: Option<String>,
    /// What this value says.
    pub decoded: Option<String>,
}

/// A user-mode exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exception {
    /// NTSTATUS.
    pub code: Code,
    /// Its name.
    pub name: Option<String>,
    /// Address of the instruction.
    pub address: Option<Hex>,
    /// Module at the address.
    pub module: Option<String>,
    /// Id of the thread that raised it.
    #[serde(default)]
    pub thread: Option<u32>,
}

/// The header's context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeaderContext {
    /// Instruction pointer.
    pub instruction_pointer: Option<Hex>,
    /// Stack pointer.
    pub stack_pointer: Option<Hex>,
    /// Where the instruction pointer lies.
    pub location: Option<Location>,
    /// Every register of the context by name.
    pub registers: Option<RegisterValues>,
}

/// A place in code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Location {
    /// File name of the module.
    pub module: Option<String>,
    /// Offset from its base.
    pub offset: Hex,
    /// Function.
    pub symbol: Option<String>,
    /// Offset from the function's start.
    pub displacement: Option<Hex>,
    /// How sure the name is.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::SymbolKind::ALL)))]
    pub symbol_kind: Option<String>,
    /// Other names of the same address.
    pub symbol_aliases: Vec<String>,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
}

/// What the processor was doing when it went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Fault {
    /// The faulting instruction.
    pub instruction_pointer: Option<Hex>,
    /// Where it lies.
    pub location: Option<Location>,
    /// How the context was found.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::FaultSource::ALL)))]
    pub source: Option<String>,
    /// How many contexts fitted equally well.
    pub candidates: u32,
    /// The address referenced.
    pub address: Option<Hex>,
    /// What was done to it.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::knowledge::bugchecks::Access::ALL)))]
    pub access: Option<String>,
    /// IRQL.
    pub irql: Option<u32>,
    /// What kind of activity it was.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Activity::ALL)))]
    pub context: Option<String>,
    /// The instruction.
    pub instruction: Option<String>,
    /// What kind of instruction.
    pub instruction_kind: Option<String>,
    /// Who called the faulting address, when that holds no code (a null or trashed pointer).
    #[serde(default)]
    pub caller: Option<Caller>,
    /// The address the instruction computes from the registers.
    pub effective_address: Option<EffectiveAddress>,
    /// Only the registers really recovered.
    pub registers: Option<RegisterValues>,
}

/// The place of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Caller {
    /// The return address.
    pub instruction_pointer: Hex,
    /// Where it lies.
    pub location: Option<Location>,
    /// How the frame was found, as in a stack.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Trust::ALL)))]
    pub trust: String,
}

/// An address recomputed from recovered registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct EffectiveAddress {
    /// The address.
    pub value: Hex,
    /// Whether it is the one the bug check names.
    pub agrees: bool,
}

/// A call stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Stack {
    /// Processor number.
    pub processor: Option<u32>,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// How many leading frames belong to the faulting activity.
    pub faulting_activity: Option<u32>,
    /// The walk reached the stack's end.
    pub complete: bool,
    /// Why it ended before.
    pub stopped_because: Option<String>,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Frame {
    /// From 0, innermost first.
    pub index: u32,
    /// Instruction pointer or return address.
    pub instruction_pointer: Hex,
    /// Stack pointer, when known.
    pub stack_pointer: Option<Hex>,
    /// Module.
    pub module: Option<String>,
    /// Offset from its base.
    pub offset: Option<Hex>,
    /// Function.
    pub symbol: Option<String>,
    /// Offset from the function's start.
    pub displacement: Option<Hex>,
    /// How sure the name is, as in a location.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::SymbolKind::ALL)))]
    pub symbol_kind: Option<String>,
    /// How the frame was found.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Trust::ALL)))]
    pub trust: String,
    /// The frame at which one activity interrupted another.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Boundary::ALL)))]
    pub boundary: Option<String>,
}

/// A finding in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryFinding {
    /// What it is.
    pub kind: String,
    /// Where.
    pub address: Option<Hex>,
    /// Pool tag.
    pub tag: Option<String>,
    /// In words.
    pub detail: String,
    /// The addresses of a list in the order of `detail`, for a drawing of it; not part of the contract.
    #[serde(skip)]
    pub list: Vec<u64>,
}

/// A loaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Module {
    /// File name.
    pub name: Option<String>,
    /// Path, where the dump holds more than a name.
    pub path: Option<String>,
    /// Load address.
    pub base: Hex,
    /// SizeOfImage.
    pub size: u32,
    /// TimeDateStamp.
    pub time_date_stamp: Hex,
    /// CheckSum.
    pub checksum: Option<Hex>,
    /// File version.
    pub version: Option<String>,
    /// How it was learnt.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::VersionSource::ALL)))]
    pub version_source: Option<String>,
    /// Servicing branch, files of Windows 6.0.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::knowledge::versions::Branch::ALL)))]
    pub branch: Option<String>,
    /// The PDB its image names.
    pub pdb: Option<Pdb>,
    /// What became of its symbols.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::SymbolState::ALL)))]
    pub symbols: String,
}

/// A PDB's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Pdb {
    /// File name.
    pub name: String,
    /// GUID and age as symbol stores write them.
    pub guid_age: String,
}

/// An unloaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct UnloadedModule {
    /// Name, cut at twelve characters by Windows.
    pub name: Option<String>,
    /// First address.
    pub start: Hex,
    /// First address past it.
    pub end: Hex,
}

/// A stable grouping of crashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Bucket {
    /// From code, access, module identity and RVA: does not change when symbols arrive.
    pub key: String,
    /// What people read; groups across builds.
    pub name: Option<String>,
    /// Bytes from the start of the function that the name gives.
    pub offset: Option<Hex>,
}
