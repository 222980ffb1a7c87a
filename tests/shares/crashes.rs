//! A store keeps crashes, not paths: MEMORY.DMP is written anew at every crash, and a crash may leave two files.
#![cfg(feature = "store")]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::share::{fixture, numbered, of_type, put, records, run, with_code, zip};

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
        let list = share.db("list");
        run(&["scan", root, "--list", "--output", &list]);
        let shard = ["scan", "--files-from", &list, "--shard", "1/1"];
        run(&[&shard[..], &["--db", &part, "-q"]].concat());
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
    let machine = share.machine(&db);
    assert_eq!(
        machine["first_seen"],
        rows.iter().map(|row| row.1.as_str()).min().unwrap()
    );
    assert_eq!(
        machine["last_seen"],
        rows.iter().map(|row| row.2.as_str()).max().unwrap()
    );
    assert_eq!(machine["dumps"]["overwritten"], 1);
    let text = run(&["fleet", "machines", "--db", &db, "-v"]).stdout;
    let text = String::from_utf8(text).unwrap();
    let line = format!(
        "  first seen     {}",
        machine["first_seen"].as_str().unwrap()
    );
    assert!(text.lines().any(|own| own == line), "{text}");
}

/// A small dump and a memory dump of one crash, which fall into two buckets: the memory dump holds no module.
fn two_files_of_one_crash(root: &Path) {
    put(
        &root.join("SRV1/Mini.dmp"),
        &fixture("server2008-x64-d1.dmp"),
    );
    put(
        &root.join("SRV1/MEMORY.DMP"),
        &fixture("server2008-x64-summary.dmp"),
    );
}

#[test]
fn two_files_of_one_crash_are_one_crash_of_one_bucket_and_one_ticket() {
    let share = Share::new();
    let db = share.db("dumps.db");
    two_files_of_one_crash(share.dir.path());
    let told = share.scan(&db);
    let reports = of_type(&told, "report");
    let keys: Vec<&Value> = reports
        .iter()
        .map(|report| &report["bucket"]["key"])
        .collect();
    assert_eq!(reports[0]["crash_id"], reports[1]["crash_id"]);
    assert_ne!(keys[0], keys[1], "the test needs two buckets");
    assert_eq!(share.machine(&db)["dumps"]["crashes"], 1);

    let rows = |more: &[&str]| {
        let fixed = ["fleet", "buckets", "--db", &db, "--format", "jsonl"];
        records(&run(&[&fixed, more].concat()).stdout)
    };
    // The records that fleet writes follow their schemas.
    for (kind, command) in [("bucket", "buckets"), ("machine", "machines")] {
        let schema = serde_json::from_slice(&run(&["schema", kind]).stdout).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let output = run(&["fleet", command, "--db", &db, "--format", "jsonl"]);
        for record in records(&output.stdout) {
            let errors: Vec<String> = validator
                .iter_errors(&record)
                .map(|e| e.to_string())
                .collect();
            assert!(errors.is_empty(), "{kind}: {errors:?}");
        }
    }
    let buckets = rows(&[]);
    assert_eq!(buckets.len(), 1, "{buckets:?}");
    assert_eq!(buckets[0]["crashes"], 1);
    // Of the dump that tells something.
    assert!(buckets[0]["key"].as_str().unwrap().contains("tcpip"));
    assert_eq!(
        buckets[0]["verdicts"],
        serde_json::json!({ "may-apply": 1 })
    );
    assert_eq!(rows(&["--only", "undetermined"]), Vec::<Value>::new());
    #[cfg(feature = "tickets")]
    for per in ["bucket", "machine"] {
        let output = run(&[
            "fleet", "tickets", "--db", &db, "--to", "jira", "--per", per,
        ]);
        assert_eq!(records(&output.stdout).len(), 1, "{per}");
    }
    // Another crash of the same kind.
    put(&share.dir.path().join("SRV1/later.dmp"), &numbered(7));
    share.scan(&db);
    let buckets = rows(&[]);
    assert_eq!((buckets.len(), &buckets[0]["crashes"]), (1, &2.into()));
}

#[test]
fn an_archive_that_is_replaced_leaves_the_crashes_that_it_held() {
    // More dumps than are held at a time: the archive's results come in parts.
    let archive = |numbers: std::ops::Range<u64>| {
        let members: Vec<(String, Vec<u8>)> = numbers
            .map(|number| (format!("{number}.dmp"), numbered(number)))
            .collect();
        let members: Vec<(&str, &[u8])> = members
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_slice()))
            .collect();
        zip(&members)
    };
    let share = Share::new();
    let db = share.db("dumps.db");
    let path = share.dir.path().join("SRV1/dumps.zip");
    for (numbers, crashes) in [(0..300, 300), (280..560, 560), (1..3, 560), (0..10, 560)] {
        put(&path, &archive(numbers.clone()));
        share.scan(&db);
        assert_eq!(
            share.machine(&db)["dumps"]["crashes"],
            crashes,
            "{numbers:?}"
        );
    }
}

