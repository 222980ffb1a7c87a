//! Gathers the facts of a memory dump: modules with their versions, the fault, every processor.

use crate::bytes::{Budget, PagedReader};
use crate::dump::{Damage, Header, PhysicalBody};
use crate::fault::{self, Crash};
use crate::kernel::lists::End;
use crate::kernel::modules::LoadedDrivers;
use crate::kernel::processors::Processor;
use crate::kernel::state::{self, KernelState};
use crate::machine::Machine;
use crate::memory::{Memory, Paged, Physical};
use crate::modules::{Module, Modules, SymbolState, UnloadedModule, file_name, from_memory};
use crate::symbols::SymbolLibrary;
use crate::unwind::{StackKind, StackRange, Walker};

use super::fault::{Found, found, walk_facts};
use super::session::{self, Session};
use super::{MemoryFacts, ProcessorFacts, StackFacts};

/// Other processors whose stacks are walked.
const MOST_STACKS: usize = 64;

/// Everything a memory dump adds to its header.
#[derive(Default)]
pub(super) struct FromMemory {
    pub modules: Modules,
    pub unloaded: Option<Vec<UnloadedModule>>,
    pub service_pack: Option<u32>,
    pub build_lab: Option<String>,
    pub process: Option<String>,
    pub thread: Option<u64>,
    pub found: Option<Found>,
    /// `None` when no virtual memory could be read.
    pub facts: Option<MemoryFacts>,
    pub damage: Vec<Damage>,
}

/// Reads a memory dump's memory. What cannot be read is left out and said in `damage`.
pub(super) fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    body: &PhysicalBody,
    library: Option<&SymbolLibrary>,
    budget: &Budget,
) -> FromMemory {
    let mut result = FromMemory::default();
    let physical = Physical::new(reader, body.clone(), budget);
    let Some(space) = Paged::of_crash(&physical, header) else {
        result.note("virtual memory is not read for this machine or without its page tables");
        return result;
    };
    let paged_pool = state::paged_pool_start(&space, header);
    let space = space.with_paged_pool(paged_pool);
    let Some(kernel) = state::read(&space, header, budget) else {
        return result;
    };
    if kernel.kdbg_encoded {
        result.note("the debugger data block is encoded: what it leads to is not known");
    }
    match &kernel.drivers {
        Some(list) => result.drivers(list, &space),
        None => result.note("the dump does not say where its list of modules is"),
    }
    result.unloaded = kernel.unloaded.as_ref().map(|list| {
        list.iter()
            .map(|driver| UnloadedModule {
                name: driver.name.clone(),
                start: driver.start,
                end: driver.end,
            })
            .collect()
    });
    result.service_pack = kernel
        .csd_version
        .filter(|csd| *csd <= 0xFFFF)
        .map(|csd| csd >> 8);
    result.build_lab = kernel.build_lab.clone();
    let crashed = kernel.crashed.and_then(|i| kernel.processors.get(i));
    result.process = crashed.and_then(|p| p.process.clone());
    result.thread = crashed.and_then(|p| p.state.current_thread);
    let Some(machine) = header.machine else {
        return result;
    };
    let code = Session::new(&result.modules, &space, library, machine);
    result.found = Crash::from_memory(header, &kernel, &space, &code).map(|crash| {
        let investigation = fault::investigate(&crash, budget);
        let number = crashed.map(|p| p.number);
        found(&crash, &investigation, &result.modules, &code, number)
    });
    result.facts = Some(MemoryFacts {
        processors: processors(&kernel),
        other_stacks: other_stacks(&kernel, machine, &space, &code, budget),
        ..MemoryFacts::default()
    });
    code.want_package();
    let learnt = code.learnt();
    session::apply(learnt, &mut result.modules);
    if physical.bitmap_contradicts_count() {
        result.note("the number of pages the dump states is not that of its bitmap");
    }
    result
}

impl FromMemory {
    fn note(&mut self, what: &str) {
        self.damage.push(Damage {
            what: what.to_owned(),
            offset: None,
        });
    }

    /// Takes the list of drivers over, each completed from its image.
    fn drivers(&mut self, list: &LoadedDrivers, memory: &dyn Memory) {
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
                "{} entries of the list of modules cannot be read",
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
                    version: None,
                    pdb: None,
                    symbols: SymbolState::NotNeeded,
                };
                from_memory::complete(&mut module, memory);
                module
            })
            .collect();
        self.modules = Modules::from(modules);
    }
}

/// The stacks of the processors that did not crash, as far as their freeze saved registers.
fn other_stacks(
    kernel: &KernelState,
    machine: Machine,
    memory: &dyn Memory,
    code: &Session<'_>,
    budget: &Budget,
) -> Vec<StackFacts> {
    let others = kernel
        .processors
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != kernel.crashed)
        .take(MOST_STACKS);
    others
        .filter_map(|(_, processor)| {
            let registers = processor.registers.as_ref()?;
            let stacks = stacks(processor, registers.sp()?, machine);
            let walker = Walker {
                code,
                memory,
                stacks: &stacks,
                budget,
            };
            walk_facts(&walker.walk(registers), code, Some(processor.number))
        })
        .collect()
}

/// The stacks of a processor, the one it is on first.
fn stacks(processor: &Processor, sp: u64, machine: Machine) -> Vec<StackRange> {
    let range = |(low, high), kind| StackRange { low, high, kind };
    let thread = processor.thread.limit.zip(processor.thread.base);
    let held = state::stack_of(processor, sp, machine).filter(|range| Some(*range) != thread);
    [
        held.map(|pair| range(pair, StackKind::Dpc)),
        thread.map(|pair| range(pair, StackKind::Thread)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn processors(kernel: &KernelState) -> Vec<ProcessorFacts> {
    kernel
        .processors
        .iter()
        .enumerate()
        .map(|(index, processor)| {
            let crashed = Some(index) == kernel.crashed;
            // The bug check raised the IRQL of its own processor before it saved CR8.
            let irql = if crashed {
                processor.state.saved_irql
            } else {
                processor.cr8
            };
            ProcessorFacts {
                number: processor.number,
                crashed,
                ip: processor.registers.as_ref().and_then(|r| r.ip()),
                irql,
                dpc_active: processor.state.dpc_active,
                dpc_time: processor.dpc_time,
                thread: processor.state.current_thread,
                process: processor.process.clone(),
            }
        })
        .collect()
}
