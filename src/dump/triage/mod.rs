//! DumpType 4, the triage ("small") dump: selected structures and pieces of virtual memory.
//!
//! Reads `TRIAGE_DUMP` and what it points at. Offsets are absolute file offsets; offset 0 means
//! absent. Every piece stands alone: one that is damaged is noted and the others still count.
//! Source: `docs/dump-format.md`.

mod blocks;
mod drivers;
mod unloaded;
mod whole;

pub use drivers::Driver;

use crate::bytes::{Budget, Gva, PagedReader, View};
use crate::facts::UnloadedModule;
use crate::machine::{Machine, Registers};
use crate::memory::Block;

use super::filler::written32;
use super::layout::TriageLayout;
use super::tagged::{self, TaggedBlock};
use super::{Damages, Header, Writer};

/// Fields of `TRIAGE_DUMP` that have the same offset in both widths.
mod field {
    pub const SERVICE_PACK_BUILD: usize = 0x00;
    pub const SIZE_OF_DUMP: usize = 0x04;
    pub const VALID_OFFSET: usize = 0x08;
    pub const CONTEXT_OFFSET: usize = 0x0C;
    pub const UNLOADED_DRIVERS_OFFSET: usize = 0x18;
    pub const PRCB_OFFSET: usize = 0x1C;
    pub const PROCESS_OFFSET: usize = 0x20;
    pub const THREAD_OFFSET: usize = 0x24;
    pub const CALL_STACK_OFFSET: usize = 0x28;
    pub const SIZE_OF_CALL_STACK: usize = 0x2C;
    pub const DRIVER_LIST_OFFSET: usize = 0x30;
    pub const DRIVER_COUNT: usize = 0x34;
    pub const STRING_POOL_OFFSET: usize = 0x38;
    pub const STRING_POOL_SIZE: usize = 0x3C;
    pub const TRIAGE_OPTIONS: usize = 0x44;
}

/// TriageOptions of files that a debugger derived: no options at all.
const OPTIONS_OF_DEBUGGER: u32 = 0xFFFF_FFFF;
/// TriageOptions: the writer had to leave something out.
const OPTION_OVERFLOWED: u32 = 0x100;

/// A range of the file that holds a copy of one kernel structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Absolute file offset.
    pub offset: u64,
    /// Bytes that can belong to it: up to the next piece of the dump.
    pub room: u64,
}

/// Where the copy of the kernel stack belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackCopy {
    /// Lowest address held.
    pub start: Gva,
    /// Bytes held.
    pub len: u64,
    /// Absolute file offset of the lowest byte.
    pub offset: u64,
}

/// IA-64's register stack ("backing store") as the dump describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackingStore {
    /// Absolute file offset.
    pub offset: u32,
    /// Bytes held.
    pub size: u32,
    /// Highest address of the backing store.
    pub limit: u64,
}

/// Everything a triage dump carries behind its header.
#[derive(Debug)]
pub struct TriageDump {
    /// Which program wrote the file, when its marks agree.
    pub writer: Option<Writer>,
    /// Service pack number; 0 when none is installed.
    pub service_pack: Option<u32>,
    /// TriageOptions as stored.
    pub options: Option<u32>,
    /// True when the writer left something out; `None` when the field does not say.
    pub overflowed: Option<bool>,
    /// SizeOfCallStack as stored.
    pub call_stack_size: u32,
    /// The processor context the dump points at.
    pub context: Option<Registers>,
    /// The copy of the kernel stack.
    pub stack: Option<StackCopy>,
    /// IA-64 only.
    pub backing_store: Option<BackingStore>,
    /// Loaded drivers.
    pub drivers: Vec<Driver>,
    /// Recently unloaded drivers; `None` when the dump has no list of them.
    pub unloaded: Option<Vec<UnloadedModule>>,
    /// Copy of the KPRCB of the processor that crashed.
    pub prcb: Option<Copied>,
    /// Copy of the current thread's ETHREAD.
    pub thread: Option<Copied>,
    /// Copy of the current process's EPROCESS.
    pub process: Option<Copied>,
    /// Copy of `KDDEBUGGER_DATA64`.
    pub debugger_data: Option<Copied>,
    /// Stack, data page and data blocks, with the addresses they were copied from.
    pub blocks: Vec<Block>,
    /// Secondary data behind the dump.
    pub tagged: Vec<TaggedBlock>,
}

