//! Turns facts and decisions into a report record. Decides nothing.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest, Sha256};

use super::answers;
use super::model::{self as m, Report};
use super::summary;
use super::system::system;
use super::values::{Code, Hex, RegisterValues, rfc3339_from_filetime, rfc3339_from_unix};
use crate::cause::Cause;
use crate::facts::{ContextFacts, CrashFacts, Format, HeaderFacts, Machine, NameFact, StackFacts};
use crate::facts::{SourceError, SourceInfo};
use crate::hex;
use crate::knowledge::bugchecks::{self, Parameters, Platform};
use crate::knowledge::versions::judge;
use crate::verdict::Answer;

/// FILETIME units in a second.
const SECOND: u64 = 10_000_000;

/// What the report says about the input as a file.
pub struct Input<'a> {
    /// Where the bytes came from.
    pub info: &'a SourceInfo,
    /// Fingerprint.
    pub fingerprint: Option<String>,
    /// SHA-256 of everything, when asked for.
    pub sha256: Option<String>,
}

/// A report on an input about which nothing could be said.
pub fn failed(tool: m::Tool, input: Input<'_>, error: &SourceError) -> Report {
    Report {
        status: m::Status::Failed,
        error: Some(m::ErrorRecord {
            kind: error.kind,
            message: error.message.clone(),
        }),
        ..empty(tool, input)
    }
}

fn empty(tool: m::Tool, input: Input<'_>) -> Report {
    Report {
        record_type: m::RecordType::Report,
        schema_version: m::SCHEMA_VERSION.to_owned(),
        detail: m::Detail::Full,
        tool,
        status: m::Status::Ok,
        error: None,
        notes: Vec::new(),
        source: source(input),
        crash_id: None,
        dump: None,
        system: None,
        process: None,
        thread: None,
        bugcheck: None,
        exception: None,
        header_context: None,
        fault: None,
        stack: None,
        other_processors: None,
        memory_findings: None,
        modules: None,
        unloaded_modules: None,
        bucket: None,
        cause: None,
        hotfix: None,
        other_articles: Vec::new(),
    }
}

/// The report on one crash. For [`m::Detail::Summary`] what no summary holds is not made at all: that
/// is most of the work of a scan's report.
pub fn build(
    tool: m::Tool,
    input: Input<'_>,
    facts: &CrashFacts,
    (main, others): (&Answer, &[Answer]),
    cause: Option<&Cause>,
    notes: Vec<m::Note>,
    detail: m::Detail,
) -> Report {
    let pointer = facts.dump.pointer;
    let full = detail == m::Detail::Full;
    let kernel = facts.dump.format != Format::UserMinidump;
    let fault = kernel.then(|| fault(facts, full));
    let place = fault
        .as_ref()
        .and_then(|fault| fault.location.as_ref()?.module.as_deref());
    let degraded = !facts.dump.damage.is_empty()
        || notes
            .iter()
            .any(|note| note.severity == m::Severity::Warning);
    Report {
        status: if degraded {
            m::Status::Degraded
        } else {
            m::Status::Ok
        },
        notes,
        crash_id: crash_id(facts),
        dump: Some(dump(facts)),
        system: Some(system(facts)),
        process: facts.process.clone(),
        thread: facts.thread.map(|thread| Hex::address(thread, pointer)),
        bugcheck: bugcheck(facts),
        exception: facts.exception.as_ref().map(|e| m::Exception {
            code: Code::new(e.code),
            name: e.name.clone(),
            address: e.address.map(|address| Hex::address(address, pointer)),
            module: e.module.clone(),
            thread: e.thread,
        }),
        header_context: facts
            .header_context
            .as_ref()
            .filter(|_| full)
            .map(|context| header_context(facts, context)),
        stack: facts.stack.as_ref().map(|s| {
            let most = if full {
                usize::MAX
            } else {
                summary::frames(s.faulting_activity)
            };
            stack(facts, s, most)
        }),
        modules: (!facts.modules.is_empty())
            .then(|| modules(facts, |name| full || summary::holds(name, place))),
        fault,
        unloaded_modules: facts.unloaded.as_ref().filter(|_| full).map(|list| {
            list.iter()
                .map(|module| m::UnloadedModule {
                    name: module.name.clone(),
                    start: Hex::address(module.start, pointer),
                    end: Hex::address(module.end, pointer),
                })
                .collect()
        }),
        other_processors: facts.memory.as_ref().filter(|_| full).map(|memory| {
            memory
                .other_stacks
                .iter()
                .map(|s| stack(facts, s, usize::MAX))
                .collect()
        }),
        memory_findings: facts
            .memory
            .as_ref()
            .map(|memory| super::memory::findings(memory, pointer)),
        bucket: bucket(facts),
        cause: cause.map(super::cause::record),
        hotfix: Some(answers::hotfix(main)),
        other_articles: others.iter().map(answers::hotfix).collect(),
        ..empty(tool, input)
    }
}

