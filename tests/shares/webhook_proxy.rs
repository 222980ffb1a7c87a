//! The webhook and the proxies that the environment names, beside a receiver with a certificate of its own.

use std::path::Path;
use std::process::Command;

use crate::support::share::{numbered, put};
use crate::support::symbol_server::{FAR_HOST, Identity, Proxy, Server};

/// A scan of one dump that is told to `url`.
fn scan(dir: &Path, url: &str) -> Command {
    let share = dir.join("share");
    put(&share.join("1.dmp"), &numbered(1));
    let mut command = crate::support::run::command();
    for name in ["all_proxy", "https_proxy", "no_proxy"] {
        command.env_remove(name);
        command.env_remove(name.to_ascii_uppercase());
    }
    command.env("KBTRIAGE_WEBHOOK_SECRET", "key");
    command.arg("scan").arg(share);
    command.arg("--db").arg(dir.join("a.db"));
    command.args(["--webhook", url]);
    command
}

#[test]
fn the_variable_of_the_scheme_leads_to_the_receiver_before_that_for_all() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Identity::new(&[FAR_HOST]);
    let receiver = Server::start_tls(&identity);
    let (used, unused) = (Proxy::start(), Proxy::start());
    let trusted = dir.path().join("trusted.pem");
    std::fs::write(&trusted, &identity.pem).unwrap();
    let far = receiver.base.replace("127.0.0.1", FAR_HOST);
    let output = scan(dir.path(), &format!("{far}/hook"))
        .env("HTTPS_PROXY", &used.base)
        .env("ALL_PROXY", &unused.base)
        .env("SSL_CERT_FILE", &trusted)
        .output()
        .unwrap();
    assert!(!used.heads().is_empty(), "{output:?}");
    assert_eq!(unused.heads().len(), 0);
    // Where certificates are trusted by a file; it takes no findings, so none is told.
    if cfg!(all(unix, not(target_vendor = "apple"))) {
        assert!(receiver.asked("/hook") > 0, "{output:?}");
    }
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}

#[test]
fn a_proxy_that_cannot_be_used_is_said_before_the_scan() {
    let dir = tempfile::tempdir().unwrap();
    let output = scan(dir.path(), "https://receiver.invalid/hook")
        .env("HTTPS_PROXY", "socks5://127.0.0.1:1080")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // Windows finds a variable in any case.
    let said = String::from_utf8_lossy(&output.stderr).replace("https_proxy", "HTTPS_PROXY");
    assert!(
        said.contains("--webhook: HTTPS_PROXY names a SOCKS5 proxy, which is not supported"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
}
