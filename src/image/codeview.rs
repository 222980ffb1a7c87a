//! The CodeView record of an image: which PDB was written with it.
//!
//! Layouts: "PE Format" (debug directory) and the published `CV_INFO_PDB70` / `CV_INFO_PDB20`.
//! The file name in it is data of the image and often a path of the build machine: never a path
//! to open (`symbols::identity` takes the last component).

use super::Image;
use super::layout::Layout;
use crate::bytes::View;
use std::fmt;

/// `IMAGE_DEBUG_TYPE_CODEVIEW`.
const TYPE_CODEVIEW: u32 = 2;
/// Size of `IMAGE_DEBUG_DIRECTORY`.
const ENTRY: u32 = 28;
/// Debug directory entries looked at; real images have fewer than ten.
const MAX_ENTRIES: u32 = 64;
/// Bytes of a record that are read; a longer name is cut.
const MAX_RECORD: u32 = 8192;

/// A PDB's GUID in the byte order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(pub [u8; 16]);

impl Guid {
    /// The GUID from its first field, second, third and last eight bytes.
    pub fn from_fields(a: u32, b: u16, c: u16, d: [u8; 8]) -> Guid {
        let mut bytes = [0; 16];
        let fields = a
            .to_le_bytes()
            .into_iter()
            .chain(b.to_le_bytes())
            .chain(c.to_le_bytes())
            .chain(d);
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        Guid(bytes)
    }
}

impl fmt::Display for Guid {
    /// 32 upper-case hexadecimal digits in the order in which a GUID is written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WRITTEN: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
        for at in WRITTEN {
            write!(f, "{:02X}", self.0.get(at).copied().unwrap_or_default())?;
        }
        Ok(())
    }
}

/// Which PDB belongs to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeView {
    /// `RSDS`: PDB 7.0, every Microsoft linker since Visual C++ 7.
    Pdb70 {
        /// GUID of the PDB.
        guid: Guid,
        /// Age to compare with the PDB's DBI age.
        age: u32,
        /// File name as the linker wrote it.
        name: String,
    },
    /// `NB10`: PDB 2.0.
    Pdb20 {
        /// Signature of the PDB (its time stamp).
        signature: u32,
        /// Age of the PDB.
        age: u32,
        /// File name as the linker wrote it.
        name: String,
    },
}

impl CodeView {
    /// Reads a record that starts at the beginning of `bytes`.
    pub fn parse(bytes: &[u8]) -> Option<CodeView> {
        let view = View(bytes);
        let text = |at: usize| {
            let name: Vec<u8> = view
                .from(at)
                .0
                .iter()
                .copied()
                .take_while(|b| *b != 0)
                .collect();
            String::from_utf8_lossy(&name).into_owned()
        };
        match view.u32(0)? {
            0x5344_5352 => Some(CodeView::Pdb70 {
                guid: Guid(view.bytes(4, 16)?.try_into().ok()?),
                age: view.u32(20)?,
                name: text(24),
            }),
            0x3031_424E => Some(CodeView::Pdb20 {
                signature: view.u32(8)?,
                age: view.u32(12)?,
                name: text(16),
            }),
            _ => None,
        }
    }

    /// The file name as the linker wrote it.
    pub fn name(&self) -> &str {
        match self {
            CodeView::Pdb70 { name, .. } | CodeView::Pdb20 { name, .. } => name,
        }
    }
}

impl Image {
    /// The first CodeView record of the debug directory.
    pub fn codeview(&self) -> Option<CodeView> {
        let directory = self.headers.debug;
        for index in 0..(directory.size / ENTRY).min(MAX_ENTRIES) {
            let at = directory.rva.checked_add(index.checked_mul(ENTRY)?)?;
            let mut entry = [0; ENTRY as usize];
            if !self.read(at, &mut entry) {
                break;
            }
            if View(&entry).u32(12) == Some(TYPE_CODEVIEW)
                && let Some(record) = record_of(&self.layout, &entry)
            {
                return Some(record);
            }
        }
        None
    }
}

/// The record a directory entry points to: by RVA, or by file offset when it is not mapped.
fn record_of(layout: &Layout, entry: &[u8]) -> Option<CodeView> {
    let view = View(entry);
    let size = view.u32(16)?.min(MAX_RECORD) as usize;
    let mut bytes = vec![0; size];
    let n = match view.u32(20)? {
        0 => 0,
        rva => layout.read(rva, &mut bytes),
    };
    bytes.truncate(n);
    CodeView::parse(&bytes).or_else(|| {
        let raw = layout.at_file_offset(view.u32(24)?);
        CodeView::parse(raw.get(..size.min(raw.len()))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_is_written_with_its_first_three_fields_swapped() {
        let guid = Guid::from_fields(
            0xBB6E_495A,
            0xD484,
            0x1255,
            [0x93, 0x18, 0x63, 0x23, 0x3D, 0x91, 0x6B, 0x60],
        );
        assert_eq!(guid.to_string(), "BB6E495AD4841255931863233D916B60");
    }

    #[test]
    fn a_record_cut_before_its_age_is_refused_and_an_unterminated_name_is_kept() {
        let mut record = b"RSDS".to_vec();
        record.extend([7; 16]);
        assert_eq!(CodeView::parse(&record), None);
        record.extend(3u32.to_le_bytes());
        record.extend(b"a.pdb");
        let read = CodeView::parse(&record).unwrap();
        assert_eq!(read.name(), "a.pdb");
    }
}
