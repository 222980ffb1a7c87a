//! The committed fixtures: name, what each shows, and the crash it is written from.

use super::bytes::utc;
use super::itanium;
use super::published;
use super::scenes::{self, NIC};
use super::stack::Fault;
use super::state::{CrashState, Driver, Machine, Unwritten, Writer};

/// One committed dump.
pub struct Fixture {
    /// File name below `fixtures/dumps`.
    pub name: &'static str,
    /// One line for the folder's README.
    pub shows: &'static str,
    pub state: CrashState,
}

pub(super) fn fixture(name: &'static str, shows: &'static str, state: CrashState) -> Fixture {
    Fixture { name, shows, state }
}

/// Server 2008 x64, 0xD1 (8,2,1) at the second store of an unlink in tcpip.sys as it shipped.
pub fn server_2008_x64() -> CrashState {
    let mut s = scenes::machine(Machine::X64, 6001);
    let fault = scenes::null_flink_x64(&s);
    scenes::irql_fault_x64(&mut s, 0xD1, 2, 1, &fault);
    s.blocks.push(scenes::unlink_code_x64(fault.ip));
    s.dpc_active = true;
    s.tagged = scenes::tagged();
    s
}

/// Vista SP1 x86 with PAE, 0xD1 (4,2,1) in tcpip.sys as it shipped.
pub fn vista_sp1_x86() -> CrashState {
    let mut s = scenes::machine(Machine::X86, 6001);
    s.product_type = 1;
    s.pae = true;
    s.directory_table_base = 0x079F_5900;
    s.processors = 2;
    s.driver_mut("tcpip.sys").time_date_stamp = scenes::SP1_X86_TCPIP_STAMP;
    s.driver_mut("tcpip.sys").size = 0xE_3000;
    s.process.image = "svchost.exe";
    s.process.id = 0x3F4;
    let fault = scenes::null_flink_x86(&s);
    scenes::irql_fault_x86(&mut s, 0xD1, 2, 1, &fault);
    s.blocks.push(scenes::unlink_code_x86(fault.ip));
    s.tagged = scenes::tagged();
    s
}

fn with_stamp(file: &str, when: u64) -> CrashState {
    let mut s = server_2008_x64();
    s.driver_mut(file).time_date_stamp = when as u32;
    s
}

fn of_build(build: u32, product: u32, crash_time: u64) -> CrashState {
    let mut s = scenes::machine(Machine::X64, build);
    s.product_type = product;
    s.crash_time = crash_time;
    let fault = scenes::null_flink_x64(&s);
    scenes::irql_fault_x64(&mut s, 0xD1, 2, 1, &fault);
    s.blocks.push(scenes::unlink_code_x64(fault.ip));
    s
}

/// The same small physical memory in every dump type that holds pages.
fn of_type(mut s: CrashState, dump_type: u32) -> CrashState {
    s.dump_type = dump_type;
    s.runs = vec![(1, 2), (8, 1)];
    s.tagged.clear();
    s
}

/// Every fixture, in the order of the folder's README.
pub fn all() -> Vec<Fixture> {
    let mut list = triage_of_6001();
    list.extend(other_builds_and_machines());
    list.extend(odd_files());
    list.extend(other_types());
    list.extend(published::traces());
    list
}

