//! A reader that fails in every way a disk or a server does, at every read of dumps of different kinds: the
//! answer is the one an undisturbed reader gives, or it says `io` or that the time was up. Never another one.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kbtriage::bytes::{ReadAt, ReadError};
use kbtriage::report::Report;
use kbtriage::report::model::Status;
use kbtriage::source::{ErrorKind, SourceInfo};
use kbtriage::triage::{Engine, Request};
use serde_json::Value;

use crate::support::catalogue;
use crate::support::share::fixture;
use crate::support::shared::shared;
use crate::support::state::Driver;

/// A dump of each kind whose reading differs.
const DUMPS: [&str; 6] = [
    "server2008-x64-d1.dmp",
    "vista-sp1-x86-d1.dmp",
    "server2008-x64-complete.dmp",
    "server2008-x64-bitmap-kernel.dmp",
    "server2008-x64-ranges.dmp",
    "server2008-x64-summary.dmp",
];
/// Reads of one dump that are disturbed one by one; beyond, every so many.
const EACH: u64 = 16;

/// What happens from a certain read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// This one read fails, later ones do not: a bad sector, a server that came back.
    Once(i32),
    /// This and all later reads fail.
    From(i32),
    /// Reads give fewer bytes than were asked for, but never none.
    Short,
    /// Nothing is read from here on although the file goes on, as the file reader says it.
    Shrunk,
}

/// EIO and ESTALE.
const ERRORS: [i32; 2] = [5, 116];

struct Faulty {
    bytes: Vec<u8>,
    fault: Fault,
    at: u64,
    reads: AtomicU64,
}

impl Faulty {
    fn new(bytes: Vec<u8>, fault: Fault, at: u64) -> Faulty {
        Faulty {
            bytes,
            fault,
            at,
            reads: AtomicU64::new(0),
        }
    }
}

impl ReadAt for Faulty {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        let now = self.reads.fetch_add(1, Ordering::Relaxed) + 1;
        let failed = |source| Err(ReadError::Io { at, source });
        match self.fault {
            Fault::Once(code) if now == self.at => failed(std::io::Error::from_raw_os_error(code)),
            Fault::From(code) if now >= self.at => failed(std::io::Error::from_raw_os_error(code)),
            Fault::Shrunk if now >= self.at && at < self.len() => {
                failed(std::io::ErrorKind::UnexpectedEof.into())
            }
            Fault::Short if now >= self.at && buf.len() > 1 => {
                let most = 1 + (now as usize * 7919) % buf.len();
                self.bytes.read_at(at, &mut buf[..most])
            }
            _ => self.bytes.read_at(at, buf),
        }
    }
}

/// Dumps longer than what one read serves, so that later reads are disturbed too.
fn padded(name: &str) -> Vec<u8> {
    let mut dump = fixture(name);
    dump.resize(dump.len().max(300 * 1024), 0x41);
    dump
}

/// Memory dumps of a laboratory, whose reading takes hundreds of reads; none where they are absent.
fn memory_dumps() -> Vec<(&'static str, Vec<u8>)> {
    [
        "data/field/lab/x64-overrun-mfe-ldr22221-001-kernel.dmp.gz",
        "data/field/lab/x64-multicast-qlayoutn-710012-kernel.dmp.gz",
        "data/field/dumps/01b-only-code-0x161.dmp.gz",
    ]
    .into_iter()
    .filter_map(|name| {
        let packed = std::fs::read(shared(name)?).unwrap();
        let mut dump = Vec::new();
        flate2::read::GzDecoder::new(packed.as_slice())
            .read_to_end(&mut dump)
            .unwrap();
        Some((name, dump))
    })
    .collect()
}

fn engine() -> Engine {
    Engine {
        sha256: true,
        ..Engine::default()
    }
}

fn report(engine: &Engine, bytes: &dyn ReadAt) -> Report {
    engine
        .triage(bytes, Request::new(&SourceInfo::default()))
        .report
}

fn json(report: &Report) -> Value {
    serde_json::to_value(report).unwrap()
}

#[test]
fn a_read_that_fails_never_changes_the_answer() {
    let engine = engine();
    let mut failed = 0;
    let fixtures = DUMPS.iter().map(|name| (*name, padded(name)));
    for (name, dump) in fixtures.chain(memory_dumps()) {
        let whole = Faulty::new(dump.clone(), Fault::Short, u64::MAX);
        let expected = json(&report(&engine, &whole));
        assert_ne!(expected["status"], "failed", "{name}");
        let reads = whole.reads.load(Ordering::Relaxed);
        let step = (reads / EACH).max(1) as usize;
        for at in (1..=reads).step_by(step) {
            let faults = ERRORS
                .iter()
                .flat_map(|code| [Fault::Once(*code), Fault::From(*code)])
                .chain([Fault::Shrunk]);
            for fault in faults {
                let faulty = Faulty::new(dump.clone(), fault, at);
                let report = report(&engine, &faulty);
                let error = report.error.as_ref().map(|error| error.kind);
                assert_eq!(error, Some(ErrorKind::Io), "{name}, {fault:?} at read {at}");
                assert_eq!(report.status, Status::Failed);
                assert!(report.hotfix.is_none(), "nothing is concluded");
                failed += 1;
            }
        }
    }
    assert!(
        failed >= 5 * 3 * DUMPS.len(),
        "reads were disturbed: {failed}"
    );
}

