//! What a triage dump's copies of kernel structures say, read once: the debugger data block, the processor's and
//! the thread's block, and the address space in which each copy lies where the kernel had it.

use std::borrow::Cow;

use crate::bytes::{Gva, PagedReader, View};
use crate::dump::Header;
use crate::dump::triage::{Copied, TriageDump};
use crate::memory::{Block, BlockKind, Memory, Sparse};

use super::{DebuggerData, process, state, structures};

/// Longest copy of a structure that is read, in bytes: every field needed lies below.
const STRUCTURE: u64 = 0x4000;

/// The copies and what they say.
pub struct Pieces<'a> {
    /// The virtual memory the dump holds: its blocks, and the structures where the kernel had them.
    pub space: Sparse<'a>,
    /// The debugger data block; `None` when it is not there or not plain.
    pub kdbg: Option<DebuggerData>,
    /// The beginning of the KPRCB of the processor that crashed; empty without one.
    pub prcb: Cow<'a, [u8]>,
    /// The beginning of the current thread's ETHREAD; empty without one.
    pub thread: Cow<'a, [u8]>,
    /// Address of that thread.
    pub current_thread: Option<u64>,
    /// Name of the current process.
    pub process: Option<String>,
    /// Service pack number.
    pub service_pack: Option<u32>,
    /// NtBuildLab.
    pub build_lab: Option<String>,
    /// Clock ticks the current DPC has taken, and the limit.
    pub dpc_time: Option<(u32, u32)>,
    /// The bug check as the kernel stored it: code and parameters.
    pub bugcheck: Option<(u32, [u64; 4])>,
}

impl<'a> Pieces<'a> {
    /// Reads the pieces of a triage dump.
    pub fn read(reader: &'a PagedReader<'a>, header: &Header, triage: &TriageDump) -> Pieces<'a> {
        let copy = |piece: Option<Copied>| {
            piece
                .and_then(|piece| reader.bytes(piece.offset, piece.room.min(STRUCTURE)).ok())
                .unwrap_or_default()
        };
        let kdbg = DebuggerData::read(&copy(triage.debugger_data));
        let (prcb, thread) = (copy(triage.prcb), copy(triage.thread));
        let current_thread = kdbg
            .as_ref()
            .and_then(|kdbg| pointer(&prcb, kdbg.prcb_current_thread()?, header.pointer));
        let current_process = kdbg
            .as_ref()
            .filter(|_| current_thread.is_some())
            .and_then(|kdbg| pointer(&thread, kdbg.kthread_process()?, header.pointer));
        let space = address_space(
            reader,
            header,
            triage,
            (current_thread, current_process),
            kdbg.as_ref().zip(prcb_number(kdbg.as_ref(), &prcb)),
        );
        let at = |field: fn(&DebuggerData) -> Option<u64>| {
            field(kdbg.as_ref()?).map(|at| header.truncate(at))
        };
        Pieces {
            service_pack: at(DebuggerData::csd_version)
                .and_then(|at| space.read_u32(Gva(at)).ok())
                .filter(|csd| *csd <= 0xFFFF)
                .map(|csd| csd >> 8),
            build_lab: at(DebuggerData::nt_build_lab).and_then(|at| state::build_lab(&space, at)),
            bugcheck: at(DebuggerData::bugcheck_data)
                .and_then(|at| state::bugcheck(&space, at, header.machine?)),
            process: process_name(header, &copy(triage.process)),
            dpc_time: dpc_time(header, &prcb),
            space,
            kdbg,
            prcb,
            thread,
            current_thread,
        }
    }
}

/// The blocks of the dump, and its copies of structures at their own addresses.
fn address_space<'a>(
    reader: &'a PagedReader<'a>,
    header: &Header,
    triage: &TriageDump,
    (thread, process): (Option<u64>, Option<u64>),
    processor: Option<(&DebuggerData, u8)>,
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
    let kdbg = header.kd_debugger_data_block;
    let structures = [
        placed(kdbg, triage.debugger_data, BlockKind::DebuggerData),
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
    let prcb = processor.and_then(|(kdbg, number)| {
        let entry = u64::from(number).checked_mul(header.pointer as u64)?;
        let at = Gva(header.truncate(kdbg.processor_block()?)).checked_add(entry)?;
        let address = space.read_pointer(at, header.pointer).ok()?;
        (address != 0).then_some(address)
    });
    if let Some(block) = placed(prcb, triage.prcb, BlockKind::Prcb) {
        space.add(&block);
    }
    space
}

/// A pointer in the copy of a structure; null is none.
fn pointer(copy: &[u8], at: u16, width: usize) -> Option<u64> {
    View(copy)
        .pointer(usize::from(at), width)
        .filter(|address| *address != 0)
}

/// KPRCB.Number.
fn prcb_number(kdbg: Option<&DebuggerData>, prcb: &[u8]) -> Option<u8> {
    View(prcb).u8(usize::from(kdbg?.prcb_number()?))
}

/// KPRCB.DpcTimeCount and DpcTimeLimit, at the offsets of exactly this build.
fn dpc_time(header: &Header, prcb: &[u8]) -> Option<(u32, u32)> {
    let layout = structures::find(header.build, header.machine?)?;
    let field = |at: u64| View(prcb).u32(usize::try_from(at).ok()?);
    field(layout.prcb_dpc_time_count).zip(field(layout.prcb_dpc_time_limit))
}

fn process_name(header: &Header, eprocess: &[u8]) -> Option<String> {
    process::image_file_name(eprocess, header.build?, header.machine?)
}
