//! Dumps inside archives: zip, cabinet, tar, 7-Zip, and files packed by gzip, xz, bzip2 or Zstandard, nested once.
//! Bounded by bytes, members and time whatever an archive claims; nothing is unpacked next to it. What
//! cannot be opened is said to be not looked into, never to hold no dump.

mod cabinet;
mod meter;
mod reader;
mod sevenz;
mod streams;
mod tarball;
mod zipped;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read};

use crate::bytes::{ReadAt, contained};
use crate::knowledge::wer_report as wer;
use crate::source::{ErrorKind, FileKind, LARGEST_PART, Source, SourceError, SourceInfo, identify};

use super::pulse::Pulse;
pub use meter::Meter;
use meter::Paid;
use reader::{Stream, spool};

/// Archives inside an archive that are opened.
const NESTED: u32 = 1;
/// Bytes of a member that are unpacked to see what it is.
const LOOK: usize = 64 * 1024;
/// Longest name of a member that is kept, in bytes.
const NAME: usize = 1024;
/// Name of what a packed file holds where it does not say.
const CONTENT: &str = "content";

/// Kinds of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    /// Zip.
    Zip,
    /// Microsoft cabinet.
    Cabinet,
    /// Tar.
    Tar,
    /// 7-Zip.
    SevenZip,
    /// One file packed by gzip.
    Gzip,
    /// One file packed by xz.
    Xz,
    /// One file packed by bzip2.
    Bzip2,
    /// One file packed by Zstandard.
    Zstd,
}

impl ArchiveKind {
    /// The kind by leading bytes; 512 are enough.
    pub fn of(prefix: &[u8]) -> Option<ArchiveKind> {
        let begins = |magic: &[u8]| prefix.starts_with(magic);
        if begins(b"PK\x03\x04") || begins(b"PK\x05\x06") || begins(b"PK\x07\x08PK\x03\x04") {
            Some(ArchiveKind::Zip)
        } else if begins(b"MSCF\0\0\0\0") {
            Some(ArchiveKind::Cabinet)
        } else if begins(b"7z\xBC\xAF\x27\x1C") {
            Some(ArchiveKind::SevenZip)
        } else if begins(b"\x1F\x8B\x08") {
            Some(ArchiveKind::Gzip)
        } else if begins(b"\xFD7zXZ\0") {
            Some(ArchiveKind::Xz)
        } else if begins(b"BZh") && prefix.get(4..10) == Some(b"1AY&SY") {
            Some(ArchiveKind::Bzip2)
        } else if begins(b"\x28\xB5\x2F\xFD") {
            Some(ArchiveKind::Zstd)
        } else if is_tar(prefix) {
            Some(ArchiveKind::Tar)
        } else {
            None
        }
    }
}

/// A first header whose checksum is right: it is the sum of all bytes with spaces in its own place (POSIX.1
/// `pax`, ustar). Archives from before ustar have no other mark.
fn is_tar(prefix: &[u8]) -> bool {
    let Some(header) = prefix.first_chunk::<512>() else {
        return false;
    };
    let field = &header[148..156];
    let text = String::from_utf8_lossy(field);
    let stated = u32::from_str_radix(text.trim_matches(['\0', ' ']), 8);
    let others = header.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let own = field.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    header[0] != 0 && stated == Ok(others - own + 8 * u32::from(b' '))
}

/// One dump in an archive, or a member that could not be read.
pub struct Member {
    /// Names from the outermost archive's member inwards.
    pub names: Vec<String>,
    /// The dump.
    pub content: Result<Source, SourceError>,
    /// It is no dump but a file of the error report about one.
    pub is_part: bool,
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
    meter: &Meter,
    pulse: &Pulse,
    take: &mut dyn FnMut(Member),
) -> Result<(), SourceError> {
    let mut walk = Unpack {
        meter,
        pulse,
        take,
        given: HashMap::new(),
    };
    let walked = walk.archive(kind, bytes, &[], 0);
    // What a library made of a failed read or of a limit is not what happened.
    match meter.stopped() {
        Some(reason) => Err(reason),
        None => walked,
    }
}

