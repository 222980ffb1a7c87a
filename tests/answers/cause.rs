//! Whom a crash is laid to: each rule over facts written by hand, and the reports of made dumps.

use crate::support::facts::Crash;
use kbtriage::cause::{self, Cause, Confidence, Event, HintKind, Known, What};
use serde_json::json;

fn judged(crash: Crash) -> Cause {
    let known = Known {
        full: true,
        ..Known::default()
    };
    cause::judge(&crash.facts(), &known).expect("a kernel dump")
}

/// Module and trust of each suspect.
fn suspects(crash: Crash) -> Vec<(String, Confidence)> {
    judged(crash)
        .suspects
        .into_iter()
        .map(|suspect| (suspect.module.unwrap_or_default(), suspect.trust))
        .collect()
}

fn one(file: &str, trust: Confidence) -> Vec<(String, Confidence)> {
    vec![(file.to_owned(), trust)]
}

#[test]
fn the_driver_that_faulted_is_the_suspect() {
    let crash = Crash::new().stack(&["acmefilter!Divert", "ndis", "tcpip"]);
    assert_eq!(suspects(crash), one("acmefilter.sys", Confidence::Strong));
    let own = judged(Crash::new().stack(&["tcpip!TcpIndicateData", "netio"]));
    assert_eq!(own.suspects[0].what, What::Windows);
    assert_eq!(own.suspects[0].module.as_deref(), Some("tcpip.sys"));
    let function = own.suspects[0].place.as_ref().unwrap().1.as_deref();
    assert_eq!(function, Some("TcpIndicateData"));
    // Several contexts fitted: which instruction it was is less sure.
    let unsure = Crash::new()
        .stack(&["acmefilter"])
        .set("/fault/candidates", json!(3));
    assert_eq!(suspects(unsure), one("acmefilter.sys", Confidence::Weak));
}

#[test]
fn the_kernel_and_frameworks_fault_for_their_nearest_caller() {
    for inner in [
        "nt!memcpy",
        "ndis!NdisMSendComplete",
        "fwpkclnt!FwpsAllocate",
        "netio",
    ] {
        let crash = Crash::new().stack(&[inner, "nt", "acmefilter", "tcpip"]);
        assert_eq!(
            suspects(crash),
            one("acmefilter.sys", Confidence::Moderate),
            "{inner}"
        );
    }
    // No suspect that is of Windows while another vendor's driver is certain between.
    let between = Crash::new().stack(&["nt", "acmefilter", "afd"]);
    assert_eq!(
        suspects(between),
        one("acmefilter.sys", Confidence::Moderate)
    );
    let windows = Crash::new().stack(&["nt", "afd", "acmefilter"]);
    assert_eq!(suspects(windows)[0].0, "afd.sys");
}

#[test]
fn a_frame_found_by_search_makes_no_suspect() {
    let crash = || {
        Crash::new()
            .stack(&["nt", "acmefilter", "tcpip"])
            .set("/stack/frames/1/trust", json!("scan"))
            .set("/stack/frames/2/trust", json!("scan"))
    };
    let found = judged(crash());
    assert_eq!(found.suspects, []);
    assert!(found.reason.contains("--images"), "{}", found.reason);
    let hint = found
        .hints
        .iter()
        .find(|hint| hint.kind == HintKind::OnStack)
        .expect("a hint");
    assert!(hint.text.contains("acmefilter.sys") && hint.text.contains("not known"));
}

#[test]
fn a_driver_of_windows_and_its_caller_of_another_vendor_are_a_tie() {
    let found = judged(Crash::new().stack(&["tcpip", "fwpkclnt", "acmefilter", "netio"]));
    let names: Vec<_> = found
        .suspects
        .iter()
        .filter_map(|s| s.module.as_deref())
        .collect();
    assert_eq!(names, ["tcpip.sys", "acmefilter.sys"]);
    assert!(
        found.reason.contains("does not tell which"),
        "{}",
        found.reason
    );
    // The adapter's driver at the end of a receive path says nothing.
    let receive = Crash::new().stack(&["tcpip", "netio", "ndis", "acmefilter"]);
    assert_eq!(suspects(receive), one("tcpip.sys", Confidence::Moderate));
}

#[test]
fn a_call_of_an_unloaded_driver_names_it() {
    let crash = Crash::new()
        .stack(&["nt"])
        .code(0xCE)
        .set("/fault/ip", json!(0xFFFF_F880_0900_1234u64))
        .set(
            "/unloaded",
            json!([{ "name": "acmegone.sys", "start": 0xFFFF_F880_0900_0000u64,
                     "end": 0xFFFF_F880_0900_8000u64 }]),
        );
    let found = judged(crash);
    assert_eq!(found.suspects[0].module.as_deref(), Some("acmegone.sys"));
    assert_eq!(found.suspects[0].trust, Confidence::Strong);
}

