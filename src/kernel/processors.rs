//! Every processor of a memory dump: KPRCB by KPRCB, with the context its freeze saved.
//!
//! The processor that crashed froze the others, which saved their registers in ProcessorState
//! first. One that did not answer has old or no registers there: its flags tell only the latter.

use crate::bytes::{Budget, Gva, View};
use crate::machine::{Machine, Registers};
use crate::memory::Memory;

use super::processor::{ProcessorState, ThreadStack};
use super::structures::{self, Pcr, Structures};
use super::{DebuggerData, ia64, process};

/// Processors looked at; Windows of that time ran on 64.
const MOST: u32 = 256;
/// Entries of KiProcessorBlock in Windows 6.0 on x64.
const MOST_COUNTED: u32 = 64;
/// IpiFrozen of a processor that the freeze of a bug check stopped: the low four bits.
const TARGET_FROZEN: u32 = 2;
/// Bytes of a KPRCB that are read at most.
const LARGEST_PRCB: usize = 0x8000;
/// Bytes of KTHREAD and of EPROCESS in which the fields needed lie.
const STRUCTURE: usize = 0x400;

/// One processor.
#[derive(Clone, Debug)]
pub struct Processor {
    /// Number, from 0.
    pub number: u32,
    /// Address of its KPRCB.
    pub prcb: u64,
    /// The registers its freeze saved.
    pub registers: Option<Registers>,
    /// What the KPRCB says about stacks.
    pub state: ProcessorState,
    /// Stack of the thread that was running.
    pub thread: ThreadStack,
    /// Name of that thread's process.
    pub process: Option<String>,
    /// CR8, which is the IRQL on x64.
    pub cr8: Option<u8>,
    /// KPCR.Irql of x86, which has no CR8. `None` when the KPCR does not lead to itself and to this
    /// KPRCB.
    pub pcr_irql: Option<u8>,
    /// The freeze of a bug check stopped it; `None` where that is not known.
    pub frozen: Option<bool>,
    /// Clock ticks the current DPC has taken, and the limit.
    pub dpc_time: Option<(u32, u32)>,
}

/// What the search for processors starts from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The address space.
    pub memory: &'a dyn Memory,
    /// Architecture.
    pub machine: Machine,
    /// Windows build.
    pub build: Option<u32>,
    /// Plain debugger data block, if there is one.
    pub kdbg: Option<&'a DebuggerData>,
    /// The dump's budget.
    pub budget: &'a Budget,
}

/// How many processors KiProcessorBlock names: entries from the front that are blocks numbered like
/// themselves, up to the first that is empty. `None` when something else ends them.
pub fn count(source: Source<'_>) -> Option<u32> {
    let kdbg = source.kdbg?;
    let width = source.machine.pointer_width();
    let array = source.machine.truncate(kdbg.processor_block()?);
    let number_at = u64::from(kdbg.prcb_number()?);
    for number in 0..=MOST_COUNTED {
        source.budget.spend(1).ok()?;
        let at = array.checked_add(u64::from(number) * width as u64)?;
        let prcb = source.memory.read_pointer(Gva(at), width).ok()?;
        if prcb == 0 {
            return (number > 0).then_some(number);
        }
        let own = source
            .memory
            .read_u8(Gva(prcb.checked_add(number_at)?))
            .ok()?;
        if u32::from(own) != number {
            return None;
        }
    }
    None
}

/// The processors behind KiProcessorBlock; at most `count` of them.
pub fn read(source: Source<'_>, count: Option<u32>) -> Vec<Processor> {
    let Some(array) = source.kdbg.and_then(DebuggerData::processor_block) else {
        return Vec::new();
    };
    let width = source.machine.pointer_width();
    let array = source.machine.truncate(array);
    let mut processors = Vec::new();
    for number in 0..count.unwrap_or(1).min(MOST) {
        if source.budget.spend(1).is_err() {
            break;
        }
        let at = array.checked_add(u64::from(number) * width as u64);
        let prcb = at.and_then(|at| source.memory.read_pointer(Gva(at), width).ok());
        // The array is filled from the front.
        let Some(prcb) = prcb.filter(|prcb| *prcb != 0) else {
            break;
        };
        processors.push(processor(source, number, prcb));
    }
    processors
}

