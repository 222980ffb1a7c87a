//! Dumps inside archives: zip, cabinet and gzip, nested once. Bounded by bytes and members whatever
//! the archive claims; nothing is unpacked next to it.

mod cabinet;
mod gzip;
mod reader;
mod zipped;

use std::io::{self, Read};

use crate::bytes::{ReadAt, contained};
use crate::source::{ErrorKind, FileKind, Source, SourceError, SourceInfo, identify};

use super::UnpackLimits;
use super::pulse::Pulse;
use reader::{Spooled, spool};

/// Archives inside an archive that are opened.
const NESTED: u32 = 1;
/// Bytes of a member that are unpacked to see what it is.
const LOOK: usize = 64 * 1024;

/// Kinds of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// Zip.
    Zip,
    /// Microsoft cabinet.
    Cabinet,
    /// Gzip.
    Gzip,
}

impl ArchiveKind {
    /// The kind by leading bytes.
    pub fn of(prefix: &[u8]) -> Option<ArchiveKind> {
        if prefix.starts_with(b"PK\x03\x04") || prefix.starts_with(b"PK\x05\x06") {
            Some(ArchiveKind::Zip)
        } else if prefix.starts_with(b"MSCF\0\0\0\0") {
            Some(ArchiveKind::Cabinet)
        } else if prefix.starts_with(b"\x1F\x8B\x08") {
            Some(ArchiveKind::Gzip)
        } else {
            None
        }
    }
}

/// One dump in an archive, or a member that could not be read.
pub struct Member {
    /// Names from the outermost archive's member inwards.
    pub names: Vec<String>,
    /// The dump.
    pub content: Result<Source, SourceError>,
}

/// What is left of the limits for one file found.
pub struct Allowance {
    bytes: u64,
    members: u64,
}

impl Allowance {
    /// All of it.
    pub fn new(limits: &UnpackLimits) -> Allowance {
        Allowance {
            bytes: limits.bytes,
            members: limits.members,
        }
    }

    fn member(&mut self) -> Result<(), SourceError> {
        match self.members.checked_sub(1) {
            Some(left) => {
                self.members = left;
                Ok(())
            }
            None => Err(SourceError::new(
                ErrorKind::Limit,
                "the archive has more members than are looked at",
            )),
        }
    }
}

/// Gives every dump in the archive to `take`, and every member that could not be read. Members that
/// are no dumps are passed over.
///
/// # Errors
/// [`SourceError`] when the archive itself cannot be read or has more than the limits allow; what
/// was given before holds.
pub fn open(
    kind: ArchiveKind,
    bytes: &dyn ReadAt,
    allowance: &mut Allowance,
    pulse: &Pulse,
    take: &mut dyn FnMut(Member),
) -> Result<(), SourceError> {
    let mut walk = Unpack {
        allowance,
        pulse,
        take,
    };
    walk.archive(kind, bytes, &[], 0)
}

struct Unpack<'a> {
    allowance: &'a mut Allowance,
    pulse: &'a Pulse,
    take: &'a mut dyn FnMut(Member),
}

impl Unpack<'_> {
    fn archive(
        &mut self,
        kind: ArchiveKind,
        bytes: &dyn ReadAt,
        outer: &[String],
        depth: u32,
    ) -> Result<(), SourceError> {
        let walked = contained(|| match kind {
            ArchiveKind::Zip => zipped::walk(self, bytes, outer, depth),
            ArchiveKind::Cabinet => cabinet::walk(self, bytes, outer, depth),
            ArchiveKind::Gzip => gzip::walk(self, bytes, outer, depth),
        });
        walked.unwrap_or_else(|_| Err(broken("the archive is damaged")))
    }

    /// Looks at one member, whose unpacked bytes `content` gives. An error of the limits ends the
    /// archive, one of the content is the member's.
    fn member(
        &mut self,
        name: String,
        outer: &[String],
        depth: u32,
        content: &mut dyn Read,
    ) -> Result<(), SourceError> {
        let mut names = outer.to_vec();
        names.push(name);
        let failed = |names, error| Member {
            names,
            content: Err(error),
        };
        let mut prefix = Vec::new();
        if let Err(error) = content.take(LOOK as u64).read_to_end(&mut prefix) {
            (self.take)(failed(names, unpacking(&error)));
            return Ok(());
        }
        let nested = ArchiveKind::of(&prefix);
        let kind = identify(&prefix, prefix.len() as u64);
        let wanted = kind.is_dump() || kind == FileKind::CutSignature;
        match nested {
            Some(_) if depth >= NESTED => {
                let error = SourceError::new(
                    ErrorKind::Compressed,
                    "an archive in an archive in an archive: not looked into",
                );
                (self.take)(failed(names, error));
                return Ok(());
            }
            None if !wanted => return Ok(()),
            _ => {}
        }
        let mut whole = io::Cursor::new(prefix).chain(content);
        let spooled = match spool(&mut whole, &mut self.allowance.bytes, self.pulse) {
            Ok(Spooled::Bytes(bytes)) => bytes,
            Ok(Spooled::OverLimit) => {
                return Err(SourceError::new(
                    ErrorKind::Limit,
                    "the archive unpacks to more bytes than are allowed: --limit-unpacked",
                ));
            }
            Err(error) => {
                (self.take)(failed(names, unpacking(&error)));
                return Ok(());
            }
        };
        match nested {
            Some(nested) => {
                let held = self.archive(nested, spooled.as_ref(), &names, depth + 1);
                if let Err(error) = held {
                    if error.kind == ErrorKind::Limit {
                        return Err(error);
                    }
                    (self.take)(failed(names, error));
                }
            }
            None => {
                let info = SourceInfo {
                    size: Some(spooled.len()),
                    ..SourceInfo::default()
                };
                (self.take)(Member {
                    names,
                    content: Ok(Source::new(info, spooled)),
                });
            }
        }
        Ok(())
    }

    fn unreadable(&mut self, name: String, outer: &[String], error: SourceError) {
        let mut names = outer.to_vec();
        names.push(name);
        (self.take)(Member {
            names,
            content: Err(error),
        });
    }
}

fn broken(what: &str) -> SourceError {
    SourceError::new(ErrorKind::Truncated, format!("{what}: copy it again"))
}

fn unpacking(error: &io::Error) -> SourceError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
            broken("the archive is damaged or cut")
        }
        io::ErrorKind::Unsupported => SourceError::new(
            ErrorKind::Unsupported,
            "packed with a method that is not read: unpack it first",
        ),
        _ => SourceError::new(ErrorKind::Io, format!("{error} while unpacking")),
    }
}
