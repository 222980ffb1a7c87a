//! The JSON report contract, schema version 1: the serialised model, nothing else.
//!
//! Field names and meanings keep for the whole of `schema_version` 1; fields may be added. `null`
//! means not known or not applicable, an empty array means known to be empty.

use serde::{Deserialize, Serialize};

use super::values::{Code, Hex};
use crate::facts::ErrorKind;
use crate::vocabulary::closed_enum;

mod answer;
mod cause;
mod crash;

pub use answer::{
    Action, ApplicabilityRecord, DecidedFrom, EvidenceRecord, Hotfix, LookAlikeRecord, Match,
    MissingRecord,
};
pub use cause::{Cause, HintRecord, SuspectRecord};
pub use crash::{
    Bucket, BugCheck, Caller, EffectiveAddress, Exception, Fault, Frame, HeaderContext, Location,
    MemoryFinding, Module, Parameter, Pdb, Stack, UnloadedModule,
};

/// Version of the contract that reports follow.
pub const SCHEMA_VERSION: &str = "1.1";

closed_enum! {
    /// How an input was dealt with.
    Status {
        /// Everything was readable.
        Ok = "ok",
        /// Something was unreadable: see the notes.
        Degraded = "degraded",
        /// Nothing could be said: see the error.
        Failed = "failed",
        /// Left out by a scan.
        Skipped = "skipped",
    }
}

closed_enum! {
    /// How much a note matters.
    Severity {
        /// Worth knowing.
        Info = "info",
        /// Something is missing or doubtful.
        Warning = "warning",
    }
}

closed_enum! {
    /// How much of a report is written.
    Detail {
        /// Everything.
        Full = "full",
        /// The answer, without registers, long stacks and most modules.
        Summary = "summary",
    }
}

/// One dump's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// Always `report`.
    #[serde(rename = "type")]
    pub record_type: RecordType,
    /// Version of this contract.
    pub schema_version: String,
    /// Full or summary.
    pub detail: Detail,
    /// The program and the options that matter for the answer.
    pub tool: Tool,
    /// How the input was dealt with.
    pub status: Status,
    /// Why it failed.
    pub error: Option<ErrorRecord>,
    /// What a reader should know about the report itself.
    pub notes: Vec<Note>,
    /// Where the bytes came from.
    pub source: Source,
    /// The same for every dump of one crash.
    pub crash_id: Option<String>,
    /// The file as a dump.
    pub dump: Option<Dump>,
    /// The Windows that crashed.
    pub system: Option<System>,
    /// Name of the current process.
    pub process: Option<String>,
    /// Address of the current thread.
    pub thread: Option<Hex>,
    /// The bug check.
    pub bugcheck: Option<BugCheck>,
    /// The exception of a user-mode dump.
    pub exception: Option<Exception>,
    /// The context in the header: for most codes that of `KeBugCheckEx`.
    pub header_context: Option<HeaderContext>,
    /// What the processor was doing when it went wrong.
    pub fault: Option<Fault>,
    /// The call stack.
    pub stack: Option<Stack>,
    /// Stacks of the other processors; memory dumps only.
    pub other_processors: Option<Vec<Stack>>,
    /// Findings in memory; memory dumps only.
    pub memory_findings: Option<Vec<MemoryFinding>>,
    /// Loaded modules in the order of the dump's list.
    pub modules: Option<Vec<Module>>,
    /// Unloaded modules.
    pub unloaded_modules: Option<Vec<UnloadedModule>>,
    /// A stable grouping of crashes.
    pub bucket: Option<Bucket>,
    /// What the crash is, whichever article was asked for; kernel dumps only.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// The answer about the article asked for.
    pub hotfix: Option<Hotfix>,
    /// The same for other articles.
    pub other_articles: Vec<Hotfix>,
}

closed_enum! {
    /// Kinds of record.
    RecordType {
        /// One dump.
        Report = "report",
    }
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Tool {
    /// Always `kbtriage`.
    pub name: String,
    /// Program version.
    pub version: String,
    /// Date and checksum of the embedded knowledge.
    pub knowledge: String,
    /// Options that change what a report can say.
    pub options: ToolOptions,
}

/// Options that change what a report can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ToolOptions {
    /// No server was asked.
    pub offline: bool,
    /// A symbol path was given.
    pub symbols: bool,
    /// All of a memory dump could be searched for the registry.
    #[serde(default)]
    pub deep: bool,
}

/// Why nothing could be said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorRecord {
    /// Kind, for programs.
    pub kind: ErrorKind,
    /// One line for a person.
    pub message: String,
}

/// A remark about the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Note {
    /// Stable, for programs.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// JSON Pointer to the field it is about.
    pub field: Option<String>,
    /// For a person.
    pub message: String,
}

