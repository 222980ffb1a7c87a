//! The answer on each fixture: match, applicability, verdict and the evidence that led there.
//!
//! Expected answers follow from what the fixture describes (`fixtures/dumps/README.md`) and the
//! published rules (`docs/kb943650.md`), not from the program.

use std::path::{Path, PathBuf};

use crate::support::run::reports;
use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/dumps")
        .join(format!("{name}.dmp"))
}

fn report(name: &str) -> Value {
    reports(&[fixture(name)]).remove(0)
}

fn evidence<'a>(report: &'a Value, id: &str) -> Option<&'a Value> {
    report["hotfix"]["match"]["evidence"]
        .as_array()
        .unwrap()
        .iter()
        .find(|e| e["id"] == id)
}

/// Match status, applicability and verdict.
fn answer(report: &Value) -> [&str; 3] {
    [
        &report["hotfix"]["match"]["status"],
        &report["hotfix"]["applicability"]["status"],
        &report["hotfix"]["verdict"],
    ]
    .map(|value| value.as_str().unwrap())
}

#[test]
fn a_fault_in_a_release_build_of_tcpip_may_be_the_defect() {
    for name in [
        "vista-sp1-x86-d1",
        "server2008-x64-d1",
        "server2008-ia64-1e",
        "server2008-ia64-d1",
    ] {
        let report = report(name);
        assert_eq!(
            answer(&report),
            ["possible", "applicable", "may-apply"],
            "{name}"
        );
        assert!(evidence(&report, "fault.queue-module").is_some(), "{name}");
        assert!(
            evidence(&report, "build.unfixed-by-date").is_some(),
            "{name}"
        );
        let decided = &report["hotfix"]["applicability"]["decided_from"][0];
        assert_eq!(decided["file"], "tcpip.sys", "{name}");
        assert_eq!(decided["basis"], "date", "{name}");
        assert_eq!(decided["fixed_in"], "6.0.6001.22222", "{name}");
        let reason = report["hotfix"]["applicability"]["reason"]
            .as_str()
            .unwrap();
        assert!(
            reason.contains("probably"),
            "{name}: a date allows no more: {reason}"
        );
    }
}

#[test]
fn both_writers_and_painted_fields_give_the_same_answer() {
    for (plain, other) in [
        ("vista-sp1-x86-d1", "vista-sp1-x86-d1-debugger"),
        ("server2008-x64-d1", "server2008-x64-d1-debugger"),
        ("vista-sp1-x86-d1", "vista-sp1-x86-filler"),
        ("server2008-x64-d1", "server2008-x64-filler"),
    ] {
        assert_eq!(answer(&report(plain)), answer(&report(other)), "{other}");
    }
}

#[test]
fn a_co_dated_tcpip_is_the_untouched_release_build() {
    let released = report("server2008-x64-d1");
    assert!(evidence(&released, "build.co-dated").is_some());
    let serviced = report("server2008-x64-later-date");
    assert!(evidence(&serviced, "build.co-dated").is_none());
}

#[test]
fn a_tcpip_of_the_hotfixs_days_or_later_is_unknown_by_date() {
    for name in ["server2008-x64-hotfix-window", "server2008-x64-later-date"] {
        let report = report(name);
        assert_eq!(
            answer(&report),
            ["possible", "unknown", "may-apply"],
            "{name}"
        );
        let settle = report["hotfix"]["would_settle"].to_string();
        assert!(settle.contains("version of tcpip.sys"), "{name}: {settle}");
    }
}

#[test]
fn vista_without_a_service_pack_needs_one_first() {
    let report = report("vista-rtm-x64-d1");
    assert_eq!(
        answer(&report),
        ["possible", "needs-service-pack", "may-apply"]
    );
}

#[test]
fn service_pack_2_holds_the_fix() {
    let report = report("server2008-sp2-x64-d1");
    assert_eq!(
        answer(&report),
        ["excluded", "superseded-by-service-pack", "does-not-apply"]
    );
    let others = report["hotfix"]["match"]["look_alikes"].to_string();
    assert!(
        others.contains("KB972887"),
        "the nearest look-alike of SP2 is named: {others}"
    );
}

#[test]
fn one_processor_another_irql_or_another_driver_make_it_unlikely() {
    for (name, id) in [
        ("server2008-x64-one-processor", "machine.one-processor"),
        ("server2008-x64-d1-irql-3", "irql.not-dispatch"),
        ("server2008-x64-d1-nic", "fault.other-module"),
    ] {
        let report = report(name);
        assert_eq!(
            answer(&report),
            ["unlikely", "applicable", "does-not-apply"],
            "{name}"
        );
        assert_eq!(evidence(&report, id).unwrap()["for"], false, "{name}");
        // The machine lacks the hotfix all the same, and that is said.
        let text = report["hotfix"]["actions"][0]["text"].as_str().unwrap();
        assert!(text.contains("lacks the fix"), "{name}: {text}");
    }
}

#[test]
fn a_machine_the_hotfix_does_not_fit_is_never_told_to_install_it() {
    for name in [
        "server2008-sp2-x64-d1",
        "windows11-arm64-d1",
        "server2008-x64-d1-nic",
        "server2008-x64-one-processor",
    ] {
        let actions = report(name)["hotfix"]["actions"].to_string();
        assert!(!actions.contains("install-hotfix"), "{name}: {actions}");
    }
}

#[test]
fn a_suspected_dump_names_the_package_of_its_architecture_and_edition() {
    for (name, package) in [
        ("vista-sp1-x86-d1", "~x86~"),
        (
            "server2008-x64-d1",
            "Package_for_kb943650_server~31bf3856ad364e35~amd64~",
        ),
        (
            "server2008-ia64-1e",
            "Package_for_kb943650_server~31bf3856ad364e35~ia64~",
        ),
    ] {
        let report = report(name);
        let actions = report["hotfix"]["actions"].as_array().unwrap();
        let install = actions
            .iter()
            .find(|a| a["do"] == "install-hotfix")
            .unwrap();
        assert!(
            install["text"].as_str().unwrap().contains(package),
            "{name}: {install}"
        );
        let order: Vec<&str> = actions.iter().map(|a| a["do"].as_str().unwrap()).collect();
        let at = |id| order.iter().position(|a| *a == id).unwrap();
        assert!(
            at("install-service-pack") < at("install-hotfix"),
            "{name}: {order:?}"
        );
    }
}

#[test]
fn a_forced_dump_and_a_memory_dump_without_its_body_leave_the_question_open() {
    assert_eq!(
        answer(&report("server2008-x64-e2")),
        ["insufficient-data", "applicable", "undetermined"]
    );
    assert_eq!(
        answer(&report("server2008-x64-header-only")),
        ["insufficient-data", "unknown", "undetermined"]
    );
}

#[test]
fn a_newer_windows_is_excluded_whatever_its_architecture() {
    assert_eq!(
        answer(&report("windows11-arm64-d1")),
        ["excluded", "not-applicable", "does-not-apply"]
    );
}

#[test]
fn a_damaged_tail_and_an_overflowed_dump_are_said_and_still_answered() {
    let damaged = report("server2008-x64-no-mark");
    assert_eq!(damaged["status"], "degraded");
    assert_eq!(damaged["notes"][0]["code"], "dump.damaged");
    let overflowed = report("server2008-x64-overflowed");
    assert_eq!(overflowed["status"], "ok");
    assert_eq!(overflowed["dump"]["triage"]["overflowed"], true);
    let derived = report("server2008-x64-d1-debugger");
    assert!(
        derived["dump"]["triage"]["overflowed"].is_null(),
        "0xFFFFFFFF says nothing"
    );
}
