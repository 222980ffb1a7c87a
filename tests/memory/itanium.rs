//! Memory dumps of an Itanium: how the kernel is found in them, and the answer the program gives.

use std::path::PathBuf;

use crate::support::itanium::dump;
use crate::support::itanium::scene::{Plan, Root, RsBsp, Scene};
use crate::support::run;
use crate::support::symbols::Pdb;
use kbtriage::bytes::{Budget, Gva, PagedReader};
use kbtriage::dump::{Body, PhysicalBody};
use kbtriage::kernel::ia64::{Settled, address_space};
use kbtriage::memory::translate::{Ia64Tables, Level};
use kbtriage::memory::{Absent, Memory, Paged, Physical};
use kbtriage::triage::{Engine, Request};
use serde_json::{Value, json};

fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!(
        "kbtriage-itanium-{}-{name}.dmp",
        std::process::id()
    ));
    std::fs::write(&path, bytes).unwrap();
    path
}

fn report(name: &str, bytes: &[u8]) -> Value {
    let path = file(name, bytes);
    let report = run::reports(&[&path]).remove(0);
    std::fs::remove_file(path).unwrap();
    report
}

fn scene_report(name: &str, plan: &Plan, dump_type: u32) -> (Scene, Value) {
    let mut scene = Scene::new(plan);
    scene.header.dump_type = dump_type;
    let bytes = dump::write(&scene.machine, &scene.header);
    let report = report(name, &bytes);
    (scene, report)
}

