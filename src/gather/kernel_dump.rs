//! Gathers the facts of a kernel dump: the header, and for a triage dump everything it carries.

use super::code;
use super::fault::{Found, found};
use super::memory_dump;
use super::session::{self, Session};
use crate::bytes::{Budget, PagedReader};
use crate::dump::triage::Driver;
use crate::dump::{Body, DumpType, Header, KernelDump, TriageDump};
use crate::facts::{Module, Modules, file_name};
use crate::fault::{self, Crash};
use crate::kernel::believed::{self, Believed, Disbelieved};
use crate::kernel::pieces::Pieces;
use crate::knowledge::bugchecks::{Parameters, Platform};
use crate::machine::Registers;
use crate::symbols::Near;

use crate::facts::{
    BugCheckFacts, ClueFacts, CodeFacts, ContextFacts, CrashFacts, DumpFacts, FaultFacts,
    FaultSource, Format, HeaderFacts, Product, ReadFrom, SystemFacts, TaggedFact,
};

/// Everything a kernel dump itself says. `deep` allows to search all pages of a memory dump for the registry where
/// no short way leads to it. What tables and the files beside a dump add comes later.
pub fn gather(
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
    let pieces = triage.map(|triage| Pieces::read(reader, &header, triage));
    let by_pieces = pieces
        .as_ref()
        .map(|pieces| believed::of_triage(&header, pieces));
    let context = triage
        .and_then(|t| t.context.as_ref())
        .or(header.context.as_ref());
    let mut modules = match &mut memory {
        Some(memory) => std::mem::take(&mut memory.modules),
        None => listed,
    };
    let found = match &mut memory {
        Some(memory) => memory.found.take(),
        None => triage.zip(pieces.as_ref()).and_then(|(triage, pieces)| {
            investigate(
                &by_pieces.as_ref()?.header,
                (triage, pieces),
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
    let (process, build_lab) = pieces
        .as_ref()
        .map(|p| (p.process.clone(), p.build_lab.clone()))
        .unwrap_or_default();
    let mut damage = damage.into_vec();
    let memory = memory.unwrap_or_default();
    let dpc_time = pieces.as_ref().and_then(|p| p.dpc_time).or_else(|| {
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
                .or(pieces.as_ref().and_then(|p| p.service_pack))
                .or(memory.service_pack),
            product: believed.header.product_type.and_then(product),
            checked_build: header.checked_build,
            build_lab: build_lab.or(memory.build_lab),
            machine: memory.machine,
            multicast_forwarding: memory.forwarding,
        },
        process: process.or(memory.process),
        thread: pieces
            .as_ref()
            .and_then(|p| p.current_thread)
            .or(memory.thread),
        bugcheck: bugcheck(&believed),
        exception: None,
        header_context: context.map(context_facts),
        fault,
        // Without a code there is nothing to group by.
        bucket: bucket.filter(|_| believed.header.bug_check_code.is_some()),
        stack,
        modules,
        unloaded: triage
            .and_then(|triage| triage.unloaded.clone())
            .or(memory.unloaded),
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
    header: &Header,
    (triage, pieces): (&TriageDump, &Pieces<'_>),
    modules: &mut Modules,
    library: Option<Near<'_>>,
    budget: &Budget,
) -> Option<Found> {
    let session = Session::new(modules, &pieces.space, library, header.machine?);
    let crash = Crash::from_triage(header, triage, pieces, &session)?;
    let investigation = fault::investigate(&crash, budget);
    let mut found = found(&crash, &investigation, modules, &session, None);
    code::want_package(&session);
    code::add(&session, &mut found, &mut [], header.build, budget);
    let learnt = session.module_findings();
    session::apply(learnt, modules);
    Some(found)
}

/// What the bug check's own parameters say about the fault, for dumps whose memory is not read.
fn fault_from_parameters(header: &Header) -> FaultFacts {
    let platform = Platform::new(header.pointer, header.machine, header.build);
    let Some((code, parameters)) = header.bug_check() else {
        return FaultFacts::default();
    };
    let stated = Parameters::written(code, parameters, platform);
    let violation = stated.violation();
    let ip = stated.instruction();
    FaultFacts {
        ip,
        source: ip.map(|_| FaultSource::BugcheckParameters),
        candidates: u32::from(ip.is_some()),
        address: violation.and_then(|v| v.address),
        access: violation.and_then(|v| v.access),
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
        dump_type: header.dump_type.number(),
        architecture: header.machine,
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
        physical_memory: header.physical_memory.as_ref().and_then(|memory| {
            let page = header.machine.map_or(0x1000, |m| m.page_size());
            memory
                .runs
                .iter()
                .try_fold(0u64, |sum, run| sum.checked_add(run.page_count))?
                .checked_mul(page)
        }),
        ..DumpFacts::of(format(header.dump_type), reader.len())
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
fn context_facts(registers: &Registers) -> ContextFacts {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::dump;
    use crate::kernel::debugger_data::READS;
    use crate::machine::Machine;

    #[test]
    fn the_debugger_data_block_of_a_dump_is_read_once() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps");
        let mut kinds = [0; 2];
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let reader = PagedReader::open(&bytes).unwrap();
            let Ok(dump) = dump::open(&reader, &Budget::default()) else {
                continue;
            };
            let kind = match &dump.body {
                Body::Triage(_) => 0,
                // An Itanium's kernel is found by its block.
                Body::Physical(Some(_)) if dump.header.machine != Some(Machine::Ia64) => 1,
                _ => continue,
            };
            let before = READS.get();
            gather(&reader, dump, None, false, &Budget::default());
            assert_eq!(READS.get() - before, 1, "{}", path.display());
            kinds[kind] += 1;
        }
        assert!(kinds.iter().all(|read| *read >= 5), "{kinds:?}");
    }
}
