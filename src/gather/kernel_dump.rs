//! Gathers the facts of a kernel dump: the header, and for a triage dump everything it carries.

use super::code;
use super::fault::{Found, found};
use super::memory_dump;
use super::session::{self, Session};
use crate::bytes::{Budget, Gva, PagedReader, View};
use crate::dump::triage::{Copied, Driver};
use crate::dump::{Body, DumpType, Header, KernelDump, TriageDump};
use crate::facts::{Module, Modules, UnloadedModule, file_name};
use crate::fault::{self, Crash};
use crate::kernel::believed::{self, Believed, Disbelieved};
use crate::kernel::{DebuggerData, process, state, structures as layouts};
use crate::knowledge::bugchecks::{Parameters, Platform};
use crate::machine::Registers;
use crate::memory::{Block, BlockKind, Memory, Sparse};
use crate::symbols::Near;

use crate::facts::{
    BugCheckFacts, ClueFacts, CodeFacts, ContextFacts, CrashFacts, DumpFacts, FaultFacts, Format,
    HeaderFacts, Product, ReadFrom, SystemFacts, TaggedFact,
};

/// Longest copy of EPROCESS or KPRCB read for its few fields, in bytes.
const STRUCTURE: u64 = 0x4000;
/// Longest build string read, in bytes.
const BUILD_LAB: usize = 128;

/// What a triage dump's copies of kernel structures say.
#[derive(Default)]
struct Structures {
    service_pack: Option<u32>,
    build_lab: Option<String>,
    process: Option<String>,
    thread: Option<u64>,
    dpc_time: Option<(u32, u32)>,
    /// The bug check as the kernel stored it.
    bugcheck: Option<(u32, [u64; 4])>,
}

/// Everything the dump itself says. Versions, symbols and stacks are added by later stages.
pub fn gather(
    reader: &PagedReader<'_>,
    dump: KernelDump,
    library: Option<Near<'_>>,
    budget: &Budget,
) -> CrashFacts {
    gather_with(reader, dump, library, false, budget)
}

