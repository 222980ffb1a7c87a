//! IA-64 addresses: two regions that are physical memory itself, ranges one translation register
//! maps, and the kernel's own page tables.
//!
//! Valid entries and the regions are the processor's; what Windows keeps in other entries is not
//! known, and is never guessed. Facts: Intel's "Itanium Architecture Software Developer's Manual",
//! the published headers of Server 2008's kit (`docs/memory-dumps.md`).

use crate::bytes::{Gpa, Gva};
use crate::memory::{Absent, Physical};

use super::{Level, Missing, Translation, Via};

/// Bytes of a page, and of a table.
const PAGE: u64 = 0x2000;
/// Bytes of a large page, which fills two entries of a directory.
const LARGE_PAGE: u64 = 1 << 24;
/// Address bits below the region number.
const WITHIN_REGION: u64 = (1 << 61) - 1;
/// Bytes of physical memory that the identity regions reach.
const PHYSICAL: u64 = 1 << 50;
/// Address bits that the tables of one region translate.
const TRANSLATED: u64 = (1 << 43) - 1;
/// Where the tables themselves are seen in a region, from there to its end.
const TABLE_MAP: u64 = 0x1FFF_FF00_0000_0000;
/// An entry's bits that are a physical address.
const FRAME: u64 = (PHYSICAL - 1) & !(PAGE - 1);
/// The processor uses the entry.
const VALID: u64 = 1;
/// The entry of a directory maps a large page.
const LARGE: u64 = 1 << 54;
/// Entries of a table.
const ENTRIES: u64 = 1024;

/// One level of the tables.
struct Step {
    level: Level,
    shift: u32,
}

static STEPS: [Step; 3] = [
    Step {
        level: Level::Root,
        shift: 33,
    },
    Step {
        level: Level::Directory,
        shift: 23,
    },
    Step {
        level: Level::Table,
        shift: 13,
    },
];

/// A range of addresses that lies in one piece in physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First address.
    pub start: Gva,
    /// Bytes.
    pub len: u64,
    /// Physical address of the first byte.
    pub physical: Gpa,
}

/// What is known of a machine's translations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ia64Tables {
    /// Physical address of the root table of the kernel's region.
    pub root: Option<Gpa>,
    /// The kernel's image.
    pub image: Option<Window>,
}

impl Ia64Tables {
    /// Translates one address.
    ///
    /// # Errors
    /// [`Missing`]: the reason and the level that gave it.
    pub fn translate(&self, memory: &Physical<'_>, at: Gva) -> Result<Translation, Missing> {
        let missing = |reason| Err(Missing::at(Level::Address, reason));
        let within = at.0 & WITHIN_REGION;
        match at.0 >> 61 {
            4 | 5 if within < PHYSICAL => Ok(page(within, PAGE)),
            7 => match self.in_image(at) {
                Some(address) => Ok(page(address, PAGE)),
                None if within >= TABLE_MAP => missing(Absent::OtherTables),
                None if within & !TRANSLATED != 0 => missing(Absent::NonCanonical),
                None => self.walk(memory, within),
            },
            // User mode's and the session's own.
            0 | 1 => missing(Absent::OtherTables),
            _ => missing(Absent::NonCanonical),
        }
    }

    /// Physical address of a byte of the kernel's image.
    fn in_image(&self, at: Gva) -> Option<u64> {
        let image = self.image?;
        let offset = at.0.checked_sub(image.start.0)?;
        (offset < image.len).then(|| image.physical.0.checked_add(offset))?
    }

    fn walk(&self, memory: &Physical<'_>, address: u64) -> Result<Translation, Missing> {
        let root = self.root;
        let mut table = root.ok_or(Missing::at(Level::Root, Absent::OtherTables))?.0;
        for Step { level, shift } in &STEPS {
            let missing = |reason| Missing::at(*level, reason);
            let index = address >> shift & (ENTRIES - 1);
            let at = table
                .checked_add(index * 8)
                .ok_or(missing(Absent::NotInDump))?;
            let mut bytes = [0; 8];
            memory.read(Gpa(at), &mut bytes).map_err(missing)?;
            let entry = u64::from_le_bytes(bytes);
            if entry & VALID == 0 {
                return Err(missing(match entry {
                    0 => Absent::NotMapped,
                    _ => Absent::UnknownEntry,
                }));
            }
            let frame = entry & FRAME;
            match (level, entry & LARGE != 0) {
                (Level::Directory, true) if frame.is_multiple_of(LARGE_PAGE) => {
                    return Ok(page(frame | (address & (LARGE_PAGE - 1)), LARGE_PAGE));
                }
                (_, true) => return Err(missing(Absent::UnknownEntry)),
                (Level::Table, false) => return Ok(page(frame | (address & (PAGE - 1)), PAGE)),
                (_, false) => table = frame,
            }
        }
        Err(Missing::at(Level::Table, Absent::NotMapped))
    }
}

fn page(address: u64, page_size: u64) -> Translation {
    Translation {
        address: Gpa(address),
        page_size,
        via: Via::Valid,
    }
}
