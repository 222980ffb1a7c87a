//! Good manners of the command line: each of these was seen to fail, or to fail without a word.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use crate::support::run::{command, kbtriage};

const DUMP: &str = "fixtures/dumps/server2008-x64-d1.dmp";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn run(arguments: &[&str]) -> Output {
    command()
        .current_dir(root())
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Reads one line of the output and closes the pipe.
fn head(arguments: &[&str]) -> (Option<i32>, String) {
    let mut child = command()
        .current_dir(root())
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    (child.wait().unwrap().code(), said)
}

#[test]
fn a_pipe_that_nobody_reads_ends_the_program_quietly() {
    for arguments in [
        vec!["completions", "bash"],
        vec!["scan", "--quiet", "--detail", "full", "fixtures/dumps"],
        vec!["scan", "--quiet", "--format", "csv", "fixtures"],
        vec!["triage", "--format", "json", DUMP, DUMP],
        vec!["man", "scan"],
    ] {
        assert_eq!(head(&arguments), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn a_misspelt_command_is_named_before_anything_is_done() {
    let output = run(&["triaeg", DUMP]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("did you mean kbtriage triage?"),
        "{}",
        stderr(&output)
    );
    assert!(output.stdout.is_empty());
    // A file of such a name is a file.
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(root().join(DUMP), folder.path().join("triaeg")).unwrap();
    let output = command()
        .current_dir(folder.path())
        .arg("triaeg")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_directory_that_is_not_there_is_no_complete_scan() {
    let output = run(&["scan", "--format", "jsonl", "nodir"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("\"complete\":false"),
        "{}",
        stdout(&output)
    );
    assert!(stderr(&output).contains("nodir: "));
    assert!(stderr(&output).contains("nothing was scanned"));
    assert!(
        !stderr(&output).contains("run again"),
        "nothing was begun: {}",
        stderr(&output)
    );
}

#[cfg(feature = "store")]
#[test]
fn a_store_is_named_as_other_commands_name_it_and_no_tip_misleads() {
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("dumps.db");
    let db = db.to_str().unwrap();
    run(&["scan", "--quiet", "--db", db, DUMP]);
    let info = |arguments: &[&str]| stdout(&run(arguments));
    let plain = info(&["store", "info", db]);
    assert!(plain.starts_with("1 file, 1 record, 1 run\n"), "{plain}");
    assert_eq!(info(&["store", "info", "--db", db]), plain);
    // An option that is not known was not meant as the name of a file.
    let said = stderr(&run(&["store", "info", "--bd", db]));
    assert!(!said.contains("as a value"), "{said}");
}

#[test]
fn a_symbol_path_that_is_not_there_is_said_once() {
    let output = run(&["--symbols", "no-such-folder", DUMP, DUMP]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        stderr(&output),
        "kbtriage: symbol path: no-such-folder: there is no such folder\n"
    );
}

#[cfg(feature = "online")]
#[test]
fn a_server_that_gives_no_answer_is_said_once_and_noted_in_the_report() {
    // Nothing listens on the port of a socket that was closed.
    let port = {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let cache = tempfile::tempdir().unwrap();
    let server = format!("srv*http://127.0.0.1:{port}");
    let output = command()
        .current_dir(root())
        .env("KBTRIAGE_CACHE_DIR", cache.path())
        .args([
            "triage",
            "--format",
            "jsonl",
            "--symbols",
            &server,
            DUMP,
            DUMP,
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = stderr(&output);
    assert_eq!(said.matches("gave no answer").count(), 1, "{said}");
    for line in stdout(&output).lines() {
        let report: serde_json::Value = serde_json::from_str(line).unwrap();
        let notes = report["notes"].as_array().unwrap();
        let noted = notes
            .iter()
            .any(|note| note["code"] == "symbols.server-silent");
        assert!(noted, "{notes:?}");
    }
}

#[test]
fn an_archive_given_to_triage_names_the_command_that_looks_into_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dumps.zip");
    std::fs::write(&path, b"PK\x03\x04\x14\x00").unwrap();
    let output = kbtriage(&[path.as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("kbtriage scan"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn pages_of_commands_within_commands_are_there_with_their_title_and_environment() {
    for (names, title) in [
        (vec![], "KBTRIAGE"),
        (vec!["scan"], "KBTRIAGE-SCAN"),
        (vec!["symbols", "fetch"], "KBTRIAGE-SYMBOLS-FETCH"),
    ] {
        let mut arguments = vec!["man"];
        arguments.extend(names);
        let output = run(&arguments);
        assert!(output.status.success());
        let page = stdout(&output);
        assert!(page.contains(&format!(".TH {title} 1")), "{page}");
        assert!(
            page.contains(".SH ENVIRONMENT") && page.contains("NO_COLOR"),
            "{title}"
        );
    }
    let page = stdout(&run(&["man", "scan"]));
    assert!(
        page.contains("applies\\-after\\-service\\-pack"),
        "values of --only"
    );
    let output = run(&["man", "scna"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("it has triage, "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn completions_know_the_options_of_a_file_alone_and_the_pages() {
    let script = stdout(&run(&["completions", "bash"]));
    let top = script
        .split("kbtriage)")
        .nth(1)
        .unwrap()
        .split(";;")
        .next()
        .unwrap();
    assert!(
        top.contains("--exit-verdict") && top.contains("--format"),
        "{top}"
    );
    let man = script
        .split("kbtriage__subcmd__man)")
        .nth(1)
        .unwrap()
        .split(";;")
        .next()
        .unwrap();
    assert!(man.contains("symbols") && man.contains("fleet"), "{man}");
}

#[test]
fn a_table_of_dumps_has_parameters_place_process_and_version() {
    let output = run(&["triage", "--format", "csv", DUMP]);
    assert!(output.status.success());
    let text = stdout(&output);
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row: Vec<&str> = lines.next().unwrap().split(',').collect();
    let cell = |name: &str| row[header.iter().position(|column| *column == name).unwrap()];
    // What the dump was written with: tests/support/catalogue.rs.
    assert_eq!(cell("p1"), "0x0000000000000008");
    assert_eq!(cell("p2"), "0x0000000000000002");
    assert_eq!(cell("fault"), "tcpip.sys+0x2b1c4");
    assert_eq!(cell("build"), "6001");
    let markdown = stdout(&run(&["triage", "--format", "markdown", DUMP]));
    assert_eq!(markdown.lines().count(), 3);
}

#[test]
fn the_table_of_drivers_has_link_dates() {
    let text = stdout(&run(&["triage", "--drivers", DUMP]));
    let line = text
        .lines()
        .find(|line| line.starts_with("  tcpip.sys "))
        .unwrap();
    // The stamp 0x47919384 of the fixture is 2008-01-19 06:05:56 UTC.
    assert!(line.contains(" 2008-01-19 "), "{line}");
    assert!(text.contains("in the order they were loaded"));
}

#[test]
fn a_scan_to_a_file_ends_with_a_summary_and_filters_what_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let output = command()
        .current_dir(root())
        .args(["scan", "fixtures/dumps", "--only", "may-apply", "--output"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(
        said.contains(" dumps") && said.contains(" may apply"),
        "{said}"
    );
    assert!(said.contains("kbtriage scan --online"), "{said}");
    let text = std::fs::read_to_string(&path).unwrap();
    let reports = text
        .lines()
        .filter(|line| line.starts_with("{\"type\":\"report\""));
    let mut count = 0;
    for line in reports {
        count += 1;
        assert!(line.contains("\"verdict\":\"may-apply\""));
    }
    assert!(
        count > 3 && text.contains("\"does-not-apply\":"),
        "all are counted"
    );
}

#[test]
fn a_scan_for_a_person_is_an_aligned_table_of_a_screen() {
    let text = stdout(&run(&["scan", "--format", "text", "fixtures/dumps"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= 24, "{text}");
    assert!(
        lines.iter().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    assert!(lines[0].starts_with("verdict "), "{text}");
    assert!(
        lines[1].starts_with("may apply"),
        "what needs attention first: {text}"
    );
    let more = lines
        .iter()
        .find(|line| line.starts_with("… and "))
        .unwrap();
    assert!(more.ends_with(" more: --all"), "{more}");
    let all = stdout(&run(&[
        "scan",
        "--format",
        "text",
        "--all",
        "fixtures/dumps",
    ]));
    assert!(all.lines().count() > 36 && !all.contains("… and"), "{all}");
}

#[cfg(feature = "store")]
#[test]
fn a_store_says_what_it_has_where_nothing_is_as_asked() {
    let output = run(&["fleet", "machines", "--db", "nope.db"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("nope.db: no such file"),
        "{}",
        stderr(&output)
    );
    assert!(!root().join("nope.db").exists());
    let folder = tempfile::tempdir().unwrap();
    let db = folder.path().join("dumps.db");
    let db = db.to_str().unwrap();
    let scanned = run(&[
        "scan",
        "--quiet",
        "--machine",
        "HOST",
        "--db",
        db,
        "fixtures/dumps",
    ]);
    assert!(scanned.status.success());
    let text = stdout(&run(&["fleet", "machines", "--db", db]));
    assert!(text.starts_with("1 machine, "), "{text}");
    assert!(text.lines().any(|line| line.starts_with("HOST ")), "{text}");
    let text = stdout(&run(&[
        "fleet", "machines", "--db", db, "--only", "applies",
    ]));
    assert!(
        text.starts_with("no machine with applies; there are: 1 "),
        "{text}"
    );
    let output = run(&["fleet", "tickets", "--db", db, "--to", "jria"]);
    assert!(
        stderr(&output).contains("neither jira, servicenow, glpi"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_help_of_a_command_begins_with_its_own_words() {
    let all = stdout(&run(&["--help"]));
    let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut known = Vec::new();
    for command in [
        "triage", "explain", "stack", "scan", "kb", "symbols", "schema",
    ] {
        let page = stdout(&run(&[command, "--help"]));
        let words: Vec<&str> = page
            .split("\n\n")
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let words = words.join(" ");
        assert!(
            all.contains(&format!("{command} {words}")),
            "{command}: {words}"
        );
        let manual = stdout(&run(&["man", command]));
        assert!(
            manual.contains(&format!("{command} \\- {words}").replace('\'', "\\*(Aq")),
            "{command}: {words}"
        );
        assert!(!known.contains(&words), "{command}: {words}");
        known.push(words);
    }
}
