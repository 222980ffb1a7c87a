//! Hive cells: keys, their subkeys and values (CM_KEY_NODE, CM_KEY_INDEX, CM_KEY_VALUE).
//!
//! The layout is the same in a file and in memory; only how a cell is found differs. Every walk is
//! bounded: a hive whose cells lead in circles gives nothing.

use crate::bytes::{Budget, PagedReader, View};

/// `regf`, the first bytes of a hive file.
pub const SIGNATURE: &[u8] = b"regf";
/// Offset of the first bin in a hive file.
const FIRST_BIN: u64 = 0x1000;
/// Largest cell that is read, in bytes.
const LARGEST_CELL: u32 = 0x10_0000;
/// Bytes of a key node before its name.
const NODE: usize = 0x4C;
/// Bytes of a value before its name.
const VALUE: usize = 0x14;
/// Subkeys or values of one key that are looked at.
const MOST: u32 = 16 * 1024;
/// KEY_COMP_NAME: the name is not UTF-16.
const NARROW_KEY: u16 = 0x20;
/// VALUE_COMP_NAME.
const NARROW_VALUE: u16 = 1;
/// Set in a value's length when the data is in the cell reference itself.
const INLINE: u32 = 0x8000_0000;

const REG_SZ: u32 = 1;
const REG_DWORD: u32 = 4;

/// Where the bytes of cells are.
pub trait Cells {
    /// The bytes of an allocated cell behind its size field, at most `most` of them; `None` when
    /// the cell is free, absent or damaged.
    fn cell(&self, index: u32, most: u32) -> Option<Vec<u8>>;

    /// Index of the root key's cell.
    fn root(&self) -> Option<u32>;
}

/// The bytes an allocated cell has for its owner, from its size field.
pub(super) fn cell_room(size: u32, most: u32) -> Option<usize> {
    // A negative size marks an allocated cell.
    let size = size.cast_signed().checked_neg().filter(|size| *size > 4)?;
    let room = u32::try_from(size).ok()?.checked_sub(4)?;
    usize::try_from(room.min(most).min(LARGEST_CELL)).ok()
}

/// A hive file.
pub struct FileCells<'a> {
    reader: &'a PagedReader<'a>,
}

impl<'a> FileCells<'a> {
    /// `None` when it is not a hive file.
    pub fn new(reader: &'a PagedReader<'a>) -> Option<FileCells<'a>> {
        reader
            .prefix()
            .starts_with(SIGNATURE)
            .then_some(FileCells { reader })
    }

    /// Last write of the hive, a FILETIME.
    pub fn written(&self) -> Option<u64> {
        View(self.reader.prefix()).u64(0x0C).filter(|t| *t != 0)
    }

    /// True when changes lie in log files beside it that are not read.
    pub fn is_dirty(&self) -> bool {
        let view = View(self.reader.prefix());
        view.u32(4) != view.u32(8)
    }
}

impl Cells for FileCells<'_> {
    fn cell(&self, index: u32, most: u32) -> Option<Vec<u8>> {
        let at = FIRST_BIN.checked_add(u64::from(index))?;
        let mut size = [0; 4];
        self.reader.read_exact_at(at, &mut size).ok()?;
        let room = cell_room(u32::from_le_bytes(size), most)?;
        self.reader.read_vec(at.checked_add(4)?, room as u64).ok()
    }

    fn root(&self) -> Option<u32> {
        View(self.reader.prefix()).u32(0x24)
    }
}

/// A key: its node.
#[derive(Clone, Debug)]
pub struct Key {
    node: Vec<u8>,
    /// Last write, a FILETIME.
    pub written: Option<u64>,
}

/// A hive through whatever holds its cells.
pub struct Hive<'a, C> {
    cells: C,
    budget: &'a Budget,
}

