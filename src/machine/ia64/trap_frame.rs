//! IA-64 KTRAP_FRAME: what the kernel saves at an interruption, told by a signature of its own.
//!
//! Offsets: `ksia64.h` of the WDK 6001.18000. No real IA-64 dump is known: what the fields hold is
//! checked before it is believed (`docs/dump-format.md`).

use super::register_stack::FrameMarker;
use super::registers as r;
use crate::bytes::View;
use crate::machine::{ExceptionRecord, Machine, Reg, Registers};

/// Size in bytes.
pub const SIZE: usize = 0x340;
/// Offset of EOFMarker.
pub const MARKER: u64 = 0x330;
/// Offset of the EXCEPTION_RECORD.
const RECORD: usize = 0x288;
/// EOFMarker without the kind, which is in the low bits.
const SIGNATURE: u64 = 0xE0F0_E0F0_E0F0_E000;
/// The kind's bits.
const KIND: u64 = 0x1F;
/// Set in the marker of a frame that was changed after it was written.
const MODIFIED: u64 = 0x20;
/// IPSR: interruption state is collected, and instruction addresses are translated.
const IPSR_REQUIRED: u64 = 1 << 13 | 1 << 36;
/// IFS: the frame marker is valid.
const IFS_VALID: u64 = 1 << 63;
/// Offset of RsBSP.
const RS_BSP: usize = 0x210;

/// Fields that become registers: number, offset. RsBSP is read apart: what it holds is not known.
const FIELDS: &[(Reg, usize)] = &[
    (r::GP, 0xF0),
    (r::T0, 0xF8),
    (r::T1, 0x100),
    (r::UNAT, 0x108),
    (r::PREDS, 0x120),
    (r::V0, 0x128),
    (r::SP, 0x148),
    (r::TEB, 0x150),
    (r::RP, 0x1F0),
    (r::B6, 0x1F8),
    (r::B7, 0x200),
    (r::RSC, 0x208),
    (r::PFS, 0x228),
    (r::IPSR, 0x230),
    (r::IIP, 0x238),
    (r::IFS, 0x240),
    (r::ISR, 0x250),
    (r::IFA, 0x258),
];
/// First general register, offset of it, how many follow one another.
const GENERAL: [(u8, usize, u8); 2] = [(9, 0x130, 3), (14, 0x158, 18)];

/// What made the kernel save the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A system call.
    SystemCall,
    /// A device, the clock, another processor.
    Interrupt,
    /// An instruction's own exception.
    Exception,
    /// A change to the stack of deferred procedure calls.
    DpcStack,
    /// A context that was put in place.
    Context,
}

/// One trap frame, its fields checked as far as they can be without the code.
#[derive(Clone, Debug)]
pub struct TrapFrame {
    /// What made the kernel save it.
    pub kind: Kind,
    /// The interrupted registers; `bsp`, r4 to r7, b1 to b5 and `lc` are not among them.
    pub registers: Registers,
    /// The interrupted frame.
    pub marker: FrameMarker,
    /// RsBSP: the interrupted frame's r32 or the first register behind that frame. Which is not
    /// known.
    pub rs_bsp: u64,
    /// The exception's record.
    pub record: Option<ExceptionRecord>,
}

impl TrapFrame {
    /// Reads the frame that lies at address `at`; `None` when it is cut short or not one.
    pub fn read(view: View<'_>, at: u64) -> Option<TrapFrame> {
        view.bytes(0, SIZE)?;
        let kind = kind(view.u64(usize::try_from(MARKER).ok()?)?)?;
        let mut registers = Registers::new(Machine::Ia64);
        for (reg, offset) in FIELDS {
            registers.set(*reg, view.u64(*offset)?);
        }
        for (first, offset, n) in GENERAL {
            for (number, offset) in (first..first + n).zip((offset..).step_by(8)) {
                registers.set(r::general(number)?, view.u64(offset)?);
            }
        }
        let (ipsr, ifs) = (registers.get(r::IPSR)?, registers.get(r::IFS)?);
        let needs_marker = matches!(kind, Kind::Interrupt | Kind::Exception);
        let kernel = level(ipsr) == 0;
        let top = at.checked_add(SIZE as u64)?;
        let rs_bsp = view.u64(RS_BSP)?;
        let fits = at.is_multiple_of(16)
            && ipsr & IPSR_REQUIRED == IPSR_REQUIRED
            && matches!(level(ipsr), 0 | 3)
            && registers.ip()?.is_multiple_of(16)
            && (ifs & IFS_VALID != 0 || !needs_marker)
            && (registers.sp()? == top || !kernel || kind == Kind::DpcStack)
            && rs_bsp.is_multiple_of(8);
        let marker = FrameMarker::of(ifs)?;
        fits.then_some(TrapFrame {
            kind,
            registers,
            marker,
            rs_bsp,
            record: ExceptionRecord::read(view.from(RECORD), 8),
        })
    }

    /// True when user-mode code was interrupted.
    pub fn is_from_user(&self) -> bool {
        self.registers
            .get(r::IPSR)
            .is_some_and(|ipsr| level(ipsr) == 3)
    }
}

/// The kind in a value of EOFMarker; `None` when it is no such value.
pub fn kind(marker: u64) -> Option<Kind> {
    if marker & !(KIND | MODIFIED) != SIGNATURE {
        return None;
    }
    Some(match marker & KIND {
        0 => Kind::SystemCall,
        1 => Kind::Interrupt,
        2 => Kind::Exception,
        3 => Kind::DpcStack,
        0xA => Kind::Context,
        _ => return None,
    })
}

/// The privilege level in a value of IPSR: 0 is the kernel's, 3 user mode's.
pub fn level(ipsr: u64) -> u64 {
    ipsr >> 32 & 3
}

/// The slot of the instruction that a value of IPSR names.
pub fn slot(ipsr: u64) -> u8 {
    (ipsr >> 41 & 3) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_consistent_with_the_sizes_the_header_gives() {
        // KPCR: the embedded KPRCB ends where the next field begins; CONTEXT ends where the
        // special registers begin; the record ends where NewBSP begins.
        assert_eq!(0xE80 + 0x3A80, 0x4900);
        assert_eq!(0x140 + crate::machine::ia64::context::SIZE, 0xBB0);
        assert_eq!(RECORD + ExceptionRecord::size(8), 0x320);
        let offset = |n: u8| 0x158 + usize::from(n - 14) * 8;
        assert_eq!(offset(31), 0x1E0);
    }

    #[test]
    fn a_marker_has_a_kind_and_may_say_that_the_frame_was_changed() {
        assert_eq!(kind(0xE0F0_E0F0_E0F0_E002), Some(Kind::Exception));
        assert_eq!(kind(0xE0F0_E0F0_E0F0_E022), Some(Kind::Exception));
        assert_eq!(kind(0xE0F0_E0F0_E0F0_E00A), Some(Kind::Context));
        assert_eq!(kind(0xE0F0_E0F0_E0F0_E004), None);
        assert_eq!(kind(0xE0F0_E0F0_E0F0_E042), None);
    }
}
