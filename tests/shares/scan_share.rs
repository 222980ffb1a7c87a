//! Scanning a share: everything in it is accounted for once, whatever is in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::share::{
    cabinet, fixture, gzip, matching, numbered, of_type, put, records, run, zip,
};
use serde_json::Value;

/// A share with the mistakes that real ones have. Gives what a scan has to say of each entry: the
/// path below the share and `ok`, `degraded`, `failed` or the reason why it is skipped.
fn hostile_share(root: &Path) -> BTreeMap<String, &'static str> {
    let mut expected = BTreeMap::new();
    let mut add = |path: &str, content: &[u8], what| {
        put(&root.join(path), content);
        expected.insert(path.to_owned(), what);
    };
    for host in 0..150u64 {
        add(
            &format!("HOST{host:03}/2008/Mini{host}.dmp"),
            &numbered(host),
            "ok",
        );
        add(
            &format!("HOST{host:03}/readme.txt"),
            b"dumps of this host",
            "not-a-dump",
        );
    }
    // Any extension, duplicates, names that try to do something.
    add("copies/no-extension", &matching(), "ok");
    add("copies/again.bak", &matching(), "ok");
    add("names/=cmd' -C calc'!A0.dmp", &matching(), "ok");
    add("names/\u{9b}31mred.dmp", &matching(), "ok");
    if !cfg!(windows) {
        add("names/new\nline.dmp", &matching(), "ok");
        add("names/\u{1b}[31mred.dmp", &matching(), "ok");
        add("names/=cmd|' -C calc'!A0.dmp", &matching(), "ok");
        add("names/a|b*c.dmp", &matching(), "ok");
    }
    // What is left of broken copies.
    add("broken/empty.dmp", b"", "empty");
    add("broken/zeros.dmp", &vec![0; 70_000], "all-zeros");
    add("broken/signature.dmp", b"PAGEDU", "failed");
    add("broken/cut.dmp", &matching()[..6000], "degraded");
    // Archives: with a dump, without, nested once, nested too deep, cut, of a kind that is not read.
    let dump = matching();
    add(
        "packed/notes.zip",
        &zip(&[("a.txt", b"no dump")]),
        "no-dump-inside",
    );
    add("packed/other.rar", b"Rar!\x1A\x07\x01\0", "compressed");
    let whole = zip(&[("MEMORY.DMP", &dump), ("a.txt", b"x")]);
    put(&root.join("packed/one.zip"), &whole);
    put(
        &root.join("packed/wer.cab"),
        &cabinet(&[("r.xml", b"<r/>"), ("m.dmp", &dump)]),
    );
    put(&root.join("packed/m.dmp.gz"), &gzip(&dump));
    put(
        &root.join("packed/outer.zip"),
        &zip(&[("in/inner.cab", &cabinet(&[("x.dmp", &dump)]))]),
    );
    put(
        &root.join("packed/deep.zip"),
        &zip(&[("b.zip", &zip(&[("c.gz", &gzip(&dump))]))]),
    );
    put(&root.join("packed/cut.zip"), &whole[..whole.len() / 2]);
    for (path, what) in [
        ("packed/one.zip!MEMORY.DMP", "ok"),
        ("packed/wer.cab!m.dmp", "ok"),
        ("packed/m.dmp.gz!content", "ok"),
        ("packed/outer.zip!in/inner.cab!x.dmp", "ok"),
        ("packed/deep.zip!b.zip!c.gz", "skipped"),
        ("packed/cut.zip", "failed"),
    ] {
        expected.insert(path.to_owned(), what);
    }
    #[cfg(unix)]
    special(root, &mut expected);
    expected
}

