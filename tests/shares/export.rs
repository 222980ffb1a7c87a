//! A store for analytical engines: what DuckDB reads of it is what the lines of the scan say.

use std::path::Path;
#[cfg(feature = "parquet")]
use std::process::Command;

use crate::support::share::{fixture, numbered, of_type, put, records, run};

/// A store of a few crashes in several months, and the lines of the scan that made it.
fn store(dir: &Path) -> (String, Vec<serde_json::Value>) {
    let share = dir.join("share");
    for n in 0..40u64 {
        // A crash every 40 hours and some: several months.
        put(
            &share.join(format!("HOST{}/Mini{n}.dmp", n % 7)),
            &numbered(n * 41),
        );
    }
    put(
        &share.join("HOST1/memory.dmp"),
        &fixture("server2008-x64-header-only.dmp"),
    );
    let db = dir.join("dumps.db").to_str().unwrap().to_owned();
    let output = run(&["scan", share.to_str().unwrap(), "--db", &db]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    (db, records(&output.stdout))
}

#[test]
fn lines_are_exported_by_month_and_nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let (db, lines) = store(dir.path());
    let folder = dir.path().join("by month");
    let export = || {
        run(&[
            "store",
            "export",
            &db,
            "--format",
            "jsonl",
            "--output",
            folder.to_str().unwrap(),
        ])
    };
    let output = export();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let mut seen = 0;
    for month in std::fs::read_dir(&folder).unwrap() {
        let month = month.unwrap().path();
        let name = month.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read(month.join("crashes.jsonl")).unwrap();
        for record in records(&text) {
            let time = record["dump"]["crash_time"]
                .as_str()
                .map(|time| time[..7].to_owned());
            let expected = time.unwrap_or("__HIVE_DEFAULT_PARTITION__".to_owned());
            assert_eq!(name, format!("month={expected}"));
            assert!(of_type(&lines, "report").contains(&&record));
            seen += 1;
        }
    }
    assert_eq!(seen, of_type(&lines, "report").len());
    let again = export();
    assert_eq!(again.status.code(), Some(2));
    assert!(
        String::from_utf8(again.stderr)
            .unwrap()
            .contains("exists already")
    );
}

#[cfg(not(feature = "parquet"))]
#[test]
fn a_build_without_parquet_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (db, _) = store(dir.path());
    let folder = dir.path().join("columns");
    let output = run(&[
        "store",
        "export",
        &db,
        "--format",
        "parquet",
        "--output",
        folder.to_str().unwrap(),
    ]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("--features parquet")
    );
    println!(
        "SKIPPED: Parquet is not in this build: cargo test --features parquet --test shares export"
    );
}

#[cfg(feature = "parquet")]
#[test]
fn duckdb_reads_the_same_crashes_from_parquet_and_types_that_spark_knows() {
    const QUESTIONS: &str = r#"
import duckdb, json, sys
table = f"read_parquet('{sys.argv[1]}/*/*.parquet', hive_partitioning = true, hive_types_autocast = false)"
rows = duckdb.sql(f"SELECT path, machine, crash_id, strftime(crash_time AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ'), "
                  f"format, build, stop_code, live_report, verdict, match, applicability, bucket, month "
                  f"FROM {table} ORDER BY path").fetchall()
one = duckdb.sql(f"SELECT file_name FROM parquet_file_metadata('{sys.argv[1]}/*/*.parquet') LIMIT 1").fetchall()[0][0]
types = duckdb.sql(f"SELECT name, type, converted_type FROM parquet_schema('{one}')").fetchall()
print(json.dumps({"rows": rows, "types": types}))
"#;
    let dir = tempfile::tempdir().unwrap();
    let (db, lines) = store(dir.path());
    let folder = dir.path().join("columns");
    let folder = folder.to_str().unwrap();
    let output = run(&[
        "store", "export", &db, "--format", "parquet", "--output", folder,
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let asked = Command::new("python3")
        .args(["-c", QUESTIONS, folder])
        .output();
    let told = match asked {
        Ok(told) if told.status.success() => told.stdout,
        Ok(told) if !String::from_utf8_lossy(&told.stderr).contains("No module named") => {
            panic!("{}", String::from_utf8_lossy(&told.stderr))
        }
        _ => {
            println!("SKIPPED: DuckDB is not to be had: pip install duckdb");
            return;
        }
    };
    let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
    let mut expected: Vec<serde_json::Value> = of_type(&lines, "report")
        .into_iter()
        .map(|r| {
            let hotfix = &r["hotfix"];
            let time = r["dump"]["crash_time"].as_str();
            serde_json::json!([
                r["source"]["path"],
                r["machine"]["name"],
                r["crash_id"],
                time,
                r["dump"]["format"],
                r["system"]["build"],
                r["bugcheck"]["code"],
                false,
                hotfix["verdict"],
                hotfix["match"]["status"],
                hotfix["applicability"]["status"],
                r["bucket"]["key"],
                time.map(|time| &time[..7]),
            ])
        })
        .collect();
    expected.sort_by_key(|row| row[0].to_string());
    assert_eq!(told["rows"].as_array().unwrap(), &expected);
    // As Spark's documentation of Parquet maps them: string, timestamp, integer, boolean.
    for (name, kind, converted) in [
        ("machine", "BYTE_ARRAY", Some("UTF8")),
        ("crash_time", "INT64", Some("TIMESTAMP_MILLIS")),
        ("build", "INT32", None),
        ("live_report", "BOOLEAN", None),
    ] {
        let row = serde_json::json!([name, kind, converted]);
        assert!(
            told["types"].as_array().unwrap().contains(&row),
            "{row}: {}",
            told["types"]
        );
    }
}
