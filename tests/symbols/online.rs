//! The built program and symbol servers: consent, https, proxies, redirects, the terminal.
//!
//! Everything is on loopback; certificates are made by the test. What the platform trusts is told
//! through `SSL_CERT_FILE`, which counts where the system keeps its certificates in files.
#![cfg(feature = "online")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::support::symbol_server::{Act, FAR_HOST, Identity, Proxy, Server};
use crate::support::symbols::{GUID, Pdb, Pe};
use serde_json::Value;
use tempfile::TempDir;

/// What a machine may have set that would change an answer.
const CLEARED: &[&str] = &[
    "_NT_SYMBOL_PATH",
    "_NT_ALT_SYMBOL_PATH",
    "_NT_EXECUTABLE_IMAGE_PATH",
    "ALL_PROXY",
    "all_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "NO_PROXY",
    "no_proxy",
    "_NT_SYMBOL_PROXY",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

fn dump() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dumps/server2008-x64-d1.dmp")
}

/// Folders of one machine, and files that fit the dump's tcpip.sys.
struct Machine {
    cache: TempDir,
    store: TempDir,
    image: Pe,
    pdb: Pdb,
}

impl Machine {
    fn new() -> Machine {
        let mut machine = Machine {
            cache: TempDir::new().unwrap(),
            store: TempDir::new().unwrap(),
            image: Pe::new(0, GUID, 1, "tcpip.pdb"),
            pdb: Pdb::new(GUID, 1, &[(0x10, "TtStartTimer"), (0x40, "TtStopTimer")]),
        };
        let path = dump();
        let check = [
            "symbols",
            "check",
            "--format",
            "json",
            path.to_str().unwrap(),
        ];
        let out = machine.kbtriage(&check, &[]);
        let records: Value = serde_json::from_slice(&out.stdout).unwrap();
        let files = records[0]["files"].as_array().unwrap();
        let tcpip = files.iter().find(|f| f["name"] == "tcpip.sys").unwrap();
        let (stamp, size) = tcpip["key"].as_str().unwrap().split_at(8);
        machine.image.stamp = u32::from_str_radix(stamp, 16).unwrap();
        machine.image.size = u32::from_str_radix(size, 16).unwrap();
        machine
    }

    fn command(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
        command.args(arguments);
        for name in CLEARED {
            command.env_remove(name);
        }
        command.env("KBTRIAGE_CACHE_DIR", self.cache.path());
        command.envs(variables.iter().copied());
        command
    }

    fn kbtriage(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(arguments, variables).output().unwrap()
    }

    fn image_path(&self) -> String {
        format!("/tcpip.sys/{}/tcpip.sys", self.image.key())
    }

    fn pdb_path(&self) -> String {
        format!("/tcpip.pdb/{}/tcpip.pdb", self.pdb.key())
    }

    fn serve(&self, server: &Server) {
        server.on(&self.image_path(), Act::File(self.image.write()));
        server.on(&self.pdb_path(), Act::File(self.pdb.write()));
    }

    fn path_to(&self, base: &str) -> String {
        format!("srv*{}*{base}", self.store.path().display())
    }

