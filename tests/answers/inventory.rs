//! `--inventory`: versions of a machine's files from beside its dumps, through the built program.
//!
//! The dump is a small one of Server 2008 SP1 x64 whose tcpip.sys is dated after the hotfix, so that
//! nothing in it says whether it is fixed. Its crash time is read from the program's own report.

#[allow(dead_code)]
use std::path::{Path, PathBuf};

use serde_json::Value;

/// The dump that does not tell the version of tcpip.sys.
fn dump() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps/server2008-x64-later-date.dmp")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

/// The report on the dump as one of `machine`, with an inventory of this text.
fn report(text: &str, machine: Option<&str>) -> Value {
    let folder = Folder::new();
    let inventory = folder.file("inventory.txt", text);
    let mut command = crate::support::run::command();
    command.args(["triage", "--format", "jsonl", "--inventory"]);
    command.arg(&inventory);
    if let Some(machine) = machine {
        command.args(["--machine", machine]);
    }
    let output = command.arg(dump()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn tcpip(report: &Value) -> &Value {
    let modules = report["modules"].as_array().unwrap();
    modules.iter().find(|m| m["name"] == "tcpip.sys").unwrap()
}

fn crash_day() -> String {
    let report = &crate::support::run::reports(&[dump()])[0];
    report["dump"]["crash_time"].as_str().unwrap()[..10].to_owned()
}

fn is_unknown(report: &Value) -> bool {
    tcpip(report)["version"].is_null() && report["hotfix"]["applicability"]["status"] == "unknown"
}

#[test]
fn a_row_dated_at_the_crash_tells_the_version_and_says_where_from() {
    let day = crash_day();
    for text in [
        format!("web01,tcpip.sys,6.0.6001.18311,{day}\n"),
        format!("machine,as_of,version,file\r\nWEB01,{day}T01:02:03Z,6.0.6001.18311,TCPIP.SYS\r\n"),
        format!(
            "{{\"machine\":\"web01\",\"file\":\"tcpip.sys\",\"version\":\"6.0.6001.18311 (vistasp1_gdr.090814-0900)\",\"as_of\":\"{day}\"}}\n"
        ),
    ] {
        let report = report(&text, Some("Web01"));
        assert_eq!(tcpip(&report)["version"], "6.0.6001.18311", "{text}");
        assert_eq!(tcpip(&report)["version_source"], "inventory");
        let applicability = &report["hotfix"]["applicability"];
        assert_eq!(applicability["status"], "applicable");
        assert_eq!(applicability["decided_from"][0]["source"], "inventory");
    }
    let fixed = report(
        &format!("web01,tcpip.sys,6.0.6001.22497,{day}\n"),
        Some("web01"),
    );
    assert_eq!(fixed["hotfix"]["match"]["status"], "excluded");
    assert_eq!(
        fixed["hotfix"]["applicability"]["status"],
        "included-in-later-update"
    );
}

#[test]
fn a_row_with_the_files_own_stamp_and_size_needs_no_date() {
    let report_without = &crate::support::run::reports(&[dump()])[0];
    let module = tcpip(report_without);
    let stamp = module["time_date_stamp"].as_str().unwrap();
    let size = module["size"].as_u64().unwrap();
    let row = |size: u64| {
        format!(
            "machine,file,version,time_date_stamp,size_of_image\nweb01,tcpip.sys,6.0.6001.18311,{stamp},{size:#x}\n"
        )
    };
    assert_eq!(
        tcpip(&report(&row(size), Some("web01")))["version"],
        "6.0.6001.18311"
    );
    assert!(is_unknown(&report(&row(size + 0x1000), Some("web01"))));
}

#[test]
fn rows_before_and_after_the_crash_count_where_they_agree() {
    let rows = |after: &str| {
        format!("web01,tcpip.sys,6.0.6001.18311,2001-01-01\nweb01,tcpip.sys,{after},2030-01-01\n")
    };
    let report_same = report(&rows("6.0.6001.18311"), Some("web01"));
    assert_eq!(tcpip(&report_same)["version_source"], "inventory");
    assert!(is_unknown(&report(&rows("6.0.6001.22222"), Some("web01"))));
}

#[test]
fn a_row_that_may_be_about_another_time_machine_or_windows_tells_nothing() {
    let day = crash_day();
    for (text, machine) in [
        ("web01,tcpip.sys,6.0.6001.18311\n".to_owned(), Some("web01")),
        (
            "web01,tcpip.sys,6.0.6001.18311,2030-01-01\n".to_owned(),
            Some("web01"),
        ),
        (
            format!("web02,tcpip.sys,6.0.6001.18311,{day}\n"),
            Some("web01"),
        ),
        (format!("web01,tcpip.sys,6.0.6001.18311,{day}\n"), None),
        (
            format!("web01,tcpip.sys,6.0.6002.18005,{day}\n"),
            Some("web01"),
        ),
    ] {
        let report = report(&text, machine);
        assert!(is_unknown(&report), "{text}");
    }
    let nameless = report(&format!("web01,tcpip.sys,6.0.6001.18311,{day}\n"), None);
    let notes = nameless["notes"].as_array().unwrap();
    assert!(
        notes.iter().any(|note| note["code"] == "modules.inventory"),
        "{notes:?}"
    );
}

#[test]
fn a_wrong_line_is_refused_with_file_line_and_what_was_expected() {
    for (text, line, expected) in [
        (
            "web01,tcpip.sys,6.0.6001.18311\nweb01,tcpip.sys\n",
            2,
            "machine,file,version",
        ),
        ("web01,tcpip.sys,six\n", 1, "a version such as"),
        ("web01,C:\\tcpip.sys,6.0.6001.18311\n", 1, "without a path"),
        (
            "\n# none\nweb01,tcpip.sys,6.0.6001.18311,yesterday\n",
            3,
            "a date such as",
        ),
        ("machine,file,version,colour\n", 1, "the columns"),
        ("{\"machine\":\"web01\"}\n", 1, "a file name"),
        ("{\"machine\":1}\n", 1, "an object with machine"),
        (
            "web01,tcpip.sys,6.0.6001.18311,2008-01-01\nWEB01,TCPIP.SYS,6.0.6001.22222,2008-01-01\n",
            2,
            "already has",
        ),
        (",tcpip.sys,6.0.6001.18311\n", 1, "a machine's name"),
        ("web01,tcpip.sys,6.0.6001.18311,,0x12\n", 1, "together"),
    ] {
        let folder = Folder::new();
        let inventory = folder.file("inv.csv", text);
        let output = crate::support::run::command()
            .args(["triage", "--inventory"])
            .arg(&inventory)
            .arg(dump())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}: {said}");
        assert!(
            said.contains(&format!("inv.csv:{line}: ")),
            "{text}: {said}"
        );
        assert!(said.contains(expected), "{text}: {said}");
        assert!(output.stdout.is_empty());
    }
    let folder = Folder::new();
    let inventory = folder.file("inv.csv", "\u{1b}[31m,tcpip.sys,\u{1b}[0m\n");
    let output = crate::support::run::command()
        .args(["triage", "--inventory"])
        .arg(&inventory)
        .arg(dump())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        !output.stderr.contains(&0x1b),
        "escape reached the terminal"
    );
}

