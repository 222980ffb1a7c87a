//! Facts of a user-mode minidump: a program's crash, never the defect itself, but an inventory of
//! file versions and of the Windows it ran on.

use crate::dump::user::{UserDump, UserModule, UserSystem};
use crate::facts::{
    Machine, Module, Modules, OperatingSystem, PdbIdentity, UnloadedModule, VersionClaim,
    VersionSource,
};
use crate::knowledge::versions::FileVersion;

use crate::facts::{
    CodeFacts, ContextFacts, CrashFacts, DumpFacts, ExceptionFacts, FaultFacts, Format, FrameFacts,
    Product, StackFacts, SystemFacts,
};

/// FILETIME of 1970-01-01T00:00Z.
const UNIX_EPOCH: u64 = 116_444_736_000_000_000;
/// FILETIME units in a second.
const SECOND: u64 = 10_000_000;

/// Everything a user-mode minidump of `size` bytes says.
pub fn gather_user(dump: UserDump, size: u64) -> CrashFacts {
    let system = dump.system.as_ref();
    let architecture = system.and_then(|s| s.architecture);
    let pointer = architecture.map_or(8, Machine::pointer_width);
    let windows = system.filter(|s| s.platform == OperatingSystem::Windows);
    CrashFacts {
        limits: Vec::new(),
        dump: DumpFacts {
            architecture,
            pointer,
            processors: system.and_then(|s| s.processors).map(u32::from),
            crash_time: dump
                .time
                .and_then(|t| t.checked_mul(SECOND)?.checked_add(UNIX_EPOCH)),
            damage: dump.damage,
            ..DumpFacts::of(Format::UserMinidump, size)
        },
        system: SystemFacts {
            platform: system.map(|s| s.platform),
            os_version: system
                .filter(|s| s.platform != OperatingSystem::Windows)
                .and_then(os_version),
            build: windows.map(|s| s.build).filter(|build| *build != 0),
            service_pack: windows.and_then(|s| s.service_pack),
            product: windows.and_then(product),
            ..SystemFacts::default()
        },
        process: None,
        thread: None,
        bugcheck: None,
        exception: dump.exception.as_ref().map(|e| ExceptionFacts {
            code: e.code,
            name: e.name.clone().or_else(|| signal(system?, &e.reason)),
            address: Some(e.address),
            module: e.location.as_ref().map(|l| l.module.clone()),
            thread: Some(e.thread),
        }),
        header_context: dump.instruction_pointer.map(|ip| ContextFacts {
            ip: Some(ip),
            sp: dump.stack_pointer,
            registers: Vec::new(),
        }),
        fault: FaultFacts::default(),
        bucket: None,
        stack: (!dump.stack.is_empty()).then(|| StackFacts {
            processor: None,
            frames: dump
                .stack
                .iter()
                .map(|frame| FrameFacts {
                    ip: frame.instruction_pointer,
                    sp: Some(frame.stack_pointer),
                    name: None,
                    trust: frame.trust,
                    boundary: None,
                })
                .collect(),
            faulting_activity: None,
            complete: !dump.stack_cut,
            stopped_because: dump
                .stack_cut
                .then(|| "more frames were found than are kept".to_owned()),
        }),
        modules: Modules::from(dump.modules.iter().map(module).collect::<Vec<_>>()),
        unloaded: Some(
            dump.unloaded
                .iter()
                .map(|module| UnloadedModule {
                    name: Some(module.name.clone()),
                    start: module.base,
                    end: module.base.saturating_add(u64::from(module.size)),
                })
                .collect(),
        ),
        memory: None,
        code: CodeFacts::default(),
        dpc_time: None,
        remarks: Vec::new(),
        clues: crate::facts::ClueFacts::default(),
        report_remarks: Vec::new(),
    }
}

/// The version of a system that is not Windows: its numbers, and what its kernel calls itself.
fn os_version(system: &UserSystem) -> Option<String> {
    let numbers = [system.major, system.minor, system.build];
    let numbers = numbers
        .iter()
        .any(|n| *n != 0)
        .then(|| numbers.map(|n| n.to_string()).join("."));
    let text = system.csd_version.clone().filter(|text| !text.is_empty());
    match (numbers, text) {
        (Some(numbers), Some(text)) => Some(format!("{numbers} ({text})")),
        (numbers, text) => numbers.or(text),
    }
}

/// The name of a signal or Mach exception: writers other than Windows put it where an NTSTATUS belongs.
fn signal(system: &UserSystem, reason: &str) -> Option<String> {
    (system.platform != OperatingSystem::Windows
        && reason.contains(|c: char| c.is_ascii_alphabetic())
        && !reason.starts_with("0x")
        && !reason.starts_with("unknown"))
    .then(|| reason.to_owned())
}

fn product(system: &UserSystem) -> Option<Product> {
    match system.product_type? {
        1 => Some(Product::Workstation),
        2 => Some(Product::DomainController),
        3 => Some(Product::Server),
        _ => None,
    }
}

fn module(module: &UserModule) -> Module {
    Module {
        name: Some(module.name.clone()),
        path: Some(module.path.clone()).filter(|path| *path != module.name),
        base: module.base,
        size: module.size,
        time_date_stamp: module.time_date_stamp,
        checksum: Some(module.checksum),
        version: module
            .version
            .as_deref()
            .and_then(|text| text.parse::<FileVersion>().ok())
            .map(|v| VersionClaim {
                version: v,
                branch_tag: None,
                source: VersionSource::Dump,
            }),
        pdb: module.pdb.as_ref().map(|pdb| PdbIdentity {
            name: pdb.name.clone(),
            guid_age: pdb.guid_age.clone(),
        }),
        ..Module::default()
    }
}
