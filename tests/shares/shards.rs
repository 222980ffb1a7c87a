//! Shards whose options differ, that were stopped, or whose files are not what they seem: together they are what one
//! worker makes, or they are refused.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::share::{numbered, put, records, run};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn said(output: &std::process::Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A share of eight dumps of two machines, and its list.
struct Listed {
    dir: tempfile::TempDir,
    share: PathBuf,
    list: PathBuf,
}

impl Listed {
    fn new() -> Listed {
        let dir = tempfile::tempdir().unwrap();
        let share = dir.path().join("share");
        for n in 0..8 {
            let machine = share.join(["WEB01", "SQL02"][n % 2]);
            put(&machine.join(format!("{n}.dmp")), &numbered(n as u64));
        }
        put(&share.join("WEB01/Report.wer"), b"Version=1\r\n");
        let list = dir.path().join("list");
        run(&["scan", text(&share), "--list", "--output", text(&list)]);
        Listed { dir, share, list }
    }

    fn at(&self, name: &str) -> String {
        text(&self.dir.path().join(name)).to_owned()
    }

    fn shard(&self, shard: &str, output: &str, more: &[&str]) -> std::process::Output {
        let list = text(&self.list);
        let scan = ["scan", "--files-from", list, "--shard", shard, "--quiet"];
        run(&[&scan[..], &["--output", output], more].concat())
    }

    /// Merges two shards, the second of which is scanned with these options besides.
    fn merged(&self, both: &[&str], second: &[&str]) -> (String, std::process::Output) {
        let (one, two, merged) = (self.at("1"), self.at("2"), self.at("merged"));
        let _ = fs::remove_file(&merged);
        assert_eq!(self.shard("1/2", &one, both).status.code(), Some(0));
        let more = [both, second].concat();
        assert_eq!(self.shard("2/2", &two, &more).status.code(), Some(0));
        let output = run(&["store", "merge", "--output", &merged, &one, &two]);
        (merged, output)
    }

    fn one_worker(&self, more: &[&str]) -> Vec<u8> {
        let one = ["scan", text(&self.share), "--sort", "path", "--quiet"];
        run(&[&one[..], more].concat()).stdout
    }
}

