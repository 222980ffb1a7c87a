//! What became of the forwarding entry that an unlink faulted on: a null link is a removal's work only in
//! a build whose code leaves one. Code bytes are llvm-mc's of the listings beside them.

use kbtriage::source::SourceInfo;
use kbtriage::symbols::{Origin, SymbolLibrary, SymbolOptions, SymbolPath};
use kbtriage::triage::{Engine, Request};
use serde_json::Value;

use crate::kernel::pool_page;
use crate::support::memory_dump::{Fill, write};
use crate::support::memory_machine::Mode;
use crate::support::memory_state::{SMALL, State, pool as pool_at};
use crate::support::symbols::Pdb;

/// mov r8,[rdx]; mov rax,[rdx+8]; mov [rax],r8; mov [r8+8],rax
const UNLINK: &[u8] = b"\x4C\x8B\x02\x48\x8B\x42\x08\x4C\x89\x00\x49\x89\x40\x08";
/// The store that faults, from the routine's start.
const FAULTS_AT: u64 = 7;
/// mov [rdx+8],rdx; mov [rdx],rdx; ret
const TO_ITSELF: &[u8] = b"\x48\x89\x52\x08\x48\x89\x12\xC3";
/// and qword [rdx],0; and qword [rdx+8],0; ret
const TO_NULL: &[u8] = b"\x48\x83\x22\x00\x48\x83\x62\x08\x00\xC3";
/// mov r9,[rcx+8]; mov [rdx],rcx; mov [rdx+8],r9; mov [r9],rdx; mov [rcx+8],rdx; ret: to another list
const TO_ANOTHER_LIST: &[u8] =
    b"\x4C\x8B\x49\x08\x48\x89\x0A\x4C\x89\x4A\x08\x49\x89\x11\x48\x89\x51\x08\xC3";
/// Where a named routine is put in tcpip.sys, from its code.
const NAMED: u64 = 0x400;

/// A list of two forwarding entries, the first's back link null, and an unlink of it that faulted. The
/// faulting routine ends as `end` says.
struct Torn {
    state: State,
    first: u64,
    second: u64,
    head: u64,
}

impl Torn {
    fn new(end: &[u8]) -> Torn {
        let mut state = State::new(Mode::X64, SMALL);
        let (m, start) = (&mut state.machine, state.fault_ip - FAULTS_AT);
        let page = pool_at(Mode::X64, 0x70_0000);
        let blocks = pool_page(
            m,
            page,
            &[(b"IPmf", 9, true), (b"IPmf", 9, true), (b"Iptt", 20, true)],
        );
        let [first, second] = [0, 1].map(|i| blocks[i] + 16 + 0x40);
        let table = blocks[2] + 16;
        let head = table + 0x20;
        for (at, next, previous) in [
            (head, first, second),
            (first, second, 0),
            (second, head, first),
        ] {
            m.put_u64(at, next);
            m.put_u64(at + 8, previous);
        }
        m.put(start, UNLINK);
        m.put(start + UNLINK.len() as u64, end);
        // The call that led there, and its return address where the routine, a leaf, has it.
        let back = state.fault_ip + 0x200;
        m.put(back - 5, &[0xE8]);
        m.put(
            back - 4,
            &((start as i64 - back as i64) as i32).to_le_bytes(),
        );
        m.put_u64(state.trap_frame + 0x168 + 0x28, back);
        // rax, rcx, rdx, r8.
        for (at, value) in [(0x30, 0), (0x38, table), (0x40, first), (0x48, second)] {
            m.put_u64(state.trap_frame + at, value);
        }
        m.put_u64(state.trap_frame + 0xD0, 0);
        state.header.parameters = [0, 2, 1, state.fault_ip];
        state.refresh();
        Torn {
            state,
            first,
            second,
            head,
        }
    }

    fn report(&self, engine: &Engine) -> Value {
        let file = write(&self.state.machine, &self.state.header, Fill::All);
        serde_json::to_value(
            engine
                .triage(&file, Request::new(&SourceInfo::default()))
                .report,
        )
        .unwrap()
    }
}

