//! One step: the registers of the caller, from the registers of a function and its descriptors.

use crate::bytes::Gva;
use crate::machine::ia64::registers as r;
use crate::machine::{Reg, Registers};
use crate::memory::{Absent, Memory};
use crate::unwind::x64::{self, EntryLookup};
use crate::unwind::{CodeInfo, ModuleSpan};

use super::descriptors::{Damage, Resource};
use super::rules::{self, CallerStack, Executed, Found, Rules, SavedIn};
use super::unwind_info::UnwindInfo;
use crate::machine::ia64::register_stack::{self, FrameMarker};

/// Bytes of a bundle, which holds three instructions.
const BUNDLE: u64 = 16;
/// Instructions of a bundle.
const SLOTS: u64 = 3;

/// How the instruction pointer of a frame is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The instruction in this slot of the bundle is the next to run.
    Exact(u8),
    /// A return address: the call lies in the bundle before, and may be its function's last.
    Return,
}

/// Why a step could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// A register the step needs was not recovered.
    #[error("{0} is not known")]
    Unknown(&'static str),
    /// A register the step needs was saved under a predicate.
    #[error("where {0} is depends on a predicate")]
    Predicated(&'static str),
    /// The instruction pointer lies in no known module.
    #[error("no module at the instruction pointer")]
    NoModule,
    /// The instruction pointer is not that of a bundle.
    #[error("the instruction pointer {0:#x} is no bundle's address")]
    NoBundle(u64),
    /// The module's function table or the function's descriptors are not at hand.
    #[error("no unwind data at hand")]
    NoUnwindData,
    /// The function table has no entry for a function that has made a call.
    #[error("no function entry for a return address")]
    NoEntry,
    /// The record is cut short, has an unknown version or an impossible length.
    #[error("unwind data cannot be read")]
    BadUnwindData,
    /// The descriptors cannot be read or used.
    #[error("{0}")]
    Descriptors(Damage),
    /// The frame has no such stacked register.
    #[error("the frame has no register r{0}")]
    NoRegister(u8),
    /// The register held no value (NaT) when it was stored.
    #[error("register r{0} held no value")]
    NotAThing(u8),
    /// The memory stack is not there.
    #[error("the stack at {at:#x} is {why}")]
    Stack {
        /// Address read.
        at: u64,
        /// Why it could not be.
        why: Absent,
    },
    /// The register stack is not there.
    #[error("the register stack at {at:#x} is {why}")]
    Store {
        /// Address read.
        at: u64,
        /// Why it could not be.
        why: Absent,
    },
    /// The register was never written to the register stack in memory.
    #[error("the register stack at {at:#x} was not written before the crash")]
    NotStored {
        /// Where it would be.
        at: u64,
    },
    /// The stack pointer of the caller is not a multiple of sixteen or below the function's.
    #[error("the stack pointer {0:#x} is impossible")]
    BadStackPointer(u64),
    /// The saved frame marker is none.
    #[error("the saved frame marker {0:#x} is impossible")]
    BadMarker(u64),
}

/// Which rule gave the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The function's descriptors.
    Descriptors,
    /// A function without an entry: it has changed nothing.
    Leaf,
}

/// The caller.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its registers. Scratch registers are not known. An instruction pointer of zero: there is no
    /// caller.
    pub registers: Registers,
    /// How it was found.
    #[cfg_attr(not(feature = "internals"), expect(dead_code))]
    pub rule: Rule,
}

/// What applies at an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionRules {
    /// How it was found.
    pub rule: Rule,
    /// The state at the instruction.
    pub found: Found,
}