/// Runs `test` on the memory of a dump of the scene.
fn with_memory<T>(
    scene: &Scene,
    dump_type: u32,
    test: impl FnOnce(&Physical<'_>, (Ia64Tables, Settled)) -> T,
) -> T {
    let mut header = scene.header.clone();
    header.dump_type = dump_type;
    let bytes = dump::write(&scene.machine, &header);
    let reader = PagedReader::open(&bytes).unwrap();
    let budget = Budget::default();
    let dump = kbtriage::dump::open(&reader, &budget).unwrap();
    let body: PhysicalBody = match &dump.body {
        Body::Physical(Some(body)) => body.clone(),
        other => panic!("{other:?} {:?}", dump.damage),
    };
    let physical = Physical::new(&reader, body, &budget);
    let found = address_space(&physical, &dump.header, &budget);
    test(&physical, found)
}

fn note(report: &Value) -> String {
    let notes = report["notes"].as_array().unwrap();
    let found: Vec<&Value> = notes
        .iter()
        .filter(|n| n["code"] == "dump.itanium")
        .collect();
    assert_eq!(found.len(), 1, "{notes:?}");
    found[0]["message"].as_str().unwrap().to_owned()
}

fn hex(value: u64) -> Value {
    json!(format!("{value:#018x}"))
}

#[test]
fn every_byte_that_was_mapped_is_read_where_it_lies() {
    for stride in [1, 7] {
        let scene = Scene::new(&Plan {
            stride,
            ..Plan::default()
        });
        for dump_type in [1, 2] {
            with_memory(&scene, dump_type, |physical, (tables, settled)| {
                assert_eq!(settled.missing, Vec::<String>::new());
                assert_eq!(
                    tables.root.map(|root| root.0),
                    Some(scene.machine.root << 13)
                );
                let space = Paged::ia64(physical, tables);
                for (page, frame) in &scene.machine.mapped {
                    let mut bytes = vec![0; 0x2000];
                    space.read(Gva(page << 13), &mut bytes).unwrap();
                    assert_eq!(bytes, scene.machine.pages[frame]);
                    // The same page through the region of all physical memory, cached or not.
                    for region in [0x8000_0000_0000_0000, 0xA000_0000_0000_0000] {
                        let mut same = vec![0; 0x2000];
                        space.read(Gva(region + (frame << 13)), &mut same).unwrap();
                        assert_eq!(bytes, same);
                    }
                }
            });
        }
    }
}

#[test]
fn the_root_is_found_by_each_place_that_may_name_it() {
    let cases = [
        (Root::ParentTable, "MmSystemParentTablePage)"),
        (Root::Register, "a saved translation register)"),
        (Root::Header, "DirectoryTableBase)"),
        (Root::HeaderPage, "DirectoryTableBase as a page number)"),
    ];
    for (root, by) in cases {
        let scene = Scene::new(&Plan {
            root,
            ..Plan::default()
        });
        with_memory(&scene, 2, |_, (tables, settled)| {
            assert_eq!(
                tables.root.map(|root| root.0),
                Some(scene.machine.root << 13),
                "{root:?}"
            );
            let said = settled.decided.iter().any(|what| what.ends_with(by));
            assert!(said, "{root:?}: {:?}", settled.decided);
        });
    }
}

#[test]
fn a_wrong_root_is_refused_and_named_and_a_right_one_behind_it_is_taken() {
    let mut scene = Scene::new(&Plan {
        root: Root::Register,
        ..Plan::default()
    });
    // A page of the stack: no table at all; and the page of another table.
    let stack = scene.machine.physical(scene.frames[0].sp);
    let table = scene.machine.entry(scene.frames[0].sp, 1) & !0x1FFF;
    let parent = 0xE000_0000_8300_6900;
    for wrong in [stack, table] {
        scene.machine.word(parent, wrong >> 13);
        with_memory(&scene, 1, |_, (tables, settled)| {
            assert_eq!(
                tables.root.map(|root| root.0),
                Some(scene.machine.root << 13)
            );
            let wrong = format!("MmSystemParentTablePage ({:#x})", wrong & !0x1FFF);
            assert!(
                settled.decided.iter().any(|what| what.contains(&wrong)),
                "{:?}",
                settled.decided
            );
        });
    }
}

#[test]
fn without_a_root_the_image_and_physical_memory_are_all_there_is_and_the_report_says_so() {
    let (scene, report) = scene_report(
        "no-root",
        &Plan {
            root: Root::Nowhere,
            ..Plan::default()
        },
        2,
    );
    let damage = report["dump"]["damage"].to_string();
    assert!(
        damage.contains("nothing says where the kernel's page tables are"),
        "{damage}"
    );
    assert_eq!(
        report["system"]["build_lab"],
        "6001.18000.ia64fre.longhorn_rtm.080118-1840"
    );
    assert!(
        !["applies", "probably-applies"].contains(&report["hotfix"]["verdict"].as_str().unwrap())
    );
    with_memory(&scene, 2, |physical, (tables, _)| {
        let space = Paged::ia64(physical, tables);
        let missing = space.translate(Gva(scene.frames[0].sp)).unwrap_err();
        assert_eq!(
            (missing.reason, missing.level),
            (Absent::OtherTables, Level::Root)
        );
        assert_eq!(space.read_u16(Gva(0xE000_0000_8300_0000)), Ok(0x5A4D));
    });
    // A header that names no block and tables: nothing of memory is known.
    let mut scene = scene;
    scene.header.debugger_data = 0;
    let bytes = dump::write(&scene.machine, &scene.header);
    let report = self::report("no-block", &bytes);
    let damage = report["dump"]["damage"].to_string();
    assert!(damage.contains("kernel's image was not found"), "{damage}");
}

#[test]
fn each_kind_of_absence_is_told_from_the_others() {
    let mut scene = Scene::new(&Plan::default());
    let sp = scene.frames[0].sp;
    let machine = &mut scene.machine;
    // A page in the tables and not in the file, an entry that is zero, one of unknown format, a
    // directory that is not there, a large page in the wrong place and one at an odd frame.
    let at = |n: u64| 0xE000_0170_0000_0000 + (n << 23);
    for n in 0..8 {
        machine.map(at(n));
    }
    machine.drop_page(at(0));
    machine.set_entry(at(1), 2, 0);
    machine.set_entry(at(2), 2, 0x1234_5000_0000_0822);
    machine.set_entry(at(3), 1, 0);
    machine.set_entry(at(4), 2, 0x0040_0000_0300_0661);
    machine.set_entry(at(5), 1, 0x0040_0000_0300_2661);
    let entry = machine.entry(at(6), 1);
    let table = machine.read_physical(entry) >> 13 & 0xFF_FFFF;
    machine.pages.remove(&table);
    machine.set_entry(0xE000_0300_0000_0000, 0, 0xF0);
    machine.map_large(0xE000_0180_0000_0000, 0x8000);
    machine.write_physical(0x8000 << 13, b"first half");
    machine.write_physical((0x8000 << 13) + 0xFF_E000, b"last page");
    with_memory(&scene, 1, |physical, (tables, _)| {
        let space = Paged::ia64(physical, tables);
        let level = |at: u64| {
            let mut byte = [0];
            let missing = space.read_or_level(Gva(at), &mut byte).unwrap_err();
            (missing.reason, missing.level)
        };
        assert_eq!(level(at(0)), (Absent::NotInDump, Level::Page));
        assert_eq!(level(at(1)), (Absent::NotMapped, Level::Table));
        assert_eq!(level(at(2)), (Absent::UnknownEntry, Level::Table));
        assert_eq!(level(at(3)), (Absent::NotMapped, Level::Directory));
        assert_eq!(level(at(4)), (Absent::UnknownEntry, Level::Table));
        assert_eq!(level(at(5)), (Absent::UnknownEntry, Level::Directory));
        assert_eq!(level(at(6)), (Absent::NotInDump, Level::Table));
        assert_eq!(
            level(0xE000_0300_0000_0000),
            (Absent::UnknownEntry, Level::Root)
        );
        // User mode, session space, unused regions, beyond the tables, the tables' own image.
        for other in [0x7_0000, 0x2000_0000_0000_0000, 0xFFFF_FF00_0000_0000] {
            assert_eq!(
                level(other),
                (Absent::OtherTables, Level::Address),
                "{other:#x}"
            );
        }
        for none in [
            0x4000_0000_0000_0000,
            0xC000_0000_0000_0000,
            0xE000_0800_0000_0000,
            0x8004_0000_0000_0000,
        ] {
            assert_eq!(
                level(none),
                (Absent::NonCanonical, Level::Address),
                "{none:#x}"
            );
        }
        let mut text = [0; 10];
        space.read(Gva(0xE000_0180_0000_0000), &mut text).unwrap();
        assert_eq!(&text, b"first half");
        space
            .read(Gva(0xE000_0180_00FF_E000), &mut text[..9])
            .unwrap();
        assert_eq!(&text[..9], b"last page");
        assert!(space.read_u64(Gva(sp)).is_ok());
    });
}

#[test]
fn a_crash_in_unfixed_tcpip_is_walked_through_its_trap_to_the_idle_loop() {
    for dump_type in [1, 2] {
        let (scene, report) = scene_report(&format!("d1-{dump_type}"), &Plan::default(), dump_type);
        let fault = &report["fault"];
        assert_eq!(fault["instruction_pointer"], hex(scene.frames[0].ip));
        assert_eq!(fault["source"], "trap-frame");
        assert_eq!(fault["address"], hex(0x10));
        assert_eq!(fault["access"], "read");
        assert_eq!(fault["irql"], 2);
        assert_eq!(
            fault["instruction"],
            "slot 1 of its bundle (Itanium instructions are not decoded)"
        );
        let frames: Vec<(Value, Value)> = report["stack"]["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(|frame| {
                (
                    frame["instruction_pointer"].clone(),
                    frame["stack_pointer"].clone(),
                )
            })
            .collect();
        let wanted: Vec<(Value, Value)> = scene
            .frames
            .iter()
            .map(|frame| (hex(frame.ip), hex(frame.sp)))
            .collect();
        assert_eq!(frames, wanted);
        assert_eq!(report["stack"]["complete"], true);
        assert_eq!(report["stack"]["stopped_because"], Value::Null);
        let module = |name: &str| {
            let modules = report["modules"].as_array().unwrap();
            modules
                .iter()
                .find(|module| module["name"] == name)
                .unwrap()
                .clone()
        };
        assert_eq!(module("tcpip.sys")["version"], "6.0.6001.18000");
        assert_eq!(
            report["modules"].as_array().unwrap().len(),
            scene.drivers.len()
        );
        let hotfix = &report["hotfix"];
        assert_eq!(hotfix["verdict"], "may-apply");
        assert_eq!(hotfix["match"]["status"], "possible");
        let packages = hotfix.to_string();
        assert!(packages.contains("~ia64~~6.0.1.0"), "{packages}");
        assert!(
            !packages.contains("~amd64~") && !packages.contains("client"),
            "{packages}"
        );
        assert!(!report.to_string().contains("Vista"), "{report}");
        let note = note(&report);
        for said in [
            "layouts from published headers, never met in a real dump",
            "by MmSystemParentTablePage",
            "RsBSP of a trap frame was read as the end of the interrupted frame's registers",
            "RsBSP of a context was read as the place of its r32",
        ] {
            assert!(note.contains(said), "{note}");
        }
    }
}

