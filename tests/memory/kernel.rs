//! Pool, lists and the registry in memory.

use kbtriage::bytes::{Budget, PagedReader};
use kbtriage::facts::ForwardingSource;
use kbtriage::gather::external;
use kbtriage::kernel::lists::{self, Direction, End, Rules};
use kbtriage::kernel::pool;
use kbtriage::machine::Machine as Architecture;
use kbtriage::memory::{Memory, Paged, Physical};
use kbtriage::source::SourceInfo;
use kbtriage::triage::{Engine, Request};
use serde_json::Value;

use crate::reports::report;
use crate::support::memory_dump::{Fill, write};
use crate::support::memory_machine::{Machine, Mode};
use crate::support::memory_registry::Hive;
use crate::support::memory_state::{SMALL, State, pool as pool_at, variable};
use crate::{body, header, opened, reader};

const MODES: [Mode; 3] = [Mode::X86, Mode::X86Pae, Mode::X64];
/// The crash time every test header carries.
const CRASH: u64 = 128_606_796_000_000_000;

pub fn with<T>(machine: &Machine, test: impl FnOnce(&dyn Memory) -> T) -> T {
    let file = write(machine, &header(machine, 1), Fill::All);
    let reader = reader(&file);
    let dump = opened(&reader);
    let budget = Budget::default();
    let physical = Physical::new(&reader, body(&dump), &budget);
    test(&Paged::of_crash(&physical, &dump.header).unwrap())
}

pub fn architecture(mode: Mode) -> Architecture {
    if mode.is_32_bit() {
        Architecture::X86
    } else {
        Architecture::X64
    }
}

fn reported(state: &State) -> Value {
    report(&write(&state.machine, &state.header, Fill::All))
}

/// A page of pool blocks: tag, units and whether each is allocated. Gives each block's address.
pub fn pool_page(m: &mut Machine, page: u64, blocks: &[(&[u8; 4], u64, bool)]) -> Vec<u64> {
    let (unit, bits) = if m.mode.is_32_bit() { (8, 9) } else { (16, 8) };
    let (mut at, mut previous) = (0u64, 0u64);
    let mut places = Vec::new();
    let rest = 0x1000 / unit - blocks.iter().map(|block| block.1).sum::<u64>();
    let filler = (b"Fill", rest, true);
    for (tag, units, allocated) in blocks.iter().chain([&filler]) {
        let kind = if *allocated { 2u64 << bits } else { 0 };
        let word = previous | ((units | kind) << 16);
        m.put_u32(page + at, word as u32);
        m.put(page + at + 4, *tag);
        places.push(page + at);
        previous = *units;
        at += units * unit;
    }
    places
}

#[test]
fn an_address_in_pool_belongs_to_the_block_around_it() {
    for mode in MODES {
        let (unit, header) = if mode.is_32_bit() {
            (8u64, 8u64)
        } else {
            (16, 16)
        };
        let mut m = Machine::new(mode, 0x20, 1);
        let page = pool_at(mode, 0x70_0000);
        let blocks = pool_page(
            &mut m,
            page,
            &[(b"Tcpt", 3, true), (b"IPmf", 9, true), (b"Iptt", 4, false)],
        );
        with(&m, |memory| {
            let at = |address| pool::block_at(memory, address, architecture(mode), Some(6001));
            let block = at(blocks[1] + header + 0x18).unwrap();
            assert_eq!(block.tag.to_string(), "IPmf", "{mode:?}");
            assert_eq!((block.header, block.size), (blocks[1], 9 * unit));
            assert_eq!(block.offset(blocks[1] + header + 0x18), Some(0x18));
            assert!(block.allocated);
            assert!(!at(blocks[2] + header).unwrap().allocated);
            assert_eq!(at(page + 0x2000), None);
            let other = pool::block_at(memory, blocks[1], architecture(mode), Some(9600));
            assert_eq!(other, None, "another build has other headers");
        });
    }
}

#[test]
fn a_page_whose_headers_disagree_holds_no_known_block() {
    let mut m = Machine::new(Mode::X64, 0x20, 1);
    let page = pool_at(Mode::X64, 0x70_0000);
    let blocks = pool_page(&mut m, page, &[(b"Tcpt", 3, true), (b"IPmf", 9, true)]);
    m.put(blocks[1], &[7]);
    with(&m, |memory| {
        let found = pool::block_at(memory, blocks[0] + 16, Architecture::X64, Some(6001));
        assert_eq!(found, None);
    });
}