struct Unpack<'a> {
    meter: &'a Meter,
    pulse: &'a Pulse,
    take: &'a mut dyn FnMut(Member),
    /// How often a name was given, by its hash.
    given: HashMap<u64, u32>,
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
            ArchiveKind::SevenZip => sevenz::walk(self, bytes, outer, depth),
            ArchiveKind::Tar => {
                tarball::walk(self, &mut Stream::new(bytes, self.meter), outer, depth)
            }
            ArchiveKind::Gzip | ArchiveKind::Xz | ArchiveKind::Bzip2 | ArchiveKind::Zstd => {
                self.stream(kind, bytes, outer, depth)
            }
        });
        walked.unwrap_or_else(|_| Err(self.reason(broken("the archive is damaged"))))
    }

    /// The one file that was packed; a packed tar archive is one archive, not two.
    fn stream(
        &mut self,
        kind: ArchiveKind,
        bytes: &dyn ReadAt,
        outer: &[String],
        depth: u32,
    ) -> Result<(), SourceError> {
        let meter = self.meter;
        meter.member()?;
        let (name, mut content) = streams::open(kind, Stream::new(bytes, meter))
            .map_err(|error| self.unpacking(&error))?;
        let name = name.map_or_else(|| CONTENT.to_owned(), |name| capped(&name));
        self.look_into(name, outer, depth, &mut *content, true)
            .map(|_| ())
    }

    /// Looks at one member, whose unpacked bytes `content` gives; false when they could not be had, which
    /// was reported. An error of the limits ends the archive, one of the content is the member's.
    fn member(
        &mut self,
        name: String,
        outer: &[String],
        depth: u32,
        content: &mut dyn Read,
    ) -> Result<bool, SourceError> {
        self.look_into(name, outer, depth, content, false)
    }

    fn look_into(
        &mut self,
        name: String,
        outer: &[String],
        depth: u32,
        content: &mut dyn Read,
        alone: bool,
    ) -> Result<bool, SourceError> {
        let meter = self.meter;
        let mut content = Paid::new(content, meter);
        let mut names = outer.to_vec();
        names.push(name);
        let mut prefix = Vec::new();
        let begun = (&mut content).take(LOOK as u64).read_to_end(&mut prefix);
        let nested = ArchiveKind::of(&prefix);
        let kind = identify(&prefix, prefix.len() as u64);
        let wanted = kind.is_dump() || kind == FileKind::CutSignature;
        if let Err(error) = begun {
            return self.failed(names, &error);
        }
        if let FileKind::Foreign(foreign) = kind
            && nested.is_none()
            && foreign.may_hold_dumps()
        {
            let error = SourceError::new(
                ErrorKind::Compressed,
                format!(
                    "{}: not looked into: {}",
                    foreign.what,
                    foreign.advice_in_scan()
                ),
            );
            self.give(names, Err(error));
            return Ok(true);
        }
        let mut whole = io::Cursor::new(prefix).chain(content);
        match nested {
            // A packed tar archive: its members as they come.
            Some(ArchiveKind::Tar) if alone => {
                let walked = contained(|| tarball::walk(self, &mut whole, outer, depth));
                return walked
                    .unwrap_or_else(|_| Err(self.reason(broken("the tar archive is damaged"))))
                    .map(|()| true);
            }
            Some(_) if depth >= NESTED => {
                let error = SourceError::new(
                    ErrorKind::Compressed,
                    "an archive in an archive in an archive: not looked into: unpack it first",
                );
                self.give(names, Err(error));
                return Ok(true);
            }
            None if !wanted => {
                self.part(names, &mut whole);
                return Ok(true);
            }
            _ => {}
        }
        let spooled = match spool(&mut whole, self.pulse) {
            Ok(bytes) => bytes,
            Err(error) => return self.failed(names, &error),
        };
        match nested {
            Some(nested) => {
                if let Err(error) = self.archive(nested, spooled.as_ref(), &names, depth + 1) {
                    if let Some(reason) = meter.stopped() {
                        return Err(reason);
                    }
                    self.give(names, Err(error));
                }
            }
            None => {
                let info = SourceInfo {
                    size: Some(spooled.len()),
                    ..SourceInfo::default()
                };
                self.give(names, Ok(Source::new(info, spooled)));
            }
        }
        Ok(true)
    }

    /// A member whose content could not be had, unless nothing more is to be read at all: that is the
    /// archive's then.
    fn failed(&mut self, names: Vec<String>, error: &io::Error) -> Result<bool, SourceError> {
        if let Some(reason) = self.meter.stopped() {
            return Err(reason);
        }
        let error = self.unpacking(error);
        self.give(names, Err(error));
        Ok(false)
    }

    /// Gives a member. A name that was given before has its number behind it: an archive may hold two of one name, and
    /// a report has to say which it is about.
    fn give(&mut self, mut names: Vec<String>, content: Result<Source, SourceError>) {
        let mut hash = DefaultHasher::new();
        names.hash(&mut hash);
        let times = self.given.entry(hash.finish()).or_default();
        *times += 1;
        if *times > 1
            && let Some(last) = names.last_mut()
        {
            last.push_str(&format!(" ({times})"));
        }
        self.meter.outside(|| {
            (self.take)(Member {
                names,
                content,
                is_part: false,
            })
        });
    }

    /// Gives a member that is a file of an error report, as much of it as is read of one.
    fn part(&mut self, names: Vec<String>, content: &mut dyn Read) {
        let last = names.last().map(String::as_str).unwrap_or_default();
        let file = last.rsplit(['\\', '/']).next().unwrap_or(last);
        if !wer::is_part(file) {
            return;
        }
        let mut bytes = Vec::new();
        // One that breaks off is read as far as it goes.
        let _ = content.take(LARGEST_PART).read_to_end(&mut bytes);
        let info = SourceInfo {
            size: Some(bytes.len() as u64),
            ..SourceInfo::default()
        };
        let member = Member {
            names,
            content: Ok(Source::new(info, Box::new(bytes))),
            is_part: true,
        };
        self.meter.outside(|| (self.take)(member));
    }

    fn unreadable(&mut self, name: String, outer: &[String], error: SourceError) {
        let mut names = outer.to_vec();
        names.push(name);
        self.give(names, Err(error));
    }

    /// Why it really ended, where that is not what a library says.
    fn reason(&self, said: SourceError) -> SourceError {
        self.meter.stopped().unwrap_or(said)
    }

    /// What a library's error means.
    fn unpacking(&self, error: &io::Error) -> SourceError {
        self.reason(match error.kind() {
            io::ErrorKind::Unsupported => unknown_method(),
            io::ErrorKind::InvalidData if error.to_string().contains("Quantum") => unknown_method(),
            io::ErrorKind::OutOfMemory => SourceError::new(
                ErrorKind::Limit,
                "unpacking it needs more memory than is given to a file: not looked into: unpack it first",
            ),
            _ if error.to_string().contains("temporary files") => {
                SourceError::new(ErrorKind::Io, format!("{error} while unpacking"))
            }
            _ => broken("the archive is damaged or cut"),
        })
    }
}

