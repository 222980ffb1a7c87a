//! Processor architectures: register files, CONTEXT records and trap frames.
//!
//! One folder an architecture with the same file names in each. Knows layouts only; where such
//! a record lies in a dump is found elsewhere. Layouts: `docs/dump-format.md`.

pub mod arm64;
mod context;
mod exception_record;
pub mod ia64;
mod registers;
pub mod x64;
pub mod x86;

pub use exception_record::ExceptionRecord;
pub use registers::{Reg, Registers};

use crate::bytes::View;
use crate::vocabulary::open_enum;

open_enum! {
    /// The processor architecture a dump was written on.
    Machine {
        /// 32-bit x86.
        X86 = "x86",
        /// x86-64.
        X64 = "x64",
        /// Itanium.
        Ia64 = "ia64",
        /// 64-bit Arm.
        Arm64 = "arm64",
        /// 32-bit Arm (headers only).
        Arm = "arm",
    }
}

impl Machine {
    /// The architecture of a COFF machine number (`IMAGE_FILE_MACHINE_*`), if it can write dumps.
    pub fn from_image_type(value: u32) -> Option<Machine> {
        match value {
            0x014C => Some(Machine::X86),
            0x8664 => Some(Machine::X64),
            0x0200 => Some(Machine::Ia64),
            0xAA64 => Some(Machine::Arm64),
            0x01C4 => Some(Machine::Arm),
            _ => None,
        }
    }

    /// Size of a pointer in bytes.
    pub fn pointer_width(self) -> usize {
        match self {
            Machine::X86 | Machine::Arm => 4,
            Machine::X64 | Machine::Ia64 | Machine::Arm64 => 8,
        }
    }

    /// Size of a physical page in bytes.
    pub fn page_size(self) -> u64 {
        match self {
            Machine::Ia64 => 0x2000,
            _ => 0x1000,
        }
    }

    /// An address as this machine sees it: 32-bit machines drop a sign extension.
    pub fn truncate(self, address: u64) -> u64 {
        match self.pointer_width() {
            4 => address & 0xFFFF_FFFF,
            _ => address,
        }
    }

    /// Register names in the order of their numbers.
    pub fn register_names(self) -> &'static [&'static str] {
        match self {
            Machine::X86 => x86::registers::NAMES,
            Machine::X64 => x64::registers::NAMES,
            Machine::Ia64 => ia64::registers::NAMES,
            Machine::Arm64 => arm64::registers::NAMES,
            Machine::Arm => &[],
        }
    }

    /// The instruction pointer's number.
    pub fn instruction_pointer(self) -> Reg {
        match self {
            Machine::X86 => x86::registers::EIP,
            Machine::X64 => x64::registers::RIP,
            Machine::Ia64 => ia64::registers::IIP,
            Machine::Arm64 => arm64::registers::PC,
            Machine::Arm => Reg(15),
        }
    }

    /// The stack pointer's number.
    pub fn stack_pointer(self) -> Reg {
        match self {
            Machine::X86 => x86::registers::ESP,
            Machine::X64 => x64::registers::RSP,
            Machine::Ia64 => ia64::registers::SP,
            Machine::Arm64 => arm64::registers::SP,
            Machine::Arm => Reg(13),
        }
    }

    /// Size of this machine's CONTEXT record in bytes; 0 when it is not read.
    pub fn context_size(self) -> usize {
        match self {
            Machine::X86 => x86::context::SIZE,
            Machine::X64 => x64::context::SIZE,
            Machine::Ia64 => ia64::context::SIZE,
            Machine::Arm64 => arm64::context::SIZE,
            Machine::Arm => 0,
        }
    }

    /// Size in bytes of the leading part of a CONTEXT record that holds the general registers.
    pub fn context_general_size(self) -> usize {
        match self {
            Machine::X86 => x86::context::GENERAL,
            Machine::X64 => x64::context::GENERAL,
            other => other.context_size(),
        }
    }

    /// Reads a CONTEXT record at the start of `bytes`.
    ///
    /// `None` when it is cut short, when its flags do not name this machine (so unwritten filler
    /// is refused), or when the machine's record is not known.
    pub fn read_context(self, bytes: &[u8]) -> Option<Registers> {
        let view = View(bytes);
        match self {
            Machine::X86 => x86::context::read(view),
            Machine::X64 => x64::context::read(view),
            Machine::Ia64 => ia64::context::read(view),
            Machine::Arm64 => arm64::context::read(view),
            Machine::Arm => None,
        }
    }
}