#[test]
fn a_call_through_a_bad_pointer_is_the_caller_s() {
    let crash = Crash::new()
        .stack(&["nt", "acmefilter", "tcpip"])
        .set("/fault/ip", json!(0))
        .set("/stack/frames/0/ip", json!(0));
    let found = judged(crash);
    assert_eq!(found.suspects[0].module.as_deref(), Some("acmefilter.sys"));
    assert!(
        found.reason.contains("where no code is"),
        "{}",
        found.reason
    );
}

#[test]
fn a_code_that_names_its_driver_is_believed_before_the_stack() {
    // 0x116: the second parameter is an address inside the display driver.
    let display = 7 * 0x10_0000 + 0x1234;
    let crash = Crash::new()
        .stack(&["nt", "ndis"])
        .code(0x116)
        .set("/fault/ip", json!(null))
        .set("/bugcheck/parameters", json!([1, display, 0, 4]));
    assert_eq!(suspects(crash), one("acmefilter.sys", Confidence::Strong));
    // 0x9F (3): the request's driver, over objects in memory.
    let power = || {
        Crash::new()
            .code(0x9F)
            .set("/bugcheck/parameters", json!([3, 0x1000, 0x2000, 0x3000]))
    };
    let named = |name: &str| {
        let mut crash = power();
        crash.json["clues"] = json!({ "named": [{ "parameter": 3, "name": name, "over": "x" }],
            "hardware": null, "stack": null, "block": null, "changed": null });
        crash
    };
    assert_eq!(
        suspects(named("acmefilter.sys")),
        one("acmefilter.sys", Confidence::Strong)
    );
    assert_eq!(suspects(named(r"\Driver\acmefilter"))[0].0, "acmefilter");
    assert_eq!(suspects(power()), [], "nothing to follow in the dump");
}

#[test]
fn damage_hardware_disks_and_programs_are_told_from_drivers() {
    let what = |crash: Crash| judged(crash).suspects.first().map(|s| (s.what, s.trust));
    let stack = || {
        Crash::new()
            .stack(&["nt", "tcpip"])
            .set("/fault/ip", json!(null))
    };
    assert_eq!(
        what(stack().code(0x19)),
        None,
        "who met the damage did not make it"
    );
    let met = Crash::new()
        .stack(&["nt", "acmefilter"])
        .code(0x19)
        .set("/fault/ip", json!(null));
    assert_eq!(what(met), Some((What::Driver, Confidence::Weak)));
    let flipped = stack()
        .code(0x1A)
        .set("/bugcheck/parameters", json!([0x403, 0, 0x25, 0x21]));
    assert_eq!(
        what(flipped),
        Some((What::Hardware, Confidence::Moderate)),
        "one bit"
    );
    let torn = stack()
        .code(0x1A)
        .set("/bugcheck/parameters", json!([0x403, 0, 0x25, 0x52]));
    assert_eq!(what(torn), None);
    assert_eq!(
        what(stack().code(0x124)),
        Some((What::Hardware, Confidence::Strong))
    );
    assert_eq!(
        what(stack().code(0x7A)),
        Some((What::Storage, Confidence::Moderate))
    );
    assert_eq!(
        what(stack().code(0xEF)),
        Some((What::Process, Confidence::Weak))
    );
    assert_eq!(
        what(stack().code(0xA5)),
        Some((What::Firmware, Confidence::Moderate))
    );
}

#[test]
fn forced_live_and_hanging_systems_are_no_plain_crashes() {
    let stack = || Crash::new().stack(&["acmefilter", "ndis", "tcpip"]);
    for code in [0xE2, 0x80, 0x9E, 0xDEAD_DEAD, 0x1C8] {
        let found = judged(stack().code(code));
        assert_eq!(
            (found.event, found.suspects.len()),
            (Event::Forced, 0),
            "{code:#x}"
        );
    }
    for code in [0x193, 0x15E, 0x1A8, 0x161] {
        assert_eq!(
            judged(stack().code(code)).event,
            Event::LiveReport,
            "{code:#x}"
        );
    }
    let hang = judged(
        stack()
            .code(0x133)
            .set("/bugcheck/parameters", json!([0, 1, 2, 3])),
    );
    assert_eq!(hang.event, Event::Hang);
    assert_eq!(hang.suspects[0].module.as_deref(), Some("acmefilter.sys"));
}

