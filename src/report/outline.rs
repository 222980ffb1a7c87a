//! What counts, tables and machine records need of a stored summary, read from its line without the
//! rest: an unchanged share's lines are written through as they are. Knows the names of the contract.

use serde::Deserialize;

use super::model::{
    Bucket, BugCheck, Detail, Dump, ErrorRecord, Location, Module, MulticastForwarding, RecordType,
    Source, Status, System, Tool, ToolOptions,
};
use super::summary::{MachineName, Summary, SummaryFault, SummaryHotfix};
use super::values::{Code, Hex};

/// The part of a summary that is read. What is not named here is passed over.
#[derive(Deserialize)]
struct Outline {
    status: Status,
    error: Option<ErrorRecord>,
    source: OutlineSource,
    machine: Option<MachineName>,
    crash_id: Option<String>,
    dump: Option<OutlineDump>,
    system: Option<OutlineSystem>,
    bugcheck: Option<OutlineBugCheck>,
    fault: Option<OutlineFault>,
    #[serde(default)]
    modules: Vec<OutlineModule>,
    bucket: Option<Bucket>,
    hotfix: Option<SummaryHotfix>,
    #[serde(default)]
    other_articles: Vec<SummaryHotfix>,
}

#[derive(Deserialize)]
struct OutlineSource {
    path: String,
}

#[derive(Deserialize)]
struct OutlineDump {
    format: String,
    crash_time: Option<String>,
}

#[derive(Deserialize)]
struct OutlineSystem {
    build: Option<u32>,
    multicast_forwarding: MulticastForwarding,
}

#[derive(Deserialize)]
struct OutlineBugCheck {
    code: Code,
    name: Option<String>,
}

#[derive(Deserialize)]
struct OutlineFault {
    location: Option<OutlineLocation>,
}

#[derive(Deserialize)]
struct OutlineLocation {
    module: Option<String>,
}

#[derive(Deserialize)]
struct OutlineModule {
    name: Option<String>,
    size: u32,
    time_date_stamp: Hex,
    version: Option<String>,
    version_source: Option<String>,
}

/// A summary of what the `line` of one says, with nothing in the fields that only readers of the line
/// need: the tool, notes, the stack, registers, parameters, findings. Not to be written or judged.
///
/// # Errors
/// A line that is no summary.
pub fn outline(line: &str) -> serde_json::Result<Summary> {
    let outline: Outline = serde_json::from_str(line)?;
    Ok(Summary {
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
        status: outline.status,
        error: outline.error,
        notes: Vec::new(),
        source: Source {
            path: outline.source.path,
            ..Source::default()
        },
        machine: outline.machine,
        crash_id: outline.crash_id,
        dump: outline.dump.map(|dump| Dump {
            format: dump.format,
            crash_time: dump.crash_time,
            ..Dump::default()
        }),
        system: outline.system.map(|system| System {
            build: system.build,
            multicast_forwarding: system.multicast_forwarding,
            ..System::default()
        }),
        process: None,
        bugcheck: outline.bugcheck.map(|bugcheck| BugCheck {
            code: bugcheck.code,
            name: bugcheck.name,
            ..BugCheck::default()
        }),
        exception: None,
        fault: outline.fault.map(|fault| SummaryFault {
            location: fault.location.map(|location| Location {
                module: location.module,
                ..Location::default()
            }),
            ..SummaryFault::default()
        }),
        stack: None,
        memory_findings: Vec::new(),
        modules: outline.modules.into_iter().map(module).collect(),
        bucket: outline.bucket,
        hotfix: outline.hotfix,
        other_articles: outline.other_articles,
    })
}

fn module(module: OutlineModule) -> Module {
    Module {
        name: module.name,
        path: None,
        base: Hex::default(),
        size: module.size,
        time_date_stamp: module.time_date_stamp,
        checksum: None,
        version: module.version,
        version_source: module.version_source,
        branch: None,
        pdb: None,
        symbols: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Machines;
    use crate::source::SourceInfo;
    use crate::triage::Engine;

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
                let report = Engine::default().triage(&bytes, &SourceInfo::of_path(path));
                let name = ["A", "B", "C"][n % 3].to_owned();
                let source = "path".to_owned();
                Summary::of(report, Some(MachineName { name, source }))
            })
            .collect()
    }

    #[test]
    fn machines_of_outlines_are_those_of_whole_summaries() {
        let whole = summaries();
        assert!(whole.len() > 10);
        let (mut all, mut read) = (Machines::default(), Machines::default());
        for summary in &whole {
            let line = serde_json::to_string(summary).unwrap();
            let outline = outline(&line).unwrap();
            assert_eq!(outline.verdict(), summary.verdict());
            assert_eq!(outline.status, summary.status);
            assert_eq!(outline.error, summary.error);
            assert_eq!(outline.crash_id, summary.crash_id);
            assert_eq!(outline.bucket, summary.bucket);
            all.add(summary.clone()).unwrap();
            read.add(outline).unwrap();
        }
        assert_eq!(read.into_records().unwrap(), all.into_records().unwrap());
    }

    #[test]
    fn a_line_that_is_no_summary_is_an_error() {
        assert!(outline("{}").is_err());
        assert!(outline("").is_err());
    }
}
