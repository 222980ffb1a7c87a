//! Collects the records of a PDB and writes them out as an index; the layout is its reader's, in the
//! module above.

use super::{
    CODE, FORMAT_VERSION, FRAME, FrameKind, FrameRecord, HEADER, LINE, MAGIC, NO_TEXT, PART,
    PdbIndex, PdbSection, SECTION, SYMBOL,
};
use crate::image::Guid;

/// Bytes of a PDB for each public or code contribution it holds, rather too few than too many.
const TYPICAL_RECORD: usize = 64;

/// Collects records and writes them out as an index.
#[derive(Debug, Default)]
pub(in crate::symbols) struct Builder {
    symbols: Vec<[u32; 4]>,
    code: Vec<[u32; 2]>,
    sections: Vec<PdbSection>,
    frames: Vec<(u32, Vec<u8>)>,
    lines: Vec<[u32; 3]>,
    parts: Vec<[u32; 3]>,
    strings: Vec<u8>,
}

impl Builder {
    /// A builder for a PDB of `len` bytes: room for the names it may hold, so that they are not
    /// moved again and again. Pages of it that stay empty cost nothing.
    pub fn for_file(len: usize) -> Builder {
        Builder {
            symbols: Vec::with_capacity(len / TYPICAL_RECORD),
            code: Vec::with_capacity(len / TYPICAL_RECORD),
            strings: Vec::with_capacity(len / 2),
            ..Builder::default()
        }
    }

    /// Adds text and gives its offset; NUL ends a text. `None` when the pool is full.
    pub fn text(&mut self, text: &str) -> Option<u32> {
        self.utf8(text.as_bytes())
    }

    fn utf8(&mut self, text: &[u8]) -> Option<u32> {
        let offset = u32::try_from(self.strings.len())
            .ok()
            .filter(|o| *o != NO_TEXT)?;
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        Some(offset)
    }

    /// Adds a symbol; one without a name names nothing and is left out. What is not UTF-8 in a name
    /// is replaced.
    pub fn symbol(&mut self, rva: u32, size: u32, name: &[u8], function: bool, private: bool) {
        if name.first().is_none_or(|first| *first == 0) {
            return;
        }
        let offset = match name.is_ascii() {
            true => self.utf8(name),
            false => self.text(&String::from_utf8_lossy(name)),
        };
        if let Some(offset) = offset {
            let flags = u32::from(function) | u32::from(private) << 1;
            self.symbols.push([rva, size, offset, flags]);
        }
    }

    pub fn code(&mut self, rva: u32, size: u32) {
        self.code.push([rva, size]);
    }

    /// Adds a part of the function at `owner` that was moved away from it.
    pub fn part(&mut self, rva: u32, size: u32, owner: u32) {
        self.parts.push([rva, size, owner]);
    }

    pub fn section(&mut self, section: PdbSection) {
        self.sections.push(section);
    }

    pub fn line(&mut self, rva: u32, file: u32, line: u32) {
        self.lines.push([rva, file, line]);
    }

    /// Adds a frame record; `program` is an offset from [`Builder::text`].
    pub fn frame(&mut self, frame: &FrameRecord<'_>, program: Option<u32>) {
        let kind: u32 = match frame.kind {
            FrameKind::Fpo => 0,
            FrameKind::Trap => 1,
            FrameKind::Tss => 2,
            FrameKind::Standard => 3,
            FrameKind::FrameData => 4,
        };
        let flags = u32::from(frame.has_seh)
            | u32::from(frame.function_start) << 1
            | u32::from(frame.uses_base_pointer) << 2
            | kind << 8;
        let mut row = Vec::with_capacity(FRAME);
        for value in [
            frame.start,
            frame.size,
            frame.locals,
            frame.params,
            frame.max_stack.unwrap_or_default(),
            program.unwrap_or(NO_TEXT),
            u32::from(frame.prolog) | u32::from(frame.saved_registers) << 16,
            0,
            flags,
        ] {
            row.extend(value.to_le_bytes());
        }
        self.frames.push((frame.start, row));
    }

    /// Sorts and writes. `None` when a count does not fit.
    pub fn finish(
        mut self,
        guid: Guid,
        age: u32,
        machine: u16,
        source_len: u64,
    ) -> Option<PdbIndex> {
        self.symbols.sort_unstable();
        self.code.sort_unstable();
        self.code.dedup();
        self.frames.sort_by_key(|(start, _)| *start);
        self.lines.sort_by_key(|[rva, ..]| *rva);
        self.parts.sort_unstable();
        let count = |n: usize| u32::try_from(n).ok();
        let mut out = Vec::with_capacity(
            HEADER
                + self.symbols.len() * SYMBOL
                + self.code.len() * CODE
                + self.frames.len() * FRAME
                + self.lines.len() * LINE
                + self.parts.len() * PART
                + self.strings.len()
                + self.sections.len() * SECTION,
        );
        out.extend_from_slice(MAGIC);
        out.extend(FORMAT_VERSION.to_le_bytes());
        out.extend([0; 4]);
        out.extend(guid.0);
        out.extend(age.to_le_bytes());
        out.extend(u32::from(machine).to_le_bytes());
        for n in [
            self.symbols.len(),
            self.code.len(),
            self.sections.len(),
            self.frames.len(),
            self.lines.len(),
            self.parts.len(),
            self.strings.len(),
        ] {
            out.extend(count(n)?.to_le_bytes());
        }
        out.extend(source_len.to_le_bytes());
        append(&mut out, &self.symbols);
        append(&mut out, &self.code);
        for section in &self.sections {
            for value in [section.rva, section.size, section.characteristics] {
                out.extend(value.to_le_bytes());
            }
        }
        for (_, row) in &self.frames {
            out.extend_from_slice(row);
        }
        append(&mut out, &self.lines);
        append(&mut out, &self.parts);
        out.extend_from_slice(&self.strings);
        let checksum = crc32fast::hash(out.get(16..)?);
        out.get_mut(12..16)?
            .copy_from_slice(&checksum.to_le_bytes());
        PdbIndex::layout(out)
    }
}

/// Writes rows of numbers, little-endian.
fn append<const N: usize>(out: &mut Vec<u8>, rows: &[[u32; N]]) {
    let values = rows.as_flattened();
    let at = out.len();
    out.resize(at + size_of_val(values), 0);
    let places = out.get_mut(at..).unwrap_or_default().as_chunks_mut().0;
    for (place, value) in places.iter_mut().zip(values) {
        *place = value.to_le_bytes();
    }
}
