//! The root of the kernel's page tables: candidates, of which the one is right that the list of
//! loaded modules can be walked through.

use crate::bytes::{Budget, Gpa, Gva};
use crate::dump::Header;
use crate::kernel::lists::{self, Direction, End, Rules};
use crate::kernel::modules;
use crate::memory::translate::Ia64Tables;
use crate::memory::{Memory, Paged, Physical};

use super::image::{self, KernelImage};
use super::{PCR_PTE_BASE, PRCB_IN_PCR, PTE_BASE, TRANSLATION_REGISTERS};

/// Bytes of a page.
const PAGE: u64 = 0x2000;
/// A page number in a table entry or a translation register: address bits 13 to 49.
const FRAME: u64 = (1 << 50) - PAGE;
/// Modules of a list that are walked.
const MOST: usize = 4096;
/// Images that a right root shows, where the list names as many.
const IMAGES: usize = 3;
/// Processors whose saved registers are looked at.
const MOST_PROCESSORS: u64 = 64;
/// Size of a saved translation register, and how many of one kind there are.
const REGISTER: u64 = 0x20;
const REGISTERS: u64 = 8;
/// The data translation register that maps the root of the kernel's tables.
const ROOT_REGISTER: u64 = 2;
/// Region 7.
const KERNEL_REGION: u64 = 7;

/// What validation decided where the format is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// In words for a report's note, in the order they were decided.
    pub decided: Vec<String>,
    /// What could not be found, in words.
    pub missing: Vec<String>,
}

/// A place that may say where the root is.
struct Candidate {
    from: String,
    root: u64,
}

/// Finds what can be translated of a dump's memory.
pub fn address_space(
    physical: &Physical<'_>,
    header: &Header,
    budget: &Budget,
) -> (Ia64Tables, Settled) {
    let mut settled = Settled::default();
    let kernel = image::find(physical, header);
    let mut tables = Ia64Tables {
        root: None,
        image: kernel.as_ref().map(|kernel| kernel.window),
    };
    match tables.image {
        Some(window) => settled.decided.push(format!(
            "the kernel's image lies at physical address {:#x} (by its debugger data block)",
            window.physical.0
        )),
        None => settled
            .missing
            .push("the kernel's image was not found by its debugger data block".to_owned()),
    }
    let candidates = candidates(physical, header, tables, kernel.as_ref());
    let list = header
        .ps_loaded_module_list
        .or_else(|| kernel.as_ref()?.block.loaded_module_list());
    let mut failed: Vec<String> = Vec::new();
    for Candidate { from, root } in candidates {
        let tried = Ia64Tables {
            root: Some(Gpa(root)),
            ..tables
        };
        if list.is_some_and(|list| fits(physical, tried, list, budget)) {
            tables = tried;
            settled.decided.push(format!(
                "the root of the kernel's page tables is {root:#x} (by {from})"
            ));
            break;
        }
        failed.push(format!("{from} ({root:#x})"));
    }
    match (tables.root, failed.is_empty()) {
        (Some(_), false) => settled
            .decided
            .push(format!("no root is where these say: {}", failed.join(", "))),
        (None, true) => settled
            .missing
            .push("nothing says where the kernel's page tables are".to_owned()),
        (None, false) => settled.missing.push(format!(
            "the kernel's page tables were not found; the list of modules cannot be walked from: {}",
            failed.join(", ")
        )),
        (Some(_), true) => {}
    }
    if let Some(kernel) = &kernel {
        compare(&Paged::ia64(physical, tables), kernel, &mut settled);
    }
    (tables, settled)
}

/// Every place that may say where the root is, the likeliest first, each address once.
fn candidates(
    physical: &Physical<'_>,
    header: &Header,
    tables: Ia64Tables,
    kernel: Option<&KernelImage>,
) -> Vec<Candidate> {
    let space = Paged::ia64(physical, tables);
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |from: &str, root: Option<u64>| {
        let root = root.filter(|root| *root != 0 && root & !FRAME == 0);
        if let Some(root) = root.filter(|root| found.iter().all(|known| known.root != *root)) {
            let from = from.to_owned();
            found.push(Candidate { from, root });
        }
    };
    let number = |value: u64| value.checked_mul(PAGE);
    let parent = kernel
        .and_then(|kernel| kernel.block.system_parent_table_page())
        .and_then(|at| space.read_u64(Gva(at)).ok());
    add("MmSystemParentTablePage", parent.and_then(number));
    add("MmSystemParentTablePage as an address", parent);
    let count = u64::from(header.processors.unwrap_or(1)).min(MOST_PROCESSORS);
    for prcb in processors(&space, kernel, count) {
        for root in root_registers(&space, prcb) {
            add("a saved translation register", Some(root));
        }
    }
    let stated = header.directory_table_base;
    add("DirectoryTableBase", stated);
    add(
        "DirectoryTableBase as a page number",
        stated.and_then(number),
    );
    found
}

