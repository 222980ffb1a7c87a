//! The answer fits one screen of a terminal, whatever the dump: 24 lines of 80 columns, in words that need no
//! manual. The words expected here are the issue's and the article's, not the program's.

use std::path::{Path, PathBuf};

use crate::support::run::command;
use crate::support::shared::shared;

const LINES: usize = 24;
const COLUMNS: usize = 80;
/// Words of our own that nobody knows who has not read our documents.
const JARGON: [&str; 6] = [
    "decisive",
    "(inference)",
    "+*",
    "code the defect ends in",
    "co-dat",
    "third-party-filter",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Every dump below a folder of the repository or of what is shared.
fn dumps(folder: PathBuf) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "dmp"))
        .collect();
    paths.sort();
    paths
}

/// The screens of several dumps, each run on its own, and what does not fit one.
fn too_long(paths: &[PathBuf], options: &[&str]) -> Vec<String> {
    let run = |path: &PathBuf| {
        let output = command()
            .arg("triage")
            .args(options)
            .arg(path)
            .output()
            .unwrap();
        complaint(&String::from_utf8(output.stdout).unwrap(), 0)
    };
    paths.iter().filter_map(run).collect()
}

/// The same in one run, each screen under its path.
fn too_long_together(folder: &Path, paths: &[PathBuf], options: &[&str]) -> Vec<String> {
    let names: Vec<&str> = paths
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    let output = command()
        .current_dir(folder)
        .arg("triage")
        .args(options)
        .args(&names)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut rest = text.as_str();
    let mut screens = 0;
    let mut complaints = Vec::new();
    for (index, name) in names.iter().enumerate() {
        assert!(rest.starts_with(&format!("{name}\n")), "{name}: {rest}");
        let next = names.get(index + 1);
        let end = next.and_then(|next| rest.find(&format!("\n\n{next}\n")));
        // The last is followed by the totals.
        let end = end.unwrap_or_else(|| rest.trim_end().rfind("\n\n").unwrap());
        complaints.extend(complaint(&rest[..end], 1));
        screens += 1;
        rest = &rest[end + 2..];
    }
    assert_eq!(screens, names.len());
    complaints
}

/// What is wrong with a screen whose answer stands in line `answer`.
fn complaint(text: &str, answer: usize) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let widest = lines.iter().map(|line| line.chars().count()).max();
    let said = JARGON.iter().find(|word| text.contains(**word));
    let first = lines.get(answer).copied().unwrap_or_default();
    let fits = lines.len() <= LINES && widest.is_some_and(|n| n <= COLUMNS);
    let good = fits && said.is_none() && first.starts_with("KB943650: ");
    (!good).then(|| {
        format!(
            "{} lines, {widest:?} columns, {said:?}\n{text}",
            lines.len()
        )
    })
}

#[test]
fn every_fixture_is_answered_on_one_screen() {
    let mut paths = dumps(root().join("fixtures/dumps"));
    paths.extend(dumps(root().join("fixtures/user")));
    assert!(paths.len() > 30);
    assert_eq!(too_long(&paths, &[]), [""; 0]);
}

#[test]
fn every_small_dump_of_the_laboratory_is_answered_on_one_screen() {
    let paths = dumps(root().join("fixtures/corpus/dumps"));
    if paths.is_empty() {
        println!("SKIPPED: no laboratory sample in this copy");
        return;
    }
    let folder = root().join("fixtures/corpus/dumps");
    assert_eq!(too_long_together(&folder, &paths, &[]), [""; 0]);
    let corpus = root().join("fixtures/corpus");
    let text = |path: &str| corpus.join(path).to_string_lossy().into_owned();
    let (symbols, x64, x86) = (text("symbols"), text("images/x64"), text("images/x86"));
    let options = ["--symbols", &symbols, "--images", &x64, "--images", &x86];
    assert_eq!(too_long_together(&folder, &paths, &options), [""; 0]);
}

#[test]
fn every_real_dump_is_answered_on_one_screen() {
    for folder in ["kernel", "user", "header-only"] {
        let Some(folder) = shared(&format!("data/dumps/{folder}")) else {
            return;
        };
        let paths = dumps(folder.clone());
        assert!(!paths.is_empty());
        assert_eq!(too_long_together(&folder, &paths, &[]), [""; 0]);
    }
}

fn screen(dump: &str) -> String {
    let path = root().join("fixtures").join(dump);
    let output = command()
        .current_dir(path.parent().unwrap())
        .arg(path.file_name().unwrap())
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_negative_says_why_in_its_second_line() {
    for (dump, why) in [
        ("dumps/server2008-sp2-x64-d1.dmp", "Service Pack 2"),
        ("dumps/server2008-x64-d1-nic.dmp", "acmenic.sys"),
        (
            "dumps/windows11-arm64-d1.dmp",
            "is newer than any Windows this article covers",
        ),
        ("user/server-2008-x64-gdr.dmp", "A program crashed"),
    ] {
        let text = screen(dump);
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("KB943650: DOES NOT APPLY"), "{dump}");
        let second = lines.next().unwrap_or_default();
        assert!(
            second.starts_with("  ") && second.contains(why),
            "{dump}: {second}"
        );
        let other = match dump.starts_with("user") {
            true => "Send this dump to the maker of the program.",
            false => "Another problem",
        };
        assert!(text.contains(other), "{text}");
    }
}

