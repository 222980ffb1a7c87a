//! Gathers the facts of a memory dump: modules with their versions, the fault, every processor.

use crate::bytes::{Budget, Gva, PagedReader};
use crate::dump::{Damage, Header, PhysicalBody, Writer};
use crate::facts::{Module, Modules, UnloadedModule, file_name};
use crate::fault::{self, Crash};
use crate::kernel::DebuggerData;
use crate::kernel::believed::{self, Believed};
use crate::kernel::debugger_data::Keys;
use crate::kernel::find::Block;
use crate::kernel::ia64;
use crate::kernel::lists::End;
use crate::kernel::modules::LoadedDrivers;
use crate::kernel::registry::{self, Hive, MemoryCells};
use crate::kernel::state::KernelState;
use crate::kernel::structures;
use crate::knowledge::bugchecks;
use crate::machine::{Machine, Registers};
use crate::memory::translate::Ia64Tables;
use crate::memory::{Memory, Paged, Physical};
use crate::symbols::Near;

use super::code;
use super::external::last_write;
use super::fault::{Found, found};
use super::forwarding;
use super::forwarding::findings::PoolView;
use super::module_image;
use super::processors;
use super::session::{self, Session};
use crate::facts::{
    Finding, FindingKind, ForwardingFacts, ForwardingSource, MemoryFacts, PoolTagFacts,
};

/// Everything a memory dump adds to its header.
#[derive(Default)]
pub(super) struct FromMemory {
    pub modules: Modules,
    pub unloaded: Option<Vec<UnloadedModule>>,
    pub service_pack: Option<u32>,
    pub build_lab: Option<String>,
    pub machine: Option<String>,
    pub forwarding: ForwardingFacts,
    pub process: Option<String>,
    pub thread: Option<u64>,
    pub found: Option<Found>,
    /// The header with memory's values; `None` where memory says nothing.
    pub believed: Option<Believed>,
    /// `None` when no virtual memory could be read.
    pub facts: Option<MemoryFacts>,
    pub damage: Vec<Damage>,
    /// What had to be settled by what it leads to: IA-64 only.
    pub remarks: Vec<String>,
}

/// What the steps of reading share.
#[derive(Clone, Copy)]
struct Reading<'a> {
    header: &'a Header,
    /// Memory says that no bug check was raised.
    running: bool,
    kernel: &'a KernelState,
    space: &'a Paged<'a>,
    machine: Machine,
    budget: &'a Budget,
}

/// Reads a memory dump's memory. What cannot be read is left out and said in `damage`.
pub(super) fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    body: &PhysicalBody,
    library: Option<Near<'_>>,
    deep: bool,
    budget: &Budget,
) -> FromMemory {
    let mut result = FromMemory::default();
    let physical = Physical::new(reader, body.clone(), budget);
    let space = match header.machine {
        Some(Machine::Ia64) => result.itanium(&physical, header, budget),
        _ => Paged::of_crash(&physical, header),
    };
    let (Some(space), Some(machine)) = (space, header.machine) else {
        result.note("virtual memory is not read for this machine or without its page tables");
        return result;
    };
    let block = Block::read(&space, header);
    let paged_pool = block.paged_pool_start(&space, machine);
    let space = space.with_paged_pool(paged_pool);
    let Some((mut kernel, believed)) = kernel_state(&space, header, &block, library, budget) else {
        return result;
    };
    let header = &believed.header;
    result.kernel(&kernel, &space);
    let own = header.context.is_some() && !header.writer.is_some_and(Writer::converts);
    if !own {
        let session = Session::new(&result.modules, &space, library, machine);
        let found = fault::crashed_processor(header, &kernel, &space, &session, budget);
        kernel.crashed = found.or(kernel.crashed);
    }
    result.crashed(&kernel);
    let reading = Reading {
        header,
        running: believed.running,
        kernel: &kernel,
        space: &space,
        machine,
        budget,
    };
    let hives = result.activity(reading, library);
    if let Some(cells) = hive(reading, &physical, hives, deep) {
        result.registry(cells, header, budget);
    }
    result.believed = Some(believed.clone());
    if physical.bitmap_contradicts_count() {
        result.note("the number of pages the dump states is not that of its bitmap");
    }
    result
}

/// The kernel's variables and the header that agrees with them, with an encoded debugger data block
/// decoded where symbols allow it.
fn kernel_state(
    space: &Paged<'_>,
    header: &Header,
    block: &Block,
    library: Option<Near<'_>>,
    budget: &Budget,
) -> Option<(KernelState, Believed)> {
    let (kernel, believed) = believed::read(space, header, block, budget)?;
    if !kernel.kdbg_encoded {
        return Some((kernel, believed));
    }
    let decoded = keys(&kernel, space, library, header.machine, budget)
        .and_then(|keys| block.decoded(&keys))
        .and_then(|block| believed::read(space, header, &block, budget));
    Some(decoded.unwrap_or((kernel, believed)))
}

