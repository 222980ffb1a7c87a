//! Reports on memory dumps: the same memory in every type gives the same answers.

use kbtriage::source::SourceInfo;
use kbtriage::triage::{Engine, Request};
use serde_json::Value;

use crate::TYPES;
use crate::support::memory_dump::{Fill, SparseFile, write};
use crate::support::memory_machine::Mode;
use crate::support::memory_state::{BUILD_LAB, SMALL, State};

pub fn report(file: &SparseFile) -> Value {
    let info = SourceInfo {
        path: "MEMORY.DMP".to_owned(),
        size: Some(file.len),
        ..SourceInfo::default()
    };
    serde_json::to_value(Engine::default().triage(file, Request::new(&info)).report).unwrap()
}

fn of_type(state: &State, dump_type: u32) -> Value {
    let mut header = state.header.clone();
    header.dump_type = dump_type;
    report(&write(&state.machine, &header, Fill::Written))
}

fn hex(mode: Mode, value: u64) -> String {
    match mode.pointer() {
        4 => format!("{value:#010x}"),
        _ => format!("{value:#018x}"),
    }
}

const MODES: [Mode; 3] = [Mode::X86, Mode::X86Pae, Mode::X64];

#[test]
fn every_type_and_paging_mode_gives_modules_versions_and_the_machines_state() {
    for mode in MODES {
        let state = State::new(mode, SMALL);
        for dump_type in TYPES {
            if mode.is_32_bit() && dump_type >= 8 {
                continue;
            }
            let got = of_type(&state, dump_type);
            let at = format!("{mode:?} {dump_type} {}", got["dump"]["damage"]);
            assert_eq!(got["status"], "ok", "{at} {}", got["notes"]);
            assert_eq!(got["system"]["build_lab"], BUILD_LAB, "{at}");
            assert_eq!(got["system"]["service_pack"], 1, "{at}");
            assert_eq!(got["process"], "svchost.exe", "{at}");
            let thread = state.threads[state.crashed()];
            assert_eq!(got["thread"], hex(mode, thread), "{at}");
            let modules = got["modules"].as_array().unwrap();
            assert_eq!(modules.len(), state.drivers.len(), "{at}");
            for (module, driver) in modules.iter().zip(&state.drivers) {
                let image = &driver.image;
                let [a, b, c, d] = image.version;
                let guid: String = (0..16).map(|_| format!("{:02X}", image.guid[0])).collect();
                assert_eq!(module["name"], driver.file.as_str());
                assert_eq!(module["base"], hex(mode, driver.base));
                assert_eq!(module["version"], format!("{a}.{b}.{c}.{d}"), "{at}");
                assert_eq!(module["version_source"], "memory");
                assert_eq!(module["pdb"]["name"], image.name.as_str());
                assert_eq!(module["pdb"]["guid_age"], format!("{guid}{:X}", image.age));
            }
            let names: Vec<&str> = got["unloaded_modules"]
                .as_array()
                .unwrap()
                .iter()
                .map(|module| module["name"].as_str().unwrap())
                .collect();
            assert_eq!(names, ["crashdmp.sys", "dump_fix.sys"], "{at}");
        }
    }
}

#[test]
fn the_hotfix_is_judged_by_the_version_in_memory() {
    let state = State::new(Mode::X64, SMALL);
    let got = of_type(&state, 2);
    let applicability = &got["hotfix"]["applicability"];
    assert_eq!(applicability["status"], "applicable");
    assert_eq!(
        applicability["decided_from"][0]["version"],
        "6.0.6001.18063"
    );
    assert_eq!(applicability["decided_from"][0]["source"], "memory");
}

#[test]
fn the_fault_is_found_on_the_stack_of_the_processor_that_crashed() {
    for mode in MODES {
        let state = State::new(mode, SMALL);
        let got = of_type(&state, 1);
        assert_eq!(
            got["fault"]["source"], "trap-frame",
            "{mode:?} {}",
            got["fault"]
        );
        assert_eq!(
            got["fault"]["instruction_pointer"],
            hex(mode, state.fault_ip)
        );
        assert_eq!(got["fault"]["location"]["module"], "tcpip.sys");
        assert_eq!(got["stack"]["processor"], 1);
    }
}

