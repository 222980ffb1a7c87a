//! Files that are not crash dumps but are passed as one: their signatures, and what to do with them.
//!
//! Facts: the formats' published descriptions and their well-known leading bytes. Longer and rarer
//! signatures come first; nothing here looks further than a tar header or an ISO volume descriptor.

use super::ErrorKind;
use super::ErrorKind::{Compressed, NotADump, Unsupported};

/// A kind of file that is recognised by leading bytes and is no crash dump.
#[derive(Debug, PartialEq, Eq)]
pub struct Foreign {
    /// Where the signature stands, in bytes from the start.
    pub(super) offset: usize,
    /// The signature.
    pub(super) magic: &'static [u8],
    /// The error kind it leads to.
    pub kind: ErrorKind,
    /// What it is, for a person.
    pub what: &'static str,
    /// What to do.
    pub advice: &'static str,
}

impl Foreign {
    /// What to do about one that a scan met: it looks into some kinds, and what it could not is cut or damaged.
    pub fn advice_in_scan(&self) -> &'static str {
        match self.advice {
            SCAN => "cut or damaged: copy it again",
            advice => advice,
        }
    }

    /// A dump may lie in it all the same: that it was not looked into has to be said.
    pub fn may_hold_dumps(&self) -> bool {
        self.kind == Compressed || self.advice == FROM_DISK
    }
}

const fn row(
    offset: usize,
    magic: &'static [u8],
    kind: ErrorKind,
    what: &'static str,
    advice: &'static str,
) -> Foreign {
    Foreign {
        offset,
        magic,
        kind,
        what,
        advice,
    }
}

const DECOMPRESS: &str = "decompress it first";
const EXTRACT: &str = "extract the dump first";
/// Scans look into these.
const SCAN: &str = "kbtriage scan FILE looks into it";
const CONVERT: &str = "convert it to a Windows crash dump first";
const FROM_DISK: &str = "copy MEMORY.DMP or Minidump\\*.dmp out of it";
const PASS_DUMP: &str = "pass the dump file itself";
const WINDOWS_ONLY: &str = "only Windows crash dumps are read";

