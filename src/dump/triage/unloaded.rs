//! The list of recently unloaded drivers: names cut at twelve characters, and their ranges.

use crate::bytes::{Budget, PagedReader, View};
use crate::facts::UnloadedModule;

use super::{Damages, Fields, Header, field};

/// Windows keeps fifty.
const MOST: u64 = 50;
/// Characters of a name that are kept.
const NAME_UNITS: usize = 12;

pub(super) fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    budget: &Budget,
    damage: &mut Damages,
) -> Option<Vec<UnloadedModule>> {
    let at = u64::from(fields.written(field::UNLOADED_DRIVERS_OFFSET)?);
    let layout = &fields.layout.unloaded;
    let first = at.saturating_add(layout.first as u64);
    let stride = layout.stride as u64;
    let held = reader.len().saturating_sub(first) / stride;
    let count = reader
        .bytes(at, layout.first as u64)
        .ok()
        .and_then(|bytes| View(&bytes).pointer(0, layout.first));
    let Some(count) = count else {
        damage.note("the list of unloaded drivers is cut off", Some(at));
        return None;
    };
    let listed = count.min(MOST).min(held);
    if listed < count {
        damage.note(
            format!("the list of unloaded drivers claims {count} entries; {listed} were read"),
            Some(at),
        );
    }
    let bytes = reader.bytes(first, listed.saturating_mul(stride)).ok()?;
    if budget.spend(listed).is_err() {
        damage.note(
            "the list of unloaded drivers was not read: work limit",
            Some(at),
        );
        return None;
    }
    let list = bytes
        .chunks_exact(layout.stride)
        .filter_map(|entry| {
            let entry = View(entry);
            // UNICODE_STRING.Length: bytes, capped by the writer at the room for the name.
            let units = usize::from(entry.u16(0)?).div_ceil(2).min(NAME_UNITS);
            let name = entry.utf16(layout.name, units)?;
            let name = name.split('\0').next().unwrap_or_default();
            Some(UnloadedModule {
                name: (!name.is_empty()).then(|| name.to_owned()),
                start: header.truncate(entry.pointer(layout.start, fields.pointer)?),
                end: header.truncate(entry.pointer(layout.end, fields.pointer)?),
            })
        })
        .collect();
    Some(list)
}
