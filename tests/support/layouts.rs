//! Where builds 6000, 6001 and 6002 keep what a triage dump copies: KPRCB, ETHREAD, EPROCESS.
//!
//! Facts of Microsoft's public symbols (format page §12 for 6001, its companion table for the others).

use super::state::{CrashState, Machine};

/// Offsets in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub debugger_data_size: usize,
    pub prcb_size: usize,
    pub prcb_current_thread: usize,
    pub prcb_idle_thread: usize,
    pub prcb_number: usize,
    pub prcb_version: usize,
    pub prcb_context: usize,
    pub prcb_special_registers: usize,
    pub prcb_mhz: usize,
    pub prcb_cpu_type: usize,
    pub prcb_vendor: usize,
    pub prcb_dpc_stack: usize,
    pub prcb_dpc_active: usize,
    pub prcb_saved_irql: usize,
    pub thread_size: usize,
    pub thread_initial_stack: usize,
    pub thread_stack_limit: usize,
    pub thread_kernel_stack: usize,
    pub thread_apc_process: usize,
    pub thread_state: usize,
    pub thread_next_processor: usize,
    pub thread_teb: usize,
    pub thread_process: usize,
    pub thread_stack_base: usize,
    pub thread_cid: usize,
    pub process_size: usize,
    pub process_directory_table_base: usize,
    pub process_id: usize,
    pub process_parent: usize,
    pub process_image: usize,
    pub process_peb: usize,
}

const X86_6001: Layout = Layout {
    debugger_data_size: 0x330,
    prcb_size: 0x2008,
    prcb_current_thread: 0x04,
    prcb_idle_thread: 0x0C,
    prcb_number: 0x10,
    prcb_version: 0x00,
    prcb_context: 0x1C,
    prcb_special_registers: 0x2E8,
    prcb_mhz: 0x3C4,
    prcb_cpu_type: 0x18,
    prcb_vendor: 0x1C2C,
    prcb_dpc_stack: 0x1A08,
    prcb_dpc_active: 0x1A1A,
    prcb_saved_irql: 0x5C5,
    thread_size: 0x288,
    thread_initial_stack: 0x28,
    thread_stack_limit: 0x2C,
    thread_kernel_stack: 0x30,
    thread_apc_process: 0x48,
    thread_state: 0x5C,
    thread_next_processor: 0x50,
    thread_teb: 0x84,
    thread_process: 0x144,
    thread_stack_base: 0x174,
    thread_cid: 0x20C,
    process_size: 0x270,
    process_directory_table_base: 0x18,
    process_id: 0x9C,
    process_parent: 0x124,
    process_image: 0x14C,
    process_peb: 0x188,
};

const X86_6000: Layout = Layout {
    debugger_data_size: 0x328,
    prcb_size: 0x1F98,
    prcb_mhz: 0x1BBC,
    prcb_vendor: 0x1BAC,
    prcb_dpc_stack: 0x1988,
    prcb_dpc_active: 0x199A,
    prcb_saved_irql: 0x545,
    ..X86_6001
};

const X64_6001: Layout = Layout {
    debugger_data_size: 0x330,
    prcb_size: 0x3B20,
    prcb_current_thread: 0x08,
    prcb_idle_thread: 0x18,
    prcb_number: 0x04,
    prcb_version: 0x638,
    prcb_context: 0x120,
    prcb_special_registers: 0x40,
    prcb_mhz: 0x5F4,
    prcb_cpu_type: 0x5F0,
    prcb_vendor: 0x399C,
    prcb_dpc_stack: 0x3440,
    prcb_dpc_active: 0x345E,
    prcb_saved_irql: 0x3799,
    thread_size: 0x450,
    thread_initial_stack: 0x28,
    thread_stack_limit: 0x30,
    thread_kernel_stack: 0x38,
    thread_apc_process: 0x68,
    thread_state: 0x154,
    thread_next_processor: 0x74,
    thread_teb: 0xB0,
    thread_process: 0x1F8,
    thread_stack_base: 0x250,
    thread_cid: 0x380,
    process_size: 0x3E8,
    process_directory_table_base: 0x28,
    process_id: 0xE0,
    process_parent: 0x1F0,
    process_image: 0x238,
    process_peb: 0x290,
};

const X64_6000: Layout = Layout {
    debugger_data_size: 0x328,
    prcb_size: 0x3A20,
    prcb_vendor: 0x38BC,
    prcb_dpc_stack: 0x3340,
    prcb_dpc_active: 0x335E,
    prcb_saved_irql: 0x3699,
    ..X64_6001
};

/// IA-64 and ARM64: no public table. Invented, and told to the reader through the debugger data only.
const DECLARED_ONLY: Layout = Layout {
    prcb_size: 0x1400,
    prcb_context: 0x200,
    prcb_special_registers: 0xE00,
    prcb_vendor: 0x1010,
    prcb_dpc_stack: 0x1100,
    prcb_dpc_active: 0x1110,
    prcb_saved_irql: 0x1111,
    ..X64_6001
};

/// The layout of the kernel that crashed.
pub fn layout(state: &CrashState) -> Layout {
    match (state.machine, state.build) {
        (Machine::X86, 6000) => X86_6000,
        (Machine::X86, _) => X86_6001,
        (Machine::X64, 6000) => X64_6000,
        (Machine::X64, _) => X64_6001,
        (Machine::Ia64 | Machine::Arm64, _) => DECLARED_ONLY,
    }
}
