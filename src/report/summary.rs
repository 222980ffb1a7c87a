//! The summary record: what a scan and a store hold of one dump, about 1 KB instead of 50 KB.
//!
//! Leaves out registers, frames beyond the faulting activity, most modules, and what can be worked
//! out again from the facts. What is left out is absent, not empty. Decides nothing.

use serde::{Deserialize, Serialize};

use super::model::{
    ApplicabilityRecord, Bucket, BugCheck, Detail, Dump, DumpKind, EffectiveAddress, ErrorRecord,
    EvidenceRecord, Exception, Location, MemoryFinding, Module, Note, RecordType, Report, Source,
    Stack, Status, SuspectRecord, System, Tool,
};
use super::values::Hex;
use crate::cause::{Event, What};
use crate::knowledge::hotfix::KB943650;
use crate::verdict::{MatchStatus, Verdict};
use crate::vocabulary::open_enum;

/// Most frames that a summary holds.
const FRAMES: usize = 16;
/// Modules that a summary always holds, by stem.
const MODULES: [&str; 4] = ["nt", "tcpip", "netio", "fwpkclnt"];
/// Other names of the kernel's image.
const KERNELS: [&str; 4] = ["ntoskrnl", "ntkrnlpa", "ntkrnlmp", "ntkrpamp"];

/// One dump's summary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Summary {
    /// Always `report`.
    #[serde(rename = "type")]
    pub record_type: RecordType,
    /// Version of the contract.
    pub schema_version: String,
    /// Always `summary`.
    pub detail: Detail,
    /// The program and the options that matter for the answer.
    pub tool: Tool,
    /// How the input was dealt with.
    pub status: Status,
    /// Why it failed or was skipped.
    pub error: Option<ErrorRecord>,
    /// What a reader should know about the report itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Where the bytes came from.
    pub source: Source,
    /// The machine that the dump is counted for.
    pub machine: Option<MachineName>,
    /// The same for every dump of one crash.
    pub crash_id: Option<String>,
    /// The file as a dump.
    pub dump: Option<Dump>,
    /// The Windows that crashed.
    pub system: Option<System>,
    /// Name of the current process.
    pub process: Option<String>,
    /// The bug check.
    pub bugcheck: Option<BugCheck>,
    /// The exception of a user-mode dump.
    pub exception: Option<Exception>,
    /// What the processor was doing when it went wrong.
    pub fault: Option<SummaryFault>,
    /// The call stack, with no more than the frames of the faulting activity.
    pub stack: Option<Stack>,
    /// Findings in memory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memory_findings: Vec<MemoryFinding>,
    /// The kernel, the network drivers and the faulting module.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<Module>,
    /// A stable grouping of crashes.
    pub bucket: Option<Bucket>,
    /// What the crash is, whichever article was asked for.
    #[serde(default)]
    pub cause: Option<SummaryCause>,
    /// The answer about the article asked for.
    pub hotfix: Option<SummaryHotfix>,
    /// The same for other articles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_articles: Vec<SummaryHotfix>,
    /// When scans saw the dump; only in what a store gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// When scans saw a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Seen {
    /// RFC 3339 UTC.
    pub first: String,
    /// RFC 3339 UTC, to the day.
    pub last: String,
    /// False for a dump whose place another one took since: MEMORY.DMP is written anew at every crash.
    pub there: bool,
}

open_enum! {
    /// How the name of a dump's machine was learnt.
    NameSource {
        /// The dump says it.
        Dump = "dump",
        /// A folder of the dump's path.
        Path = "path",
        /// A file that the user gave maps the path to it.
        Mapping = "mapping",
        /// The user gave it.
        Option = "option",
    }
}

/// The machine a dump is counted for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MachineName {
    /// Its name.
    pub name: String,
    /// How it was learnt.
    #[cfg_attr(feature = "schema", schemars(extend("examples" = NameSource::ALL)))]
    pub source: String,
}

/// The fault without registers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryFault {
    /// The faulting instruction.
    pub instruction_pointer: Option<Hex>,
    /// Where it lies.
    pub location: Option<Location>,
    /// How the context was found.
    pub source: Option<String>,
    /// How many contexts fitted equally well.
    pub candidates: u32,
    /// The address referenced.
    pub address: Option<Hex>,
    /// What was done to it.
    pub access: Option<String>,
    /// IRQL.
    pub irql: Option<u32>,
    /// What kind of activity it was.
    pub context: Option<String>,
    /// The instruction.
    pub instruction: Option<String>,
    /// What kind of instruction.
    pub instruction_kind: Option<String>,
    /// The address the instruction computes.
    pub effective_address: Option<EffectiveAddress>,
}

/// What the crash is, without hints and advice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryCause {
    /// What kind of event the dump records.
    pub event: Event,
    /// In one line, for a person.
    pub headline: String,
    /// Why, in one sentence.
    pub reason: String,
    /// The suspect; several that cannot be told apart; none.
    pub suspects: Vec<SuspectRecord>,
}

