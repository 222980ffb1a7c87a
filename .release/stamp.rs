//! Stamps a release build with the commit it was made from, for `kbtriage --version`.
//!
//! The commit is `KBTRIAGE_COMMIT` where that is set, what `cargo package` noted, or that of the checkout. A
//! development build is not stamped: it would be compiled anew for every commit.

use std::env;
use std::fs;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=KBTRIAGE_COMMIT");
    println!("cargo:rerun-if-changed=.release/stamp.rs");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let stamped = match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    };
    println!("cargo:rustc-env=KBTRIAGE_VERSION={stamped}");
}

fn commit() -> Option<String> {
    let given = env::var("KBTRIAGE_COMMIT").ok();
    let release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let found = given.or_else(|| release.then(|| packaged().or_else(checked_out)).flatten())?;
    let short: String = found.trim().chars().take(12).collect();
    (short.len() >= 7 && short.bytes().all(|b| b.is_ascii_hexdigit())).then_some(short)
}

/// `.cargo_vcs_info.json` of a packaged crate: `"sha1": "…"`.
fn packaged() -> Option<String> {
    let text = fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, after) = text.split_once("\"sha1\"")?;
    after.split('"').nth(1).map(str::to_owned)
}

fn checked_out() -> Option<String> {
    if fs::metadata(".git").is_err() {
        return None;
    }
    // Names the commit that is checked out, in every kind of checkout.
    for file in [".git/HEAD", ".git/logs/HEAD"] {
        if fs::metadata(file).is_ok() {
            println!("cargo:rerun-if-changed={file}");
        }
    }
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
