//! `UNWIND_INFO` of an IA-64 image: a version, flags, and a length in words of descriptors.

use crate::bytes::View;
use crate::unwind::{CodeInfo, ModuleSpan};

/// Bytes before the descriptors.
const HEADER: u32 = 8;
/// Bytes of descriptors that are read: the longest of some hundred thousand known functions need
/// far fewer.
const MOST: u32 = 0x4000;

/// The descriptors of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnwindInfo {
    /// 2 or 3, which read the same.
    pub version: u16,
    /// 1: an exception handler follows, 2: a termination handler does.
    pub flags: u16,
    /// The descriptors, filled up with zeros to a multiple of eight.
    pub descriptors: Vec<u8>,
}

impl UnwindInfo {
    /// Reads the record at `rva` of the image. `None` when a byte of it is not at hand, the version
    /// is unknown or the length impossible.
    pub fn read(code: &dyn CodeInfo, module: ModuleSpan, rva: u32) -> Option<UnwindInfo> {
        let mut header = [0; HEADER as usize];
        if !code.read_image(module, rva, &mut header) {
            return None;
        }
        let view = View(&header);
        let (version, flags) = (view.u16(0)?, view.u16(2)?);
        let length = view.u32(4)?.checked_mul(8).filter(|n| *n <= MOST)?;
        if !(2..=3).contains(&version) {
            return None;
        }
        let mut descriptors = vec![0; usize::try_from(length).ok()?];
        let at = rva.checked_add(HEADER)?;
        let whole = descriptors.is_empty() || code.read_image(module, at, &mut descriptors);
        whole.then_some(UnwindInfo {
            version,
            flags,
            descriptors,
        })
    }
}
