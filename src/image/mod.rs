//! PE images: identity, version, functions, exports and code bytes, read by RVA.
//!
//! One [`Image`] serves a file from a symbol store and, in pieces, an image mapped in a dump.
//! Bytes that are not there stay not there: nothing is padded. Knows no dump and no symbol file.
//! Sources: Microsoft's "PE Format" specification and the x64 exception-handling documentation.

mod codeview;
mod descriptors;
mod exports;
mod functions;
mod headers;
mod imports;
mod layout;
mod mapped;
mod version;

pub use codeview::{CodeView, Guid};
pub use exports::Export;
pub use version::VersionInfo;

use crate::machine::Machine;
use headers::Headers;
use layout::Layout;

/// Largest image file that is read, in bytes. Kernel-mode images stay below 40 MB.
pub const MAX_FILE: u64 = 256 << 20;
/// Bytes of a mapped image's pieces in which the headers are looked for.
const MAX_HEADERS: usize = 0x1_0000;

/// Why bytes are not an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// No `MZ` or no `PE` signature.
    #[error("not a PE image")]
    NotAnImage,
    /// The headers reach past the bytes present.
    #[error("the PE headers are cut off")]
    HeadersCutOff,
    /// The headers contradict themselves.
    #[error("the PE headers are damaged")]
    BadHeaders,
    /// Larger than [`MAX_FILE`].
    #[error("the image is larger than any driver")]
    TooLarge,
}

/// A row of the section table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// Name, at most eight bytes, as written by the linker.
    pub name: String,
    /// RVA of the first byte.
    pub rva: u32,
    /// Bytes in memory.
    pub virtual_size: u32,
    /// File offset of the raw data.
    pub raw_offset: u32,
    /// Bytes in the file, rounded up to the file alignment.
    pub raw_size: u32,
    /// `IMAGE_SCN_*` flags.
    pub characteristics: u32,
}

impl Section {
    /// `IMAGE_SCN_MEM_EXECUTE`.
    const EXECUTE: u32 = 0x2000_0000;

    /// True when its pages are executable.
    pub fn is_executable(&self) -> bool {
        self.characteristics & Section::EXECUTE != 0
    }

    /// True when `rva` lies inside its memory range.
    pub fn contains(&self, rva: u32) -> bool {
        rva.checked_sub(self.rva)
            .is_some_and(|inside| inside < self.virtual_size.max(self.raw_size))
    }
}

/// One PE image whose bytes are read by RVA.
#[derive(Debug)]
pub struct Image {
    headers: Headers,
    layout: Layout,
}

impl Image {
    /// An image from the bytes of its file.
    ///
    /// # Errors
    /// [`ImageError`] when the headers cannot be read; anything else damaged shows as absent.
    pub fn from_file(bytes: Vec<u8>) -> Result<Image, ImageError> {
        if bytes.len() as u64 > MAX_FILE {
            return Err(ImageError::TooLarge);
        }
        let headers = Headers::parse(&bytes)?;
        let layout = Layout::File {
            bytes,
            size_of_headers: headers.size_of_headers,
            sections: headers.sections.clone(),
        };
        Ok(Image { headers, layout })
    }

    /// `TimeDateStamp` and `SizeOfImage` of a file, from its headers alone.
    ///
    /// # Errors
    /// As [`Image::from_file`].
    pub fn identity_of(bytes: &[u8]) -> Result<(u32, u32), ImageError> {
        let headers = Headers::parse(bytes)?;
        Ok((headers.time_date_stamp, headers.size_of_image))
    }

    /// The architecture of a file, from its headers alone; `None` for one that writes no dumps.
    ///
    /// # Errors
    /// As [`Image::from_file`].
    pub fn machine_of(bytes: &[u8]) -> Result<Option<Machine>, ImageError> {
        let headers = Headers::parse(bytes)?;
        Ok(Machine::from_image_type(u32::from(headers.machine)))
    }