fn ids(report: &Value) -> Vec<String> {
    let evidence = report["hotfix"]["match"]["evidence"].as_array().unwrap();
    let id = |e: &Value| e["id"].as_str().unwrap().to_owned();
    let mut ids: Vec<String> = evidence.iter().map(id).collect();
    ids.retain(|id| id.starts_with("memory."));
    ids
}

fn status(report: &Value) -> &str {
    report["hotfix"]["match"]["status"].as_str().unwrap()
}

fn detail<'a>(report: &'a Value, kind: &str) -> &'a str {
    let findings = report["memory_findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["kind"] == kind);
    found.unwrap()["detail"].as_str().unwrap()
}

#[test]
fn a_null_link_is_foreign_where_the_faulting_routine_leaves_none() {
    let got = Torn::new(TO_ITSELF).report(&Engine::default());
    assert!(
        ids(&got).contains(&"memory.overwritten-entry".to_owned()),
        "{got:#}"
    );
    assert_eq!(status(&got), "unlikely");
    let detail = detail(&got, "overwritten-entry");
    assert!(detail.contains("point at the timer itself"), "{detail}");
}

#[test]
fn a_null_link_is_a_state_of_the_race_where_the_routine_leaves_one() {
    let got = Torn::new(TO_NULL).report(&Engine::default());
    assert_eq!(ids(&got), ["memory.mfe-link"], "{got:#}");
    assert_eq!(status(&got), "probable");
}

#[test]
fn a_null_link_that_nothing_explains_is_taken_for_neither() {
    let got = Torn::new(TO_ANOTHER_LIST).report(&Engine::default());
    assert_eq!(ids(&got), ["memory.mfe-null-link"], "{got:#}");
    assert_eq!(status(&got), "possible");
    assert!(detail(&got, "null-link").contains("does not say which"));
}

#[test]
fn the_routine_that_stops_a_timer_is_found_by_its_name() {
    for (end, expected) in [(TO_ITSELF, "unlikely"), (TO_NULL, "probable")] {
        let mut torn = Torn::new(TO_ANOTHER_LIST);
        let code = torn.state.drivers[2].base + 0x1000;
        torn.state.machine.put(code + NAMED, UNLINK);
        let rest = code + NAMED + UNLINK.len() as u64;
        torn.state.machine.put(rest, end);
        torn.state.refresh();
        let image = &torn.state.drivers[2].image;
        let pdb = Pdb::new(image.guid, image.age, &[(NAMED as u32, "TtStopTimer")]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tcpip.pdb").join(pdb.key());
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("tcpip.pdb"), pdb.write()).unwrap();
        let engine = Engine {
            symbols: Some(SymbolLibrary::new(SymbolOptions {
                symbols: SymbolPath::parse(folder.path().to_str().unwrap(), Origin::CommandLine),
                ..SymbolOptions::default()
            })),
            ..Engine::default()
        };
        let got = torn.report(&engine);
        assert_eq!(status(&got), expected, "{got:#}");
    }
}

#[test]
fn an_entry_of_the_table_that_somebody_wrote_over_counts_wherever_the_fault_was() {
    let mut torn = Torn::new(TO_NULL);
    let second = torn.second;
    torn.state.machine.put_u64(second, 0x0F7A_0552_0000_0000);
    torn.state.refresh();
    let got = torn.report(&Engine::default());
    assert!(
        ids(&got).contains(&"memory.overwritten-entry".to_owned()),
        "{got:#}"
    );
    let detail = detail(&got, "overwritten-entry");
    assert!(detail.contains("the fault was at another one"), "{detail}");
    assert!(detail.contains(&format!("{second:#x}")), "{detail}");
}

