//! Everything the kernel left in a memory dump, read once, each part as far as it is there.

use crate::bytes::{Budget, Gva};
use crate::dump::Header;
use crate::machine::Machine;
use crate::memory::{Memory, Paged};

use super::DebuggerData;
use super::debugger_data::Keys;
use super::modules::{self, LoadedDrivers};
use super::processors::{self, Processor, Source};
use super::unloaded::{self, UnloadedDriver};

/// Bytes of the debugger data block that are read at most.
const LARGEST_BLOCK: usize = 0x400;
/// Bytes of the smallest block that names the list of modules.
const SMALLEST_BLOCK: usize = 0x290;
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
    pub unloaded: Option<Vec<UnloadedDriver>>,
    /// Every processor that could be found.
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

/// Reads what the kernel left in the crash's address space. `keys` decode a debugger data block that is
/// not plain.
pub fn read(
    memory: &dyn Memory,
    header: &Header,
    keys: Option<&Keys>,
    budget: &Budget,
) -> Option<KernelState> {
    let machine = header.machine?;
    let width = machine.pointer_width();
    let raw = header
        .kd_debugger_data_block
        .map(|at| block(memory, Gva(machine.truncate(at))))
        .unwrap_or_default();
    let kdbg =
        DebuggerData::read(&raw).or_else(|| keys.and_then(|keys| DebuggerData::decode(&raw, keys)));
    let field = |name: fn(&DebuggerData) -> Option<u64>| {
        let value = name(kdbg.as_ref()?)?;
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
        kdbg: kdbg.as_ref(),
        budget,
    };
    let processor_count = processors::count(source);
    let processors = processors::read(source, processor_count.or(header.processors));
    let crashed = crashed(&processors, header);
    Some(KernelState {
        kdbg_encoded: kdbg.is_none() && raw.iter().any(|byte| *byte != 0),
        drivers: head.map(|head| modules::read(memory, head, width, budget)),
        unloaded: field(DebuggerData::unloaded_drivers).and_then(|ring| {
            unloaded::read(
                memory,
                ring,
                field(DebuggerData::last_unloaded_driver),
                width,
            )
        }),
        crashed,
        processor_count,
        processors,
        csd_version: field(DebuggerData::csd_version).and_then(|at| memory.read_u32(Gva(at)).ok()),
        build_lab: field(DebuggerData::nt_build_lab).and_then(|at| build_lab(memory, at)),
        bugcheck: field(DebuggerData::bugcheck_data).and_then(|at| bugcheck(memory, at, machine)),
        kdbg,
    })
}

/// The bytes of the block, as many as are there.
fn block(memory: &dyn Memory, at: Gva) -> Vec<u8> {
    for len in [LARGEST_BLOCK, 0x340, 0x330, SMALLEST_BLOCK] {
        let mut bytes = vec![0; len];
        if memory.read(at, &mut bytes).is_ok() {
            return bytes;
        }
    }
    Vec::new()
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

/// Terminated ASCII of the form `6001.18000.amd64fre.longhorn_rtm.080118-1840`.
fn build_lab(memory: &dyn Memory, at: u64) -> Option<String> {
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

/// Lowest address of paged pool, for prototype entries of x86 without PAE.
pub fn paged_pool_start(space: &Paged<'_>, header: &Header) -> Option<u64> {
    let machine = header.machine?;
    let at = header.kd_debugger_data_block?;
    let raw = block(space, Gva(machine.truncate(at)));
    let variable = DebuggerData::read(&raw)?.paged_pool_start()?;
    let width = machine.pointer_width();
    space
        .read_pointer(Gva(machine.truncate(variable)), width)
        .ok()
        .filter(|start| *start != 0)
}
