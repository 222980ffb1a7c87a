//! Published crashes in the network stack that are not the defect (`docs/kb943650.md`): system, code,
//! parameters, faulting function and the functions that called it. Everything else is invented, the
//! places of the functions in the file too.

use super::catalogue::{Fixture, fixture};
use super::scenes;
use super::stack::Fault;
use super::state::{CrashState, Machine};

/// TimeDateStamp of the files whose functions are named below.
pub const STAMP: u32 = 0x4791_9120;
/// SizeOfImage of the same.
pub const SIZE: u32 = 0x4000;

/// One published crash.
pub struct Trace {
    pub file: &'static str,
    pub shows: &'static str,
    pub machine: Machine,
    pub build: u32,
    /// Address, IRQL, access.
    pub parameters: [u64; 3],
    /// File of the functions.
    pub module: &'static str,
    /// Innermost first, each with the offset where it starts.
    pub functions: [(u32, &'static str); 2],
}

/// Bytes into a function at which it faulted or called.
const INTO: u64 = 0x14;

pub const TRACES: [Trace; 4] = [
    Trace {
        file: "published-vista-sp1-x86-receive.dmp",
        shows: "published: Vista SP1 x86, 0xD1 (4,2,0) in tcpip!TcpIndicateData: a walk in TCP's receive path",
        machine: Machine::X86,
        build: 6001,
        parameters: [4, 2, 0],
        module: "tcpip.sys",
        functions: [
            (0x1010, "TcpIndicateData"),
            (0x1080, "TcpDeliverDataToClient"),
        ],
    },
    Trace {
        file: "published-windows7-x86-send.dmp",
        shows: "published: Windows 7 x86, 0xD1 in tcpip!TcpTcbHeaderSend, which a debugger takes for the adapter's driver",
        machine: Machine::X86,
        build: 7601,
        parameters: [0x28, 2, 0],
        module: "tcpip.sys",
        functions: [(0x1010, "TcpTcbHeaderSend"), (0x1080, "TcpTcbSend")],
    },
    Trace {
        file: "published-server2008-x64-stream.dmp",
        shows: "published: 0xD1 (8,2,0) in NETIO!StreamInvokeCalloutAndNormalizeAction: 8 is a field, not a link",
        machine: Machine::X64,
        build: 6001,
        parameters: [8, 2, 0],
        module: "NETIO.SYS",
        functions: [
            (0x1010, "StreamInvokeCalloutAndNormalizeAction"),
            (0x1080, "StreamCalloutProcessData"),
        ],
    },
    Trace {
        file: "published-server2008-x64-reassembly.dmp",
        shows: "published: 0xD1 (0,2,1) in tcpip!Ipv6pReassembleDatagram: a store, in the reassembly of fragments",
        machine: Machine::X64,
        build: 6001,
        parameters: [0, 2, 1],
        module: "tcpip.sys",
        functions: [
            (0x1010, "Ipv6pReassembleDatagram"),
            (0x1080, "Ipv6pReceiveFragment"),
        ],
    },
];

fn state(trace: &Trace) -> CrashState {
    let mut s = scenes::machine(trace.machine, trace.build);
    let driver = s.driver_mut(trace.module);
    driver.time_date_stamp = STAMP;
    driver.size = SIZE;
    let at = |s: &CrashState, n: usize| {
        s.driver(trace.module)
            .at(u64::from(trace.functions[n].0) + INTO)
    };
    let [address, irql, access] = trace.parameters;
    let fault = Fault {
        ip: at(&s, 0),
        address,
        error_code: if access == 1 { 2 } else { 0 },
        flags: 0x1_0246,
        ..Fault::default()
    };
    match trace.machine {
        Machine::X86 => scenes::irql_fault_x86(&mut s, 0xD1, irql, access, &fault),
        _ => {
            let callers = [at(&s, 1), s.driver("ndis.sys").at(0x2_7D44)];
            scenes::irql_fault_x64_under(&mut s, 0xD1, irql, access, &fault, &callers);
        }
    }
    s
}

/// The traces as fixtures.
pub fn traces() -> Vec<Fixture> {
    TRACES
        .iter()
        .map(|trace| fixture(trace.file, trace.shows, state(trace)))
        .collect()
}
