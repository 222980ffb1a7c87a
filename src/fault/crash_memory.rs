//! Puts together what a search for the fault starts from, out of a memory dump.

use crate::dump::{Header, Writer};
use crate::kernel::state::{self, KernelState};
use crate::machine::Registers;
use crate::memory::Memory;
use crate::unwind::CodeInfo;

use super::Crash;
use super::investigate::stack_size;

impl<'a> Crash<'a> {
    /// The crash a memory dump describes. `None` when its architecture is unknown.
    pub fn from_memory(
        header: &Header,
        kernel: &KernelState,
        memory: &'a dyn Memory,
        code_info: &'a dyn CodeInfo,
    ) -> Option<Crash<'a>> {
        Crash::on_processor(header, kernel, kernel.crashed, memory, code_info)
    }

    /// The crash as it would be, had the processor at position `crashed` raised the bug check.
    pub(super) fn on_processor(
        header: &Header,
        kernel: &KernelState,
        crashed: Option<usize>,
        memory: &'a dyn Memory,
        code_info: &'a dyn CodeInfo,
    ) -> Option<Crash<'a>> {
        let machine = header.machine?;
        let processor = crashed.and_then(|index| kernel.processors.get(index));
        // A header without one, or with another processor's: what the bug check saved of this one.
        let on_it = |context: &Registers| {
            processor.is_none_or(|p| {
                Some(context.ip()) == p.registers.as_ref().map(Registers::ip)
                    || context
                        .sp()
                        .is_some_and(|sp| state::stack_of(p, sp, machine).is_some())
            })
        };
        let context = match &header.context {
            Some(context) if !header.writer.is_some_and(Writer::converts) || on_it(context) => {
                Some(context.clone())
            }
            _ => processor.and_then(|p| p.registers.clone()),
        };
        let sp = context.as_ref().and_then(|context| context.sp());
        // What lies below the stack pointer is what finished calls left.
        let stack = sp.map(|sp| {
            let known = processor.and_then(|p| state::stack_of(p, sp, machine));
            // Double faults and non-maskable interrupts have stacks of their own, which no block
            // names: what lies above is looked at as far as a stack can reach.
            let high = known.map_or(sp.saturating_add(stack_size(machine)), |(_, high)| high);
            (sp, high)
        });
        Some(Crash {
            machine,
            build: header.build,
            code: header.bug_check_code.unwrap_or(0),
            parameters: header.bug_check_parameters,
            context,
            stack,
            memory,
            code_info,
            kernel: kernel
                .drivers
                .as_ref()
                .and_then(|list| list.drivers.first())
                .and_then(|first| code_info.module_at(first.base)),
            processor: processor.map(|p| p.state).unwrap_or_default(),
            thread: processor.map(|p| p.thread).unwrap_or_default(),
        })
    }
}