/// The SYSTEM hive: by the System process's handles, by the list of hives at `listed`, or by a search of
/// all pages when asked for.
fn hive<'a>(
    reading: Reading<'a>,
    physical: &Physical<'_>,
    listed: Option<u64>,
    deep: bool,
) -> Option<MemoryCells<'a>> {
    let Reading {
        header,
        kernel,
        space,
        machine,
        budget,
        ..
    } = reading;
    let layout = structures::find(header.build, machine)?;
    let processes = header
        .ps_active_process_head
        .or_else(|| kernel.kdbg.as_ref()?.active_process_head());
    processes
        .and_then(|at| registry::system_hive(space, machine.truncate(at), layout, budget))
        .or_else(|| registry::listed_hive(space, listed?, layout, budget))
        .or_else(|| {
            deep.then(|| registry::search(space, physical, layout, budget))
                .flatten()
        })
}

impl FromMemory {
    /// The address space of an IA-64 dump, with what decided how it is read. `None` when neither the
    /// kernel's image nor its page tables were found.
    fn itanium<'a>(
        &mut self,
        physical: &'a Physical<'a>,
        header: &Header,
        budget: &Budget,
    ) -> Option<Paged<'a>> {
        let (tables, settled) = ia64::address_space(physical, header, budget);
        for what in &settled.missing {
            self.note(what);
        }
        self.remarks = settled.decided;
        (tables != Ia64Tables::default()).then(|| Paged::ia64(physical, tables))
    }

    /// What the kernel's variables say by themselves.
    fn kernel(&mut self, kernel: &KernelState, space: &Paged<'_>) {
        let budget = space.physical().budget();
        if kernel.kdbg_encoded {
            self.note(
                "the debugger data block is encoded, and without the kernel's symbols what it leads to \
                 is not known",
            );
        }
        match &kernel.drivers {
            Some(list) => self.drivers(list, space, budget),
            None => self.note("the dump does not say where its list of modules is"),
        }
        self.unloaded.clone_from(&kernel.unloaded);
        self.service_pack = kernel
            .csd_version
            .filter(|csd| *csd <= 0xFFFF)
            .map(|csd| csd >> 8);
        self.build_lab = kernel.build_lab.clone();
    }

    /// What the processor that crashed was running.
    fn crashed(&mut self, kernel: &KernelState) {
        let crashed = kernel.crashed.and_then(|i| kernel.processors.get(i));
        self.process = crashed.and_then(|p| p.process.clone());
        self.thread = crashed.and_then(|p| p.state.current_thread);
    }

    /// The fault, what every processor did, and what their code, locks, lists and pool blocks show.
    /// Gives the address of the kernel's list of hives when its symbols say it.
    fn activity(&mut self, reading: Reading<'_>, library: Option<Near<'_>>) -> Option<u64> {
        let Reading {
            header,
            kernel,
            space,
            machine,
            budget,
            ..
        } = reading;
        let session = Session::new(&self.modules, space, library, machine);
        let mut fault_registers = None;
        self.found = Crash::from_memory(header, kernel, space, &session).map(|crash| {
            let investigation = fault::investigate(&crash, budget);
            let crashed = kernel.crashed.and_then(|i| kernel.processors.get(i));
            let number = crashed.map(|p| p.number);
            fault_registers = investigation.context.as_ref().map(|c| c.registers.clone());
            found(&crash, &investigation, &self.modules, &session, number)
        });
        let mut facts = MemoryFacts {
            processors: processors::facts(kernel),
            other_stacks: processors::other_stacks(kernel, machine, space, &session, budget),
            ..MemoryFacts::default()
        };
        code::want_package(&session);
        // First what the code says: where an entry has its link is not guessed from memory.
        if let Some(found) = &mut self.found {
            code::add(
                &session,
                found,
                &mut facts.other_stacks,
                header.build,
                budget,
            );
        }
        memory_facts(
            reading,
            &session,
            self.found.as_ref(),
            fault_registers,
            &mut facts,
        );
        self.forwarding = forwarding::memory::forwarding(&facts, header.system_time);
        // Only for builds whose structures are known: looking names up costs.
        let hives = structures::find(header.build, machine)
            .and_then(|_| session.kernel_address("CmpHiveListHead"));
        let learnt = session.module_findings();
        session::apply(learnt, &mut self.modules);
        self.facts = Some(facts);
        hives
    }

    fn note(&mut self, what: &str) {
        self.damage.push(Damage {
            what: what.to_owned(),
            offset: None,
        });
    }

    /// What the SYSTEM hive in memory says, where its cells are resident.
    fn registry(&mut self, cells: MemoryCells<'_>, header: &Header, budget: &Budget) {
        let values = registry::system_values(&Hive::new(cells, budget));
        self.machine = values.computer_name;
        if self.service_pack.is_none() {
            self.service_pack = values.csd_version.map(|csd| (csd >> 8) & 0xFF);
        }
        let (ipv4, ipv6) = (values.forwarding_ipv4, values.forwarding_ipv6);
        if ipv4.is_some() || ipv6.is_some() {
            self.forwarding = ForwardingFacts {
                ipv4: ipv4.map(|dated| dated.value != 0),
                ipv6: ipv6.map(|dated| dated.value != 0),
                any: self.forwarding.any,
                source: Some(ForwardingSource::RegistryInDump),
                as_of: header.system_time.or(last_write(ipv4, ipv6)),
                at_crash: true,
                remarks: Vec::new(),
            };
        }
    }

    /// Takes the list of drivers over, each completed from its image.
    fn drivers(&mut self, list: &LoadedDrivers, memory: &dyn Memory, budget: &Budget) {
        match list.end {
            End::Whole => {}
            End::Cycle { at } => self.note(&format!("the list of modules is cyclic at {at:#x}")),
            End::Torn { to, .. } => self.note(&format!("the list of modules is torn at {to:#x}")),
            End::Absent { at, reason } => {
                self.note(&format!("the list of modules ends at {at:#x}: {reason}"))
            }
            End::Limit => self.note("the list of modules is longer than any real one"),
        }
        if list.unreadable > 0 {
            self.note(&format!(
                "entries of the list of modules that cannot be read: {}",
                list.unreadable
            ));
        }
        let modules: Vec<Module> = list
            .drivers
            .iter()
            .map(|driver| {
                let name = driver
                    .name
                    .as_deref()
                    .or(driver.path.as_deref())
                    .map(|text| file_name(text).to_owned());
                let mut module = Module {
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
                };
                module_image::complete(&mut module, memory, budget);
                module
            })
            .collect();
        self.modules = Modules::from(modules);
    }
}

