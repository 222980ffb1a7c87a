//! What a fleet's dumps say together: machines, buckets, tickets.
#![cfg(all(feature = "store", feature = "tickets"))]

use std::path::{Path, PathBuf};

use crate::support::share::{fixture, matching, numbered, of_type, put, records, run, with_code};
use kbtriage::fleet::Machines;
use kbtriage::report::summary::Summary;
use serde_json::{Value, json};

/// The summaries of `dumps`, each below its machine's directory.
fn summaries(dumps: &[(&str, Vec<u8>)]) -> Vec<Value> {
    let dir = tempfile::tempdir().unwrap();
    for (number, (machine, dump)) in dumps.iter().enumerate() {
        put(&dir.path().join(format!("{machine}/{number}.dmp")), dump);
    }
    let output = run(&["scan", dir.path().to_str().unwrap(), "--sort", "path"]);
    of_type(&records(&output.stdout), "report")
        .into_iter()
        .cloned()
        .collect()
}

fn machines(summaries: &[Value]) -> Vec<Value> {
    let mut fleet = Machines::default();
    for summary in summaries {
        let summary: Summary = serde_json::from_value(summary.clone()).unwrap();
        fleet.add(&summary).unwrap();
    }
    fleet
        .into_records()
        .unwrap()
        .iter()
        .map(|record| json!(record))
        .collect()
}

#[test]
fn one_crash_counts_once_however_many_dumps_it_left() {
    let lines = summaries(&[
        ("WEB01", matching()),
        ("web01", matching()),
        ("WEB01", numbered(48)),
        ("SQL02", numbered(1)),
    ]);
    let machines = machines(&lines);
    assert_eq!(
        machines.len(),
        2,
        "names of machines are compared without case"
    );
    let web = machines
        .iter()
        .find(|m| m["machine"]["name"] == "WEB01")
        .unwrap();
    assert_eq!(
        web["dumps"],
        json!({ "count": 3, "crashes": 2, "live_reports": 0 })
    );
    assert_eq!(web["stop_codes"][0]["crashes"], 2);
    assert!(web["first_crash"].as_str() < web["last_crash"].as_str());
}

#[test]
fn a_report_of_a_running_system_is_no_crash_of_its_machine() {
    let lines = summaries(&[
        ("WEB01", numbered(1)),
        ("WEB01", with_code(numbered(2), 0x193)),
        ("WEB01", with_code(numbered(3), 0xDEAD_DEAD)),
    ]);
    assert_eq!(lines[1]["cause"]["event"], "live-report");
    assert_eq!(lines[2]["cause"]["event"], "forced");
    let machines = machines(&lines);
    assert_eq!(
        machines[0]["dumps"],
        json!({ "count": 3, "crashes": 2, "live_reports": 1 })
    );
    let codes = machines[0]["stop_codes"].as_array().unwrap();
    assert!(codes.iter().all(|stop| stop["code"] != "0x00000193"));
}

#[test]
fn a_scan_shows_live_reports_apart() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a.dmp"), &numbered(1));
    put(&dir.path().join("b.dmp"), &with_code(numbered(2), 0x193));
    let root = dir.path().to_str().unwrap();
    let output = run(&["scan", root]);
    let records = records(&output.stdout);
    assert_eq!(of_type(&records, "scan")[0]["live_reports"], 1);
    let text = run(&["scan", root, "--format", "text"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("live report"), "{text}");
    assert!(text.contains("no crash"), "{text}");
    let one = run(&["triage", dir.path().join("b.dmp").to_str().unwrap()]);
    let one = String::from_utf8(one.stdout).unwrap();
    assert!(
        one.contains("no Stop") && one.contains("VIDEO_DXGKRNL_LIVEDUMP"),
        "{one}"
    );
    assert!(!one.contains("Stop     "), "{one}");
}

#[test]
fn the_order_of_dumps_does_not_matter() {
    let mut lines = summaries(&[
        ("A", matching()),
        ("A", fixture("server2008-x64-1e-non-canonical.dmp")),
        ("A", fixture("server2008-x64-e2.dmp")),
        ("A", fixture("server2008-sp2-x64-d1.dmp")),
    ]);
    let forward = machines(&lines);
    lines.reverse();
    assert_eq!(machines(&lines), forward);
    lines.rotate_left(1);
    assert_eq!(machines(&lines), forward);
}

