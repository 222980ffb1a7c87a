//! What the processor block and the current thread say about the stacks of the moment.
//!
//! From the copies a dump carries; a field is read at the offset of exactly this build or at the
//! one the dump's own debugger data block states, and is unknown otherwise.

use crate::bytes::View;
use crate::machine::Machine;

use super::DebuggerData;
use super::structures;

/// The fields of KPRCB a stack needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessorState {
    /// Address of the thread that was running.
    pub current_thread: Option<u64>,
    /// Address of the processor's idle thread.
    pub idle_thread: Option<u64>,
    /// Address past the top of the DPC stack.
    pub dpc_stack: Option<u64>,
    /// A DPC routine was running.
    pub dpc_active: Option<bool>,
    /// IRQL when the bug check froze the machine.
    pub saved_irql: Option<u8>,
}

/// The stack limits of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadStack {
    /// Lowest address.
    pub limit: Option<u64>,
    /// Address past the top.
    pub base: Option<u64>,
    /// IA-64: the register stack, lowest address and address past its end.
    pub store: Option<(u64, u64)>,
}

impl ProcessorState {
    /// Reads a copy of KPRCB.
    pub fn read(
        prcb: &[u8],
        build: Option<u32>,
        machine: Machine,
        kdbg: Option<&DebuggerData>,
    ) -> ProcessorState {
        let layout = structures::stack(build, machine).map(|l| l.prcb);
        let view = View(prcb);
        let pointer = |at: Option<usize>| {
            view.pointer(at?, machine.pointer_width())
                .filter(|value| *value != 0)
        };
        let byte = |at: Option<usize>| view.u8(at?);
        let stated = |offset: Option<u16>| offset.map(usize::from);
        ProcessorState {
            current_thread: pointer(
                stated(kdbg.and_then(DebuggerData::prcb_current_thread))
                    .or(layout.map(|l| l.current_thread)),
            ),
            idle_thread: pointer(layout.map(|l| l.idle_thread)),
            dpc_stack: pointer(layout.map(|l| l.dpc_stack)),
            dpc_active: byte(
                stated(kdbg.and_then(DebuggerData::prcb_dpc_routine))
                    .or(layout.map(|l| l.dpc_routine_active)),
            )
            .map(|active| active != 0),
            saved_irql: byte(layout.and_then(|l| l.debugger_saved_irql)).filter(|irql| *irql < 32),
        }
    }
}

impl ThreadStack {
    /// Reads a copy of KTHREAD. Limits that contradict each other are not limits.
    pub fn read(
        thread: &[u8],
        build: Option<u32>,
        machine: Machine,
        kdbg: Option<&DebuggerData>,
    ) -> ThreadStack {
        let layout = structures::stack(build, machine).map(|l| l.thread);
        let view = View(thread);
        let pointer = |at: Option<usize>| {
            view.pointer(at?, machine.pointer_width())
                .filter(|value| *value != 0)
        };
        let initial = pointer(
            kdbg.and_then(DebuggerData::kthread_initial_stack)
                .map(usize::from)
                .or(layout.map(|l| l.initial_stack)),
        );
        let base = pointer(layout.map(|l| l.stack_base)).or(initial);
        let limit = pointer(layout.map(|l| l.stack_limit));
        let of_layout = layout.and_then(|l| l.backing_store);
        let store = pointer(
            kdbg.and_then(DebuggerData::kthread_backing_store)
                .map(usize::from)
                .filter(|_| machine == Machine::Ia64)
                .or(of_layout.map(|(initial, _)| initial)),
        )
        .zip(pointer(
            kdbg.and_then(DebuggerData::kthread_backing_store_limit)
                .map(usize::from)
                .filter(|_| machine == Machine::Ia64)
                .or(of_layout.map(|(_, limit)| limit)),
        ))
        // Both stacks begin at one address: what does not is another field than it was taken for.
        .filter(|(low, high)| low < high && [base, initial].contains(&Some(*low)));
        match (limit, base) {
            (Some(limit), Some(base)) if limit >= base => ThreadStack::default(),
            _ => ThreadStack { limit, base, store },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_a_table_and_without_debugger_data_tells_nothing() {
        let prcb = vec![0x11; 0x4000];
        let state = ProcessorState::read(&prcb, Some(9200), Machine::X64, None);
        assert_eq!(state, ProcessorState::default());
    }

    #[test]
    fn server_2008_keeps_the_irql_of_the_bug_check_in_the_processor_block() {
        let mut prcb = vec![0; 0x3B20];
        prcb[0x3799] = 2;
        prcb[0x345E] = 1;
        prcb[0x18..0x20].copy_from_slice(&0xFFFF_F800_0184_5B40u64.to_le_bytes());
        let state = ProcessorState::read(&prcb, Some(6001), Machine::X64, None);
        assert_eq!(state.saved_irql, Some(2));
        assert_eq!(state.dpc_active, Some(true));
        assert_eq!(state.idle_thread, Some(0xFFFF_F800_0184_5B40));
        assert_eq!(state.dpc_stack, None);
    }

    #[test]
    fn stack_limits_that_contradict_each_other_are_not_limits() {
        let mut thread = vec![0; 0x330];
        thread[0x30..0x38].copy_from_slice(&0x9000u64.to_le_bytes());
        thread[0x250..0x258].copy_from_slice(&0x8000u64.to_le_bytes());
        let stack = ThreadStack::read(&thread, Some(6001), Machine::X64, None);
        assert_eq!(stack, ThreadStack::default());
    }
}
