//! Everything the kernel left in a memory dump, read once, each part as far as it is there.

use crate::bytes::{Budget, Gva};
use crate::dump::Header;
use crate::facts::UnloadedModule;
use crate::machine::Machine;
use crate::memory::Memory;

use super::DebuggerData;
use super::find::Block;
use super::modules::{self, LoadedDrivers};
use super::processors::{self, Processor, Source};
use super::unloaded;

/// Longest build string, in bytes.
const BUILD_LAB: u64 = 128;

/// What the kernel left.
#[derive(Debug)]
pub struct KernelState {
    /// The debugger data block, when it is there and plain.
    pub kdbg: Option<DebuggerData>,
    /// The block is there but is not plain: newer kernels encode it.
    pub kdbg_encoded: bool,
    /// Loaded drivers; `None` when nothing says where the list is.
    pub drivers: Option<LoadedDrivers>,
    /// Unloaded drivers; `None` when the list is not there.
    pub unloaded: Option<Vec<UnloadedModule>>,
    /// Every processor that could be found; empty until [`KernelState::look_at_processors`].
    pub processors: Vec<Processor>,
    /// How many processors the kernel's own array names; `None` where its end is not in the dump.
    pub processor_count: Option<u32>,
    /// Position in `processors` of the one that crashed.
    pub crashed: Option<usize>,
    /// CSDVersion in the kernel: service pack in the high byte.
    pub csd_version: Option<u32>,
    /// NtBuildLab.
    pub build_lab: Option<String>,
    /// The bug check as KeBugCheckEx stored it: code and parameters.
    pub bugcheck: Option<(u32, [u64; 4])>,
}

/// Reads what the kernel left in the crash's address space, but its processors, whose blocks are read by
/// the build. `block` is the debugger data block.
pub fn read(
    memory: &dyn Memory,
    header: &Header,
    block: &Block,
    budget: &Budget,
) -> Option<KernelState> {
    let machine = header.machine?;
    let width = machine.pointer_width();
    let kdbg = block.data.as_ref();
    let field = |name: fn(&DebuggerData) -> Option<u64>| {
        let value = name(kdbg?)?;
        Some(machine.truncate(value))
    };
    let head = header
        .ps_loaded_module_list
        .map(|at| machine.truncate(at))
        .or_else(|| field(DebuggerData::loaded_module_list));
    let source = Source {
        memory,
        machine,
        build: header.build,
        kdbg,
        budget,
    };
    Some(KernelState {
        kdbg_encoded: block.is_encoded(),
        processor_count: processors::count(source),
        processors: Vec::new(),
        crashed: None,
        drivers: head.map(|head| modules::read(memory, head, width, budget)),
        unloaded: field(DebuggerData::unloaded_drivers).and_then(|ring| {
            unloaded::read(
                memory,
                ring,
                field(DebuggerData::last_unloaded_driver),
                width,
            )
        }),
        csd_version: field(DebuggerData::csd_version).and_then(|at| memory.read_u32(Gva(at)).ok()),
        build_lab: field(DebuggerData::nt_build_lab).and_then(|at| build_lab(memory, at)),
        bugcheck: field(DebuggerData::bugcheck_data).and_then(|at| bugcheck(memory, at, machine)),
        kdbg: kdbg.cloned(),
    })
}

impl KernelState {
    /// Reads every processor by the build and the count of `header`, and finds the one that crashed.
    pub fn look_at_processors(&mut self, memory: &dyn Memory, header: &Header, budget: &Budget) {
        let Some(machine) = header.machine else {
            return;
        };
        let source = Source {
            memory,
            machine,
            build: header.build,
            kdbg: self.kdbg.as_ref(),
            budget,
        };
        self.processors = processors::read(source, self.processor_count.or(header.processors));
        self.crashed = crashed(&self.processors, header);
    }
}

/// The processor that crashed: the one whose saved registers are the header's, or on whose
/// stacks the header's stack pointer lies.
fn crashed(processors: &[Processor], header: &Header) -> Option<usize> {
    let one = || (processors.len() == 1).then_some(0);
    let Some((context, ip, sp)) = header
        .context
        .as_ref()
        .and_then(|context| Some((context, context.ip()?, context.sp()?)))
    else {
        return one().or_else(|| not_frozen(processors));
    };
    let same = |p: &Processor| {
        p.registers
            .as_ref()
            .is_some_and(|r| r.ip() == Some(ip) && r.sp() == Some(sp))
    };
    let on_stack = |p: &Processor| stack_of(p, sp, context.machine()).is_some();
    let only = |test: &dyn Fn(&Processor) -> bool| {
        let mut found = processors.iter().enumerate().filter(|(_, p)| test(p));
        let first = found.next()?.0;
        found.next().is_none().then_some(first)
    };
    only(&same).or_else(|| only(&on_stack)).or_else(one)
}

/// The only processor that the freeze of a bug check left running: the one that raised it.
fn not_frozen(processors: &[Processor]) -> Option<usize> {
    let mut running = processors
        .iter()
        .enumerate()
        .filter(|(_, p)| p.frozen == Some(false));
    let first = running.next()?.0;
    let others = processors.iter().all(|p| p.frozen.is_some());
    (others && running.next().is_none() && processors.len() > 1).then_some(first)
}

/// Which of a processor's stacks holds `sp`: lowest address and address past the top.
pub fn stack_of(processor: &Processor, sp: u64, machine: Machine) -> Option<(u64, u64)> {
    let size = match machine {
        Machine::X86 => 0x3000,
        Machine::Ia64 => 0x8000,
        _ => 0x6000,
    };
    let dpc = processor
        .state
        .dpc_stack
        .map(|top| (top.saturating_sub(size), top));
    let thread = processor.thread.limit.zip(processor.thread.base);
    [dpc, thread]
        .into_iter()
        .flatten()
        .find(|(low, high)| (*low..*high).contains(&sp))
}

/// KiBugcheckData: five pointers.
pub fn bugcheck(memory: &dyn Memory, at: u64, machine: Machine) -> Option<(u32, [u64; 4])> {
    let width = machine.pointer_width() as u64;
    let word = |index: u64| {
        let at = at.checked_add(index * width)?;
        memory.read_pointer(Gva(at), width as usize).ok()
    };
    let code = u32::try_from(word(0)? & 0xFFFF_FFFF).ok()?;
    Some((code, [word(1)?, word(2)?, word(3)?, word(4)?]))
}

/// NtBuildLab: terminated ASCII of the form `6001.18000.amd64fre.longhorn_rtm.080118-1840`.
pub(super) fn build_lab(memory: &dyn Memory, at: u64) -> Option<String> {
    let mut text = String::new();
    for offset in 0..BUILD_LAB {
        match memory.read_u8(Gva(at.checked_add(offset)?)).ok()? {
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
