//! The recipes of `docs/recipes.md` run as they are printed, and the README keeps its length.

use std::path::Path;
#[cfg(unix)]
use std::process::Command;

#[cfg(unix)]
use crate::support::run::command;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

crate::support::only_on!(
    unix,
    every_jq_recipe_runs_and_those_about_what_is_there_print_something,
    "the recipes are for a Unix shell"
);
#[cfg(unix)]
#[test]
fn every_jq_recipe_runs_and_those_about_what_is_there_print_something() {
    if Command::new("jq").arg("--version").output().is_err() {
        println!("SKIPPED: there is no jq on this machine");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let output = command()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["scan", "--quiet", "--detail", "full", "--machine", "HOST"])
        .args([
            "--include",
            "server2008-x64-d1*",
            "--format",
            "jsonl",
            "fixtures/dumps",
        ])
        .output()
        .unwrap();
    std::fs::write(folder.path().join("r.jsonl"), output.stdout).unwrap();
    let page = read("docs/recipes.md");
    let recipes: Vec<&str> = page
        .lines()
        .filter(|line| line.starts_with("jq "))
        .collect();
    assert_eq!(recipes.len(), 10);
    for (number, recipe) in (1..).zip(recipes) {
        let run = Command::new("sh")
            .current_dir(folder.path())
            .args(["-c", recipe])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success() && said.is_empty(), "{number}: {said}");
        // The fixtures have no match and no file that failed.
        let empty = matches!(number, 3 | 9);
        assert_eq!(run.stdout.is_empty(), empty, "{number}: {recipe}");
    }
}

#[test]
fn the_readme_is_short_and_in_the_order_in_which_people_ask() {
    let readme = read("README.md");
    assert!(readme.lines().count() <= 150);
    let headings: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    let order = [
        "## The screen",
        "## Install",
        "## Two commands",
        "## The commands people use",
        "## Getting dumps off a machine",
        "## What it reads",
        "## Limits",
        "## Documentation",
    ];
    assert_eq!(headings, order);
}

#[test]
fn the_script_writes_the_files_that_a_folder_is_read_by() {
    let script = read("docs/collect.cmd");
    let reader = read("src/cli/collection.rs");
    for name in [
        "kbtriage-collection.txt",
        "kbtriage collection 1",
        "machine=",
        "versions.csv",
        "SYSTEM.hiv",
        "netsh-ipv4.txt",
        "netsh-ipv6.txt",
    ] {
        assert!(script.contains(name), "the script: {name}");
        assert!(reader.contains(name), "the reader: {name}");
    }
    // cmd.exe takes a digit right before > for a handle.
    for line in script.lines().filter(|line| !line.starts_with("rem")) {
        for (at, _) in line.match_indices('>') {
            let before = line[..at].chars().next_back();
            let handle = line[at..].starts_with(">nul") || line[at..].starts_with(">&1");
            assert!(
                handle || !before.is_some_and(|c| c.is_ascii_digit()),
                "{line}"
            );
        }
    }
    assert!(script.is_ascii(), "cmd.exe reads the console's code page");
}
