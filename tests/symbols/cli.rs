//! `kbtriage symbols`, on a written dump with files written to fit it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::symbols::{GUID, Pdb, Pe};
use serde_json::Value;
use tempfile::TempDir;

fn dump() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps/server2008-x64-d1.dmp")
}

struct Run {
    cache: TempDir,
    store: TempDir,
}

impl Run {
    fn new() -> Run {
        Run {
            cache: TempDir::new().unwrap(),
            store: TempDir::new().unwrap(),
        }
    }

    fn kbtriage(&self, arguments: &[&str]) -> Output {
        self.command("symbols", arguments).output().unwrap()
    }

    fn command(&self, command: &str, arguments: &[&str]) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
        program
            .arg(command)
            .args(arguments)
            .env("KBTRIAGE_CACHE_DIR", self.cache.path())
            .env_remove("_NT_SYMBOL_PATH")
            .env_remove("_NT_ALT_SYMBOL_PATH")
            .env_remove("_NT_EXECUTABLE_IMAGE_PATH");
        program
    }

    fn check(&self, more: &[&str]) -> Vec<Value> {
        let path = dump();
        let mut arguments = vec!["check", "--format", "json", path.to_str().unwrap()];
        arguments.extend(more);
        let out = self.kbtriage(&arguments);
        assert_eq!(
            out.status.code(),
            Some(0),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
        let value: Value = serde_json::from_slice(&out.stdout).unwrap();
        assert_eq!(value[0]["type"], "symbols");
        value[0]["files"].as_array().unwrap().clone()
    }

    /// Puts an image and a PDB that fit the dump's tcpip.sys into the store.
    fn fill(&self) -> (Pe, Pdb) {
        let files = self.check(&[]);
        let tcpip = files.iter().find(|f| f["name"] == "tcpip.sys").unwrap();
        assert_eq!(tcpip["status"], "missing");
        let key = tcpip["key"].as_str().unwrap();
        let number = |text: &str| u32::from_str_radix(text, 16).unwrap();
        let mut image = Pe::new(number(&key[..8]), GUID, 1, r"d:\obj\tcpip.pdb");
        image.size = number(&key[8..]);
        let pdb = Pdb::new(GUID, 1, &[(0x10, "TtStartTimer"), (0x40, "TtStopTimer")]);
        let folder = |name: &str, key: &str| self.store.path().join(name).join(key);
        for (name, key, bytes) in [
            ("tcpip.sys", image.key(), image.write()),
            ("tcpip.pdb", pdb.key(), pdb.write()),
        ] {
            fs::create_dir_all(folder(name, &key)).unwrap();
            fs::write(folder(name, &key).join(name), bytes).unwrap();
        }
        (image, pdb)
    }

    fn store(&self) -> &str {
        self.store.path().to_str().unwrap()
    }
}

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn check_lists_what_is_there_and_writes_a_manifest_of_the_rest() {
    let run = Run::new();
    let (image, pdb) = run.fill();
    let manifest = run.store.path().join("missing.txt");
    let files = run.check(&[
        "--symbols",
        run.store(),
        "--manifest",
        manifest.to_str().unwrap(),
    ]);
    let state = |name: &str| files.iter().find(|f| f["name"] == name).unwrap();
    assert_eq!(state("tcpip.sys")["status"], "loaded");
    assert_eq!(state("tcpip.sys")["key"], image.key());
    assert_eq!(state("tcpip.pdb")["key"], pdb.key());
    let written = fs::read_to_string(&manifest).unwrap();
    assert!(!written.contains("tcpip"));
    let missing = files.iter().filter(|f| f["status"] == "missing").count();
    assert!(missing > 0);
    assert_eq!(written.lines().count(), missing);
    for line in written.lines() {
        let parts: Vec<&str> = line.split(',').collect();
        assert!(
            matches!(parts.as_slice(), [name, key, "1"] if name.contains('.') && key.len() > 8),
            "{line}"
        );
    }
}

