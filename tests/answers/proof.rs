//! Certain only on proof: what a small dump, one processor, another mistake, another name, another layout or a
//! contradiction between sources may be called. Inputs are executed crashes, some from outside the repository; the right
//! answers are those of the executions, never of the program.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::support::run::command;
use crate::support::shared::shared;
use serde_json::{Value, json};

/// Offsets in the header: MinorVersion and NumberProcessors of 64-bit and 32-bit dumps.
const BUILD: usize = 0x0C;
const PROCESSORS_64: usize = 0x34;
const PROCESSORS_32: usize = 0x24;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus")
}

fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_none_or(|suffix| suffix != "gz") {
        return bytes;
    }
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut out)
        .expect("gzip");
    out
}

/// The report about these bytes with a store of images and symbols, or without any.
fn report(bytes: &[u8], stores: &[(PathBuf, PathBuf)], more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.dmp");
    std::fs::write(&file, bytes).unwrap();
    let mut command = command();
    command
        .args(["triage", "--format", "jsonl"])
        .args(more)
        .env_remove("_NT_SYMBOL_PATH");
    for (images, symbols) in stores {
        command
            .arg("--images")
            .arg(images)
            .arg("--symbols")
            .arg(symbols);
    }
    let out = command.arg(&file).output().expect("the program runs");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}", String::from_utf8_lossy(&out.stderr));
    })
}

fn corpus_stores() -> Vec<(PathBuf, PathBuf)> {
    ["images/x64", "images/x86"]
        .map(|images| (corpus().join(images), corpus().join("symbols")))
        .to_vec()
}

fn status(report: &Value) -> &str {
    report["hotfix"]["match"]["status"]
        .as_str()
        .expect("a status")
}

fn has(report: &Value, id: &str) -> bool {
    let evidence = report["hotfix"]["match"]["evidence"].as_array().unwrap();
    evidence.iter().any(|piece| piece["id"] == id)
}

/// Every dump of the sample whose label says that the defect was the cause.
fn positives() -> Vec<PathBuf> {
    let labels = std::fs::read_to_string(corpus().join("labels.jsonl")).unwrap();
    let labels = labels
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let files: Vec<PathBuf> = labels
        .filter(|label| label["caused_by_defect"] == true && label["forced"] == false)
        .map(|label| corpus().join("dumps").join(label["file"].as_str().unwrap()))
        .collect();
    assert!(files.len() > 15, "{}", files.len());
    files
}