/// Looks up what applies at `ip`.
///
/// # Errors
/// [`StepError`] when the tables that say it are not at hand or damaged.
pub fn function_rules(
    code: &dyn CodeInfo,
    ip: u64,
    position: Position,
) -> Result<FunctionRules, StepError> {
    if !ip.is_multiple_of(BUNDLE) {
        return Err(StepError::NoBundle(ip));
    }
    let within = match position {
        Position::Exact(_) => ip,
        Position::Return => ip.wrapping_sub(BUNDLE),
    };
    let module = code.module_at(within).ok_or(StepError::NoModule)?;
    let rva = module.rva(within).ok_or(StepError::NoModule)?;
    let directory = code
        .exception_directory(module)
        .ok_or(StepError::NoUnwindData)?;
    let entry = match x64::find(code, module, directory, rva) {
        EntryLookup::Unreadable => return Err(StepError::NoUnwindData),
        EntryLookup::NoEntry if position == Position::Return => return Err(StepError::NoEntry),
        EntryLookup::NoEntry => return Ok(leaf()),
        // Only x64 has rows that lead to others.
        EntryLookup::Entry { indirect: true, .. } => return Err(StepError::BadUnwindData),
        EntryLookup::Entry { entry, .. } => entry,
    };
    let bundles = u64::from(rva.saturating_sub(entry.begin)) / BUNDLE;
    let executed = match position {
        Position::Exact(slot) => Executed {
            slots: bundles * SLOTS + u64::from(slot).min(SLOTS - 1),
            call: false,
        },
        Position::Return => Executed {
            slots: (bundles + 1) * SLOTS,
            call: true,
        },
    };
    let found = descriptors(code, module, entry.unwind, executed)?;
    Ok(FunctionRules {
        rule: Rule::Descriptors,
        found,
    })
}

/// What applies in a function without an entry: it has changed nothing.
pub fn leaf() -> FunctionRules {
    FunctionRules {
        rule: Rule::Leaf,
        found: Found {
            rules: Rules::START,
            abi: None,
        },
    }
}

fn descriptors(
    code: &dyn CodeInfo,
    module: ModuleSpan,
    rva: u32,
    executed: Executed,
) -> Result<Found, StepError> {
    let mut version = [0; 2];
    if !code.read_image(module, rva, &mut version) {
        return Err(StepError::NoUnwindData);
    }
    let info = UnwindInfo::read(code, module, rva).ok_or(StepError::BadUnwindData)?;
    rules::rules(&info.descriptors, executed).map_err(StepError::Descriptors)
}

/// Makes one step. `registers` hold the instruction and stack pointers, `bsp` (where r32 of the
/// frame lies) and `ifs` (its frame marker), and whatever else is known.
///
/// # Errors
/// [`StepError`]; the registers given are untouched.
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn step(
    code: &dyn CodeInfo,
    memory: &dyn Memory,
    registers: &Registers,
    position: Position,
) -> Result<Step, StepError> {
    let ip = registers
        .ip()
        .ok_or(StepError::Unknown("the instruction pointer"))?;
    let function = function_rules(code, ip, position)?;
    outward(memory, registers, position, &function)
}

/// Makes the step that the rules of the function say.
///
/// # Errors
/// As [`step`].
pub fn outward(
    memory: &dyn Memory,
    registers: &Registers,
    position: Position,
    function: &FunctionRules,
) -> Result<Step, StepError> {
    let exact = position != Position::Return;
    let frame = Frame::new(memory, registers, &function.found)?;
    let rp = frame.needed(Resource::Rp, exact)?;
    if rp == 0 {
        return Ok(Step {
            registers: root(registers, frame.psp),
            rule: function.rule,
        });
    }
    let pfs = frame.needed(Resource::Pfs, exact)?;
    let marker = FrameMarker::of(pfs).ok_or(StepError::BadMarker(pfs))?;
    let bsp = frame
        .bsp
        .ok_or(StepError::Unknown("the place of the register stack"))?;
    let mut caller = Registers::new(registers.machine());
    for (reg, what) in PRESERVED {
        caller.assign(*reg, frame.preserved(*what, *reg));
    }
    // What the processor has written of the register stack is the same for every frame of it.
    for reg in [r::BSPSTORE, r::RNAT, r::TEB] {
        caller.assign(reg, registers.get(reg));
    }
    caller.set_ip(rp);
    caller.set_sp(frame.psp);
    caller.set(r::PFS, pfs);
    caller.set(r::IFS, marker.0);
    let locals = marker.locals().cast_signed();
    caller.set(r::BSP, register_stack::skip(bsp, -locals));
    Ok(Step {
        registers: caller,
        rule: function.rule,
    })
}

