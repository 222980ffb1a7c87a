//! Pages: one self-contained file that allows itself exactly its own style and script, in which names from a dump
//! stay text. `docs/html.md` says how they were looked at in a browser.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use sha2::{Digest, Sha256};

use crate::support::run::command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn page(arguments: &[&str]) -> String {
    let output = command()
        .current_dir(root())
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).unwrap().1.split_once(end).unwrap().0
}

/// Nothing from elsewhere, nothing inline that the policy does not name by its hash.
fn check(page: &str) {
    assert!(page.starts_with("<!doctype html>"), "{page}");
    let policy = between(page, "Content-Security-Policy\" content=\"", "\">");
    let policy = policy.replace("&#x2f;", "/");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    for (start, end) in [("<style>", "</style>"), ("<script>", "</script>")] {
        assert_eq!(page.matches(start).count(), 1, "{start}");
        let hash = Sha256::digest(between(page, start, end));
        let hash = base64::engine::general_purpose::STANDARD.encode(hash);
        assert!(
            policy.contains(&format!("'sha256-{hash}'")),
            "{start}: {policy}"
        );
    }
    for word in [" style=", " onclick=", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn the_page_of_a_dump_has_the_answer_steps_evidence_and_stack_of_the_report() {
    let page = page(&[
        "triage",
        "--format",
        "html",
        "fixtures/dumps/server2008-x64-d1.dmp",
    ]);
    check(&page);
    for part in [
        "<h1>KB943650: MAY APPLY</h1>",
        "netsh interface ipv4 show global",
        "What would settle it",
        "<tr class=\"fault\">",
        "tcpip.sys",
        "2008-01-19",
        "<h2>Addresses of the fault</h2>",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
}

#[test]
fn a_name_from_a_dump_stays_text_in_every_page() {
    let hostile = "fixtures/dumps/server2008-x64-hostile-names.dmp";
    let one = page(&["triage", "--format", "html", hostile]);
    let several = page(&["triage", "--format", "html", hostile, hostile]);
    let folder = tempfile::tempdir().unwrap();
    // Markup in a path, which is a name like others.
    let path = folder.path().join("<img src=x onerror=alert(1)>'\"&.dmp");
    if std::fs::copy(root().join(hostile), &path).is_ok() {
        let marked = page(&["triage", "--format", "html", path.to_str().unwrap()]);
        assert!(
            !marked.contains("<img") && marked.contains("&lt;img"),
            "{marked}"
        );
        let scanned = page(&[
            "scan",
            "--quiet",
            "--format",
            "html",
            folder.path().to_str().unwrap(),
        ]);
        check(&scanned.replace("src=x", ""));
        assert!(
            !scanned.contains("<img") && scanned.contains("&lt;img"),
            "{scanned}"
        );
    }
    for page in [one, several] {
        check(&page);
        let bad = page.chars().find(|c| {
            (c.is_control() && *c != '\n')
                || matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
        });
        assert_eq!(bad, None);
    }
}

#[test]
fn the_page_of_a_scan_has_a_row_for_each_dump() {
    let page = page(&["scan", "--quiet", "--format", "html", "fixtures/dumps"]);
    check(&page);
    let rows = between(&page, "<table id=\"dumps\"", "</table>")
        .matches("<tr><td")
        .count();
    let dumps = std::fs::read_dir(root().join("fixtures/dumps")).unwrap();
    let dumps = dumps.filter(|e| {
        e.as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|e| e == "dmp")
    });
    assert_eq!(rows, dumps.count());
}

#[cfg(feature = "store")]
#[test]
fn the_page_of_a_fleet_has_machines_weeks_and_buckets() {
    let folder = tempfile::tempdir().unwrap();
    let share = folder.path().join("share");
    let corpus = root().join("fixtures/dumps");
    for (machine, dump) in [
        ("WEB01", "server2008-x64-d1.dmp"),
        ("WEB01", "server2008-x64-d1-nic.dmp"),
        ("WEB02", "vista-rtm-x64-d1.dmp"),
    ] {
        std::fs::create_dir_all(share.join(machine)).unwrap();
        std::fs::copy(corpus.join(dump), share.join(machine).join(dump)).unwrap();
    }
    let db = folder.path().join("dumps.db");
    let db = db.to_str().unwrap();
    page(&["scan", "--quiet", "--db", db, share.to_str().unwrap()]);
    let page = page(&["fleet", "machines", "--format", "html", "--db", db]);
    check(&page);
    for part in [
        "<td>WEB01</td>",
        "<td>WEB02</td>",
        "Crashes by week",
        "<h2>Buckets</h2>",
        "bar-yellow",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
    // Mondays before 2008-11-03 02:14 and 2008-02-11 07:00, both Mondays themselves.
    assert!(
        page.contains("2008-02-11") && page.contains("2008-11-03"),
        "{page}"
    );
}
