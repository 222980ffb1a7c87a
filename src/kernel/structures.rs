//! Offsets in kernel structures by build and architecture: what a stack needs, and what a memory dump is
//! searched by.
//!
//! Vista RTM, SP1 / Server 2008 and SP2 only, from Microsoft's public symbols (IA-64: from the header of the kit of
//! Server 2008), held against `../shared/data/kernel-structures.json` by a test. Other builds have what the debugger
//! data block says and nothing else: an offset is never carried over from a neighbouring build.

use crate::machine::Machine;

use super::pool::BigPages;

/// Fields of KPRCB that a stack needs, offsets in bytes.
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

/// Fields of KTHREAD that a stack needs, offsets in bytes.
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

/// What a stack needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackLayout {
    /// KPRCB.
    pub prcb: PrcbLayout,
    /// KTHREAD.
    pub thread: ThreadLayout,
}

/// Offsets in bytes, by structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structures {
    /// Build number.
    pub build: u32,
    /// Architecture.
    pub machine: Machine,
    /// What a stack needs.
    pub stack: StackLayout,
    /// KPRCB.DpcTimeCount.
    pub prcb_dpc_time_count: u64,
    /// KPRCB.DpcTimeLimit.
    pub prcb_dpc_time_limit: u64,
    /// KPRCB.IpiFrozen.
    pub prcb_ipi_frozen: u64,
    /// KPRCB.ProcessorState.
    pub prcb_processor_state: u64,
    /// KPROCESSOR_STATE.ContextFrame.
    pub state_context: u64,
    /// KPROCESSOR_STATE.SpecialRegisters.
    pub state_special: u64,
    /// KSPECIAL_REGISTERS.Cr8; x86 has none.
    pub special_cr8: Option<u64>,
    /// KPCR, where the IRQL is kept in it: on x86, which has no CR8.
    pub pcr: Option<Pcr>,
    /// KTHREAD.ApcState plus KAPC_STATE.Process.
    pub thread_process: u64,
    /// EPROCESS.ActiveProcessLinks.
    pub process_links: u64,
    /// EPROCESS.ObjectTable.
    pub process_object_table: u64,
    /// HANDLE_TABLE_ENTRY: size.
    pub handle_entry: u64,
    /// OBJECT_HEADER.Body.
    pub object_body: u64,
    /// CM_KEY_BODY.KeyControlBlock.
    pub key_body_control_block: u64,
    /// CM_KEY_CONTROL_BLOCK.KeyHive.
    pub control_block_hive: u64,
    /// CMHIVE.HiveList.
    pub hive_list: u64,
    /// HHIVE.BaseBlock.
    pub hive_base_block: u64,
    /// HHIVE.Storage: two DUALs, stable and volatile.
    pub hive_storage: u64,
    /// DUAL: size.
    pub dual: u64,
    /// DUAL.Map.
    pub dual_map: u64,
    /// HMAP_ENTRY: size; BlockAddress is its first field.
    pub map_entry: u64,
    /// POOL_TRACKER_TABLE.
    pub tracker: Tracker,
    /// POOL_TRACKER_BIG_PAGES.
    pub big_pages: BigPages,
}

/// KPCR of x86, around the KPRCB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcr {
    /// SelfPcr.
    pub self_pcr: u64,
    /// Prcb: the address of the KPRCB inside.
    pub prcb: u64,
    /// Irql (one byte).
    pub irql: u64,
    /// PrcbData: the KPRCB itself.
    pub prcb_data: u64,
}

/// POOL_TRACKER_TABLE; Key is its first field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracker {
    /// Size of an entry.
    pub size: usize,
    /// NonPagedAllocs and NonPagedFrees.
    pub non_paged: (usize, usize),
    /// PagedAllocs and PagedFrees.
    pub paged: (usize, usize),
}

