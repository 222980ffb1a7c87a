//! Every frame, register and border of the committed sample of the fixture lab, against what really ran.
//!
//! Expected values are the labels' (`fixtures/lab/LABELS.md`): function entries seen while the crash was executed, never the
//! product's output and never an unwinder's. No label is set aside: the lab checks each against the machine's memory.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;

/// What the product is given beside the dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Symbols,
    Images,
    Nothing,
}

const LEVELS: [Level; 3] = [Level::Symbols, Level::Images, Level::Nothing];

/// One dump: its label, its report, and which addresses of stack a small dump holds.
struct Case {
    label: Value,
    report: Value,
    held: Option<(u64, u64)>,
}

/// A true frame.
#[derive(Clone, Debug)]
struct Real {
    ip: u64,
    function: String,
    module: String,
    /// The vector that stopped it, when what lies inward interrupted it.
    vector: Option<u32>,
}

impl Real {
    fn of_kernel(&self) -> bool {
        self.module == "ntoskrnl.exe" || self.module == "hal.dll"
    }

    /// The border that belongs at this frame; a DPC's only where its dispatcher is named.
    fn border(&self) -> Option<&'static str> {
        match self.vector {
            Some(2) | Some(0x20..) => Some("interrupt"),
            Some(_) => Some("exception"),
            None if self.function == "KiRetireDpcList" => Some("dpc"),
            None => None,
        }
    }

    fn ends_activity(&self) -> bool {
        matches!(self.border(), Some("interrupt" | "dpc"))
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus")
}

fn text<'a>(v: &'a Value, path: &str) -> &'a str {
    v.pointer(path).and_then(Value::as_str).unwrap_or("")
}

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(u64::MAX)
}

fn list<'a>(v: &'a Value, path: &str) -> &'a [Value] {
    v.pointer(path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The dumps as the product can read them, beside their labels; unpacked once.
fn dumps() -> &'static [(Value, PathBuf)] {
    static DUMPS: OnceLock<Vec<(Value, PathBuf)>> = OnceLock::new();
    DUMPS.get_or_init(unpack)
}

fn unpack() -> Vec<(Value, PathBuf)> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lab-stacks");
    std::fs::create_dir_all(&scratch).expect("a scratch folder");
    let labels = std::fs::read_to_string(corpus().join("labels.jsonl")).expect("labels");
    let labels = labels
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"));
    labels
        .map(|label: Value| {
            let file = text(&label, "/file").to_owned();
            let packed = corpus().join("dumps").join(&file);
            let Some(name) = file.strip_suffix(".gz") else {
                return (label, packed);
            };
            let plain = scratch.join(name);
            let mut bytes = Vec::new();
            let packed = std::fs::File::open(packed).expect("a dump of the sample");
            flate2::read::GzDecoder::new(packed)
                .read_to_end(&mut bytes)
                .expect("gzip");
            std::fs::write(&plain, bytes).expect("room for a dump");
            (label, plain)
        })
        .collect()
}

/// The product over every dump, once for each level.
fn cases(level: Level) -> &'static [Case] {
    static CASES: [OnceLock<Vec<Case>>; 3] = [const { OnceLock::new() }; 3];
    CASES[level as usize].get_or_init(|| run(level))
}

fn run(level: Level) -> Vec<Case> {
    let dumps = dumps();
    let mut command = Command::new(env!("CARGO_BIN_EXE_kbtriage"));
    command
        .args(["triage", "--format", "jsonl"])
        .env_remove("_NT_SYMBOL_PATH");
    if level != Level::Nothing {
        for images in ["images/x64", "images/x86"] {
            command.arg("--images").arg(corpus().join(images));
        }
    }
    if level == Level::Symbols {
        command.arg("--symbols").arg(corpus().join("symbols"));
    }
    let out = command
        .args(dumps.iter().map(|(_, path)| path))
        .output()
        .expect("the product runs");
    let lines = String::from_utf8(out.stdout).expect("UTF-8");
    let reports: Vec<Value> = lines
        .lines()
        .map(|l| serde_json::from_str(l).expect("JSON"))
        .collect();
    assert_eq!(reports.len(), dumps.len());
    dumps
        .iter()
        .zip(reports)
        .map(|((label, path), report)| Case {
            held: (label["dump_type"] == 4).then(|| held_stack(label, path)),
            label: label.clone(),
            report,
        })
        .collect()
}