fn tracker(state: &mut State, counts: &[(&[u8; 4], u32, u32)]) {
    let mode = state.machine.mode;
    let size = if mode.is_32_bit() { 0x1C } else { 0x28 };
    let table = pool_at(mode, 0x80_0000);
    state.machine.put(table, &[0; 0x2000]);
    for (i, (tag, allocs, frees)) in counts.iter().enumerate() {
        let at = table + 3 * size * (i as u64 + 1);
        state.machine.put(at, *tag);
        state.machine.put_u32(at + 4, *allocs);
        state.machine.put_u32(at + 8, *frees);
    }
    state.machine.put_ptr(variable(mode, 2) + 0x190, table);
    state.refresh();
}

#[test]
fn outstanding_forwarding_entries_say_that_forwarding_was_on() {
    for mode in MODES {
        let mut state = State::new(mode, SMALL);
        tracker(&mut state, &[(b"Tcpt", 90, 3), (b"IPmf", 17, 4)]);
        let got = reported(&state);
        let forwarding = &got["system"]["multicast_forwarding"];
        assert_eq!(
            forwarding["any"], true,
            "{mode:?} {}",
            got["memory_findings"]
        );
        assert!(forwarding["ipv4"].is_null(), "the tag names no family");
        assert_eq!(forwarding["source"], "pool-allocations");
        assert_eq!(forwarding["as_of"], got["dump"]["crash_time"]);
        let evidence = got["hotfix"]["match"]["evidence"].to_string();
        assert!(evidence.contains("forwarding.entries-exist"), "{evidence}");
    }
}

#[test]
fn the_sets_alone_say_nothing_about_forwarding() {
    let mut state = State::new(Mode::X64, SMALL);
    tracker(&mut state, &[(b"IPmf", 2, 0)]);
    let got = reported(&state);
    assert!(got["system"]["multicast_forwarding"]["source"].is_null());
}

#[test]
fn no_entry_exists_only_where_the_tags_own_row_says_so() {
    let evidence = |counts: &[(&[u8; 4], u32, u32)]| {
        let mut state = State::new(Mode::X64, SMALL);
        tracker(&mut state, counts);
        reported(&state)["hotfix"]["match"]["evidence"].to_string()
    };
    // Whatever is in the dump of a table without the row may be cut off before it.
    let none = "forwarding.no-entries";
    assert!(!evidence(&[(b"Tcpt", 90, 3)]).contains(none));
    assert!(!evidence(&[(b"IPmf", 17, 4)]).contains(none));
    assert!(evidence(&[(b"IPmf", 17, 17)]).contains(none));
}

#[test]
fn a_walk_reports_the_first_neighbours_that_disagree() {
    let mode = Mode::X64;
    let mut m = Machine::new(mode, 0x20, 1);
    let at: Vec<u64> = (0..6).map(|i| pool_at(mode, 0x1000 * i)).collect();
    for i in 0..6 {
        m.put_ptr(at[i], at[(i + 1) % 6]);
        m.put_ptr(at[i] + 8, at[(i + 5) % 6]);
    }
    let budget = Budget::default();
    let rules = Rules {
        width: 8,
        most: 100,
        reciprocal: true,
        budget: &budget,
    };
    with(&m, |memory| {
        let walk = lists::walk(memory, at[0], Direction::Forward, rules);
        assert_eq!((walk.end, walk.entries), (End::Whole, at[1..].to_vec()));
        let walk = lists::walk(memory, at[0], Direction::Backward, rules);
        assert_eq!((walk.end, walk.entries.len()), (End::Whole, 5));
    });
    m.put_ptr(at[4] + 8, at[2]);
    with(&m, |memory| {
        let walk = lists::walk(memory, at[0], Direction::Forward, rules);
        let end = End::Torn {
            from: at[3],
            to: at[4],
            back: at[2],
        };
        assert_eq!((walk.end, walk.entries), (end, at[1..4].to_vec()));
        let lenient = Rules {
            reciprocal: false,
            ..rules
        };
        let walk = lists::walk(memory, at[0], Direction::Forward, lenient);
        assert_eq!(walk.end, End::Whole);
    });
    m.put_ptr(at[4], at[2]);
    with(&m, |memory| {
        let lenient = Rules {
            reciprocal: false,
            ..rules
        };
        let walk = lists::walk(memory, at[0], Direction::Forward, lenient);
        assert_eq!(
            (walk.end, walk.entries.len()),
            (End::Cycle { at: at[2] }, 4)
        );
    });
}

