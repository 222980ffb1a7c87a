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

/// A stack on which one return address of `file` is there again and again.
fn repeating(file: &str) -> Crash {
    let mut crash = Crash::new().stack(&["nt", file, file, file, file, file]);
    let again = crash.json["stack"]["frames"][1]["ip"].clone();
    for index in 2..5 {
        crash.json["stack"]["frames"][index]["ip"] = again.clone();
    }
    crash
}

/// A write to address 0 in a function of `file` that has no name.
fn nameless_write(file: &str) -> Crash {
    Crash::new()
        .stack(&[file])
        .set("/fault/address", json!(0))
        .set("/bugcheck/parameters/0", json!(0))
}

/// A crash that each look-alike's rule holds for, and what its reason has to name.
fn examples() -> Vec<(&'static str, Crash, &'static str)> {
    let d1 = || Crash::new();
    let vista = || Crash::new().set("/system/product", json!("workstation"));
    vec![
        (
            "CVE-2021-24086",
            d1().stack(&["tcpip!Ipv6pReassembleDatagram"]),
            "tcpip!Ipv6pReassembleDatagram is nearest",
        ),
        (
            "CVE-2021-24086",
            nameless_write("tcpip"),
            "without names nothing says whether",
        ),
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
            vista().stack(&["fwpkclnt!FwpsInjectNetworkReceiveAsync0"]),
            "fwpkclnt!FwpsInject",
        ),
        (
            "KB950570",
            vista()
                .code(0x7E)
                .stack(&["netio"])
                .set("/dump/uptime", json!(350_000_000u64)),
            "up for 35 s",
        ),
        (
            "KB972907",
            repeating("tcpip").code(0x7F),
            "tcpip.sys is on the stack 4 times",
        ),
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
            d1().build(6000).stack(&["tcpip"]),
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
        article::look_alikes()
            .iter()
            .any(|other| other.id == "bad-memory" && other.rules.is_empty()),
        "one dump never shows it"
    );
}

