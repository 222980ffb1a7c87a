//! The JSON contract: the committed schema, every record against it, and what other programs
//! rely on (keys, escapes, exit status).

use std::path::{Path, PathBuf};

use crate::support::run::{command, kbtriage, reports};
use crate::support::shared::shared;
use clap::ValueEnum as _;
use kbtriage::cli::schema::Record;
use kbtriage::report::json;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn fixtures() -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = ["fixtures/dumps", "fixtures/user"]
        .iter()
        .filter_map(|folder| std::fs::read_dir(root().join(folder)).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "dmp"))
        .collect();
    paths.sort();
    paths
}

fn schema() -> Value {
    let output = kbtriage(&["schema"]);
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_committed_schemas_are_the_types_and_what_the_program_prints() {
    for record in Record::value_variants() {
        let name = record.to_possible_value().unwrap().get_name().to_owned();
        let mut derived = Vec::new();
        json::write_pretty(&mut derived, &record.derived()).unwrap();
        derived.push(b'\n');
        let path = root().join(match record {
            Record::Report => "docs/report.schema.json".to_owned(),
            _ => format!("docs/schemas/{name}.schema.json"),
        });
        if std::env::var_os("KBTRIAGE_BLESS").is_some() {
            std::fs::write(&path, &derived).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap() == derived,
            "{name}: KBTRIAGE_BLESS=1 cargo test --test cli contract rewrites it"
        );
        // What the program was built with.
        if std::env::var_os("KBTRIAGE_BLESS").is_none() {
            assert!(kbtriage(&["schema", &name]).stdout == derived, "{name}");
        }
    }
}

#[test]
fn every_report_follows_the_schema() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let mut paths = fixtures();
    assert!(paths.len() > 20);
    for folder in [
        "data/dumps/kernel",
        "data/dumps/user",
        "data/dumps/header-only",
    ] {
        if let Some(folder) = shared(folder) {
            paths.extend(
                std::fs::read_dir(folder)
                    .unwrap()
                    .map(|e| e.unwrap().path()),
            );
        }
    }
    paths.push(root().join("Cargo.toml"));
    paths.push(root().join("no-such-file.dmp"));
    for (path, report) in paths.iter().zip(reports(&paths)) {
        let errors: Vec<String> = validator
            .iter_errors(&report)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

/// Every top-level key of the contract, in a full report.
const KEYS: &[&str] = &[
    "type",
    "schema_version",
    "detail",
    "tool",
    "status",
    "error",
    "notes",
    "source",
    "crash_id",
    "dump",
    "system",
    "process",
    "thread",
    "bugcheck",
    "exception",
    "header_context",
    "fault",
    "stack",
    "other_processors",
    "memory_findings",
    "modules",
    "unloaded_modules",
    "bucket",
    "hotfix",
    "other_articles",
];

#[test]
fn every_key_is_there_in_every_report_failed_ones_included() {
    let mut paths = fixtures();
    paths.push(root().join("no-such-file.dmp"));
    for report in reports(&paths) {
        let object = report.as_object().unwrap();
        for key in KEYS {
            assert!(object.contains_key(*key), "{key} is missing");
        }
        assert_eq!(report["type"], "report");
        assert_eq!(report["schema_version"], "1.1");
    }
}

#[test]
fn unknown_is_null_and_never_an_empty_text() {
    fn check(value: &Value, at: &str) {
        match value {
            Value::String(text) => assert!(!text.is_empty(), "{at} is an empty text"),
            Value::Array(list) => list.iter().for_each(|v| check(v, at)),
            Value::Object(map) => map.iter().for_each(|(k, v)| check(v, &format!("{at}/{k}"))),
            Value::Number(n) => {
                if let Some(n) = n.as_u64() {
                    assert!(n < 1 << 53, "{at} is too large for a number");
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
    for report in reports(&fixtures()) {
        check(&report, "");
    }
}

#[test]
fn addresses_have_the_dumps_pointer_width_and_codes_eight_digits() {
    for (name, digits) in [("vista-sp1-x86-d1", 8), ("server2008-x64-d1", 16)] {
        let report = reports(&[root().join(format!("fixtures/dumps/{name}.dmp"))]).remove(0);
        for value in [
            &report["bugcheck"]["parameters"][0]["value"],
            &report["fault"]["instruction_pointer"],
            &report["modules"][0]["base"],
            &report["thread"],
        ] {
            let text = value.as_str().unwrap();
            assert_eq!(text.len(), 2 + digits, "{name}: {text}");
            assert_eq!(text, text.to_lowercase(), "{name}");
        }
        assert_eq!(report["bugcheck"]["code"], "0x000000D1", "{name}");
    }
}

#[test]
fn a_small_dump_and_its_memory_dump_are_one_crash() {
    // The fixtures describe the same crash; 0x8E carries the M bit only in the small dump.
    let id = |name: &str| {
        reports(&[root().join(format!("fixtures/dumps/{name}.dmp"))]).remove(0)["crash_id"].clone()
    };
    assert_eq!(id("server2008-x64-d1"), id("server2008-x64-complete"));
    assert_ne!(id("server2008-x64-d1"), id("server2008-x64-e2"));
}

#[test]
fn hostile_names_reach_neither_terminal_nor_json_as_they_are() {
    let path = root().join("fixtures/dumps/server2008-x64-hostile-names.dmp");
    for format in ["text", "json", "jsonl"] {
        let output = kbtriage(&["triage", "--format", format, path.to_str().unwrap()]);
        let text = String::from_utf8(output.stdout).unwrap();
        let bad = text.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
        });
        assert_eq!(bad, None, "{format}");
    }
    // The value itself survives in JSON: escaped, not changed.
    let names = reports(&[path])[0]["modules"].to_string();
    assert!(
        names.contains("\\u001b"),
        "the fixture names hold an escape character"
    );
}

#[test]
fn exit_status_0_when_analysed_1_when_some_input_was_not_2_for_wrong_usage() {
    let good = root().join("fixtures/dumps/server2008-x64-d1.dmp");
    let damaged = root().join("fixtures/dumps/server2008-x64-no-mark.dmp");
    let bad = root().join("Cargo.toml");
    let status = |arguments: &[&Path]| kbtriage(arguments).status.code();
    assert_eq!(
        status(&[&good, &damaged]),
        Some(0),
        "degraded counts as analysed"
    );
    assert_eq!(status(&[&good, &bad]), Some(1));
    assert_eq!(status(&[]), Some(2));
    assert_eq!(status(&[Path::new("--no-such-option"), &good]), Some(2));
    let output = kbtriage(&[&good, &bad]);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stdout.contains("KB943650"), "the good one is still printed");
    assert_eq!(stderr.lines().count(), 1, "one clear line: {stderr}");
}

#[test]
fn json_is_always_an_array_and_lines_are_one_record_each() {
    let path = root().join("fixtures/dumps/server2008-x64-d1.dmp");
    let one = kbtriage(&[
        Path::new("triage"),
        Path::new("--format"),
        Path::new("json"),
        &path,
    ]);
    assert!(
        matches!(serde_json::from_slice(&one.stdout).unwrap(), Value::Array(a) if a.len() == 1)
    );
    let lines = command()
        .args(["triage", "--format", "jsonl"])
        .args([&path, &path])
        .output()
        .unwrap();
    let text = String::from_utf8(lines.stdout).unwrap();
    assert_eq!(text.lines().count(), 2);
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        assert_eq!(record["type"], "report");
    }
}

/// Every name of a field in a schema, those of its parts included.
fn fields(schema: &Value, names: &mut std::collections::BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::Object(properties)) = map.get("properties") {
                names.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| fields(value, names));
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, names)),
        _ => {}
    }
}

