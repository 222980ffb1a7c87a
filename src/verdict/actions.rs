//! What to do now, in order, for the state found.
//!
//! Never recommends the hotfix on a machine it does not fit. Commands are exact and for Windows 6.0:
//! PowerShell cmdlets for them do not exist there. Packages and versions are the article's.

use std::borrow::Cow;

use crate::evidence::{Evidence, Servicing};
use crate::facts::{CrashFacts, Format, Machine, Product};
use crate::knowledge::defect::{EMPTY_SETS, FORWARDING_TAG};
use crate::knowledge::hotfix::KB943650;
use crate::knowledge::versions::FixState;

use super::next_data;
use super::{Applicability, Decision, Effect, MatchStatus, Verdict, matching};

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Stable name for programs.
    pub id: Cow<'static, str>,
    /// For a person.
    pub text: String,
    /// The exact command.
    pub command: Option<String>,
}

impl Action {
    pub(super) fn new(id: &'static str, text: impl Into<String>) -> Action {
        Action {
            id: Cow::Borrowed(id),
            text: text.into(),
            command: None,
        }
    }

    pub(super) fn with(mut self, command: impl Into<String>) -> Action {
        self.command = Some(command.into());
        self
    }
}

/// What is known about multicast forwarding on the machine, whatever its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Forwarding {
    On,
    Off,
    Unknown,
}

/// What to do about this crash on this machine. `evidence` is what `decision` was made of.
pub fn actions(
    facts: &CrashFacts,
    servicing: &Servicing,
    (decision, evidence): (&Decision, &[Evidence]),
    verdict: Verdict,
) -> Vec<Action> {
    let status = decision.status;
    let suspected = matches!(
        verdict,
        Verdict::Applies
            | Verdict::AppliesAfterServicePack
            | Verdict::ProbablyApplies
            | Verdict::MayApply
    );
    let mut list = Vec::new();
    if suspected {
        list.extend(workaround(facts));
        list.extend(update(facts, servicing, verdict));
    } else if verdict == Verdict::DoesNotApply {
        list.push(not_this(facts, servicing, outweighed(decision, evidence)));
    }
    if verdict == Verdict::Undetermined || (suspected && status != MatchStatus::Confirmed) {
        list.extend(next_data::dumps(facts));
    }
    if suspected && facts.dump.format != Format::UserMinidump {
        list.push(next_data::by_hand(facts));
    }
    list
}

/// Decisive signs of the defect that something outweighed: the sign, and what did.
fn outweighed(decision: &Decision, evidence: &[Evidence]) -> Option<(String, String)> {
    let effect = |e: &&Evidence| matching::match_rule(&e.id).map(|rule| rule.effect);
    let decisive = evidence.iter().find(|e| {
        e.supports
            && matches!(
                effect(e),
                Some(Effect::DecisiveFrame | Effect::DecisiveLink | Effect::Proof)
            )
    })?;
    let by: Vec<&str> = evidence
        .iter()
        .filter(|e| decision.decided_by.iter().any(|id| *id == e.id))
        .map(|e| e.summary.as_str())
        .collect();
    (!by.is_empty()).then(|| (decisive.summary.clone(), by.join("; ")))
}

/// The crash is not this defect, or the machine has the fix; a missing fix is still worth saying.
fn not_this(
    facts: &CrashFacts,
    servicing: &Servicing,
    outweighed: Option<(String, String)>,
) -> Action {
    let kb = KB943650.kb;
    let what = match (facts.dump.format, &outweighed) {
        (Format::UserMinidump, _) => "A program crashed here, not Windows".to_owned(),
        (_, Some((sign, by))) => {
            format!("This crash has a sign of the defect ({sign}), and it is outweighed: {by}")
        }
        (_, None) => "This crash is something else".to_owned(),
    };
    let missing = matches!(
        servicing.applicability,
        Applicability::Applicable
            | Applicability::PartiallyServiced
            | Applicability::NeedsServicePack
    );
    if !missing {
        return Action::new(
            "look-elsewhere",
            format!("{what}. {kb} is no answer to it."),
        );
    }
    let probably = if servicing.by_date { "probably " } else { "" };
    Action::new(
        "look-elsewhere",
        format!(
            "{what}. The machine {probably}lacks the fix of {kb} too; that matters only if it \
             forwards multicast."
        ),
    )
}

fn forwarding(facts: &CrashFacts) -> Forwarding {
    let state = &facts.system.multicast_forwarding;
    let entries = facts
        .memory
        .as_ref()
        .and_then(|memory| memory.pool_tags.as_ref())
        .and_then(|tags| tags.iter().find(|count| count.tag == FORWARDING_TAG))
        .is_some_and(|count| count.outstanding > EMPTY_SETS);
    let known = [state.ipv4, state.ipv6, state.any];
    if entries || known.contains(&Some(true)) {
        Forwarding::On
    } else if known.contains(&Some(false)) {
        Forwarding::Off
    } else {
        Forwarding::Unknown
    }
}

