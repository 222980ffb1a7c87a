//! The bug-check table row by row against Microsoft's published reference, as a file of facts.
//!
//! `bugcheck-reference.tsv`: code, name, use, meaning of parameters 1 to 4, and for codes whose
//! parameters depend on the first one the reference's rows. Skipped where it is absent.

use std::collections::BTreeSet;

use kbtriage::knowledge::bugchecks::{self, Access, Parameters, Platform, Reports, Slot};

use super::shared;

struct Row {
    code: u32,
    name: String,
    reports: String,
    parameters: [String; 4],
    table: Vec<Vec<String>>,
}

fn rows() -> Option<Vec<Row>> {
    let text = std::fs::read_to_string(shared("data/bugcheck-reference.tsv")?).unwrap();
    let rows: Vec<Row> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let columns: Vec<&str> = line.split('\t').collect();
            let code = columns[0].trim_start_matches("0x");
            Row {
                code: u32::from_str_radix(code, 16).unwrap(),
                name: columns[1].to_owned(),
                reports: columns[2].to_owned(),
                parameters: [3, 4, 5, 6].map(|i| columns[i].to_owned()),
                table: columns[7]
                    .split(" || ")
                    .filter(|row| !row.is_empty())
                    .map(|row| {
                        row.split(" | ")
                            .map(|cell| cell.trim().to_owned())
                            .collect()
                    })
                    .collect(),
            }
        })
        .collect();
    assert!(rows.len() > 400);
    Some(rows)
}

/// The reference's page list names two codes 0x1CE; the other is 0x1C8 in its index.
fn misnumbered(row: &Row) -> bool {
    row.code == 0x1CE && row.name == "MANUALLY_INITIATED_POWER_BUTTON_HOLD"
}

#[test]
fn names_and_live_codes_are_those_of_the_reference() {
    let Some(rows) = rows() else { return };
    let mut live = 0;
    for row in rows.iter().filter(|row| !misnumbered(row)) {
        let found = bugchecks::find(row.code);
        // Two codes have no name on their page.
        if !row.name.is_empty() && row.code >> 28 != 1 {
            assert_eq!(found.name, Some(row.name.as_str()));
        }
        let wanted = match row.reports.as_str() {
            "stop" => Reports::Stop,
            "live" => Reports::Live,
            "live-or-stop" => Reports::Either,
            other => panic!("{other}"),
        };
        assert_eq!(found.reports, wanted, "{:#x}", row.code);
        live += usize::from(found.is_live());
    }
    assert_eq!(live, 48);
    let known: BTreeSet<u32> = rows.iter().map(|row| row.code).collect();
    let ours = bugchecks::codes().iter().map(|row| row.code);
    let more: Vec<u32> = ours.filter(|code| !known.contains(code)).collect();
    assert_eq!(more, [0x1C8], "codes that the reference does not have");
}

/// Parameters that the reference calls reserved and debuggers print: the trap frame of 0xBE and 0xFC,
/// what the integrity checker passes, and words for which only a code's use differs by Windows version.
const BEYOND: &[(u32, usize)] = &[
    (0xBE, 2),
    (0xBE, 3),
    (0xFC, 2),
    (0xFC, 3),
    (0x109, 0),
    (0x109, 1),
    (0x109, 2),
    (0x7B, 1),
    (0x77, 2),
    (0xC000_021A, 2),
    (0xC000_021A, 3),
];

/// Codes whose page has a list of first parameters in another form than a table of rows, so that its
/// extract says something else under the four parameters.
const OTHER_FORM: &[u32] = &[0x139, 0xFE, 0xC8];

