//! The faults of the real dumps, held against what each file's bytes hold by a search of its own,
//! against second records of the same event, and against the table in `docs/stacks.md`.

use std::path::{Path, PathBuf};

use kbtriage::bytes::{Budget, Gva, PagedReader};
use kbtriage::dump::{self, Body};
use kbtriage::fault::investigate;
use kbtriage::fault::{Crash, FaultContext, Investigation, Snapshot, Source, find_context};
use kbtriage::gather;
use kbtriage::kernel::pieces::Pieces;
use kbtriage::machine::{Machine, Reg};
use kbtriage::unwind::{MemoryCode, Trust};

fn dumps() -> Option<Vec<PathBuf>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/dumps/kernel");
    let Ok(files) = std::fs::read_dir(path) else {
        println!("SKIPPED: ../shared is absent");
        return None;
    };
    let mut files: Vec<_> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    Some(files)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap().to_string_lossy().into_owned()
}

/// Runs `f` with the crash of a dump.
fn with_crash<T>(file: &Path, f: impl FnOnce(&Crash<'_>) -> T) -> T {
    let bytes = std::fs::read(file).unwrap();
    let reader = PagedReader::open(&bytes).unwrap();
    let dump = dump::open(&reader, &Budget::default()).unwrap();
    let Body::Triage(triage) = &dump.body else {
        panic!("{} is a triage dump", file.display())
    };
    let pieces = Pieces::read(&reader, &dump.header, triage);
    let opened = dump::open(&reader, &Budget::default()).unwrap();
    let modules = gather::gather(&reader, opened, None, false, &Budget::default()).modules;
    let code = MemoryCode::new(&modules, &pieces.space);
    let crash = Crash::from_triage(&dump.header, triage, &pieces, &code).unwrap();
    f(&crash)
}

fn context(crash: &Crash<'_>) -> Option<FaultContext> {
    let (from, to) = crash.stack.unwrap();
    find_context(crash, &Snapshot::take(crash.memory, from, to))
}

/// The bug check parameter that names the faulting instruction, from Microsoft's reference; read
/// straight from the header, so that the product's own table is not its own judge.
fn fault_address(bytes: &[u8]) -> Option<u64> {
    let wide = bytes.starts_with(b"PAGEDU64");
    let code = u32_at(bytes, if wide { 0x38 } else { 0x28 });
    let parameter = |n: usize| match wide {
        true => u64_at(bytes, 0x40 + n * 8),
        false => u64::from(u32_at(bytes, 0x2C + n * 4)),
    };
    match code {
        0x0A | 0xD1 | 0xC5 => Some(parameter(3)),
        0x1E | 0x3B | 0x7E | 0x1000_007E | 0x8E | 0x1000_008E => Some(parameter(1)),
        0x50 | 0xCC | 0xD5 => Some(parameter(2)),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Where in the file a processor's frame for `ip` lies: every slot of the file is looked at. x64:
/// the address, the kernel's code segment, flags with bit 1; x86: the same three words.
fn frames_in_file(bytes: &[u8], ip: u64) -> usize {
    let wide = bytes.starts_with(b"PAGEDU64");
    let width = if wide { 8 } else { 4 };
    (0..bytes.len().saturating_sub(3 * width))
        .step_by(4)
        .filter(|at| match wide {
            true => {
                u64_at(bytes, *at) == ip
                    && u64_at(bytes, at + 8) == 0x10
                    && u64_at(bytes, at + 16) & 2 != 0
                    && u64_at(bytes, at + 16) >> 32 == 0
            }
            false => {
                u64::from(u32_at(bytes, *at)) == ip
                    && u32_at(bytes, at + 4) == 8
                    && u32_at(bytes, at + 8) & 2 != 0
            }
        })
        .count()
}

#[test]
fn every_fault_address_that_a_bug_check_names_has_its_context_found() {
    let Some(files) = dumps() else { return };
    let mut found = 0;
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let Some(ip) = fault_address(&bytes) else {
            continue;
        };
        let context = with_crash(&file, context).expect("a context");
        assert_eq!(context.registers.ip(), Some(ip), "{}", name(&file));
        assert!(context.registers.sp().is_some(), "{}", name(&file));
        assert_eq!(context.candidates, 1, "{}", name(&file));
        found += 1;
    }
    assert_eq!(found, 11);
}

#[test]
fn a_trap_frame_is_found_exactly_where_the_bytes_of_the_file_hold_one() {
    let Some(files) = dumps() else { return };
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let Some(ip) = fault_address(&bytes) else {
            continue;
        };
        let context = with_crash(&file, context).unwrap();
        let in_file = frames_in_file(&bytes, ip);
        assert_eq!(
            context.trap_frame.is_some(),
            in_file > 0,
            "{}: {in_file} frames in the bytes, {:?} found",
            name(&file),
            context.confirmed_by
        );
    }
}

#[test]
fn the_registers_below_a_trap_frame_are_those_of_the_exceptions_own_context() {
    let Some(files) = dumps() else { return };
    let mut compared = 0;
    for file in files {
        with_crash(&file, |crash| {
            if crash.code != 0x1000_007E {
                return;
            }
            let named = context(crash).unwrap();
            // The same dump without the context its parameters name and its header repeats.
            let mut withheld = Crash {
                context: None,
                ..*crash
            };
            withheld.parameters[2] = Some(0);
            withheld.parameters[3] = Some(0);
            // The record of the CONTEXT on the stack is hidden by asking for its trap frame only.
            let (from, to) = crash.stack.unwrap();
            let context_at = crash.parameters[3].unwrap();
            let after = context_at + 0x4D0;
            assert!(from < after && after < to);
            let found = find_context(&withheld, &Snapshot::take(crash.memory, after, to)).unwrap();
            assert_eq!(found.source, Source::TrapFrame, "{}", name(&file));
            for reg in (0..17).map(Reg) {
                assert_eq!(
                    found.registers.get(reg),
                    named.registers.get(reg),
                    "{} {reg:?}",
                    name(&file)
                );
            }
            compared += 1;
        });
    }
    assert_eq!(compared, 3);
}

#[test]
fn the_x86_trap_frame_and_the_header_hold_the_same_registers() {
    let Some(files) = dumps() else { return };
    let file = files.iter().find(|f| name(f) == "pagedump.dmp").unwrap();
    with_crash(file, |crash| {
        let found = context(crash).unwrap();
        assert_eq!(found.source, Source::TrapFrame);
        let header = crash.context.as_ref().unwrap();
        for (register, value) in header.iter() {
            let same = found.registers.iter().find(|(name, _)| *name == register);
            assert_eq!(same, Some((register, value)), "{register}");
        }
        // And without the parameter that names it.
        let mut withheld = Crash {
            context: None,
            ..*crash
        };
        withheld.parameters[2] = Some(0);
        let (_, to) = crash.stack.unwrap();
        let start = crash.parameters[2].unwrap();
        let searched = find_context(&withheld, &Snapshot::take(crash.memory, start, to));
        match searched.unwrap().source {
            // The frame lies just below the stack that the dump holds.
            Source::BugcheckParameters => {}
            source => assert_eq!(source, Source::TrapFrame),
        }
    });
}

#[test]
fn the_instructions_of_two_page_faults_access_the_address_that_the_bug_check_names() {
    let Some(files) = dumps() else { return };
    let mut agreeing = 0;
    for file in files {
        with_crash(&file, |crash| {
            if !matches!(crash.code, 0x50 | 0x1E) {
                return;
            }
            let fault = investigate(crash, &Budget::default());
            let effective = fault.instruction.and_then(|i| i.effective_address);
            if let Some(effective) = effective {
                assert_ne!(effective.agrees, Some(false), "{}", name(&file));
                agreeing += usize::from(effective.agrees == Some(true));
            }
        });
    }
    assert_eq!(agreeing, 2);
}

#[test]
fn without_unwind_data_no_candidate_is_shown_as_more_than_one() {
    let Some(files) = dumps() else { return };
    for file in files {
        let fault = with_crash(&file, |crash| investigate(crash, &Budget::default()));
        for frame in fault.walk.frames.iter().skip(1) {
            assert!(
                matches!(frame.trust, Trust::Scan | Trust::TrapFrame),
                "{}: {frame:?}",
                name(&file)
            );
        }
    }
}

/// Bytes of a KTRAP_FRAME of x64 below the words that the processor pushes, and of those: rip, cs, flags, rsp, ss
/// (public symbols).
const BELOW: u64 = 0x168;
const PUSHED: u64 = 0x28;
/// Bytes of the KEXCEPTION_FRAME that lies below, with its return address.
const EXCEPTION_FRAME: u64 = 0x148;

/// No debugger's stack of these files is published, so their frames are held against what the bytes themselves show: a
/// candidate is a word of the stack that lies outward of the fault, outside of what the trap saved, each further out
/// than the one before, and leads behind an instruction that calls wherever the dump holds that instruction.
#[test]
fn no_candidate_is_a_word_of_what_a_trap_saved_or_stands_where_no_call_left_it() {
    let Some(files) = dumps() else { return };
    let (mut candidates, mut trapped) = (0, 0);
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let named = fault_address(&bytes);
        with_crash(&file, |crash| {
            let width = crash.machine.pointer_width() as u64;
            let word = |at: u64| {
                let mut word = [0; 8];
                let read = crash.memory.read(Gva(at), &mut word[..width as usize]);
                read.ok().map(|()| u64::from_le_bytes(word))
            };
            let (low, high) = crash.stack.unwrap();
            // What the trap of the fault pushed, by a search of its own over the stack that the dump holds.
            let saved: Vec<(u64, u64)> = (low..high)
                .step_by(8)
                .filter(|at| {
                    crash.machine == Machine::X64 && word(*at).is_some() && word(*at) == named
                })
                .filter(|at| {
                    word(at + 8) == Some(0x10)
                        && word(at + 16).is_some_and(|f| f & 2 != 0 && f >> 32 == 0)
                })
                .map(|at| (at - BELOW - EXCEPTION_FRAME, at + PUSHED))
                .collect();
            trapped += saved.len();
            let walk = investigate(crash, &Budget::default()).walk;
            let mut last = 0;
            for frame in walk
                .frames
                .iter()
                // What another trap frame among them holds was not pushed by a call.
                .filter(|frame| frame.trust == Trust::Scan && frame.boundary.is_none())
            {
                let (ip, sp) = (frame.ip().unwrap(), frame.sp().unwrap());
                let slot = sp - width;
                let shown = format!("{}: {ip:#x} at {slot:#x}", name(&file));
                assert_eq!(word(slot), Some(ip), "{shown}");
                assert!(slot > last, "{shown}, after {last:#x}");
                let inside = saved.iter().find(|(from, to)| (*from..*to).contains(&slot));
                assert_eq!(inside, None, "{shown}: saved by the trap");
                let mut code = [0; 7];
                if crash.machine != Machine::Arm64
                    && crash.memory.read(Gva(ip - 7), &mut code).is_ok()
                {
                    assert!(ends_in_a_call(&code), "{shown}: {code:02x?}");
                }
                last = slot;
                candidates += 1;
            }
        });
    }
    assert!(candidates > 200, "{candidates}");
    assert_eq!(trapped, 7);
}

