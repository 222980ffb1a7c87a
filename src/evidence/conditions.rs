//! Evaluates the conditions of rules over the facts of one crash.
//!
//! "Nearest the fault" is the faulting module and function; for a fault inside the kernel, which
//! faults for its caller, the first certain frame outside it. Candidates found by scanning, and
//! names that may be a neighbour's, never count. What the dump does not tell does not hold.

use std::collections::BTreeMap;

use crate::facts::{CrashFacts, FrameFacts, Module, NameFact, Product, Trust, is_kernel};
use crate::knowledge::bugchecks;
use crate::knowledge::conditions::{Conditions, Function, glob_lower_case};
use crate::knowledge::windows;

/// FILETIME units in a second.
const SECOND: u64 = 10_000_000;
/// Frames nearest the fault among which a foreign module counts as near.
const NEAR: usize = 6;
/// Modules of Windows that a driver which takes packets calls to put them back.
const INJECTED_INTO: [&str; 4] = ["fwpkclnt.sys", "tcpip.sys", "netio.sys", "tdx.sys"];
/// Modules of Windows that call filters, callouts and TDI clients.
const CALLS_OUT: [&str; 6] = [
    "netio.sys",
    "tcpip.sys",
    "fwpkclnt.sys",
    "ndis.sys",
    "tdx.sys",
    "afd.sys",
];
/// Candidates looked at outward of the last certain frame.
const CANDIDATES: usize = 3;
/// How often one return address has to be there to be called repeating.
const REPEATS: usize = 4;
/// Drivers named in a reason.
const NAMED: usize = 4;

/// Whether conditions hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// They do; what was seen, for a person.
    Yes(Vec<String>),
    /// They do not.
    No,
    /// The dump does not tell: what is missing.
    Unknown(&'static str),
}

/// One place in code that certainly belongs to the fault.
struct Place<'a> {
    ip: u64,
    module: &'a Module,
    file: &'a str,
    name: Option<&'a NameFact>,
}

impl Place<'_> {
    fn text(&self) -> String {
        let stem = self.file.split('.').next().unwrap_or(self.file);
        match self.name {
            Some(name) => format!("{stem}!{}", name.symbol),
            None => self.file.to_ascii_lowercase(),
        }
    }

    /// All names of a folded function have to match.
    fn is(&self, functions: &[Function]) -> bool {
        self.name.is_some_and(|name| {
            std::iter::once(&name.symbol)
                .chain(&name.aliases)
                .all(|symbol| functions.iter().any(|f| f.matches(self.file, symbol)))
        })
    }
}

fn place<'a>(facts: &'a CrashFacts, ip: u64, name: Option<&'a NameFact>) -> Option<Place<'a>> {
    let (id, _) = facts.modules.locate(ip)?;
    let module = facts.modules.get(id)?;
    Some(Place {
        ip,
        module,
        file: module.name()?,
        name: name.filter(|name| name.is_certain()),
    })
}

/// The certain places of the faulting activity, innermost first, the faulting one at the start.
fn places(facts: &CrashFacts) -> Vec<Place<'_>> {
    let own = |frame: &&FrameFacts| Some(frame.ip) == facts.fault.ip;
    let frames: Vec<&FrameFacts> = facts.stack.as_ref().map_or_else(Vec::new, |stack| {
        let activity = stack.faulting_activity.map_or(1, |n| n as usize);
        let certain = stack.frames.iter().take(activity);
        certain
            .take_while(|frame| frame.trust != Trust::Scan)
            .collect()
    });
    let fault = facts.fault.ip.and_then(|ip| {
        let by_frame = frames
            .iter()
            .find(|frame| own(frame))
            .and_then(|f| f.name.as_ref());
        place(facts, ip, facts.fault.name.as_ref().or(by_frame))
    });
    let outward = frames.iter().filter(|frame| !own(frame));
    fault
        .into_iter()
        .chain(outward.filter_map(|frame| place(facts, frame.ip, frame.name.as_ref())))
        .collect()
}