#[test]
fn a_dump_that_holds_no_stop_code_says_what_to_bring() {
    let Some(folder) = shared("data/dumps/header-only") else {
        return;
    };
    for path in dumps(folder) {
        let output = command().arg(&path).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains("Bring the whole dump"), "{text}");
        assert!(said.contains(r"%SystemRoot%\MEMORY.DMP"), "{text}");
    }
}

#[test]
fn a_file_that_is_cut_off_is_to_be_copied_again_and_a_debuggers_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cut.dmp");
    let whole = std::fs::read(root().join("fixtures/dumps/server2008-x64-complete.dmp")).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let output = command().arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (half, all) = (whole.len() / 2, whole.len());
    let said = format!("1. Copy the dump again: {half} of its {all} bytes are here.");
    assert!(text.contains(&said), "{text}");
    assert!(
        text.contains("Only a part of the dump's file is here"),
        "{text}"
    );
    // A debugger declares more than it writes.
    for dump in ["server2008-x64-d1-debugger", "vista-sp1-x86-d1-debugger"] {
        let text = screen(&format!("dumps/{dump}.dmp"));
        assert!(!text.contains("bytes are here"), "{text}");
        assert!(!text.contains("the whole file"), "{text}");
    }
}

/// Public release history: no server after 2008 is x86.
#[test]
fn no_server_is_made_of_an_x86_windows_7() {
    let text = screen("dumps/published-windows7-x86-send.dmp");
    assert!(text.contains("\nSystem   Windows 7 (7601) x86"), "{text}");
    assert!(!text.contains("Server"), "{text}");
}

#[test]
fn a_fault_in_no_known_module_reads_as_a_sentence() {
    let text = screen("dumps/server2008-x64-header-only.dmp");
    let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("0xfffffa6000c4d1c4 writing 0x8; in which module is not known"),
        "{text}"
    );
}

/// The dump is of the documented attack: 0xD1, a write to address 0 in tcpip.sys, without names.
#[test]
fn an_open_answer_names_the_other_problem_that_it_looks_most_like() {
    let text = screen("dumps/published-server2008-x64-reassembly.dmp");
    assert!(text.contains("\nOr       CVE-2021-24086: "), "{text}");
}

#[test]
fn a_hang_asks_for_the_forwarding_state_first_and_for_a_larger_dump() {
    let text = screen("dumps/server2008-x64-e2.dmp");
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part}:\n{text}"));
    assert!(place("\nMissing ") < place("\nDo now"));
    let show = place("netsh interface ipv4 show global");
    assert!(place("  1. See whether multicast forwarding is on") < show);
    // Microsoft's KB254649 has this command for a kernel memory dump.
    assert!(show < place("wmic recoveros set DebugInfoType=2"));
}

#[test]
fn several_dumps_have_their_names_above_them_and_a_line_of_totals_below() {
    let output = command()
        .current_dir(root().join("fixtures/dumps"))
        .args([
            "server2008-sp2-x64-d1.dmp",
            "server2008-x64-d1.dmp",
            "README.md",
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.starts_with("server2008-sp2-x64-d1.dmp\nKB943650: "),
        "{text}"
    );
    assert!(
        text.contains("\nserver2008-x64-d1.dmp\nKB943650: "),
        "{text}"
    );
    assert_eq!(
        text.lines().last(),
        Some("2 dumps: 1 may apply, 1 does not apply; 1 file could not be analysed")
    );
}

#[test]
fn the_long_report_adds_all_evidence_under_a_legend() {
    let run = |options: &[&str]| {
        let output = command()
            .current_dir(root().join("fixtures/dumps"))
            .args(options)
            .arg("server2008-x64-d1.dmp")
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (screen, long) = (run(&["triage"]), run(&["triage", "-v"]));
    let more = long.strip_prefix(&screen).unwrap();
    assert!(
        more.contains("The heaviest first; > marks what decided."),
        "{more}"
    );
    let evidence: Vec<&str> = more
        .lines()
        .skip_while(|line| *line != "Evidence")
        .take_while(|line| !line.is_empty())
        .collect();
    let rank = |line: &&str| {
        [
            "rules it out:",
            "very strong:",
            "strong:",
            "moderate:",
            "weak:",
        ]
        .iter()
        .position(|word| line.get(4..).is_some_and(|text| text.starts_with(word)))
    };
    let weights: Vec<usize> = evidence
        .iter()
        .skip_while(|line| **line != "  For")
        .take_while(|line| **line != "  Against")
        .filter_map(rank)
        .collect();
    assert!(weights.len() > 3 && weights.is_sorted(), "{evidence:?}");
    for word in JARGON {
        assert!(!long.contains(word), "{word}");
    }
    for part in ["What to do, in this order", "What would settle it"] {
        assert!(more.contains(part), "{part}");
    }
}

#[test]
fn a_hostile_name_neither_widens_the_screen_nor_steers_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let name = format!("{}.dmp", "x".repeat(200));
    let path = directory.path().join(name);
    std::fs::copy(
        root().join("fixtures/dumps/server2008-x64-hostile-names.dmp"),
        &path,
    )
    .unwrap();
    assert_eq!(too_long(std::slice::from_ref(&path), &[]), [""; 0]);
    let output = command().arg(&path).output().unwrap();
    assert!(!output.stdout.contains(&0x1b));
}