#[cfg(unix)]
fn special(root: &Path, expected: &mut BTreeMap<String, &'static str>) {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    let odd = std::ffi::OsStr::from_bytes(b"names/latin-\xE9.dmp");
    put(&root.join(odd), &matching());
    expected.insert("names/latin-\u{FFFD}.dmp".to_owned(), "ok");
    fs::create_dir_all(root.join("links")).unwrap();
    symlink(root, root.join("links/loop")).unwrap();
    symlink("nowhere", root.join("links/broken.dmp")).unwrap();
    symlink("../copies/no-extension", root.join("links/file.dmp")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(root.join("links/pipe.dmp"))
        .status()
        .unwrap();
    assert!(made.success());
    std::os::unix::net::UnixListener::bind(root.join("links/socket.dmp")).unwrap();
    // A hierarchical store's stub: a size, and nothing on the disk.
    let stub = fs::File::create(root.join("links/stub.dmp")).unwrap();
    stub.set_len(1 << 20).unwrap();
    for (path, what) in [
        ("links/loop", "link"),
        ("links/broken.dmp", "link"),
        ("links/file.dmp", "link"),
        ("links/pipe.dmp", "special-file"),
        ("links/socket.dmp", "special-file"),
        ("links/stub.dmp", "offline"),
    ] {
        expected.insert(path.to_owned(), what);
    }
}

/// What a scan says of each entry, by path below `root`; a path that comes twice fails the test.
fn said(root: &Path, lines: &[Value]) -> BTreeMap<String, String> {
    let mut said = BTreeMap::new();
    for record in of_type(lines, "report") {
        let path = record["source"]["path"].as_str().unwrap();
        let below = path.strip_prefix(root.to_str().unwrap()).unwrap();
        let below = below[1..].replace(std::path::MAIN_SEPARATOR, "/");
        let what = record["reason"].as_str().or(record["status"].as_str());
        let twice = said.insert(below.clone(), what.unwrap().to_owned());
        assert_eq!(twice, None, "{below:?} came twice");
    }
    said
}

fn scan(root: &Path, more: &[&str]) -> std::process::Output {
    let mut arguments = vec!["scan", root.to_str().unwrap(), "--sort", "path"];
    arguments.extend(more);
    run(&arguments)
}

#[test]
fn every_entry_of_a_hostile_share_is_accounted_for_exactly_once() {
    let dir = tempfile::tempdir().unwrap();
    let expected = hostile_share(dir.path());
    let before = crate::support::share::snapshot(dir.path());
    let output = scan(dir.path(), &["--all-files", "--jobs", "3"]);
    let lines = records(&output.stdout);
    let said = said(dir.path(), &lines);
    let expected: BTreeMap<String, String> = expected
        .into_iter()
        .map(|(path, what)| (path, what.to_owned()))
        .collect();
    assert_eq!(said, expected);
    assert_eq!(
        crate::support::share::snapshot(dir.path()),
        before,
        "nothing is written there"
    );
    assert_eq!(
        output.status.code(),
        Some(1),
        "a broken dump is said by the exit status"
    );

    // Every record follows its schema.
    let validators: BTreeMap<&str, _> = ["summary", "machine", "scan"]
        .into_iter()
        .map(|name| {
            let schema = run(&["schema", name]).stdout;
            let schema = serde_json::from_slice(&schema).unwrap();
            (name, jsonschema::validator_for(&schema).unwrap())
        })
        .collect();
    for line in &lines {
        let name = match line["type"].as_str().unwrap() {
            "report" => "summary",
            other => other,
        };
        let errors: Vec<_> = validators[name].iter_errors(line).collect();
        assert!(errors.is_empty(), "{errors:?} in {line}");
    }

    // The closing record counts the same.
    let scan = of_type(&lines, "scan")[0];
    let count = |what: &str| expected.values().filter(|w| *w == what).count() as u64;
    assert_eq!(scan["statuses"]["ok"], count("ok"));
    assert_eq!(scan["statuses"]["failed"], count("failed"));
    assert_eq!(scan["complete"], true);
    for skipped in scan["skipped"].as_array().unwrap() {
        let reason = skipped["reason"].as_str().unwrap();
        assert_eq!(skipped["count"], count(reason), "{reason}");
    }
    assert_eq!(
        of_type(&lines, "machine").len(),
        150 + 4,
        "hosts, and four more directories"
    );
}

#[test]
fn sorted_output_does_not_depend_on_the_number_of_workers() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..60 {
        put(
            &dir.path().join(format!("h{}/{n}.dmp", n % 7)),
            &numbered(n),
        );
    }
    let one = scan(dir.path(), &["--jobs", "1"]);
    let many = scan(dir.path(), &["--jobs", "8"]);
    assert_eq!(one.status.code(), Some(0));
    assert!(one.stdout == many.stdout);
    let lines = records(&one.stdout);
    let paths: Vec<&str> = of_type(&lines, "report")
        .iter()
        .map(|record| record["source"]["path"].as_str().unwrap())
        .collect();
    let mut sorted = paths.clone();
    sorted.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
    assert_eq!(paths, sorted);
}