/// As [`gather`]; `deep` allows to search all pages of a memory dump for the registry where no short way
/// leads to it.
pub fn gather_with(
    reader: &PagedReader<'_>,
    dump: KernelDump,
    library: Option<Near<'_>>,
    deep: bool,
    budget: &Budget,
) -> CrashFacts {
    let KernelDump {
        header,
        body,
        damage,
    } = dump;
    let listed = match &body {
        Body::Triage(triage) => modules(triage),
        Body::Physical(_) | Body::None => Modules::default(),
    };
    let triage = match &body {
        Body::Triage(triage) => Some(triage.as_ref()),
        Body::Physical(_) | Body::None => None,
    };
    let mut memory = match &body {
        Body::Physical(Some(body)) => Some(memory_dump::read(
            reader, &header, body, library, deep, budget,
        )),
        _ => None,
    };
    let space = triage.map(|triage| address_space(reader, &header, triage));
    let structures = triage
        .zip(space.as_ref())
        .map(|(triage, space)| structures(reader, &header, triage, space))
        .unwrap_or_default();
    let by_pieces = triage.map(|_| {
        believed::of_triage(
            &header,
            structures.build_lab.as_deref(),
            structures.bugcheck,
        )
    });
    let context = triage
        .and_then(|t| t.context.as_ref())
        .or(header.context.as_ref());
    let mut modules = match &mut memory {
        Some(memory) => std::mem::take(&mut memory.modules),
        None => listed,
    };
    let found = match &mut memory {
        Some(memory) => memory.found.take(),
        None => triage.zip(space.as_ref()).and_then(|(triage, space)| {
            investigate(
                reader,
                &by_pieces.as_ref()?.header,
                (triage, space),
                &mut modules,
                library,
                budget,
            )
        }),
    };
    let believed = match &mut memory {
        Some(memory) => memory.believed.take(),
        None => by_pieces,
    };
    let believed = believed.unwrap_or_else(|| believed::by_header(&header));
    let mut damage = damage.into_vec();
    let memory = memory.unwrap_or_default();
    let dpc_time = structures.dpc_time.or_else(|| {
        let processors = &memory.facts.as_ref()?.processors;
        processors.iter().find(|p| p.crashed)?.dpc_time
    });
    damage.extend(memory.damage);
    let mut remarks = memory.remarks;
    let (fault, stack, bucket, code, clues) = match found {
        Some(Found {
            fault,
            stack,
            bucket,
            code,
            remarks: settled,
            clues,
        }) => {
            remarks.extend(settled);
            (fault, stack, Some(bucket), code, clues)
        }
        None => (
            fault_from_parameters(&believed.header),
            None,
            None,
            CodeFacts::default(),
            ClueFacts::default(),
        ),
    };
    CrashFacts {
        limits: budget.reached(),
        dump: DumpFacts {
            damage,
            ..dump_facts(reader, &believed, triage)
        },
        system: SystemFacts {
            platform: None,
            os_version: None,
            build: believed.header.build,
            build_source: believed.build.map(read_from),
            service_pack: triage
                .and_then(|t| t.service_pack)
                .or(structures.service_pack)
                .or(memory.service_pack),
            product: believed.header.product_type.and_then(product),
            checked_build: header.checked_build,
            build_lab: structures.build_lab.or(memory.build_lab),
            machine: memory.machine,
            multicast_forwarding: memory.forwarding,
        },
        process: structures.process.or(memory.process),
        thread: structures.thread.or(memory.thread),
        bugcheck: bugcheck(&believed),
        exception: None,
        header_context: context.map(context_facts),
        fault,
        // Without a code there is nothing to group by.
        bucket: bucket.filter(|_| believed.header.bug_check_code.is_some()),
        stack,
        modules,
        unloaded: triage.and_then(unloaded).or(memory.unloaded),
        memory: memory.facts,
        code,
        dpc_time,
        remarks,
        clues,
        report_remarks: Vec::new(),
    }
}

