//! The four parameters of one bug check, read by the table: which of them is the address, the
//! instruction, the access, the IRQL, the exception or a record.
//!
//! Traps of real parameters: 32-bit dumps hold addresses zero- or sign-extended; exception codes come
//! sign-extended in some codes; since Windows 10 a page fault's access is bits of the processor's
//! error code (write 2, execute 0x10), before it was 0 or 1.

use crate::vocabulary::open_enum;

use super::{BugCheck, find};
use crate::knowledge::tables::bugchecks::PARAMETERS;
use crate::machine::Machine;

/// STATUS_ACCESS_VIOLATION.
pub(super) const ACCESS_VIOLATION: u32 = 0xC000_0005;
/// The first build whose page faults encode the access as bits of the processor's error code.
const NEW_PAGE_FAULT_CODES: u32 = 10_240;

/// HIGH_LEVEL of x86, the highest of all; x64 ends at 15.
const HIGHEST_IRQL: u8 = 31;

open_enum! {
    /// What a memory access was for.
    Access {
        /// Data was read.
        Read = "read",
        /// Data was written.
        Write = "write",
        /// An instruction was fetched.
        Execute = "execute",
    }
}

impl Access {
    /// The letter a failure bucket uses.
    pub fn letter(self) -> char {
        match self {
            Access::Read => 'R',
            Access::Write => 'W',
            Access::Execute => 'X',
        }
    }
}

/// How a parameter is read; the generated table names one for each parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::knowledge) enum Decoder {
    /// Reserved.
    None,
    /// A number without a further reading.
    Hex,
    /// A data address.
    Address,
    /// An address of code that is not the faulting instruction.
    Code,
    /// The address whose access failed.
    Accessed,
    /// The instruction that failed; zero is an address like any other.
    Instruction,
    /// The instruction that failed; zero means that the system did not know it.
    InstructionIfKnown,
    Irql,
    /// 0 read, 1 write, 2 or 8 execute (0xD1).
    Access,
    /// Bit 0 write, bit 3 execute (0x0A).
    AccessBits,
    /// 0 read, 1 write.
    ReadWrite,
    /// Up to build 10240 0 read, 1 write, 8 execute; from there on 0 read, 2 write, 0x10 execute on x86
    /// and x64, and the old values on Arm.
    PageFaultAccess,
    /// As `PageFaultAccess`, and 1 is a write everywhere.
    SpecialPoolAccess,
    /// The NTSTATUS of the exception.
    Exception,
    /// ExceptionInformation\[0\] of the exception.
    ExceptionInfo0,
    /// ExceptionInformation\[1\].
    ExceptionInfo1,
    /// Address of a KTRAP_FRAME.
    TrapFrame,
    /// Address of a CONTEXT.
    ContextRecord,
    /// Address of an EXCEPTION_RECORD.
    ExceptionRecord,
    NtStatus,
    /// An NTSTATUS on some systems, a plain number on others: named only when it is an error status.
    NtStatusOrHex,
    /// Source file number in the upper half, line in the lower.
    SourceLine,
    /// A selector with the named set of values.
    Set(&'static str),
}

/// One parameter of one code.
pub(in crate::knowledge) struct ParameterRow {
    pub code: u32,
    /// From 0.
    pub index: u8,
    pub decoder: Decoder,
    pub meaning: Option<&'static str>,
}

pub(super) fn row(code: u32, index: usize) -> Option<&'static ParameterRow> {
    let key = (code, u8::try_from(index).ok()?);
    let at = PARAMETERS
        .binary_search_by_key(&key, |row| (row.code, row.index))
        .ok()?;
    PARAMETERS.get(at)
}

/// A part that a parameter can play in the description of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The faulting instruction.
    Instruction,
    /// The address accessed.
    Accessed,
    /// The IRQL.
    Irql,
    /// The NTSTATUS of the exception.
    Exception,
    /// Address of a KTRAP_FRAME.
    TrapFrame,
    /// Address of a CONTEXT.
    ContextRecord,
    /// Address of an EXCEPTION_RECORD.
    ExceptionRecord,
}

