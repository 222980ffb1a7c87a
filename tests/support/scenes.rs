//! Machines before the crash, and faults that happen to them. Build numbers, dates and module names are
//! those of the published systems; bases, sizes, checksums, machines and third-party drivers are invented.

use super::bytes::utc;
use super::stack::{Fault, StackBuilder};
use super::state::{
    Block, CrashState, Driver, Machine, Process, Registers, Tagged, Unloaded, Writer,
};

/// The x86 tcpip.sys of SP1 as it shipped (published dump): 2008-01-19.
pub const SP1_X86_TCPIP_STAMP: u32 = 0x4791_9120;

/// In-box drivers in load order: name, directory, size, minutes after the first file was linked.
const IN_BOX: &[(&str, &str, u32, u32)] = &[
    ("ntoskrnl.exe", SYSTEM, 0x51_8000, 4),
    ("hal.dll", SYSTEM, 0x4_6000, 1),
    ("kdcom.dll", SYSTEM, 0xA000, 190),
    ("PSHED.dll", SYSTEM, 0x1_4000, 191),
    ("CLFS.SYS", SYSTEM, 0x5_D000, 3),
    ("CI.dll", SYSTEM, 0xB_2000, 182),
    ("acpi.sys", DRIVERS, 0x5_6000, 13),
    ("pci.sys", DRIVERS, 0x3_0000, 14),
    ("volmgr.sys", DRIVERS, 0x1_4000, 20),
    ("disk.sys", DRIVERS, 0x1_4000, 21),
    ("Ntfs.sys", DRIVERS, 0x18_4000, 8),
    ("ndis.sys", DRIVERS, 0x1C_3000, 31),
    ("msrpc.sys", DRIVERS, 0x9_A000, 24),
    ("NETIO.SYS", DRIVERS, 0x5_A000, 35),
    ("tcpip.sys", DRIVERS, 0x17_4000, 40),
    ("fwpkclnt.sys", DRIVERS, 0x2_C000, 36),
    ("afd.sys", DRIVERS, 0x6_B000, 38),
    ("netbt.sys", DRIVERS, 0x4_4000, 37),
    ("tdx.sys", DRIVERS, 0x1_E000, 39),
    ("i8042prt.sys", DRIVERS, 0x1_6000, 12),
    ("srv.sys", DRIVERS, 0x9_4000, 44),
];
const SYSTEM: &str = "\\SystemRoot\\system32\\";
const DRIVERS: &str = "\\SystemRoot\\System32\\drivers\\";
/// The network adapter's driver, of a vendor that does not exist.
pub const NIC: &str = "acmenic.sys";

/// When the in-box drivers of a build were linked (UTC), to the minute of the first.
fn linked(build: u32) -> u64 {
    match build {
        6000 => utc(2006, 11, 2, 8, 28, 0),
        6002 => utc(2009, 4, 11, 4, 40, 0),
        7601 => utc(2010, 11, 20, 8, 30, 0),
        22000 => utc(2021, 6, 5, 12, 0, 0),
        _ => utc(2008, 1, 19, 5, 27, 0),
    }
}

fn build_lab(build: u32, flavour: &str) -> String {
    match build {
        6000 => format!("6000.16386.{flavour}.vista_rtm.061101-2205"),
        6002 => format!("6002.18005.{flavour}.lh_sp2rtm.090410-1830"),
        7601 => format!("7601.17514.{flavour}.win7sp1_rtm.101119-1850"),
        22000 => format!("22000.1.{flavour}.co_release.210604-1628"),
        _ => format!("6001.18000.{flavour}.longhorn_rtm.080118-1840"),
    }
}

fn drivers(build: u32, kernel: u64, others: u64) -> Vec<Driver> {
    let first = linked(build) as u32;
    let mut next = others;
    let mut list: Vec<Driver> = IN_BOX
        .iter()
        .enumerate()
        .map(|(index, (name, directory, size, minutes))| {
            let base = match index {
                0 => kernel,
                1 => kernel + 0x51_8000,
                _ => {
                    let here = next;
                    next += u64::from(*size) + 0x1000;
                    here
                }
            };
            Driver {
                name: (*name).to_owned(),
                directory,
                base,
                size: *size,
                time_date_stamp: first + minutes * 60,
                checksum: size / 7 + 0x1234,
            }
        })
        .collect();
    list.push(Driver {
        name: NIC.to_owned(),
        directory: DRIVERS,
        base: next,
        size: 0x2_9000,
        time_date_stamp: utc(2007, 8, 22, 9, 15, 0) as u32,
        checksum: 0x3_11A0,
    });
    list
}

