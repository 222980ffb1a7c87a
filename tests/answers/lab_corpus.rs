//! The product on the committed sample of the fixture lab: small dumps of executed failures, each with a label that says what
//! really happened (`fixtures/lab/LABELS.md`). Expected values come from the execution, never from the product.

use std::{path::Path, process::Command};

use serde_json::Value;

fn corpus() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus")
}

fn text<'a>(v: &'a Value, path: &str) -> &'a str {
    v.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// Labels of the small dumps with the product's reports, at one symbol level.
fn judged(symbols: bool) -> Vec<(Value, Value)> {
    let corpus = corpus();
    let labels: Vec<Value> = std::fs::read_to_string(corpus.join("labels.jsonl"))
        .expect("the committed labels")
        .lines()
        .map(|l| serde_json::from_str(l).expect("a label is JSON"))
        .filter(|l: &Value| text(l, "/file").ends_with(".dmp"))
        .collect();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
    command
        .current_dir(corpus.join("dumps"))
        .args(["triage", "--format", "jsonl"])
        .env_remove("_NT_SYMBOL_PATH");
    if symbols {
        command
            .arg("--images")
            .arg(corpus.join("images/x64"))
            .arg("--images")
            .arg(corpus.join("images/x86"))
            .arg("--symbols")
            .arg(corpus.join("symbols"));
    }
    let out = command
        .args(labels.iter().map(|l| text(l, "/file")))
        .output()
        .expect("the product runs");
    let reports: Vec<Value> = String::from_utf8(out.stdout)
        .expect("UTF-8")
        .lines()
        .map(|l| serde_json::from_str(l).expect("a record is JSON"))
        .collect();
    assert_eq!(
        reports.len(),
        labels.len(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    labels.into_iter().zip(reports).collect()
}

#[test]
fn the_stop_code_and_its_parameters_are_those_the_machine_raised() {
    for (label, report) in judged(false) {
        assert_eq!(
            text(&report, "/bugcheck/code"),
            text(&label, "/bugcheck/code"),
            "{}",
            label["file"]
        );
        let said: Vec<&Value> = report["bugcheck"]["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .map(|p| &p["value"])
            .collect();
        let real: Vec<&Value> = label["bugcheck"]["parameters"]
            .as_array()
            .expect("parameters")
            .iter()
            .collect();
        assert_eq!(said, real, "{}", label["file"]);
    }
}

#[test]
fn the_faults_address_and_registers_are_those_of_the_execution() {
    let mut compared = 0;
    for (label, report) in judged(false) {
        // A double fault on x86 leaves its state in the TSS, which a small dump does not hold.
        if !label["exception"].is_object()
            || (label["architecture"] == "x86" && text(&label, "/bugcheck/code") == "0x0000007F")
        {
            continue;
        }
        assert_eq!(
            text(&report, "/fault/instruction_pointer"),
            text(&label, "/fault/ip"),
            "{}",
            label["file"]
        );
        let real = label["fault"]["registers"].as_object().expect("registers");
        for (name, value) in report["fault"]["registers"]
            .as_object()
            .into_iter()
            .flatten()
        {
            if let Some(true_value) = real.get(name) {
                assert_eq!(value, true_value, "{name} of {}", label["file"]);
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "only {compared} registers were stated");
}

#[test]
fn no_answer_is_one_the_execution_refutes() {
    for (symbols, level) in [(false, "nothing"), (true, "symbols")] {
        for (label, report) in judged(symbols) {
            let status = text(&report, "/hotfix/match/status");
            let wrong = label["answers"][level]["wrong"]
                .as_array()
                .expect("answers");
            assert!(
                wrong.iter().all(|w| w != status),
                "{} with {level}: {status}",
                label["file"]
            );
        }
    }
}
