//! Loaded code as the dump alone knows it: module ranges, and whatever image bytes lie in memory.
//!
//! Used when no symbol session is at hand. Headers are read where the loader put them, so a full
//! dump without any symbol file still has unwind data for every resident driver.

use std::borrow::Cow;
use std::cell::RefCell;

use crate::bytes::{Gva, ModuleId, View};
use crate::facts::Modules;
use crate::memory::Memory;

use super::{CodeInfo, ExceptionDirectory, FrameData, ModuleSpan, Name};

/// Bytes of an image's headers that are looked at.
const HEADERS: usize = 0x1000;
/// `MZ`.
const DOS_SIGNATURE: u16 = 0x5A4D;
/// Sections looked at in one image.
const MOST_SECTIONS: usize = 96;
/// Section flag: contains executable code.
const EXECUTE: u32 = 0x2000_0000;

/// Modules and memory of one dump.
pub struct MemoryCode<'a> {
    modules: &'a Modules,
    memory: &'a dyn Memory,
    headers: RefCell<Vec<(ModuleId, Option<ImageHeaders>)>>,
}

/// What an image's headers say, as far as a walk needs it.
#[derive(Clone, Debug, Default)]
struct ImageHeaders {
    exception: Option<ExceptionDirectory>,
    /// Executable ranges: first RVA, RVA past the end.
    code: Vec<(u32, u32)>,
}

impl<'a> MemoryCode<'a> {
    /// Loaded code of a dump.
    pub fn new(modules: &'a Modules, memory: &'a dyn Memory) -> MemoryCode<'a> {
        MemoryCode {
            modules,
            memory,
            headers: RefCell::default(),
        }
    }

    /// Runs `f` with the headers of a module, read once.
    fn with_headers<T>(
        &self,
        module: ModuleSpan,
        f: impl FnOnce(&ImageHeaders) -> Option<T>,
    ) -> Option<T> {
        let mut cache = self.headers.borrow_mut();
        let index = match cache.binary_search_by_key(&module.id.0, |(id, _)| id.0) {
            Ok(index) => index,
            Err(index) => {
                let headers = self.read_headers(module.base);
                cache.insert(index, (module.id, headers));
                index
            }
        };
        f(cache.get(index)?.1.as_ref()?)
    }

    fn read_headers(&self, base: u64) -> Option<ImageHeaders> {
        // Small dumps hold hardly any: told by the first two bytes.
        if self.memory.read_u16(Gva(base)).ok()? != DOS_SIGNATURE {
            return None;
        }
        let mut bytes = vec![0; HEADERS];
        self.memory.read(Gva(base), &mut bytes).ok()?;
        ImageHeaders::read(View(&bytes))
    }
}

impl ImageHeaders {
    /// Reads mapped PE headers (Microsoft's PE format): section table and exception directory.
    fn read(view: View<'_>) -> Option<ImageHeaders> {
        if view.u16(0)? != DOS_SIGNATURE {
            return None;
        }
        let pe = usize::try_from(view.u32(0x3C)?).ok()?;
        if view.u32(pe)? != 0x4550 {
            return None;
        }
        let coff = pe.checked_add(4)?;
        let sections = usize::from(view.u16(coff.checked_add(2)?)?).min(MOST_SECTIONS);
        let optional_size = usize::from(view.u16(coff.checked_add(16)?)?);
        let optional = coff.checked_add(20)?;
        let directories = match view.u16(optional)? {
            0x10B => optional.checked_add(96)?,
            0x20B => optional.checked_add(112)?,
            _ => return None,
        };
        // The exception directory is entry 3 of those that follow NumberOfRvaAndSizes.
        let count = view.u32(directories.checked_sub(4)?)?;
        let exception = (count > 3)
            .then(|| {
                Some(ExceptionDirectory {
                    rva: view.u32(directories.checked_add(24)?)?,
                    size: view.u32(directories.checked_add(28)?)?,
                })
            })
            .flatten()
            .filter(|d| d.rva != 0 && d.size != 0);
        let table = optional.checked_add(optional_size)?;
        let mut code = Vec::new();
        for n in 0..sections {
            let at = table.checked_add(n * 40)?;
            let size = view.u32(at.checked_add(8)?)?;
            let rva = view.u32(at.checked_add(12)?)?;
            if view.u32(at.checked_add(36)?)? & EXECUTE != 0 {
                code.push((rva, rva.saturating_add(size)));
            }
        }
        Some(ImageHeaders { exception, code })
    }
}

impl CodeInfo for MemoryCode<'_> {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        let (id, _) = self.modules.locate(address)?;
        let module = self.modules.get(id)?;
        Some(ModuleSpan {
            id,
            base: module.base,
            size: u64::from(module.size),
        })
    }

    fn bounds(&self) -> (u64, u64) {
        self.modules.bounds()
    }

    fn is_executable(&self, module: ModuleSpan, rva: u32) -> Option<bool> {
        self.with_headers(module, |headers| {
            Some(
                headers
                    .code
                    .iter()
                    .any(|(from, to)| (*from..*to).contains(&rva)),
            )
        })
    }

    fn read_image(&self, module: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        let end = u64::from(rva).checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > module.size) {
            return false;
        }
        module
            .base
            .checked_add(u64::from(rva))
            .is_some_and(|at| self.memory.read(Gva(at), buf).is_ok())
    }

    fn exception_directory(&self, module: ModuleSpan) -> Option<ExceptionDirectory> {
        self.with_headers(module, |headers| headers.exception)
    }

    fn frame_data(&self, _: u64) -> Option<FrameData<'_>> {
        None
    }

    fn name_at(&self, _: u64) -> Option<Name<'_>> {
        None
    }

    fn module_name(&self, module: ModuleSpan) -> Option<Cow<'_, str>> {
        let name = self.modules.get(module.id)?.name()?;
        Some(Cow::Borrowed(name))
    }
}
