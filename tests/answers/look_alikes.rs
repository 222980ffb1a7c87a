//! Each look-alike is named by its own rule and with a reason, and by nothing else.

use crate::support::facts::Crash;
use kbtriage::evidence::look_alikes::look_alikes;
use kbtriage::knowledge::article;
use kbtriage::knowledge::builds::BuildTable;
use serde_json::json;

fn named(crash: Crash) -> Vec<(String, String)> {
    look_alikes(&crash.facts(), &BuildTable::embedded())
        .into_iter()
        .map(|other| (other.id, other.why))
        .collect()
}

fn names(crash: Crash, id: &str) -> bool {
    named(crash).iter().any(|(own, _)| own == id)
}

#[track_caller]
fn shows(crash: Crash, id: &str, why: &str) {
    let all = named(crash);
    let found = all.iter().find(|(own, _)| own == id);
    let found = found.unwrap_or_else(|| panic!("{id} is not among {all:?}"));
    assert!(found.1.contains(why), "{id}: {}", found.1);
}

/// A crash that each look-alike's rule holds for, and what its reason has to name.
fn examples() -> Vec<(&'static str, Crash, &'static str)> {
    let d1 = || Crash::new();
    vec![
        (
            "KB972887",
            d1().build(6002)
                .stack(&["tcpip!IppFragmentPackets", "tcpip!IppForwardPackets"]),
            "tcpip!IppForwardPackets is on the stack",
        ),
        (
            "MS08-001",
            d1().build(6000).stack(&[
                "tcpip!IgmpReceiveDatagrams",
                "tcpip!IppDeliverListToProtocol",
            ]),
            "tcpip!IgmpReceiveDatagrams is nearest",
        ),
        (
            "KB946776",
            d1().stack(&["fwpkclnt!FwpsInjectNetworkReceiveAsync0"]),
            "fwpkclnt!FwpsInject",
        ),
        (
            "KB950570",
            d1().code(0x7E)
                .stack(&["netio"])
                .set("/dump/uptime", json!(350_000_000u64)),
            "up for 35 s",
        ),
        ("KB972907", d1().code(0x7F), "parameter 1 is 0x8"),
        (
            "KB976529",
            d1().build(6002)
                .code(0x0A)
                .stack(&["nt!KeAcquireSpinLockRaiseToDpc", "tcpip!WfpAleQueryEntry"]),
            "tcpip!WfpAleQueryEntry",
        ),
        (
            "KB979278",
            d1().stack(&["tcpip"])
                .module("acmefilter.sys", "name", json!("epfwwfp.sys")),
            "epfwwfp.sys, symtdi",
        ),
        (
            "KB973482",
            d1().code(0x7E).stack(&["afd!AfdFastIo"]),
            "afd!AfdFastIo",
        ),
        (
            "KB969290",
            d1().stack(&["tcpip"]),
            "no stack can separate it",
        ),
        (
            "KB2752589",
            d1().stack(&["tcpip"])
                .module("tcpip.sys", "time_date_stamp", json!(1_320_000_000u32)),
            "tcpip.sys was linked 2011-10-30",
        ),
        (
            "KB2905412",
            d1().stack(&["tcpip!TcpIndicateData", "tcpip!TcpDeliverInput"]),
            "tcpip!TcpIndicateData",
        ),
        (
            "KB2519644",
            d1().build(7601)
                .stack(&["tcpip!TcpBwAbortAllOutboundEstimation"]),
            "address is 0x8",
        ),
        (
            "third-party-filter",
            d1().stack(&[
                "tcpip!IppSendDatagrams",
                "acmefilter!Divert",
                "ndis!NdisFSendNetBufferLists",
            ]),
            "acmefilter!Divert is near the fault",
        ),
    ]
}

