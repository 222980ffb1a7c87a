//! Watching a share, and telling another system about what is new.
#![cfg(all(feature = "store", feature = "online"))]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
#[cfg(unix)]
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

#[cfg(unix)]
use crate::support::share::records;
use crate::support::share::{fixture, matching, numbered, put};
use hmac::{Hmac, Mac};
use serde_json::Value;

const SECRET: &str = "a secret of the tests";

/// One POST as the receiver got it.
struct Post {
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Post {
    fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(own, _)| own == name);
        &found.unwrap_or_else(|| panic!("no {name}")).1
    }
}

/// A receiver that answers with one status after the other, the last one for ever.
fn receiver(statuses: &'static [&'static str]) -> (String, Receiver<Post>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (posts, taken) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.starts_with("POST /hook "), "{line}");
            let mut headers = Vec::new();
            loop {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let Some((name, value)) = line.trim().split_once(": ") else {
                    break;
                };
                headers.push((name.to_ascii_lowercase(), value.to_owned()));
            }
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let mut body = vec![0; length.unwrap().1.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            let status = statuses.get(number).or(statuses.last()).unwrap();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
            if posts.send(Post { headers, body }).is_err() {
                return;
            }
        }
    });
    (url, taken)
}

fn next(posts: &Receiver<Post>) -> Post {
    posts.recv_timeout(Duration::from_secs(30)).expect("a POST")
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let killed = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
}

#[test]
fn a_new_finding_is_posted_signed_and_posted_again_when_the_receiver_fails() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("share");
    put(&root.join("WEB01/a.dmp"), &matching());
    put(
        &root.join("WEB01/b.dmp"),
        &fixture("server2008-sp2-x64-d1.dmp"),
    );
    let (url, posts) = receiver(&["503 Busy", "200 OK"]);
    let scan = |redact: &[&str]| {
        crate::support::share::program()
            .env("KBTRIAGE_WEBHOOK_SECRET", SECRET)
            .arg("scan")
            .arg(&root)
            .args(["--webhook", &url, "--db"])
            .arg(dir.path().join("dumps.db"))
            .args(redact)
            .output()
            .unwrap()
    };
    let output = scan(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (refused, taken) = (next(&posts), next(&posts));
    assert_eq!(refused.body, taken.body);
    assert_eq!(
        refused.header("idempotency-key"),
        taken.header("idempotency-key")
    );
    let told: Value = serde_json::from_slice(&taken.body).unwrap();
    assert_eq!(told["hotfix"]["verdict"], "may-apply");
    assert_eq!(told["machine"]["name"], "WEB01");
    // The receiver's own computation of the signature.
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(taken.header("x-kbtriage-timestamp").as_bytes());
    mac.update(b".");
    mac.update(&taken.body);
    let expected = format!("v1={:x}", mac.finalize().into_bytes());
    assert_eq!(taken.header("x-kbtriage-signature"), expected);

    // What is known is not told again; what is new is told without what is to be kept.
    put(&root.join("WEB01/c.dmp"), &numbered(50));
    scan(&["--redact", "machine,path"]);
    let told = next(&posts);
    let text = String::from_utf8(told.body).unwrap();
    assert!(!text.contains("WEB01") && !text.contains("share"), "{text}");
    assert!(posts.try_recv().is_err(), "nothing else is told");
}

#[test]
fn two_files_of_one_crash_are_told_once_in_one_scan_and_in_two() {
    // The same crash, which the memory dump, without modules, puts in another bucket.
    let files = [
        ("MEMORY.DMP", fixture("server2008-x64-summary.dmp")),
        ("Mini110308-01.dmp", fixture("server2008-x64-d1.dmp")),
        ("copy/Mini110308-01.dmp", fixture("server2008-x64-d1.dmp")),
    ];
    for scans in [1, files.len()] {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("share");
        let (url, posts) = receiver(&["200 OK"]);
        for files in files.chunks(files.len() / scans) {
            for (name, content) in files {
                put(&root.join("WEB01").join(name), content);
            }
            let output = crate::support::share::program()
                .env("KBTRIAGE_WEBHOOK_SECRET", SECRET)
                .arg("scan")
                .arg(&root)
                .args(["--webhook", &url, "--db"])
                .arg(dir.path().join("dumps.db"))
                .output()
                .unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
        }
        let told: Value = serde_json::from_slice(&next(&posts).body).unwrap();
        assert_eq!(told["bucket"]["name"], "0xD1_W_tcpip");
        assert!(posts.try_recv().is_err(), "{scans} scans");
    }
}

