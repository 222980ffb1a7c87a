//! Published crashes that look like the defect and are not, rebuilt from what was published of them:
//! system, code, parameters and the frames nearest the fault (`docs/kb943650.md`). They stay negative.
//! And forced dumps, whose code says nothing: what the interrupted processor did, and for how long.

#[path = "support/facts.rs"]
mod facts;

use facts::Crash;
use kbtriage::evidence::{self, Context};
use kbtriage::knowledge::builds::BuildTable;
use kbtriage::knowledge::matching::MatchStatus;
use kbtriage::verdict;
use serde_json::json;

/// The status and the ids of the evidence, an unknown tcpip.sys of Service Pack 1 assumed.
fn judge(crash: Crash) -> (MatchStatus, Vec<&'static str>) {
    let facts = crash.facts();
    let builds = BuildTable::embedded();
    let seen = evidence::evidence(&evidence::observe(&facts, &Context { builds: &builds }));
    let servicing = evidence::servicing(&facts, &builds);
    let decision = verdict::decide(&seen, verdict::may_lack_fix(&facts, &servicing));
    (decision.status, seen.iter().map(|e| e.id).collect())
}

fn parameters(crash: Crash, parameters: [u64; 4]) -> Crash {
    crash.set("/bugcheck/parameters", json!(parameters))
}

#[test]
fn the_published_traces_stay_negative() {
    let vista = parameters(
        Crash::new()
            .set("/dump/architecture", json!("x86"))
            .set("/dump/pointer", json!(4))
            .stack(&["tcpip!TcpIndicateData", "tcpip!TcpDeliverDataToClient"]),
        [4, 2, 0, 0x20_0001],
    );
    assert_eq!(judge(vista).0, MatchStatus::Unlikely);
    let seven = Crash::new()
        .build(7601)
        .stack(&["tcpip!TcpTcbHeaderSend", "tcpip!TcpTcbSend"]);
    assert_eq!(judge(seven).0, MatchStatus::Excluded);
    let stream = parameters(
        Crash::new().stack(&[
            "netio!StreamInvokeCalloutAndNormalizeAction",
            "netio!StreamCalloutProcessData",
        ]),
        [8, 2, 0, 0x30_0001],
    );
    assert_eq!(judge(stream).0, MatchStatus::Unlikely);
    let reassembly = parameters(
        Crash::new().stack(&[
            "tcpip!Ipv6pReassembleDatagram",
            "tcpip!Ipv6pReceiveFragment",
        ]),
        [0, 2, 1, 0x20_0001],
    );
    assert_eq!(judge(reassembly).0, MatchStatus::Unlikely);
}

/// A machine that hung and was stopped with a non-maskable interrupt.
fn forced(functions: &[&str], ticks: u32) -> Crash {
    let mut crash = Crash::new().code(0x80).stack(functions);
    crash.json["dpc_time"] = json!([ticks, 280]);
    crash
}

#[test]
fn a_forced_dump_counts_only_where_the_processor_had_been_for_long() {
    let walk = ["tcpip!TtFireTimer", "tcpip!IppMfeSetTimeOut"];
    let (status, ids) = judge(forced(&walk, 42));
    assert!(ids.contains(&"frame.mfe-timer"), "{ids:?}");
    assert_eq!(status, MatchStatus::Probable);
    let (status, ids) = judge(forced(&walk, 0));
    assert!(ids.contains(&"frame.mfe-timer-passing"), "{ids:?}");
    assert!(status < MatchStatus::Possible, "{status:?}");
    let (status, ids) = judge(forced(&["tcpip!TtFireTimer", "tcpip!TcpTimerExpire"], 42));
    assert!(ids.contains(&"frame.other-timer"), "{ids:?}");
    assert_eq!(status, MatchStatus::Unlikely);
}
