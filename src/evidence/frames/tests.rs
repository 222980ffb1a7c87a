//! What the observers of frames see in stacks made for it.

use super::super::testing;
use super::*;
use serde_json::json;

/// A crash whose certain frames, innermost first, are these functions (`module!name`).
fn crash(functions: &[&str]) -> CrashFacts {
    let modules = ["tcpip.sys", "netio.sys", "ndis.sys", "acmefilter.sys"];
    let base = |module: &str| {
        let stem = |file: &str| file.split('.').next() == Some(module);
        0x10_0000 * (1 + modules.iter().position(|file| stem(file)).unwrap() as u64)
    };
    let frames: Vec<_> = functions
        .iter()
        .zip(1u64..)
        .map(|(function, n)| {
            let (module, name) = function.split_once('!').unwrap();
            json!({ "ip": base(module) + n, "sp": null, "trust": "unwind-info", "boundary": null,
                    "name": { "symbol": name, "displacement": 4, "kind": "exact", "aliases": [], "line": null } })
        })
        .collect();
    let modules: Vec<(&str, u64)> = modules
        .iter()
        .map(|file| (*file, base(file.split('.').next().unwrap())))
        .collect();
    let stack = json!({ "processor": 0, "frames": frames, "faulting_activity": functions.len(),
                        "complete": true, "stopped_because": null });
    testing::crash(&modules, json!({ "stack": stack }))
}

fn ids(functions: &[&str]) -> Vec<(&'static str, bool)> {
    match judge_caller(&crash(functions)) {
        Outcome::Found(found) => found.iter().map(|e| (testing::id(e), e.supports)).collect(),
        Outcome::Neutral(_) | Outcome::NotObservable(_) => Vec::new(),
    }
}

#[test]
fn timer_code_called_by_multicast_forwarding_is_decisive() {
    for stack in [
        vec![
            "tcpip!TtStopTimer",
            "tcpip!IppRestartMfeTimer",
            "tcpip!IppForwardMulticastPackets",
        ],
        vec![
            "tcpip!IppRestartMfeTimer",
            "tcpip!IppForwardMulticastPackets",
        ],
        vec![
            "tcpip!TtStopTimer",
            "tcpip!IppMfeSetTimeOut",
            "tcpip!IppTimeout",
        ],
        vec![
            "netio!RtlDeleteElementTimerWheel",
            "tcpip!TtStopTimer",
            "tcpip!IppRemoveMfeUnderLock",
        ],
    ] {
        assert_eq!(ids(&stack), [("frame.mfe-timer", true)], "{stack:?}");
    }
}

#[test]
fn timer_code_of_another_subsystem_counts_against() {
    let stack = [
        "tcpip!TtStopTimer",
        "tcpip!IppReassembleDatagram",
        "tcpip!IppForwardMulticastPackets",
    ];
    assert_eq!(ids(&stack), [("frame.other-timer", false)]);
}

#[test]
fn the_root_of_every_ip_timer_does_not_say_whose_timer_it_was() {
    assert_eq!(ids(&["tcpip!TtFireTimer", "tcpip!IppTimeout"]), []);
}

#[test]
fn a_filter_above_multicast_forwarding_is_the_filters_fault() {
    // The published Vista trace in the TCP receive path, and a callout below the forwarder.
    assert_eq!(
        ids(&["tcpip!TcpIndicateData", "tcpip!IppForwardMulticastPackets"]),
        [("frame.other-function", false)]
    );
    assert_eq!(
        ids(&["tcpip!WfpAleInsert", "tcpip!IppForwardMulticastPackets"]),
        [("frame.other-function", false)]
    );
    assert_eq!(
        ids(&["acmefilter!Divert", "tcpip!IppForwardMulticastPackets"]),
        []
    );
    assert_eq!(
        ids(&[
            "tcpip!TtStopTimer",
            "acmefilter!Divert",
            "tcpip!IppForwardMulticastPackets"
        ]),
        [("frame.foreign-caller", false)]
    );
}

#[test]
fn a_candidate_frame_is_never_decisive() {
    let mut facts = crash(&["tcpip!TtStopTimer", "tcpip!IppRestartMfeTimer"]);
    for frame in &mut facts.stack.as_mut().unwrap().frames {
        frame.trust = crate::facts::Trust::Scan;
    }
    assert!(matches!(judge_caller(&facts), Outcome::NotObservable(_)));
}

#[test]
fn what_a_dpc_interrupted_does_not_count() {
    let mut facts = crash(&[
        "acmefilter!Dpc",
        "tcpip!TtStopTimer",
        "tcpip!IppRestartMfeTimer",
    ]);
    facts.stack.as_mut().unwrap().faulting_activity = Some(1);
    assert!(matches!(judge_caller(&facts), Outcome::NotObservable(_)));
}