#[test]
fn what_another_machine_brought_is_imported_and_then_found_without_options() {
    let run = Run::new();
    run.fill();
    let out = run.kbtriage(&["import", run.store()]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out));
    let files = run.check(&[]);
    let loaded = |name: &str| {
        files
            .iter()
            .any(|f| f["name"] == name && f["status"] == "loaded")
    };
    assert!(loaded("tcpip.sys") && loaded("tcpip.pdb"));
    let info = text(&run.kbtriage(&["cache"]));
    assert!(info.contains("files     2"), "{info}");
    assert!(text(&run.kbtriage(&["cache", "--clear"])).contains("files     0"));
}

#[test]
fn resolve_names_addresses_offsets_and_names() {
    let run = Run::new();
    run.fill();
    let path = dump();
    let base = |more: &[&str]| {
        let mut arguments = vec!["resolve", path.to_str().unwrap(), "--symbols", run.store()];
        arguments.extend(more);
        run.kbtriage(&arguments)
    };
    let out = base(&["tcpip+0x1040", "tcpip.sys+1041", "tcpip!TtStartTimer"]);
    let lines = text(&out);
    assert_eq!(out.status.code(), Some(0), "{lines}");
    let lines: Vec<&str> = lines.lines().collect();
    assert!(
        lines[0].ends_with("tcpip+0x1040  tcpip!TtStopTimer"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].contains("tcpip!TtStopTimer+0x1 (approximate"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].ends_with("tcpip+0x1010  tcpip!TtStartTimer"),
        "{}",
        lines[2]
    );
    let address = lines[0].split_whitespace().next().unwrap();
    assert!(text(&base(&[address])).ends_with("tcpip!TtStopTimer\n"));
    for wrong in ["nonsense", "gone+10", "tcpip!Gone", "0x10", "tcpip+zz"] {
        assert_eq!(base(&[wrong]).status.code(), Some(1), "{wrong}");
    }
}

#[test]
fn find_lists_names_by_pattern() {
    let run = Run::new();
    run.fill();
    let path = dump();
    let find = |pattern: &str| {
        run.kbtriage(&[
            "find",
            path.to_str().unwrap(),
            pattern,
            "--symbols",
            run.store(),
        ])
    };
    let out = text(&find("tcpip!*stop*"));
    assert_eq!(out.lines().count(), 1);
    assert!(out.ends_with("tcpip!TtStopTimer\n"), "{out}");
    assert_eq!(text(&find("*!Tt*")).lines().count(), 2);
    assert_eq!(find("tcpip!Nothing*").status.code(), Some(1));
}

#[test]
fn fetch_without_consent_is_refused_and_a_bad_dump_is_named() {
    let run = Run::new();
    let path = dump();
    let path = path.to_str().unwrap();
    assert_eq!(run.kbtriage(&["fetch", path]).status.code(), Some(2));
    let server = "srv*https://symbols.invalid";
    let refused = run.kbtriage(&["fetch", path, "--symbols", server, "--offline"]);
    assert_eq!(refused.status.code(), Some(2));
    let bad = run.store.path().join("no.dmp");
    fs::write(&bad, b"no dump").unwrap();
    let out = run.kbtriage(&["check", bad.to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&out.stderr).contains("no.dmp"));
}

#[test]
fn each_variable_of_the_debuggers_is_read() {
    for (images, symbols) in [
        ("_NT_SYMBOL_PATH", "_NT_SYMBOL_PATH"),
        ("_NT_SYMBOL_PATH", "_NT_ALT_SYMBOL_PATH"),
        ("_NT_EXECUTABLE_IMAGE_PATH", "_NT_SYMBOL_PATH"),
        ("_NT_EXECUTABLE_IMAGE_PATH", "_NT_ALT_SYMBOL_PATH"),
    ] {
        let run = Run::new();
        run.fill();
        let folder = |name: &str| run.store.path().join(name);
        let key = |name: &str| fs::read_dir(folder(name)).unwrap().next().unwrap().unwrap();
        let path = dump();
        let mut program = run.command("triage", &["--format", "json", path.to_str().unwrap()]);
        // Each variable leads to one of the two files only, as plain folders.
        let (image, pdb) = (key("tcpip.sys").path(), key("tcpip.pdb").path());
        match images == symbols {
            true => program.env(
                images,
                format!("/kbtriage-gone;{};{}", image.display(), pdb.display()),
            ),
            false => program.env(images, image).env(symbols, pdb),
        };
        let out = program.output().unwrap();
        let records: Value = serde_json::from_slice(&out.stdout).unwrap();
        let modules = records[0]["modules"].as_array().unwrap();
        let tcpip = modules.iter().find(|m| m["name"] == "tcpip.sys").unwrap();
        assert_eq!(tcpip["symbols"], "loaded", "{images} {symbols}");
        assert_eq!(tcpip["pdb"]["name"], "tcpip.pdb");
        assert_eq!(records[0]["tool"]["options"]["offline"], true);
    }
}

