//! `CrashFacts`: everything seen in one crash, as owned plain data.
//!
//! Whatever needs the file, memory, images or symbols happens before a value of this type exists.
//! Evidence and verdict read nothing else, so stored facts can be judged again later. Addresses
//! are numbers; times are FILETIMEs (100 ns since 1601-01-01 UTC).

mod clues;
mod code;
mod damage;
mod filetime;
mod memory;
pub mod modules;
mod packed;
mod source;
pub(crate) mod texts;
mod words;
mod writer;

pub use crate::bytes::Limit;
pub use clues::{ChangedCode, ClueFacts, FaultBlock, HardwareRecord, NamedDriver};
pub use code::{
    CodeFacts, ForwardingFunctionFacts, ListWorkFacts, LockCheckFacts, LockFact, SetLayoutFacts,
    TimerLinkFacts,
};
pub use damage::Damage;
pub use filetime::{filetime_from_unix, unix_from_filetime};
pub use memory::{
    Finding, HandleFacts, IrqlSource, MemoryFacts, PoolTagFacts, ProcessorFacts, SetFacts,
    SpinFacts, TableFacts,
};
pub use modules::{
    Module, Modules, PdbIdentity, SymbolState, UnloadedModule, VersionClaim, VersionSource,
    WrongFile, file_name, is_kernel,
};
pub use packed::{pack, unpack};
pub use source::{Beside, Container, ErrorKind, SourceError, SourceInfo};
pub use words::{
    Activity, Boundary, CodeOrigin, FaultSource, FindingKind, Format, ForwardingSource,
    InstructionKind, OperatingSystem, Product, ReadFrom, SpinKind, SymbolKind, TableMark, Trust,
};
pub use writer::Writer;

pub use crate::machine::Machine;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::knowledge::bugchecks::Access;

/// One block of secondary data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaggedFact {
    /// GUID text in lower case.
    pub guid: String,
    /// Bytes of data.
    pub size: u32,
}

/// The file as a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpFacts {
    /// Declared kind.
    pub format: Format,
    /// DumpType as stored; `None` for user-mode dumps and unwritten fields.
    pub dump_type: Option<u32>,
    /// The machine type; `None` for one that is not known.
    pub architecture: Option<Machine>,
    /// Pointer width in bytes, for printing addresses.
    pub pointer: usize,
    /// x86 page tables with Physical Address Extension.
    pub pae: Option<bool>,
    /// Processors of the machine.
    pub processors: Option<u32>,
    /// The program that made the file.
    pub writer: Option<Writer>,
    /// What the header says otherwise than memory, and the numbers that its writer puts into every
    /// file: neither is believed.
    #[serde(default)]
    pub header: HeaderFacts,
    /// Memory says that no bug check was raised: the system was running.
    #[serde(default)]
    pub running: bool,
    /// The writer marked the file as a dump of a running system.
    #[serde(default)]
    pub live_mark: bool,
    /// FILETIME of the crash.
    pub crash_time: Option<u64>,
    /// Time since start-up in units of 100 ns.
    pub uptime: Option<u64>,
    /// TriageOptions.
    pub triage_options: Option<u32>,
    /// SizeOfCallStack in bytes.
    pub call_stack_size: Option<u32>,
    /// The writer left something out.
    pub overflowed: Option<bool>,
    /// Secondary data; `None` where it was not looked for.
    pub tagged: Option<Vec<TaggedFact>>,
    /// RequiredDumpSpace in bytes.
    pub bytes_declared: Option<u64>,
    /// Size of the file in bytes.
    pub bytes_present: u64,
    /// Bytes of RAM, where the dump says.
    pub physical_memory: Option<u64>,
    /// What is wrong with the file.
    pub damage: Vec<Damage>,
}

impl DumpFacts {
    /// A file of which nothing but its kind and its size in bytes is known.
    pub fn of(format: Format, bytes_present: u64) -> DumpFacts {
        DumpFacts {
            format,
            dump_type: None,
            architecture: None,
            pointer: 8,
            pae: None,
            processors: None,
            writer: None,
            header: HeaderFacts::default(),
            running: false,
            live_mark: false,
            crash_time: None,
            uptime: None,
            triage_options: None,
            call_stack_size: None,
            overflowed: None,
            tagged: None,
            bytes_declared: None,
            bytes_present,
            physical_memory: None,
            damage: Vec::new(),
        }
    }
}

/// Values of a header that are not believed; `None` for those that are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeaderFacts {
    /// Bug check code as stored.
    pub bugcheck_code: Option<u32>,
    /// Its parameters, where they are written.
    pub bugcheck_parameters: Option<[Option<u64>; 4]>,
    /// Build number.
    pub build: Option<u32>,
    /// Number of processors.
    pub processors: Option<u32>,
    /// FILETIME.
    pub crash_time: Option<u64>,
    /// In units of 100 ns.
    pub uptime: Option<u64>,
}

