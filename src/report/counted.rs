//! What counts, tables and machine records need of a summary, as a few hundred bytes that a store keeps beside
//! its line: an unchanged share's lines are written through as they are, and reading one took longer than
//! all else that a rescan does. Not for other programs, nor for other versions of this one.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::model::{
    Bucket, BugCheck, Detail, Dump, DumpKind, ErrorRecord, Location, Module, MulticastForwarding,
    RecordType, Source, Status, SuspectRecord, System, Tool, ToolOptions,
};
use super::summary::{MachineName, Summary, SummaryCause, SummaryFault, SummaryHotfix};
use super::values::{Code, Hex};
use crate::cause::{Confidence, Event, What};

/// Version of the form: raised when a field of it changes, one of the contract's structures included.
const FORM: u8 = 3;

/// The part of a summary that is kept.
#[derive(Serialize, Deserialize)]
struct Counted<'a> {
    status: Status,
    error: Option<Cow<'a, ErrorRecord>>,
    path: Cow<'a, str>,
    machine: Option<Cow<'a, MachineName>>,
    crash_id: Option<Cow<'a, str>>,
    dump: Option<CountedDump<'a>>,
    system: Option<CountedSystem<'a>>,
    bugcheck: Option<CountedBugCheck<'a>>,
    /// The module of the fault's location.
    fault_module: Option<Cow<'a, str>>,
    modules: Vec<CountedModule<'a>>,
    bucket: Option<Cow<'a, Bucket>>,
    /// Drivers that the crash is laid to.
    suspects: Vec<Cow<'a, str>>,
    hotfix: Option<Cow<'a, SummaryHotfix>>,
    other_articles: Cow<'a, [SummaryHotfix]>,
}

#[derive(Serialize, Deserialize)]
struct CountedDump<'a> {
    format: Cow<'a, str>,
    kind: Option<DumpKind>,
    crash_time: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct CountedSystem<'a> {
    build: Option<u32>,
    multicast_forwarding: Cow<'a, MulticastForwarding>,
}

#[derive(Serialize, Deserialize)]
struct CountedBugCheck<'a> {
    code: Cow<'a, Code>,
    name: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct CountedModule<'a> {
    name: Option<Cow<'a, str>>,
    size: u32,
    time_date_stamp: Cow<'a, Hex>,
    version: Option<Cow<'a, str>>,
    version_source: Option<Cow<'a, str>>,
}

/// What is counted of `summary` as bytes: the version of the form, and the fields in Postcard's notation.
pub fn pack(summary: &Summary) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    out.push(FORM);
    // Plain structures of text and numbers always have a form; nothing at all would be read as none.
    postcard::to_extend(&Counted::of(summary), out).unwrap_or_default()
}

/// The summary that `packed` was made from, with nothing in the fields that only readers of the line need: the
/// tool, notes, the stack, registers, parameters, findings. Not to be written or judged.
/// `None` for bytes of another form.
pub fn unpack(packed: &[u8]) -> Option<Summary> {
    let fields = packed.strip_prefix(&[FORM])?;
    let counted: Counted<'_> = postcard::from_bytes(fields).ok()?;
    Some(counted.into_summary())
}

fn borrowed(text: &Option<String>) -> Option<Cow<'_, str>> {
    text.as_deref().map(Cow::Borrowed)
}

fn owned(text: Option<Cow<'_, str>>) -> Option<String> {
    text.map(Cow::into_owned)
}

