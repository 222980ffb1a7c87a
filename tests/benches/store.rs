//! `cargo bench --bench store`: stores of 100,000, 300,000 and 1,000,000 generated records, and what each question about
//! them takes, in time and memory: the merge of 64 shards, machines, buckets, tickets, the page, a scan of a
//! million unchanged files. Ends with how each grows, which is to be no worse than linearly.
//!
//! `KBTRIAGE_BENCH_RECORDS=1000,10000` sets other numbers. A million take some 20 GB below `TMPDIR` while it runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kbtriage::report::records::Shard;
use kbtriage::report::summary::{MachineName, Summary};
use kbtriage::scan::{Done, FileStat, Keeper as _, Outcome, Part, Record, Tally, summary_line};
use kbtriage::source::SourceInfo;
use kbtriage::store::{Store, StoreWriter};
use kbtriage::triage::{Engine, Request};

const SHARDS: u64 = 64;
const MACHINES: u64 = 5000;
/// Bytes that the page may have.
const PAGE: u64 = 5_000_000;

/// What one question took.
struct Taken {
    time: Duration,
    /// Time on processors, where the system tells (Linux): what else the machine does counts less in it.
    work: Duration,
    /// Peak of resident memory in KiB.
    memory: u64,
}

fn main() {
    // `cargo test --all-targets` runs benches too: there, a few records are enough.
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let asked = std::env::var("KBTRIAGE_BENCH_RECORDS").unwrap_or_default();
    let mut counts: Vec<u64> = asked.split(',').filter_map(|n| n.parse().ok()).collect();
    if quick {
        counts = vec![640];
    } else if counts.is_empty() {
        counts = vec![100_000, 300_000, 1_000_000];
    }
    let mut all: Vec<(u64, Vec<(&str, Taken)>)> = Vec::new();
    for count in counts {
        all.push((count, measure(count)));
    }
    println!("\nhow each grows, for so many times the records:");
    let mut met = true;
    for pair in all.windows(2) {
        let [(few, before), (many, after)] = pair else {
            continue;
        };
        let records = *many as f64 / *few as f64;
        for ((what, before), (_, after)) in before.iter().zip(after) {
            let time = after.time.as_secs_f64() / before.time.as_secs_f64();
            let work = after.work.as_secs_f64() / before.work.as_secs_f64().max(0.01);
            let memory = after.memory as f64 / before.memory.max(1) as f64;
            // A third more for a machine that does other work, and for what outgrows its caches.
            let linear = time <= records * 1.33 && memory <= records * 1.1;
            met &= linear;
            let word = if linear { "" } else { "MORE THAN LINEARLY" };
            println!(
                "{what:<26} x{records:.1} records: x{time:.1} time, x{work:.1} processor, x{memory:.1} memory {word}"
            );
        }
    }
    println!(
        "{}",
        if met {
            "linear: met"
        } else {
            "linear: NOT MET"
        }
    );
    if quick {
        println!("(a few records only: the figures mean nothing)");
    }
}

