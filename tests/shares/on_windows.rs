//! What only Windows has: names that mean devices, paths of several forms, files that others hold open, wildcards
//! that no shell expands. And what other systems get from there: marked text, lists of names.

use std::fs;

use crate::support::share::{matching, numbered, of_type, put, records, run};

fn utf16(text: &str) -> Vec<u8> {
    let marked = format!("\u{FEFF}{text}");
    marked.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[test]
fn side_files_that_powershell_wrote_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    put(&share.join("in/a.dmp"), &matching());
    let (map, inventory) = (dir.path().join("map.txt"), dir.path().join("files.csv"));
    let rows = "machine,file,version\r\nSRV-Ä,tcpip.sys,6.0.6001.18000\r\n";
    let forms: [fn(&str) -> Vec<u8>; 3] = [
        utf16,
        |text| format!("\u{FEFF}{text}").into_bytes(),
        |text| text.as_bytes().to_vec(),
    ];
    for form in forms {
        fs::write(&map, form("in\\\tSRV-Ä\r\n")).unwrap();
        fs::write(&inventory, form(rows)).unwrap();
        let output = run(&[
            "scan",
            share.to_str().unwrap(),
            "--quiet",
            "--machine-map",
            map.to_str().unwrap(),
            "--inventory",
            inventory.to_str().unwrap(),
        ]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = records(&output.stdout);
        let machine = &of_type(&lines, "machine")[0];
        assert_eq!(machine["machine"]["name"], "SRV-Ä", "{machine}");
        assert_eq!(machine["versions"][0]["version"], "6.0.6001.18000");
    }
}

#[test]
fn a_table_for_excel_is_the_same_table_behind_a_mark() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("share/é.dmp"), &matching());
    let share = dir.path().join("share");
    let share = share.to_str().unwrap();
    let table = |format: &str| run(&["scan", share, "--quiet", "--format", format]).stdout;
    let (plain, marked) = (table("csv"), table("csv-excel"));
    assert_eq!(marked.strip_prefix(b"\xEF\xBB\xBF"), Some(&plain[..]));
    let file = dir.path().join("t.csv");
    let to = file.to_str().unwrap();
    run(&[
        "scan",
        share,
        "--quiet",
        "--format",
        "csv-excel",
        "--output",
        to,
    ]);
    assert_eq!(fs::read(&file).unwrap(), marked);
    let dump = format!("{share}/é.dmp");
    let of_one = run(&["triage", "--format", "csv-excel", &dump]).stdout;
    assert!(of_one.starts_with(b"\xEF\xBB\xBF") && !of_one[3..].starts_with(b"\xEF\xBB"));
}

#[test]
fn a_list_of_a_scan_names_files_below_its_root_for_every_system() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("share/a/b/c.dmp"), &numbered(1));
    let share = dir.path().join("share");
    let list = run(&["scan", share.to_str().unwrap(), "--list"]).stdout;
    let names = records(&list);
    assert_eq!(names[1]["path"], "a/b/c.dmp");
    let file = dir.path().join("list");
    fs::write(&file, list).unwrap();
    let output = run(&["scan", "--quiet", "--files-from", file.to_str().unwrap()]);
    let lines = records(&output.stdout);
    let path = of_type(&lines, "report")[0]["source"]["path"]
        .as_str()
        .unwrap();
    assert_eq!(
        path,
        share.join("a").join("b").join("c.dmp").to_str().unwrap()
    );
}

#[test]
fn a_list_that_the_command_prompt_wrote_is_read() {
    // `cmd /u /c dir /s /b`: UTF-16 without a mark, whose zero bytes separate nothing.
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a b.dmp"), dir.path().join("é.dmp"));
    put(&a, &numbered(1));
    put(&b, &numbered(2));
    let text = format!("{}\r\n{}\r\n", a.display(), b.display());
    let list = dir.path().join("list");
    fs::write(&list, utf16(&text).split_off(2)).unwrap();
    let list = list.to_str().unwrap();
    let output = run(&["scan", "--quiet", "--sort", "path", "--files-from", list]);
    let lines = records(&output.stdout);
    let reports = of_type(&lines, "report");
    assert_eq!(reports.len(), 2, "{output:?}");
    for (report, path) in reports.iter().zip([&a, &b]) {
        assert_eq!(report["source"]["path"], path.to_str().unwrap());
        assert_eq!(report["status"], "ok");
    }
    let output = run(&["triage", "--format", "jsonl", "--files-from", list]);
    assert_eq!(records(&output.stdout).len(), 2, "{output:?}");
}