/// Gives `to` the preserved registers of the caller, those that can be had.
pub fn preserved(
    memory: &dyn Memory,
    registers: &Registers,
    function: &FunctionRules,
    to: &mut Registers,
) {
    let frame = Frame::new(memory, registers, &function.found).ok();
    for (reg, what) in PRESERVED {
        let value = frame.as_ref().and_then(|f| f.preserved(*what, *reg));
        if to.get(*reg).is_none() {
            to.assign(*reg, value);
        }
    }
    for reg in [r::BSPSTORE, r::RNAT] {
        to.assign(reg, registers.get(reg));
    }
}

/// The registers outside a function that nothing has called: a stack pointer and no instruction.
fn root(registers: &Registers, sp: u64) -> Registers {
    let mut outside = Registers::new(registers.machine());
    outside.set_ip(0);
    outside.set_sp(sp);
    outside
}

/// Registers a function gives back as it found them.
const PRESERVED: &[(Reg, Resource)] = &[
    (r::S0, Resource::Gr(4)),
    (r::S1, Resource::Gr(5)),
    (r::S2, Resource::Gr(6)),
    (r::S3, Resource::Gr(7)),
    (r::B1, Resource::Br(1)),
    (r::B2, Resource::Br(2)),
    (r::B3, Resource::Br(3)),
    (r::B4, Resource::Br(4)),
    (r::B5, Resource::Br(5)),
    (r::PREDS, Resource::Preds),
    (r::LC, Resource::Lc),
    (r::UNAT, Resource::Unat),
];

/// The frame of the function that is left.
struct Frame<'a> {
    memory: &'a dyn Memory,
    registers: &'a Registers,
    found: &'a Found,
    marker: Option<FrameMarker>,
    bsp: Option<u64>,
    sp: u64,
    /// The caller's stack pointer.
    psp: u64,
}

