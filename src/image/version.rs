//! The version resource: `VS_FIXEDFILEINFO` and the strings beside it.
//!
//! Walks the resource directory by RVA to the first `RT_VERSION` leaf and its `VS_VERSIONINFO`
//! tree (both published in the Windows SDK documentation). Depth and counts are bounded.

use super::Image;
use crate::bytes::View;
use crate::knowledge::versions::FileVersion;

/// `RT_VERSION`.
const RT_VERSION: u32 = 16;
/// Rows of one resource directory looked at: those of a driver are a handful of kinds.
const MAX_ROWS: u32 = 512;
/// Bytes of a row.
const ROW: usize = 8;
/// Bytes of a version resource that are read; Microsoft's are under 2 KB.
const MAX_RESOURCE: u32 = 0x4000;
/// Blocks of the tree that are visited.
const MAX_BLOCKS: usize = 256;
/// `VS_FIXEDFILEINFO.dwSignature`.
const FIXED_SIGNATURE: u32 = 0xFEEF_04BD;
/// What a version resource says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionInfo {
    /// File version of `VS_FIXEDFILEINFO`: the exact one.
    pub file: Option<FileVersion>,
    /// Product version of `VS_FIXEDFILEINFO`.
    pub product: Option<FileVersion>,
    /// The strings of the first string table, in file order: key, value.
    pub strings: Vec<(String, String)>,
}

impl VersionInfo {
    /// The value of a key such as `OriginalFilename`.
    pub fn string(&self, key: &str) -> Option<&str> {
        self.strings
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// The `FileVersion` string, which names the branch: `6.0.6001.22222 (vistasp1_ldr.080713-1507)`.
    pub fn file_version_text(&self) -> Option<&str> {
        self.string("FileVersion")
    }

    /// The name the file was built under.
    pub fn original_filename(&self) -> Option<&str> {
        self.string("OriginalFilename")
    }

    /// The laboratory in parentheses behind the version, such as `vistasp1_ldr.080713-1507`.
    pub fn build_lab(&self) -> Option<&str> {
        let text = self.file_version_text()?;
        let (_, rest) = text.split_once('(')?;
        let (lab, _) = rest.split_once(')')?;
        Some(lab.trim()).filter(|lab| !lab.is_empty())
    }

    /// Reads a `VS_VERSIONINFO` block.
    pub fn parse(bytes: &[u8]) -> Option<VersionInfo> {
        let root = Block::read(bytes, 0, bytes.len())?;
        if root.key != "VS_VERSION_INFO" {
            return None;
        }
        let mut info = VersionInfo::default();
        let fixed = View(bytes).from(root.value);
        if root.value_len >= 52 && fixed.u32(0) == Some(FIXED_SIGNATURE) {
            info.file = version_at(fixed, 8);
            info.product = version_at(fixed, 16);
        }
        let mut left = MAX_BLOCKS;
        for part in root.children(bytes, &mut left) {
            if part.key != "StringFileInfo" {
                continue;
            }
            let Some(table) = part.children(bytes, &mut left).into_iter().next() else {
                continue;
            };
            for entry in table.children(bytes, &mut left) {
                let units = entry.end.saturating_sub(entry.value) / 2;
                let value = View(bytes).utf16(entry.value, units).unwrap_or_default();
                let value = value.split('\0').next().unwrap_or_default().to_owned();
                info.strings.push((entry.key, value));
            }
        }
        Some(info)
    }
}

fn version_at(view: View<'_>, at: usize) -> Option<FileVersion> {
    Some(FileVersion {
        minor: view.u16(at)?,
        major: view.u16(at + 2)?,
        revision: view.u16(at + 4)?,
        build: view.u16(at + 6)?,
    })
}

/// One node of the tree: length, value length, key, value, children.
struct Block {
    key: String,
    value: usize,
    value_len: usize,
    end: usize,
    children: usize,
}

impl Block {
    fn read(bytes: &[u8], at: usize, limit: usize) -> Option<Block> {
        let view = View(bytes);
        let len = usize::from(view.u16(at)?);
        let end = at.checked_add(len)?.min(limit);
        if len < 6 {
            return None;
        }
        let value_units = usize::from(view.u16(at + 2)?);
        let text = view.u16(at + 4)? == 1;
        let mut key = Vec::new();
        let mut cursor = at + 6;
        while cursor + 2 <= end && key.len() < 256 {
            let unit = view.u16(cursor)?;
            cursor += 2;
            if unit == 0 {
                break;
            }
            key.push(unit);
        }
        let value = align4(cursor).min(end);
        let value_len = match text {
            true => value_units.saturating_mul(2),
            false => value_units,
        };
        Some(Block {
            key: String::from_utf16_lossy(&key),
            value,
            value_len,
            end,
            children: align4(value.saturating_add(value_len)),
        })
    }