#[test]
fn different_stop_codes_strengthen_only_crashes_with_their_own_sign_of_the_defect() {
    let varied = |lines: &[Value]| {
        machines(lines)[0]["hotfix"]["match"]["evidence"]
            .as_array()
            .unwrap()
            .iter()
            .find(|evidence| evidence["id"] == "machine.varied-stop-codes")
            .cloned()
    };
    let mut lines = summaries(&[("A", matching()), ("A", numbered(20))]);
    assert_eq!(varied(&lines), None, "one code is no variety");
    lines[1]["bugcheck"]["code"] = json!("0x0000000A");
    let evidence = varied(&lines).unwrap();
    assert_eq!(evidence["dumps"].as_array().unwrap().len(), 2);
    lines[1]["hotfix"]["match"]["status"] = json!("insufficient-data");
    assert_eq!(
        varied(&lines),
        None,
        "varied codes alone are also the sign of bad memory"
    );
    lines[1]["hotfix"]["match"]["status"] = json!("possible");
    lines[1]["dump"]["crash_time"] = json!("2009-07-20T00:00:00Z");
    assert_eq!(varied(&lines), None, "a year apart");
}

#[test]
fn a_version_learnt_from_one_dump_serves_the_others_with_the_same_file() {
    let mut lines = summaries(&[("A", matching()), ("A", numbered(30))]);
    let alone = machines(&lines[..1]);
    assert_eq!(alone[0]["hotfix"]["match"]["status"], "possible");
    // A second dump with the same tcpip.sys knows its version: it holds the fix.
    lines[1]["hotfix"]["match"]["status"] = json!("excluded");
    lines[1]["hotfix"]["verdict"] = json!("does-not-apply");
    lines[1]["hotfix"]["applicability"] = json!({
        "status": "already-installed",
        "reason": "tcpip.sys 6.0.6001.22222 is the hotfix's",
        "decided_from": [{
            "file": "tcpip.sys", "version": "6.0.6001.22222", "fixed_in": "6.0.6001.22222",
            "source": "image", "basis": "article",
        }],
    });
    let both = machines(&lines);
    assert_eq!(both[0]["hotfix"]["match"]["status"], "excluded");
    assert_eq!(
        both[0]["hotfix"]["applicability"]["status"],
        "already-installed"
    );
    assert_eq!(both[0]["hotfix"]["verdict"], "does-not-apply");
}

/// A piece of evidence as a summary holds it.
fn piece(id: &str, supports: bool) -> Value {
    json!({ "id": id, "for": supports, "strength": "strong", "summary": id, "where": null, "basis": "inference" })
}

fn add_evidence(line: &mut Value, id: &str, supports: bool) {
    let list = line["hotfix"]["match"]["evidence"].as_array_mut().unwrap();
    list.push(piece(id, supports));
}

/// Gives a summary's tcpip.sys a version.
fn set_version(line: &mut Value, version: &str) {
    for module in line["modules"].as_array_mut().unwrap() {
        if module["name"]
            .as_str()
            .unwrap()
            .eq_ignore_ascii_case("tcpip.sys")
        {
            module["version"] = json!(version);
            module["version_source"] = json!("image");
        }
    }
}

fn status(machine: &Value) -> &str {
    machine["hotfix"]["match"]["status"].as_str().unwrap()
}

#[test]
fn an_unfixed_version_learnt_elsewhere_lifts_what_a_date_held_down() {
    let mut lines = summaries(&[("A", matching()), ("A", numbered(30))]);
    // A memory dump that shows the race, of a tcpip.sys whose version only a date tells.
    lines[0]["dump"]["format"] = json!("kernel-summary");
    add_evidence(&mut lines[0], "frame.mfe-timer", true);
    add_evidence(&mut lines[0], "processors.two-past-the-lock", true);
    lines[0]["hotfix"]["match"]["status"] = json!("probable");
    assert_eq!(status(&machines(&lines)[0]), "probable");
    // The other dump has the same tcpip.sys and knows its version.
    set_version(&mut lines[1], "6.0.6001.18000");
    assert_eq!(status(&machines(&lines)[0]), "confirmed");
    // Two dumps that disagree about it know nothing.
    lines.push(lines[1].clone());
    set_version(&mut lines[2], "6.0.6001.22222");
    assert_eq!(status(&machines(&lines)[0]), "probable");
    // A version of another file with the same name serves nobody.
    lines.truncate(2);
    for module in lines[1]["modules"].as_array_mut().unwrap() {
        module["time_date_stamp"] = json!("0x00000001");
    }
    assert_eq!(status(&machines(&lines)[0]), "probable");
}