#[test]
fn every_look_alike_with_a_rule_has_an_example_that_it_names() {
    let mut tried: Vec<&str> = Vec::new();
    for (id, crash, why) in examples() {
        // symnets.sys and the like: two products of callout drivers.
        let crash = match id {
            "KB979278" => crash.module("symtdi.sys", "name", json!("symtdiv.sys")),
            _ => crash,
        };
        shows(crash, id, why);
        tried.push(id);
    }
    for other in article::look_alikes() {
        assert!(
            tried.contains(&other.id.as_ref()) || other.rules.is_empty(),
            "{} has a rule and no example",
            other.id
        );
    }
    assert!(
        article::look_alike("bad-memory").unwrap().rules.is_empty(),
        "one dump never shows it"
    );
}

#[test]
fn another_build_or_code_names_none_of_those_that_have_one() {
    for (id, crash, _) in examples() {
        if id == "third-party-filter" {
            continue;
        }
        assert!(!names(crash.build(19041), id), "{id} on Windows 10");
    }
    for (id, crash, _) in examples() {
        // A code that no look-alike has.
        let any_code = ["MS08-001", "KB979278", "third-party-filter"].contains(&id);
        assert!(any_code || !names(crash.code(0x9F), id), "{id} with 0x9F");
    }
}

#[test]
fn a_name_that_says_otherwise_takes_a_nameless_guess_away() {
    let nameless = || Crash::new().build(6002).stack(&["tcpip"]);
    shows(nameless(), "KB972887", "without names");
    assert!(!names(
        nameless().stack(&["tcpip!TcpIndicateData"]),
        "KB972887"
    ));
    assert!(names(
        Crash::new().build(6000).stack(&["tcpip"]),
        "MS08-001"
    ));
    assert!(!names(
        Crash::new().build(6000).stack(&["tcpip!TcpIndicateData"]),
        "MS08-001"
    ));
}

#[test]
fn a_version_with_the_fix_takes_the_look_alike_away() {
    let old = Crash::new()
        .build(6000)
        .stack(&["tcpip"])
        .version("tcpip.sys", [6, 0, 6000, 16386]);
    assert!(names(old, "MS08-001"));
    let fixed = Crash::new()
        .build(6000)
        .stack(&["tcpip"])
        .version("tcpip.sys", [6, 0, 6000, 16567]);
    assert!(!names(fixed, "MS08-001"));
}

#[test]
fn a_candidate_frame_or_a_neighbours_name_names_nothing() {
    let stack = [
        "tcpip!IppSendDatagrams",
        "acmefilter!Divert",
        "ndis!NdisFSendNetBufferLists",
    ];
    assert!(names(Crash::new().stack(&stack), "third-party-filter"));
    let scanned = Crash::new()
        .stack(&stack)
        .set("/stack/frames/1/trust", json!("scan"));
    assert!(!names(scanned, "third-party-filter"));
    let approximate = Crash::new()
        .stack(&["tcpip!TcpIndicateData"])
        .set("/stack/frames/0/name/kind", json!("approximate"))
        .set("/fault/name/kind", json!("approximate"));
    assert!(!names(approximate, "KB2905412"));
    let folded = Crash::new()
        .stack(&["tcpip!TcpIndicateData"])
        .set("/fault/name/aliases", json!(["IppSomethingElse"]));
    assert!(!names(folded, "KB2905412"), "an alias of another family");
}

#[test]
fn what_the_fault_interrupted_is_not_near_it() {
    let crash = Crash::new()
        .stack(&[
            "tcpip!IppSendDatagrams",
            "nt!KiDpcInterrupt",
            "acmefilter!Divert",
        ])
        .set("/stack/faulting_activity", json!(2));
    assert!(!names(crash, "third-party-filter"));
}

#[test]
fn without_a_fault_nothing_is_near_it() {
    assert_eq!(named(Crash::new()), []);
}

#[test]
fn the_network_adapter_at_the_end_of_a_receive_path_is_no_filter() {
    let receive = ["tcpip!IppReceiveHeader", "netio", "ndis", "acmefilter"];
    assert!(!names(Crash::new().stack(&receive), "third-party-filter"));
    // Unless it is what faulted.
    assert!(names(
        Crash::new().stack(&["acmefilter", "ndis"]),
        "third-party-filter"
    ));
}