fn triage_of_6001() -> Vec<Fixture> {
    let debugger = CrashState {
        writer: Writer::Debugger,
        ..server_2008_x64()
    };
    let one_processor = {
        let mut s = server_2008_x64();
        s.processors = 1;
        s.processor_number = 0;
        s
    };
    let other_driver = {
        let mut s = scenes::machine(Machine::X64, 6001);
        let fault = Fault {
            ip: s.driver(NIC).at(0x704B),
            address: 0x28,
            ..scenes::null_flink_x64(&s)
        };
        scenes::irql_fault_x64(&mut s, 0xD1, 2, 0, &fault);
        s
    };
    let in_kernel = {
        let mut s = scenes::machine(Machine::X64, 6001);
        let fault = Fault {
            ip: s.kernel().at(0x5_A1F4),
            ..scenes::null_flink_x64(&s)
        };
        let callers = [
            s.driver("NETIO.SYS").at(0x2_2117),
            s.driver("tcpip.sys").at(0x2_B1D9),
            s.driver("tcpip.sys").at(0x2_A93C),
            s.driver("ndis.sys").at(0x2_7D44),
        ];
        scenes::irql_fault_x64_under(&mut s, 0x0A, 2, 1, &fault, &callers);
        s
    };
    let irql_3 = {
        let mut s = server_2008_x64();
        let fault = scenes::null_flink_x64(&s);
        scenes::irql_fault_x64(&mut s, 0xD1, 3, 1, &fault);
        s
    };
    let non_canonical = {
        let mut s = scenes::machine(Machine::X64, 6001);
        let mut fault = scenes::null_flink_x64(&s);
        fault.address = 0;
        fault.error_code = 0;
        fault.general[0] = 0x0061_0063_0075_0072;
        scenes::unhandled_x64(&mut s, 0xC000_0005, [0, u64::MAX], &fault);
        s.blocks.push(scenes::unlink_code_x64(fault.ip));
        s
    };
    let system_thread = {
        let mut s = scenes::machine(Machine::X64, 6001);
        let fault = scenes::null_flink_x64(&s);
        scenes::system_thread_x64(&mut s, 0xC000_0005, &fault);
        s.saved_irql = 0;
        s
    };
    let forced = {
        let mut s = scenes::machine(Machine::X64, 6001);
        scenes::forced_x64(&mut s);
        s
    };
    let x86_8e = {
        let mut s = vista_sp1_x86();
        let fault = scenes::null_flink_x86(&s);
        scenes::unhandled_x86(&mut s, 0xC000_0005, &fault);
        s
    };
    let x86_debugger = {
        let mut s = vista_sp1_x86();
        s.pae = false;
        s.directory_table_base = 0x0012_2000;
        s.writer = Writer::Debugger;
        s
    };
    vec![
        fixture(
            "vista-sp1-x86-d1.dmp",
            "Vista SP1 x86 (PAE), kernel-written: 0xD1 (4,2,1) in tcpip.sys stamped 0x47919120, as it shipped",
            vista_sp1_x86(),
        ),
        fixture(
            "vista-sp1-x86-d1-debugger.dmp",
            "the same crash without PAE, cut down by a debugger: full paths, options 0xFFFFFFFF",
            x86_debugger,
        ),
        fixture(
            "vista-sp1-x86-8e.dmp",
            "the same fault as 0x1000008E: parameter 3 is the trap frame, the header holds the fault's registers",
            x86_8e,
        ),
        fixture(
            "server2008-x64-d1.dmp",
            "Server 2008 x64, kernel-written: 0xD1 (8,2,1) at an unlink in tcpip.sys, all in-box drivers of one day",
            server_2008_x64(),
        ),
        fixture(
            "server2008-x64-d1-debugger.dmp",
            "the same crash, cut down by a debugger",
            debugger,
        ),
        fixture(
            "server2008-x64-hotfix-window.dmp",
            "the same with tcpip.sys linked 2008-07-14T22:41Z: within the hotfix's window",
            with_stamp("tcpip.sys", utc(2008, 7, 14, 22, 41, 0)),
        ),
        fixture(
            "server2008-x64-later-date.dmp",
            "the same with tcpip.sys linked 2009-08-14: the date alone says nothing",
            with_stamp("tcpip.sys", utc(2009, 8, 14, 13, 30, 0)),
        ),
        fixture(
            "server2008-x64-one-processor.dmp",
            "the same on a machine with one processor",
            one_processor,
        ),
        fixture(
            "server2008-x64-d1-irql-3.dmp",
            "the same at IRQL 3: not the timer queue's IRQL",
            irql_3,
        ),
        fixture(
            "server2008-x64-d1-nic.dmp",
            "Server 2008 x64: 0xD1 in the network adapter's driver",
            other_driver,
        ),
        fixture(
            "server2008-x64-0a-kernel.dmp",
            "Server 2008 x64: 0x0A in the kernel, called by NETIO.SYS and tcpip.sys",
            in_kernel,
        ),
        fixture(
            "server2008-x64-1e-non-canonical.dmp",
            "Server 2008 x64: 0x1E, access violation at a non-canonical pointer in tcpip.sys",
            non_canonical,
        ),
        fixture(
            "server2008-x64-7e.dmp",
            "Server 2008 x64: 0x1000007E, a system thread in tcpip.sys; CONTEXT and EXCEPTION_RECORD on the stack",
            system_thread,
        ),
        fixture(
            "server2008-x64-e2.dmp",
            "Server 2008 x64: 0xE2 forced from the keyboard while the processor ran tcpip.sys",
            forced,
        ),
    ]
}

fn other_builds_and_machines() -> Vec<Fixture> {
    let arm64 = {
        let mut s = scenes::machine(Machine::Arm64, 22000);
        s.product_type = 1;
        s.crash_time = utc(2022, 3, 9, 18, 1, 44);
        let ip = s.driver("tcpip.sys").at(0x4_1230);
        scenes::fault_elsewhere(&mut s, 0xD1, [0x10, 2, 0, ip]);
        s
    };
    vec![
        fixture(
            "vista-rtm-x64-d1.dmp",
            "Vista without a service pack (6000) x64: the hotfix needs SP1",
            of_build(6000, 1, utc(2008, 2, 11, 7, 0, 31)),
        ),
        fixture(
            "server2008-sp2-x64-d1.dmp",
            "Server 2008 SP2 (6002) x64: the service pack contains the fix",
            of_build(6002, 3, utc(2010, 5, 4, 21, 9, 58)),
        ),
        fixture(
            "server2008-ia64-1e.dmp",
            "Server 2008 for Itanium: 0x1E in tcpip.sys, with its trap frame and both stacks",
            itanium::small::fixture(0x1E),
        ),
        fixture(
            "server2008-ia64-d1.dmp",
            "Server 2008 for Itanium: 0xD1 in tcpip.sys, likewise",
            itanium::small::fixture(0xD1),
        ),
        fixture(
            "windows11-arm64-d1.dmp",
            "ARM64, build 22000: 0xD1 in tcpip.sys of a system the article is not about",
            arm64,
        ),
    ]
}