#[test]
fn a_list_operation_on_a_forwarding_entry_in_a_torn_list_is_confirmed_without_symbols() {
    let mode = Mode::X64;
    let mut state = State::new(mode, SMALL);
    let m = &mut state.machine;
    let page = pool_at(mode, 0x70_0000);
    let blocks = pool_page(
        m,
        page,
        &[(b"IPmf", 9, true), (b"IPmf", 9, true), (b"IPmf", 9, true)],
    );
    let [r, p, e] = [0, 1, 2].map(|i| blocks[i] + 16 + 0x40);
    // The entry's Flink is gone; behind it, R leads past P.
    for (at, flink, blink) in [(r, e, r), (p, e, r), (e, 0, p)] {
        m.put_ptr(at, flink);
        m.put_ptr(at + 8, blink);
    }
    // mov rax,[rdx]; mov rcx,[rdx+8]; mov [rax+8],rcx; mov [rcx],rax; ret
    let code = [
        0x48, 0x8B, 0x02, 0x48, 0x8B, 0x4A, 0x08, 0x48, 0x89, 0x48, 0x08, 0x48, 0x89, 0x01, 0xC3,
    ];
    m.put(state.fault_ip - 7, &code);
    m.put_u64(state.trap_frame + 0x30, 0);
    m.put_u64(state.trap_frame + 0x38, p);
    m.put_u64(state.trap_frame + 0x40, e);
    state.refresh();
    let got = reported(&state);
    assert_eq!(
        got["fault"]["instruction_kind"], "list-unlink",
        "{}",
        got["fault"]
    );
    let kinds: Vec<&str> = got["memory_findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["tag"] == "IPmf")
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"shared-list-link"),
        "{}",
        got["memory_findings"]
    );
    assert!(kinds.contains(&"torn-list"), "{}", got["memory_findings"]);
    assert_eq!(
        got["hotfix"]["match"]["status"], "confirmed",
        "{}",
        got["hotfix"]["match"]
    );
    assert_eq!(got["hotfix"]["verdict"], "applies");
}

#[test]
fn the_registry_in_memory_tells_the_machine_and_whether_forwarding_was_on() {
    for mode in MODES {
        for on in [0, 1] {
            let mut state = State::new(mode, SMALL);
            Hive::system(CRASH - 1_000_000_000, Some(on), "ALPHA").load(&mut state);
            let got = reported(&state);
            assert_eq!(got["system"]["machine"], "ALPHA", "{mode:?}");
            let forwarding = &got["system"]["multicast_forwarding"];
            assert_eq!(forwarding["ipv4"], on == 1, "{mode:?}");
            assert!(forwarding["ipv6"].is_null(), "an absent value says nothing");
            assert_eq!(forwarding["source"], "registry-in-dump");
        }
    }
}

#[test]
fn a_hive_whose_cells_are_not_mapped_says_nothing() {
    let mut state = State::new(Mode::X64, SMALL);
    Hive::system(CRASH, Some(1), "ALPHA").load(&mut state);
    let table = 0xFFFF_F8A0_0000_1000 + 8 * 0x1000;
    state.machine.put_ptr(table, 0);
    let got = reported(&state);
    assert!(got["system"]["machine"].is_null());
    assert!(got["system"]["multicast_forwarding"]["source"].is_null());
}