#[test]
fn a_summary_is_small_and_leaves_out_what_it_omits() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("HOST1/a.dmp"), &matching());
    let short = records(&scan(dir.path(), &[]).stdout);
    let full = records(&scan(dir.path(), &["--detail", "full"]).stdout);
    let report = &short[0];
    assert_eq!(report["detail"], "summary");
    assert_eq!(full[0]["detail"], "full");
    for key in ["unloaded_modules", "other_processors"] {
        assert!(report.get(key).is_none(), "{key} is absent, not empty");
        assert!(full[0].get(key).is_some());
    }
    assert!(report["fault"].get("registers").is_none());
    for key in ["crash_id", "bucket", "bugcheck"] {
        assert_eq!(report[key], full[0][key]);
    }
    assert_eq!(report["hotfix"]["verdict"], full[0]["hotfix"]["verdict"]);
    assert_eq!(report["machine"]["name"], "HOST1");
    assert_eq!(full[0]["machine"]["name"], "HOST1");
}

/// A scan makes no more of a report than its summary holds: the summary has to be that of the whole one.
#[test]
fn a_summary_is_that_of_the_whole_report() {
    use kbtriage::report::model::Detail;
    use kbtriage::report::summary::Summary;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let engine = kbtriage::triage::Engine::default();
    let mut compared = 0;
    for folder in ["fixtures/dumps", "../shared/data/dumps/kernel"] {
        let Ok(entries) = fs::read_dir(root.join(folder)) else {
            println!("SKIPPED: {folder} is absent");
            continue;
        };
        for entry in entries {
            let Ok(source) = kbtriage::source::open(&entry.unwrap().path()) else {
                continue;
            };
            let summary = |detail| {
                let request = kbtriage::triage::Request {
                    detail,
                    ..kbtriage::triage::Request::new(&source.info)
                };
                Summary::of(engine.triage(source.bytes(), request).report, None)
            };
            assert_eq!(summary(Detail::Summary), summary(Detail::Full));
            compared += 1;
        }
    }
    assert!(compared >= 10);
}

#[test]
fn a_dump_that_is_still_copied_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("HOST/a.dmp");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let dump = matching();
    fs::write(&path, &dump[..8192]).unwrap();
    let scan = crate::support::share::program()
        .args(["scan", dir.path().to_str().unwrap(), "--settle", "60"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(250));
    fs::write(&path, &dump).unwrap();
    let output = scan.wait_with_output().unwrap();
    let lines = records(&output.stdout);
    assert_eq!(lines[0]["status"], "ok", "{}", lines[0]);
    assert_eq!(lines[0]["source"]["size"], dump.len());
}

#[test]
fn an_archive_that_unpacks_without_end_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let mut bomb = b"PAGEDU64".to_vec();
    bomb.resize(48 << 20, 0);
    put(&dir.path().join("a/bomb.zip"), &zip(&[("x.dmp", &bomb)]));
    put(
        &dir.path().join("a/nested.zip"),
        &zip(&[("x.gz", &gzip(&bomb))]),
    );
    put(
        &dir.path().join("a/good.zip"),
        &zip(&[("x.dmp", &matching())]),
    );
    let output = scan(dir.path(), &["--limit-unpacked", "8"]);
    let lines = records(&output.stdout);
    let reports = of_type(&lines, "report");
    assert_eq!(reports[0]["error"]["kind"], "limit");
    assert_eq!(
        reports[1]["status"], "ok",
        "the next archive is not affected"
    );
    assert_eq!(reports[2]["error"]["kind"], "limit");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_file_that_is_named_and_gives_no_report_is_a_failure_and_in_a_directory_it_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let packed = b"Rar!\x1A\x07\0 of another program".as_slice();
    for (name, content) in [
        ("H/other.rar", packed),
        ("H/outer.zip", &zip(&[("other.rar", packed)])),
        ("H/notes.txt", b"no dump at all"),
    ] {
        let path = dir.path().join(name);
        put(&path, content);
        let output = scan(&path, &[]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        let said = String::from_utf8(output.stderr).unwrap();
        let file = name.rsplit('/').next().unwrap();
        assert!(said.contains(&format!("{file}: ")), "{said}");
        // As for triage, of an archive but for its advice to scan it.
        let triaged = run(&["triage", path.to_str().unwrap()]);
        assert_eq!(triaged.status.code(), Some(1), "{name}");
    }
    let output = scan(dir.path(), &[]);
    assert_eq!(output.status.code(), Some(0));
    // A damaged archive may hold a dump: that is a failure anywhere.
    put(
        &dir.path().join("H/cut.zip"),
        &zip(&[("a.dmp", &matching())])[..60],
    );
    assert_eq!(scan(dir.path(), &[]).status.code(), Some(1));
    // Who would run it again for that can say that it is known.
    let output = scan(dir.path(), &["--unreadable-ok"]);
    assert_eq!(output.status.code(), Some(0));
    let lines = records(&output.stdout);
    assert_eq!(of_type(&lines, "scan")[0]["errors"]["truncated"], 1);
}