/// A member's name, cut where it is longer than any real one.
fn capped(name: &str) -> String {
    if name.len() <= NAME {
        return name.to_owned();
    }
    let mut end = NAME;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}\u{2026}", name.get(..end).unwrap_or_default())
}

fn broken(what: &str) -> SourceError {
    SourceError::new(ErrorKind::Truncated, format!("{what}: copy it again"))
}

fn unknown_method() -> SourceError {
    SourceError::new(
        ErrorKind::Unsupported,
        "packed with a method that is not read: not looked into: unpack it first",
    )
}

fn encrypted() -> SourceError {
    SourceError::new(
        ErrorKind::Unsupported,
        "encrypted: not looked into: unpack it with its password first",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tar_archive_from_before_ustar_is_known_by_its_checksum() {
        let mut header = [0u8; 512];
        header[..5].copy_from_slice(b"a.dmp");
        header[124..135].copy_from_slice(b"00000000010");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert_eq!(ArchiveKind::of(&header), Some(ArchiveKind::Tar));
        header[0] = b'b';
        assert_eq!(ArchiveKind::of(&header), None);
        assert_eq!(ArchiveKind::of(&[0; 512]), None);
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(capped("short"), "short");
        let cut = capped(&"\u{E4}".repeat(2000));
        assert!(cut.len() <= NAME + 3);
        assert!(cut.ends_with('\u{2026}'));
    }
}