/// Adds locks, sets, lists and pool to processors and their stacks, as far as memory shows them.
fn memory_facts(
    reading: Reading<'_>,
    session: &Session<'_>,
    found: Option<&Found>,
    fault: Option<Registers>,
    facts: &mut MemoryFacts,
) {
    let Reading {
        header,
        running,
        kernel,
        space,
        machine,
        budget,
    } = reading;
    // Nothing faulted, and any processor may be the one that hangs.
    let forced = match header.bug_check_code {
        Some(code) => bugchecks::find(code).is_forced(),
        None => running,
    };
    let mut pool = PoolView::new(space, machine, header.build, budget);
    // Only for builds whose table is known: looking names up costs.
    pool.large_table = structures::find(header.build, machine).and_then(|_| {
        let table = session.kernel_address("PoolBigPageTable")?;
        Some((table, session.kernel_address("PoolBigPageTableSize")?))
    });
    let table = kernel
        .kdbg
        .as_ref()
        .and_then(DebuggerData::pool_track_table);
    facts.pool_tags =
        table.and_then(|at| pool.pool_tags(machine.truncate(at), &forwarding::memory::TAGS));
    if let Some(found) = found {
        facts.findings = pool.at_fault(&found.fault);
    }
    facts
        .findings
        .extend(tag_findings(facts.pool_tags.as_deref()));
    let stack = found.and_then(|found| found.stack.as_ref());
    let stacks = processors::stacks(kernel, machine, fault, stack, &facts.other_stacks);
    forwarding::memory::add(&pool, session, found, &stacks, forced, facts);
}

/// What an encoded debugger data block is decoded with, where the kernel's symbols name it.
fn keys(
    kernel: &KernelState,
    memory: &dyn Memory,
    library: Option<Near<'_>>,
    machine: Option<Machine>,
    budget: &Budget,
) -> Option<Keys> {
    let mut first = FromMemory::default();
    let list = kernel.drivers.as_ref()?;
    let only_kernel = LoadedDrivers {
        drivers: list.drivers.iter().take(1).cloned().collect(),
        ..list.clone()
    };
    first.drivers(&only_kernel, memory, budget);
    let session = Session::new(&first.modules, memory, library, machine?);
    let value = |name: &str| memory.read_u64(Gva(session.kernel_address(name)?)).ok();
    Some(Keys {
        never: value("KiWaitNever")?,
        always: value("KiWaitAlways")?,
        encoded_at: session.kernel_address("KdpDataBlockEncoded")?,
    })
}

/// The counts of the tracking table as findings.
fn tag_findings(tags: Option<&[PoolTagFacts]>) -> Vec<Finding> {
    tags.unwrap_or_default()
        .iter()
        .filter(|count| count.outstanding > 0)
        .map(|count| Finding {
            kind: FindingKind::PoolTag,
            address: None,
            tag: Some(count.tag.clone()),
            detail: format!(
                "outstanding pool allocations tagged {}: {}",
                count.tag, count.outstanding
            ),
            list: Vec::new(),
        })
        .collect()
}
