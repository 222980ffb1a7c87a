//! `cargo bench --bench symbols`: indexing a PDB, loading its index from the cache, a million
//! look-ups, and the bytes each index takes. Medians; no harness.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use kbtriage::image::Image;
use kbtriage::machine::Machine;
use kbtriage::symbols::{Cache, ModuleIdentity, ModuleSymbols, PdbIdentity, index_pdb};

#[allow(dead_code)]
#[path = "../symbols_support/mod.rs"]
mod symbols_support;

use symbols_support::{GUID, Pdb};

const PUBLICS: u32 = 60_000;
const LOOKUPS: u32 = 1_000_000;

fn main() {
    let quick = !std::env::args().any(|argument| argument == "--bench");
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
    let index = index_pdb(pdb).expect("a good PDB");
    println!(
        "{name}: {} bytes, {} symbols, index {} bytes",
        pdb.len(),
        index.symbol_count(),
        index.as_bytes().len()
    );
    let cold = median(runs, || {
        std::hint::black_box(index_pdb(pdb).expect("a good PDB"));
    });
    println!("  cold index:           {cold:>10.1?}   (60,000 publics: to reach 15 ms)");

    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::at(folder.path().to_owned());
    let module = ModuleIdentity::new("tcpip.sys", 1, 2).expect("a plain name");
    let identity = PdbIdentity {
        name: module.name.clone(),
        guid: index.guid().expect("an index has one"),
        age: index.age(),
    };
    cache.save(&identity, &index).expect("a writable folder");
    let warm = median(runs, || {
        std::hint::black_box(cache.load(&identity).expect("what was saved"));
    });
    println!("  warm, from the cache: {warm:>10.1?}   (to reach 1 ms)");

    let image = image.map(|bytes| Image::from_file(bytes).expect("a good image").into());
    let symbols = ModuleSymbols::new(module, Machine::X64, Some((identity, index)), image);
    let lookups = if quick { 1000 } else { LOOKUPS };
    let started = Instant::now();
    let mut named = 0u32;
    let mut state = 12345u32;
    for _ in 0..lookups {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let rva = 0x1000 + (state >> 8) % 0x1d_0000;
        named += u32::from(symbols.name_at(rva).is_some());
    }
    let took = started.elapsed();
    println!("  {lookups} look-ups:     {took:>10.1?}   ({named} with a name)");
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
    times.get(times.len() / 2).copied().unwrap_or_default()
}