#[test]
fn another_build_or_code_names_none_of_those_that_have_one() {
    for (id, crash, _) in examples() {
        // These two know no build.
        if ["third-party-filter", "CVE-2021-24086"].contains(&id) {
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

/// A crash close to each look-alike that is not it, and why.
#[test]
fn each_look_alike_is_not_named_where_its_article_does_not_reach() {
    let vista = || Crash::new().set("/system/product", json!("workstation"));
    let inject = ["fwpkclnt!FwpsInjectNetworkReceiveAsync0"];
    let small = json!(350_000_000u64);
    let cases = [
        (
            "CVE-2021-24086",
            Crash::new().stack(&[
                "tcpip!Ipv6pReceiveFragment",
                "tcpip!Ipv6pReassembleDatagram",
            ]),
            "another function faulted",
        ),
        (
            "CVE-2021-24086",
            Crash::new()
                .stack(&["tcpip!Ipv6pReassembleDatagram"])
                .set("/fault/address", json!(0xFFFF_FA80_0000_1000u64)),
            "no null pointer",
        ),
        (
            "CVE-2021-24086",
            nameless_write("tcpip").set("/fault/address", json!(8)),
            "a field of a null pointer's structure",
        ),
        (
            "CVE-2021-24086",
            nameless_write("tcpip").set("/fault/access", json!("read")),
            "a read",
        ),
        ("CVE-2021-24086", nameless_write("netio"), "another module"),
        (
            "CVE-2021-24086",
            nameless_write("tcpip").set("/fault/irql", json!(0)),
            "no packet is received below dispatch level",
        ),
        (
            "CVE-2021-24086",
            nameless_write("tcpip!TtStopTimer"),
            "a name says that it is another function",
        ),
        (
            "KB972887",
            Crash::new().build(6001).stack(&["tcpip!IppForwardPackets"]),
            "not Service Pack 2",
        ),
        (
            "MS08-001",
            Crash::new()
                .build(6001)
                .stack(&["tcpip!IgmpReceiveDatagrams"]),
            "Service Pack 1 has it",
        ),
        (
            "KB946776",
            vista().build(6002).stack(&inject),
            "not Service Pack 2",
        ),
        ("KB946776", Crash::new().stack(&inject), "a server"),
        (
            "KB946776",
            vista().stack(&["fwpkclnt!FwppInjectPrologue", "acmefilter"]),
            "another vendor's driver called it",
        ),
        (
            "KB950570",
            vista()
                .build(6002)
                .code(0x7E)
                .stack(&["netio"])
                .set("/dump/uptime", small.clone()),
            "not Service Pack 2",
        ),
        (
            "KB950570",
            vista().code(0x7E).stack(&["netio"]),
            "an hour after the start",
        ),
        ("KB972907", Crash::new().code(0x7F), "no stack"),
        (
            "KB972907",
            repeating("acmefilter").code(0x7F),
            "another recursion",
        ),
        (
            "KB972907",
            Crash::new()
                .code(0x7F)
                .stack(&["nt", "tcpip", "ndis", "tcpip", "netio"]),
            "no recursion",
        ),
        (
            "KB976529",
            Crash::new()
                .build(6002)
                .code(0x0A)
                .stack(&["nt", "tcpip!TcpIndicateData"]),
            "no filtering platform",
        ),
        (
            "KB979278",
            Crash::new()
                .build(7601)
                .stack(&["tcpip"])
                .module("acmefilter.sys", "name", json!("epfwwfp.sys"))
                .module("symtdi.sys", "name", json!("symtdiv.sys")),
            "Windows 7 with Service Pack 1",
        ),
        (
            "KB979278",
            Crash::new()
                .stack(&["tcpip"])
                .module("acmefilter.sys", "name", json!("epfwwfp.sys")),
            "one callout driver",
        ),
        (
            "KB973482",
            Crash::new().code(0x7E).stack(&["tcpip", "afd"]),
            "afd.sys did not fault",
        ),
        (
            "KB969290",
            Crash::new().stack(&["ndis"]),
            "nothing else is named",
        ),
        (
            "KB2752589",
            Crash::new().stack(&["tcpip"]),
            "a tcpip.sys of 2008",
        ),
        (
            "KB2905412",
            Crash::new()
                .stack(&["tcpip!TcpIndicateData"])
                .set("/dump/processors", json!(1)),
            "one processor",
        ),
        (
            "KB2519644",
            Crash::new()
                .build(6001)
                .stack(&["tcpip!TcpBwAbortAllOutboundEstimation"]),
            "not Windows 6.1",
        ),
        (
            "third-party-filter",
            Crash::new().stack(&["tcpip", "netio", "ndis"]),
            "all of Windows",
        ),
    ];
    for other in article::look_alikes() {
        assert!(
            other.rules.is_empty() || cases.iter().any(|(id, ..)| *id == other.id),
            "{} has a rule and no crash that is not it",
            other.id
        );
    }
    for (id, crash, why) in cases {
        assert!(!names(crash, id), "{id}: {why}");
    }
}

#[test]
fn what_nothing_tells_apart_is_one_line_and_never_the_first() {
    let all = named(Crash::new().build(6000).stack(&["tcpip"]));
    let ids: Vec<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["MS08-001", "KB969290"]);
    assert_eq!(named(Crash::new().stack(&["ndis"])), []);
}

#[test]
fn a_callout_that_injects_is_named_without_its_image() {
    // Its own caller is beyond what x64 can walk without its file.
    let callout = |trust: &str| {
        Crash::new()
            .stack(&[
                "tcpip!IppInspectInjectReceive",
                "fwpkclnt!FwppInjectPrologue",
                "acmefilter",
                "netio",
                "ndis",
            ])
            .set("/stack/frames/3/trust", json!("scan"))
            .set("/stack/frames/4/trust", json!("scan"))
            .set("/stack/frames/2/trust", json!(trust))
    };
    shows(
        callout("unwind-info"),
        "third-party-filter",
        "acmefilter.sys is near",
    );
    assert!(
        !names(callout("scan"), "third-party-filter"),
        "a candidate itself"
    );
    // Called by the network stack, as far as the search shows, and faulting inside the kernel.
    let classify = Crash::new()
        .stack(&["nt!memcpy", "acmefilter", "netio", "tcpip"])
        .set("/stack/frames/2/trust", json!("scan"))
        .set("/stack/frames/3/trust", json!("scan"));
    shows(classify, "third-party-filter", "acmefilter.sys is near");
    // The adapter's driver that indicates a packet stays what it is.
    let adapter = Crash::new()
        .stack(&["tcpip", "ndis", "acmefilter", "ndis", "tcpip"])
        .set("/stack/frames/3/trust", json!("scan"))
        .set("/stack/frames/4/trust", json!("scan"));
    assert!(!names(adapter, "third-party-filter"));
}
