//! What counts of one dump for its machine.

use crate::evidence::Strength;
use crate::facts::Format;
use crate::knowledge::hotfix::KB943650;
use crate::report::Code;
use crate::report::model::{ApplicabilityRecord, Module, MulticastForwarding, Status};
use crate::report::summary::{NameSource, Seen, Summary};
use crate::verdict::MatchStatus;

/// What counts of one dump.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub path: String,
    /// Dumps of one crash share it.
    pub crash: String,
    /// RFC 3339 UTC: sorts as text.
    pub time: Option<String>,
    pub code: Option<(Code, Option<String>)>,
    pub build: Option<u32>,
    /// Kind of the file, in the words of the report contract.
    pub format: String,
    /// Something of the file could not be read.
    pub degraded: bool,
    pub status: MatchStatus,
    pub evidence: Vec<(String, bool, Strength, String)>,
    pub applicability: ApplicabilityRecord,
    pub files: Vec<File>,
    pub forwarding: MulticastForwarding,
    /// The faulting module, in lower case.
    pub module: Option<String>,
    /// A program's dump: it tells versions and no crash.
    pub user_mode: bool,
    /// A report of a running system: neither is it.
    pub live: bool,
    /// The machine's name was read in the dump or given, not guessed from its place.
    pub named: bool,
    /// Drivers that the crash is laid to, in lower case.
    pub suspects: Vec<String>,
    /// When scans saw it.
    pub seen: Option<Seen>,
    /// How the name was learnt.
    pub name_source: NameSource,
}

/// One file of a machine at the time of a crash.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub name: String,
    pub identity: (String, u32),
    pub version: Option<(String, Option<String>)>,
}

impl Member {
    /// The machine's name and what counts of the dump; `None` for one without a machine, or that was not
    /// analysed.
    pub fn of(summary: Summary) -> Option<(String, Member)> {
        let live = summary.is_live();
        let suspects = summary.suspected_drivers();
        let suspects = suspects.map(str::to_ascii_lowercase).collect();
        let machine = summary.machine?;
        let name_source = NameSource::named(&machine.source).unwrap_or(NameSource::Path);
        // With --kb another article may be the main one.
        let mut answers = summary.hotfix.into_iter().chain(summary.other_articles);
        let hotfix = answers.find(|answer| answer.kb == KB943650.kb)?;
        let path = summary.source.path;
        let (format, time) = summary
            .dump
            .map_or((String::new(), None), |dump| (dump.format, dump.crash_time));
        let (build, forwarding) = summary.system.map_or_else(Default::default, |system| {
            (system.build, system.multicast_forwarding)
        });
        let member = Member {
            crash: summary.crash_id.unwrap_or_else(|| path.clone()),
            path,
            time,
            code: summary.bugcheck.map(|b| (b.code, b.name)),
            build,
            degraded: summary.status != Status::Ok,
            status: hotfix.matching.status,
            evidence: hotfix
                .matching
                .evidence
                .into_iter()
                .map(|e| (e.id, e.supports, e.strength, e.summary))
                .collect(),
            applicability: hotfix.applicability,
            files: summary.modules.into_iter().filter_map(File::of).collect(),
            module: summary
                .fault
                .and_then(|fault| fault.location?.module)
                .map(|module| module.to_ascii_lowercase()),
            user_mode: format == Format::UserMinidump.as_str(),
            name_source,
            format,
            live,
            suspects,
            seen: summary.seen,
            named: matches!(name_source, NameSource::Dump | NameSource::Option),
            forwarding,
        };
        Some((machine.name, member))
    }

    /// The file that decides about the hotfix.
    pub fn deciding(&self) -> Option<&File> {
        self.files.iter().find(|file| file.name == KB943650.decides)
    }
}

impl File {
    pub fn of(module: Module) -> Option<File> {
        let mut name = module.name?;
        name.make_ascii_lowercase();
        Some(File {
            name,
            identity: (module.time_date_stamp.0, module.size),
            version: module
                .version
                .map(|version| (version, module.version_source)),
        })
    }
}
