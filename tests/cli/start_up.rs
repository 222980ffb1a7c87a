//! How much a start of the program asks of the system, counted by `strace` where it is installed.

#[cfg(target_os = "linux")]
use std::process::Command;

/// System calls that one small dump without symbols may take, once the loader has handed over: a static program has
/// none, and all of its calls count. Six are for a look into the dump's folder: an error report or images may lie
/// there.
#[cfg(target_os = "linux")]
const MOST: usize = 60;

#[cfg(not(target_os = "linux"))]
#[test]
#[ignore = "strace counts the system calls of Linux"]
fn a_small_dump_takes_few_system_calls() {}

#[cfg(target_os = "linux")]
#[test]
fn a_small_dump_takes_few_system_calls() {
    let program = crate::support::run::program();
    let dump = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/fixtures/dumps/vista-sp1-x86-d1.dmp"
    );
    let home = tempfile::tempdir().unwrap();
    let calls = home.path().join("calls");
    let traced = Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(&calls)
        .arg(program)
        .arg(dump)
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("_NT_SYMBOL_PATH")
        .output();
    let traced = match traced {
        Ok(traced) if traced.status.success() => traced,
        Ok(traced) if !String::from_utf8_lossy(&traced.stdout).is_empty() => {
            panic!("{}", String::from_utf8_lossy(&traced.stderr))
        }
        // Not installed, or tracing is not allowed here.
        _ => {
            println!("SKIPPED: strace is not to be had");
            return;
        }
    };
    assert!(String::from_utf8_lossy(&traced.stdout).contains("KB943650"));
    let text = std::fs::read_to_string(calls).unwrap();
    let has_loader = text.contains("ld.so.cache");
    let own: Vec<&str> = text
        .lines()
        // The first call of Rust's runtime: are the standard streams open?
        .skip_while(|line| has_loader && !line.contains(" poll("))
        .collect();
    assert!(own.len() > 10, "the runtime's start was not found:\n{text}");
    assert!(
        own.len() <= MOST,
        "{} calls:\n{}",
        own.len(),
        own.join("\n")
    );
    // Nothing is looked at more than once or twice where there is no symbol store.
    let store = own.iter().filter(|line| line.contains("kbtriage-store"));
    assert!(store.count() <= 12, "{}", own.join("\n"));
}
