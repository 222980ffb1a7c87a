//! Windows Error Reporting: the folder or the cabinet of a report tells the versions that a small dump lacks.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::share::{
    LINKED_WITH_HOTFIX, cabinet, fixture, of_type, put, records, run, with_tcpip_stamp,
};

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
    put(&dump, &with_tcpip_stamp(LINKED_WITH_HOTFIX));
    let without = triage(&dump);
    assert_eq!(version(&without).0, Value::Null);
    // 0x4A85_0000: 2009-08-14.
    for (stamp, found, state) in [
        (LINKED_WITH_HOTFIX, "6.0.6001.22222", "already-installed"),
        (0x4A85_0000, "6.0.6001.18311", "applicable"),
    ] {
        put(&dump, &with_tcpip_stamp(stamp));
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
fn a_version_that_the_files_own_link_time_contradicts_decides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("Mini.dmp");
    let part = dir.path().join("sysdata.xml");
    let answer = |bytes: &[u8], found: &str| {
        put(&dump, bytes);
        put(&part, &sysdata(6001, found));
        let got = triage(&dump);
        let matching = &got["hotfix"]["match"];
        let disagree = matching["evidence"]
            .to_string()
            .contains("build.sources-disagree");
        let applicability = &got["hotfix"]["applicability"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&applicability["status"]),
            text(&applicability["reason"]),
            text(&matching["status"]),
            disagree,
        )
    };
    // In the hours of 6.0.6001.18000, a minute of January 2008 (before the fix was made), and later.
    let in_hours = fixture(DUMP);
    let before = with_tcpip_stamp(0x4784_0000);
    let with_hotfix = with_tcpip_stamp(LINKED_WITH_HOTFIX);
    let later = with_tcpip_stamp(0x4A85_0000);
    for (bytes, found) in [
        (&in_hours, "6.0.6001.22222"),
        (&before, "6.0.6001.22222"),
        (&later, "6.0.6001.22222"),
        (&with_hotfix, "6.0.6001.18311"),
        (&with_hotfix, "6.0.6001.22636"),
    ] {
        let (status, reason, matching, disagree) = answer(bytes, found);
        assert_eq!(status, "unknown", "{found}: {reason}");
        assert!(
            reason.contains(found) && reason.contains("linked"),
            "{reason}"
        );
        assert_ne!(matching, "excluded", "{found}");
        assert!(disagree, "{found}");
    }
    for (bytes, found, right) in [
        (&in_hours, "6.0.6001.18000", "applicable"),
        // Another update without the fix: the answer is the same.
        (&in_hours, "6.0.6001.18063", "applicable"),
        (
            &with_tcpip_stamp(LINKED_WITH_HOTFIX),
            "6.0.6001.22222",
            "already-installed",
        ),
    ] {
        let (status, reason, _, disagree) = answer(bytes, found);
        assert_eq!(
            (status.as_str(), disagree),
            (right, false),
            "{found}: {reason}"
        );
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

/// Files below a folder of the corpus that lie in a store under `key`, by name.
fn stored(folder: &str, key: &str) -> std::path::PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/corpus")
        .join(folder);
    let found = walkdir::WalkDir::new(&root)
        .into_iter()
        .flatten()
        .find(|entry| {
            let path = entry.path();
            let parent = path.parent().and_then(Path::file_name);
            entry.file_type().is_file() && parent.is_some_and(|name| name.eq_ignore_ascii_case(key))
        });
    found
        .unwrap_or_else(|| panic!("{key} below {folder}"))
        .into_path()
}

/// GUID and age of the PDB that an image asks for: the CodeView record of the published format (`RSDS`, a GUID, the age).
fn pdb_key(image: &[u8]) -> String {
    let at = image.windows(4).position(|four| four == b"RSDS").unwrap() + 4;
    let guid = &image[at..at + 16];
    let part = |range: std::ops::Range<usize>| -> String {
        guid[range]
            .iter()
            .rev()
            .map(|byte| format!("{byte:02X}"))
            .collect()
    };
    let rest: String = guid[8..].iter().map(|byte| format!("{byte:02X}")).collect();
    let age = u32::from_le_bytes(image[at + 16..at + 20].try_into().unwrap());
    format!("{}{}{}{rest}{age:X}", part(0..4), part(4..6), part(6..8))
}

