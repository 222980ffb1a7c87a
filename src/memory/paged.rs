//! Virtual memory of a memory dump: page tables over physical memory.

use std::cell::RefCell;

use crate::bytes::{Gpa, Gva};
use crate::dump::Header;
use crate::machine::Machine;

use super::translate::{Ia64Tables, Missing, Paging, Tables, Translation};
use super::{Absent, Memory, Physical};

/// Slots of the translation cache.
const SLOTS: usize = 1024;
/// Offset of OwnerTag in KDDEBUGGER_DATA64.
const OWNER_TAG: u64 = 0x10;

/// One address space of a memory dump on one thread.
pub struct Paged<'a> {
    physical: &'a Physical<'a>,
    tables: Space,
    cache: RefCell<Vec<Option<Cached>>>,
}

/// How addresses are translated.
enum Space {
    /// Page tables from one root.
    Tables(Tables),
    /// IA-64: regions, translation registers and page tables.
    Ia64(Ia64Tables),
}

#[derive(Clone, Copy)]
struct Cached {
    /// Virtual page number.
    page: u64,
    /// Physical address of its first byte.
    place: Result<u64, Missing>,
}

impl<'a> Paged<'a> {
    /// The address space behind `tables`.
    pub fn new(physical: &'a Physical<'a>, tables: Tables) -> Paged<'a> {
        Paged::of(physical, Space::Tables(tables))
    }

    /// An address space of IA-64.
    pub fn ia64(physical: &'a Physical<'a>, tables: Ia64Tables) -> Paged<'a> {
        Paged::of(physical, Space::Ia64(tables))
    }

    fn of(physical: &'a Physical<'a>, tables: Space) -> Paged<'a> {
        Paged {
            physical,
            tables,
            cache: RefCell::new(vec![None; SLOTS]),
        }
    }

    /// The address space of the crash: tables from the header's CR3. Where the header leaves the
    /// format open (PAE not stated, five levels), the one in which the kernel's own structures
    /// can be read wins. `None` for machines whose tables are not read, and without a CR3.
    pub fn of_crash(physical: &'a Physical<'a>, header: &Header) -> Option<Paged<'a>> {
        let cr3 = header.directory_table_base?;
        let formats: &[Paging] = match (header.machine?, header.pae) {
            (Machine::X86, Some(true)) => &[Paging::Pae],
            (Machine::X86, Some(false)) => &[Paging::X86],
            (Machine::X86, None) => &[Paging::Pae, Paging::X86],
            (Machine::X64, _) => &[Paging::X64, Paging::X64FiveLevel],
            _ => return None,
        };
        let mut best: Option<(u32, Paged<'a>)> = None;
        for paging in formats {
            let space = Paged::new(physical, Tables::new(*paging, cr3));
            let score = space.plausibility(header);
            if best.as_ref().is_none_or(|(most, _)| score > *most) {
                best = Some((score, space));
            }
        }
        best.map(|(_, space)| space)
    }

    /// How much of what the header points to can be read through these tables.
    fn plausibility(&self, header: &Header) -> u32 {
        let mut tag = [0; 4];
        let tagged = header
            .kd_debugger_data_block
            .and_then(|at| at.checked_add(OWNER_TAG))
            .is_some_and(|at| self.read(Gva(at), &mut tag).is_ok());
        let listed = header
            .ps_loaded_module_list
            .is_some_and(|at| self.read_pointer(Gva(at), header.pointer).is_ok());
        u32::from(tagged) + u32::from(tagged && tag == *b"KDBG") * 2 + u32::from(listed)
    }

    /// The same memory with the start of paged pool known, which prototype entries of x86 without
    /// PAE count from.
    pub fn with_paged_pool(mut self, start: Option<u64>) -> Paged<'a> {
        if let Space::Tables(tables) = &mut self.tables {
            tables.paged_pool = start;
        }
        self.cache = RefCell::new(vec![None; SLOTS]);
        self
    }

    /// The physical memory below.
    pub fn physical(&self) -> &'a Physical<'a> {
        self.physical
    }

    /// Translates one address, past the cache.
    ///
    /// # Errors
    /// [`Missing`]: the reason and the level that gave it.
    pub fn translate(&self, at: Gva) -> Result<Translation, Missing> {
        match &self.tables {
            Space::Tables(tables) => tables.translate(self.physical, at),
            Space::Ia64(tables) => tables.translate(self.physical, at),
        }
    }

    /// The bytes of `at` and why they are missing, with the level.
    ///
    /// # Errors
    /// [`Missing`] for the first byte that is not there.
    pub fn read_or_level(&self, at: Gva, buf: &mut [u8]) -> Result<(), Missing> {
        use super::translate::Level;
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let address = at.0.checked_add(done as u64).ok_or(Missing {
                reason: Absent::NonCanonical,
                level: Level::Address,
            })?;
            let within = address & 0xFFF;
            let base = self.page(address & !0xFFF)?;
            let n = rest.len().min(0x1000 - within as usize);
            let part = rest.get_mut(..n).unwrap_or_default();
            self.physical
                .read(Gpa(base | within), part)
                .map_err(|reason| Missing {
                    reason,
                    level: Level::Page,
                })?;
            done += n;
        }
        Ok(())
    }

    /// Physical address of the 4 KiB at virtual address `start`.
    fn page(&self, start: u64) -> Result<u64, Missing> {
        let number = start >> 12;
        let slot = (number % SLOTS as u64) as usize;
        let mut cache = self.cache.borrow_mut();
        if let Some(Some(hit)) = cache.get(slot)
            && hit.page == number
        {
            return hit.place;
        }
        let place = self.translate(Gva(start)).map(|found| found.address.0);
        if let Some(slot) = cache.get_mut(slot) {
            *slot = Some(Cached {
                page: number,
                place,
            });
        }
        place
    }
}

impl Memory for Paged<'_> {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        self.read_or_level(at, buf)
            .map_err(|missing| missing.reason)
    }
}
