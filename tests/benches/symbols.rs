//! `cargo bench --bench symbols`: indexing a PDB, loading its index from the cache, a million
//! look-ups, and the memory each takes. Medians; no harness.
//!
//! Memory is the peak of a process of its own that does one thing (`VmHWM`: Linux only), less the
//! peak of one that does nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use kbtriage::image::{Guid, Image};
use kbtriage::machine::Machine;
use kbtriage::symbols::{
    Cache, FileName, ModuleIdentity, ModuleSymbols, PdbIdentity, identify, index_pdb,
};

#[path = "../support/mod.rs"]
mod support;

use support::symbols::{GUID, Pdb};

const PUBLICS: u32 = 60_000;
const LOOKUPS: u32 = 1_000_000;
/// First argument of the process that is measured.
const MEASURED: &str = "--measured";

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, first, work, pdb, cache] = arguments.as_slice()
        && first == MEASURED
    {
        return measured(work, Path::new(pdb), Path::new(cache));
    }
    let quick = !arguments.iter().any(|argument| argument == "--bench");
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/symbols");
    let real = store.join("tcpip.pdb/BB6E495AD4841255931863233D916B601/tcpip.pdb");
    match fs::read(&real) {
        Ok(bytes) => {
            let image = fs::read(store.join("tcpip.sys/8CA873CB2eb000/tcpip.sys")).expect("image");
            measure("tcpip.pdb", &bytes, Some(image), quick);
        }
        Err(_) => println!("SKIPPED: ../shared is absent"),
    }
    let mut pdb = Pdb::new(GUID, 1, &[]);
    pdb.publics = (0..PUBLICS)
        .map(|i| (i * 64, format!("GeneratedFunctionWithALongName{i}")))
        .collect();
    pdb.contributions = (0..PUBLICS).map(|i| (i * 64, 60)).collect();
    measure("60,000 publics", &pdb.write(), None, quick);
}

fn measure(name: &str, pdb: &[u8], image: Option<Vec<u8>>, quick: bool) {
    let runs = if quick { 1 } else { 30 };
    let index = index_pdb(pdb.to_vec()).expect("a good PDB");
    println!(
        "{name}: {} bytes, {} symbols, index {} bytes",
        pdb.len(),
        index.symbol_count(),
        index.as_bytes().len()
    );
    // A file's bytes are handed over: the copies are made beforehand.
    let mut copies = vec![pdb.to_vec(); runs + 1];
    let cold = took(runs, || {
        let bytes = copies.pop().expect("a copy for each run");
        std::hint::black_box(index_pdb(bytes).expect("a good PDB"));
    });
    println!("  cold index:           {cold}   (to stay under 15 ms)");

    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::at(folder.path().to_owned());
    let info = identify(pdb).expect("a good PDB");
    let identity = PdbIdentity {
        name: FileName::new("measured.pdb").expect("a plain name"),
        guid: info.guid,
        age: info.matching_age(),
    };
    cache.save(&identity, &index).expect("a writable folder");
    let warm = took(runs, || {
        std::hint::black_box(cache.load(&identity).expect("what was saved"));
    });
    println!("  warm, from the cache: {warm}   (to stay under 1 ms)");

    let module = ModuleIdentity::new("tcpip.sys", 1, 2).expect("a plain name");
    let image = image.map(|bytes| Image::from_file(bytes).expect("a good image").into());
    let symbols = ModuleSymbols::new(module, Machine::X64, Some((identity, index)), image);
    let lookups = if quick { 1000 } else { LOOKUPS };
    let mut named = 0u32;
    let all = took(1, || {
        let mut state = 12345u32;
        named = 0;
        for _ in 0..lookups {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let rva = 0x1000 + (state >> 8) % 0x1d_0000;
            named += u32::from(symbols.name_at(rva).is_some());
        }
    });
    println!("  {lookups} look-ups:     {all}   ({named} with a name)");

    let file = folder.path().join("measured.pdb");
    fs::write(&file, pdb).expect("a writable folder");
    let key = [&info.guid.0[..], &info.matching_age().to_le_bytes()].concat();
    fs::write(file.with_extension("key"), key).expect("a writable folder");
    let peak = |work: &str| peak(work, &file, folder.path());
    if let (Some(nothing), Some(cold), Some(warm)) = (peak("nothing"), peak("cold"), peak("warm")) {
        println!(
            "  memory, cold:         {:>7} KiB   warm: {} KiB   (peak, above {nothing} KiB of a process that does nothing)",
            cold.saturating_sub(nothing),
            warm.saturating_sub(nothing)
        );
    }
}

/// The process that is measured: one piece of work, then its peak.
fn measured(work: &str, pdb: &Path, cache: &Path) {
    match work {
        "cold" => {
            let bytes = fs::read(pdb).expect("the file");
            std::hint::black_box(index_pdb(bytes).expect("a good PDB"));
        }
        "warm" => {
            let key = fs::read(pdb.with_extension("key")).expect("the key");
            let (guid, age) = key.split_at(16);
            let identity = PdbIdentity {
                name: FileName::new("measured.pdb").expect("a plain name"),
                guid: Guid(guid.try_into().expect("16 bytes")),
                age: u32::from_le_bytes(age.try_into().expect("4 bytes")),
            };
            let loaded = Cache::at(cache.to_owned()).load(&identity);
            std::hint::black_box(loaded.expect("what was saved"));
        }
        _ => {}
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!(
        "{}",
        peak.unwrap_or_default().trim().trim_end_matches(" kB")
    );
}

fn peak(work: &str, pdb: &Path, cache: &Path) -> Option<u64> {
    let out = Command::new(std::env::current_exe().ok()?)
        .args([MEASURED, work])
        .args([pdb, cache])
        .output()
        .ok()?;
    String::from_utf8(out.stdout).ok()?.trim().parse().ok()
}

/// Median of the wall clock, and the mean time on a processor where the system tells it (Linux):
/// that one says the same on a busy machine.
struct Took {
    median: Duration,
    processor: Option<Duration>,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>10.1?}", self.median)?;
        match self.processor {
            Some(processor) => write!(f, ", on a processor {processor:.1?}"),
            None => Ok(()),
        }
    }
}

fn took(runs: usize, mut work: impl FnMut()) -> Took {
    work();
    let before = on_processor();
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    let spent = on_processor()
        .zip(before)
        .map(|(after, before)| after.saturating_sub(before));
    times.sort();
    Took {
        median: times.get(times.len() / 2).copied().unwrap_or_default(),
        processor: spent.map(|spent| spent / u32::try_from(runs).unwrap_or(u32::MAX)),
    }
}

/// Time this thread has spent on a processor.
fn on_processor() -> Option<Duration> {
    // A file that changes with the scheduler: giving way brings it up to date.
    std::thread::yield_now();
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
