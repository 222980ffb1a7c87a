//! What a file is, by its content alone: names and extensions are not looked at.
//!
//! Facts: `docs/dump-format.md` for the two kernel signatures, the published minidump header for MDMP.

use super::foreign::{ELF, ELF_CORE, FOREIGN, Foreign, PE};
use super::{ErrorKind, SourceError};

/// Bytes that decide whether a file is text.
const TEXT_SAMPLE: usize = 4096;

/// What the first bytes say a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// `PAGEDUMP`: a kernel dump with a 32-bit header, any DumpType.
    KernelDump32,
    /// `PAGEDU64`: a kernel dump with a 64-bit header, any DumpType.
    KernelDump64,
    /// `MDMP`: a user-mode minidump.
    UserMinidump,
    /// A well-known format that is no dump, or a dump that is not read.
    Foreign(&'static Foreign),
    /// `PAGE` and then neither `DUMP` nor `DU64`.
    BrokenKernelSignature,
    /// Shorter than a signature, and the beginning of one.
    CutSignature,
    /// No bytes at all.
    Empty,
    /// Nothing but zeros as far as was read.
    Zeros,
    /// Text of some kind.
    Text,
    /// Nothing known.
    Unknown,
}

/// Recognises a file of `len` bytes by `prefix`, its first bytes. 64 KiB are enough for every
/// signature, 8 bytes for dumps.
pub fn identify(prefix: &[u8], len: u64) -> FileKind {
    if len == 0 || prefix.is_empty() {
        return FileKind::Empty;
    }
    if prefix.starts_with(b"MDMP") {
        return FileKind::UserMinidump;
    }
    match prefix.get(..8) {
        Some(b"PAGEDUMP") => return FileKind::KernelDump32,
        Some(b"PAGEDU64") => return FileKind::KernelDump64,
        Some([b'P', b'A', b'G', b'E', ..]) => return FileKind::BrokenKernelSignature,
        None if b"PAGEDUMP".starts_with(prefix)
            || b"PAGEDU64".starts_with(prefix)
            || b"MDMP".starts_with(prefix) =>
        {
            return FileKind::CutSignature;
        }
        _ => {}
    }
    if let Some(foreign) = foreign(prefix) {
        return FileKind::Foreign(foreign);
    }
    if prefix.iter().all(|byte| *byte == 0) {
        FileKind::Zeros
    } else if is_text(prefix) {
        FileKind::Text
    } else {
        FileKind::Unknown
    }
}

impl FileKind {
    /// True for what the dump readers take.
    pub fn is_dump(self) -> bool {
        matches!(
            self,
            FileKind::KernelDump32 | FileKind::KernelDump64 | FileKind::UserMinidump
        )
    }

    /// Why a file of this kind is not analysed and what to do about it; `None` for a dump.
    pub fn refusal(self) -> Option<SourceError> {
        let (kind, message) = match self {
            FileKind::KernelDump32 | FileKind::KernelDump64 | FileKind::UserMinidump => {
                return None;
            }
            FileKind::Foreign(foreign) => (
                foreign.kind,
                format!("{}: {}", foreign.what, foreign.advice),
            ),
            FileKind::BrokenKernelSignature => (
                ErrorKind::NotADump,
                "begins like a kernel dump, but its signature is damaged: copy it again".to_owned(),
            ),
            FileKind::CutSignature => (
                ErrorKind::Truncated,
                "ends within the signature of a dump: copy it again".to_owned(),
            ),
            FileKind::Empty => (
                ErrorKind::NotADump,
                "empty file: the dump was never written or never copied".to_owned(),
            ),
            FileKind::Zeros => (
                ErrorKind::NotADump,
                "all zero bytes: space was reserved but the dump was never written or copied"
                    .to_owned(),
            ),
            FileKind::Text => (
                ErrorKind::NotADump,
                "text, not a crash dump: pass the .dmp file itself".to_owned(),
            ),
            FileKind::Unknown => (
                ErrorKind::NotADump,
                "not a Windows crash dump: it begins with none of PAGEDUMP, PAGEDU64, MDMP"
                    .to_owned(),
            ),
        };
        Some(SourceError::new(kind, message))
    }
}

fn foreign(prefix: &[u8]) -> Option<&'static Foreign> {
    if prefix.starts_with(ELF.magic) {
        return Some(if is_elf_core(prefix) { &ELF_CORE } else { &ELF });
    }
    if is_pe(prefix) {
        return Some(&PE);
    }
    FOREIGN.iter().find(|row| {
        prefix
            .get(row.offset..)
            .is_some_and(|rest| rest.starts_with(row.magic))
    })
}

/// `e_type` at 16 is `ET_CORE` (4) in the byte order that `EI_DATA` at 5 declares.
fn is_elf_core(prefix: &[u8]) -> bool {
    let kind = prefix.get(16..18);
    match prefix.get(5) {
        Some(2) => kind == Some(&[0, 4]),
        _ => kind == Some(&[4, 0]),
    }
}

/// `MZ`, and `PE\0\0` where `e_lfanew` at 0x3C points, as far as that was read.
fn is_pe(prefix: &[u8]) -> bool {
    let Some(field) = prefix.get(0x3C..0x40) else {
        return false;
    };
    let new_header = field
        .iter()
        .rev()
        .fold(0usize, |value, byte| value << 8 | usize::from(*byte));
    prefix.starts_with(PE.magic)
        && prefix
            .get(new_header..)
            .is_some_and(|rest| rest.starts_with(b"PE\0\0"))
}