impl Decoder {
    fn plays(self, slot: Slot) -> bool {
        matches!(
            (self, slot),
            (
                Decoder::Instruction | Decoder::InstructionIfKnown,
                Slot::Instruction
            ) | (Decoder::Accessed, Slot::Accessed)
                | (Decoder::Irql, Slot::Irql)
                | (Decoder::Exception, Slot::Exception)
                | (Decoder::TrapFrame, Slot::TrapFrame)
                | (Decoder::ContextRecord, Slot::ContextRecord)
                | (Decoder::ExceptionRecord, Slot::ExceptionRecord)
        )
    }
}

/// Where a part stands among a code's parameters, from 0.
pub(super) fn position(code: u32, slot: Slot) -> Option<usize> {
    (0..4).find(|index| row(code, *index).is_some_and(|row| row.decoder.plays(slot)))
}

/// What the reading of parameters depends on besides the code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    /// Width of a pointer in bytes: 4 or 8.
    pub pointer: usize,
    /// 32- or 64-bit Arm.
    pub arm: bool,
    /// Windows build, when it is known.
    pub build: Option<u32>,
}

impl Platform {
    /// The platform of a dump with pointers of `pointer` bytes.
    pub fn new(pointer: usize, architecture: Option<Machine>, build: Option<u32>) -> Platform {
        Platform {
            pointer,
            arm: matches!(architecture, Some(Machine::Arm | Machine::Arm64)),
            build,
        }
    }

    /// An address or number as this platform's pointers hold it.
    fn truncate(self, value: u64) -> u64 {
        match self.pointer {
            4 => value & 0xFFFF_FFFF,
            _ => value,
        }
    }
}

/// What an access violation says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Violation {
    /// `None`: the processor named none (a general protection fault: typically a non-canonical pointer).
    pub address: Option<u64>,
    /// `None`: not known.
    pub access: Option<Access>,
}

impl Violation {
    /// An access violation by the two words of its record, which `instruction` raised; `pointer` is the
    /// width of a pointer in bytes.
    ///
    /// A general protection fault arrives as a read of the highest address. The processor told neither.
    pub fn of(information: [u64; 2], instruction: Option<u64>, pointer: usize) -> Violation {
        let [kind, address] = information;
        let withheld = match pointer {
            4 => address & 0xFFFF_FFFF == 0xFFFF_FFFF,
            _ => address == u64::MAX,
        };
        let access = match kind {
            0 if withheld => None,
            0 if instruction == Some(address) => Some(Access::Execute),
            0 => Some(Access::Read),
            1 => Some(Access::Write),
            8 => Some(Access::Execute),
            _ => None,
        };
        Violation {
            address: (!withheld).then_some(address),
            access,
        }
    }
}

/// A bug check's code and parameters on one platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    /// The row of the code.
    pub check: BugCheck,
    /// As stored; `None` for those that were never written.
    values: [Option<u64>; 4],
    platform: Platform,
}

impl Parameters {
    /// Code and parameters of a dump in which some parameters may never have been written.
    pub fn written(raw: u32, values: [Option<u64>; 4], platform: Platform) -> Parameters {
        Parameters {
            check: find(raw),
            values,
            platform,
        }
    }

    /// A parameter (from 0) at pointer width; `None` past the fourth and for one that was never written.
    pub fn value(&self, index: usize) -> Option<u64> {
        Some(self.platform.truncate((*self.values.get(index)?)?))
    }

    /// The value of a part, where the code has it.
    fn slot(&self, slot: Slot) -> Option<u64> {
        self.value(self.check.slot(slot)?)
    }

    /// The faulting instruction. Zero is `None` where it means that the system did not know it, and
    /// where the access was no call of address zero.
    pub fn instruction(&self) -> Option<u64> {
        let index = self.check.slot(Slot::Instruction)?;
        let value = self.value(index)?;
        let always = row(self.check.code, index).is_some_and(|r| r.decoder == Decoder::Instruction);
        let called = always && self.slot(Slot::Accessed).is_none_or(|at| at == 0) && self.any();
        (value != 0 || called).then_some(value)
    }

