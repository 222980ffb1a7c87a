//! Stores, outputs, side files and templates of somebody who means harm, and two runs at once: each is refused, and
//! nothing is lost, hung or overwritten.

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::share::{matching, numbered, program, put, run};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A share of a few dumps and a store of it.
fn share_and_store(root: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let (share, db) = (root.join("share"), root.join("dumps.db"));
    for n in 0..3 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    let output = run(&["scan", text(&share), "--db", text(&db), "--quiet"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    (share, db)
}

#[test]
fn a_store_that_holds_more_than_a_scan_puts_there_is_refused_at_once() {
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x FROM n";
    for change in [
        format!("ALTER TABLE record RENAME TO other; CREATE VIEW record AS {endless}"),
        "CREATE TRIGGER t AFTER INSERT ON record BEGIN DELETE FROM file; END".to_owned(),
        "CREATE VIEW v AS SELECT 1".to_owned(),
        "CREATE TABLE more (x)".to_owned(),
        "CREATE INDEX i ON record (machine)".to_owned(),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (share, db) = share_and_store(dir.path());
        let connection = rusqlite::Connection::open(&db).unwrap();
        connection.execute_batch(&change).unwrap();
        drop(connection);
        let began = Instant::now();
        let merged = dir.path().join("merged.db");
        for arguments in [
            &["fleet", "machines", "--db", text(&db)][..],
            &["store", "info", text(&db)],
            &["scan", text(&share), "--db", text(&db)],
            &["store", "merge", "--db", text(&merged), text(&db)],
        ] {
            let output = run(arguments);
            assert_eq!(output.status.code(), Some(2), "{change}: {arguments:?}");
            assert!(said(&output).contains("is not used"), "{}", said(&output));
        }
        assert!(!merged.exists());
        assert!(began.elapsed() < Duration::from_secs(60));
    }
}

#[test]
fn a_name_like_an_address_of_sqlite_is_the_name_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    put(&share.join("a.dmp"), &matching());
    let inside = format!("file:{}/in.db?mode=rwc", text(&share));
    let output = program()
        .current_dir(dir.path())
        .args(["scan", text(&share), "--db", &inside, "--quiet"])
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(&share).unwrap().count(), 1, "{output:?}");
}

crate::support::only_on!(
    unix,
    an_output_is_never_written_through_a_link_or_into_what_is_read,
    "a link needs a privilege"
);
#[cfg(unix)]
#[test]
fn an_output_is_never_written_through_a_link_or_into_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    let dump = share.join("a.dmp");
    put(&dump, &matching());
    let link = dir.path().join("out.jsonl");
    // To what exists in the share, and to what would be made there.
    for target in ["share/a.dmp", "share/new.jsonl"] {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let output = run(&["scan", text(&share), "--output", text(&link)]);
        assert_eq!(output.status.code(), Some(2), "{target}: {output:?}");
    }
    assert_eq!(fs::read(&dump).unwrap(), matching());
    assert_eq!(fs::read_dir(&share).unwrap().count(), 1);
    // A file of a list.
    let list = dir.path().join("list");
    fs::write(&list, format!("{}\n", text(&dump))).unwrap();
    for option in ["--output", "--db"] {
        let output = run(&["scan", "--files-from", text(&list), option, text(&dump)]);
        assert_eq!(output.status.code(), Some(2), "{option}: {output:?}");
    }
    assert_eq!(fs::read(&dump).unwrap(), matching());
    // The old name of the unfinished file led somewhere.
    let (out, victim) = (dir.path().join("o.jsonl"), dir.path().join("victim"));
    fs::write(&victim, "mine").unwrap();
    std::os::unix::fs::symlink("victim", dir.path().join("o.jsonl.partial")).unwrap();
    let output = run(&["scan", text(&share), "--output", text(&out)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fs::read_to_string(&victim).unwrap(), "mine");
}

