//! What a scan asks of a share: each call is a wait for a server. Counted by `strace` where it is installed, which makes
//! each read slow besides, as a server does.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::share::{age, numbered, put};
use crate::support::shared::shared;

/// Calls by path and name.
type Calls = BTreeMap<String, BTreeMap<String, u32>>;

/// The calls of a scan of `root` that name something below it; `None` where calls cannot be counted.
fn calls(root: &Path, more: &[&str]) -> Option<Calls> {
    let scratch = tempfile::tempdir().unwrap();
    let trace = scratch.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-qq", "-s", "4096", "-o"])
        .arg(&trace)
        .args([
            "-e",
            "trace=openat,statx,newfstatat,fstat,readlink,pread64,getdents64",
        ])
        .args(["-e", "inject=pread64:delay_enter=20000"])
        .args([env!("CARGO_BIN_EXE_kbtriage"), "scan"])
        .arg(root)
        .arg("--output")
        .arg(scratch.path().join("out.jsonl"))
        .args(more)
        .output();
    match traced {
        Ok(traced) if traced.status.success() => {}
        Ok(traced) if trace.exists() && fs::metadata(&trace).unwrap().len() > 4096 => {
            panic!("{}", String::from_utf8_lossy(&traced.stderr))
        }
        // Not installed, or tracing is not allowed here.
        _ => {
            println!("SKIPPED: strace is not to be had");
            return None;
        }
    }
    let start = format!("{}/", root.display());
    let mut calls = Calls::new();
    for line in fs::read_to_string(trace).unwrap().lines() {
        // The number of the thread, the call, what it is about: a path in quotes, or that of a descriptor.
        let Some((name, rest)) = line.split_once('(') else {
            continue;
        };
        let Some(at) = rest.find(&start) else {
            continue;
        };
        let path = rest[at..].split(['"', '>']).next().unwrap().to_owned();
        let name = name.split_whitespace().last().unwrap().to_owned();
        *calls.entry(path).or_default().entry(name).or_default() += 1;
    }
    Some(calls)
}

fn count(of: &BTreeMap<String, u32>, names: &[&str]) -> u32 {
    names.iter().filter_map(|name| of.get(*name)).sum()
}

/// Each dump: at most one look, one open, three reads. Each directory: one listing.
fn assert_few(root: &Path, calls: &Calls) {
    let (mut dumps, mut exact) = (0, 0);
    for (path, of) in calls {
        let shown = format!("{path}: {of:?}");
        if Path::new(path).is_dir() {
            assert_eq!(count(of, &["openat"]), 1, "{shown}");
            continue;
        }
        if path.ends_with("kbtriage-collection.txt") {
            assert_eq!(count(of, &["openat"]), 1, "{shown}");
            continue;
        }
        dumps += 1;
        let size = fs::metadata(path).unwrap().len();
        assert!(
            count(of, &["statx", "newfstatat", "fstat", "readlink"]) <= 1,
            "{shown}"
        );
        assert_eq!(count(of, &["openat"]), 1, "{shown}");
        let most = match size {
            0..=0x8_0000 => 1,
            0x8_0001..=0x48_0000 => 3,
            _ => 4,
        };
        // A machine that does other work can take the share for near: then pages follow one by one.
        assert!(count(of, &["pread64"]) <= most + 6, "{shown}");
        exact += u32::from(count(of, &["pread64"]) <= most);
    }
    assert!(
        exact * 4 >= dumps as u32 * 3,
        "{exact} of {dumps} dumps: {calls:?}"
    );
    let files = walkdir::WalkDir::new(root).into_iter().flatten();
    let files = files.filter(|entry| entry.file_type().is_file());
    assert_eq!(dumps, files.count());
}

#[test]
fn a_small_dump_on_a_share_costs_one_look_one_open_and_one_read() {
    let dir = tempfile::tempdir().unwrap();
    for host in 0..5u64 {
        for n in 0..8 {
            let path = format!("HOST{host}/Mini{n}.dmp");
            put(&dir.path().join(path), &numbered(host * 100 + n));
        }
    }
    for more in [&[][..], &["--sort", "path"], &["--jobs", "8"]] {
        let Some(calls) = calls(dir.path(), more) else {
            return;
        };
        assert_few(dir.path(), &calls);
    }
}

#[test]
fn a_real_dump_on_a_share_costs_three_reads() {
    let Some(folder) = shared("data/dumps/kernel") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let to = dir.path().join("HOST").join(path.file_name().unwrap());
        put(&to, &fs::read(path).unwrap());
        age(&to);
    }
    let Some(calls) = calls(dir.path(), &[]) else {
        return;
    };
    assert_few(dir.path(), &calls);
}

#[test]
fn a_list_is_worked_off_with_one_look_and_one_open_a_dump() {
    let dir = tempfile::tempdir().unwrap();
    let share = dir.path().join("share");
    for n in 0..12 {
        put(
            &share.join(format!("HOST{}/Mini{n}.dmp", n % 3)),
            &numbered(n),
        );
    }
    let list = dir.path().join("work.list");
    let listed = Command::new(env!("CARGO_BIN_EXE_kbtriage"))
        .arg("scan")
        .arg(&share)
        .args(["--list", "--output"])
        .arg(&list)
        .status();
    assert!(listed.unwrap().success());
    let scratch = tempfile::tempdir().unwrap();
    let trace = scratch.path().join("trace");
    let traced = Command::new("strace")
        .args(["-f", "-y", "-qq", "-s", "4096", "-o"])
        .arg(&trace)
        .args(["-e", "trace=openat,statx,newfstatat,fstat,pread64"])
        .args([env!("CARGO_BIN_EXE_kbtriage"), "scan", "--files-from"])
        .arg(&list)
        .args(["--shard", "1/1", "--output"])
        .arg(scratch.path().join("out.jsonl"))
        .output();
    if !traced.is_ok_and(|traced| traced.status.success()) {
        println!("SKIPPED: strace is not to be had");
        return;
    }
    let text = fs::read_to_string(trace).unwrap();
    for n in 0..12 {
        let name = format!("/Mini{n}.dmp");
        let about = |call: &str| {
            let lines = text.lines().filter(|line| line.contains(&name));
            lines
                .filter(|line| line.contains(&format!(" {call}(")))
                .count()
        };
        let looks = about("statx") + about("newfstatat") + about("fstat");
        assert_eq!(
            (looks, about("openat"), about("pread64")),
            (1, 1, 1),
            "{name}\n{text}"
        );
    }
}
