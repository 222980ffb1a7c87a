//! The compact index of one PDB: one block of bytes, the same in memory and in the cache on disk.
//!
//! Address-sorted records behind a header, names in one text pool. Every access is checked, so a
//! block from a damaged cache gives wrong answers at worst, and its checksum prevents that.
//! Knows no PDB and no image: `pdb_file` builds it, `module` asks it.

use std::ffi::CStr;

use crate::bytes::View;
use crate::image::Guid;
use crate::machine::Machine;

mod builder;

pub(super) use builder::Builder;

/// Version of the layout below; the cache never loads another.
pub const FORMAT_VERSION: u32 = 1;
const MAGIC: &[u8; 8] = b"kbtrsym\0";
const HEADER: usize = 76;
/// Offset of the record counts, one for each table, then the bytes of text.
const COUNTS: usize = 40;
const NO_TEXT: u32 = u32::MAX;

const SYMBOL: usize = 16;
const CODE: usize = 8;
const SECTION: usize = 12;
const FRAME: usize = 36;
const LINE: usize = 12;
const PART: usize = 12;

/// A name at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Address in the image.
    pub rva: u32,
    /// Bytes of code, when a private procedure record says so; otherwise 0.
    pub size: u32,
    /// Name as the linker or compiler wrote it.
    pub name: &'a str,
    /// True for a function, by the record's own word.
    pub function: bool,
    /// True when it comes from private symbols.
    pub private: bool,
}

/// A stack-frame record of an x86 image: `FRAMEDATA`, or `FPO_DATA` of older compilers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameRecord<'a> {
    /// First address covered.
    pub start: u32,
    /// Bytes covered.
    pub size: u32,
    /// Bytes of local variables.
    pub locals: u32,
    /// Bytes of parameters.
    pub params: u32,
    /// Bytes of saved registers.
    pub saved_registers: u16,
    /// Bytes of prologue code.
    pub prolog: u16,
    /// Most bytes pushed, when known.
    pub max_stack: Option<u32>,
    /// What kind of frame it is.
    pub kind: FrameKind,
    /// The first record of a function.
    pub function_start: bool,
    /// EBP is allocated for other use (`FPO_DATA`).
    pub uses_base_pointer: bool,
    /// Structured exception handling is set up.
    pub has_seh: bool,
    /// The program that recovers the caller's registers (`FRAMEDATA`).
    pub program: Option<&'a str>,
}

/// Kind of a [`FrameRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// `FPO_DATA`, frame pointer omitted.
    Fpo,
    /// `FPO_DATA`, trap frame.
    Trap,
    /// `FPO_DATA`, task state segment.
    Tss,
    /// `FPO_DATA`, EBP frame.
    Standard,
    /// `FRAMEDATA`.
    FrameData,
}

/// A section of the image, as the PDB records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PdbSection {
    /// RVA of the first byte.
    pub rva: u32,
    /// Bytes in memory.
    pub size: u32,
    /// `IMAGE_SCN_*` flags.
    pub characteristics: u32,
}

/// Why a block is not an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// Not this format or not this version of it.
    #[error("not an index of this version")]
    Format,
    /// The length or the checksum is wrong.
    #[error("the index is damaged")]
    Damaged,
}

/// The index of one PDB.
#[derive(Clone, Debug)]
pub struct PdbIndex {
    bytes: Vec<u8>,
    tables: [Table; 6],
    strings: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Table {
    at: usize,
    count: usize,
}

impl PdbIndex {
    /// Takes a block, for example from the cache.
    ///
    /// # Errors
    /// [`IndexError`] unless magic, version, length and checksum are right.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<PdbIndex, IndexError> {
        let view = View(&bytes);
        if view.bytes(0, 8) != Some(MAGIC.as_slice()) || view.u32(8) != Some(FORMAT_VERSION) {
            return Err(IndexError::Format);
        }
        let checked = bytes.get(16..).ok_or(IndexError::Damaged)?;
        if view.u32(12) != Some(crc32fast::hash(checked)) {
            return Err(IndexError::Damaged);
        }
        PdbIndex::layout(bytes).ok_or(IndexError::Damaged)
    }