#[test]
fn the_page_about_reports_names_every_field_and_no_key_that_is_not_there() {
    let page = std::fs::read_to_string(root().join("docs/report.md")).unwrap();
    let schema = schema();
    let mut names = std::collections::BTreeSet::new();
    fields(&schema, &mut names);
    assert!(names.len() > 100, "{names:?}");
    let words: std::collections::BTreeSet<&str> = page
        .split('`')
        .skip(1)
        .step_by(2)
        .flat_map(|code| code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    let missing: Vec<&String> = names
        .iter()
        .filter(|name| !words.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/report.md does not name {missing:?}"
    );
    let keys = schema["properties"].as_object().unwrap();
    for heading in page.lines().filter(|line| line.starts_with("### `")) {
        for name in heading.split('`').skip(1).step_by(2) {
            assert!(keys.contains_key(name), "docs/report.md: no key {name}");
        }
    }
}

#[test]
fn what_is_always_there_is_required_and_closed_words_are_listed() {
    let schema = schema();
    let required: Vec<&str> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    for key in KEYS {
        assert!(required.contains(key), "{key} is in every report");
    }
    let verdict = &schema["$defs"]["Hotfix"]["properties"]["verdict"];
    assert!(
        verdict["enum"]
            .as_array()
            .unwrap()
            .contains(&"may-apply".into()),
        "{verdict}"
    );
    assert_eq!(schema["title"], "kbtriage report");
    // What may get new words later lists those known now.
    let format = &schema["$defs"]["Dump"]["properties"]["format"];
    assert!(
        format.get("enum").is_none() && format.get("examples").is_some(),
        "{format}"
    );
    for record in ["summary", "machine", "scan", "symbols", "file-check"] {
        let output = kbtriage(&["schema", record]);
        let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
        let version = &schema["properties"]["schema_version"];
        assert_eq!(version["type"], "string", "{record}: {version}");
    }
}

#[test]
fn records_of_files_follow_their_schema() {
    let check = |record: &str, lines: Vec<u8>| {
        let schema: Value = serde_json::from_slice(&kbtriage(&["schema", record]).stdout).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let text = String::from_utf8(lines).unwrap();
        let mut count = 0;
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&value)
                .map(|e| e.to_string())
                .collect();
            assert!(errors.is_empty(), "{record}: {errors:?}: {line}");
            count += 1;
        }
        assert!(count > 0, "{record}");
    };
    let dump = root().join("fixtures/dumps/server2008-x64-d1.dmp");
    let dump = dump.to_str().unwrap();
    check(
        "symbols",
        kbtriage(&["symbols", "check", "--format", "jsonl", dump]).stdout,
    );
    check(
        "file-check",
        kbtriage(&[
            "kb",
            "check",
            "--format",
            "jsonl",
            "tcpip.sys=6.0.6001.18311",
            "nonsense",
        ])
        .stdout,
    );
}
