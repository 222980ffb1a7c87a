//! Bug checks: what each code is called and reports, what its parameters mean, and where among them
//! the fault's address, instruction, access and records are. One table (`data/bugcheck*.tsv`, from
//! Microsoft's public bug check code reference) that the fault, the evidence, the report and the
//! articles read. This file knows codes; `parameters` reads values, `text` puts them into words.

mod ntstatus;
mod parameters;
mod role;
mod text;

pub use ntstatus::ntstatus_name;
pub use parameters::{Access, Parameters, Platform, Slot, Violation};
pub(super) use parameters::{Decoder, ParameterRow};
pub use role::{CodeRole, RoleKind, role, roles};
pub use text::{ParameterText, has_parameter_texts};

use super::tables::bugchecks::{CODES, DRIVERS};

/// Does a code report a crash?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reports {
    /// Windows stopped.
    Stop,
    /// Windows went on running: the dump is a report of a running system.
    Live,
    /// Windows uses the code for both.
    Either,
}

/// What kind of event a code reports, which decides where its place is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An instruction faulted: its context is looked for.
    Fault,
    /// A check in the kernel failed: the caller of the bug check is the place.
    Check,
    /// A person or a monitor asked for the dump: what the processors were doing is looked for.
    Forced,
    /// A watchdog found a processor that did not get on: what it was doing is looked for.
    Hang,
}

impl Kind {
    /// True when the code says nothing of its own place, and what was interrupted is looked for.
    pub fn interrupts(self) -> bool {
        matches!(self, Kind::Forced | Kind::Hang)
    }
}

/// The IRQL at which Windows raises a code for a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaisedAt {
    /// Nothing is known of it.
    Any,
    /// 2 or above: the same fault below is another code.
    DispatchOrAbove,
    /// 0 or 1: the same fault above is 0x0A or 0xD1.
    BelowDispatch,
    /// 0 or 1 when the exception is an access violation that names its address, as page faults do:
    /// the same fault above is 0x0A or 0xD1. A general protection fault names none and may come at
    /// any IRQL.
    BelowDispatchWithAddress,
}

/// Who calls the bug check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RaisedBy {
    /// The handler of the trap itself: its exception frame lies below the trap frame.
    Trap,
    /// Other code of the kernel.
    Code,
}

/// Whom a code is laid to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blames {
    /// Who faulted, or who called what failed the check.
    Stack,
    /// Whom a parameter names: the stack is that of a watchdog or of whoever noticed.
    Parameter,
    /// Whoever damaged the memory, who is rarely the one that came across the damage.
    Damage,
    /// The machine.
    Hardware,
    /// The machine's firmware.
    Firmware,
    /// A disk, its controller or its cable, or a damaged file system.
    Storage,
    /// A program that Windows cannot do without.
    Process,
    /// Nobody: the dump was asked for.
    Nobody,
}

/// What a parameter is that leads to a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leads {
    /// An address inside the driver.
    Code,
    /// Address of a DEVICE_OBJECT.
    Device,
    /// Address of a DRIVER_OBJECT.
    Driver,
    /// Address of a request packet (IRP) that the driver holds.
    Irp,
    /// Address of a UNICODE_STRING with its name.
    Name,
}

/// A parameter that leads to a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriverParameter {
    /// Without the M bit.
    pub code: u32,
    /// The first parameter for which it holds; `None`: whatever that is.
    pub first: Option<u64>,
    /// From 0.
    pub index: u8,
    /// What it is.
    pub leads: Leads,
}

/// The parameters of a bug check that lead to a driver, the surest first.
pub fn driver_parameters(raw: u32, first: u64) -> impl Iterator<Item = DriverParameter> {
    let code = base_code(raw);
    DRIVERS
        .iter()
        .filter(move |row| row.code == code && row.first.is_none_or(|value| value == first))
        .copied()
}

/// One bug check code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BugCheck {
    /// Without the M bit.
    pub code: u32,
    /// Name; `None` for a code that the reference does not list.
    pub name: Option<&'static str>,
    /// A crash, or a report of a running system.
    pub reports: Reports,
    /// What kind of event it reports.
    pub kind: Kind,
    /// At which IRQL.
    pub irql: RaisedAt,
    /// The access that the code alone says; see [`Parameters::access`] for the others.
    pub access: Option<Access>,
    /// Who calls the bug check.
    pub raised_by: RaisedBy,
    /// Whom it is laid to.
    pub blames: Blames,
}

impl BugCheck {
    /// A report of a running system, whatever else is known: never a Stop.
    pub fn is_live(&self) -> bool {
        self.reports == Reports::Live
    }

    /// A report of a running system in a dump that its writer marked as one (`live_mark`): some codes are either.
    pub fn is_live_in(&self, live_mark: bool) -> bool {
        self.is_live() || (self.reports == Reports::Either && live_mark)
    }

    /// A person or a monitor asked for the dump.
    pub fn is_forced(&self) -> bool {
        self.kind == Kind::Forced
    }

    /// Where a parameter that plays a part in the description of a fault stands, from 0; `None` where
    /// the code has no such parameter.
    pub fn slot(&self, slot: Slot) -> Option<usize> {
        parameters::position(self.code, slot)
    }
}

/// The row of a code, which may carry the M bit. A code that the reference does not list is a check
/// that failed, and nothing else is known of it.
pub fn find(raw: u32) -> BugCheck {
    let code = base_code(raw);
    match CODES.binary_search_by_key(&code, |row| row.code) {
        Ok(at) => CODES.get(at).copied(),
        Err(_) => None,
    }
    .unwrap_or(BugCheck {
        code,
        name: None,
        reports: Reports::Stop,
        kind: Kind::Check,
        irql: RaisedAt::Any,
        access: None,
        raised_by: RaisedBy::Code,
        blames: Blames::Stack,
    })
}

/// All codes of the reference without the M bit, ascending.
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn codes() -> &'static [BugCheck] {
    CODES
}

/// The code without the M bit (0x10000000), which triage dumps set for 0x7E, 0x8E and others. Only a
/// top nibble of exactly 1 is the M bit: 0xC000021A keeps its value.
pub fn base_code(raw: u32) -> u32 {
    match raw >> 28 {
        1 => raw & 0x0FFF_FFFF,
        _ => raw,
    }
}
