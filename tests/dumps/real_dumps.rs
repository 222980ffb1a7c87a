//! The built program against real dumps: every field of the independent oracle
//! (`expected.json`, read from each file by a program that is not ours).
//!
//! The dumps are private people's and stay outside the repository; where they are absent the
//! tests say so.

use std::path::PathBuf;

use crate::support::run::{kbtriage, reports};
use crate::support::shared::shared;
use serde_json::Value;

/// The oracle and the folder of the dumps, or `None` with a visible line.
fn oracle() -> Option<(PathBuf, serde_json::Map<String, Value>)> {
    let dumps = shared("data/dumps")?;
    let text = std::fs::read_to_string(dumps.join("expected.json")).unwrap();
    let Value::Object(expected) = serde_json::from_str(&text).unwrap() else {
        panic!("the oracle is an object by file name");
    };
    assert_eq!(expected.len(), 23);
    Some((dumps.join("kernel"), expected))
}

fn number(text: &Value) -> u64 {
    let text = text.as_str().unwrap();
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

/// `module+0x12` as the oracle writes a location.
fn location(value: &Value) -> Option<String> {
    let module = value["module"].as_str()?;
    Some(format!("{module}+{}", value["offset"].as_str()?))
}

#[test]
fn every_field_of_the_oracle_is_in_the_report() {
    let Some((folder, expected)) = oracle() else {
        return;
    };
    for (name, want) in &expected {
        let got = reports(&[folder.join(name)]).remove(0);
        assert_eq!(got["status"], "ok", "{name}");
        assert_eq!(got["source"]["size"], want["size"], "{name}");
        let dump = &got["dump"];
        assert_eq!(dump["architecture"], want["architecture"], "{name}");
        assert_eq!(dump["processors"], want["processors"], "{name}");
        assert_eq!(dump["type"], want["dump_type"], "{name}");
        assert_eq!(dump["crash_time"], want["crash_time_utc"], "{name}");
        assert_eq!(dump["uptime_seconds"], want["uptime_seconds"], "{name}");
        let triage = &dump["triage"];
        assert_eq!(triage["call_stack_size"], want["call_stack_size"], "{name}");
        assert_eq!(
            number(&triage["options"]),
            number(&want["triage_options"]),
            "{name}"
        );
        assert_eq!(got["system"]["build"], want["build"], "{name}");
        assert_eq!(
            got["system"]["service_pack"].as_u64().unwrap(),
            number(&want["service_pack_build"]) >> 8,
            "{name}"
        );
        bug_check(name, &got["bugcheck"], want);
        let context = &got["header_context"];
        for field in ["instruction_pointer", "stack_pointer"] {
            assert_eq!(
                number(&context[field]),
                number(&want["header_context"][field]),
                "{name}"
            );
        }
        assert_eq!(
            location(&context["location"]).as_deref(),
            want["header_context"]["location"].as_str(),
            "{name}"
        );
        fault(name, &got["fault"], want);
        drivers(name, &got, want);
        unloaded(name, &got["unloaded_modules"], &want["unloaded_drivers"]);
    }
}

fn bug_check(name: &str, got: &Value, want: &Value) {
    assert_eq!(
        number(&lower(&got["raw_code"])),
        number(&want["bugcheck_code"]),
        "{name}"
    );
    let parameters: Vec<u64> = got["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| number(&p["value"]))
        .collect();
    let wanted: Vec<u64> = want["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(number)
        .collect();
    assert_eq!(parameters, wanted, "{name}");
}

fn lower(text: &Value) -> Value {
    Value::from(text.as_str().unwrap().to_lowercase())
}

/// The oracle knows the fault from the bug check's parameters, for the codes that name it there.
fn fault(name: &str, got: &Value, want: &Value) {
    let Some(wanted) = want.get("fault").filter(|fault| !fault.is_null()) else {
        return;
    };
    assert_eq!(
        number(&got["instruction_pointer"]),
        number(&wanted["instruction_pointer"]),
        "{name}"
    );
    assert_eq!(
        location(&got["location"]).as_deref(),
        wanted["location"].as_str(),
        "{name}"
    );
}

fn drivers(name: &str, got: &Value, want: &Value) {
    let modules = got["modules"].as_array().unwrap();
    let wanted = want["drivers"].as_array().unwrap();
    assert_eq!(
        modules.len() as u64,
        want["driver_count"].as_u64().unwrap(),
        "{name}"
    );
    assert_eq!(modules.len(), wanted.len(), "{name}");
    for (module, driver) in modules.iter().zip(wanted) {
        assert_eq!(module["name"], driver["name"], "{name}");
        // A dump that holds a bare name has no path to report.
        let path = Some(&driver["path"]).filter(|path| **path != driver["name"]);
        assert_eq!(module["path"], *path.unwrap_or(&Value::Null), "{name}");
        assert_eq!(number(&module["base"]), number(&driver["base"]), "{name}");
        assert_eq!(
            module["size"].as_u64().unwrap(),
            number(&driver["size_of_image"]),
            "{name}"
        );
        assert_eq!(
            number(&module["checksum"]),
            number(&driver["checksum"]),
            "{name}"
        );
        assert_eq!(
            number(&module["time_date_stamp"]),
            number(&driver["time_date_stamp"]),
            "{name}"
        );
    }
}

fn unloaded(name: &str, got: &Value, want: &Value) {
    let (got, want) = (got.as_array().unwrap(), want.as_array().unwrap());
    assert_eq!(got.len(), want.len(), "{name}");
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got["name"], want["name"], "{name}");
        assert_eq!(number(&got["start"]), number(&want["start"]), "{name}");
        assert_eq!(number(&got["end"]), number(&want["end"]), "{name}");
    }
}

#[test]
fn symbols_change_no_real_dumps_answer() {
    let Some((folder, expected)) = oracle() else {
        return;
    };
    let store = folder.join("../../symbols");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kbtriage"))
        .args(["triage", "--format", "jsonl", "--symbols"])
        .arg(&store)
        .arg("--images")
        .arg(&store)
        .args(expected.keys().map(|name| folder.join(name)))
        .output()
        .unwrap();
    let reports: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|record: &Value| record["type"] == "report")
        .collect();
    assert_eq!(reports.len(), expected.len());
    for report in reports {
        assert_eq!(report["hotfix"]["match"]["status"], "excluded");
        assert_eq!(
            report["hotfix"]["applicability"]["status"],
            "not-applicable"
        );
    }
}

