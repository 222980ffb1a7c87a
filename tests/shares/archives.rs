//! Archives of every kind that is read: their dumps are found, what cannot be opened is said to be not looked
//! into, and no archive costs more than the limits allow, whatever it states.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::share::{
    bzip2, cabinet, fixture, gzip, matching, numbered, of_type, put, records, run, tarball, xz,
    zip, zstd,
};

fn scan(root: &Path, more: &[&str]) -> Vec<Value> {
    let mut arguments = vec!["scan", root.to_str().unwrap(), "--sort", "path"];
    arguments.extend(more);
    records(&run(&arguments).stdout)
}

fn reports(lines: &[Value]) -> Vec<(String, String, String)> {
    of_type(lines, "report")
        .iter()
        .map(|report| {
            let path = report["source"]["path"].as_str().unwrap();
            let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (
                name.to_owned(),
                text(&report["status"]),
                text(&report["error"]["kind"]),
            )
        })
        .collect()
}

/// Each with its own way of packing a dump.
fn packed() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let dump = matching();
    let tar = tarball(&[("notes.txt", b"hello"), ("x.dmp", &dump)]);
    vec![
        ("a.tar", tar.clone(), "a.tar!x.dmp"),
        ("b.tar.gz", gzip(&tar), "b.tar.gz!x.dmp"),
        ("c.tar.xz", xz(&tar), "c.tar.xz!x.dmp"),
        ("d.tar.bz2", bzip2(&tar), "d.tar.bz2!x.dmp"),
        ("e.tar.zst", zstd(&tar), "e.tar.zst!x.dmp"),
        ("f.dmp.xz", xz(&dump), "f.dmp.xz!content"),
        ("g.dmp.bz2", bzip2(&dump), "g.dmp.bz2!content"),
        ("h.dmp.zst", zstd(&dump), "h.dmp.zst!content"),
        (
            "i.zip",
            zip(&[("in.tar.xz", &xz(&tar))]),
            "i.zip!in.tar.xz!x.dmp",
        ),
        (
            "j.tar",
            tarball(&[("x.zip", &zip(&[("x.dmp", &dump)]))]),
            "j.tar!x.zip!x.dmp",
        ),
        (
            "k.cab",
            cabinet(&[("n.txt", b"no dump"), ("x.dmp", &dump)]),
            "k.cab!x.dmp",
        ),
        ("l.7z", sevenz("lzma.7z"), "l.7z!x.dmp"),
        ("m.7z", sevenz("lzma2.7z"), "m.7z!x.dmp"),
        ("n.7z", sevenz("ppmd.7z"), "n.7z!x.dmp"),
        ("o.7z", sevenz("bzip2.7z"), "o.7z!x.dmp"),
    ]
}

/// One of the archives that 7-Zip itself made.
fn sevenz(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/archives");
    std::fs::read(folder.join(name)).unwrap()
}

#[test]
fn a_dump_is_found_in_every_kind_of_archive() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content, _) in packed() {
        put(&dir.path().join(name), &content);
    }
    let found = reports(&scan(dir.path(), &[]));
    let expected: Vec<(String, String, String)> = packed()
        .iter()
        .map(|(_, _, path)| ((*path).to_owned(), "ok".to_owned(), String::new()))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn an_archive_that_was_written_just_now_has_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content, _) in packed() {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    let found = reports(&scan(dir.path(), &[]));
    assert_eq!(found.len(), packed().len());
    for (path, status, kind) in found {
        assert_eq!((status.as_str(), kind.as_str()), ("ok", ""), "{path}");
    }
}

#[test]
fn dumps_of_one_block_of_a_7z_archive_or_of_two_are_two_dumps() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["apart.7z", "solid.7z"] {
        put(&dir.path().join(name), &sevenz(name));
    }
    let found: Vec<String> = reports(&scan(dir.path(), &[]))
        .into_iter()
        .map(|(path, status, _)| format!("{path} {status}"))
        .collect();
    let expected = [
        "apart.7z!x.dmp ok",
        "apart.7z!y.dmp ok",
        "solid.7z!x.dmp ok",
        "solid.7z!y.dmp ok",
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_7z_archive_that_cannot_be_unpacked_says_why() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["deflate.7z", "encrypted.7z", "encrypted-names.7z"] {
        put(&dir.path().join(name), &sevenz(name));
    }
    let greedy = with_dictionary(sevenz("lzma.7z"), 0x4000_0000);
    put(&dir.path().join("greedy.7z"), &greedy);
    // Its directory claims to begin where no file ends.
    let mut far = sevenz("lzma.7z");
    far[12..20].copy_from_slice(&(1u64 << 62).to_le_bytes());
    seal(&mut far);
    put(&dir.path().join("far.7z"), &far);
    let lines = scan(dir.path(), &["--all-files"]);
    let said = |name: &str| -> Vec<String> {
        of_type(&lines, "report")
            .iter()
            .filter(|line| line["source"]["path"].as_str().unwrap().contains(name))
            .map(|line| {
                let error = &line["error"];
                let text = |key: &str| error[key].as_str().unwrap().to_owned();
                format!("{}: {}", text("kind"), text("message"))
            })
            .collect()
    };
    for (name, kind, words) in [
        ("deflate.7z", "unsupported", "a method that is not read"),
        ("encrypted.7z", "unsupported", "encrypted"),
        ("encrypted-names.7z", "unsupported", "encrypted"),
        ("greedy.7z", "limit", "more memory than is given"),
        ("far.7z", "truncated", "cut or damaged"),
    ] {
        let said = said(name);
        assert!(!said.is_empty(), "{name}");
        for line in said {
            assert!(
                line.starts_with(kind) && line.contains(words),
                "{name}: {line}"
            );
        }
    }
}