const X86: Structures = Structures {
    build: 6001,
    machine: Machine::X86,
    stack: StackLayout {
        prcb: PrcbLayout {
            current_thread: 0x4,
            idle_thread: 0xC,
            dpc_stack: 0x1A08,
            dpc_routine_active: 0x1A1A,
            debugger_saved_irql: Some(0x5C5),
        },
        thread: ThreadLayout {
            initial_stack: 0x28,
            stack_limit: 0x2C,
            stack_base: 0x174,
            backing_store: None,
        },
    },
    prcb_dpc_time_count: 0x5B4,
    prcb_dpc_time_limit: 0x5DC,
    prcb_ipi_frozen: 0x1974,
    prcb_processor_state: 0x1C,
    state_context: 0,
    state_special: 0x2CC,
    special_cr8: None,
    pcr: Some(Pcr {
        self_pcr: 0x1C,
        prcb: 0x20,
        irql: 0x24,
        prcb_data: 0x120,
    }),
    thread_process: 0x48,
    process_links: 0xA0,
    process_object_table: 0xDC,
    handle_entry: 8,
    object_body: 0x18,
    key_body_control_block: 0x4,
    control_block_hive: 0x10,
    hive_list: 0x308,
    hive_base_block: 0x24,
    hive_storage: 0x70,
    dual: 0x13C,
    dual_map: 0x4,
    map_entry: 0x10,
    tracker: Tracker {
        size: 0x1C,
        non_paged: (0x4, 0x8),
        paged: (0x10, 0x14),
    },
    big_pages: BigPages {
        size: 0x10,
        key: 0x4,
        bytes: 0xC,
    },
};

const X64: Structures = Structures {
    build: 6001,
    machine: Machine::X64,
    stack: StackLayout {
        prcb: PrcbLayout {
            current_thread: 0x8,
            idle_thread: 0x18,
            dpc_stack: 0x3440,
            dpc_routine_active: 0x345E,
            debugger_saved_irql: Some(0x3799),
        },
        thread: ThreadLayout {
            initial_stack: 0x28,
            stack_limit: 0x30,
            stack_base: 0x250,
            backing_store: None,
        },
    },
    prcb_dpc_time_count: 0x37A0,
    prcb_dpc_time_limit: 0x37A4,
    prcb_ipi_frozen: 0x2308,
    prcb_processor_state: 0x40,
    state_context: 0xE0,
    state_special: 0,
    special_cr8: Some(0xA0),
    pcr: None,
    thread_process: 0x68,
    process_links: 0xE8,
    process_object_table: 0x160,
    handle_entry: 0x10,
    object_body: 0x30,
    key_body_control_block: 0x8,
    control_block_hive: 0x18,
    hive_list: 0x5D0,
    hive_base_block: 0x48,
    hive_storage: 0xA0,
    dual: 0x278,
    dual_map: 0x8,
    map_entry: 0x20,
    tracker: Tracker {
        size: 0x28,
        non_paged: (0x4, 0x8),
        paged: (0x18, 0x1C),
    },
    big_pages: BigPages {
        size: 0x18,
        key: 0x8,
        bytes: 0x10,
    },
};