#[test]
fn a_hive_file_counts_for_the_crash_only_when_its_key_was_not_written_since() {
    let minute = 600_000_000;
    // Written before, taken after; written and taken after; written and taken before.
    for (written, taken, at_crash) in [
        (CRASH - minute, CRASH + minute, true),
        (CRASH + minute, CRASH + 2 * minute, false),
        (CRASH - 2 * minute, CRASH - minute, false),
    ] {
        let mut file = Hive::system(written, Some(0), "ALPHA").file();
        file[0x0C..0x14].copy_from_slice(&u64::to_le_bytes(taken));
        let reader = PagedReader::open(&file).unwrap();
        let state = external::read(&reader, None, &Budget::default()).unwrap();
        assert_eq!((state.ipv4, state.ipv6), (Some(false), None));
        assert_eq!(state.machine.as_deref(), Some("ALPHA"));
        assert_eq!((state.written, state.taken), (Some(written), Some(taken)));
        assert_eq!(state.source, Some(ForwardingSource::HiveFile));

        let machine = State::new(Mode::X64, SMALL);
        let dump = write(&machine.machine, &machine.header, Fill::All);
        let engine = Engine {
            registry: vec![state],
            ..Engine::default()
        };
        let got = serde_json::to_value(
            engine
                .triage(&dump, Request::new(&SourceInfo::default()))
                .report,
        )
        .unwrap();
        assert_eq!(got["system"]["multicast_forwarding"]["ipv4"], false);
        let evidence = got["hotfix"]["match"]["evidence"].to_string();
        assert_eq!(evidence.contains("forwarding.off"), at_crash, "{evidence}");
    }
}

#[test]
fn a_hive_file_of_another_machine_is_not_used() {
    let mut machine = State::new(Mode::X64, SMALL);
    Hive::system(CRASH, None, "ALPHA").load(&mut machine);
    let file = Hive::system(CRASH, Some(1), "BETA").file();
    let reader = PagedReader::open(&file).unwrap();
    let state = external::read(&reader, None, &Budget::default()).unwrap();
    let dump = write(&machine.machine, &machine.header, Fill::All);
    let engine = Engine {
        registry: vec![state],
        ..Engine::default()
    };
    let got = serde_json::to_value(
        engine
            .triage(&dump, Request::new(&SourceInfo::default()))
            .report,
    )
    .unwrap();
    assert_eq!(got["system"]["machine"], "ALPHA");
    assert!(got["system"]["multicast_forwarding"]["ipv4"].is_null());
    assert!(
        got["notes"].to_string().contains("BETA"),
        "{}",
        got["notes"]
    );
}

#[test]
fn a_hive_that_leads_in_circles_ends() {
    let hive = Hive::system(CRASH, Some(1), "ALPHA");
    let mut file = hive.file();
    // Every list of subkeys becomes a list of lists that names itself.
    for at in 0x1000..file.len() - 8 {
        if &file[at..at + 2] == b"lf" {
            let cell = (at as u32 - 0x1000 - 4).to_le_bytes();
            file[at..at + 2].copy_from_slice(b"ri");
            file[at + 4..at + 8].copy_from_slice(&cell);
        }
    }
    let reader = PagedReader::open(&file).unwrap();
    let state = external::read(&reader, None, &Budget::default()).unwrap();
    assert_eq!((state.ipv4, state.machine), (None, None));
}

#[test]
fn a_hive_that_names_one_list_of_subkeys_over_and_over_is_left() {
    // The root's list of lists names one list 32,000 times; that one names one key 16,000 times.
    let mut cells = Vec::new();
    let mut cell = |data: &[u8]| {
        let at = 0x20 + cells.len() as u32;
        let size = (data.len() + 4).next_multiple_of(8);
        cells.extend((-(size as i32)).to_le_bytes());
        cells.extend(data);
        cells.resize((at - 0x20) as usize + size, 0);
        at
    };
    let node = |list: u32, count: u32| {
        let mut node = vec![0; 0x50];
        node[..4].copy_from_slice(b"nk\x20\0");
        node[0x14..0x18].copy_from_slice(&count.to_le_bytes());
        node[0x1C..0x20].copy_from_slice(&list.to_le_bytes());
        node[0x48] = 1;
        node[0x4C] = b'x';
        node
    };
    let key = cell(&node(0, 0));
    let list = |kind: &[u8; 2], to: u32, count: u16, stride: usize| {
        let mut bytes = kind.to_vec();
        bytes.extend(count.to_le_bytes());
        for _ in 0..count {
            bytes.extend(to.to_le_bytes());
            bytes.resize(bytes.len() + stride - 4, 0);
        }
        bytes
    };
    let leaves = cell(&list(b"lf", key, 16_000, 8));
    let lists = cell(&list(b"ri", leaves, 32_000, 4));
    let root = cell(&node(lists, 1));
    let mut file = vec![0; 0x1020];
    file[..4].copy_from_slice(b"regf");
    file[0x24..0x28].copy_from_slice(&root.to_le_bytes());
    file.extend(cells);
    let reader = PagedReader::open(&file).unwrap();
    let budget = Budget::default();
    let before = budget.steps_left();
    let state = external::read(&reader, None, &budget);
    assert!(state.is_none_or(|state| state.ipv4.is_none() && state.machine.is_none()));
    let spent = before - budget.steps_left();
    assert!(spent < 100_000, "{spent} steps");
}

