//! Ticket payloads against the fields that the systems' vendors publish. The tables below were written
//! from the vendors' references alone; they share nothing with the program.
#![cfg(all(feature = "store", feature = "tickets"))]

use crate::support::share::{matching, numbered, put, records};
use serde_json::{Value, json};

/// What a reference says about one field.
struct Field {
    /// JSON pointer in the body of the request.
    at: &'static str,
    kind: Kind,
    required: bool,
}

enum Kind {
    /// A string of at most so many characters, on one line.
    Line(usize),
    /// A string of at most so many characters.
    Text(usize),
    /// A string that is one of these.
    OneOf(&'static [&'static str]),
    /// A whole number, both ends included.
    Number(u64, u64),
    /// Strings of at most 255 characters without spaces.
    Labels,
    /// An Atlassian document.
    Document,
}

const fn field(at: &'static str, kind: Kind, required: bool) -> Field {
    Field { at, kind, required }
}

/// Atlassian, "The Jira Cloud platform REST API", version 3, "Create issue" (`IssueUpdateDetails`) and "Issue
/// fields": project and issue type by key, id or name; `summary` at most 255 characters without line breaks;
/// labels without spaces.
const JIRA: &[Field] = &[
    field("/fields/project/id", Kind::Line(255), false),
    field("/fields/project/key", Kind::Line(255), true),
    field("/fields/issuetype/id", Kind::Line(255), false),
    field("/fields/issuetype/name", Kind::Line(255), true),
    field("/fields/summary", Kind::Line(255), true),
    field("/fields/description", Kind::Document, false),
    field("/fields/labels", Kind::Labels, false),
    field("/fields/priority/name", Kind::Line(255), false),
    field("/fields/duedate", Kind::Line(10), false),
    field("/fields/environment", Kind::Document, false),
];

/// ServiceNow, "Table API" (POST /now/table/{tableName}: columns as strings) and the dictionary of `task` and
/// `incident` with their default lengths.
const SERVICENOW: &[Field] = &[
    field("/short_description", Kind::Line(160), true),
    field("/description", Kind::Text(4000), false),
    field("/impact", Kind::OneOf(&["1", "2", "3"]), false),
    field("/urgency", Kind::OneOf(&["1", "2", "3"]), false),
    field(
        "/category",
        Kind::OneOf(&["inquiry", "software", "hardware", "network", "database"]),
        false,
    ),
    field("/subcategory", Kind::Line(40), false),
    field("/cmdb_ci", Kind::Line(255), false),
    field("/caller_id", Kind::Line(255), false),
    field("/assignment_group", Kind::Line(255), false),
    field("/correlation_id", Kind::Line(100), false),
    field("/correlation_display", Kind::Line(100), false),
    field("/work_notes", Kind::Text(4000), false),
    field("/comments", Kind::Text(4000), false),
];

/// GLPI, "REST API" ("Add item(s)": `{"input": {…}}`) and the columns of `glpi_tickets`.
const GLPI: &[Field] = &[
    field("/input/name", Kind::Line(255), true),
    field("/input/content", Kind::Text(usize::MAX), true),
    field("/input/type", Kind::Number(1, 2), false),
    field("/input/urgency", Kind::Number(1, 5), false),
    field("/input/impact", Kind::Number(1, 5), false),
    field("/input/priority", Kind::Number(1, 6), false),
    field("/input/itilcategories_id", Kind::Number(0, u64::MAX), false),
    field("/input/entities_id", Kind::Number(0, u64::MAX), false),
    field("/input/externalid", Kind::Line(255), false),
];