    /// `symbols fetch -v` from one server.
    fn fetch(&self, base: &str, variables: &[(&str, &str)]) -> String {
        let (path, dump) = (self.path_to(base), dump());
        let dump = dump.to_str().unwrap();
        let out = self.kbtriage(
            &["symbols", "fetch", "-v", "--symbols", &path, dump],
            variables,
        );
        assert!(matches!(out.status.code(), Some(0 | 1)), "{out:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    fn stored(&self) -> bool {
        let file = |path: String| self.store.path().join(path.trim_start_matches('/'));
        let (image, pdb) = (file(self.image_path()), file(self.pdb_path()));
        let whole = |path, bytes: Vec<u8>| fs::read(path).is_ok_and(|own| own == bytes);
        whole(image, self.image.write()) && whole(pdb, self.pdb.write())
    }

    fn nothing_stored(&self) -> bool {
        fs::read_dir(self.store.path()).unwrap().next().is_none()
    }

    /// A file of trusted certificates.
    fn trusting(&self, identity: &Identity) -> String {
        let path = self.cache.path().join("trusted.pem");
        fs::write(&path, &identity.pem).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

#[test]
fn a_certificate_nobody_vouches_for_is_refused() {
    let machine = Machine::new();
    let server = Server::start_tls(&Identity::new(&["127.0.0.1"]));
    machine.serve(&server);
    let other = machine.trusting(&Identity::new(&["127.0.0.1"]));
    // The system's own certificates, and a list that holds others.
    for variables in [&[][..], &[("SSL_CERT_FILE", &*other)]] {
        let said = machine.fetch(&server.base, variables);
        assert!(said.contains("missing    image tcpip.sys"), "{said}");
        let about: Vec<&str> = said
            .lines()
            .filter(|line| line.contains(&server.base))
            .collect();
        let certificate = |line: &&str| {
            line.contains("certificate") || line.contains("failed too often, not asked again")
        };
        assert!(!about.is_empty() && about.iter().all(certificate), "{said}");
        assert_eq!(server.requests(), 0, "nothing was said to it");
        assert!(machine.nothing_stored());
    }
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn a_certificate_the_system_trusts_is_accepted_for_its_own_host_only() {
    let machine = Machine::new();
    let identity = Identity::new(&["127.0.0.1"]);
    let server = Server::start_tls(&identity);
    machine.serve(&server);
    let trusted = machine.trusting(&identity);
    let said = machine.fetch(&server.base, &[("SSL_CERT_FILE", &trusted)]);
    assert!(said.contains("loaded     image tcpip.sys"), "{said}");
    assert!(said.contains("loaded     pdb   tcpip.pdb"), "{said}");
    assert!(machine.stored());

    let machine = Machine::new();
    let elsewhere = Identity::new(&["symbols.example"]);
    let server = Server::start_tls(&elsewhere);
    machine.serve(&server);
    let trusted = machine.trusting(&elsewhere);
    let said = machine.fetch(&server.base, &[("SSL_CERT_FILE", &trusted)]);
    assert!(said.contains("missing    image tcpip.sys"), "{said}");
    assert!(said.contains("not valid for name"), "{said}");
    assert_eq!(server.requests(), 0);
}

#[cfg(all(unix, not(target_vendor = "apple")))]
#[test]
fn a_redirect_may_lead_from_http_to_https_and_never_back() {
    let identity = Identity::new(&["127.0.0.1"]);
    for (secure_first, followed) in [(true, false), (false, true)] {
        let machine = Machine::new();
        let (plain, secure) = (Server::start(), Server::start_tls(&identity));
        let (first, second) = match secure_first {
            true => (&secure, &plain),
            false => (&plain, &secure),
        };
        machine.serve(second);
        for path in [machine.image_path(), machine.pdb_path()] {
            first.on(&path, Act::Redirect(format!("{}{path}", second.base)));
        }
        let trusted = machine.trusting(&identity);
        let said = machine.fetch(&first.base, &[("SSL_CERT_FILE", &trusted)]);
        assert_eq!(machine.stored(), followed, "{said}");
        assert_eq!(first.asked(&machine.image_path()), 1);
        assert_eq!(second.requests() > 0, followed);
        if !followed {
            assert!(
                said.contains("a redirect from https to http was refused"),
                "{said}"
            );
            assert!(machine.nothing_stored());
        }
    }
}

#[test]
fn each_scheme_goes_through_the_proxy_its_variable_names() {
    let identity = Identity::new(&[FAR_HOST]);
    let (plain, secure) = (Server::start(), Server::start_tls(&identity));
    let far = |server: &Server| server.base.replace("127.0.0.1", FAR_HOST);
    let host = |server: &Server| far(server).rsplit('/').next().unwrap().to_owned();
    for (server, variable, other) in [
        (&plain, "HTTP_PROXY", "HTTPS_PROXY"),
        (&secure, "HTTPS_PROXY", "HTTP_PROXY"),
        (&plain, "ALL_PROXY", "HTTPS_PROXY"),
        (&plain, "_NT_SYMBOL_PROXY", "HTTPS_PROXY"),
        (&plain, "HTTP_PROXY", "_NT_SYMBOL_PROXY"),
    ] {
        let machine = Machine::new();
        machine.serve(server);
        let (used, unused) = (Proxy::start(), Proxy::start());
        let trusted = machine.trusting(&identity);
        let through = format!("http://user:word@{}", used.base);
        let said = machine.fetch(
            &far(server),
            &[
                (variable, &through),
                (other, &unused.base),
                ("SSL_CERT_FILE", &trusted),
            ],
        );
        if server.base.starts_with("http:") || cfg!(all(unix, not(target_vendor = "apple"))) {
            assert!(machine.stored(), "{variable}: {said}");
        }
        let heads = used.heads();
        assert!(!heads.is_empty(), "{variable}: {said}");
        for head in heads {
            let first = format!("CONNECT {} HTTP/1.1\r\n", host(server));
            assert!(head.starts_with(&first), "{variable}: {head}");
            // user:word
            let signed = head
                .to_ascii_lowercase()
                .contains("proxy-authorization: basic");
            assert!(signed && head.contains("dXNlcjp3b3Jk"), "{head}");
        }
        assert_eq!(unused.heads().len(), 0, "{variable}");
        assert!(!said.contains("word"), "{said}");
    }
}

#[test]
fn no_proxy_leads_past_the_proxy_and_a_dead_proxy_is_not_gone_around() {
    let (machine, server, proxy) = (Machine::new(), Server::start(), Proxy::start());
    machine.serve(&server);
    // This computer itself needs no word.
    machine.fetch(&server.base, &[("http_proxy", &*proxy.base)]);
    assert!(machine.stored());
    assert_eq!(proxy.heads().len(), 0);

    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = closed.local_addr().unwrap().to_string();
    drop(closed);
    for dead in [gone.as_str(), "socks5://127.0.0.1:1080", "ftp://nonsense"] {
        let (machine, server) = (Machine::new(), Server::start());
        machine.serve(&server);
        let far = server.base.replace("127.0.0.1", FAR_HOST);
        let said = machine.fetch(&far, &[("HTTP_PROXY", dead)]);
        assert!(machine.nothing_stored(), "{dead}: {said}");
        assert_eq!(server.requests(), 0, "{dead}");
    }
}

#[test]
fn a_server_the_environment_names_is_asked_with_online_only_and_offline_wins() {
    for command in ["triage", "explain", "stack"] {
        for (options, asked) in [
            (&[][..], false),
            (&["--online"], true),
            (&["--online", "--offline"], false),
        ] {
            let (machine, server, dump) = (Machine::new(), Server::start(), dump());
            machine.serve(&server);
            let path = machine.path_to(&server.base);
            let mut arguments = vec![command, dump.to_str().unwrap()];
            arguments.extend(options);
            let out = machine.kbtriage(&arguments, &[("_NT_SYMBOL_PATH", &path)]);
            assert_eq!(out.status.code(), Some(0), "{command} {options:?} {out:?}");
            assert_eq!(server.requests() > 0, asked, "{command} {options:?}");
            assert_eq!(machine.stored(), asked, "{command} {options:?}");
        }
    }
}

#[test]
fn a_server_on_the_command_line_is_consent_except_for_scan_and_check() {
    let cases: &[(&[&str], bool)] = &[
        (&["triage"], true),
        (&["triage", "--offline"], false),
        (&["scan"], false),
        (&["scan", "--online"], true),
        (&["scan", "--online", "--offline"], false),
        (&["symbols", "check"], false),
        (&["symbols", "check", "--online"], false),
        (&["symbols", "find", "--offline"], false),
        (&["symbols", "find"], true),
    ];
    for (arguments, asked) in cases {
        let (machine, server, share) = (Machine::new(), Server::start(), TempDir::new().unwrap());
        machine.serve(&server);
        let file = share.path().join("a.dmp");
        fs::copy(dump(), &file).unwrap();
        let path = machine.path_to(&server.base);
        let target = match arguments[0] {
            "scan" => share.path(),
            _ => file.as_path(),
        };
        let mut all = arguments.to_vec();
        all.push(target.to_str().unwrap());
        if arguments.contains(&"find") {
            all.push("tcpip!Tt*");
        }
        all.extend(["--symbols", &path]);
        let out = machine.kbtriage(&all, &[]);
        assert_ne!(out.status.code(), Some(2), "{arguments:?} {out:?}");
        assert_eq!(server.requests() > 0, *asked, "{arguments:?} {out:?}");
        assert_eq!(machine.stored(), *asked, "{arguments:?}");
    }
}

#[test]
fn a_share_of_dumps_asks_for_each_file_once() {
    let (machine, server, share) = (Machine::new(), Server::start(), TempDir::new().unwrap());
    machine.serve(&server);
    for name in ["a", "b", "c", "d", "e", "f"] {
        // The same module in different crashes: other bytes, so no dump is taken for a copy.
        let mut bytes = fs::read(dump()).unwrap();
        bytes.push(name.as_bytes()[0]);
        fs::write(share.path().join(format!("{name}.dmp")), bytes).unwrap();
    }
    let path = machine.path_to(&server.base);
    let share = share.path().to_str().unwrap();
    let arguments = ["scan", share, "--jobs", "6", "--online", "--symbols", &path];
    let out = machine.kbtriage(&arguments, &[]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(machine.stored());
    let mut paths = server.paths();
    paths.sort();
    let all = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), all, "{paths:?}");
    // The second run asks for nothing: found files are in the store, the others known as absent.
    machine.kbtriage(&arguments, &[]);
    assert_eq!(server.requests(), all);
}

#[test]
fn modules_nobody_needs_are_not_asked_for_unless_all_are() {
    let (machine, server, dump) = (Machine::new(), Server::start(), dump());
    machine.serve(&server);
    let path = machine.path_to(&server.base);
    let dump = dump.to_str().unwrap();
    let asked = |server: &Server| {
        let paths = server.paths().into_iter();
        let names = paths.filter_map(|path| Some(path.split('/').nth(1)?.to_owned()));
        names.collect::<std::collections::BTreeSet<String>>()
    };
    let out = machine.kbtriage(&["--format", "json", dump, "--symbols", &path], &[]);
    let records: Value = serde_json::from_slice(&out.stdout).unwrap();
    let report = &records[0];
    let mut allowed: Vec<String> = ["netio.sys", "tcpip.sys", "tcpip.pdb", "index2.txt"]
        .map(str::to_owned)
        .to_vec();
    allowed.extend(["ndis.sys", "fwpkclnt.sys", "hal.dll"].map(str::to_owned));
    let kernels = [
        "ntoskrnl.exe",
        "ntkrnlmp.exe",
        "ntkrnlpa.exe",
        "ntkrpamp.exe",
    ];
    allowed.extend(kernels.map(str::to_owned));
    let frames = report["stack"]["frames"].as_array().unwrap();
    allowed.extend(
        frames
            .iter()
            .filter_map(|f| Some(f["module"].as_str()?.to_owned())),
    );
    let triaged = asked(&server);
    assert!(triaged.contains("tcpip.sys"));
    assert!(
        triaged.iter().all(|name| allowed.contains(name)),
        "{triaged:?}"
    );
    let modules = report["modules"].as_array().unwrap().len();

    let (machine, server) = (Machine::new(), Server::start());
    machine.serve(&server);
    let path = machine.path_to(&server.base);
    machine.kbtriage(
        &["symbols", "fetch", "--all", "--symbols", &path, dump],
        &[],
    );
    assert!(asked(&server).len() >= modules, "{:?}", asked(&server));
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let (machine, server, dump) = (Machine::new(), Server::start(), dump());
    machine.serve(&server);
    let path = machine.path_to(&server.base);
    let arguments = [
        "symbols",
        "fetch",
        "--symbols",
        &path,
        dump.to_str().unwrap(),
    ];
    let out = machine.kbtriage(&arguments, &[]);
    assert!(
        out.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    assert!(machine.stored());

    // `script` of util-linux gives its child a terminal.
    let machine = Machine::new();
    let path = machine.path_to(&server.base);
    let quoted = |text: &str| format!("'{text}'");
    let line = [
        quoted(env!("CARGO_BIN_EXE_kbtriage")),
        "symbols fetch --symbols".to_owned(),
        quoted(&path),
        quoted(dump.to_str().unwrap()),
    ];
    let template = machine.command(&[], &[]);
    let mut script = Command::new("script");
    script.args(["-qec", &line.join(" "), "/dev/null"]);
    for (name, value) in template.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let Ok(out) = script.output() else {
        println!("SKIPPED: script of util-linux is absent");
        return;
    };
    let shown = String::from_utf8_lossy(&out.stdout).into_owned();
    if !machine.stored() {
        println!("SKIPPED: this script knows no -c: {shown}");
        return;
    }
    let size = machine.image.write().len().div_ceil(1024);
    let expected = format!("\rtcpip.sys: {size} of {size} KiB\u{1b}[K");
    assert!(shown.contains(&expected), "{shown:?}");
}
