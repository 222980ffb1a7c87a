//! `DUMP_HEADER32` and `DUMP_HEADER64`: what every kernel crash dump starts with.
//!
//! A field that was never written (see [`super::filler`]) or lies past the end of a cut file
//! has no value. Source: `docs/dump-format.md`.

use crate::bytes::{PagedReader, View};
use crate::machine::{Machine, Registers};

use super::Writer;
use super::filler::{written32, written64};
use super::layout::{BITS32, BITS64, HeaderLayout};
use super::writer::{self, Placeholders};
use super::{Damages, DumpError};

/// Bytes of the Comment field.
const COMMENT: usize = 128;

/// The DumpType field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DumpType {
    /// 1: all physical memory.
    Complete,
    /// 2: the kernel's physical pages with a bitmap of 32-bit counts (up to Windows 7).
    Summary,
    /// 3: no body.
    HeaderOnly,
    /// 4: the small dump.
    Triage,
    /// 5: all physical memory with a bitmap (Windows 8 and later).
    BitmapComplete,
    /// 6: kernel pages with a bitmap (Windows 8 and later).
    BitmapKernel,
    /// 8, 9, 0xA: page ranges written by newer debuggers.
    Ranges(u32),
    /// Any other number; `None` when the field was never written or is cut off.
    Unknown(Option<u32>),
}

impl DumpType {
    fn from_field(value: Option<u32>) -> DumpType {
        match value {
            Some(1) => DumpType::Complete,
            Some(2) => DumpType::Summary,
            Some(3) => DumpType::HeaderOnly,
            Some(4) => DumpType::Triage,
            Some(5) => DumpType::BitmapComplete,
            Some(6) => DumpType::BitmapKernel,
            Some(n @ 8..=10) => DumpType::Ranges(n),
            other => DumpType::Unknown(other),
        }
    }

    /// The number in the file.
    pub fn number(self) -> Option<u32> {
        match self {
            DumpType::Complete => Some(1),
            DumpType::Summary => Some(2),
            DumpType::HeaderOnly => Some(3),
            DumpType::Triage => Some(4),
            DumpType::BitmapComplete => Some(5),
            DumpType::BitmapKernel => Some(6),
            DumpType::Ranges(n) => Some(n),
            DumpType::Unknown(n) => n,
        }
    }
}

/// A run of physical pages: first page frame number and count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First page frame number.
    pub base_page: u64,
    /// Pages in the run.
    pub page_count: u64,
}

/// `PHYSICAL_MEMORY_DESCRIPTOR`: which physical pages the machine had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhysicalMemory {
    /// Ascending runs that do not overlap.
    pub runs: Vec<Run>,
    /// Pages in all runs.
    pub pages: u64,
}

/// The header of a kernel crash dump.
#[derive(Clone, Debug)]
pub struct Header {
    /// Pointer width in bytes: 4 or 8.
    pub pointer: usize,
    /// Processor architecture; `None` when MachineImageType names none we know.
    pub machine: Option<Machine>,
    /// True for a checked (debug) build of Windows.
    pub checked_build: Option<bool>,
    /// Windows build number, 6001 for Vista SP1 and Server 2008.
    pub build: Option<u32>,
    /// CR3 of the context that crashed.
    pub directory_table_base: Option<u64>,
    /// Virtual address of `PsLoadedModuleList`.
    pub ps_loaded_module_list: Option<u64>,
    /// Virtual address of `PsActiveProcessHead`.
    pub ps_active_process_head: Option<u64>,
    /// Virtual address of `KDDEBUGGER_DATA64`.
    pub kd_debugger_data_block: Option<u64>,
    /// Number of processors.
    pub processors: Option<u32>,
    /// Bug check code as stored, M-variants included; `None` when it was never written.
    pub bug_check_code: Option<u32>,
    /// Bug check parameters, zero-extended in 32-bit dumps; those never written are `None`.
    pub bug_check_parameters: [Option<u64>; 4],
    /// x86: page tables with Physical Address Extension.
    pub pae: Option<bool>,
    /// The machine's memory, where the writer filled it in.
    pub physical_memory: Option<PhysicalMemory>,
    /// The processor context: for most codes the state in `KeBugCheckEx`, not the fault.
    pub context: Option<Registers>,
    /// DumpType.
    pub dump_type: DumpType,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product_type: Option<u32>,
    /// The attributes of the file; later versions of Windows fill them in.
    pub attributes: Option<u32>,
    /// The writer's status; only debuggers fill it in.
    pub writer_status: Option<u32>,
    /// Size the writer meant the file to have, in bytes; never a bound for reading.
    pub required_dump_space: Option<u64>,
    /// Time since start-up in units of 100 ns.
    pub system_up_time: Option<u64>,
    /// Time of the crash as a FILETIME: 100 ns since 1601-01-01 UTC.
    pub system_time: Option<u64>,
    /// What the writer says about the file.
    pub comment: Option<String>,
    /// The program that made the file, where the header tells it.
    pub writer: Option<Writer>,
}

