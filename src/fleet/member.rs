//! What counts of one dump for its machine.

use crate::evidence::Strength;
use crate::knowledge::hotfix::KB943650;
use crate::report::Code;
use crate::report::model::{ApplicabilityRecord, Module, MulticastForwarding};
use crate::report::summary::Summary;
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
    pub status: MatchStatus,
    pub evidence: Vec<(String, bool, Strength, String)>,
    pub applicability: ApplicabilityRecord,
    pub files: Vec<File>,
    pub forwarding: MulticastForwarding,
    /// The faulting module, in lower case.
    pub module: Option<String>,
    /// A program's dump: it tells versions and no crash.
    pub user_mode: bool,
    /// The machine's name was read in the dump or given, not guessed from its place.
    pub named: bool,
}

/// One file of a machine at the time of a crash.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub name: String,
    pub identity: (String, u32),
    pub version: Option<(String, Option<String>)>,
}

impl Member {
    pub fn of(summary: &Summary) -> Option<Member> {
        let answers = summary.hotfix.iter().chain(&summary.other_articles);
        // With --kb another article may be the main one.
        let hotfix = answers
            .into_iter()
            .find(|answer| answer.kb == KB943650.kb)?;
        let path = summary.source.path.clone();
        Some(Member {
            crash: summary.crash_id.clone().unwrap_or_else(|| path.clone()),
            path,
            time: summary.dump.as_ref().and_then(|d| d.crash_time.clone()),
            code: summary
                .bugcheck
                .as_ref()
                .map(|b| (b.code.clone(), b.name.clone())),
            build: summary.system.as_ref().and_then(|s| s.build),
            status: hotfix.matching.status,
            evidence: hotfix
                .matching
                .evidence
                .iter()
                .map(|e| (e.id.clone(), e.supports, e.strength, e.summary.clone()))
                .collect(),
            applicability: hotfix.applicability.clone(),
            files: summary.modules.iter().filter_map(File::of).collect(),
            module: summary
                .fault
                .as_ref()
                .and_then(|fault| fault.location.as_ref())
                .and_then(|location| location.module.as_deref())
                .map(str::to_ascii_lowercase),
            user_mode: summary
                .dump
                .as_ref()
                .is_some_and(|dump| dump.format == "user-minidump"),
            named: summary
                .machine
                .as_ref()
                .is_some_and(|machine| matches!(machine.source.as_str(), "dump" | "option")),
            forwarding: summary
                .system
                .as_ref()
                .map(|s| s.multicast_forwarding.clone())
                .unwrap_or_default(),
        })
    }

    /// The file that decides about the hotfix.
    pub fn deciding(&self) -> Option<&File> {
        self.files.iter().find(|file| file.name == KB943650.decides)
    }
}

impl File {
    pub fn of(module: &Module) -> Option<File> {
        Some(File {
            name: module.name.as_ref()?.to_ascii_lowercase(),
            identity: (module.time_date_stamp.0.clone(), module.size),
            version: module
                .version
                .clone()
                .map(|version| (version, module.version_source.clone())),
        })
    }
}
