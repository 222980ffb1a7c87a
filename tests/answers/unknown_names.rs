//! Functions whose names no list knows: what the code of the image says of them, and what that is worth. An unknown name
//! counts neither way; a routine that multicast forwarding alone calls makes who hands it entries multicast forwarding, too.

use kbtriage::evidence::{self, Context, Evidence};
use kbtriage::knowledge::builds::BuildTable;
use kbtriage::verdict::{MatchStatus, decide};
use serde_json::{Value, json};

use crate::support::facts::Crash;

const UNFIXED: [u16; 4] = [6, 0, 6001, 18000];

fn seen(crash: Crash) -> Vec<Evidence> {
    let builds = BuildTable::embedded();
    evidence::evidence(&evidence::observe(
        &crash.facts(),
        &Context { builds: &builds },
    ))
}

fn ip(crash: &Crash, frame: usize) -> Value {
    crash.json["stack"]["frames"][frame]["ip"].clone()
}

fn with(evidence: &[Evidence], id: &str) -> bool {
    evidence.iter().any(|piece| piece.id == id)
}

/// Code facts in which nothing was read but what is given.
fn code(forwarding: Value, list_work: Value, walking: Value) -> Value {
    json!({ "forwarding": forwarding, "list_work": list_work, "walking": walking })
}

fn serves(ip: &Value) -> Value {
    json!({ "ip": ip, "routine": "IpDropEntry", "callers": ["IppCommitSetAllMfeParameters", "IppDeleteMfes"] })
}

fn works(ip: &Value, moves_one: bool) -> Value {
    json!({ "ip": ip, "unlinks": true, "inserts": moves_one, "walks": false, "whole": true, "moves_one": moves_one })
}

/// A list operation that faulted in an unlink.
fn fault(functions: &[&str]) -> Crash {
    Crash::new()
        .version("tcpip.sys", UNFIXED)
        .stack(functions)
        .set("/fault/instruction", json!("mov [rax],rcx"))
        .set("/fault/instruction_kind", json!("list-unlink"))
        .set("/fault/effective_address", json!([8, true]))
}

/// A dump forced by hand, whose processor had been in a DPC for long.
fn hang(functions: &[&str]) -> Crash {
    let mut crash = Crash::new()
        .version("tcpip.sys", UNFIXED)
        .code(0xE2)
        .stack(functions);
    crash.json["dpc_time"] = json!([40, 1000]);
    crash
}

#[test]
fn whoever_hands_entries_to_a_routine_of_multicast_forwarding_alone_is_multicast_forwarding() {
    let stack = ["tcpip!XyUnlink", "tcpip!XySweep", "tcpip!IppTimeout"];
    let bare = fault(&stack);
    let (inner, sweep) = (ip(&bare, 0), ip(&bare, 1));
    assert_eq!(decide(&seen(bare), true).status, MatchStatus::Possible);
    let mut told = fault(&stack);
    told.json["code"] = code(
        json!([serves(&sweep)]),
        json!([works(&inner, false)]),
        json!([]),
    );
    let evidence = seen(told);
    assert!(with(&evidence, "frame.mfe-by-code"), "{evidence:?}");
    assert_eq!(decide(&evidence, true).status, MatchStatus::Probable);
    // What it says names the routine and who else calls it.
    let piece = evidence
        .iter()
        .find(|e| e.id == "frame.mfe-by-code")
        .unwrap();
    for word in ["IpDropEntry", "IppDeleteMfes", "XySweep"] {
        assert!(piece.summary.contains(word), "{}", piece.summary);
    }
}

#[test]
fn a_known_other_owner_between_is_the_owner_whatever_the_code_of_those_outside_says() {
    let stack = [
        "tcpip!TtStopTimer",
        "tcpip!IppReassemblyTimeout",
        "tcpip!XySweep",
        "tcpip!IppTimeout",
    ];
    let bare = fault(&stack);
    let sweep = ip(&bare, 2);
    let mut told = fault(&stack);
    told.json["code"] = code(json!([serves(&sweep)]), json!([]), json!([]));
    let evidence = seen(told);
    assert!(!with(&evidence, "frame.mfe-by-code"));
    assert_eq!(decide(&evidence, true).status, MatchStatus::Unlikely);
}

#[test]
fn a_function_without_any_name_is_known_by_what_its_code_does_to_lists() {
    let judged = |stack: &[&str], reads: bool| {
        let mut crash = fault(stack);
        if reads {
            crash.json["code"] = code(json!([]), json!([works(&ip(&crash, 0), true)]), json!([]));
        }
        decide(&seen(crash), true).status
    };
    let restart = ["tcpip", "tcpip!IppForwardMulticastPackets"];
    assert_eq!(judged(&restart, true), MatchStatus::Probable);
    assert_eq!(judged(&restart, false), MatchStatus::Possible);
    let other = ["tcpip", "tcpip!IppReassemblyTimeout", "tcpip!IppTimeout"];
    assert_eq!(judged(&other, true), MatchStatus::Unlikely);
}

