//! A machine that hangs and that a hypervisor saves, instead of somebody who forces a dump: no bug check, the same
//! registers, the same memory. It is judged as the dump that was forced of the same moment is.
//!
//! Made of the executed hangs of the sample: the header's bug check becomes what converters leave there, the kernel's own
//! becomes zero, and the context is that of the interrupted processor. Offsets: the format page, 2 and 10.

use std::path::PathBuf;

use serde_json::Value;

use crate::proof::{corpus, corpus_stores, report, status, unpacked};

/// Where the parts of a header and of its context are.
struct Layout {
    width: usize,
    code: usize,
    parameters: usize,
    context: usize,
    registers: &'static [(&'static str, usize)],
}

const X64: Layout = Layout {
    width: 8,
    code: 0x38,
    parameters: 0x40,
    context: 0x348,
    registers: &[
        ("rax", 0x78),
        ("rcx", 0x80),
        ("rdx", 0x88),
        ("rbx", 0x90),
        ("rsp", 0x98),
        ("rbp", 0xA0),
        ("rsi", 0xA8),
        ("rdi", 0xB0),
        ("r8", 0xB8),
        ("r9", 0xC0),
        ("r10", 0xC8),
        ("r11", 0xD0),
        ("r12", 0xD8),
        ("r13", 0xE0),
        ("r14", 0xE8),
        ("r15", 0xF0),
        ("rip", 0xF8),
    ],
};

const X86: Layout = Layout {
    width: 4,
    code: 0x28,
    parameters: 0x2C,
    context: 0x320,
    registers: &[
        ("edi", 0x9C),
        ("esi", 0xA0),
        ("ebx", 0xA4),
        ("edx", 0xA8),
        ("ecx", 0xAC),
        ("eax", 0xB0),
        ("ebp", 0xB4),
        ("eip", 0xB8),
        ("esp", 0xC4),
    ],
};

/// The image of a guest in the state of the forced dump.
fn saved(mut bytes: Vec<u8>, registers: &Value) -> Vec<u8> {
    let layout = if bytes[4..8] == *b"DU64" { X64 } else { X86 };
    let code = bytes[layout.code..layout.code + 4].to_vec();
    let parameters = layout.parameters..layout.parameters + 4 * layout.width;
    // KiBugCheckData: five values of a pointer's width.
    let mut stored = code.clone();
    stored.resize(layout.width, 0);
    stored.extend_from_slice(&bytes[parameters.clone()]);
    bytes[layout.code..layout.code + 4].copy_from_slice(b"PAGE");
    for filler in bytes[parameters].as_chunks_mut::<4>().0 {
        filler.copy_from_slice(b"PAGE");
    }
    for (name, at) in layout.registers {
        let value = registers[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}"));
        let value = u64::from_str_radix(value.trim_start_matches("0x"), 16).unwrap();
        let at = layout.context + at;
        bytes[at..at + layout.width].copy_from_slice(&value.to_le_bytes()[..layout.width]);
    }
    let mut found = 0;
    for at in (0x1000..bytes.len() - stored.len()).step_by(layout.width) {
        if bytes[at..].starts_with(&stored) {
            bytes[at..at + stored.len()].fill(0);
            found += 1;
        }
    }
    assert!(found > 0, "the kernel's own bug check is in the dump");
    bytes
}

/// Every dump of the sample with memory that somebody forced.
fn forced() -> Vec<(PathBuf, Value)> {
    let labels = std::fs::read_to_string(corpus().join("labels.jsonl")).unwrap();
    let labels = labels
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    labels
        .filter(|label| label["forced"] == true && label["dump"] != "triage")
        .map(|label| {
            (
                corpus().join("dumps").join(label["file"].as_str().unwrap()),
                label,
            )
        })
        .collect()
}

#[test]
fn a_guest_that_hangs_is_judged_as_the_dump_forced_of_it() {
    let (mut hangs, mut shown) = (0, 0);
    for (path, label) in forced() {
        let bytes = unpacked(&path);
        for stores in [corpus_stores(), Vec::new()] {
            let forced = report(&bytes, &stores, &[]);
            let guest = report(
                &saved(bytes.clone(), &forced["fault"]["registers"]),
                &stores,
                &[],
            );
            let context = format!(
                "{}, {} stores: {}",
                path.display(),
                stores.len(),
                guest["hotfix"]["match"]
            );
            assert!(guest["bugcheck"].is_null(), "{context}");
            assert_eq!(guest["dump"]["kind"], "running", "{context}");
            // What lies at its place later must not push it out of a store.
            assert!(guest["crash_id"].is_string(), "{context}");
            assert_eq!(status(&guest), status(&forced), "{context}");
            assert_eq!(
                guest["hotfix"]["verdict"], forced["hotfix"]["verdict"],
                "{context}"
            );
            if label["caused_by_defect"] == true {
                hangs += 1;
                shown += u32::from(guest["hotfix"]["verdict"] != "undetermined");
            }
        }
    }
    assert!(hangs >= 10, "{hangs}");
    assert!(shown * 2 > hangs, "{shown} of {hangs}");
}
