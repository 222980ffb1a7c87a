//! `cargo bench --bench scan`: a share of 10,000 triage dumps with 10,000 contents, scanned into a store
//! and an output file, scanned again, and the floor under both: a loop that walks, opens, stats and
//! reads 192 KiB of each.
//!
//! Each dump has the beginning of a real one where `../shared` is present (else of a fixture), its own
//! time and parameters, and a hole behind. No two share an inode.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes that a triage dump needs and the baseline reads.
const HEAD: usize = 192 * 1024;
/// Size of each file.
const SIZE: u64 = 2 << 20;

fn main() {
    // `cargo test --all-targets` runs benches too: there, a few files are enough.
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let count = if quick { 50 } else { 10_000 };
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let share = scratch.path().join("share");
    let started = Instant::now();
    let written = generate(&share, count);
    println!(
        "{count} dumps, {} MiB of beginnings, made in {:.1?}",
        written >> 20,
        started.elapsed()
    );

    let floor = best(|| baseline(&share));
    println!(
        "walk, open, stat, read 192 KiB:  {floor:>9.1?}  {:>7.0}/s",
        rate(count, floor)
    );
    let db = scratch.path().join("dumps.db");
    let out = scratch.path().join("dumps.jsonl");
    let fresh = best(|| {
        for path in [
            &db,
            &db.with_extension("db-wal"),
            &db.with_extension("db-shm"),
        ] {
            let _ = fs::remove_file(path);
        }
        scan(&share, &["--db", text(&db), "--output", text(&out)])
    });
    println!(
        "scan --db --output:              {fresh:>9.1?}  {:>7.0}/s   (to reach: 5000/s)  {:.1} times the loop (to reach: 10)",
        rate(count, fresh),
        fresh.as_secs_f64() / floor.as_secs_f64(),
    );
    let lines = fs::read_to_string(&out).expect("output").lines().count();
    assert!(
        lines > count as usize,
        "a record a dump, and the closing ones"
    );
    println!(
        "store: {} MiB, lines: {} MiB",
        size(&db) >> 20,
        size(&out) >> 20
    );
    let again = best(|| scan(&share, &["--db", text(&db), "--output", text(&out)]));
    println!("the same again, unchanged:       {again:>9.1?}  (to reach: 300 ms for 10,000)");
    let plain = best(|| scan(&share, &["--output", text(&out)]));
    println!(
        "scan --output without a store:   {plain:>9.1?}  {:>7.0}/s",
        rate(count, plain)
    );
    let symbols = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/symbols");
    if symbols.is_dir() {
        let with = best(|| {
            scan(
                &share,
                &["--symbols", text(&symbols), "--output", text(&out)],
            )
        });
        println!(
            "with shared symbols:             {with:>9.1?}  {:>7.0}/s   (to reach: 1000/s)",
            rate(count, with)
        );
    }
    let _ = fs::remove_file(&db);
    if let Some(peak) = peak(&share, &["--db", text(&db), "--output", text(&out)]) {
        println!("peak memory of the scan:         {peak:>6} KiB  (to reach: 98304 KiB)");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The best of three: the first one warms the cache.
fn best(mut work: impl FnMut()) -> Duration {
    (0..3)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .min()
        .expect("three runs")
}

fn command(share: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
    command
        .arg("scan")
        .arg(share)
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn scan(share: &Path, more: &[&str]) {
    let status = command(share, more).status().expect("the program runs");
    assert!(matches!(status.code(), Some(0 | 1)), "{status}");
}

/// The largest `VmHWM` seen while the program runs: Linux only.
fn peak(share: &Path, more: &[&str]) -> Option<u64> {
    let mut child = command(share, more).spawn().ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    while child.try_wait().ok()?.is_none() {
        if let Ok(text) = fs::read_to_string(&status) {
            let now = text.lines().find_map(|line| {
                line.strip_prefix("VmHWM:")?
                    .split_whitespace()
                    .next()?
                    .parse()
                    .ok()
            });
            peak = peak.max(now);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    peak
}

/// What any scan has to do at least.
fn baseline(share: &Path) {
    let mut buffer = vec![0; HEAD];
    let mut bytes = 0u64;
    for entry in walkdir::WalkDir::new(share) {
        let entry = entry.expect("entry");
        if !entry.file_type().is_file() {
            continue;
        }
        let file = File::open(entry.path()).expect("open");
        let found = file.metadata().expect("stat");
        bytes += file.read_at(&mut buffer, 0).expect("read") as u64 + found.len();
    }
    std::hint::black_box(bytes);
}

/// Beginnings of 64-bit triage dumps.
fn beginnings() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in ["../shared/data/dumps/kernel", "fixtures/dumps"] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            println!("SKIPPED: {folder} is absent");
            continue;
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("entry").path()).collect();
        paths.sort();
        for path in paths {
            let mut bytes = fs::read(&path).unwrap_or_default();
            // Type 4 of the 64-bit header at 0xF98.
            if bytes.starts_with(b"PAGEDU64") && bytes.get(0xF98) == Some(&4) {
                bytes.truncate(HEAD);
                found.push(bytes);
            }
        }
        if !found.is_empty() {
            break;
        }
    }
    found
}

fn generate(share: &Path, count: u64) -> u64 {
    let beginnings = beginnings();
    let mut written = 0;
    for number in 0..count {
        let mut head = beginnings[number as usize % beginnings.len()].clone();
        // SystemTime at 0xFA8 and the first parameter at 0x40: every dump another crash.
        let time = 128_500_000_000_000_000 + number * 600_000_000;
        head[0xFA8..0xFB0].copy_from_slice(&time.to_le_bytes());
        head[0x40..0x48].copy_from_slice(&(0x1000 + number * 8).to_le_bytes());
        let folder = share.join(format!("HOST{:03}", number % 400));
        fs::create_dir_all(&folder).expect("folder");
        let mut file = File::create(folder.join(format!("Mini{number:05}.dmp"))).expect("file");
        file.write_all(&head).expect("write");
        file.set_len(SIZE).expect("hole");
        file.seek(SeekFrom::Start(0)).expect("seek");
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_300_000_000 + number))
            .expect("time");
        written += head.len() as u64;
    }
    written
}