/// True for bytes that can end in a call: `E8` with four bytes, or `FF /2` with none to five bytes of operand (Intel's
/// manual).
fn ends_in_a_call(code: &[u8; 7]) -> bool {
    let indirect = |len: usize| code[7 - len] == 0xFF && code[8 - len] >> 3 & 7 == 2;
    code[2] == 0xE8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}

/// One line of the table: file, source, registers, frames, candidates among them.
fn row(file: &Path, crash: &Crash<'_>, fault: &Investigation) -> String {
    let general = if crash.machine == Machine::X86 { 8 } else { 16 };
    let (source, registers) = match &fault.context {
        Some(context) => (
            context.source.as_str(),
            (0..general)
                .filter(|n| context.registers.get(Reg(*n)).is_some())
                .count(),
        ),
        None => ("none", 0),
    };
    let candidates = fault
        .walk
        .frames
        .iter()
        .filter(|f| f.trust == Trust::Scan)
        .count();
    format!(
        "| {} | {} | {:#x} | {source} | {registers} | {} | {candidates} |",
        name(file),
        crash.machine.as_str(),
        crash.code,
        fault.walk.frames.len(),
    )
}

#[test]
fn the_table_in_the_documentation_is_what_the_dumps_give() {
    let Some(files) = dumps() else { return };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stacks/real_dumps.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut missing = Vec::new();
    for file in &files {
        let line = with_crash(file, |crash| {
            row(file, crash, &investigate(crash, &Budget::default()))
        });
        if !text.contains(&line) {
            missing.push(line);
        }
    }
    assert!(
        missing.is_empty(),
        "not in tests/stacks/real_dumps.md:\n{}",
        missing.join("\n")
    );
    assert_eq!(files.len(), 23);
}