#[test]
fn every_other_processor_has_its_own_stack_and_state() {
    for mode in MODES {
        let mut size = SMALL;
        size.processors = 4;
        let state = State::new(mode, size);
        let got = of_type(&state, 1);
        let others = got["other_processors"].as_array().unwrap();
        let numbers: Vec<_> = others.iter().map(|s| s["processor"].as_u64()).collect();
        assert_eq!(numbers, [Some(0), Some(2), Some(3)]);
        for stack in others {
            let number = stack["processor"].as_u64().unwrap() as usize;
            let (ip, sp) = state.contexts[number];
            let frame = &stack["frames"][0];
            assert_eq!(frame["instruction_pointer"], hex(mode, ip));
            assert_eq!(frame["stack_pointer"], hex(mode, sp));
            assert_eq!(frame["module"], "ntoskrnl.exe");
            let caller = stack["frames"][1]["module"].as_str();
            assert_eq!(caller, Some("tcpip.sys"), "{mode:?} {stack}");
        }
        let states = processor_states(&got);
        assert_eq!(states.len(), 4);
        assert!(
            states[0].contains("a DPC routine is active"),
            "{}",
            states[0]
        );
        assert!(states[1].contains("crashed here"), "{}", states[1]);
        assert!(states[1].contains("IRQL 2"), "{}", states[1]);
        assert!(
            states[2].contains("DPC time 9 of 20 ticks"),
            "{}",
            states[2]
        );
        assert!(states[3].contains("svchost.exe"), "{}", states[3]);
    }
}

/// What is said of a processor besides its stack.
fn processor_states(report: &Value) -> Vec<&str> {
    let findings = report["memory_findings"].as_array().unwrap();
    let states = findings.iter().filter(|f| f["kind"] == "processor-state");
    states.map(|f| f["detail"].as_str().unwrap()).collect()
}

#[test]
fn the_irql_of_the_other_processors_is_known_where_it_was_kept() {
    for mode in MODES {
        let mut size = SMALL;
        size.processors = 4;
        let mut state = State::new(mode, size);
        let wanted = match mode.is_32_bit() {
            true => "IRQL 2 by KPCR.Irql,",
            false => "IRQL 2,",
        };
        let report = of_type(&state, 1);
        let states = processor_states(&report);
        for other in [0, 2, 3] {
            assert!(states[other].contains(wanted), "{mode:?} {}", states[other]);
        }
        // The bug check raised it from 2; the KPCR says 31 by now.
        assert!(states[1].contains("IRQL 2,"), "{mode:?} {}", states[1]);
        if mode.is_32_bit() {
            // A KPCR that does not lead to itself is none.
            let pcr = state.prcbs[2] - 0x120;
            state.machine.put_ptr(pcr + 0x1C, pcr + 4);
            let report = of_type(&state, 1);
            let states = processor_states(&report);
            assert!(!states[2].contains("IRQL"), "{mode:?} {}", states[2]);
            assert!(states[3].contains(wanted), "{mode:?} {}", states[3]);
        }
    }
}

#[test]
fn a_cyclic_list_of_modules_is_still_a_list() {
    let mut state = State::new(Mode::X64, SMALL);
    // The last entry leads back to the third instead of the head.
    let (last, third) = (state.drivers[5].entry, state.drivers[2].entry);
    state.machine.put_ptr(last, third);
    let got = of_type(&state, 1);
    assert_eq!(got["modules"].as_array().unwrap().len(), 6);
    assert_eq!(got["status"], "degraded");
    let damage = got["dump"]["damage"].to_string();
    assert!(damage.contains("cyclic"), "{damage}");
}

#[test]
fn an_absent_entry_ends_the_list_and_what_came_before_stays() {
    let mut state = State::new(Mode::X64, SMALL);
    let entry = state.drivers[3].entry;
    state.machine.put_ptr(entry, 0xFFFF_FA80_7777_0000);
    let got = of_type(&state, 2);
    let names: Vec<&str> = got["modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|module| module["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["ntoskrnl.exe", "hal.dll", "tcpip.sys", "netio.sys"]);
    let damage = got["dump"]["damage"].to_string();
    assert!(damage.contains("not mapped"), "{damage}");
}

#[test]
fn a_paged_out_name_or_resource_leaves_the_module_without_it() {
    let mut state = State::new(Mode::X64, SMALL);
    let tcpip = state.drivers[2].clone();
    let resources = state.machine.pte(tcpip.base + 0x3000);
    state.machine.put_entry(resources, (0x77 << 32) | 0x86);
    let names = state.machine.pte(Mode::X64.paged_pool() + 0x10_000);
    state.machine.put_entry(names, (0x78 << 32) | 0x86);
    let got = of_type(&state, 1);
    let module = &got["modules"][2];
    assert!(module["name"].is_null(), "{module}");
    assert!(module["version"].is_null(), "absent is not zero: {module}");
    assert_eq!(module["pdb"]["name"], "tcpip.pdb");
    assert_eq!(got["modules"][3]["version"], "6.0.6001.18000");
}