/// As `archive`, its LZMA coder asking for a dictionary of so many bytes (7-Zip's `7zFormat.txt`: the coder's
/// identity 03 01 01, the length 5 of its properties, one byte, the size).
fn with_dictionary(mut archive: Vec<u8>, size: u32) -> Vec<u8> {
    let coder = [3, 1, 1, 5, 0x5D];
    let at = archive
        .windows(5)
        .rposition(|bytes| bytes == coder)
        .unwrap()
        + coder.len();
    archive[at..at + 4].copy_from_slice(&size.to_le_bytes());
    let directory = 32 + u64::from_le_bytes(archive[12..20].try_into().unwrap()) as usize;
    let sum = crc32fast::hash(&archive[directory..]);
    archive[28..32].copy_from_slice(&sum.to_le_bytes());
    seal(&mut archive);
    archive
}

/// Sums the first header of a 7-Zip archive anew.
fn seal(archive: &mut [u8]) {
    let sum = crc32fast::hash(&archive[12..32]);
    archive[8..12].copy_from_slice(&sum.to_le_bytes());
}

#[test]
fn parts_of_one_packed_file_are_read_one_after_the_other() {
    let dump = matching();
    let (one, two) = dump.split_at(dump.len() / 2);
    let dir = tempfile::tempdir().unwrap();
    let mut padded = xz(one);
    padded.extend([0; 8]);
    padded.extend(xz(two));
    // A skippable frame between (RFC 8878, 3.1.2).
    let mut frames = zstd(one);
    frames.extend(b"\x50\x2A\x4D\x18\x03\x00\x00\x00abc");
    frames.extend(zstd(two));
    for (name, content) in [
        ("a.gz", [gzip(one), gzip(two)].concat()),
        ("a-padded.gz", [gzip(one), gzip(two), vec![0; 700]].concat()),
        (
            "a-trailing.gz",
            [&gzip(&dump)[..], b"something else"].concat(),
        ),
        ("b.xz", padded),
        ("c.bz2", [bzip2(one), bzip2(two)].concat()),
        ("d.zst", frames),
    ] {
        put(&dir.path().join(name), &content);
    }
    let found = reports(&scan(dir.path(), &[]));
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(
        found.iter().all(|(_, status, _)| status == "ok"),
        "{found:?}"
    );
}

#[test]
fn an_archive_that_is_cut_or_damaged_is_said_to_be_that() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content, _) in packed() {
        let half = &content[..content.len() * 2 / 3];
        put(&dir.path().join("cut").join(name), half);
        let mut damaged = content.clone();
        let middle = content.len() / 2;
        for byte in &mut damaged[middle..middle + 64] {
            *byte ^= 0x55;
        }
        put(&dir.path().join("damaged").join(name), &damaged);
    }
    let lines = scan(dir.path(), &["--all-files"]);
    let mut failed = 0;
    for line in of_type(&lines, "report") {
        let path = line["source"]["path"].as_str().unwrap();
        assert_ne!(line["reason"], "no-dump-inside", "{path}");
        let kind = line["error"]["kind"].as_str();
        // No checksum covers what a tar archive holds, nor what this cabinet does: a dump damaged there is one
        // that is damaged.
        let unsummed = path.contains(".tar") || path.contains(".cab");
        // What was cut off this one is behind its last member.
        let whole = path.replace('\\', "/").contains("cut/j.tar");
        let unseen = unsummed && path.contains("damaged") || whole;
        assert!(kind == Some("truncated") || unseen, "{path}: {kind:?}");
        failed += usize::from(kind == Some("truncated"));
    }
    assert!(failed >= 16, "{failed}");
}

