//! A folder that `docs/collect.cmd` made is one machine with everything in it used: versions as an inventory, state
//! as of its date.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::run::command;
use crate::support::share::{LINKED_WITH_HOTFIX, fixture, with_tcpip_stamp};

/// A folder as the script writes it, of a machine whose tcpip.sys is of the GDR branch and whose forwarding is on.
fn folder(parent: &Path, name: &str, version: &str) -> PathBuf {
    let folder = parent.join(format!("kbtriage-{name}"));
    std::fs::create_dir_all(folder.join("dumps")).unwrap();
    let write = |file: &str, text: String| std::fs::write(folder.join(file), text).unwrap();
    write(
        "kbtriage-collection.txt",
        format!("kbtriage collection 1\r\nmachine={name}\r\nas_of=2008-11-03T09:00:00+01:00\r\n"),
    );
    // The fixture's crash is of 2008-11-03: the row is of its day.
    write(
        "versions.csv",
        format!(
            "machine,file,version,as_of\r\n{name},tcpip.sys,{version},2008-11-03T09:00:00+01:00\r\n"
        ),
    );
    write(
        "netsh-ipv4.txt",
        "Querying active state...\r\n\r\nGeneral Global Parameters\r\n---------------------------------------------\r\n\
         Default Hop Limit                     : 128 hops\r\n\
         Multicast Forwarding                  : enabled\r\n"
            .to_owned(),
    );
    write("netsh-igmp.txt", "nothing that is read\r\n".to_owned());
    // The hotfix's file was not linked in the hours of the service pack.
    let dump = match version {
        "6.0.6001.22222" => with_tcpip_stamp(LINKED_WITH_HOTFIX),
        _ => fixture("server2008-x64-d1.dmp"),
    };
    std::fs::write(folder.join("dumps/Mini110308-01.dmp"), dump).unwrap();
    folder
}

fn records(arguments: &[&str]) -> Vec<Value> {
    let output = command().args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn check(report: &Value, name: &str, version: &str) {
    let tcpip = report["modules"]
        .as_array()
        .unwrap()
        .iter()
        .find(|m| m["name"] == "tcpip.sys");
    assert_eq!(tcpip.unwrap()["version"], version, "{name}");
    assert_eq!(tcpip.unwrap()["version_source"], "inventory");
    assert_eq!(report["system"]["machine"], name);
    assert_eq!(report["system"]["multicast_forwarding"]["ipv4"], true);
    assert_eq!(
        report["system"]["multicast_forwarding"]["source"],
        "netsh-output"
    );
}

#[test]
fn triage_of_the_folder_is_triage_of_its_dumps_with_what_lies_beside_them() {
    let parent = tempfile::tempdir().unwrap();
    let one = folder(parent.path(), "WEB01", "6.0.6001.18311");
    let two = folder(parent.path(), "WEB02", "6.0.6001.22222");
    let reports = records(&[
        "triage",
        "--format",
        "jsonl",
        one.to_str().unwrap(),
        two.to_str().unwrap(),
    ]);
    assert_eq!(reports.len(), 2);
    check(&reports[0], "WEB01", "6.0.6001.18311");
    check(&reports[1], "WEB02", "6.0.6001.22222");
    assert_eq!(
        reports[0]["hotfix"]["applicability"]["status"],
        "applicable"
    );
    assert_eq!(
        reports[1]["hotfix"]["applicability"]["status"],
        "already-installed"
    );
}

#[test]
fn a_scan_reads_such_folders_below_its_root_as_machines() {
    let parent = tempfile::tempdir().unwrap();
    folder(parent.path(), "WEB01", "6.0.6001.18311");
    folder(parent.path(), "WEB02", "6.0.6001.22222");
    let root = parent.path().to_str().unwrap();
    let records = records(&[
        "scan", "--quiet", "--sort", "path", "--format", "jsonl", root,
    ]);
    let of = |kind: &str| {
        records
            .iter()
            .filter(|r| r["type"] == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let reports = of("report");
    check(&reports[0], "WEB01", "6.0.6001.18311");
    check(&reports[1], "WEB02", "6.0.6001.22222");
    assert_eq!(of("machine").len(), 2);
}
