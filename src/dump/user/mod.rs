//! User-mode minidumps (MDMP): what a process that crashed says about its machine.
//!
//! They cannot show a kernel defect; they are read for the Windows version and for the versions of the
//! files that the process had loaded. The format is read by the `minidump` crates; what they are given
//! is a small copy made by `extract` (counts checked, strings repaired), so that no file of any size
//! costs much memory. Addresses are zero-extended.

mod copy;
mod extract;
mod file;
mod interpret;

use serde::{Deserialize, Serialize};

use crate::bytes::{PagedReader, Panicked, ReadAt, ReadError, contained};
use crate::facts::{OperatingSystem, Trust};
use crate::machine::Machine;

use super::{Damage, Damages};

/// Everything a user-mode dump says, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserDump {
    /// The system the process ran on; `None` when that part is missing.
    pub system: Option<UserSystem>,
    /// Seconds since 1970-01-01T00:00Z when the dump was written; `None` when it holds zero.
    pub time: Option<u64>,
    /// MINIDUMP_TYPE flags as stored.
    pub flags: u64,
    /// Process id.
    pub process_id: Option<u32>,
    /// Seconds from the start of the process to the dump.
    pub process_uptime: Option<u64>,
    /// Threads the dump lists; `None` when it has no thread list.
    pub threads: Option<u32>,
    /// What crashed; `None` when the dump was written for another reason.
    pub exception: Option<UserException>,
    /// Instruction pointer of the crash context.
    pub instruction_pointer: Option<u64>,
    /// Stack pointer of the crash context.
    pub stack_pointer: Option<u64>,
    /// The crashing thread's stack as far as it can be walked without symbols: guesses after the
    /// first frame, as each frame's trust says.
    pub stack: Vec<UserFrame>,
    /// The walk was ended by a limit (256 frames, 256 KiB of stack): there may be more frames.
    pub stack_cut: bool,
    /// Loaded modules in the order of the dump.
    pub modules: Vec<UserModule>,
    /// Modules unloaded before the crash.
    pub unloaded: Vec<UnloadedUserModule>,
    /// What is wrong with the file, in the order found.
    pub damage: Vec<Damage>,
}

/// The system as the dump's system information has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSystem {
    /// Other writers than Windows make minidumps, too.
    pub platform: OperatingSystem,
    /// Major version, 6 for Vista.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
    /// Build number, 6001 for Vista SP1 and Server 2008.
    pub build: u32,
    /// Text of the service pack, `None` when unreadable; empty for none.
    pub csd_version: Option<String>,
    /// Number of the service pack, 0 for none; `None` when unknown.
    pub service_pack: Option<u32>,
    /// Workstation (1), domain controller (2) or server (3).
    pub product_type: Option<u8>,
    /// That of the process, not the machine: a 32-bit process on 64-bit Windows may say x86. `None` for others.
    pub architecture: Option<Machine>,
    /// PROCESSOR_ARCHITECTURE_* as stored.
    pub raw_architecture: u16,
    /// Processors of the machine.
    pub processors: Option<u8>,
}

/// The exception that ended the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserException {
    /// Thread id.
    pub thread: u32,
    /// Exception code (NTSTATUS).
    pub code: u32,
    /// Its name, such as `EXCEPTION_ACCESS_VIOLATION`.
    pub name: Option<String>,
    /// The reason in one word with what the parameters add, as `EXCEPTION_ACCESS_VIOLATION_READ`.
    pub reason: String,
    /// Address of the instruction.
    pub address: u64,
    /// Address that was accessed for access violations and in-page errors, else that of the instruction.
    pub crash_address: u64,
    /// Exception parameters.
    pub parameters: Vec<u64>,
    /// Module at `address`, and the offset in it.
    pub location: Option<UserLocation>,
}

/// A place in a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserLocation {
    /// File name of the module.
    pub module: String,
    /// Offset from its base.
    pub offset: u64,
}

/// One stack frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserFrame {
    /// The address execution is at or returns to.
    pub instruction_pointer: u64,
    /// Stack pointer in this frame.
    pub stack_pointer: u64,
    /// Module and offset of the instruction pointer.
    pub location: Option<UserLocation>,
    /// How it was found.
    pub trust: Trust,
}

/// One loaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserModule {
    /// File name without directories.
    pub name: String,
    /// Path as the process had it. Data: never a path to open.
    pub path: String,
    /// Image base.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u32,
    /// TimeDateStamp of the image.
    pub time_date_stamp: u32,
    /// CheckSum of the image.
    pub checksum: u32,
    /// FileVersion of VS_FIXEDFILEINFO as `6.0.6001.18000`.
    pub version: Option<String>,
    /// The symbol file the image asks for.
    pub pdb: Option<UserPdb>,
}

/// Identity of a symbol file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPdb {
    /// File name without directories.
    pub name: String,
    /// GUID in upper case without dashes and the age in hex, as symbol stores name directories. For the
    /// format before Visual C++ 7 the signature stands for the GUID.
    pub guid_age: String,
}

/// One unloaded module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnloadedUserModule {
    /// File name without directories.
    pub name: String,
    /// Image base it had.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u32,
    /// TimeDateStamp of the image.
    pub time_date_stamp: u32,
    /// CheckSum of the image.
    pub checksum: u32,
}

/// Why nothing can be said about a file.
#[derive(Debug, thiserror::Error)]
pub enum UserDumpError {
    /// No MDMP signature or another format version.
    #[error("not a user-mode minidump of a known version")]
    NotMinidump,
    /// The file ends before anything useful.
    #[error("the minidump ends after {present} bytes, before its list of streams")]
    Cut {
        /// Bytes present.
        present: u64,
    },
    /// Header and list of streams are there, and nothing they lead to.
    #[error("the minidump has no readable system information, module list or exception")]
    Nothing,
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The MDMP parser panicked even on the checked copy.
    #[error(transparent)]
    Parser(#[from] Panicked),
}

/// Reads a user-mode minidump. Parts that are missing or damaged leave their fields empty and an entry
/// in `damage`. Reads the header, the streams listed above and at most 256 KiB of memory at the crashing
/// thread's stack pointer. Memory stays below 64 MiB whatever a file's size and counts say, and below
/// 2 MiB for dumps that Windows writes.
///
/// # Errors
/// [`UserDumpError`] when nothing at all can be said.
pub fn read(source: &dyn ReadAt) -> Result<UserDump, UserDumpError> {
    read_with(&PagedReader::open(source)?)
}

/// [`read`] where the start of the source was read already.
///
/// # Errors
/// As [`read`].
pub fn read_with(reader: &PagedReader<'_>) -> Result<UserDump, UserDumpError> {
    let mut damage = Damages::default();
    let extract = extract::read(reader, &mut damage)?;
    let mut dump = contained(|| interpret::read(reader, &extract, &mut damage))??;
    dump.damage = damage.into_vec();
    let nothing = dump.system.is_none() && dump.exception.is_none() && dump.modules.is_empty();
    if nothing {
        return Err(UserDumpError::Nothing);
    }
    Ok(dump)
}

/// The last component of a Windows or Unix path.
fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}
