//! What tells a file's version where no version is in the dump: the hours in which a release was linked, a stamp that
//! alone is published, and the identity of its symbol file. Values are those of `../shared/data/vista` (published
//! histories and profiles), written here by hand.

use std::path::Path;

use serde_json::Value;

use crate::support::bytes::utc;
use crate::support::catalogue::{server_2008_x64, vista_sp1_x86};
use crate::support::memory_dump::{Fill, write};
use crate::support::memory_image::RESOURCES;
use crate::support::memory_machine::Mode;
use crate::support::memory_state::{SMALL, State};
use crate::support::run;
use crate::support::scenes;
use crate::support::state::Machine;

fn report(bytes: &[u8]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.dmp");
    std::fs::write(&path, bytes).unwrap();
    run::reports(&[&path as &Path]).remove(0)
}

fn stamped(stamp: u32) -> Value {
    let mut state = server_2008_x64();
    state.driver_mut("tcpip.sys").time_date_stamp = stamp;
    report(&crate::support::write(&state))
}

fn applicability(report: &Value) -> (&str, &str) {
    let found = &report["hotfix"]["applicability"];
    (
        found["status"].as_str().unwrap(),
        found["reason"].as_str().unwrap(),
    )
}

/// Service Pack 1 for x64 was linked 2008-01-19, 06:03:35 to 07:59:40.
#[test]
fn a_stamp_in_the_hours_of_a_release_is_of_a_file_of_the_release() {
    for (hour, minute) in [(6, 4), (7, 0), (7, 59)] {
        let report = stamped(utc(2008, 1, 19, hour, minute, 0) as u32);
        let (status, reason) = applicability(&report);
        assert_eq!(status, "applicable", "{hour}: {reason}");
        assert!(reason.contains("6.0.6001.18000"), "{hour}: {reason}");
    }
    for (day, hour) in [(19, 1), (19, 14), (21, 7)] {
        let report = stamped(utc(2008, 1, day, hour, 0, 0) as u32);
        let (_, reason) = applicability(&report);
        assert!(
            !reason.contains("in the same hours as"),
            "{day} {hour}: {reason}"
        );
    }
    // Those of Service Pack 2 on a machine that says Service Pack 1: no release of it.
    let (_, reason) = {
        let report = stamped(utc(2009, 4, 11, 5, 30, 0) as u32);
        let (status, reason) = applicability(&report);
        (status.to_owned(), reason.to_owned())
    };
    assert!(
        !reason.contains("as the files of 6.0.6001.18000"),
        "{reason}"
    );
}

/// 0x47919120 is a published stamp of x86 tcpip.sys 6.0.6001.18000, without a size.
#[test]
fn a_stamp_that_alone_is_published_is_worth_as_much_as_a_date() {
    let decided = |stamp: u32| -> Vec<(Value, Value)> {
        let mut state = vista_sp1_x86();
        state.driver_mut("tcpip.sys").time_date_stamp = stamp;
        let report = report(&crate::support::write(&state));
        report["hotfix"]["applicability"]["decided_from"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|from| from["source"] == "table")
            .map(|from| (from["version"].clone(), from["basis"].clone()))
            .collect()
    };
    let table = decided(0x4791_9120);
    assert_eq!(table.len(), 1);
    assert_eq!(table[0].0, "6.0.6001.18000");
    assert_eq!(table[0].1, "date", "it is no proof of the version");
    assert!(decided(0x4791_9121).is_empty());
}

/// A GUID as it lies in a file, from the folder name of a symbol store.
fn guid(folder: &str) -> [u8; 16] {
    let byte = |at: usize| u8::from_str_radix(&folder[at * 2..at * 2 + 2], 16).unwrap();
    [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15].map(byte)
}

/// The x64 tcpip.pdb of published profiles.
#[test]
fn the_identity_of_a_published_symbol_file_names_the_version() {
    for (folder, version) in [
        ("0C1A1EC1D61E4508A33F5212FC1B3720", Some("6.0.6001.18000")),
        ("29A4DBCAF840463298F40190DD1492D0", Some("6.0.6001.18493")),
        ("29A4DBCAF840463298F40190DD1492D1", None),
    ] {
        let mut state = State::new(Mode::X64, SMALL);
        let at = state
            .drivers
            .iter()
            .position(|driver| driver.file.eq_ignore_ascii_case("tcpip.sys"))
            .unwrap();
        let base = state.drivers[at].base;
        let mut image = state.drivers[at].image.clone();
        image.guid = guid(folder);
        image.age = 2;
        // Its version was paged out.
        let mut bytes = image.bytes();
        bytes[RESOURCES as usize..].fill(0);
        state.machine.put(base, &bytes);
        state.refresh();
        let report = report(&write(&state.machine, &state.header, Fill::Written).to_vec());
        let decided = &report["hotfix"]["applicability"]["decided_from"];
        let named: Vec<&str> = decided
            .as_array()
            .unwrap()
            .iter()
            .filter(|from| from["file"] == "tcpip.sys")
            .filter_map(|from| from["version"].as_str())
            .collect();
        assert_eq!(named, version.into_iter().collect::<Vec<_>>(), "{decided}");
    }
}

/// Reports of a running system, and Stops that later versions of Windows brought (0x133 and above): no crash of 6.0
/// has one, so where nothing contradicts it, each excludes like every other. The codes are the published reference's.
#[test]
fn every_code_that_no_stop_of_this_windows_has_excludes_alike() {
    for code in [
        0x117, 0x133, 0x139, 0x141, 0x144, 0x154, 0x15E, 0x161, 0x193, 0x1A1, 0x1A8, 0x1B8, 0x1CA,
    ] {
        let mut state = scenes::machine(Machine::X64, 6001);
        scenes::fault_elsewhere(&mut state, code, [0; 4]);
        let report = report(&crate::support::write(&state));
        let found = &report["hotfix"]["match"];
        assert_eq!(found["status"], "excluded", "{code:#x}: {found}");
        assert!(
            found.to_string().contains("code.impossible"),
            "{code:#x}: {found}"
        );
    }
}
