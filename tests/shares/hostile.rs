//! Stores, outputs, side files and templates of somebody who means harm, and two runs at once: each is refused, and
//! nothing is lost, hung or overwritten.

use std::fs;
use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::share::{cabinet, matching, numbered, program, put, run, tarball, zip};
use crate::support::symbols::{Pdb, Pe};

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

/// Parts that a merge must not put together, or not there.
#[test]
fn a_merge_says_which_part_is_at_fault_and_writes_to_no_share() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    for n in 0..4 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (list, symbols) = (at("list"), at("symbols"));
    fs::create_dir(&symbols).unwrap();
    run(&["scan", text(&share), "--list", "--output", &list]);
    let part = |shard: &str, name: &str, more: &[&str]| {
        let db = at(&format!("{name}.db"));
        let lines = at(&format!("{name}.jsonl"));
        let scan = ["scan", "--files-from", &list, "--shard", shard, "--quiet"];
        let to = ["--db", &db, "--output", &lines];
        let scanned = run(&[&scan[..], &to, more].concat());
        assert_eq!(scanned.status.code(), Some(0), "{scanned:?}");
    };
    part("1/2", "first", &[]);
    part("2/2", "second", &[]);
    part("2/2", "other", &["--symbols", &symbols]);
    let inside = share.join("merged").to_string_lossy().into_owned();
    let merged = at("merged");
    for (to, second, says) in [
        (&merged, "other", "with other options"),
        (&inside, "second", "where nothing is written"),
    ] {
        for (option, kind) in [("--db", "db"), ("--output", "jsonl")] {
            let (one, two) = (
                at(&format!("first.{kind}")),
                at(&format!("{second}.{kind}")),
            );
            let refused = run(&["store", "merge", option, to, &one, &two]);
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            assert!(said(&refused).contains(says), "{}", said(&refused));
            assert!(!Path::new(to).exists());
        }
    }
    let refused = run(&["store", "merge", "--db", &merged, &at("first.db"), &symbols]);
    assert!(said(&refused).contains("no file"), "{}", said(&refused));
}

/// A full disk is where the whole is written, whichever part was at hand.
#[cfg(target_os = "linux")]
#[test]
fn a_merge_onto_a_full_disk_names_the_place_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let full = dir.path().join("full");
    fs::create_dir(&full).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=300k", "none"])
        .arg(&full)
        .stderr(std::process::Stdio::null())
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        crate::support::shared::skipped("a full disk needs the right to mount one");
        return;
    }
    let share = dir.path().join("share");
    for n in 0..40 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    let part = dir.path().join("part.db");
    let list = dir.path().join("list");
    run(&["scan", text(&share), "--list", "--output", text(&list)]);
    let scan = ["scan", "--files-from", text(&list), "--shard", "1/1"];
    run(&[&scan[..], &["--quiet", "--db", text(&part)]].concat());
    let merged = full.join("all.db");
    let refused = run(&["store", "merge", "--db", text(&merged), text(&part)]);
    let left = fs::read_dir(&full).unwrap().count();
    let unmounted = std::process::Command::new("umount").arg(&full).status();
    assert!(unmounted.unwrap().success());
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    let said = said(&refused);
    assert!(said.contains("all.db") && said.contains("full"), "{said}");
    assert!(!said.contains("part.db"), "{said}");
    assert_eq!(left, 0);
}

