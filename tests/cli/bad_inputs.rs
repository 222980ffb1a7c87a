//! What is not a dump, through the built program: one clear line, the right exit status, no waiting,
//! and memory under a hard limit of the operating system.

use std::fs::{self, File};
#[cfg(unix)]
use std::io::Write;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::catalogue;
use crate::support::run::program;
use serde_json::Value;

/// Address space of the program in KiB: code, stacks and far less than the inputs below.
#[cfg(unix)]
const ADDRESS_SPACE: u32 = 256 * 1024;
/// Longest run, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program under a shell that limits its memory.
#[cfg(unix)]
fn limited() -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" \"$@\""))
        .arg(program());
    shell
}

/// The program: there is no such shell here.
#[cfg(not(unix))]
fn limited() -> Command {
    Command::new(program())
}

/// Runs the program with limited memory and kills it when it does not end.
fn run(arguments: &[&str], stdin: Stdio) -> Output {
    let started = Instant::now();
    let [mut stdout, mut stderr] = [(); 2].map(|()| tempfile::tempfile().unwrap());
    let mut child = limited()
        .args(arguments)
        .stdin(stdin)
        .stdout(stdout.try_clone().unwrap())
        .stderr(stderr.try_clone().unwrap())
        .spawn()
        .unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("{arguments:?} hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let [stdout, stderr] = [&mut stdout, &mut stderr].map(|file| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    });
    Output {
        status,
        stdout,
        stderr,
    }
}

/// The one report on `path`, after checking what every refusal has in common: one line for a person.
fn refusal(path: &Path, kind: &str) -> Value {
    let text = run(&["triage", path.to_str().unwrap()], Stdio::null());
    assert_eq!(text.status.code(), Some(1), "{}", path.display());
    let errors = String::from_utf8(text.stderr).unwrap();
    assert_eq!(errors.trim_end().lines().count(), 1, "{errors}");
    assert!(errors.contains(path.to_str().unwrap()), "{errors}");

    let output = run(
        &["triage", "--format", "json", path.to_str().unwrap()],
        Stdio::null(),
    );
    assert_eq!(output.status.code(), Some(1), "{}", path.display());
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let report = reports[0].clone();
    assert_eq!(report["status"], "failed", "{}", path.display());
    assert_eq!(report["error"]["kind"], kind, "{report:#}");
    report
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

#[test]
fn files_that_are_no_dumps_are_named_for_what_they_are() {
    let folder = Folder::new();
    let elf_core = [
        b"\x7FELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3E\0",
        &[0u8; 4096][..],
    ]
    .concat();
    for (name, bytes, kind) in [
        ("core", &elf_core[..], "unsupported"),
        ("zeros.dmp", &[0; 70_000], "not-a-dump"),
        (
            "notes.txt",
            b"*** Fatal System Error: 0x000000d1\n",
            "not-a-dump",
        ),
        ("broken.dmp", b"PAGEDUMB and more bytes", "not-a-dump"),
        ("dump.gz", b"\x1F\x8B\x08\0\0\0\0\0\0\x03more", "compressed"),
        (
            "dump.zip",
            b"PK\x03\x04\x14\0\0\0\x08\0more of it",
            "compressed",
        ),
        (
            "dump.cab",
            b"MSCF\0\0\0\0\x10\x01\0\0\0\0\0\0",
            "compressed",
        ),
    ] {
        refusal(&folder.file(name, bytes), kind);
    }
}

#[test]
fn a_file_that_ends_too_early_is_truncated() {
    let folder = Folder::new();
    let dump = crate::support::write(&catalogue::server_2008_x64());
    for len in [1, 7, 8, 0x30, 0x3B] {
        refusal(&folder.file("short.dmp", &dump[..len]), "truncated");
    }
    let minidump = refusal(&folder.file("user.dmp", b"MDMP\x93\xA7\0\0"), "truncated");
    assert_eq!(minidump["source"]["size"], 8);
}

#[test]
fn a_placeholder_of_zero_bytes_is_not_called_a_dump() {
    let folder = Folder::new();
    let path = folder.file("MEMORY.DMP", b"");
    let output = run(
        &["triage", "--format", "json", path.to_str().unwrap()],
        Stdio::null(),
    );
    assert_eq!(output.status.code(), Some(1));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reports[0]["status"], "failed");
    assert!(
        reports[0]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("empty")
    );
}

#[test]
fn a_missing_file_and_a_directory_are_told_apart() {
    let folder = Folder::new();
    refusal(&folder.0.path().join("nowhere.dmp"), "not-found");
    refusal(folder.0.path(), "is-directory");
}

crate::support::only_on!(
    unix,
    a_pipe_and_a_device_are_never_read_from,
    "no pipes in the file system"
);
#[cfg(unix)]
#[test]
fn a_pipe_and_a_device_are_never_read_from() {
    use std::os::unix::fs::FileTypeExt;
    let folder = Folder::new();
    let pipe = folder.0.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    refusal(&pipe, "unsupported");
    refusal(Path::new("/dev/zero"), "unsupported");
}

crate::support::only_on!(
    unix,
    a_file_without_permission_says_so,
    "the test uses Unix permissions"
);
#[cfg(unix)]
#[test]
fn a_file_without_permission_says_so() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.file("private.dmp", b"PAGEDU64");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&path).is_ok() {
        println!("SKIPPED: this user may read everything");
        return;
    }
    refusal(&path, "permission");
}

