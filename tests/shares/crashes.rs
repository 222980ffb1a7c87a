//! A store keeps crashes, not paths: MEMORY.DMP is written anew at every crash, and a crash may leave two files.
#![cfg(feature = "store")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::share::{numbered, of_type, put, records, run};

struct Share {
    dir: tempfile::TempDir,
    other: tempfile::TempDir,
}

impl Share {
    fn new() -> Share {
        Share {
            dir: tempfile::tempdir().unwrap(),
            other: tempfile::tempdir().unwrap(),
        }
    }

    fn dump(&self) -> PathBuf {
        self.dir.path().join("SRV1/MEMORY.DMP")
    }

    fn db(&self, name: &str) -> String {
        self.other.path().join(name).to_str().unwrap().to_owned()
    }

    /// Scans into a store, and gives what the program printed.
    fn scan(&self, db: &str) -> Vec<Value> {
        let output = run(&[
            "scan",
            self.dir.path().to_str().unwrap(),
            "--db",
            db,
            "-q",
            "--format",
            "jsonl",
        ]);
        records(&output.stdout)
    }

    fn machine(&self, db: &str) -> Value {
        let output = run(&["fleet", "machines", "--db", db, "--format", "jsonl"]);
        let found = records(&output.stdout);
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }
}

/// Writes a dump with a time of its own, as another crash would.
fn overwrite(path: &Path, number: u64) {
    put(path, &numbered(number));
    let file = fs::File::options().write(true).open(path).unwrap();
    let time =
        std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + number);
    file.set_modified(time).unwrap();
}

#[test]
fn a_dump_that_is_overwritten_between_scans_leaves_both_crashes() {
    let share = Share::new();
    let db = share.db("dumps.db");
    for (number, crashes) in [(1, 1), (2, 2), (2, 2), (3, 3)] {
        overwrite(&share.dump(), number);
        share.scan(&db);
        assert_eq!(share.machine(&db)["dumps"]["crashes"], crashes, "{number}");
    }
    // One that comes back is one crash still.
    overwrite(&share.dump(), 1);
    share.scan(&db);
    assert_eq!(share.machine(&db)["dumps"]["crashes"], 3);
    // Judged again, all of them.
    let output = run(&["scan", "--refresh", "--db", &db, "-q", "--format", "jsonl"]);
    assert_eq!(of_type(&records(&output.stdout), "report").len(), 3);
    assert_eq!(share.machine(&db)["dumps"]["crashes"], 3);
    // A file that vanished, and one that is no dump any more.
    fs::write(
        share.dump(),
        b"no dump any more, and longer than a signature",
    )
    .unwrap();
    share.scan(&db);
    assert_eq!(share.machine(&db)["dumps"]["crashes"], 3);
    fs::remove_file(share.dump()).unwrap();
    share.scan(&db);
    assert_eq!(share.machine(&db)["dumps"]["crashes"], 3);
}

#[test]
fn a_merged_store_keeps_the_earlier_crashes_of_its_parts() {
    let share = Share::new();
    let (part, all) = (share.db("1.db"), share.db("all.db"));
    let root = share.dir.path().to_str().unwrap();
    for number in [1, 2] {
        overwrite(&share.dump(), number);
        run(&["scan", root, "--db", &part, "-q", "--shard", "1/1"]);
    }
    let output = run(&["store", "merge", "--db", &all, &part]);
    assert!(output.status.success(), "{output:?}");
    for db in [&part, &all] {
        assert_eq!(share.machine(db)["dumps"]["crashes"], 2, "{db}");
    }
}

#[test]
fn a_record_of_a_store_says_when_scans_saw_it() {
    let share = Share::new();
    let db = share.db("dumps.db");
    overwrite(&share.dump(), 1);
    share.scan(&db);
    overwrite(&share.dump(), 2);
    share.scan(&db);
    let store = rusqlite::Connection::open(&db).unwrap();
    let mut select = store
        .prepare("SELECT earlier = '', first_seen, last_seen FROM file ORDER BY earlier")
        .unwrap();
    let rows: Vec<(bool, String, String)> = select
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        rows.iter().map(|row| row.0).collect::<Vec<_>>(),
        [true, false]
    );
    for (_, first, last) in &rows {
        assert!(first <= last && first.ends_with('Z'), "{first} {last}");
    }
}