/// An interrupted merge ends behind the part at hand and leaves nothing.
#[cfg(unix)]
#[test]
fn an_interrupted_merge_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    for n in 0..64 {
        put(&share.join(format!("{n}.dmp")), &numbered(n));
    }
    let list = dir.path().join("list");
    run(&["scan", text(&share), "--list", "--output", text(&list)]);
    let parts: Vec<String> = (1..=32)
        .map(|k| {
            let part = dir.path().join(format!("part-{k}.db"));
            let shard = format!("{k}/32");
            let scan = ["scan", "--files-from", text(&list), "--shard", &shard];
            run(&[&scan[..], &["--quiet", "--db", text(&part)]].concat());
            text(&part).to_owned()
        })
        .collect();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    let merged = out.join("all.db");
    // A merge may be done before the signal comes.
    for _ in 0..50 {
        let mut merge = crate::support::share::program();
        merge.args(["store", "merge", "--db", text(&merged)]);
        let mut merge = merge.args(&parts).spawn().unwrap();
        // It has begun once its folder is there.
        while fs::read_dir(&out).unwrap().count() == 0 {
            std::thread::yield_now();
        }
        let kill = ["-INT", &merge.id().to_string()];
        let sent = std::process::Command::new("kill").args(kill).status();
        assert!(sent.unwrap().success());
        match merge.wait().unwrap().code() {
            Some(130) => {
                assert_eq!(fs::read_dir(&out).unwrap().count(), 0);
                return;
            }
            done => assert_eq!(done, Some(0)),
        }
        fs::remove_file(&merged).unwrap();
    }
    panic!("no signal came in time");
}

/// Sixteen megabytes of what may be a table of netsh, in no code page that anybody knows: found by the fuzz target
/// `registry`, where five kilobytes took two seconds. No table of netsh is so long.
#[test]
fn a_text_in_no_language_costs_little() {
    let dir = tempfile::tempdir().unwrap();
    let (dump, text_file) = (dir.path().join("a.dmp"), dir.path().join("netsh.txt"));
    put(&dump, &matching());
    let mut row = vec![0u8; 4000];
    row.extend([0xFF; 200]);
    let mut content = b"Global\n-------\n".to_vec();
    while content.len() < 16 << 20 {
        content.extend(&row);
        content.extend(b" : \xFF\xFE\xFD");
        content.extend(
            if content.len().is_multiple_of(3) {
                "\n"
            } else {
                " "
            }
            .as_bytes(),
        );
    }
    put(&text_file, &content);
    let started = std::time::Instant::now();
    let answered = run(&["triage", text(&dump), "--registry", text(&text_file)]);
    assert!(
        answered.status.code().is_some_and(|code| code < 3),
        "{answered:?}"
    );
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}

/// Yesterday's part of a list that has grown since, and parts of the other kind.
#[test]
fn parts_of_two_lists_or_of_another_kind_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    for n in 0..4 {
        put(&share.join(format!("{n}.dmp")), &matching());
    }
    let list = dir.path().join("list");
    let at = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let part = |shard: &str| {
        let (db, lines) = (
            at(&format!("{}.db", &shard[..1])),
            at(&format!("{}.jsonl", &shard[..1])),
        );
        let parts = ["--db", &db, "--output", &lines, "--shard", shard, "--quiet"];
        let mut arguments = vec!["scan", "--files-from", text(&list)];
        arguments.extend(parts);
        assert_eq!(run(&arguments).status.code(), Some(0));
    };
    run(&["scan", text(&share), "--list", "--output", text(&list)]);
    part("1/2");
    part("2/2");
    let (both, merged) = (at("both.jsonl"), at("merged.db"));
    let merge = |arguments: &[&str]| run(&[&["store", "merge"], arguments].concat());
    let ok = merge(&["--output", &both, &at("1.jsonl"), &at("2.jsonl")]);
    assert_eq!(ok.status.code(), Some(0), "{ok:?}");
    for (arguments, says) in [
        (
            ["--output", &merged, &at("1.db"), &at("2.db")],
            "a store: --db",
        ),
        (
            ["--db", &merged, &at("1.jsonl"), &at("2.jsonl")],
            "the lines of a scan: --output",
        ),
    ] {
        let refused = merge(&arguments);
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused).contains(says), "{}", said(&refused));
    }
    put(&share.join("new.dmp"), &matching());
    run(&["scan", text(&share), "--list", "--output", text(&list)]);
    part("2/2");
    for arguments in [
        ["--output", &merged, &at("1.jsonl"), &at("2.jsonl")],
        ["--db", &merged, &at("1.db"), &at("2.db")],
    ] {
        let refused = merge(&arguments);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(!Path::new(&merged).exists());
    }
    // A list of names alone is told from another, too.
    let names = at("names");
    for (shard, content) in [("1/2", "0.dmp 1.dmp 2.dmp"), ("2/2", "0.dmp 1.dmp 3.dmp")] {
        let listed: Vec<String> = content
            .split(' ')
            .map(|name| share.join(name).to_string_lossy().into_owned())
            .collect();
        fs::write(&names, listed.join("\n")).unwrap();
        let lines = at(&format!("plain-{}.jsonl", &shard[..1]));
        let scan = ["scan", "--files-from", &names, "--shard", shard];
        run(&[&scan[..], &["--output", &lines, "--quiet"]].concat());
    }
    let refused = merge(&[
        "--output",
        &merged,
        &at("plain-1.jsonl"),
        &at("plain-2.jsonl"),
    ]);
    assert_eq!(refused.status.code(), Some(2), "{refused:?}");
    // At rest a store can be read where nothing may be written: no log belongs to it (SQLite's file format, 1.3.3).
    let store = fs::read(at("1.db")).unwrap();
    assert_eq!(store[18..20], [1, 1]);
    // Also after a scan that asked it.
    run(&["scan", text(&share), "--db", &at("again.db"), "--quiet"]);
    run(&["scan", text(&share), "--db", &at("again.db"), "--quiet"]);
    assert_eq!(fs::read(at("again.db")).unwrap()[18..20], [1, 1]);
}

