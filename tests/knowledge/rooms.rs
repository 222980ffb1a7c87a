//! The ground plan of `docs/architecture.md`, held against the `use` lines and paths of the source: facts
//! are the waist, and what judges them reads nothing else; the article is known in one wing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rust files of a room, tables of generated data left out.
fn files(room: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("tables") || path.ends_with("data") => {}
                true => folders.push(path),
                false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    assert!(!found.is_empty(), "{room} has no source");
    found
}

/// The code of a file with its line numbers: without comments, and without the unit tests at its end.
fn code(path: &Path) -> Vec<(usize, String)> {
    if path
        .file_stem()
        .is_some_and(|n| n == "tests" || n == "testing")
    {
        return Vec::new();
    }
    let text = fs::read_to_string(path).unwrap();
    (1..)
        .zip(text.lines())
        .take_while(|(_, line)| *line != "mod tests {")
        .map(|(n, line)| (n, line.split("//").next().unwrap_or_default().to_owned()))
        .collect()
}

/// The rooms that a line of code names: the word after `crate::`.
fn named(line: &str) -> BTreeSet<String> {
    line.split("crate::")
        .skip(1)
        .filter_map(|rest| {
            let word: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect();
            // `pub(in crate::room)` and `crate::{...}` name no room of another wing.
            (!word.is_empty()).then_some(word)
        })
        .collect()
}

fn imports_only(room: &str, allowed: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for path in files(room) {
        for (n, line) in code(&path) {
            for other in named(&line) {
                if other != room && !allowed.contains(&other.as_str()) {
                    wrong.push(format!("{}:{n}: {other}", path.display()));
                }
            }
        }
    }
    wrong
}

#[test]
fn what_judges_facts_imports_facts_and_knowledge_alone() {
    // `https` opens no file; `bytes`, `hex` and `vocabulary` are text, words and numbers; `cause` judges as `verdict` does.
    let plan: [(&str, &[&str]); 8] = [
        ("https", &[]),
        ("knowledge", &["bytes", "hex", "machine", "vocabulary"]),
        ("facts", &["bytes", "knowledge", "machine", "vocabulary"]),
        ("evidence", &["facts", "knowledge", "vocabulary"]),
        ("cause", &["facts", "knowledge", "vocabulary"]),
        ("verdict", &["evidence", "facts", "knowledge", "vocabulary"]),
        (
            "report",
            &[
                "cause",
                "evidence",
                "facts",
                "hex",
                "knowledge",
                "verdict",
                "vocabulary",
            ],
        ),
        (
            "fleet",
            &[
                "cause",
                "evidence",
                "facts",
                "hex",
                "https",
                "knowledge",
                "report",
                "verdict",
                "vocabulary",
            ],
        ),
    ];
    let wrong: Vec<String> = plan
        .iter()
        .flat_map(|(room, allowed)| imports_only(room, allowed))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_reads_a_dump_knows_nothing_of_judging() {
    const JUDGING: [&str; 6] = ["evidence", "fleet", "report", "triage", "verdict", "cli"];
    let mut wrong = Vec::new();
    for room in [
        "bytes",
        "source",
        "dump",
        "memory",
        "image",
        "symbols",
        "kernel",
        "code",
        "unwind",
        "fault",
        "machine",
        "gather",
        "facts",
        "knowledge",
    ] {
        for path in files(room) {
            for (n, line) in code(&path) {
                for other in named(&line) {
                    if JUDGING.contains(&other.as_str()) {
                        wrong.push(format!("{}:{n}: {other}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_article_is_known_in_one_wing_and_each_of_its_facts_stands_once() {
    // Rooms that read any dump of any crash, and of gathering what is neither about forwarding nor the code check.
    const GENERAL: [&str; 11] = [
        "bytes", "source", "dump", "memory", "image", "symbols", "kernel", "unwind", "fault",
        "machine", "gather",
    ];
    const WORDS: [&str; 14] = [
        "IPmf",
        "Iptt",
        "tcpip.sys",
        "netio.sys",
        "bfe.dll",
        "fwpuclnt",
        "ikeext",
        "943650",
        "Mfe",
        "defect::",
        "hotfix::",
        "FORWARDING_TAG",
        "EMPTY_SETS",
        "STACK_MODULES",
    ];
    let mut wrong = Vec::new();
    for room in GENERAL {
        for path in files(room) {
            let wing = path
                .components()
                .any(|part| part.as_os_str() == "forwarding")
                || path.components().any(|part| part.as_os_str() == "code");
            if wing {
                continue;
            }
            for (n, line) in code(&path) {
                for word in WORDS {
                    if line.contains(word) {
                        wrong.push(format!("{}:{n}: {word}", path.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The tags, the two modules and the two builds are constants of `knowledge::defect`.
    for (word, least) in [
        ("\"IPmf\"", 1),
        ("\"Iptt\"", 1),
        ("[\"tcpip.sys\", \"netio.sys\"]", 1),
        ("[6000, 6001]", 1),
        ("6000 | 6001", 0),
    ] {
        let mut places = Vec::new();
        for room in [
            "knowledge",
            "code",
            "gather",
            "facts",
            "evidence",
            "verdict",
            "report",
            "fleet",
            "cli",
        ] {
            for path in files(room) {
                let lines = code(&path);
                let holds = lines.iter().filter(|(_, line)| line.contains(word));
                places.extend(holds.map(|(n, _)| format!("{}:{n}", path.display())));
            }
        }
        assert_eq!(places.len(), least, "{word}: {places:?}");
    }
}