fn source(input: Input<'_>) -> m::Source {
    m::Source {
        path: input.info.path.clone(),
        path_exact: input.info.path_exact.as_ref().map(|b| BASE64.encode(b)),
        size: input.info.size,
        modified: input.info.modified.and_then(rfc3339_from_unix),
        fingerprint: input.fingerprint,
        sha256: input.sha256,
        container: input.info.container.as_ref().map(|c| m::Container {
            path: c.path.clone(),
            member: c.member.clone(),
        }),
    }
}

/// A name of the crash that its small dump and its memory dump share: from architecture, build, code
/// without the M bit (which only small dumps carry), parameters, time and uptime.
fn crash_id(facts: &CrashFacts) -> Option<String> {
    // A guest that was saved while it ran: the moment names it.
    let (code, parameters) = match facts.bugcheck {
        Some(bugcheck) => (bugcheck.raw_code, bugcheck.parameters),
        None if facts.dump.running => (0, [0; 4]),
        None => return None,
    };
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    add(facts
        .dump
        .architecture
        .map_or("", Machine::as_str)
        .as_bytes());
    add(&facts.system.build.unwrap_or(0).to_le_bytes());
    add(&bugchecks::base_code(code).to_le_bytes());
    for parameter in parameters {
        add(&parameter.to_le_bytes());
    }
    add(&facts.dump.crash_time.unwrap_or(0).to_le_bytes());
    add(&facts.dump.uptime.unwrap_or(0).to_le_bytes());
    let digest = hash.finalize();
    let kept = digest.get(..16).unwrap_or_default();
    Some(format!("c1:{}", hex::bytes(kept)))
}

fn kind(facts: &CrashFacts) -> Option<m::DumpKind> {
    let Some(bugcheck) = facts.bugcheck else {
        return facts.dump.running.then_some(m::DumpKind::Running);
    };
    let check = bugchecks::find(bugcheck.raw_code);
    Some(
        match (check.is_live_in(facts.dump.live_mark), check.is_forced()) {
            (true, _) => m::DumpKind::LiveReport,
            (false, true) => m::DumpKind::Forced,
            (false, false) => m::DumpKind::Crash,
        },
    )
}

fn dump(facts: &CrashFacts) -> m::Dump {
    let dump = &facts.dump;
    m::Dump {
        format: dump.format.as_str().to_owned(),
        dump_type: dump.dump_type,
        kind: kind(facts),
        architecture: dump.architecture.map(|machine| machine.to_string()),
        pae: dump.pae,
        processors: dump.processors,
        writer: dump.writer.map(|writer| writer.to_string()),
        header: header_values(&dump.header, dump.pointer),
        crash_time: dump.crash_time.and_then(rfc3339_from_filetime),
        uptime_seconds: dump.uptime.map(|uptime| uptime / SECOND),
        triage: dump.call_stack_size.map(|call_stack_size| m::Triage {
            options: dump.triage_options.map(Hex::word),
            call_stack_size,
            overflowed: dump.overflowed,
        }),
        tagged_data: dump.tagged.as_ref().map(|list| {
            list.iter()
                .map(|block| m::TaggedData {
                    guid: block.guid.clone(),
                    size: block.size,
                })
                .collect()
        }),
        // Quantities of 2^53 and above are not numbers in the contract; a size like that is noise.
        bytes_declared: dump.bytes_declared.filter(|bytes| *bytes < 1 << 53),
        bytes_present: dump.bytes_present,
        physical_memory: dump.physical_memory.filter(|bytes| *bytes < 1 << 53),
        damage: dump
            .damage
            .iter()
            .map(|damage| m::DamageRecord {
                what: damage.what.clone(),
                offset: damage.offset.map(Hex::plain),
            })
            .collect(),
    }
}

