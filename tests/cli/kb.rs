//! `kbtriage kb show` and `kb check`: what a person or a program gets for versions, files and
//! things that are neither.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use kbtriage::cli::kb::{self, KbArgs, KbError};
use serde_json::Value;

#[derive(Parser)]
#[command(name = "kb")]
struct Line {
    #[command(flatten)]
    args: KbArgs,
}

/// Status, standard output, standard error.
fn run(arguments: &[&str]) -> (u8, String, String) {
    try_run(arguments).expect("the command runs")
}

fn try_run(arguments: &[&str]) -> Result<(u8, String, String), KbError> {
    let words = std::iter::once("kb")
        .chain(arguments.iter().copied())
        .map(OsString::from);
    let line = Line::try_parse_from(words).expect("the arguments parse");
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let status = kb::run(&line.args, &mut out, &mut errors)?;
    Ok((
        status,
        String::from_utf8(out).unwrap(),
        String::from_utf8(errors).unwrap(),
    ))
}

fn check(items: &[&str]) -> (u8, Vec<Value>) {
    let arguments: Vec<&str> = ["check", "--format", "json"]
        .iter()
        .chain(items)
        .copied()
        .collect();
    let (status, out, _) = run(&arguments);
    let Value::Array(records) = serde_json::from_str(&out).unwrap() else {
        panic!("no array")
    };
    let options = 2 * items.contains(&"--symbols") as usize + items.contains(&"--offline") as usize;
    assert_eq!(
        records.len(),
        items.len() - options,
        "one object per argument"
    );
    (status, records)
}

fn shared(path: &str) -> Option<PathBuf> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../shared")
        .join(path);
    if full.exists() {
        return Some(full);
    }
    println!("SKIPPED: ../shared is absent");
    None
}

// ---- A PE file with a version resource, written by hand --------------------------------------

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect()
}

fn padded(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// A block of a version resource: length, value length, type, key, value.
fn block(kind: u16, key: &str, value_len: u16, value: &[u8], children: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 6];
    bytes.extend(utf16(key));
    bytes = padded(bytes);
    bytes.extend(value);
    bytes = padded(bytes);
    bytes.extend(children);
    let length = (bytes.len() as u16).to_le_bytes();
    put(&mut bytes, 0, &length);
    put(&mut bytes, 2, &value_len.to_le_bytes());
    put(&mut bytes, 4, &kind.to_le_bytes());
    bytes
}

