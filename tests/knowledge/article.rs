//! The article as data, row by row against its archived text.

use std::collections::{BTreeMap, BTreeSet};

use kbtriage::knowledge::hotfix::{ARCHITECTURES, FileRole, KB943650};
use kbtriage::machine::Machine;

use super::{shared, version};

/// A row of the article: package, name, version, size, date, time, platform, as this file reads them.
type ArticleRow = (
    Machine,
    String,
    Option<String>,
    u64,
    String,
    String,
    Option<String>,
);

/// A manifest of the article: package, name, size, date, time.
type ManifestRow = (Machine, String, u64, String, String);

fn iso(date: &str) -> String {
    let parts: Vec<&str> = date.split('-').collect();
    let month = match parts[1] {
        "Jul" => 7,
        "Dec" => 12,
        other => panic!("month {other}"),
    };
    format!("{}-{month:02}-{}", parts[2], parts[0])
}

fn number(text: &str) -> u64 {
    text.replace(',', "").parse().expect("a number")
}

/// The archive lost the blanks between the columns of the file tables, so a row is taken apart from
/// both ends: the platform and time at the end, the date before, the name up to its known version.
fn article_file_row(line: &str, package: Machine) -> Option<ArticleRow> {
    let (rest, platform) = ["x86", "x64", "IA-64", "Not Applicable"]
        .iter()
        .find_map(|platform| line.strip_suffix(platform).map(|rest| (rest, *platform)))?;
    let (rest, time) = rest.split_at_checked(rest.len().checked_sub(5)?)?;
    let (rest, date) = rest.split_at_checked(rest.len().checked_sub(11)?)?;
    let (name, file_version, size) =
        ["Not Applicable", "6.0.6001.22222"]
            .iter()
            .find_map(|version| {
                rest.split_once(version)
                    .map(|(name, size)| (name, *version, size))
            })?;
    if !time.contains(':') || !date.contains('-') {
        return None;
    }
    let known = |text: &str| (text != "Not Applicable").then(|| text.to_owned());
    let row = (
        package,
        name.into(),
        known(file_version),
        number(size),
        iso(date),
        time.into(),
        known(platform),
    );
    Some(row)
}

fn read_article(text: &str) -> (Vec<ArticleRow>, Vec<ManifestRow>) {
    let mut package = Machine::X86;
    let (mut files, mut manifests) = (Vec::new(), Vec::new());
    let mut current: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with("For all supported") || line.starts_with("Additional files for all") {
            package = match line {
                line if line.contains("32-bit") => Machine::X86,
                line if line.contains("Itanium") => Machine::Ia64,
                _ => Machine::X64,
            };
        }
        if let Some(row) = article_file_row(line, package) {
            files.push(row);
        }
        for key in [
            "File name",
            "File version",
            "File size",
            "Date (UTC)",
            "Time (UTC)",
            "Platform",
        ] {
            if let Some(value) = line.strip_prefix(key) {
                current.insert(key, value);
            }
        }
        if line == "PlatformNot Applicable" {
            assert_eq!(current["File version"], "Not Applicable");
            manifests.push((
                package,
                current["File name"].to_owned(),
                number(current["File size"]),
                iso(current["Date (UTC)"]),
                current["Time (UTC)"].to_owned(),
            ));
        }
    }
    (files, manifests)
}

#[test]
fn every_file_and_manifest_row_of_the_article_is_there_and_no_other() {
    let Some(path) = shared("reference/kb943650-article.txt") else {
        return;
    };
    let (files, manifests) = read_article(&std::fs::read_to_string(path).unwrap());
    assert_eq!(
        (files.len(), manifests.len()),
        (28, 57),
        "rows read from the article"
    );
    let ours: Vec<ArticleRow> = KB943650
        .files
        .iter()
        .map(|row| {
            (
                row.package,
                row.name.to_owned(),
                row.version.map(|version| version.to_string()),
                row.size,
                row.date.to_owned(),
                row.time.to_owned(),
                row.platform.map(str::to_owned),
            )
        })
        .collect();
    assert_eq!(ours, files);
    let ours: Vec<_> = KB943650
        .manifests
        .iter()
        .map(|row| {
            (
                row.package,
                row.name.to_owned(),
                row.size,
                row.date.to_owned(),
                row.time.to_owned(),
            )
        })
        .collect();
    assert_eq!(ours, manifests);
}

#[test]
fn the_article_says_what_the_embedded_facts_say() {
    let Some(path) = shared("reference/kb943650-article.txt") else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    for fact in [
        "such as 0x0000001E or 0x000000D1",
        "You must have Windows Vista Service Pack 1 installed",
        "You must restart the computer after you apply this hotfix",
        "This hotfix does not replace any other hotfixes",
        "disable multicast forwarding",
        "Published on : 7/28/2008",
    ] {
        assert!(text.contains(fact), "the article no longer says {fact:?}");
    }
    assert_eq!(KB943650.stop_codes, [0x1E, 0xD1]);
    assert!(KB943650.restart_required);
    assert_eq!((KB943650.published, KB943650.revision), ("2008-07-28", 1));
}

#[test]
fn the_tcpip_rows_are_those_of_the_article() {
    let tcpip: Vec<_> = KB943650
        .files
        .iter()
        .filter(|row| row.name == "Tcpip.sys")
        .map(|row| (row.package, row.size, row.date, row.time, row.platform))
        .collect();
    assert_eq!(
        tcpip,
        [
            (Machine::X86, 891_448, "2008-07-15", "05:14", Some("x86")),
            (Machine::X64, 1_419_832, "2008-07-15", "06:38", Some("x64")),
            (
                Machine::Ia64,
                2_922_552,
                "2008-07-15",
                "05:28",
                Some("IA-64")
            ),
        ]
    );
    assert!(
        KB943650
            .files
            .iter()
            .filter_map(|row| row.version)
            .all(|v| v == version("6.0.6001.22222"))
    );
}

#[test]
fn itanium_has_server_packages_only() {
    let client = |package| {
        KB943650
            .packages(package)
            .any(|name| name.contains("_client"))
    };
    assert!(client(Machine::X86) && client(Machine::X64));
    assert!(!client(Machine::Ia64));
    let counts = ARCHITECTURES.map(|package| KB943650.packages(package).count());
    assert_eq!(counts, [13, 13, 9]);
}

#[test]
fn roles_belong_to_files_of_the_package_and_one_file_decides() {
    let named: BTreeSet<String> = KB943650
        .files
        .iter()
        .filter(|row| row.version.is_some())
        .map(|row| row.name.to_ascii_lowercase())
        .collect();
    let roles: BTreeSet<String> = KB943650
        .roles
        .iter()
        .map(|row| row.file.to_owned())
        .collect();
    assert_eq!(named, roles);
    assert_eq!(KB943650.role("TCPIP.SYS"), Some(FileRole::Decides));
    assert_eq!(
        KB943650
            .roles
            .iter()
            .filter(|row| row.role == FileRole::Decides)
            .count(),
        1
    );
}
