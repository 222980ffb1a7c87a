//! Puts together what a search for the fault starts from, out of a triage dump.

use crate::bytes::PagedReader;
use crate::dump::{Header, TriageDump, triage::Copied};
use crate::kernel::DebuggerData;
use crate::kernel::processor::{ProcessorState, ThreadStack};
use crate::memory::Memory;
use crate::unwind::CodeInfo;

use super::Crash;

/// Longest copy of KPRCB or KTHREAD read, in bytes: the fields needed lie below.
const STRUCTURE: u64 = 0x4000;

impl<'a> Crash<'a> {
    /// The crash a triage dump describes. `None` when its architecture is unknown.
    pub fn from_triage(
        reader: &PagedReader<'_>,
        header: &Header,
        triage: &TriageDump,
        memory: &'a dyn Memory,
        code_info: &'a dyn CodeInfo,
    ) -> Option<Crash<'a>> {
        let machine = header.machine?;
        let copy = |piece: Option<Copied>| {
            piece
                .and_then(|piece| reader.bytes(piece.offset, piece.room.min(STRUCTURE)).ok())
                .unwrap_or_default()
        };
        let kdbg = DebuggerData::read(&copy(triage.debugger_data));
        let stack = triage
            .stack
            .and_then(|stack| Some((stack.start.0, stack.start.0.checked_add(stack.len)?)));
        let processor =
            ProcessorState::read(&copy(triage.prcb), header.build, machine, kdbg.as_ref());
        let thread = ThreadStack::read(&copy(triage.thread), header.build, machine, kdbg.as_ref());
        Some(Crash {
            machine,
            build: header.build,
            code: header.bug_check_code.unwrap_or(0),
            parameters: header.bug_check_parameters,
            context: triage.context.clone().or_else(|| header.context.clone()),
            stack,
            memory,
            code_info,
            kernel: triage
                .drivers
                .first()
                .and_then(|kernel| code_info.module_at(kernel.base)),
            processor,
            thread,
        })
    }
}
