//! The driver list of a triage dump: `DUMP_DRIVER_ENTRY`, each with a KLDR entry and a name.

use crate::bytes::{Budget, Limit, PagedReader, View};

use super::super::layout::KldrLayout;
use super::{Damages, Fields, Header, field};

/// More drivers than any machine loads; real dumps carry about two hundred.
const MOST: u32 = 4096;
/// Longest name read, in UTF-16 units (the longest path Windows allows a driver).
const LONGEST_NAME: u32 = 1024;
/// A stride above this is not one of an entry.
const WIDEST_STRIDE: u32 = 0x200;

/// One loaded driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driver {
    /// Name as stored: a base name or a full path, by writer. `None` when it cannot be read.
    pub path: Option<String>,
    /// Load address.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size_of_image: u32,
    /// CheckSum of the PE header.
    pub check_sum: u32,
    /// TimeDateStamp of the PE header: a date on Vista and 2008, a hash on Windows 10.
    pub time_date_stamp: u32,
    /// Whether BaseDllName.Length is set, which only the kernel does.
    pub(super) base_name_length_set: Option<bool>,
}

pub(super) fn read(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    budget: &Budget,
    damage: &mut Damages,
) -> Vec<Driver> {
    let (Some(at), Some(count)) = (
        fields.written(field::DRIVER_LIST_OFFSET),
        fields.written(field::DRIVER_COUNT),
    ) else {
        damage.note("the dump has no driver list", None);
        return Vec::new();
    };
    let at = u64::from(at);
    let stride = stride(fields, count);
    let held = reader.len().saturating_sub(at) / u64::from(stride);
    let listed = u64::from(count.min(MOST)).min(held);
    if count > MOST && held > listed {
        budget.reach(Limit::Candidates);
    }
    if listed < u64::from(count) {
        damage.note(
            format!("the driver list is cut off: {listed} of {count} entries"),
            Some(at),
        );
    }
    let Ok(bytes) = reader.bytes(at, listed.saturating_mul(u64::from(stride))) else {
        damage.note("the driver list cannot be read", Some(at));
        return Vec::new();
    };
    let mut drivers = Vec::with_capacity(bytes.len() / (stride as usize).max(1));
    for entry in bytes.chunks_exact(stride as usize) {
        if budget.spend(1).is_err() {
            damage.note(
                "the driver list was not read to its end: work limit",
                Some(at),
            );
            break;
        }
        drivers.extend(driver(reader, header, fields, View(entry)));
    }
    let unnamed = drivers.iter().filter(|d| d.path.is_none()).count();
    if unnamed > 0 {
        damage.note(format!("{unnamed} driver names cannot be read"), Some(at));
    }
    check_kernel(header, &drivers, at, damage);
    drivers
}

/// Bytes from one entry to the next: what the string pool's place says, else the usual size.
fn stride(fields: &Fields<'_>, count: u32) -> u32 {
    let usual = fields.layout.driver_stride as u32;
    let alignment = fields.pointer as u32;
    let gap = fields
        .written(field::STRING_POOL_OFFSET)
        .zip(fields.written(field::DRIVER_LIST_OFFSET))
        .and_then(|(pool, list)| pool.checked_sub(list));
    gap.and_then(|gap| gap.checked_div(count))
        .map(|stride| stride / alignment * alignment)
        .filter(|stride| (usual..=WIDEST_STRIDE).contains(stride))
        .unwrap_or(usual)
}

fn driver(
    reader: &PagedReader<'_>,
    header: &Header,
    fields: &Fields<'_>,
    entry: View<'_>,
) -> Option<Driver> {
    let kldr = entry.from(fields.layout.driver_entry);
    let KldrLayout {
        dll_base,
        size_of_image,
        base_dll_name_length,
        check_sum,
        time_date_stamp,
    } = &fields.layout.kldr;
    Some(Driver {
        path: entry.u32(0).and_then(|at| name(reader, u64::from(at))),
        base: header.truncate(kldr.pointer(*dll_base, fields.pointer)?),
        size_of_image: kldr.u32(*size_of_image)?,
        check_sum: kldr.u32(*check_sum)?,
        time_date_stamp: kldr.u32(*time_date_stamp)?,
        base_name_length_set: kldr.u16(*base_dll_name_length).map(|length| length != 0),
    })
}

/// A `DUMP_STRING`: its length counts UTF-16 units; some sources say bytes, so the terminating
/// NUL decides.
fn name(reader: &PagedReader<'_>, at: u64) -> Option<String> {
    let length = View(&reader.bytes(at, 4).ok()?).u32(0)?;
    if length == 0 || length > LONGEST_NAME * 2 {
        return None;
    }
    let text = at.checked_add(4)?;
    [length, length / 2]
        .into_iter()
        .filter(|units| *units > 0 && *units <= LONGEST_NAME)
        .find_map(|units| terminated(reader, text, units))
}

/// The text of `units` code units at `text`, when a NUL follows it.
fn terminated(reader: &PagedReader<'_>, text: u64, units: u32) -> Option<String> {
    let bytes = reader.bytes(text, u64::from(units) * 2 + 2).ok()?;
    let (text, terminator) = bytes.split_last_chunk::<2>()?;
    (*terminator == [0, 0]).then(|| View(text).utf16(0, units as usize))?
}

/// Entry 0 is the kernel: the header's kernel addresses lie inside it in every sound dump.
fn check_kernel(header: &Header, drivers: &[Driver], at: u64, damage: &mut Damages) {
    let Some(kernel) = drivers.first() else {
        return;
    };
    let outside = |address: Option<u64>| {
        address.is_some_and(|a| {
            a.checked_sub(kernel.base)
                .is_none_or(|rva| rva >= u64::from(kernel.size_of_image))
        })
    };
    if outside(header.ps_loaded_module_list) || outside(header.kd_debugger_data_block) {
        damage.note(
            "the driver list does not begin with the kernel the header names",
            Some(at),
        );
    }
}
