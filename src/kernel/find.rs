//! The debugger data block of a memory dump, read once: where the header says, or found in the kernel's own
//! image, which the list of modules, or a search of physical memory, leads to.

use crate::bytes::{Gva, View};
use crate::dump::Header;
use crate::machine::Machine;
use crate::memory::{Memory, Paged};

use super::DebuggerData;
use super::debugger_data::Keys;

/// OwnerTag of the block and the offset it has in it.
const TAG: &[u8; 4] = b"KDBG";
const TAG_AT: u64 = 0x10;
/// Sizes of the block, of any Windows.
const SIZES: std::ops::RangeInclusive<u32> = 0x208..=0x400;
/// Longest image that is searched, in bytes: kernels of 6.0 have six million.
const LONGEST: u64 = 32 << 20;
/// Pages of physical memory that are searched: the kernel lies in the first of them.
const MOST_PAGES: u64 = 1 << 17;
const PAGE: u64 = 0x1000;
/// The first build that encodes the block.
const FIRST_ENCODED: u32 = 9200;
/// Bytes of the block that are read: as many as are there, of the largest down to the smallest that names the list
/// of modules.
const READ: [usize; 4] = [0x400, 0x340, 0x330, 0x290];

/// The debugger data block of a memory dump.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its address; `None` when nothing says it.
    pub at: Option<u64>,
    /// What is there.
    bytes: Vec<u8>,
    /// The block, when it is there and plain or was decoded.
    pub data: Option<DebuggerData>,
}

impl Block {
    /// Finds and reads the block.
    pub fn read(space: &Paged<'_>, header: &Header) -> Block {
        let stated = header.kd_debugger_data_block;
        let at = debugger_data(space, header).or(stated);
        let bytes = at.zip(header.machine).and_then(|(at, machine)| {
            READ.iter().find_map(|len| {
                let mut bytes = vec![0; *len];
                let read = space.read(Gva(machine.truncate(at)), &mut bytes);
                read.is_ok().then_some(bytes)
            })
        });
        let bytes = bytes.unwrap_or_default();
        Block {
            at,
            data: DebuggerData::read(&bytes),
            bytes,
        }
    }

    /// The block is there but is not plain: newer kernels encode it.
    pub fn is_encoded(&self) -> bool {
        self.data.is_none() && self.bytes.iter().any(|byte| *byte != 0)
    }

    /// The block, decoded; `None` when the keys do not make one of it.
    pub fn decoded(&self, keys: &Keys) -> Option<Block> {
        let data = DebuggerData::decode(&self.bytes, keys)?;
        Some(Block {
            data: Some(data),
            ..self.clone()
        })
    }

    /// Lowest address of paged pool, for prototype entries of x86 without PAE.
    pub fn paged_pool_start(&self, space: &Paged<'_>, machine: Machine) -> Option<u64> {
        let variable = self.data.as_ref()?.paged_pool_start()?;
        space
            .read_pointer(Gva(machine.truncate(variable)), machine.pointer_width())
            .ok()
            .filter(|start| *start != 0)
    }
}

/// The address of the plain debugger data block. `None` when there is none, or one that is encoded.
fn debugger_data(space: &Paged<'_>, header: &Header) -> Option<u64> {
    let machine = header.machine?;
    if let Some(at) = header.kd_debugger_data_block.map(|at| machine.truncate(at))
        && tagged(space, at)
    {
        return Some(at);
    }
    // Newer kernels encode the block: what is there is it, and there is no other.
    let encoded = header.build.is_some_and(|build| build >= FIRST_ENCODED)
        && header
            .kd_debugger_data_block
            .is_some_and(|at| space.read(Gva(machine.truncate(at)), &mut [0]).is_ok());
    if encoded {
        return None;
    }
    let listed = header
        .ps_loaded_module_list
        .and_then(|head| first_image(space, machine, machine.truncate(head)))
        .and_then(|base| in_image(space, machine, base));
    listed.or_else(|| {
        // An address that is there and not tagged leads to an encoded block: none to search for.
        let stated =
            header.kd_debugger_data_block.is_some() && header.ps_loaded_module_list.is_some();
        (!stated).then(|| search(space, machine)).flatten()
    })
}

fn tagged(memory: &dyn Memory, at: u64) -> bool {
    let mut tag = [0; 4];
    at.checked_add(TAG_AT)
        .is_some_and(|at| memory.read(Gva(at), &mut tag).is_ok())
        && tag == *TAG
}

/// DllBase of the first loaded module, which is the kernel.
fn first_image(memory: &dyn Memory, machine: Machine, head: u64) -> Option<u64> {
    let width = machine.pointer_width();
    let base_at = if width == 4 { 0x18 } else { 0x30 };
    let entry = memory.read_pointer(Gva(head), width).ok()?;
    let base = memory
        .read_pointer(Gva(entry.checked_add(base_at)?), width)
        .ok()?;
    (base != 0 && base % PAGE == 0).then_some(base)
}

/// The block in the image of the kernel at `base`.
fn in_image(memory: &dyn Memory, machine: Machine, base: u64) -> Option<u64> {
    let mut page = vec![0; PAGE as usize];
    let mut offset = 0;
    while offset < LONGEST {
        let start = base.checked_add(offset)?;
        offset += PAGE;
        if memory.read(Gva(start), &mut page).is_err() {
            continue;
        }
        for within in tags(&page) {
            let at = (start + within).checked_sub(TAG_AT);
            if let Some(at) = at.filter(|at| kernel_of(memory, machine, *at) == Some(base)) {
                return Some(at);
            }
        }
    }
    None
}

/// Offsets of what can be the tag of a block.
fn tags(page: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let words = page.as_chunks::<8>().0.iter().zip((0u64..).step_by(8));
    words.filter_map(|(word, at)| {
        let size = View(word).u32(4)?;
        (word.starts_with(TAG) && SIZES.contains(&size)).then_some(at)
    })
}

/// KernBase of the block at `at`, when it is one.
fn kernel_of(memory: &dyn Memory, machine: Machine, at: u64) -> Option<u64> {
    let mut bytes = [0; 0x208];
    memory.read(Gva(at), &mut bytes).ok()?;
    let block = DebuggerData::read(&bytes)?;
    let list = machine.truncate(block.loaded_module_list()?);
    memory
        .read_pointer(Gva(list), machine.pointer_width())
        .ok()?;
    Some(machine.truncate(block.kern_base()?))
}

/// Looks through physical memory for a block, and for it in the image it names.
fn search(space: &Paged<'_>, machine: Machine) -> Option<u64> {
    let mut bases: Vec<u64> = Vec::new();
    let mut pages = 0;
    space.physical().each_page(&mut |_, page| {
        pages += 1;
        for within in tags(page) {
            let base = usize::try_from(within + 8)
                .ok()
                .and_then(|at| View(page).u64(at))
                .map(|base| machine.truncate(base));
            bases.extend(base.filter(|base| *base != 0 && base % PAGE == 0));
        }
        pages < MOST_PAGES && bases.len() < 4
    });
    bases
        .into_iter()
        .find_map(|base| in_image(space, machine, base))
}
