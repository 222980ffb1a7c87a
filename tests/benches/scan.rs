//! `cargo bench --bench scan`: a share of 10,000 triage dumps with 10,000 contents, scanned into a store
//! and an output file, scanned again, with symbols, and the floor under all: a loop that walks, opens,
//! stats and reads 192 KiB of each. Ends with every target and whether it was met.
//!
//! Times are those of the wall: on a machine that does other work, processor times and the ratio to
//! the loop say more. `KBTRIAGE_BENCH_DUMPS` sets another number of dumps.
//!
//! Each dump has the beginning of a real one where `../shared` is present (else of a fixture), its own
//! time and parameters, and a hole behind. No two share an inode.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Bytes that a triage dump needs and the baseline reads.
const HEAD: usize = 192 * 1024;
/// Workers: as many as the targets have cores.
const JOBS: &str = "2";
/// Size of each file.
const SIZE: u64 = 2 << 20;

fn main() {
    // `cargo test --all-targets` runs benches too: there, a few files are enough.
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let asked = std::env::var("KBTRIAGE_BENCH_DUMPS").ok();
    let count = match asked.and_then(|text| text.parse().ok()) {
        _ if quick => 50,
        Some(count) => count,
        None => 10_000,
    };
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let share = scratch.path().join("share");
    let started = Instant::now();
    let written = generate(&share, count);
    println!(
        "{count} dumps, {} MiB of beginnings, made in {:.1?}",
        written >> 20,
        started.elapsed()
    );

    let mut targets = Targets::default();
    let db = scratch.path().join("dumps.db");
    let out = scratch.path().join("dumps.jsonl");
    let to_output = ["--output", text(&out)];
    let to_both = ["--db", text(&db), "--output", text(&out)];

    let floor = best(|| baseline(&share));
    show("walk, open, stat, read 192 KiB", count, &floor);
    let fresh = best(|| {
        remove(&db);
        scan(&share, &to_both)
    });
    show("scan --db --output", count, &fresh);
    let lines = fs::read_to_string(&out).expect("output").lines().count();
    assert!(
        lines > count as usize,
        "a record a dump, and the closing ones"
    );
    println!(
        "  store {} MiB, lines {} MiB",
        size(&db) >> 20,
        size(&out) >> 20
    );
    let again = best(|| scan(&share, &to_both));
    show("the same again, unchanged", count, &again);
    let plain = best(|| scan(&share, &to_output));
    show("scan --output without a store", count, &plain);
    targets.at_least("scan --db --output, a second", rate(count, &fresh), 5000.0);
    targets.at_most(
        "scan --db --output, times the loop",
        fresh.wall.as_secs_f64() / floor.wall.as_secs_f64(),
        10.0,
    );
    // 0.3 s for 10,000.
    targets.at_most(
        "rescan, seconds",
        again.wall.as_secs_f64(),
        0.3 * count as f64 / 10_000.0,
    );
    remove(&db);
    if let Some(peak) = peak(&share, &to_both) {
        targets.at_most("peak memory, MiB", peak as f64 / 1024.0, 96.0);
    }
    let symbols = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/symbols");
    if symbols.is_dir() {
        let options = [
            "--symbols",
            text(&symbols),
            "--db",
            text(&db),
            "--output",
            text(&out),
        ];
        let with = best(|| {
            remove(&db);
            scan(&share, &options)
        });
        show("with shared symbols", count, &with);
        targets.at_least("with shared symbols, a second", rate(count, &with), 1000.0);
        remove(&db);
        if let Some(peak) = peak(&share, &options) {
            println!("  peak memory with symbols: {} MiB", peak >> 10);
        }
    } else {
        println!("SKIPPED: ../shared/data/symbols is absent");
    }
    targets.print(quick);
}

/// What was to be reached, and what was.
#[derive(Default)]
struct Targets(Vec<(&'static str, f64, &'static str, f64, bool)>);

impl Targets {
    fn at_least(&mut self, what: &'static str, value: f64, target: f64) {
        self.0
            .push((what, value, "at least", target, value >= target));
    }

    fn at_most(&mut self, what: &'static str, value: f64, target: f64) {
        self.0
            .push((what, value, "at most", target, value <= target));
    }

    fn print(&self, quick: bool) {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!("\ntargets, for two cores and a warm cache; here {cores} cores, {JOBS} workers:");
        for (what, value, side, target, met) in &self.0 {
            let met = if *met { "met" } else { "NOT MET" };
            println!("{what:<36} {value:>9.2}  {side:>8} {target:>8.2}  {met}");
        }
        if quick {
            println!("(a few files only: the figures mean nothing)");
        }
    }
}

/// One measurement.
struct Taken {
    wall: Duration,
    /// Processor time of this process and its children, user and system.
    cpu: Duration,
}

fn show(what: &str, count: u64, taken: &Taken) {
    println!(
        "{what:<32} {:>9.1?}  {:>7.0}/s  {:>6.3} ms of processor time each",
        taken.wall,
        rate(count, taken),
        taken.cpu.as_secs_f64() * 1000.0 / count as f64,
    );
}

fn remove(db: &Path) {
    for path in [
        db.to_owned(),
        db.with_extension("db-wal"),
        db.with_extension("db-shm"),
    ] {
        let _ = fs::remove_file(path);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |found| found.len())
}

fn rate(count: u64, taken: &Taken) -> f64 {
    count as f64 / taken.wall.as_secs_f64()
}

/// Processor time of this process and of its children that ended: proc(5), in ticks of 10 ms. Zero
/// where there is no such file.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = text.rsplit_once(')').map_or("", |(_, after)| after);
    // utime, stime, cutime, cstime: fields 14 to 17, the third is the first after the name.
    let ticks: u64 = after
        .split_whitespace()
        .skip(11)
        .take(4)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 10)
}

/// The best of three: the first one warms the cache.
fn best(mut work: impl FnMut()) -> Taken {
    (0..3)
        .map(|_| {
            let (started, before) = (Instant::now(), cpu());
            work();
            Taken {
                wall: started.elapsed(),
                cpu: cpu().saturating_sub(before),
            }
        })
        .min_by_key(|taken| taken.wall)
        .expect("three runs")
}

fn command(share: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
    command
        .arg("scan")
        .arg(share)
        .args(["--jobs", JOBS])
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

#[cfg(unix)]
fn read_at_start(file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, 0)
}

#[cfg(windows)]
fn read_at_start(file: &File, buffer: &mut [u8]) -> std::io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, 0)
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
        bytes += read_at_start(&file, &mut buffer).expect("read") as u64 + found.len();
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
