//! Symbol servers, against a server on loopback that also misbehaves.
#![cfg(feature = "online")]

#[path = "symbols_support/cabinets.rs"]
mod cabinets;
mod symbols_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cabinets::lzx;
use kbtriage::machine::Machine;
use kbtriage::symbols::{
    Cache, Lookup, ModuleIdentity, Network, Origin, Resolved, ServerLimits, SymbolLibrary,
    SymbolOptions, SymbolPath,
};
use symbols_support::{GUID, Pdb, Pe};
use tempfile::TempDir;

const STAMP: u32 = 0x4791_9120;

/// What the server does with one address.
#[derive(Clone)]
enum Act {
    File(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Announces more than it sends.
    Truncated(Vec<u8>),
    /// Fails this many times, then sends the file.
    Flaky(u32, Vec<u8>),
    /// Never ends.
    Endless,
    /// Sends nothing.
    Silent,
}

struct Server {
    base: String,
    acts: Arc<Mutex<BTreeMap<String, Act>>>,
    asked: Arc<Mutex<Vec<String>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            base: format!("http://{}", listener.local_addr().unwrap()),
            acts: Arc::default(),
            asked: Arc::default(),
            stop: Arc::default(),
        };
        let (acts, asked, stop) = (
            server.acts.clone(),
            server.asked.clone(),
            server.stop.clone(),
        );
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let (acts, asked, stop) = (acts.clone(), asked.clone(), stop.clone());
                std::thread::spawn(move || serve(stream, &acts, &asked, &stop));
            }
        });
        server
    }

    fn on(&self, path: &str, act: Act) {
        self.acts.lock().unwrap().insert(path.to_owned(), act);
    }

    fn asked(&self, path: &str) -> usize {
        self.asked
            .lock()
            .unwrap()
            .iter()
            .filter(|p| *p == path)
            .count()
    }

    fn requests(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(
    mut stream: TcpStream,
    acts: &Mutex<BTreeMap<String, Act>>,
    asked: &Mutex<Vec<String>>,
    stop: &AtomicBool,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    if reader.read_line(&mut request).is_err() {
        return;
    }
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
        line.clear();
    }
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    asked.lock().unwrap().push(path.clone());
    let act = {
        let mut acts = acts.lock().unwrap();
        match acts.get_mut(&path) {
            Some(Act::Flaky(left, _)) if *left > 0 => {
                *left -= 1;
                Act::Status(503)
            }
            Some(Act::Flaky(_, file)) => Act::File(file.clone()),
            Some(act) => act.clone(),
            None => Act::Status(404),
        }
    };
    let head = |status: &str, len: usize| {
        format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n")
    };
    let _ = match act {
        Act::File(bytes) => stream
            .write_all(head("200 OK", bytes.len()).as_bytes())
            .and_then(|()| stream.write_all(&bytes)),
        Act::Status(status) => stream.write_all(head(&format!("{status} No"), 0).as_bytes()),
        Act::Redirect(to) => stream.write_all(
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(),
        ),
        Act::Truncated(bytes) => stream
            .write_all(head("200 OK", bytes.len()).as_bytes())
            .and_then(|()| stream.write_all(&bytes[..bytes.len() / 2])),
        Act::Endless => {
            let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
            while sent.is_ok() && !stop.load(Ordering::Relaxed) {
                sent = stream.write_all(&[0; 1 << 16]);
            }
            Ok(())
        }
        Act::Silent => {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(())
        }
        Act::Flaky(..) => Ok(()),
    };
}

fn pe() -> Pe {
    Pe::new(STAMP, GUID, 1, "tcpip.pdb")
}

fn pdb() -> Pdb {
    Pdb::new(GUID, 1, &[(0x10, "TtStartTimer"), (0x40, "TtStopTimer")])
}

fn image_path() -> String {
    format!("/tcpip.sys/{}/tcpip.sys", pe().key())
}

fn pdb_path() -> String {
    format!("/tcpip.pdb/{}/tcpip.pdb", pdb().key())
}

fn tcpip() -> ModuleIdentity {
    ModuleIdentity::new("tcpip.sys", STAMP, 0x4000).unwrap()
}

