//! What only written PDBs can show: moved code, folded names, the reach of a name, old frame
//! records, and containers made to hurt.

use crate::support::symbols::{GUID, Out, Pdb, msf};
use kbtriage::machine::Machine;
use kbtriage::symbols::{
    FrameKind, Glob, ModuleIdentity, ModuleSymbols, PdbError, PdbIdentity, SymbolKind, identify,
    index_pdb,
};

fn symbols(pdb: &Pdb, machine: Machine) -> ModuleSymbols {
    let module = ModuleIdentity::new("tcpip.sys", 1, 2).unwrap();
    let index = index_pdb(pdb.write()).unwrap();
    let identity = PdbIdentity {
        name: module.name.clone(),
        guid: index.guid().unwrap(),
        age: index.age(),
    };
    ModuleSymbols::new(module, machine, Some((identity, index)), None)
}

fn shown(symbols: &ModuleSymbols, rva: u32) -> Option<String> {
    let hit = symbols.name_at(rva)?;
    Some(format!(
        "{}+{:x} {:?}",
        hit.name, hit.displacement, hit.kind
    ))
}

#[test]
fn names_follow_code_that_was_moved_and_removed_code_has_none() {
    let mut pdb = Pdb::new(
        GUID,
        1,
        &[(0x10, "First"), (0x40, "Second"), (0x80, "Gone")],
    );
    pdb.omap = vec![(0x1000, 0x3000), (0x1040, 0x2000), (0x1080, 0)];
    let symbols = symbols(&pdb, Machine::X64);
    assert_eq!(symbols.address_of("First"), Some(0x3010));
    assert_eq!(symbols.address_of("Second"), Some(0x2000));
    assert_eq!(symbols.address_of("Gone"), None);
    assert_eq!(shown(&symbols, 0x2000).as_deref(), Some("Second+0 Exact"));
}

#[test]
fn a_symbol_without_a_name_names_nothing() {
    let pdb = Pdb::new(GUID, 1, &[(0x10, "First"), (0x40, ""), (0x80, "Third")]);
    let symbols = symbols(&pdb, Machine::X64);
    assert_eq!(shown(&symbols, 0x1010).as_deref(), Some("First+0 Exact"));
    assert_ne!(shown(&symbols, 0x1040).as_deref(), Some("+0 Exact"));
    assert_eq!(shown(&symbols, 0x1080).as_deref(), Some("Third+0 Exact"));
}

#[test]
fn a_contribution_bounds_the_reach_of_a_name() {
    let mut pdb = Pdb::new(
        GUID,
        1,
        &[(0x10, "A"), (0x40, "B"), (0x80, "C"), (0x90, "D")],
    );
    pdb.contributions = vec![(0x10, 0x20), (0x40, 0x20), (0x80, 0x40)];
    let symbols = symbols(&pdb, Machine::X64);
    assert_eq!(shown(&symbols, 0x102f).as_deref(), Some("A+1f Exact"));
    // Behind A's object file section lies something without a name.
    assert_eq!(shown(&symbols, 0x1030), None);
    assert_eq!(shown(&symbols, 0x1060), None);
    // C and D share one section: a static function may lie behind D.
    assert_eq!(shown(&symbols, 0x1088).as_deref(), Some("C+8 Exact"));
    assert_eq!(shown(&symbols, 0x1098).as_deref(), Some("D+8 Approximate"));
    assert_eq!(shown(&symbols, 0x100f), None);
}

#[test]
fn without_any_bound_a_name_is_approximate_behind_its_address() {
    let symbols = symbols(&Pdb::new(GUID, 1, &[(0x10, "A")]), Machine::X64);
    assert_eq!(shown(&symbols, 0x1010).as_deref(), Some("A+0 Exact"));
    assert_eq!(shown(&symbols, 0x1011).as_deref(), Some("A+1 Approximate"));
    // Outside the section.
    assert_eq!(shown(&symbols, 0x90_0000), None);
}

#[test]
fn all_names_of_a_folded_address_are_kept_in_order() {
    let names = [
        (0x40, "Zeta"),
        (0x40, "Alpha"),
        (0x40, "Mid"),
        (0x40, "Alpha"),
    ];
    let hit = symbols(&Pdb::new(GUID, 1, &names), Machine::X64)
        .name_at(0x1040)
        .unwrap();
    assert_eq!((hit.name.as_str(), hit.kind), ("Alpha", SymbolKind::Exact));
    assert_eq!(hit.aliases, ["Mid", "Zeta"]);
}

#[test]
fn x86_names_lose_their_decoration_and_are_found_without_it() {
    let mut pdb = Pdb::new(
        GUID,
        1,
        &[
            (0x10, "_TtStopTimer@8"),
            (0x40, "@IppFast@4"),
            (0x80, "_cdecl"),
        ],
    );
    pdb.machine = 0x14c;
    let symbols = symbols(&pdb, Machine::X86);
    assert_eq!(
        shown(&symbols, 0x1010).as_deref(),
        Some("TtStopTimer+0 Exact")
    );
    assert_eq!(symbols.address_of("TtStopTimer"), Some(0x1010));
    assert_eq!(symbols.address_of("_TtStopTimer@8"), Some(0x1010));
    let found = symbols.find(&Glob::new("*pp*"), 10);
    assert_eq!(found, [("IppFast".to_owned(), 0x1040)]);
}

