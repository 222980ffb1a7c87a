//! Members of a Microsoft cabinet, what Windows Error Reporting uploads. Its directory is read here
//! (MS-CAB 2.3 and 2.4); folders are unpacked by the `cab` library, each of them once.
//!
//! The library finds a member by its name and unpacks its folder from the start for each one. So it is
//! shown the same cabinet with another directory, in which each folder is one file.

use std::collections::BTreeMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};

use cab::Cabinet;

use super::meter::{Exactly, Paid};
use super::reader::Stream;
use super::{Unpack, broken, capped};
use crate::bytes::{ReadAt, ReadError};
use crate::source::{ErrorKind, SourceError};

/// Offsets in CFHEADER: coffFiles, cFolders, cFiles.
const FILES_AT: u64 = 0x10;
const FOLDERS: u64 = 0x1A;
const FILES: u64 = 0x1C;
/// Bytes of CFFILE before its name.
const FILE: usize = 16;
/// Longest name of a file, in bytes, and its end.
const NAME: u64 = 257;
/// Folder numbers from here on are of files that another cabinet begins or ends.
const ELSEWHERE: u16 = 0xFFFD;
/// Most folders: no program makes more than a few.
const MOST_FOLDERS: u16 = 4096;
/// Bytes between the cabinet's end and the directory shown to the library, which reads nothing there.
const GAP: u64 = 1 << 20;

/// One file of a folder, and where it lies in the folder's unpacked bytes.
struct File {
    at: u32,
    size: u32,
    name: String,
}

pub(super) fn walk(
    unpack: &mut Unpack<'_>,
    bytes: &dyn ReadAt,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    let damaged = |unpack: &Unpack<'_>| {
        unpack.reason(broken("the cabinet is cut, damaged or of another format"))
    };
    let folders = directory(unpack, bytes, outer)?;
    let shown = Shown::new(bytes, &folders).ok_or_else(|| damaged(unpack))?;
    let mut cabinet =
        Cabinet::new(Stream::new(&shown, unpack.meter)).map_err(|_| damaged(unpack))?;
    for (number, files) in folders {
        match cabinet.read_file(&number.to_string()) {
            Ok(mut content) => folder(unpack, &mut content, files, outer, depth)?,
            Err(error) => {
                let error = unpack.unpacking(&error);
                for file in files {
                    unpack.unreadable(file.name, outer, error.clone());
                }
            }
        }
    }
    Ok(())
}

/// The files of one folder in the order of their bytes, unpacked in one pass.
fn folder(
    unpack: &mut Unpack<'_>,
    content: &mut dyn Read,
    files: Vec<File>,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    let meter = unpack.meter;
    let mut at = 0u64;
    let mut files = files.into_iter();
    while let Some(file) = files.next() {
        let (start, size) = (u64::from(file.at), u64::from(file.size));
        let Some(gap) = start.checked_sub(at) else {
            let error = broken("it lies in the bytes of another member");
            unpack.unreadable(file.name, outer, error);
            continue;
        };
        let mut skipped = Exactly::new(&mut *content, gap);
        let name = file.name.clone();
        let mut result = io::copy(&mut Paid::new(&mut skipped, meter), &mut io::sink()).map(|_| ());
        if result.is_ok() {
            let mut own = Exactly::new(&mut *content, size);
            result = match unpack.member(file.name, outer, depth, &mut own)? {
                // It was reported already.
                false => Err(io::ErrorKind::UnexpectedEof.into()),
                true => io::copy(&mut Paid::new(&mut own, meter), &mut io::sink()).map(|_| ()),
            };
            if result.is_err() {
                let left = files.len();
                return match left {
                    0 => Ok(()),
                    _ => Err(unpack.reason(broken(&format!(
                        "the cabinet is damaged: members behind {name} that cannot be read: {left}"
                    )))),
                };
            }
        }
        if let Err(error) = result {
            let error = unpack.unpacking(&error);
            unpack.unreadable(name, outer, error.clone());
            return Err(error);
        }
        at = start.saturating_add(size);
    }
    Ok(())
}