crate::support::only_on!(
    unix,
    an_endless_standard_input_is_cut_off_at_the_limit,
    "no endless device"
);
#[cfg(unix)]
#[test]
fn an_endless_standard_input_is_cut_off_at_the_limit() {
    let output = run(
        &["triage", "--format", "json", "--limit-memory", "2", "-"],
        File::open("/dev/zero").unwrap().into(),
    );
    assert_eq!(output.status.code(), Some(1));
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(reports[0]["error"]["kind"], "limit");
}

#[test]
fn a_dump_on_standard_input_is_the_same_dump() {
    let folder = Folder::new();
    let path = folder.file(
        "d1.dmp",
        &crate::support::write(&catalogue::server_2008_x64()),
    );
    let piped = run(
        &["--format", "json", "-"],
        File::open(&path).unwrap().into(),
    );
    let named = run(&["--format", "json", path.to_str().unwrap()], Stdio::null());
    assert_eq!(piped.status.code(), Some(0));
    let [mut piped, mut named] = [piped, named]
        .map(|output| serde_json::from_slice::<Value>(&output.stdout).unwrap()[0].take());
    for report in [&mut piped, &mut named] {
        report["source"].as_object_mut().unwrap().remove("path");
        report["source"].as_object_mut().unwrap().remove("modified");
    }
    assert_eq!(piped, named);
}

crate::support::only_on!(
    unix,
    a_terabyte_of_holes_behind_a_header_costs_neither_time_nor_memory,
    "files have no holes unless that is asked for"
);
#[cfg(unix)]
#[test]
fn a_terabyte_of_holes_behind_a_header_costs_neither_time_nor_memory() {
    let folder = Folder::new();
    for dump_type in [1, 2, 4, 5, 6] {
        let mut state = catalogue::server_2008_x64();
        state.dump_type = dump_type;
        if dump_type != 4 {
            state.runs = vec![(1, 2)];
        }
        let path = folder.0.path().join("sparse.dmp");
        let mut file = File::create(&path).unwrap();
        file.write_all(&crate::support::write(&state)).unwrap();
        if file.set_len(1 << 40).is_err() {
            println!("SKIPPED: the file system has no files of a terabyte");
            return;
        }
        drop(file);
        let output = run(&["--format", "json", path.to_str().unwrap()], Stdio::null());
        assert_eq!(output.status.code(), Some(0), "type {dump_type}");
        let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(reports[0]["bugcheck"]["code"], "0x000000D1");
    }
}

#[test]
fn damaged_dumps_end_the_program_as_the_contract_says() {
    let folder = Folder::new();
    let bytes = crate::support::write(&catalogue::server_2008_x64());
    let fields = crate::support::mutate::fields(&bytes);
    let paths: Vec<PathBuf> = (0..60u64)
        .map(|seed| {
            let mut broken = bytes.clone();
            let mut prng = crate::support::prng::Prng::new(seed);
            crate::support::mutate::mutate(&mut broken, &fields, &mut prng);
            folder.file(&format!("{seed}.dmp"), &broken)
        })
        .collect();
    let mut arguments = vec!["triage", "--format", "json"];
    arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
    let output = run(&arguments, Stdio::null());
    let reports: Value = serde_json::from_slice(&output.stdout).unwrap();
    let reports = reports.as_array().unwrap();
    assert_eq!(reports.len(), paths.len());
    let failed = reports.iter().filter(|r| r["status"] == "failed").count();
    assert_eq!(output.status.code(), Some(i32::from(failed > 0)));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(!errors.contains("panicked"), "{errors}");
}
