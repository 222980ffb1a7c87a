//! The SYSTEM hive in a dump's memory, by a bounded route: the System process's handle table leads
//! to a key, the key's control block to its hive, that hive to the list of all.

use crate::bytes::{Budget, Gva};
use crate::kernel::lists::{self, Direction, Rules};
use crate::kernel::structures::Structures;
use crate::memory::Memory;

use super::hive::{Cells, cell_room};

/// HHIVE.Signature.
pub(super) const HIVE: u32 = 0xBEE0_BEE0;
/// Handles looked at; the System process of a server has some thousand.
const MOST_HANDLES: u64 = 8192;
/// Hives looked at: one a loaded user profile and a dozen more.
const MOST_HIVES: usize = 1024;
/// Offset and length in bytes of FileName in HBASE_BLOCK.
const FILE_NAME: (u64, usize) = (0x30, 64);
/// Offset of RootCell in HBASE_BLOCK.
const ROOT_CELL: u64 = 0x24;
const PAGE: u64 = 0x1000;

/// The cells of a hive in memory.
pub struct MemoryCells<'a> {
    memory: &'a dyn Memory,
    layout: &'static Structures,
    hive: u64,
}

/// The SYSTEM hive. `processes` is the head of the list of processes, whose first is System.
pub fn system_hive<'a>(
    memory: &'a dyn Memory,
    processes: u64,
    layout: &'static Structures,
    budget: &Budget,
) -> Option<MemoryCells<'a>> {
    let width = layout.machine.pointer_width();
    let pointer = |at: Option<u64>| {
        let value = memory.read_pointer(Gva(at?), width).ok()?;
        (value != 0).then_some(value)
    };
    let system = pointer(Some(processes))?.checked_sub(layout.process_links)?;
    let table = pointer(system.checked_add(layout.process_object_table))?;
    let any = handles(memory, table, layout, budget).find_map(|object| {
        let key = object.checked_add(layout.object_body)?;
        let block = pointer(key.checked_add(layout.key_body_control_block))?;
        let hive = pointer(block.checked_add(layout.control_block_hive))?;
        is_hive(memory, hive).then_some(hive)
    })?;
    system_among(memory, any, layout, budget)
}

/// The SYSTEM hive in the list whose head is at `head`: CmpHiveListHead, which only symbols name.
pub fn listed_hive<'a>(
    memory: &'a dyn Memory,
    head: u64,
    layout: &'static Structures,
    budget: &Budget,
) -> Option<MemoryCells<'a>> {
    let width = layout.machine.pointer_width();
    let first = memory.read_pointer(Gva(head), width).ok()?;
    let any = first.checked_sub(layout.hive_list)?;
    system_among(memory, any, layout, budget)
}

/// The SYSTEM hive in the list of hives that the one at `any` belongs to.
pub(super) fn system_among<'a>(
    memory: &'a dyn Memory,
    any: u64,
    layout: &'static Structures,
    budget: &Budget,
) -> Option<MemoryCells<'a>> {
    let rules = Rules {
        width: layout.machine.pointer_width(),
        most: MOST_HIVES,
        reciprocal: false,
        budget,
    };
    let first = any.checked_add(layout.hive_list)?;
    let others = lists::walk(memory, first, Direction::Forward, rules).entries;
    [first]
        .into_iter()
        .chain(others)
        .filter_map(|link| link.checked_sub(layout.hive_list))
        .filter(|hive| is_hive(memory, *hive))
        .map(|hive| MemoryCells {
            memory,
            layout,
            hive,
        })
        .find(MemoryCells::is_system)
}

pub(super) fn is_hive(memory: &dyn Memory, at: u64) -> bool {
    memory.read_u32(Gva(at)) == Ok(HIVE)
}

/// The objects of a handle table, whatever their type.
fn handles<'a>(
    memory: &'a dyn Memory,
    table: u64,
    layout: &'static Structures,
    budget: &'a Budget,
) -> impl Iterator<Item = u64> + 'a {
    let width = layout.machine.pointer_width();
    // The low two bits of TableCode say how many levels lie above the entries.
    let code = memory.read_pointer(Gva(table), width).unwrap_or(0);
    let (levels, top) = (code & 3, code & !7);
    let leaf = PAGE / layout.handle_entry;
    let fan = PAGE / width as u64;
    (0..MOST_HANDLES)
        .take_while(move |_| budget.spend(1).is_ok())
        .filter_map(move |index| {
            let mut page = top;
            for level in (0..levels).rev() {
                let below = leaf.checked_mul(fan.checked_pow(u32::try_from(level).ok()?)?)?;
                let slot = (index / below) % fan;
                page = memory
                    .read_pointer(Gva(page.checked_add(slot * width as u64)?), width)
                    .ok()
                    .filter(|at| *at != 0)?;
            }
            if levels == 0 && index >= leaf {
                return None;
            }
            let at = page.checked_add((index % leaf) * layout.handle_entry)?;
            let object = memory.read_pointer(Gva(at), width).ok()? & !7;
            (object != 0).then_some(object)
        })
}

impl MemoryCells<'_> {
    fn pointer(&self, at: Option<u64>) -> Option<u64> {
        let width = self.layout.machine.pointer_width();
        let value = self.memory.read_pointer(Gva(at?), width).ok()?;
        (value != 0).then_some(value)
    }

    fn base_block(&self) -> Option<u64> {
        self.pointer(self.hive.checked_add(self.layout.hive_base_block))
    }

    /// True when the hive's file is named SYSTEM.
    fn is_system(&self) -> bool {
        let name = || {
            let at = self.base_block()?.checked_add(FILE_NAME.0)?;
            let mut bytes = [0; FILE_NAME.1];
            self.memory.read(Gva(at), &mut bytes).ok()?;
            let text = crate::bytes::View(&bytes).utf16(0, FILE_NAME.1 / 2)?;
            let text = text.split('\0').next()?.to_owned();
            Some(text.rsplit('\\').next()?.eq_ignore_ascii_case("SYSTEM"))
        };
        name().unwrap_or(false)
    }

    /// Address of a cell: bit 31 selects the storage, then ten bits of directory, nine of table
    /// and twelve of offset.
    fn address(&self, index: u32) -> Option<u64> {
        let index = u64::from(index);
        let storage = self.layout.hive_storage + (index >> 31) * self.layout.dual;
        let map = self.hive.checked_add(storage + self.layout.dual_map);
        let directory = self.pointer(map)?;
        let width = self.layout.machine.pointer_width() as u64;
        let table = self.pointer(directory.checked_add(((index >> 21) & 0x3FF) * width))?;
        let entry = table.checked_add(((index >> 12) & 0x1FF) * self.layout.map_entry);
        // A view that is not mapped has no address.
        self.pointer(entry)?.checked_add(index & 0xFFF)
    }
}

impl Cells for MemoryCells<'_> {
    fn cell(&self, index: u32, most: u32) -> Option<Vec<u8>> {
        let at = self.address(index)?;
        let room = cell_room(self.memory.read_u32(Gva(at)).ok()?, most)?;
        let mut bytes = vec![0; room];
        self.memory.read(Gva(at.checked_add(4)?), &mut bytes).ok()?;
        Some(bytes)
    }

    fn root(&self) -> Option<u32> {
        let at = self.base_block()?.checked_add(ROOT_CELL)?;
        self.memory.read_u32(Gva(at)).ok()
    }
}
