//! Small dumps that are cut off, told from whole ones that lost bytes, by the built program.

use serde_json::Value;

use crate::support::run::reports;

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(format!(
        "{}/fixtures/dumps/{name}",
        env!("CARGO_MANIFEST_DIR")
    ))
    .unwrap()
}

fn damage(bytes: &[u8]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.dmp");
    std::fs::write(&path, bytes).unwrap();
    let report: Value = reports(&[path])[0].clone();
    let list = report["dump"]["damage"].as_array().unwrap().clone();
    list.iter()
        .map(|damage| damage["what"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_cut_off_small_dump_says_how_much_of_it_is_missing() {
    for (name, header) in [
        ("server2008-x64-d1.dmp", 0x2000),
        ("vista-sp1-x86-d1.dmp", 0x1000),
    ] {
        let whole = fixture(name);
        assert_eq!(damage(&whole), [""; 0], "{name}");
        let len = whole.len();
        for kept in [
            header,
            header + 0x40,
            header + 0x200,
            len / 2,
            len - 300,
            len - 1,
        ] {
            let found = damage(&whole[..kept]);
            let expected = format!("it has {kept} of {len} bytes, {} missing", len - kept);
            assert!(
                found.iter().any(|what| what.contains(&expected)),
                "{name} {kept}: {found:?}"
            );
            assert!(
                !found.iter().any(|what| what.contains("intact")),
                "{name} {kept}: {found:?}"
            );
        }
        // Cut within the header: it is not called intact as well.
        for kept in [header - 1, header - 0x400, header / 2] {
            let found = damage(&whole[..kept]);
            assert!(
                found.iter().any(|what| what.contains("header is cut off")),
                "{found:?}"
            );
            assert!(
                !found.iter().any(|what| what.contains("intact")),
                "{found:?}"
            );
        }
    }
}

#[test]
fn a_debuggers_small_dump_is_cut_off_where_its_pieces_reach_past_the_end() {
    let name = "vista-sp1-x86-d1-debugger.dmp";
    let whole = fixture(name);
    assert_eq!(damage(&whole), [""; 0]);
    let kept = whole.len() / 2;
    let found = damage(&whole[..kept]);
    assert!(
        found.iter().any(|what| what.contains("at least")),
        "{found:?}"
    );
}

#[test]
fn a_whole_file_that_lost_bytes_is_not_called_cut_off() {
    let mut dump = fixture("server2008-x64-d1.dmp");
    let mark = dump.windows(4).rposition(|bytes| bytes == b"TRGD").unwrap();
    dump[mark - 16..mark + 4].fill(0);
    let found = damage(&dump);
    assert!(
        found.iter().any(|what| what.contains("full length")),
        "{found:?}"
    );
    assert!(
        !found.iter().any(|what| what.contains("cut off")),
        "{found:?}"
    );
}

#[test]
fn a_memory_dumps_header_is_never_intact_and_cut_off_at_once() {
    let whole = fixture("server2008-x64-summary.dmp");
    for kept in [0x1000, 0x1FFF] {
        let found = damage(&whole[..kept]);
        assert!(
            !found.iter().any(|what| what.contains("intact")),
            "{found:?}"
        );
    }
}