impl<'a> Frame<'a> {
    fn new(
        memory: &'a dyn Memory,
        registers: &'a Registers,
        found: &'a Found,
    ) -> Result<Frame<'a>, StepError> {
        let sp = registers
            .sp()
            .ok_or(StepError::Unknown("the stack pointer"))?;
        let marker = registers.get(r::IFS).and_then(FrameMarker::of);
        let bsp = registers
            .get(r::BSP)
            .filter(|bsp| bsp % 8 == 0 && !register_stack::holds_nats(*bsp));
        let mut frame = Frame {
            memory,
            registers,
            found,
            marker,
            bsp,
            sp,
            psp: sp,
        };
        frame.psp = frame.caller_stack()?;
        let possible = frame.psp >= sp && frame.psp.is_multiple_of(16);
        match possible {
            true => Ok(frame),
            false => Err(StepError::BadStackPointer(frame.psp)),
        }
    }

    fn caller_stack(&self) -> Result<u64, StepError> {
        let rules = &self.found.rules;
        match rules.stack {
            _ if rules.restored => Ok(self.sp),
            CallerStack::Same => Ok(self.sp),
            CallerStack::Above(size) => self
                .sp
                .checked_add(size)
                .ok_or(StepError::BadStackPointer(self.sp)),
            CallerStack::Saved => {
                const NAME: &str = "the caller's stack pointer";
                let place = rules.place(Resource::Psp).ok_or(StepError::Unknown(NAME))?;
                // Its own place cannot be told from itself.
                match place {
                    SavedIn::Psp(_) => Err(StepError::Unknown(NAME)),
                    place => self.at(place, NAME),
                }
            }
        }
    }

    /// The return address or the caller's frame marker: in its own register only where the function
    /// has made no call yet.
    fn needed(&self, what: Resource, exact: bool) -> Result<u64, StepError> {
        let (reg, name) = match what {
            Resource::Rp => (r::RP, "the return address"),
            _ => (r::PFS, "the caller's frame marker"),
        };
        match self.found.rules.place(what) {
            Some(place) => self.at(place, name),
            None => self
                .registers
                .get(reg)
                .filter(|_| exact)
                .ok_or(StepError::Unknown(name)),
        }
    }

    /// A preserved register of the caller; `None` when it cannot be had.
    fn preserved(&self, what: Resource, reg: Reg) -> Option<u64> {
        match self.found.rules.place(what) {
            Some(place) => self.at(place, "").ok(),
            None => self.registers.get(reg),
        }
    }

    fn at(&self, place: SavedIn, name: &'static str) -> Result<u64, StepError> {
        match place {
            SavedIn::Gr(number) => self.general(number, name),
            SavedIn::Br(number) => r::branch(number)
                .and_then(|reg| self.registers.get(reg))
                .ok_or(StepError::Unknown(name)),
            // No floating-point register is kept.
            SavedIn::Fr(_) => Err(StepError::Unknown(name)),
            SavedIn::Unsure => Err(StepError::Predicated(name)),
            SavedIn::Psp(_) | SavedIn::Sp(_) => {
                let at = self.address(place).ok_or(StepError::Unknown(name))?;
                self.memory
                    .read_u64(Gva(at))
                    .map_err(|why| StepError::Stack { at, why })
            }
        }
    }

    /// Where a place in memory is.
    fn address(&self, place: SavedIn) -> Option<u64> {
        let rules = &self.found.rules;
        match place {
            SavedIn::Psp(offset) => self.psp.checked_add_signed(offset),
            // An epilogue has raised the stack pointer: the place lies below it.
            SavedIn::Sp(offset) => match (rules.restored, rules.stack) {
                (false, _) => self.sp.checked_add_signed(offset),
                (true, CallerStack::Above(size)) => {
                    self.psp.checked_sub(size)?.checked_add_signed(offset)
                }
                (true, _) => None,
            },
            _ => None,
        }
    }

    fn general(&self, number: u8, name: &'static str) -> Result<u64, StepError> {
        match number {
            0 => Ok(0),
            1..32 => r::general(number)
                .and_then(|reg| self.registers.get(reg))
                .ok_or(StepError::Unknown(name)),
            _ => self.stacked(number),
        }
    }

    fn stacked(&self, number: u8) -> Result<u64, StepError> {
        let marker = self.marker.ok_or(StepError::Unknown("the frame marker"))?;
        let bsp = self
            .bsp
            .ok_or(StepError::Unknown("the place of the register stack"))?;
        let at = marker
            .register(bsp, number)
            .ok_or(StepError::NoRegister(number))?;
        stored(self.memory, self.registers, at, number)
    }
}

/// Stacked register `number`, which lies at `at` of the register stack.
///
/// # Errors
/// [`StepError`] when it was not written, is not in the dump, or held no value.
fn stored(
    memory: &dyn Memory,
    registers: &Registers,
    at: u64,
    number: u8,
) -> Result<u64, StepError> {
    let written = registers.get(r::BSPSTORE).unwrap_or(u64::MAX);
    if at >= written {
        return Err(StepError::NotStored { at });
    }
    let value = memory
        .read_u64(Gva(at))
        .map_err(|why| StepError::Store { at, why })?;
    let (nats, bit) = register_stack::nat_bit(at);
    let nats = match nats >= written {
        true => registers.get(r::RNAT),
        false => memory.read_u64(Gva(nats)).ok(),
    };
    match nats.is_some_and(|nats| nats >> bit & 1 != 0) {
        true => Err(StepError::NotAThing(number)),
        false => Ok(value),
    }
}

/// The address at which a function's descriptors say that a register of its caller is saved, where
/// that is memory: on the memory stack, or on the register stack.
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn saved_at(
    memory: &dyn Memory,
    registers: &Registers,
    function: &FunctionRules,
    what: Resource,
) -> Option<u64> {
    let frame = Frame::new(memory, registers, &function.found).ok()?;
    match function.found.rules.place(what)? {
        SavedIn::Gr(number @ 32..) => frame.marker?.register(frame.bsp?, number),
        place => frame.address(place),
    }
}