/// A bug check: the code as stored, and its parameters where they are known.
pub type BugCheck = (u32, [Option<u64>; 4]);

impl Header {
    pub(super) fn layout(&self) -> &'static HeaderLayout {
        if self.pointer == 4 { &BITS32 } else { &BITS64 }
    }

    /// Size of the header in bytes: 0x1000 or 0x2000.
    pub fn size(&self) -> u64 {
        self.layout().size as u64
    }

    /// Fields that say nothing about the machine: their writer puts the same into every file.
    pub fn placeholders(&self) -> Placeholders {
        writer::placeholders(self)
    }

    /// The bug check as stored, placeholders included; `None` when it was never written.
    pub fn bug_check(&self) -> Option<BugCheck> {
        Some((self.bug_check_code?, self.bug_check_parameters))
    }

    /// True for a dump of a running system, by the mark that its writer sets (`LiveDumpGeneratedDump` of
    /// `DUMP_FILE_ATTRIBUTES` in the WDK's `ntiodump.h`).
    pub fn is_of_a_running_system(&self) -> bool {
        self.attributes.is_some_and(|bits| bits & 0x10 != 0)
    }

    /// An address as this dump's machine sees it: 32-bit dumps drop a sign extension.
    pub fn truncate(&self, address: u64) -> u64 {
        if self.pointer == 4 {
            address & 0xFFFF_FFFF
        } else {
            address
        }
    }
}

/// True when `prefix` starts with a kernel dump signature of either width.
fn is_kernel_dump(prefix: &[u8]) -> bool {
    prefix.starts_with(b"PAGEDUMP") || prefix.starts_with(b"PAGEDU64")
}

/// Reads the header.
///
/// # Errors
/// [`DumpError::NotKernelDump`] without a signature; [`DumpError::HeaderCut`] when even the bug
/// check parameters are missing.
pub fn read(reader: &PagedReader<'_>, damage: &mut Damages) -> Result<Header, DumpError> {
    let prefix = reader.prefix();
    if !is_kernel_dump(prefix) {
        return Err(DumpError::NotKernelDump);
    }
    let layout = if prefix.starts_with(b"PAGEDU64") {
        &BITS64
    } else {
        &BITS32
    };
    let view = View(prefix.get(..layout.size).unwrap_or(prefix));
    let cut = || DumpError::HeaderCut {
        present: prefix.len() as u64,
    };
    let word = |at: usize| view.pointer(at, layout.pointer);
    let painted = |value: u64| match layout.pointer {
        4 => written32(value as u32).map(u64::from),
        _ => written64(value),
    };
    let mut bug_check_parameters = [None; 4];
    for (index, parameter) in bug_check_parameters.iter_mut().enumerate() {
        let value = word(layout.bug_check_parameters + index * layout.pointer).ok_or_else(cut)?;
        *parameter = painted(value);
    }
    if view.0.len() < layout.size {
        damage.note(
            format!(
                "the header is cut off at {:#x} of {:#x} bytes",
                view.0.len(),
                layout.size
            ),
            Some(view.0.len() as u64),
        );
    }
    let written = |at: usize| view.u32(at).and_then(written32);
    // None of these lies at zero.
    let address = |at: usize| word(at).and_then(painted).filter(|at| *at != 0);
    let machine_image_type = view.u32(layout.machine_image_type).ok_or_else(cut)?;
    let machine = Machine::from_image_type(machine_image_type)
        .filter(|machine| machine.pointer_width() == layout.pointer);
    if machine.is_none() {
        damage.note(
            format!("unknown machine type {machine_image_type:#06x}"),
            Some(layout.machine_image_type as u64),
        );
    }
    let dump_type = DumpType::from_field(written(layout.dump_type));
    let mut header = Header {
        pointer: layout.pointer,
        machine,
        checked_build: match written(layout.major_version) {
            Some(0xF) => Some(false),
            Some(0xC) => Some(true),
            _ => None,
        },
        build: written(layout.minor_version).and_then(build_number),
        directory_table_base: address(layout.directory_table_base),
        ps_loaded_module_list: address(layout.ps_loaded_module_list),
        ps_active_process_head: address(layout.ps_active_process_head),
        kd_debugger_data_block: address(layout.kd_debugger_data_block),
        processors: written(layout.number_processors).filter(|n| (1..=4096).contains(n)),
        bug_check_code: written32(view.u32(layout.bug_check_code).ok_or_else(cut)?),
        bug_check_parameters,
        pae: layout.pae_enabled.and_then(|at| match view.u8(at) {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        }),
        physical_memory: physical_memory(view, layout, damage),
        context: machine.and_then(|machine| {
            let at = layout.context_record;
            let room = view.bytes(at, layout.context_room.min(view.0.len().saturating_sub(at)))?;
            // Flags alone, over zeros or filler, are no context.
            machine.read_context(room).filter(has_place)
        }),
        dump_type,
        product_type: written(layout.product_type),
        attributes: written(layout.attributes),
        writer_status: written(layout.writer_status),
        required_dump_space: view.u64(layout.required_dump_space).and_then(written64),
        system_up_time: view
            .u64(layout.system_up_time)
            .and_then(written64)
            .filter(|time| (1..LONGEST_UPTIME).contains(time)),
        system_time: view
            .u64(layout.system_time)
            .and_then(written64)
            .filter(|time| *time != 0),
        comment: comment(view, layout),
        writer: None,
    };
    header.writer = writer::by_header(&header);
    Ok(header)
}