/// The files by folder, in the order in which they lie there.
fn directory(
    unpack: &mut Unpack<'_>,
    bytes: &dyn ReadAt,
    outer: &[String],
) -> Result<BTreeMap<u16, Vec<File>>, SourceError> {
    let damaged = |unpack: &Unpack<'_>| {
        unpack.reason(broken("the cabinet is cut, damaged or of another format"))
    };
    let mut input = BufReader::new(Stream::new(bytes, unpack.meter));
    let mut header = [0; 0x20];
    let mut count = || -> io::Result<(u16, u16)> {
        input.read_exact(&mut header)?;
        input.seek(SeekFrom::Start(u64::from(u32_at(
            &header,
            FILES_AT as usize,
        ))))?;
        Ok((
            u16_at(&header, FOLDERS as usize),
            u16_at(&header, FILES as usize),
        ))
    };
    let (folder_count, files) = count().map_err(|_| damaged(unpack))?;
    if folder_count > MOST_FOLDERS {
        return Err(SourceError::new(
            ErrorKind::Limit,
            "the cabinet has more folders than any program makes",
        ));
    }
    let mut folders: BTreeMap<u16, Vec<File>> = BTreeMap::new();
    for _ in 0..files {
        unpack.meter.member()?;
        let mut fixed = [0; FILE];
        let mut name = Vec::new();
        let read = input
            .read_exact(&mut fixed)
            .and_then(|()| io::BufRead::read_until(&mut (&mut input).take(NAME), 0, &mut name));
        if read.is_err() || name.pop() != Some(0) {
            return Err(damaged(unpack));
        }
        let name = capped(&String::from_utf8_lossy(&name));
        let number = u16_at(&fixed, 8);
        if number >= ELSEWHERE {
            let error = SourceError::new(
                ErrorKind::Compressed,
                "a part of it is in another cabinet: not looked into: unpack the whole set first",
            );
            unpack.unreadable(name, outer, error);
        } else if number >= folder_count {
            return Err(damaged(unpack));
        } else {
            folders.entry(number).or_default().push(File {
                at: u32_at(&fixed, 4),
                size: u32_at(&fixed, 0),
                name,
            });
        }
    }
    for files in folders.values_mut() {
        files.sort_by_key(|file| file.at);
    }
    Ok(folders)
}

/// The cabinet as the library is shown it: with a directory behind its end that has one file for each folder.
struct Shown<'a> {
    bytes: &'a dyn ReadAt,
    /// Where the directory lies.
    at: u64,
    directory: Vec<u8>,
    files: u16,
}

impl<'a> Shown<'a> {
    fn new(bytes: &'a dyn ReadAt, folders: &BTreeMap<u16, Vec<File>>) -> Option<Shown<'a>> {
        let mut directory = Vec::new();
        for number in folders.keys() {
            // All of it, wherever that ends.
            directory.extend_from_slice(&u32::MAX.to_le_bytes());
            directory.extend_from_slice(&0u32.to_le_bytes());
            directory.extend_from_slice(&number.to_le_bytes());
            directory.extend_from_slice(&[0; 6]);
            directory.extend_from_slice(number.to_string().as_bytes());
            directory.push(0);
        }
        let at = bytes.len().checked_add(GAP)?;
        u32::try_from(at).ok()?;
        Some(Shown {
            bytes,
            at,
            directory,
            files: u16::try_from(folders.len()).ok()?,
        })
    }
}

impl ReadAt for Shown<'_> {
    fn len(&self) -> u64 {
        self.at.saturating_add(self.directory.len() as u64)
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        if let Some(offset) = at.checked_sub(self.at) {
            return self.directory.read_at(offset, buf);
        }
        let read = self.bytes.read_at(at, buf)?;
        let place = u32::try_from(self.at).unwrap_or(u32::MAX).to_le_bytes();
        for (field, value) in [
            (FILES_AT, place.as_slice()),
            (FILES, &self.files.to_le_bytes()),
        ] {
            for (offset, byte) in (field..).zip(value) {
                let index = offset.checked_sub(at).and_then(|i| usize::try_from(i).ok());
                let part = buf.get_mut(..read).unwrap_or_default();
                if let Some(slot) = index.and_then(|index| part.get_mut(index)) {
                    *slot = *byte;
                }
            }
        }
        Ok(read)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    let two = bytes.get(at..).and_then(|rest| rest.first_chunk());
    two.map_or(0, |two| u16::from_le_bytes(*two))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    four.map_or(0, |four| u32::from_le_bytes(*four))
}