#[test]
fn what_rsbsp_holds_is_settled_by_what_it_leads_to_and_named() {
    let walk = |plan: &Plan| {
        let (scene, report) = scene_report(
            &format!("{:?}{:?}", plan.trap_bsp, plan.context_bsp),
            plan,
            2,
        );
        let frames = report["stack"]["frames"].as_array().unwrap().len();
        assert_eq!(frames, scene.frames.len(), "{report}");
        note(&report)
    };
    for trap_bsp in [RsBsp::First, RsBsp::End] {
        for context_bsp in [RsBsp::First, RsBsp::End] {
            let note = walk(&Plan {
                trap_bsp,
                context_bsp,
                ..Plan::default()
            });
            let trap = match trap_bsp {
                RsBsp::First => "trap frame was read as the place of the interrupted r32",
                RsBsp::End => "trap frame was read as the end of the interrupted frame's registers",
            };
            let context = match context_bsp {
                RsBsp::First => "context was read as the place of its r32",
                RsBsp::End => "context was read as the end of its frame's registers",
            };
            assert!(note.contains(trap) && note.contains(context), "{note}");
        }
    }
}

#[test]
fn a_trap_frame_that_names_another_address_than_the_bug_check_is_said() {
    let mut scene = Scene::new(&Plan::default());
    let plain = dump::write(&scene.machine, &scene.header);
    // StIFA, by the headers of the WDK 6001.18000.
    scene.machine.word(scene.trap_frame + 0x258, 0x5678);
    let changed = dump::write(&scene.machine, &scene.header);
    let said = |name: &str, bytes: &[u8]| report(name, bytes).to_string();
    assert!(!said("ifa-same", &plain).contains("IFA of the trap frame"));
    let said = said("ifa-other", &changed);
    assert!(
        said.contains("IFA of the trap frame is 0x5678, the bug check names the address 0x10"),
        "{said}"
    );
}