#[test]
fn the_richest_dump_of_a_crash_decides_and_is_named() {
    let mut lines = summaries(&[("A", matching()), ("A", matching())]);
    assert_eq!(lines[0]["crash_id"], lines[1]["crash_id"]);
    assert_eq!(status(&machines(&lines)[0]), "possible");
    // The small dump has the defect's own frames; the memory dump has them, too, and another owner.
    add_evidence(&mut lines[0], "frame.mfe-timer", true);
    lines[0]["hotfix"]["match"]["status"] = json!("probable");
    add_evidence(&mut lines[1], "frame.mfe-timer", true);
    add_evidence(&mut lines[1], "memory.overwritten-entry", false);
    lines[1]["dump"]["format"] = json!("kernel-summary");
    lines[1]["hotfix"]["match"]["status"] = json!("unlikely");
    lines[1]["source"]["path"] = json!("a/MEMORY.DMP");
    for turned in [false, true] {
        if turned {
            lines.reverse();
        }
        let machine = machines(&lines).remove(0);
        assert_eq!(status(&machine), "unlikely");
        assert_eq!(
            machine["dumps"],
            json!({ "count": 2, "crashes": 1, "live_reports": 0 })
        );
        assert_eq!(machine["hotfix"]["match"]["decided_by"], "a/MEMORY.DMP");
    }
    // What the poorer one says beside does not add to it, either.
    let small = usize::from(lines[0]["source"]["path"] == "a/MEMORY.DMP");
    add_evidence(&mut lines[small], "processors.two-past-the-lock", true);
    assert_eq!(status(&machines(&lines)[0]), "unlikely");
}

#[test]
fn a_memory_dump_that_tells_nothing_leaves_the_word_to_the_small_one() {
    let mut lines = summaries(&[("A", matching()), ("A", matching())]);
    add_evidence(&mut lines[0], "frame.mfe-timer", true);
    lines[0]["hotfix"]["match"]["status"] = json!("probable");
    lines[1]["dump"]["format"] = json!("kernel-complete");
    lines[1]["hotfix"]["match"]["evidence"] = json!([]);
    lines[1]["hotfix"]["match"]["status"] = json!("insufficient-data");
    assert_eq!(status(&machines(&lines)[0]), "probable");
}

#[test]
fn a_programs_dump_tells_versions_and_is_no_crash() {
    let user = std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/user/server-2008-x64-fixed.dmp"),
    )
    .unwrap();
    let mut lines = summaries(&[("A", matching()), ("A", user.clone())]);
    let machine = machines(&lines).remove(0);
    assert_eq!(
        machine["dumps"],
        json!({ "count": 2, "crashes": 1, "live_reports": 0 })
    );
    assert_eq!(status(&machine), "possible");
    let files: Vec<&str> = machine["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|file| file["file"].as_str().unwrap())
        .collect();
    assert!(files.contains(&"bfe.dll"), "{files:?}");
    // An unfixed tcpip.sys beside a package file of the hotfix: partly serviced.
    let kernel = lines
        .iter()
        .position(|l| l["dump"]["format"] == "kernel-triage")
        .unwrap();
    set_version(&mut lines[kernel], "6.0.6001.18311");
    lines[kernel]["hotfix"]["applicability"] = json!({
        "status": "applicable", "reason": "tcpip.sys 6.0.6001.18311",
        "decided_from": [{ "file": "tcpip.sys", "version": "6.0.6001.18311", "fixed_in": "6.0.6001.22222",
                           "source": "image", "basis": "servicing-rule" }],
    });
    let machine = machines(&lines).remove(0);
    assert_eq!(
        machine["hotfix"]["applicability"]["status"],
        "partially-serviced"
    );
    let alone = machines(&summaries(&[("B", user)])).remove(0);
    assert_eq!(
        status(&alone),
        "insufficient-data",
        "nothing is known of its crashes"
    );
    assert_eq!(alone["dumps"]["crashes"], 0);
}

#[test]
fn a_place_whose_crash_another_dump_names_is_that_machine() {
    let mut lines = summaries(&[
        ("inbox-7", matching()),
        ("inbox-7", numbered(9)),
        ("WEB01", matching()),
    ]);
    assert_eq!(machines(&lines).len(), 2);
    for line in &mut lines {
        if line["machine"]["name"] == "WEB01" {
            line["machine"]["source"] = json!("dump");
        }
    }
    let joined = machines(&lines);
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0]["machine"]["name"], "WEB01");
    assert_eq!(
        joined[0]["dumps"],
        json!({ "count": 3, "crashes": 2, "live_reports": 0 })
    );
    // Two machines that both know their names stay two.
    for line in &mut lines {
        line["machine"]["source"] = json!("dump");
    }
    assert_eq!(machines(&lines).len(), 2);
}