/// Finds the fault's context and stack in what a triage dump holds, and learns what the symbol
/// path says about the modules that matter.
fn investigate(
    reader: &PagedReader<'_>,
    header: &Header,
    (triage, space): (&TriageDump, &Sparse<'_>),
    modules: &mut Modules,
    library: Option<Near<'_>>,
    budget: &Budget,
) -> Option<Found> {
    let session = Session::new(modules, space, library, header.machine?);
    let crash = Crash::from_triage(reader, header, triage, space, &session)?;
    let investigation = fault::investigate(&crash, budget);
    let mut found = found(&crash, &investigation, modules, &session, None);
    session.want_package();
    code::add(&session, &mut found, &mut [], header.build, budget);
    let learnt = session.module_findings();
    session::apply(learnt, modules);
    Some(found)
}

/// What the bug check's own parameters say about the fault, for dumps whose memory is not read.
fn fault_from_parameters(header: &Header) -> FaultFacts {
    let platform = Platform::new(
        header.pointer,
        header.machine.map(|machine| machine.name()),
        header.build,
    );
    let Some((code, parameters)) = header.bug_check() else {
        return FaultFacts::default();
    };
    let stated = Parameters::written(code, parameters, platform);
    let violation = stated.violation();
    let ip = stated.instruction();
    FaultFacts {
        ip,
        source: ip.map(|_| "bugcheck-parameters".to_owned()),
        candidates: u32::from(ip.is_some()),
        address: violation.and_then(|v| v.address),
        access: violation
            .and_then(|v| v.access)
            .map(|access| access.name().to_owned()),
        irql: stated.irql(),
        ..FaultFacts::default()
    }
}

/// The bug check that is believed.
fn bugcheck(believed: &Believed) -> Option<BugCheckFacts> {
    let (raw_code, parameters) = believed.header.bug_check()?;
    Some(BugCheckFacts {
        raw_code,
        parameters: parameters.map(Option::unwrap_or_default),
        unwritten: parameters.map(|parameter| parameter.is_none()),
        source: believed.bug_check.map(read_from).unwrap_or_default(),
    })
}

fn read_from(from: believed::From) -> ReadFrom {
    match from {
        believed::From::Header => ReadFrom::Header,
        believed::From::Memory => ReadFrom::Memory,
    }
}

fn header_facts(disbelieved: &Disbelieved) -> HeaderFacts {
    HeaderFacts {
        bugcheck_code: disbelieved.bug_check.map(|(code, _)| code),
        bugcheck_parameters: disbelieved.bug_check.map(|(_, parameters)| parameters),
        build: disbelieved.build,
        processors: disbelieved.processors,
        crash_time: disbelieved.time,
        uptime: disbelieved.uptime,
    }
}

fn dump_facts(
    reader: &PagedReader<'_>,
    believed: &Believed,
    triage: Option<&TriageDump>,
) -> DumpFacts {
    let header = &believed.header;
    DumpFacts {
        header: header_facts(&believed.disbelieved),
        running: believed.running,
        live_mark: header.is_of_a_running_system(),
        format: format(header.dump_type),
        dump_type: header.dump_type.number(),
        architecture: header.machine.map(|m| m.name().to_owned()),
        pointer: header.pointer,
        pae: header.pae,
        processors: header.processors,
        writer: header.writer.or_else(|| triage?.writer),
        crash_time: header.system_time,
        uptime: header.system_up_time,
        triage_options: triage.and_then(|t| t.options),
        call_stack_size: triage.map(|t| t.call_stack_size),
        overflowed: triage.and_then(|t| t.overflowed),
        tagged: triage.map(tagged),
        bytes_declared: header.required_dump_space,
        bytes_present: reader.len(),
        physical_memory: header.physical_memory.as_ref().and_then(|memory| {
            let page = header.machine.map_or(0x1000, |m| m.page_size());
            memory
                .runs
                .iter()
                .try_fold(0u64, |sum, run| sum.checked_add(run.page_count))?
                .checked_mul(page)
        }),
        damage: Vec::new(),
    }
}

fn format(dump_type: DumpType) -> Format {
    match dump_type {
        DumpType::Complete => Format::KernelComplete,
        DumpType::Summary => Format::KernelSummary,
        DumpType::HeaderOnly => Format::KernelHeaderOnly,
        DumpType::Triage => Format::KernelTriage,
        DumpType::BitmapComplete | DumpType::BitmapKernel => Format::KernelBitmap,
        DumpType::Ranges(_) => Format::KernelRanges,
        DumpType::Unknown(_) => Format::KernelUnknown,
    }
}

fn product(value: u32) -> Option<Product> {
    match value {
        1 => Some(Product::Workstation),
        2 => Some(Product::DomainController),
        3 => Some(Product::Server),
        _ => None,
    }
}

fn tagged(triage: &TriageDump) -> Vec<TaggedFact> {
    triage
        .tagged
        .iter()
        .map(|block| TaggedFact {
            guid: block.guid.clone(),
            size: block.size,
        })
        .collect()
}

/// A context as plain data.
pub(super) fn context_facts(registers: &Registers) -> ContextFacts {
    ContextFacts {
        ip: registers.ip(),
        sp: registers.sp(),
        registers: registers
            .iter()
            .map(|(name, value)| (name.into(), value))
            .collect(),
    }
}

/// The drivers as modules.
fn modules(triage: &TriageDump) -> Modules {
    let module = |driver: &Driver| {
        let name = driver
            .path
            .as_deref()
            .map(|path| file_name(path).to_owned());
        Module {
            // The kernel writes names alone for most drivers.
            path: driver
                .path
                .clone()
                .filter(|path| Some(path) != name.as_ref()),
            name,
            base: driver.base,
            size: driver.size_of_image,
            time_date_stamp: driver.time_date_stamp,
            checksum: Some(driver.check_sum),
            ..Module::default()
        }
    };
    Modules::from(triage.drivers.iter().map(module).collect::<Vec<_>>())
}

fn unloaded(triage: &TriageDump) -> Option<Vec<UnloadedModule>> {
    let list = triage
        .unloaded
        .as_ref()?
        .iter()
        .map(|driver| UnloadedModule {
            name: driver.name.clone(),
            start: driver.start,
            end: driver.end,
        })
        .collect();
    Some(list)
}

/// Reads the few fields that the copies of kernel structures hold for a report.
fn structures(
    reader: &PagedReader<'_>,
    header: &Header,
    triage: &TriageDump,
    space: &Sparse<'_>,
) -> Structures {
    let copy = |piece: Option<Copied>| {
        piece.and_then(|piece| reader.bytes(piece.offset, piece.room.min(STRUCTURE)).ok())
    };
    let kdbg = copy(triage.debugger_data).and_then(|bytes| DebuggerData::read(&bytes));
    let thread = current_thread(reader, header, triage);
    Structures {
        service_pack: kdbg
            .as_ref()
            .and_then(DebuggerData::csd_version)
            .and_then(|at| space.read_u32(Gva(header.truncate(at))).ok())
            .filter(|csd| *csd <= 0xFFFF)
            .map(|csd| csd >> 8),
        build_lab: kdbg
            .as_ref()
            .and_then(DebuggerData::nt_build_lab)
            .and_then(|at| build_lab(space, Gva(header.truncate(at)))),
        process: copy(triage.process).and_then(|eprocess| {
            process::image_file_name(&eprocess, header.build?, header.machine?)
        }),
        thread,
        dpc_time: dpc_time(reader, header, triage),
        bugcheck: kdbg
            .as_ref()
            .and_then(DebuggerData::bugcheck_data)
            .and_then(|at| state::bugcheck(space, header.truncate(at), header.machine?)),
    }
}

/// KPRCB.DpcTimeCount and DpcTimeLimit, at the offsets of exactly this build.
fn dpc_time(reader: &PagedReader<'_>, header: &Header, triage: &TriageDump) -> Option<(u32, u32)> {
    let layout = layouts::find(header.build, header.machine?)?;
    let copy = triage.prcb?;
    let field = |at: u64| {
        let mut bytes = [0; 4];
        let inside = at.checked_add(4).is_some_and(|end| end <= copy.room);
        let offset = copy.offset.checked_add(at).filter(|_| inside)?;
        reader.read_exact_at(offset, &mut bytes).ok()?;
        Some(u32::from_le_bytes(bytes))
    };
    Some((
        field(layout.prcb_dpc_time_count)?,
        field(layout.prcb_dpc_time_limit)?,
    ))
}

/// The virtual memory a triage dump holds: its blocks and the debugger data at its own address.
pub fn address_space<'a>(
    reader: &'a PagedReader<'a>,
    header: &Header,
    triage: &TriageDump,
) -> Sparse<'a> {
    let placed = |address: Option<u64>, copy: Option<Copied>, kind| {
        let (address, copy) = address.zip(copy)?;
        Some(Block {
            start: Gva(header.truncate(address)),
            len: copy.room,
            offset: copy.offset,
            kind,
        })
    };
    let thread = current_thread(reader, header, triage);
    let process = thread.and_then(|_| process_of_thread(reader, header, triage));
    let structures = [
        placed(
            header.kd_debugger_data_block,
            triage.debugger_data,
            BlockKind::DebuggerData,
        ),
        placed(thread, triage.thread, BlockKind::Thread),
        placed(process, triage.process, BlockKind::Process),
    ];
    let store = triage.backing_store.and_then(|store| {
        let len = u64::from(store.size);
        Some(Block {
            start: Gva(store.limit.checked_sub(len)?),
            len,
            offset: u64::from(store.offset),
            kind: BlockKind::RegisterStack,
        })
    });
    let structures: Vec<Block> = structures.into_iter().chain([store]).flatten().collect();
    let mut space = Sparse::new(reader, &triage.blocks, &structures);
    // Where the processor block belongs is known only where the array that leads to it is held.
    let prcb = prcb_address(reader, header, triage, &space);
    if let Some(block) = placed(prcb, triage.prcb, BlockKind::Prcb) {
        space.add(&block);
    }
    space
}

