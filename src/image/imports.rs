//! The import directory: which function of which other module an address-table slot stands for.
//!
//! A file names every slot in its lookup table. An image in memory often no longer has that table:
//! drivers keep it in a section that is dropped after start-up. Layout: "PE Format", ".idata".

use super::Image;
use crate::bytes::View;
use crate::machine::Machine;

/// Modules read at most; drivers import from a dozen.
const MAX_MODULES: u32 = 256;
/// Functions read at most.
const MAX_FUNCTIONS: usize = 0x4000;
/// Bytes of a directory row.
const ROW: u32 = 20;

/// A slot of the import address table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// RVA of the slot that calls go through.
    pub slot: u32,
    /// Name of the function.
    pub name: String,
}

impl Image {
    /// Functions imported by name, in the directory's order. Imports by ordinal and rows whose bytes
    /// are absent are left out.
    pub fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        let directory = self.headers.imports;
        if directory.rva == 0 {
            return found;
        }
        for module in 0..MAX_MODULES {
            let row = module
                .checked_mul(ROW)
                .and_then(|at| directory.rva.checked_add(at))
                .and_then(|at| self.read_array::<20>(at));
            let Some(row) = row else { break };
            let field = |at| View(&row).u32(at).unwrap_or_default();
            let (lookup, slots) = (field(0), field(16));
            if slots == 0 {
                break;
            }
            // Without a lookup table the address table itself holds the names until it is bound.
            let names = if lookup == 0 { slots } else { lookup };
            if !self.import_names(names, slots, &mut found) {
                break;
            }
        }
        found
    }

    /// The functions of one module; false when there are too many for a real driver.
    fn import_names(&self, names: u32, slots: u32, found: &mut Vec<Import>) -> bool {
        let width: u32 = match self.machine() {
            Some(Machine::X86 | Machine::Arm) => 4,
            _ => 8,
        };
        let mut at = 0u32;
        while found.len() < MAX_FUNCTIONS {
            let entry = names.checked_add(at).and_then(|rva| self.word(rva, width));
            let Some(entry) = entry.filter(|entry| *entry != 0) else {
                return true;
            };
            let by_ordinal = entry >> (width * 8 - 1) & 1 == 1;
            let name = u32::try_from(entry)
                .ok()
                .filter(|_| !by_ordinal)
                .and_then(|hint| self.text_at(hint.checked_add(2)?, super::exports::MAX_NAME));
            if let (Some(name), Some(slot)) = (name, slots.checked_add(at)) {
                found.push(Import { slot, name });
            }
            let Some(next) = at.checked_add(width) else {
                return true;
            };
            at = next;
        }
        false
    }

    fn word(&self, rva: u32, width: u32) -> Option<u64> {
        match width {
            4 => self.u32_at(rva).map(u64::from),
            _ => self.read_array(rva).map(u64::from_le_bytes),
        }
    }
}
