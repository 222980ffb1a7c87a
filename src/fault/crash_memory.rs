//! Puts together what a search for the fault starts from, out of a memory dump.

use crate::dump::Header;
use crate::kernel::state::{self, KernelState};
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
        let machine = header.machine?;
        let processor = kernel
            .crashed
            .and_then(|index| kernel.processors.get(index));
        let sp = header.context.as_ref().and_then(|context| context.sp());
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
            code: header.bug_check_code,
            parameters: header.bug_check_parameters,
            context: header.context.clone(),
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