/// What a part says of its roots is held against the place to write to, and may be anything.
#[test]
fn a_part_that_names_very_many_roots_is_merged_in_time() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("share/a.dmp"), &matching());
    let share = dir.path().join("share");
    let list = dir.path().join("list");
    run(&["scan", text(&share), "--list", "--output", text(&list)]);
    let shard = ["scan", "--quiet", "--files-from", text(&list)];
    let part = run(&[&shard[..], &["--shard", "1/1"]].concat()).stdout;
    let part = String::from_utf8(part).unwrap();
    let own = format!(
        "\"roots\":[{}",
        serde_json::to_string(text(&share)).unwrap()
    );
    let many: String = (0..100_000).map(|n| format!(",\"/no/such/{n}\"")).collect();
    assert!(part.contains(&own), "{part}");
    let file = dir.path().join("part");
    fs::write(&file, part.replace(&own, &format!("{own}{many}"))).unwrap();
    let since = std::time::Instant::now();
    let inside = share.join("new");
    for (to, status) in [(&inside, 2), (&dir.path().join("new"), 0)] {
        let merged = run(&["store", "merge", "--output", text(to), text(&file)]);
        assert_eq!(merged.status.code(), Some(status), "{}", said(&merged));
        assert_eq!(said(&merged).contains("lies inside"), status == 2);
    }
    assert!(since.elapsed() < std::time::Duration::from_secs(20));
    assert!(!inside.exists());
}

/// A part of a merge whose rows have numbers that no scan gives, or belong to files that it does not hold.
#[test]
fn a_part_with_numbers_that_no_scan_gives_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("share/a.dmp");
    put(&dump, &matching());
    for (index, change) in [
        "UPDATE file SET id = 9223372036854775807; UPDATE record SET file = 9223372036854775807;",
        "UPDATE file SET id = -5; UPDATE record SET file = -5;",
        "UPDATE record SET file = -1;",
        "UPDATE record SET file = 77;",
        "UPDATE facts SET record = 77;",
    ]
    .iter()
    .enumerate()
    {
        let db = dir.path().join(format!("{index}.db"));
        let list = dir.path().join("list");
        run(&["scan", text(&dump), "--list", "--output", text(&list)]);
        let scan = ["scan", "--files-from", text(&list), "--shard", "1/1"];
        run(&[&scan[..], &["--db", text(&db), "--quiet"]].concat());
        let store = rusqlite::Connection::open(&db).unwrap();
        store
            .execute_batch(&format!("PRAGMA foreign_keys = OFF; {change}"))
            .unwrap();
        drop(store);
        let merged = dir.path().join("merged.db");
        let refused = run(&["store", "merge", "--db", text(&merged), text(&db)]);
        assert_eq!(refused.status.code(), Some(2), "{change}: {refused:?}");
        assert!(
            said(&refused).contains("the store is damaged"),
            "{change}: {}",
            said(&refused)
        );
        assert!(!merged.exists());
    }
}