/// Where the bytes came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Source {
    /// As given; `-` for standard input.
    pub path: String,
    /// Base64 of the path's bytes when `path` is not exact.
    pub path_exact: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Last modification, RFC 3339 UTC.
    pub modified: Option<String>,
    /// `f1:` and a checksum of size, first 192 KiB and last 4 KiB: for resuming, no integrity proof.
    pub fingerprint: Option<String>,
    /// SHA-256 of everything, only when asked for.
    pub sha256: Option<String>,
    /// The archive the dump is a member of.
    pub container: Option<Container>,
}

/// An archive member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Container {
    /// Path of the archive.
    pub path: String,
    /// Name of the member.
    pub member: String,
}

/// The file as a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Dump {
    /// Declared kind: a missing body is damage, not another format.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Format::ALL)))]
    pub format: String,
    /// DumpType.
    #[serde(rename = "type")]
    pub dump_type: Option<u32>,
    /// What it records; `null` where the bug check is not known, and for programs' dumps.
    #[serde(default)]
    pub kind: Option<DumpKind>,
    /// Processor architecture.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Machine::ALL)))]
    pub architecture: Option<String>,
    /// x86 page tables with Physical Address Extension.
    pub pae: Option<bool>,
    /// Processors of the machine.
    pub processors: Option<u32>,
    /// The program that made the file, where its marks tell.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Writer::ALL)))]
    pub writer: Option<String>,
    /// Values of the header that are not believed: memory says otherwise, or the writer puts them into
    /// every file. `null` when there are none.
    #[serde(default)]
    pub header: Option<HeaderValues>,
    /// RFC 3339 UTC.
    pub crash_time: Option<String>,
    /// Whole seconds since start-up.
    pub uptime_seconds: Option<u64>,
    /// Triage dumps only.
    pub triage: Option<Triage>,
    /// Secondary data blocks; triage dumps only.
    pub tagged_data: Option<Vec<TaggedData>>,
    /// Size the writer meant the file to have.
    pub bytes_declared: Option<u64>,
    /// Size of the file.
    pub bytes_present: u64,
    /// Bytes of RAM, where the dump says.
    pub physical_memory: Option<u64>,
    /// What is wrong with the file.
    pub damage: Vec<DamageRecord>,
}

closed_enum! {
    /// What a kernel dump records.
    DumpKind {
        /// Windows stopped.
        Crash = "crash",
        /// Nothing stopped: a report of a running system.
        LiveReport = "live-report",
        /// A person or a monitor stopped it.
        Forced = "forced",
        /// Nobody stopped it: the memory of a running system, as a hypervisor saves it.
        Running = "running",
    }
}

/// What a header says and memory contradicts, or what its writer puts into every file: not believed,
/// and `null` where the header agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct HeaderValues {
    /// Bug check code as stored.
    pub bugcheck_code: Option<Code>,
    /// Its parameters; `null` for those that were never written.
    pub bugcheck_parameters: Option<Vec<Option<Hex>>>,
    /// Build number.
    pub build: Option<u32>,
    /// Number of processors.
    pub processors: Option<u32>,
    /// Time of the crash, RFC 3339 UTC.
    pub crash_time: Option<String>,
    /// Time since start-up.
    pub uptime_seconds: Option<u64>,
}

/// Fields of a triage dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Triage {
    /// TriageOptions.
    pub options: Option<Hex>,
    /// SizeOfCallStack.
    pub call_stack_size: u32,
    /// The writer left something out.
    pub overflowed: Option<bool>,
}

/// One block of secondary data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TaggedData {
    /// Tag.
    pub guid: String,
    /// Bytes of data.
    pub size: u32,
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DamageRecord {
    /// In words.
    pub what: String,
    /// File offset.
    pub offset: Option<Hex>,
}

/// The Windows that crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct System {
    /// The kind of system: a program's dump can be of others than Windows.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::OperatingSystem::ALL)))]
    pub platform: Option<String>,
    /// Major and minor version of Windows; of another system as its dump has it.
    pub version: Option<String>,
    /// Build number.
    pub build: Option<u32>,
    /// Where the build was read: in the kernel's variables, or in the header alone.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::ReadFrom::ALL)))]
    pub build_source: Option<String>,
    /// Service pack, 0 for none.
    pub service_pack: Option<u32>,
    /// Product type.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::Product::ALL)))]
    pub product: Option<String>,
    /// What people call it.
    pub name: Option<String>,
    /// NtBuildLab.
    pub build_lab: Option<String>,
    /// Computer name.
    pub machine: Option<String>,
    /// Whether multicast forwarding was on.
    pub multicast_forwarding: MulticastForwarding,
}

/// Whether multicast forwarding was on, and how that was learnt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MulticastForwarding {
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
    /// IPv4 or IPv6, where the source does not say which.
    pub any: Option<bool>,
    /// Where it was read.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = crate::facts::ForwardingSource::ALL)))]
    pub source: Option<String>,
    /// When it was so, RFC 3339 UTC.
    pub as_of: Option<String>,
}
