//! One crash of an Itanium written as a complete, a kernel and a small dump gives one answer; on a
//! stack of assembled frames, and on one that a real driver had.

use serde_json::{Value, json};

use crate::support::itanium::scene::{Frame, Laboratory, Plan, RsBsp, STACKS, Scene};
use crate::support::itanium::{dump, small};
use crate::support::run;
use crate::support::shared::shared;
use crate::support::triage;

fn report(name: &str, bytes: &[u8]) -> Value {
    let file = format!("kbtriage-itanium-small-{}-{name}.dmp", std::process::id());
    let path = std::env::temp_dir().join(file);
    std::fs::write(&path, bytes).unwrap();
    let report = run::reports(&[&path]).remove(0);
    std::fs::remove_file(path).unwrap();
    report
}

/// The scene as types 1, 2 and 4, the last with the drivers' images.
fn reports(name: &str, scene: &mut Scene) -> [Value; 3] {
    let mut memory = |dump_type| {
        scene.header.dump_type = dump_type;
        let bytes = dump::write(&scene.machine, &scene.header);
        report(&format!("{name}-{dump_type}"), &bytes)
    };
    let (complete, kernel) = (memory(1), memory(2));
    let mut state = small::state(scene);
    small::add_images(scene, &mut state);
    let small = report(&format!("{name}-4"), &triage::write(&state));
    [complete, kernel, small]
}

/// What all types of dump have to agree in.
fn answer(report: &Value) -> Value {
    let frames: Vec<Value> = report["stack"]["frames"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| json!([f["instruction_pointer"], f["stack_pointer"], f["trust"]]))
        .collect();
    let modules: Vec<Value> = report["modules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| json!([m["name"], m["base"], m["timestamp"]]))
        .collect();
    let mut fault = report["fault"].clone();
    // Whether a deferred call ran is in a structure that a small dump cuts short.
    fault.as_object_mut().unwrap().remove("context");
    json!({
        "frames": frames,
        "stopped": report["stack"]["stopped_because"],
        "fault": fault,
        "modules": modules,
        "stop": report["bugcheck"],
    })
}

fn addresses(report: &Value) -> Vec<[u64; 2]> {
    let number = |value: &Value| {
        let text = value.as_str().unwrap().trim_start_matches("0x");
        u64::from_str_radix(text, 16).unwrap()
    };
    let frames = report["stack"]["frames"].as_array().unwrap();
    frames
        .iter()
        .map(|f| {
            [
                number(&f["instruction_pointer"]),
                number(&f["stack_pointer"]),
            ]
        })
        .collect()
}

#[test]
fn an_assembled_crash_gives_one_answer_as_each_type_of_dump() {
    for code in [0xD1, 0x1E, 0x0A] {
        let mut scene = Scene::new(&Plan {
            code,
            ..Plan::default()
        });
        let reports = reports(&format!("scene-{code:x}"), &mut scene);
        let wanted: Vec<[u64; 2]> = scene.frames.iter().map(|f| [f.ip, f.sp]).collect();
        for report in &reports {
            assert_eq!(addresses(report), wanted);
            assert_eq!(answer(report), answer(&reports[0]));
            assert_eq!(report["system"]["name"], "Windows Server 2008");
        }
    }
}

#[test]
fn a_small_dump_without_images_has_its_fault_and_no_invented_frame() {
    let mut scene = Scene::new(&Plan::default());
    let state = small::state(&mut scene);
    let report = report("bare", &triage::write(&state));
    assert_eq!(report["fault"]["source"], "trap-frame");
    assert_eq!(
        addresses(&report),
        [[scene.frames[0].ip, scene.frames[0].sp]]
    );
    assert_eq!(report["stack"]["complete"], false);
    assert_eq!(report["stack"]["stopped_because"], "no unwind data at hand");
}

#[test]
fn the_stacks_of_a_real_driver_are_walked_in_each_type_of_dump() {
    let (Some(image), Some(out), Some(truth)) = (
        shared("data/ia64/lab-b/image.bin"),
        shared("data/ia64/lab-b/outb.bin"),
        shared("data/ia64/lab-b/truth.json"),
    ) else {
        return;
    };
    let (image, out) = (std::fs::read(image).unwrap(), std::fs::read(out).unwrap());
    let truth: Vec<Vec<[u64; 3]>> = serde_json::from_slice(&std::fs::read(truth).unwrap()).unwrap();
    let mut frames_seen = 0;
    for (n, (snapshot, truth)) in out
        .chunks_exact(256 + 0x800 + 0x2000)
        .zip(truth)
        .enumerate()
    {
        let word = |n: usize| u64::from_le_bytes(snapshot[n * 8..n * 8 + 8].try_into().unwrap());
        // Both stacks were those of a program; a thread of the kernel has them elsewhere. Words of
        // NaT bits stay where they are within 512 bytes.
        const STORE: u64 = 0x9FFF_FFFF_7F60_0000;
        const STACK_END: u64 = 0xA000_0000_0000_0000;
        let stack = |at: u64| STACKS - (STACK_END - at);
        let store = |at: u64| STACKS + (at - STORE);
        let frames: Vec<Frame> = truth
            .iter()
            .map(|[ip, sp, bsp]| Frame {
                ip: *ip,
                sp: stack(*sp),
                bsp: store(*bsp),
            })
            .collect();
        let room = (STACKS - frames[0].sp) as usize;
        let laboratory = Laboratory {
            image: &image,
            pieces: vec![
                (frames[0].sp, &snapshot[256..256 + 0x800.min(room)]),
                (STACKS, &snapshot[256 + 0x800..]),
            ],
            frames: frames.clone(),
            marker: word(6) & ((1 << 38) - 1),
        };
        let plan = Plan {
            trap_bsp: [RsBsp::End, RsBsp::First][n % 2],
            context_bsp: [RsBsp::First, RsBsp::End][n / 2 % 2],
            slot: 0,
            ..Plan::default()
        };
        let mut scene = Scene::of_laboratory(&plan, &laboratory);
        let reports = reports(&format!("lab-{n}"), &mut scene);
        let wanted: Vec<[u64; 2]> = frames.iter().map(|f| [f.ip, f.sp]).collect();
        for report in &reports {
            assert_eq!(addresses(report), wanted, "snapshot {n}");
            assert_eq!(answer(report), answer(&reports[0]), "snapshot {n}");
            // Outside lies the laboratory's own code, which has no unwind data.
            let why = &report["stack"]["stopped_because"];
            assert_eq!(why, "no function entry for a return address");
        }
        frames_seen += frames.len();
    }
    assert_eq!(frames_seen, 26);
}