/// The nodes of "Atlassian Document Format" that an issue's description can hold, as far as they are plain
/// structure: document, paragraph, heading, lists, code block, rule, text and its marks.
fn document_schema() -> Value {
    let inline = json!({ "type": "array", "items": { "$ref": "#/$defs/text" } });
    let list = |name: &str| {
        json!({
            "type": "object",
            "properties": {
                "type": { "const": name },
                "content": { "type": "array", "minItems": 1, "items": { "$ref": "#/$defs/listItem" } }
            },
            "required": ["type", "content"],
            "additionalProperties": false
        })
    };
    json!({
        "type": "object",
        "properties": {
            "type": { "const": "doc" },
            "version": { "const": 1 },
            "content": { "type": "array", "items": { "$ref": "#/$defs/block" } }
        },
        "required": ["type", "version", "content"],
        "additionalProperties": false,
        "$defs": {
            "block": { "anyOf": [
                { "$ref": "#/$defs/paragraph" },
                { "$ref": "#/$defs/heading" },
                { "$ref": "#/$defs/bulletList" },
                { "$ref": "#/$defs/orderedList" },
                { "$ref": "#/$defs/codeBlock" },
                { "$ref": "#/$defs/rule" }
            ] },
            "paragraph": {
                "type": "object",
                "properties": { "type": { "const": "paragraph" }, "content": inline },
                "required": ["type"],
                "additionalProperties": false
            },
            "heading": {
                "type": "object",
                "properties": {
                    "type": { "const": "heading" },
                    "attrs": {
                        "type": "object",
                        "properties": { "level": { "type": "integer", "minimum": 1, "maximum": 6 } },
                        "required": ["level"],
                        "additionalProperties": false
                    },
                    "content": inline
                },
                "required": ["type", "attrs"],
                "additionalProperties": false
            },
            "bulletList": list("bulletList"),
            "orderedList": list("orderedList"),
            "listItem": {
                "type": "object",
                "properties": {
                    "type": { "const": "listItem" },
                    "content": {
                        "type": "array",
                        "minItems": 1,
                        "items": { "anyOf": [
                            { "$ref": "#/$defs/paragraph" },
                            { "$ref": "#/$defs/bulletList" },
                            { "$ref": "#/$defs/orderedList" },
                            { "$ref": "#/$defs/codeBlock" }
                        ] }
                    }
                },
                "required": ["type", "content"],
                "additionalProperties": false
            },
            "codeBlock": {
                "type": "object",
                "properties": {
                    "type": { "const": "codeBlock" },
                    "attrs": { "type": "object", "properties": { "language": { "type": "string" } } },
                    "content": inline
                },
                "required": ["type"],
                "additionalProperties": false
            },
            "rule": {
                "type": "object",
                "properties": { "type": { "const": "rule" } },
                "required": ["type"],
                "additionalProperties": false
            },
            "text": {
                "type": "object",
                "properties": {
                    "type": { "const": "text" },
                    "text": { "type": "string", "minLength": 1 },
                    "marks": { "type": "array", "items": {
                        "type": "object",
                        "properties": { "type": { "enum": ["code", "em", "strong", "strike", "underline"] } },
                        "required": ["type"],
                        "additionalProperties": false
                    } }
                },
                "required": ["type", "text"],
                "additionalProperties": false
            }
        }
    })
}

/// Why `value` is not what the reference asks for.
fn fault(value: &Value, kind: &Kind) -> Option<String> {
    let length = |text: &str| text.chars().count();
    let fits = match kind {
        Kind::Line(most) => value.as_str().is_some_and(|text| {
            length(text) <= *most && !text.is_empty() && !text.contains(['\n', '\r'])
        }),
        Kind::Text(most) => value.as_str().is_some_and(|text| length(text) <= *most),
        Kind::OneOf(words) => value.as_str().is_some_and(|text| words.contains(&text)),
        Kind::Number(from, to) => value.as_u64().is_some_and(|n| (*from..=*to).contains(&n)),
        Kind::Labels => value.as_array().is_some_and(|labels| {
            labels.iter().all(|label| {
                label
                    .as_str()
                    .is_some_and(|text| length(text) <= 255 && !text.contains(char::is_whitespace))
            })
        }),
        Kind::Document => {
            let schema = document_schema();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<String> = validator
                .iter_errors(value)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            // The limit of an issue's text fields.
            let long = text_of(value).chars().count() > 32_767;
            return (!errors.is_empty() || long).then(|| errors.join("; "));
        }
    };
    (!fits).then(|| value.to_string())
}

/// The text of a document's nodes.
fn text_of(node: &Value) -> String {
    let own = node["text"].as_str().unwrap_or_default().to_owned();
    let children = node["content"].as_array().into_iter().flatten();
    own + &children.map(text_of).collect::<String>()
}

/// Every place of a payload that holds a field: objects are entered unless the reference has them whole.
fn places(value: &Value, at: &str, fields: &[Field], into: &mut Vec<String>) {
    match value {
        Value::Object(object) if !fields.iter().any(|field| field.at == at) => {
            for (name, value) in object {
                places(value, &format!("{at}/{name}"), fields, into);
            }
        }
        _ => into.push(at.to_owned()),
    }
}