/// TopOfStack and SizeOfCallStack of a small dump (docs/dump-format.md, triage header).
fn held_stack(label: &Value, path: &Path) -> (u64, u64) {
    let bytes = std::fs::read(path).expect("a small dump");
    let x64 = text(label, "/architecture") == "x64";
    let (at, width) = if x64 { (0x2000, 8) } else { (0x1000, 4) };
    let number = |at: usize, width: usize| {
        let mut value = [0; 8];
        value[..width].copy_from_slice(&bytes[at..at + width]);
        u64::from_le_bytes(value)
    };
    let low = number(at + 0x48, width);
    (low, low + number(at + 0x2C, 4))
}

/// The true frames of a processor.
fn real(frames: &[Value]) -> Vec<Real> {
    let frame = |f: &Value| Real {
        ip: hex(text(f, "/ip")),
        function: text(f, "/function").to_owned(),
        module: text(f, "/module").to_owned(),
        vector: f["interrupted_by"].as_str().map(|v| hex(v) as u32),
    };
    frames.iter().map(frame).collect()
}

impl Case {
    fn file(&self) -> &str {
        text(&self.label, "/file")
    }

    fn memory_dump(&self) -> bool {
        self.held.is_none()
    }

    /// Unwinding is possible to the end: code is at hand, or frame pointers are kept.
    fn can_unwind(&self, level: Level) -> bool {
        level != Level::Nothing || self.memory_dump() || text(&self.label, "/architecture") == "x86"
    }

    /// The frames the report's stack has to have: of the fault, or of what the forced dump interrupted, or of the bug check.
    fn truth(&self) -> Vec<Real> {
        let mut frames = real(list(&self.label, "/fault/frames"));
        if self.label["forced"] == true {
            let first = frames.iter().position(|f| f.vector.is_some());
            frames.drain(..first.expect("a forced dump interrupts something"));
            frames[0].vector = None;
            return frames;
        }
        frames[0].ip = hex(text(&self.label, "/fault/ip"));
        if self.label["exception"].is_null() {
            // The label knows the call of the bug check, the dump the place inside from which it saved its registers.
            let said = list(&self.report, "/stack/frames");
            let ip = said
                .first()
                .map_or(0, |f| hex(text(f, "/instruction_pointer")));
            assert!(
                ip.wrapping_sub(frames[0].ip) < 0x80,
                "{}: {ip:#x} is not in KeBugCheckEx",
                self.file()
            );
            frames[0].ip = ip;
        }
        frames
    }

    /// An overflowed stack: the stack pointer lies outside, and the label has no more than the first frame.
    fn double_fault(&self) -> bool {
        text(&self.label, "/bugcheck/code") == "0x0000007F"
    }

    /// The walk ended because a small dump does not hold the stack it led to.
    fn stack_is_elsewhere(&self) -> bool {
        let why = text(&self.report, "/stack/stopped_because");
        let at = why
            .strip_prefix("the stack at ")
            .and_then(|rest| rest.split(' ').next())
            .map(hex);
        match (at, self.held) {
            (Some(at), Some((low, high))) => at < low || at >= high,
            _ => false,
        }
    }

    fn said(&self) -> &[Value] {
        list(&self.report, "/stack/frames")
    }

    /// Frames that are no candidates, which are the leading ones.
    fn certain(&self) -> &[Value] {
        let said = self.said();
        let n = said.iter().position(|f| f["trust"] == "scan");
        let (certain, rest) = said.split_at(n.unwrap_or(said.len()));
        assert!(
            rest.iter().all(|f| f["trust"] == "scan"),
            "{}: what follows from a candidate is one",
            self.file()
        );
        certain
    }
}

/// Every case, with its truth.
fn judged(level: Level) -> Vec<(&'static Case, Vec<Real>)> {
    let cases = cases(level);
    assert!(cases.len() >= 90, "{}", cases.len());
    cases.iter().map(|case| (case, case.truth())).collect()
}