/// A store whose table of records is a few pages that name each other again and again: a table of ever more rows
/// (SQLite's file format: 1.3.7 size in pages; 1.6 interior pages of tables, type 05h: the right-most child at 8, cells from
/// 12 on, each of which begins with its left child).
fn endless_store(path: &Path, size: u64) {
    const PAGE: usize = 65_536;
    const LEVELS: u32 = 8;
    let dump = path.parent().unwrap().join("endless.dmp");
    put(&dump, &matching());
    run(&["scan", text(&dump), "--db", text(path), "--quiet"]);
    let root: i64 = {
        let store = rusqlite::Connection::open(path).unwrap();
        store
            .execute_batch(
                "INSERT INTO record (file, position, outline, summary)
                     WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 9000)
                     SELECT 1, x, x'', '{' FROM n;
                 PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE;",
            )
            .unwrap();
        let select = "SELECT rootpage FROM sqlite_schema WHERE name = 'record' AND type = 'table'";
        store.query_row(select, [], |row| row.get(0)).unwrap()
    };
    let mut bytes = fs::read(path).unwrap();
    assert_eq!(bytes[16..18], [0, 1], "pages of 64 KiB");
    let at = (usize::try_from(root).unwrap() - 1) * PAGE;
    let interior = bytes[at..at + PAGE].to_vec();
    assert_eq!(interior[0], 5, "an interior page of a table");
    let cells = usize::from(u16::from_be_bytes([interior[3], interior[4]]));
    let cell = |n: usize| {
        usize::from(u16::from_be_bytes([
            interior[12 + 2 * n],
            interior[13 + 2 * n],
        ]))
    };
    let first = u32::try_from(bytes.len() / PAGE).unwrap() + 1;
    for level in 0..LEVELS {
        let mut page = interior.clone();
        // The last level keeps the leaves.
        if level + 1 < LEVELS {
            let next = (first + level + 1).to_be_bytes();
            page[8..12].copy_from_slice(&next);
            for n in 0..cells {
                page[cell(n)..cell(n) + 4].copy_from_slice(&next);
            }
        }
        bytes.extend(page);
    }
    for place in (0..cells).map(cell).chain([8]) {
        bytes[at + place..at + place + 4].copy_from_slice(&first.to_be_bytes());
    }
    let pages = u32::try_from(size.max(bytes.len() as u64).div_ceil(PAGE as u64)).unwrap();
    bytes[28..32].copy_from_slice(&pages.to_be_bytes());
    fs::write(path, bytes).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_len(u64::from(pages) * PAGE as u64).unwrap();
}

#[test]
fn a_store_of_more_rows_than_its_bytes_hold_is_damaged_and_costs_no_more() {
    let dir = tempfile::tempdir().unwrap();
    // One that is looked through before it is read, one that is too large for that.
    let small = dir.path().join("small.db");
    endless_store(&small, 0);
    let large = dir.path().join("large.db");
    endless_store(&large, 65 << 20);
    for arguments in [
        &["fleet", "machines", "--db", text(&small)][..],
        &["fleet", "metrics", "--db", text(&large)],
    ] {
        let begun = Instant::now();
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let said = said(&output);
        assert!(
            said.contains("the store is damaged"),
            "{arguments:?}: {said}"
        );
        // As written, its rows take days. A busy machine takes a minute for those that are read.
        assert!(begun.elapsed() < Duration::from_secs(300), "{arguments:?}");
    }
}

crate::support::only_on!(
    unix,
    a_large_inventory_takes_little_memory,
    "a Unix shell bounds the memory"
);
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

