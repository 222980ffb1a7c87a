//! Unloaded drivers in memory: a ring of fifty UNLOADED_DRIVER behind MmUnloadedDrivers.

use crate::bytes::{Gva, View};
use crate::facts::UnloadedModule;
use crate::memory::Memory;

use super::modules::unicode_string;

/// Entries of the ring.
const RING: u32 = 50;

/// Reads the ring, oldest first. `ring` is the address of the pointer to it, `last` that of the
/// count of drivers unloaded so far. `None` when the pointer or the ring is not there.
pub fn read(
    memory: &dyn Memory,
    ring: u64,
    last: Option<u64>,
    width: usize,
) -> Option<Vec<UnloadedModule>> {
    let ring = memory.read_pointer(Gva(ring), width).ok()?;
    if ring == 0 {
        return Some(Vec::new());
    }
    // UNLOADED_DRIVER: UNICODE_STRING, start, end, time of unloading.
    let size = if width == 4 { 0x18u64 } else { 0x28 };
    let start = 2 * width;
    let next = last
        .and_then(|at| memory.read_u32(Gva(at)).ok())
        .map_or(0, |count| count % RING);
    let mut drivers = Vec::new();
    let mut readable = false;
    for turn in 0..RING {
        let index = u64::from((next + turn) % RING);
        let mut bytes = [0; 0x28];
        let entry = bytes.get_mut(..size as usize)?;
        let at = ring.checked_add(index * size)?;
        if memory.read(Gva(at), entry).is_err() {
            continue;
        }
        readable = true;
        let view = View(entry);
        let (low, high) = (
            view.pointer(start, width)?,
            view.pointer(start + width, width)?,
        );
        if low != 0 && low < high {
            drivers.push(UnloadedModule {
                name: unicode_string(memory, view, 0, width),
                start: low,
                end: high,
            });
        }
    }
    readable.then_some(drivers)
}
