//! Hostile and damaged dumps through the library: whatever the bytes, a report comes back, in bounded
//! memory and time, twice the same, and in the form the schema promises.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::catalogue;
use crate::support::mutate::{self, Field};
use crate::support::prng::Prng;
use crate::support::shared::shared;
use kbtriage::bytes::{ReadAt, ReadError};
use kbtriage::cli::schema::Record;
use kbtriage::report::model::Status;
use kbtriage::source::{ErrorKind, SourceInfo};
use kbtriage::triage::{Engine, Request};
use serde_json::Value;

/// Counts what each thread has allocated and the most it ever had.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // The last frees of a thread come after its counters are gone.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call is handed to the system allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The first bytes of a file.
struct Cut<'a>(&'a [u8]);

impl ReadAt for Cut<'_> {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<usize, ReadError> {
        self.0.read_at(at, buf)
    }
}

/// Most memory that one dump may take while it is analysed: the fixed prefix, the page cache, and
/// the report itself. Independent of the file's size.
const MEMORY: isize = 4 << 20;
/// Most time for one dump, in a build without optimisation, on a busy machine.
const TIME: Duration = Duration::from_secs(3);

/// What the checks found over a whole run.
#[derive(Default)]
struct Seen {
    runs: usize,
    ok: usize,
    degraded: usize,
    failed: usize,
    most_memory: isize,
    longest: Duration,
}

struct Checker {
    engine: Engine,
    schema: jsonschema::Validator,
    seen: Seen,
}

impl Checker {
    fn new() -> Checker {
        Checker {
            engine: Engine::default(),
            schema: jsonschema::validator_for(&Record::Report.derived()).unwrap(),
            seen: Seen::default(),
        }
    }