#[test]
fn fpo_records_are_read_by_the_published_bits() {
    let mut pdb = Pdb::new(GUID, 1, &[(0x10, "_f@8")]);
    pdb.machine = 0x14c;
    // winnt.h FPO_DATA: cbProlog:8, cbRegs:3, fHasSEH:1, fUseBP:1, reserved:1, cbFrame:2.
    let mut records = Out::default();
    records
        .u32(0x1010)
        .u32(0x20)
        .u32(3)
        .u16(2)
        .u16(0x15 | 2 << 8 | 1 << 11 | 1 << 12);
    records.u32(0x1040).u32(0x10).u32(0).u16(0).u16(3 << 14);
    records.u32(0x1060).u32(0x10).u32(0).u16(0).u16(1 << 14);
    pdb.fpo = records.0;
    let symbols = symbols(&pdb, Machine::X86);
    let frame = symbols.frame_data_at(0x102f).unwrap();
    assert_eq!(
        (frame.kind, frame.prolog, frame.saved_registers),
        (FrameKind::Fpo, 0x15, 8)
    );
    assert_eq!((frame.locals, frame.params), (12, 8));
    assert!(frame.has_seh && frame.uses_base_pointer && frame.program.is_none());
    assert_eq!(symbols.frame_data_at(0x1030), None);
    assert_eq!(
        symbols.frame_data_at(0x1040).unwrap().kind,
        FrameKind::Standard
    );
    assert_eq!(symbols.frame_data_at(0x1060).unwrap().kind, FrameKind::Trap);
    // The record bounds the function's name too.
    assert_eq!(shown(&symbols, 0x102f).as_deref(), Some("f+1f Exact"));
    assert_eq!(shown(&symbols, 0x1030), None);
}

#[test]
fn frame_records_move_with_their_code() {
    let mut pdb = Pdb::new(GUID, 1, &[(0x10, "_f@8")]);
    pdb.machine = 0x14c;
    pdb.omap = vec![(0x1000, 0x5000), (0x1020, 0x2000)];
    let mut record = Out::default();
    record
        .u32(0x1010)
        .u32(0x20)
        .u32(4)
        .u32(8)
        .u32(0)
        .u32(0)
        .u16(3)
        .u16(4)
        .u32(4);
    pdb.frame_data = record.0;
    let symbols = symbols(&pdb, Machine::X86);
    let first = symbols.frame_data_at(0x5010).unwrap();
    let second = symbols.frame_data_at(0x200f).unwrap();
    assert_eq!(
        (first.start, first.size, first.function_start),
        (0x5010, 0x10, true)
    );
    assert_eq!(
        (second.start, second.size, second.function_start),
        (0x2000, 0x10, false)
    );
    assert_eq!(symbols.frame_data_at(0x1010), None);
}

#[test]
fn one_block_named_a_million_times_is_refused_and_not_allocated() {
    // A directory whose second stream is 64 MiB long, all of it the same block.
    let blocks = 16 << 10;
    let mut directory = Out::default();
    directory.u32(2).u32(0).u32(blocks << 12);
    for _ in 0..blocks {
        directory.u32(3);
    }
    let mut file = vec![0; 4 * 4096];
    let first = file.len() / 4096;
    file.extend_from_slice(&directory.0);
    file.resize(file.len().next_multiple_of(4096), 0);
    let map_block = file.len() / 4096;
    let mut map = Out::default();
    for block in first..map_block {
        map.u32(block as u32);
    }
    file.extend_from_slice(&map.0);
    file.resize(file.len().next_multiple_of(4096), 0);
    let template = msf(&[]);
    file[..52].copy_from_slice(&template[..52]);
    let mut head = Out::default();
    head.u32((file.len() / 4096) as u32)
        .u32(directory.0.len() as u32)
        .u32(0)
        .u32(map_block as u32);
    file[40..56].copy_from_slice(&head.0);
    assert!(matches!(identify(&file), Err(PdbError::Damaged(_))));
    assert!(matches!(index_pdb(file), Err(PdbError::Damaged(_))));
}

#[test]
fn a_pdb_cut_or_overwritten_anywhere_gives_an_index_or_a_reason() {
    let mut pdb = Pdb::new(GUID, 1, &[(0x10, "_f@8"), (0x40, "?g@C@@QAEXXZ")]);
    pdb.contributions = vec![(0x10, 0x20)];
    pdb.omap = vec![(0x1000, 0x5000), (0x1020, 0x2000)];
    let whole = pdb.write();
    for len in (0..whole.len()).step_by(511) {
        assert!(index_pdb(whole[..len].to_vec()).is_err(), "{len}");
    }
    for at in (0..whole.len()).step_by(3) {
        let mut broken = whole.clone();
        broken[at] = !broken[at];
        if let Ok(index) = index_pdb(broken.clone()) {
            assert!(index.symbol_count() <= 2);
        }
    }
}

#[test]
fn a_parser_that_panics_is_an_error() {
    let mut pdb = Pdb::new(GUID, 1, &[(0x10, "_f@8"), (0x40, "?g@C@@QAEXXZ")]);
    pdb.contributions = vec![(0x10, 0x20)];
    let broken = crate::support::symbols::panicking(&pdb);
    let why = index_pdb(broken.clone()).unwrap_err().to_string();
    assert!(why.contains("a parser gave up"), "{why}");
}

/// What the fuzz targets `image` and `pdb` start from.
#[test]
fn seeds() {
    match std::env::var_os("KBTRIAGE_SEEDS") {
        Some(folder) => crate::support::symbol_seeds::write(folder.as_ref()),
        None => println!("SKIPPED: KBTRIAGE_SEEDS names no folder"),
    }
}
