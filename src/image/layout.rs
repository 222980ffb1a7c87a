//! Where the bytes of an image lie: a file on disk, or pieces of a mapped image.
//!
//! Every read is by RVA and gives only bytes that are really there; nothing is padded. The part
//! of a section that the loader fills with zeros is not in the file, so it is absent here.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Section;

/// The file alignment the loader rounds raw offsets down to.
const SECTOR: u32 = 0x200;
/// No string, record or table row of an image is read in pieces smaller than this many pieces.
const MAX_SEAMS: usize = 4096;

/// Bytes of an image by RVA.
#[derive(Debug)]
pub(super) enum Layout {
    /// A file, with the section table that maps it.
    File {
        bytes: Vec<u8>,
        size_of_headers: u32,
        sections: Vec<Section>,
    },
    /// Contiguous runs of a mapped image: (RVA, bytes), ascending and disjoint.
    Mapped {
        pieces: Vec<(u32, Vec<u8>)>,
        /// The RVA last asked for that no piece holds, plus one; 0 when there is none.
        missed: AtomicU64,
    },
}

impl Layout {
    /// The contiguous bytes present from `rva` on; empty where there are none.
    pub fn from(&self, rva: u32) -> &[u8] {
        match self {
            Layout::File {
                bytes,
                size_of_headers,
                sections,
            } => file_range(bytes, *size_of_headers, sections, rva).unwrap_or_default(),
            Layout::Mapped { pieces, missed } => {
                let after = pieces.partition_point(|(start, _)| *start <= rva);
                let held = after
                    .checked_sub(1)
                    .and_then(|i| pieces.get(i))
                    .and_then(|(start, bytes)| bytes.get((rva - start) as usize..))
                    .unwrap_or_default();
                if held.is_empty() {
                    missed.store(u64::from(rva) + 1, Ordering::Relaxed);
                }
                held
            }
        }
    }

    /// Copies bytes from `rva` on into `buf` and says how many there were before the first gap.
    pub fn read(&self, rva: u32, buf: &mut [u8]) -> usize {
        let mut done = 0usize;
        for _ in 0..MAX_SEAMS {
            let Some(at) = u32::try_from(done).ok().and_then(|d| rva.checked_add(d)) else {
                break;
            };
            let from = self.from(at);
            let Some(rest) = buf.get_mut(done..) else {
                break;
            };
            let n = from.len().min(rest.len());
            if n == 0 {
                break;
            }
            if let (Some(to), Some(from)) = (rest.get_mut(..n), from.get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
        }
        done
    }

    /// Bytes at a file offset; a mapped image has none.
    pub fn at_file_offset(&self, offset: u32) -> &[u8] {
        match self {
            Layout::File { bytes, .. } => bytes.get(offset as usize..).unwrap_or_default(),
            Layout::Mapped { .. } => &[],
        }
    }
}

fn file_range<'a>(
    bytes: &'a [u8],
    size_of_headers: u32,
    sections: &[Section],
    rva: u32,
) -> Option<&'a [u8]> {
    for section in sections {
        let Some(inside) = rva.checked_sub(section.rva) else {
            continue;
        };
        // The loader maps a page-rounded raw size but never more than the virtual size, which old
        // linkers leave zero.
        let mapped = match section.virtual_size {
            0 => section.raw_size,
            size => size.min(section.raw_size),
        };
        if inside >= mapped {
            continue;
        }
        let offset = section.raw_offset & !(SECTOR - 1);
        let start = offset.checked_add(inside)? as usize;
        let end = (offset as usize).checked_add(mapped as usize)?;
        return bytes.get(start..end.min(bytes.len()));
    }
    match rva < size_of_headers {
        true => bytes.get(rva as usize..(size_of_headers as usize).min(bytes.len())),
        false => None,
    }
}