impl<'a> Counted<'a> {
    fn of(summary: &'a Summary) -> Counted<'a> {
        Counted {
            status: summary.status,
            error: summary.error.as_ref().map(Cow::Borrowed),
            path: Cow::Borrowed(&summary.source.path),
            machine: summary.machine.as_ref().map(Cow::Borrowed),
            crash_id: borrowed(&summary.crash_id),
            dump: summary.dump.as_ref().map(|dump| CountedDump {
                format: Cow::Borrowed(&dump.format),
                kind: dump.kind,
                crash_time: borrowed(&dump.crash_time),
            }),
            system: summary.system.as_ref().map(|system| CountedSystem {
                build: system.build,
                multicast_forwarding: Cow::Borrowed(&system.multicast_forwarding),
            }),
            bugcheck: summary.bugcheck.as_ref().map(|bugcheck| CountedBugCheck {
                code: Cow::Borrowed(&bugcheck.code),
                name: borrowed(&bugcheck.name),
            }),
            fault_module: summary
                .fault
                .as_ref()
                .and_then(|fault| borrowed(&fault.location.as_ref()?.module)),
            modules: summary.modules.iter().map(CountedModule::of).collect(),
            bucket: summary.bucket.as_ref().map(Cow::Borrowed),
            suspects: summary.suspected_drivers().map(Cow::Borrowed).collect(),
            hotfix: summary.hotfix.as_ref().map(Cow::Borrowed),
            other_articles: Cow::Borrowed(&summary.other_articles),
        }
    }

    fn into_summary(self) -> Summary {
        Summary {
            record_type: RecordType::Report,
            schema_version: String::new(),
            detail: Detail::Summary,
            tool: Tool {
                name: String::new(),
                version: String::new(),
                knowledge: String::new(),
                options: ToolOptions {
                    offline: true,
                    symbols: false,
                    deep: false,
                },
            },
            status: self.status,
            error: self.error.map(Cow::into_owned),
            notes: Vec::new(),
            source: Source {
                path: self.path.into_owned(),
                ..Source::default()
            },
            machine: self.machine.map(Cow::into_owned),
            crash_id: owned(self.crash_id),
            dump: self.dump.map(|dump| Dump {
                format: dump.format.into_owned(),
                kind: dump.kind,
                crash_time: owned(dump.crash_time),
                ..Dump::default()
            }),
            system: self.system.map(|system| System {
                build: system.build,
                multicast_forwarding: system.multicast_forwarding.into_owned(),
                ..System::default()
            }),
            process: None,
            bugcheck: self.bugcheck.map(|bugcheck| BugCheck {
                code: bugcheck.code.into_owned(),
                name: owned(bugcheck.name),
                ..BugCheck::default()
            }),
            exception: None,
            fault: self.fault_module.map(|module| SummaryFault {
                location: Some(Location {
                    module: Some(module.into_owned()),
                    ..Location::default()
                }),
                ..SummaryFault::default()
            }),
            stack: None,
            memory_findings: Vec::new(),
            modules: self.modules.into_iter().map(CountedModule::into).collect(),
            bucket: self.bucket.map(Cow::into_owned),
            cause: cause(self.suspects),
            hotfix: self.hotfix.map(Cow::into_owned),
            seen: None,
            other_articles: self.other_articles.into_owned(),
        }
    }
}

/// A cause of which the suspected drivers are known and nothing else.
fn cause(drivers: Vec<Cow<'_, str>>) -> Option<SummaryCause> {
    let suspect = |module: Cow<'_, str>| SuspectRecord {
        what: What::Driver,
        module: Some(module.into_owned()),
        offset: None,
        function: None,
        trust: Confidence::Weak,
        reason: String::new(),
        linked: None,
    };
    (!drivers.is_empty()).then(|| SummaryCause {
        event: Event::Crash,
        headline: String::new(),
        reason: String::new(),
        suspects: drivers.into_iter().map(suspect).collect(),
    })
}

impl<'a> CountedModule<'a> {
    fn of(module: &'a Module) -> CountedModule<'a> {
        CountedModule {
            name: borrowed(&module.name),
            size: module.size,
            time_date_stamp: Cow::Borrowed(&module.time_date_stamp),
            version: borrowed(&module.version),
            version_source: borrowed(&module.version_source),
        }
    }
}

impl From<CountedModule<'_>> for Module {
    fn from(module: CountedModule<'_>) -> Module {
        Module {
            name: owned(module.name),
            path: None,
            base: Hex::default(),
            size: module.size,
            time_date_stamp: module.time_date_stamp.into_owned(),
            checksum: None,
            version: owned(module.version),
            version_source: owned(module.version_source),
            branch: None,
            pdb: None,
            symbols: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::SourceInfo;
    use crate::fleet::Machines;
    use crate::triage::{Engine, Request};

    /// Summaries of all fixtures, counted for a few machines.
    fn summaries() -> Vec<Summary> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/dumps");
        let mut paths: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
            .iter()
            .zip(0..)
            .map(|(path, n)| {
                let bytes = std::fs::read(path).unwrap();
                let report = Engine::default()
                    .triage(&bytes, Request::new(&SourceInfo::of_path(path)))
                    .report;
                let name = ["A", "B", "C"][n % 3].to_owned();
                let source = "path".to_owned();
                Summary::of(report, Some(MachineName { name, source }))
            })
            .collect()
    }

    #[test]
    fn machines_of_what_is_counted_are_those_of_whole_summaries() {
        let whole = summaries();
        assert!(whole.len() > 10);
        let (mut all, mut read) = (Machines::default(), Machines::default());
        for summary in &whole {
            let counted = unpack(&pack(summary)).unwrap();
            assert_eq!(counted.verdict(), summary.verdict());
            assert_eq!(counted.status, summary.status);
            assert_eq!(counted.error, summary.error);
            assert_eq!(counted.crash_id, summary.crash_id);
            assert_eq!(counted.bucket, summary.bucket);
            all.add(summary).unwrap();
            read.add(&counted).unwrap();
        }
        assert_eq!(read.into_records().unwrap(), all.into_records().unwrap());
    }

    #[test]
    fn what_is_cut_or_of_another_form_is_refused() {
        let packed = pack(&summaries()[0]);
        assert!(packed.len() < 4096, "{}", packed.len());
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut]).is_none(), "{cut}");
        }
        let mut other = packed;
        other[0] = FORM + 1;
        assert!(unpack(&other).is_none());
        assert!(unpack(b"{}").is_none());
    }
}