/// The fixed part of `TRIAGE_DUMP` in one reader's hands.
struct Fields<'a> {
    view: View<'a>,
    layout: &'static TriageLayout,
    pointer: usize,
}

impl Fields<'_> {
    /// A 32-bit field; 0, the filler and a cut file mean absent.
    fn written(&self, at: usize) -> Option<u32> {
        self.view.u32(at).and_then(written32).filter(|v| *v != 0)
    }

    fn address(&self, at: usize) -> Option<u64> {
        self.view.pointer(at, self.pointer)
    }
}

/// Reads the triage part. `None` when the file ends before it, which is noted.
pub fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    budget: &Budget,
    damage: &mut Damages,
) -> Option<TriageDump> {
    let layout = &header.layout().triage;
    let Ok(bytes) = reader.bytes(header.size(), layout.size as u64) else {
        whole::without_body(reader, header, damage);
        return None;
    };
    let fields = Fields {
        view: View(&bytes),
        layout,
        pointer: header.pointer,
    };
    let raw_options = fields.view.u32(field::TRIAGE_OPTIONS).and_then(written32);
    let service_pack = fields
        .view
        .u32(field::SERVICE_PACK_BUILD)
        .and_then(written32);
    let drivers = drivers::read(reader, header, &fields, budget, damage);
    let context = context(reader, header, &fields, damage);
    let stack = stack(reader, header, &fields, context.as_ref(), damage);
    let blocks = blocks::read(reader, header, &fields, stack, budget, damage);
    let writer = writer(header, raw_options, &drivers);
    let extent = whole::extent(&fields, &blocks);
    whole::check(reader, header, &fields, (writer, extent), damage);
    let starts = piece_starts(&fields, reader.len());
    let copied = |at: usize| copied(&fields, &starts, at);
    Some(TriageDump {
        writer,
        service_pack: service_pack
            .filter(|csd| *csd <= 0xFFFF)
            .map(|csd| csd >> 8),
        options: raw_options,
        overflowed: raw_options
            .filter(|options| *options != OPTIONS_OF_DEBUGGER)
            .map(|options| options & OPTION_OVERFLOWED != 0),
        call_stack_size: fields.view.u32(field::SIZE_OF_CALL_STACK).unwrap_or(0),
        context,
        stack,
        backing_store: backing_store(header, &fields),
        unloaded: unloaded::read(reader, header, &fields, budget, damage),
        prcb: copied(field::PRCB_OFFSET),
        thread: copied(field::THREAD_OFFSET),
        process: copied(field::PROCESS_OFFSET),
        debugger_data: debugger_data(reader, &fields),
        blocks,
        tagged: fields
            .written(field::SIZE_OF_DUMP)
            .map(|at| tagged::read(reader, u64::from(at), budget, damage))
            .unwrap_or_default(),
        drivers,
    })
}

/// The marks that tell the two writers apart must not contradict each other.
fn writer(header: &Header, options: Option<u32>, drivers: &[Driver]) -> Option<Writer> {
    let by_options = options.map(|options| options == OPTIONS_OF_DEBUGGER);
    let by_status = Some(header.writer_status.is_some());
    let by_names = drivers
        .first()
        .and_then(|d| d.base_name_length_set)
        .map(|set| !set);
    let votes = [by_options, by_status, by_names];
    let debugger = votes.iter().filter(|v| **v == Some(true)).count();
    let kernel = votes.iter().filter(|v| **v == Some(false)).count();
    match (debugger, kernel) {
        (2.., 0) => Some(Writer::Debugger),
        (0, 2..) => Some(Writer::Kernel),
        _ => None,
    }
}

