//! Known builds, embedded and added by a user.

use kbtriage::knowledge::builds::{self, BuildTable, BuildsError, Identified};
use kbtriage::knowledge::versions::FileVersion;

use super::{shared, version};

#[test]
fn the_embedded_builds_are_what_the_images_say() {
    let table = BuildTable::embedded();
    let Some(store) = shared("data/symbols/tcpip.sys") else {
        return;
    };
    for entry in std::fs::read_dir(store).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path().join("tcpip.sys")).unwrap();
        let at = |offset: usize| u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap());
        let header = at(0x3C) as usize;
        let (stamp, size) = (at(header + 8), at(header + 24 + 56));
        let fixed = bytes
            .windows(4)
            .position(|w| w == [0xBD, 0x04, 0xEF, 0xFE])
            .unwrap();
        let stored = FileVersion::from_halves(at(fixed + 8), at(fixed + 12));
        match table.identify("TCPIP.SYS", stamp, size) {
            Identified::Known(build) => assert_eq!(build.version, stored),
            other => panic!("{stamp:#x}: {other:?}"),
        }
        assert_eq!(
            table.identify("tcpip.sys", stamp, size + 0x1000),
            Identified::Unknown
        );
        assert_eq!(
            table.identify("tcpip.sys", stamp ^ 1, size),
            Identified::Unknown
        );
        assert_eq!(
            table.identify("netio.sys", stamp, size),
            Identified::Unknown
        );
    }
}

#[test]
fn a_users_table_adds_builds_and_a_contradiction_is_reported_not_resolved() {
    let text = "# ours\n\ntcpip.sys\t0x47919120\t0xE3000\t6.0.6001.18000\tinventory\nTCPIP.SYS\t0x8CA873CB\t0x2EB000\t6.0.6001.1\n";
    let mut table = BuildTable::embedded();
    table.extend(builds::parse(text, "ours.tsv").unwrap());
    match table.identify("tcpip.sys", 0x4791_9120, 0xE_3000) {
        Identified::Known(build) => assert_eq!(
            (build.version, build.provenance.as_str()),
            (version("6.0.6001.18000"), "inventory")
        ),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        table.identify("tcpip.sys", 0x8CA8_73CB, 0x2E_B000),
        Identified::Contradicted(..)
    ));
}

#[test]
fn an_error_in_a_users_table_names_file_line_and_what_was_expected() {
    for (text, line, expected) in [
        ("tcpip.sys\t0x1\t0x1000", 1, "separated by tabs"),
        ("# c\ntcpip.sys\t12\t0x1000\t6.0.6001.1", 2, "TimeDateStamp"),
        ("tcpip.sys\t0x1\t0x0\t6.0.6001.1", 1, "SizeOfImage"),
        ("tcpip.sys\t0x1\t0x1000\t6.0.6001", 1, "version"),
        (
            "C:\\tcpip.sys\t0x1\t0x1000\t6.0.6001.1",
            1,
            "without a path",
        ),
        (
            "tcpip.sys\t0x1\t0x1000\t6.0.6001.1\ta\tb",
            1,
            "five columns",
        ),
        (
            "t.sys\t0x1\t0x1000\t6.0.6001.1\nt.sys\t0x1\t0x1000\t6.0.6001.2",
            2,
            "line 1",
        ),
    ] {
        let error = builds::parse(text, "ours.tsv").unwrap_err().to_string();
        assert!(error.starts_with(&format!("ours.tsv:{line}: ")), "{error}");
        assert!(error.contains(expected), "{error}");
    }
    let long = "#".repeat(builds::MAX_BUILDS_FILE + 1);
    assert!(matches!(
        builds::parse(&long, "x"),
        Err(BuildsError::TooLarge { .. })
    ));
}