/// A quiet machine of that architecture and build, in a triage dump that the kernel wrote.
pub fn machine(machine: Machine, build: u32) -> CrashState {
    let (kernel, others, flavour, stack, thread, prcb) = match machine {
        Machine::X86 => (
            0x8180_0000,
            0x8040_0000,
            "x86fre",
            0x8F41_2000,
            0x84E1_7030,
            0x8193_2820,
        ),
        Machine::X64 => (
            0xFFFF_F800_0180_0000,
            0xFFFF_FA60_0060_0000,
            "amd64fre",
            0xFFFF_FA60_0512_7000,
            0xFFFF_FA80_0471_6060,
            0xFFFF_F800_0196_5680,
        ),
        Machine::Ia64 => (
            0xE000_0000_8300_0000,
            0xE000_0000_A000_0000,
            "ia64fre",
            0xE000_0001_0210_0000,
            0xE000_0001_3450_6040,
            0xE000_0000_FFFF_0000,
        ),
        Machine::Arm64 => (
            0xFFFF_F803_1220_0000,
            0xFFFF_F803_1500_0000,
            "arm64fre",
            0xFFFF_E00E_0E4B_6000,
            0xFFFF_BC8A_3A51_D080,
            0xFFFF_F803_1100_0000,
        ),
    };
    let drivers = drivers(build, kernel, others);
    let last = drivers.last().expect("a NIC").base;
    CrashState {
        machine,
        pae: false,
        writer: Writer::Kernel,
        dump_type: 4,
        build,
        csd_version: match build {
            6001 => 0x100,
            6002 => 0x200,
            _ => 0,
        },
        build_lab: build_lab(build, flavour),
        processors: 4,
        code: 0,
        parameters: [0; 4],
        crash_time: utc(2008, 11, 3, 2, 14, 7),
        uptime_seconds: 86_400 * 3 + 4_211,
        product_type: 3,
        suite_mask: 0x110,
        directory_table_base: 0x12_4000,
        registers: Registers::default(),
        processor_number: 1,
        saved_irql: 2,
        dpc_active: false,
        prcb,
        thread,
        thread_stack: (stack, stack + 0x6000),
        process: Process {
            address: thread + 0x1_2000,
            id: 4,
            image: "System",
        },
        drivers,
        unloaded: vec![
            Unloaded {
                name: "crashdmp.sys",
                start: last + 0x10_0000,
                end: last + 0x10_D000,
            },
            Unloaded {
                name: "dump_acmeraid.sys",
                start: last + 0x11_0000,
                end: last + 0x12_B000,
            },
        ],
        stack: Default::default(),
        backing_store: None,
        blocks: Vec::new(),
        tagged: Vec::new(),
        slack: 0x1B0,
        triage_options: None,
        runs: vec![(1, 0x9E), (0x100, 0x7_FDA0)],
        unwritten: Vec::new(),
        tail_intact: true,
        context: None,
    }
}

/// Secondary data of two callbacks, one of them empty.
pub fn tagged() -> Vec<Tagged> {
    vec![
        Tagged {
            guid: *b"kbtriage-fixt-01",
            data: (0..52).collect(),
            pre_pad: 4,
            post_pad: 3,
        },
        Tagged {
            guid: *b"kbtriage-fixt-02",
            data: Vec::new(),
            pre_pad: 0,
            post_pad: 0,
        },
    ]
}

/// Registers of an entry into KeBugCheckEx with the stack pointer at `sp`.
fn in_bug_check(s: &CrashState, sp: u64) -> Registers {
    let mut r = Registers {
        ip: s.kernel().at(0x5_4350),
        sp,
        fp: sp + 0x20,
        flags: 0x246,
        ..Registers::default()
    };
    r.general[1] = u64::from(s.code); // rcx
    r.general[2] = s.parameters[0]; // rdx
    r.general[8] = s.parameters[1];
    r.general[9] = s.parameters[2];
    r.general[10] = s.parameters[3];
    r
}

/// The receive path above a fault in the network stack, innermost first.
fn receive_path(s: &CrashState) -> Vec<u64> {
    vec![
        s.driver("tcpip.sys").at(0x2_B0F1),
        s.driver("tcpip.sys").at(0x2_A93C),
        s.driver("NETIO.SYS").at(0x1_12D0),
        s.driver("ndis.sys").at(0x2_7D44),
        s.driver(NIC).at(0x613A),
        s.driver("ndis.sys").at(0x1_0B35),
        s.kernel().at(0x5_97C3),
        s.kernel().at(0x5_6EF5),
    ]
}

