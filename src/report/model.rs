//! The JSON report contract, schema version 1: the serialised model, nothing else.
//!
//! Field names and meanings keep for the whole of `schema_version` 1; fields may be added. `null`
//! means not known or not applicable, an empty array means known to be empty.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Code, Hex};
use crate::evidence::{Basis, Strength};
use crate::source::ErrorKind;
use crate::verdict::{Applicability, MatchStatus, Verdict};
use crate::vocabulary::open_enum;

/// Version of the contract that reports follow.
pub const SCHEMA_VERSION: &str = "1.0";

open_enum! {
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

open_enum! {
    /// How much a note matters.
    Severity {
        /// Worth knowing.
        Info = "info",
        /// Something is missing or doubtful.
        Warning = "warning",
    }
}

open_enum! {
    /// How much of a report is written.
    Detail {
        /// Everything.
        Full = "full",
        /// The answer, without registers, long stacks and most modules.
        Summary = "summary",
    }
}

/// One dump's report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// The answer about the article asked for.
    pub hotfix: Option<Hotfix>,
    /// The same for other articles.
    pub other_articles: Vec<Hotfix>,
}

open_enum! {
    /// Kinds of record.
    RecordType {
        /// One dump.
        Report = "report",
    }
}

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorRecord {
    /// Kind, for programs.
    pub kind: ErrorKind,
    /// One line for a person.
    pub message: String,
}

/// A remark about the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Container {
    /// Path of the archive.
    pub path: String,
    /// Name of the member.
    pub member: String,
}

/// The file as a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dump {
    /// Declared kind: a missing body is damage, not another format.
    #[schemars(extend("examples" = ["kernel-triage", "kernel-summary", "kernel-complete", "kernel-bitmap", "kernel-ranges", "kernel-header-only", "kernel-unknown", "user-minidump"]))]
    pub format: String,
    /// DumpType.
    #[serde(rename = "type")]
    pub dump_type: Option<u32>,
    /// Processor architecture.
    #[schemars(extend("examples" = ["x86", "x64", "ia64", "arm64", "arm"]))]
    pub architecture: Option<String>,
    /// x86 page tables with Physical Address Extension.
    pub pae: Option<bool>,
    /// Processors of the machine.
    pub processors: Option<u32>,
    /// Who wrote a triage dump.
    #[schemars(extend("examples" = ["kernel", "debugger"]))]
    pub writer: Option<String>,
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

/// Fields of a triage dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Triage {
    /// TriageOptions.
    pub options: Option<Hex>,
    /// SizeOfCallStack.
    pub call_stack_size: u32,
    /// The writer left something out.
    pub overflowed: Option<bool>,
}

/// One block of secondary data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaggedData {
    /// Tag.
    pub guid: String,
    /// Bytes of data.
    pub size: u32,
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DamageRecord {
    /// In words.
    pub what: String,
    /// File offset.
    pub offset: Option<Hex>,
}

/// The Windows that crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct System {
    /// Major and minor version.
    pub version: Option<String>,
    /// Build number.
    pub build: Option<u32>,
    /// Service pack, 0 for none.
    pub service_pack: Option<u32>,
    /// Product type.
    #[schemars(extend("examples" = ["workstation", "server", "domain-controller"]))]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MulticastForwarding {
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
    /// IPv4 or IPv6, where the source does not say which.
    pub any: Option<bool>,
    /// Where it was read.
    #[schemars(extend("examples" = ["pool-allocations", "forwarding-set", "registry-in-dump", "hive-file", "reg-export", "netsh-output"]))]
    pub source: Option<String>,
    /// When it was so, RFC 3339 UTC.
    pub as_of: Option<String>,
}

/// The bug check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BugCheck {
    /// Without the M bit that triage dumps add to some codes.
    pub code: Code,
    /// As stored.
    pub raw_code: Code,
    /// Name from Microsoft's reference.
    pub name: Option<String>,
    /// The four parameters.
    pub parameters: Vec<Parameter>,
}

/// One bug check parameter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Parameter {
    /// As stored, at pointer width.
    pub value: Hex,
    /// What the parameter is.
    pub meaning: Option<String>,
    /// What this value says.
    pub decoded: Option<String>,
}

/// A user-mode exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Exception {
    /// NTSTATUS.
    pub code: Code,
    /// Its name.
    pub name: Option<String>,
    /// Address of the instruction.
    pub address: Option<Hex>,
    /// Module at the address.
    pub module: Option<String>,
}

/// The header's context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HeaderContext {
    /// Instruction pointer.
    pub instruction_pointer: Option<Hex>,
    /// Stack pointer.
    pub stack_pointer: Option<Hex>,
    /// Where the instruction pointer lies.
    pub location: Option<Location>,
    /// Every register of the context by name.
    pub registers: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A place in code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(extend("examples" = ["exact", "cold", "approximate", "export"]))]
    pub symbol_kind: Option<String>,
    /// Other names of the same address.
    pub symbol_aliases: Vec<String>,
    /// Source file.
    pub file: Option<String>,
    /// Source line.
    pub line: Option<u32>,
}