#[cfg(unix)]
#[test]
fn a_folder_that_gives_no_answer_is_said_once() {
    // A link to itself: the system can say neither that there is a folder nor that there is none.
    let run = Run::new();
    let dead = run.store.path().join("dead");
    std::os::unix::fs::symlink(&dead, &dead).unwrap();
    let path = dump();
    let path = path.to_str().unwrap();
    let chain = format!("{};srv*{}", dead.display(), dead.display());
    for (command, arguments) in [
        ("symbols", &["check", path, "--symbols", &chain][..]),
        (
            "symbols",
            &["resolve", path, "tcpip+1", "--symbols", &chain],
        ),
        ("triage", &[path, "--symbols", &chain]),
    ] {
        let out = run.command(command, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        let line = format!("the symbol server {} gave no answer: ", dead.display());
        assert_eq!(said.matches(&line).count(), 1, "{arguments:?}: {said}");
        assert!(!said.contains("no such folder"), "{said}");
    }
}

#[test]
fn the_alternate_path_is_searched_before_the_other() {
    let run = Run::new();
    run.fill();
    let other = tempfile::TempDir::new().unwrap();
    let image = |root: &Path| {
        let folder = root.join("tcpip.sys");
        let key = fs::read_dir(folder).unwrap().next().unwrap().unwrap();
        key.path().join("tcpip.sys")
    };
    let own = image(run.store.path());
    let below = own.strip_prefix(run.store.path()).unwrap();
    let copy = other.path().join(below);
    fs::create_dir_all(copy.parent().unwrap()).unwrap();
    fs::copy(&own, &copy).unwrap();
    for (first, second, found) in [
        (run.store.path(), other.path(), &own),
        (other.path(), run.store.path(), &copy),
    ] {
        let path = dump();
        let arguments = ["check", "--format", "json", path.to_str().unwrap()];
        let out = run
            .command("symbols", &arguments)
            .env("_NT_ALT_SYMBOL_PATH", first)
            .env("_NT_SYMBOL_PATH", second)
            .output()
            .unwrap();
        let records: Value = serde_json::from_slice(&out.stdout).unwrap();
        let files = records[0]["files"].as_array().unwrap();
        let tcpip = files.iter().find(|f| f["name"] == "tcpip.sys").unwrap();
        assert_eq!(tcpip["path"], found.to_str().unwrap(), "{tcpip}");
    }
}

#[test]
fn a_file_of_another_build_is_named_with_both_identities_everywhere() {
    let run = Run::new();
    let (mut image, _) = run.fill();
    let wanted = image.key();
    fs::remove_dir_all(run.store.path().join("tcpip.sys")).unwrap();
    image.stamp += 1;
    fs::write(run.store.path().join("tcpip.sys"), image.write()).unwrap();

    let manifest = run.store.path().join("missing.txt");
    let files = run.check(&[
        "--symbols",
        run.store(),
        "--manifest",
        manifest.to_str().unwrap(),
    ]);
    let tcpip = files.iter().find(|f| f["name"] == "tcpip.sys").unwrap();
    assert_eq!(tcpip["status"], "mismatched");
    assert_eq!(
        (&tcpip["key"], &tcpip["found"]),
        (&wanted.clone().into(), &image.key().into())
    );
    let written = fs::read_to_string(&manifest).unwrap();
    assert!(
        written.contains(&format!("tcpip.sys,{wanted},1\r\n")),
        "{written}"
    );

    let path = dump();
    let arguments = [
        "--format",
        "json",
        path.to_str().unwrap(),
        "--symbols",
        run.store(),
    ];
    let out = run.command("triage", &arguments).output().unwrap();
    let records: Value = serde_json::from_slice(&out.stdout).unwrap();
    let report = &records[0];
    let modules = report["modules"].as_array().unwrap();
    let tcpip = modules.iter().find(|m| m["name"] == "tcpip.sys").unwrap();
    assert_eq!(tcpip["symbols"], "mismatched");
    assert_ne!(tcpip["version_source"], "image");
    let notes = report["notes"].as_array().unwrap();
    let note = notes
        .iter()
        .find(|n| n["code"] == "modules.mismatched")
        .unwrap();
    let message = note["message"].as_str().unwrap();
    assert!(
        message.contains(&wanted) && message.contains(&image.key()),
        "{message}"
    );
    assert_eq!(
        report["status"], "ok",
        "the dump itself is whole: {notes:?}"
    );
}

#[cfg(not(windows))]
#[test]
fn parts_of_a_path_that_cannot_work_here_are_reported_by_every_command() {
    let run = Run::new();
    let (path, share) = (dump(), r"\\server\symbols");
    let path = path.to_str().unwrap();
    let cases: &[&[&str]] = &[
        &["triage", path],
        &["stack", path],
        &["symbols", "check", path],
        &["symbols", "find", path, "tcpip!*"],
    ];
    for arguments in cases {
        let (command, rest) = arguments.split_first().unwrap();
        let mut program = run.command(command, rest);
        let out = program.args(["--symbols", share]).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            said.contains(share) && said.contains("mount it"),
            "{arguments:?}: {said}"
        );
    }
}

