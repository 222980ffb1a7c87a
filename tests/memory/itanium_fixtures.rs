//! The committed memory dumps of an Itanium: 0xD1 and 0x1E in tcpip.sys, as it shipped and as the hotfix has it. They
//! are exactly what the writer makes, and the program answers as the article says.
//!
//! `KBTRIAGE_BLESS=1 cargo test --test memory itanium_fixtures` writes them again after a change of the writer.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::itanium::dump;
use crate::support::itanium::scene::{Plan, Scene};
use crate::support::run;

/// File, bug check, version of tcpip.sys (the release; the hotfix by its file table), and the two words expected.
const DUMPS: [(&str, u32, [u16; 4], [&str; 2]); 4] = [
    (
        "server2008-ia64-memory-d1.dmp",
        0xD1,
        [6, 0, 6001, 18000],
        ["applicable", "may-apply"],
    ),
    (
        "server2008-ia64-memory-1e.dmp",
        0x1E,
        [6, 0, 6001, 18000],
        ["applicable", "may-apply"],
    ),
    (
        "server2008-ia64-memory-d1-hotfix.dmp",
        0xD1,
        [6, 0, 6001, 22222],
        ["already-installed", "does-not-apply"],
    ),
    (
        "server2008-ia64-memory-1e-hotfix.dmp",
        0x1E,
        [6, 0, 6001, 22222],
        ["already-installed", "does-not-apply"],
    ),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/itanium")
}

fn made(code: u32, tcpip: [u16; 4]) -> Vec<u8> {
    let mut scene = Scene::new(&Plan {
        code,
        tcpip,
        ..Plan::default()
    });
    scene.header.dump_type = 2;
    dump::write(&scene.machine, &scene.header)
}

#[test]
fn committed_memory_dumps_are_what_the_writer_makes_and_answer_as_the_article_says() {
    if std::env::var_os("KBTRIAGE_BLESS").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for (name, code, tcpip, _) in DUMPS {
            fs::write(folder().join(name), made(code, tcpip)).unwrap();
        }
    }
    assert_eq!(fs::read_dir(folder()).unwrap().count(), DUMPS.len());
    for (name, code, tcpip, [applicability, verdict]) in DUMPS {
        let path = folder().join(name);
        assert!(
            fs::read(&path).unwrap() == made(code, tcpip),
            "{name} differs from its description"
        );
        let report = run::reports(&[&path]).remove(0);
        let hotfix = &report["hotfix"];
        assert_eq!(hotfix["applicability"]["status"], applicability, "{name}");
        assert_eq!(hotfix["verdict"], verdict, "{name}");
        assert_eq!(
            report["bugcheck"]["code"],
            format!("{code:#010X}").replace("0X", "0x"),
            "{name}"
        );
        assert_eq!(report["dump"]["architecture"], "ia64", "{name}");
    }
}
