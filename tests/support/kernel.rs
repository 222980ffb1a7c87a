//! The kernel structures a triage dump copies, and the debugger data block (format page §7.4, §8, §12).

use super::bytes::Image;
use super::context::context;
use super::layouts::Layout;
use super::state::{Block, CrashState, Machine};

/// The crashing processor's KPRCB.
pub fn prcb(s: &CrashState, l: &Layout) -> Vec<u8> {
    let width = s.machine.pointer_width();
    let mut p = Image::zeroed(l.prcb_size);
    p.u16(l.prcb_version, 1);
    p.u16(l.prcb_version + 2, 1);
    p.ptr(l.prcb_current_thread, s.thread, width);
    p.ptr(l.prcb_idle_thread, s.prcb + 0x4000, width);
    if s.is_32_bit() {
        p.u8(l.prcb_number, s.processor_number as u8);
    } else {
        p.u16(l.prcb_number, s.processor_number);
    }
    p.put(l.prcb_context, &context(s.machine, &s.registers));
    let control = l.prcb_special_registers;
    p.ptr(control, 0x8005_0031, width); // Cr0
    p.ptr(control + width * 2, s.directory_table_base, width); // Cr3
    p.ptr(control + width * 3, 0x6F8, width); // Cr4
    p.u32(l.prcb_mhz, 2666);
    p.u8(l.prcb_cpu_type, 6);
    p.put(l.prcb_vendor, b"GenuineIntel\0");
    p.ptr(l.prcb_dpc_stack, s.thread_stack.0 - 0x10000, width);
    p.u8(l.prcb_dpc_active, u8::from(s.dpc_active));
    p.u8(l.prcb_saved_irql, s.saved_irql);
    p.into_bytes()
}

/// The current ETHREAD.
pub fn thread(s: &CrashState, l: &Layout) -> Vec<u8> {
    let width = s.machine.pointer_width();
    let mut t = Image::zeroed(l.thread_size);
    t.u8(0, 6); // DISPATCHER_HEADER.Type: a thread
    t.ptr(l.thread_initial_stack, s.thread_stack.1 - 0x10, width);
    t.ptr(l.thread_stack_limit, s.thread_stack.0, width);
    t.ptr(l.thread_kernel_stack, s.thread_stack.1 - 0x400, width);
    t.ptr(l.thread_apc_process, s.process.address, width);
    t.u8(l.thread_state, 2); // running
    t.ptr(l.thread_process, s.process.address, width);
    t.ptr(l.thread_stack_base, s.thread_stack.1, width);
    t.ptr(l.thread_cid, s.process.id, width);
    t.ptr(l.thread_cid + width, s.process.id + 0x3C, width);
    t.into_bytes()
}

/// The EPROCESS of the current thread.
pub fn process(s: &CrashState, l: &Layout) -> Vec<u8> {
    let width = s.machine.pointer_width();
    let mut p = Image::zeroed(l.process_size);
    p.u8(0, 3); // DISPATCHER_HEADER.Type: a process
    p.ptr(
        l.process_directory_table_base,
        s.directory_table_base,
        width,
    );
    p.ptr(l.process_id, s.process.id, width);
    p.ptr(l.process_parent, 0x264, width);
    let name = s.process.image.as_bytes();
    p.put(l.process_image, &name[..name.len().min(15)]);
    p.into_bytes()
}

/// KDDEBUGGER_DATA64. Pointers of a 32-bit kernel are zero-extended.
pub fn debugger_data(s: &CrashState, l: &Layout) -> Vec<u8> {
    let here = s.kd_debugger_data_block();
    let mut d = Image::zeroed(l.debugger_data_size);
    d.u64(0x00, here);
    d.u64(0x08, here);
    d.put(0x10, b"KDBG");
    d.u32(0x14, l.debugger_data_size as u32);
    d.u16(0x36, u16::from(s.pae));
    for (at, value) in [
        (0x18, s.kernel().base),
        (0x48, s.ps_loaded_module_list()),
        (0x50, s.ps_active_process_head()),
        (0x88, s.ki_bugcheck_data()),
        (0x138, s.machine.page_size() as u64),
        (0x208, s.nt_build_lab()),
        (0x218, s.ki_processor_block()),
        (0x268, s.cm_nt_csd_version()),
    ] {
        d.u64(at, value);
    }
    for (at, value) in [
        (0x298, l.thread_next_processor),
        (0x29A, l.thread_teb),
        (0x29C, l.thread_kernel_stack),
        (0x29E, l.thread_initial_stack),
        (0x2A0, l.thread_apc_process),
        (0x2A2, l.thread_state),
        (0x2A8, l.process_size),
        (0x2AA, l.process_peb),
        (0x2AC, l.process_parent),
        (0x2AE, l.process_directory_table_base),
        (0x2B0, l.prcb_size),
        (0x2B4, l.prcb_current_thread),
        (0x2B6, l.prcb_mhz),
        (0x2B8, l.prcb_cpu_type),
        (0x2BA, l.prcb_vendor),
        (0x2BC, l.prcb_context),
        (0x2BE, l.prcb_number),
        (0x2C0, l.thread_size),
        (0x2F2, l.prcb_special_registers),
    ] {
        d.u16(at, value as u16);
    }
    if s.machine == Machine::X64 {
        d.u16(0x2F4, 0x10); // GdtR0Code
        d.u16(0x2F6, 0x18); // GdtR0Data
    }
    d.into_bytes()
}

/// Kernel variables that the debugger data names, as data blocks of their own.
pub fn named_variables(s: &CrashState) -> Vec<Block> {
    let width = s.machine.pointer_width();
    let mut bugcheck = Image::default();
    bugcheck.ptr(0, u64::from(s.code), width);
    for (index, parameter) in s.parameters.iter().enumerate() {
        bugcheck.ptr((index + 1) * width, *parameter, width);
    }
    let mut processors = Image::zeroed(s.processors.min(8) as usize * width);
    processors.ptr(s.processor_number as usize * width, s.prcb, width);
    let mut lab = s.build_lab.clone().into_bytes();
    lab.push(0);
    [
        (s.nt_build_lab(), lab),
        (s.ki_bugcheck_data(), bugcheck.into_bytes()),
        (s.ki_processor_block(), processors.into_bytes()),
        (s.cm_nt_csd_version(), s.csd_version.to_le_bytes().to_vec()),
    ]
    .into_iter()
    .map(|(address, bytes)| Block { address, bytes })
    .collect()
}