fn measure(count: u64) -> Vec<(&'static str, Taken)> {
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| scratch.path().join(name).to_string_lossy().into_owned();
    let share = scratch.path().join("share");
    let started = Instant::now();
    let templates = templates();
    let stats = tree(&share, count);
    let parts = generate(scratch.path(), &share, &templates, &stats, count);
    println!("\n{count} records, made in {:.0?}", started.elapsed());

    let mut results = Vec::new();
    let mut ask = |what: &'static str, arguments: &[&str], out: &Path| {
        let taken = run(arguments, out);
        println!(
            "{what:<26} {:>8.2?} {:>8.2?} processor {:>6} MiB",
            taken.time,
            taken.work,
            taken.memory >> 10
        );
        results.push((what, taken));
    };
    let (db, out) = (at("all.db"), scratch.path().join("out"));
    let mut merge = vec!["store", "merge", "--db", &db];
    merge.extend(parts.iter().map(String::as_str));
    ask("merge of 64 shards", &merge, &out);
    for part in &parts {
        fs::remove_file(part).expect("a part");
    }
    println!(
        "  store: {} MiB",
        fs::metadata(&db).expect("merged").len() >> 20
    );
    ask("fleet machines", &["fleet", "machines", "--db", &db], &out);
    ask(
        "fleet buckets",
        &["fleet", "buckets", "--db", &db, "--format", "jsonl"],
        &out,
    );
    let tickets = [
        "fleet", "tickets", "--db", &db, "--to", "jira", "--per", "machine",
    ];
    ask("fleet tickets", &tickets, &out);
    ask(
        "the page",
        &["fleet", "machines", "--db", &db, "--format", "html"],
        &out,
    );
    let page = fs::metadata(&out).expect("a page").len();
    println!("  page: {page} bytes");
    assert!(page < PAGE, "{page} bytes");
    let (lines, share) = (at("lines.jsonl"), share.to_string_lossy().into_owned());
    ask(
        "scan, nothing changed",
        &["scan", &share, "--db", &db, "--output", &lines],
        &out,
    );
    let told = kbtriage::store::Store::open(Path::new(&db)).expect("a store");
    assert_eq!(told.counts().expect("counts").1, count);
    let written = fs::metadata(&lines).expect("lines").len();
    println!("  lines: {} MiB", written >> 20);
    results
}

/// Runs the program and gives its time and the most memory it had: Linux, elsewhere 0.
fn run(arguments: &[&str], out: &Path) -> Taken {
    let started = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kbtriage"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::create(out).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let status = format!("/proc/{}/status", child.id());
    let stat = format!("/proc/{}/stat", child.id());
    let (mut memory, mut work) = (0, Duration::ZERO);
    let ended = loop {
        if let Some(ended) = child.try_wait().expect("a child") {
            break ended;
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let now = text.lines().find_map(|line| {
            let number = line.strip_prefix("VmHWM:")?;
            number.split_whitespace().next()?.parse().ok()
        });
        memory = memory.max(now.unwrap_or(0));
        let text = fs::read_to_string(&stat).unwrap_or_default();
        work = work.max(on_processors(&text).unwrap_or_default());
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "{arguments:?}: {ended}");
    Taken {
        time: started.elapsed(),
        work,
        memory,
    }
}

/// User and system time by `/proc/PID/stat` (proc(5): fields 14 and 15, in hundredths of a second).
fn on_processors(stat: &str) -> Option<Duration> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let sum: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(sum * 10))
}

/// Summaries of all fixtures that were analysed.
fn templates() -> Vec<Summary> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    let summaries = paths.iter().map(|path| {
        let bytes = fs::read(path).expect("a fixture");
        let report = Engine::default()
            .triage(&bytes, Request::new(&SourceInfo::of_path(path)))
            .report;
        Summary::of(report, None)
    });
    summaries
        .filter(|summary| summary.dump.is_some() && summary.hotfix.is_some())
        .collect()
}

fn place(share: &Path, number: u64) -> PathBuf {
    share.join(format!(
        "HOST{:04}/{}/Mini{number:07}.dmp",
        number % MACHINES,
        number / 500_000
    ))
}

/// A file for each record: links to a few, as a million dumps would fill a disk.
fn tree(share: &Path, count: u64) -> Vec<FileStat> {
    /// What ext4 allows, and some room.
    const LINKS: u64 = 60_000;
    let mut stats = Vec::new();
    for number in 0..count {
        let path = place(share, number);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        let source = share.with_extension(format!("file-{}", number / LINKS));
        if number % LINKS == 0 {
            let file = File::create(&source).expect("a file");
            file.set_len(65_536).expect("a hole");
            let long_ago = Duration::from_secs(1_300_000_000);
            file.set_modified(std::time::UNIX_EPOCH + long_ago)
                .expect("a time");
            // A file without blocks is one whose content is elsewhere.
            std::io::Write::write_all(&mut &file, &[1; 4096]).expect("written");
            file.set_modified(std::time::UNIX_EPOCH + long_ago)
                .expect("a time");
            stats.push(FileStat::of(&fs::metadata(&source).expect("a look")));
        }
        fs::hard_link(&source, &path).expect("a link");
    }
    (0..count).map(|n| stats[(n / LINKS) as usize]).collect()
}