#[test]
fn hints_say_what_was_seen_and_where() {
    let kinds = |crash: Crash| -> Vec<HintKind> {
        judged(crash)
            .hints
            .into_iter()
            .map(|hint| hint.kind)
            .collect()
    };
    let clues = |crash: Crash, key: &str, value: serde_json::Value| {
        let mut crash = crash;
        crash.json["clues"] = json!({ "named": [], "hardware": null, "stack": null, "block": null,
                                      "changed": null });
        crash.json["clues"][key] = value;
        crash
    };
    let stack = || Crash::new().stack(&["acmefilter", "tcpip"]);
    // A pointer into the kernel's half whose bit 45 is gone is one bit from rbx's page.
    let registers = json!([
        ["rax", 0xFFFF_DA80_1234_5678u64],
        ["rbx", 0xFFFF_FA80_1234_5010u64]
    ]);
    let flipped = stack()
        .set("/fault/registers", registers)
        .set("/fault/address", json!(0xFFFF_DA80_1234_5678u64));
    assert!(kinds(flipped).contains(&HintKind::OneBit));
    let near = json!([
        ["rax", 0xFFFF_FA80_1234_4678u64],
        ["rbx", 0xFFFF_FA80_1234_5010u64]
    ]);
    let near = stack()
        .set("/fault/registers", near)
        .set("/fault/address", json!(0xFFFF_FA80_1234_4678u64));
    assert!(
        !kinds(near).contains(&HintKind::OneBit),
        "neighbours differ in a low bit"
    );
    let low = 0xFFFF_F880_0500_0000u64;
    let full = stack().set("/fault/registers", json!([["rsp", low + 0x100]]));
    assert!(
        kinds(clues(full, "stack", json!([low, low + 0x6000]))).contains(&HintKind::StackExhausted)
    );
    let half = stack().set("/fault/registers", json!([["rsp", low + 0x3000]]));
    assert!(
        !kinds(clues(half, "stack", json!([low, low + 0x6000])))
            .contains(&HintKind::StackExhausted)
    );
    let block = json!({ "body": 0xFFFF_FA80_0000_1010u64, "size": 0x40, "tag": "Irp ", "allocated": false });
    let freed = judged(clues(
        stack().set("/fault/address", json!(0xFFFF_FA80_0000_1020u64)),
        "block",
        block,
    ));
    let hint = freed
        .hints
        .iter()
        .find(|hint| hint.kind == HintKind::PoolBlock)
        .expect("a hint");
    assert!(
        hint.text.contains("free") && hint.text.contains("request packets"),
        "{}",
        hint.text
    );
    let changed = json!({ "address": 0x700010u64, "bytes": 1, "bits": 1 });
    assert!(kinds(clues(stack(), "changed", changed)).contains(&HintKind::ChangedCode));
    assert!(kinds(stack().code(0xC4)).contains(&HintKind::Verifier));
}

#[test]
fn what_to_do_next_fits_the_suspect_and_is_at_most_five_steps() {
    let steps = |crash: Crash| judged(crash).next;
    let ids = |crash: Crash| -> Vec<&'static str> { steps(crash).iter().map(|s| s.id).collect() };
    let sure = ids(Crash::new().stack(&["acmefilter", "ndis"]));
    assert_eq!(sure, ["update-driver"]);
    let probable = steps(Crash::new().stack(&["nt", "acmefilter"]));
    let verifier = probable
        .iter()
        .find(|s| s.id == "driver-verifier")
        .expect("Driver Verifier");
    assert_eq!(
        verifier.command.as_deref(),
        Some("verifier /standard /driver acmefilter.sys")
    );
    assert!(verifier.text.contains("verifier /reset"), "its caution");
    assert!(ids(Crash::new().stack(&["nt"]).code(0x1A)).contains(&"memory-test"));
    assert!(ids(Crash::new().stack(&["nt"]).code(0x7A)).contains(&"check-disk"));
    let evil = Crash::new()
        .module("acmefilter.sys", "name", json!("a & del.sys"))
        .stack(&["nt"]);
    assert!(steps(evil).iter().all(|s| {
        s.command
            .as_deref()
            .is_none_or(|c| !c.contains('&') || c.starts_with("wevtutil"))
    }));
    for code in [
        0x0A, 0x19, 0x1A, 0x3B, 0x50, 0x7A, 0x7E, 0x9F, 0xD1, 0xEF, 0x101, 0x124, 0x133, 0x161,
    ] {
        let count = ids(Crash::new()
            .stack(&["nt", "tcpip", "fwpkclnt", "acmefilter"])
            .code(code))
        .len();
        assert!(count <= 5, "{code:#x}: {count}");
    }
}