/// Whether multicast forwarding was on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForwardingFacts {
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
    /// IPv4 or IPv6, where the source does not say which.
    pub any: Option<bool>,
    /// Where it was read.
    pub source: Option<ForwardingSource>,
    /// When it was so, a FILETIME.
    pub as_of: Option<u64>,
    /// It is known to have been so at the crash.
    pub at_crash: bool,
    /// What to know about files beside the dump that were to tell it.
    pub remarks: Vec<String>,
}

impl ForwardingFacts {
    /// True when something is known, whatever its date.
    pub fn is_known(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some() || self.any.is_some()
    }
}

/// The Windows that crashed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemFacts {
    /// A program's dump can be of any; `None` where it does not say, and for kernel dumps, which are of Windows.
    #[serde(default)]
    pub platform: Option<OperatingSystem>,
    /// Version of a system that is not Windows, as its dump has it.
    #[serde(default)]
    pub os_version: Option<String>,
    /// Build number.
    pub build: Option<u32>,
    /// Where the build was read; `None` for a dump of a program and where it is not known.
    #[serde(default)]
    pub build_source: Option<ReadFrom>,
    /// Service pack; 0 for none.
    pub service_pack: Option<u32>,
    /// Workstation, server or domain controller.
    pub product: Option<Product>,
    /// A checked (debug) build.
    pub checked_build: Option<bool>,
    /// NtBuildLab.
    pub build_lab: Option<String>,
    /// Computer name, from the dump.
    pub machine: Option<String>,
    /// Multicast forwarding.
    #[serde(default)]
    pub multicast_forwarding: ForwardingFacts,
}

/// The bug check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BugCheckFacts {
    /// The code as stored, M-variants included.
    pub raw_code: u32,
    /// Parameters, zero-extended in 32-bit dumps. One that was never written is 0 here: ask
    /// [`BugCheckFacts::parameter`].
    pub parameters: [u64; 4],
    /// Parameters that were never written.
    #[serde(default)]
    pub unwritten: [bool; 4],
    /// Where it was read.
    #[serde(default)]
    pub source: ReadFrom,
}

impl BugCheckFacts {
    /// The parameter counted from 0; `None` for one that was never written.
    pub fn parameter(&self, index: usize) -> Option<u64> {
        let value = self.parameters.get(index).copied()?;
        (self.unwritten.get(index) == Some(&false)).then_some(value)
    }

    /// The parameters as far as they are written.
    pub fn known(&self) -> [Option<u64>; 4] {
        [0, 1, 2, 3].map(|index| self.parameter(index))
    }

    /// All four, when all are written.
    pub fn written(&self) -> Option<&[u64; 4]> {
        (self.unwritten == [false; 4]).then_some(&self.parameters)
    }
}

/// A user-mode exception.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExceptionFacts {
    /// NTSTATUS.
    pub code: u32,
    /// Its name.
    pub name: Option<String>,
    /// Address of the instruction.
    pub address: Option<u64>,
    /// Module at the address.
    pub module: Option<String>,
    /// Id of the thread that raised it.
    #[serde(default)]
    pub thread: Option<u32>,
}

/// A processor context: its instruction and stack pointers and every register recovered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextFacts {
    /// Instruction pointer.
    pub ip: Option<u64>,
    /// Stack pointer.
    pub sp: Option<u64>,
    /// Registers by name, in the machine's order.
    pub registers: Vec<(Cow<'static, str>, u64)>,
}

/// A name for a place in code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameFact {
    /// Function, undecorated.
    pub symbol: String,
    /// Offset from its start.
    pub displacement: u64,
    /// How well the name fits the address.
    pub kind: SymbolKind,
    /// Other names of the same address.
    pub aliases: Vec<String>,
    /// Source file and line, when private symbols have them.
    pub line: Option<(String, u32)>,
}

impl NameFact {
    /// False for a name that may be a neighbour's (`approximate`), for an export's, which may reach too far, and
    /// for a text constant's (``??_C@…``, ``??::FNODOBFM::`string'``), which is no function: symbol files list those
    /// between the parts of a function that were moved away from it.
    pub fn is_certain(&self) -> bool {
        let constant = self.symbol.starts_with("??_C@")
            || (self.symbol.starts_with("??") && self.symbol.contains("`string'"))
            || self.symbol.starts_with("?? ");
        matches!(self.kind, SymbolKind::Exact | SymbolKind::Cold) && !constant
    }
}

