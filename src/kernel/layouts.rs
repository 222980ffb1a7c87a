//! Offsets of the few KPRCB and KTHREAD fields a stack needs, by build and architecture.
//!
//! Vista RTM, SP1 / Server 2008 and SP2 only, from Microsoft's public symbols (IA-64: from the header
//! of the kit of Server 2008); the table is held against `../shared/data/kernel-structures.json`. Other builds have what the debugger data block
//! says and nothing else: an offset is never carried over from a neighbouring build.

use crate::machine::Machine;

/// Fields of KPRCB, offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrcbLayout {
    /// CurrentThread.
    pub current_thread: usize,
    /// IdleThread.
    pub idle_thread: usize,
    /// DpcStack: the address past the top of the DPC stack.
    pub dpc_stack: usize,
    /// DpcRoutineActive (one byte).
    pub dpc_routine_active: usize,
    /// DebuggerSavedIRQL (one byte); not known on IA-64.
    pub debugger_saved_irql: Option<usize>,
}

/// Fields of KTHREAD, offsets in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLayout {
    /// InitialStack.
    pub initial_stack: usize,
    /// StackLimit: the lowest address.
    pub stack_limit: usize,
    /// StackBase: the address past the top.
    pub stack_base: usize,
    /// IA-64: InitialBStore and BStoreLimit, lowest address and address past the top.
    pub backing_store: Option<(usize, usize)>,
}

/// The layouts of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelLayout {
    /// Build number.
    pub build: u32,
    /// Architecture.
    pub machine: Machine,
    /// KPRCB.
    pub prcb: PrcbLayout,
    /// KTHREAD.
    pub thread: ThreadLayout,
}

const THREAD_X86: ThreadLayout = ThreadLayout {
    initial_stack: 0x28,
    stack_limit: 0x2C,
    stack_base: 0x174,
    backing_store: None,
};

const THREAD_X64: ThreadLayout = ThreadLayout {
    initial_stack: 0x28,
    stack_limit: 0x30,
    stack_base: 0x250,
    backing_store: None,
};

const PRCB_X86: PrcbLayout = PrcbLayout {
    current_thread: 0x4,
    idle_thread: 0xC,
    dpc_stack: 0x1A08,
    dpc_routine_active: 0x1A1A,
    debugger_saved_irql: Some(0x5C5),
};

const PRCB_X64: PrcbLayout = PrcbLayout {
    current_thread: 0x8,
    idle_thread: 0x18,
    dpc_stack: 0x3440,
    dpc_routine_active: 0x345E,
    debugger_saved_irql: Some(0x3799),
};

/// Every layout known.
pub static LAYOUTS: &[KernelLayout] = &[
    KernelLayout {
        build: 6000,
        machine: Machine::X86,
        prcb: PrcbLayout {
            current_thread: 0x4,
            idle_thread: 0xC,
            dpc_stack: 0x1988,
            dpc_routine_active: 0x199A,
            debugger_saved_irql: Some(0x545),
        },
        thread: THREAD_X86,
    },
    KernelLayout {
        build: 6000,
        machine: Machine::X64,
        prcb: PrcbLayout {
            current_thread: 0x8,
            idle_thread: 0x18,
            dpc_stack: 0x3340,
            dpc_routine_active: 0x335E,
            debugger_saved_irql: Some(0x3699),
        },
        thread: THREAD_X64,
    },
    KernelLayout {
        build: 6001,
        machine: Machine::X86,
        prcb: PRCB_X86,
        thread: THREAD_X86,
    },
    KernelLayout {
        build: 6001,
        machine: Machine::X64,
        prcb: PRCB_X64,
        thread: THREAD_X64,
    },
    // From `ksia64.h` of the WDK 6001.18000. IA-64 has no layout of 6002: the two kits between which
    // it lies differ.
    KernelLayout {
        build: 6001,
        machine: Machine::Ia64,
        prcb: PrcbLayout {
            current_thread: 0x8,
            idle_thread: 0x18,
            dpc_stack: 0x19C0,
            dpc_routine_active: 0x19D6,
            debugger_saved_irql: None,
        },
        thread: ThreadLayout {
            initial_stack: 0x28,
            stack_limit: 0x30,
            stack_base: 0x290,
            backing_store: Some((0x48, 0x50)),
        },
    },
    KernelLayout {
        build: 6002,
        machine: Machine::X86,
        prcb: PRCB_X86,
        thread: THREAD_X86,
    },
    KernelLayout {
        build: 6002,
        machine: Machine::X64,
        prcb: PRCB_X64,
        thread: THREAD_X64,
    },
];

/// The layout of a build, if there is one for exactly that build.
pub fn find(build: Option<u32>, machine: Machine) -> Option<&'static KernelLayout> {
    LAYOUTS
        .iter()
        .find(|layout| Some(layout.build) == build && layout.machine == machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_offset_is_the_one_the_public_symbols_give() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../shared/data/kernel-structures.json"
        );
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("SKIPPED: ../shared is absent");
            return;
        };
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        // The public symbols have no IA-64 kernel.
        for layout in LAYOUTS.iter().filter(|l| l.machine != Machine::Ia64) {
            let key = format!("{}-{}", layout.build, layout.machine.name());
            let offset = |structure: &str, member: &str| {
                let at = &json["layouts"][&key][structure]["members"][member][0];
                let text = at.as_str().unwrap_or_else(|| panic!("{key} {member}"));
                usize::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
            };
            let prcb = PrcbLayout {
                current_thread: offset("KPRCB", "CurrentThread"),
                idle_thread: offset("KPRCB", "IdleThread"),
                dpc_stack: offset("KPRCB", "DpcStack"),
                dpc_routine_active: offset("KPRCB", "DpcRoutineActive"),
                debugger_saved_irql: Some(offset("KPRCB", "DebuggerSavedIRQL")),
            };
            let thread = ThreadLayout {
                initial_stack: offset("KTHREAD", "InitialStack"),
                stack_limit: offset("KTHREAD", "StackLimit"),
                stack_base: offset("KTHREAD", "StackBase"),
                backing_store: None,
            };
            assert_eq!((prcb, thread), (layout.prcb, layout.thread), "{key}");
        }
    }
}