    fn children(&self, bytes: &[u8], left: &mut usize) -> Vec<Block> {
        let mut found = Vec::new();
        let mut at = self.children;
        while at < self.end {
            let Some(rest) = left.checked_sub(1) else {
                break;
            };
            *left = rest;
            let Some(block) = Block::read(bytes, at, self.end) else {
                break;
            };
            at = align4(block.end);
            found.push(block);
        }
        found
    }
}

fn align4(at: usize) -> usize {
    at.saturating_add(3) & !3
}

impl Image {
    /// The version resource, when the image has one and its bytes are present.
    pub fn version(&self) -> Option<VersionInfo> {
        let types = self.headers.resources.rva;
        let names = self.resource_row(0, Some(RT_VERSION))?;
        let languages = self.resource_row(directory(names)?, None)?;
        let leaf = self.resource_row(directory(languages)?, None)?;
        if leaf & SUBDIRECTORY != 0 {
            return None;
        }
        let entry = self.read_array::<8>(types.checked_add(leaf)?)?;
        let (rva, size) = (View(&entry).u32(0)?, View(&entry).u32(4)?);
        let mut bytes = vec![0; size.min(MAX_RESOURCE) as usize];
        let n = self.read_up_to(rva, &mut bytes);
        VersionInfo::parse(bytes.get(..n)?)
    }

    /// The offset field of the row with `id`, or of the first row, in the directory at `offset`.
    fn resource_row(&self, offset: u32, id: Option<u32>) -> Option<u32> {
        let base = self.headers.resources.rva;
        if base == 0 {
            return None;
        }
        let at = base.checked_add(offset)?;
        let header = self.read_array::<16>(at)?;
        let rows = u32::from(View(&header).u16(12)?) + u32::from(View(&header).u16(14)?);
        let wanted = match id {
            Some(_) => rows.min(MAX_ROWS),
            None => rows.min(1),
        };
        let mut table = vec![0; wanted as usize * ROW];
        let held = self.read_up_to(at.checked_add(16)?, &mut table);
        table
            .get(..held)?
            .chunks_exact(ROW)
            .map(View)
            .find(|row| id.is_none_or(|id| row.u32(0) == Some(id)))?
            .u32(4)
    }
}

/// The bit that says a row leads to another directory.
const SUBDIRECTORY: u32 = 0x8000_0000;

fn directory(row: u32) -> Option<u32> {
    (row & SUBDIRECTORY != 0).then_some(row & !SUBDIRECTORY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_their_parts_and_not_as_text() {
        let at = |revision| FileVersion {
            major: 6,
            minor: 0,
            build: 6001,
            revision,
        };
        assert!(at(22222) > at(18000) && at(9999) < at(18000));
        assert_eq!(at(22222).to_string(), "6.0.6001.22222");
    }

    #[test]
    fn the_build_laboratory_is_the_text_in_parentheses() {
        let info = VersionInfo {
            strings: vec![(
                "FileVersion".into(),
                "6.0.6001.22222 (vistasp1_ldr.080713-1507)".into(),
            )],
            ..VersionInfo::default()
        };
        assert_eq!(info.build_lab(), Some("vistasp1_ldr.080713-1507"));
    }

    #[test]
    fn a_block_of_length_zero_ends_the_walk() {
        assert_eq!(VersionInfo::parse(&[0; 64]), None);
        assert_eq!(VersionInfo::parse(&[0xFF; 64]), None);
    }
}