crate::support::only_on!(
    unix,
    no_side_file_is_waited_for,
    "no pipes in the file system"
);
#[cfg(unix)]
#[test]
fn no_side_file_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    let (_, db) = share_and_store(dir.path());
    let (share, pipe) = (dir.path().join("share"), text(&pipe));
    let (lines, other) = (dir.path().join("o.jsonl"), dir.path().join("o.db"));
    let export = dir.path().join("export");
    for arguments in [
        &["fleet", "machines", "--db", pipe][..],
        &["fleet", "buckets", "--db", pipe],
        &["fleet", "metrics", "--db", pipe],
        &["store", "info", pipe],
        &[
            "store",
            "export",
            pipe,
            "--format",
            "jsonl",
            "--output",
            text(&export),
        ],
        &["store", "merge", "--output", text(&lines), pipe],
        &["store", "merge", "--db", text(&other), pipe],
        &["scan", text(&share), "--db", pipe],
        &["scan", text(&share), "--output", pipe],
    ] {
        let began = Instant::now();
        let output = run(arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(
            said(&output).contains("no file") || said(&output).contains("nobody reads"),
            "{arguments:?}: {output:?}"
        );
        assert!(began.elapsed() < Duration::from_secs(30), "{arguments:?}");
    }
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

/// What a terminal would act on, or a reader would not see.
const STEERING: &str = "\u{1b}]52;c;aGk=\u{7}\u{202e}\u{200b}\u{e000}\u{9b}2J";

/// No stream of the program holds a character of [`STEERING`] that is not printable.
fn nothing_steers(arguments: &[&str]) {
    let output = run(arguments);
    for stream in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(stream);
        let raw = text
            .chars()
            .find(|c| STEERING.contains(*c) && !c.is_ascii_graphic());
        assert_eq!(raw, None, "{arguments:?}: {text:?}");
    }
}

#[test]
fn names_in_archives_are_text() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    let dump = matching();
    let name = format!("{STEERING}.dmp");
    let inner = zip(&[(&name, &dump), ("damaged.zip", b"PK\x03\x04 no archive")]);
    let nested = format!("{STEERING}.zip");
    put(&share.join("a.zip"), &inner);
    put(
        &share.join("b.tar"),
        &tarball(&[(&nested, &inner), (&name, &dump)]),
    );
    put(&share.join("c.cab"), &cabinet(&[(&name, &dump)]));
    let cut = zip(&[(&name, &dump)]);
    put(&share.join("d.zip"), &cut[..cut.len() - 40]);
    let (db, html) = (dir.path().join("a.db"), dir.path().join("a.html"));
    let share = text(&share);
    for arguments in [
        &["scan", share, "--format", "text"][..],
        &["scan", share, "--format", "csv"],
        &["scan", share, "--format", "markdown"],
        &["scan", share, "--format", "jsonl", "--all-files"],
        &["scan", share, "--format", "html", "--output", text(&html)],
        &["scan", share, "--db", text(&db), "--quiet"],
        &["fleet", "machines", "--db", text(&db), "--all"],
        &["fleet", "buckets", "--db", text(&db)],
        &["fleet", "tickets", "--db", text(&db), "--to", "jira"],
        &["store", "info", text(&db)],
    ] {
        nothing_steers(arguments);
    }
    let page = fs::read_to_string(&html).unwrap();
    assert!(!page.contains(['\u{1b}', '\u{7}', '\u{202e}', '\u{9b}']));
}

