//! Rule files: what is wrong with one is said by file, line and expectation; what is right answers.

use std::path::Path;

use crate::support::facts::Crash;
use crate::support::run::{command, kbtriage};
use kbtriage::knowledge::article;
use kbtriage::knowledge::builds::BuildTable;
use kbtriage::knowledge::load::{self, MAX_FILE, MAX_ITEMS, MAX_TEXT};
use kbtriage::verdict::article_answer;
use serde_json::{Value, json};

const GOOD: &str = r#"kb = "KB1234567"
title = "A made-up article"
decides = "tcpip.sys"

[[system]]
from = 6001
to = 6002
applicability = "unknown"
basis = "public-source"
reason = "the version decides"

[[version]]
from = "6.0.6001.18000"
to = "6.0.6001.18099"
applicability = "applicable"
basis = "public-source"
reason = "older than the fix"

[[evidence]]
id = "fault.in-tcpip"
for = true
strength = "moderate"
effect = "struck"
basis = "inference"
says = "tcpip.sys is nearest the fault"
when = { modules = ["tcpip.sys"] }

[[evidence]]
id = "code.primary"
for = true
strength = "weak"
effect = "right-code"
basis = "inference"
says = "its code"
when = { codes = [0xD1, "0x0000000A"] }

[[action]]
do = "call-the-vendor"
text = "Call the vendor."
"#;

fn error(text: &str) -> String {
    load::article(text, "KB1234567.toml")
        .unwrap_err()
        .to_string()
}

/// The file with one line changed, and the number of that line.
fn changed(from: &str, to: &str) -> (String, usize) {
    let line = GOOD
        .lines()
        .position(|line| line == from)
        .unwrap_or_else(|| panic!("{from:?}"))
        + 1;
    let text: Vec<&str> = GOOD
        .lines()
        .map(|l| if l == from { to } else { l })
        .collect();
    (text.join("\n"), line)
}

#[test]
fn a_whole_file_reads_as_it_is_written() {
    let article = load::article(GOOD, "x").unwrap();
    assert_eq!(article.kb, "KB1234567");
    assert_eq!((article.systems.len(), article.versions.len()), (1, 1));
    assert_eq!(*article.evidence[1].when.codes, [0xD1, 0x0A]);
    assert!(article.fixed_in.is_none());
    let windows = GOOD.replace('\n', "\r\n");
    assert_eq!(load::article(&windows, "x").unwrap(), article);
}