#[test]
fn codes_and_modules_that_vary_without_a_sign_point_at_memory() {
    let mut lines = summaries(&[("A", numbered(1)), ("A", numbered(2)), ("A", numbered(3))]);
    let memory = |lines: &[Value]| {
        machines(lines)[0]["hotfix"]["match"]["evidence"]
            .to_string()
            .contains("machine.varied-modules")
    };
    for (line, (code, module)) in lines.iter_mut().zip([
        ("0x0000001A", "ntfs.sys"),
        ("0x00000050", "win32k.sys"),
        ("0x0000003B", "dxgkrnl.sys"),
    ]) {
        line["bugcheck"]["code"] = json!(code);
        line["fault"]["location"]["module"] = json!(module);
        line["hotfix"]["match"]["status"] = json!("unlikely");
        line["hotfix"]["match"]["evidence"] = json!([piece("fault.other-module", false)]);
    }
    assert!(memory(&lines));
    lines[0]["hotfix"]["match"]["status"] = json!("possible");
    assert!(!memory(&lines), "a crash with its own sign is no such case");
}

#[test]
fn a_single_report_never_changes_because_of_its_siblings() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("A/1.dmp"), &matching());
    let scan = || {
        let output = run(&[
            "scan",
            dir.path().to_str().unwrap(),
            "--sort",
            "path",
            "--detail",
            "full",
        ]);
        let all = records(&output.stdout);
        let reports = of_type(&all, "report");
        let own = reports
            .iter()
            .find(|r| r["source"]["path"].as_str().unwrap().ends_with("1.dmp"));
        serde_json::to_string(own.unwrap()).unwrap()
    };
    let alone = scan();
    put(&dir.path().join("A/2.dmp"), &numbered(7));
    put(
        &dir.path().join("A/3.dmp"),
        &fixture("server2008-sp2-x64-d1.dmp"),
    );
    put(
        &dir.path().join("A/MEMORY.DMP"),
        &fixture("server2008-x64-e2.dmp"),
    );
    assert_eq!(scan(), alone);
}

#[test]
fn another_main_article_leaves_the_machine_record_about_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("A/1.dmp"), &matching());
    let machine = |more: &[&str]| {
        let mut arguments = vec!["scan", dir.path().to_str().unwrap()];
        arguments.extend(more);
        let all = records(&run(&arguments).stdout);
        let mut machine = of_type(&all, "machine").remove(0).clone();
        machine.as_object_mut().unwrap().remove("tool");
        machine
    };
    assert_eq!(machine(&[]), machine(&["--kb", "KB972887"]));
}