/// Every text of a store that a scan would not have put there as it is.
#[test]
fn texts_of_a_store_are_text() {
    let dir = tempfile::tempdir().unwrap();
    let (_, db) = share_and_store(dir.path());
    {
        let store = rusqlite::Connection::open(&db).unwrap();
        // As JSON has it: the characters are there when it is read.
        let json = serde_json::to_string(STEERING).unwrap();
        let json = json.trim_matches('"');
        let quoted = json.replace('\'', "''");
        store
            .execute_batch(&format!(
                "UPDATE file SET skipped = NULL, message = '{quoted}',
                     path = CAST('{STEERING}' || id AS BLOB), relative = CAST('{STEERING}' || id AS BLOB);
                 UPDATE record SET machine = '{STEERING}', crash_id = '{STEERING}', bucket = '{STEERING}',
                     outline = x'', summary = replace(replace(replace(replace(summary,
                         'tcpip.sys', '{quoted}'), '0xD1', '{quoted}'), 'may-apply', 'may-apply'),
                         'DRIVER_IRQL_NOT_LESS_OR_EQUAL', '{quoted}');
                 UPDATE run SET scan = replace(scan, 'kbtriage', '{quoted}');"
            ))
            .unwrap();
    }
    let (out, merged) = (dir.path().join("out"), dir.path().join("merged.db"));
    let db = text(&db);
    for arguments in [
        &["fleet", "machines", "--db", db, "--all"][..],
        &["fleet", "machines", "--db", db, "--format", "csv"],
        &["fleet", "machines", "--db", db, "--format", "markdown"],
        &["fleet", "machines", "--db", db, "--format", "html"],
        &["fleet", "machines", "--db", db, "--format", "json"],
        &["fleet", "buckets", "--db", db],
        &["fleet", "buckets", "--db", db, "--format", "csv"],
        &["fleet", "tickets", "--db", db, "--to", "jira"],
        &["fleet", "metrics", "--db", db],
        &["store", "info", db],
        &[
            "store",
            "export",
            db,
            "--format",
            "jsonl",
            "--output",
            text(&out),
        ],
        &["store", "merge", "--db", text(&merged), db],
        &["fleet", "machines", "--db", text(&merged)],
    ] {
        nothing_steers(arguments);
    }
}

/// Inventories, lists of names, states of forwarding, error reports and articles of others.
#[test]
fn texts_of_side_files_are_text() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("a.dmp");
    put(&dump, &matching());
    let side = |name: &str, content: &str| {
        let path = dir.path().join("side").join(name);
        put(&path, content.as_bytes());
        path.to_str().unwrap().to_owned()
    };
    let s = STEERING;
    let inventory = side(
        "inventory.csv",
        &format!("machine,file,version\n{s},tcpip.sys,{s}\n"),
    );
    let netsh = side(
        "netsh.txt",
        &format!("General Global Parameters\n---\nMulticast Forwarding : {s}\n"),
    );
    let registry = side(
        "state.reg",
        &format!("Windows Registry Editor Version 5.00\n\n[{s}]\n\"{s}\"=dword:{s}\n"),
    );
    let map = side("map.csv", &format!("{s},{s}\n"));
    let list = side("list", &format!("/no/{s}\n"));
    let builds = side("builds.tsv", &format!("{s}\t{s}\t{s}\n"));
    let template = side("template", &format!("{{{{ {s} }}}}"));
    let rules = dir.path().join("rules");
    put(&rules.join("a.toml"), format!("kb = \"{s}\"\n").as_bytes());
    let dump = text(&dump);
    for arguments in [
        &["triage", dump, "--machine", s, "--inventory", &inventory][..],
        &["triage", dump, "--registry", &netsh],
        &["triage", dump, "--registry", &registry],
        &["triage", dump, "--builds", &builds],
        &["triage", dump, "--knowledge", text(&rules)],
        &["triage", dump, "--kb", s],
        &["triage", dump, "--symbols", s, "--images", s],
        &["triage", "--files-from", &list],
        &["scan", dump, "--machine-map", &map, "--format", "text"],
        &["kb", "show", s],
        &["kb", "check", &format!("{s}=6.0.6001.18000")],
        &["symbols", "check", dump, "--symbols", s],
        &["fleet", "tickets", "--db", dump, "--to", &template],
        &["completions", s],
    ] {
        nothing_steers(arguments);
    }
    // Beside the dump.
    put(
        &dir.path().join("sysdata.xml"),
        format!("<SYSTEMINFO><SYSTEM><OSVER>{}</OSVER></SYSTEM><DRIVERS><DRIVER><FILENAME>{}.sys</FILENAME><VERSION>{}</VERSION></DRIVER></DRIVERS></SYSTEMINFO>", "6.0.6001 1.0", "\u{202e}", "\u{202e}").as_bytes(),
    );
    put(
        &dir.path().join("Report.wer"),
        format!("Version=1\r\nSig[0].Name=BCCode\r\nSig[0].Value={s}\r\n").as_bytes(),
    );
    for arguments in [
        &["triage", dump][..],
        &["triage", dump, "--format", "json"],
        &["explain", dump],
        &["scan", dump, "--format", "text"],
    ] {
        nothing_steers(arguments);
    }
}

