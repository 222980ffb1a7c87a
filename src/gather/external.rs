//! State of the machine that comes from beside the dump: a SYSTEM hive, a `.reg` export or saved
//! `netsh` output.
//!
//! Engineers disable forwarding as a workaround and export afterwards: what is dated after the
//! crash is about now, never about the crash.

use crate::bytes::{Budget, PagedReader};
use crate::kernel::registry::{self, Dated, FileCells, Hive, TextKind, read_text};

use crate::facts::{CrashFacts, filetime_from_unix};

/// Longest text that is read, in bytes; a full export of the key has some kilobytes.
const LARGEST_TEXT: u64 = 16 << 20;

/// What a file beside the dump says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExternalState {
    /// The contract's word for the kind of file.
    pub source: &'static str,
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
            source: "hive-file",
            ipv4: on(values.forwarding_ipv4),
            ipv6: on(values.forwarding_ipv6),
            machine: values.computer_name,
            written: last_write(values.forwarding_ipv4, values.forwarding_ipv6),
            taken: written.or(taken),
            dirty,
        });
    }
    let bytes = reader.read_vec(0, reader.len().min(LARGEST_TEXT)).ok()?;
    let text = read_text(&bytes)?;
    Some(ExternalState {
        source: match text.kind {
            TextKind::RegExport => "reg-export",
            TextKind::Netsh => "netsh-output",
        },
        ipv4: text.ipv4,
        ipv6: text.ipv6,
        taken,
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

/// Adds what the file says to the facts, unless the dump itself says it or the file is of another
/// machine: then a remark says so.
pub fn apply(facts: &mut CrashFacts, state: &ExternalState) {
    let forwarding = &mut facts.system.multicast_forwarding;
    if let (Some(own), Some(other)) = (&facts.system.machine, &state.machine)
        && !own.eq_ignore_ascii_case(other)
    {
        forwarding.remarks.push(format!(
            "the registry file is of {other}, the dump of {own}: it was not used"
        ));
        return;
    }
    if forwarding.is_known() || (state.ipv4.is_none() && state.ipv6.is_none()) {
        return;
    }
    forwarding.ipv4 = state.ipv4;
    forwarding.ipv6 = state.ipv6;
    forwarding.source = Some(state.source.to_owned());
    forwarding.as_of = state.written.or(state.taken);
    // Not written since before the crash, and looked at after it.
    forwarding.at_crash = match (state.written, facts.dump.crash_time, state.taken) {
        (Some(written), Some(crash), Some(taken)) => written <= crash && crash <= taken,
        _ => false,
    };
    if state.dirty {
        forwarding.remarks.push(
            "the registry file has changes in logs that were not read: its values may be older \
             than its date"
                .to_owned(),
        );
    }
}
