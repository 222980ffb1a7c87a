//! Dumps that a converter or a hypervisor made: memory is believed before what they put into the header.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::TYPES;
use crate::support::memory_dump::{Fill, write};
use crate::support::memory_image;
use crate::support::memory_machine::Mode;
use crate::support::memory_state::{SMALL, State, variable};

const MODES: [Mode; 3] = [Mode::X86, Mode::X86Pae, Mode::X64];
/// FILETIME and time since start-up of the crash, as the kernel's clock has it.
const CRASH: u64 = 128_606_796_000_000_000;
const UP: u64 = 36_000_000_000;

/// Offsets in the header: build, code, parameters, context and its size, time, comment.
struct Fields {
    build: usize,
    processors: usize,
    code: usize,
    parameters: usize,
    kdbg: usize,
    module_list: usize,
    context: (usize, usize),
    time: usize,
    uptime: usize,
    comment: usize,
}

fn fields(mode: Mode) -> Fields {
    if mode.is_32_bit() {
        Fields {
            build: 0xC,
            processors: 0x24,
            code: 0x28,
            parameters: 0x2C,
            kdbg: 0x60,
            module_list: 0x18,
            context: (0x320, 1200),
            time: 0xFC0,
            uptime: 0xFB8,
            comment: 0x820,
        }
    } else {
        Fields {
            build: 0xC,
            processors: 0x34,
            code: 0x38,
            parameters: 0x40,
            kdbg: 0x80,
            module_list: 0x20,
            context: (0x348, 3000),
            time: 0xFA8,
            uptime: 0x1030,
            comment: 0xFB0,
        }
    }
}

fn filler(size: usize) -> Vec<u8> {
    b"PAGE".iter().copied().cycle().take(size).collect()
}

/// A state with the clock page that every kernel has.
fn state(mode: Mode) -> State {
    let mut state = State::new(mode, SMALL);
    let shared = if mode.is_32_bit() {
        0xFFDF_0000
    } else {
        0xFFFF_F780_0000_0000
    };
    let m = &mut state.machine;
    m.put(shared, &[0; 0x300]);
    for (at, time) in [(0x08, UP), (0x14, CRASH)] {
        m.put_u32(shared + at, time as u32);
        m.put_u32(shared + at + 4, (time >> 32) as u32);
        m.put_u32(shared + at + 8, (time >> 32) as u32);
    }
    m.put_u32(shared + 0x264, 3);
    m.put_u32(shared + 0x26C, 6);
    m.put_u32(shared + 0x270, 0);
    state.refresh();
    state
}

/// The report on a state as a dump of a type, by the built program.
fn reported(state: &State, dump_type: u32) -> Value {
    let mut header = state.header.clone();
    header.dump_type = dump_type;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.dmp");
    std::fs::write(&path, write(&state.machine, &header, Fill::All).to_vec()).unwrap();
    triage(&path)
}

fn triage(path: &Path) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_kbtriage"))
        .args(["triage", "--format", "json"])
        .arg(path)
        .output()
        .unwrap();
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    reports[0].clone()
}

/// What a converter writes over the header.
type Patches = fn(Mode) -> Vec<(usize, Vec<u8>)>;

fn bugcheck(mode: Mode, code: u32, parameters: [u64; 4]) -> Vec<(usize, Vec<u8>)> {
    let f = fields(mode);
    let width = mode.pointer();
    let mut patches = vec![(f.code, code.to_le_bytes().to_vec())];
    for (i, value) in parameters.iter().enumerate() {
        patches.push((
            f.parameters + i * width,
            value.to_le_bytes()[..width].to_vec(),
        ));
    }
    patches
}

fn no_context(mode: Mode, byte: Option<u8>) -> (usize, Vec<u8>) {
    let (at, size) = fields(mode).context;
    let bytes = match byte {
        Some(byte) => vec![byte; size],
        None => filler(size),
    };
    (at, bytes)
}