/// NtBuildLab: terminated ASCII of the form `6001.18000.amd64fre.longhorn_rtm.080118-1840`.
fn build_lab(space: &Sparse<'_>, at: Gva) -> Option<String> {
    let mut text = String::new();
    for offset in 0..BUILD_LAB as u64 {
        match space.read_u8(at.checked_add(offset)?).ok()? {
            0 => {
                return text
                    .starts_with(|c: char| c.is_ascii_digit())
                    .then_some(text);
            }
            byte if byte.is_ascii_graphic() => text.push(char::from(byte)),
            _ => return None,
        }
    }
    None
}

/// The debugger data block of a triage dump.
fn debugger_data(reader: &PagedReader<'_>, triage: &TriageDump) -> Option<DebuggerData> {
    let copy = triage.debugger_data?;
    let bytes = reader.bytes(copy.offset, copy.room.min(STRUCTURE)).ok()?;
    DebuggerData::read(&bytes)
}

/// A pointer at `at` in the copy of a structure; null is none.
fn pointer_in(
    reader: &PagedReader<'_>,
    header: &Header,
    copy: Option<Copied>,
    at: Option<u16>,
) -> Option<u64> {
    let (copy, at) = copy.zip(at)?;
    let mut bytes = [0; 8];
    let bytes = bytes.get_mut(..header.pointer)?;
    let end = u64::from(at).checked_add(header.pointer as u64)?;
    let offset = copy.offset.checked_add(u64::from(at))?;
    if end > copy.room || reader.read_exact_at(offset, bytes).is_err() {
        return None;
    }
    View(bytes)
        .pointer(0, header.pointer)
        .filter(|address| *address != 0)
}