/// A dump of another crash with this code, whose header carries these attributes (0x1050 of the 64-bit header).
fn attributed(number: u64, code: u32, attributes: Option<u32>) -> Vec<u8> {
    let mut dump = with_code(numbered(number), code);
    if let Some(attributes) = attributes {
        dump[0x1050..0x1054].copy_from_slice(&attributes.to_le_bytes());
    }
    dump
}

#[test]
fn codes_that_are_either_count_as_reports_of_a_running_system_by_the_headers_mark() {
    let share = Share::new();
    let db = share.db("dumps.db");
    for (number, code, attributes, kind) in [
        (1, 0x124, None, "crash"),
        (2, 0x124, Some(0x10), "live-report"),
        (3, 0x144, Some(0x1018), "live-report"),
        (4, 0x164, Some(0x1008), "crash"),
        (5, 0x193, None, "live-report"),
        (6, 0xD1, Some(0x10), "crash"),
        (7, 0xE2, None, "forced"),
    ] {
        let path = share.dir.path().join(format!("SRV1/{number}.dmp"));
        put(&path, &attributed(number, code, attributes));
        let output = run(&["triage", "--format", "jsonl", path.to_str().unwrap()]);
        let report = &records(&output.stdout)[0];
        assert_eq!(report["dump"]["kind"], kind, "{code:#x} {attributes:x?}");
        let screen = String::from_utf8(run(&["triage", path.to_str().unwrap()]).stdout).unwrap();
        assert_eq!(
            screen.contains("\nLive "),
            kind == "live-report",
            "{screen}"
        );
    }
    // The same from the dumps, from the store's outlines and from its lines.
    for _ in 0..2 {
        let found = share.scan(&db);
        assert_eq!(of_type(&found, "scan")[0]["live_reports"], 3);
        let machine = of_type(&found, "machine")[0]["dumps"].clone();
        assert_eq!(
            (&machine["crashes"], &machine["live_reports"]),
            (&4.into(), &3.into())
        );
        assert_eq!(share.machine(&db)["dumps"], machine);
    }
}

#[test]
fn crashes_of_a_machine_that_are_laid_to_one_driver_are_told_together() {
    let share = Share::new();
    let db = share.db("dumps.db");
    // The driver of the network card faulted twice, and once something of Windows did.
    let mut nic = fixture("server2008-x64-d1-nic.dmp");
    put(&share.dir.path().join("SRV1/1.dmp"), &nic);
    let time = u64::from_le_bytes(nic[0xFA8..0xFB0].try_into().unwrap());
    nic[0xFA8..0xFB0].copy_from_slice(&(time + 36_000_000_000).to_le_bytes());
    let first = share.scan(&db);
    assert!(
        of_type(&first, "machine")[0]
            .get("shared_suspects")
            .is_none()
    );
    put(&share.dir.path().join("SRV1/2.dmp"), &nic);
    put(&share.dir.path().join("SRV1/3.dmp"), &numbered(9));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let found = share.scan(&db);
        seen.push(of_type(&found, "machine")[0]["shared_suspects"].clone());
    }
    seen.push(share.machine(&db)["shared_suspects"].clone());
    let report = of_type(&first, "report")[0].clone();
    let driver = report["cause"]["suspects"][0]["module"].as_str().unwrap();
    let expected = serde_json::json!([{ "module": driver.to_lowercase(), "crashes": 2 }]);
    assert_eq!(seen, vec![expected; 3]);
    let text = String::from_utf8(run(&["fleet", "machines", "--db", &db, "-v"]).stdout).unwrap();
    assert!(
        text.contains(&format!("{}=2", driver.to_lowercase())),
        "{text}"
    );
    // The table of dumps names the same suspect as the report.
    let csv = run(&[
        "scan",
        share.dir.path().to_str().unwrap(),
        "-q",
        "--format",
        "csv",
    ])
    .stdout;
    let csv = String::from_utf8(csv).unwrap();
    assert_eq!(
        csv.lines()
            .filter(|line| line.ends_with(&driver.to_lowercase()))
            .count(),
        2,
        "{csv}"
    );
}