#[test]
fn an_address_that_carries_a_foreign_alias_belongs_to_no_family() {
    let mut facts = crash(&[
        "tcpip!IppRestartMfeTimer",
        "tcpip!IppForwardMulticastPackets",
    ]);
    let frame = &mut facts.stack.as_mut().unwrap().frames[0];
    frame.name.as_mut().unwrap().aliases = vec!["TcpCleanup".to_owned()];
    assert!(
        !matches!(judge_caller(&facts), Outcome::Found(found) if found[0].supports && found[0].strength == Strength::Decisive)
    );
}

/// The same with a faulting instruction that works on a list.
fn list_ids(functions: &[&str]) -> Vec<(&'static str, bool)> {
    let mut facts = crash(functions);
    facts.fault.instruction_kind = Some(crate::facts::InstructionKind::ListUnlink);
    facts.fault.effective_address = Some((0, true));
    match judge_caller(&facts) {
        Outcome::Found(found) => found.iter().map(|e| (testing::id(e), e.supports)).collect(),
        Outcome::Neutral(_) | Outcome::NotObservable(_) => Vec::new(),
    }
}

#[test]
fn a_timer_routine_of_any_name_is_the_forwarding_timers_by_its_place() {
    for routine in [
        "tcpip!IppStopTimer",
        "netio!NetioStopTimer",
        "netio!RtlStopIt",
        "tcpip!Xy",
    ] {
        let restarted = [
            routine,
            "tcpip!IppRestartMfeTimer",
            "tcpip!IppForwardMulticastPackets",
        ];
        assert_eq!(ids(&restarted), [("frame.mfe-timer", true)], "{routine}");
        // Where the caller does more than timers, what the routine does has to be a list's.
        let expired = [routine, "tcpip!IppMfeSetTimeOut", "tcpip!IppTimeout"];
        assert_eq!(ids(&expired), [], "{routine}");
        assert_eq!(
            list_ids(&expired),
            [("frame.mfe-list-unknown", true)],
            "{routine}"
        );
    }
}

#[test]
fn a_forwarding_function_of_another_name_is_looked_through() {
    let stack = [
        "tcpip!TtStopTimer",
        "tcpip!IppRefreshMulticastEntry",
        "tcpip!IppForwardMulticastPackets",
    ];
    assert_eq!(ids(&stack), [("frame.mfe-timer", true)]);
    let both = [
        "tcpip!IppStopTimer",
        "tcpip!IppRefreshMulticastEntry",
        "tcpip!IppForwardMulticastPackets",
    ];
    assert_eq!(list_ids(&both), [("frame.mfe-list-unknown", true)]);
    let three = [
        "tcpip!A",
        "tcpip!B",
        "tcpip!C",
        "tcpip!IppForwardMulticastPackets",
    ];
    assert_eq!(list_ids(&three), [], "too far to say");
}

#[test]
fn what_nobody_knows_counts_neither_way() {
    for stack in [
        vec!["tcpip!IppUnheardOf", "tcpip!IppReceiveHeaderBatch"],
        vec![
            "tcpip!TtStopTimer",
            "tcpip!IppUnheardOf",
            "tcpip!IppReceiveHeadersHelper",
        ],
        vec!["tcpip!TtStopTimer", "tcpip!IppReceiveHeaderBatch"],
        vec![
            "tcpip!IppUnheardOf",
            "acmefilter!Send",
            "tcpip!IppForwardMulticastPackets",
        ],
        vec![
            "tcpip!TtStopTimer",
            "tcpip!IppUnheardOf",
            "tcpip!IppCompleteAndFreePacketList",
        ],
    ] {
        assert_eq!(ids(&stack), [], "{stack:?}");
        assert_eq!(list_ids(&stack), [], "{stack:?}");
    }
    // Who keeps timers of his own is known, whatever the routine is called.
    for stack in [
        [
            "tcpip!IppStopTimer",
            "tcpip!IppNeighborSetTimeout",
            "tcpip!IppTimeout",
        ],
        [
            "tcpip!TtStopTimer",
            "tcpip!IppReassemblyTimeout",
            "tcpip!IppTimeout",
        ],
    ] {
        assert_eq!(
            list_ids(&stack),
            [("frame.other-timer", false)],
            "{stack:?}"
        );
    }
}

#[test]
fn a_text_constants_name_is_no_function() {
    let stack = [
        "tcpip!TtStopTimer",
        "tcpip!??::FNODOBFM::`string'",
        "tcpip!IppForwardMulticastPackets",
    ];
    assert_eq!(ids(&stack), []);
}
