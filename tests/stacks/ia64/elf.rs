//! Code of the laboratories for a walk: an assembled ELF program or a driver as it was mapped.

use std::borrow::Cow;

use kbtriage::bytes::ModuleId;
use kbtriage::unwind::{CodeInfo, ExceptionDirectory, FrameData, ModuleSpan, Name};

/// One module: bytes by offset from its base, and where its function table is.
pub struct Image {
    pub base: u64,
    pub bytes: Vec<u8>,
    pub table: ExceptionDirectory,
}

pub fn word32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn word64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

impl Image {
    /// A driver as it lies in memory, its table by its own headers.
    pub fn mapped(base: u64, bytes: Vec<u8>) -> Image {
        let pe = word32(&bytes, 0x3C) as usize;
        let directory = pe + 24 + 112 + 3 * 8;
        let table = ExceptionDirectory {
            rva: word32(&bytes, directory),
            size: word32(&bytes, directory + 4),
        };
        Image { base, bytes, table }
    }

    /// An ELF program of IA-64, its table and headers written again as Windows has them. `functions`
    /// are begin, end and place of the unwind information, from the program's start.
    pub fn elf(base: u64, mut bytes: Vec<u8>, functions: &[(u32, u32, u32)]) -> Image {
        let mut rows = Vec::new();
        for (begin, end, info) in functions {
            let at = *info as usize;
            let words = word32(&bytes, at);
            let header = [3u16.to_le_bytes(), 0u16.to_le_bytes()].concat();
            bytes[at..at + 4].copy_from_slice(&header);
            bytes[at + 4..at + 8].copy_from_slice(&words.to_le_bytes());
            rows.extend([begin, end, info].into_iter().flat_map(|v| v.to_le_bytes()));
        }
        let table = ExceptionDirectory {
            rva: bytes.len() as u32,
            size: rows.len() as u32,
        };
        bytes.extend(rows);
        Image { base, bytes, table }
    }

    fn span(&self) -> ModuleSpan {
        ModuleSpan {
            id: ModuleId(0),
            base: self.base,
            size: self.bytes.len() as u64,
        }
    }
}

impl CodeInfo for Image {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        let span = self.span();
        span.contains(address).then_some(span)
    }

    fn is_executable(&self, _: ModuleSpan, _: u32) -> Option<bool> {
        None
    }

    fn read_image(&self, _: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        let from = rva as usize;
        match self.bytes.get(from..from + buf.len()) {
            Some(bytes) => buf.copy_from_slice(bytes),
            None => return false,
        }
        true
    }

    fn exception_directory(&self, _: ModuleSpan) -> Option<ExceptionDirectory> {
        Some(self.table)
    }

    fn frame_data(&self, _: u64) -> Option<FrameData<'_>> {
        None
    }

    fn name_at(&self, _: u64) -> Option<Name<'_>> {
        None
    }

    fn module_name(&self, _: ModuleSpan) -> Option<Cow<'_, str>> {
        None
    }
}
