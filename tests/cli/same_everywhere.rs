//! The JSON of every committed dump is the same on every system: its hash is committed.
//!
//! What differs from run to run is taken out: separators of paths, times of files, the program's version.
//! `KBTRIAGE_BLESS=1 cargo test --test cli same_everywhere` writes the hashes again after a change of the reports.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::run::command;

const HASHES: &str = "fixtures/report-hashes.txt";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Dumps of the repository by their paths, in order.
fn dumps() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["fixtures/dumps", "fixtures/user"] {
        for entry in fs::read_dir(here().join(folder)).unwrap() {
            let name = entry.unwrap().file_name();
            if Path::new(&name).extension().is_some_and(|end| end == "dmp") {
                found.push(Path::new(folder).join(name));
            }
        }
    }
    found.sort();
    found
}

/// The first 16 digits of the SHA-256 of a report as one line of JSON.
fn hash(mut report: Value) -> String {
    report.as_object_mut().unwrap().remove("tool");
    let source = report["source"].as_object_mut().unwrap();
    source.remove("modified");
    let path = source["path"].as_str().unwrap().replace('\\', "/");
    source.insert("path".to_owned(), path.into());
    let digest = Sha256::digest(serde_json::to_vec(&report).unwrap());
    digest.iter().take(8).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[test]
fn every_report_has_the_hash_it_has_everywhere() {
    let dumps = dumps();
    assert!(dumps.len() > 30, "{}", dumps.len());
    let output = command()
        .current_dir(here())
        .args(["triage", "--format", "json"])
        .args(&dumps)
        .output()
        .unwrap();
    let reports: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reports.len(), dumps.len());
    let mut made = String::new();
    for (path, report) in dumps.iter().zip(reports) {
        let name = path.to_string_lossy().replace('\\', "/");
        let _ = writeln!(made, "{} {name}", hash(report));
    }
    if std::env::var_os("KBTRIAGE_BLESS").is_some() {
        fs::write(here().join(HASHES), &made).unwrap();
    }
    let committed = fs::read_to_string(here().join(HASHES)).unwrap();
    let differ: Vec<&str> = made
        .lines()
        .filter(|line| !committed.lines().any(|other| other == *line))
        .collect();
    assert!(
        committed.replace('\r', "") == made,
        "reports changed: look at them, then KBTRIAGE_BLESS=1 cargo test --test cli same_everywhere\n{differ:#?}"
    );
}