/// True for registers that say where the processor was: a writer that had none leaves zeros or the
/// filler. A wild instruction pointer has a stack pointer beside it.
fn has_place(registers: &Registers) -> bool {
    const FILLER: [u64; 2] = [0x4547_4150, 0x4547_4150_4547_4150];
    let said = |value: Option<u64>| value.is_some_and(|v| v != 0 && !FILLER.contains(&v));
    said(registers.sp()) || said(registers.ip())
}

/// The writer's comment: text up to a NUL, unless it was never written.
fn comment(view: View<'_>, layout: &HeaderLayout) -> Option<String> {
    let bytes = view.bytes(layout.comment, COMMENT)?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let printable = !text.is_empty() && text.iter().all(|b| (0x20..0x7F).contains(b));
    (printable && !text.starts_with(b"PAGEPAGE"))
        .then(|| String::from_utf8_lossy(text).into_owned())
}

/// The physical memory descriptor: absent when painted, damage when it contradicts itself.
fn physical_memory(
    view: View<'_>,
    layout: &HeaderLayout,
    damage: &mut Damages,
) -> Option<PhysicalMemory> {
    let at = layout.physical_memory_block;
    let width = layout.pointer;
    let count = view.u32(at).and_then(written32)?;
    let pages = view.pointer(at + width, width)?;
    if count == 0 {
        return None;
    }
    let mut runs = Vec::new();
    let mut end = 0u64;
    for index in 0..count.min(layout.most_runs) as usize {
        let run = at + 2 * width + index * 2 * width;
        let base_page = view.pointer(run, width)?;
        let page_count = view.pointer(run + width, width)?;
        let next = base_page.checked_add(page_count);
        if count > layout.most_runs || page_count == 0 || base_page < end || next.is_none() {
            damage.note(
                "the physical memory descriptor contradicts itself",
                Some(at as u64),
            );
            return None;
        }
        end = next.unwrap_or(u64::MAX);
        runs.push(Run {
            base_page,
            page_count,
        });
    }
    Some(PhysicalMemory { runs, pages })
}
/// Longer than any computer has run, in units of 100 ns: 50 years.
const LONGEST_UPTIME: u64 = 50 * 365 * 86_400 * 10_000_000;

/// The build in what a writer put there: some put the kernel's NtBuildNumber, whose highest bits tell a free build (Fh) from
/// a checked one (Ch). `None` for what no Windows has.
fn build_number(stated: u32) -> Option<u32> {
    let build = match stated >> 28 {
        0xC | 0xF => stated & 0x0FFF_FFFF,
        _ => stated,
    };
    (1..=0xFFFF).contains(&build).then_some(build)
}
