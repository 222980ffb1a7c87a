//! Reads a PDB through the `pdb` crate into an index. The only file that names the crate.
//!
//! The crate panics on damaged input and trusts sizes, so the superblock is checked against the
//! length first, every view of the file is limited and paid for, and the whole reading is
//! contained. `PDB` is not `Send`: it is opened, read and dropped inside one call. Old-style frame
//! records are decoded here because the crate takes some of their bits for others (`FPO_DATA` in
//! the Windows SDK's `winnt.h` is the reference).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use pdb::{
    AddressMap, DebugInformation, FallibleIterator, PDB, Source, SourceSlice, SourceView,
    SymbolData,
};

use super::frames;
use super::identity::PdbIdentity;
use super::index::{Builder, PdbIndex, PdbSection};
use crate::bytes::{Panicked, View, contained};
use crate::image::Guid;

/// Largest PDB file that is read, in bytes: public PDBs of the kernel stay below 20 MB.
pub const MAX_FILE: u64 = 512 << 20;
const MAGIC: &[u8; 32] = b"Microsoft C/C++ MSF 7.00\r\n\x1a\x44\x53\0\0\0";
/// `IMAGE_SCN_CNT_CODE` and `IMAGE_SCN_MEM_EXECUTE`.
const CODE: u32 = 0x2000_0020;
/// Views of the file are granted up to this many times its length.
const VIEW_FACTOR: u64 = 6;

/// Why a PDB gave no index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PdbError {
    /// Not a PDB of the 7.0 container format.
    #[error("not a PDB file")]
    NotAPdb,
    /// The superblock promises more than the file holds.
    #[error("the PDB is cut off: {expected} bytes expected, {present} present")]
    Truncated {
        /// Bytes by the superblock.
        expected: u64,
        /// Bytes of the file.
        present: u64,
    },
    /// Larger than [`MAX_FILE`].
    #[error("the PDB is larger than {MAX_FILE} bytes")]
    TooLarge,
    /// Something inside makes no sense.
    #[error("the PDB is damaged: {0}")]
    Damaged(String),
}

/// What a PDB says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PdbInfo {
    /// GUID of the information stream.
    pub guid: Guid,
    /// Age of the information stream: raised by tools that rewrite the PDB.
    pub age: u32,
    /// Age of the debug-information stream: the one an image asks for. `None` in old files.
    pub dbi_age: Option<u32>,
}

impl PdbInfo {
    /// The age to show and to key by.
    pub fn matching_age(&self) -> u32 {
        self.dbi_age.unwrap_or(self.age)
    }

    /// True when this is the PDB an image with `wanted` was linked with. The DBI age decides;
    /// where it is missing, the information stream may only be as old or newer.
    pub fn matches(&self, wanted: &PdbIdentity) -> bool {
        let age = match self.dbi_age {
            Some(age) => age == wanted.age,
            None => self.age >= wanted.age,
        };
        self.guid == wanted.guid && age
    }
}

/// Reads who a PDB is, without its symbols.
///
/// # Errors
/// [`PdbError`].
pub fn identify(bytes: &[u8]) -> Result<PdbInfo, PdbError> {
    check_superblock(bytes)?;
    contained(|| {
        let mut pdb = PDB::open(Bytes::new(bytes))?;
        let dbi = pdb.debug_information().ok();
        info(&mut pdb, dbi.as_ref())
    })
    .map_err(panicked)?
    .map_err(damaged)
}

/// Indexes a PDB.
///
/// # Errors
/// [`PdbError`]; parts that are missing (lines, frame records, modules) only shorten the index.
pub fn index(bytes: Vec<u8>) -> Result<PdbIndex, PdbError> {
    check_superblock(&bytes)?;
    contained(|| read(&Arc::new(bytes)))
        .map_err(panicked)?
        .map_err(damaged)?
        .ok_or_else(|| PdbError::Damaged("more records than an index can hold".to_owned()))
}

fn damaged(error: pdb::Error) -> PdbError {
    PdbError::Damaged(error.to_string())
}

fn panicked(panicked: Panicked) -> PdbError {
    PdbError::Damaged(panicked.to_string())
}

/// Checks that blocks, block count and directory fit the file (layout: "The MSF File Format",
/// LLVM documentation).
fn check_superblock(bytes: &[u8]) -> Result<(), PdbError> {
    let view = View(bytes);
    if view.bytes(0, 32) != Some(MAGIC.as_slice()) {
        return Err(PdbError::NotAPdb);
    }
    if bytes.len() as u64 > MAX_FILE {
        return Err(PdbError::TooLarge);
    }
    let field = |at| view.u32(at).map(u64::from).ok_or(PdbError::NotAPdb);
    let (block, blocks, directory) = (field(32)?, field(40)?, field(44)?);
    if !(512..=0x1_0000).contains(&block) || !block.is_power_of_two() {
        return Err(PdbError::Damaged(format!("block size {block}")));
    }
    let expected = block * blocks;
    let present = bytes.len() as u64;
    if expected > present {
        return Err(PdbError::Truncated { expected, present });
    }
    if directory > expected {
        return Err(PdbError::Damaged(format!("directory of {directory} bytes")));
    }
    Ok(())
}

