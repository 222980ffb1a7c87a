//! Which program made the file, by the marks it leaves in the header, and which fields of its header
//! are placeholders: numbers it writes into every file, whatever the machine it was made from.
//!
//! Sources: headers of real files (LiveKd, DumpIt); QEMU's `win_dump.c` and `elf2dmp`, volatility's
//! and Rekall's `raw2dmp`.

use super::{DumpType, Header};
use crate::facts::Writer;

/// LIVE_SYSTEM_DUMP: what QEMU and elf2dmp write for a guest that shows no bug check.
const LIVE_SYSTEM: u32 = 0x161;
/// The mark of Bin2Dmp and its relatives, in both orders of bytes.
const MATT: [u32; 2] = [u32::from_le_bytes(*b"MATT"), u32::from_be_bytes(*b"MATT")];
/// What Rekall calls every Windows.
const REKALL_BUILD: u32 = 7601;
/// The first Windows that writes live dumps of itself.
const FIRST_LIVE_BUILD: u32 = 9200;

/// Texts in the header's comment, in lower case.
const COMMENTS: &[(&str, Writer)] = &[
    ("livekd", Writer::LiveKd),
    ("elf2dmp", Writer::Elf2dmp),
    ("qemu", Writer::Qemu),
    ("rekall", Writer::Rekall),
    ("volatility", Writer::Volatility),
    ("bin2dmp", Writer::Bin2dmp),
    ("win32dd", Writer::Bin2dmp),
    ("win64dd", Writer::Bin2dmp),
    ("dumpit", Writer::Bin2dmp),
    ("moonsols", Writer::Bin2dmp),
];

/// The program that the marks in the header of a dump with memory name. Small dumps have marks of
/// their own (see the triage part).
pub(super) fn by_header(header: &Header) -> Option<Writer> {
    let comment = header.comment.as_deref().unwrap_or_default();
    let comment = comment.to_ascii_lowercase();
    if let Some((_, writer)) = COMMENTS.iter().find(|(text, _)| comment.contains(text)) {
        return Some(*writer);
    }
    let complete = header.dump_type == DumpType::Complete;
    let small = matches!(header.dump_type, DumpType::Triage | DumpType::HeaderOnly);
    let memory = !small && !matches!(header.dump_type, DumpType::Unknown(_));
    match header.bug_check_code {
        Some(code) if MATT.contains(&code) => Some(Writer::Bin2dmp),
        // Windows' own are of types 5 and 6, and of its later versions only.
        Some(LIVE_SYSTEM)
            if complete || (!small && header.build.is_some_and(|b| b < FIRST_LIVE_BUILD)) =>
        {
            Some(Writer::Qemu)
        }
        Some(0) if complete && header.build == Some(REKALL_BUILD) && header.context.is_none() => {
            Some(Writer::Rekall)
        }
        // No Windows stops without a code of its own.
        None | Some(0) if memory => Some(Writer::Converter),
        _ => None,
    }
}

/// Which fields of the header say nothing about the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placeholders {
    /// Bug check code and parameters.
    pub bug_check: bool,
    /// Build number.
    pub build: bool,
    /// Time: when the file was made.
    pub time: bool,
}

/// What `header`'s writer puts into every file.
pub(super) fn placeholders(header: &Header) -> Placeholders {
    let bug_check = match header.bug_check_code {
        None | Some(0) => true,
        Some(code) if MATT.contains(&code) => true,
        Some(LIVE_SYSTEM) => matches!(header.writer, Some(Writer::Qemu | Writer::Elf2dmp)),
        Some(_) => false,
    };
    Placeholders {
        bug_check,
        build: header.writer.is_some_and(Writer::invents_build)
            && header.build == Some(REKALL_BUILD),
        time: header.writer == Some(Writer::Bin2dmp),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_writer_has_a_word_of_its_own() {
        for writer in COMMENTS.iter().map(|(_, writer)| *writer) {
            assert_eq!(Writer::named(writer.as_str()), Some(writer));
            assert!(writer.converts());
        }
        assert_eq!(Writer::named("kernel"), Some(Writer::Kernel));
        assert_eq!(Writer::named("something"), None);
    }
}
