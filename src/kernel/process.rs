//! The current process's name: EPROCESS.ImageFileName, whose offset moves between builds.

use crate::bytes::View;
use crate::machine::Machine;

/// Bytes of EPROCESS.ImageFileName up to Windows 7 (15 later, with the same terminator rule).
const ROOM: usize = 15;

/// First and last build, architecture, offset of EPROCESS.ImageFileName in bytes. Builds 6000 to
/// 6002 and later ones from Microsoft's public symbols, the later each checked on
/// a real dump. A build in no row has no name: the offset is never guessed.
const IMAGE_FILE_NAME: &[(u32, u32, Machine, usize)] = &[
    (6000, 6001, Machine::X86, 0x14C),
    (6000, 6001, Machine::X64, 0x238),
    (6002, 6002, Machine::X86, 0x14C),
    (6002, 6002, Machine::X64, 0x238),
    (7600, 7601, Machine::X86, 0x16C),
    (7600, 7601, Machine::X64, 0x2E0),
    (19041, 19045, Machine::X64, 0x5A8),
    (22000, 22000, Machine::Arm64, 0x560),
    (26100, 26100, Machine::X64, 0x338),
];

/// The name in a copy of EPROCESS. `None` when the build's layout is not known, or when the bytes
/// there are no printable, terminated name.
pub fn image_file_name(eprocess: &[u8], build: u32, machine: Machine) -> Option<String> {
    let (_, _, _, at) = IMAGE_FILE_NAME
        .iter()
        .find(|(first, last, m, _)| (*first..=*last).contains(&build) && *m == machine)?;
    let bytes = View(eprocess).bytes(*at, ROOM)?;
    let name = bytes.split(|b| *b == 0).next()?;
    let printable = name.iter().all(|b| (0x20..0x7F).contains(b));
    (!name.is_empty() && printable).then(|| String::from_utf8_lossy(name).into_owned())
}