fn info<'s>(
    pdb: &mut PDB<'s, Bytes<'s>>,
    dbi: Option<&DebugInformation<'s>>,
) -> pdb::Result<PdbInfo> {
    let information = pdb.pdb_information()?;
    let (a, b, c, d) = information.guid.as_fields();
    Ok(PdbInfo {
        guid: Guid::from_fields(a, b, c, *d),
        age: information.age,
        dbi_age: dbi.and_then(DebugInformation::age),
    })
}

fn read(bytes: &Arc<Vec<u8>>) -> pdb::Result<Option<PdbIndex>> {
    let mut pdb = PDB::open(Bytes::shared(bytes))?;
    // Read once: it may be megabytes long and in many pieces.
    let dbi = pdb.debug_information().ok();
    let info = info(&mut pdb, dbi.as_ref())?;
    let mut builder = Builder::for_file(bytes.len());
    let map = pdb.address_map()?;
    for section in pdb.sections()?.unwrap_or_default() {
        builder.section(PdbSection {
            rva: section.virtual_address,
            size: section.virtual_size,
            characteristics: section.characteristics.0,
        });
    }
    publics(&mut pdb, &map, &mut builder)?;
    // What follows makes an index better; a PDB without it is still good for names. Each part is
    // contained by itself, and a part that stops early leaves only whole records behind.
    if let Some(dbi) = &dbi {
        let _ = contained(|| contributions(dbi, &map, &mut builder));
        let _ = contained(|| modules(&mut pdb, dbi, &map, &mut builder));
    }
    let machine = contained(|| frames::read(&mut pdb, &map, &mut builder));
    let machine = machine.ok().flatten().unwrap_or_default();
    Ok(builder.finish(info.guid, info.matching_age(), machine, bytes.len() as u64))
}

fn publics<'s>(
    pdb: &mut PDB<'s, Bytes<'s>>,
    map: &AddressMap<'_>,
    builder: &mut Builder,
) -> pdb::Result<()> {
    let table = pdb.global_symbols()?;
    let mut symbols = table.iter();
    while let Some(symbol) = symbols.next()? {
        let Ok(SymbolData::Public(public)) = symbol.parse() else {
            continue;
        };
        if let Some(rva) = public.offset.to_rva(map) {
            let function = public.function || public.code;
            builder.symbol(rva.0, 0, public.name.as_bytes(), function, false);
        }
    }
    Ok(())
}

/// Object file sections that hold code: with one function each in a release build, so they bound
/// the reach of a name.
fn contributions(
    dbi: &DebugInformation<'_>,
    map: &AddressMap<'_>,
    builder: &mut Builder,
) -> pdb::Result<()> {
    let mut contributions = dbi.section_contributions()?;
    while let Some(part) = contributions.next()? {
        if part.characteristics.0 & CODE == 0 || part.size == 0 {
            continue;
        }
        let Some(start) = part.offset.to_internal_rva(map) else {
            continue;
        };
        for range in map.rva_ranges(start..pdb::PdbInternalRva(start.0.saturating_add(part.size))) {
            builder.code(range.start.0, range.end.0.saturating_sub(range.start.0));
        }
    }
    Ok(())
}

/// Procedures, separated parts and lines of modules. Stripped PDBs keep the first two for functions
/// that have separated parts.
fn modules<'s>(
    pdb: &mut PDB<'s, Bytes<'s>>,
    dbi: &DebugInformation<'s>,
    map: &AddressMap<'_>,
    builder: &mut Builder,
) -> pdb::Result<()> {
    let strings = pdb.string_table().ok();
    let mut files: BTreeMap<u32, Option<u32>> = BTreeMap::new();
    let mut modules = dbi.modules()?;
    while let Some(module) = modules.next()? {
        let Some(info) = pdb.module_info(&module)? else {
            continue;
        };
        let mut symbols = info.symbols()?;
        while let Some(symbol) = symbols.next()? {
            match symbol.parse() {
                Ok(SymbolData::Procedure(procedure)) => {
                    if let Some(rva) = procedure.offset.to_rva(map) {
                        let name = procedure.name.as_bytes();
                        builder.symbol(rva.0, procedure.len, name, true, true);
                    }
                }
                Ok(SymbolData::SeparatedCode(part)) => {
                    let (start, owner) = (part.offset.to_rva(map), part.parent_offset.to_rva(map));
                    if let (Some(start), Some(owner)) = (start, owner) {
                        builder.part(start.0, part.len, owner.0);
                    }
                }
                _ => {}
            }
        }
        if let (Ok(program), Some(strings)) = (info.line_program(), &strings) {
            let _ = contained(|| lines(&program, strings, &mut files, map, builder));
        }
    }
    Ok(())
}

