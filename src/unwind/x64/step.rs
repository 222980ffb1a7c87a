//! One step: the registers of the caller, from the registers of a function and its unwind data.

use crate::bytes::Gva;
use crate::machine::x64::registers as r;
use crate::machine::{Reg, Registers};
use crate::memory::{Absent, Memory};
use crate::unwind::{CodeInfo, ModuleSpan};

use super::epilogue::{self, Action};
use super::function_table::{self, EntryLookup, FunctionEntry};
use super::{CHAIN_LIMIT, Operation, UnwindInfo};

/// How the instruction pointer of a frame is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The next instruction to run: the top frame, or one that was interrupted.
    Exact,
    /// A return address: the instruction before it is the call, and may be its function's last.
    Return,
}

/// Why a step could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A register the step needs was not recovered.
    #[error("register {0} is not known")]
    Unknown(&'static str),
    /// The instruction pointer lies in no known module.
    #[error("no module at the instruction pointer")]
    NoModule,
    /// The module's function table is not at hand.
    #[error("no unwind data at hand")]
    NoUnwindData,
    /// The function table has no entry for a function that has made a call.
    #[error("no function entry for a return address")]
    NoEntry,
    /// The unwind record is cut short, has an unknown version or operation.
    #[error("unwind data cannot be read")]
    BadUnwindData,
    /// Chained entries do not end.
    #[error("chained unwind data do not end")]
    Endless,
    /// The stack is not there.
    #[error("the stack at {at:#x} is {why}")]
    Stack {
        /// Address read.
        at: u64,
        /// Why it could not be.
        why: Absent,
    },
    /// The stack pointer is not a multiple of eight or leaves the address space.
    #[error("the stack pointer {0:#x} is impossible")]
    BadStackPointer(u64),
}

/// Where the processor pushed the state of interrupted code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineFrame {
    /// Address of the saved instruction pointer.
    pub at: u64,
}

/// Which rule gave the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The operations of the unwind record.
    Codes,
    /// What was left of an epilogue.
    Epilogue,
    /// A leaf function: the return address lies at the stack pointer.
    Leaf,
}

/// The caller.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its registers. Volatile ones are not known, except after a machine frame, which carries
    /// the code segment and the flags.
    pub registers: Registers,
    /// Set when the "caller" is code that an interrupt or exception stopped.
    pub machine_frame: Option<MachineFrame>,
    /// How it was found.
    #[cfg_attr(not(feature = "internals"), expect(dead_code))]
    pub rule: Rule,
}

/// Registers a function may change without restoring them.
const VOLATILE: [Reg; 7] = [r::RAX, r::RCX, r::RDX, r::R8, r::R9, r::R10, r::R11];

/// Makes one step.
///
/// # Errors
/// [`StepError`]; the registers given are untouched.
pub fn step(
    code: &dyn CodeInfo,
    memory: &dyn Memory,
    registers: &Registers,
    position: Position,
) -> Result<Step, StepError> {
    let ip = registers.ip().ok_or(StepError::Unknown("rip"))?;
    let mut frame = Frame {
        memory,
        registers: registers.clone(),
        machine_frame: None,
    };
    frame.stack_pointer()?;
    let within = match position {
        Position::Exact => ip,
        Position::Return => ip.wrapping_sub(1),
    };
    let module = code.module_at(within).ok_or(StepError::NoModule)?;
    let rva = module.rva(within).ok_or(StepError::NoModule)?;
    let directory = code
        .exception_directory(module)
        .ok_or(StepError::NoUnwindData)?;
    let rule = match function_table::find(code, module, directory, rva) {
        EntryLookup::Unreadable => return Err(StepError::NoUnwindData),
        EntryLookup::NoEntry if position == Position::Return => return Err(StepError::NoEntry),
        EntryLookup::NoEntry => Rule::Leaf,
        EntryLookup::Entry { entry, indirect } => {
            let at = Place {
                code,
                module,
                entry,
                indirect,
                // Past the end of a function whose last instruction is a call is still inside.
                rva: rva.wrapping_add((ip != within).into()),
                position,
            };
            unwind_function(&at, &mut frame)?
        }
    };
    if frame.machine_frame.is_none() {
        let return_address = frame.pop()?;
        frame.registers.set_ip(return_address);
        frame.forget_volatile();
    }
    Ok(Step {
        registers: frame.registers,
        machine_frame: frame.machine_frame,
        rule,
    })
}