/// The workaround comes first: it is immediate and shows within a day whether the suspicion holds.
fn workaround(facts: &CrashFacts) -> Vec<Action> {
    let state = forwarding(facts);
    let commands = |word: &'static str| {
        KB943650
            .workaround
            .commands
            .iter()
            .filter(move |row| row.command.contains(word))
    };
    let mut list = Vec::new();
    if state != Forwarding::On {
        let text = match state {
            Forwarding::Off => {
                "Multicast forwarding is said to be off. If it was on at the crash and was turned \
                 off afterwards, leave it off until the fix is in. See what it is now:"
            }
            _ => "See whether multicast forwarding is on:",
        };
        list.extend(commands("show").zip(0..).map(|(row, index)| {
            let text = if index == 0 {
                text
            } else {
                "The same for IPv6:"
            };
            Action::new("check-forwarding", text).with(row.command)
        }));
    }
    if state == Forwarding::Off {
        return list;
    }
    // Routing and Remote Access routes multicast on servers only.
    let server = facts.system.product != Some(Product::Workstation);
    let side_effect = match KB943650.workaround.side_effect.split_once(". ") {
        Some((first, _)) if !server => format!("{first}."),
        _ => KB943650.workaround.side_effect.to_owned(),
    };
    let when = match state {
        Forwarding::On => "Workaround, at once: disable multicast forwarding, which was on.",
        _ => "Workaround, where it is on: disable multicast forwarding.",
    };
    for (row, index) in commands("set").zip(0..) {
        let text = match index {
            0 => format!("{when} {side_effect}"),
            _ => format!("Workaround: {}:", row.purpose),
        };
        list.push(Action::new("workaround", text).with(row.command));
    }
    if server {
        list.push(
            Action::new(
                "check-routing",
                "On a server, see whether Routing and Remote Access routes multicast: an interface \
                 in IGMP router mode has to be removed there, or forwarding comes back:",
            )
            .with("netsh routing ip igmp show interface"),
        );
    }
    list
}

/// What brings the fix, for the state the machine is in.
fn update(facts: &CrashFacts, servicing: &Servicing, verdict: Verdict) -> Vec<Action> {
    let mut list = Vec::new();
    let unsure = servicing.by_date || servicing.state != FixState::NotFixed;
    if unsure {
        list.push(
            Action::new(
                "check-version",
                "Before installing anything look at the file version of tcpip.sys on the machine, \
                 then: kbtriage kb check tcpip.sys=VERSION",
            )
            .with(r#"wmic datafile where name="C:\\Windows\\System32\\drivers\\tcpip.sys" get version"#),
        );
    }
    let when = match (verdict, unsure) {
        (Verdict::MayApply, _) => "If the fix is missing and forwarding is on, install",
        (_, true) => "If that version lacks the fix, install",
        (_, false) => "Install",
    };
    let first = servicing.applicability == Applicability::NeedsServicePack;
    let before = match first {
        true => " Service Pack 1 (KB936330) has to be in first.",
        false => "",
    };
    let itanium = facts.dump.architecture == Some(Machine::Ia64);
    list.extend(KB943650.availability.alternatives.iter().map(|other| {
        // Itanium had servers only.
        let name = match itanium {
            true => other.name.replace("Windows Vista and ", ""),
            false => other.name.to_string(),
        };
        Action::new(
            "install-service-pack",
            format!("{when} {name} ({}): it {}.{before}", other.kb, other.why),
        )
    }));
    if !first {
        list.extend(later_update(servicing));
    }
    list.extend(hotfix(facts, first));
    list.push(Action::new("verify", KB943650.availability.afterwards));
    list
}

/// A later update of the branch that has the fix.
fn later_update(servicing: &Servicing) -> Option<Action> {
    let newest = KB943650
        .later_updates
        .iter()
        .filter(|row| row.build == 6001)
        .max_by_key(|row| row.ldr)?;
    let again = match servicing.applicability {
        Applicability::PartiallyServiced => {
            "Files of the package are there, but not its tcpip.sys: restart, and look again. "
        }
        _ => "",
    };
    Some(Action::new(
        "install-later-update",
        format!(
            "{again}Or a later update of the LDR branch, such as {} (tcpip.sys {} or later); the GDR \
             build of the same update does not have the fix.",
            newest.bulletin, newest.ldr
        ),
    ))
}

/// The hotfix itself, by the names of its packages for the architecture and edition.
fn hotfix(facts: &CrashFacts, service_pack_first: bool) -> Option<Action> {
    let packages = packages(facts.dump.architecture?, facts.system.product);
    if packages.is_empty() {
        return None;
    }
    let first = match service_pack_first {
        true => "Service Pack 1 (KB936330), then ",
        false => "",
    };
    Some(Action::new(
        "install-hotfix",
        format!(
            "Only where none of these can be installed: {first}the hotfix itself, by its package \
             name {} (its download was retired; a restart is required).",
            packages.join(" or ")
        ),
    ))
}

/// The packages of the edition, as the article names them: a client's on a workstation, a server's
/// and Server Core's on a server, all where the edition is not known. IA-64 has server packages only.
fn packages(architecture: Machine, product: Option<Product>) -> Vec<String> {
    const CLIENT: (&str, &str) = ("Package_for_kb943650_client~", "");
    const SERVER: (&str, &str) = ("Package_for_kb943650_server~", "");
    const CORE: (&str, &str) = ("Package_for_kb943650_sc~", " (Server Core)");
    let wanted: &[(&str, &str)] = match product {
        _ if architecture == Machine::Ia64 => &[SERVER, CORE],
        Some(Product::Workstation) => &[CLIENT],
        Some(Product::Server | Product::DomainController) => &[SERVER, CORE],
        None => &[CLIENT, SERVER, CORE],
    };
    wanted
        .iter()
        .filter_map(|(start, edition)| {
            let name = KB943650
                .packages(architecture)
                .find(|name| name.starts_with(start))?;
            Some(format!("{name}{edition}"))
        })
        .collect()
}