struct Db {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn db() -> Db {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("share");
    let hostile = "EVIL<b>&\"|*{color:red}\u{1b}[31m";
    for (path, dump) in [
        ("WEB01/a.dmp".to_owned(), matching()),
        ("WEB01/b.dmp".to_owned(), numbered(800)),
        ("SQL02/c.dmp".to_owned(), with_code(matching(), 0xE2)),
        ("EVIL/d.dmp".to_owned(), numbered(5)),
    ] {
        put(&root.join(path), &dump);
    }
    // No folder of Windows can have such a name.
    let map = dir.path().join("map");
    std::fs::write(&map, format!("EVIL\t{hostile}\n")).unwrap();
    let path = dir.path().join("dumps.db");
    let output = run(&[
        "scan",
        root.to_str().unwrap(),
        "--db",
        path.to_str().unwrap(),
        "--machine-map",
        map.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(0));
    Db { _dir: dir, path }
}

fn fleet(db: &Path, arguments: &[&str]) -> std::process::Output {
    crate::support::share::program()
        .arg("fleet")
        .args(arguments)
        .args(["--db", db.to_str().unwrap()])
        .output()
        .unwrap()
}

#[test]
fn machines_and_buckets_come_in_every_form() {
    let db = db();
    let machines = records(&fleet(&db.path, &["machines", "--format", "jsonl"]).stdout);
    assert_eq!(machines.len(), 3);
    let some = fleet(
        &db.path,
        &["machines", "--only", "may-apply", "--format", "jsonl"],
    );
    assert_eq!(records(&some.stdout).len(), 2);
    let buckets = records(&fleet(&db.path, &["buckets", "--format", "jsonl"]).stdout);
    assert_eq!(buckets[0]["crashes"], 3);
    assert_eq!(buckets[0]["machines"], 2);
    let months: u64 = buckets[0]["months"]
        .as_object()
        .unwrap()
        .values()
        .map(|n| n.as_u64().unwrap())
        .sum();
    assert_eq!(months, 3);
    let since = fleet(
        &db.path,
        &["buckets", "--since", "2100-01-01", "--format", "jsonl"],
    );
    assert!(since.stdout.is_empty());
    for command in ["machines", "buckets"] {
        for format in ["text", "json", "csv", "markdown"] {
            let output = fleet(&db.path, &[command, "--format", format]);
            assert_eq!(output.status.code(), Some(0));
            assert!(!output.stdout.contains(&0x1b), "{command} {format}");
            assert!(!output.stdout.is_empty());
        }
    }
    let missing = fleet(&db.path.with_extension("none"), &["machines"]);
    assert_eq!(missing.status.code(), Some(2));
}

/// Fields that a payload may have, from the systems' published references.
const JIRA: [&str; 5] = ["project", "issuetype", "summary", "description", "labels"];
const SERVICENOW: [&str; 8] = [
    "short_description",
    "description",
    "category",
    "impact",
    "urgency",
    "correlation_id",
    "correlation_display",
    "cmdb_ci",
];
const GLPI: [&str; 6] = ["name", "content", "type", "urgency", "impact", "externalid"];

#[test]
fn tickets_have_the_fields_their_systems_take_and_a_stable_key() {
    let db = db();
    for (to, inner, fields, key) in [
        ("jira", Some("fields"), &JIRA[..], "/fields/labels/1"),
        ("servicenow", None, &SERVICENOW[..], "/correlation_id"),
        ("glpi", Some("input"), &GLPI[..], "/input/externalid"),
    ] {
        for per in ["machine", "bucket"] {
            let output = fleet(&db.path, &["tickets", "--to", to, "--per", per]);
            let payloads = records(&output.stdout);
            assert!(!payloads.is_empty(), "{to} {per}");
            let again = records(&fleet(&db.path, &["tickets", "--to", to, "--per", per]).stdout);
            assert_eq!(payloads, again);
            let mut keys = std::collections::BTreeSet::new();
            for payload in &payloads {
                let object = inner.map_or(payload, |inner| &payload[inner]);
                for (field, value) in object.as_object().unwrap() {
                    assert!(fields.contains(&field.as_str()), "{to} takes no {field}");
                    assert!(!value.is_null());
                }
                let key = payload.pointer(key).unwrap().as_str().unwrap();
                assert!(key.len() <= 100 && !key.contains(' '));
                assert!(keys.insert(key.to_owned()), "each ticket has its own key");
            }
        }
    }
}

#[test]
fn a_machine_name_is_text_in_every_target() {
    let db = db();
    let glpi = fleet(&db.path, &["tickets", "--to", "glpi"]).stdout;
    let text = String::from_utf8(glpi).unwrap();
    let contents: Vec<Value> = records(text.as_bytes());
    for ticket in &contents {
        let content = ticket["input"]["content"].as_str().unwrap();
        assert!(!content.contains("<b>"), "{content}");
    }
    let jira = records(&fleet(&db.path, &["tickets", "--to", "jira"]).stdout);
    let document = &jira[0]["fields"]["description"];
    assert_eq!(document["type"], "doc");
    assert_eq!(document["version"], 1);
    let all = serde_json::to_string(&jira).unwrap();
    assert!(
        !all.contains("\\u001b"),
        "controls are visible text by then"
    );
}

#[test]
fn a_template_of_ones_own_is_escaped_by_its_ending_and_bounded() {
    let db = db();
    let file = |name: &str, text: &str| {
        let path = db.path.with_file_name(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let html = file(
        "t.html",
        "<h1>{{ title }}</h1>{% for d in dumps %}<p>{{ d }}</p>{% endfor %}",
    );
    let output = fleet(&db.path, &["tickets", "--to", &html]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("<h1>") && text.contains("&lt;b&gt;") && !text.contains("<b>"));
    let json = file("t.json", r#"{"title": {{ title }}, "key": {{ key }}}"#);
    let output = fleet(&db.path, &["tickets", "--to", &json]);
    assert_eq!(records(&output.stdout).len(), 2);
    for (text, what) in [
        ("{{ nothing.there }}", "an unknown name"),
        (
            "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}",
            "work",
        ),
        ("{% if %}", "syntax"),
    ] {
        let bad = file("bad.txt", text);
        let output = fleet(&db.path, &["tickets", "--to", &bad]);
        assert_eq!(output.status.code(), Some(2), "{what}");
    }
}