/// Executed crashes of builds whose functions have names that no list knows, with what an execution says of them.
#[test]
fn the_defect_is_found_in_builds_whose_functions_have_other_names() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus");
    let drawn = folder.join("drawn");
    let labels = std::fs::read_to_string(drawn.join("labels.jsonl")).unwrap();
    let labels: Vec<Value> = labels
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(labels.len(), 8);
    let unpack = tempfile::tempdir().unwrap();
    for symbols in [true, false] {
        let mut command = crate::support::run::command();
        command
            .args(["triage", "--format", "jsonl"])
            .env_remove("_NT_SYMBOL_PATH");
        if symbols {
            for place in [&folder, &drawn] {
                command.arg("--symbols").arg(place.join("symbols"));
                for machine in ["x64", "x86"] {
                    command
                        .arg("--images")
                        .arg(place.join("images").join(machine));
                }
            }
        }
        for label in &labels {
            let file = label["file"].as_str().unwrap();
            let bytes = std::fs::read(drawn.join("dumps").join(file)).unwrap();
            let place = unpack.path().join(file.trim_end_matches(".gz"));
            let bytes = match file.ends_with(".gz") {
                true => {
                    let mut out = Vec::new();
                    let mut packed = flate2::read::GzDecoder::new(bytes.as_slice());
                    std::io::Read::read_to_end(&mut packed, &mut out).unwrap();
                    out
                }
                false => bytes,
            };
            std::fs::write(&place, bytes).unwrap();
            command.arg(place);
        }
        let out = command.output().expect("the program runs");
        let text = String::from_utf8(out.stdout).expect("UTF-8");
        for (label, line) in labels.iter().zip(text.lines()) {
            let report: Value = serde_json::from_str(line).unwrap();
            let found = &report["hotfix"]["match"];
            let status = found["status"].as_str().unwrap();
            assert_eq!(label["caused_by_defect"], true);
            match symbols {
                true => assert!(
                    matches!(status, "probable" | "confirmed"),
                    "{}: {found}",
                    label["file"]
                ),
                false => assert!(
                    !matches!(status, "unlikely" | "excluded"),
                    "{}: {found}",
                    label["file"]
                ),
            }
        }
    }
}

#[test]
fn a_fault_of_another_kind_in_such_a_function_is_no_sign() {
    let stack = ["tcpip!XySweep", "tcpip!IppTimeout"];
    let mut crash = fault(&stack).set("/fault/instruction_kind", json!("plain-access"));
    crash.json["code"] = code(json!([serves(&ip(&crash, 0))]), json!([]), json!([]));
    assert!(!with(&seen(crash), "frame.mfe-by-code"));
}

#[test]
fn a_hang_counts_where_the_instruction_walks_a_list_and_not_where_it_waits_or_looks_up() {
    let expiry = ["tcpip!XySweep", "tcpip!IppTimeout"];
    let forwarder = ["tcpip!XyForward", "tcpip!IppDispatchReceivePacketHelper"];
    let decided = |stack: &[&str], walks: bool| {
        let mut crash = hang(stack);
        let at = ip(&crash, 0);
        let walking = if walks { json!([at]) } else { json!([]) };
        crash.json["code"] = code(json!([serves(&at)]), json!([]), walking);
        let evidence = seen(crash);
        assert!(
            evidence.iter().all(|e| !e.summary.contains("fault")),
            "{evidence:?}"
        );
        decide(&evidence, true).status
    };
    assert_eq!(decided(&expiry, true), MatchStatus::Probable);
    // A wait for the set's lock.
    assert_eq!(decided(&expiry, false), MatchStatus::Possible);
    // The look-up of an entry walks a list, too, and no timer's.
    assert_eq!(decided(&forwarder, true), MatchStatus::Possible);
    // The same with the public name of the expiry.
    let mut named = hang(&["tcpip!IppMfeSetTimeOut", "tcpip!IppTimeout"]);
    named.json["code"] = code(json!([]), json!([]), json!([ip(&named, 0)]));
    assert_eq!(decide(&seen(named), true).status, MatchStatus::Probable);
}

#[test]
fn an_unlinked_entry_proves_the_race_only_where_a_restart_met_it_by_name_or_by_code() {
    let proves = |stack: &[&str], moves_one: Option<bool>| {
        let mut crash = fault(stack).set("/dump/format", json!("kernel-complete"));
        let findings: Vec<Value> = ["forwarding-entry", "unlinked-entry"]
            .iter()
            .map(|kind| json!({ "kind": kind, "address": 0xFA80_1000u64, "tag": "IPmf", "detail": kind }))
            .collect();
        crash.json["memory"] = json!({ "processors": [], "other_stacks": [], "findings": findings,
            "pool_tags": null });
        if let Some(moves_one) = moves_one {
            let work = json!([
                works(&ip(&crash, 0), false),
                works(&ip(&crash, 1), moves_one)
            ]);
            crash.json["code"] = code(json!([]), work, json!([]));
        }
        with(&seen(crash), "memory.unlinked-entry")
    };
    let named = ["tcpip!TtStopTimer", "tcpip!IppRestartMfeTimer"];
    let unknown = ["tcpip!XyStop", "tcpip!XyOther"];
    assert!(proves(&named, None));
    // A stop, and a function that takes one entry off and puts the same one on.
    assert!(proves(&unknown, Some(true)));
    // A removal may meet what it left itself, whatever it is called, and without code nobody knows.
    assert!(!proves(&unknown, Some(false)));
    assert!(!proves(&unknown, None));
    assert!(!proves(
        &["tcpip!TtStopTimer", "tcpip!IppCommitSetAllMfeParameters"],
        None
    ));
    assert!(!proves(&["tcpip", "tcpip"], None));
}