#[test]
fn what_cannot_be_opened_was_not_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let rar = b"Rar!\x1A\x07\x01\0 and so on".as_slice();
    let disk = b"vhdxfile and so on".as_slice();
    put(
        &dir.path().join("a.zip"),
        &zip(&[("in.rar", rar), ("disk.vhdx", disk)]),
    );
    put(&dir.path().join("b.rar"), rar);
    put(
        &dir.path().join("c.zip"),
        &zip(&[("notes.txt", b"no dump at all")]),
    );
    let deep = gzip(&zip(&[("in.zip", &zip(&[("x.dmp", &matching())]))]));
    put(&dir.path().join("d.gz"), &deep);
    let lines = scan(dir.path(), &["--all-files"]);
    let said: Vec<(String, String)> = of_type(&lines, "report")
        .iter()
        .map(|line| {
            let path = line["source"]["path"].as_str().unwrap();
            let name = path.rsplit(['/', '\\']).next().unwrap().to_owned();
            (name, line["error"]["message"].as_str().unwrap().to_owned())
        })
        .collect();
    for (path, message) in &said {
        let nothing = path == "c.zip";
        assert_eq!(
            message.contains("not looked into"),
            !nothing,
            "{path}: {message}"
        );
        assert_eq!(
            message.contains("holds no dump"),
            nothing,
            "{path}: {message}"
        );
    }
    assert_eq!(said.len(), 5, "{said:?}");
}

#[test]
fn two_members_of_one_name_are_two() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (numbered(1), numbered(2));
    // The second's name is made the first's where it stands: twice, in the member's header and the directory.
    let mut archive = zip(&[("same.dmp", &one), ("sane.dmp", &two)]);
    for at in 0..archive.len() - 8 {
        if &archive[at..at + 8] == b"sane.dmp" {
            archive[at + 2] = b'm';
        }
    }
    put(&dir.path().join("a.zip"), &archive);
    let cab = cabinet(&[("same.dmp", &one), ("same.dmp", &two)]);
    put(&dir.path().join("b.cab"), &cab);
    put(
        &dir.path().join("c.tar"),
        &tarball(&[("same.dmp", &one), ("same.dmp", &two)]),
    );
    let lines = scan(dir.path(), &[]);
    let crashes: std::collections::BTreeSet<_> = of_type(&lines, "report")
        .iter()
        .map(|report| report["dump"]["crash_time"].to_string())
        .collect();
    let names: Vec<String> = reports(&lines).into_iter().map(|(name, ..)| name).collect();
    let expected = ["a.zip", "b.cab", "c.tar"]
        .map(|archive| {
            [
                format!("{archive}!same.dmp"),
                format!("{archive}!same.dmp (2)"),
            ]
        })
        .concat();
    assert_eq!(names, expected, "a report says which it is about");
    assert_eq!(crashes.len(), 2, "both were read");
}

#[test]
fn members_that_cannot_be_read_are_no_dumps_in_the_summary() {
    let dir = tempfile::tempdir().unwrap();
    let dump = matching();
    let archive = zip(&[("a.dmp", &dump), ("b.dmp", &dump[..0x20])]);
    put(&dir.path().join("a.zip"), &archive);
    let root = dir.path().to_str().unwrap();
    let text = run(&["scan", root, "--format", "text"]).stdout;
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("\n1 dump"), "{text}");
    assert!(text.contains("1 file could not be analysed"), "{text}");
}

/// A zip archive whose directory names the same bytes again and again.
fn overlapping(copies: usize) -> Vec<u8> {
    let dump = matching();
    let archive = zip(&[("x.dmp", &dump)]);
    let eocd = archive.len() - 22;
    let start = u32::from_le_bytes(archive[eocd + 16..eocd + 20].try_into().unwrap()) as usize;
    let entry = archive[start..eocd].to_vec();
    let mut out = archive[..start].to_vec();
    for _ in 0..copies {
        out.extend(&entry);
    }
    let mut end = archive[eocd..].to_vec();
    let count = (copies as u16).to_le_bytes();
    end[8..10].copy_from_slice(&count);
    end[10..12].copy_from_slice(&count);
    end[12..16].copy_from_slice(&((entry.len() * copies) as u32).to_le_bytes());
    out.extend(end);
    out
}

#[test]
fn members_that_share_their_bytes_are_read_once() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a.zip"), &overlapping(50));
    let found = reports(&scan(dir.path(), &[]));
    let good = found.iter().filter(|(_, status, _)| status == "ok").count();
    assert_eq!((good, found.len()), (1, 50));
}