#[test]
fn a_pdb_on_which_the_parser_panics_is_a_reason_and_nothing_on_standard_error() {
    let run = Run::new();
    let (_, pdb) = run.fill();
    let file = run
        .store
        .path()
        .join("tcpip.pdb")
        .join(pdb.key())
        .join("tcpip.pdb");
    fs::write(&file, crate::support::symbols::panicking(&pdb)).unwrap();
    let files = run.check(&["--symbols", run.store()]);
    let tcpip = files.iter().find(|f| f["name"] == "tcpip.pdb").unwrap();
    assert_eq!(tcpip["status"], "missing");
    let tried = tcpip["tried"].to_string();
    assert!(tried.contains("a parser gave up"), "{tried}");
    for command in ["triage", "explain", "stack"] {
        let path = dump();
        let arguments = [path.to_str().unwrap(), "--symbols", run.store()];
        let out = run.command(command, &arguments).output().unwrap();
        assert_eq!(out.status.code(), Some(0), "{command}");
        assert_eq!(String::from_utf8_lossy(&out.stderr), "", "{command}");
    }
}

#[test]
fn many_processes_share_one_cache_and_one_store() {
    let run = Run::new();
    run.fill();
    let (near, path) = (run.cache.path().join("near"), dump());
    let chain = format!("srv*{}*{}", near.display(), run.store());
    let arguments = [
        "resolve",
        path.to_str().unwrap(),
        "tcpip+0x1040",
        "--symbols",
        &chain,
    ];
    for _ in 0..3 {
        let children: Vec<_> = (0..6)
            .map(|_| {
                let mut program = run.command("symbols", &arguments);
                program.stdout(std::process::Stdio::piped());
                program.spawn().unwrap()
            })
            .collect();
        for child in children {
            let out = child.wait_with_output().unwrap();
            assert!(text(&out).ends_with("tcpip!TtStopTimer\n"), "{out:?}");
        }
        assert!(text(&run.kbtriage(&["cache"])).contains("indexes   1 "));
        run.kbtriage(&["cache", "--clear"]);
        fs::remove_dir_all(&near).unwrap();
    }
}