#[test]
fn no_real_dump_of_windows_7_or_later_matches_and_the_reason_is_given() {
    let Some((folder, expected)) = oracle() else {
        return;
    };
    let paths: Vec<PathBuf> = expected.keys().map(|name| folder.join(name)).collect();
    for report in reports(&paths) {
        let hotfix = &report["hotfix"];
        assert_eq!(hotfix["match"]["status"], "excluded");
        assert_eq!(hotfix["applicability"]["status"], "not-applicable");
        assert_eq!(hotfix["verdict"], "does-not-apply");
        let excluding: Vec<&Value> = hotfix["match"]["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|e| e["strength"] == "excluding" && e["for"] == false)
            .collect();
        assert!(!excluding.is_empty());
        assert!(
            !hotfix["applicability"]["reason"]
                .as_str()
                .unwrap()
                .is_empty()
        );
    }
}

#[test]
fn both_writers_are_told_apart_on_every_real_dump() {
    let Some((folder, expected)) = oracle() else {
        return;
    };
    for (name, want) in &expected {
        // Debugger-derived files carry no triage options; kernel-written ones do.
        let debugger = number(&want["triage_options"]) == 0xFFFF_FFFF;
        let report = reports(&[folder.join(name)]).remove(0);
        let writer = if debugger { "debugger" } else { "kernel" };
        assert_eq!(report["dump"]["writer"], writer, "{name}");
    }
}

#[test]
fn header_only_files_say_that_their_body_is_missing() {
    let Some(folder) = shared("data/dumps/header-only") else {
        return;
    };
    // Build and code: read from the files with a hex viewer at the documented offsets.
    let files = [
        (
            "coredump_win10_64bit_stripped.hdr.dmp",
            "x64",
            "body missing",
        ),
        (
            "coredump_win7_32bit_stripped.hdr.dmp",
            "x86",
            "body missing",
        ),
        ("dmp64.dmp", "x64", "truncated"),
    ];
    for (name, architecture, damage) in files {
        let report = reports(&[folder.join(name)]).remove(0);
        assert_eq!(report["status"], "degraded", "{name}");
        assert_eq!(report["dump"]["format"], "kernel-complete", "{name}");
        assert_eq!(report["dump"]["architecture"], architecture, "{name}");
        let what = report["dump"]["damage"][0]["what"].as_str().unwrap();
        assert!(what.contains(damage), "{name}: {what}");
        assert!(report["modules"].is_null(), "{name}: unknown is not empty");
        let status = report["hotfix"]["match"]["status"].as_str().unwrap();
        assert!(
            ["excluded", "insufficient-data"].contains(&status),
            "{name}: {status}"
        );
    }
}

#[test]
fn two_runs_print_the_same_bytes() {
    let Some((folder, expected)) = oracle() else {
        return;
    };
    let arguments: Vec<_> = ["triage", "--format", "json"]
        .into_iter()
        .map(PathBuf::from)
        .chain(expected.keys().map(|name| folder.join(name)))
        .collect();
    let first = kbtriage(&arguments);
    assert!(first.status.success());
    assert_eq!(first.stdout, kbtriage(&arguments).stdout);
}