#[test]
fn an_unhandled_exception_has_its_fault_in_the_trap_frame_too() {
    let (scene, report) = scene_report(
        "1e",
        &Plan {
            code: 0x1E,
            ..Plan::default()
        },
        2,
    );
    assert_eq!(
        report["fault"]["instruction_pointer"],
        hex(scene.frames[0].ip)
    );
    assert_eq!(report["fault"]["source"], "trap-frame");
    assert_eq!(report["fault"]["address"], hex(scene.address));
    assert_eq!(
        report["stack"]["frames"].as_array().unwrap().len(),
        scene.frames.len()
    );
    assert_eq!(report["hotfix"]["verdict"], "may-apply");
}

#[test]
fn a_machine_whose_files_are_the_hotfixs_has_it() {
    for code in [0xD1, 0x1E] {
        let plan = Plan {
            code,
            tcpip: [6, 0, 6001, 22222],
            ..Plan::default()
        };
        let (_, report) = scene_report(&format!("fixed-{code:x}"), &plan, 2);
        assert_eq!(
            report["hotfix"]["applicability"]["status"],
            "already-installed"
        );
        assert_eq!(report["hotfix"]["verdict"], "does-not-apply");
    }
}

#[test]
fn a_trap_frame_without_its_mark_or_of_another_kind_is_not_guessed_at() {
    // No mark: the fault is the parameters' alone, and nothing is walked from it.
    let mut scene = Scene::new(&Plan::default());
    scene.machine.word(scene.trap_frame + 0x330, 0);
    let report = report("no-mark", &dump::write(&scene.machine, &scene.header));
    assert_eq!(report["fault"]["source"], "bugcheck-parameters");
    assert_eq!(report["stack"]["complete"], false);
    // What an interrupt stopped is another activity; the bug check's own is all that counts.
    let (scene, report) = scene_report(
        "interrupt",
        &Plan {
            kind: 1,
            code: 0x1234,
            ..Plan::default()
        },
        2,
    );
    let frames = report["stack"]["frames"].as_array().unwrap();
    let stopped = frames
        .iter()
        .find(|frame| frame["boundary"] == "interrupt")
        .unwrap();
    assert_eq!(stopped["instruction_pointer"], hex(scene.frames[0].ip));
    assert_eq!(report["stack"]["faulting_activity"], 2);
    // User mode ends the kernel's part.
    let (_, report) = scene_report(
        "user",
        &Plan {
            level: 3,
            code: 0x1234,
            ..Plan::default()
        },
        2,
    );
    let frames = report["stack"]["frames"].as_array().unwrap();
    assert_eq!(frames.last().unwrap()["boundary"], "user");
    assert_eq!(report["stack"]["complete"], true);
    // A change to the stack of deferred calls, and a system call of the kernel's own, are not followed.
    for kind in [0, 3] {
        let plan = Plan {
            kind,
            code: 0x1234,
            trap_bsp: RsBsp::First,
            ..Plan::default()
        };
        let (scene, report) = scene_report(&format!("kind-{kind}"), &plan, 2);
        let frames = report["stack"]["frames"].as_array().unwrap().len();
        assert!(
            frames == 2 || frames == 2 + scene.frames.len(),
            "{}",
            report["stack"]
        );
    }
}

