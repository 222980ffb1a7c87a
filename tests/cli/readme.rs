//! The README shows what the program really prints, and names what really is there.

use std::path::Path;

use crate::support::run::{command, kbtriage};

const DUMP: &str = "fixtures/dumps/vista-sp1-x86-d1.dmp";

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

#[test]
fn the_output_in_the_readme_is_the_programs_own() {
    let output = command()
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg(DUMP)
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    if std::env::var_os("KBTRIAGE_BLESS").is_some() {
        let readme = readme();
        let (before, rest) = readme.split_once("```text\n").unwrap();
        let (_, after) = rest.split_once("```\n").unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        std::fs::write(path, format!("{before}```text\n{printed}```\n{after}")).unwrap();
    }
    assert!(
        readme().contains(&format!("```text\n{printed}```\n")),
        "the README should show:\n{printed}"
    );
}

#[test]
fn every_command_in_the_readme_exists() {
    let readme = readme();
    let help = String::from_utf8(kbtriage(&["--help"]).stdout).unwrap();
    for command in [
        "triage",
        "explain",
        "stack",
        "symbols",
        "kb",
        "schema",
        "completions",
        "man",
    ] {
        assert!(
            readme.contains(&format!("kbtriage {command}"))
                || readme.contains(&format!("`{command}")),
            "{command}"
        );
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command} is not a command"
        );
    }
}

#[test]
fn every_page_the_readme_names_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = readme();
    let pages: Vec<&str> = readme
        .split('`')
        .filter(|word| word.starts_with("docs/") || *word == "CHANGELOG.md")
        .collect();
    assert!(pages.len() >= 6);
    for page in pages {
        assert!(root.join(page).exists(), "{page}");
    }
}

#[test]
fn help_fits_80_columns() {
    for arguments in [
        vec!["--help"],
        vec!["triage", "--help"],
        vec!["explain", "--help"],
        vec!["stack", "--help"],
        vec!["symbols", "--help"],
        vec!["kb", "--help"],
        vec!["kb", "check", "--help"],
    ] {
        let output = kbtriage(&arguments);
        assert!(output.status.success(), "{arguments:?}");
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            assert!(line.chars().count() <= 80, "{arguments:?}: {line}");
        }
    }
}
