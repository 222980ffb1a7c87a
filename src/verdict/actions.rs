//! What to do now, in order, and what would settle an open question.
//!
//! Never recommends the hotfix on a machine it does not fit. Commands are exact.

use std::borrow::Cow;

use crate::evidence::Servicing;
use crate::facts::{CrashFacts, Format, Product};
use crate::knowledge::hotfix::{Architecture, KB943650};
use crate::knowledge::versions::FixState;

use super::{Applicability, MatchStatus, Verdict};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Stable name for programs.
    pub id: Cow<'static, str>,
    /// For a person.
    pub text: String,
    /// The exact command, where there is one.
    pub command: Option<String>,
}

impl Action {
    fn new(id: &'static str, text: impl Into<String>) -> Action {
        Action {
            id: Cow::Borrowed(id),
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
        list.push(by_hand());
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
    let mut commands = KB943650.workaround.commands.iter();
    let mut list = Vec::new();
    list.extend(commands.next().map(|show| {
        Action::new(
            "check-forwarding",
            "See whether multicast forwarding is on:",
        )
        .with(show.command)
    }));
    list.extend(commands.next().map(|disable| {
        Action::new(
            "workaround",
            format!(
                "Workaround: {} {}",
                KB943650.workaround.text, KB943650.workaround.side_effect
            ),
        )
        .with(disable.command)
    }));
    list.extend(commands.map(|disable| {
        Action::new("workaround", format!("Workaround: {}:", disable.purpose)).with(disable.command)
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
        "If the fix is missing and forwarding is on, install"
    };
    list.extend(KB943650.availability.alternatives.iter().map(|other| {
        Action::new(
            "install-service-pack",
            format!(
                "{when} {} ({}) or a later update: it {}.",
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
            Applicability::NeedsServicePack => "Service Pack 1, then ",
            _ => "",
        };
        list.push(Action::new(
            "install-hotfix",
            format!(
                "Only where neither can be installed: {first}the hotfix itself, by its package \
                 name {package} (its download was retired).",
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
            "Have the next crash write a kernel memory dump: it holds file versions, every \
             processor and the timer table. Set it up and restart:",
        )
        .with(
            r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v CrashDumpEnabled /t REG_DWORD /d 2 /f",
        ),
    ]
}

/// How an engineer with a debugger checks the answer: version, fault, forwarding entries.
fn by_hand() -> Action {
    Action::new(
        "debugger",
        "Check by hand in a debugger: the version of tcpip.sys, the fault's own registers \
         (.trap or .cxr), and, in a memory dump, whether forwarding entries exist:",
    )
    .with("lmvm tcpip; !analyze -v; !poolused 4 IPmf")
}

/// What would settle what is still open.
pub fn would_settle(facts: &CrashFacts, servicing: &Servicing, status: MatchStatus) -> Vec<String> {
    if status < MatchStatus::InsufficientData || status == MatchStatus::Confirmed {
        return Vec::new();
    }
    if facts.dump.format == Format::UserMinidump {
        return Vec::new();
    }
    let mut list = Vec::new();
    let tcpip = facts
        .modules
        .find(KB943650.decides)
        .map(|(_, module)| module);
    if servicing.by_date || servicing.state == FixState::Unknown {
        list.push(match tcpip {
            Some(module) => format!(
                "the version of tcpip.sys: on the machine, or in the image {:08X}{:x} of a store",
                module.time_date_stamp, module.size
            ),
            None => "the version of tcpip.sys on the machine".to_owned(),
        });
    }
    if facts.fault.name.is_none() && tcpip.is_some() {
        list.push(
            "the symbols of tcpip.sys and netio.sys: they name the faulting function and its caller"
                .to_owned(),
        );
    }
    match facts.dump.format {
        Format::KernelTriage => list.push(
            "a kernel memory dump of another crash, with the timer table and every processor"
                .to_owned(),
        ),
        Format::KernelHeaderOnly | Format::KernelUnknown => {
            list.push("a small or a kernel memory dump of another crash".to_owned());
        }
        _ => {}
    }
    list.push("whether multicast forwarding was on at the crash".to_owned());
    list
}
