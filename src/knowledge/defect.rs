//! How the defect of KB943650 shows itself: symbol families, pool tags, link dates.
//!
//! Data only (`data/defect.toml`), each row with its basis. How a frame counts is position, and is
//! judged elsewhere: a name on a stack proves nothing.

use serde::Serialize;

use super::Basis;
use super::conditions::glob;
use super::tables::defect::{DATE_WINDOWS, FAMILIES, POOL_TAGS};
use crate::vocabulary::closed_enum;

closed_enum! {
    /// The families of `data/defect.toml`; what each says stands there.
    FamilyId {
        /// Plumbing of a forwarding entry's timer.
        MfeTimer = "mfe-timer",
        /// The timer's expiry of forwarding entries.
        MfeExpiry = "mfe-expiry",
        /// Completion, dereference or notification of a forwarding entry.
        MfeOutward = "mfe-outward",
        /// Completion of packets.
        Completion = "completion",
        /// Multicast forwarding.
        Mfe = "mfe",
        /// Timer table and timer wheel.
        Timer = "timer",
        /// The root of every IP timer.
        IpTimeout = "ip-timeout",
        /// Unicast forwarding.
        UnicastForwarding = "unicast-forwarding",
        /// The filtering platform.
        Filter = "filter",
        /// TCP.
        Tcp = "tcp",
        /// UDP and raw sockets.
        OtherTransport = "other-transport",
        /// Neighbour discovery.
        Neighbors = "neighbors",
        /// Group membership.
        Groups = "groups",
        /// Local addresses.
        Addresses = "addresses",
        /// Fragments.
        Reassembly = "reassembly",
        /// Routes, paths and routers.
        Routes = "routes",
        /// Interfaces and compartments.
        Interfaces = "interfaces",
        /// The send and receive paths.
        Packets = "packets",
        /// Framing, sockets and offload.
        Framing = "framing",
        /// Network buffers.
        Buffers = "buffers",
        /// The registries of the stack.
        RegistryOfModules = "registry-of-modules",
    }
}

impl FamilyId {
    /// A part of the network stack that is known to be another than multicast forwarding and its timers: not the
    /// defect's own code, nor what serves everybody or leads away from it.
    pub fn is_other_owner(self) -> bool {
        !matches!(
            self,
            FamilyId::MfeTimer
                | FamilyId::MfeExpiry
                | FamilyId::MfeOutward
                | FamilyId::Completion
                | FamilyId::Mfe
                | FamilyId::Timer
                | FamilyId::IpTimeout
        )
    }

    /// Such a part that keeps timers of its own: as the nearest caller of timer code it says whose timer it is.
    /// The send and receive paths do not: they are ancestors of multicast forwarding as well.
    pub fn keeps_timers(self) -> bool {
        matches!(
            self,
            FamilyId::Tcp
                | FamilyId::Filter
                | FamilyId::Neighbors
                | FamilyId::Groups
                | FamilyId::Addresses
                | FamilyId::Reassembly
                | FamilyId::Routes
                | FamilyId::Interfaces
        )
    }
}

/// A group of functions that mean the same to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Family {
    /// Which.
    pub id: FamilyId,
    /// A function that any of them matches belongs to it.
    pub patterns: &'static [Pattern],
    /// What such a frame says.
    pub says: &'static str,
    /// What the row rests on.
    pub basis: Basis,
}

/// `module!name`; `*` in the name stands for any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pattern {
    /// Module name without suffix, lower case.
    pub module: &'static str,
    /// Case-sensitive.
    pub name: &'static str,
}

impl Pattern {
    /// `module` with or without `.sys`, in any case; `symbol` undecorated.
    pub fn matches(&self, module: &str, symbol: &str) -> bool {
        let stem = match module.rsplit_once('.') {
            Some((stem, suffix)) if suffix.eq_ignore_ascii_case("sys") => stem,
            _ => module,
        };
        stem.eq_ignore_ascii_case(self.module) && glob(self.name, symbol)
    }
}

/// Removes the decoration of x86 names: `_TtStopTimer@4` and `@TtStopTimer@4` are `TtStopTimer`.
pub fn undecorated(symbol: &str) -> &str {
    let Some(bare) = symbol.strip_prefix(['_', '@']) else {
        return symbol;
    };
    match bare.rsplit_once('@') {
        Some((name, bytes)) if !bytes.is_empty() && bytes.bytes().all(|b| b.is_ascii_digit()) => {
            name
        }
        _ if symbol.starts_with('_') => bare,
        _ => symbol,
    }
}

