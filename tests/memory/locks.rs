//! Locks, the forwarding set, processors that spin, large pool allocations, encoded debugger data, and the
//! search of a whole dump. Layouts here are stated a second time from the documented structures.

use kbtriage::bytes::Budget;
use kbtriage::gather::forwarding::set::{self, QueueHandle};
use kbtriage::kernel::{pool, structures};
use kbtriage::machine::Machine as Architecture;
use kbtriage::source::SourceInfo;
use kbtriage::symbols::{Origin, SymbolLibrary, SymbolOptions, SymbolPath};
use kbtriage::triage::{Engine, Request};
use serde_json::Value;

use crate::kernel::{architecture, pool_page, with};
use crate::reports::report;
use crate::support::memory_dump::{Fill, write};
use crate::support::memory_machine::{Machine, Mode};
use crate::support::memory_registry::Hive;
use crate::support::memory_state::{SMALL, Size, State, pool as pool_at, variable};
use crate::support::symbols::Pdb;

const MODES: [Mode; 3] = [Mode::X86, Mode::X86Pae, Mode::X64];

/// Puts a KLOCK_QUEUE_HANDLE: Next, then Lock.
fn put_handle(m: &mut Machine, at: u64, next: u64, lock: u64) {
    let width = m.mode.pointer() as u64;
    m.put_ptr(at, next);
    m.put_ptr(at + width, lock);
}

#[test]
fn a_queue_handle_counts_only_while_its_lock_holds_it() {
    for mode in MODES {
        let mut m = Machine::new(mode, 0x20, 1);
        let lock = pool_at(mode, 0x100);
        let [owner, waiter, stale, other] = [1, 2, 3, 4].map(|n| pool_at(mode, 0x1_0000 * n));
        m.put_ptr(lock, waiter);
        // Bit 1 marks the owner on some kernels, bit 0 one that waits.
        put_handle(&mut m, owner, waiter, lock | 2);
        put_handle(&mut m, waiter, 0, lock | 1);
        put_handle(&mut m, stale, 0, lock);
        // The head of a list: its Blink leads to an entry that leads back.
        let entry = pool_at(mode, 0x200);
        put_handle(&mut m, other, entry, entry);
        put_handle(&mut m, entry, other, other);
        with(&m, |memory| {
            let budget = Budget::default();
            let at = |at| set::handle_at(memory, at, architecture(mode), &budget);
            let found = |address, waiting| {
                Some(QueueHandle {
                    address,
                    lock,
                    waiting,
                })
            };
            assert_eq!(at(owner), found(owner, false), "{mode:?}");
            assert_eq!(at(waiter), found(waiter, true), "{mode:?}");
            assert_eq!(at(stale), None, "a released handle keeps its bytes");
            assert_eq!(at(other), None, "the head of a list is no handle");
        });
        // The owner released: it keeps its link, but its successor waits no more.
        put_handle(&mut m, waiter, 0, lock | 2);
        with(&m, |memory| {
            let budget = Budget::default();
            let at = |at| set::handle_at(memory, at, architecture(mode), &budget);
            assert_eq!(at(owner), None);
            assert_eq!(at(waiter).map(|handle| handle.waiting), Some(false));
        });
    }
}

#[test]
fn a_queue_that_leads_in_a_circle_is_left() {
    let mode = Mode::X64;
    let mut m = Machine::new(mode, 0x20, 1);
    let lock = pool_at(mode, 0x100);
    let [a, b] = [1, 2].map(|n| pool_at(mode, 0x1_0000 * n));
    m.put_ptr(lock, pool_at(mode, 0x9_0000));
    put_handle(&mut m, a, b, lock | 1);
    put_handle(&mut m, b, a, lock | 1);
    with(&m, |memory| {
        let budget = Budget::default();
        assert_eq!(set::handle_at(memory, a, Architecture::X64, &budget), None);
    });
}

/// A state whose faulting register leads to a forwarding entry, the entry to a set, the set to a table.
pub struct Forwarding {
    pub state: State,
    set: u64,
    entry: u64,
    table: u64,
    /// Address of the header of the table's block.
    table_block: u64,
}

fn forwarding() -> Forwarding {
    forwarding_in(SMALL)
}