#[test]
fn what_is_redacted_is_nowhere_in_what_is_posted() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("SENTINELROOT");
    let inner = crate::support::share::zip(&[("sentinelinner/sentinelmember.dmp", &numbered(1))]);
    let outer = crate::support::share::zip(&[("sentinelnested.zip", &inner)]);
    put(&root.join("SENTINELHOST/sentinelouter.zip"), &outer);
    put(&root.join("SENTINELHOST/sentinelfile.dmp"), &numbered(2));
    let cabinet = crate::support::share::cabinet(&[("sentinelcab.dmp", &numbered(3))]);
    put(&root.join("sentinelhost/sentinel.cab"), &cabinet);
    put(
        &root.join("other/sentinelfile.dmp.gz"),
        &crate::support::share::gzip(&numbered(4)),
    );
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"SENTINEL\xFFHOST/sentinel\xFF.dmp");
        put(&root.join(name), &numbered(5));
    }
    let posted = if cfg!(target_os = "linux") { 5 } else { 4 };
    let (url, posts) = receiver(&["200 OK"]);
    let output = crate::support::share::program()
        .env("KBTRIAGE_WEBHOOK_SECRET", SECRET)
        .arg("scan")
        .arg(&root)
        .args(["--webhook", &url, "--redact", "machine,path", "--db"])
        .arg(dir.path().join("dumps.db"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for _ in 0..posted {
        let post = next(&posts);
        let told: Value = serde_json::from_slice(&post.body).unwrap();
        assert_eq!(told["hotfix"]["verdict"], "may-apply");
        let mut strings = Vec::new();
        texts(&told, &mut strings);
        assert!(strings.len() > 50);
        for text in strings {
            let plain = text.to_lowercase();
            // A path that is no text stands in base64 elsewhere.
            let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, &text);
            let hidden = String::from_utf8_lossy(&bytes.unwrap_or_default()).to_lowercase();
            assert!(
                !plain.contains("sentinel") && !hidden.contains("sentinel"),
                "{text}"
            );
        }
        let headers = post.headers.iter();
        for (name, value) in headers {
            assert!(
                !value.to_lowercase().contains("sentinel"),
                "{name}: {value}"
            );
        }
    }
    assert!(posts.try_recv().is_err());
}

/// Every name and string of a value.
fn texts(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) => into.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, into)),
        Value::Object(fields) => {
            for (name, field) in fields {
                into.push(name.clone());
                texts(field, into);
            }
        }
        _ => {}
    }
}

#[test]
fn a_redirect_is_not_followed_and_an_unsafe_address_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("share");
    put(&root.join("WEB01/a.dmp"), &matching());
    let scan = |url: &str, secret: &str| {
        crate::support::share::program()
            .env("KBTRIAGE_WEBHOOK_SECRET", secret)
            .arg("scan")
            .arg(&root)
            .args(["--webhook", url, "--db"])
            .arg(dir.path().join("dumps.db"))
            .output()
            .unwrap()
    };
    assert_eq!(scan("http://a.example/x", SECRET).status.code(), Some(2));
    let (url, posts) = receiver(&["307 Elsewhere"]);
    assert_eq!(
        scan(&url, "").status.code(),
        Some(2),
        "nothing goes out unsigned"
    );
    let output = scan(&url, SECRET);
    assert_eq!(
        output.status.code(),
        Some(1),
        "what could not be told is an error"
    );
    next(&posts);
    assert!(posts.try_recv().is_err());
}