/// Values of the header that are not believed; `None` when there are none.
fn header_values(header: &HeaderFacts, pointer: usize) -> Option<m::HeaderValues> {
    (*header != HeaderFacts::default()).then(|| m::HeaderValues {
        bugcheck_code: header.bugcheck_code.map(Code::new),
        bugcheck_parameters: header.bugcheck_parameters.map(|list| {
            list.map(|value| value.map(|v| Hex::address(v, pointer)))
                .to_vec()
        }),
        build: header.build,
        processors: header.processors,
        crash_time: header.crash_time.and_then(rfc3339_from_filetime),
        uptime_seconds: header.uptime.map(|uptime| uptime / SECOND),
    })
}

fn bugcheck(facts: &CrashFacts) -> Option<m::BugCheck> {
    let bugcheck = facts.bugcheck?;
    let platform = Platform::new(
        facts.dump.pointer,
        facts.dump.architecture,
        facts.system.build,
    );
    let stated = Parameters::written(bugcheck.raw_code, bugcheck.known(), platform);
    let parameters = bugcheck
        .parameters
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let text = stated.text(index);
            let written = bugcheck.parameter(index).is_some();
            m::Parameter {
                value: written.then(|| Hex::address(*value, facts.dump.pointer)),
                meaning: text.meaning.map(str::to_owned),
                decoded: text.decoded.filter(|_| written),
            }
        })
        .collect();
    Some(m::BugCheck {
        code: Code::new(stated.check.code),
        raw_code: Code::new(bugcheck.raw_code),
        name: stated.check.name.map(str::to_owned),
        source: Some(bugcheck.source.as_str().to_owned()),
        parameters,
    })
}

/// The place of an address: `None` when no module holds it.
fn location(facts: &CrashFacts, address: u64, name: Option<&NameFact>) -> Option<m::Location> {
    let (id, offset) = facts.modules.locate(address)?;
    let module = facts.modules.get(id)?;
    Some(m::Location {
        module: module.name.clone(),
        offset: Hex::plain(offset),
        symbol: name.map(|n| n.symbol.clone()),
        displacement: name.map(|n| Hex::plain(n.displacement)),
        symbol_kind: name.map(|n| n.kind.as_str().to_owned()),
        symbol_aliases: name.map(|n| n.aliases.clone()).unwrap_or_default(),
        file: name.and_then(|n| n.line.as_ref().map(|(file, _)| file.clone())),
        line: name.and_then(|n| n.line.as_ref().map(|(_, line)| *line)),
    })
}

