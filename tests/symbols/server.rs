//! Symbol servers, against a server on loopback that also misbehaves.
#![cfg(feature = "online")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use crate::support::symbol_cabinets::lzx;
use crate::support::symbol_server::{Act, Server};
use crate::support::symbols::{GUID, Pdb, Pe};
use kbtriage::image::{CodeView, Guid};
use kbtriage::machine::Machine;
use kbtriage::symbols::{
    Cache, Lookup, ModuleIdentity, Network, Origin, Progress, Resolved, ServerLimits,
    SymbolLibrary, SymbolOptions, SymbolPath,
};
use tempfile::TempDir;

const STAMP: u32 = 0x4791_9120;

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

/// No long pauses; but a busy machine may take its time for an answer.
fn quick() -> ServerLimits {
    ServerLimits {
        connect: Duration::from_secs(10),
        silence: Duration::from_secs(10),
        total: Duration::from_secs(60),
        attempts: 3,
        pause: Duration::from_millis(10),
        failures: 3,
    }
}

fn library(path: &str, origin: Origin, network: Network, cache: &Path) -> SymbolLibrary {
    limited(path, origin, network, cache, quick())
}

fn limited(
    path: &str,
    origin: Origin,
    network: Network,
    cache: &Path,
    servers: ServerLimits,
) -> SymbolLibrary {
    SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(path, origin),
        network,
        cache: Some(Cache::at(cache.to_owned())),
        servers,
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
        later
            .resolve(&tcpip(), Machine::X64, None)
            .symbols
            .state()
            .as_str(),
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
        (Act::Truncated(pe().write()), "disconnected", 3),
        (Act::Silent, "timeout", 3),
    ] {
        let (server, store, cache) = (
            Server::start(),
            TempDir::new().unwrap(),
            TempDir::new().unwrap(),
        );
        let silence = match act {
            Act::Silent => Duration::from_secs(2),
            _ => quick().silence,
        };
        server.on(&image_path(), act);
        let path = format!("srv*{}*{}", store.path().display(), server.base);
        let limits = ServerLimits { silence, ..quick() };
        let (origin, network) = (Origin::CommandLine, Network::Named);
        let library = limited(&path, origin, network, cache.path(), limits);
        let resolved = library.resolve(&tcpip(), Machine::X64, None);
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
        assert_eq!(
            run(&server, store.path(), cache.path())
                .image
                .state()
                .as_str(),
            word
        );
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
    let path = format!("srv*{}*{}", store.path().display(), server.base);
    let patient = ServerLimits {
        total: Duration::from_secs(120),
        ..quick()
    };
    let library = SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(&path, Origin::CommandLine),
        network: Network::Named,
        cache: Some(Cache::at(cache.path().to_owned())),
        servers: patient,
        ..SymbolOptions::default()
    });
    let resolved = library.resolve(&tcpip(), Machine::X64, None);
    assert!(
        tried(&resolved).contains("larger than"),
        "{}",
        tried(&resolved)
    );
    assert_eq!(server.asked(&image_path()), 1, "and it is not asked again");
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0);
}

#[test]
fn a_body_that_is_announced_too_large_is_not_read() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on(&image_path(), Act::Announced(1 << 40));
    let resolved = run(&server, store.path(), cache.path());
    assert!(
        tried(&resolved).contains("larger than"),
        "{}",
        tried(&resolved)
    );
    assert_eq!(server.asked(&image_path()), 1);
}

#[test]
fn a_body_that_drips_ends_when_the_time_for_one_file_is_up() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    // Never silent for long enough, and never done.
    server.on(&image_path(), Act::Drip(Duration::from_millis(50)));
    let path = format!("srv*{}*{}", store.path().display(), server.base);
    let library = SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(&path, Origin::CommandLine),
        network: Network::Named,
        cache: Some(Cache::at(cache.path().to_owned())),
        servers: ServerLimits {
            total: Duration::from_millis(400),
            ..quick()
        },
        ..SymbolOptions::default()
    });
    let started = Instant::now();
    let resolved = library.resolve(&tcpip(), Machine::X64, None);
    assert!(
        tried(&resolved).contains("time for one file"),
        "{}",
        tried(&resolved)
    );
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!(server.asked(&image_path()), 1);
}

#[test]
fn the_pause_before_each_attempt_is_twice_the_one_before() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on(&image_path(), Act::Status(503));
    let path = format!("srv*{}*{}", store.path().display(), server.base);
    let pause = Duration::from_millis(60);
    let library = SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(&path, Origin::CommandLine),
        network: Network::Named,
        cache: Some(Cache::at(cache.path().to_owned())),
        servers: ServerLimits {
            attempts: 4,
            pause,
            ..quick()
        },
        ..SymbolOptions::default()
    });
    library.image(&tcpip(), Machine::X64);
    let times = server.times(&image_path());
    assert_eq!(times.len(), 4);
    for (pair, least) in times.windows(2).zip([pause, 2 * pause, 4 * pause]) {
        assert!(pair[1] - pair[0] >= least, "{times:?}");
    }
}

