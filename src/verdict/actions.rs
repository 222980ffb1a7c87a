//! What to do now, in order, and what would settle an open question.
//!
//! Never recommends the hotfix on a machine it does not fit. Commands are exact.

use crate::evidence::Servicing;
use crate::facts::{CrashFacts, Format, Product};
use crate::knowledge::hotfix::{Architecture, KB943650};
use crate::knowledge::versions::FixState;

use super::{Applicability, MatchStatus, Verdict};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Stable name for programs.
    pub id: &'static str,
    /// For a person.
    pub text: String,
    /// The exact command, where there is one.
    pub command: Option<String>,
}

impl Action {
    fn new(id: &'static str, text: impl Into<String>) -> Action {
        Action {
            id,
            text: text.into(),
            command: None,
        }
    }

    fn with(mut self, command: impl Into<String>) -> Action {
        self.command = Some(command.into());
        self
    }
}

/// What to do about this crash on this machine.
pub fn actions(
    facts: &CrashFacts,
    servicing: &Servicing,
    status: MatchStatus,
    verdict: Verdict,
) -> Vec<Action> {
    let suspected = matches!(
        verdict,
        Verdict::Applies
            | Verdict::AppliesAfterServicePack
            | Verdict::ProbablyApplies
            | Verdict::MayApply
    );
    let mut list = Vec::new();
    if suspected {
        list.extend(workaround());
        list.extend(update(facts, servicing, verdict));
    } else if status < MatchStatus::InsufficientData {
        list.push(not_this(servicing));
    }
    if verdict == Verdict::Undetermined || (suspected && !matches!(status, MatchStatus::Confirmed))
    {
        list.extend(collect(facts));
    }
    if suspected && facts.dump.format != Format::UserMinidump {
        list.extend(by_hand());
    }
    list
}

/// The crash is something else; a missing fix is still worth saying.
fn not_this(servicing: &Servicing) -> Action {
    let missing = matches!(
        servicing.applicability,
        Applicability::Applicable
            | Applicability::PartiallyServiced
            | Applicability::NeedsServicePack
    );
    if missing {
        return Action::new(
            "look-elsewhere",
            format!(
                "This crash is something else. The machine {}lacks the fix of {} too; that matters \
                 only if it forwards multicast.",
                if servicing.by_date { "probably " } else { "" },
                KB943650.kb
            ),
        );
    }
    Action::new(
        "look-elsewhere",
        format!(
            "This crash is something else: {} is no answer to it.",
            KB943650.kb
        ),
    )
}

/// The workaround comes first: it is immediate and shows within a day whether the suspicion holds.
fn workaround() -> Vec<Action> {
    let mut list = vec![Action::new(
        "workaround",
        format!(
            "{} {}",
            KB943650.workaround.text, KB943650.workaround.side_effect
        ),
    )];
    list.extend(KB943650.workaround.commands.iter().map(|command| {
        Action::new("workaround-command", capitalised(command.purpose)).with(command.command)
    }));
    list
}