fn comment(mode: Mode, text: &str) -> (usize, Vec<u8>) {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    (fields(mode).comment, bytes)
}

fn qemu(mode: Mode) -> Vec<(usize, Vec<u8>)> {
    bugcheck(mode, 0x161, [0; 4])
}

fn elf2dmp(mode: Mode) -> Vec<(usize, Vec<u8>)> {
    let mut patches = bugcheck(mode, 0x161, [0; 4]);
    patches.push(comment(mode, "Hello from elf2dmp!"));
    patches.push(no_context(mode, Some(0)));
    patches
}

fn rekall(mode: Mode) -> Vec<(usize, Vec<u8>)> {
    let mut patches = bugcheck(mode, 0, [0; 4]);
    patches.push((fields(mode).build, 7601u32.to_le_bytes().to_vec()));
    patches.push(comment(mode, "Created with Rekall Memory Forensics"));
    patches.push(no_context(mode, Some(0)));
    patches
}

fn bin2dmp(mode: Mode) -> Vec<(usize, Vec<u8>)> {
    let mut patches = bugcheck(mode, u32::from_be_bytes(*b"MATT"), [1, 2, 3, 4]);
    let f = fields(mode);
    // The time of the conversion, years later.
    let later: u64 = 131_000_000_000_000_000;
    patches.push((f.time, later.to_le_bytes().to_vec()));
    patches.push((f.uptime, 1u64.to_le_bytes().to_vec()));
    patches.push(no_context(mode, None));
    patches
}

fn volatility(mode: Mode) -> Vec<(usize, Vec<u8>)> {
    let mut patches = bugcheck(mode, 0, [0; 4]);
    patches.push(comment(mode, "File was converted with Volatility"));
    patches
}

fn other(mode: Mode) -> Vec<(usize, Vec<u8>)> {
    let f = fields(mode);
    vec![
        (f.code, filler(4)),
        (f.parameters, filler(4 * mode.pointer())),
        (f.time, filler(8)),
        (f.uptime, filler(8)),
        (f.kdbg, filler(mode.pointer())),
        no_context(mode, None),
    ]
}

const WRITERS: [(&str, Patches); 6] = [
    ("qemu", qemu),
    ("elf2dmp", elf2dmp),
    ("rekall", rekall),
    ("bin2dmp", bin2dmp),
    ("volatility", volatility),
    ("converter", other),
];

#[test]
fn memory_is_believed_before_what_a_converter_writes() {
    for mode in MODES {
        for dump_type in TYPES {
            let mut state = state(mode);
            let told = reported(&state, dump_type);
            assert_eq!(told["bugcheck"]["code"], "0x000000D1");
            assert_eq!(told["bugcheck"]["source"], "memory");
            assert_eq!(told["system"]["build_source"], "memory");
            assert!(told["dump"]["header"].is_null(), "{}", told["dump"]);
            for (writer, patches) in WRITERS {
                state.header.patches = patches(mode);
                let got = reported(&state, dump_type);
                let name = format!("{writer} {mode:?} type {dump_type}");
                assert_eq!(got["dump"]["writer"], writer, "{name}");
                for field in [
                    "bugcheck", "system", "fault", "stack", "modules", "bucket", "crash_id",
                    "process", "thread",
                ] {
                    assert_eq!(got[field], told[field], "{name}: {field}");
                }
                for field in ["crash_time", "uptime_seconds", "processors"] {
                    assert_eq!(got["dump"][field], told["dump"][field], "{name}: {field}");
                }
                assert_eq!(
                    got["hotfix"]["verdict"], told["hotfix"]["verdict"],
                    "{name}"
                );
                let codes: Vec<&str> = got["notes"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|note| note["code"].as_str().unwrap())
                    .collect();
                if writer != "converter" {
                    assert!(
                        codes.contains(&"dump.header-not-believed"),
                        "{name}: {codes:?}"
                    );
                }
            }
            state.header.patches = rekall(mode);
            let got = reported(&state, dump_type);
            assert_eq!(got["dump"]["header"]["build"], 7601);
            assert_eq!(got["dump"]["header"]["bugcheck_code"], "0x00000000");
            // It writes these into every dump: no source contradicts another.
            let evidence = got["hotfix"]["match"]["evidence"].to_string();
            assert!(!evidence.contains("sources-disagree"), "{evidence}");
        }
    }
}