/// A fault in kernel mode on a 64-bit machine that ends in 0x0A or 0xD1: `fault.ip` touched `fault.address`.
pub fn irql_fault_x64(s: &mut CrashState, code: u32, irql: u64, access: u64, fault: &Fault) {
    let callers = receive_path(s);
    irql_fault_x64_under(s, code, irql, access, fault, &callers);
}

/// As [`irql_fault_x64`], with the return addresses above the fault given, innermost first.
pub fn irql_fault_x64_under(
    s: &mut CrashState,
    code: u32,
    irql: u64,
    access: u64,
    fault: &Fault,
    callers: &[u64],
) {
    s.code = code;
    s.parameters = [fault.address, irql, access, fault.ip];
    s.saved_irql = irql as u8;
    let low = s.thread_stack.1 - 0x9A8;
    let mut b = StackBuilder::new(low, 0x680, 8);
    b.ptr(low, s.kernel().at(0x5_41EE)); // back into the bug check dispatcher
    b.ptr(low + 8, u64::from(0x0Au32));
    let trap = low + 0x148;
    b.exception_frame_x64(trap - 0x140, fault, s.kernel().at(0x5_2ACB));
    let sp = b.trap_frame_x64(trap, fault);
    for (index, caller) in callers.iter().enumerate() {
        b.ptr(sp + 0x38 + index as u64 * 0x48, *caller);
    }
    s.stack = b.finish();
    s.registers = in_bug_check(s, low);
}

/// `mov [rax+8],rcx` with Flink NULL in tcpip.sys: the second store of an unlink of a torn entry.
pub fn null_flink_x64(s: &CrashState) -> Fault {
    let mut fault = Fault {
        ip: s.driver("tcpip.sys").at(0x2_B1C4),
        address: 8,
        error_code: 2,
        flags: 0x1_0246,
        fp: s.thread + 0x400,
        ..Fault::default()
    };
    fault.general[1] = s.thread + 0x9_1A40; // rcx: Blink
    fault.general[3] = s.thread + 0x9_1000; // rbx: the entry
    fault.general[6] = s.thread + 0x9_2000;
    fault.general[7] = s.thread + 0x9_3000;
    fault
}

/// The bytes of an unlink around the faulting instruction.
pub fn unlink_code_x64(ip: u64) -> Block {
    let mut bytes = vec![
        0x48, 0x8B, 0x03, // mov rax,[rbx]
        0x48, 0x8B, 0x4B, 0x08, // mov rcx,[rbx+8]
        0x48, 0x89, 0x48, 0x08, // mov [rax+8],rcx   <- ip
        0x48, 0x89, 0x01, // mov [rcx],rax
        0xC3,
    ];
    let before = 7;
    bytes.resize(0x40, 0xCC);
    Block {
        address: ip - before,
        bytes,
    }
}

/// A fault without a handler on x64: 0x1E by way of the exception dispatcher.
pub fn unhandled_x64(s: &mut CrashState, exception: u32, information: [u64; 2], fault: &Fault) {
    s.code = 0x1E;
    s.parameters = [
        exception as i32 as i64 as u64,
        fault.ip,
        information[0],
        information[1],
    ];
    let low = s.thread_stack.1 - 0xEA8;
    let mut b = StackBuilder::new(low, 0x900, 8);
    b.ptr(low, s.kernel().at(0x3_5F17));
    let trap = low + 0x508;
    b.exception_frame_x64(trap - 0x1E0, fault, s.kernel().at(0x5_242E));
    b.exception_record64(trap - 0xA8, exception, fault.ip, &information);
    let sp = b.trap_frame_x64(trap, fault);
    for (index, caller) in receive_path(s).iter().enumerate() {
        b.ptr(sp + 0x28 + index as u64 * 0x40, *caller);
    }
    s.stack = b.finish();
    s.registers = in_bug_check(s, low);
}

/// 0x1000007E on x64: a system thread faulted and its context replaces the bug check's in the header.
pub fn system_thread_x64(s: &mut CrashState, exception: u32, fault: &Fault) {
    let top = s.thread_stack.1;
    let low = top - 0x1000;
    let (record, context) = (low + 0x200, low + 0x2A0);
    s.code = 0x1000_007E;
    s.parameters = [exception as i32 as i64 as u64, fault.ip, record, context];
    s.registers = Registers {
        ip: fault.ip,
        sp: top - 0x600,
        fp: fault.fp,
        flags: fault.flags,
        general: fault.general,
        ..Registers::default()
    };
    let mut b = StackBuilder::new(low, 0xE00, 8);
    b.ptr(low, s.kernel().at(0x3_61A2));
    b.exception_record64(record, exception, fault.ip, &[1, fault.address]);
    b.put(context, &super::context::context(s.machine, &s.registers));
    for (index, caller) in receive_path(s).iter().enumerate() {
        b.ptr(s.registers.sp + 0x28 + index as u64 * 0x40, *caller);
    }
    s.stack = b.finish();
}