fn quick() -> ServerLimits {
    ServerLimits {
        connect: Duration::from_secs(2),
        silence: Duration::from_millis(300),
        total: Duration::from_secs(5),
        attempts: 3,
        pause: Duration::from_millis(10),
        failures: 3,
    }
}

fn library(path: &str, origin: Origin, network: Network, cache: &Path) -> SymbolLibrary {
    SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(path, origin),
        network,
        cache: Some(Cache::at(cache.to_owned())),
        servers: quick(),
        ..SymbolOptions::default()
    })
}

/// One run against a server, with a fresh downstream store.
fn run(server: &Server, store: &Path, cache: &Path) -> Arc<Resolved> {
    let path = format!("srv*{}*{}", store.display(), server.base);
    library(&path, Origin::CommandLine, Network::Named, cache).resolve(&tcpip(), Machine::X64, None)
}

fn tried(resolved: &Resolved) -> String {
    match &resolved.image {
        Lookup::Missing { tried } => tried.join("\n"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_file_is_downloaded_once_verified_and_kept_in_the_downstream_store() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on(&image_path(), Act::File(pe().write()));
    server.on(&pdb_path(), Act::File(pdb().write()));
    let path = format!("srv*{}*{}", store.path().display(), server.base);
    let shared = library(&path, Origin::CommandLine, Network::Named, cache.path());
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let resolved = shared.resolve(&tcpip(), Machine::X64, None);
                let hit = resolved.symbols.found().unwrap().name_at(0x1041).unwrap();
                assert_eq!((hit.name.as_str(), hit.displacement), ("TtStopTimer", 1));
            });
        }
    });
    assert_eq!(
        (server.asked(&image_path()), server.asked(&pdb_path())),
        (1, 1)
    );
    let kept = store.path().join(image_path().trim_start_matches('/'));
    assert_eq!(fs::read(kept).unwrap(), pe().write());
    // A later run, offline, has it from the store.
    let later = library(&path, Origin::CommandLine, Network::Offline, cache.path());
    assert_eq!(
        later.resolve(&tcpip(), Machine::X64, None).symbols.word(),
        "loaded"
    );
    assert_eq!(server.requests(), 2);
}

#[test]
fn compressed_files_of_a_server_are_stored_unpacked() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    let packed = format!("/tcpip.sys/{}/tcpip.sy_", pe().key());
    server.on(&packed, Act::File(lzx("tcpip.sys", &pe().write())));
    assert!(
        run(&server, store.path(), cache.path())
            .image
            .found()
            .is_some()
    );
    let kept = store.path().join(image_path().trim_start_matches('/'));
    assert_eq!(fs::read(kept).unwrap(), pe().write());
}

#[test]
fn a_server_is_asked_only_with_consent() {
    let server = Server::start();
    server.on(&image_path(), Act::File(pe().write()));
    let cases = [
        (
            Origin::Environment,
            Network::from_flags(false, false, false),
            false,
        ),
        (
            Origin::Environment,
            Network::from_flags(false, true, false),
            true,
        ),
        (
            Origin::CommandLine,
            Network::from_flags(false, false, false),
            true,
        ),
        (
            Origin::CommandLine,
            Network::from_flags(true, true, false),
            false,
        ),
        (
            Origin::CommandLine,
            Network::from_flags(false, false, true),
            false,
        ),
        (
            Origin::CommandLine,
            Network::from_flags(false, true, true),
            true,
        ),
    ];
    for (origin, network, expected) in cases {
        let (store, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let before = server.requests();
        let path = format!("srv*{}*{}", store.path().display(), server.base);
        let library = library(&path, origin, network, cache.path());
        let found = library.image(&tcpip(), Machine::X64).found().is_some();
        assert_eq!(found, expected, "{origin:?} {network:?}");
        assert_eq!(
            server.requests() > before,
            expected,
            "{origin:?} {network:?}"
        );
    }
}

#[test]
fn not_found_is_remembered_for_the_run_and_for_a_day() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    assert!(tried(&run(&server, store.path(), cache.path())).contains("tcpip.sys"));
    let first = server.requests();
    assert!(first > 0);
    assert!(
        tried(&run(&server, store.path(), cache.path())).contains("not there within the last day")
    );
    assert_eq!(server.requests(), first);
    Cache::at(cache.path().to_owned()).clear().unwrap();
    run(&server, store.path(), cache.path());
    assert_eq!(server.requests(), 2 * first);
}