    /// An image from what memory holds of it: runs of bytes by RVA, in any order. Where runs
    /// overlap, the one that starts first counts.
    ///
    /// # Errors
    /// [`ImageError`] when no run starts at RVA 0 or the headers cannot be read.
    pub fn from_mapped(mut pieces: Vec<(u32, Vec<u8>)>) -> Result<Image, ImageError> {
        let total: u64 = pieces.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if total > MAX_FILE {
            return Err(ImageError::TooLarge);
        }
        pieces.sort_by_key(|(rva, _)| *rva);
        let mut disjoint: Vec<(u32, Vec<u8>)> = Vec::with_capacity(pieces.len());
        let mut end = 0u64;
        for (rva, mut bytes) in pieces {
            let skip = usize::try_from(end.saturating_sub(u64::from(rva))).unwrap_or(usize::MAX);
            if skip >= bytes.len() {
                continue;
            }
            bytes.drain(..skip);
            let start = u64::from(rva) + skip as u64;
            end = start + bytes.len() as u64;
            if let Ok(start) = u32::try_from(start) {
                disjoint.push((start, bytes));
            }
        }
        let layout = Layout::Mapped {
            pieces: disjoint,
            missed: Default::default(),
        };
        let mut first = vec![0; MAX_HEADERS];
        let n = layout.read(0, &mut first);
        first.truncate(n);
        let headers = Headers::parse(&first)?;
        Ok(Image { headers, layout })
    }

    /// Copies bytes at `rva`; false, with `buf` unspecified, unless all of them are present.
    pub fn read(&self, rva: u32, buf: &mut [u8]) -> bool {
        self.layout.read(rva, buf) == buf.len()
    }

    /// Copies bytes from `rva` on and returns how many there are before the first absent one.
    pub fn read_up_to(&self, rva: u32, buf: &mut [u8]) -> usize {
        self.layout.read(rva, buf)
    }

    /// `N` bytes at `rva`, when all are present.
    pub fn read_array<const N: usize>(&self, rva: u32) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.read(rva, &mut bytes).then_some(bytes)
    }

    /// A little-endian 32-bit value at `rva`.
    pub fn u32_at(&self, rva: u32) -> Option<u32> {
        self.read_array(rva).map(u32::from_le_bytes)
    }

    /// The processor the image is for, when it is one that writes dumps.
    pub fn machine(&self) -> Option<Machine> {
        Machine::from_image_type(u32::from(self.headers.machine))
    }

    /// `TimeDateStamp`: first half of the image's identity.
    pub fn time_date_stamp(&self) -> u32 {
        self.headers.time_date_stamp
    }

    /// `SizeOfImage`: second half of the image's identity.
    pub fn size_of_image(&self) -> u32 {
        self.headers.size_of_image
    }

    /// `CheckSum` of the optional header; 0 when the linker wrote none.
    pub fn check_sum(&self) -> u32 {
        self.headers.check_sum
    }

    /// Address the linker preferred, or in a mapped image the one the loader wrote.
    pub fn image_base(&self) -> u64 {
        self.headers.image_base
    }

    /// RVA of the entry point.
    pub fn entry_point(&self) -> u32 {
        self.headers.entry_point
    }

    /// Where `.pdata` lies, by the data directory: RVA and bytes. `None` when the image has none.
    pub fn exception_directory(&self) -> Option<(u32, u32)> {
        let directory = self.headers.exceptions;
        (directory.rva != 0 && directory.size != 0).then_some((directory.rva, directory.size))
    }

    /// The section table.
    pub fn sections(&self) -> &[Section] {
        &self.headers.sections
    }

    /// True when `rva` lies in a section whose pages are executable.
    pub fn is_executable(&self, rva: u32) -> bool {
        self.headers
            .sections
            .iter()
            .any(|s| s.is_executable() && s.contains(rva))
    }

    /// Bytes held in memory for this image.
    pub fn held_bytes(&self) -> usize {
        match &self.layout {
            Layout::File { bytes, .. } => bytes.len(),
            Layout::Mapped { pieces, .. } => pieces.iter().map(|(_, bytes)| bytes.len()).sum(),
        }
    }
}