/// Printable UTF-8 or UTF-16 with a byte order mark.
fn is_text(prefix: &[u8]) -> bool {
    let sample = prefix.get(..TEXT_SAMPLE).unwrap_or(prefix);
    if sample.starts_with(b"\xFF\xFE") || sample.starts_with(b"\xFE\xFF") {
        return true;
    }
    let printable = |text: &str| {
        !text
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\x0C' | '\x1B'))
    };
    match std::str::from_utf8(sample) {
        Ok(text) => printable(text),
        // The sample may end inside a character.
        Err(e) if e.error_len().is_none() => sample
            .get(..e.valid_up_to())
            .and_then(|whole| std::str::from_utf8(whole).ok())
            .is_some_and(|text| !text.is_empty() && printable(text)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(prefix: &[u8]) -> FileKind {
        identify(prefix, prefix.len() as u64)
    }

    fn says(prefix: &[u8]) -> (ErrorKind, String) {
        let refusal = kind_of(prefix).refusal().unwrap();
        (refusal.kind, refusal.message)
    }

    #[test]
    fn dumps_are_known_by_their_first_eight_bytes() {
        assert_eq!(kind_of(b"PAGEDUMP\x0F\0"), FileKind::KernelDump32);
        assert_eq!(kind_of(b"PAGEDU64\x0F\0"), FileKind::KernelDump64);
        assert_eq!(kind_of(b"MDMP\x93\xA7"), FileKind::UserMinidump);
        for dump in [b"PAGEDUMP".as_slice(), b"PAGEDU64", b"MDMP"] {
            assert!(kind_of(dump).is_dump());
            assert_eq!(kind_of(dump).refusal(), None);
            for cut in 1..4 {
                assert_eq!(kind_of(&dump[..cut]), FileKind::CutSignature, "{cut}");
            }
        }
        assert_eq!(kind_of(b"PAGEPAGE"), FileKind::BrokenKernelSignature);
    }

    #[test]
    fn archives_are_named_with_what_reads_them() {
        let mut tar = vec![b'a'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        for (bytes, what) in [
            (b"\x1F\x8B\x08\x00".as_slice(), "gzip"),
            (b"PK\x03\x04\x14\x00", "zip"),
            (b"MSCF\0\0\0\0\x2C\0", "cabinet"),
            (b"7z\xBC\xAF\x27\x1C\0\x04", "7-Zip"),
            (b"\xFD7zXZ\0\0\x04", "xz"),
            (b"\x28\xB5\x2F\xFD\x24", "zstd"),
            (b"BZh91AY&SY", "bzip2"),
            (b"Rar!\x1A\x07\x01\0", "RAR"),
            (&tar, "tar"),
        ] {
            let (kind, message) = says(bytes);
            assert_eq!(kind, ErrorKind::Compressed, "{what}");
            assert!(message.starts_with(what), "{message}");
            let read = what != "RAR";
            assert_eq!(message.contains("kbtriage scan"), read, "{message}");
            assert!(read || message.contains("first"), "{message}");
        }
    }

    #[test]
    fn a_core_of_another_system_is_not_taken_for_a_program() {
        let mut elf = vec![0u8; 64];
        elf[..6].copy_from_slice(b"\x7FELF\x02\x01");
        elf[16] = 4;
        assert!(says(&elf).1.starts_with("ELF core"));
        elf[16] = 2;
        assert!(says(&elf).1.starts_with("ELF program"));
        elf[5] = 2;
        elf[16..18].copy_from_slice(&[0, 4]);
        assert!(says(&elf).1.starts_with("ELF core"));
    }

    #[test]
    fn a_driver_is_sent_to_kb_check() {
        let mut driver = vec![0u8; 0x100];
        driver[..2].copy_from_slice(b"MZ");
        driver[0x3C] = 0x80;
        driver[0x80..0x84].copy_from_slice(b"PE\0\0");
        let (kind, message) = says(&driver);
        assert_eq!(kind, ErrorKind::NotADump);
        assert!(message.contains("kbtriage kb check"), "{message}");
        driver[0x3C..0x40].copy_from_slice(&[0xFF; 4]);
        assert_eq!(kind_of(&driver), FileKind::Unknown);
    }

    #[test]
    fn placeholders_and_text_are_told_apart_from_unknown_bytes() {
        assert!(says(b"").1.starts_with("empty file"));
        assert_eq!(kind_of(&[0; 4096]), FileKind::Zeros);
        assert_eq!(kind_of(b"Crash report\r\nfor someone\r\n"), FileKind::Text);
        assert_eq!(kind_of("caf\u{E9}".as_bytes()), FileKind::Text);
        assert_eq!(kind_of(&"caf\u{E9}".as_bytes()[..4]), FileKind::Text);
        assert_eq!(kind_of(b"\xFF\xFEV\0e\0r\0"), FileKind::Text);
        assert_eq!(
            kind_of(b"\x01\x02\x03\x04\xF0\xFF\xFF\x07\x08\x09"),
            FileKind::Unknown
        );
        assert_eq!(kind_of(b"\xFF\x01"), FileKind::Unknown);
    }

    #[test]
    fn every_row_is_reached_by_its_own_signature() {
        for row in FOREIGN {
            let mut bytes = vec![0xF5; row.offset];
            bytes.extend_from_slice(row.magic);
            assert_eq!(kind_of(&bytes), FileKind::Foreign(row), "{}", row.what);
            let refusal = kind_of(&bytes).refusal().unwrap();
            assert!(!refusal.message.contains('\n'));
            assert!(refusal.message.len() <= 100, "{}", refusal.message);
        }
    }
}