/// What the processor was doing when it went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// The faulting instruction.
    pub instruction_pointer: Option<Hex>,
    /// Where it lies.
    pub location: Option<Location>,
    /// How the context was found.
    #[schemars(extend("examples" = ["trap-frame", "context-record", "exception-record", "machine-frame", "header-context", "bugcheck-parameters"]))]
    pub source: Option<String>,
    /// How many contexts fitted equally well.
    pub candidates: u32,
    /// The address referenced.
    pub address: Option<Hex>,
    /// What was done to it.
    #[schemars(extend("examples" = ["read", "write", "execute"]))]
    pub access: Option<String>,
    /// IRQL.
    pub irql: Option<u32>,
    /// What kind of activity it was.
    #[schemars(extend("examples" = ["thread", "dpc", "idle", "interrupt"]))]
    pub context: Option<String>,
    /// The instruction.
    pub instruction: Option<String>,
    /// What kind of instruction.
    pub instruction_kind: Option<String>,
    /// The address the instruction computes from the registers.
    pub effective_address: Option<EffectiveAddress>,
    /// Only the registers really recovered.
    pub registers: Option<serde_json::Map<String, serde_json::Value>>,
}

/// An address recomputed from recovered registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EffectiveAddress {
    /// The address.
    pub value: Hex,
    /// Whether it is the one the bug check names.
    pub agrees: bool,
}

/// A call stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(extend("examples" = ["exact", "cold", "approximate", "export"]))]
    pub symbol_kind: Option<String>,
    /// How the frame was found.
    #[schemars(extend("examples" = ["context", "unwind-info", "frame-data", "frame-pointer", "trap-frame", "scan"]))]
    pub trust: String,
    /// The frame at which one activity interrupted another.
    #[schemars(extend("examples" = ["interrupt", "dpc", "exception", "user"]))]
    pub boundary: Option<String>,
}

/// A finding in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryFinding {
    /// What it is.
    pub kind: String,
    /// Where.
    pub address: Option<Hex>,
    /// Pool tag.
    pub tag: Option<String>,
    /// In words.
    pub detail: String,
}

/// A loaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
    #[schemars(extend("examples" = ["image", "memory", "table", "inventory"]))]
    pub version_source: Option<String>,
    /// Servicing branch, files of Windows 6.0.
    #[schemars(extend("examples" = ["gdr", "ldr", "rtm"]))]
    pub branch: Option<String>,
    /// The PDB its image names.
    pub pdb: Option<Pdb>,
    /// What became of its symbols.
    #[schemars(extend("examples" = ["loaded", "missing", "mismatched", "not-needed"]))]
    pub symbols: String,
}

/// A PDB's identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pdb {
    /// File name.
    pub name: String,
    /// GUID and age as symbol stores write them.
    pub guid_age: String,
}

/// An unloaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnloadedModule {
    /// Name, cut at twelve characters by Windows.
    pub name: Option<String>,
    /// First address.
    pub start: Hex,
    /// First address past it.
    pub end: Hex,
}

/// A stable grouping of crashes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bucket {
    /// From code, access, module identity and RVA: does not change when symbols arrive.
    pub key: String,
    /// What people read; groups across builds.
    pub name: Option<String>,
    /// Bytes from the start of the function that the name gives.
    pub offset: Option<Hex>,
}

/// The answer about one article.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hotfix {
    /// The article.
    pub kb: String,
    /// Does this crash match the defect?
    #[serde(rename = "match")]
    pub matching: Match,
    /// Does the hotfix apply to this machine?
    pub applicability: ApplicabilityRecord,
    /// One word for a ticket, derived from the two above.
    pub verdict: Verdict,
    /// What to do now, in order.
    pub actions: Vec<Action>,
    /// What would settle an open question.
    pub would_settle: Vec<String>,
}

/// Does this crash match the defect?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Match {
    /// The answer.
    pub status: MatchStatus,
    /// The rule that gave it, in words.
    #[serde(default)]
    pub rule: Option<String>,
    /// Ids of the evidence that decided: what the rule rests on, or what speaks against.
    #[serde(default)]
    pub decided_by: Vec<String>,
    /// What the next higher status would need; alternatives where there are several.
    #[serde(default)]
    pub missing: Vec<MissingRecord>,
    /// What it rests on, for and against.
    pub evidence: Vec<EvidenceRecord>,
    /// Other known problems it could be.
    pub look_alikes: Vec<LookAlikeRecord>,
}

/// What a higher match status would need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MissingRecord {
    /// The status.
    pub status: MatchStatus,
    /// The effects that no evidence has, in the words of the rule table.
    pub needs: Vec<String>,
    /// For a person.
    pub text: String,
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EvidenceRecord {
    /// Stable, for programs.
    pub id: String,
    /// For the match (true) or against it.
    #[serde(rename = "for")]
    pub supports: bool,
    /// How much it weighs.
    pub strength: Strength,
    /// What was seen.
    pub summary: String,
    /// Where it was seen.
    #[serde(rename = "where")]
    pub place: Option<String>,
    /// What the rule behind it rests on.
    pub basis: Basis,
}

/// Another known problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LookAlikeRecord {
    /// Article or a word.
    pub id: String,
    /// Why it could be that.
    pub why: String,
}

/// Does the hotfix apply to this machine?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApplicabilityRecord {
    /// The answer.
    pub status: Applicability,
    /// In words.
    pub reason: String,
    /// The files it was decided from.
    pub decided_from: Vec<DecidedFrom>,
}

/// One file that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecidedFrom {
    /// File name.
    pub file: String,
    /// Its version, when known.
    pub version: Option<String>,
    /// The version that holds the fix.
    pub fixed_in: Option<String>,
    /// How the file's state was learnt.
    pub source: String,
    /// What the rule rests on.
    pub basis: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    /// Stable, for programs.
    #[serde(rename = "do")]
    pub action: String,
    /// For a person.
    pub text: String,
    /// The exact command.
    pub command: Option<String>,
}
