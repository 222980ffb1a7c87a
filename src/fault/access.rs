//! The access that failed: address, kind, IRQL, and what was running.

use super::Crash;
use super::context::FaultContext;
use super::{Access, Kind};
use crate::facts::Activity;
use crate::knowledge::bugchecks::Violation;

/// Highest IRQL at which threads and deferred procedure calls run: above it are interrupts.
const DISPATCH_LEVEL: u8 = 2;
/// STATUS_ACCESS_VIOLATION.
const ACCESS_VIOLATION: u32 = 0xC000_0005;
/// Largest kernel stack, for threads whose lower limit is not known.
const LARGEST_STACK: u64 = 0x18000;

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
    let stated = crash.stated();
    let violation = stated.violation().or_else(|| recorded(crash, context));
    let address = violation.and_then(|v| v.address);
    let mut access = violation.and_then(|v| v.access);
    let ip = crash
        .named_ip()
        .or_else(|| context.and_then(|c| c.registers.ip()));
    // Fetching the instruction at P4 from P4 is an execute whatever the code says: older
    // processors report it as a read.
    if crash.check().kind == Kind::Fault && address.is_some() && address == ip {
        access = Some(Access::Execute);
    }
    // Where no record says what failed at an address that holds no code: its own instruction.
    let fetched = ip.filter(|ip| {
        access.is_none()
            && crash.exception_code() == Some(ACCESS_VIOLATION)
            && context.is_some_and(|c| crash.is_of_fault(c) && c.registers.ip() == Some(*ip))
            && crash.is_no_code(*ip)
            && violation.is_none()
    });
    if fetched.is_some() {
        access = Some(Access::Execute);
    }
    let address = address.or(fetched);
    let stated_irql = stated.irql();
    FaultAccess {
        address,
        access,
        irql: stated_irql.or(crash.processor.saved_irql),
        activity: activity(crash, context, stated_irql),
        address_withheld: violation.is_some_and(|v| v.address.is_none()),
    }
}

/// The access violation whose record was found, for exceptions whose parameters do not hold it.
fn recorded(crash: &Crash<'_>, context: Option<&FaultContext>) -> Option<Violation> {
    let context = context?;
    let status = crash.exception_code();
    let information = context
        .access_violation
        .filter(|_| status.is_none_or(|status| status == ACCESS_VIOLATION))?;
    let width = crash.machine.pointer_width();
    Some(Violation::of(information, context.registers.ip(), width))
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
