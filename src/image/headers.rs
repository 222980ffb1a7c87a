//! The fixed part of a PE image: COFF and optional header, data directories, section table.
//!
//! goblin reads the structures; only its header functions are called, because its directory
//! parsers take padding for data and some of them panic or loop on hostile input. The directories
//! themselves are read by RVA in this room. Layout: Microsoft's "PE Format" specification.

use goblin::pe::header::Header;

use super::{ImageError, Section};
use crate::bytes::View;
use crate::bytes::contained;

/// Sections the loader accepts at most (96 by the specification); more means damage.
const MAX_SECTIONS: usize = 96;
/// Offset of `e_lfanew` in the DOS header.
const E_LFANEW: usize = 0x3c;
/// Number of bytes of `PE\0\0` and the COFF header.
const SIGNATURE_AND_COFF: usize = 24;

/// A data directory: where it lies and how long it says it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Directory {
    pub rva: u32,
    pub size: u32,
}

/// What the headers say, unchecked against the rest of the image.
#[derive(Clone, Debug)]
pub(super) struct Headers {
    pub machine: u16,
    pub time_date_stamp: u32,
    pub size_of_image: u32,
    pub size_of_headers: u32,
    pub check_sum: u32,
    pub image_base: u64,
    pub entry_point: u32,
    pub sections: Vec<Section>,
    pub exports: Directory,
    pub imports: Directory,
    pub resources: Directory,
    pub exceptions: Directory,
    pub debug: Directory,
    /// RVA of the value of gp that the image's code works with; IA-64 only, 0 for others.
    pub global_pointer: u32,
}

impl Headers {
    /// Reads the headers at the start of `bytes`, which may be a whole file or a first page.
    pub fn parse(bytes: &[u8]) -> Result<Headers, ImageError> {
        let view = View(bytes);
        if view.u16(0) != Some(0x5A4D) {
            return Err(ImageError::NotAnImage);
        }
        let lfanew = view.u32(E_LFANEW).ok_or(ImageError::HeadersCutOff)? as usize;
        let pe = view.from(lfanew).0;
        match View(pe).u32(0) {
            Some(0x0000_4550) => {}
            Some(_) => return Err(ImageError::NotAnImage),
            None => return Err(ImageError::HeadersCutOff),
        }
        contained(|| parse_nt(pe)).unwrap_or(Err(ImageError::BadHeaders))
    }
}

fn parse_nt(pe: &[u8]) -> Result<Headers, ImageError> {
    let header = Header::parse_without_dos(pe).map_err(|_| ImageError::BadHeaders)?;
    let coff = header.coff_header;
    let optional = header.optional_header.ok_or(ImageError::BadHeaders)?;
    if usize::from(coff.number_of_sections) > MAX_SECTIONS {
        return Err(ImageError::BadHeaders);
    }
    let mut at = SIGNATURE_AND_COFF
        .checked_add(usize::from(coff.size_of_optional_header))
        .ok_or(ImageError::BadHeaders)?;
    let table = coff
        .sections(pe, &mut at)
        .map_err(|_| ImageError::BadHeaders)?;
    let directory = |d: Option<&goblin::pe::data_directories::DataDirectory>| {
        d.map_or(Directory::default(), |d| Directory {
            rva: d.virtual_address,
            size: d.size,
        })
    };
    let directories = &optional.data_directories;
    Ok(Headers {
        machine: coff.machine,
        time_date_stamp: coff.time_date_stamp,
        size_of_image: optional.windows_fields.size_of_image,
        size_of_headers: optional.windows_fields.size_of_headers,
        check_sum: optional.windows_fields.check_sum,
        image_base: optional.windows_fields.image_base,
        entry_point: optional.standard_fields.address_of_entry_point,
        sections: table
            .iter()
            .map(|s| Section {
                name: section_name(&s.name),
                rva: s.virtual_address,
                virtual_size: s.virtual_size,
                raw_offset: s.pointer_to_raw_data,
                raw_size: s.size_of_raw_data,
                characteristics: s.characteristics,
            })
            .collect(),
        exports: directory(directories.get_export_table()),
        imports: directory(directories.get_import_table()),
        resources: directory(directories.get_resource_table()),
        exceptions: directory(directories.get_exception_table()),
        debug: directory(directories.get_debug_table()),
        global_pointer: directory(directories.get_global_ptr()).rva,
    })
}

fn section_name(raw: &[u8; 8]) -> String {
    let text: Vec<u8> = raw.iter().copied().take_while(|b| *b != 0).collect();
    String::from_utf8_lossy(&text).into_owned()
}