/// PE32+ for x64 with one section, `.rsrc`, at RVA 0x1000 and file offset 0x400.
fn driver(version: Option<[u16; 4]>, original_filename: &str) -> Vec<u8> {
    let mut pe = vec![0u8; 0x1000];
    put(&mut pe, 0, b"MZ");
    put(&mut pe, 0x3C, &0x80u32.to_le_bytes());
    put(&mut pe, 0x80, b"PE\0\0");
    put(&mut pe, 0x84, &0x8664u16.to_le_bytes());
    put(&mut pe, 0x86, &1u16.to_le_bytes()); // sections
    put(&mut pe, 0x88, &0x4791_9120u32.to_le_bytes()); // TimeDateStamp
    put(&mut pe, 0x94, &240u16.to_le_bytes()); // size of the optional header
    let optional = 0x98;
    put(&mut pe, optional, &0x20Bu16.to_le_bytes());
    put(&mut pe, optional + 32, &0x1000u32.to_le_bytes()); // section alignment
    put(&mut pe, optional + 36, &0x200u32.to_le_bytes()); // file alignment
    put(&mut pe, optional + 56, &0xE_3000u32.to_le_bytes()); // SizeOfImage
    put(&mut pe, optional + 60, &0x400u32.to_le_bytes()); // SizeOfHeaders
    put(&mut pe, optional + 64, &0xABCDu32.to_le_bytes()); // CheckSum
    put(&mut pe, optional + 108, &16u32.to_le_bytes()); // data directories
    let section = optional + 240;
    put(&mut pe, section, b".rsrc\0\0\0");
    for (at, value) in [(8, 0xC00u32), (12, 0x1000), (16, 0xC00), (20, 0x400)] {
        put(&mut pe, section + at, &value.to_le_bytes());
    }
    let Some([major, minor, build, revision]) = version else {
        return pe;
    };
    put(&mut pe, optional + 112 + 16, &0x1000u32.to_le_bytes()); // resource directory
    put(&mut pe, optional + 112 + 20, &0xC00u32.to_le_bytes());
    let tree = 0x400;
    for (at, id, target) in [
        (0, 16u32, 0x8000_0018u32),
        (0x18, 1, 0x8000_0030),
        (0x30, 0x409, 0x48),
    ] {
        put(&mut pe, tree + at + 14, &1u16.to_le_bytes());
        put(&mut pe, tree + at + 16, &id.to_le_bytes());
        put(&mut pe, tree + at + 20, &target.to_le_bytes());
    }
    let mut fixed = vec![0u8; 52];
    put(&mut fixed, 0, &0xFEEF_04BDu32.to_le_bytes());
    for (at, part) in [(8, minor), (10, major), (12, revision), (14, build)] {
        put(&mut fixed, at, &part.to_le_bytes());
    }
    let name = utf16(original_filename);
    let string = block(1, "OriginalFilename", (name.len() / 2) as u16, &name, &[]);
    let strings = block(1, "040904B0", 0, &[], &string);
    let info = block(1, "StringFileInfo", 0, &[], &strings);
    let resource = block(0, "VS_VERSION_INFO", 52, &fixed, &info);
    put(&mut pe, tree + 0x48, &0x1100u32.to_le_bytes());
    put(&mut pe, tree + 0x4C, &(resource.len() as u32).to_le_bytes());
    put(&mut pe, tree + 0x100, &resource);
    pe
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

// ---- Versions -------------------------------------------------------------------------------

#[test]
fn a_version_string_is_taken_as_tcpip_sys() {
    let (status, records) = check(&[
        "6.0.6001.18000",
        "6.0.6001.18311 (vistasp1_gdr.090814-0231)",
        "tcpip.sys=6.0.6001.22222",
        "TCPIP.SYS=6.0.6001.22497",
        "6.1.7601.17514",
        "6.0.6001.20000",
    ]);
    assert_eq!(status, 0);
    let states: Vec<&str> = records
        .iter()
        .map(|record| record["state"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        [
            "not-fixed",
            "not-fixed",
            "fixed",
            "fixed",
            "not-applicable",
            "unknown"
        ]
    );
    let branches: Vec<Option<&str>> = records
        .iter()
        .map(|record| record["branch"].as_str())
        .collect();
    assert_eq!(
        branches,
        [
            Some("rtm"),
            Some("gdr"),
            Some("ldr"),
            Some("ldr"),
            None,
            None
        ]
    );
    assert!(
        records
            .iter()
            .all(|record| record["file"] == "tcpip.sys" && record["fixed_in"] == "6.0.6001.22222")
    );
    assert_eq!(records[0]["file_source"], "assumed");
    assert_eq!(records[2]["file_source"], "argument");
    assert!(
        records[1]["reason"]
            .as_str()
            .unwrap()
            .contains("not fixed whatever its date")
    );
}

#[test]
fn text_says_gdr_not_fixed_whatever_its_date() {
    let (status, out, errors) = run(&["check", "6.0.6001.18311"]);
    assert_eq!((status, errors.as_str()), (0, ""));
    assert!(
        out.starts_with("tcpip.sys 6.0.6001.18311: NOT FIXED (GDR branch)\n"),
        "{out}"
    );
    assert!(out.contains("whatever its date"));
}

#[test]
fn a_pair_that_disagrees_is_partially_serviced() {
    let (_, records) = check(&["tcpip.sys=6.0.6001.18377", "netio.sys=6.0.6001.22222"]);
    for record in &records {
        assert_eq!(record["applicability"], "partially-serviced");
        assert_eq!(record["notes"][0]["code"], "partially-serviced");
    }
    assert_eq!(records[0]["state"], "not-fixed");
    assert_eq!(records[1]["state"], "unknown", "netio.sys never decides");
    let (_, out, _) = run(&[
        "check",
        "tcpip.sys=6.0.6001.18377",
        "netio.sys=6.0.6001.22222",
    ]);
    assert_eq!(out.matches("partially serviced").count(), 2, "{out}");
}

#[test]
fn a_fixed_tcpip_beside_an_older_netio_is_normal_and_only_noted() {
    let (_, records) = check(&["tcpip.sys=6.0.6001.22222", "netio.sys=6.0.6001.18000"]);
    assert_eq!(records[0]["applicability"], "already-installed");
    assert_eq!(records[0]["notes"][0]["code"], "older-inventory");
    let (_, records) = check(&["tcpip.sys=6.0.6001.18000", "netio.sys=6.0.6001.18000"]);
    assert_eq!(records[0]["applicability"], "applicable");
    assert_eq!(records[0]["notes"], Value::Array(vec![]));
}

#[test]
fn a_bare_version_is_not_paired_where_tcpip_sys_was_named() {
    let (_, records) = check(&[
        "6.0.6001.22222",
        "tcpip.sys=6.0.6001.18000",
        "netio.sys=6.0.6001.22222",
    ]);
    assert_eq!(records[0]["applicability"], "already-installed");
    assert_eq!(records[1]["applicability"], "partially-serviced");
    let (_, records) = check(&["6.0.6001.18000", "netio.sys=6.0.6001.22222"]);
    assert_eq!(records[0]["applicability"], "partially-serviced");
}

#[test]
fn several_tcpip_sys_are_not_compared_with_one_netio_sys() {
    let (_, records) = check(&[
        "tcpip.sys=6.0.6001.18000",
        "tcpip.sys=6.0.6001.22222",
        "netio.sys=6.0.6001.22222",
    ]);
    assert_eq!(records[0]["applicability"], "applicable");
    assert_eq!(records[0]["notes"][0]["code"], "not-compared");
}

#[test]
fn an_older_dll_of_the_package_shows_that_the_package_is_not_installed() {
    let (_, records) = check(&["bfe.dll=6.0.6001.18000", "netio.sys=6.0.6001.18000"]);
    assert_eq!(records[0]["package_installed"], false);
    assert_eq!(records[0]["state"], "unknown");
    assert_eq!(records[1]["package_installed"], Value::Null);
}

#[test]
fn what_is_neither_file_nor_version_is_an_error_that_names_what_was_expected() {
    for wrong in [
        "no-such-file.sys",
        "6.0.6001",
        "tcpip.sys=6.0",
        "=6.0.6001.18000",
        "6.0.6001.70000",
        "",
    ] {
        let (status, records) = check(&[wrong, "6.0.6001.22222"]);
        assert_eq!(status, 1, "{wrong:?}");
        assert_eq!(records[0]["state"], "unknown");
        let message = records[0]["error"]["message"].as_str().unwrap();
        assert!(
            message.contains("expected a driver or DLL"),
            "{wrong:?}: {message}"
        );
        assert_eq!(records[1]["state"], "fixed", "the others are still checked");
    }
    let (status, out, errors) = run(&["check", "no\u{1b}[31msuch"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(
        errors.starts_with("kbtriage: no\\u{1b}[31msuch: neither an existing file"),
        "{errors}"
    );
}

// ---- Files ----------------------------------------------------------------------------------

#[test]
fn a_driver_is_judged_by_its_own_version_resource() {
    let files = Files::new();
    let path = files.write("tcpip.sys", &driver(Some([6, 0, 6001, 22222]), "tcpip.sys"));
    let (status, records) = check(&[&path]);
    assert_eq!(status, 0);
    let record = &records[0];
    assert_eq!(
        (record["state"].as_str(), record["version"].as_str()),
        (Some("fixed"), Some("6.0.6001.22222"))
    );
    assert_eq!(
        (record["version_source"].as_str(), record["branch"].as_str()),
        (Some("image"), Some("ldr"))
    );
    assert_eq!(record["identity"]["time_date_stamp"], "0x47919120");
    assert_eq!(record["identity"]["size_of_image"], "0xe3000");
    assert_eq!(record["identity"]["checksum"], "0x0000abcd");
    assert_eq!(record["identity"]["machine"], "0x8664");
}

#[test]
fn a_renamed_driver_is_known_by_its_original_name() {
    let files = Files::new();
    let path = files.write(
        "suspect.bin",
        &driver(Some([6, 0, 6001, 18000]), "TCPIP.SYS"),
    );
    let (_, records) = check(&[&path]);
    assert_eq!(
        (&records[0]["file"], &records[0]["state"]),
        (&"tcpip.sys".into(), &"not-fixed".into())
    );
    assert_eq!(records[0]["notes"][0]["code"], "renamed");
}

#[test]
fn files_are_compared_like_versions() {
    let files = Files::new();
    let tcpip = files.write("tcpip.sys", &driver(Some([6, 0, 6001, 18000]), "tcpip.sys"));
    let netio = files.write("netio.sys", &driver(Some([6, 0, 6001, 22222]), "netio.sys"));
    let (_, records) = check(&[&tcpip, &netio]);
    assert_eq!(records[0]["applicability"], "partially-serviced");
}

#[test]
fn a_driver_without_version_resource_is_looked_up_in_the_users_table() {
    let files = Files::new();
    let path = files.write("tcpip.sys", &driver(None, ""));
    let (status, records) = check(&[&path]);
    assert_eq!((status, records[0]["state"].as_str()), (0, Some("unknown")));
    let table = files.write(
        "builds.tsv",
        b"tcpip.sys\t0x47919120\t0xE3000\t6.0.6001.18000\n",
    );
    let (_, out, _) = run(&["check", "--format", "jsonl", "--builds", &table, &path]);
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&record["version_source"], &record["state"]),
        (&"table".into(), &"not-fixed".into())
    );
    let near_miss = files.write(
        "near.tsv",
        b"tcpip.sys\t0x47919120\t0xE4000\t6.0.6001.18000\n",
    );
    let (_, out, _) = run(&["check", "--format", "jsonl", "--builds", &near_miss, &path]);
    let record: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(record["version"], Value::Null);
    let bad = files.write("bad.tsv", b"# builds\ntcpip.sys 0x1\n");
    let error = try_run(&["check", "--builds", &bad, "6.0.6001.18000"])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("bad.tsv:2: expected file, TimeDateStamp"),
        "{error}"
    );
}

#[test]
fn what_is_no_driver_is_refused_with_its_reason() {
    let files = Files::new();
    let text = files.write("notes.txt", b"no driver at all");
    let empty = files.write("empty.sys", b"");
    let directory = files.0.path().to_str().unwrap().to_owned();
    let (status, records) = check(&[&text, &empty, &directory]);
    assert_eq!(status, 1);
    let kinds: Vec<&str> = records
        .iter()
        .map(|r| r["error"]["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["unsupported", "truncated", "is-directory"]);
}

crate::support::only_on!(
    unix,
    a_pipe_or_a_device_is_never_opened,
    "no pipes in the file system"
);
#[cfg(unix)]
#[test]
fn a_pipe_or_a_device_is_never_opened() {
    let files = Files::new();
    let pipe = files.0.path().join("tcpip.sys");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .expect("mkfifo runs");
    assert!(made.success());
    let (status, records) = check(&[pipe.to_str().unwrap(), "/dev/zero"]);
    assert_eq!(status, 1);
    assert!(
        records
            .iter()
            .all(|record| record["error"]["kind"] == "unsupported"),
        "{records:?}"
    );
}

#[test]
fn a_file_name_with_terminal_controls_is_escaped() {
    let files = Files::new();
    let path = files.write(
        "x.sys",
        &driver(Some([6, 0, 6001, 18000]), "evil\u{1b}[2J\u{202e}.sys"),
    );
    let (_, out, _) = run(&["check", &path]);
    assert!(!out.contains(['\u{1b}', '\u{202e}']), "{out:?}");
    assert!(out.contains("evil\\u{1b}[2j\\u{202e}.sys"), "{out}");
}

#[test]
fn damaged_drivers_never_panic_and_give_one_object_each() {
    let whole = driver(Some([6, 0, 6001, 22222]), "tcpip.sys");
    let files = Files::new();
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..1500 {
        let mut bytes = whole.clone();
        if round % 3 == 0 {
            bytes.truncate(random() as usize % bytes.len());
        }
        for _ in 0..1 + random() % 8 {
            // Most of the structure lies in these first bytes.
            let at = random() as usize % bytes.len().clamp(1, 0x700);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random() as u8;
            }
        }
        let path = files.write("tcpip.sys", &bytes);
        let (_, records) = check(&[&path]);
        let known = ["fixed", "not-fixed", "not-applicable", "unknown"];
        assert!(
            known.contains(&records[0]["state"].as_str().unwrap()),
            "round {round}"
        );
    }
}

#[test]
fn the_real_drivers_of_the_symbol_store_are_later_than_the_article() {
    for (directory, version) in [
        ("9503E2DE2eb000", "10.0.19041.662"),
        ("8CA873CB2eb000", "10.0.19041.804"),
    ] {
        let Some(path) = shared(&format!("data/symbols/tcpip.sys/{directory}/tcpip.sys")) else {
            return;
        };
        let (status, records) = check(&[path.to_str().unwrap()]);
        assert_eq!(status, 0);
        // The versions were read by another tool from the same resource.
        assert_eq!(records[0]["version"], version);
        assert_eq!(records[0]["file_source"], "original-filename");
        assert_eq!(records[0]["state"], "not-applicable");
    }
    let Some(dump) = shared("data/dumps/kernel/d1.dmp") else {
        return;
    };
    let (status, records) = check(&[dump.to_str().unwrap()]);
    assert_eq!(
        (status, records[0]["error"]["kind"].as_str()),
        (1, Some("unsupported"))
    );
}

// ---- The article and the help ---------------------------------------------------------------

#[test]
fn the_article_is_shown_as_text_within_80_columns_but_for_long_names() {
    let (status, out, _) = run(&["show"]);
    assert_eq!(status, 0);
    for part in [
        "KB943650",
        "0x000000D1",
        "Tcpip.sys     6.0.6001.22222    1419832  2008-07-15 06:38  x64",
        "netsh interface ipv4 set global multicastforwarding=disabled",
        "Side effect:",
        "KB948465",
        "Package_for_kb943650_server~31bf3856ad364e35~ia64~~6.0.1.0.mum",
    ] {
        assert!(out.contains(part), "{part:?} is missing");
    }
    let long = |line: &&str| line.chars().count() > 80 && !line.ends_with(".manifest");
    assert_eq!(
        out.lines().filter(long).collect::<Vec<_>>(),
        Vec::<&str>::new()
    );
    assert_eq!(run(&["show", "943650"]).1, out);
}

#[test]
fn the_article_is_shown_as_json_complete() {
    let (_, out, _) = run(&["show", "KB943650", "--format", "json"]);
    let records: Value = serde_json::from_str(&out).unwrap();
    let article = &records[0];
    assert_eq!(
        (&article["type"], &article["kb"]),
        (&"article".into(), &"KB943650".into())
    );
    assert_eq!(article["files"].as_array().unwrap().len(), 28);
    assert_eq!(article["manifests"].as_array().unwrap().len(), 57);
    assert_eq!(
        article["stop_codes"],
        serde_json::json!(["0x0000001E", "0x000000D1"])
    );
    assert_eq!(article["fixed_version"], "6.0.6001.22222");
    assert_eq!(
        article["packages"][2]["packages"].as_array().unwrap().len(),
        9
    );
    assert_eq!(article["look_alikes"].as_array().unwrap().len(), 15);
    let (_, lines, _) = run(&["show", "--format", "jsonl"]);
    assert_eq!(
        serde_json::from_str::<Value>(lines.trim_end()).unwrap(),
        *article
    );
    assert_eq!(lines.lines().count(), 1);
}

#[test]
fn another_article_is_refused_by_naming_the_known_one() {
    let error = try_run(&["show", "KB1"]).unwrap_err();
    assert!(error.to_string().contains("KB943650"));
}

#[test]
fn help_fits_80_columns() {
    let mut command = Line::command().term_width(80);
    command.build();
    for sub in command.get_subcommands_mut() {
        let help = sub.render_long_help().to_string();
        let wide: Vec<&str> = help
            .lines()
            .filter(|line| line.chars().count() > 80)
            .collect();
        assert_eq!(wide, Vec::<&str>::new());
        assert!(!help.is_empty());
    }
}

#[test]
fn the_code_of_a_driver_with_symbols_says_whether_it_holds_the_fix() {
    // A laboratory build compiled with the defect, version 6.0.6001.18311 (fixtures/corpus).
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus");
    let image = find(&corpus.join("images"), "tcpip.sys").expect("a laboratory tcpip.sys");
    let image = image.to_str().unwrap();
    let symbols = corpus.join("symbols");
    let arguments = [
        "check",
        "--offline",
        "--symbols",
        symbols.to_str().unwrap(),
        image,
    ];
    let (status, out, _) = run(&arguments);
    assert_eq!(status, 0);
    assert!(out.contains("Code:     has the defect: "), "{out}");
    let (_, out, _) = run(&["check", "--offline", image]);
    assert!(out.contains("Code:     could not look: "), "{out}");
    // The real builds of Windows 10 hold the fix; KB943650 does not apply to them all the same.
    let Some(store) = shared("data/symbols") else {
        return;
    };
    let image = find(&store.join("tcpip.sys"), "tcpip.sys").unwrap();
    let (status, records) = check(&[
        "--offline",
        "--symbols",
        store.to_str().unwrap(),
        image.to_str().unwrap(),
    ]);
    assert_eq!(status, 0);
    assert_eq!(records[0]["code"]["finding"], "write-lock", "{records:?}");
    assert_eq!(records[0]["applicability"], "not-applicable");
}

/// The first file of that name below a directory, by path.
fn find(directory: &Path, name: &str) -> Option<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(directory)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries.into_iter().find_map(|path| match path.is_dir() {
        true => find(&path, name),
        false => path
            .file_name()
            .is_some_and(|own| own == name)
            .then_some(path),
    })
}