/// Names of functions, of a symbol file that a dump's module names.
#[test]
fn names_of_a_symbol_file_are_text() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("a.dmp");
    let mut bytes = crate::support::share::fixture("server2008-x64-d1.dmp");
    // Where it faults, in the code of the image below: tcpip.sys lies at FFFFFA6000C22000h.
    let (own, moved) = (0xFFFF_FA60_00C4_D1C4u64, 0xFFFF_FA60_00C2_3140u64);
    for at in 0..bytes.len() - 8 {
        if bytes[at..at + 8] == own.to_le_bytes() {
            bytes[at..at + 8].copy_from_slice(&moved.to_le_bytes());
        }
    }
    put(&dump, &bytes);
    // tcpip.sys of the fixture: stamp and size of the image are its key.
    let guid = *b"hostile names...";
    let mut image = Pe::new(0x4791_9384, guid, 1, "tcpip.pdb");
    image.size = 1_523_712;
    let evil = format!("Tt{STEERING}Timer");
    let pdb = Pdb::new(guid, 1, &[(0x10, "TtFirst"), (0x100, &evil)]);
    let store = dir.path().join("store");
    put(
        &store.join("tcpip.sys").join(image.key()).join("tcpip.sys"),
        &image.write(),
    );
    put(
        &store.join("tcpip.pdb").join(pdb.key()).join("tcpip.pdb"),
        &pdb.write(),
    );
    let (dump, store) = (text(&dump), text(&store));
    let mut named = 0;
    for arguments in [
        &["triage", dump, "--symbols", store, "--images", store][..],
        &[
            "triage",
            dump,
            "--symbols",
            store,
            "--images",
            store,
            "--format",
            "json",
        ],
        &[
            "triage",
            dump,
            "--symbols",
            store,
            "--images",
            store,
            "--format",
            "html",
        ],
        &["explain", dump, "--symbols", store, "--images", store],
        &["stack", dump, "--symbols", store, "--images", store],
        &[
            "symbols",
            "check",
            dump,
            "--symbols",
            store,
            "--images",
            store,
        ],
        &[
            "symbols",
            "find",
            dump,
            "tcpip!*",
            "--symbols",
            store,
            "--images",
            store,
        ],
    ] {
        nothing_steers(arguments);
        let output = run(arguments);
        named += usize::from(String::from_utf8_lossy(&output.stdout).contains("52;c;aGk="));
    }
    assert!(named >= 3, "the name was shown {named} times");
}

/// A damaged record lowers no machine in silence: what cannot be read is counted, and the exit status says so.
#[test]
fn records_of_a_store_that_cannot_be_read_are_said() {
    let dir = tempfile::tempdir().unwrap();
    let (_, db) = share_and_store(dir.path());
    {
        let store = rusqlite::Connection::open(&db).unwrap();
        store
            .execute_batch("UPDATE record SET outline = x'00', summary = '{}' WHERE id = (SELECT min(id) FROM record)")
            .unwrap();
    }
    let export = dir.path().join("export");
    let db = text(&db);
    for arguments in [
        &["fleet", "machines", "--db", db][..],
        &["fleet", "buckets", "--db", db],
        &["fleet", "metrics", "--db", db],
        &["fleet", "tickets", "--db", db, "--to", "jira"],
        &[
            "store",
            "export",
            db,
            "--format",
            "jsonl",
            "--output",
            text(&export),
        ],
        &["scan", "--refresh", "--db", db],
    ] {
        let output = run(arguments);
        assert!(
            said(&output).contains("1 record of the store cannot be read"),
            "{arguments:?}: {output:?}"
        );
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
    }
}