#[test]
fn a_not_found_older_than_a_day_is_asked_again() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    run(&server, store.path(), cache.path());
    let asked = server.asked(&image_path());
    assert_eq!(asked, 1);
    let age = |hours: u64| {
        let at = SystemTime::now() - Duration::from_secs(hours * 3600);
        for entry in fs::read_dir(cache.path().join("kbtriage-missing")).unwrap() {
            let file = fs::File::options().write(true).open(entry.unwrap().path());
            file.unwrap().set_modified(at).unwrap();
        }
    };
    age(23);
    run(&server, store.path(), cache.path());
    assert_eq!(server.asked(&image_path()), 1, "within the day");
    age(25);
    run(&server, store.path(), cache.path());
    assert_eq!(server.asked(&image_path()), 2, "after it");
}

#[test]
fn a_server_with_two_tiers_is_read_below_the_first_two_letters() {
    let (server, store, cache) = (
        Server::start(),
        TempDir::new().unwrap(),
        TempDir::new().unwrap(),
    );
    server.on("/index2.txt", Act::File(b"1".to_vec()));
    server.on(&format!("/tc{}", image_path()), Act::File(pe().write()));
    server.on(&format!("/tc{}", pdb_path()), Act::File(pdb().write()));
    let resolved = run(&server, store.path(), cache.path());
    assert_eq!(resolved.symbols.state().as_str(), "loaded", "{resolved:?}");
    assert_eq!(server.asked("/index2.txt"), 1);
    let kept = store.path().join(image_path().trim_start_matches('/'));
    assert!(kept.is_file(), "the downstream store has its own layout");
}

#[test]
fn one_download_serves_dumps_that_know_different_things_about_a_module() {
    // A store that cannot be filled, no cache, and memory for nothing: every shortcut is gone.
    let (server, dir) = (Server::start(), TempDir::new().unwrap());
    fs::write(dir.path().join("file"), b"").unwrap();
    let late = Duration::from_millis(150);
    server.on(&image_path(), Act::Late(late, pe().write()));
    server.on(&pdb_path(), Act::Late(late, pdb().write()));
    let path = format!("srv*{}/file/store*{}", dir.path().display(), server.base);
    let library = SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(&path, Origin::CommandLine),
        network: Network::Named,
        servers: quick(),
        limit: 1,
        ..SymbolOptions::default()
    });
    let record = |age| CodeView::Pdb70 {
        guid: Guid(GUID),
        age,
        name: "tcpip.pdb".to_owned(),
    };
    let records = [
        None,
        Some(record(1)),
        Some(record(2)),
        None,
        Some(record(1)),
    ];
    std::thread::scope(|scope| {
        for record in &records {
            let library = &library;
            scope.spawn(move || {
                let resolved = library.resolve(&tcpip(), Machine::X64, record.as_ref());
                assert_eq!(resolved.symbols.state().as_str(), "loaded", "{resolved:?}");
            });
        }
    });
    let other = ModuleIdentity::new("other.sys", 1, 2).unwrap();
    library.image(&other, Machine::X64);
    let again = library.resolve(&tcpip(), Machine::X64, None);
    assert_eq!(again.symbols.state().as_str(), "loaded");
    assert_eq!(
        (server.asked(&image_path()), server.asked(&pdb_path())),
        (1, 1)
    );
}

#[test]
fn progress_is_told_while_bytes_arrive_and_once_at_the_end() {
    let (server, store) = (Server::start(), TempDir::new().unwrap());
    server.on(&image_path(), Act::File(pe().write()));
    let told: Arc<Mutex<Vec<Progress>>> = Arc::default();
    let into = told.clone();
    let secret = server.base.replace("http://", "http://user:secret@");
    let path = format!("srv*{}*{secret}", store.path().display());
    let library = SymbolLibrary::new(SymbolOptions {
        symbols: SymbolPath::parse(&path, Origin::CommandLine),
        network: Network::Named,
        servers: quick(),
        progress: Some(Box::new(move |progress: &Progress| {
            into.lock().unwrap().push(progress.clone());
        })),
        ..SymbolOptions::default()
    });
    assert!(library.image(&tcpip(), Machine::X64).found().is_some());
    let told = told.lock().unwrap();
    let len = pe().write().len() as u64;
    let last = told.last().unwrap();
    assert_eq!(
        (last.received, last.total, last.ended),
        (len, Some(len), true)
    );
    assert_eq!(told.iter().filter(|p| p.ended).count(), 1);
    assert!(told.iter().any(|p| !p.ended));
    let url = format!("{}{}", server.base, image_path());
    assert!(told.iter().all(|p| p.url == url), "{told:?}");
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
        assert_eq!(library.image(&id, Machine::X64).state().as_str(), "missing");
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
    // It is not tried for every file.
    let other = ModuleIdentity::new("netio.sys", 1, 2).unwrap();
    let Lookup::Missing { tried } = library.image(&other, Machine::X64) else {
        panic!("nothing is there");
    };
    assert!(
        tried.iter().any(|why| why.ends_with("not asked again")),
        "{tried:?}"
    );
}
