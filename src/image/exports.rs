//! The export directory: names a driver offers to others. Layout: "PE Format".

use super::Image;
use crate::bytes::View;

/// Names read at most; the kernel exports about 3,000.
const MAX_NAMES: u32 = 0x1_0000;
/// Longest name kept, in bytes.
pub(super) const MAX_NAME: usize = 512;

/// One exported name with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Address of the function or variable.
    pub rva: u32,
    /// The name, as in the directory.
    pub name: String,
}

impl Image {
    /// Named exports in the directory's order. Forwarders, exports by ordinal only and rows whose
    /// bytes are absent are left out.
    pub fn exports(&self) -> Vec<Export> {
        let directory = self.headers.exports;
        let Some(header) = self
            .read_array::<40>(directory.rva)
            .filter(|_| directory.rva != 0)
        else {
            return Vec::new();
        };
        let field = |at| View(&header).u32(at).unwrap_or_default();
        let (functions, names) = (field(20), field(24).min(MAX_NAMES));
        let (addresses, name_table, ordinals) = (field(28), field(32), field(36));
        let inside = directory.rva..directory.rva.saturating_add(directory.size);
        let row = |index: u32| {
            let name_rva = self.u32_at(name_table.checked_add(index.checked_mul(4)?)?)?;
            let ordinal = self.read_array::<2>(ordinals.checked_add(index.checked_mul(2)?)?)?;
            let ordinal = u32::from(u16::from_le_bytes(ordinal));
            if ordinal >= functions {
                return None;
            }
            let rva = self.u32_at(addresses.checked_add(ordinal.checked_mul(4)?)?)?;
            if rva == 0 || inside.contains(&rva) {
                return None;
            }
            let name = self.text_at(name_rva, MAX_NAME)?;
            // IA-64 exports the function's descriptor.
            let rva = self.descriptor_target(rva).unwrap_or(rva);
            Some(Export { rva, name })
        };
        (0..names).filter_map(row).collect()
    }

    /// The name the image gives itself in its export directory.
    pub fn export_name(&self) -> Option<String> {
        let directory = self.headers.exports;
        if directory.rva == 0 {
            return None;
        }
        let name = self.u32_at(directory.rva.checked_add(12)?)?;
        self.text_at(name, MAX_NAME)
    }

    /// ASCII text that ends with NUL within `limit` bytes.
    pub(super) fn text_at(&self, rva: u32, limit: usize) -> Option<String> {
        let bytes = self.layout.from(rva);
        let bytes = bytes.get(..limit.min(bytes.len()))?;
        let end = bytes.iter().position(|b| *b == 0)?;
        let text = bytes.get(..end)?;
        match !text.is_empty() && text.iter().all(u8::is_ascii_graphic) {
            true => Some(String::from_utf8_lossy(text).into_owned()),
            false => None,
        }
    }
}
