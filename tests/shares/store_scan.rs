//! The result store: a share is read once, whatever happens in between.
#![cfg(feature = "store")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::support::share::{gzip, matching, numbered, of_type, put, records, run, zip};
use serde_json::Value;

struct Share {
    dir: tempfile::TempDir,
    other: tempfile::TempDir,
}

impl Share {
    fn new(dumps: u64) -> Share {
        let share = Share {
            dir: tempfile::tempdir().unwrap(),
            other: tempfile::tempdir().unwrap(),
        };
        for n in 0..dumps {
            put(
                &share.path(&format!("H{:02}/{n}.dmp", n % 20)),
                &numbered(n),
            );
        }
        put(&share.path("H00/notes.txt"), b"no dump");
        put(
            &share.path("H01/a.zip"),
            &zip(&[("x.dmp", &numbered(900)), ("y.dmp", &numbered(901))]),
        );
        put(&share.path("H02/cut.gz"), &gzip(&matching())[..200]);
        share
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn db(&self) -> PathBuf {
        self.other.path().join("dumps.db")
    }

    fn scan(&self, more: &[&str]) -> Vec<u8> {
        let (root, db) = (self.dir.path().to_owned(), self.db());
        let mut arguments = vec!["scan", root.to_str().unwrap(), "--db", db.to_str().unwrap()];
        arguments.extend(["--sort", "path"]);
        arguments.extend(more);
        let output = run(&arguments);
        assert!(output.status.code().unwrap() <= 1, "{output:?}");
        output.stdout
    }

    fn without_store(&self) -> Vec<u8> {
        run(&["scan", self.dir.path().to_str().unwrap(), "--sort", "path"]).stdout
    }
}

/// Makes a file unreadable by content while size, time and identity stay.
fn scramble(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let size = fs::metadata(path).unwrap().len() as usize;
    fs::write(path, vec![0x55; size]).unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn a_second_scan_reads_only_what_is_new_or_changed() {
    let share = Share::new(30);
    let first = share.scan(&[]);
    assert!(first == share.without_store());
    assert!(
        first == share.scan(&[]),
        "an unchanged share gives the same lines"
    );
    // What is not read cannot be missed: the store answers for a file that lost its content.
    scramble(&share.path("H03/3.dmp"));
    scramble(&share.path("H01/a.zip"));
    assert!(first == share.scan(&[]));
    // A changed and a new file are read; --verify reads all.
    put(&share.path("H04/4.dmp"), &numbered(777));
    fs::File::options()
        .write(true)
        .open(share.path("H04/4.dmp"))
        .unwrap()
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    put(&share.path("H04/new.dmp"), &numbered(778));
    let second = records(&share.scan(&[]));
    assert_eq!(
        of_type(&second, "report").len(),
        of_type(&records(&first), "report").len() + 1
    );
    let verified = records(&share.scan(&["--verify"]));
    let scan = of_type(&verified, "scan")[0];
    assert_eq!(scan["skipped"][0]["reason"], "not-a-dump");
    assert_eq!(
        scan["skipped"][0]["count"], 3,
        "the notes and what was scrambled"
    );
}

#[test]
fn other_options_judge_stored_facts_without_the_dumps() {
    let share = Share::new(10);
    share.scan(&[]);
    scramble(&share.path("H03/3.dmp"));
    let named = records(&share.scan(&["--machine", "ONE"]));
    for report in of_type(&named, "report") {
        assert_eq!(report["machine"]["name"], "ONE");
    }
    assert_eq!(of_type(&named, "machine")[0]["dumps"]["count"], 12);
    let full = records(&share.scan(&["--machine", "ONE", "--detail", "full"]));
    let unsaid = |lines: &[Value]| {
        let failed = of_type(lines, "report");
        failed.iter().filter(|r| r["status"] == "failed").count()
    };
    assert_eq!(unsaid(&full), unsaid(&named));
    assert!(full[0]["modules"].as_array().unwrap().len() > 5);
}

#[test]
fn refresh_judges_the_store_without_the_share() {
    let share = Share::new(10);
    let first = share.scan(&[]);
    let db = share.db();
    fs::rename(share.dir.path(), share.other.path().join("gone")).unwrap();
    let output = run(&[
        "scan",
        "--refresh",
        "--db",
        db.to_str().unwrap(),
        "--sort",
        "path",
    ]);
    fs::rename(share.other.path().join("gone"), share.dir.path()).unwrap();
    let (before, after) = (records(&first), records(&output.stdout));
    assert_eq!(of_type(&before, "report"), of_type(&after, "report"));
    assert_eq!(of_type(&before, "machine"), of_type(&after, "machine"));
}

#[test]
fn a_store_below_a_scanned_directory_is_refused() {
    let share = Share::new(1);
    let inside = share.path("H00/x.db");
    let root = share.dir.path().to_str().unwrap();
    let output = run(&["scan", root, "--db", inside.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!inside.exists());
    // Nor is another program's database written to.
    let foreign = share.other.path().join("foreign.db");
    rusqlite::Connection::open(&foreign)
        .unwrap()
        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
        .unwrap();
    let before = fs::read(&foreign).unwrap();
    let output = run(&["scan", root, "--db", foreign.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(fs::read(&foreign).unwrap() == before);
}

#[test]
fn a_scan_killed_at_any_moment_resumes_to_the_same_result() {
    let share = Share::new(150);
    let expected = share.without_store();
    let (root, db) = (share.dir.path().to_owned(), share.db());
    let started = Instant::now();
    share.scan(&[]);
    let whole_run = started.elapsed();
    fs::remove_file(&db).unwrap();
    // Random moments of a run, a little past its end; the seed is printed when the test fails.
    let mut random = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .subsec_nanos();
    println!("seed {random}");
    for kill in 0..32 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let moment = whole_run.mul_f64(1.1 * f64::from(random >> 8) / f64::from(1 << 24));
        let mut scan = crate::support::share::program()
            .args(["scan", root.to_str().unwrap(), "--db", db.to_str().unwrap()])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(moment);
        // SIGKILL.
        scan.kill().unwrap();
        scan.wait().unwrap();
        if db.exists() && fs::metadata(&db).unwrap().len() > 0 {
            let store = rusqlite::Connection::open(&db).unwrap();
            let whole: String = store
                .query_row("PRAGMA integrity_check", [], |row| row.get(0))
                .unwrap();
            assert_eq!(whole, "ok");
        }
        // One to five scans on the same store are killed before one may end.
        if kill % 8 == 7 || kill % 8 == 2 {
            assert!(
                share.scan(&[]) == expected,
                "after kill {kill} at {moment:?}"
            );
            fs::remove_file(&db).unwrap();
        }
    }
    assert!(share.scan(&[]) == expected);
}

#[test]
fn a_store_whose_first_fill_was_cut_off_is_checked_before_it_is_used() {
    let share = Share::new(40);
    let expected = share.scan(&[]);
    let db = share.db();
    let filling = |on: bool| {
        let store = rusqlite::Connection::open(&db).unwrap();
        let version: i32 = store
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(version, 3, "a scan that ended leaves the store whole");
        if on {
            // As the first scan has it until its end.
            store
                .execute_batch("PRAGMA user_version = 65539; PRAGMA wal_checkpoint(TRUNCATE)")
                .unwrap();
        }
    };
    filling(true);
    assert!(share.scan(&[]) == expected, "a whole one is gone on with");
    filling(true);
    // What a computer that failed may leave: pages that never reached the disk.
    let mut bytes = fs::read(&db).unwrap();
    let from = bytes.len() / 2;
    bytes[from..].fill(0);
    fs::write(&db, &bytes).unwrap();
    let root = share.dir.path().to_str().unwrap();
    let output = run(&["scan", root, "--db", db.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("delete it and scan again"), "{said}");
}

/// SQL of the page about scanning, with its engine: DuckDB where Python has it. `KBTRIAGE_DUCKDB` names
/// the Python.
#[test]
fn the_documented_query_runs_on_the_lines_of_a_scan() {
    let python = std::env::var("KBTRIAGE_DUCKDB").unwrap_or_else(|_| "python3".to_owned());
    let has = std::process::Command::new(&python)
        .args(["-c", "import duckdb"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: no Python with the duckdb package");
        return;
    }
    let page = include_str!("../../docs/scanning.md");
    let query = page
        .split("```sql\n")
        .filter_map(|part| part.split("```").next())
        .find(|query| query.contains("read_json"))
        .unwrap();
    let share = Share::new(40);
    let lines = records(&share.scan(&[]));
    let out = share.other.path().join("dumps.jsonl");
    fs::write(&out, share.scan(&[])).unwrap();
    let query = query.replace("dumps.jsonl", out.to_str().unwrap());
    let ran = std::process::Command::new(&python)
        .args([
            "-c",
            "import duckdb, json, sys; \
             rows = duckdb.sql(sys.argv[1].rstrip().rstrip(';')).fetchall(); \
             print(json.dumps([[row[0], row[1]] for row in rows]))",
            &query,
        ])
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let rows: Vec<(String, usize)> = serde_json::from_slice(&ran.stdout).unwrap();
    // The same count, by hand.
    let mut crashes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for report in of_type(&lines, "report") {
        let verdict = report.pointer("/hotfix/verdict").and_then(Value::as_str);
        if let Some("applies" | "probably-applies" | "may-apply") = verdict {
            let text = |at: &str| report.pointer(at).unwrap().as_str().unwrap().to_owned();
            crashes
                .entry(text("/machine/name"))
                .or_default()
                .insert(text("/crash_id"));
        }
    }
    assert!(!crashes.is_empty());
    let found: BTreeMap<String, usize> = rows.into_iter().collect();
    let counted: BTreeMap<String, usize> = crashes
        .into_iter()
        .map(|(name, ids)| (name, ids.len()))
        .collect();
    assert_eq!(found, counted);
}

#[test]
fn a_shard_is_found_in_the_variables_of_slurm_and_kubernetes() {
    let share = Share::new(12);
    let list = share.other.path().join("work.list");
    let root = share.dir.path().to_str().unwrap();
    let made = run(&["scan", root, "--list", "--output", list.to_str().unwrap()]);
    assert_eq!(made.status.code(), Some(0));
    let part = |variables: &[(&str, &str)], shard: &str| {
        crate::support::share::program()
            .args(["scan", "--files-from", list.to_str().unwrap()])
            .args(["--sort", "path", "--shard", shard])
            .envs(variables.iter().copied())
            .output()
            .unwrap()
    };
    let told = part(&[], "2/3");
    for variables in [
        &[
            ("SLURM_ARRAY_TASK_ID", "2"),
            ("SLURM_ARRAY_TASK_MIN", "1"),
            ("SLURM_ARRAY_TASK_COUNT", "3"),
        ][..],
        &[("SLURM_ARRAY_TASK_ID", "2"), ("KBTRIAGE_SHARDS", "3")][..],
        &[("JOB_COMPLETION_INDEX", "1"), ("KBTRIAGE_SHARDS", "3")][..],
    ] {
        assert!(
            part(variables, "auto").stdout == told.stdout,
            "{variables:?}"
        );
    }
    for variables in [&[][..], &[("JOB_COMPLETION_INDEX", "1")][..]] {
        assert_eq!(part(variables, "auto").status.code(), Some(2));
    }
}

crate::support::only_on!(
    unix,
    an_interrupt_ends_a_scan_with_130_and_keeps_what_is_done,
    "the test sends a Unix signal"
);
#[cfg(unix)]
#[test]
fn an_interrupt_ends_a_scan_with_130_and_keeps_what_is_done() {
    let share = Share::new(30);
    // A dump that looks as if it were still copied holds the run up for seconds.
    fs::write(share.path("H00/growing.dmp"), &matching()[..6000]).unwrap();
    let out = share.other.path().join("lines.jsonl");
    let scan = crate::support::share::program()
        .args(["scan", share.dir.path().to_str().unwrap()])
        .args(["--settle", "3600", "--db", share.db().to_str().unwrap()])
        .args(["--output", out.to_str().unwrap()])
        .spawn()
        .unwrap();
    let kept = || -> i64 {
        rusqlite::Connection::open_with_flags(
            share.db(),
            rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
        )
        .and_then(|store| store.query_row("SELECT count(*) FROM record", [], |row| row.get(0)))
        .unwrap_or(0)
    };
    let started = Instant::now();
    while kept() == 0 && started.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let sent = std::process::Command::new("kill")
        .args(["-INT", &scan.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let output = scan.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let lines = records(&fs::read(&out).unwrap());
    assert_eq!(of_type(&lines, "scan")[0]["complete"], false);
    let written = of_type(&lines, "report").len();
    assert!(written > 0);
    assert_eq!(kept(), written as i64, "what was written is kept");
    // The next scan goes on from there: 30 dumps, two in an archive, an archive and a dump that are cut.
    let all = records(&share.scan(&["--settle", "0"]));
    assert_eq!(of_type(&all, "report").len(), 34);
    assert_eq!(of_type(&all, "scan")[0]["complete"], true);
}

#[test]
fn shards_together_give_exactly_what_one_worker_gives() {
    let share = Share::new(60);
    let whole = share.without_store();
    let list = share.other.path().join("work.list");
    let made = run(&[
        "scan",
        share.dir.path().to_str().unwrap(),
        "--list",
        "--output",
        list.to_str().unwrap(),
    ]);
    assert_eq!(made.status.code(), Some(0));
    let part =
        |index: usize, ending: &str| share.other.path().join(format!("part-{index}.{ending}"));
    let workers: Vec<_> = (1..=3)
        .map(|index| {
            crate::support::share::program()
                .args(["scan", "--files-from", list.to_str().unwrap()])
                .args(["--shard", &format!("{index}/3")])
                .args(["--output", part(index, "jsonl").to_str().unwrap()])
                .args(["--db", part(index, "db").to_str().unwrap()])
                .spawn()
                .unwrap()
        })
        .collect();
    for mut worker in workers {
        assert!(worker.wait().unwrap().code().unwrap() <= 1);
    }
    let merge = |to: &str, into: &Path, ending: &str, parts: &[usize]| {
        let mut command = crate::support::share::program();
        command.args(["store", "merge", to, into.to_str().unwrap()]);
        command.args(parts.iter().map(|index| part(*index, ending)));
        command.output().unwrap()
    };
    let out = share.other.path().join("all.jsonl");
    let merged = merge("--output", &out, "jsonl", &[2, 1, 3]);
    assert_eq!(merged.status.code(), Some(0), "{merged:?}");
    assert!(fs::read(&out).unwrap() == whole);
    fs::remove_file(&out).unwrap();

    for (parts, complaint) in [
        (&[1, 2][..], "shard 3 of 3 is missing"),
        (&[1, 2, 2, 3][..], "same shard"),
    ] {
        let refused = merge("--output", &out, "jsonl", parts);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains(complaint));
        assert!(!out.exists());
    }

    let db = share.db();
    assert_eq!(merge("--db", &db, "db", &[1, 2, 3]).status.code(), Some(0));
    let one = share.other.path().join("one.db");
    let root = share.dir.path().to_str().unwrap();
    run(&["scan", root, "--db", one.to_str().unwrap()]);
    let machines = |db: &Path| {
        let db = db.to_str().unwrap();
        let mut machines =
            records(&run(&["fleet", "machines", "--db", db, "--format", "jsonl"]).stdout);
        // Each was seen by its own scan.
        for machine in &mut machines {
            let fields = machine.as_object_mut().unwrap();
            assert!(fields.remove("first_seen").is_some() && fields.remove("last_seen").is_some());
        }
        machines
    };
    assert!(machines(&db) == machines(&one));
    assert!(!machines(&db).is_empty());
}
