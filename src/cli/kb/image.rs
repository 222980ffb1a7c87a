//! Identity and version of a PE file given to `kb check`.
//!
//! goblin reads the headers and the section table. The version resource is walked here, because
//! goblin's walk neither bounds the length of a chain of directories nor the size of the resource.
//! Facts: Microsoft's PE format specification and the VS_VERSIONINFO documentation.

use goblin::pe::header::{Header, SIZEOF_COFF_HEADER, SIZEOF_PE_MAGIC};
use goblin::pe::section_table::SectionTable;

use crate::bytes::View;
use crate::knowledge::versions::FileVersion;

/// Most resource types looked at; Windows defines 24.
const MAX_ENTRIES: usize = 4096;
/// Longest version resource that is read, in bytes; real ones hold one or two thousand.
const MAX_VERSION_RESOURCE: usize = 64 << 10;
const RT_VERSION: u32 = 16;

/// What a PE file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImageIdentity {
    /// IMAGE_FILE_HEADER.Machine.
    pub machine: u16,
    pub time_date_stamp: u32,
    pub size_of_image: u32,
    pub checksum: u32,
    /// From VS_FIXEDFILEINFO.
    pub version: Option<FileVersion>,
    /// From the version strings, as stored.
    pub original_filename: Option<String>,
}

/// The bytes are no PE image, or one whose headers contradict themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PE file (a driver or DLL such as tcpip.sys)")]
pub(super) struct NotAnImage;

/// Reads headers and version resource. A damaged resource is an absent one.
pub(super) fn identify(bytes: &[u8]) -> Result<ImageIdentity, NotAnImage> {
    // goblin adds unchecked where `usize` has 32 bits: a panic there means damaged headers.
    crate::bytes::contained(|| read(bytes)).unwrap_or(Err(NotAnImage))
}

fn read(bytes: &[u8]) -> Result<ImageIdentity, NotAnImage> {
    let header = Header::parse(bytes).map_err(|_| NotAnImage)?;
    let optional = header.optional_header.ok_or(NotAnImage)?;
    let mut after_headers = (header.dos_header.pe_pointer as usize)
        .checked_add(SIZEOF_PE_MAGIC + SIZEOF_COFF_HEADER)
        .and_then(|at| at.checked_add(usize::from(header.coff_header.size_of_optional_header)))
        .ok_or(NotAnImage)?;
    let sections = header
        .coff_header
        .sections(bytes, &mut after_headers)
        .map_err(|_| NotAnImage)?;
    let resource = optional
        .data_directories
        .get_resource_table()
        .and_then(|directory| version_resource(bytes, directory.virtual_address, &sections));
    Ok(ImageIdentity {
        machine: header.coff_header.machine,
        time_date_stamp: header.coff_header.time_date_stamp,
        size_of_image: optional.windows_fields.size_of_image,
        checksum: optional.windows_fields.check_sum,
        version: resource.and_then(fixed_version),
        original_filename: resource.and_then(original_filename),
    })
}

/// The bytes from an RVA to the end of its section's raw data.
fn at_rva<'a>(bytes: &'a [u8], rva: u32, sections: &[SectionTable]) -> Option<&'a [u8]> {
    sections.iter().find_map(|section| {
        let inside = rva.checked_sub(section.virtual_address)?;
        let left = section.size_of_raw_data.checked_sub(inside)?;
        let from = section.pointer_to_raw_data.checked_add(inside)? as usize;
        bytes.get(from..)?.get(..left as usize)
    })
}

/// The VS_VERSIONINFO block: type 16, then the first name, the first language.
fn version_resource<'a>(bytes: &'a [u8], root: u32, sections: &[SectionTable]) -> Option<&'a [u8]> {
    const SUBDIRECTORY: u32 = 0x8000_0000;
    let tree = at_rva(bytes, root, sections)?;
    let mut offset = 0usize;
    for wanted in [Some(RT_VERSION), None, None] {
        let directory = View(tree.get(offset..)?);
        let entries = usize::from(directory.u16(12)?) + usize::from(directory.u16(14)?);
        let entry = (0..entries.min(MAX_ENTRIES))
            .map(|index| 16 + index * 8)
            .find(|at| wanted.is_none_or(|id| directory.u32(*at) == Some(id)))?;
        let target = directory.u32(entry + 4)?;
        let is_last = wanted.is_none() && target & SUBDIRECTORY == 0;
        offset = (target & !SUBDIRECTORY) as usize;
        if is_last {
            break;
        }
    }
    let leaf = View(tree.get(offset..)?);
    let (rva, size) = (leaf.u32(0)?, leaf.u32(4)? as usize);
    let data = at_rva(bytes, rva, sections)?;
    data.get(..size.min(MAX_VERSION_RESOURCE).min(data.len()))
}

/// VS_FIXEDFILEINFO stands behind the three lengths and the key `VS_VERSION_INFO`, on a multiple of 4.
fn fixed_version(resource: &[u8]) -> Option<FileVersion> {
    const SIGNATURE: u32 = 0xFEEF_04BD;
    const AT: usize = 40;
    let view = View(resource);
    if view.u32(AT)? != SIGNATURE {
        return None;
    }
    Some(FileVersion::from_halves(
        view.u32(AT + 8)?,
        view.u32(AT + 12)?,
    ))
}

/// The value behind the key `OriginalFilename`: its text starts on the next multiple of 4.
fn original_filename(resource: &[u8]) -> Option<String> {
    const MAX_UNITS: usize = 260;
    let key: Vec<u8> = "OriginalFilename\0"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let at = resource
        .windows(key.len())
        .position(|window| window == key)?;
    let value = at.checked_add(key.len())?.checked_next_multiple_of(4)?;
    let units: Vec<u16> = resource
        .get(value..)?
        .chunks_exact(2)
        .take(MAX_UNITS)
        .filter_map(|pair| View(pair).u16(0))
        .take_while(|unit| *unit != 0)
        .collect();
    let name = String::from_utf16_lossy(&units);
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}
