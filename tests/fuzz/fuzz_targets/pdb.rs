//! A PDB to an index and every question to the index. Mutations work inside the streams, so that
//! the container stays whole more often than not.
#![no_main]

use kbtriage::machine::Machine;
use kbtriage::symbols::{Glob, ModuleIdentity, ModuleSymbols, PdbIndex, identify, index_pdb};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

#[allow(dead_code)]
#[path = "../../support/symbols.rs"]
mod symbols;

use symbols::{msf_streams, msf_with};

const BLOCK: usize = 512;

fuzz_target!(|data: &[u8]| {
    let _ = identify(data);
    let Ok(index) = index_pdb(data.to_vec()) else { return };
    let again = PdbIndex::from_bytes(index.as_bytes().to_vec()).expect("an index reads back");
    assert_eq!(again.symbol_count(), index.symbol_count());
    let addresses: Vec<u32> = (0..index.symbol_count().min(64))
        .filter_map(|i| index.symbol(i))
        .flat_map(|s| [s.rva, s.rva.wrapping_add(1), s.rva.wrapping_add(s.size)])
        .chain(
            (0..index.frame_count().min(64))
                .filter_map(|i| index.frame(i))
                .map(|f| f.start),
        )
        .chain([0, u32::MAX])
        .collect();
    let module = ModuleIdentity::new("tcpip.sys", 1, 2).expect("a plain name");
    for machine in [Machine::X86, Machine::X64] {
        let identity = kbtriage::symbols::PdbIdentity {
            name: module.name.clone(),
            guid: kbtriage::image::Guid([0; 16]),
            age: 1,
        };
        let symbols = ModuleSymbols::new(
            module.clone(),
            machine,
            Some((identity, again.clone())),
            None,
        );
        for rva in &addresses {
            if let Some(hit) = symbols.name_at(*rva) {
                assert!(!hit.name.is_empty() && hit.displacement <= *rva);
            }
            if let Some(frame) = symbols.frame_data_at(*rva) {
                assert!(frame.start <= *rva && rva - frame.start < frame.size);
            }
        }
        std::hint::black_box(symbols.find(&Glob::new("*a?*"), 16));
    }
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let whole = &data[..size];
    let streams = if seed % 4 == 0 {
        None
    } else {
        msf_streams(whole)
    };
    let Some(mut streams) = streams.filter(|s| !s.is_empty()) else {
        return fuzzer_mutate(data, size, max_size);
    };
    let chosen = (seed / 4) as usize % streams.len();
    let len = streams[chosen].len();
    streams[chosen].resize(len + 64, 0);
    let new = fuzzer_mutate(&mut streams[chosen], len, len + 64);
    streams[chosen].truncate(new);
    let parts: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
    let file = msf_with(BLOCK, &parts);
    if file.len() > max_size.min(data.len()) {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..file.len()].copy_from_slice(&file);
    file.len()
});
