//! `cargo bench`: how long a triage takes, in process and as a program, and the memory of the program.
//!
//! The dump is a real one of about 2 MB where `../shared` is present, else a written one padded to
//! that size. Medians of many runs; no harness, so that nothing but the work is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kbtriage::report::json;
use kbtriage::source::SourceInfo;
use kbtriage::triage::{Engine, Request};

#[path = "../support/mod.rs"]
mod support;

const IN_PROCESS: usize = 500;
const PROCESSES: usize = 60;

fn main() {
    // `cargo test --all-targets` runs benches too: there, once is enough.
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let (name, path) = dump(scratch.path());
    let bytes = fs::read(&path).expect("the dump");
    println!("dump: {name}, {} bytes", bytes.len());

    let engine = Engine::default();
    let info = SourceInfo::of_path(&path);
    let to_report = median(if quick { 1 } else { IN_PROCESS }, || {
        std::hint::black_box(engine.triage(&bytes, Request::new(&info)).report);
    });
    let to_json = median(if quick { 1 } else { IN_PROCESS }, || {
        let mut out = Vec::new();
        json::write_compact(&mut out, &engine.triage(&bytes, Request::new(&info)).report)
            .expect("memory");
        std::hint::black_box(out);
    });
    println!("bytes to report, in process:  {to_report:>10.1?}   (to reach: 1 ms)");
    println!("bytes to JSON, in process:    {to_json:>10.1?}");

    for format in ["text", "jsonl"] {
        let whole = median(if quick { 1 } else { PROCESSES }, || {
            let status = program(&path, format).status().expect("the program runs");
            assert!(status.success());
        });
        println!("whole process, {format:<5}:         {whole:>10.1?}   (to reach: 10 ms)");
    }
    if let Some(peak) = peak_memory(&path) {
        println!("peak memory of the process:   {peak:>6} KiB   (to reach: 12288 KiB)");
    }
}

fn program(path: &Path, format: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
    command
        .args(["triage", "--format", format])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn median(runs: usize, mut work: impl FnMut()) -> Duration {
    work();
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// The real dump nearest to 2 MB, or a fixture with as many bytes behind it.
fn dump(scratch: &Path) -> (&'static str, PathBuf) {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/dumps/kernel/1e.dmp");
    if real.exists() {
        return ("a real x64 triage dump", real);
    }
    println!("SKIPPED: ../shared is absent, measuring a written dump");
    let mut bytes = support::write(&support::catalogue::server_2008_x64());
    bytes.resize(2 << 20, 0);
    let path = scratch.join("padded.dmp");
    fs::write(&path, bytes).expect("room for 2 MB");
    ("a written x64 triage dump", path)
}

/// The largest resident set, as GNU time reports it; `None` where that is not installed.
fn peak_memory(path: &Path) -> Option<u64> {
    let output = Command::new("/usr/bin/time")
        .args(["-f", "%M", env!("CARGO_BIN_EXE_kbtriage"), "triage"])
        .arg(path)
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().last()?.trim().parse().ok()
}