    /// Analyses `bytes` and checks what must hold for any bytes. Returns the report's status.
    fn check(&mut self, bytes: &[u8], what: &dyn Fn() -> String) -> Status {
        let source = Cut(bytes);
        let info = SourceInfo::default();
        let started = Instant::now();
        let before = NOW.get();
        PEAK.set(before);
        let one = self.engine.triage(&source, Request::new(&info)).report;
        let memory = PEAK.get() - before;
        let time = started.elapsed();
        assert!(memory <= MEMORY, "{}: {memory} bytes", what());
        assert!(time <= TIME, "{}: {time:?}", what());

        let json = serde_json::to_vec(&one).unwrap();
        let two = self.engine.triage(&source, Request::new(&info)).report;
        assert!(
            json == serde_json::to_vec(&two).unwrap(),
            "{}: two runs differ",
            what()
        );
        // The schema is slow to check: every thirty-second report has to do.
        let status = one.status;
        if self.seen.runs.is_multiple_of(32) {
            let value: Value = serde_json::from_slice(&json).unwrap();
            let errors: Vec<String> = self
                .schema
                .iter_errors(&value)
                .map(|error| format!("{} at {}", error, error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{}: {errors:?}", what());
        }
        let seen = &mut self.seen;
        seen.runs += 1;
        seen.most_memory = seen.most_memory.max(memory);
        seen.longest = seen.longest.max(time);
        match status {
            Status::Ok => {
                seen.ok += 1;
                assert_eq!(one.error, None, "{}", what());
            }
            Status::Degraded => {
                seen.degraded += 1;
                assert!(!one.notes.is_empty(), "{}: degraded without why", what());
            }
            Status::Failed => {
                seen.failed += 1;
                let error = one.error.expect("a failed report says why");
                assert_ne!(error.kind, ErrorKind::Internal, "{}", what());
                assert!(!error.message.is_empty(), "{}", what());
                assert!(!error.message.contains('\n'), "{}", error.message);
            }
            _ => panic!("{}: a triage is never {status:?}", what()),
        }
        status
    }

    fn summary(&self, what: &str) {
        let s = &self.seen;
        println!(
            "{what}: {} dumps: {} ok, {} degraded, {} failed; at most {} KiB and {:?} each",
            s.runs,
            s.ok,
            s.degraded,
            s.failed,
            s.most_memory / 1024,
            s.longest
        );
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// Where the triage part of an intact triage dump ends: after its mark.
fn triage_end(bytes: &[u8]) -> usize {
    let header = if &bytes[4..8] == b"DU64" {
        0x2000
    } else {
        0x1000
    };
    number(bytes, header + 0x08) + 4
}

/// Where the parts of a triage dump begin, as its own offsets say.
fn part_edges(bytes: &[u8]) -> Vec<usize> {
    let header = if &bytes[4..8] == b"DU64" {
        0x2000
    } else {
        0x1000
    };
    let mut edges: Vec<usize> = [0x04, 0x14, 0x18, 0x1C, 0x20, 0x24, 0x28, 0x30, 0x38]
        .map(|field| number(bytes, header + field))
        .to_vec();
    edges.push(triage_end(bytes));
    edges
}

fn truncate_everywhere(checker: &mut Checker, name: &str, bytes: &[u8], spread: usize) {
    let end = triage_end(bytes);
    for cut in mutate::cuts(bytes.len(), &part_edges(bytes), spread) {
        let status = checker.check(&bytes[..cut], &|| format!("{name} cut at {cut:#x}"));
        if cut < end {
            assert_ne!(status, Status::Ok, "{name} cut at {cut:#x} of {end:#x}");
        }
        if cut == bytes.len() {
            assert_eq!(status, Status::Ok, "{name} whole");
        }
    }
}

#[test]
fn a_fixture_cut_anywhere_still_gives_a_report_that_says_so() {
    let mut checker = Checker::new();
    for fixture in catalogue::all() {
        let bytes = crate::support::write(&fixture.state);
        if fixture.state.dump_type == 4 && fixture.state.tail_intact {
            truncate_everywhere(&mut checker, fixture.name, &bytes, 12);
        } else {
            for cut in mutate::cuts(bytes.len(), &[], 12) {
                checker.check(&bytes[..cut], &|| {
                    format!("{} cut at {cut:#x}", fixture.name)
                });
            }
        }
    }
    checker.summary("truncated fixtures");
    assert!(checker.seen.failed > 0 && checker.seen.degraded > 0);
}

#[test]
fn a_real_dump_cut_anywhere_still_gives_a_report_that_says_so() {
    let Some(folder) = shared("data/dumps/kernel") else {
        return;
    };
    let mut checker = Checker::new();
    for path in sorted(&folder) {
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        truncate_everywhere(&mut checker, &name, &bytes, 4);
    }
    checker.summary("truncated real dumps");
}

#[test]
fn a_fixture_with_hostile_numbers_never_breaks_the_reader() {
    let mut checker = Checker::new();
    for (index, fixture) in catalogue::all().iter().enumerate() {
        let bytes = crate::support::write(&fixture.state);
        let rounds = if fixture.state.dump_type == 4 { 70 } else { 20 };
        damage(&mut checker, fixture.name, &bytes, index as u64, rounds);
    }
    checker.summary("mutated fixtures");
    assert!(checker.seen.runs >= 1500);
}

#[test]
fn every_structural_field_survives_every_extreme_alone() {
    // One field at a time, on one dump of each shape, so that no failure hides behind another.
    let mut checker = Checker::new();
    for state in [
        catalogue::server_2008_x64(),
        catalogue::vista_sp1_x86(),
        crate::support::CrashState {
            writer: crate::support::state::Writer::Debugger,
            ..catalogue::vista_sp1_x86()
        },
    ] {
        let bytes = crate::support::write(&state);
        let len = bytes.len() as u64;
        for Field { at, width } in mutate::fields(&bytes) {
            for value in [u64::MAX, len - 1] {
                let mut broken = bytes.clone();
                broken[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
                checker.check(&broken, &|| format!("{value:#x} at {at:#x}"));
            }
        }
    }
    checker.summary("extremes");
}

#[test]
fn a_real_dump_with_hostile_numbers_never_breaks_the_reader() {
    let Some(folder) = shared("data/dumps/kernel") else {
        return;
    };
    let mut checker = Checker::new();
    for (index, path) in sorted(&folder).iter().enumerate() {
        let bytes = fs::read(path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        damage(&mut checker, &name, &bytes, 1000 + index as u64, 25);
    }
    checker.summary("mutated real dumps");
}

#[test]
fn bytes_without_structure_never_break_the_reader() {
    let mut checker = Checker::new();
    let mut prng = Prng::new(7);
    for round in 0..300 {
        let mut bytes: Vec<u8> = (0..prng.below(0x3000)).map(|_| prng.next() as u8).collect();
        let magic = prng.pick(&[&b"PAGEDU64"[..], b"PAGEDUMP", b"MDMP\x93\xa7", b""]);
        let len = magic.len().min(bytes.len());
        bytes[..len].copy_from_slice(&magic[..len]);
        if round % 3 == 0 && bytes.len() > 0xF9C {
            // The triage reader, on noise.
            bytes[0xF88..0xF8C].copy_from_slice(&4u32.to_le_bytes());
            bytes[0xF98..0xF9C].copy_from_slice(&4u32.to_le_bytes());
        }
        checker.check(&bytes, &|| format!("noise {round}"));
    }
    checker.summary("noise");
}

fn damage(checker: &mut Checker, name: &str, bytes: &[u8], seed: u64, rounds: u64) {
    let fields = mutate::fields(bytes);
    for round in 0..rounds {
        let mut prng = Prng::new(seed * 10_007 + round);
        let mut broken = bytes.to_vec();
        mutate::mutate(&mut broken, &fields, &mut prng);
        checker.check(&broken, &|| format!("{name} seed {seed} round {round}"));
    }
}

fn sorted(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "dmp"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
}
