//! IA-64 function descriptors: what a pointer to a function points to is its address and its gp.
//!
//! Exports, import tables and the entry point lead to descriptors, not to code. Known from real
//! images: every descriptor carries the image's own gp (data directory 8).

use super::Image;
use crate::bytes::View;
use crate::machine::Machine;

/// Bytes of a bundle, at whose start a function begins.
const BUNDLE: u32 = 16;

impl Image {
    /// The RVA of the function whose descriptor lies at `rva`; `None` when none does.
    pub fn descriptor_target(&self, rva: u32) -> Option<u32> {
        if self.machine() != Some(Machine::Ia64) || !rva.is_multiple_of(8) {
            return None;
        }
        let words = self.read_array::<16>(rva)?;
        let inside = |word: u64| u32::try_from(word.checked_sub(self.image_base())?).ok();
        let (address, gp) = (View(&words).u64(0)?, View(&words).u64(8)?);
        let target = inside(address).filter(|target| target.is_multiple_of(BUNDLE))?;
        (inside(gp)? == self.headers.global_pointer && self.is_executable(target)).then_some(target)
    }
}