/// The lines of one module, up to the first that cannot be read.
fn lines(
    program: &pdb::LineProgram<'_>,
    strings: &pdb::StringTable<'_>,
    files: &mut BTreeMap<u32, Option<u32>>,
    map: &AddressMap<'_>,
    builder: &mut Builder,
) {
    let mut lines = program.lines();
    while let Ok(Some(line)) = lines.next() {
        let Some(rva) = line.offset.to_rva(map) else {
            continue;
        };
        let Ok(file) = program.get_file_info(line.file_index) else {
            continue;
        };
        let offset = *files.entry(file.name.0).or_insert_with(|| {
            let name: Cow<'_, str> = file.name.to_string_lossy(strings).ok()?;
            builder.text(&name)
        });
        if let Some(offset) = offset {
            builder.line(rva.0, offset, line.line_start);
        }
    }
}

/// The file as the crate's source. Refuses views that are longer than the file, and all further
/// ones when their sum passes [`VIEW_FACTOR`] times its length: a stream table can name one
/// block many times.
#[derive(Debug)]
pub(super) struct Bytes<'a> {
    data: &'a [u8],
    /// The owner of `data`, when views may hold on to it.
    owner: Option<&'a Arc<Vec<u8>>>,
    left: u64,
}

impl<'a> Bytes<'a> {
    fn new(data: &'a [u8]) -> Bytes<'a> {
        let left = (data.len() as u64).saturating_mul(VIEW_FACTOR);
        Bytes {
            data,
            owner: None,
            left,
        }
    }

    /// A source whose views share the file's bytes where a stream lies in one piece.
    fn shared(owner: &'a Arc<Vec<u8>>) -> Bytes<'a> {
        Bytes {
            owner: Some(owner),
            ..Bytes::new(owner)
        }
    }
}

/// A part of the file. The crate wants views that borrow nothing, so it is a share of the whole
/// where it lies in one piece, and a copy elsewhere.
#[derive(Debug)]
enum Viewed {
    Shared(Arc<Vec<u8>>, Range<usize>),
    Copied(Vec<u8>),
}

impl SourceView<'_> for Viewed {
    fn as_slice(&self) -> &[u8] {
        match self {
            Viewed::Shared(owner, range) => owner.get(range.clone()).unwrap_or_default(),
            Viewed::Copied(bytes) => bytes,
        }
    }
}

impl<'a> Source<'a> for Bytes<'a> {
    fn view(&mut self, slices: &[SourceSlice]) -> Result<Box<dyn SourceView<'a>>, io::Error> {
        let refused = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let mut total = 0usize;
        for slice in slices {
            total = total.checked_add(slice.size).ok_or_else(refused)?;
        }
        self.left = self.left.checked_sub(total as u64).ok_or_else(refused)?;
        if total > self.data.len() {
            return Err(refused());
        }
        let range = |slice: &SourceSlice| {
            let start = usize::try_from(slice.offset).ok()?;
            let range = start..start.checked_add(slice.size)?;
            (range.end <= self.data.len()).then_some(range)
        };
        if let ([whole], Some(owner)) = (slices, self.owner) {
            let range = range(whole).ok_or_else(refused)?;
            return Ok(Box::new(Viewed::Shared(Arc::clone(owner), range)));
        }
        let mut copy = Vec::with_capacity(total);
        for slice in slices {
            let part = range(slice).and_then(|range| self.data.get(range));
            copy.extend_from_slice(part.ok_or_else(refused)?);
        }
        Ok(Box::new(Viewed::Copied(copy)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock(block: u32, blocks: u32, directory: u32, len: usize) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for value in [block, 1, blocks, directory, 0, 3] {
            bytes.extend(value.to_le_bytes());
        }
        bytes.resize(len, 0);
        bytes
    }

    #[test]
    fn a_superblock_that_promises_more_than_the_file_is_refused_before_parsing() {
        let expected = 4096 * 0xFFFF_FFFF_u64;
        assert_eq!(
            index(superblock(4096, u32::MAX, 64, 8192)).unwrap_err(),
            PdbError::Truncated {
                expected,
                present: 8192
            }
        );
        for bad in [
            superblock(4096, 2, u32::MAX, 8192),
            superblock(0, 2, 64, 8192),
            superblock(3000, 2, 64, 8192),
            superblock(4096, 2, 64, 8192),
        ] {
            assert!(matches!(index(bad), Err(PdbError::Damaged(_))));
        }
        assert_eq!(
            index(b"Microsoft C/C++ program database 2.00".to_vec()).unwrap_err(),
            PdbError::NotAPdb
        );
    }
}