/// The x86 counterpart of [`irql_fault_x64`]: an EBP chain leads through the trap frame.
pub fn irql_fault_x86(s: &mut CrashState, code: u32, irql: u64, access: u64, fault: &Fault) {
    s.code = code;
    s.parameters = [fault.address, irql, access, fault.ip];
    s.saved_irql = irql as u8;
    let low = s.thread_stack.1 - 0x8F0;
    let mut b = StackBuilder::new(low, 0x500, 4);
    b.ptr(low, s.kernel().at(0x5_41EE));
    let trap = low + 0x60;
    b.ptr(low + 0x20, trap); // the trap handler runs with EBP at the trap frame
    b.ptr(low + 0x24, s.kernel().at(0x5_2ACB));
    let mut sp = b.trap_frame_x86(
        trap,
        &Fault {
            fp: trap + 0x90,
            ..fault.clone()
        },
    );
    sp = sp.max(trap + 0x90);
    for caller in receive_path(s) {
        b.ptr(sp, sp + 0x40);
        b.ptr(sp + 4, caller);
        sp += 0x40;
    }
    s.stack = b.finish();
    s.registers = in_bug_check(s, low);
}

/// 0x1000008E on x86: parameter 3 is the trap frame and the header shows the fault itself.
pub fn unhandled_x86(s: &mut CrashState, exception: u32, fault: &Fault) {
    irql_fault_x86(s, 0x1000_008E, 2, 0, fault);
    let trap = s.stack.low + 0x60;
    s.parameters = [u64::from(exception), fault.ip, trap, 0];
    s.registers = Registers {
        ip: fault.ip,
        sp: trap + 0x74,
        fp: trap + 0x90,
        flags: fault.flags,
        general: fault.general,
        ..Registers::default()
    };
}

/// `mov [eax+4],ecx` with Flink NULL.
pub fn null_flink_x86(s: &CrashState) -> Fault {
    let mut fault = Fault {
        ip: s.driver("tcpip.sys").at(0x2_B1C4),
        address: 4,
        error_code: 2,
        flags: 0x1_0246,
        ..Fault::default()
    };
    fault.general[1] = 0x8512_1A40; // ecx: Blink
    fault.general[6] = 0x8512_1000; // esi: the entry
    fault
}

/// The bytes of an x86 unlink around the faulting instruction.
pub fn unlink_code_x86(ip: u64) -> Block {
    let mut bytes = vec![
        0x8B, 0x06, // mov eax,[esi]
        0x8B, 0x4E, 0x04, // mov ecx,[esi+4]
        0x89, 0x48, 0x04, // mov [eax+4],ecx   <- ip
        0x89, 0x01, // mov [ecx],eax
        0xC3,
    ];
    let before = 5;
    bytes.resize(0x40, 0xCC);
    Block {
        address: ip - before,
        bytes,
    }
}

/// A crash forced from the keyboard while the processor was busy in tcpip.sys.
pub fn forced_x64(s: &mut CrashState) {
    let interrupted = Fault {
        ip: s.driver("tcpip.sys").at(0x5_0C11),
        flags: 0x246,
        ..null_flink_x64(s)
    };
    let callers = receive_path(s);
    irql_fault_x64_under(s, 0xE2, 8, 0, &interrupted, &callers);
    s.parameters = [0; 4];
    let keyboard = s.driver("i8042prt.sys").at(0x34A8);
    let low = s.stack.low;
    s.stack.bytes[0..8].copy_from_slice(&keyboard.to_le_bytes());
    s.registers = in_bug_check(s, low);
}

/// IA-64 and ARM64: a fault whose context is all the dump tells.
pub fn fault_elsewhere(s: &mut CrashState, code: u32, parameters: [u64; 4]) {
    s.code = code;
    s.parameters = parameters;
    let low = s.thread_stack.1 - 0x800;
    let mut b = StackBuilder::new(low, 0x600, 8);
    for (index, caller) in receive_path(s).iter().enumerate() {
        b.ptr(low + 0x40 + index as u64 * 0x80, *caller);
    }
    s.stack = b.finish();
    s.registers = in_bug_check(s, low);
    s.registers.link = s.kernel().at(0x5_2AC0);
    if s.machine == Machine::Ia64 {
        let mut store = StackBuilder::new(s.thread_stack.1, 0x200, 8);
        store.ptr(s.thread_stack.1 + 0x10, s.driver("tcpip.sys").at(0x4_1230));
        s.backing_store = Some(store.finish());
        s.registers.backing_store = s.thread_stack.1 + 0x180;
    }
}
