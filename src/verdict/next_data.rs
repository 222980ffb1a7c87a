//! How to get what can answer: a memory dump, a dump of a hang, the look by hand, and what would
//! settle an open question.

use crate::evidence::Servicing;
use crate::facts::{CrashFacts, FindingKind, Format, Module, Product, SymbolState, Writer};
use crate::knowledge::bugchecks::{self, Slot};
use crate::knowledge::defect::FORWARDING_TAG;
use crate::knowledge::hotfix::KB943650;
use crate::knowledge::versions::FixState;

use super::MatchStatus;
use super::actions::Action;

/// How to get a dump that can answer.
pub(super) fn dumps(facts: &CrashFacts) -> Vec<Action> {
    if holds_memory(facts) {
        return Vec::new();
    }
    vec![
        Action::new(
            "collect-kernel-dump",
            "Have the next crash write a kernel memory dump, which holds file versions, every \
             processor and the timer table. The page file on the system drive has to be large enough \
             (a third of memory does as a rule). Set it up and restart; the dump is \
             %SystemRoot%\\MEMORY.DMP:",
        )
        .with(
            r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v CrashDumpEnabled /t REG_DWORD /d 2 /f",
        ),
        Action::new(
            "allow-nmi-crash",
            match facts.system.product {
                Some(Product::Workstation) => {
                    "If it hangs rather than stops: allow a dump by NMI, which needs hardware that can \
                     raise one, and restart:"
                }
                _ => {
                    "If it hangs rather than stops: allow a dump by NMI, restart, and at the hang send \
                     one from the server's NMI button or its management board:"
                }
            },
        )
        .with(
            r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v NMICrashDump /t REG_DWORD /d 1 /f",
        ),
        Action::new(
            "allow-keyboard-crash",
            "Or from a PS/2 keyboard: allow it, restart, and at the hang hold the right Ctrl key and \
             press Scroll Lock twice:",
        )
        .with(
            r"reg add HKLM\SYSTEM\CurrentControlSet\Services\i8042prt\Parameters /v CrashOnCtrlScroll /t REG_DWORD /d 1 /f",
        ),
    ]
}

fn holds_memory(facts: &CrashFacts) -> bool {
    !matches!(
        facts.dump.format,
        Format::KernelTriage
            | Format::UserMinidump
            | Format::KernelHeaderOnly
            | Format::KernelUnknown
    )
}

/// How an engineer with a debugger checks the answer: the fault's registers, the version, and, in
/// memory, the entries, the block and the list.
pub(super) fn by_hand(facts: &CrashFacts) -> Action {
    let mut commands = vec!["!analyze -v".to_owned()];
    commands.push(context(facts));
    commands.push("kv".to_owned());
    commands.push("lmvm tcpip".to_owned());
    let mut text = "Check by hand in a debugger: the fault's own registers and frames, and the \
                    version of tcpip.sys"
        .to_owned();
    if holds_memory(facts) {
        commands.push(format!("!poolused 4 {FORWARDING_TAG}"));
        let at = |kind: FindingKind| {
            let findings = facts.memory.iter().flat_map(|memory| &memory.findings);
            findings.filter(|f| f.kind == kind).find_map(|f| f.address)
        };
        let block = at(FindingKind::SharedListLink).or_else(|| at(FindingKind::PoolBlock));
        commands.extend(block.map(|address| format!("!pool {address:#x} 2")));
        let list = at(FindingKind::TornList).or_else(|| at(FindingKind::SharedListLink));
        commands.extend(list.map(|address| format!("dl {address:#x}; dlb {address:#x}")));
        text.push_str(", whether forwarding entries exist, and their list");
    }
    Action::new("debugger", format!("{text}:")).with(commands.join("; "))
}

/// The command that shows the fault's registers, by where the code keeps them.
fn context(facts: &CrashFacts) -> String {
    let Some(bugcheck) = facts.bugcheck else {
        return ".ecxr".to_owned();
    };
    let check = bugchecks::find(bugcheck.raw_code);
    let at = |slot: Slot| {
        let value = bugcheck.parameters.get(check.slot(slot)?)?;
        (*value != 0).then_some(*value)
    };
    match (at(Slot::ContextRecord), at(Slot::TrapFrame)) {
        (Some(record), _) => format!(".cxr {record:#x}"),
        (None, Some(frame)) => format!(".trap {frame:#x}"),
        // The frame's address is on the stack, where kv shows it.
        _ if matches!(check.code, 0x0A | 0xD1 | 0x1E) => {
            ".trap ADDRESS (of kv's TrapFrame)".to_owned()
        }
        _ if check.is_forced() => "~*kv (every processor)".to_owned(),
        _ => ".trap or .cxr as !analyze says".to_owned(),
    }
}

/// How the line begins that asks for the rest of a file that is cut off.
pub const WHOLE_FILE: &str = "the whole file";

/// What would settle what is still open.
pub fn would_settle(facts: &CrashFacts, servicing: &Servicing, status: MatchStatus) -> Vec<String> {
    let open = (MatchStatus::InsufficientData..MatchStatus::Confirmed).contains(&status);
    let fixed = matches!(servicing.state, FixState::Fixed | FixState::NotApplicable);
    if !open || fixed || facts.dump.format == Format::UserMinidump {
        return Vec::new();
    }
    let mut list = Vec::new();
    // A debugger declares more than it writes.
    if let Some(declared) = facts.dump.bytes_declared
        && declared > facts.dump.bytes_present
        && facts.dump.writer != Some(Writer::Debugger)
        && !facts.dump.damage.is_empty()
    {
        list.push(format!(
            "{WHOLE_FILE}: {} of its {declared} bytes are here",
            facts.dump.bytes_present
        ));
    }
    let tcpip = facts
        .modules
        .find(KB943650.decides)
        .map(|(_, module)| module);
    if servicing.by_date || servicing.state == FixState::Unknown {
        list.push(match tcpip {
            Some(module) => format!(
                "the version of tcpip.sys: on the machine, or in the image {:08X}{:x} of a store \
                 (--images)",
                module.time_date_stamp, module.size
            ),
            None => "the version of tcpip.sys on the machine".to_owned(),
        });
    }
    let lacks_symbols = |module: &Module| module.symbols != SymbolState::Loaded;
    if facts.fault.name.is_none() && tcpip.is_some_and(lacks_symbols) {
        list.push(
            "the symbols of tcpip.sys and netio.sys (--symbols): they name the faulting function and \
             its caller"
                .to_owned(),
        );
    }
    let forced = match facts.bugcheck {
        Some(bugcheck) => bugchecks::find(bugcheck.raw_code).is_forced(),
        None => facts.dump.running,
    };
    if !holds_memory(facts) {
        list.push(match (facts.dump.format, forced) {
            (_, true) => {
                "a kernel memory dump of another hang, by NMI or keyboard: it shows what every \
                 processor was doing"
                    .to_owned()
            }
            (Format::KernelTriage, _) => {
                "a kernel memory dump of another crash, with the timer table and every processor"
                    .to_owned()
            }
            _ => "a small or a kernel memory dump of another crash".to_owned(),
        });
    }
    if !facts.system.multicast_forwarding.at_crash {
        list.push(
            "whether multicast forwarding was on at the crash: a SYSTEM hive, a .reg export or saved \
             netsh output from before anyone changed it (--registry)"
                .to_owned(),
        );
    }
    list
}
