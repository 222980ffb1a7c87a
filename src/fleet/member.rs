//! What counts of one dump for its machine: a view of a summary, or of the bytes that wait for their machine's turn.

use std::borrow::Cow;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize};

use crate::evidence::Strength;
use crate::facts::Format;
use crate::knowledge::hotfix::KB943650;
use crate::report::model::{ApplicabilityRecord, Module, MulticastForwarding, Status};
use crate::report::summary::{NameSource, Summary};
use crate::verdict::MatchStatus;

/// What counts of one dump.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Member<'a> {
    pub path: &'a str,
    /// Dumps of one crash share it.
    pub crash: &'a str,
    /// RFC 3339 UTC: sorts as text.
    pub time: Option<&'a str>,
    /// The bug check's code and name.
    #[serde(borrow)]
    pub code: Option<(&'a str, Option<&'a str>)>,
    pub build: Option<u32>,
    /// Kind of the file, in the words of the report contract.
    pub format: &'a str,
    /// Something of the file could not be read.
    pub degraded: bool,
    pub status: MatchStatus,
    /// Id, whether it supports the match, weight, and the sentence.
    #[serde(borrow)]
    pub evidence: Vec<(&'a str, bool, Strength, &'a str)>,
    pub applicability: Cow<'a, ApplicabilityRecord>,
    #[serde(borrow)]
    pub files: Vec<File<'a>>,
    pub forwarding: Cow<'a, MulticastForwarding>,
    /// The faulting module, in lower case.
    #[serde(borrow)]
    pub module: Option<Text<'a>>,
    /// A program's dump: it tells versions and no crash.
    pub user_mode: bool,
    /// A report of a running system: neither is it.
    pub live: bool,
    /// The machine's name was read in the dump or given, not guessed from its place.
    pub named: bool,
    /// Drivers that the crash is laid to, in lower case.
    #[serde(borrow)]
    pub suspects: Vec<Text<'a>>,
    /// When scans saw it.
    #[serde(borrow)]
    pub seen: Option<SeenBetween<'a>>,
    /// How the name was learnt.
    pub name_source: NameSource,
}

/// One file of a machine at the time of a crash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct File<'a> {
    /// In lower case.
    #[serde(borrow)]
    pub name: Text<'a>,
    /// Link time, as the report shows it, and size of the image in bytes.
    pub identity: (&'a str, u32),
    /// The version and how it was learnt.
    pub version: Option<(&'a str, Option<&'a str>)>,
}

/// When scans saw a dump, as [`crate::report::summary::Seen`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct SeenBetween<'a> {
    pub first: &'a str,
    pub last: &'a str,
    pub there: bool,
}

/// Text that is made where it has to be, and lies where it lay otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Text<'a>(Cow<'a, str>);

impl<'a> Text<'a> {
    fn in_lower_case(text: &'a str) -> Text<'a> {
        match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Text(text.to_ascii_lowercase().into()),
            false => Text(text.into()),
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Text<'a>, D::Error> {
        <&'a str>::deserialize(from).map(|text| Text(text.into()))
    }
}

impl<'a> Member<'a> {
    /// The machine's name and what counts of the dump; `None` for one without a machine, or that was not
    /// analysed.
    pub fn of(summary: &'a Summary) -> Option<(&'a str, Member<'a>)> {
        let machine = summary.machine.as_ref()?;
        let name_source = NameSource::named(&machine.source).unwrap_or(NameSource::Path);
        // With --kb another article may be the main one.
        let mut answers = summary.hotfix.iter().chain(&summary.other_articles);
        let hotfix = answers.find(|answer| answer.kb == KB943650.kb)?;
        let path = summary.source.path.as_str();
        let dump = summary.dump.as_ref();
        let format = dump.map_or("", |dump| dump.format.as_str());
        let system = summary.system.as_ref();
        let fault = summary
            .fault
            .as_ref()
            .and_then(|fault| fault.location.as_ref());
        let evidence = hotfix.matching.evidence.iter();
        let member = Member {
            path,
            crash: summary.crash_id.as_deref().unwrap_or(path),
            time: dump.and_then(|dump| dump.crash_time.as_deref()),
            code: summary
                .bugcheck
                .as_ref()
                .map(|b| (b.code.0.as_str(), b.name.as_deref())),
            build: system.and_then(|system| system.build),
            format,
            degraded: summary.status != Status::Ok,
            status: hotfix.matching.status,
            evidence: evidence
                .map(|e| (e.id.as_str(), e.supports, e.strength, e.summary.as_str()))
                .collect(),
            applicability: Cow::Borrowed(&hotfix.applicability),
            files: summary.modules.iter().filter_map(File::of).collect(),
            forwarding: match system {
                Some(system) => Cow::Borrowed(&system.multicast_forwarding),
                None => Cow::default(),
            },
            module: fault
                .and_then(|location| location.module.as_deref())
                .map(Text::in_lower_case),
            user_mode: format == Format::UserMinidump.as_str(),
            live: summary.is_live(),
            named: matches!(name_source, NameSource::Dump | NameSource::Option),
            suspects: summary
                .suspected_drivers()
                .map(Text::in_lower_case)
                .collect(),
            seen: summary.seen.as_ref().map(|seen| SeenBetween {
                first: &seen.first,
                last: &seen.last,
                there: seen.there,
            }),
            name_source,
        };
        Some((&machine.name, member))
    }

    /// Its bytes, in Postcard's notation: for this run alone.
    pub fn pack(&self) -> postcard::Result<Vec<u8>> {
        postcard::to_extend(self, Vec::with_capacity(2048))
    }

    /// What [`Member::pack`] made.
    pub fn unpack(packed: &'a [u8]) -> postcard::Result<Member<'a>> {
        postcard::from_bytes(packed)
    }

    /// The file that decides about the hotfix.
    pub fn deciding(&self) -> Option<&File<'a>> {
        self.files
            .iter()
            .find(|file| &*file.name == KB943650.decides)
    }
}

impl<'a> File<'a> {
    fn of(module: &'a Module) -> Option<File<'a>> {
        Some(File {
            name: Text::in_lower_case(module.name.as_deref()?),
            identity: (&module.time_date_stamp.0, module.size),
            version: module
                .version
                .as_deref()
                .map(|version| (version, module.version_source.as_deref())),
        })
    }
}
