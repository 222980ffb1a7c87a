//! `cargo bench --bench share`: 10,000 small dumps in 200 directories behind a file system that takes 5 ms for every
//! call (`tests/latency`, through FUSE), scanned with the defaults, and beside it a loop of 64 parallel readers that
//! make the same calls and compute nothing. Ends with every target and whether it was met.
//!
//! Linux, where FUSE can be mounted; elsewhere it says that it was skipped. `KBTRIAGE_BENCH_DUMPS` sets another
//! number of dumps.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a call takes, in microseconds.
const WAIT: &str = "5000";
const FOLDERS: u64 = 200;
/// Readers of the loop.
const READERS: usize = 64;
/// Bytes of a small dump of a 64-bit system of that time.
const SIZE: u64 = 256 * 1024;

fn main() {
    // `cargo test --all-targets` runs benches too: there, a few files are enough.
    let quick = !std::env::args().any(|argument| argument == "--bench");
    let asked = std::env::var("KBTRIAGE_BENCH_DUMPS").ok();
    let count = match asked.and_then(|text| text.parse().ok()) {
        _ if quick => 60,
        Some(count) => count,
        None => 10_000,
    };
    let Some(server) = server() else {
        println!("SKIPPED: FUSE is not to be had, or tests/latency does not build");
        return;
    };
    let scratch = tempfile::tempdir().expect("a temporary folder");
    let share = scratch.path().join("share");
    generate(&share, count);
    let mount = scratch.path().join("far");
    fs::create_dir(&mount).expect("a folder");
    let far = |what: &str, work: &mut dyn FnMut()| {
        // Each time mounted anew: nothing is remembered.
        let mounted = Mounted::new(&server, &share, &mount)?;
        let started = Instant::now();
        work();
        let took = started.elapsed();
        let calls = mounted.end();
        println!("{what:<28} {took:>8.2?}  {calls}");
        Some(took)
    };
    println!("{count} dumps in {FOLDERS} directories, every call takes 5 ms");
    let Some(floor) = far("64 readers, the same calls", &mut || readers(&mount)) else {
        println!("SKIPPED: FUSE cannot be mounted here");
        return;
    };
    let (db, out) = (
        scratch.path().join("dumps.db"),
        scratch.path().join("out.jsonl"),
    );
    let scan = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
        command
            .arg("scan")
            .arg(&mount)
            .arg("--output")
            .arg(&out)
            .args(more);
        let status = command.stdin(Stdio::null()).stderr(Stdio::null()).status();
        assert!(status.expect("the program runs").success());
    };
    let plain = far("scan", &mut || scan(&[])).expect("mounted before");
    let lines = fs::read_to_string(&out).expect("output").lines().count();
    assert!(
        lines > count as usize,
        "a record a dump, and the closing ones"
    );
    let db = db.to_str().expect("a temporary path is text");
    far("scan --db", &mut || scan(&["--db", db]));
    far("the same again, unchanged", &mut || scan(&["--db", db]));
    if !quick {
        far("scan --jobs 8", &mut || scan(&["--jobs", "8"]));
        far("scan --jobs auto:32", &mut || scan(&["--jobs", "auto:32"]));
    }
    println!("\ntargets:");
    let ratio = plain.as_secs_f64() / floor.as_secs_f64();
    for (what, value, most) in [
        (
            "scan, seconds for 10,000",
            plain.as_secs_f64() * 10_000.0 / count as f64,
            60.0,
        ),
        ("scan, times the 64 readers", ratio, 1.5),
    ] {
        let met = if value <= most { "met" } else { "NOT MET" };
        println!("{what:<28} {value:>8.2}  at most {most:>6.2}  {met}");
    }
    if quick {
        println!("(a few files only: the figures mean nothing)");
    }
}

/// The file system with the wait, built when it is not there; `None` where it cannot be.
fn server() -> Option<PathBuf> {
    if !cfg!(target_os = "linux") || !Path::new("/dev/fuse").exists() {
        return None;
    }
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/latency/Cargo.toml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("latency");
    let built = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(&target)
        .status();
    let program = target.join("release/latency-fs");
    built
        .is_ok_and(|status| status.success())
        .then_some(program)
}

/// The share behind the wait, until it is ended.
struct Mounted {
    server: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Mounted {
    fn new(server: &Path, share: &Path, mount: &Path) -> Option<Mounted> {
        let mut server = Command::new(server)
            .arg(share)
            .arg(mount)
            .arg(WAIT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let input = server.stdin.take();
        let mut output = BufReader::new(server.stdout.take()?);
        let mut line = String::new();
        output.read_line(&mut line).ok()?;
        let mounted = Mounted {
            server,
            input,
            output,
        };
        (line == "ready\n").then_some(mounted)
    }

    /// The calls that came.
    fn end(mut self) -> String {
        drop(self.input.take());
        let mut calls = String::new();
        let _ = self.output.read_to_string(&mut calls);
        calls.trim().to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.server.wait();
    }
}

/// Lists, opens, looks at and reads what a scan does, and nothing else.
fn readers(mount: &Path) {
    let list = |path: &Path| {
        let entries = fs::read_dir(path).expect("a folder");
        entries
            .map(|entry| entry.expect("an entry").path())
            .collect::<Vec<PathBuf>>()
    };
    let files = Mutex::new(Vec::new());
    side_by_side(&list(mount), &|folder| {
        let listed = list(folder);
        files.lock().expect("no panic").extend(listed);
    });
    let files = files.into_inner().expect("no panic");
    side_by_side(&files, &|path| {
        let mut file = File::open(path).expect("a file");
        let found = file.metadata().expect("a look");
        let mut bytes = vec![0; usize::try_from(found.len()).expect("small")];
        file.read_exact(&mut bytes).expect("its bytes");
        std::hint::black_box(bytes);
    });
}

fn side_by_side(paths: &[PathBuf], work: &(dyn Fn(&Path) + Sync)) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                    work(path);
                }
            });
        }
    });
}

/// Small dumps of as many crashes, with a hole behind.
fn generate(share: &Path, count: u64) {
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps/server2008-x64-d1.dmp");
    let mut dump = fs::read(fixture).expect("a fixture");
    for number in 0..count {
        // SystemTime of the 64-bit header at 0xFA8: every dump another crash.
        let time = 128_500_000_000_000_000 + number * 600_000_000;
        dump[0xFA8..0xFB0].copy_from_slice(&time.to_le_bytes());
        let folder = share.join(format!("HOST{:03}", number % FOLDERS));
        fs::create_dir_all(&folder).expect("a folder");
        let mut file = File::create(folder.join(format!("Mini{number:05}.dmp"))).expect("a file");
        file.write_all(&dump).expect("written");
        file.set_len(SIZE).expect("a hole");
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_300_000_000 + number))
            .expect("a time");
    }
}