/// The records of a scan of a share with one dump of each machine.
fn scan(inventory: &str) -> Vec<Value> {
    let folder = Folder::new();
    for machine in ["web01", "web02"] {
        let path = folder.0.path().join("share").join(machine);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::copy(dump(), path.join("MEMORY.DMP")).unwrap();
    }
    let inventory = folder.file("inventory.csv", inventory);
    let output = crate::support::run::command()
        .args([
            "scan", "--quiet", "--format", "jsonl", "--sort", "path", "--settle", "0",
        ])
        .arg("--inventory")
        .arg(&inventory)
        .arg(folder.0.path().join("share"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn of<'a>(records: &'a [Value], kind: &str, machine: &str) -> &'a Value {
    let name = |record: &Value| {
        let own = &record["machine"];
        own.as_str().or(own["name"].as_str()).map(str::to_owned)
    };
    records
        .iter()
        .find(|r| r["type"] == kind && name(r).as_deref() == Some(machine))
        .unwrap_or_else(|| panic!("no {kind} of {machine}: {records:?}"))
}

#[test]
fn in_a_scan_a_row_serves_its_own_machine_only() {
    let day = crash_day();
    let records = scan(&format!("web01,tcpip.sys,6.0.6001.18311,{day}\n"));
    let status =
        |kind, machine| of(&records, kind, machine)["hotfix"]["applicability"]["status"].clone();
    assert_eq!(status("report", "web01"), "applicable");
    assert_eq!(status("machine", "web01"), "applicable");
    assert_eq!(status("report", "web02"), "unknown");
    assert_eq!(status("machine", "web02"), "unknown");
    let versions = &of(&records, "machine", "web01")["versions"];
    assert_eq!(versions[0]["source"], "inventory");
}

#[test]
fn what_a_machine_has_now_serves_its_record_and_no_report() {
    for (row, expected) in [
        ("web01,tcpip.sys,6.0.6001.18311\n", "applicable"),
        (
            "web01,tcpip.sys,6.0.6001.22222,2030-01-01\n",
            "already-installed",
        ),
        (
            "web01,tcpip.sys,6.0.6002.18005,2030-01-01\n",
            "superseded-by-service-pack",
        ),
        (
            "web01,tcpip.sys,6.0.6001.18311\nweb01,netio.sys,6.0.6001.22222\n",
            "partially-serviced",
        ),
    ] {
        let records = scan(row);
        let applicability = &of(&records, "machine", "web01")["hotfix"]["applicability"];
        assert_eq!(applicability["status"], expected, "{row}: {applicability}");
        assert_eq!(applicability["decided_from"][0]["source"], "inventory");
        let report = of(&records, "report", "web01");
        assert_eq!(
            report["hotfix"]["applicability"]["status"], "unknown",
            "{row}"
        );
        let other = of(&records, "machine", "web02");
        assert_eq!(
            other["hotfix"]["applicability"]["status"], "unknown",
            "{row}"
        );
    }
}