    fn layout(bytes: Vec<u8>) -> Option<PdbIndex> {
        let view = View(&bytes);
        let mut tables = [Table::default(); 6];
        let mut at = HEADER;
        for (i, (table, size)) in tables
            .iter_mut()
            .zip([SYMBOL, CODE, SECTION, FRAME, LINE, PART])
            .enumerate()
        {
            let count = view.u32(COUNTS + i * 4)? as usize;
            *table = Table { at, count };
            at = at.checked_add(count.checked_mul(size)?)?;
        }
        let strings = view.u32(COUNTS + 24)? as usize;
        (at.checked_add(strings)? == bytes.len()).then_some(PdbIndex {
            bytes,
            tables,
            strings: at,
        })
    }

    /// The block, for the cache.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// GUID of the PDB.
    pub fn guid(&self) -> Option<Guid> {
        View(&self.bytes).bytes(16, 16)?.try_into().ok().map(Guid)
    }

    /// The age an image must ask for.
    pub fn age(&self) -> u32 {
        View(&self.bytes).u32(32).unwrap_or_default()
    }

    /// Length in bytes of the PDB file the index was made from.
    pub fn source_len(&self) -> u64 {
        View(&self.bytes).u64(COUNTS + 28).unwrap_or_default()
    }

    /// Machine of the PDB, when it is one that writes dumps.
    pub fn machine(&self) -> Option<Machine> {
        Machine::from_image_type(View(&self.bytes).u32(36)?)
    }

    /// Number of symbols.
    pub fn symbol_count(&self) -> usize {
        self.table(0).count
    }

    /// Number of frame records.
    pub fn frame_count(&self) -> usize {
        self.table(3).count
    }