#[test]
fn the_debugger_data_is_found_when_the_header_names_neither_it_nor_the_list_of_modules() {
    for mode in MODES {
        let mut state = state(mode);
        // It lies in the kernel's image on a real machine.
        let block = read_back(&state, state.kdbg, 0x330);
        let inside = state.drivers[0].base + u64::from(memory_image::DEBUG) + 0x800;
        state.machine.put(inside, &block);
        let told = reported(&state, 1);
        let f = fields(mode);
        for names_list in [true, false] {
            state.header.patches = vec![(f.kdbg, vec![0; mode.pointer()])];
            if !names_list {
                state
                    .header
                    .patches
                    .push((f.module_list, vec![0; mode.pointer()]));
            }
            state.header.patches.extend(bugcheck(mode, 0, [0; 4]));
            let got = reported(&state, 1);
            for field in ["bugcheck", "fault", "modules"] {
                assert_eq!(got[field], told[field], "{mode:?} {names_list}: {field}");
            }
        }
    }
}

fn read_back(state: &State, va: u64, len: u64) -> Vec<u8> {
    (0..len)
        .map(|i| {
            let pa = state.machine.place(va + i).unwrap();
            state.machine.physical_byte(pa).unwrap()
        })
        .collect()
}

#[test]
fn the_processor_that_crashed_is_the_one_whose_stack_holds_the_fault() {
    for mode in MODES {
        let mut state = state(mode);
        let told = reported(&state, 1);
        assert_eq!(told["stack"]["processor"], 1);
        assert_eq!(told["fault"]["source"], "trap-frame");
        // The header carries the first processor's registers, as hypervisors write it.
        let (at, _) = fields(mode).context;
        let prcb = state.prcbs[0];
        let (offset, size) = if mode.is_32_bit() {
            (0x1C, 0x2CC)
        } else {
            (0x120, 0x4D0)
        };
        let first = read_back(&state, prcb + offset, size);
        state.header.patches = elf2dmp(mode);
        state.header.patches.push((at, first));
        let got = reported(&state, 1);
        assert_eq!(got["stack"]["processor"], 1, "{mode:?}");
        assert_eq!(got["fault"], told["fault"], "{mode:?}");
    }
}

#[test]
fn what_only_the_header_says_is_marked_and_a_placeholder_excludes_nothing() {
    for mode in MODES {
        // Nothing of memory is there: no page table leads anywhere.
        let mut state = state(mode);
        let cr3 = if mode.is_32_bit() { 4 } else { 8 };
        for (writer, patches) in WRITERS {
            state.header.patches = patches(mode);
            state.header.patches.push((0x10, vec![0; cr3]));
            let got = reported(&state, 1);
            let name = format!("{writer} {mode:?}");
            assert_eq!(got["dump"]["writer"], writer, "{name}");
            assert!(got["bugcheck"].is_null(), "{name}: {}", got["bugcheck"]);
            assert_ne!(got["hotfix"]["match"]["status"], "excluded", "{name}");
            assert_ne!(got["hotfix"]["verdict"], "does-not-apply", "{name}");
            match writer {
                "rekall" => {
                    assert!(got["system"]["build"].is_null());
                    assert_eq!(got["dump"]["header"]["build"], 7601);
                }
                _ => {
                    assert_eq!(got["system"]["build"], 6001);
                    assert_eq!(got["system"]["build_source"], "header");
                    let notes = got["notes"].to_string();
                    assert!(notes.contains("dump.header-only-says"), "{name}: {notes}");
                }
            }
        }
    }
}