fn odd_files() -> Vec<Fixture> {
    let filler = {
        let mut s = server_2008_x64();
        s.unwritten = vec![
            Unwritten::KdDebuggerDataBlock,
            Unwritten::ProductType,
            Unwritten::SuiteMask,
            Unwritten::SystemTime,
            Unwritten::SystemUpTime,
            Unwritten::MiniDumpFields,
            Unwritten::PsLoadedModuleList,
        ];
        s.runs.clear();
        s
    };
    let filler_x86 = CrashState {
        unwritten: filler.unwritten.clone(),
        runs: Vec::new(),
        ..vista_sp1_x86()
    };
    let overflowed = CrashState {
        triage_options: Some(0x141),
        ..server_2008_x64()
    };
    let no_mark = CrashState {
        tail_intact: false,
        tagged: Vec::new(),
        slack: 0,
        ..server_2008_x64()
    };
    let hostile_names = {
        let mut s = server_2008_x64();
        for name in [
            "..\\..\\..\\etc\\passwd",
            "con\u{1B}[2J\u{7}.sys",
            "gpj\u{202E}sys.exe",
            "=cmd(),\"x\";\n.sys",
            "\u{2028}line.sys",
        ] {
            let last = s.drivers.last().expect("a driver").clone();
            s.drivers.push(Driver {
                name: name.to_owned(),
                base: last.base + 0x10_0000,
                ..last
            });
        }
        s.process.image = "a\u{1B}]0;b\u{7}.exe";
        s
    };
    vec![
        fixture(
            "server2008-x64-filler.dmp",
            "x64 with every optional header field left painted: product, suite, times, debugger data, memory runs",
            filler,
        ),
        fixture("vista-sp1-x86-filler.dmp", "the same on x86", filler_x86),
        fixture(
            "server2008-x64-overflowed.dmp",
            "triage options 0x141: the kernel had to leave something out",
            overflowed,
        ),
        fixture(
            "server2008-x64-no-mark.dmp",
            "the mark at the end of the triage part is missing: a damaged tail",
            no_mark,
        ),
        fixture(
            "server2008-x64-hostile-names.dmp",
            "driver and process names with path parts, escape sequences, bidirectional controls, a formula",
            hostile_names,
        ),
    ]
}

fn other_types() -> Vec<Fixture> {
    let with_code = |mut s: CrashState, dump_type| {
        s.blocks.clear();
        of_type(s, dump_type)
    };
    vec![
        fixture(
            "server2008-x64-complete.dmp",
            "type 1, complete: three pages in two runs",
            with_code(server_2008_x64(), 1),
        ),
        fixture(
            "server2008-x64-summary.dmp",
            "type 2, kernel summary: two of the three pages",
            with_code(server_2008_x64(), 2),
        ),
        fixture(
            "vista-sp1-x86-summary.dmp",
            "type 2 with a 32-bit header",
            with_code(vista_sp1_x86(), 2),
        ),
        fixture(
            "server2008-x64-header-only.dmp",
            "type 3: a header and nothing else",
            with_code(server_2008_x64(), 3),
        ),
        fixture(
            "server2008-x64-bitmap-complete.dmp",
            "type 5, saved again by a newer debugger; the first page is not aligned",
            with_code(server_2008_x64(), 5),
        ),
        fixture(
            "server2008-x64-bitmap-kernel.dmp",
            "type 6, likewise",
            with_code(server_2008_x64(), 6),
        ),
        fixture(
            "server2008-x64-ranges.dmp",
            "type 8, page ranges of a new debugger",
            with_code(server_2008_x64(), 8),
        ),
        fixture(
            "server2008-x64-unknown-type.dmp",
            "dump type 0x0B, which nobody knows",
            with_code(server_2008_x64(), 0x0B),
        ),
        fixture("server2008-ia64-complete.dmp", "type 1 with 8 KiB pages", {
            let mut s = scenes::machine(Machine::Ia64, 6001);
            let ip = s.driver("tcpip.sys").at(0x4_1230);
            scenes::fault_elsewhere(&mut s, 0x1E, [0xFFFF_FFFF_C000_0005, ip, 0, 0x10]);
            of_type(s, 1)
        }),
    ]
}
