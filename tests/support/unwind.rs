//! Images for the unwinding tests: a PE file mapped as the loader would, read with `goblin`, and
//! the [`CodeInfo`] of it. Shares nothing with the product's own image reader.

#![allow(dead_code)]

pub mod chain;
pub mod fake;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use goblin::pe::PE;
use goblin::pe::options::ParseOptions;
use kbtriage::bytes::ModuleId;
use kbtriage::unwind::{CodeInfo, ExceptionDirectory, FrameData, ModuleSpan, Name};

/// One mapped image at a base of the test's choice.
pub struct Image {
    pub span: ModuleSpan,
    pub bytes: Vec<u8>,
    pub directory: ExceptionDirectory,
    pub code: Vec<(u32, u32)>,
    pub is_x64: bool,
}

/// The symbol store beside the project; `None`, said visibly, where it is absent.
pub fn store() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/symbols");
    if path.is_dir() {
        return Some(path);
    }
    println!("SKIPPED: ../shared is absent");
    None
}

/// Every image of the store, in a fixed order.
pub fn store_images(store: &Path) -> Vec<(String, Image)> {
    let mut files = Vec::new();
    for name in std::fs::read_dir(store).unwrap() {
        for key in std::fs::read_dir(name.unwrap().path()).unwrap() {
            for file in std::fs::read_dir(key.unwrap().path()).unwrap() {
                files.push(file.unwrap().path());
            }
        }
    }
    files.sort();
    files
        .into_iter()
        .filter(|f| f.extension().is_some_and(|e| e != "pdb"))
        .map(|f| {
            let label = f.strip_prefix(store).unwrap().display().to_string();
            (label, Image::load(&f, 0xFFFF_F880_0100_0000))
        })
        .collect()
}

impl Image {
    pub fn load(path: &Path, base: u64) -> Image {
        Image::map(&std::fs::read(path).unwrap(), base)
    }

    pub fn map(file: &[u8], base: u64) -> Image {
        let mut options = ParseOptions::default();
        options.parse_attribute_certificates = false;
        let pe = PE::parse_with_opts(file, &options).unwrap();
        let optional = pe.header.optional_header.unwrap();
        let size = optional.windows_fields.size_of_image;
        let mut bytes = vec![0; size as usize];
        let headers = optional.windows_fields.size_of_headers as usize;
        bytes[..headers].copy_from_slice(&file[..headers]);
        let mut code = Vec::new();
        for section in &pe.sections {
            let from = section.pointer_to_raw_data as usize;
            let length = section.size_of_raw_data.min(section.virtual_size) as usize;
            let to = section.virtual_address as usize;
            bytes[to..to + length].copy_from_slice(&file[from..from + length]);
            if section.characteristics & 0x2000_0000 != 0 {
                code.push((
                    section.virtual_address,
                    section.virtual_address + section.virtual_size,
                ));
            }
        }
        let exception = optional.data_directories.get_exception_table();
        Image {
            span: ModuleSpan {
                id: ModuleId(0),
                base,
                size: u64::from(size),
            },
            directory: ExceptionDirectory {
                rva: exception.map_or(0, |d| d.virtual_address),
                size: exception.map_or(0, |d| d.size),
            },
            bytes,
            code,
            is_x64: pe.header.coff_header.machine == 0x8664,
        }
    }

    pub fn u32(&self, at: u32) -> u32 {
        let at = at as usize;
        u32::from_le_bytes(self.bytes[at..at + 4].try_into().unwrap())
    }
}

impl CodeInfo for Image {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        self.span.contains(address).then_some(self.span)
    }

    fn is_executable(&self, _: ModuleSpan, rva: u32) -> Option<bool> {
        Some(
            self.code
                .iter()
                .any(|(from, to)| (*from..*to).contains(&rva)),
        )
    }

    fn read_image(&self, _: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        match self
            .bytes
            .get(rva as usize..)
            .and_then(|b| b.get(..buf.len()))
        {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    fn exception_directory(&self, _: ModuleSpan) -> Option<ExceptionDirectory> {
        (self.directory.size > 0).then_some(self.directory)
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