fn check(payload: &Value, fields: &[Field]) {
    let mut all = Vec::new();
    places(payload, "", fields, &mut all);
    for at in &all {
        let field = fields.iter().find(|field| field.at == at);
        let field = field.unwrap_or_else(|| panic!("no published field {at}: {payload}"));
        let wrong = fault(payload.pointer(at).unwrap(), &field.kind);
        assert!(wrong.is_none(), "{at}: {}", wrong.unwrap());
    }
    for field in fields.iter().filter(|field| field.required) {
        assert!(
            payload.pointer(field.at).is_some(),
            "{} is required",
            field.at
        );
    }
}

#[test]
fn payloads_hold_what_the_references_publish_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("share");
    let long = "L".repeat(250);
    let hostile = "E&<b>\"|*{color:red}\u{1b}[31m\u{202e}";
    put(&root.join("WEB01/a.dmp"), &matching());
    put(&root.join(&long).join("b.dmp"), &numbered(1));
    put(&root.join("E/c.dmp"), &numbered(2));
    // No folder of Windows can have such a name.
    let map = dir.path().join("map");
    std::fs::write(&map, format!("E\t{hostile}\n")).unwrap();
    // One machine with many dumps at long paths.
    for number in 0..40 {
        let path = format!("DEEP/{0}/{0}/{0}/{0}/{number}.dmp", "d".repeat(240));
        put(&root.join(path), &numbered(100 + number));
    }
    let db = dir.path().join("dumps.db");
    let scan = crate::support::share::program()
        .arg("scan")
        .arg(&root)
        .arg("--machine-map")
        .arg(&map)
        .arg("--db")
        .arg(&db)
        .output()
        .unwrap();
    assert_eq!(scan.status.code(), Some(0), "{scan:?}");
    for (to, fields) in [("jira", JIRA), ("servicenow", SERVICENOW), ("glpi", GLPI)] {
        for (per, least) in [("machine", 4), ("bucket", 1)] {
            let output = crate::support::share::program()
                .args(["fleet", "tickets", "--to", to, "--per", per, "--db"])
                .arg(&db)
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let payloads = records(&output.stdout);
            assert!(payloads.len() >= least, "{to} {per}: {}", payloads.len());
            for payload in &payloads {
                check(payload, fields);
            }
        }
    }
}

#[test]
fn the_check_itself_refuses_what_no_reference_has() {
    let sound = json!({ "type": "doc", "version": 1, "content": [
        { "type": "codeBlock", "content": [{ "type": "text", "text": "x" }] }
    ] });
    assert_eq!(fault(&sound, &Kind::Document), None);
    for broken in [
        json!({ "type": "doc", "version": 2, "content": [] }),
        json!({ "type": "doc", "version": 1, "content": [{ "type": "bulletList", "content": [] }] }),
        json!({ "type": "doc", "version": 1, "content": [
            { "type": "paragraph", "content": [{ "type": "text", "text": "" }] }
        ] }),
        json!("plain text"),
    ] {
        assert!(fault(&broken, &Kind::Document).is_some(), "{broken}");
    }
    assert!(fault(&json!("two\nlines"), &Kind::Line(255)).is_some());
    assert!(fault(&json!(["a b"]), &Kind::Labels).is_some());
    assert!(fault(&json!(6), &Kind::Number(1, 5)).is_some());
}

/// A store of two machines that may have the defect.
fn small_store(folder: &std::path::Path) -> std::path::PathBuf {
    let share = folder.join("share");
    for machine in ["WEB01", "WEB02"] {
        std::fs::create_dir_all(share.join(machine)).unwrap();
        let dump = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/dumps/server2008-x64-d1.dmp"
        );
        std::fs::copy(dump, share.join(machine).join("a.dmp")).unwrap();
    }
    let db = folder.join("dumps.db");
    let output = crate::support::run::command()
        .args(["scan", "--quiet", "--db"])
        .arg(&db)
        .arg(&share)
        .output()
        .unwrap();
    assert!(output.status.success());
    db
}