#[test]
fn every_frame_is_the_true_one_in_its_place_and_no_candidate_passes_for_one() {
    for level in LEVELS {
        let (mut frames, mut whole, mut candidates) = (0, 0, 0);
        for (case, truth) in judged(level) {
            let certain = case.certain();
            candidates += case.said().len() - certain.len();
            let ips = |frames: &[Value]| -> Vec<u64> {
                let ip = |f: &Value| hex(text(f, "/instruction_pointer"));
                frames.iter().map(ip).collect()
            };
            let real: Vec<u64> = truth.iter().map(|f| f.ip).collect();
            let said = ips(certain);
            // A small dump without the task's state does not hold the fault; the report says that.
            if case.double_fault() && case.report["fault"]["instruction_pointer"].is_null() {
                continue;
            }
            let shared = said.len().min(real.len());
            assert_eq!(said, real[..shared], "{} {level:?}", case.file());
            frames += shared;
            if !case.can_unwind(level) {
                continue;
            }
            assert_eq!(certain.len(), case.said().len(), "{}", case.file());
            if case.stack_is_elsewhere() {
                continue;
            }
            assert_eq!(
                said.len(),
                real.len(),
                "{} {level:?}: a frame is missing",
                case.file()
            );
            assert_eq!(case.report["stack"]["complete"], true, "{}", case.file());
            whole += 1;
        }
        println!("{level:?}: {frames} frames, {whole} whole stacks, {candidates} candidates");
        assert!(frames > 700 && whole > 45, "{level:?}: {frames}, {whole}");
    }
}

#[test]
fn every_register_that_is_stated_is_what_it_was() {
    for level in LEVELS {
        let (mut stated, mut dumps) = (0, 0);
        for case in cases(level) {
            if case.label["exception"].is_null() {
                continue;
            }
            let said = case
                .report
                .pointer("/fault/registers")
                .and_then(Value::as_object);
            let Some(said) = said.filter(|said| !said.is_empty()) else {
                assert!(
                    case.double_fault() && !case.memory_dump(),
                    "{}",
                    case.file()
                );
                continue;
            };
            dumps += 1;
            let fault = &case.label["fault"];
            let real = fault["registers"].as_object().expect("registers");
            for (name, value) in said {
                let true_value = match name.as_str() {
                    "rip" | "eip" => &fault["ip"],
                    "rsp" | "esp" => &fault["sp"],
                    "eflags" => {
                        // The resume flag is the processor's own doing when it raises a fault.
                        let differ = hex(text(fault, "/flags")) ^ hex(value.as_str().unwrap_or(""));
                        assert_eq!(differ & !0x1_0000, 0, "eflags of {}", case.file());
                        continue;
                    }
                    _ => match real.get(name) {
                        Some(value) => value,
                        None => continue,
                    },
                };
                assert_eq!(value, true_value, "{name} of {} {level:?}", case.file());
                stated += 1;
            }
        }
        assert!(dumps > 60 && stated > 800, "{level:?}: {stated} in {dumps}");
    }
}

#[test]
fn the_access_the_irql_and_what_ran_are_those_of_the_execution() {
    let mut computed = 0;
    for case in cases(Level::Symbols) {
        if case.label["exception"].is_null() || case.report["fault"]["source"].is_null() {
            continue;
        }
        let (said, real) = (&case.report["fault"], &case.label["fault"]);
        assert_eq!(said["irql"], real["irql"], "{}", case.file());
        if !case.double_fault() {
            assert_eq!(said["context"], real["context"], "{}", case.file());
        }
        let page_fault = case.label["exception"]["vector"] == 14;
        if page_fault && said["address"].is_string() {
            assert_eq!(
                said["address"],
                case.label["exception"]["address"],
                "{}",
                case.file()
            );
        }
        if let Some(effective) = said["effective_address"].as_object() {
            assert_eq!(effective["agrees"], true, "{}", case.file());
            computed += 1;
        }
    }
    assert!(computed > 40, "{computed}");
}

