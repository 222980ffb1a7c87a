//! Memory dumps of executed failures (`fixtures/corpus`): locks, other processors and spins against what
//! the execution really did, and the same run as every dump type. Truth is the labels', made from function
//! entries of the execution; none of it is the product's.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus")
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// Labels of the memory dumps with the product's reports, symbols given.
fn judged() -> Vec<(Value, Value)> {
    judged_files(|file| file.ends_with(".dmp.gz"))
}

/// The same for the files that `wanted` names.
fn judged_files(wanted: impl Fn(&str) -> bool) -> Vec<(Value, Value)> {
    let corpus = corpus();
    let labels = std::fs::read_to_string(corpus.join("labels.jsonl")).expect("the labels");
    let mut labels: Vec<Value> = labels
        .lines()
        .map(|line| serde_json::from_str(line).expect("a label is JSON"))
        .filter(|label: &Value| wanted(text(label, "/file")))
        .collect();
    labels.sort_by(|a, b| text(a, "/file").cmp(text(b, "/file")));
    assert!(
        labels.windows(2).all(|w| w[0]["file"] != w[1]["file"]),
        "two labels of one file"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut files = Vec::new();
    for label in &labels {
        let name = text(label, "/file");
        let packed = std::fs::read(corpus.join("dumps").join(name)).expect("a dump");
        let mut bytes = Vec::new();
        match name.ends_with(".gz") {
            true => {
                flate2::read::GzDecoder::new(&packed[..])
                    .read_to_end(&mut bytes)
                    .expect("gzip");
            }
            false => bytes = packed,
        }
        let path = folder.path().join(name.trim_end_matches(".gz"));
        std::fs::write(&path, bytes).expect("a file of our own");
        files.push(path);
    }
    let out = Command::new(env!("CARGO_BIN_EXE_kbtriage"))
        .args(["triage", "--format", "jsonl"])
        .arg("--images")
        .arg(corpus.join("images/x64"))
        .arg("--images")
        .arg(corpus.join("images/x86"))
        .arg("--symbols")
        .arg(corpus.join("symbols"))
        .args(&files)
        .env_remove("_NT_SYMBOL_PATH")
        .output()
        .expect("the product runs");
    let reports: Vec<Value> = String::from_utf8(out.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record is JSON"))
        .collect();
    assert_eq!(reports.len(), labels.len(), "{:?}", out.status);
    labels.into_iter().zip(reports).collect()
}

/// The innermost activity of a true stack: functions up to the frame that something interrupted.
fn activity(frames: &Value) -> Vec<&str> {
    let frames = frames.as_array().expect("frames");
    let end = frames
        .iter()
        .position(|frame| !frame["interrupted_by"].is_null())
        .unwrap_or(frames.len());
    frames[..end].iter().map(|f| text(f, "/function")).collect()
}

/// Timer code under the forwarding function, with at most the restart between.
fn is_inside(functions: &[&str]) -> bool {
    let forward = functions
        .iter()
        .position(|name| *name == "IppForwardMulticastPackets");
    forward.is_some_and(|n| {
        n > 0
            && functions[..n]
                .iter()
                .all(|name| name.starts_with("Tt") || *name == "IppRestartMfeTimer")
    })
}

/// The processors that were really inside the restart.
fn inside(label: &Value) -> Vec<u64> {
    let crashed = label["fault"]["processor"].as_u64().expect("a processor");
    let forced = label["forced"] == true;
    let mut found: Vec<u64> = label["processors"]
        .as_array()
        .expect("processors")
        .iter()
        .filter(|p| p["processor"] != crashed && is_inside(&activity(&p["frames"])))
        .map(|p| p["processor"].as_u64().expect("a number"))
        .collect();
    if !forced && is_inside(&activity(&label["fault"]["frames"])) {
        found.push(crashed);
    }
    found.sort_unstable();
    found
}

fn evidence(report: &Value) -> Vec<(String, String)> {
    report["hotfix"]["match"]["evidence"]
        .as_array()
        .expect("evidence")
        .iter()
        .map(|e| (text(e, "/id").to_owned(), text(e, "/where").to_owned()))
        .collect()
}

/// Variants whose functions go by names that no rule knows.
fn is_renamed(label: &Value) -> bool {
    matches!(text(label, "/run/tcpip"), "othernames" | "folded")
}

#[test]
fn the_lock_is_judged_as_the_execution_held_it() {
    let (mut proofs, mut exclusions) = (0, 0);
    for (label, report) in judged() {
        let file = text(&label, "/file");
        let found = evidence(&report);
        let places = |id: &str| -> Vec<String> {
            let mut places: Vec<String> = found
                .iter()
                .filter(|(known, _)| known == id)
                .map(|(_, place)| place.clone())
                .collect();
            places.sort();
            places
        };
        let fixed = label["fixed_build"] == true;
        let inside: Vec<String> = inside(&label)
            .into_iter()
            .map(|number| format!("processor {number}"))
            .collect();
        let changed = places("lock.changed-under-read-lock");
        let held = places("lock.write-lock-held");
        let handle = places("lock.queue-handle-held");
        // Never the other way round, whatever the names. A lock that may be an entry's own says nothing either way.
        assert!(!fixed || changed.is_empty(), "{file}: {found:?}");
        assert!(fixed || held.is_empty(), "{file}: {found:?}");
        for place in changed.iter().chain(&held).chain(&handle) {
            assert!(inside.contains(place), "{file}: {place} was elsewhere");
        }
        if is_renamed(&label) || text(&label, "/architecture") != "x64" {
            continue;
        }
        let expected = if fixed { &held } else { &changed };
        assert_eq!(*expected, inside, "{file}: {found:?}");
        proofs += changed.len();
        exclusions += held.len();
    }
    assert!(proofs >= 6 && exclusions >= 1, "{proofs} {exclusions}");
}

#[test]
fn two_processors_past_the_lock_are_seen_where_two_really_were() {
    let (mut seen, mut alone) = (0, 0);
    for (label, report) in judged() {
        let found = evidence(&report)
            .iter()
            .any(|(id, _)| id == "processors.two-past-the-lock");
        let really = inside(&label).len() >= 2;
        assert!(!found || really, "{}", label["file"]);
        if really && !is_renamed(&label) {
            assert!(found, "{}", label["file"]);
            seen += 1;
        }
        alone += usize::from(inside(&label).len() == 1);
    }
    println!("{seen} stops with two inside the restart, {alone} with one");
    assert!(seen >= 1 && alone >= 5, "{seen} {alone}");
}

#[test]
fn a_processor_is_said_to_spin_only_where_it_did() {
    let (mut waits, mut walks) = (0, 0);
    for (label, report) in judged() {
        let file = text(&label, "/file");
        let processors = label["processors"].as_array().expect("processors");
        for finding in report["memory_findings"].as_array().expect("findings") {
            if finding["kind"] != "spinning-processor" {
                continue;
            }
            let detail = text(finding, "/detail");
            let number: u64 = detail
                .trim_start_matches("processor ")
                .split(':')
                .next()
                .and_then(|n| n.parse().ok())
                .expect("a number");
            let frames = processors
                .iter()
                .find(|p| p["processor"] == number)
                .map(|p| p["frames"].as_array().expect("frames"))
                .expect("that processor");
            let names: Vec<&str> = frames.iter().map(|f| text(f, "/function")).collect();
            if detail.contains("spin lock at") {
                let acquires = names.iter().take(2).any(|name| name.contains("Acquire"));
                assert!(acquires, "{file} {detail}: {names:?}");
                waits += 1;
            } else if detail.contains("walks a list") {
                assert_eq!(label["forced"], true, "{file} {detail}");
                assert!(
                    names.iter().any(|name| name.starts_with("Tt")),
                    "{file} {detail}: {names:?}"
                );
                walks += 1;
            }
        }
    }
    assert!(waits >= 8 && walks >= 5, "{waits} {walks}");
}

/// A report without what belongs to the file and not to the crash.
fn of_the_crash(report: &Value) -> Value {
    let mut report = report.clone();
    for key in ["source", "dump"] {
        report.as_object_mut().expect("a record").remove(key);
    }
    report
}

#[test]
fn one_run_gives_one_report_whatever_type_its_memory_is_written_as() {
    let mut runs: BTreeMap<String, Vec<(String, Value)>> = BTreeMap::new();
    for (label, report) in judged() {
        let run = format!(
            "{} {} {}",
            label["architecture"], label["pae"], label["run"]
        );
        let kind = label["dump_type"].to_string();
        runs.entry(run)
            .or_default()
            .push((kind, of_the_crash(&report)));
    }
    runs.retain(|_, reports| reports.len() > 1);
    assert!(runs.len() >= 3, "{:?}", runs.keys());
    for (run, reports) in runs {
        let (first_kind, first) = &reports[0];
        assert!(reports.len() >= 3, "{run}");
        for (kind, other) in &reports[1..] {
            for (key, value) in first.as_object().expect("a record") {
                assert_eq!(
                    &other[key], value,
                    "{run}: {key} of types {kind} and {first_kind}"
                );
            }
        }
    }
}

/// How sure a status is, and of what: above zero for the defect, below against it.
fn certainty(status: &str) -> i32 {
    match status {
        "confirmed" => 3,
        "probable" => 2,
        "possible" => 1,
        "insufficient-data" => 0,
        "unlikely" => -1,
        "excluded" => -2,
        other => panic!("{other}"),
    }
}

/// Bytes of memory that a dump type holds, as a rank.
fn richness(label: &Value) -> u32 {
    match label["dump_type"].as_u64().expect("a dump type") {
        1 | 5 => 3,
        2 | 6 => 2,
        4 => 1,
        other => panic!("type {other}"),
    }
}

#[test]
fn less_memory_of_a_crash_never_gives_more_certainty() {
    let mut runs: BTreeMap<String, Vec<(u32, String, String)>> = BTreeMap::new();
    for (label, report) in judged_files(|_| true) {
        let run = format!(
            "{} {} {}",
            label["architecture"], label["pae"], label["run"]
        );
        let status = text(&report, "/hotfix/match/status").to_owned();
        let file = text(&label, "/file").to_owned();
        runs.entry(run)
            .or_default()
            .push((richness(&label), status, file));
    }
    runs.retain(|_, dumps| dumps.len() > 1);
    assert!(runs.len() >= 30, "{}", runs.len());
    for dumps in runs.values() {
        for (poor, poorer, one) in dumps {
            for (rich, richer, other) in dumps.iter().filter(|(rich, ..)| rich > poor) {
                let (less, more) = (certainty(poorer), certainty(richer));
                let what = format!("{one} ({poor}): {poorer}, {other} ({rich}): {richer}");
                // Nothing is proven that all of the memory does not prove.
                assert!(less < 3 || more == 3, "{what}");
                assert!(less > -2 || more == -2, "{what}");
                // Of one mind, it is no surer; of two, all of the memory has seen what the part could not.
                if less.signum() == more.signum() {
                    assert!(less.abs() <= more.abs(), "{what}");
                } else {
                    assert!(more != 0 && less > -1, "{what}");
                }
            }
        }
    }
}

#[test]
fn nothing_but_the_defect_is_confirmed_and_memory_proves_it_where_a_race_shows() {
    let mut confirmed = 0;
    for (label, report) in judged() {
        if text(&report, "/hotfix/match/status") == "confirmed" {
            assert_eq!(label["caused_by_defect"], true, "{}", label["file"]);
            confirmed += 1;
        }
    }
    assert!(confirmed >= 8, "{confirmed}");
}