#[test]
fn a_code_that_is_either_is_a_live_report_only_where_the_writer_says_so() {
    for (code, either) in [
        (0x124, true),
        (0x144, true),
        (0x164, true),
        (0xD1, false),
        (0x9F, false),
    ] {
        let crash = || Crash::new().stack(&["nt", "tcpip"]).code(code);
        assert_eq!(judged(crash()).event, Event::Crash, "{code:#x}");
        let mut marked = crash();
        marked.json["dump"]["live_mark"] = json!(true);
        let marked = judged(marked);
        let expected = if either {
            Event::LiveReport
        } else {
            Event::Crash
        };
        assert_eq!(marked.event, expected, "{code:#x}");
    }
    assert_eq!(judged(Crash::new().code(0x193)).event, Event::LiveReport);
}

#[test]
fn a_processor_that_did_not_answer_the_clock_is_asked_what_it_did() {
    const BLOCK: u64 = 0xFFFF_F880_0316_5180;
    // The stack of the one that noticed holds a driver that has nothing to do with it.
    let crash = |parameters: serde_json::Value, stack: &[&str]| {
        let mut crash = Crash::new()
            .stack(&["nt", "acmefilter", "tcpip"])
            .code(0x101)
            .set("/fault/ip", json!(null))
            .set("/bugcheck/parameters", parameters);
        let mut other = Crash::new().stack(stack).json["stack"].clone();
        other["processor"] = json!(1);
        let processor = |number: u32, block: u64| {
            json!({ "number": number, "prcb": block, "crashed": number == 0, "ip": null, "irql": null,
                    "dpc_active": null, "dpc_time": null, "thread": null, "process": null })
        };
        crash.json["memory"] = json!({
            "processors": [processor(0, BLOCK - 0x1000), processor(1, BLOCK)],
            "other_stacks": [other], "pool_tags": null, "findings": []
        });
        crash
    };
    // By its control block, and, on Windows that give none, by its number.
    for parameters in [json!([24, 0, BLOCK, 0]), json!([24, 0, 0, 1])] {
        let found = judged(crash(parameters.clone(), &["nt", "ndis", "symtdi"]));
        assert_eq!(
            found.suspects[0].module.as_deref(),
            Some("symtdi.sys"),
            "{parameters}"
        );
        assert!(
            found.reason.contains("processor 1 did not answer"),
            "{}",
            found.reason
        );
        assert!(
            found.reason.contains("called from ndis.sys"),
            "{}",
            found.reason
        );
    }
    // In Windows' own code there is nobody to name, and the code is named.
    let own = judged(crash(json!([24, 0, BLOCK, 0]), &["nt", "ndis"]));
    assert_eq!(own.suspects, []);
    assert!(own.reason.contains("it was in nt"), "{}", own.reason);
    // A stack that is not there is no reason to blame the one that is.
    let absent = judged(crash(json!([24, 0, BLOCK + 0x40, 3]), &["nt", "symtdi"]));
    assert_eq!(absent.suspects, []);
    assert!(absent.reason.contains("processor 3") && absent.reason.contains("not in the dump"));
    let small = Crash::new()
        .stack(&["nt", "acmefilter"])
        .code(0x101)
        .set("/fault/ip", json!(null));
    assert_eq!(
        judged(small.set("/bugcheck/parameters", json!([24, 0, BLOCK, 2]))).suspects,
        []
    );
}

#[test]
fn the_caller_of_no_code_is_named_whatever_is_known_beyond_it() {
    // The caller's own frame is all that is certain; in a framework it says whose call it was and blames nobody.
    let crash = |file: &str| {
        let mut crash = Crash::new()
            .stack(&["nt", file, "tcpip"])
            .set("/fault/ip", json!(0))
            .set("/stack/frames/0/ip", json!(0))
            .set("/stack/frames/1/trust", json!("scan"))
            .set("/stack/frames/2/trust", json!("scan"));
        crash.json["fault"]["caller"] = crash.json["stack"]["frames"][1].clone();
        crash
    };
    let own = judged(crash("acmefilter"));
    assert_eq!(own.suspects[0].module.as_deref(), Some("acmefilter.sys"));
    assert!(
        own.reason.contains("it called 0x0, where no code is"),
        "{}",
        own.reason
    );
    for file in ["ndis", "fwpkclnt"] {
        let framework = judged(crash(file));
        assert_eq!(framework.suspects, [], "{file}");
        let said = format!("{file}.sys");
        assert!(
            framework.reason.starts_with(&said) && framework.reason.contains("called 0x0"),
            "{}",
            framework.reason
        );
    }
}
