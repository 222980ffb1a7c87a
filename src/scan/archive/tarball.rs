//! Members of a tar archive, by the `tar` library, as they come: nothing is sought, so that a packed one
//! is never held whole.

use std::cell::Cell;
use std::io::{self, Read};

use super::meter::{Exactly, Paid};
use super::{Unpack, broken, capped};
use crate::source::SourceError;

/// Most bytes of headers, long names and attributes between two members.
const HEADERS: u64 = 1024 * 1024;

/// The archive's bytes, of which headers may take only so many: the library holds those in memory.
struct Guarded<'a> {
    input: &'a mut dyn Read,
    room: &'a Cell<u64>,
}

impl Read for Guarded<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buf)?;
        match self.room.get().checked_sub(read as u64) {
            Some(room) => self.room.set(room),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(read)
    }
}

pub(super) fn walk(
    unpack: &mut Unpack<'_>,
    input: &mut dyn Read,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    let meter = unpack.meter;
    let room = Cell::new(HEADERS);
    let mut archive = tar::Archive::new(Guarded { input, room: &room });
    let damaged = |unpack: &Unpack<'_>, _: io::Error| {
        unpack.reason(broken("the tar archive is cut or damaged"))
    };
    let mut entries = archive.entries().map_err(|error| damaged(unpack, error))?;
    loop {
        room.set(HEADERS);
        let mut entry = match entries.next() {
            None => return Ok(()),
            Some(Ok(entry)) => entry,
            Some(Err(error)) => return Err(damaged(unpack, error)),
        };
        room.set(u64::MAX);
        meter.member()?;
        let kind = entry.header().entry_type();
        let name = capped(&String::from_utf8_lossy(&entry.path_bytes()));
        let size = entry.size();
        let mut content = Exactly::new(&mut entry, size);
        if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            unpack.member(name, outer, depth, &mut content)?;
        }
        // What was not looked at is paid for as well.
        io::copy(&mut Paid::new(&mut content, meter), &mut io::sink())
            .map_err(|error| damaged(unpack, error))?;
    }
}