    /// Some parameter is set: a header whose parameters were never filled in says nothing.
    fn any(&self) -> bool {
        self.values.iter().flatten().any(|value| *value != 0)
    }

    /// The exception's NTSTATUS, masked to 32 bits.
    pub fn exception(&self) -> Option<u32> {
        Some(low_half(self.slot(Slot::Exception)?))
    }

    /// The IRQL, if it is one.
    pub fn irql(&self) -> Option<u8> {
        let irql = u8::try_from(self.slot(Slot::Irql)?).ok()?;
        (irql <= HIGHEST_IRQL).then_some(irql)
    }

    /// Address of the KTRAP_FRAME, CONTEXT or EXCEPTION_RECORD that a parameter names; zero names none.
    pub fn record(&self, slot: Slot) -> Option<u64> {
        self.slot(slot).filter(|at| *at != 0)
    }

    /// The memory access that the parameters or the code name; `None` for codes that name none. An
    /// address that equals the faulting instruction's is an execution, whatever the access parameter
    /// says: systems without no-execute report a read.
    pub fn violation(&self) -> Option<Violation> {
        if let Some(violation) = self.exception_information() {
            return Some(violation);
        }
        Some(Violation {
            address: Some(self.slot(Slot::Accessed)?),
            access: self.access(),
        })
    }

    /// The two words of an access violation, for the code whose parameters hold them (0x1E).
    fn exception_information(&self) -> Option<Violation> {
        let word = |wanted| {
            let is = |i: &usize| row(self.check.code, *i).is_some_and(|r| r.decoder == wanted);
            self.value((0..4).find(is)?)
        };
        let information = [
            word(Decoder::ExceptionInfo0)?,
            word(Decoder::ExceptionInfo1)?,
        ];
        (self.exception() == Some(ACCESS_VIOLATION)).then(|| {
            Violation::of(
                information,
                self.slot(Slot::Instruction),
                self.platform.pointer,
            )
        })
    }

    /// The access, by the code, by the address that is the instruction, or by the parameter.
    pub(super) fn access(&self) -> Option<Access> {
        if self.check.access.is_some() {
            return self.check.access;
        }
        if self.executes_itself() {
            return Some(Access::Execute);
        }
        (0..4).find_map(|index| self.stated_access(index))
    }

    /// The address accessed is the instruction.
    pub(super) fn executes_itself(&self) -> bool {
        let accessed = self.slot(Slot::Accessed);
        accessed.is_some() && self.instruction() == accessed
    }

    /// The access that a parameter states, if it is one for that.
    fn stated_access(&self, index: usize) -> Option<Access> {
        let value = self.value(index)?;
        match row(self.check.code, index)?.decoder {
            Decoder::Access => match value {
                0 => Some(Access::Read),
                1 => Some(Access::Write),
                2 | 8 => Some(Access::Execute),
                _ => None,
            },
            Decoder::AccessBits => match value {
                0 => Some(Access::Read),
                1 => Some(Access::Write),
                8 | 9 => Some(Access::Execute),
                _ => None,
            },
            Decoder::ReadWrite => match value {
                0 => Some(Access::Read),
                1 => Some(Access::Write),
                _ => None,
            },
            Decoder::PageFaultAccess => self.page_fault(value),
            Decoder::SpecialPoolAccess => match value {
                1 => Some(Access::Write),
                value => self.page_fault(value),
            },
            _ => None,
        }
    }

    fn page_fault(&self, value: u64) -> Option<Access> {
        // A build that is not known: what means the same in both is taken, and what only one has.
        let (old, new) = match self.platform.build {
            Some(build) if build < NEW_PAGE_FAULT_CODES => (true, false),
            Some(_) => (self.platform.arm, !self.platform.arm),
            None => (true, true),
        };
        match value {
            0 => Some(Access::Read),
            1 | 8 if !old => None,
            1 => Some(Access::Write),
            8 => Some(Access::Execute),
            2 if new => Some(Access::Write),
            0x10 if new => Some(Access::Execute),
            _ => None,
        }
    }
}

/// The low 32 bits.
pub(super) fn low_half(value: u64) -> u32 {
    (value & 0xFFFF_FFFF) as u32
}
