//! `UNWIND_INFO`: what a prologue did, as a list of operations newest first.

use crate::bytes::View;
use crate::machine::Reg;
use crate::unwind::{CodeInfo, ModuleSpan};

use super::FunctionEntry;

/// Slots of two bytes a record can have.
const MAX_SLOTS: usize = 255;
/// Flag: another `RUNTIME_FUNCTION` follows, whose operations come after these.
const CHAININFO: u8 = 4;

/// One unwind record, as far as a walk needs it (handlers are not read).
#[derive(Clone, Debug)]
pub struct UnwindInfo {
    /// 1 or 2.
    pub version: u8,
    /// Bytes of prologue.
    pub prolog_size: u8,
    /// The register that holds the frame once the prologue has set it.
    pub frame_register: Option<Reg>,
    /// Distance of the frame register above the stack pointer at the time it was set, in bytes.
    pub frame_offset: u32,
    /// The entry this one continues, if it is chained.
    pub chained: Option<FunctionEntry>,
    slots: usize,
    codes: [u8; MAX_SLOTS * 2],
}

/// What one unwind operation says the prologue did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Pushed a register.
    Push(Reg),
    /// Lowered the stack pointer by this many bytes.
    Allocate(u32),
    /// Set the frame register.
    SetFrame,
    /// Stored a register this many bytes above the frame.
    Save(Reg, u32),
    /// Stored an XMM register; a walk does not recover those.
    SaveXmm,
    /// The processor pushed a machine frame, with an error code or without.
    MachineFrame {
        /// An error code lies below the frame.
        error_code: bool,
    },
    /// Version 2: where an epilogue lies. The value is the raw slot.
    Epilogue {
        /// Low byte: the size of the epilogues (first one) or the distance from the end.
        low: u8,
        /// The four bits beside the operation.
        info: u8,
    },
}

/// An operation, the position in the prologue after it, and how many slots it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coded {
    /// Offset from the start of the prologue of the end of the instruction.
    pub offset: u8,
    /// What was done.
    pub operation: Operation,
}

impl UnwindInfo {
    /// Reads the record at `rva` of the image: at most 528 bytes.
    ///
    /// `None` when a byte of it is not at hand or the version is unknown.
    pub fn read(code: &dyn CodeInfo, module: ModuleSpan, rva: u32) -> Option<UnwindInfo> {
        let mut header = [0u8; 4];
        if !code.read_image(module, rva, &mut header) {
            return None;
        }
        let [version_flags, prolog_size, slots, frame] = header;
        let version = version_flags & 7;
        if !(1..=2).contains(&version) {
            return None;
        }
        let mut info = UnwindInfo {
            version,
            prolog_size,
            frame_register: (frame & 15 != 0).then_some(Reg(frame & 15)),
            frame_offset: u32::from(frame >> 4) * 16,
            chained: None,
            slots: usize::from(slots),
            codes: [0; MAX_SLOTS * 2],
        };
        let codes = info.codes.get_mut(..usize::from(slots) * 2)?;
        if !codes.is_empty() && !code.read_image(module, rva.checked_add(4)?, codes) {
            return None;
        }
        if version_flags >> 3 & CHAININFO != 0 {
            // The codes are padded to an even number of slots.
            let after = 4 + u32::from(slots).div_ceil(2) * 4;
            info.chained = Some(super::read_entry(code, module, rva.checked_add(after)?)?);
        }
        Some(info)
    }

    /// The operations, newest first. Ends early at one that is cut short or unknown.
    pub fn operations(&self) -> Operations<'_> {
        Operations {
            codes: View(self.codes.get(..self.slots * 2).unwrap_or_default()),
            version: self.version,
            at: 0,
            broken: false,
        }
    }

    /// True when `offset_from_end` bytes before the end of the function lie in an epilogue that a
    /// version 2 record describes; `None` when the record describes none.
    pub fn in_described_epilogue(&self, offset_from_end: u32) -> Option<bool> {
        if self.version < 2 {
            return None;
        }
        let mut epilogues = self.operations().map_while(|coded| match coded.operation {
            Operation::Epilogue { low, info } => Some((low, info)),
            _ => None,
        });
        let (size, flags) = epilogues.next()?;
        let size = u32::from(size);
        let inside = |start: u32| offset_from_end <= start && offset_from_end + size > start;
        let at_end = flags & 1 != 0 && inside(size);
        Some(
            at_end
                || epilogues
                    .map(|(low, info)| u32::from(info) << 8 | u32::from(low))
                    .any(|start| start != 0 && inside(start)),
        )
    }
}

/// Iterator over [`UnwindInfo::operations`].
#[derive(Clone, Debug)]
pub struct Operations<'a> {
    codes: View<'a>,
    version: u8,
    at: usize,
    broken: bool,
}

impl Operations<'_> {
    /// True when the list ended at an operation that cannot be read.
    pub fn broken(&self) -> bool {
        self.broken
    }

    fn slot(&self, index: usize) -> Option<u32> {
        self.codes.u16(self.at + index * 2).map(u32::from)
    }

    fn decode(&self) -> Option<(Coded, usize)> {
        let offset = self.codes.u8(self.at)?;
        let byte = self.codes.u8(self.at + 1)?;
        let (operation, info) = (byte & 15, byte >> 4);
        let far = || Some(self.slot(1)? | self.slot(2)? << 16);
        let (operation, slots) = match (operation, self.version) {
            (0, _) => (Operation::Push(Reg(info)), 1),
            (1, _) if info == 0 => (Operation::Allocate(self.slot(1)?.checked_mul(8)?), 2),
            (1, _) if info == 1 => (Operation::Allocate(far()?), 3),
            (2, _) => (Operation::Allocate(u32::from(info) * 8 + 8), 1),
            (3, _) => (Operation::SetFrame, 1),
            (4, _) => (Operation::Save(Reg(info), self.slot(1)?.checked_mul(8)?), 2),
            (5, _) => (Operation::Save(Reg(info), far()?), 3),
            (6, 2) => (Operation::Epilogue { low: offset, info }, 1),
            // Version 1 has obsolete 64-bit XMM saves here.
            (6, _) => (self.slot(1).map(|_| Operation::SaveXmm)?, 2),
            (7, _) => (far().map(|_| Operation::SaveXmm)?, 3),
            (8, _) => (self.slot(1).map(|_| Operation::SaveXmm)?, 2),
            (9, _) => (far().map(|_| Operation::SaveXmm)?, 3),
            (10, _) => (
                Operation::MachineFrame {
                    error_code: info == 1,
                },
                1,
            ),
            _ => return None,
        };
        Some((Coded { offset, operation }, slots))
    }
}

impl Iterator for Operations<'_> {
    type Item = Coded;

    fn next(&mut self) -> Option<Coded> {
        if self.broken || self.at >= self.codes.0.len() {
            return None;
        }
        match self.decode() {
            Some((coded, slots)) => {
                self.at += slots * 2;
                Some(coded)
            }
            None => {
                self.broken = true;
                None
            }
        }
    }
}
