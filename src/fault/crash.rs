//! Puts together what a search for the fault starts from, out of a triage dump.

use crate::dump::{Header, TriageDump};
use crate::kernel::pieces::Pieces;
use crate::kernel::processor::{ProcessorState, ThreadStack};
use crate::unwind::CodeInfo;

use super::Crash;

impl<'a> Crash<'a> {
    /// The crash a triage dump describes. `None` when its architecture is unknown.
    pub fn from_triage(
        header: &Header,
        triage: &TriageDump,
        pieces: &'a Pieces<'_>,
        code_info: &'a dyn CodeInfo,
    ) -> Option<Crash<'a>> {
        let machine = header.machine?;
        let kdbg = pieces.kdbg.as_ref();
        let stack = triage
            .stack
            .and_then(|stack| Some((stack.start.0, stack.start.0.checked_add(stack.len)?)));
        Some(Crash {
            machine,
            build: header.build,
            code: header.bug_check_code.unwrap_or(0),
            parameters: header.bug_check_parameters,
            context: triage.context.clone().or_else(|| header.context.clone()),
            stack,
            memory: &pieces.space,
            code_info,
            kernel: triage
                .drivers
                .first()
                .and_then(|kernel| code_info.module_at(kernel.base)),
            processor: ProcessorState::read(&pieces.prcb, header.build, machine, kdbg),
            thread: ThreadStack::read(&pieces.thread, header.build, machine, kdbg),
        })
    }
}