#[test]
fn the_border_of_the_faulting_activity_is_where_it_really_was() {
    for level in LEVELS {
        let named = level == Level::Symbols;
        for (case, truth) in judged(level) {
            if case.double_fault() {
                continue;
            }
            let certain = case.certain();
            for (n, (said, real)) in certain.iter().zip(&truth).enumerate().skip(1) {
                let wanted = real.border();
                // Without its name the dispatcher's border is at one of the kernel's own frames beside it.
                let dispatcher = [wanted, said["boundary"].as_str()].contains(&Some("dpc"));
                if !named && dispatcher && real.of_kernel() {
                    continue;
                }
                assert_eq!(
                    said["boundary"].as_str(),
                    wanted,
                    "{} {level:?} frame {n}, {}",
                    case.file(),
                    real.function
                );
            }
            let end = truth.iter().skip(1).position(Real::ends_activity);
            let end = end.map_or(truth.len(), |n| n + 1).min(certain.len());
            let said = case.report["stack"]["faulting_activity"]
                .as_u64()
                .unwrap_or(0) as usize;
            let between = &truth[said.min(end)..said.max(end).min(truth.len())];
            assert!(
                said == end || (!named && between.iter().all(Real::of_kernel)),
                "{} {level:?}: {said} frames counted, really {end}",
                case.file()
            );
        }
    }
}

#[test]
fn a_forced_dump_is_judged_by_what_it_interrupted() {
    for level in LEVELS {
        let mut codes = BTreeSet::new();
        for (case, truth) in judged(level) {
            if case.label["forced"] == true {
                let said = hex(text(&case.report, "/fault/instruction_pointer"));
                assert_eq!(said, truth[0].ip, "{} {level:?}", case.file());
                codes.insert(text(&case.label, "/bugcheck/code").to_owned());
            }
        }
        assert_eq!(codes.len(), 2, "0x80 and 0xE2: {codes:?}");
    }
}

#[test]
fn frames_have_the_names_of_their_functions() {
    // Public symbols inside a function: debuggers name what follows them after them.
    const INSIDE: [(&str, &str); 2] = [
        ("KiDispatchInterruptContinue", "KxDispatchInterrupt"),
        ("KiSystemServiceCopyEnd", "KiServiceInternal"),
    ];
    // A static function of the x86 kernel: the public before it is its nearest name, marked approximate.
    const STATIC: (&str, &str) = ("ExAllocatePoolWithTag", "ExpAllocateFromList");
    let (mut named, mut nameless) = (0, BTreeMap::new());
    for (case, truth) in judged(Level::Symbols) {
        // Of a double fault the label has the first frame only, and where that is not found the handler stands for it.
        if case.double_fault() {
            continue;
        }
        for (said, real) in case.certain().iter().zip(&truth) {
            let Some(symbol) = said["symbol"].as_str() else {
                *nameless.entry(real.function.clone()).or_insert(0) += 1;
                continue;
            };
            if (symbol, real.function.as_str()) == STATIC {
                assert_eq!(
                    said["symbol_kind"],
                    "approximate",
                    "{}: {said}",
                    case.file()
                );
                continue;
            }
            assert!(
                symbol == real.function || INSIDE.contains(&(symbol, &real.function)),
                "{}: {symbol} is {}",
                case.file(),
                real.function
            );
            named += 1;
        }
    }
    // What has no public symbol gets no name rather than its neighbour's.
    println!("{named} frames named; without a public symbol: {nameless:?}");
    assert!(named > 800);
}

#[test]
fn the_other_processors_stacks_are_theirs() {
    let ip = |f: &Value| hex(text(f, "/instruction_pointer"));
    for level in LEVELS {
        let mut same = 0;
        for case in cases(level) {
            if !case.memory_dump() {
                assert!(case.report["other_processors"].is_null(), "{}", case.file());
                continue;
            }
            let crashed = &case.label["fault"]["processor"];
            let others = list(&case.label, "/processors");
            for other in others.iter().filter(|p| p["processor"] != *crashed) {
                let truth = real(list(other, "/frames"));
                let stack = list(&case.report, "/other_processors")
                    .iter()
                    .find(|s| s["processor"] == other["processor"])
                    .unwrap_or_else(|| panic!("{}: processor {}", case.file(), other["processor"]));
                let said = list(stack, "/frames");
                assert!(said.iter().all(|f| f["trust"] != "scan"), "{}", case.file());
                assert_eq!(stack["complete"], true, "{}", case.file());
                let said: Vec<u64> = said.iter().map(ip).collect();
                let truth: Vec<u64> = truth.iter().map(|f| f.ip).collect();
                assert_eq!(
                    said,
                    truth,
                    "{} {level:?} {}",
                    case.file(),
                    other["processor"]
                );
                same += 1;
            }
        }
        println!("{level:?}: {same} stacks of other processors");
        assert!(same > 40, "{same}");
    }
}
