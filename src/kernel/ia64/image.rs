//! The kernel's image in physical memory, found by its debugger data block.
//!
//! One large translation register maps the whole image, so the distance between a virtual and a
//! physical address of it is the same everywhere; its own headers prove that.

use crate::bytes::{Gpa, Gva, Pfn, View};
use crate::dump::Header;
use crate::kernel::DebuggerData;
use crate::memory::Physical;
use crate::memory::translate::Window;

/// Bytes of a page.
const PAGE: u64 = 0x2000;
/// Offset of the tag in the block.
const TAG: u64 = 0x10;
/// Sizes of a block of Windows 6.0.
const SIZES: std::ops::RangeInclusive<usize> = 0x328..=0x340;
/// Lowest address the kernel's image can have, and past the highest.
const KERNEL: std::ops::Range<u64> = 0xE000_0000_8000_0000..0xE000_0000_A000_0000;
/// `MZ`, `PE`, the machine number.
const DOS: u16 = 0x5A4D;
const PE: u32 = 0x4550;
const MACHINE: u16 = 0x200;
/// Magic of PE32+.
const PE32_PLUS: u16 = 0x20B;

/// The kernel's image and its debugger data block.
pub struct KernelImage {
    pub window: Window,
    pub block: DebuggerData,
}

/// Searches all pages for the block the header names.
pub fn find(physical: &Physical<'_>, header: &Header) -> Option<KernelImage> {
    let block = header.kd_debugger_data_block?;
    let tag = block.checked_add(TAG)?;
    let within = usize::try_from(tag % PAGE).ok()?;
    let mut found = None;
    physical.each_page(&mut |pfn: Pfn, page: &[u8]| {
        if page.get(within..within + 4) == Some(b"KDBG") {
            found = pfn
                .0
                .checked_mul(PAGE)
                .and_then(|start| start.checked_add(tag % PAGE)?.checked_sub(TAG))
                .and_then(|at| accept(physical, header, block, Gpa(at)));
        }
        found.is_none()
    });
    found
}

/// The image around a block at physical address `at`, if everything agrees.
fn accept(
    physical: &Physical<'_>,
    header: &Header,
    virtually: u64,
    at: Gpa,
) -> Option<KernelImage> {
    let mut bytes = [0; *SIZES.end()];
    let read = SIZES.rev().step_by(8).find(|len| {
        physical
            .read(at, bytes.get_mut(..*len).unwrap_or_default())
            .is_ok()
    })?;
    let block = DebuggerData::read(bytes.get(..read)?)?;
    let base = block.kern_base().filter(|base| KERNEL.contains(base))?;
    let list = block.loaded_module_list()?;
    let fits = SIZES.contains(&block.len())
        && header
            .ps_loaded_module_list
            .is_none_or(|stated| stated == list);
    let below = virtually.checked_sub(base).filter(|_| fits)?;
    let physical_base = Gpa(at.0.checked_sub(below)?);
    let mut headers = [0; 0x400];
    physical.read(physical_base, &mut headers).ok()?;
    let size = u64::from(size_of_image(&headers)?);
    let covers = |address: u64| {
        address
            .checked_sub(base)
            .is_some_and(|offset| offset < size)
    };
    (covers(virtually) && covers(list)).then_some(KernelImage {
        window: Window {
            start: Gva(base),
            len: size,
            physical: physical_base,
        },
        block,
    })
}

/// SizeOfImage of an IA-64 image by its headers.
fn size_of_image(headers: &[u8]) -> Option<u32> {
    let view = View(headers);
    let pe = usize::try_from(view.u32(0x3C)?).ok()?;
    let optional = pe.checked_add(24)?;
    let fits = view.u16(0)? == DOS
        && view.u32(pe)? == PE
        && view.u16(pe.checked_add(4)?)? == MACHINE
        && view.u16(optional)? == PE32_PLUS;
    fits.then(|| view.u32(optional.checked_add(56)?))?
}

/// Whether the page at the start of a module holds the headers of an IA-64 image; `None` when it
/// is not there.
pub fn is_image(read: &dyn Fn(&mut [u8]) -> bool) -> Option<bool> {
    let mut headers = [0; 0x400];
    read(&mut headers).then(|| size_of_image(&headers).is_some())
}