    /// The symbol at a position in address order.
    pub fn symbol(&self, position: usize) -> Option<Symbol<'_>> {
        let (view, at) = self.row(0, SYMBOL, position)?;
        let flags = view.u32(at + 12)?;
        Some(Symbol {
            rva: view.u32(at)?,
            size: view.u32(at + 4)?,
            name: self.text(view.u32(at + 8)?)?,
            function: flags & 1 != 0,
            private: flags & 2 != 0,
        })
    }

    /// Position after the last symbol at or below `rva`.
    fn position_after(&self, rva: u32) -> usize {
        self.partition::<SYMBOL>(0, rva)
    }

    /// All symbols exactly at `rva`.
    pub fn symbols_at(&self, rva: u32) -> impl Iterator<Item = Symbol<'_>> {
        let before = self.partition_point::<SYMBOL>(0, |at| at < rva);
        (before..self.table(0).count)
            .map_while(|position| self.symbol(position))
            .take_while(move |symbol| symbol.rva == rva)
    }

    /// The address of the nearest symbol at or below `rva`.
    pub fn nearest_at_or_below(&self, rva: u32) -> Option<u32> {
        self.rva_at(0, SYMBOL, self.position_after(rva).checked_sub(1)?)
    }

    /// The code contribution (object file section) that holds `rva`: first address, bytes.
    pub fn contribution_at(&self, rva: u32) -> Option<(u32, u32)> {
        let position = self.partition::<CODE>(1, rva).checked_sub(1)?;
        let (view, at) = self.row(1, CODE, position)?;
        let (start, size) = (view.u32(at)?, view.u32(at + 4)?);
        (rva - start < size).then_some((start, size))
    }

    /// The separated part of a function (`S_SEPCODE`) that holds `rva`: first address, owner.
    pub fn part_at(&self, rva: u32) -> Option<(u32, u32)> {
        let position = self.partition::<PART>(5, rva).checked_sub(1)?;
        let (view, at) = self.row(5, PART, position)?;
        let (start, size) = (view.u32(at)?, view.u32(at + 4)?);
        (rva - start < size).then_some((start, view.u32(at + 8)?))
    }

    /// The section that holds `rva`.
    pub fn section_at(&self, rva: u32) -> Option<PdbSection> {
        (0..self.table(2).count).find_map(|position| {
            let (view, at) = self.row(2, SECTION, position)?;
            let section = PdbSection {
                rva: view.u32(at)?,
                size: view.u32(at + 4)?,
                characteristics: view.u32(at + 8)?,
            };
            let inside = rva.checked_sub(section.rva)?;
            (inside < section.size).then_some(section)
        })
    }

    /// The frame record in address order.
    pub fn frame(&self, position: usize) -> Option<FrameRecord<'_>> {
        let (view, at) = self.row(3, FRAME, position)?;
        let flags = view.u32(at + 32)?;
        let kind = match flags >> 8 {
            0 => FrameKind::Fpo,
            1 => FrameKind::Trap,
            2 => FrameKind::Tss,
            3 => FrameKind::Standard,
            _ => FrameKind::FrameData,
        };
        Some(FrameRecord {
            start: view.u32(at)?,
            size: view.u32(at + 4)?,
            locals: view.u32(at + 8)?,
            params: view.u32(at + 12)?,
            max_stack: (kind == FrameKind::FrameData).then_some(view.u32(at + 16)?),
            program: match view.u32(at + 20)? {
                NO_TEXT => None,
                offset => self.text(offset),
            },
            prolog: view.u16(at + 24)?,
            saved_registers: view.u16(at + 26)?,
            kind,
            has_seh: flags & 1 != 0,
            function_start: flags & 2 != 0,
            uses_base_pointer: flags & 4 != 0,
        })
    }

    /// The frame records that cover `rva`, innermost (latest start) first. At most 256 records
    /// before it are looked at: FRAMEDATA blocks of one function nest, others do not overlap.
    pub fn frames_at(&self, rva: u32) -> impl Iterator<Item = FrameRecord<'_>> {
        let after = self.partition::<FRAME>(3, rva);
        (after.saturating_sub(256)..after)
            .rev()
            .filter_map(|position| self.frame(position))
            .filter(move |frame| rva - frame.start < frame.size)
    }

    /// The source line at `rva`: file and line number of the last line that begins at or below it
    /// and not below `from`.
    pub fn line_at(&self, rva: u32, from: u32) -> Option<(&str, u32)> {
        let position = self.partition::<LINE>(4, rva).checked_sub(1)?;
        let (view, at) = self.row(4, LINE, position)?;
        if view.u32(at)? < from {
            return None;
        }
        Some((self.text(view.u32(at + 4)?)?, view.u32(at + 8)?))
    }

    fn table(&self, table: usize) -> Table {
        self.tables.get(table).copied().unwrap_or_default()
    }

    fn row(&self, table: usize, size: usize, position: usize) -> Option<(View<'_>, usize)> {
        let table = self.table(table);
        (position < table.count).then(|| (View(&self.bytes), table.at + position * size))
    }

    fn rva_at(&self, table: usize, size: usize, position: usize) -> Option<u32> {
        let (view, at) = self.row(table, size, position)?;
        view.u32(at)
    }

    /// Number of rows of `SIZE` bytes whose address is at or below `rva`.
    fn partition<const SIZE: usize>(&self, table: usize, rva: u32) -> usize {
        self.partition_point::<SIZE>(table, |at| at <= rva)
    }

    /// Number of leading rows whose address, their first field, is one `below` holds for.
    fn partition_point<const SIZE: usize>(
        &self,
        table: usize,
        below: impl Fn(u32) -> bool,
    ) -> usize {
        let Table { at, count } = self.table(table);
        let rows = View(&self.bytes).bytes(at, count * SIZE);
        let rows = rows.unwrap_or_default().as_chunks::<SIZE>().0;
        rows.partition_point(|row| {
            row.first_chunk()
                .is_some_and(|at| below(u32::from_le_bytes(*at)))
        })
    }

    fn text(&self, offset: u32) -> Option<&str> {
        let at = self.strings.checked_add(offset as usize)?;
        let text = CStr::from_bytes_until_nul(self.bytes.get(at..)?).ok()?;
        text.to_str().ok()
    }
}