/// A position in a function of a module.
struct Place<'a> {
    code: &'a dyn CodeInfo,
    module: ModuleSpan,
    entry: FunctionEntry,
    indirect: bool,
    rva: u32,
    position: Position,
}

/// The register file while a function is undone.
struct Frame<'a> {
    memory: &'a dyn Memory,
    registers: Registers,
    machine_frame: Option<MachineFrame>,
}

impl Frame<'_> {
    fn get(&self, reg: Reg) -> Result<u64, StepError> {
        let name = || r::NAMES.get(usize::from(reg.0)).copied().unwrap_or("?");
        self.registers
            .get(reg)
            .ok_or_else(|| StepError::Unknown(name()))
    }

    fn stack_pointer(&self) -> Result<u64, StepError> {
        let sp = self.get(r::RSP)?;
        match sp % 8 {
            0 => Ok(sp),
            _ => Err(StepError::BadStackPointer(sp)),
        }
    }

    fn read(&self, at: u64) -> Result<u64, StepError> {
        self.memory
            .read_u64(Gva(at))
            .map_err(|why| StepError::Stack { at, why })
    }

    fn read_above(&self, base: u64, offset: u64) -> Result<u64, StepError> {
        let at = base
            .checked_add(offset)
            .ok_or(StepError::BadStackPointer(base))?;
        self.read(at)
    }

    fn pop(&mut self) -> Result<u64, StepError> {
        let sp = self.stack_pointer()?;
        let value = self.read(sp)?;
        self.raise(8)?;
        Ok(value)
    }

    fn raise(&mut self, bytes: u64) -> Result<(), StepError> {
        let sp = self.stack_pointer()?;
        let above = sp
            .checked_add(bytes)
            .ok_or(StepError::BadStackPointer(sp))?;
        self.registers.set_sp(above);
        Ok(())
    }

    fn forget_volatile(&mut self) {
        for reg in VOLATILE {
            self.registers.forget(reg);
        }
        self.registers.forget(r::EFLAGS);
    }

    /// Crosses into the code that the processor stopped when it pushed the frame at the stack
    /// pointer: five quadwords `rip, cs, rflags, rsp, ss`, above an error code if there is one.
    fn cross(&mut self, error_code: bool) -> Result<(), StepError> {
        if error_code {
            self.raise(8)?;
        }
        let at = self.stack_pointer()?;
        let ip = self.read(at)?;
        let cs = self.read_above(at, 8)?;
        let flags = self.read_above(at, 0x10)?;
        let sp = self.read_above(at, 0x18)?;
        let ss = self.read_above(at, 0x20)?;
        self.forget_volatile();
        self.registers.set_ip(ip);
        self.registers.set_sp(sp);
        self.registers.set(r::CS, cs & 0xFFFF);
        self.registers.set(r::EFLAGS, flags & 0xFFFF_FFFF);
        self.registers.set(r::SS, ss & 0xFFFF);
        self.machine_frame = Some(MachineFrame { at });
        Ok(())
    }
}

/// Undoes the function: the rest of its epilogue, or its prologue as far as it ran.
fn unwind_function(place: &Place<'_>, frame: &mut Frame<'_>) -> Result<Rule, StepError> {
    let read = |entry: FunctionEntry| {
        UnwindInfo::read(place.code, place.module, entry.unwind).ok_or(StepError::BadUnwindData)
    };
    let mut info = read(place.entry)?;
    if place.position == Position::Exact && finish_epilogue(place, &info, frame)? {
        return Ok(Rule::Epilogue);
    }
    let mut done = match place.indirect {
        true => u32::MAX,
        false => place.rva.saturating_sub(place.entry.begin),
    };
    for _ in 0..CHAIN_LIMIT {
        undo_prologue(&info, done, frame)?;
        let Some(next) = info.chained else {
            return Ok(Rule::Codes);
        };
        if frame.machine_frame.is_some() {
            return Ok(Rule::Codes);
        }
        // The prologue of the function that a chained part belongs to ran completely.
        done = u32::MAX;
        let next = function_table::resolve(place.code, place.module, next)
            .ok_or(StepError::BadUnwindData)?;
        info = read(next)?;
    }
    Err(StepError::Endless)
}

