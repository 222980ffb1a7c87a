//! Stack-frame records of x86 PDBs: `FRAMEDATA` and the older `FPO_DATA`, from their raw streams.
//!
//! Layouts: `FRAMEDATA` in Microsoft's published `cvinfo.h`, `FPO_DATA` in the Windows SDK's
//! `winnt.h`; where the streams are: "The PDB DBI Stream" in the LLVM documentation.

use pdb::{AddressMap, PDB, PdbInternalRva, StreamIndex, StringTable};
use std::collections::BTreeMap;

use super::index::{Builder, FrameKind, FrameRecord};
use super::pdb_file::Bytes;
use crate::bytes::View;

/// Number of the debug-information stream.
const DBI: StreamIndex = StreamIndex(3);
/// Offsets in its header of the sizes of the parts before the optional debug header.
const PART_SIZES: [usize; 6] = [24, 28, 32, 36, 40, 52];
const DBI_HEADER: usize = 64;
/// Offset of the machine number in its header.
const MACHINE: usize = 58;
/// Slots of the optional debug header.
const SLOT_FPO: usize = 0;
const SLOT_FRAMEDATA: usize = 9;

/// Adds all frame records and gives the PDB's machine number; `None` when the header is cut.
pub(super) fn read<'s>(
    pdb: &mut PDB<'s, Bytes<'s>>,
    map: &AddressMap<'_>,
    builder: &mut Builder,
) -> Option<u16> {
    let dbi = pdb.raw_stream(DBI).ok()??;
    let header = View(dbi.as_slice());
    let machine = header.u16(MACHINE)?;
    let mut optional = DBI_HEADER;
    for at in PART_SIZES {
        optional = optional.checked_add(header.u32(at)? as usize)?;
    }
    let slot = |slot: usize| {
        header
            .u16(optional.checked_add(slot * 2)?)
            .filter(|stream| *stream != u16::MAX)
    };
    let strings = pdb.string_table().ok();
    if let Some(stream) = slot(SLOT_FRAMEDATA).and_then(|s| pdb.raw_stream(StreamIndex(s)).ok()?) {
        frame_data(stream.as_slice(), strings.as_ref(), map, builder);
    }
    if let Some(stream) = slot(SLOT_FPO).and_then(|s| pdb.raw_stream(StreamIndex(s)).ok()?) {
        fpo_data(stream.as_slice(), map, builder);
    }
    Some(machine)
}

fn frame_data(
    stream: &[u8],
    strings: Option<&StringTable<'_>>,
    map: &AddressMap<'_>,
    builder: &mut Builder,
) {
    let mut programs: BTreeMap<u32, Option<u32>> = BTreeMap::new();
    for record in stream.as_chunks::<32>().0 {
        let view = View(record);
        let read = || {
            let flags = view.u32(28)?;
            let frame = FrameRecord {
                start: view.u32(0)?,
                size: view.u32(4)?,
                locals: view.u32(8)?,
                params: view.u32(12)?,
                max_stack: view.u32(16),
                prolog: view.u16(24)?,
                saved_registers: view.u16(26)?,
                kind: FrameKind::FrameData,
                function_start: flags & 4 != 0,
                uses_base_pointer: false,
                has_seh: flags & 1 != 0,
                program: None,
            };
            Some((frame, view.u32(20)?))
        };
        let Some((frame, program)) = read() else {
            continue;
        };
        let program = *programs.entry(program).or_insert_with(|| {
            let text = pdb::StringRef(program).to_string_lossy(strings?).ok()?;
            builder.text(&text)
        });
        add(frame, program, map, builder);
    }
}

fn fpo_data(stream: &[u8], map: &AddressMap<'_>, builder: &mut Builder) {
    for record in stream.as_chunks::<16>().0 {
        let view = View(record);
        let read = || {
            let bits = view.u16(14)?;
            Some(FrameRecord {
                start: view.u32(0)?,
                size: view.u32(4)?,
                locals: view.u32(8)?.saturating_mul(4),
                params: u32::from(view.u16(12)?) * 4,
                max_stack: None,
                prolog: bits & 0xFF,
                saved_registers: (bits >> 8 & 7) * 4,
                kind: match bits >> 14 {
                    0 => FrameKind::Fpo,
                    1 => FrameKind::Trap,
                    2 => FrameKind::Tss,
                    _ => FrameKind::Standard,
                },
                function_start: true,
                has_seh: bits & 0x800 != 0,
                uses_base_pointer: bits & 0x1000 != 0,
                program: None,
            })
        };
        if let Some(frame) = read() {
            add(frame, None, map, builder);
        }
    }
}

/// Adds a record once for each range its code was moved to.
fn add(frame: FrameRecord<'_>, program: Option<u32>, map: &AddressMap<'_>, builder: &mut Builder) {
    let start = PdbInternalRva(frame.start);
    let end = PdbInternalRva(frame.start.saturating_add(frame.size));
    for (part, range) in map.rva_ranges(start..end).enumerate() {
        let record = FrameRecord {
            start: range.start.0,
            size: range.end.0.saturating_sub(range.start.0),
            function_start: frame.function_start && part == 0,
            ..frame.clone()
        };
        builder.frame(&record, program);
    }
}