/// What the processor did when it went wrong, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultFacts {
    /// The faulting instruction.
    pub ip: Option<u64>,
    /// Its name.
    pub name: Option<NameFact>,
    /// How it was found.
    pub source: Option<FaultSource>,
    /// How many contexts fitted equally well.
    pub candidates: u32,
    /// The address referenced.
    pub address: Option<u64>,
    /// What was done at the address.
    pub access: Option<Access>,
    /// IRQL at the fault.
    pub irql: Option<u8>,
    /// What the processor was doing.
    pub context: Option<Activity>,
    /// The instruction as text.
    pub instruction: Option<String>,
    /// What the instruction does.
    pub instruction_kind: Option<InstructionKind>,
    /// The address the instruction computes, and whether the bug check names the same.
    pub effective_address: Option<(u64, bool)>,
    /// The address the instruction computes, where the bug check names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed: Option<u64>,
    /// Registers really recovered, by name.
    pub registers: Vec<(Cow<'static, str>, u64)>,
    /// Who called the faulting address, when that holds no code (a null or trashed pointer): the frame of
    /// the return address that the call had just pushed.
    #[serde(default)]
    pub caller: Option<FrameFacts>,
}

impl FaultFacts {
    /// True when the text of the instruction names the register.
    pub fn names_register(&self, register: &str) -> bool {
        let text = self.instruction.as_deref().unwrap_or_default();
        text.split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| word == register)
    }
}

/// One frame of a call stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameFacts {
    /// Instruction pointer or return address.
    pub ip: u64,
    /// Stack pointer, when known.
    pub sp: Option<u64>,
    /// Its name.
    pub name: Option<NameFact>,
    /// How the frame was found.
    pub trust: Trust,
    /// The boundary between two activities.
    pub boundary: Option<Boundary>,
}

/// A call stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFacts {
    /// Processor number.
    pub processor: Option<u32>,
    /// Innermost first.
    pub frames: Vec<FrameFacts>,
    /// Leading frames that belong to the faulting activity.
    pub faulting_activity: Option<u32>,
    /// The walk reached the stack's end.
    pub complete: bool,
    /// Why it ended before.
    pub stopped_because: Option<String>,
}

impl StackFacts {
    /// The stack pointer of the first frame that belongs to another activity: what lies below it is
    /// the faulting one's. `None` when the walk saw no such frame.
    pub fn activity_end(&self) -> Option<u64> {
        let first = usize::try_from(self.faulting_activity?).ok()?;
        // Candidates are not counted either, but they are no boundary.
        self.frames.get(first).filter(|f| f.boundary.is_some())?.sp
    }
}

/// The failure bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketFacts {
    /// From identities only; `None` when the place is not known.
    pub key: Option<String>,
    /// As debuggers write it.
    pub name: Option<String>,
    /// Bytes from the start of the named function.
    #[serde(default)]
    pub offset: Option<u64>,
}

/// Everything seen in one crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashFacts {
    /// The file as a dump.
    pub dump: DumpFacts,
    /// The Windows that crashed.
    pub system: SystemFacts,
    /// Name of the current process.
    pub process: Option<String>,
    /// Address of the current thread's ETHREAD.
    pub thread: Option<u64>,
    /// The bug check; `None` for user-mode dumps.
    pub bugcheck: Option<BugCheckFacts>,
    /// The exception of a user-mode dump.
    pub exception: Option<ExceptionFacts>,
    /// The header's context.
    pub header_context: Option<ContextFacts>,
    /// The fault.
    pub fault: FaultFacts,
    /// The failure bucket; `None` for user-mode dumps.
    pub bucket: Option<BucketFacts>,
    /// The call stack; `None` when none was walked.
    pub stack: Option<StackFacts>,
    /// Loaded modules.
    pub modules: Modules,
    /// Unloaded modules; `None` when the dump has no list of them.
    pub unloaded: Option<Vec<UnloadedModule>>,
    /// What only a dump with memory tells; `None` for others and where it cannot be read.
    #[serde(default)]
    pub memory: Option<MemoryFacts>,
    /// What was read from the network stack's code.
    #[serde(default)]
    pub code: CodeFacts,
    /// Clock ticks that the DPC of the processor that crashed had taken, and the limit
    /// (KPRCB.DpcTimeCount, DpcTimeLimit).
    #[serde(default)]
    pub dpc_time: Option<(u32, u32)>,
    /// What had to be settled by what it leads to, in words, where no dump has shown how a field is
    /// meant: IA-64 only.
    #[serde(default)]
    pub remarks: Vec<String>,
    /// Limits that were reached while these facts were gathered: something may be missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
    /// Signs of causes other than the article's.
    #[serde(default)]
    pub clues: ClueFacts,
    /// What to know about the error report beside the dump.
    #[serde(default)]
    pub report_remarks: Vec<String>,
}