/// A cabinet of one folder of zeros with so many files in it, each with all of it or with its own part.
fn crowded(files: u16, all: bool) -> Vec<u8> {
    let size = 32_000u32;
    let mut cab = cabinet(&[("zeros", &vec![0; size as usize])]);
    let files_at = u32::from_le_bytes(cab[16..20].try_into().unwrap()) as usize;
    let entry = cab[files_at..files_at + 16].to_vec();
    // The directory is put behind all else.
    let place = cab.len() as u32;
    for number in 0..files {
        let mut own = entry.clone();
        let part = size / u32::from(files);
        let (at, len) = if all {
            (0, size)
        } else {
            (part * u32::from(number), part)
        };
        own[0..4].copy_from_slice(&len.to_le_bytes());
        own[4..8].copy_from_slice(&at.to_le_bytes());
        cab.extend(own);
        cab.extend(format!("{number}.dmp\0").as_bytes());
    }
    cab[16..20].copy_from_slice(&place.to_le_bytes());
    cab[28..30].copy_from_slice(&files.to_le_bytes());
    cab
}

#[test]
fn a_folder_of_a_cabinet_is_unpacked_once_whatever_its_files_are() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("a.cab"), &crowded(8000, false));
    put(&dir.path().join("b.cab"), &crowded(8000, true));
    let began = Instant::now();
    let lines = scan(dir.path(), &[]);
    assert!(began.elapsed() < Duration::from_secs(60));
    let overlapping = reports(&lines);
    // Zeros are no dump; all but the first of the second cabinet overlap.
    assert_eq!(overlapping.len(), 7999);
    assert!(overlapping.iter().all(|(_, _, kind)| kind == "truncated"));
}

#[test]
fn bytes_that_are_passed_over_are_paid_for() {
    let dir = tempfile::tempdir().unwrap();
    let zeros = vec![0u8; 64 << 20];
    // What is no dump is not unpacked to its end where nothing lies behind it.
    put(
        &dir.path().join("free.tar.gz"),
        &gzip(&tarball(&[("notes.gz", &gzip(&zeros))])),
    );
    let big = tarball(&[("zeros", &zeros), ("x.dmp", &matching())]);
    put(&dir.path().join("skipped.tar.gz"), &gzip(&big));
    let lines = scan(dir.path(), &["--limit-unpacked", "32"]);
    for (path, status, kind) in reports(&lines) {
        assert_eq!(
            (status.as_str(), kind.as_str()),
            ("failed", "limit"),
            "{path}"
        );
    }
    assert_eq!(reports(&lines).len(), 1);
}

#[test]
fn headers_of_a_tar_archive_take_no_more_memory_than_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::GNULongName);
    header.set_path("././@LongLink").unwrap();
    let name = vec![b'a'; 8 << 20];
    header.set_size(name.len() as u64);
    header.set_cksum();
    tar.append(&header, name.as_slice()).unwrap();
    put(&dir.path().join("a.tar"), &tar.into_inner().unwrap());
    let found = reports(&scan(dir.path(), &[]));
    assert_eq!(found[0].2, "truncated", "{found:?}");
}

#[test]
fn records_of_a_large_archive_are_all_there_with_a_store_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    let members: Vec<(String, Vec<u8>)> = (0..700)
        .map(|n| (format!("{n:04}.dmp"), numbered(n)))
        .collect();
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    put(&share.join("b/large.zip"), &zip(&members));
    put(&share.join("a/one.dmp"), &fixture("server2008-x64-7e.dmp"));
    put(&share.join("c/one.dmp"), &fixture("vista-sp1-x86-d1.dmp"));
    let db = dir.path().join("dumps.db");
    let store = ["--db", db.to_str().unwrap()];
    let first = scan(&share, &store);
    let names: Vec<String> = reports(&first).into_iter().map(|(name, ..)| name).collect();
    let expected: Vec<String> = ["one.dmp".to_owned()]
        .into_iter()
        .chain((0..700).map(|n| format!("large.zip!{n:04}.dmp")))
        .chain(["one.dmp".to_owned()])
        .collect();
    assert_eq!(names, expected);
    let closing = of_type(&first, "scan");
    assert_eq!(closing[0]["entries"], 3);
    assert_eq!(closing[0]["reports"], 702);
    assert_eq!(
        scan(&share, &store),
        first,
        "a rescan answers from the store"
    );
    let again = scan(&share, &["--db", db.to_str().unwrap(), "--verify"]);
    assert_eq!(again, first, "and what is read again replaces it");
}

#[test]
fn a_pointer_of_git_lfs_and_a_packed_dump_have_a_line_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    for (name, content, says) in [
        ("lfs.dmp", pointer.as_bytes(), "git lfs pull"),
        ("z.dmp", b"ZDMP\0\0\0\0\x01\0\0\0".as_slice(), "Z2Dmp"),
        ("x.zip", &zip(&[("x.dmp", &matching())]), "kbtriage scan"),
        (
            "x.tar.xz",
            &xz(&tarball(&[("x.dmp", &matching())])),
            "kbtriage scan",
        ),
    ] {
        let path = dir.path().join(name);
        put(&path, content);
        let output = run(&["triage", path.to_str().unwrap()]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(says), "{name}: {said}");
        assert_eq!(output.status.code(), Some(1), "{name}");
    }
}
