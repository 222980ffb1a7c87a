//! The processors of a memory dump as facts: state, stacks, and where each one's locks are looked for.
//!
//! From what the kernel kept of each (`kernel::processors`); judges nothing.

use crate::bytes::Budget;
use crate::fault;
use crate::kernel::processors::Processor;
use crate::kernel::state::{self, KernelState};
use crate::machine::{Machine, Registers};
use crate::memory::Memory;
use crate::unwind::Walker;

use super::fault::walk_facts;
use super::forwarding::locks::ProcessorStack;
use super::session::Session;
use crate::facts::{IrqlSource, ProcessorFacts, StackFacts};

/// Bytes of a stack that are searched for locks and sets.
const MOST_OF_STACK: u64 = 0x6000;
/// Other processors whose stacks are walked.
const MOST_STACKS: usize = 64;

/// The state of each processor, in the kernel's order.
pub(super) fn facts(kernel: &KernelState) -> Vec<ProcessorFacts> {
    kernel
        .processors
        .iter()
        .enumerate()
        .map(|(index, processor)| {
            let crashed = Some(index) == kernel.crashed;
            // The bug check raised the IRQL of its own processor before it saved CR8.
            let (irql, source) = match crashed {
                true => (processor.state.saved_irql, IrqlSource::BugCheck),
                false if processor.cr8.is_some() => (processor.cr8, IrqlSource::Cr8),
                false => (processor.pcr_irql, IrqlSource::Kpcr),
            };
            ProcessorFacts {
                number: processor.number,
                prcb: Some(processor.prcb),
                crashed,
                ip: processor.registers.as_ref().and_then(|r| r.ip()),
                irql,
                irql_source: irql.map(|_| source),
                dpc_active: processor.state.dpc_active,
                dpc_time: processor.dpc_time,
                thread: processor.state.current_thread,
                process: processor.process.clone(),
                ..ProcessorFacts::default()
            }
        })
        .collect()
}

/// The stacks of the processors that did not crash, as far as their freeze saved registers.
pub(super) fn other_stacks(
    kernel: &KernelState,
    machine: Machine,
    memory: &dyn Memory,
    code: &Session<'_>,
    budget: &Budget,
) -> Vec<StackFacts> {
    let others = kernel
        .processors
        .iter()
        .enumerate()
        .filter(|(index, _)| Some(*index) != kernel.crashed)
        .take(MOST_STACKS);
    others
        .filter_map(|(_, processor)| {
            let registers = processor.registers.as_ref()?;
            let stacks = fault::known_stacks(machine, &processor.state, &processor.thread, None);
            let walker = Walker {
                code,
                memory,
                stacks: &stacks,
                budget,
            };
            walk_facts(&walker.walk(registers), code, Some(processor.number))
        })
        .collect()
}

/// Each processor with the registers and the stack of what it did: on the one that crashed those of the
/// fault, on the others those their freeze saved. In the order of the kernel's processors.
pub(super) fn stacks(
    kernel: &KernelState,
    machine: Machine,
    fault: Option<Registers>,
    stack: Option<&StackFacts>,
    others: &[StackFacts],
) -> Vec<ProcessorStack> {
    let stack_of = |(index, processor): (usize, &Processor)| {
        let crashed = Some(index) == kernel.crashed;
        let registers = match crashed {
            true => fault.clone(),
            false => processor.registers.clone(),
        };
        let walked = match crashed {
            true => stack,
            false => others
                .iter()
                .find(|stack| stack.processor == Some(processor.number)),
        };
        let sp = registers.as_ref().and_then(Registers::sp);
        let range = sp.and_then(|sp| {
            let (_, top) = state::stack_of(processor, sp, machine)?;
            let end = walked
                .and_then(StackFacts::activity_end)
                .filter(|end| (sp..top).contains(end))
                .unwrap_or(top);
            Some((sp, end.min(sp.saturating_add(MOST_OF_STACK))))
        });
        ProcessorStack {
            number: processor.number,
            registers,
            stack: range,
        }
    };
    kernel.processors.iter().enumerate().map(stack_of).collect()
}