/// The context that ContextOffset names: in the header for every known writer.
fn context(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    damage: &mut Damages,
) -> Option<Registers> {
    let machine = header.machine?;
    let at = u64::from(fields.written(field::CONTEXT_OFFSET)?);
    let registers = reader
        .bytes(at, machine.context_size() as u64)
        .ok()
        .and_then(|bytes| machine.read_context(&bytes));
    if registers.is_none() {
        damage.note("the processor context cannot be read", Some(at));
    }
    registers.or_else(|| header.context.clone())
}

/// Places the stack copy: TopOfStack is its low address in every known file, although public
/// comments say otherwise; the context's stack pointer decides.
fn stack(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    context: Option<&Registers>,
    damage: &mut Damages,
) -> Option<StackCopy> {
    let offset = u64::from(fields.written(field::CALL_STACK_OFFSET)?);
    let len = u64::from(fields.written(field::SIZE_OF_CALL_STACK)?);
    let top = fields
        .address(fields.layout.top_of_stack)
        .map(|top| header.truncate(top))?;
    let present = reader.len().saturating_sub(offset).min(len);
    if present < len {
        damage.note("the call stack is cut off", Some(offset));
    }
    let sp = context.and_then(Registers::sp);
    let holds = |start: u64| sp.is_none_or(|sp| sp >= start && sp - start < len);
    let below = top.checked_sub(len);
    let start = match below {
        _ if holds(top) => top,
        Some(below) if holds(below) => below,
        _ => {
            damage.note(
                "the call stack cannot be placed: the stack pointer lies outside it",
                Some(offset),
            );
            return None;
        }
    };
    (present > 0).then_some(StackCopy {
        start: Gva(start),
        len: present,
        offset,
    })
}

fn backing_store(header: &Header, fields: &Fields<'_>) -> Option<BackingStore> {
    if header.machine != Some(Machine::Ia64) {
        return None;
    }
    let at = fields.layout.backing_store?;
    Some(BackingStore {
        offset: fields.written(at)?,
        size: fields.written(at + 4)?,
        limit: fields.view.u64(at + 8)?,
    })
}

/// Where the pieces of the dump begin, ascending, closed by the end of the file. A structure's
/// copy carries no size of its own: it ends where the next piece begins.
fn piece_starts(fields: &Fields<'_>, file_len: u64) -> Vec<u64> {
    let layout = fields.layout;
    let offsets = [
        field::VALID_OFFSET,
        field::CONTEXT_OFFSET,
        field::UNLOADED_DRIVERS_OFFSET,
        field::PRCB_OFFSET,
        field::PROCESS_OFFSET,
        field::THREAD_OFFSET,
        field::CALL_STACK_OFFSET,
        field::DRIVER_LIST_OFFSET,
        field::STRING_POOL_OFFSET,
        layout.data_page_offset,
        layout.debugger_data_offset,
        layout.data_blocks_offset,
    ];
    let mut starts: Vec<u64> = offsets
        .iter()
        .filter_map(|at| fields.written(*at).map(u64::from))
        .chain([file_len])
        .collect();
    starts.sort_unstable();
    starts
}

fn copied(fields: &Fields<'_>, starts: &[u64], at: usize) -> Option<Copied> {
    let offset = u64::from(fields.written(at)?);
    let end = starts.iter().find(|start| **start > offset)?;
    Some(Copied {
        offset,
        room: end - offset,
    })
}

fn debugger_data(reader: &PagedReader<'_>, fields: &Fields<'_>) -> Option<Copied> {
    let offset = u64::from(fields.written(fields.layout.debugger_data_offset)?);
    let size = u64::from(fields.written(fields.layout.debugger_data_size)?);
    let room = reader.len().saturating_sub(offset).min(size);
    (room > 0).then_some(Copied { offset, room })
}
