//! The SYSTEM hive by looking through every page of a dump: the way of last resort, taken on request.
//!
//! Hives link each other, so any one whose links lie in the page it was found in leads to all. Reads the
//! whole file once, in large pieces.

use crate::bytes::Budget;
use crate::bytes::View;
use crate::kernel::structures::Structures;
use crate::memory::{Memory, Physical};

use super::memory::{HIVE, MemoryCells, is_hive, system_among};

/// Hives whose links are followed.
const MOST_HITS: usize = 256;
/// Pool allocations start at multiples of this.
const ALIGNMENT: usize = 8;

/// The SYSTEM hive, found by its neighbours' signature in physical memory.
pub fn search<'a>(
    memory: &'a dyn Memory,
    physical: &Physical<'_>,
    layout: &'static Structures,
    budget: &Budget,
) -> Option<MemoryCells<'a>> {
    let width = layout.machine.pointer_width();
    let links = usize::try_from(layout.hive_list).ok()?;
    let mut tried = Vec::new();
    let mut found = None;
    physical.each_page(&mut |_, page| {
        for (index, word) in page.chunks_exact(ALIGNMENT).enumerate() {
            if !word.starts_with(&HIVE.to_le_bytes()) {
                continue;
            }
            let Some(next) = index
                .checked_mul(ALIGNMENT)
                .and_then(|at| at.checked_add(links))
                .and_then(|at| View(page).pointer(at, width))
                .and_then(|link| link.checked_sub(layout.hive_list))
            else {
                continue;
            };
            if tried.contains(&next) {
                continue;
            }
            tried.push(next);
            if is_hive(memory, next) {
                found = system_among(memory, next, layout, budget);
            }
            if found.is_some() || tried.len() >= MOST_HITS {
                return false;
            }
        }
        true
    });
    found
}