#[test]
fn every_parameter_that_is_described_agrees_with_the_reference() {
    let Some(rows) = rows() else { return };
    let (mut codes, mut compared) = (0, 0);
    for row in rows
        .iter()
        .filter(|row| row.code >> 28 != 1 && !misnumbered(row))
    {
        if !bugchecks::has_parameter_texts(row.code) {
            continue;
        }
        codes += 1;
        let stated = row.parameters.iter().any(|text| !text.is_empty());
        if !stated || OTHER_FORM.contains(&row.code) {
            continue;
        }
        for (index, theirs) in row.parameters.iter().enumerate() {
            let platform = Platform {
                pointer: 8,
                arm: false,
                build: Some(6001),
            };
            let ours = Parameters::written(row.code, [Some(0); 4], platform)
                .text(index)
                .meaning;
            let lower = theirs.to_ascii_lowercase();
            let reserved = lower.is_empty()
                || lower.starts_with("reserved")
                || lower.starts_with('0') && (lower.len() == 1 || lower.starts_with("0 ("))
                || lower.starts_with("zero (reserved)");
            let at = format!("{:#x} P{}: {theirs:?} / {ours:?}", row.code, index + 1);
            if !BEYOND.contains(&(row.code, index)) {
                assert_eq!(reserved, ours.is_none(), "{at}");
            }
            let part = |slot| bugchecks::find(row.code).slot(slot) == Some(index);
            for (words, slot) in [
                (&["irql at time"][..], Slot::Irql),
                (
                    &[
                        "address that referenced memory",
                        "instruction pointer at the time",
                        "address where the exception occurred",
                        "address of the instruction that caused",
                    ],
                    Slot::Instruction,
                ),
                (&["context record"], Slot::ContextRecord),
                (&["exception record"], Slot::ExceptionRecord),
                (&["trap frame"], Slot::TrapFrame),
                (
                    &[
                        "memory referenced",
                        "memory address referenced",
                        "virtual memory address that couldn't",
                        "virtual address of attempted write",
                        "virtual address whose execution",
                    ],
                    Slot::Accessed,
                ),
                (
                    &[
                        "exception code that was",
                        "exception that caused the bug check",
                    ],
                    Slot::Exception,
                ),
            ] {
                let says = words.iter().any(|word| lower.contains(word))
                    // "Exception information parameter 0 of the exception record" is none.
                    && !lower.contains("information parameter")
                    && !lower.contains("context record for the exception that caused")
                        | (slot == Slot::ContextRecord);
                // 0x9E and others name no fault, so only what the reference says is demanded.
                if says {
                    assert!(part(slot), "{slot:?} {at}");
                    compared += 1;
                }
            }
            compared += 1;
        }
    }
    assert!(codes >= 60, "only {codes} codes are described");
    assert!(compared > 200, "{compared}");
}

/// `0: Read ; 1: Write` and the like, where a parameter's text is nothing else.
fn access_values(text: &str) -> Vec<(u64, Access)> {
    let word = |text: &str| {
        let text = text.to_ascii_lowercase();
        [
            ("read", Access::Read),
            ("write", Access::Write),
            ("execute", Access::Execute),
        ]
        .into_iter()
        .find(|(word, _)| text.contains(word) && !text.contains("not an execute"))
        .map(|(_, access)| access)
    };
    text.split(" ; ")
        .filter_map(|part| {
            let (value, rest) = part.split_once([':', '-'])?;
            let value = value.trim().trim_start_matches("0x");
            Some((u64::from_str_radix(value, 16).ok()?, word(rest)?))
        })
        .collect()
}

