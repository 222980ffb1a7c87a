//! Members of a 7-Zip archive, by the `sevenz-rust2` library. Its counts are bounded by the size of its directory, which is
//! bounded here, and so are the dictionaries of its coders; each block is unpacked once, whatever its members are.

use std::io;
use std::sync::{Mutex, TryLockError};
use std::thread;
use std::time::Duration;

use sevenz_rust2::{Archive, BlockDecoder, Error, Password};

use super::meter::Paid;
use super::reader::Stream;
use super::{Unpack, broken, capped, encrypted, unknown_method};
use crate::bytes::ReadAt;
use crate::source::{ErrorKind, SourceError};

/// Largest directory and its coder's memory, in KiB: 7-Zip packs a directory with a dictionary of 1 MiB. A directory may
/// claim as many members as it has bytes, of which the library makes 150 bytes each.
const DIRECTORY: usize = 1056;
/// Members held at most: a real archive's names alone take more of its directory.
const MOST_MEMBERS: usize = 50_000;
/// Memory of all coders of a block, in KiB: a dictionary of 64 MiB, as for the other formats, and what goes with it.
const CODERS: usize = 66 * 1024;
/// One directory is read at a time, whatever the number of workers: what it may take is the most of all.
static READING: Mutex<()> = Mutex::new(());
/// How often and for how long another one's end is waited for.
const TURNS: u32 = 600;
const TURN: Duration = Duration::from_millis(50);

pub(super) fn walk(
    unpack: &mut Unpack<'_>,
    bytes: &dyn ReadAt,
    outer: &[String],
    depth: u32,
) -> Result<(), SourceError> {
    let password = Password::empty();
    let mut input = Stream::new(bytes, unpack.meter);
    let archive = directory(&mut input, &password).map_err(|error| reason(unpack, &error))?;
    if archive.files.len() > MOST_MEMBERS {
        return Err(SourceError::new(
            ErrorKind::Limit,
            "the 7-Zip archive has more members than are looked at: not looked into",
        ));
    }
    for (number, block) in archive.blocks.iter().enumerate() {
        // The limit is each coder's own.
        let memory = CODERS / block.coders.len().max(1);
        let decoder =
            BlockDecoder::new_with_memory_limit(1, memory, number, &archive, &password, &mut input);
        let names: Vec<String> = decoder
            .entries()
            .iter()
            .filter(|entry| entry.has_stream)
            .map(|entry| capped(entry.name()))
            .collect();
        let mut seen = 0usize;
        // What ends the whole archive, not this member.
        let mut ended: Option<SourceError> = None;
        let result = decoder.for_each_entries(&mut |entry, content| {
            if !entry.has_stream {
                return Ok(true);
            }
            seen += 1;
            let name = capped(entry.name());
            let member = unpack
                .meter
                .member()
                .and_then(|()| unpack.member(name, outer, depth, content));
            match member {
                Ok(true) => {
                    // What is passed over costs as much as what is read.
                    io::copy(&mut Paid::new(content, unpack.meter), &mut io::sink())?;
                    Ok(true)
                }
                Ok(false) => Ok(false),
                Err(error) => {
                    ended = Some(error);
                    Ok(false)
                }
            }
        });
        if let Some(error) = ended {
            return Err(error);
        }
        if let Some(stopped) = unpack.meter.stopped() {
            return Err(stopped);
        }
        let left = names.get(seen..).unwrap_or_default();
        match result {
            Ok(_) if left.is_empty() => {}
            Ok(_) => {
                let error =
                    broken("the 7-Zip archive is damaged: what is packed behind a damaged member");
                for name in left {
                    unpack.unreadable(name.clone(), outer, error.clone());
                }
            }
            Err(error) => {
                let error = reason(unpack, &error);
                // Where the last of them failed, it is the one that was damaged.
                let failed = match left.is_empty() {
                    true => names.last().into_iter().cloned().collect(),
                    false => left.to_vec(),
                };
                for name in failed {
                    unpack.unreadable(name, outer, error.clone());
                }
            }
        }
    }
    Ok(())
}

/// The archive's directory.
fn directory(input: &mut Stream<'_>, password: &Password) -> Result<Archive, Error> {
    let mut turn = 0;
    let _mine = loop {
        match READING.try_lock() {
            Ok(mine) => break Some(mine),
            // Nothing is left half done by a panic in there.
            Err(TryLockError::Poisoned(mine)) => break Some(mine.into_inner()),
            Err(TryLockError::WouldBlock) if turn < TURNS => {
                turn += 1;
                thread::sleep(TURN);
            }
            // A read that never comes back holds it.
            Err(TryLockError::WouldBlock) => {
                let busy = io::Error::from(io::ErrorKind::OutOfMemory);
                return Err(Error::from(busy));
            }
        }
    };
    Archive::read_with_memory_limit(input, password, DIRECTORY)
}

/// What the library's error means.
fn reason(unpack: &Unpack<'_>, error: &Error) -> SourceError {
    match error {
        Error::Io(error, _) | Error::MaybeBadPassword(error) => unpack.unpacking(error),
        Error::MaxMemLimited { .. } => unpack.unpacking(&io::ErrorKind::OutOfMemory.into()),
        Error::PasswordRequired => encrypted(),
        Error::UnsupportedCompressionMethod(name) if name.contains("AES") => encrypted(),
        Error::UnsupportedCompressionMethod(_)
        | Error::Unsupported(_)
        | Error::UnsupportedVersion { .. } => unknown_method(),
        _ => unpack.reason(broken("the 7-Zip archive is cut or damaged")),
    }
}