#[test]
fn a_system_threads_exception_has_its_records_in_the_parameters() {
    for trap_bsp in [RsBsp::First, RsBsp::End] {
        let plan = Plan {
            code: 0x7E,
            trap_bsp,
            ..Plan::default()
        };
        let (scene, report) = scene_report(&format!("7e-{trap_bsp:?}"), &plan, 2);
        assert_eq!(report["fault"]["source"], "context-record");
        assert_eq!(report["fault"]["address"], hex(scene.address));
        assert_eq!(report["fault"]["access"], "read");
        let frames = report["stack"]["frames"].as_array().unwrap();
        let ips: Vec<&Value> = frames
            .iter()
            .map(|frame| &frame["instruction_pointer"])
            .collect();
        let wanted: Vec<Value> = scene.frames.iter().map(|frame| hex(frame.ip)).collect();
        assert_eq!(ips, wanted.iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_call_through_a_bad_pointer_is_walked_from_where_it_was_made() {
    for trap_bsp in [RsBsp::First, RsBsp::End] {
        let plan = Plan {
            wild: true,
            slot: 0,
            trap_bsp,
            ..Plan::default()
        };
        let (scene, report) = scene_report(&format!("wild-{trap_bsp:?}"), &plan, 2);
        assert_eq!(report["fault"]["access"], "execute");
        let frames = report["stack"]["frames"].as_array().unwrap();
        let ips: Vec<&Value> = frames
            .iter()
            .map(|frame| &frame["instruction_pointer"])
            .collect();
        let wanted: Vec<Value> = scene.frames.iter().map(|frame| hex(frame.ip)).collect();
        assert_eq!(ips, wanted.iter().collect::<Vec<_>>());
        assert_eq!(frames[1]["trust"], "unwind-info");
    }
}

#[test]
fn other_processors_and_unloaded_drivers_are_there_too() {
    let (_, report) = scene_report("others", &Plan::default(), 2);
    let others = report["other_processors"].as_array().unwrap();
    assert_eq!(others.len(), 1);
    assert_eq!(others[0]["processor"], 1);
    assert_eq!(others[0]["complete"], true);
    assert_eq!(others[0]["frames"][0]["module"], "ntoskrnl.exe");
    let unloaded = report["unloaded_modules"].as_array().unwrap();
    assert_eq!(unloaded[0]["name"], "old.sys");
    assert_eq!(unloaded[0]["start"], hex(0xE000_0165_9890_0000));
}

#[test]
fn with_names_of_the_defects_own_code_the_match_is_probable_and_no_more() {
    let scene = Scene::new(&Plan::default());
    let folder =
        std::env::temp_dir().join(format!("kbtriage-itanium-store-{}", std::process::id()));
    // tcpip.sys is the fourth driver: its GUID is 4 in every byte. Publics count from 0x1000.
    let pdb = Pdb {
        machine: 0x200,
        contributions: vec![(0x100, 0x100), (0x300, 0x100)],
        ..Pdb::new(
            [4; 16],
            1,
            &[(0x100, ".TtStopTimer"), (0x300, ".IppRestartMfeTimer")],
        )
    };
    let place = folder.join("tcpip.pdb").join(pdb.key());
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("tcpip.pdb"), pdb.write()).unwrap();
    let path = file("named", &dump::write(&scene.machine, &scene.header));
    let output = run::command()
        .env("KBTRIAGE_CACHE_DIR", folder.join("cache"))
        .args(["triage", "--format", "json", "--symbols"])
        .arg(&folder)
        .arg(&path)
        .output()
        .unwrap();
    std::fs::remove_file(path).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let report: Value = serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].clone();
    assert_eq!(
        report["stack"]["frames"][0]["symbol"], "TtStopTimer",
        "{}",
        report["stack"]
    );
    assert_eq!(report["stack"]["frames"][1]["symbol"], "IppRestartMfeTimer");
    assert_eq!(
        report["hotfix"]["match"]["status"], "probable",
        "{}",
        report["stack"]
    );
    assert_eq!(report["hotfix"]["verdict"], "probably-applies");
}

#[test]
fn a_page_of_the_register_stack_that_is_missing_ends_the_walk_at_the_frame_that_needs_it() {
    let mut scene = Scene::new(&Plan::default());
    // The third frame's own registers, and all further out.
    scene.machine.drop_page(scene.frames[2].bsp);
    let report = report("hole", &dump::write(&scene.machine, &scene.header));
    let frames = report["stack"]["frames"].as_array().unwrap();
    let ips: Vec<&Value> = frames
        .iter()
        .map(|frame| &frame["instruction_pointer"])
        .collect();
    let wanted: Vec<Value> = scene.frames[..3]
        .iter()
        .map(|frame| hex(frame.ip))
        .collect();
    assert_eq!(ips, wanted.iter().collect::<Vec<_>>());
    assert_eq!(report["stack"]["complete"], false);
    let why = report["stack"]["stopped_because"].as_str().unwrap();
    assert!(
        why.starts_with("the register stack at 0xe0000165993b5"),
        "{why}"
    );
    assert!(why.ends_with("is not in this dump"), "{why}");
}

#[test]
fn offsets_that_the_dump_states_itself_are_said_where_they_differ() {
    let mut scene = Scene::new(&Plan::default());
    scene
        .machine
        .write(scene.header.debugger_data + 0x2F2, &0xBB8u16.to_le_bytes());
    with_memory(&scene, 2, |_, (_, settled)| {
        let said = settled
            .decided
            .iter()
            .any(|w| w.contains("OffsetPrcbProcStateSpecialReg is 0xbb8"));
        assert!(said, "{:?}", settled.decided);
    });
}

#[test]
fn a_dump_cut_or_changed_anywhere_still_ends_in_a_report() {
    let scene = Scene::new(&Plan::default());
    let bytes = dump::write(&scene.machine, &scene.header);
    let triage = |bytes: &Vec<u8>| {
        let info = kbtriage::source::SourceInfo::default();
        Engine::default().triage(bytes, Request::new(&info));
    };
    for parts in 1..16 {
        triage(&bytes[..bytes.len() * parts / 16].to_vec());
    }
    let mut prng = crate::support::prng::Prng::new(19);
    for _ in 0..60 {
        let mut changed = bytes.clone();
        for _ in 0..40 {
            let at = (prng.next() % changed.len() as u64) as usize;
            changed[at] = prng.next() as u8;
        }
        triage(&changed);
    }
}
