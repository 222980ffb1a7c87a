//! Which processor crashed, where the header's context does not tell: a converter leaves it out, or
//! writes the first processor's. The fault's trap frame lies on the stacks of one of them.

use crate::bytes::Budget;
use crate::dump::Header;
use crate::kernel::state::KernelState;
use crate::memory::Memory;
use crate::unwind::CodeInfo;

use super::context::{Source, find_context};
use super::investigate::stacks;
use super::{Crash, Snapshot};
use crate::knowledge::bugchecks::Kind;

/// The position of the processor on whose stacks the fault's own context lies. `None` for codes that
/// are no fault, and where none or several processors hold one.
pub fn crashed_processor(
    header: &Header,
    kernel: &KernelState,
    memory: &dyn Memory,
    code: &dyn CodeInfo,
    budget: &Budget,
) -> Option<usize> {
    let mut found = None;
    for index in 0..kernel.processors.len() {
        budget.spend(1).ok()?;
        let crash = Crash::on_processor(header, kernel, Some(index), memory, code)?;
        if crash.check().kind != Kind::Fault || crash.named_ip().is_none() {
            return None;
        }
        if !holds_fault(&crash) {
            continue;
        }
        if found.replace(index).is_some() {
            return None;
        }
    }
    found
}

/// True when the stacks of the crash's processor hold the context that its parameters name.
fn holds_fault(crash: &Crash<'_>) -> bool {
    stacks(crash).iter().any(|stack| {
        let snapshot = Snapshot::take(crash.memory, stack.low, stack.high);
        find_context(crash, &snapshot).is_some_and(|context| {
            let recorded = matches!(
                context.source,
                Source::TrapFrame | Source::ContextRecord | Source::MachineFrame
            );
            let here = context
                .trap_frame
                .or_else(|| context.registers.sp())
                .is_some_and(|at| stack.low <= at && at < stack.high);
            recorded && here
        })
    })
}
