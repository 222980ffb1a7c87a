//! The access that failed: address, kind, IRQL, and what was running.

use super::Crash;
use super::context::FaultContext;
use super::rules::{AccessCode, Kind};

/// Highest IRQL at which threads and deferred procedure calls run: above it are interrupts.
const DISPATCH_LEVEL: u8 = 2;
/// The first build whose page faults encode a write as 2.
const NEW_PAGE_FAULT_CODES: u32 = 10_240;
/// Largest kernel stack, for threads whose lower limit is not known.
const LARGEST_STACK: u64 = 0x18000;

/// What the instruction did to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loaded.
    Read,
    /// Stored.
    Write,
    /// Fetched an instruction.
    Execute,
}

impl Access {
    /// The word the report uses.
    pub fn name(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Execute => "execute",
        }
    }

    /// The letter a failure bucket uses.
    pub fn letter(self) -> char {
        match self {
            Access::Read => 'R',
            Access::Write => 'W',
            Access::Execute => 'X',
        }
    }
}

/// What was running at the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// A thread.
    Thread,
    /// A deferred procedure call.
    Dpc,
    /// The idle loop, between its deferred procedure calls.
    Idle,
    /// An interrupt service routine.
    Interrupt,
}

impl Activity {
    /// The word the report uses.
    pub fn name(self) -> &'static str {
        match self {
            Activity::Thread => "thread",
            Activity::Dpc => "dpc",
            Activity::Idle => "idle",
            Activity::Interrupt => "interrupt",
        }
    }
}

/// What is known of the access; `None` is "not known" or "not an access".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultAccess {
    /// The address accessed. A general protection fault has none: the processor does not tell.
    pub address: Option<u64>,
    /// How.
    pub access: Option<Access>,
    /// IRQL at the fault, else at the bug check.
    pub irql: Option<u8>,
    /// What was running.
    pub activity: Option<Activity>,
    /// The exception was raised for an address that is not canonical or not to be told: Windows
    /// reports all ones.
    pub address_withheld: bool,
}

/// What the parameters, the context and the processor block say about the access.
pub fn fault_access(crash: &Crash<'_>, context: Option<&FaultContext>) -> FaultAccess {
    let rule = crash.rule();
    let stated = match rule.access {
        AccessCode::Exception => exception_access(crash, context),
        code => (
            crash.parameter(rule.address),
            stated_access(crash, code),
            false,
        ),
    };
    let (address, mut access, address_withheld) = stated;
    let ip = crash
        .named_ip()
        .or_else(|| context.and_then(|c| c.registers.ip()));
    // Fetching the instruction at P4 from P4 is an execute whatever the code says: older
    // processors report it as a read.
    if rule.kind == Kind::Fault && address.is_some() && address == ip {
        access = Some(Access::Execute);
    }
    let stated_irql = crash
        .parameter(rule.irql)
        .and_then(|irql| u8::try_from(irql).ok())
        .filter(|irql| *irql < 32);
    FaultAccess {
        address,
        access,
        irql: stated_irql.or(crash.processor.saved_irql),
        activity: activity(crash, context, stated_irql),
        address_withheld,
    }
}

fn stated_access(crash: &Crash<'_>, code: AccessCode) -> Option<Access> {
    let new = crash
        .build
        .is_some_and(|build| build >= NEW_PAGE_FAULT_CODES);
    match code {
        AccessCode::Trap(index) => trap_access(crash.parameter(Some(index))?),
        AccessCode::PageFault(index) if new => match crash.parameter(Some(index))? {
            0 => Some(Access::Read),
            2 => Some(Access::Write),
            0x10 => Some(Access::Execute),
            _ => None,
        },
        AccessCode::PageFault(index) => trap_access(crash.parameter(Some(index))?),
        AccessCode::Write => Some(Access::Write),
        AccessCode::Execute => Some(Access::Execute),
        AccessCode::Exception | AccessCode::Unstated => None,
    }
}

fn trap_access(value: u64) -> Option<Access> {
    match value {
        0 => Some(Access::Read),
        1 => Some(Access::Write),
        2 | 8 => Some(Access::Execute),
        _ => None,
    }
}

/// Address, access and whether the address was withheld, from an access violation's parameters:
/// those of 0x1E are bug check parameters, those of the others are in the EXCEPTION_RECORD.
fn exception_access(
    crash: &Crash<'_>,
    context: Option<&FaultContext>,
) -> (Option<u64>, Option<Access>, bool) {
    const ACCESS_VIOLATION: u32 = 0xC000_0005;
    if crash.exception_code() != Some(ACCESS_VIOLATION) {
        return (None, None, false);
    }
    let information = match crash.rule().code {
        0x1E => Some([
            crash.machine.truncate(crash.parameters[2]),
            crash.machine.truncate(crash.parameters[3]),
        ]),
        _ => context.and_then(|c| c.access_violation),
    };
    match information {
        None => (None, None, false),
        // A general protection fault: the address is not told, and "read" says nothing.
        Some([kind, address]) if address == crash.machine.truncate(u64::MAX) => {
            (None, trap_access(kind).filter(|a| *a != Access::Read), true)
        }
        Some([kind, address]) => (Some(address), trap_access(kind), false),
    }
}

/// What was running, from the processor block, the thread's stack and the stated IRQL.
fn activity(
    crash: &Crash<'_>,
    context: Option<&FaultContext>,
    stated_irql: Option<u8>,
) -> Option<Activity> {
    if stated_irql.is_some_and(|irql| irql > DISPATCH_LEVEL) {
        return Some(Activity::Interrupt);
    }
    let processor = &crash.processor;
    let idle = processor
        .current_thread
        .zip(processor.idle_thread)
        .map(|(current, idle)| current == idle);
    match processor.dpc_active? {
        true => Some(Activity::Dpc),
        false if idle == Some(true) => Some(Activity::Idle),
        false => {
            let sp = context
                .and_then(|c| c.registers.sp())
                .or_else(|| crash.context.as_ref()?.sp())?;
            let base = crash.thread.base?;
            let limit = crash
                .thread
                .limit
                .unwrap_or(base.saturating_sub(LARGEST_STACK));
            (limit <= sp && sp < base).then_some(Activity::Thread)
        }
    }
}
