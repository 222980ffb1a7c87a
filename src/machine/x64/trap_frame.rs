//! x64 KTRAP_FRAME and KEXCEPTION_FRAME: what the kernel saves at an interrupt or exception.
//!
//! The trap frame holds the volatile registers, `rbp` and the machine frame; `rbx`, `rdi`, `rsi`
//! and `r12`-`r15` lie in the exception frame that the dispatcher builds below it. Sizes and
//! offsets are the same from build 6000 on (`docs/dump-format.md`, KTRAP_FRAME).

use super::registers as r;
use crate::bytes::View;
use crate::machine::{Machine, Reg, Registers};

/// Size of KTRAP_FRAME in bytes.
pub const SIZE: usize = 0x190;
/// Size of KEXCEPTION_FRAME in bytes.
pub const EXCEPTION_FRAME_SIZE: usize = 0x140;
/// Offset of the machine frame (`rip, cs, rflags, rsp, ss`) in the trap frame.
pub const MACHINE_FRAME: u64 = 0x168;
/// Code segment selector of the kernel.
pub const KERNEL_CS: u64 = 0x10;

/// Trap frame fields that become registers: number, offset.
const FIELDS: &[(Reg, usize)] = &[
    (r::RAX, 0x30),
    (r::RCX, 0x38),
    (r::RDX, 0x40),
    (r::R8, 0x48),
    (r::R9, 0x50),
    (r::R10, 0x58),
    (r::R11, 0x60),
    (r::RBP, 0x158),
    (r::RIP, 0x168),
    (r::RSP, 0x180),
];

/// Exception frame fields that become registers: number, offset.
const NONVOLATILE: &[(Reg, usize)] = &[
    (r::RBX, 0x100),
    (r::RDI, 0x108),
    (r::RSI, 0x110),
    (r::R12, 0x118),
    (r::R13, 0x120),
    (r::R14, 0x128),
    (r::R15, 0x130),
];

/// The five quadwords the processor pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineFrame {
    /// Interrupted instruction.
    pub rip: u64,
    /// Code segment: 0x10 in the kernel, 0x33 or 0x23 in user mode.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer at the interrupted instruction.
    pub rsp: u64,
    /// Stack segment: 0x18 or 0 in the kernel.
    pub ss: u64,
}

impl MachineFrame {
    /// Reads the frame at `at`.
    pub fn read(view: View<'_>, at: usize) -> Option<MachineFrame> {
        let word = |n: usize| view.u64(at.checked_add(n * 8)?);
        Some(MachineFrame {
            rip: word(0)?,
            cs: word(1)?,
            rflags: word(2)?,
            rsp: word(3)?,
            ss: word(4)?,
        })
    }

    /// True when the flags can be a processor's: bit 1 always set, reserved bits clear.
    pub fn flags_plausible(&self) -> bool {
        self.rflags & 2 != 0 && self.rflags >> 22 == 0 && self.rflags & 0x8028 == 0
    }

    /// True when this can be a frame at `address` pushed from kernel code onto the same stack: the
    /// processor aligns the stack pointer to 16 before it pushes.
    pub fn same_stack(&self, address: u64) -> bool {
        self.cs == KERNEL_CS
            && (self.ss == 0x18 || self.ss == 0)
            && self.flags_plausible()
            && Some(self.rsp & !15) == address.checked_add(0x28)
    }

    /// True when this can be a frame pushed on entry from user mode.
    pub fn is_from_user(&self) -> bool {
        (self.cs == 0x33 || self.cs == 0x23)
            && self.ss & 3 == 3
            && self.flags_plausible()
            && self.rip >> 47 == 0
            && self.rsp >> 47 == 0
    }
}

/// Reads the registers of a trap frame: all but the nonvolatile ones it does not hold.
pub fn read(view: View<'_>) -> Option<Registers> {
    view.bytes(0, SIZE)?;
    let mut registers = Registers::new(Machine::X64);
    for (reg, at) in FIELDS {
        registers.set(*reg, view.u64(*at)?);
    }
    registers.set(r::CS, u64::from(view.u16(0x170)?));
    registers.set(r::EFLAGS, u64::from(view.u32(0x178)?));
    registers.set(r::SS, u64::from(view.u16(0x188)?));
    Some(registers)
}

/// The address whose access raised a page fault (CR2); meaningless after other traps.
pub fn fault_address(view: View<'_>) -> Option<u64> {
    view.u64(0xD0)
}

/// Adds the nonvolatile registers of an exception frame to `registers`.
pub fn read_exception_frame(view: View<'_>, registers: &mut Registers) -> Option<()> {
    view.bytes(0, EXCEPTION_FRAME_SIZE)?;
    for (reg, at) in NONVOLATILE {
        registers.set(*reg, view.u64(*at)?);
    }
    Some(())
}

/// The return address in an exception frame, where its builder stores one.
pub fn exception_frame_return(view: View<'_>) -> Option<u64> {
    view.u64(0x138)
}