/// KPRCB.CurrentThread: the address the ETHREAD copy belongs at.
fn current_thread(reader: &PagedReader<'_>, header: &Header, triage: &TriageDump) -> Option<u64> {
    let at = debugger_data(reader, triage)?.prcb_current_thread();
    pointer_in(reader, header, triage.prcb, at)
}

/// KTHREAD.ApcState.Process: the address the EPROCESS copy belongs at.
fn process_of_thread(
    reader: &PagedReader<'_>,
    header: &Header,
    triage: &TriageDump,
) -> Option<u64> {
    let at = debugger_data(reader, triage)?.kthread_process();
    pointer_in(reader, header, triage.thread, at)
}

/// The address of the KPRCB copy: the entry of KiProcessorBlock for the processor's own number.
fn prcb_address(
    reader: &PagedReader<'_>,
    header: &Header,
    triage: &TriageDump,
    space: &Sparse<'_>,
) -> Option<u64> {
    let kdbg = debugger_data(reader, triage)?;
    let copy = triage.prcb?;
    let at = u64::from(kdbg.prcb_number()?);
    let mut number = [0; 1];
    if at >= copy.room
        || reader
            .read_exact_at(copy.offset.checked_add(at)?, &mut number)
            .is_err()
    {
        return None;
    }
    let entry = u64::from(u8::from_le_bytes(number)).checked_mul(header.pointer as u64)?;
    let array = Gva(header.truncate(kdbg.processor_block()?));
    let at = array.checked_add(entry)?;
    space
        .read_pointer(at, header.pointer)
        .ok()
        .filter(|address| *address != 0)
}