/// Addresses of KPRCBs that can be read without page tables.
fn processors(space: &Paged<'_>, kernel: Option<&KernelImage>, count: u64) -> Vec<u64> {
    let Some(array) = kernel.and_then(|kernel| kernel.block.processor_block()) else {
        return Vec::new();
    };
    (0..count)
        .map_while(|n| space.read_u64(Gva(array.checked_add(n * 8)?)).ok())
        .take_while(|prcb| *prcb != 0)
        .collect()
}

/// The root by a processor's saved translation registers: entries of index, value, page size and
/// address. Whether Windows fills them at a bug check, and whether the data registers are the second
/// half, is not known: only a plausible one counts, those of the second half first.
fn root_registers(space: &Paged<'_>, prcb: u64) -> Vec<u64> {
    let entry = |n: u64| {
        let at = prcb
            .checked_add(TRANSLATION_REGISTERS)?
            .checked_add(n * REGISTER)?;
        let word = |field: u64| space.read_u64(Gva(at.checked_add(field)?)).ok();
        let (index, value) = (word(0)? & 0xFFFF_FFFF, word(8)?);
        let (size, address) = (word(0x10)? >> 2 & 0x3F, word(0x18)?);
        let legal = matches!(size, 12..=14 | 16 | 18 | 20 | 22 | 24 | 26 | 28 | 32);
        let plausible = index == ROOT_REGISTER && address >> 61 == KERNEL_REGION && legal;
        (plausible && value & 1 != 0).then_some(value & FRAME)
    };
    (REGISTERS..2 * REGISTERS)
        .chain(0..REGISTERS)
        .filter_map(entry)
        .collect()
}

/// True when the list of modules can be walked both ways through these tables, no module's start
/// is anything but an IA-64 image or absent, and enough of them are images.
fn fits(physical: &Physical<'_>, tables: Ia64Tables, list: u64, budget: &Budget) -> bool {
    let space = Paged::ia64(physical, tables);
    let rules = Rules {
        width: 8,
        most: MOST,
        reciprocal: true,
        budget,
    };
    let ahead = lists::walk(&space, list, Direction::Forward, rules);
    let back = lists::walk(&space, list, Direction::Backward, rules);
    let whole = |walk: &lists::Walk| walk.end == End::Whole;
    if !whole(&ahead) || !whole(&back) || ahead.entries.len() != back.entries.len() {
        return false;
    }
    let drivers = modules::read(&space, list, 8, budget).drivers;
    let without_root = |at: u64| {
        let tables = Ia64Tables {
            root: None,
            ..tables
        };
        tables.translate(physical, Gva(at)).is_ok()
    };
    let (mut images, mut through_root) = (0, 0);
    for driver in &drivers {
        let read = |buf: &mut [u8]| space.read(Gva(driver.base), buf).is_ok();
        match image::is_image(&read) {
            Some(true) => {
                images += 1;
                through_root += usize::from(!without_root(driver.base));
            }
            Some(false) => return false,
            None => {}
        }
    }
    images >= IMAGES.min(drivers.len()) && through_root > 0
}

/// Says where what the dump states differs from the published layout: the dump's own word counts.
fn compare(space: &Paged<'_>, kernel: &KernelImage, settled: &mut Settled) {
    let published = [
        (
            "OffsetPrcbProcStateContext",
            kernel.block.prcb_context(),
            0x140,
        ),
        ("OffsetPrcbPcrPage", kernel.block.prcb_pcr_page(), 0x38),
        (
            "OffsetPrcbProcStateSpecialReg",
            kernel.block.prcb_special_registers(),
            0xBB0,
        ),
    ];
    for (name, stated, known) in published {
        if let Some(stated) = stated.filter(|stated| *stated != known) {
            settled.decided.push(format!(
                "{name} is {stated:#x} by the dump, not {known:#x} as in build 6001: the dump's counts"
            ));
        }
    }
    let base = processors(space, Some(kernel), 1)
        .first()
        .and_then(|prcb| prcb.checked_sub(PRCB_IN_PCR)?.checked_add(PCR_PTE_BASE))
        .and_then(|at| space.read_u64(Gva(at)).ok());
    if let Some(base) = base.filter(|base| *base != 0 && *base != PTE_BASE) {
        settled.decided.push(format!(
            "the kernel sees its page tables at {base:#x}, not at {PTE_BASE:#x}"
        ));
    }
}
