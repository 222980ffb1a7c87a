//! Executed code: what a step gives is what the program really had, with every word it needs and
//! with each one taken away.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use kbtriage::bytes::Gva;
use kbtriage::machine::ia64::registers as r;
use kbtriage::machine::{Machine, Reg, Registers};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::ia64::descriptors::Resource;
use kbtriage::unwind::ia64::register_stack::{FrameMarker, skip};
use kbtriage::unwind::ia64::{Position, function_rules, saved_at, step};
use serde_json::Value;

use super::elf::{Image, word64};
use crate::support::shared::shared;

/// Pieces of memory, one word of which may be taken away, and what was read of them.
#[derive(Default)]
struct Held {
    pieces: Vec<(u64, Vec<u8>)>,
    without: Option<u64>,
    read: RefCell<BTreeSet<u64>>,
}

impl Memory for Held {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        if self.without == Some(at.0) {
            return Err(Absent::NotInDump);
        }
        for (base, bytes) in &self.pieces {
            let from = at.0.wrapping_sub(*base) as usize;
            if let Some(part) = from
                .checked_add(buf.len())
                .and_then(|end| bytes.get(from..end))
            {
                buf.copy_from_slice(part);
                self.read.borrow_mut().insert(at.0);
                return Ok(());
            }
        }
        Err(Absent::NotInDump)
    }
}

