//! What the processor was really doing: the registers of the fault, the access that failed, and the
//! stack that led there.
//!
//! The header context of a bug check dump is the bug check's own. The fault's context is found by
//! what the parameters name, by what the kernel saved on the stack, or by unwinding; every way is
//! validated, and when several contexts fit equally well the report says how many. Knows no
//! defect. Facts: `docs/dump-format.md` and `docs/stacks.md`.

mod access;
mod bucket;
mod context;
mod crash;
mod crash_memory;
mod crashed;
mod ia64;
mod instruction;
mod investigate;
mod snapshot;
mod spin;
mod x64;
mod x86;

pub use bucket::{FaultPlace, bucket};
pub use context::{FaultContext, Source, find_context};
pub use crashed::crashed_processor;
pub use instruction::InstructionKind;
pub(crate) use investigate::known_stacks;
pub use investigate::{Investigation, investigate};
pub use snapshot::Snapshot;
pub use spin::{Spin, spin};

use crate::bytes::Gva;
use crate::kernel::processor::{ProcessorState, ThreadStack};
use crate::knowledge::bugchecks::{self, BugCheck, Parameters, Platform};
pub use crate::knowledge::bugchecks::{Access, Kind, Slot};
use crate::machine::{Machine, Registers};
use crate::memory::Memory;
use crate::unwind::{CodeInfo, ModuleSpan};

/// Everything a search for the fault starts from.
pub struct Crash<'a> {
    /// Architecture.
    pub machine: Machine,
    /// Windows build.
    pub build: Option<u32>,
    /// Bug check code as stored, M variants included; 0 when it is not known.
    pub code: u32,
    /// Its parameters, zero-extended, as far as they are known.
    pub parameters: [Option<u64>; 4],
    /// The dump's context: usually the state in `KeBugCheckEx`.
    pub context: Option<Registers>,
    /// Addresses of the stack the bug check ran on, low and past the high end, as far as the dump
    /// holds it.
    pub stack: Option<(u64, u64)>,
    /// The address space.
    pub memory: &'a dyn Memory,
    /// Loaded code.
    pub code_info: &'a dyn CodeInfo,
    /// The kernel's own image.
    pub kernel: Option<ModuleSpan>,
    /// What the processor block says.
    pub processor: ProcessorState,
    /// The stack of the current thread.
    pub thread: ThreadStack,
}

impl Crash<'_> {
    /// What is known of the bug check code.
    pub fn check(&self) -> BugCheck {
        bugchecks::find(self.code)
    }

    /// The parameters, read as the code's row says.
    pub fn stated(&self) -> Parameters {
        let platform = Platform {
            pointer: self.machine.pointer_width(),
            arm: matches!(self.machine, Machine::Arm | Machine::Arm64),
            build: self.build,
        };
        Parameters::written(self.code, self.parameters, platform)
    }

    /// The faulting instruction that the parameters name. Zero is one like any other where a call of
    /// address zero is what faulted.
    pub fn named_ip(&self) -> Option<u64> {
        let ip = self.stated().instruction()?;
        match self.machine {
            Machine::Ia64 => Some(ia64::bundle(ip)).filter(|ip| *ip != 0),
            _ => Some(ip),
        }
    }

    /// True for an address in no loaded module and of no bytes in the dump: where a call through a trashed
    /// pointer leads. Code of a driver that hides itself has bytes.
    pub(crate) fn is_wild(&self, address: u64) -> bool {
        self.code_info.module_at(address).is_none()
            && self.memory.read(Gva(address), &mut [0]).is_err()
    }

    /// True for a wild address that no kernel code ever has.
    pub(crate) fn is_no_code(&self, address: u64) -> bool {
        let kernel = match self.machine.pointer_width() {
            4 => address >= 0x8000_0000,
            _ => address >> 47 == 0x1_FFFF,
        };
        !kernel && self.is_wild(address)
    }

    /// The NTSTATUS of the exception, cut to 32 bits: x64 stores it sign-extended in some codes.
    pub fn exception_code(&self) -> Option<u32> {
        self.stated().exception()
    }

    /// True when `context` is the fault's, or what a forced dump interrupted, and not merely the
    /// bug check's own.
    pub(crate) fn is_of_fault(&self, context: &FaultContext) -> bool {
        context.source != Source::HeaderContext
            || (self.named_ip().is_some() && context.registers.ip() == self.named_ip())
    }

    /// True when `address` lies in the kernel's own image.
    pub(crate) fn in_kernel(&self, address: u64) -> bool {
        self.kernel.is_some_and(|kernel| kernel.contains(address))
    }
}