/// 64 stores with the records of as many shards.
fn generate(
    folder: &Path,
    share: &Path,
    templates: &[Summary],
    stats: &[FileStat],
    count: u64,
) -> Vec<String> {
    let made_by = made_by(folder, share);
    let roots = vec![share.to_string_lossy().into_owned()];
    // As workers of a list do: each has its own part of the paths, and takes it in their order.
    let mut order: Vec<u64> = (0..count).collect();
    order.sort_by_cached_key(|number| place(share, *number));
    let mut parts = Vec::new();
    for shard in 0..SHARDS {
        let path = folder.join(format!("part-{shard}.db"));
        let store = Store::create(&path).expect("a store");
        let mut writer = StoreWriter::new(store, made_by.clone());
        let mut tally = Tally::default();
        for number in order.iter().copied().filter(|n| is_in(*n, shard)) {
            let done = done(share, templates, stats, number);
            tally.add(&done);
            writer.keep(&done).expect("kept");
        }
        let of = Shard::new(shard as u32 + 1, SHARDS as u32);
        let scan = tally.record(Engine::default().tool(), roots.clone(), Some(of), true, 0);
        writer.close(&scan).expect("closed");
        parts.push(path.to_string_lossy().into_owned());
    }
    parts
}

/// A part of the paths that does not follow their order.
fn is_in(number: u64, shard: u64) -> bool {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32 & (SHARDS - 1) == shard
}

fn done(share: &Path, templates: &[Summary], stats: &[FileStat], number: u64) -> Done {
    let mut summary = templates[number as usize % templates.len()].clone();
    let path = place(share, number);
    summary.source.path = path.to_string_lossy().into_owned();
    summary.machine = Some(MachineName {
        name: format!("HOST{:04}", number % MACHINES),
        source: "path".to_owned(),
    });
    summary.crash_id = Some(format!("c1:{number:032x}"));
    if let Some(dump) = &mut summary.dump {
        let (month, day) = (number / 28 % 12 + 1, number % 28 + 1);
        let year = 2008 + number / 400_000;
        dump.crash_time = Some(format!("{year}-{month:02}-{day:02}T00:00:00Z"));
    }
    if let Some(bucket) = &mut summary.bucket {
        bucket.key = format!("{}+{}", bucket.key, number % 10_000);
    }
    Done {
        number,
        relative: path.strip_prefix(share).expect("below").to_owned(),
        path,
        stat: Some(stats[number as usize]),
        outcome: Outcome::Records(vec![Record {
            line: summary_line(&summary),
            summary,
            is_full: false,
            facts: Some(vec![b'F'; 64]),
        }]),
        known: false,
        part: Part::Whole,
        date: false,
        earlier: None,
    }
}

/// What a scan of the share says its results depend on, as it keeps it.
fn made_by(folder: &Path, share: &Path) -> String {
    let db = folder.join("probe.db");
    let one = folder.join("one.dmp");
    fs::write(&one, [1; 100]).expect("a file");
    let status = Command::new(env!("CARGO_BIN_EXE_kbtriage"))
        .arg("scan")
        .args([&one, share])
        .args(["--exclude", "HOST*", "--quiet", "--db"])
        .arg(&db)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.expect("the program runs");
    let store = rusqlite::Connection::open(&db).expect("a store");
    let made_by = store.query_row("SELECT made_by FROM file LIMIT 1", [], |row| row.get(0));
    made_by.expect("a file")
}