impl<'a, C: Cells> Hive<'a, C> {
    /// A hive of these cells.
    pub fn new(cells: C, budget: &'a Budget) -> Hive<'a, C> {
        Hive { cells, budget }
    }

    /// The root key.
    pub fn root(&self) -> Option<Key> {
        self.key(self.cells.root()?)
    }

    /// The key below `from` by names, whatever their case.
    pub fn path(&self, from: &Key, names: &[&str]) -> Option<Key> {
        names
            .iter()
            .try_fold(from.clone(), |key, name| self.subkey(&key, name))
    }

    /// A DWORD value.
    pub fn dword(&self, key: &Key, name: &str) -> Option<u32> {
        let (kind, data) = self.value(key, name)?;
        (kind == REG_DWORD).then(|| View(&data).u32(0)).flatten()
    }

    /// A text value, without its terminator.
    pub fn string(&self, key: &Key, name: &str) -> Option<String> {
        let (kind, data) = self.value(key, name)?;
        let text = (kind == REG_SZ).then(|| View(&data).utf16(0, data.len() / 2))??;
        let text = text.split('\0').next().unwrap_or_default().to_owned();
        (!text.is_empty()).then_some(text)
    }

    fn key(&self, cell: u32) -> Option<Key> {
        self.budget.spend(1).ok()?;
        let node = self.cells.cell(cell, 0x400)?;
        let view = View(&node);
        if view.bytes(0, 2)? != b"nk" {
            return None;
        }
        let written = view.u64(4).filter(|time| *time != 0);
        Some(Key { node, written })
    }

    fn subkey(&self, key: &Key, name: &str) -> Option<Key> {
        let view = View(&key.node);
        let search = Budget::new(u64::from(MOST), None);
        // Index 0 counts the stable subkeys, index 1 the volatile ones.
        (0..2).find_map(|storage| {
            let count = view.u32(0x14 + storage * 4)?;
            let list = view.u32(0x1C + storage * 4)?;
            (count > 0)
                .then(|| self.in_list(list, name, true, &search))
                .flatten()
        })
    }

    /// The key of that name in a list of subkeys. A list of lists is followed once; `search` bounds the
    /// lists and keys that are looked at, however often a list is named.
    fn in_list(&self, list: u32, name: &str, outer: bool, search: &Budget) -> Option<Key> {
        self.budget.spend(1).ok()?;
        search.spend(1).ok()?;
        let bytes = self.cells.cell(list, MOST * 8 + 4)?;
        let view = View(&bytes);
        let stride = match view.bytes(0, 2)? {
            b"lf" | b"lh" => 8,
            b"li" => 4,
            b"ri" if outer => {
                let count = usize::from(view.u16(2)?);
                return (0..count)
                    .find_map(|index| self.in_list(view.u32(4 + index * 4)?, name, false, search));
            }
            _ => return None,
        };
        let count = usize::from(view.u16(2)?);
        let affordable = || search.spend(1).is_ok();
        (0..count).take_while(|_| affordable()).find_map(|index| {
            let key = self.key(view.u32(4 + index * stride)?)?;
            let own = View(&key.node);
            let same = same_name(
                own,
                NODE,
                own.u16(0x48)?,
                own.u16(2)? & NARROW_KEY != 0,
                name,
            );
            same.then_some(key)
        })
    }

    /// A value's type and data.
    fn value(&self, key: &Key, name: &str) -> Option<(u32, Vec<u8>)> {
        let view = View(&key.node);
        let count = view.u32(0x24)?.min(MOST);
        let list = (count > 0).then(|| self.cells.cell(view.u32(0x28)?, count * 4))??;
        (0..count as usize).find_map(|index| {
            self.budget.spend(1).ok()?;
            let bytes = self.cells.cell(View(&list).u32(index * 4)?, 0x400)?;
            let value = View(&bytes);
            let narrow = value.u16(0x10)? & NARROW_VALUE != 0;
            if value.bytes(0, 2)? != b"vk" || !same_name(value, VALUE, value.u16(2)?, narrow, name)
            {
                return None;
            }
            let (length, kind) = (value.u32(4)?, value.u32(0x0C)?);
            let data = if length & INLINE != 0 {
                let n = usize::try_from(length & !INLINE).ok()?;
                value.bytes(8, n.min(4))?.to_vec()
            } else {
                self.cells.cell(value.u32(8)?, length.min(0x1000))?
            };
            Some((kind, data))
        })
    }
}

/// True when the name of a cell is `name`, whatever the case.
fn same_name(view: View<'_>, at: usize, length: u16, narrow: bool, name: &str) -> bool {
    let own = if narrow {
        view.bytes(at, usize::from(length))
            .map(|bytes| bytes.iter().map(|byte| char::from(*byte)).collect())
    } else {
        view.utf16(at, usize::from(length) / 2)
    };
    own.is_some_and(|own: String| own.eq_ignore_ascii_case(name))
}