/// The answer without the advice, which follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryHotfix {
    /// The article.
    pub kb: String,
    /// Does this crash match the defect?
    #[serde(rename = "match")]
    pub matching: SummaryMatch,
    /// Does the hotfix apply to this machine?
    pub applicability: ApplicabilityRecord,
    /// One word for a ticket.
    pub verdict: Verdict,
}

/// Does this crash match the defect?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SummaryMatch {
    /// The answer.
    pub status: MatchStatus,
    /// What it rests on, for and against.
    pub evidence: Vec<EvidenceRecord>,
}

impl Summary {
    /// The summary of `report`, counted for `machine`.
    pub fn of(report: Report, machine: Option<MachineName>) -> Summary {
        let place = report
            .fault
            .as_ref()
            .and_then(|fault| fault.location.as_ref())
            .and_then(|location| location.module.clone());
        let hotfix = report.hotfix.map(hotfix);
        let modules = report
            .modules
            .unwrap_or_default()
            .into_iter()
            .filter(|module| holds(module.name.as_deref(), place.as_deref()))
            .collect();
        Summary {
            record_type: RecordType::Report,
            schema_version: report.schema_version,
            detail: Detail::Summary,
            tool: report.tool,
            status: report.status,
            error: report.error,
            notes: report.notes,
            source: report.source,
            machine,
            crash_id: report.crash_id,
            dump: report.dump,
            system: report.system,
            process: report.process,
            bugcheck: report.bugcheck,
            exception: report.exception,
            fault: report.fault.map(|fault| SummaryFault {
                instruction_pointer: fault.instruction_pointer,
                location: fault.location,
                source: fault.source,
                candidates: fault.candidates,
                address: fault.address,
                access: fault.access,
                irql: fault.irql,
                context: fault.context,
                instruction: fault.instruction,
                instruction_kind: fault.instruction_kind,
                effective_address: fault.effective_address,
            }),
            stack: report.stack.map(|mut stack| {
                stack.frames.truncate(frames(stack.faulting_activity));
                stack
            }),
            memory_findings: report.memory_findings.unwrap_or_default(),
            modules,
            bucket: report.bucket,
            cause: report.cause.map(|cause| SummaryCause {
                event: cause.event,
                headline: cause.headline,
                reason: cause.reason,
                suspects: cause.suspects,
            }),
            hotfix,
            seen: None,
            other_articles: report
                .other_articles
                .into_iter()
                .map(self::hotfix)
                .collect(),
        }
    }

    /// A report of a running system, which is no crash.
    pub fn is_live(&self) -> bool {
        self.dump.as_ref().and_then(|dump| dump.kind) == Some(DumpKind::LiveReport)
    }

    /// File names of the drivers that the crash is laid to.
    pub fn suspected_drivers(&self) -> impl Iterator<Item = &str> {
        let suspects = self.cause.iter().flat_map(|cause| &cause.suspects);
        let drivers = suspects.filter(|suspect| suspect.what == What::Driver);
        drivers.filter_map(|suspect| suspect.module.as_deref())
    }

    /// The word for a ticket; `None` when nothing could be said.
    pub fn verdict(&self) -> Option<Verdict> {
        self.hotfix.as_ref().map(|hotfix| hotfix.verdict)
    }
}

fn hotfix(hotfix: super::model::Hotfix) -> SummaryHotfix {
    SummaryHotfix {
        kb: hotfix.kb,
        matching: SummaryMatch {
            status: hotfix.matching.status,
            evidence: hotfix.matching.evidence,
        },
        applicability: hotfix.applicability,
        verdict: hotfix.verdict,
    }
}

/// True when a summary holds the module `name` of a dump whose fault lies in the module `place`.
pub(super) fn holds(name: Option<&str>, place: Option<&str>) -> bool {
    name.is_some_and(|name| always(name) || place == Some(name))
}

/// How many frames a summary holds of a stack with this many of the faulting activity.
pub(super) fn frames(faulting_activity: Option<u32>) -> usize {
    faulting_activity
        .and_then(|n| usize::try_from(n).ok())
        .unwrap_or(FRAMES)
        .min(FRAMES)
}

/// The kernel, the network drivers, and every file of the hotfix's package: evidence names them.
fn always(name: &str) -> bool {
    if KB943650.role(name).is_some() {
        return true;
    }
    let stem = name.bytes().position(|byte| byte == b'.');
    let stem = stem.and_then(|end| name.get(..end)).unwrap_or(name);
    MODULES
        .iter()
        .chain(&KERNELS)
        .any(|own| own.eq_ignore_ascii_case(stem))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_the_stack_and_the_files_of_the_hotfix_are_always_held() {
        let files = KB943650.roles.iter().map(|row| row.file);
        for name in MODULES.into_iter().chain(KERNELS).chain(files) {
            assert!(always(name) && always(&name.to_uppercase()), "{name}");
        }
        assert!(!always("http.sys") && !always("ndis.sys") && !always(""));
    }
}
