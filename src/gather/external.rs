//! State of the machine that comes from beside the dump: a SYSTEM hive, a `.reg` export or saved
//! `netsh` output.
//!
//! Engineers disable forwarding as a workaround and export afterwards: what is dated after the
//! crash is about now, never about the crash.

use crate::bytes::{Budget, PagedReader};
use crate::kernel::registry::{self, Dated, FileCells, Hive, TextKind, read_text};

use crate::facts::{CrashFacts, ForwardingSource, filetime_from_unix};

/// Longest text that is read, in bytes; a full export of the key has some kilobytes.
const LARGEST_TEXT: u64 = 16 << 20;

/// What a file beside the dump says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalState {
    /// The kind of file.
    pub source: Option<ForwardingSource>,
    /// IPv4.
    pub ipv4: Option<bool>,
    /// IPv6.
    pub ipv6: Option<bool>,
    /// Computer name, where the file has one.
    pub machine: Option<String>,
    /// Last write of the key that holds the setting, a FILETIME.
    pub written: Option<u64>,
    /// When the file was made, a FILETIME.
    pub taken: Option<u64>,
    /// Changes to the hive lie in logs that were not read.
    pub dirty: bool,
    /// It says both on and off: neither is believed.
    pub contradictory: bool,
    /// The line about multicast forwarding, where its value is not understood.
    pub unread: Option<String>,
}

impl ExternalState {
    /// True when it says something of the setting.
    fn tells(&self) -> bool {
        self.ipv4.is_some() || self.ipv6.is_some()
    }

    fn as_of(&self) -> Option<u64> {
        self.written.or(self.taken)
    }

    /// Not written since before the crash, and looked at after it.
    fn at_crash(&self, crash: Option<u64>) -> bool {
        match (self.written, crash, self.taken) {
            (Some(written), Some(crash), Some(taken)) => written <= crash && crash <= taken,
            _ => false,
        }
    }
}

/// Reads such a file. `modified` is its time of last change in seconds since 1970. `None` when it
/// is none of the three kinds.
pub fn read(
    reader: &PagedReader<'_>,
    modified: Option<i64>,
    budget: &Budget,
) -> Option<ExternalState> {
    let taken = modified.and_then(filetime_from_unix);
    if let Some(cells) = FileCells::new(reader) {
        let (written, dirty) = (cells.written(), cells.is_dirty());
        let values = registry::system_values(&Hive::new(cells, budget));
        let on = |dated: Option<Dated>| dated.map(|d| d.value != 0);
        return Some(ExternalState {
            source: Some(ForwardingSource::HiveFile),
            ipv4: on(values.forwarding_ipv4),
            ipv6: on(values.forwarding_ipv6),
            machine: values.computer_name,
            written: last_write(values.forwarding_ipv4, values.forwarding_ipv6),
            taken: written.or(taken),
            dirty,
            ..ExternalState::default()
        });
    }
    let bytes = reader.read_vec(0, reader.len().min(LARGEST_TEXT)).ok()?;
    let text = read_text(&bytes)?;
    Some(ExternalState {
        source: Some(match text.kind {
            TextKind::RegExport => ForwardingSource::RegExport,
            TextKind::Netsh => ForwardingSource::NetshOutput,
        }),
        ipv4: text.ipv4,
        ipv6: text.ipv6,
        taken,
        contradictory: text.contradictory,
        unread: text.unread,
        ..ExternalState::default()
    })
}

/// The later write of the keys that hold a value.
pub(super) fn last_write(ipv4: Option<Dated>, ipv6: Option<Dated>) -> Option<u64> {
    [ipv4, ipv6]
        .into_iter()
        .flatten()
        .map(|dated| dated.written)
        .max()
        .flatten()
}

/// Adds what the files say to the facts, unless the dump itself says it or a file is of another machine: then a
/// remark says so. Of files that say the opposite none is believed: nobody can tell which of them is of this crash.
pub fn apply(facts: &mut CrashFacts, states: &[&ExternalState]) {
    let forwarding = &mut facts.system.multicast_forwarding;
    let mut usable: Vec<&ExternalState> = Vec::new();
    for state in states {
        match (&facts.system.machine, &state.machine) {
            (Some(own), Some(other)) if !own.eq_ignore_ascii_case(other) => {
                forwarding.remarks.push(format!(
                    "the registry file is of {other}, the dump of {own}: it was not used"
                ));
            }
            _ => usable.push(state),
        }
    }
    if forwarding.is_known() {
        return;
    }
    if usable.iter().any(|state| state.contradictory) {
        forwarding.remarks.push(
            "a file about multicast forwarding says both that it was on and that it was off: it was not used"
                .to_owned(),
        );
    }
    usable.retain(|state| state.tells());
    // What was looked at after the crash says nothing against what is of the crash or before it.
    let crash = facts.dump.crash_time;
    let timely = |state: &&ExternalState| {
        let before = state
            .as_of()
            .zip(crash)
            .is_some_and(|(at, crash)| at <= crash);
        state.at_crash(crash) || before
    };
    if usable.iter().any(timely) {
        usable.retain(timely);
    }
    let Some(first) = usable.first() else {
        return;
    };
    let opposite = |family: fn(&ExternalState) -> Option<bool>| {
        let said = || usable.iter().filter_map(|state| family(state));
        said().any(|on| on) && said().any(|on| !on)
    };
    if opposite(|state| state.ipv4) || opposite(|state| state.ipv6) {
        forwarding.remarks.push(
            "the files about multicast forwarding contradict each other: one says that it was on, one that it \
             was off; none was used"
                .to_owned(),
        );
        return;
    }
    let used = || usable.iter().filter(|state| state.source == first.source);
    forwarding.ipv4 = used().find_map(|state| state.ipv4);
    forwarding.ipv6 = used().find_map(|state| state.ipv6);
    forwarding.source = first.source;
    forwarding.as_of = used().filter_map(|state| state.as_of()).max();
    forwarding.at_crash = used().all(|state| state.at_crash(crash));
    if used().any(|state| state.dirty) {
        forwarding.remarks.push(
            "the registry file has changes in logs that were not read: its values may be older \
             than its date"
                .to_owned(),
        );
    }
}