/// What brings the fix, for the state the machine is in.
fn update(facts: &CrashFacts, servicing: &Servicing, verdict: Verdict) -> Vec<Action> {
    let mut list = Vec::new();
    if verdict == Verdict::MayApply && servicing.state != FixState::NotFixed {
        list.push(
            Action::new(
                "check-version",
                "Look at the file version of tcpip.sys on the machine before installing anything, \
                 then: kbtriage kb check tcpip.sys=VERSION",
            )
            .with(r#"wmic datafile where name="C:\\Windows\\System32\\drivers\\tcpip.sys" get version"#),
        );
    }
    let confirmed = matches!(
        verdict,
        Verdict::Applies | Verdict::AppliesAfterServicePack | Verdict::ProbablyApplies
    );
    let when = if confirmed {
        "Install"
    } else {
        "If the version shows that the fix is missing and forwarding is on, install"
    };
    list.extend(KB943650.availability.alternatives.iter().map(|other| {
        Action::new(
            "install-service-pack",
            format!(
                "{when} {} ({}), or a later update: it {}.",
                other.name, other.kb, other.why
            ),
        )
    }));
    let package = facts
        .dump
        .architecture
        .as_deref()
        .and_then(|name| Architecture::ALL.into_iter().find(|a| a.as_str() == name))
        .and_then(|architecture| main_package(architecture, facts.system.product));
    if let Some(package) = package {
        let first = match servicing.applicability {
            Applicability::NeedsServicePack => "after Service Pack 1, ",
            _ => "",
        };
        list.push(Action::new(
            "install-hotfix",
            format!(
                "Where neither can be installed: {first}the hotfix {} by its package name {package}. \
                 {}",
                KB943650.kb, KB943650.availability.text
            ),
        ));
    }
    list.push(Action::new("verify", KB943650.availability.afterwards));
    list
}

/// The package of the edition: a client's on a workstation, else the server's.
fn main_package(architecture: Architecture, product: Option<Product>) -> Option<&'static str> {
    let edition = match product {
        Some(Product::Workstation) => "Package_for_kb943650_client~",
        _ => "Package_for_kb943650_server~",
    };
    KB943650
        .packages(architecture)
        .find(|name| name.starts_with(edition))
}

/// How to get a dump that can answer.
fn collect(facts: &CrashFacts) -> Vec<Action> {
    if !matches!(
        facts.dump.format,
        Format::KernelTriage | Format::UserMinidump
    ) {
        return Vec::new();
    }
    vec![
        Action::new(
            "collect-kernel-dump",
            "Collect a kernel memory dump of the next crash: it holds file versions, every \
             processor and the timer table. Set it up and restart:",
        )
        .with(
            r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v CrashDumpEnabled /t REG_DWORD /d 2 /f",
        ),
    ]
}

/// How an engineer with a debugger checks the answer.
fn by_hand() -> Vec<Action> {
    vec![
        Action::new(
            "debugger",
            "Check by hand in a Windows debugger: the version of tcpip.sys",
        )
        .with("lmvm tcpip"),
        Action::new(
            "debugger",
            "the fault's own registers (.trap or .cxr with the address it prints) and stack (kv)",
        )
        .with("!analyze -v"),
        Action::new(
            "debugger",
            "whether multicast forwarding entries exist (kernel memory dumps)",
        )
        .with("!poolused 4 IPmf"),
    ]
}

/// What would settle what is still open.
pub fn would_settle(facts: &CrashFacts, servicing: &Servicing, status: MatchStatus) -> Vec<String> {
    if status < MatchStatus::InsufficientData || status == MatchStatus::Confirmed {
        return Vec::new();
    }
    let mut list = Vec::new();
    if facts.dump.format == Format::UserMinidump {
        return list;
    }
    let tcpip = facts
        .modules
        .find(KB943650.decides)
        .map(|(_, module)| module);
    if servicing.by_date || servicing.state == FixState::Unknown {
        match tcpip {
            Some(module) => list.push(format!(
                "the image tcpip.sys with time stamp {:#010x} and size {:#x} (store folder \
                 {:08X}{:x}): its version says whether the fix is in it",
                module.time_date_stamp, module.size, module.time_date_stamp, module.size
            )),
            None => list.push("the version of tcpip.sys on the machine".to_owned()),
        }
    }
    let named = facts.fault.name.is_some();
    if !named && tcpip.is_some() {
        list.push(
            "the symbols of tcpip.sys and netio.sys: the names of the faulting function and of its \
             nearest caller tell the multicast timer from everything else"
                .to_owned(),
        );
    }
    match facts.dump.format {
        Format::KernelTriage => list.push(
            "a kernel memory dump of another crash: the timer table itself, its pool tags and the \
             other processors"
                .to_owned(),
        ),
        Format::KernelHeaderOnly | Format::KernelUnknown => {
            list.push("a small or a kernel memory dump of another crash".to_owned());
        }
        _ => {}
    }
    list.push(
        "whether multicast forwarding was on at the crash: netsh interface ipv4 show global"
            .to_owned(),
    );
    list
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