/// QEMU's code with damage around it: a parameter that is not zero, a type that nobody knows (offsets: the format page, 2).
#[test]
fn the_code_of_a_live_dump_in_a_damaged_header_of_windows_6_excludes_nothing() {
    for mode in MODES {
        let (cr3, dump_type) = if mode.is_32_bit() {
            (4, 0xF88)
        } else {
            (8, 0xF98)
        };
        for damaged_type in [false, true] {
            let mut state = state(mode);
            state.header.patches = bugcheck(mode, 0x161, [0, 0, 0x14_0000, 0]);
            state.header.patches.push((0x10, vec![0; cr3]));
            if damaged_type {
                let unknown = 0x0092_0002u32.to_le_bytes().to_vec();
                state.header.patches.push((dump_type, unknown));
            }
            let got = reported(&state, 1);
            let context = format!("{mode:?} {damaged_type}: {}", got["hotfix"]["match"]);
            assert_ne!(got["hotfix"]["match"]["status"], "excluded", "{context}");
            assert_eq!(got["dump"]["writer"], "qemu", "{context}");
        }
    }
}

#[test]
fn an_image_of_a_running_windows_holds_no_bug_check() {
    for mode in MODES {
        let mut state = state(mode);
        let width = mode.pointer();
        state
            .machine
            .put(variable(mode, 2) + 0x100, &vec![0; 5 * width]);
        state.header.patches = qemu(mode);
        let got = reported(&state, 1);
        assert!(got["bugcheck"].is_null());
        assert!(got["notes"].to_string().contains("was running"));
        assert_eq!(got["dump"]["header"]["bugcheck_code"], "0x00000161");
    }
}

#[test]
fn a_header_that_counts_fewer_processors_than_memory_is_not_believed() {
    for mode in MODES {
        let mut state = state(mode);
        state.header.patches = vec![(fields(mode).processors, 1u32.to_le_bytes().to_vec())];
        let got = reported(&state, 2);
        assert_eq!(got["dump"]["processors"], 2, "{mode:?}");
        assert_eq!(got["dump"]["header"]["processors"], 1);
    }
}

#[test]
fn each_parameter_that_was_never_written_is_the_kernels_and_the_others_stay() {
    for mode in MODES {
        let width = if mode.is_32_bit() { 4 } else { 8 };
        let whole = reported(&state(mode), 2)["bugcheck"].clone();
        for unwritten in 0..16u32 {
            let mut painted = state(mode);
            for index in (0..4).filter(|index| unwritten & 1 << index != 0) {
                let at = fields(mode).parameters + index * width;
                painted.header.patches.push((at, filler(width)));
            }
            let report = reported(&painted, 2);
            assert_eq!(report["bugcheck"], whole, "{mode:?} {unwritten:04b}");
            // What was never written contradicts nothing.
            assert!(
                report["dump"]["header"].is_null(),
                "{}",
                report["dump"]["header"]
            );
        }
    }
}

#[test]
fn the_same_of_a_small_dump_whose_pieces_hold_the_kernels_variable() {
    for (name, at, width) in [
        ("server2008-x64-d1.dmp", 0x40, 8),
        ("vista-sp1-x86-d1.dmp", 0x2C, 4),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/dumps")
            .join(name);
        let whole = triage(&path)["bugcheck"].clone();
        let dir = tempfile::tempdir().unwrap();
        for unwritten in 0..16u32 {
            let mut dump = std::fs::read(&path).unwrap();
            for index in (0..4).filter(|index| unwritten & 1 << index != 0) {
                let at = at + index * width;
                dump[at..at + width].copy_from_slice(&filler(width));
            }
            let painted = dir.path().join("painted.dmp");
            std::fs::write(&painted, dump).unwrap();
            assert_eq!(
                triage(&painted)["bugcheck"],
                whole,
                "{name} {unwritten:04b}"
            );
        }
    }
}