#[test]
fn a_scan_finds_images_and_symbols_in_the_folder_of_the_dump_as_triage_does() {
    const NAME: &str = "x64-multicast-ldr22221-002-mini.dmp";
    /// TimeDateStamp and SizeOfImage of the tcpip.sys of that dump, and of another build's.
    const OWN: &str = "4876B1C47000";
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus");
    let dump = fs::read(corpus.join("dumps").join(NAME)).unwrap();
    let image = stored("images/x64", OWN);
    let pdb = stored("symbols/tcpip.pdb", &pdb_key(&fs::read(&image).unwrap()));

    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("share");
    put(&root.join("alone").join(NAME), &dump);
    put(&root.join("image").join(NAME), &dump);
    put(&root.join("image/tcpip.sys"), &fs::read(&image).unwrap());
    put(&root.join("both").join(NAME), &dump);
    put(&root.join("both/tcpip.sys"), &fs::read(&image).unwrap());
    put(&root.join("both/tcpip.pdb"), &fs::read(&pdb).unwrap());
    // One of another build, under the same name: it is not used.
    put(&root.join("other").join(NAME), &dump);
    let other = fs::read(stored("images/x64", "4A855C317000")).unwrap();
    put(&root.join("other/tcpip.sys"), &other);

    let scan = |jobs: &str| {
        let arguments = [
            "scan",
            root.to_str().unwrap(),
            "--format",
            "jsonl",
            "-q",
            "-j",
            jobs,
        ];
        let found = records(&run(&arguments).stdout);
        let mut found: Vec<(String, Value, Value)> = of_type(&found, "report")
            .into_iter()
            .map(|report| {
                let path = Path::new(report["source"]["path"].as_str().unwrap());
                let folder = path.parent().unwrap().file_name().unwrap();
                let (name, status) = (
                    &report["bucket"]["name"],
                    &report["hotfix"]["match"]["status"],
                );
                (
                    folder.to_str().unwrap().to_owned(),
                    name.clone(),
                    status.clone(),
                )
            })
            .collect();
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    };
    let found = scan("1");
    let names: Vec<&str> = found
        .iter()
        .map(|(_, name, _)| name.as_str().unwrap())
        .collect();
    assert_eq!(names[0], "0xD1_W_tcpip", "alone");
    assert!(names[1].starts_with("0xD1_W_tcpip!"), "both: {names:?}");
    assert_eq!(
        (names[2], names[3]),
        ("0xD1_W_tcpip", "0xD1_W_tcpip"),
        "image, other"
    );
    assert_eq!(scan("4"), found);
    for (folder, name, status) in &found {
        let report = triage(&root.join(folder).join(NAME));
        assert_eq!(&report["bucket"]["name"], name, "{folder}");
        assert_eq!(&report["hotfix"]["match"]["status"], status, "{folder}");
    }
}

#[test]
fn a_report_that_is_not_used_is_said_on_the_screen_and_one_given_as_an_inventory_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("Mini.dmp");
    put(&dump, &fixture(DUMP));
    let part = dir.path().join("WER-7-0.sysdata.xml");
    put(&part, &sysdata(6001, "6.0.6002.18005"));
    let screen = run(&["triage", dump.to_str().unwrap()]).stdout;
    let screen = String::from_utf8(screen).unwrap();
    assert!(
        screen.contains("6.0.6002.18005 is of another Windows"),
        "{screen}"
    );
    // Whatever it is called.
    for name in ["WER-7-0.sysdata.xml", "list.csv", "versions"] {
        let given = dir.path().join(name);
        put(&given, &sysdata(6001, "6.0.6001.22222"));
        let output = run(&[
            "triage",
            "--inventory",
            given.to_str().unwrap(),
            dump.to_str().unwrap(),
        ]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            said.contains("XML is no inventory") && said.contains("in the dump's folder"),
            "{said}"
        );
    }
    // An inventory in UTF-16, as PowerShell and spreadsheets write it, is one.
    fs::remove_file(&part).unwrap();
    let list = dir.path().join("list.txt");
    let mut bytes = vec![0xFF, 0xFE];
    let text =
        "machine,file,version,as_of\r\nHOST1,tcpip.sys,6.0.6001.22222,2008-11-03T02:14:07Z\r\n";
    bytes.extend(text.encode_utf16().flat_map(u16::to_le_bytes));
    put(&list, &bytes);
    let output = run(&[
        "triage",
        "--machine",
        "HOST1",
        "--inventory",
        list.to_str().unwrap(),
        "--format",
        "json",
        dump.to_str().unwrap(),
    ]);
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        version(&reports[0]),
        ("6.0.6001.22222".into(), "inventory".into())
    );
}

