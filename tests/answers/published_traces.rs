//! Published crashes that look like the defect and are not, rebuilt from what was published of them:
//! system, code, parameters and the frames nearest the fault (`docs/kb943650.md`). They stay negative.
//! And forced dumps, whose code says nothing: what the interrupted processor did, and for how long.

use std::path::Path;

use crate::support::facts::{Crash, id};
use crate::support::published::{self, Trace};
use crate::support::run;
use crate::support::state::Machine;
use crate::support::symbols::{Pdb, Pe};
use kbtriage::evidence::{self, Context};
use kbtriage::knowledge::builds::BuildTable;
use kbtriage::knowledge::matching::MatchStatus;
use kbtriage::verdict;
use serde_json::{Value, json};

/// The status and the ids of the evidence, an unknown tcpip.sys of Service Pack 1 assumed.
fn judge(crash: Crash) -> (MatchStatus, Vec<&'static str>) {
    let facts = crash.facts();
    let builds = BuildTable::embedded();
    let seen = evidence::evidence(&evidence::observe(&facts, &Context { builds: &builds }));
    let servicing = evidence::servicing(&facts, &builds);
    let decision = verdict::decide(&seen, servicing.may_lack_fix);
    (decision.status, seen.iter().map(id).collect())
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

/// A store with the image of a trace's module and a PDB that names its functions.
fn store(trace: &Trace) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let stem = trace.module.split('.').next().unwrap().to_ascii_lowercase();
    // Each PDB an identity of its own, as caches of symbols rely on.
    let mut guid = [0; 16];
    for (at, byte) in trace.functions[0].1.bytes().enumerate() {
        guid[at % 16] ^= byte.rotate_left(at as u32);
    }
    let pdb_name = format!("{stem}.pdb");
    let pe = Pe {
        x86: trace.machine == Machine::X86,
        // Instructions that lead from a function's start to where it faulted.
        code: 0x90,
        ..Pe::new(published::STAMP, guid, 1, &pdb_name)
    };
    assert_eq!(pe.size, published::SIZE);
    // Publics are counted from their section, which starts at 0x1000.
    let publics = trace.functions.map(|(rva, name)| (rva - 0x1000, name));
    let mut pdb = Pdb::new(guid, 1, &publics);
    if trace.machine == Machine::X86 {
        pdb.machine = 0x014C;
    }
    let put = |name: &str, key: String, bytes: Vec<u8>| {
        let place = folder.path().join(name).join(key);
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(name), bytes).unwrap();
    };
    put(&trace.module.to_ascii_lowercase(), pe.key(), pe.write());
    put(&pdb_name, pdb.key(), pdb.write());
    folder
}

#[test]
fn the_published_traces_as_dumps_stay_negative_with_and_without_symbols() {
    for trace in &published::TRACES {
        let dump = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/dumps")
            .join(trace.file);
        let without = &run::reports(&[&dump])[0];
        let store = store(trace);
        let output = run::command()
            .args(["triage", "--format", "jsonl", "--symbols"])
            .arg(store.path())
            .arg(&dump)
            .env("XDG_CACHE_HOME", store.path())
            .env("LOCALAPPDATA", store.path())
            .output()
            .unwrap();
        let with: Value = serde_json::from_slice(&output.stdout).unwrap();
        let status = |report: &Value| {
            report["hotfix"]["match"]["status"]
                .as_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(
            with["fault"]["location"]["symbol"], trace.functions[0].1,
            "{}: {}",
            trace.file, with["fault"]
        );
        let expected = match trace.build {
            6001 => "unlikely",
            _ => "excluded",
        };
        assert_eq!(status(&with), expected, "{}", trace.file);
        // Without names a fault in the network stack of an unfixed build cannot be told apart, and
        // that is all the report says.
        let nameless = match (trace.build, trace.module) {
            (6001, _) => ["possible", "unlikely"],
            _ => ["excluded", "excluded"],
        };
        assert!(
            nameless.contains(&status(without).as_str()),
            "{}: {}",
            trace.file,
            status(without)
        );
        for report in [without, &with] {
            let verdict = report["hotfix"]["verdict"].as_str().unwrap();
            assert!(
                ["does-not-apply", "may-apply"].contains(&verdict),
                "{}: {verdict}",
                trace.file
            );
        }
        assert_eq!(
            with["hotfix"]["verdict"], "does-not-apply",
            "{}",
            trace.file
        );
    }
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

/// Microsoft's page of 0x3B: SYSTEM_SERVICE_EXCEPTION is raised on x64. Of a dump that does not name its architecture
/// the code says nothing, for or against.
#[test]
fn a_code_of_one_architecture_says_nothing_where_that_is_not_known() {
    let sides = |architecture: Value| {
        let crash = Crash::new()
            .code(0x3B)
            .set("/dump/architecture", architecture);
        let (_, ids) = judge(crash);
        ["code.primary", "code.other-architecture"].map(|id| ids.contains(&id))
    };
    assert_eq!(sides(json!("x64")), [true, false]);
    assert_eq!(sides(json!("x86")), [false, true]);
    assert_eq!(sides(Value::Null), [false, false]);
}