/// Undoes the operations that had been done when `done` bytes of the function had run.
fn undo_prologue(info: &UnwindInfo, done: u32, frame: &mut Frame<'_>) -> Result<(), StepError> {
    // Saved registers are counted from the fixed part of the frame: from the frame register if
    // it had been set, else from the stack pointer as it is before anything is undone.
    let mut operations = info.operations();
    let frame_set = done > u32::from(info.prolog_size)
        || operations
            .clone()
            .any(|coded| coded.operation == Operation::SetFrame && u32::from(coded.offset) <= done);
    let base = match info.frame_register {
        Some(reg) if frame_set => frame
            .get(reg)?
            .checked_sub(u64::from(info.frame_offset))
            .ok_or(StepError::BadStackPointer(0))?,
        _ => frame.stack_pointer()?,
    };
    for coded in operations.by_ref() {
        if let Operation::Epilogue { .. } = coded.operation {
            continue;
        }
        if u32::from(coded.offset) > done {
            continue;
        }
        match coded.operation {
            Operation::Push(reg) => {
                let value = frame.pop()?;
                frame.registers.set(reg, value);
            }
            Operation::Allocate(bytes) => frame.raise(u64::from(bytes))?,
            Operation::SetFrame => {
                if info.frame_register.is_none() {
                    return Err(StepError::BadUnwindData);
                }
                frame.registers.set_sp(base);
            }
            Operation::Save(reg, offset) => {
                let value = frame.read_above(base, u64::from(offset))?;
                frame.registers.set(reg, value);
            }
            Operation::SaveXmm | Operation::Epilogue { .. } => {}
            Operation::MachineFrame { error_code } => {
                frame.cross(error_code)?;
                return Ok(());
            }
        }
    }
    match operations.broken() {
        true => Err(StepError::BadUnwindData),
        false => Ok(()),
    }
}

/// Does what is left of an epilogue when the position is inside one, and says whether it was.
fn finish_epilogue(
    place: &Place<'_>,
    info: &UnwindInfo,
    frame: &mut Frame<'_>,
) -> Result<bool, StepError> {
    let end = place.entry.end;
    if info.in_described_epilogue(end.saturating_sub(place.rva)) == Some(false) {
        return Ok(false);
    }
    let mut window = [0u8; epilogue::WINDOW];
    let left = usize::try_from(end.saturating_sub(place.rva)).unwrap_or(0);
    let length = left.min(window.len());
    let Some(bytes) = window.get_mut(..length) else {
        return Ok(false);
    };
    if length == 0 || !place.code.read_image(place.module, place.rva, bytes) {
        return Ok(false);
    }
    let in_function = |target: u32| same_function(place, info, target);
    let Some(rest) = epilogue::recognise(bytes, place.rva, info.frame_register, in_function) else {
        return Ok(false);
    };
    for action in rest.actions() {
        match action {
            Action::Add(bytes) => {
                let sp = frame.stack_pointer()?;
                frame.registers.set_sp(sp.wrapping_add_signed(bytes));
            }
            Action::FromFrame(bytes) => {
                let base = info.frame_register.ok_or(StepError::BadUnwindData)?;
                let value = frame.get(base)?.wrapping_add_signed(bytes);
                frame.registers.set_sp(value);
            }
            Action::Pop(reg) => {
                let value = frame.pop()?;
                frame.registers.set(reg, value);
            }
        }
    }
    Ok(true)
}

/// True when the code at `target` is a part of the same function: the same primary entry, and not
/// its first instruction (a function that calls itself last jumps there).
fn same_function(place: &Place<'_>, info: &UnwindInfo, target: u32) -> bool {
    if place.entry.contains(target) {
        return target != place.entry.begin || info.chained.is_some();
    }
    let primary = |entry| primary_entry(place.code, place.module, entry);
    let Some(directory) = place.code.exception_directory(place.module) else {
        return false;
    };
    match function_table::find(place.code, place.module, directory, target) {
        EntryLookup::Entry { entry: other, .. } => {
            let (mine, theirs) = (primary(place.entry), primary(other));
            mine.is_some() && mine == theirs && theirs.is_some_and(|e| e.begin != target)
        }
        _ => false,
    }
}

/// The entry at the end of a chain: the function an entry is a part of.
fn primary_entry(
    code: &dyn CodeInfo,
    module: ModuleSpan,
    mut entry: FunctionEntry,
) -> Option<FunctionEntry> {
    for _ in 0..CHAIN_LIMIT {
        let info = UnwindInfo::read(code, module, entry.unwind)?;
        match info.chained {
            None => return Some(entry),
            Some(next) => entry = function_table::resolve(code, module, next)?,
        }
    }
    None
}