#[rustfmt::skip]
pub(super) static FOREIGN: &[Foreign] = &[
    // Old user-mode dumps; the kernel's own signatures are not in this table.
    row(0, b"USERDUMP", Unsupported, "user-mode dump of the format before minidumps", "only kernel dumps and MDMP minidumps are read"),
    row(0, b"USERDU64", Unsupported, "user-mode dump of the format before minidumps", "only kernel dumps and MDMP minidumps are read"),
    row(0, b"PMDM", Unsupported, "minidump in big-endian byte order", "Windows does not write these"),

    // Compressed and archived.
    row(0, b"\x1F\x8B", Compressed, "gzip archive", SCAN),
    row(0, b"\x1F\x9D", Compressed, "compress (.Z) archive", DECOMPRESS),
    row(0, b"\x1F\xA0", Compressed, "compress (.Z) archive", DECOMPRESS),
    row(0, b"PK\x03\x04", Compressed, "zip archive", SCAN),
    row(0, b"PK\x05\x06", Compressed, "empty zip archive", "there is no dump in it"),
    row(0, b"PK\x07\x08", Compressed, "zip archive", SCAN),
    row(0, b"MSCF\0\0\0\0", Compressed, "cabinet archive", SCAN),
    row(0, b"7z\xBC\xAF\x27\x1C", Compressed, "7-Zip archive", SCAN),
    row(0, b"\xFD7zXZ\0", Compressed, "xz archive", SCAN),
    row(0, b"\x28\xB5\x2F\xFD", Compressed, "zstd archive", SCAN),
    row(0, b"\x04\x22\x4D\x18", Compressed, "lz4 archive", DECOMPRESS),
    row(0, b"LZIP\x01", Compressed, "lzip archive", DECOMPRESS),
    row(0, b"BZh", Compressed, "bzip2 archive", SCAN),
    row(0, b"Rar!\x1A\x07", Compressed, "RAR archive", EXTRACT),
    row(0, b"SZDD\x88\xF0\x27\x33", Compressed, "file packed by COMPRESS.EXE", "unpack it with expand first"),
    row(0, b"KWAJ\x88\xF0\x27\xD1", Compressed, "file packed by COMPRESS.EXE", "unpack it with expand first"),
    row(0, b"MSWIM\0\0\0", Compressed, "Windows image (WIM)", EXTRACT),
    row(257, b"ustar", Compressed, "tar archive", SCAN),

    row(0, b"ZDMP", Compressed, "packed dump of Comae's tools (ZDMP)", "expand it with Z2Dmp first"),
    row(0, b"version https://git-lfs.github.com/spec/", NotADump, "git-LFS pointer", "the dump itself was never fetched: git lfs pull"),

    // Hibernation files: wake, RSTR and HIBR states in either case.
    row(0, b"hibr", Unsupported, "Windows hibernation file", CONVERT),
    row(0, b"HIBR", Unsupported, "Windows hibernation file", CONVERT),
    row(0, b"wake", Unsupported, "Windows hibernation file", CONVERT),
    row(0, b"WAKE", Unsupported, "Windows hibernation file", CONVERT),
    row(0, b"RSTR", Unsupported, "Windows hibernation file", CONVERT),

    // Memory images and snapshots of machines.
    row(0, b"\xD0\xBE\xD2\xBE", Unsupported, "VMware snapshot or suspended state", "make a crash dump from it with vmss2core -W"),
    row(0, b"\xD1\xBA\xD1\xBA", Unsupported, "VMware snapshot or suspended state", "make a crash dump from it with vmss2core -W"),
    row(0, b"\xD2\xBE\xD2\xBE", Unsupported, "VMware snapshot or suspended state", "make a crash dump from it with vmss2core -W"),
    row(0, b"\xD3\xBE\xD3\xBE", Unsupported, "VMware snapshot or suspended state", "make a crash dump from it with vmss2core -W"),
    row(0, b"\x7FVirtualBox SavedState", Unsupported, "VirtualBox saved state", CONVERT),
    row(0, b"QEVM", Unsupported, "QEMU saved state", CONVERT),
    row(0, b"EMiL", Unsupported, "LiME memory image", CONVERT),
    row(0, b"AVML", Unsupported, "AVML memory image", CONVERT),
    row(0, b"EVF\x09\x0D\x0A\xFF\x00", Unsupported, "EnCase image", "export the raw content first"),
    row(0, b"KDUMP   ", Unsupported, "Linux kernel dump", WINDOWS_ONLY),
    row(0, b"DISKDUMP", Unsupported, "Linux kernel dump", WINDOWS_ONLY),
    row(0, b"makedumpfile", Unsupported, "Linux kernel dump", WINDOWS_ONLY),

    // Disks.
    row(0, b"vhdxfile", NotADump, "virtual disk (VHDX)", FROM_DISK),
    row(0, b"conectix", NotADump, "virtual disk (VHD)", FROM_DISK),
    row(0, b"KDMV", NotADump, "virtual disk (VMDK)", FROM_DISK),
    row(0, b"QFI\xFB", NotADump, "virtual disk (QCOW)", FROM_DISK),
    row(0, b"<<< Oracle VM VirtualBox Disk Image", NotADump, "virtual disk (VDI)", FROM_DISK),
    row(0x8001, b"CD001", NotADump, "CD or DVD image", FROM_DISK),

    // Other files of a Windows machine.
    row(0, b"regf", NotADump, "registry hive", PASS_DUMP),
    row(0, b"ElfFile\0", NotADump, "Windows event log", PASS_DUMP),
    row(0, b"Microsoft C/C++ MSF 7.00\r\n", NotADump, "symbol file (PDB)", "pass it with --symbols"),
    row(0, b"Microsoft C/C++ program database", NotADump, "symbol file (PDB)", "pass it with --symbols"),
    row(0, b"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", NotADump, "Office or installer document", PASS_DUMP),
    row(0, b"SQLite format 3\0", NotADump, "SQLite database", PASS_DUMP),
    row(0, b"%PDF-", NotADump, "PDF document", PASS_DUMP),
    row(0, b"\x89PNG\r\n\x1A\n", NotADump, "picture (PNG)", PASS_DUMP),
    row(0, b"\xFF\xD8\xFF", NotADump, "picture (JPEG)", PASS_DUMP),

    // Programs and cores of other systems; an ELF or Mach-O core is told apart by its header.
    row(0, b"\xFE\xED\xFA\xCE", Unsupported, "Mach-O file", WINDOWS_ONLY),
    row(0, b"\xFE\xED\xFA\xCF", Unsupported, "Mach-O file", WINDOWS_ONLY),
    row(0, b"\xCE\xFA\xED\xFE", Unsupported, "Mach-O file", WINDOWS_ONLY),
    row(0, b"\xCF\xFA\xED\xFE", Unsupported, "Mach-O file", WINDOWS_ONLY),
    row(0, b"\xCA\xFE\xBA\xBE", Unsupported, "Mach-O or Java file", WINDOWS_ONLY),
];

/// ELF files whose type is `ET_CORE`.
pub(super) static ELF_CORE: Foreign = row(
    0,
    b"\x7FELF",
    Unsupported,
    "ELF core",
    "only Windows crash dumps are read; a virtual machine's core must be converted first",
);
/// Other ELF files.
pub(super) static ELF: Foreign = row(0, b"\x7FELF", NotADump, "ELF program", WINDOWS_ONLY);
/// PE images.
pub(super) static PE: Foreign = row(
    0,
    b"MZ",
    NotADump,
    "Windows program or driver",
    "kbtriage kb check FILE tells whether it has the fix",
);