#[test]
fn an_image_of_another_identity_says_nothing_about_the_module() {
    let mut state = State::new(Mode::X64, SMALL);
    let entry = state.drivers[2].entry;
    state.machine.put_u32(entry + 0x80, 0x1234_5678);
    let got = of_type(&state, 1);
    assert!(got["modules"][2]["version"].is_null());
    assert!(got["modules"][2]["pdb"].is_null());
}

#[test]
fn an_encoded_debugger_data_block_is_said_and_the_header_still_leads_to_the_modules() {
    let mut state = State::new(Mode::X64, SMALL);
    let kdbg = state.kdbg;
    state.machine.put(kdbg, &[0xA5; 0x330]);
    let got = of_type(&state, 1);
    assert_eq!(got["modules"].as_array().unwrap().len(), 6);
    let damage = got["dump"]["damage"].to_string();
    assert!(damage.contains("encoded"), "{damage}");
    assert!(got["system"]["build_lab"].is_null());
}

#[test]
fn a_bug_check_the_header_does_not_hold_is_read_from_the_kernel() {
    for mode in MODES {
        for code in [0, u32::from_le_bytes(*b"PAGE")] {
            let mut state = State::new(mode, SMALL);
            let told = of_type(&state, 1);
            state.header.code = code;
            state.header.parameters = [0x4547_4150; 4];
            let got = of_type(&state, 1);
            assert_eq!(got["bugcheck"], told["bugcheck"], "{mode:?} {code:#x}");
            assert_eq!(got["bugcheck"]["code"], "0x000000D1");
            assert_eq!(got["fault"], told["fault"], "{mode:?}");
        }
    }
}

/// A state of 200 modules, four processors and hives, scattered over all frames below `pages`.
pub fn scattered(pages: u64) -> State {
    let loaded = |stride| {
        let mut state = State::new(
            Mode::X64,
            crate::support::memory_state::Size {
                drivers: 200,
                processors: 4,
                first_pfn: 0x107,
                stride,
            },
        );
        crate::support::memory_registry::Hive::system(128_606_795_000_000_000, Some(1), "ALPHA")
            .load(&mut state);
        state
    };
    let used = loaded(1).machine.pages.len() as u64;
    let mut state = loaded((pages - 0x200) / used);
    state.header.runs = vec![(1, 0x9E), (0x100, pages - 0x100)];
    state
}

/// 64 GiB in pages.
pub const LARGE: u64 = 1 << 24;

#[test]
fn a_populated_dump_of_64_gib_costs_what_one_of_1_gib_costs() {
    let states = [scattered(1 << 18), scattered(LARGE)];
    for dump_type in [1, 2, 5, 10] {
        let mut costs = Vec::new();
        for state in &states {
            let mut header = state.header.clone();
            header.dump_type = dump_type;
            let file = write(&state.machine, &header, Fill::All);
            let got = report(&file);
            assert_eq!(got["modules"].as_array().unwrap().len(), 200);
            assert_eq!(got["modules"][199]["version"], "6.0.6001.18000");
            assert_eq!(got["other_processors"].as_array().unwrap().len(), 3);
            assert_eq!(got["system"]["machine"], "ALPHA");
            assert_eq!(got["system"]["multicast_forwarding"]["ipv4"], true);
            costs.push(file.counts());
        }
        let [(small_reads, small_bytes), (reads, bytes)] = costs[..] else {
            panic!()
        };
        println!(
            "type {dump_type}: {small_reads} reads, {small_bytes} bytes at 1 GiB; {reads}, {bytes} at 64 GiB"
        );
        assert!(reads <= 3000, "{dump_type}: {reads} reads");
        assert!(bytes <= 16 << 20, "{dump_type}: {bytes} bytes");
        assert!(
            reads * 100 <= small_reads * 105,
            "{dump_type}: {reads} after {small_reads}"
        );
        // Counting the bits of 64 GiB means reading all of them once: 2 MiB.
        let bitmap = if matches!(dump_type, 2 | 5) {
            2 << 20
        } else {
            0
        };
        assert!(
            (bytes - bitmap) * 100 <= small_bytes * 105,
            "{dump_type}: {bytes}"
        );
    }
}