#[test]
fn errors_that_pass_are_retried_and_others_are_reported() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on(&image_path(), Act::Flaky(2, pe().write()));
    assert!(
        run(&server, store.path(), cache.path())
            .image
            .found()
            .is_some()
    );
    assert_eq!(server.asked(&image_path()), 3);

    for (act, reason, asked) in [
        (Act::Status(500), "HTTP status 500", 3),
        (Act::Status(403), "HTTP status 403", 1),
        (Act::Truncated(pe().write()), "", 3),
        (Act::Silent, "timeout", 3),
    ] {
        let (server, store, cache) = (
            Server::start(),
            TempDir::new().unwrap(),
            TempDir::new().unwrap(),
        );
        server.on(&image_path(), act);
        let resolved = run(&server, store.path(), cache.path());
        assert!(tried(&resolved).contains(reason), "{}", tried(&resolved));
        assert_eq!(server.asked(&image_path()), asked, "{reason}");
        assert_eq!(
            fs::read_dir(store.path()).unwrap().count(),
            0,
            "nothing was stored: {reason}"
        );
    }
}

#[test]
fn a_wrong_file_never_enters_the_store() {
    let other = Pe { stamp: 5, ..pe() }.write();
    for (bytes, word) in [
        (other, "mismatched"),
        (b"<html>sign in</html>".to_vec(), "missing"),
    ] {
        let (server, store, cache) = (
            Server::start(),
            TempDir::new().unwrap(),
            TempDir::new().unwrap(),
        );
        server.on(&image_path(), Act::File(bytes));
        assert_eq!(run(&server, store.path(), cache.path()).image.word(), word);
        assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_endless_body_ends_at_the_size_limit() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on(&image_path(), Act::Endless);
    let resolved = run(&server, store.path(), cache.path());
    let text = tried(&resolved);
    assert!(
        text.contains("larger than") || text.contains("time for one file"),
        "{text}"
    );
}

#[test]
fn redirects_are_followed_but_not_in_circles() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on(&image_path(), Act::Redirect("/elsewhere".to_owned()));
    server.on(
        "/elsewhere",
        Act::Redirect(format!("{}/there", server.base)),
    );
    server.on("/there", Act::File(pe().write()));
    assert!(
        run(&server, store.path(), cache.path())
            .image
            .found()
            .is_some()
    );

    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on(&image_path(), Act::Redirect(image_path()));
    let resolved = run(&server, store.path(), cache.path());
    assert!(tried(&resolved).contains("too many redirects"));
    assert!(server.requests() <= 10);
}

#[test]
fn a_server_that_keeps_failing_is_left_alone_for_the_run() {
    let (server, cache) = (Server::start(), TempDir::new().unwrap());
    let path = format!("srv*{}*{}", cache.path().join("s").display(), server.base);
    let library = library(&path, Origin::CommandLine, Network::Named, cache.path());
    for i in 0..8 {
        let id = ModuleIdentity::new(&format!("d{i}.sys"), 1, 2).unwrap();
        server.on(
            &format!("/d{i}.sys/{}/d{i}.sys", id.key()),
            Act::Status(500),
        );
        assert_eq!(library.image(&id, Machine::X64).word(), "missing");
    }
    assert_eq!(server.requests(), 9, "three files, three attempts each");
}

#[test]
fn a_refused_connection_is_a_reason_and_not_a_hang() {
    let (store, cache) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let path = format!("srv*{}*http://user:secret@{gone}", store.path().display());
    let library = library(&path, Origin::CommandLine, Network::Named, cache.path());
    let resolved = library.resolve(&tcpip(), Machine::X64, None);
    assert!(!tried(&resolved).contains("secret"));
    assert!(tried(&resolved).contains(&gone.to_string()));
}