fn hex(value: &Value) -> u64 {
    u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

/// The state of a function that called the capture: its registers by the capture's own.
fn captured(ip: u64, sp: u64, bsp: u64, pfs: u64) -> Registers {
    let marker = FrameMarker::of(pfs).unwrap();
    let mut start = Registers::new(Machine::Ia64);
    start.set_ip(ip);
    start.set_sp(sp);
    start.set(r::IFS, marker.0);
    start.set(r::BSP, skip(bsp, -(marker.locals() as i64)));
    start.set(r::BSPSTORE, bsp);
    start
}

fn lab_a() -> Option<(Image, Held, Registers, Value)> {
    let program = std::fs::read(shared("data/ia64/lab-a/lab")?).unwrap();
    let out = std::fs::read(shared("data/ia64/lab-a/out.bin")?).unwrap();
    let truth = std::fs::read(shared("data/ia64/lab-a/truth.json")?).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    // .IA_64.unwind: three words a function (readelf: 10 entries at 0xEE0).
    let functions: Vec<(u32, u32, u32)> = (0..10)
        .map(|n| 0xEE0 + n * 24)
        .map(|at| {
            let word = |n: usize| word64(&program, at + n * 8) as u32;
            (word(0), word(1), word(2))
        })
        .collect();
    let piece = |name: &str| {
        let from = truth[name]["offset"].as_u64().unwrap() as usize;
        let size = truth[name]["size"].as_u64().unwrap() as usize;
        (
            hex(&truth[name]["address"]),
            out[from..(from + size).min(out.len())].to_vec(),
        )
    };
    let memory = Held {
        pieces: vec![piece("stack"), piece("backing_store")],
        ..Held::default()
    };
    let state = |name: &str| hex(&truth["capture"][name]);
    let mut start = captured(state("rp"), state("sp"), state("bsp"), state("pfs"));
    let rest: [(Reg, &str); 10] = [
        (r::S0, "r4"),
        (r::S1, "r5"),
        (r::S2, "r6"),
        (r::S3, "r7"),
        (r::PREDS, "pr"),
        (r::LC, "lc"),
        (r::B1, "b1"),
        (r::B2, "b2"),
        (r::B6, "b6"),
        (r::UNAT, "unat"),
    ];
    for (reg, name) in rest {
        start.set(reg, state(name));
    }
    let image = Image::elf(0x4000_0000_0000_0000, program, &functions);
    Some((image, memory, start, truth))
}

/// Preserved predicates: p1 to p5 and p16 to p63.
const PRESERVED: u64 = !0xFFC1;

#[test]
fn ten_assembled_frames_have_every_register_they_had() {
    let Some((image, memory, mut frame, truth)) = lab_a() else {
        return;
    };
    let truth = truth["frames"].as_array().unwrap().clone();
    assert_eq!(truth.len(), 10);
    // Floating-point registers: where each is saved, or still the captured value.
    let mut floating: BTreeMap<u8, u64> = BTreeMap::from([(2, 0x206), (16, 0x207)]);
    for (n, wanted) in truth.iter().rev().enumerate() {
        let value = |name: &str| hex(&wanted[name]);
        let name = wanted["function"].as_str().unwrap();
        let regs = [
            (r::BSP, "bsp"),
            (r::S0, "r4"),
            (r::S1, "r5"),
            (r::S2, "r6"),
            (r::S3, "r7"),
            (r::LC, "lc"),
            (r::B1, "b1"),
            (r::B2, "b2"),
        ];
        for (reg, register) in regs {
            assert_eq!(frame.get(reg), Some(value(register)), "{name} {register}");
        }
        assert_eq!(frame.sp(), Some(value("sp")), "{name}");
        let preds = frame.get(r::PREDS).unwrap() & PRESERVED;
        assert_eq!(preds, value("pr") & PRESERVED, "{name}");
        let marker = FrameMarker::of(frame.get(r::IFS).unwrap()).unwrap();
        let r32 = marker.register(frame.get(r::BSP).unwrap(), 32).unwrap();
        assert_eq!(memory.read_u64(Gva(r32)), Ok(value("r32")), "{name}");
        assert_eq!(floating[&2], value("f2_significand"), "{name}");
        assert_eq!(floating[&16], value("f16_significand"), "{name}");
        // The log was written before the call: the return address lies a little behind.
        let ip = frame.ip().unwrap();
        assert!(
            ip > value("log_ip") && ip - value("log_ip") < 0x100,
            "{name}"
        );
        if n + 1 == truth.len() {
            break;
        }
        let rules = function_rules(&image, ip, Position::Return).unwrap();
        for (number, known) in &mut floating {
            if let Some(at) = saved_at(&memory, &frame, &rules, Resource::Fr(*number)) {
                *known = memory.read_u64(Gva(at)).unwrap();
            }
        }
        frame = step(&image, &memory, &frame, Position::Return)
            .unwrap()
            .registers;
        // The caller's ar.pfs is what the program logged at its own entry one frame further out.
        assert_eq!(frame.get(r::PFS), Some(value("pfs")), "{name}");
    }
    // The first function says that nothing called it.
    let last = step(&image, &memory, &frame, Position::Return).unwrap();
    assert_eq!(last.registers.ip(), Some(0));
}

/// Frames out from `start`, each as (ip, sp, bsp), and why there are no more.
fn walk(image: &Image, memory: &Held, start: &Registers) -> (Vec<[u64; 3]>, String) {
    let mut frame = start.clone();
    let mut frames = Vec::new();
    loop {
        frames.push([
            frame.ip().unwrap(),
            frame.sp().unwrap(),
            frame.get(r::BSP).unwrap(),
        ]);
        frame = match step(image, memory, &frame, Position::Return) {
            Ok(next) => next.registers,
            Err(error) => return (frames, error.to_string()),
        };
    }
}

/// The image, each snapshot of the machine, and the frames of each: instruction, stack, backing store.
type Snapshots = (Image, Vec<(Registers, Held)>, Vec<Vec<[u64; 3]>>);

fn snapshots() -> Option<Snapshots> {
    let image = std::fs::read(shared("data/ia64/lab-b/image.bin")?).unwrap();
    let out = std::fs::read(shared("data/ia64/lab-b/outb.bin")?).unwrap();
    let truth = std::fs::read(shared("data/ia64/lab-b/truth.json")?).unwrap();
    let truth: Vec<Vec<[u64; 3]>> = serde_json::from_slice(&truth).unwrap();
    let image = Image::mapped(0xE000_0165_9850_0000, image);
    let snapshots = out
        .chunks_exact(256 + 0x800 + 0x2000)
        .map(|snapshot| {
            let word = |n: usize| word64(snapshot, n * 8);
            let mut start = captured(word(1), word(2), word(3), word(6));
            for (n, reg) in [r::S0, r::S1, r::S2, r::S3, r::PREDS, r::LC]
                .into_iter()
                .enumerate()
            {
                start.set(reg, word(7 + n));
            }
            let memory = Held {
                pieces: vec![
                    (word(2), snapshot[256..256 + 0x800].to_vec()),
                    (0x9FFF_FFFF_7F60_0000, snapshot[256 + 0x800..].to_vec()),
                ],
                ..Held::default()
            };
            (start, memory)
        })
        .collect();
    Some((image, snapshots, truth))
}

#[test]
fn the_call_stacks_of_a_real_driver_are_those_that_were_followed() {
    let Some((image, snapshots, truth)) = snapshots() else {
        return;
    };
    assert_eq!((snapshots.len(), truth.len()), (7, 7));
    let mut frames = 0;
    for ((start, memory), wanted) in snapshots.iter().zip(&truth) {
        let (found, why) = walk(&image, memory, start);
        assert_eq!(&found, wanted);
        assert_eq!(why, "no module at the instruction pointer");
        frames += found.len();
    }
    assert_eq!(frames, 26);
}

#[test]
fn a_walk_without_one_of_its_words_ends_there_and_invents_no_frame() {
    let Some((image, snapshots, truth)) = snapshots() else {
        return;
    };
    let (mut needed, mut spared) = (0, 0);
    for ((start, memory), wanted) in snapshots.into_iter().zip(&truth) {
        // Which step reads which word first.
        let mut frame = start.clone();
        let mut first: BTreeMap<u64, usize> = BTreeMap::new();
        for n in 0.. {
            memory.read.borrow_mut().clear();
            let next = step(&image, &memory, &frame, Position::Return);
            for at in memory.read.borrow().iter() {
                first.entry(*at).or_insert(n);
            }
            match next {
                Ok(next) => frame = next.registers,
                Err(_) => break,
            }
        }
        for (at, n) in first {
            let memory = Held {
                pieces: memory.pieces.clone(),
                without: Some(at),
                ..Held::default()
            };
            let (found, why) = walk(&image, &memory, &start);
            if found.len() == wanted.len() {
                // A word of NaT bits, or a register that no caller restores from.
                assert_eq!(&found, wanted);
                spared += 1;
                continue;
            }
            assert_eq!(found, wanted[..=n], "without {at:#x}");
            assert!(
                why.contains(&format!("{at:#x} is not in this dump")),
                "{why}"
            );
            needed += 1;
        }
    }
    // Two words a step at least: the return address and the frame marker.
    assert!(needed >= 2 * (26 - 7), "{needed} needed, {spared} not");
}