pub fn forwarding_in(size: Size) -> Forwarding {
    let mode = Mode::X64;
    let mut state = State::new(mode, size);
    let m = &mut state.machine;
    let page = pool_at(mode, 0x70_0000);
    let blocks = pool_page(
        m,
        page,
        &[(b"IPmf", 9, true), (b"IPmf", 12, true), (b"Iptt", 20, true)],
    );
    let [set, entry, table] = [0, 1, 2].map(|i| blocks[i] + 16);
    m.put_u32(set, 3);
    m.put_u64(set + 0x10, 0);
    m.put_u32(set + 0x18, 2);
    m.put_u64(set + 0x20, table);
    m.put_u64(entry + 0x28, set);
    // rdx of the trap frame: the entry's timer link.
    m.put_u64(state.trap_frame + 0x40, entry + 0x40);
    state.refresh();
    Forwarding {
        state,
        set,
        entry,
        table,
        table_block: blocks[2],
    }
}

fn of_kind(got: &Value, kind: &str) -> Vec<Value> {
    got["memory_findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["kind"] == kind)
        .cloned()
        .collect()
}

fn reported(state: &State) -> Value {
    report(&write(&state.machine, &state.header, Fill::All))
}

#[test]
fn the_forwarding_set_is_found_from_an_entry_with_its_lock_and_count() {
    let forwarding = forwarding();
    let found = of_kind(&reported(&forwarding.state), "forwarding-set");
    let [set] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(set["address"], format!("{:#018x}", forwarding.set));
    let detail = set["detail"].as_str().unwrap();
    for part in [
        "3 entries",
        "2 readers inside",
        "is free",
        &format!("{:#018x}", forwarding.table),
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let got = reported(&forwarding.state);
    let state = &got["system"]["multicast_forwarding"];
    assert_eq!(state["any"], true, "entries exist where it is on");
    assert_eq!(state["source"], "forwarding-set");
    let evidence = got["hotfix"]["match"]["evidence"].to_string();
    assert!(evidence.contains("forwarding.entries-exist"), "{evidence}");
}

#[test]
fn a_held_lock_names_its_queue_handle_and_a_wild_one_is_no_lock() {
    let mut one = forwarding();
    let (_, sp) = one.state.contexts[0];
    let lock = one.set + 0x10;
    one.state.machine.put_u64(lock, sp + 0x200);
    put_handle(&mut one.state.machine, sp + 0x200, 0, lock);
    let got = reported(&one.state);
    let detail = of_kind(&got, "forwarding-set")[0]["detail"].to_string();
    assert!(
        detail.contains("is held, the last queue handle"),
        "{detail}"
    );
    let handles = of_kind(&got, "queue-handle");
    let text = handles[0]["detail"].as_str().unwrap();
    assert!(text.starts_with("processor 0:"), "{text}");
    assert!(text.contains("owns"), "{text}");
    assert!(text.contains("the forwarding set's"), "{text}");
    assert_eq!(handles[0]["tag"], "IPmf");

    let mut wild = forwarding();
    wild.state.machine.put_u64(wild.set + 0x10, sp + 0x900);
    let got = reported(&wild.state);
    assert!(of_kind(&got, "forwarding-set").is_empty());
}

#[test]
fn bytes_that_make_no_sense_as_a_set_are_none() {
    for spoil in 0..5 {
        let mut one = forwarding();
        let m = &mut one.state.machine;
        match spoil {
            0 => m.put_u32(one.set, 0x7FFF_FFFF),
            1 => m.put_u32(one.set + 0x18, 0xFFFF_FFFF),
            2 => m.put(one.table_block + 4, b"Tcpt"),
            3 => m.put_u64(one.set + 0x20, one.table + 0x10),
            _ => m.put_u64(one.set + 0x20, one.entry),
        }
        let got = reported(&one.state);
        assert!(of_kind(&got, "forwarding-set").is_empty(), "{spoil}");
    }
}

#[test]
fn a_large_table_is_recognised_by_its_lists() {
    for lists in [true, false] {
        let mut one = forwarding();
        let table = pool_at(Mode::X64, 0x78_0000);
        for i in 0..0x100 {
            let at = table + i * 16;
            let to = if lists { at } else { 0x1234_5678 };
            one.state.machine.put_u64(at, to);
            one.state.machine.put_u64(at + 8, to);
        }
        one.state.machine.put_u64(one.set + 0x20, table);
        one.state.refresh();
        let found = of_kind(&reported(&one.state), "forwarding-set");
        assert_eq!(found.len(), usize::from(lists));
    }
}

/// Code and the register its loops go through, on the processor that did not crash.
fn spinning(mode: Mode, code: &[u8], register: u64, memory: &[(u64, u64)]) -> Vec<Value> {
    let mut state = State::new(mode, SMALL);
    let (ip, _) = state.contexts[0];
    state.machine.put(ip, code);
    let saved = if mode.is_32_bit() {
        0x1C + 0xB0
    } else {
        0x120 + 0x78
    };
    let prcb = state.prcbs[0];
    state.machine.put_ptr(prcb + saved, register);
    for (at, value) in memory {
        state.machine.put_ptr(*at, *value);
    }
    state.refresh();
    let mut found = of_kind(&reported(&state), "spinning-processor");
    found.retain(|finding| {
        finding["detail"]
            .as_str()
            .unwrap()
            .starts_with("processor 0")
    });
    found
}

fn detail(found: &[Value]) -> &str {
    let [one] = found else { panic!("{found:?}") };
    one["detail"].as_str().unwrap()
}

#[test]
fn a_processor_that_waits_for_a_spin_lock_is_recognised_with_the_lock() {
    for mode in MODES {
        let lock = pool_at(mode, 0x68_0000);
        // again: pause; cmp dword [rax], 0; jne again
        let code = [0xF3, 0x90, 0x83, 0x38, 0x00, 0x75, 0xF9];
        let found = spinning(mode, &code, lock, &[(lock, 1)]);
        let at = if mode.is_32_bit() {
            format!("{lock:#010x}")
        } else {
            format!("{lock:#018x}")
        };
        assert_eq!(
            detail(&found),
            format!("processor 0: waits for the spin lock at {at}")
        );
        // A lock that is free holds nobody.
        assert!(spinning(mode, &code, lock, &[(lock, 0)]).is_empty());
        // again: xchg eax, [rax] is no loop; one that calls somebody may end there.
        let calls = [0xE8, 0, 0, 0, 0, 0x83, 0x38, 0x00, 0x75, 0xF6];
        assert!(spinning(mode, &calls, lock, &[(lock, 1)]).is_empty());
    }
}

#[test]
fn a_processor_in_the_queue_of_a_lock_names_the_lock_not_the_handle() {
    for mode in MODES {
        let width = mode.pointer() as u64;
        let lock = pool_at(mode, 0x68_0000);
        let state = State::new(mode, SMALL);
        let (own, owners) = (state.contexts[0].1 + 0x300, state.contexts[1].1 + 0x800);
        // again: pause; test byte [rax + width], 1; jne again
        let code = [0xF3, 0x90, 0xF6, 0x40, width as u8, 0x01, 0x75, 0xF8];
        let memory = [
            (lock, own),
            (own, 0),
            (own + width, lock | 1),
            (owners, own),
            (owners + width, lock),
        ];
        let found = spinning(mode, &code, own, &memory);
        let text = detail(&found);
        assert!(
            text.contains("waits for the queued spin lock at"),
            "{mode:?} {text}"
        );
        assert!(text.contains(&format!("{lock:x}")), "{text}");
    }
}

#[test]
fn a_walk_that_never_ends_is_told_from_one_that_passes_an_empty_list() {
    for mode in MODES {
        let width = mode.pointer() as u64;
        let [a, b, c] = [0, 1, 2].map(|n| pool_at(mode, 0x68_0000 + n * 0x40));
        // again: mov rax, [rax]; test rax, rax; jne again
        let code: &[u8] = match mode.is_32_bit() {
            true => &[0x8B, 0x00, 0x85, 0xC0, 0x75, 0xFA],
            false => &[0x48, 0x8B, 0x00, 0x48, 0x85, 0xC0, 0x75, 0xF8],
        };
        let itself = spinning(mode, code, a, &[(a, a), (a + width, a)]);
        assert!(detail(&itself).contains("leads to itself"), "{itself:?}");
        let cycle = spinning(mode, code, a, &[(a, b), (b, c), (c, b)]);
        assert!(
            detail(&cycle).contains("leads back into itself"),
            "{cycle:?}"
        );
        let ends = spinning(mode, code, a, &[(a, b), (b, c), (c, 0)]);
        assert!(ends.is_empty(), "{ends:?}");
    }
}

#[test]
fn a_loop_that_counts_ends_some_time() {
    // again: inc dword [rax]; jmp again
    let code = [0xFF, 0x00, 0xEB, 0xFC];
    let at = pool_at(Mode::X64, 0x68_0000);
    assert!(spinning(Mode::X64, &code, at, &[(at, 5)]).is_empty());
}

#[test]
fn the_table_of_large_allocations_gives_their_tag_and_size() {
    for mode in MODES {
        let narrow = mode.is_32_bit();
        let mut m = Machine::new(mode, 0x20, 1);
        let (pointer, count) = (variable(mode, 3), variable(mode, 3) + 0x40);
        let table = pool_at(mode, 0x60_0000);
        m.put_ptr(pointer, table);
        m.put_ptr(count, 8);
        m.put(table, &[0; 0x200]);
        let size = if narrow { 0x10 } else { 0x18 };
        let mut put = |index: u64, va: u64, tag: &[u8; 4], bytes: u64| {
            let at = table + index * size;
            m.put_ptr(at, va);
            m.put(at + mode.pointer() as u64, tag);
            m.put_ptr(at + if narrow { 0xC } else { 0x10 }, bytes);
        };
        let va = pool_at(mode, 0x62_0000);
        put(2, va, b"Iptt", 0x2000);
        // Bit 0 of the address: free.
        put(3, va + 0x4000 + 1, b"Tcpt", 0x1000);
        with(&m, |memory| {
            let layout = structures::find(Some(6001), architecture(mode)).unwrap();
            let budget = Budget::default();
            let blocks = pool::large_blocks(memory, (pointer, count), layout, &budget).unwrap();
            let tag = |at| pool::block_among(&blocks, at).map(|block| block.tag.to_string());
            assert_eq!(tag(va + 0x1FFF).as_deref(), Some("Iptt"), "{mode:?}");
            assert_eq!(tag(va + 0x2000), None);
            assert_eq!(tag(va + 0x4000), None, "free");
        });
    }
}

/// An engine with a store that holds a PDB of the kernel with these publics, by offset in its code.
fn kernel_symbols(folder: &std::path::Path, publics: &[(u32, &str)]) -> Engine {
    let pdb = Pdb::new([0; 16], 1, publics);
    let path = folder
        .join("ntoskrnl.pdb")
        .join(pdb.key())
        .join("ntoskrnl.pdb");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, pdb.write()).unwrap();
    Engine {
        symbols: Some(SymbolLibrary::new(SymbolOptions {
            symbols: SymbolPath::parse(folder.to_str().unwrap(), Origin::CommandLine),
            ..SymbolOptions::default()
        })),
        ..Engine::default()
    }
}

#[test]
fn an_encoded_debugger_data_block_is_read_with_the_kernels_symbols() {
    let mut state = State::new(Mode::X64, SMALL);
    let code = state.drivers[0].base + 0x1000;
    let (never, always): (u64, u64) = (0x51C3_09AA_7E20_4D05, 0x9E37_79B9_7F4A_7C15);
    state.machine.put_u64(code + 0x100, never);
    state.machine.put_u64(code + 0x108, always);
    let encoded_at = code + 0x110;
    let at = state.kdbg;
    for offset in (0..0x330).step_by(8) {
        let place = state.machine.place(at + offset).unwrap();
        let bytes: Vec<u8> = (0..8)
            .map(|i| state.machine.physical_byte(place + i).unwrap())
            .collect();
        let plain = u64::from_le_bytes(bytes.try_into().unwrap());
        // Each step of the decoding, backwards; the key's low byte is 5.
        let word = (plain ^ always).swap_bytes() ^ encoded_at;
        let word = word.rotate_right(5) ^ never;
        state.machine.put_u64(at + offset, word);
    }
    let file = write(&state.machine, &state.header, Fill::All);
    let without = report(&file);
    assert!(without["system"]["build_lab"].is_null());
    let folder = tempfile::tempdir().unwrap();
    let engine = kernel_symbols(
        folder.path(),
        &[
            (0x100, "KiWaitNever"),
            (0x108, "KiWaitAlways"),
            (0x110, "KdpDataBlockEncoded"),
        ],
    );
    let got = serde_json::to_value(
        engine
            .triage(&file, Request::new(&SourceInfo::default()))
            .report,
    )
    .unwrap();
    assert_eq!(
        got["system"]["build_lab"],
        crate::support::memory_state::BUILD_LAB,
        "{}",
        got["dump"]["damage"]
    );
    assert!(!got["dump"]["damage"].to_string().contains("encoded"));
}

#[test]
fn symbols_of_the_kernel_make_a_large_table_known_by_its_tag() {
    let mut one = forwarding();
    let mode = Mode::X64;
    let code = one.state.drivers[0].base + 0x1000;
    let (big, table) = (pool_at(mode, 0x79_0000), pool_at(mode, 0x78_0000));
    let m = &mut one.state.machine;
    m.put_u64(code + 0x100, big);
    m.put_u64(code + 0x108, 4);
    m.put(big, &[0; 0x60]);
    m.put_u64(big + 0x18, table);
    m.put(big + 0x20, b"Iptt");
    m.put_u64(big + 0x28, 0x1000);
    m.put(table, &[0; 0x1000]);
    m.put_u64(one.set + 0x20, table);
    one.state.refresh();
    let file = write(&one.state.machine, &one.state.header, Fill::All);
    assert!(of_kind(&report(&file), "forwarding-set").is_empty());
    let folder = tempfile::tempdir().unwrap();
    let engine = kernel_symbols(
        folder.path(),
        &[(0x100, "PoolBigPageTable"), (0x108, "PoolBigPageTableSize")],
    );
    let got = serde_json::to_value(
        engine
            .triage(&file, Request::new(&SourceInfo::default()))
            .report,
    )
    .unwrap();
    let found = of_kind(&got, "forwarding-set");
    assert!(
        found[0]["detail"].as_str().unwrap().contains("tagged Iptt"),
        "{found:?}"
    );
}

#[test]
fn the_whole_dump_is_searched_for_the_registry_only_on_request() {
    for mode in MODES {
        for dump_type in [1, 2, 5] {
            // Longer than what is read whole in one go.
            let size = Size {
                stride: 24,
                ..SMALL
            };
            let mut state = State::new(mode, size);
            Hive::system(128_606_795_000_000_000, Some(1), "ALPHA").load(&mut state);
            // The System process's handle table is gone: no short way leads to a key.
            let table = state.system + if mode.is_32_bit() { 0xDC } else { 0x160 };
            state.machine.put_ptr(table, 0);
            state.header.dump_type = dump_type;
            let file = write(&state.machine, &state.header, Fill::All);
            let got = report(&file);
            assert!(got["system"]["machine"].is_null(), "{mode:?}");
            let (_, bytes) = file.counts();
            let engine = Engine {
                deep: true,
                ..Engine::default()
            };
            let got = serde_json::to_value(
                engine
                    .triage(&file, Request::new(&SourceInfo::default()))
                    .report,
            )
            .unwrap();
            assert_eq!(got["system"]["machine"], "ALPHA", "{mode:?} {dump_type}");
            assert_eq!(got["system"]["multicast_forwarding"]["ipv4"], true);
            let (_, both) = file.counts();
            assert!(both - bytes > bytes, "the search reads the file");
        }
    }
}

#[test]
fn the_list_of_hives_is_found_by_its_symbol_where_the_handle_table_is_gone() {
    let mut state = State::new(Mode::X64, SMALL);
    Hive::system(128_606_795_000_000_000, Some(1), "ALPHA").load(&mut state);
    let table = state.system + 0x160;
    state.machine.put_ptr(table, 0);
    // The head moves into the kernel's image; the hives keep leading past it.
    let head = state.drivers[0].base + 0x1100;
    let first = 0xFFFF_F8A0_0000_1000 + 2 * 0x1000 + 0x5D0;
    state.machine.put_ptr(head, first);
    let file = write(&state.machine, &state.header, Fill::All);
    assert!(report(&file)["system"]["machine"].is_null());
    let folder = tempfile::tempdir().unwrap();
    let engine = kernel_symbols(folder.path(), &[(0x100, "CmpHiveListHead")]);
    let got = serde_json::to_value(
        engine
            .triage(&file, Request::new(&SourceInfo::default()))
            .report,
    )
    .unwrap();
    assert_eq!(got["system"]["machine"], "ALPHA");
}