/// The most specific family a function belongs to. Decoration is removed first.
pub fn family(module: &str, symbol: &str) -> Option<FamilyId> {
    let name = undecorated(symbol);
    let mut families = FAMILIES.iter();
    families
        .find(|family| family.patterns.iter().any(|p| p.matches(module, name)))
        .map(|family| family.id)
}

/// The family of a function address with several names (identical code folding): only if all of
/// them belong to the same one, or all to other owners, of which the first stands for all.
pub fn family_of_all<'a>(
    module: &str,
    symbols: impl IntoIterator<Item = &'a str>,
) -> Option<FamilyId> {
    let mut symbols = symbols.into_iter();
    let first = family(module, symbols.next()?)?;
    symbols
        .all(|symbol| {
            family(module, symbol).is_some_and(|other| {
                let others = first.is_other_owner() && other.is_other_owner();
                other == first || (others && other.keeps_timers() == first.keeps_timers())
            })
        })
        .then_some(first)
}

/// A pool tag and what it says about a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PoolTag {
    /// Four characters as `!poolused` shows them.
    pub tag: &'static str,
    /// Whose memory it is.
    pub owner: &'static str,
    /// How much a block of it says.
    pub weight: &'static str,
    /// What the row rests on.
    pub basis: Basis,
}

/// Forwards multicast packets, and restarts the timer of the entry that it forwards by.
pub const FORWARDING_FUNCTION: &str = "IppForwardMulticastPackets";
/// Restarts the timer of one forwarding entry.
pub const RESTART_FUNCTION: &str = "IppRestartMfeTimer";
/// Stops a timer, whosever it is.
pub const STOP_FUNCTION: &str = "TtStopTimer";
/// Tag of the memory of multicast forwarding: entries, their set, outgoing-interface nodes.
pub const FORWARDING_TAG: &str = "IPmf";
/// Tag of the timer tables of the IP layer.
pub const TIMER_TAG: &str = "Iptt";
/// The modules whose code works on the timer queue.
pub const STACK_MODULES: [&str; 2] = ["tcpip.sys", "netio.sys"];
/// The Windows builds whose files may lack the fix.
pub const BUILDS: [u32; 2] = [6000, 6001];
/// Allocations of the forwarding tag on a system that forwards nothing: the sets of IPv4 and IPv6.
pub const EMPTY_SETS: u64 = 2;

/// True for a file whose code works on the timer queue.
pub fn is_stack_module(file: &str) -> bool {
    STACK_MODULES
        .iter()
        .any(|known| file.eq_ignore_ascii_case(known))
}

/// The tags that matter, most telling first.
pub fn pool_tags() -> &'static [PoolTag] {
    POOL_TAGS
}

/// What a link time of `tcpip.sys` says on build 6001 when no version is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DateFinding {
    /// No link time at all.
    Implausible,
    /// Linked before the hotfix was built. Supports at most `probable`, and the word "probably".
    ProbablyNotFixed,
    /// Linked when the hotfix's files were.
    HotfixWindow,
    /// Later: GDR builds of any date lack the fix.
    SaysNothing,
}

/// A row of the date rule: link times from `from` to before `before`, Unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DateWindow {
    /// First second covered.
    pub from: u64,
    /// First second no longer covered.
    pub before: u64,
    /// What a link time in it says.
    pub finding: DateFinding,
    /// What the row rests on.
    pub basis: Basis,
    /// One sentence for a person.
    pub reason: &'static str,
}

/// The first span of link times with that finding.
pub fn date_window(finding: DateFinding) -> Option<&'static DateWindow> {
    DATE_WINDOWS.iter().find(|window| window.finding == finding)
}

/// What the TimeDateStamp of a `tcpip.sys` says. For build 6001 only.
pub fn judge_stamp(time_date_stamp: u32) -> Option<&'static DateWindow> {
    let stamp = u64::from(time_date_stamp);
    DATE_WINDOWS
        .iter()
        .find(|window| (window.from..window.before).contains(&stamp))
}
