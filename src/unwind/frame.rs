//! A call stack: its frames, how far each can be trusted, and where one activity ends.

use crate::bytes::ModuleId;
pub use crate::facts::{Boundary, Trust};
use crate::machine::Registers;

/// One frame of a stack, innermost first.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The registers of the frame, as far as they were recovered. The instruction pointer of every
    /// frame but the first and those behind a trap frame is a return address.
    pub registers: Registers,
    /// The module of the instruction pointer and the offset in it.
    pub module: Option<(ModuleId, u64)>,
    /// What the frame rests on.
    pub trust: Trust,
    /// Set at the frame at which one activity interrupted another.
    pub boundary: Option<Boundary>,
    /// Address of the machine frame or trap frame the registers were read from.
    pub trap: Option<u64>,
}

impl Frame {
    /// The instruction pointer or return address.
    pub fn ip(&self) -> Option<u64> {
        self.registers.ip()
    }

    /// The stack pointer.
    pub fn sp(&self) -> Option<u64> {
        self.registers.sp()
    }
}

/// Why a walk ended before the root of the stack.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Unwinding needs something that is not there, and no candidate was found on the stack.
    #[error("{0}")]
    Step(String),
    /// The bytes of the stack are not in the dump.
    #[error("the stack at {at:#x} is not in the dump")]
    NoStack {
        /// First address that is missing.
        at: u64,
    },
    /// The start has no stack pointer.
    #[error("the stack pointer is not known")]
    NoStackPointer,
    /// No unwinder for this architecture.
    #[error("{0} stacks are not unwound")]
    Unsupported(&'static str),
    /// As many frames as are ever shown.
    #[error("more than {0} frames")]
    TooManyFrames(usize),
    /// Without unwind data, more candidates would help nobody.
    #[error("no unwind data; only the first {0} candidates on the stack are shown")]
    Candidates(usize),
    /// The root was reached, but by candidates.
    #[error("the root was reached over candidates: frames may be missing")]
    Guessed,
    /// The stack pointer did not move outward.
    #[error("the stack does not advance at {at:#x}")]
    NoProgress {
        /// The stack pointer.
        at: u64,
    },
    /// The dump's work limit.
    #[error("the work limit was reached")]
    Budget,
}

/// A call stack.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
    /// How many leading frames belong to the activity of the first one.
    pub faulting_activity: usize,
    /// The walk reached the root of the stack or user mode.
    pub complete: bool,
    /// Why not.
    pub stopped_because: Option<Stop>,
    /// Readings of fields whose meaning is not known, which what they led to decided.
    pub remarks: Vec<&'static str>,
}