#[test]
fn short_reads_change_nothing() {
    let engine = engine();
    for name in DUMPS {
        let dump = padded(name);
        let expected = json(&report(&engine, &dump));
        for at in [1, 2, 3, 9] {
            let faulty = Faulty::new(dump.clone(), Fault::Short, at);
            assert_eq!(
                json(&report(&engine, &faulty)),
                expected,
                "{name} from {at}"
            );
        }
    }
}

/// Waits at each read.
struct Slow(Vec<u8>, Duration);

impl ReadAt for Slow {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        std::thread::sleep(self.1);
        self.0.read_at(at, buf)
    }
}

#[test]
fn the_time_limit_holds_where_reads_wait_and_is_said() {
    let mut engine = Engine::default();
    let wait = Duration::from_millis(60);
    engine.limits.time = Some(Duration::from_millis(100));
    for name in DUMPS {
        let dump = padded(name);
        let expected = json(&report(&Engine::default(), &dump));
        let began = std::time::Instant::now();
        let slow = json(&report(&engine, &Slow(dump, wait)));
        assert!(began.elapsed() < Duration::from_secs(5), "{name}");
        let notes = slow["notes"].as_array().cloned().unwrap_or_default();
        let said = notes.iter().any(|note| note["code"] == "limit.time");
        match said {
            true => assert_eq!(slow["status"], "degraded", "{name}"),
            false => assert_eq!(slow, expected, "{name}"),
        }
    }
    // One that cannot even be begun in time.
    let slow = Slow(padded(DUMPS[0]), Duration::from_millis(1));
    engine.limits.time = Some(Duration::ZERO);
    let report = report(&engine, &slow);
    assert_eq!(
        report.error.map(|error| error.kind),
        Some(ErrorKind::Timeout)
    );
}

#[test]
fn work_that_was_cut_short_is_said() {
    let mut engine = Engine::default();
    engine.limits.steps = 20;
    for name in ["server2008-x64-complete.dmp", "server2008-x64-d1.dmp"] {
        let report = report(&engine, &fixture(name));
        assert_eq!(report.status, Status::Degraded, "{name}");
        assert!(report.notes.iter().any(|note| note.code == "limit.steps"));
    }
}

/// The program itself, where a tracer can make its reads fail.
#[cfg(target_os = "linux")]
#[test]
fn no_command_takes_a_failed_read_for_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let dump = dir.path().join("a.dmp");
    std::fs::write(&dump, fixture("server2008-x64-complete.dmp")).unwrap();
    let dump = dump.to_str().unwrap();
    let commands: [&[&str]; 4] = [
        &["triage", dump],
        &["stack", dump],
        &["symbols", "check", dump],
        &["explain", dump],
    ];
    for command in commands {
        let traced = std::process::Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=pread64"])
            .args(["-P", dump, "-e", "inject=pread64:error=EIO:when=1+"])
            .arg(env!("CARGO_BIN_EXE_kbtriage"))
            .args(command)
            .output();
        let Ok(output) = traced else {
            println!("SKIPPED: no strace to make reads fail");
            return;
        };
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if said.contains("ptrace") {
            println!("SKIPPED: strace may not trace here: {said}");
            return;
        }
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("Input/output error"), "{command:?}: {said}");
    }
}

/// The most drivers that are read of a small dump is 4,096: one that lists 5,000 and holds them says that the rest is
/// left out; one whose file ends earlier is cut off, which is another thing.
#[test]
fn more_drivers_than_are_looked_at_are_said() {
    let mut state = catalogue::server_2008_x64();
    let last = state.drivers.last().unwrap().clone();
    while state.drivers.len() < 5000 {
        let n = state.drivers.len() as u64;
        state.drivers.push(Driver {
            name: format!("d{n}.sys"),
            base: last.base + n * 0x10_0000,
            ..last.clone()
        });
    }
    let whole = crate::support::write(&state);
    let said = |bytes: &[u8]| -> Vec<String> {
        let notes = json(&report(&Engine::default(), &bytes.to_vec()))["notes"].clone();
        let codes = notes.as_array().unwrap().iter();
        let codes = codes.map(|note| note["code"].as_str().unwrap().to_owned());
        codes.filter(|code| code.starts_with("limit.")).collect()
    };
    assert_eq!(said(&whole), ["limit.candidates"]);
    assert!(said(&whole[..whole.len() / 8]).is_empty());
    state.drivers.truncate(4000);
    assert!(said(&crate::support::write(&state)).is_empty());
}