#[test]
fn a_list_names_the_root_of_each_file_although_another_root_s_name_begins_like_it() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("s1/h/x.dmp"), &numbered(1));
    put(&dir.path().join("s2/h/x.dmp"), &numbered(2));
    let roots = [dir.path().join("s1"), dir.path().join("s1/../s2")];
    let [first, second] = roots.each_ref().map(|root| root.to_str().unwrap());
    for more in [&[][..], &["--sort", "path"], &["--follow-links"]] {
        let scan = [&["scan", "--quiet", first, second], more].concat();
        let list = run(&[&scan[..], &["--list"]].concat()).stdout;
        let names = records(&list);
        let mut files: Vec<_> = of_type(&names, "file");
        files.sort_by_key(|file| file["root"].as_u64());
        for (root, file) in files.iter().enumerate() {
            assert_eq!(file["root"], root, "{more:?}: {file}");
            assert_eq!(file["path"], "h/x.dmp");
        }
        let file = dir.path().join("list");
        fs::write(&file, &list).unwrap();
        let listed = run(&["scan", "--quiet", "--files-from", file.to_str().unwrap()]);
        assert_eq!(paths_and_crashes(&listed), paths_and_crashes(&run(&scan)));
    }
}

/// Path and crash of each report, in order.
fn paths_and_crashes(output: &std::process::Output) -> Vec<(String, String)> {
    let lines = records(&output.stdout);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let reports = of_type(&lines, "report");
    let mut all: Vec<_> = reports
        .iter()
        .map(|report| (text(&report["source"]["path"]), text(&report["crash_id"])))
        .collect();
    all.sort();
    assert!(!all.is_empty(), "{output:?}");
    all
}

macro_rules! windows_tests {
    ($($name:ident: $reason:literal,)*) => {
        $(crate::support::only_on!(windows, $name, $reason);)*
    };
}
windows_tests! {
    names_that_windows_takes_for_others_are_read_as_they_are: "other systems have no such names",
    a_path_of_any_form_leads_to_the_dump: "other systems have one form of path",
    a_name_with_half_a_surrogate_pair_is_read_and_listed: "names are no UTF-16",
    an_output_that_cannot_be_replaced_is_refused_before_the_scan: "an open file can be replaced",
    a_dump_that_another_program_holds_is_growing: "files are not held",
    wildcards_are_expanded_without_case_and_say_when_nothing_matches: "the shell expands wildcards",
    every_command_that_takes_files_expands_wildcards: "the shell expands wildcards",
    a_scan_through_a_share_of_the_network_reads_every_dump: "other systems mount shares",
    a_share_that_is_not_there_is_said_to_be_missing: "other systems mount shares",
    an_offline_file_is_left_where_it_is: "files have no such attribute",
    a_list_leads_to_the_files_that_windows_takes_for_others: "other systems have no such names",
    a_list_with_quotes_around_its_names_is_read: "names may hold quotes",
    a_folder_in_any_spelling_is_one_folder_in_the_store: "another spelling is another name",
    a_backslash_before_the_closing_quote_is_understood_or_explained: "arguments are handed over as they are",
}

#[cfg(windows)]
mod windows {
    use super::*;
    use std::ffi::{OsStr, OsString};
    use std::os::windows::ffi::OsStringExt;
    use std::os::windows::fs::OpenOptionsExt;
    use std::path::{Path, PathBuf};

    fn verbatim(path: &Path) -> PathBuf {
        path.canonicalize().unwrap()
    }

    fn scan(root: &Path, more: &[&str]) -> std::process::Output {
        let mut arguments = vec![OsString::from("scan"), root.into(), "--quiet".into()];
        arguments.extend(more.iter().map(OsString::from));
        run(&arguments)
    }