crate::support::only_on!(
    unix,
    an_output_that_is_no_file_is_written_to_and_left_in_place,
    "no pipes in the file system"
);
#[cfg(unix)]
#[test]
fn an_output_that_is_no_file_is_written_to_and_left_in_place() {
    use std::os::unix::fs::FileTypeExt;
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    put(&share.join("a.dmp"), &matching());
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read_to_string(pipe).unwrap())
    };
    let output = run(&["scan", text(&share), "--output", text(&pipe)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let written = reader.join().unwrap();
    assert!(
        written.contains("a.dmp") && written.ends_with('\n'),
        "{written}"
    );
    // The name of an open file: what was there stays the same file.
    let plain = dir.path().join("plain.jsonl");
    let out = program()
        .args(["scan", text(&share), "--output", "/dev/stdout"])
        .stdout(fs::File::create(&plain).unwrap())
        .status()
        .unwrap();
    assert!(out.success());
    assert!(fs::read_to_string(&plain).unwrap().contains("a.dmp"));
    assert_eq!(fs::read_dir(&share).unwrap().count(), 1);
}

fn paused(share: &Path, out: &Path) -> Child {
    // A dump that is still being written keeps the scan waiting.
    let mut cut = matching();
    cut.truncate(8192);
    fs::write(share.join("growing.dmp"), cut).unwrap();
    program()
        .args(["scan", text(share), "--output", text(out), "--settle", "60"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn of_two_runs_with_one_output_the_second_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (share, out) = (dir.path().join("share"), dir.path().join("out.jsonl"));
    put(&share.join("a.dmp"), &matching());
    let first = paused(&share, &out);
    let lock = dir.path().join(".out.jsonl.lock");
    let began = Instant::now();
    while !lock.exists() && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let second = run(&[
        "scan",
        text(&share),
        "--output",
        text(&out),
        "--settle",
        "0",
    ]);
    assert_eq!(second.status.code(), Some(2), "{second:?}");
    assert!(said(&second).contains("another run"), "{}", said(&second));
    let first = first.wait_with_output().unwrap();
    assert!(out.exists(), "{first:?}");
    assert!(!lock.exists());
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_merge_makes_a_new_store_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    for n in 0..6 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    let list = dir.path().join("list");
    run(&["scan", text(&share), "--list", "--output", text(&list)]);
    let parts: Vec<String> = (1..=2)
        .map(|k| {
            let part = dir.path().join(format!("part-{k}.db"));
            let shard = format!("{k}/2");
            let arguments = [
                "scan",
                "--files-from",
                text(&list),
                "--shard",
                &shard,
                "--db",
                text(&part),
                "--quiet",
            ];
            assert_eq!(run(&arguments).status.code(), Some(0));
            text(&part).to_owned()
        })
        .collect();
    let merge = |into: &str| {
        let mut arguments = vec!["store", "merge", "--db", into];
        arguments.extend(parts.iter().map(String::as_str));
        run(&arguments)
    };
    let merged = dir.path().join("merged.db");
    assert_eq!(merge(text(&merged)).status.code(), Some(0));
    let before = fs::read(&merged).unwrap();
    for into in [text(&merged), parts[0].as_str()] {
        let again = merge(into);
        assert_eq!(again.status.code(), Some(2), "{again:?}");
        assert!(said(&again).contains("exists already"), "{}", said(&again));
    }
    assert_eq!(fs::read(&merged).unwrap(), before);
    // A part that is damaged: nothing is left behind.
    let size = fs::metadata(&parts[1]).unwrap().len();
    let mut damaged = fs::read(&parts[1]).unwrap();
    damaged[(size / 2) as usize..].fill(0x5A);
    fs::write(&parts[1], damaged).unwrap();
    let other = dir.path().join("other.db");
    assert_eq!(merge(text(&other)).status.code(), Some(2));
    assert!(!other.exists());
    let names = fs::read_dir(dir.path()).unwrap().flatten();
    assert!(
        !names
            .into_iter()
            .any(|e| e.file_name().to_string_lossy().contains("merge-"))
    );
}

crate::support::only_on!(
    unix,
    no_side_file_is_waited_for,
    "no pipes in the file system"
);
#[cfg(unix)]
#[cfg(target_os = "linux")]
#[test]
fn a_large_inventory_takes_little_memory() {
    use std::fmt::Write as _;
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("a.dmp");
    put(&dump, &matching());
    let mut rows = String::from("machine,file,version,as_of\n");
    for n in 0.. {
        if rows.len() > 12_000_000 {
            break;
        }
        let (host, file) = (n / 2, ["netio", "tcpip"][n % 2]);
        let day = 1 + n % 28;
        writeln!(
            rows,
            "HOST-{host:06},{file}.sys,6.0.6001.{},2009-08-{day:02}",
            18000 + n % 500
        )
        .unwrap();
    }
    let inventory = dir.path().join("versions.csv");
    fs::write(&inventory, rows).unwrap();
    // The most memory a process had: the system keeps it until its parent asks.
    let script = format!(
        "ulimit -v 112640; exec '{}' triage --machine HOST-000001 --inventory '{}' '{}'",
        env!("CARGO_BIN_EXE_kbtriage"),
        text(&inventory),
        text(&dump)
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn no_side_file_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let (_, db) = share_and_store(dir.path());
    let (share, pipe) = (dir.path().join("share"), text(&pipe));
    for arguments in [
        &["scan", text(&share), "--machine-map", pipe][..],
        &["scan", text(&share), "--inventory", pipe],
        &["scan", text(&share), "--registry", pipe],
        &["scan", "--files-from", pipe],
        &["triage", "--files-from", pipe],
        &["fleet", "tickets", "--db", text(&db), "--to", pipe],
    ] {
        let began = Instant::now();
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {output:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "{arguments:?}");
    }
}

#[cfg(feature = "tickets")]
#[test]
fn no_template_overflows_the_stack() {
    let dir = tempfile::tempdir().unwrap();
    let (_, db) = share_and_store(dir.path());
    let file = dir.path().join("t.txt");
    let chains = [
        format!("{{{{ a{} }}}}", ".b".repeat(30_000)),
        format!("{{{{ a{} }}}}", "|e".repeat(30_000)),
        format!("{{{{ a{} }}}}", "[0]".repeat(20_000)),
        format!("{{{{ a{} }}}}", "()".repeat(30_000)),
        // Braces in a text hide the rest from a count between braces.
        format!("{{{{ \"}}}}\"{} }}}}", ".b".repeat(30_000)),
        format!("{{{{ {} }}}}", "(".repeat(60_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(60_000)),
        format!("{{{{ {}a }}}}", "not ".repeat(15_000)),
        "{% if a %}".repeat(6_000),
    ];
    for template in chains {
        fs::write(&file, &template).unwrap();
        let output = run(&["fleet", "tickets", "--db", text(&db), "--to", text(&file)]);
        let start = &template[..24.min(template.len())];
        // Refused, or read and found to need nothing: never a crash.
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 2)), "{start}: {output:?}");
    }
}

#[test]
fn what_steers_a_terminal_is_shown_wherever_it_comes_from() {
    let dir = tempfile::tempdir().unwrap();
    // The first 32 characters cannot be in a name of Windows.
    let evil = if cfg!(windows) {
        "\u{9b}52;c;aGk=\u{202e}\u{200b}\u{e000}\u{9b}2J"
    } else {
        "\u{1b}]52;c;aGk=\u{7}\u{202e}\u{200b}\u{e000}\u{9b}2J"
    };
    let share = dir.path().join("share");
    put(&share.join(format!("{evil}.dmp")), &matching());
    put(&share.join(format!("{evil}.zip")), b"PK\x03\x04 no archive");
    let missing = format!("/no/{evil}");
    for arguments in [
        &["scan", text(&share), "--format", "text"][..],
        &["scan", text(&share), "--format", "csv"],
        &["scan", text(&share), "--format", "markdown"],
        &["scan", text(&share), "--all-files"],
        &["triage", &missing],
        &["stack", &missing],
        &["explain", &missing],
        &["scan", &missing],
        &["scan", text(&share), "--machine-map", &missing],
        &["scan", text(&share), "--machine-from", evil, evil],
        &["triage", "--no-such-option", evil],
        &["fleet", "machines", "--db", &missing],
        &["kb", "check", &missing],
        &["man", evil],
    ] {
        let output = run(arguments);
        for stream in [&output.stdout, &output.stderr] {
            let text = String::from_utf8_lossy(stream);
            let raw = text
                .chars()
                .find(|c| evil.contains(*c) && !c.is_ascii_graphic());
            assert_eq!(raw, None, "{arguments:?}: {text:?}");
        }
    }
}