#[test]
fn a_memory_dump_names_its_pdbs_before_any_image_is_there() {
    let run = Run::new();
    let packed = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/corpus/dumps/x64-afd-sp2-001-kernel.dmp.gz");
    let path = run.store.path().join("kernel.dmp");
    let mut from = flate2::read::GzDecoder::new(fs::File::open(packed).unwrap());
    std::io::copy(&mut from, &mut fs::File::create(&path).unwrap()).unwrap();
    let path = path.to_str().unwrap();
    let report = run
        .command("triage", &["--format", "json", path])
        .output()
        .unwrap();
    let records: Value = serde_json::from_slice(&report.stdout).unwrap();
    let modules = records[0]["modules"].as_array().unwrap();
    let named: Vec<&Value> = modules
        .iter()
        .map(|m| &m["pdb"])
        .filter(|p| p.is_object())
        .collect();
    assert!(
        named.len() > 5,
        "the images in memory hold CodeView records"
    );

    let manifest = run.store.path().join("missing.txt");
    let to = [
        "check",
        "--all",
        path,
        "--manifest",
        manifest.to_str().unwrap(),
    ];
    assert_eq!(run.kbtriage(&to).status.code(), Some(0));
    let written = fs::read_to_string(&manifest).unwrap();
    for pdb in named {
        let (name, key) = (
            pdb["name"].as_str().unwrap(),
            pdb["guid_age"].as_str().unwrap(),
        );
        assert!(
            written.contains(&format!("{name},{key},1\r\n")),
            "{written}"
        );
    }
}

#[test]
fn the_real_tcpip_gives_its_version_and_its_names_and_the_near_miss_neither() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let (dump, store) = (
        shared.join("dumps/kernel/triage_x64.dmp"),
        shared.join("symbols"),
    );
    if !dump.is_file() {
        println!("SKIPPED: ../shared is absent");
        return;
    }
    let run = Run::new();
    let tcpip = |symbols: &Path| {
        let arguments = [
            "--format",
            "json",
            dump.to_str().unwrap(),
            "--symbols",
            symbols.to_str().unwrap(),
        ];
        let out = run.command("triage", &arguments).output().unwrap();
        let records: Value = serde_json::from_slice(&out.stdout).unwrap();
        let modules = records[0]["modules"].as_array().unwrap();
        let tcpip = modules.iter().find(|m| m["name"] == "tcpip.sys").unwrap();
        (tcpip.clone(), records[0]["notes"].to_string())
    };
    let image = fs::read(store.join("tcpip.sys/8CA873CB2eb000/tcpip.sys")).unwrap();
    let mut options = goblin::pe::options::ParseOptions::default();
    options.parse_attribute_certificates = false;
    let parsed = goblin::pe::PE::parse_with_opts(&image, &options).unwrap();
    let resources = parsed.resource_data.unwrap();
    let fixed = resources.version_info.unwrap().fixed_info.unwrap();
    let (ms, ls) = (fixed.file_version_ms, fixed.file_version_ls);
    let version = format!("{}.{}.{}.{}", ms >> 16, ms & 0xFFFF, ls >> 16, ls & 0xFFFF);

    let (found, _) = tcpip(&store);
    assert_eq!(found["version"], version.as_str());
    assert_eq!(found["version_source"], "image");
    assert_eq!(found["symbols"], "loaded");
    assert_eq!(
        found["pdb"]["guid_age"],
        "BB6E495AD4841255931863233D916B601"
    );

    let (refused, notes) = tcpip(&store.join("tcpip.sys/9503E2DE2eb000"));
    assert_eq!(refused["symbols"], "mismatched");
    assert_ne!(refused["version_source"], "image");
    assert!(
        notes.contains("9503E2DE2eb000") && notes.contains("8CA873CB2eb000"),
        "{notes}"
    );

    let arguments = [
        "resolve",
        dump.to_str().unwrap(),
        "tcpip!TtStopTimer",
        "--symbols",
        store.to_str().unwrap(),
    ];
    let out = text(&run.kbtriage(&arguments));
    assert!(out.ends_with("tcpip!TtStopTimer\n"), "{out}");
}

#[test]
fn a_cache_that_is_to_be_filled_need_not_be_there() {
    let run = Run::new();
    let path = dump();
    let path = path.to_str().unwrap();
    let absent = run.store.path().join("absent");
    let absent = absent.to_str().unwrap();
    for (chain, is_said) in [
        (format!("cache*{absent};srv*https://127.0.0.1:9/x"), false),
        // Nothing is ever copied to it.
        (format!("srv*https://127.0.0.1:9/x;cache*{absent}"), true),
        (format!("srv*{absent}"), true),
    ] {
        let arguments = [path, "--offline", "--symbols", &chain];
        let out = run.command("triage", &arguments).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(said.contains("no such folder"), is_said, "{chain}: {said}");
    }
}