/// The text of saved `netsh interface ipv4 show global` in a language: name of the row and of its value.
fn netsh(name: &str, on: &str) -> String {
    format!(
        "\r\n???\r\n---------------------------------------------\r\nA : 128 hops\r\nB : 256\r\n\
         C : {on}\r\nD : dontforward\r\nE : {on}\r\nF : all\r\nG : version3\r\n{name} : {on}\r\n"
    )
}

#[test]
fn netsh_output_is_read_in_the_languages_of_windows() {
    for (name, on, off) in [
        ("Multicast Forwarding", "enabled", "disabled"),
        ("Multicastweiterleitung", "aktiviert", "deaktiviert"),
        ("Transfert multidiffusion", "activé", "désactivé"),
        ("Reenvío de multidifusión", "habilitado", "deshabilitado"),
        ("Inoltro multicast", "abilitato", "disabilitato"),
        ("Encaminhamento de multicast", "habilitado", "desabilitado"),
        ("Doorsturen van multicast", "ingeschakeld", "uitgeschakeld"),
        ("Многоадресная пересылка", "включен", "отключен"),
        ("マルチキャスト転送", "有効", "無効"),
        ("멀티캐스트 전달", "사용", "사용 안 함"),
        ("多播转发", "启用", "禁用"),
        ("多點傳送轉送", "啟用", "停用"),
        ("Przekazywanie multiemisji", "włączone", "wyłączone"),
        ("Předávání vícesměrového vysílání", "povoleno", "zakázáno"),
        // A word for multicast that nobody listed: the order of rows tells.
        ("Ryhmäjuttu", "käytössä", "ei käytössä"),
        ("Bir şey", "etkin", "devre dışı"),
    ] {
        for (word, expected) in [(on, true), (off, false)] {
            let text = netsh(name, word);
            let mut wide = vec![0xFF, 0xFE];
            wide.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
            for bytes in [text.clone().into_bytes(), wide] {
                let state = read_external(&bytes).unwrap();
                assert_eq!(state.source, Some(ForwardingSource::NetshOutput));
                assert_eq!(state.ipv4, Some(expected), "{name}: {word}");
            }
        }
    }
}

#[test]
fn netsh_output_in_the_code_page_of_a_console_is_read() {
    // désactivé in 850, отключено in 866, 無効 in 932.
    for (bytes, expected) in [
        (
            &b"Transfert multidiffusion : d\x82sactiv\x82\r\n"[..],
            false,
        ),
        (b"Transfert multidiffusion : activ\x82\r\n", true),
        (
            b"x\r\n-----\r\nG : version2\r\n\x8C : \xAE\xE2\xAA\xAB\xEE\xE7\xA5\xAD\xAE\r\n",
            false,
        ),
        (
            b"x\r\n-----\r\nG : version2\r\n\x83} : \x96\xB3\x8C\xF8\r\n",
            false,
        ),
    ] {
        let state = read_external(bytes).unwrap();
        assert_eq!(state.ipv4, Some(expected), "{bytes:?}");
    }
}

fn read_external(bytes: &[u8]) -> Option<external::ExternalState> {
    let bytes = bytes.to_vec();
    let reader = PagedReader::open(&bytes).unwrap();
    external::read(&reader, None, &Budget::default())
}

#[test]
fn output_of_netsh_that_is_not_read_says_which_languages_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("netsh.txt");
    std::fs::write(&path, "X\n---------\nFoo : barbaz\n").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kbtriage"))
        .args(["triage", "--registry"])
        .arg(&path)
        .arg("none.dmp")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        text.contains("German") && text.contains("Japanese"),
        "{text}"
    );
}