#[test]
fn every_value_of_an_access_parameter_decodes_to_the_reference_s_word() {
    let Some(rows) = rows() else { return };
    let old = Platform {
        pointer: 8,
        arm: false,
        build: Some(6001),
    };
    let mut compared = 0;
    for row in &rows {
        if bugchecks::find(row.code).slot(Slot::Accessed).is_none() {
            continue;
        }
        for (index, text) in row.parameters.iter().enumerate() {
            let sections: Vec<(&str, Platform)> = match row.code {
                // Its text has a part for each Windows and architecture.
                0x50 if index == 1 => {
                    let (new, before) = text.split_once("Before Windows").unwrap();
                    let (x, arm) = new.split_once("- Arm").unwrap();
                    let new = Platform {
                        build: Some(19041),
                        ..old
                    };
                    vec![
                        (before, old),
                        (x, new),
                        (arm, Platform { arm: true, ..new }),
                    ]
                }
                0x0A if index == 2 => {
                    let (_, combined) = text.split_once("combined values").unwrap();
                    vec![(combined, old)]
                }
                _ => vec![(text, old)],
            };
            for (text, platform) in sections {
                for (value, access) in access_values(
                    &text
                        .replace("0x0 - Fault trying to READ", "0: read")
                        .replace("0x1 - Fault trying to WRITE", "1: write")
                        .replace("0x8 - Fault trying to EXECUTE", "8: execute"),
                ) {
                    let mut params = [0xFFFF_0000_1000, 2, 0x2000, 0x2000];
                    params[index] = value;
                    // The instruction keeps another address than the one accessed.
                    let found = Parameters::written(row.code, params.map(Some), platform);
                    let word = found.text(index).decoded;
                    assert_eq!(
                        word.as_deref(),
                        Some(access.as_str()),
                        "{:#x} {value:#x}",
                        row.code
                    );
                    assert_eq!(
                        found.violation().unwrap().access,
                        Some(access),
                        "{:#x} {value:#x}",
                        row.code
                    );
                    compared += 1;
                }
            }
        }
    }
    assert!(compared >= 30, "{compared}");
}

/// Rows of the reference that say nothing of their value.
fn silent(cell: &str) -> bool {
    cell.to_ascii_lowercase().contains("unused") || cell.starts_with("Not used")
}

#[test]
fn every_first_parameter_that_the_reference_lists_has_a_text() {
    let Some(rows) = rows() else { return };
    let platform = Platform {
        pointer: 8,
        arm: false,
        build: Some(6001),
    };
    let mut compared = 0;
    for code in [
        0x19, 0x1A, 0xC2, 0x4E, 0x9F, 0x124, 0x133, 0xC7, 0xC9, 0x10D, 0x10E, 0x119, 0xA0, 0xE4,
        0xF5, 0x122,
    ] {
        let row = rows.iter().find(|row| row.code == code).unwrap();
        for cells in row.table.iter().skip(1) {
            if cells.iter().any(|cell| silent(cell)) {
                continue;
            }
            for value in cells[0]
                .split(|c: char| !c.is_ascii_alphanumeric())
                .filter(|word| !matches!(*word, "" | "or"))
            {
                let digits = value.trim_start_matches("0x").trim_start_matches("0X");
                let Ok(value) = u64::from_str_radix(digits, 16) else {
                    continue;
                };
                let text = Parameters::written(code, [value, 0, 0, 0].map(Some), platform).text(0);
                assert!(text.decoded.is_some(), "{code:#x} ({value:#x}): {cells:?}");
                compared += 1;
            }
        }
    }
    assert!(compared > 150, "{compared}");
}

#[test]
fn no_text_is_a_sentence_of_the_reference() {
    let Some(rows) = rows() else { return };
    let plain = |text: &str| -> String {
        text.chars()
            .filter(|c| c.is_ascii_alphanumeric() || *c == ' ')
            .collect::<String>()
            .to_ascii_lowercase()
            .trim()
            .to_owned()
    };
    let theirs: BTreeSet<String> = rows
        .iter()
        .flat_map(|row| row.parameters.iter().chain(row.table.iter().flatten()))
        .map(|text| plain(text))
        .filter(|text| text.split(' ').count() > 4)
        .collect();
    let platform = Platform {
        pointer: 8,
        arm: false,
        build: Some(6001),
    };
    for row in bugchecks::codes() {
        for index in 0..4 {
            let ours = Parameters::written(row.code, [Some(0); 4], platform)
                .text(index)
                .meaning;
            assert!(
                !ours.is_some_and(|text| theirs.contains(&plain(text))),
                "{:#x} {ours:?}",
                row.code
            );
        }
    }
}