#[test]
fn a_store_without_machines_says_why_there_are_no_tickets() {
    let folder = tempfile::tempdir().unwrap();
    let share = folder.path().join("share");
    put(&share.join("a.dmp"), &matching());
    let db = folder.path().join("dumps.db");
    let run = |arguments: &[&str]| {
        let output = crate::support::run::command()
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success());
        (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (share, db) = (share.to_str().unwrap(), db.to_str().unwrap());
    run(&["scan", "--quiet", "--db", db, share]);
    let (out, said) = run(&["fleet", "tickets", "--to", "jira", "--db", db]);
    assert_eq!(out, "");
    assert!(said.contains("1 dump tells no machine"), "{said}");
    assert!(said.contains("--machine"), "the remedy: {said}");
    let (out, _) = run(&[
        "fleet", "tickets", "--to", "jira", "--per", "bucket", "--db", db,
    ]);
    assert_eq!(out.lines().count(), 1, "buckets need no machine");
}

fn lines_of(db: &std::path::Path, arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = crate::support::run::command()
        .args(["fleet", "tickets", "--db"])
        .arg(db)
        .args(arguments)
        .output()
        .unwrap();
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

#[test]
fn what_was_written_is_remembered_and_a_ticket_that_exists_is_updated() {
    let folder = tempfile::tempdir().unwrap();
    let db = small_store(folder.path());
    let jira = ["--to", "jira", "--since-last"];
    assert_eq!(lines_of(&db, &jira).len(), 2);
    assert_eq!(lines_of(&db, &jira).len(), 0, "nothing changed");
    let map = folder.path().join("map.tsv");
    std::fs::write(&map, "web01\tOPS-7\n").unwrap();
    let lines = lines_of(&db, &["--to", "jira", "--map", map.to_str().unwrap()]);
    let update = lines.iter().find(|line| line["ticket"] == "OPS-7").unwrap();
    // Jira's "Edit issue" takes a comment to add under update.
    assert_eq!(
        update["update"]["update"]["comment"][0]["add"]["body"]["type"],
        "doc"
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["fields"].is_object())
            .count(),
        1
    );
    // The store remembers without being told again.
    let lines = lines_of(&db, &["--to", "servicenow"]);
    assert!(
        lines
            .iter()
            .any(|line| line["ticket"] == "OPS-7" && line["update"]["work_notes"].is_string())
    );
}

#[test]
fn type_priority_and_group_are_the_sites_own() {
    let folder = tempfile::tempdir().unwrap();
    let db = small_store(folder.path());
    let jira = lines_of(
        &db,
        &["--to", "jira", "--type", "Incident", "--priority", "High"],
    );
    assert_eq!(jira[0]["fields"]["issuetype"]["name"], "Incident");
    assert_eq!(jira[0]["fields"]["priority"]["name"], "High");
    let now = lines_of(
        &db,
        &[
            "--to",
            "servicenow",
            "--priority",
            "1",
            "--group",
            "Network",
        ],
    );
    assert_eq!(
        (&now[0]["impact"], &now[0]["urgency"]),
        (&"1".into(), &"1".into())
    );
    assert_eq!(now[0]["assignment_group"], "Network");
    let glpi = lines_of(&db, &["--to", "glpi", "--priority", "5", "--group", "12"]);
    assert_eq!(glpi[0]["input"]["urgency"], 5);
    assert_eq!(glpi[0]["input"]["_groups_id_assign"], 12);
}

#[test]
fn an_open_ticket_has_the_free_check_and_a_text_for_the_customer() {
    let folder = tempfile::tempdir().unwrap();
    let db = small_store(folder.path());
    let now = lines_of(&db, &["--to", "servicenow"]);
    let text = now[0]["description"].as_str().unwrap();
    for part in [
        "see whether multicast forwarding is on",
        "Text for whoever runs the machine",
        "- netsh interface ipv4 show global",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Slack's chat messages and incoming webhooks; Adaptive Cards of Teams' workflows.
    let slack = lines_of(&db, &["--to", "slack"]);
    assert_eq!(slack[0]["blocks"][0]["type"], "header");
    let teams = lines_of(&db, &["--to", "teams"]);
    let card = &teams[0]["attachments"][0]["content"];
    assert_eq!(card["type"], "AdaptiveCard");
    assert!(
        card["body"][0]["inlines"][0]["text"]
            .as_str()
            .unwrap()
            .contains("WEB01")
    );
}

#[test]
fn metrics_are_prometheus_text_with_every_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let db = small_store(folder.path());
    let output = crate::support::run::command()
        .args(["fleet", "metrics", "--db"])
        .arg(&db)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("\nkbtriage_machines{verdict=\"may-apply\"} 2\n"),
        "{text}"
    );
    assert!(
        text.contains("\nkbtriage_machines{verdict=\"applies\"} 0\n"),
        "{text}"
    );
    // Text-based format 0.0.4: a metric, labels, a number.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        assert!(
            series.starts_with("kbtriage_") && value.parse::<f64>().is_ok(),
            "{line}"
        );
    }
}