/// netsh's table of IPv4, or of IPv6 with the command before it.
fn netsh(ipv6: bool, value: &str) -> String {
    let command = match ipv6 {
        true => "C:\\>netsh interface ipv6 show global\r\n",
        false => "C:\\>netsh interface ipv4 show global\r\n",
    };
    format!(
        "{command}Querying active state...\r\n\r\nGeneral Global Parameters\r\n\
         ---------------------------------------------\r\n\
         Default Hop Limit                    : 128 hops\r\n\
         MLD Version                          : version3\r\n\
         Multicast Forwarding                 : {value}\r\n"
    )
}

#[test]
fn outputs_of_netsh_that_contradict_each_other_are_not_used_and_it_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("Mini.dmp");
    put(&dump, &fixture(DUMP));
    let with = |texts: &[String]| {
        let mut arguments = vec![
            "triage".to_owned(),
            "--format".to_owned(),
            "json".to_owned(),
        ];
        for (index, text) in texts.iter().enumerate() {
            let path = dir.path().join(format!("{index}.txt"));
            put(&path, text.as_bytes());
            arguments.extend(["--registry".to_owned(), path.to_str().unwrap().to_owned()]);
        }
        arguments.push(dump.to_str().unwrap().to_owned());
        let json = run(&arguments);
        assert_eq!(json.status.code(), Some(0), "{json:?}");
        let reports: Value = serde_json::from_slice(&json.stdout).unwrap();
        let state = &reports[0]["system"]["multicast_forwarding"];
        arguments.drain(1..3);
        let screen = String::from_utf8(run(&arguments).stdout).unwrap();
        let said = screen
            .replace("\n         ", " ")
            .contains("that it was on");
        (state["ipv4"].clone(), state["ipv6"].clone(), said)
    };
    let (on, off) = (|v6| netsh(v6, "enabled"), |v6| netsh(v6, "disabled"));
    let none = (Value::Null, Value::Null);
    // Two files, in either order, and one file with both.
    for texts in [
        vec![on(false), off(false)],
        vec![off(false), on(false)],
        vec![on(true), off(true)],
        vec![format!("{}\r\n{}", off(false), on(false))],
        vec![format!("{}\r\n{}", on(true), off(true))],
        vec![off(false), format!("{}\r\n{}", on(false), off(true))],
    ] {
        let (ipv4, ipv6, said) = with(&texts);
        assert_eq!(((ipv4, ipv6), said), (none.clone(), true), "{texts:?}");
    }
    // The two families are two settings; the same said twice is no contradiction.
    for texts in [
        vec![on(false), off(true)],
        vec![format!("{}\r\n{}", on(false), off(true))],
        vec![on(false), on(false), off(true)],
    ] {
        assert_eq!(
            with(&texts),
            (true.into(), false.into(), false),
            "{texts:?}"
        );
    }
}

#[test]
fn a_value_of_netsh_that_is_not_understood_is_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("Mini.dmp");
    put(&dump, &fixture(DUMP));
    for value in ["automatic", "yes", "1"] {
        let path = dir.path().join("netsh.txt");
        put(&path, netsh(false, value).as_bytes());
        let output = run(&[
            "triage",
            "--registry",
            path.to_str().unwrap(),
            dump.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(&format!("`multicast forwarding: {value}`")),
            "{said}"
        );
    }
}