/// The place that a fault is laid to.
fn nearest<'p, 'a>(facts: &CrashFacts, places: &'p [Place<'a>]) -> Option<&'p Place<'a>> {
    facts.fault.ip?;
    places.iter().find(|place| !is_kernel(place.file))
}

/// `patterns` are in lower case.
fn file_is(file: &str, patterns: &[crate::knowledge::conditions::Text]) -> bool {
    patterns
        .iter()
        .any(|pattern| glob_lower_case(pattern, file))
}

/// `2010-05-01` of Unix seconds.
fn day(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok())
        .map_or_else(|| seconds.to_string(), |time| time.date().to_string())
}

/// Do the conditions hold?
pub(super) fn holds(when: &Conditions, facts: &CrashFacts) -> Holds {
    // Most rules fail at the stop code: what costs more is not asked then.
    let before = all([system(when, facts), stop(when, facts)]);
    if before == Holds::No {
        return before;
    }
    let places = places(facts);
    all([
        before,
        at_fault(when, facts, &places),
        around(when, facts, &places),
        drivers(when, facts),
        access(when, facts),
        linked(when, facts, &places),
    ])
}

fn plain(holds: bool) -> Holds {
    if holds {
        Holds::Yes(Vec::new())
    } else {
        Holds::No
    }
}

/// Joins the checks of one group.
fn all(checks: impl IntoIterator<Item = Holds>) -> Holds {
    let mut seen = Vec::new();
    let mut unknown = None;
    for check in checks {
        match check {
            Holds::Yes(more) => seen.extend(more),
            Holds::No => return Holds::No,
            Holds::Unknown(what) => unknown = unknown.or(Some(what)),
        }
    }
    unknown.map_or(Holds::Yes(seen), Holds::Unknown)
}

/// A condition on a fact that may be missing.
fn of<T>(fact: Option<T>, missing: &'static str, check: impl FnOnce(T) -> Holds) -> Holds {
    fact.map_or(Holds::Unknown(missing), check)
}

fn system(when: &Conditions, facts: &CrashFacts) -> Holds {
    let mut checks = Vec::new();
    if !when.builds.is_empty() {
        checks.push(of(facts.system.build, "the Windows build", |build| {
            plain(
                when.builds
                    .iter()
                    .any(|(from, to)| (*from..=*to).contains(&build)),
            )
        }));
    }
    if !when.architectures.is_empty() {
        checks.push(of(facts.dump.architecture, "the architecture", |own| {
            plain(when.architectures.iter().any(|word| word == own.as_str()))
        }));
    }
    if !when.products.is_empty() {
        checks.push(of(facts.system.product, "workstation or server", |own| {
            plain(when.products.iter().any(|word| word == product(own)))
        }));
    }
    if let Some(limit) = when.uptime_below {
        checks.push(of(facts.dump.uptime, "the time since start-up", |uptime| {
            let seconds = uptime / SECOND;
            match seconds < limit {
                true => Holds::Yes(vec![format!("up for {seconds} s")]),
                false => Holds::No,
            }
        }));
    }
    if let Some(least) = when.processors_at_least {
        let processors = facts.dump.processors;
        checks.push(of(processors, "the number of processors", |n| {
            plain(n >= least)
        }));
    }
    all(checks)
}

fn product(product: Product) -> &'static str {
    match product {
        Product::Workstation => "workstation",
        Product::Server => "server",
        Product::DomainController => "domain-controller",
    }
}