crate::support::only_on!(
    unix,
    a_watch_writes_new_dumps_when_they_are_complete_and_ends_on_request,
    "the test sends a Unix signal"
);
#[cfg(unix)]
#[test]
fn a_watch_writes_new_dumps_when_they_are_complete_and_ends_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("share");
    put(&root.join("H/a.dmp"), &matching());
    let mut watch = crate::support::share::program()
        .arg("scan")
        .arg(&root)
        .args(["--watch", "--interval", "1", "--settle", "60", "--db"])
        .arg(dir.path().join("dumps.db"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || records(lines.next().unwrap().unwrap().as_bytes()).remove(0);
    let path = |record: &Value| record["source"]["path"].as_str().unwrap().to_owned();
    assert!(path(&next()).ends_with("a.dmp"));
    let dump = numbered(9);
    std::fs::write(root.join("H/growing.dmp"), &dump[..9000]).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    put(&root.join("H/b.dmp"), &numbered(8));
    assert!(
        path(&next()).ends_with("b.dmp"),
        "an incomplete dump is left for later"
    );
    std::fs::write(root.join("H/growing.dmp"), &dump).unwrap();
    let record = next();
    assert!(path(&record).ends_with("growing.dmp"));
    assert_eq!(record["status"], "ok");
    interrupt(&watch);
    let status = watch.wait().unwrap();
    assert!(matches!(status.code(), Some(0 | 130)), "{status}");
    assert_eq!(next()["type"], "machine");
    assert_eq!(next()["type"], "scan");
}

crate::support::only_on!(
    unix,
    a_watch_opens_nothing_that_it_knows_and_outlives_the_share,
    "the test sends a Unix signal"
);
#[cfg(unix)]
#[test]
fn a_watch_opens_nothing_that_it_knows_and_outlives_the_share() {
    const KNOWN: u64 = 200;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("share");
    for n in 0..KNOWN {
        put(&root.join(format!("H{}/{n}.dmp", n % 10)), &numbered(n));
    }
    let (trace, id) = (dir.path().join("trace"), dir.path().join("id"));
    let traced = std::process::Command::new("strace")
        .args(["-V"])
        .output()
        .is_ok();
    let mut command = match traced {
        true => std::process::Command::new("strace"),
        false => std::process::Command::new("env"),
    };
    if traced {
        command.args(["-f", "-qq", "-s", "4096", "-e", "trace=openat", "-o"]);
        command.arg(&trace);
    } else {
        println!("SKIPPED in part: strace is not to be had: reads are not counted");
    }
    // Who is to be interrupted is the program, not who traces it.
    let mut watch = command
        .args(["sh", "-c", "echo $$ > \"$0\"; exec \"$@\""])
        .arg(&id)
        .args([env!("CARGO_BIN_EXE_kbtriage"), "scan"])
        .arg(&root)
        .args(["--watch", "--interval", "1", "--db"])
        .arg(dir.path().join("dumps.db"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || records(lines.next().unwrap().unwrap().as_bytes()).remove(0);
    let path = |record: &Value| record["source"]["path"].as_str().unwrap().to_owned();
    for _ in 0..KNOWN {
        assert!(path(&next()).ends_with(".dmp"));
    }
    let looked_at = || std::fs::read_to_string(&trace).unwrap_or_default();
    let before = looked_at().len();
    let started = std::time::Instant::now();
    put(&root.join("H3/new.dmp"), &numbered(KNOWN + 1));
    assert!(path(&next()).ends_with("new.dmp"));
    // One interval, and the time of a machine that does other work.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    let since = looked_at().split_off(before);
    let opened = since
        .lines()
        .filter(|line| line.contains(".dmp") && !line.contains("new.dmp"));
    assert_eq!(opened.collect::<Vec<_>>(), [""; 0]);

    std::fs::rename(&root, dir.path().join("away")).unwrap();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(
        watch.try_wait().unwrap().is_none(),
        "it waits for the share"
    );
    put(&dir.path().join("away/H4/later.dmp"), &numbered(KNOWN + 2));
    std::fs::rename(dir.path().join("away"), &root).unwrap();
    assert!(
        path(&next()).ends_with("later.dmp"),
        "and nothing that is known"
    );
    let id = std::fs::read_to_string(id).unwrap();
    let killed = std::process::Command::new("kill")
        .args(["-INT", id.trim()])
        .status();
    assert!(killed.unwrap().success());
    assert!(matches!(watch.wait().unwrap().code(), Some(0 | 1 | 130)));
    let last = loop {
        let record = next();
        if record["type"] == "scan" {
            break record;
        }
        assert_eq!(record["type"], "machine");
    };
    assert_eq!(last["type"], "scan");
}
