//! A scan that is killed, interrupted twice, runs out of disk, or talks to a receiver that never answers: each done
//! for real, with the built program. Nothing that is not whole looks whole, and the next run has everything.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::share::{matching, numbered, program, put, records, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A share of `count` dumps and one that is still being written, which keeps a scan waiting.
fn waiting_share(root: &Path, count: u64) {
    for n in 0..count {
        put(&root.join(format!("m{}/{n}.dmp", n % 4)), &numbered(n));
    }
    fs::write(root.join("growing.dmp"), &matching()[..8192]).unwrap();
}

/// Starts a scan of `root` that waits, and returns when it has told about `count` dumps.
fn started(root: &Path, more: &[&str], count: usize) -> Child {
    let mut child = program()
        .env("KBTRIAGE_WEBHOOK_SECRET", "key")
        .args(["scan", text(root), "--settle", "60", "--format", "jsonl"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..count {
        lines.next().unwrap().unwrap();
    }
    // The pipe stays open: a closed one would end the scan.
    std::mem::forget(lines);
    child
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([name, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// What a run with the store says of each path: unchanged ones come out of it.
fn verdicts(share: &Path, db: &Path) -> BTreeMap<String, Value> {
    let output = run(&["scan", text(share), "--db", text(db), "--format", "jsonl"]);
    assert!(output.status.success(), "{output:?}");
    records(&output.stdout)
        .into_iter()
        .filter_map(|record| {
            let path = record["source"]["path"].as_str()?.to_owned();
            Some((path, record["verdict"].clone()))
        })
        .collect()
}

#[test]
fn a_killed_scan_loses_nothing_and_the_next_one_has_everything() {
    let dir = tempfile::tempdir().unwrap();
    let (share, db, out) = (
        dir.path().join("share"),
        dir.path().join("a.db"),
        dir.path().join("out.jsonl"),
    );
    waiting_share(&share, 40);
    let mut child = started(&share, &["--db", text(&db)], 20);
    child.kill().unwrap();
    child.wait().unwrap();
    // With an output file: the name stays free until the file is whole.
    let mut second = program()
        .args([
            "scan",
            text(&share),
            "--settle",
            "60",
            "--output",
            text(&out),
        ])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    second.kill().unwrap();
    second.wait().unwrap();
    assert!(!out.exists());
    fs::remove_file(share.join("growing.dmp")).unwrap();
    let next = run(&["scan", text(&share), "--db", text(&db), "--quiet"]);
    assert_eq!(next.status.code(), Some(0), "{next:?}");
    let undisturbed = dir.path().join("b.db");
    let other = run(&["scan", text(&share), "--db", text(&undisturbed), "--quiet"]);
    assert_eq!(other.status.code(), Some(0), "{other:?}");
    let all = verdicts(&share, &undisturbed);
    assert_eq!(all.len(), 40);
    assert_eq!(verdicts(&share, &db), all);
}

#[test]
fn a_second_interrupt_ends_at_once_and_leaves_a_run_that_is_not_complete() {
    let dir = tempfile::tempdir().unwrap();
    let (share, db) = (dir.path().join("share"), dir.path().join("a.db"));
    waiting_share(&share, 8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://127.0.0.1:{}/hook",
        listener.local_addr().unwrap().port()
    );
    let mut child = started(&share, &["--db", text(&db), "--webhook", &url], 8);
    let began = Instant::now();
    signal(&child, "-INT");
    std::thread::sleep(Duration::from_millis(50));
    if child.try_wait().unwrap().is_none() {
        signal(&child, "-INT");
    }
    let status = child.wait().unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(status.code(), Some(130));
    let info = run(&["store", "info", text(&db)]);
    let said = String::from_utf8_lossy(&info.stdout).into_owned();
    assert!(info.status.success(), "{info:?}");
    assert!(said.contains("interrupted"), "{said}");
}

#[test]
fn a_receiver_that_never_answers_does_not_hold_a_scan() {
    let dir = tempfile::tempdir().unwrap();
    let (share, db) = (dir.path().join("share"), dir.path().join("a.db"));
    for n in 0..40 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    // Connections are taken by the system and never read.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://127.0.0.1:{}/hook",
        listener.local_addr().unwrap().port()
    );
    let began = Instant::now();
    let output = program()
        .env("KBTRIAGE_WEBHOOK_SECRET", "key")
        .args(["scan", text(&share), "--db", text(&db), "--webhook", &url])
        .args(["--output", text(&dir.path().join("out.jsonl"))])
        .output()
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("could not be delivered"), "{said}");
    assert_eq!(verdicts(&share, &db).len(), 40);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_and_nothing_half_written_is_left_under_a_name() {
    // Standard output on a device that is always full.
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    for n in 0..30 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    let full = |arguments: &[&str]| {
        let device = fs::File::options().write(true).open("/dev/full").unwrap();
        program()
            .args(arguments)
            .stdout(device)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
            .wait_with_output()
            .unwrap()
    };
    for arguments in [
        vec!["scan", text(&share), "--format", "jsonl"],
        vec!["triage", text(&share.join("1.dmp"))],
    ] {
        let output = full(&arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("No space left"), "{said}");
    }

    // Files on a file system of its own with room for a part of them.
    let small = dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let program_path = env!("CARGO_BIN_EXE_kbtriage");
    let script = format!(
        "mount -t tmpfs -o size=128k none '{small}' || exit 99
         '{program_path}' scan '{share}' --format jsonl --output '{small}/out.jsonl'; echo \"$?\"
         ls -A '{small}'; echo --
         '{program_path}' scan '{share}' --format jsonl --db '{small}/a.db' >/dev/null; echo \"$?\"
         '{program_path}' store info '{small}/a.db' >/dev/null; echo \"$?\"",
        small = text(&small),
        share = text(&share),
    );
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: no unshare for a small file system");
        return;
    };
    if output.status.code() == Some(99) || output.stdout.is_empty() {
        println!("SKIPPED: no right to mount a small file system");
        return;
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    let (written, stored) = said.split_once("--\n").unwrap();
    let mut written = written.lines();
    assert_eq!(written.next(), Some("1"), "{said}{errors}");
    assert!(!written.any(|name| name == "out.jsonl"), "{said}");
    assert!(errors.contains("No space left"), "{errors}");
    // The store is opened before anything is read (2), or filled up on the way (1).
    let mut ended = stored.lines();
    assert!(matches!(ended.next(), Some("1" | "2")), "{said}{errors}");
    assert!(
        errors.contains("is full") || errors.contains("disk I/O error"),
        "{errors}"
    );
    assert_ne!(ended.next(), Some("101"), "{errors}");
}