    #[test]
    fn names_that_windows_takes_for_others_are_read_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let root = verbatim(dir.path());
        for (number, name) in (0..).zip([
            "plain.dmp",
            "dot.dmp.",
            "aux.dmp",
            "end./in.dmp",
            "com1/nul",
        ]) {
            let path = name
                .split('/')
                .fold(root.clone(), |path, part| path.join(part));
            put(&path, &numbered(number));
        }
        let lines = records(&scan(dir.path(), &[]).stdout);
        let reports = of_type(&lines, "report");
        assert_eq!(reports.len(), 5, "{reports:#?}");
        for report in reports {
            assert_eq!(report["status"], "ok", "{report}");
            // The path in the report leads to the dump again.
            let path = report["source"]["path"].as_str().unwrap();
            let again = run(&["triage", "--format", "json", path]);
            assert_eq!(again.status.code(), Some(0), "{path}: {again:?}");
        }
        // A pattern leads to the file of each name.
        let plain = dir.path().join("*");
        let output = run(&["triage", "--format", "jsonl", plain.to_str().unwrap()]);
        let identities: std::collections::BTreeSet<String> = records(&output.stdout)
            .iter()
            .filter_map(|report| report["crash_id"].as_str().map(str::to_owned))
            .collect();
        assert_eq!(identities.len(), 3, "{output:?}");
        // So does one without a folder, and one that goes through such folders.
        for (pattern, count) in [("aux*", 1), (r"*\*", 2), (r"end*\*.dmp", 1)] {
            let output = crate::support::share::program()
                .current_dir(dir.path())
                .args(["triage", "--format", "jsonl", pattern])
                .output()
                .unwrap();
            assert_eq!(
                records(&output.stdout).len(),
                count,
                "{pattern}: {output:?}"
            );
            assert_eq!(output.status.code(), Some(0), "{pattern}: {output:?}");
        }
    }

    #[test]
    fn an_option_that_a_quote_swallowed_is_said() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("a.dmp"), &matching());
        let swallowed = r#"C:\symbols" --exit-verdict"#;
        let output = scan(dir.path(), &["--symbols", swallowed]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains("a backslash before the closing quote"),
            "{said}"
        );
    }

    /// A merge knows what its parts were made of, however that is spelt.
    #[test]
    fn nothing_is_merged_into_a_scanned_folder_by_another_spelling() {
        let dir = tempfile::tempdir().unwrap();
        let share = dir.path().join("Share");
        put(&share.join("a.dmp"), &matching());
        let (list, part) = (dir.path().join("list"), dir.path().join("part"));
        run(&[
            "scan",
            share.to_str().unwrap(),
            "--list",
            "-o",
            list.to_str().unwrap(),
        ]);
        let scan = ["scan", "--quiet", "--shard", "1/1", "--files-from"];
        let to = ["--output", part.to_str().unwrap()];
        let made = run(&[&scan[..], &[list.to_str().unwrap()], &to].concat());
        assert_eq!(made.status.code(), Some(0), "{made:?}");
        let plain = share.to_str().unwrap();
        for spelt in [
            plain.to_owned(),
            plain.to_uppercase(),
            plain.replace('\\', "/"),
            format!(r"\\.\{plain}"),
            verbatim(&share).to_str().unwrap().to_owned(),
        ] {
            let to = format!(r"{spelt}\new.jsonl");
            let refused = run(&["store", "merge", "--output", &to, part.to_str().unwrap()]);
            assert_eq!(refused.status.code(), Some(2), "{to}: {refused:?}");
            assert!(!share.join("new.jsonl").exists());
        }
    }

    #[test]
    fn a_path_of_any_form_leads_to_the_dump() {
        let dir = tempfile::tempdir().unwrap();
        let root = verbatim(dir.path());
        let long = (0..8).fold(root.clone(), |path, _| {
            path.join("a folder with a long name of its own")
        });
        assert!(long.as_os_str().len() > 260);
        put(&long.join("long.dmp"), &matching());
        put(&root.join("x.dmp"), &numbered(1));
        let plain = dir.path().join("x.dmp");
        let text = plain.to_str().unwrap().to_owned();
        let (drive, rest) = text.split_at(2);
        assert!(drive.ends_with(':'), "{text}");
        let mut forms = vec![
            text.clone(),
            text.replace('\\', "/"),
            text.to_uppercase(),
            format!("{text}."),
            root.join("x.dmp").to_str().unwrap().to_owned(),
            format!(r"\\.\{text}"),
            format!(r"{drive}\no-such\..{rest}"),
        ];
        let below = long.strip_prefix(&root).unwrap();
        forms.push(
            dir.path()
                .join(below)
                .join("long.dmp")
                .to_str()
                .unwrap()
                .to_owned(),
        );
        forms.push(long.join("long.dmp").to_str().unwrap().to_owned());
        for form in &forms {
            let output = run(&["triage", "--format", "json", form.as_str()]);
            assert_eq!(output.status.code(), Some(0), "{form}: {output:?}");
        }
        // Relative to a folder, and to the folder of a drive.
        for name in [
            "x.dmp".to_owned(),
            r".\x.dmp".to_owned(),
            format!("{drive}x.dmp"),
        ] {
            let output = crate::support::share::program()
                .current_dir(dir.path())
                .args(["triage", "--format", "json", &name])
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        }
        let lines = records(&scan(dir.path(), &[]).stdout);
        assert_eq!(of_type(&lines, "report").len(), 2);
        let lines = records(&scan(&root, &[]).stdout);
        assert_eq!(of_type(&lines, "report").len(), 2);
    }

    #[test]
    fn nothing_is_written_below_a_root_with_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let below: PathBuf = (0..8)
            .map(|_| "a folder with a long name that goes on and on")
            .collect();
        let root = verbatim(dir.path()).join(&below);
        put(&root.join("a.dmp"), &matching());
        for option in ["--db", "--output"] {
            let refused = crate::support::share::program()
                .current_dir(dir.path())
                .args([Path::new("scan"), &below, Path::new(option)])
                .arg(below.join("x"))
                .output()
                .unwrap();
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(said.contains("lies inside"), "{said}");
            assert!(!root.join("x").exists());
        }
    }

    #[test]
    fn an_output_with_a_long_path_is_written() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("share/a.dmp"), &matching());
        // The second fits into 260 characters, and its temporary name does not.
        let there = dir.path().as_os_str().len();
        for length in [240, 258, 300] {
            let name = "x".repeat(length - 100 - there - 2);
            let folder = verbatim(dir.path()).join("y".repeat(100));
            fs::create_dir_all(&folder).unwrap();
            let output = dir.path().join("y".repeat(100)).join(name);
            let done = scan(
                &dir.path().join("share"),
                &["--output", output.to_str().unwrap()],
            );
            assert_eq!(done.status.code(), Some(0), "{length}: {done:?}");
            let written = fs::read_to_string(output).unwrap();
            assert!(written.contains("a.dmp"), "{written}");
            let left = fs::read_dir(&folder).unwrap().count();
            fs::remove_dir_all(&folder).unwrap();
            assert_eq!(left, 1);
        }
    }

    #[test]
    fn a_pattern_that_no_part_matches_is_said_to_match_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (to, none) = (dir.path().join("all"), dir.path().join("none-*"));
        for option in ["--output", "--db"] {
            let merge = ["store".as_ref(), "merge".as_ref(), option.as_ref()];
            let files = [to.as_os_str(), none.as_os_str()];
            let refused = run(&[&merge[..], &files].concat());
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(said.contains("no file matches this pattern"), "{said}");
        }
    }

    #[test]
    fn a_name_with_half_a_surrogate_pair_is_read_and_listed() {
        let dir = tempfile::tempdir().unwrap();
        let share = dir.path().join("share");
        let units: Vec<u16> = [0xD800].into_iter().chain(".dmp".encode_utf16()).collect();
        let name = OsString::from_wide(&units);
        fs::create_dir_all(&share).unwrap();
        if fs::write(share.join(&name), b"").is_err() {
            crate::support::shared::skipped("this file system holds no name with half a pair");
            return;
        }
        put(&share.join(&name), &matching());
        let lines = records(&scan(&share, &[]).stdout);
        assert_eq!(of_type(&lines, "report")[0]["status"], "ok");
        // By the list of a scan, and by one that a shell wrote.
        let list = dir.path().join("list");
        fs::write(&list, scan(&share, &["--list"]).stdout).unwrap();
        let mut wide: Vec<u16> = "\u{FEFF}".encode_utf16().collect();
        wide.extend(share.to_str().unwrap().encode_utf16());
        wide.push(u16::from(b'\\'));
        wide.extend(&units);
        wide.extend("\r\n".encode_utf16());
        let shell = dir.path().join("shell");
        fs::write(
            &shell,
            wide.iter()
                .flat_map(|unit| unit.to_le_bytes())
                .collect::<Vec<u8>>(),
        )
        .unwrap();
        for list in [&list, &shell] {
            let output = run(&[
                OsStr::new("scan"),
                OsStr::new("--quiet"),
                OsStr::new("--files-from"),
                list.as_os_str(),
            ]);
            let lines = records(&output.stdout);
            assert_eq!(of_type(&lines, "report")[0]["status"], "ok", "{output:?}");
        }
    }

    #[test]
    fn an_output_that_cannot_be_replaced_is_refused_before_the_scan() {
        let dir = tempfile::tempdir().unwrap();
        let share = dir.path().join("share");
        put(&share.join("a.dmp"), &matching());
        let out = dir.path().join("out.jsonl");
        let to = out.to_str().unwrap();
        fs::write(&out, "old").unwrap();
        // As a spreadsheet has it: others may read and not replace it.
        let held = fs::File::options()
            .read(true)
            .write(true)
            .share_mode(1)
            .open(&out)
            .unwrap();
        let output = scan(&share, &["--output", to]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("holds this file open"), "{said}");
        drop(held);
        let store = dir.path().join("held.db");
        let db = store.to_str().unwrap();
        assert_eq!(scan(&share, &["--db", db]).status.code(), Some(0));
        let held = fs::File::options()
            .read(true)
            .share_mode(0)
            .open(&store)
            .unwrap();
        for refused in [
            scan(&share, &["--db", db]),
            run(&["fleet", "machines", "--db", db]),
        ] {
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert_eq!(refused.status.code(), Some(2), "{refused:?}");
            assert!(said.contains("holds this file open"), "{said}");
        }
        drop(held);
        fs::remove_file(store).unwrap();
        assert_eq!(scan(&share, &["--output", to]).status.code(), Some(0));
        assert!(fs::read_to_string(&out).unwrap().contains("a.dmp"));
        for device in ["NUL", r"\\.\nul"] {
            let output = scan(&share, &["--output", device]);
            assert_eq!(output.status.code(), Some(0), "{device}: {output:?}");
        }
        // A device; a stream of another file; a name that no file has.
        for name in ["aux.jsonl", "scan-12:30.jsonl", "new?", "tail.", "blank "] {
            for option in ["--output", "--db"] {
                let refused = dir.path().join(name);
                let output = scan(&share, &[option, refused.to_str().unwrap()]);
                assert_eq!(output.status.code(), Some(2), "{name}: {output:?}");
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(said.contains("choose another"), "{said}");
            }
        }
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 2, "the share and one output");
    }

    #[test]
    fn a_dump_that_another_program_holds_is_growing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("MEMORY.DMP");
        put(&path, &matching());
        let held = fs::File::options()
            .read(true)
            .share_mode(0)
            .open(&path)
            .unwrap();
        let output = run(&["triage", "--format", "json", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report[0]["error"]["kind"], "growing", "{report}");
        drop(held);
        let output = run(&["triage", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }

    #[test]
    fn wildcards_are_expanded_without_case_and_say_when_nothing_matches() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("one.DMP"), &numbered(1));
        put(&dir.path().join("two[1].dmp"), &numbered(2));
        let pattern = dir.path().join("*.dmp");
        let output = run(&["triage", "--format", "jsonl", pattern.to_str().unwrap()]);
        assert_eq!(records(&output.stdout).len(), 2, "{output:?}");
        // The `?` of a verbatim path is no wildcard; what it leads to is named in the same way.
        let exact = verbatim(dir.path()).join("*.dmp");
        let output = run(&["triage", "--format", "jsonl", exact.to_str().unwrap()]);
        let reports = records(&output.stdout);
        assert_eq!(reports.len(), 2, "{output:?}");
        for report in reports {
            let path = report["source"]["path"].as_str().unwrap();
            assert!(path.starts_with(r"\\?\"), "{path}");
        }
        put(&dir.path().join("\u{c4}/MEMORY"), &numbered(3));
        let unlike = dir.path().join("\u{e4}*").join("*.*");
        let output = run(&["triage", "--format", "jsonl", unlike.to_str().unwrap()]);
        assert_eq!(records(&output.stdout).len(), 1, "{output:?}");
        let none = dir.path().join("*.none");
        for command in ["triage", "explain", "stack"] {
            let output = run(&[command, none.to_str().unwrap()]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_ne!(output.status.code(), Some(0), "{command}");
            assert!(
                said.contains("no file matches this pattern"),
                "{command}: {said}"
            );
        }
    }

    #[test]
    fn every_command_that_takes_files_expands_wildcards() {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("in/one.dmp"), &numbered(1));
        put(&dir.path().join("in/two.dmp"), &numbered(2));
        put(&dir.path().join("in2/three.dmp"), &numbered(3));
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        let said = |arguments: &[&str]| {
            let output = run(arguments);
            let text = [output.stdout, output.stderr].concat();
            String::from_utf8_lossy(&text).into_owned()
        };
        // Several files.
        let all = at(r"in\*.dmp");
        for command in [
            &["triage"][..],
            &["symbols", "check"],
            &["symbols", "fetch", "--symbols", "srv*http://127.0.0.1:1"],
            &["kb", "check"],
            &["scan", "--quiet"],
        ] {
            let text = said(&[command, &[&all]].concat());
            assert!(
                text.contains("one.dmp") && text.contains("two.dmp"),
                "{command:?}: {text}"
            );
        }
        let folders = said(&["scan", "--quiet", "--format", "jsonl", &at("in*")]);
        assert!(folders.contains("one.dmp") && folders.contains("three.dmp"));
        let list = at("list");
        fs::write(&list, run(&["scan", &at("in"), "--list"]).stdout).unwrap();
        for (shard, part) in [("1/2", "1.jsonl"), ("2/2", "2.jsonl")] {
            let from = ["scan", "--quiet", "--files-from", &list];
            said(&[&from[..], &["--shard", shard, "--output", &at(part)]].concat());
        }
        let merged = at("merged");
        said(&["store", "merge", "--output", &merged, &at("?.jsonl")]);
        let merged = fs::read_to_string(merged).unwrap();
        assert!(merged.contains("one.dmp") && merged.contains("two.dmp"));
        // One file: the one that matches, and never any of several.
        let one = at(r"in\O*.DMP");
        for command in [
            &["explain"][..],
            &["stack"],
            &["symbols", "resolve", "PATH", "0x1000"],
            &["symbols", "find", "PATH", "nt!*"],
        ] {
            let with = |path: &str| {
                let mut arguments: Vec<&str> = command
                    .iter()
                    .map(|&part| if part == "PATH" { path } else { part })
                    .collect();
                if !command.contains(&"PATH") {
                    arguments.push(path);
                }
                run(&arguments)
            };
            let output = with(&one);
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!errors.contains("no file"), "{command:?}: {errors}");
            assert_ne!(output.status.code(), Some(2), "{command:?}: {errors}");
            let output = with(&all);
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(2), "{command:?}: {errors}");
            assert!(errors.contains("2 files match this pattern"), "{errors}");
        }
    }

    #[test]
    fn a_scan_through_a_share_of_the_network_reads_every_dump() {
        // The share that every Windows has for each drive; only an administrator may use it.
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("a.dmp"), &matching());
        let text = dir.path().to_str().unwrap();
        let share = format!(r"\\localhost\{}$\{}", &text[..1], &text[3..]);
        if fs::read_dir(&share).is_err() {
            crate::support::shared::skipped("no administrative share here");
            return;
        }
        let lines = records(&scan(Path::new(&share), &[]).stdout);
        assert_eq!(of_type(&lines, "report")[0]["status"], "ok");
        let exact = format!(r"\\?\UNC\{}", &share[2..]);
        for name in [&share, &exact] {
            for file in ["a.dmp", "*.dmp", "?.DMP"] {
                let output = run(&["triage", &format!(r"{name}\{file}")]);
                assert_eq!(output.status.code(), Some(0), "{file}: {output:?}");
            }
        }
        // A server and its share have one spelling in a store.
        let db = tempfile::tempdir().unwrap();
        let db = db.path().join("c.db");
        let db = db.to_str().unwrap();
        for name in [share.to_uppercase(), share.to_lowercase(), share.clone()] {
            let output = scan(Path::new(&name), &["--db", db]);
            assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        }
        let info = run(&["store", "info", db]);
        let said = String::from_utf8_lossy(&info.stdout).into_owned();
        assert!(said.starts_with("1 file, 1 record, 1 run"), "{said}");
        // The same folder by its network name and by its drive: nothing is written into what is scanned.
        for (root, into) in [(&*share, text), (text, &*share), (&*exact, text)] {
            for option in ["--output", "--db"] {
                let target = format!(r"{into}\new");
                let refused = scan(Path::new(root), &[option, &target]);
                assert_eq!(
                    refused.status.code(),
                    Some(2),
                    "{root} {target}: {refused:?}"
                );
            }
        }
    }

    #[test]
    fn a_share_that_is_not_there_is_said_to_be_missing() {
        for name in [
            r"\\no-such-server\share\a.dmp",
            r"\\?\UNC\no-such-server\share\a.dmp",
        ] {
            let output = run(&["triage", name]);
            assert_eq!(output.status.code(), Some(1), "{name}: {output:?}");
            assert!(!output.stderr.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_list_leads_to_the_files_that_windows_takes_for_others() {
        let dir = tempfile::tempdir().unwrap();
        let root = verbatim(dir.path());
        put(&root.join("s1").join("h1").join("x.dmp"), &numbered(1));
        put(&root.join("s1").join("h1").join("x.dmp."), &numbered(2));
        put(&root.join("s2").join("h2").join("aux.dmp"), &numbered(3));
        put(&root.join("s2").join("h2").join("y.dmp"), &numbered(4));
        let (s1, s2) = (dir.path().join("s1"), dir.path().join("s2"));
        let (s1, s2) = (s1.to_str().unwrap(), s2.to_str().unwrap());
        for more in [&[][..], &["--follow-links"]] {
            let walk = [&["scan", "--quiet", s1, s2], more].concat();
            let list = run(&[&walk[..], &["--list"]].concat()).stdout;
            let names = records(&list);
            let root = |name: &str| {
                let files = of_type(&names, "file");
                let file = files.iter().find(|file| file["path"] == name).unwrap();
                file["root"].clone()
            };
            assert_eq!(
                (root("h1/x.dmp."), root("h2/aux.dmp")),
                (0.into(), 1.into())
            );
            let file = dir.path().join("work.list");
            fs::write(&file, &list).unwrap();
            let listed = ["scan", "--quiet", "--files-from", file.to_str().unwrap()];
            let found = paths_and_crashes(&run(&listed));
            assert_eq!(found, paths_and_crashes(&run(&walk)));
            let crashes: std::collections::BTreeSet<_> = found.iter().map(|(_, id)| id).collect();
            assert_eq!(crashes.len(), 4, "{found:?}");
            // None of them is written to.
            let target = verbatim(dir.path()).join("s2").join("h2").join("aux.dmp");
            for option in ["--output", "--db"] {
                let given = [option, target.to_str().unwrap()];
                let refused = run(&[&listed[..], &given].concat());
                assert_eq!(refused.status.code(), Some(2), "{option}: {refused:?}");
            }
        }
    }

    #[test]
    fn a_list_with_quotes_around_its_names_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a b.dmp"), dir.path().join("c.dmp"));
        put(&a, &numbered(1));
        put(&b, &numbered(2));
        let list = dir.path().join("list");
        fs::write(&list, format!("\"{}\"\r\n{}\r\n", a.display(), b.display())).unwrap();
        let list = list.to_str().unwrap();
        for command in [
            &["scan", "--quiet", "--format", "jsonl"][..],
            &["triage", "--format", "jsonl"],
        ] {
            let output = run(&[command, &["--files-from", list]].concat());
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            let lines = records(&output.stdout);
            assert_eq!(of_type(&lines, "report").len(), 2, "{output:?}");
        }
    }

    #[test]
    fn a_folder_in_any_spelling_is_one_folder_in_the_store() {
        let dir = tempfile::tempdir().unwrap();
        let share = dir.path().join("Share").join("In");
        put(&share.join("Host").join("a.dmp"), &numbered(1));
        let db = dir.path().join("c.db");
        let db = db.to_str().unwrap();
        let text = verbatim(&share).to_str().unwrap()[r"\\?\".len()..].to_owned();
        let spellings = [
            text.clone(),
            text.to_lowercase(),
            text.to_uppercase(),
            text.replace('\\', "/"),
            format!(r"{text}\"),
        ];
        for spelling in &spellings {
            let lines = records(&scan(Path::new(spelling), &["--db", db]).stdout);
            let report = &of_type(&lines, "report")[0];
            assert_eq!(
                report["source"]["path"],
                format!(r"{text}\Host\a.dmp"),
                "{spelling}"
            );
            assert_eq!(of_type(&lines, "scan")[0]["roots"][0], text, "{spelling}");
        }
        let info = run(&["store", "info", db]);
        let said = String::from_utf8_lossy(&info.stdout).into_owned();
        assert!(said.starts_with("1 file, 1 record, 1 run"), "{said}");
        // All at once they are one root.
        let all = [
            &["scan", "--quiet", "--format", "jsonl"],
            &spellings.each_ref().map(String::as_str)[..],
        ];
        let output = run(&all.concat());
        let lines = records(&output.stdout);
        assert_eq!(of_type(&lines, "report").len(), 1, "{output:?}");
        // A merge knows it, too: nothing is written there.
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(at("list"), scan(&share, &["--list"]).stdout).unwrap();
        let (list, part) = (at("list"), at("part.jsonl"));
        run(&[
            "scan",
            "--quiet",
            "--files-from",
            &list,
            "--shard",
            "1/1",
            "--output",
            &part,
        ]);
        let merged = format!(r"{}\all.jsonl", text.to_lowercase());
        let refused = run(&["store", "merge", "--output", &merged, &part]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("lies inside"), "{said}");
        // A relative root stays one.
        for (spelling, path) in [
            (r"share\in", r"Share\In\Host\a.dmp"),
            ("./SHARE/IN/", r".\Share\In\Host\a.dmp"),
        ] {
            let output = crate::support::share::program()
                .current_dir(dir.path())
                .args(["scan", "--quiet", spelling])
                .output()
                .unwrap();
            let lines = records(&output.stdout);
            let report = &of_type(&lines, "report")[0];
            assert_eq!(report["source"]["path"], path, "{spelling}");
        }
    }

    #[test]
    fn a_backslash_before_the_closing_quote_is_understood_or_explained() {
        use std::os::windows::process::CommandExt;
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("in/a.dmp"), &numbered(1));
        let folder = dir.path().join("in");
        let folder = folder.to_str().unwrap();
        let typed = |line: &str| {
            let mut program = crate::support::share::program();
            program.raw_arg(line).output().unwrap()
        };
        let output = typed(&format!(r#"scan --quiet --format jsonl "{folder}\""#));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let lines = records(&output.stdout);
        assert_eq!(of_type(&lines, "report").len(), 1);
        assert_eq!(of_type(&lines, "scan")[0]["roots"][0], folder);
        for command in [
            "triage",
            "scan",
            "explain",
            "stack",
            "kb check",
            "symbols check",
            "symbols fetch --online",
            "symbols import",
            "symbols find",
            "store info",
            "store merge --output x",
        ] {
            let output = typed(&format!(r#"{command} "{folder}\" --quiet"#));
            assert_eq!(output.status.code(), Some(2), "{command}: {output:?}");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                said.contains("a backslash before the closing quote joins what follows"),
                "{command}: {said}"
            );
        }
    }

    #[test]
    fn an_offline_file_is_left_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.dmp");
        /// `FILE_ATTRIBUTE_OFFLINE`.
        const OFFLINE: u32 = 0x1000;
        let made = fs::File::options()
            .write(true)
            .create_new(true)
            .attributes(OFFLINE)
            .open(&path);
        std::io::Write::write_all(&mut made.unwrap(), &matching()).unwrap();
        use std::os::windows::fs::MetadataExt;
        if fs::metadata(&path).unwrap().file_attributes() & OFFLINE == 0 {
            crate::support::shared::skipped("this file system keeps no such attribute");
            return;
        }
        let lines = records(&scan(dir.path(), &[]).stdout);
        assert_eq!(of_type(&lines, "report")[0]["reason"], "offline");
        let lines = records(&scan(dir.path(), &["--offline-files"]).stdout);
        assert_eq!(of_type(&lines, "report")[0]["status"], "ok");
    }
}