/// From `ksia64.h` of the WDK 6001.18000, which has nothing else of the structures. IA-64 has no layout of 6002: the
/// two kits between which it lies differ.
const IA64: (u32, StackLayout) = (
    6001,
    StackLayout {
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
);

/// Every build whose structures are known.
static STRUCTURES: &[Structures] = &[
    Structures {
        build: 6000,
        stack: StackLayout {
            prcb: PrcbLayout {
                dpc_stack: 0x1988,
                dpc_routine_active: 0x199A,
                debugger_saved_irql: Some(0x545),
                ..X86.stack.prcb
            },
            ..X86.stack
        },
        prcb_dpc_time_count: 0x534,
        prcb_dpc_time_limit: 0x55C,
        prcb_ipi_frozen: 0x18F4,
        ..X86
    },
    Structures {
        build: 6000,
        stack: StackLayout {
            prcb: PrcbLayout {
                dpc_stack: 0x3340,
                dpc_routine_active: 0x335E,
                debugger_saved_irql: Some(0x3699),
                ..X64.stack.prcb
            },
            ..X64.stack
        },
        prcb_dpc_time_count: 0x36A0,
        prcb_dpc_time_limit: 0x36A4,
        prcb_ipi_frozen: 0x2208,
        ..X64
    },
    X86,
    X64,
    Structures { build: 6002, ..X86 },
    Structures { build: 6002, ..X64 },
];

/// What a stack of a build needs, if it is known for exactly that build.
pub fn stack(build: Option<u32>, machine: Machine) -> Option<StackLayout> {
    match machine {
        Machine::Ia64 => (build == Some(IA64.0)).then_some(IA64.1),
        _ => find(build, machine).map(|structures| structures.stack),
    }
}

/// The structures of a build, if they are known for exactly that build.
pub fn find(build: Option<u32>, machine: Machine) -> Option<&'static Structures> {
    STRUCTURES
        .iter()
        .find(|layout| Some(layout.build) == build && layout.machine == machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(value: &serde_json::Value) -> u64 {
        let text = value.as_str().unwrap_or_else(|| panic!("{value}"));
        u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap()
    }

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
        for layout in STRUCTURES {
            let key = format!("{}-{}", layout.build, layout.machine.as_str());
            let all = &json["layouts"][&key];
            let size = |structure: &str| number(&all[structure]["size"]);
            let at = |structure: &str, member: &str| number(&all[structure]["members"][member][0]);
            let expected = Structures {
                build: layout.build,
                machine: layout.machine,
                stack: StackLayout {
                    prcb: PrcbLayout {
                        current_thread: at("KPRCB", "CurrentThread") as usize,
                        idle_thread: at("KPRCB", "IdleThread") as usize,
                        dpc_stack: at("KPRCB", "DpcStack") as usize,
                        dpc_routine_active: at("KPRCB", "DpcRoutineActive") as usize,
                        debugger_saved_irql: Some(at("KPRCB", "DebuggerSavedIRQL") as usize),
                    },
                    thread: ThreadLayout {
                        initial_stack: at("KTHREAD", "InitialStack") as usize,
                        stack_limit: at("KTHREAD", "StackLimit") as usize,
                        stack_base: at("KTHREAD", "StackBase") as usize,
                        backing_store: None,
                    },
                },
                prcb_dpc_time_count: at("KPRCB", "DpcTimeCount"),
                prcb_dpc_time_limit: at("KPRCB", "DpcTimeLimit"),
                prcb_ipi_frozen: at("KPRCB", "IpiFrozen"),
                prcb_processor_state: at("KPRCB", "ProcessorState"),
                state_context: at("KPROCESSOR_STATE", "ContextFrame"),
                state_special: at("KPROCESSOR_STATE", "SpecialRegisters"),
                special_cr8: (layout.machine == Machine::X64)
                    .then(|| at("KSPECIAL_REGISTERS", "Cr8")),
                pcr: (layout.machine == Machine::X86).then(|| Pcr {
                    self_pcr: at("KPCR", "SelfPcr"),
                    prcb: at("KPCR", "Prcb"),
                    irql: at("KPCR", "Irql"),
                    prcb_data: at("KPCR", "PrcbData"),
                }),
                thread_process: at("KTHREAD", "ApcState") + at("KAPC_STATE", "Process"),
                process_links: at("EPROCESS", "ActiveProcessLinks"),
                process_object_table: at("EPROCESS", "ObjectTable"),
                handle_entry: size("HANDLE_TABLE_ENTRY"),
                object_body: at("OBJECT_HEADER", "Body"),
                key_body_control_block: at("CM_KEY_BODY", "KeyControlBlock"),
                control_block_hive: at("CM_KEY_CONTROL_BLOCK", "KeyHive"),
                hive_list: at("CMHIVE", "HiveList"),
                hive_base_block: at("HHIVE", "BaseBlock"),
                hive_storage: at("HHIVE", "Storage"),
                dual: size("DUAL"),
                dual_map: at("DUAL", "Map"),
                map_entry: size("HMAP_ENTRY"),
                tracker: Tracker {
                    size: size("POOL_TRACKER_TABLE") as usize,
                    non_paged: (
                        at("POOL_TRACKER_TABLE", "NonPagedAllocs") as usize,
                        at("POOL_TRACKER_TABLE", "NonPagedFrees") as usize,
                    ),
                    paged: (
                        at("POOL_TRACKER_TABLE", "PagedAllocs") as usize,
                        at("POOL_TRACKER_TABLE", "PagedFrees") as usize,
                    ),
                },
                big_pages: BigPages {
                    size: size("POOL_TRACKER_BIG_PAGES") as usize,
                    key: at("POOL_TRACKER_BIG_PAGES", "Key") as usize,
                    bytes: at("POOL_TRACKER_BIG_PAGES", "NumberOfBytes") as usize,
                },
            };
            assert_eq!(*layout, expected, "{key}");
        }
    }
}