#[test]
fn names_do_nothing_in_tables() {
    let dir = tempfile::tempdir().unwrap();
    let (name, shown) = match cfg!(windows) {
        true => ("\u{9b}0;x\u{202e}.dmp", "\\u{9b}0;x\\u{202e}.dmp"),
        false => ("\u{1b}]0;x\u{7}.dmp", "\\u{1b}]0;x\\u{7}.dmp"),
    };
    put(&dir.path().join("=1+1").join(name), &matching());
    let csv = scan(dir.path(), &["--format", "csv"]).stdout;
    let mut reader = csv::Reader::from_reader(csv.as_slice());
    let columns = reader.headers().unwrap().clone();
    let row = reader.records().next().unwrap().unwrap();
    let cell = |name: &str| &row[columns.iter().position(|c| c == name).unwrap()];
    assert_eq!(cell("machine"), "'=1+1");
    assert!(cell("path").ends_with(shown), "{}", cell("path"));
    for format in ["csv", "markdown", "text", "jsonl"] {
        let out = scan(dir.path(), &["--format", format]).stdout;
        let out = String::from_utf8(out).unwrap();
        assert!(!out.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{format}");
        assert!(!out.is_empty(), "{format}");
    }
}

#[test]
fn nothing_is_written_below_a_root_and_a_root_in_a_root_is_scanned_once() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a/b/x.dmp"), &matching());
    let inside = dir.path().join("a/out.jsonl");
    let refused = scan(dir.path(), &["--output", inside.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!inside.exists());
    let nested = dir.path().join("a");
    let lines = records(&scan(dir.path(), &[nested.to_str().unwrap()]).stdout);
    assert_eq!(of_type(&lines, "report").len(), 1);

    let elsewhere = tempfile::tempdir().unwrap();
    let out = elsewhere.path().join("out.jsonl");
    scan(dir.path(), &["--output", out.to_str().unwrap()]);
    assert_eq!(records(&fs::read(&out).unwrap()).len(), 3);
    assert_eq!(
        fs::read_dir(elsewhere.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
}

#[test]
fn patterns_choose_files_and_leave_out_directories() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["a/x.dmp", "a/y.mdmp", "old/x.dmp", "b/old/x.DMP"] {
        put(&dir.path().join(path), &matching());
    }
    let lines = records(&scan(dir.path(), &["--include", "*.dmp", "--exclude", "old/"]).stdout);
    assert_eq!(of_type(&lines, "report").len(), 1);
    let bad = scan(dir.path(), &["--include", "a["]);
    assert_eq!(bad.status.code(), Some(2));
}

crate::support::only_on!(
    unix,
    links_out_of_the_share_are_followed_on_request_and_never_twice,
    "a link needs a privilege"
);
#[cfg(unix)]
#[test]
fn links_out_of_the_share_are_followed_on_request_and_never_twice() {
    use std::os::unix::fs::symlink;
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    put(&dir.path().join("a/x.dmp"), &matching());
    put(&other.path().join("y.dmp"), &numbered(1));
    symlink(other.path(), dir.path().join("a/out")).unwrap();
    symlink(other.path(), dir.path().join("a/zagain")).unwrap();
    symlink(dir.path(), dir.path().join("a/loop")).unwrap();
    symlink(dir.path().parent().unwrap(), dir.path().join("a/up")).unwrap();
    let lines = records(&scan(dir.path(), &["--follow-links"]).stdout);
    assert_eq!(of_type(&lines, "report").len(), 2);
    let scan_record = of_type(&lines, "scan")[0];
    let skipped: u64 = scan_record["skipped"]
        .as_array()
        .unwrap()
        .iter()
        .map(|skipped| skipped["count"].as_u64().unwrap())
        .sum();
    assert_eq!(skipped, 3);
}

crate::support::only_on!(
    unix,
    an_unreadable_directory_is_said_and_the_rest_is_scanned,
    "the test uses Unix permissions"
);
#[cfg(unix)]
#[test]
fn an_unreadable_directory_is_said_and_the_rest_is_scanned() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a/x.dmp"), &matching());
    put(&dir.path().join("closed/x.dmp"), &matching());
    let closed = dir.path().join("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read_dir(&closed).is_ok() {
        println!("SKIPPED: this user may read everything");
        return;
    }
    let output = scan(dir.path(), &[]);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let lines = records(&output.stdout);
    assert_eq!(of_type(&lines, "report").len(), 1);
    assert_eq!(of_type(&lines, "scan")[0]["unreadable"]["count"], 1);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_root_that_does_not_exist_is_an_error_and_not_an_empty_share() {
    let dir = tempfile::tempdir().unwrap();
    let output = scan(&dir.path().join("nowhere"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let lines = records(&output.stdout);
    assert_eq!(of_type(&lines, "scan")[0]["unreadable"]["count"], 1);
}

/// A sink that keeps what it is given, and may tell the run to stop.
#[derive(Default)]
struct Keep {
    paths: Vec<(String, bool)>,
    stop: Option<(usize, Arc<AtomicBool>)>,
}

impl kbtriage::scan::Sink for Keep {
    fn take(&mut self, done: kbtriage::scan::Done) -> std::io::Result<()> {
        let timeout = match &done.outcome {
            kbtriage::scan::Outcome::Records(records) => {
                records[0].line.contains(r#""kind":"timeout""#)
            }
            other => panic!("{other:?}"),
        };
        self.paths
            .push((done.path.to_string_lossy().into_owned(), timeout));
        if let Some((after, stop)) = &self.stop
            && self.paths.len() == *after
        {
            stop.store(true, Ordering::Relaxed);
        }
        Ok(())
    }
}

fn job(root: &Path, stop: Arc<AtomicBool>) -> kbtriage::scan::Job {
    use kbtriage::scan::{Discovery, Filter, Options, Roots};
    kbtriage::scan::Job {
        engine: kbtriage::triage::Engine::default(),
        options: Options::new(Discovery::Walk {
            roots: Roots::new(vec![root.to_owned()]),
            filter: Filter::default(),
            follow_links: false,
            sorted: true,
        }),
        catalogue: None,
        stop,
    }
}

#[test]
fn a_read_that_never_comes_back_is_reported_and_its_worker_replaced() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.dmp", "b-dead.dmp", "c-dead.dmp", "d.dmp", "e.dmp"] {
        put(&dir.path().join(name), &matching());
    }
    let mut job = job(dir.path(), Arc::default());
    job.options.jobs = kbtriage::scan::Jobs::Fixed(1);
    job.options.sort = true;
    job.options.stuck = Duration::from_millis(300);
    job.options.open = |path, found| {
        while path.to_string_lossy().contains("dead") {
            std::thread::park();
        }
        kbtriage::scan::open_file(path, found)
    };
    let mut keep = Keep::default();
    let finished = kbtriage::scan::run(&Arc::new(job), &mut keep).unwrap();
    assert!(finished.complete);
    assert_eq!(finished.stuck, 2);
    let timeouts: Vec<bool> = keep.paths.iter().map(|(_, timeout)| *timeout).collect();
    assert_eq!(timeouts, [false, true, true, false, false]);
}

#[test]
fn an_interrupted_run_ends_soon_and_gives_what_is_done() {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..300 {
        put(
            &dir.path().join(format!("{n}.dmp")),
            &fixture("server2008-x64-header-only.dmp"),
        );
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut job = job(dir.path(), Arc::clone(&stop));
    job.options.jobs = kbtriage::scan::Jobs::Fixed(2);
    job.options.open = |path, found| {
        std::thread::sleep(Duration::from_millis(20));
        kbtriage::scan::open_file(path, found)
    };
    let mut keep = Keep {
        stop: Some((10, stop)),
        ..Keep::default()
    };
    let started = Instant::now();
    let finished = kbtriage::scan::run(&Arc::new(job), &mut keep).unwrap();
    assert!(!finished.complete);
    assert!(
        (10..300).contains(&keep.paths.len()),
        "{}",
        keep.paths.len()
    );
    assert!(started.elapsed() < Duration::from_secs(3));
}
