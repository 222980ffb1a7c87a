//! Runs the built program.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Runs the program without the caller's symbol paths and caches.
pub fn kbtriage<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    command().args(arguments).output().unwrap()
}

/// The program under test: the one that was built with the tests, or a release that `KBTRIAGE_PROGRAM` names.
pub fn program() -> OsString {
    // The fuzz targets share this folder, and no program is built for them.
    const PROGRAM: Option<&str> = option_env!("CARGO_BIN_EXE_kbtriage");
    if let Some(named) = std::env::var_os("KBTRIAGE_PROGRAM") {
        return named;
    }
    match PROGRAM {
        Some(built) => built.into(),
        None => panic!("only integration tests have a built program"),
    }
}

/// The program, ready to be given arguments.
pub fn command() -> Command {
    let mut command = Command::new(program());
    command.stdin(Stdio::null());
    for name in [
        "_NT_SYMBOL_PATH",
        "_NT_ALT_SYMBOL_PATH",
        "_NT_EXECUTABLE_IMAGE_PATH",
        "NO_COLOR",
    ] {
        command.env_remove(name);
    }
    command
}

/// The reports on files, as the program prints them.
pub fn reports<P: AsRef<Path>>(paths: &[P]) -> Vec<Value> {
    let output = command()
        .args(["triage", "--format", "json"])
        .args(paths.iter().map(|path| path.as_ref()))
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}", String::from_utf8_lossy(&output.stderr));
    })
}