#[test]
fn one_processor_vetoes_whatever_else_a_dump_shows() {
    let mut seen = 0;
    for path in positives() {
        let mut bytes = unpacked(&path);
        let at = match &bytes[..8] {
            b"PAGEDU64" => PROCESSORS_64,
            _ => PROCESSORS_32,
        };
        bytes[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
        for stores in [corpus_stores(), Vec::new()] {
            let report = report(&bytes, &stores, &[]);
            assert!(
                matches!(status(&report), "unlikely" | "excluded"),
                "{}: {}",
                path.display(),
                report["hotfix"]["match"]
            );
            assert!(has(&report, "machine.one-processor"), "{}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 15);
}

#[test]
fn a_header_of_another_windows_than_its_tcpip_excludes_nothing_and_is_named() {
    let path = corpus().join("dumps/x64-multicast-ldr22221-002-mini.dmp");
    for build in [6000u32, 6002, 7601] {
        let mut bytes = unpacked(&path);
        bytes[BUILD..BUILD + 4].copy_from_slice(&build.to_le_bytes());
        let with = report(&bytes, &corpus_stores(), &[]);
        assert!(has(&with, "build.sources-disagree"), "{build}");
        assert!(
            matches!(status(&with), "possible" | "probable"),
            "{build}: {}",
            with["hotfix"]["match"]
        );
        assert_eq!(
            with["hotfix"]["applicability"]["status"], "unknown",
            "{build}"
        );
        let said = with["hotfix"]["applicability"]["reason"].as_str().unwrap();
        assert!(
            said.contains(&build.to_string()) && said.contains("6.0.6001.22221"),
            "{said}"
        );
    }
}

#[test]
fn forwarding_that_was_off_before_the_crash_counts_against_what_has_no_sign_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("before.netsh.txt");
    let text = "General Global Parameters\n-----------------------------\n\
                Default Hop Limit                     : 128 hops\n\
                Multicast Forwarding                  : disabled\n";
    std::fs::write(&saved, text).unwrap();
    // Before every crash of the laboratory.
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    std::fs::File::options()
        .write(true)
        .open(&saved)
        .unwrap()
        .set_modified(old)
        .unwrap();
    let registry = ["--registry", saved.to_str().unwrap()];
    let path = corpus().join("dumps/x64-multicast-ldr22221-002-mini.dmp");
    let bytes = unpacked(&path);
    let bare = report(&bytes, &[], &registry);
    assert!(
        has(&bare, "forwarding.off-before"),
        "{}",
        bare["hotfix"]["match"]
    );
    assert_eq!(status(&bare), "unlikely");
    // The defect's own frames show that it was on.
    let named = report(&bytes, &corpus_stores(), &registry);
    assert!(has(&named, "forwarding.off-before"));
    assert_eq!(status(&named), "probable");
}

/// A row of the table of crashes from outside: what happened, the file, whether it is judged with symbols, and the
/// statuses that are right.
type Row = (&'static str, &'static str, bool, &'static [&'static str]);

#[test]
fn crashes_of_builds_and_mistakes_that_were_not_made_here_get_an_answer_that_holds() {
    let Some(lab) = shared("data/field/lab") else {
        return;
    };
    const ROWS: &[Row] = &[
        (
            "an overrun of a linked timer, small dump",
            "x64-overrun-mfe-ldr22221-001-mini.dmp",
            true,
            &["probable", "possible", "unlikely"],
        ),
        (
            "the same crash's memory dump",
            "x64-overrun-mfe-ldr22221-001-kernel.dmp.gz",
            true,
            &["unlikely"],
        ),
        (
            "one processor",
            "d1-1cpu.dmp",
            true,
            &["unlikely", "excluded"],
        ),
        (
            "an entry freed while its timer ran",
            "x64-mfe-forget-gdr18311-710009-mini.dmp",
            true,
            &["probable", "possible", "unlikely"],
        ),
        (
            "the timer routine has another name",
            "x64-multicast-qtimer-710002-mini.dmp",
            true,
            &["probable", "possible"],
        ),
        (
            "the fix by a helper without Lock in its name",
            "x64-overrun-mfe-fupgrade-710002-mini.dmp",
            true,
            &["excluded"],
        ),
        (
            "another layout of entry and set, no symbols",
            "x64-multicast-qlayoutn-710012-kernel.dmp.gz",
            false,
            &["possible", "probable", "confirmed"],
        ),
        (
            "a page fault at a canonical address as 0x1E",
            "h-1e-canon.dmp",
            true,
            &["unlikely", "excluded"],
        ),
        (
            "header of Service Pack 2, tcpip.sys of Service Pack 1",
            "d1-build6002.dmp",
            true,
            &["possible", "probable"],
        ),
    ];
    let mut stores = corpus_stores();
    stores.push((lab.join("stores/images/x64"), lab.join("stores/symbols")));
    for (what, file, symbols, right) in ROWS {
        let bytes = unpacked(&lab.join(file));
        let none = Vec::new();
        let report = report(&bytes, if *symbols { &stores } else { &none }, &[]);
        assert!(
            right.contains(&status(&report)),
            "{what} ({file}): {}",
            report["hotfix"]["match"]
        );
    }
}

#[test]
fn a_pair_of_dumps_of_one_crash_makes_no_confirmed_machine() {
    let folder = tempfile::tempdir().unwrap();
    let name = "x64-overrun-mfe-ldr22221-001";
    for kind in ["mini.dmp", "kernel.dmp.gz"] {
        let bytes = unpacked(&corpus().join("dumps").join(format!("{name}-{kind}")));
        let file = kind.trim_end_matches(".gz");
        std::fs::write(folder.path().join(file), bytes).unwrap();
    }
    let mut command = command();
    command
        .arg("scan")
        .arg(folder.path())
        .args(["--machine", "ALPHA"]);
    for (images, symbols) in corpus_stores() {
        command
            .arg("--images")
            .arg(images)
            .arg("--symbols")
            .arg(symbols);
    }
    let out = command.output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let machine = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|record| record["type"] == "machine")
        .unwrap_or_else(|| panic!("no machine record: {text}"));
    assert_eq!(
        machine["dumps"],
        json!({ "count": 2, "crashes": 1, "live_reports": 0 })
    );
    assert_eq!(
        machine["hotfix"]["match"]["status"], "unlikely",
        "{machine}"
    );
    let decided = machine["hotfix"]["match"]["decided_by"].as_str().unwrap();
    assert!(decided.ends_with("kernel.dmp"), "{decided}");
}
