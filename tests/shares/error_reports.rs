//! Windows Error Reporting: the folder or the cabinet of a report tells the versions that a small dump lacks.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::share::{cabinet, fixture, of_type, put, records, run};

const DUMP: &str = "server2008-x64-d1.dmp";

fn sysdata(build: u32, version: &str) -> Vec<u8> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<SYSTEMINFO><SYSTEM><OSNAME>x</OSNAME>\
         <OSVER>6.0.{build} 1.0</OSVER></SYSTEM><DRIVERS><DRIVER><FILENAME>tcpip.sys</FILENAME>\
         <FILESIZE>891448</FILESIZE><VERSION>{version}</VERSION></DRIVER></DRIVERS></SYSTEMINFO>"
    );
    let mut bytes = vec![0xFF, 0xFE];
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    bytes
}

fn triage(dump: &Path) -> Value {
    let output = run(&["triage", "--format", "json", dump.to_str().unwrap()]);
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    reports[0].clone()
}

fn version(report: &Value) -> (Value, Value) {
    let modules = report["modules"].as_array().unwrap();
    let tcpip = modules.iter().find(|m| m["name"] == "tcpip.sys").unwrap();
    (tcpip["version"].clone(), tcpip["version_source"].clone())
}

#[test]
fn the_report_beside_a_dump_tells_the_versions_of_its_drivers() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("Mini.dmp");
    put(&dump, &fixture(DUMP));
    let without = triage(&dump);
    assert_eq!(version(&without).0, Value::Null);
    for (found, state) in [
        ("6.0.6001.22222", "already-installed"),
        ("6.0.6001.18063", "applicable"),
    ] {
        put(
            &dir.path().join("WER-7-0.sysdata.xml"),
            &sysdata(6001, found),
        );
        let got = triage(&dump);
        assert_eq!(version(&got), (found.into(), "wer-report".into()));
        assert_eq!(got["hotfix"]["applicability"]["status"], state, "{found}");
    }
}

#[test]
fn a_report_of_another_crash_or_form_is_ignored_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("Mini.dmp");
    let part = dir.path().join("sysdata.xml");
    put(&dump, &fixture(DUMP));
    let said = |why: &str| {
        let got = triage(&dump);
        assert_eq!(version(&got).0, Value::Null, "{why}");
        let notes = got["notes"].to_string();
        assert!(
            notes.contains("modules.wer-report") && notes.contains(why),
            "{notes}"
        );
    };
    put(&part, &sysdata(6000, "6.0.6000.16386"));
    said("of build 6000");
    put(&part, b"<report><modules/></report>");
    said("form that is not known");
    put(&part, &sysdata(6001, "6.0.6001.22222"));
    put(
        &dir.path().join("Report.wer"),
        b"Version=1\r\nSig[0].Name=BCCode\r\nSig[0].Value=7e\r\n",
    );
    said("bug check 0x7E");
    fs::remove_file(dir.path().join("Report.wer")).unwrap();
    put(&dir.path().join("Other.dmp"), &fixture(DUMP));
    said("2 dumps");
}

#[test]
fn scans_read_the_report_of_a_folder_and_of_a_cabinet() {
    let dir = tempfile::tempdir().unwrap();
    let part = sysdata(6001, "6.0.6001.22222");
    put(&dir.path().join("A/Mini.dmp"), &fixture(DUMP));
    put(&dir.path().join("A/WER-1-0.sysdata.xml"), &part);
    for (name, members) in [
        (
            "B/1.cab",
            [("Mini.dmp", fixture(DUMP)), ("sysdata.xml", part.clone())],
        ),
        (
            "B/2.cab",
            [("sysdata.xml", part.clone()), ("Mini.dmp", fixture(DUMP))],
        ),
    ] {
        let members: Vec<(&str, &[u8])> = members.iter().map(|(n, b)| (*n, b.as_slice())).collect();
        put(&dir.path().join(name), &cabinet(&members));
    }
    let output = run(&[
        "scan",
        dir.path().to_str().unwrap(),
        "--format",
        "jsonl",
        "-q",
    ]);
    let found = records(&output.stdout);
    let reports = of_type(&found, "report");
    assert_eq!(reports.len(), 3);
    for report in reports {
        let source = report["source"]["path"].to_string();
        assert_eq!(
            version(report),
            ("6.0.6001.22222".into(), "wer-report".into()),
            "{source}"
        );
    }
}

#[test]
fn a_folder_of_error_reports_is_no_machine_and_its_parts_are_no_strangers() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("WER");
    let report = share.join("ReportQueue/Kernel_d1_0a1b2c_00000000_cab_0d4e");
    put(&report.join("Mini.dmp"), &fixture(DUMP));
    put(
        &report.join("sysdata.xml"),
        &sysdata(6001, "6.0.6001.22222"),
    );
    put(&share.join("ReportQueue/notes.txt"), b"nothing of the kind");
    let db = dir.path().join("dumps.db");
    let (share, db) = (share.to_str().unwrap(), db.to_str().unwrap());
    let output = run(&["scan", share, "--all-files", "--db", db]);
    assert_eq!(output.status.code(), Some(0));
    let found = records(&output.stdout);
    let reports = of_type(&found, "report");
    let reason = |name: &str| {
        let path = |r: &&&Value| r["source"]["path"].as_str().unwrap().ends_with(name);
        reports.iter().find(path).unwrap()["reason"].clone()
    };
    assert_eq!(reason("sysdata.xml"), "error-report");
    assert_eq!(reason("notes.txt"), "not-a-dump");
    assert!(of_type(&found, "machine").is_empty());
    let machines = run(&["fleet", "machines", "--db", db]);
    let said = String::from_utf8(machines.stderr).unwrap();
    assert!(said.contains("1 dump tells no machine"), "{said}");
}
