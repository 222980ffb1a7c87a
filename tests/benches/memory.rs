//! `cargo bench --bench memory`: memory dumps of 1 and 64 GiB from file to report, beside the
//! `kdmp-parser` crate on the types it reads. The files are sparse: they hold a written state of
//! 200 modules, four processors and hives, scattered over all page frames.

use std::hint::black_box;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kbtriage::source;
use kbtriage::triage::{Engine, Request};

#[path = "../support/mod.rs"]
mod support;

use support::memory_dump::{Fill, write};
use support::memory_machine::Mode;
use support::memory_registry::Hive;
use support::memory_state::{Size, State};

fn main() {
    // `cargo test --all-targets` runs benches too: there the writer of sparse files is enough.
    let bench = std::env::args().any(|argument| argument == "--bench");
    if !bench || !cfg!(unix) {
        println!("SKIPPED: measured by cargo bench on Unix only");
        return;
    }
    let scratch = tempfile::tempdir().expect("a temporary folder");
    for (name, pages) in [("1 GiB", 1 << 18), ("64 GiB", 1u64 << 24)] {
        let state = scattered(pages);
        for dump_type in [1, 2, 5, 10] {
            let path = scratch.path().join(format!("{dump_type}-{pages}.dmp"));
            let mut header = state.header.clone();
            header.dump_type = dump_type;
            #[cfg(unix)]
            write(&state.machine, &header, Fill::All).save(&path);
            measure(name, dump_type, &path);
            std::fs::remove_file(&path).expect("our own file");
        }
    }
}

fn scattered(pages: u64) -> State {
    let loaded = |stride| {
        let mut state = State::new(
            Mode::X64,
            Size {
                drivers: 200,
                processors: 4,
                first_pfn: 0x107,
                stride,
            },
        );
        Hive::system(128_606_795_000_000_000, Some(1), "ALPHA").load(&mut state);
        state
    };
    let used = loaded(1).machine.pages.len() as u64;
    let mut state = loaded((pages - 0x200) / used);
    state.header.runs = vec![(1, 0x9E), (0x100, pages - 0x100)];
    state
}

fn measure(name: &str, dump_type: u32, path: &Path) {
    let engine = Engine::default();
    let to_report = median(11, || {
        let source = source::open(path).expect("our own file");
        black_box(
            engine
                .triage(source.bytes(), Request::new(&source.info))
                .report,
        );
    });
    let whole = median(11, || {
        let status = program(path).status().expect("the program runs");
        assert!(status.success());
    });
    let peak = peak_memory(path).map_or("?".to_owned(), |kib| kib.to_string());
    print!(
        "type {dump_type:>2}, {name:>6}: file to report {to_report:>9.1?}, whole process \
         {whole:>9.1?}, peak {peak} KiB"
    );
    // Type 2 and 32-bit dumps are not known to that crate.
    if dump_type != 2 {
        let started = Instant::now();
        let parsed = kdmp_parser::parse::KernelDumpParser::new(path);
        let modules = parsed.as_ref().map_or(0, |p| p.kernel_modules().len());
        print!(
            "; kdmp-parser opens it in {:.1?} ({modules} modules)",
            started.elapsed()
        );
        if let Err(error) = parsed {
            print!(" failing: {error}");
        }
    }
    println!();
}

fn program(path: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
    command
        .args(["triage", "--format", "jsonl"])
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
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