#[test]
fn shards_of_whole_reports_and_of_error_reports_merge_to_what_one_worker_writes() {
    let listed = Listed::new();
    for options in [
        &[][..],
        &["--detail", "full"],
        &["--machine", "ONE"],
        &["--all-files"],
    ] {
        let (merged, output) = listed.merged(options, &[]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let whole = listed.one_worker(options);
        let machines = records(&whole)
            .iter()
            .filter(|record| record["type"] == "machine")
            .count();
        assert!(machines > 0, "{options:?}");
        assert!(fs::read(&merged).unwrap() == whole, "{options:?}");
    }
}

#[test]
fn parts_scanned_with_other_options_are_refused() {
    let listed = Listed::new();
    let map = listed.at("map");
    fs::write(&map, "web01\tOTHER\n").unwrap();
    for other in [
        &["--detail", "full"][..],
        &["--machine", "ONE"],
        &["--machine-map", &map],
        &["--kb", "KB972887"],
        &["--sha256"],
        &["--no-archives"],
    ] {
        let (merged, output) = listed.merged(&[], other);
        assert_eq!(output.status.code(), Some(2), "{other:?}");
        let said = said(&output);
        assert!(said.contains("other options"), "{other:?}: {said}");
        assert!(!Path::new(&merged).exists());
    }
}

#[test]
fn a_part_without_some_of_its_lines_is_refused() {
    let listed = Listed::new();
    let (merged, _) = listed.merged(&[], &[]);
    let (one, two) = (listed.at("1"), listed.at("2"));
    let whole = fs::read_to_string(&one).unwrap();
    let (first, rest) = whole.split_once('\n').unwrap();
    for changed in [rest.to_owned(), format!("{first}\n{whole}")] {
        fs::write(&one, changed).unwrap();
        fs::remove_file(&merged).unwrap_or_default();
        let refused = run(&["store", "merge", "--output", &merged, &one, &two]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        assert!(
            said(&refused).contains("its run wrote"),
            "{}",
            said(&refused)
        );
        assert!(!Path::new(&merged).exists());
    }
}

#[test]
fn options_that_a_list_or_a_shard_cannot_follow_are_refused() {
    let listed = Listed::new();
    let (share, list) = (text(&listed.share), text(&listed.list));
    for (arguments, says) in [
        (&[share, "--shard", "1/2"][..], "takes its part of a list"),
        (
            &[share, "--list", "--shard", "1/2"],
            "takes its part of a list",
        ),
        (
            &["--files-from", list, "--exclude", "*7*"],
            "what a list holds",
        ),
        (
            &[
                "--files-from",
                list,
                "--shard",
                "1/2",
                "--since",
                "2009-01-01",
            ],
            "choose afterwards",
        ),
        (
            &["--files-from", list, "--shard", "1/2", "--only", "applies"],
            "choose afterwards",
        ),
    ] {
        let refused = run(&[&["scan"], arguments].concat());
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(said(&refused).contains(says), "{}", said(&refused));
    }
}

#[test]
fn what_is_read_is_not_written_to() {
    let listed = Listed::new();
    let share = text(&listed.share);
    let (db, map, table) = (
        listed.at("all.db"),
        listed.at("map"),
        listed.at("table.csv"),
    );
    fs::write(&map, "web01\tOTHER\n").unwrap();
    fs::write(&table, "machine,file,version,as_of\n").unwrap();
    let second_name = listed.at("second name");
    fs::hard_link(&table, &second_name).unwrap();
    run(&["scan", share, "--db", &db, "--quiet"]);
    // Not there yet, and by another name.
    let new = listed.at("new.db");
    let other_name = text(&listed.dir.path().join("share/../new.db")).to_owned();
    for (arguments, kept) in [
        (&["--db", &db, "--output", &db][..], Some(&db)),
        (&["--db", &new, "--output", &other_name], None),
        (&["--machine-map", &map, "--output", &map], Some(&map)),
        (&["--inventory", &table, "--output", &table], Some(&table)),
        (&["--inventory", &table, "--db", &table], Some(&table)),
        (&["--inventory", &table, "--db", &second_name], Some(&table)),
    ] {
        let before = kept.map(|file| fs::read(file).unwrap());
        let refused = run(&[&["scan", share, "--quiet"], arguments].concat());
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(
            said(&refused).contains("name another"),
            "{}",
            said(&refused)
        );
        assert_eq!(kept.map(|file| fs::read(file).unwrap()), before);
    }
    assert!(!Path::new(&new).exists());
    // Found out before the work, not behind it.
    let refused = run(&["scan", share, "--output", text(listed.dir.path())]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("a directory"), "{}", said(&refused));
}

#[test]
fn a_dump_is_never_written_over_whatever_it_is_called() {
    let listed = Listed::new();
    let dump = listed.share.join("WEB01/0.dmp");
    let before = fs::read(&dump).unwrap();
    let (link, second_name) = (listed.at("link.dmp"), listed.at("second.dmp"));
    fs::hard_link(&dump, &second_name).unwrap();
    let list = listed.at("names");
    fs::write(&list, format!("{second_name}\n")).unwrap();
    let relative = crate::support::share::program()
        .current_dir(listed.dir.path())
        .args(["scan", "share", "--list", "--output", "relative"])
        .status();
    assert!(relative.unwrap().success());
    let parts = ["1/2", "2/2"].map(|shard| {
        let part = listed.at(&format!("{}.part", &shard[..1]));
        let output = crate::support::share::program()
            .current_dir(listed.dir.path())
            .args(["scan", "--files-from", "relative", "--shard", shard])
            .args(["--quiet", "--output", &part])
            .status();
        assert!(output.unwrap().success());
        part
    });
    let merge = ["store", "merge", &parts[0], &parts[1]];
    let to = text(&dump);
    for (arguments, to) in [
        (&["scan", "--files-from", &list][..], to),
        (&["scan", "--files-from", &list], &second_name),
        (&merge, to),
        (&merge, &second_name),
        (&["scan", "--list", "fixtures/dumps"], to),
    ] {
        let refused = run(&[arguments, &["--output", to]].concat());
        assert_eq!(refused.status.code(), Some(2), "{arguments:?} {to}");
        assert!(said(&refused).contains("name another place"), "{refused:?}");
        assert_eq!(fs::read(&dump).unwrap(), before);
    }
    // A place among the dumps that nothing has yet: of a relative root, of a store's, through two links.
    let at = |name: &str| text(&listed.share.join(name)).to_owned();
    let db = listed.at("kept.db");
    run(&["scan", text(&listed.share), "--db", &db, "--quiet"]);
    let here = |arguments: &[&str]| {
        let mut program = crate::support::share::program();
        program.current_dir(listed.dir.path()).args(arguments);
        program.output().unwrap()
    };
    for (arguments, name) in [
        (
            &[&merge[..], &["--output", &at("n.jsonl")]].concat(),
            "n.jsonl",
        ),
        (
            &vec!["scan", "--refresh", "--db", &db, "--output", &at("r.jsonl")],
            "r.jsonl",
        ),
        (
            &vec![
                "store",
                "export",
                "--db",
                &db,
                "--format",
                "jsonl",
                "-o",
                &at("exp"),
            ],
            "exp",
        ),
    ] {
        let refused = here(arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(said(&refused).contains("lies inside"), "{refused:?}");
        assert!(!listed.share.join(name).exists());
    }
    #[cfg(unix)]
    for option in ["--db", "--output"] {
        let [one, two] = ["one", "two"].map(|name| listed.dir.path().join(name));
        let _ = (fs::remove_file(&one), fs::remove_file(&two));
        std::os::unix::fs::symlink(&two, &one).unwrap();
        std::os::unix::fs::symlink(listed.share.join("new"), &two).unwrap();
        let refused = run(&["scan", text(&listed.share), option, text(&one)]);
        assert_eq!(refused.status.code(), Some(2), "{option}");
        assert!(!listed.share.join("new").exists());
    }
    // What is no dump is written over, as before.
    fs::write(&link, "old").unwrap();
    let done = run(&["scan", text(&listed.share), "--quiet", "--output", &link]);
    assert_eq!(done.status.code(), Some(0));
    assert!(fs::read_to_string(&link).unwrap().contains("0.dmp"));
}

#[test]
fn a_dash_for_an_output_is_standard_output() {
    let listed = Listed::new();
    let program = || {
        let mut program = crate::support::share::program();
        program.current_dir(listed.dir.path());
        program
    };
    let scan = ["scan", "--quiet", "--sort", "path", text(&listed.share)];
    let plain = program().args(scan).output().unwrap();
    let dash = program().args(scan).args(["-o", "-"]).output().unwrap();
    assert!(!plain.stdout.is_empty());
    assert_eq!(dash.stdout, plain.stdout);
    let parts = ["1/2", "2/2"].map(|shard| {
        let part = listed.at(&format!("{}.jsonl", &shard[..1]));
        listed.shard(shard, &part, &[]);
        part
    });
    let merge = |to: &str| {
        let mut program = program();
        program
            .args(["store", "merge", "--output", to])
            .args(&parts);
        program.output().unwrap()
    };
    let to_file = merge(&listed.at("whole"));
    assert!(to_file.status.success(), "{}", said(&to_file));
    let merged = merge("-");
    assert_eq!(merged.stdout, fs::read(listed.at("whole")).unwrap());
    assert!(!listed.dir.path().join("-").exists());
}

#[test]
fn a_list_in_utf_16_is_the_list() {
    let listed = Listed::new();
    let list = fs::read_to_string(&listed.list).unwrap();
    let expected = {
        let scan = ["scan", "--files-from", text(&listed.list), "--sort", "path"];
        run(&[&scan[..], &["--quiet"]].concat()).stdout
    };
    let little: Vec<u8> = list.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = list.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (mark, content) in [
        (&b"\xFF\xFE"[..], little),
        (b"\xFE\xFF", big),
        (b"\xEF\xBB\xBF", list.into_bytes()),
    ] {
        let path = listed.at("marked");
        fs::write(&path, [mark, &content].concat()).unwrap();
        let scanned = run(&["scan", "--files-from", &path, "--sort", "path", "--quiet"]);
        assert_eq!(scanned.status.code(), Some(0), "{scanned:?}");
        assert!(scanned.stdout == expected);
    }
}

/// A stop that comes before the first file is handed on: while the store is opened, which another program holds.
#[cfg(unix)]
#[test]
fn a_scan_stopped_before_its_first_file_is_not_complete() {
    let listed = Listed::new();
    let (db, out) = (listed.at("all.db"), listed.at("out"));
    let list = text(&listed.list).to_owned();
    run(&["scan", text(&listed.share), "--db", &db, "--quiet"]);
    let holder = rusqlite::Connection::open(&db).unwrap();
    holder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let scan = crate::support::share::program()
        .args(["scan", "--files-from", &list, "--shard", "1/1", "--quiet"])
        .args(["--db", &db, "--output", &out])
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let kill = ["-TERM", &scan.id().to_string()];
    assert!(
        std::process::Command::new("kill")
            .args(kill)
            .status()
            .unwrap()
            .success()
    );
    std::thread::sleep(std::time::Duration::from_millis(200));
    holder.execute_batch("ROLLBACK").unwrap();
    let ended = scan.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(!Path::new(&out).exists());
    let left = fs::read_dir(listed.dir.path()).unwrap().flatten();
    let partial = left
        .map(|entry| entry.path())
        .find(|path| text(path).ends_with(".partial"))
        .unwrap();
    let lines = records(&fs::read(partial).unwrap());
    let closing = lines.last().unwrap();
    assert_eq!(closing["type"], "scan");
    assert_eq!(closing["complete"], false);
}

/// `nohup` starts a program with the hang-up ignored: it goes on when its terminal is gone.
#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    for n in 0..400 {
        put(
            &share.join(format!("{n}.dmp")),
            &crate::support::share::matching(),
        );
    }
    let (out, db) = (dir.path().join("out"), dir.path().join("all.db"));
    let script = format!(
        "trap '' HUP; {} scan {} --jobs 1 --db {} --output {} --quiet & p=$!; sleep 0.2; kill -HUP $p; wait $p",
        env!("CARGO_BIN_EXE_kbtriage"),
        text(&share),
        text(&db),
        text(&out),
    );
    let ended = std::process::Command::new("sh")
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let lines = records(&fs::read(out).unwrap());
    assert_eq!(lines.last().unwrap()["complete"], true);
}