fn stop(when: &Conditions, facts: &CrashFacts) -> Holds {
    let mut checks = Vec::new();
    if !when.codes.is_empty() {
        checks.push(of(facts.bugcheck, "the bug check", |bugcheck| {
            plain(
                when.codes
                    .contains(&bugchecks::base_code(bugcheck.raw_code)),
            )
        }));
    }
    if !when.parameters.is_empty() {
        checks.push(of(facts.bugcheck, "the bug check", |bugcheck| {
            let found = when.parameters.iter().find(|(index, value)| {
                let at = usize::from(*index).wrapping_sub(1);
                bugcheck.parameters.get(at) == Some(value)
            });
            found.map_or(Holds::No, |(index, value)| {
                Holds::Yes(vec![format!("parameter {index} is {value:#x}")])
            })
        }));
    }
    all(checks)
}

fn at_fault(when: &Conditions, facts: &CrashFacts, places: &[Place<'_>]) -> Holds {
    let nearest = nearest(facts, places);
    let seen =
        |place: &Place<'_>| Holds::Yes(vec![format!("{} is nearest the fault", place.text())]);
    let mut checks = Vec::new();
    if !when.modules.is_empty() {
        checks.push(of(
            nearest,
            "the module nearest the fault",
            |place| match file_is(place.file, &when.modules) {
                true if when.functions.is_empty() => seen(place),
                holds => plain(holds),
            },
        ));
    }
    if !when.functions.is_empty() {
        let named = nearest.filter(|place| place.name.is_some());
        checks.push(of(
            named,
            "the function nearest the fault",
            |place| match place.is(&when.functions) {
                true => seen(place),
                false => Holds::No,
            },
        ));
    }
    if let Some(named) = when.named {
        checks.push(plain(
            nearest.is_some_and(|place| place.name.is_some()) == named,
        ));
    }
    all(checks)
}

fn around(when: &Conditions, facts: &CrashFacts, places: &[Place<'_>]) -> Holds {
    let mut checks = Vec::new();
    if !when.on_stack.is_empty() {
        let found = places.iter().find(|place| place.is(&when.on_stack));
        let any_name = places.iter().any(|place| place.name.is_some());
        checks.push(match found {
            Some(place) => Holds::Yes(vec![format!("{} is on the stack", place.text())]),
            None if any_name => Holds::No,
            None => Holds::Unknown("the names of the functions on the stack"),
        });
    }
    let beyond = beyond(facts, places);
    if !when.stack_modules.is_empty() {
        let certain = places.iter().map(|place| place.file);
        // Candidates say nothing of a driver of their own, but in whose call a certain one was.
        let candidates = beyond
            .iter()
            .copied()
            .filter(|_| when.foreign == Some(true));
        checks.push(plain(
            certain
                .chain(candidates)
                .any(|file| file_is(file, &when.stack_modules)),
        ));
    }
    if !when.stack_repeats.is_empty() {
        let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
        for place in places {
            *counts.entry(place.ip).or_default() += 1;
        }
        let found = places.iter().find(|place| {
            file_is(place.file, &when.stack_repeats)
                && counts.get(&place.ip).is_some_and(|count| *count >= REPEATS)
        });
        checks.push(match found {
            Some(place) => Holds::Yes(vec![format!(
                "{} is on the stack {} times",
                place.text(),
                counts.get(&place.ip).copied().unwrap_or_default()
            )]),
            None => Holds::No,
        });
    }
    if let Some(wanted) = when.foreign {
        let foreign = foreign(places, &beyond);
        checks.push(match (facts.fault.ip.is_some(), foreign, wanted) {
            (false, ..) => Holds::Unknown("the module nearest the fault"),
            (true, Some(place), true) => {
                Holds::Yes(vec![format!("{} is near the fault", place.text())])
            }
            (true, found, wanted) => plain(found.is_some() == wanted),
        });
    }
    all(checks)
}

/// The driver near the fault that is not part of Windows: the faulting one, one that Windows' own
/// drivers called, or one that called the network stack (a callout that injects). The outermost of a
/// receive path is the network adapter's, which calls NDIS, is always there and says nothing.
///
/// `beyond` is what the search met outward of the last certain place: without a driver's image its
/// caller on x64 is never more than that.
fn foreign<'p, 'a>(places: &'p [Place<'a>], beyond: &[&str]) -> Option<&'p Place<'a>> {
    let own = |place: &Place<'_>| windows::part(place.file).is_some();
    let caller = |file: &str| windows::part(file).is_some() && !is_kernel(file);
    let named = |file: &str, list: &[&str]| list.iter().any(|f| file.eq_ignore_ascii_case(f));
    places
        .iter()
        .enumerate()
        .take(NEAR)
        .find_map(|(index, place)| {
            if own(place) {
                return None;
            }
            let outward = places.get(index + 1..).unwrap_or_default();
            let inward = index.checked_sub(1).and_then(|inner| places.get(inner));
            let injects = inward.is_some_and(|inner| named(inner.file, &INJECTED_INTO));
            let called = outward.iter().any(|p| caller(p.file));
            let last = outward.is_empty();
            let indicates = inward.is_some_and(|inner| inner.file.eq_ignore_ascii_case("ndis.sys"));
            let by_network =
                last && !indicates && beyond.iter().any(|file| named(file, &CALLS_OUT));
            (index == 0 || injects || called || by_network).then_some(place)
        })
}

/// File names of the first candidates outward of the last certain place, in the activity of the fault.
fn beyond<'a>(facts: &'a CrashFacts, places: &[Place<'_>]) -> Vec<&'a str> {
    if places.is_empty() {
        return Vec::new();
    }
    let frames = facts.stack.iter().flat_map(|stack| &stack.frames);
    frames
        .skip_while(|frame| frame.trust != Trust::Scan)
        .take_while(|frame| frame.boundary.is_none())
        .take(CANDIDATES)
        .filter_map(|frame| {
            let (id, _) = facts.modules.locate(frame.ip)?;
            facts.modules.get(id)?.name()
        })
        .collect()
}

fn drivers(when: &Conditions, facts: &CrashFacts) -> Holds {
    if when.loaded.is_empty() {
        return plain(true);
    }
    if facts.modules.is_empty() {
        return Holds::Unknown("the loaded drivers");
    }
    let mut names: Vec<String> = facts
        .modules
        .iter()
        .filter_map(|module| module.name())
        .filter(|file| file_is(file, &when.loaded))
        .map(str::to_ascii_lowercase)
        .collect();
    names.sort();
    names.dedup();
    match names.len() >= usize::from(when.loaded_at_least.max(1)) {
        true => {
            names.truncate(NAMED);
            Holds::Yes(vec![format!("loaded: {}", names.join(", "))])
        }
        false => Holds::No,
    }
}

fn access(when: &Conditions, facts: &CrashFacts) -> Holds {
    let fault = &facts.fault;
    let mut checks = Vec::new();
    if let Some(wanted) = &when.access {
        let access = fault.access;
        checks.push(of(access, "what was done at the address", |own| {
            plain(own.as_str() == *wanted)
        }));
    }
    if let Some(limit) = when.address_below {
        checks.push(of(
            fault.address,
            "the address referenced",
            |address| match address < limit {
                true => Holds::Yes(vec![format!("the address is {address:#x}")]),
                false => Holds::No,
            },
        ));
    }
    if let Some(wanted) = when.irql {
        checks.push(of(fault.irql, "the IRQL at the fault", |irql| {
            plain(irql == wanted)
        }));
    }
    all(checks)
}

fn linked(when: &Conditions, facts: &CrashFacts, places: &[Place<'_>]) -> Holds {
    let Some((file, since)) = &when.linked_since else {
        return plain(true);
    };
    let near = places
        .iter()
        .map(|place| place.module)
        .find(|module| module.is(file));
    let module = near.or_else(|| facts.modules.find(file).map(|(_, module)| module));
    of(module, "the link date of the file", |module| {
        let stamp = u64::from(module.time_date_stamp);
        match stamp >= *since {
            true => Holds::Yes(vec![format!("{file} was linked {}", day(stamp))]),
            false => Holds::No,
        }
    })
}