#[test]
fn every_error_names_the_file_the_line_and_what_was_expected() {
    for (from, to, expected) in [
        (
            "kb = \"KB1234567\"",
            "kb = \"KB 1\"",
            "expected a name such as KB972887 or MS08-001 as kb, found \"KB 1\"",
        ),
        (
            "kb = \"KB1234567\"",
            "kb = \"../x\"",
            "expected a name such as",
        ),
        (
            "kb = \"KB1234567\"",
            "kb = \"943650\"",
            "expected another article than KB943650",
        ),
        (
            "kb = \"KB1234567\"",
            "kb = 1234567",
            "expected text in quotes as kb, found 1234567",
        ),
        (
            "title = \"A made-up article\"",
            "title = \"  \"",
            "expected some text as title",
        ),
        (
            "title = \"A made-up article\"",
            "titel = \"A\"",
            "expected title in the article",
        ),
        (
            "decides = \"tcpip.sys\"",
            "decides = \"drivers/tcpip.sys\"",
            "expected a file name without a path",
        ),
        (
            "from = 6001",
            "from = -1",
            "expected a number from 0 to 0xffffffff as from, found -1",
        ),
        (
            "from = 6001",
            "from = 99999999999999999999",
            "expected a number from 0",
        ),
        ("from = 6001", "from = 6001.5", "found a fraction"),
        (
            "from = 6001",
            "from = 2008-07-15",
            "found a date without quotes",
        ),
        (
            "to = 6002",
            "to = 6000",
            "expected a build from 6001 on as to, found 6000",
        ),
        (
            "applicability = \"unknown\"",
            "applicability = \"maybe\"",
            "expected one of applicable, needs-service-pack",
        ),
        (
            "basis = \"public-source\"",
            "basis = \"rumour\"",
            "expected one of article, public-symbol",
        ),
        (
            "from = \"6.0.6001.18000\"",
            "from = \"6.0.6001\"",
            "expected a version such as 6.0.6001.18000 as from",
        ),
        (
            "to = \"6.0.6001.18099\"",
            "to = \"6.0.6000.1\"",
            "expected a version from 6.0.6001.18000 on",
        ),
        (
            "id = \"fault.in-tcpip\"",
            "id = \"fault\"",
            "expected an id of two words, such as frame.receive-path",
        ),
        (
            "id = \"fault.in-tcpip\"",
            "id = \"Fault.X\"",
            "expected an id of two words",
        ),
        (
            "for = true",
            "for = \"yes\"",
            "expected true or false as for",
        ),
        (
            "for = true",
            "for = false",
            "expected an effect of evidence against the match as effect, found \"struck\"",
        ),
        (
            "strength = \"moderate\"",
            "strength = \"huge\"",
            "expected one of decisive, strong, moderate, weak, excluding",
        ),
        (
            "strength = \"moderate\"",
            "strength = \"excluding\"",
            "expected excluding with the effect excludes",
        ),
        (
            "effect = \"struck\"",
            "effect = \"hits\"",
            "expected one of vulnerable, unfixed, struck",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = {}",
            "expected at least one condition as when",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = 1",
            "expected a table as when, found 1",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { module = [\"tcpip.sys\"] }",
            "expected at least one condition",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { irql = 2, wehn = 1 }",
            "found \"wehn\"",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { modules = \"tcpip.sys\" }",
            "expected a list in brackets as modules",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { functions = [\"Tcp*\"] }",
            "expected module!Function",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { functions = [\"tcpip.sys!Tcp*\"] }",
            "expected module!Function",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { builds = [\"6002-6000\"] }",
            "expected a build such as 6001, or two",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { architectures = [\"amd64\"] }",
            "expected one of x86, x64",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { parameters = [{ index = 5, is = 1 }] }",
            "expected a number from 0 to 0x4",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { parameters = [{ index = 0, is = 1 }] }",
            "expected a number from 1 to 4",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { parameters = [{ index = 1 }] }",
            "expected is in an item of parameters",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { linked_since = { file = \"tcpip.sys\", date = \"2010-02-30\" } }",
            "expected a day such as 2010-01-31",
        ),
        (
            "when = { modules = [\"tcpip.sys\"] }",
            "when = { access = \"jump\" }",
            "expected one of read, write, execute",
        ),
        (
            "when = { codes = [0xD1, \"0x0000000A\"] }",
            "when = { codes = [\"0xZZ\"] }",
            "expected a number from 0",
        ),
        (
            "do = \"call-the-vendor\"",
            "do = \"Call the vendor\"",
            "expected an id such as install-hotfix",
        ),
        (
            "text = \"Call the vendor.\"",
            "tekst = \"Call\"",
            "expected text in [[action]]",
        ),
        ("[[action]]", "[[acton]]", "expected one of action, decides"),
        (
            "reason = \"the version decides\"",
            "reason = \"the version decides",
            "expected TOML: ",
        ),
    ] {
        let (text, line) = changed(from, to);
        let message = error(&text);
        // What is missing from a table is said at the table's own line.
        let at: usize = message
            .split(':')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("{message}"));
        let near = expected.starts_with("expected title in")
            || expected.starts_with("expected text in [[")
            || to.starts_with("for = false")
            || to.contains("strength = \"excluding\"");
        assert!(message.starts_with("KB1234567.toml:"), "{message}");
        assert!(near || at == line, "{to}: line {line} expected: {message}");
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn a_file_without_a_system_or_a_sign_says_which_table_is_missing() {
    let head = "kb = \"KB1\"\ntitle = \"T\"\ndecides = \"a.sys\"\n";
    assert!(error(head).contains("expected at least one [[system]]"));
    let system = "[[system]]\nfrom = 1\nto = 2\napplicability = \"unknown\"\nbasis = \"none\"\nreason = \"r\"\n";
    assert!(error(&format!("{head}{system}")).contains("expected at least one [[evidence]]"));
    assert!(error("").contains("expected kb in the article"));
}

#[test]
fn sizes_are_limited() {
    let long = GOOD.replace("Call the vendor.", &"x".repeat(MAX_TEXT + 1));
    assert!(error(&long).contains(&format!("expected text of at most {MAX_TEXT} bytes")));
    let codes = vec!["1"; MAX_ITEMS + 1].join(", ");
    let many = GOOD.replace("0xD1, \"0x0000000A\"", &codes);
    assert!(error(&many).contains(&format!("expected at most {MAX_ITEMS} items in codes")));
    let large = format!("{GOOD}#{}", "x".repeat(MAX_FILE));
    assert!(error(&large).contains(&format!("expected at most {MAX_FILE} bytes")));
    // Nesting: the parser's own limit, no overflow of the stack.
    let deep = format!("{GOOD}\nx = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(error(&deep).starts_with("KB1234567.toml:"));
}

#[test]
fn no_cut_and_no_single_changed_byte_makes_the_reader_fail_otherwise() {
    for end in 0..GOOD.len() {
        let _ = load::article(&GOOD[..end], "x");
    }
    for at in 0..GOOD.len() {
        for byte in [b'"', b'[', b'{', b'=', b'\n', b'0', 0x7F] {
            let mut bytes = GOOD.as_bytes().to_vec();
            bytes[at] = byte;
            let _ = load::article(&String::from_utf8(bytes).unwrap(), "x");
        }
    }
}

fn dump() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/dumps/server2008-x64-d1.dmp")
        .to_string_lossy()
        .into_owned()
}

fn json_of(arguments: &[&str]) -> Value {
    let dump = dump();
    let mut all = vec!["triage", "--format", "jsonl"];
    all.extend(arguments);
    all.push(&dump);
    let output = kbtriage(&all);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_directory_of_rule_files_answers_in_other_articles_and_names_its_knowledge() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("b.toml"), GOOD).unwrap();
    std::fs::write(directory.path().join("notes.txt"), "left alone").unwrap();
    let path = directory.path().to_str().unwrap();
    let plain = json_of(&[]);
    let with = json_of(&["--knowledge", path]);
    assert_eq!(plain["other_articles"], json!([]));
    assert_eq!(
        with["hotfix"], plain["hotfix"],
        "the main answer does not change"
    );
    let other = &with["other_articles"][0];
    assert_eq!(other["kb"], "KB1234567");
    assert_eq!(other["match"]["status"], "possible");
    assert_eq!(other["verdict"], "may-apply");
    assert_eq!(other["actions"][0]["do"], "call-the-vendor");
    let keys =
        |value: &Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(keys(other), keys(&with["hotfix"]), "the same shape");
    assert_ne!(plain["tool"]["knowledge"], with["tool"]["knowledge"]);
    assert_eq!(
        with,
        json_of(&["--knowledge", path]),
        "the same bytes, the same report"
    );
    std::fs::write(directory.path().join("b.toml"), format!("{GOOD}# more\n")).unwrap();
    let again = json_of(&["--knowledge", path]);
    assert_ne!(
        again["tool"]["knowledge"], with["tool"]["knowledge"],
        "another text"
    );
}

#[test]
fn the_article_asked_for_is_the_main_one_and_the_others_stay_beside_it() {
    let report = json_of(&["--kb", "972887,ms08-001"]);
    assert_eq!(report["hotfix"]["kb"], "KB972887");
    assert_eq!(report["hotfix"]["match"]["status"], "excluded");
    let others: Vec<&str> = report["other_articles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|o| o["kb"].as_str().unwrap())
        .collect();
    assert_eq!(others, ["MS08-001", "KB943650"]);
    let output = kbtriage(&["triage", "--kb", "KB1", &dump()]);
    assert_eq!(output.status.code(), Some(2));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("no article \"KB1\": known are KB943650, KB972887, MS08-001"),
        "{message}"
    );
}

#[test]
fn a_bad_directory_is_wrong_usage_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let run = || {
        let output = command()
            .args(["triage", "--knowledge"])
            .arg(directory.path())
            .arg(dump())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(run().contains("expected at least one rule file, *.toml"));
    std::fs::write(
        directory.path().join("a.toml"),
        GOOD.replace("for = true", "for = 1"),
    )
    .unwrap();
    let message = run();
    assert!(
        message.contains("a.toml:21: expected true or false as for, found 1"),
        "{message}"
    );
    std::fs::write(directory.path().join("a.toml"), b"kb = 1\n\xFF").unwrap();
    assert!(run().contains("a.toml:2: expected UTF-8 text"));
    std::fs::write(directory.path().join("a.toml"), GOOD).unwrap();
    std::fs::write(
        directory.path().join("b.toml"),
        GOOD.replace("KB1234567", "1234567"),
    )
    .unwrap();
    assert!(run().contains("expected one file for each article"));
    std::fs::write(directory.path().join("b.toml"), vec![b'#'; MAX_FILE + 1]).unwrap();
    assert!(run().contains("b.toml"));
    let output = kbtriage(&["triage", "--knowledge", "/no/such/directory", &dump()]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("expected a directory of rule files")
    );
}

#[test]
fn kb_show_prints_an_embedded_article_and_one_of_a_directory() {
    let text = String::from_utf8(kbtriage(&["kb", "show", "MS08-001"]).stdout).unwrap();
    assert!(
        text.contains("6.0.6000.16567") && text.contains("Signs"),
        "{text}"
    );
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.toml"), GOOD).unwrap();
    let output = command()
        .args(["kb", "show", "1234567", "--format", "jsonl", "--knowledge"])
        .arg(directory.path())
        .output()
        .unwrap();
    let record: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(record["kb"], "KB1234567");
}

/// Match, applicability and verdict of an embedded article.
fn answer(kb: &str, crash: Crash) -> [String; 3] {
    let article = article::embedded().iter().find(|e| e.kb == kb).unwrap();
    let answer = article_answer(article, &crash.facts(), &BuildTable::embedded());
    [
        answer.decision.status.to_string(),
        answer.servicing.applicability.to_string(),
        answer.verdict.to_string(),
    ]
}

#[test]
fn the_embedded_articles_answer_by_build_version_place_and_name() {
    let d1 = || Crash::new().stack(&["tcpip"]);
    for (kb, crash, expected) in [
        (
            "KB972887",
            d1().build(6002),
            ["possible", "unknown", "may-apply"],
        ),
        (
            "KB972887",
            d1().build(6001),
            ["excluded", "not-applicable", "does-not-apply"],
        ),
        (
            "KB972887",
            d1().build(6002).code(0x7E),
            ["unlikely", "unknown", "does-not-apply"],
        ),
        (
            "KB972887",
            Crash::new().build(6002).stack(&["afd"]),
            ["unlikely", "unknown", "does-not-apply"],
        ),
        (
            "KB972887",
            Crash::new().build(6002).stack(&["tcpip!TcpIndicateData"]),
            ["unlikely", "unknown", "does-not-apply"],
        ),
        (
            "KB972887",
            Crash::new().build(6002),
            ["insufficient-data", "unknown", "undetermined"],
        ),
        (
            "MS08-001",
            d1().build(6000),
            ["possible", "unknown", "may-apply"],
        ),
        (
            "MS08-001",
            d1().build(6000).version("tcpip.sys", [6, 0, 6000, 16386]),
            ["possible", "applicable", "may-apply"],
        ),
        (
            "MS08-001",
            d1().build(6000).version("tcpip.sys", [6, 0, 6000, 20688]),
            ["possible", "applicable", "may-apply"],
        ),
        (
            "MS08-001",
            d1().build(6000).version("tcpip.sys", [6, 0, 6000, 20689]),
            ["excluded", "included-in-later-update", "does-not-apply"],
        ),
        (
            "MS08-001",
            Crash::new()
                .build(6000)
                .stack(&["tcpip!IgmpReceiveDatagrams"]),
            ["probable", "unknown", "probably-applies"],
        ),
        (
            "MS08-001",
            d1().build(6001),
            ["excluded", "not-applicable", "does-not-apply"],
        ),
        (
            "MS08-001",
            d1().build(2600),
            ["insufficient-data", "unknown", "undetermined"],
        ),
    ] {
        assert_eq!(answer(kb, crash), expected, "{kb}");
    }
}