fn processor(source: Source<'_>, number: u32, prcb: u64) -> Processor {
    let Source {
        memory,
        machine,
        build,
        kdbg,
        ..
    } = source;
    let layout = structures::find(build, machine);
    let size = kdbg
        .and_then(DebuggerData::size_prcb)
        .map_or(0x4000, usize::from)
        .min(LARGEST_PRCB);
    let bytes = prefix(memory, prcb, size);
    let state = ProcessorState::read(&bytes, build, machine, kdbg);
    let context = kdbg
        .and_then(DebuggerData::prcb_context)
        .map(u64::from)
        .or(layout.map(|l| l.prcb_processor_state + l.state_context));
    let thread_bytes = state
        .current_thread
        .map(|thread| prefix(memory, thread, STRUCTURE))
        .unwrap_or_default();
    let u32_at = |at: Option<u64>| {
        let at = usize::try_from(at?).ok()?;
        View(&bytes).u32(at)
    };
    let special = |field: Option<u64>| {
        let layout = layout?;
        layout
            .prcb_processor_state
            .checked_add(layout.state_special)?
            .checked_add(field?)
    };
    let pointer = |at: Option<u64>| {
        let at = usize::try_from(at?).ok()?;
        View(&bytes).pointer(at, machine.pointer_width())
    };
    Processor {
        number,
        prcb,
        registers: context.and_then(|at| {
            let from = bytes.get(usize::try_from(at).ok()?..)?;
            machine.read_context(from)
        }),
        state,
        thread: ThreadStack::read(&thread_bytes, build, machine, kdbg),
        process: process_name(source, layout, &thread_bytes),
        cr8: pointer(special(layout.and_then(|l| l.special_cr8)))
            .and_then(|value| u8::try_from(value).ok())
            .filter(|irql| *irql < 16),
        pcr_irql: match machine {
            Machine::Ia64 => ia64::irql(memory, prcb, build),
            _ => layout
                .and_then(|l| l.pcr)
                .and_then(|pcr| pcr_irql(source, pcr, prcb)),
        },
        frozen: u32_at(layout.map(|l| l.prcb_ipi_frozen)).map(|state| state & 0xF == TARGET_FROZEN),
        dpc_time: u32_at(layout.map(|l| l.prcb_dpc_time_count))
            .zip(u32_at(layout.map(|l| l.prcb_dpc_time_limit))),
    }
}

/// The IRQL in the KPCR around a KPRCB.
fn pcr_irql(source: Source<'_>, pcr: Pcr, prcb: u64) -> Option<u8> {
    let at = prcb.checked_sub(pcr.prcb_data)?;
    let width = source.machine.pointer_width();
    let pointer = |field: u64| {
        let at = at.checked_add(field)?;
        source.memory.read_pointer(Gva(at), width).ok()
    };
    let whole = pointer(pcr.self_pcr)? == at && pointer(pcr.prcb)? == prcb;
    let mut irql = [0];
    let read = source
        .memory
        .read(Gva(at.checked_add(pcr.irql)?), &mut irql);
    let [irql] = irql;
    (whole && read.is_ok() && irql < 32).then_some(irql)
}

/// The name of the process a KTHREAD runs in.
fn process_name(
    source: Source<'_>,
    layout: Option<&'static Structures>,
    thread: &[u8],
) -> Option<String> {
    let at = source
        .kdbg
        .and_then(DebuggerData::kthread_process)
        .map(usize::from)
        .or(layout.and_then(|l| usize::try_from(l.thread_process).ok()))?;
    let process = View(thread).pointer(at, source.machine.pointer_width())?;
    let bytes = prefix(source.memory, process, STRUCTURE * 2);
    process::image_file_name(&bytes, source.build?, source.machine)
}

/// As many of the `len` bytes at `at` as are there without a gap.
fn prefix(memory: &dyn Memory, at: u64, len: usize) -> Vec<u8> {
    const PAGE: u64 = 0x1000;
    let mut bytes = vec![0; len];
    if at == 0 {
        return Vec::new();
    }
    let mut done = 0;
    while let Some(address) = at.checked_add(done as u64).filter(|_| done < len) {
        let room = usize::try_from(PAGE - address % PAGE).unwrap_or(1);
        let n = room.min(len - done);
        let Some(part) = bytes.get_mut(done..done + n) else {
            break;
        };
        if memory.read(Gva(address), part).is_err() {
            break;
        }
        done += n;
    }
    bytes.truncate(done);
    bytes
}