fn registers(list: &[(Cow<'static, str>, u64)], pointer: usize) -> RegisterValues {
    let all = list.iter();
    RegisterValues(
        all.map(|(name, value)| (name.to_string(), Hex::address(*value, pointer)))
            .collect(),
    )
}

fn header_context(facts: &CrashFacts, context: &ContextFacts) -> m::HeaderContext {
    let pointer = facts.dump.pointer;
    m::HeaderContext {
        instruction_pointer: context.ip.map(|ip| Hex::address(ip, pointer)),
        stack_pointer: context.sp.map(|sp| Hex::address(sp, pointer)),
        location: context.ip.and_then(|ip| location(facts, ip, None)),
        registers: Some(registers(&context.registers, pointer)),
    }
}

fn fault(facts: &CrashFacts, full: bool) -> m::Fault {
    let pointer = facts.dump.pointer;
    let fault = &facts.fault;
    m::Fault {
        instruction_pointer: fault.ip.map(|ip| Hex::address(ip, pointer)),
        location: fault
            .ip
            .and_then(|ip| location(facts, ip, fault.name.as_ref())),
        source: fault.source.map(|source| source.to_string()),
        candidates: fault.candidates,
        address: fault.address.map(|address| Hex::address(address, pointer)),
        access: fault.access.map(|access| access.to_string()),
        irql: fault.irql.map(u32::from),
        context: fault.context.map(|activity| activity.to_string()),
        instruction: fault.instruction.clone(),
        instruction_kind: fault.instruction_kind.map(|kind| kind.as_str().to_owned()),
        caller: fault.caller.as_ref().map(|caller| m::Caller {
            instruction_pointer: Hex::address(caller.ip, pointer),
            location: location(facts, caller.ip, caller.name.as_ref()),
            trust: caller.trust.as_str().to_owned(),
        }),
        effective_address: fault
            .effective_address
            .map(|(value, agrees)| m::EffectiveAddress {
                value: Hex::address(value, pointer),
                agrees,
            }),
        registers: full.then(|| registers(&fault.registers, pointer)),
    }
}

fn stack(facts: &CrashFacts, stack: &StackFacts, most: usize) -> m::Stack {
    let pointer = facts.dump.pointer;
    m::Stack {
        processor: stack.processor,
        frames: stack
            .frames
            .iter()
            .take(most)
            .zip(0u32..)
            .map(|(frame, index)| {
                let place = location(facts, frame.ip, frame.name.as_ref());
                m::Frame {
                    index,
                    instruction_pointer: Hex::address(frame.ip, pointer),
                    stack_pointer: frame.sp.map(|sp| Hex::address(sp, pointer)),
                    module: place.as_ref().and_then(|p| p.module.clone()),
                    offset: place.as_ref().map(|p| p.offset.clone()),
                    symbol: place.as_ref().and_then(|p| p.symbol.clone()),
                    displacement: place.as_ref().and_then(|p| p.displacement.clone()),
                    symbol_kind: place.and_then(|p| p.symbol_kind),
                    trust: frame.trust.as_str().to_owned(),
                    boundary: frame.boundary.map(|boundary| boundary.as_str().to_owned()),
                }
            })
            .collect(),
        faulting_activity: stack.faulting_activity,
        complete: stack.complete,
        stopped_because: stack.stopped_because.clone(),
    }
}

/// The modules that `wanted` takes by their names.
fn modules(facts: &CrashFacts, wanted: impl Fn(Option<&str>) -> bool) -> Vec<m::Module> {
    let pointer = facts.dump.pointer;
    facts
        .modules
        .iter()
        .filter(|module| wanted(module.name()))
        .map(|module| {
            let version = module.version.as_ref().map(|claim| claim.version);
            m::Module {
                name: module.name.clone(),
                path: module.path.clone(),
                base: Hex::address(module.base, pointer),
                size: module.size,
                time_date_stamp: Hex::word(module.time_date_stamp),
                checksum: module.checksum.map(Hex::word),
                version: version.map(|v| v.to_string()),
                version_source: module
                    .version
                    .as_ref()
                    .map(|claim| claim.source.as_str().to_owned()),
                branch: module
                    .name()
                    .zip(version)
                    .and_then(|(name, version)| judge(name, version).branch)
                    .map(|branch| branch.as_str().to_owned()),
                pdb: module.pdb.as_ref().map(|pdb| m::Pdb {
                    name: pdb.name.clone(),
                    guid_age: pdb.guid_age.clone(),
                }),
                symbols: module.symbols.as_str().to_owned(),
            }
        })
        .collect()
}

/// A crash whose place is not known is grouped by what is: its name.
fn bucket(facts: &CrashFacts) -> Option<m::Bucket> {
    let bucket = facts.bucket.as_ref()?;
    Some(m::Bucket {
        key: bucket.key.clone().or_else(|| bucket.name.clone())?,
        name: bucket.name.clone(),
        offset: bucket.offset.map(Hex::plain),
    })
}