/// Gives tcpip.sys a TtStopTimer and an IppRestartMfeTimer whose entry has its timer at 0x40, and the symbols that name
/// both.
fn with_symbols(torn: &mut Torn) -> (tempfile::TempDir, Engine) {
    /// lea rdx,[rcx+40h]; call TtStopTimer; ret
    const RESTART: &[u8] = b"\x48\x8D\x51\x40\xE8";
    const AT: u64 = NAMED + 0x80;
    let driver = &torn.state.drivers[2];
    let code = driver.base + 0x1000;
    let pdb = Pdb::new(
        driver.image.guid,
        driver.image.age,
        &[
            (NAMED as u32, "TtStopTimer"),
            (AT as u32, "IppRestartMfeTimer"),
        ],
    );
    let m = &mut torn.state.machine;
    m.put(code + NAMED, UNLINK);
    m.put(code + NAMED + UNLINK.len() as u64, TO_NULL);
    m.put(code + AT, RESTART);
    let back = AT + RESTART.len() as u64 + 4;
    m.put(
        code + back - 4,
        &((NAMED as i64 - back as i64) as i32).to_le_bytes(),
    );
    m.put(code + back, &[0xC3]);
    torn.state.refresh();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tcpip.pdb").join(pdb.key());
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("tcpip.pdb"), pdb.write()).unwrap();
    let engine = Engine {
        symbols: Some(SymbolLibrary::new(SymbolOptions {
            symbols: SymbolPath::parse(folder.path().to_str().unwrap(), Origin::CommandLine),
            ..SymbolOptions::default()
        })),
        ..Engine::default()
    };
    (folder, engine)
}

#[test]
fn where_no_table_is_known_only_the_builds_code_says_where_an_entry_has_its_link() {
    // Nothing is there; the other half of the entry leads to its neighbour, or makes no sense either.
    let nowhere = 0xFFFF_FA80_7777_0000;
    for (code, other, expected) in [
        (true, None, true),
        (true, Some(0x1234_5678), false),
        // Memory with the entries' tag is the set's as well: without the code nothing counts against.
        (false, None, false),
        (false, Some(0x1234_5678), false),
    ] {
        let mut torn = Torn::new(TO_ANOTHER_LIST);
        let (first, second) = (torn.first, torn.second);
        let m = &mut torn.state.machine;
        // A walk: mov r10,[rax]; mov esi,[rax+10h]; ret
        m.put(torn.state.fault_ip, b"\x4C\x8B\x10\x8B\x70\x10\xC3");
        m.put_u64(first, other.unwrap_or(second));
        m.put_u64(first + 8, nowhere);
        // rax, rcx: no register leads to the table.
        m.put_u64(torn.state.trap_frame + 0x30, nowhere);
        m.put_u64(torn.state.trap_frame + 0x38, 0);
        m.put_u64(torn.state.trap_frame + 0xD0, nowhere);
        torn.state.header.parameters = [nowhere, 2, 0, torn.state.fault_ip];
        torn.state.refresh();
        let got = match code {
            true => {
                let (_folder, engine) = with_symbols(&mut torn);
                torn.report(&engine)
            }
            false => torn.report(&Engine::default()),
        };
        let found = ids(&got).contains(&"memory.overwritten-entry".to_owned());
        assert_eq!(found, expected, "{got:#}");
        if expected {
            let detail = detail(&got, "overwritten-entry");
            assert!(detail.contains(&format!("{first:#x}")), "{detail}");
        }
    }
}

#[test]
fn an_entry_that_another_processor_linked_again_meanwhile_is_proof() {
    // This processor had read null from both links; memory holds an entry in order.
    let mut torn = Torn::new(TO_NULL);
    let (first, second, head) = (torn.first, torn.second, torn.head);
    torn.state.machine.put_u64(first + 8, head);
    // r8 as it was read.
    torn.state.machine.put_u64(torn.state.trap_frame + 0x48, 0);
    torn.state.refresh();
    let got = torn.report(&Engine::default());
    assert!(
        ids(&got).contains(&"memory.changed-entry".to_owned()),
        "{got:#}"
    );
    let said = detail(&got, "changed-entry");
    assert!(said.contains(&format!("{second:#x}")), "{said}");
    // What somebody wrote over does not link itself again: half of it is still the writer's.
    let torn = Torn::new(TO_NULL);
    let got = torn.report(&Engine::default());
    assert!(!ids(&got).contains(&"memory.changed-entry".to_owned()));
}
