//! The list of loaded drivers in memory: KLDR_DATA_TABLE_ENTRY from PsLoadedModuleList on.
//!
//! A list that is torn, cyclic or partly absent still gives the entries that were met. Names can
//! be paged out: the entry stays without one.

use crate::bytes::{Budget, Gva, Limit, View};
use crate::memory::Memory;

use super::lists::{self, Direction, End, Rules};

/// Drivers looked at; a busy server loads about 250.
const MOST: usize = 4096;
/// Bytes of a name that are read.
const LONGEST_NAME: u16 = 1024;

/// Offsets in KLDR_DATA_TABLE_ENTRY up to TimeDateStamp, the same from Windows 2000 on.
struct Layout {
    dll_base: usize,
    size_of_image: usize,
    full_dll_name: usize,
    base_dll_name: usize,
    check_sum: usize,
    time_date_stamp: usize,
    size: usize,
}

static BITS32: Layout = Layout {
    dll_base: 0x18,
    size_of_image: 0x20,
    full_dll_name: 0x24,
    base_dll_name: 0x2C,
    check_sum: 0x40,
    time_date_stamp: 0x44,
    size: 0x48,
};
static BITS64: Layout = Layout {
    dll_base: 0x30,
    size_of_image: 0x40,
    full_dll_name: 0x48,
    base_dll_name: 0x58,
    check_sum: 0x78,
    time_date_stamp: 0x80,
    size: 0x88,
};

/// One loaded driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedDriver {
    /// FullDllName, when it is resident.
    pub path: Option<String>,
    /// BaseDllName, when it is resident.
    pub name: Option<String>,
    /// DllBase.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size_of_image: u32,
    /// CheckSum.
    pub check_sum: u32,
    /// TimeDateStamp.
    pub time_date_stamp: u32,
}

/// The list as far as it could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedDrivers {
    /// Drivers in load order.
    pub drivers: Vec<LoadedDriver>,
    /// Entries whose own bytes are not there.
    pub unreadable: usize,
    /// Why the walk ended.
    pub end: End,
}

/// Walks the list whose head is at `head`.
pub fn read(memory: &dyn Memory, head: u64, width: usize, budget: &Budget) -> LoadedDrivers {
    let rules = Rules {
        width,
        most: MOST,
        reciprocal: false,
        budget,
    };
    let walk = lists::walk(memory, head, Direction::Forward, rules);
    if walk.entries.len() >= MOST {
        budget.reach(Limit::Candidates);
    }
    let mut list = LoadedDrivers {
        drivers: Vec::with_capacity(walk.entries.len()),
        unreadable: 0,
        end: walk.end,
    };
    for at in walk.entries {
        match driver(memory, at, width) {
            Some(driver) => list.drivers.push(driver),
            None => list.unreadable += 1,
        }
    }
    list
}

fn driver(memory: &dyn Memory, at: u64, width: usize) -> Option<LoadedDriver> {
    let layout = if width == 4 { &BITS32 } else { &BITS64 };
    let mut bytes = [0; 0x88];
    let entry = bytes.get_mut(..layout.size)?;
    memory.read(Gva(at), entry).ok()?;
    let view = View(entry);
    let base = view
        .pointer(layout.dll_base, width)
        .filter(|base| *base != 0)?;
    Some(LoadedDriver {
        path: unicode_string(memory, view, layout.full_dll_name, width),
        name: unicode_string(memory, view, layout.base_dll_name, width),
        base,
        size_of_image: view.u32(layout.size_of_image)?,
        check_sum: view.u32(layout.check_sum)?,
        time_date_stamp: view.u32(layout.time_date_stamp)?,
    })
}

/// The text of the UNICODE_STRING at `at` of a structure: Length in bytes, then the buffer's address.
pub(super) fn unicode_string(
    memory: &dyn Memory,
    view: View<'_>,
    at: usize,
    width: usize,
) -> Option<String> {
    let length = view.u16(at)?;
    let buffer = view.pointer(at.checked_add(width)?, width)?;
    if length == 0 || length > LONGEST_NAME || buffer == 0 {
        return None;
    }
    let mut bytes = vec![0; usize::from(length)];
    memory.read(Gva(buffer), &mut bytes).ok()?;
    View(&bytes).utf16(0, bytes.len() / 2)
}
