//! Certain only on proof: what a small dump, one processor, another mistake, another name, another layout or a
//! contradiction between sources may be called. Inputs are executed crashes, some from outside the repository; the right
//! answers are those of the executions, never of the program.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::support::run::command;
use crate::support::shared::shared;
use serde_json::{Value, json};

/// Offsets in the header: MinorVersion and NumberProcessors of 64-bit and 32-bit dumps.
const BUILD: usize = 0x0C;
const PROCESSORS_64: usize = 0x34;
const PROCESSORS_32: usize = 0x24;

pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/corpus")
}

pub fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    if path.extension().is_none_or(|suffix| suffix != "gz") {
        return bytes;
    }
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..])
        .read_to_end(&mut out)
        .expect("gzip");
    out
}

/// The report about these bytes with a store of images and symbols, or without any.
pub fn report(bytes: &[u8], stores: &[(PathBuf, PathBuf)], more: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.dmp");
    std::fs::write(&file, bytes).unwrap();
    let mut command = command();
    command
        .args(["triage", "--format", "jsonl"])
        .args(more)
        .env_remove("_NT_SYMBOL_PATH");
    for (images, symbols) in stores {
        command
            .arg("--images")
            .arg(images)
            .arg("--symbols")
            .arg(symbols);
    }
    let out = command.arg(&file).output().expect("the program runs");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| {
        panic!("{e}: {}", String::from_utf8_lossy(&out.stderr));
    })
}

pub fn corpus_stores() -> Vec<(PathBuf, PathBuf)> {
    ["images/x64", "images/x86"]
        .map(|images| (corpus().join(images), corpus().join("symbols")))
        .to_vec()
}

pub fn status(report: &Value) -> &str {
    report["hotfix"]["match"]["status"]
        .as_str()
        .expect("a status")
}

fn has(report: &Value, id: &str) -> bool {
    let evidence = report["hotfix"]["match"]["evidence"].as_array().unwrap();
    evidence.iter().any(|piece| piece["id"] == id)
}

/// Every dump of the sample whose label says that the defect was the cause.
fn positives() -> Vec<PathBuf> {
    let labels = std::fs::read_to_string(corpus().join("labels.jsonl")).unwrap();
    let labels = labels
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let files: Vec<PathBuf> = labels
        .filter(|label| label["caused_by_defect"] == true && label["forced"] == false)
        .map(|label| corpus().join("dumps").join(label["file"].as_str().unwrap()))
        .collect();
    assert!(files.len() > 15, "{}", files.len());
    files
}

/// The dump with a header that counts one processor.
fn of_one_processor(path: &Path) -> Vec<u8> {
    let mut bytes = unpacked(path);
    let at = match &bytes[..8] {
        b"PAGEDU64" => PROCESSORS_64,
        _ => PROCESSORS_32,
    };
    bytes[at..at + 4].copy_from_slice(&1u32.to_le_bytes());
    bytes
}

#[test]
fn one_processor_by_the_best_source_vetoes_whatever_else_a_dump_shows() {
    let (mut small, mut with_memory) = (0, 0);
    for path in positives() {
        let bytes = of_one_processor(&path);
        // A small dump has its header alone. Memory counts the processors itself, and these crashes had two or more.
        let is_small = path.extension().is_some_and(|suffix| suffix == "dmp");
        for stores in [corpus_stores(), Vec::new()] {
            let report = report(&bytes, &stores, &[]);
            let veto = has(&report, "machine.one-processor");
            let context = format!("{}: {}", path.display(), report["hotfix"]["match"]);
            assert_eq!(veto, is_small, "{context}");
            assert_eq!(
                has(&report, "machine.counts-disagree"),
                !is_small,
                "{context}"
            );
            let vetoed = matches!(status(&report), "unlikely" | "excluded");
            assert!(vetoed || !is_small, "{context}");
        }
        match is_small {
            true => small += 1,
            false => with_memory += 1,
        }
    }
    assert!(small > 5 && with_memory > 5, "{small} {with_memory}");
}

#[test]
fn a_count_that_only_the_header_has_decides_nothing_against_memory() {
    let path = corpus().join("dumps/x64-multicast-ldr22221-002-kernel.dmp.gz");
    let right = report(&unpacked(&path), &corpus_stores(), &[]);
    let wrong = report(&of_one_processor(&path), &corpus_stores(), &[]);
    assert_eq!(status(&right), status(&wrong));
}

#[test]
fn a_header_of_another_windows_than_its_tcpip_excludes_nothing_and_is_named() {
    let path = corpus().join("dumps/x64-multicast-ldr22221-002-mini.dmp");
    for build in [6000u32, 6002, 7601] {
        let mut bytes = unpacked(&path);
        bytes[BUILD..BUILD + 4].copy_from_slice(&build.to_le_bytes());
        let with = report(&bytes, &corpus_stores(), &[]);
        assert!(has(&with, "build.sources-disagree"), "{build}");
        assert!(
            matches!(status(&with), "possible" | "probable"),
            "{build}: {}",
            with["hotfix"]["match"]
        );
        assert_eq!(
            with["hotfix"]["applicability"]["status"], "unknown",
            "{build}"
        );
        let said = with["hotfix"]["applicability"]["reason"].as_str().unwrap();
        assert!(
            said.contains(&build.to_string()) && said.contains("6.0.6001.22221"),
            "{said}"
        );
    }
}

#[test]
fn forwarding_that_was_off_before_the_crash_counts_against_what_has_no_sign_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let output = |family: &str| {
        format!(
            "netsh interface {family} show global\n\n\
             General Global Parameters\n-----------------------------\n\
             Default Hop Limit                     : 128 hops\n\
             Multicast Forwarding                  : disabled\n"
        )
    };
    let path = corpus().join("dumps/x64-multicast-ldr22221-002-mini.dmp");
    let bytes = unpacked(&path);
    let crash = report(&bytes, &[], &[])["dump"]["crash_time"].clone();
    let crash = time::OffsetDateTime::parse(
        crash.as_str().unwrap(),
        &time::format_description::well_known::Rfc3339,
    )
    .unwrap();
    let saved = |name: &str, text: &str, days: u64| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let at = std::time::SystemTime::from(crash) - std::time::Duration::from_secs(days * 86_400);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(at).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let both = [output("ipv4"), output("ipv6")];
    let (four, six) = (saved("4.txt", &both[0], 10), saved("6.txt", &both[1], 10));
    let registry = ["--registry", &four, "--registry", &six];
    let bare = report(&bytes, &[], &registry);
    assert!(
        has(&bare, "forwarding.off-before"),
        "{}",
        bare["hotfix"]["match"]
    );
    assert_eq!(status(&bare), "unlikely");
    // The defect's own frames show that it was on.
    let named = report(&bytes, &corpus_stores(), &registry);
    assert!(has(&named, "forwarding.off-before"));
    assert_eq!(status(&named), "probable");
    // Of one protocol, or of years ago: weaker, and never the opposite answer.
    let old = (
        saved("4o.txt", &both[0], 900),
        saved("6o.txt", &both[1], 900),
    );
    for registry in [
        vec!["--registry", &four],
        vec!["--registry", &six],
        vec!["--registry", &old.0, "--registry", &old.1],
    ] {
        let said = report(&bytes, &[], &registry);
        assert!(
            has(&said, "forwarding.partly-off-before"),
            "{registry:?}: {}",
            said["system"]["multicast_forwarding"]
        );
        assert_eq!(status(&said), "possible", "{registry:?}");
    }
}

/// A row of the table of crashes from outside: what happened, the file, whether it is judged with symbols, and the
/// statuses that are right.
type Row = (&'static str, &'static str, bool, &'static [&'static str]);

#[test]
fn crashes_of_builds_and_mistakes_that_were_not_made_here_get_an_answer_that_holds() {
    let Some(lab) = shared("data/field/lab") else {
        return;
    };
    const ROWS: &[Row] = &[
        (
            "an overrun of a linked timer, small dump",
            "x64-overrun-mfe-ldr22221-001-mini.dmp",
            true,
            &["probable", "possible", "unlikely"],
        ),
        (
            "the same crash's memory dump",
            "x64-overrun-mfe-ldr22221-001-kernel.dmp.gz",
            true,
            &["unlikely"],
        ),
        (
            "one processor",
            "d1-1cpu.dmp",
            true,
            &["unlikely", "excluded"],
        ),
        (
            "an entry freed while its timer ran",
            "x64-mfe-forget-gdr18311-710009-mini.dmp",
            true,
            &["probable", "possible", "unlikely"],
        ),
        (
            "the timer routine has another name",
            "x64-multicast-qtimer-710002-mini.dmp",
            true,
            &["probable", "possible"],
        ),
        (
            "the fix by a helper without Lock in its name",
            "x64-overrun-mfe-fupgrade-710002-mini.dmp",
            true,
            &["excluded"],
        ),
        (
            "another layout of entry and set, no symbols",
            "x64-multicast-qlayoutn-710012-kernel.dmp.gz",
            false,
            &["possible", "probable", "confirmed"],
        ),
        (
            "a page fault at a canonical address as 0x1E",
            "h-1e-canon.dmp",
            true,
            &["unlikely", "excluded"],
        ),
        (
            "header of Service Pack 2, tcpip.sys of Service Pack 1",
            "d1-build6002.dmp",
            true,
            &["possible", "probable"],
        ),
    ];
    let mut stores = corpus_stores();
    stores.push((lab.join("stores/images/x64"), lab.join("stores/symbols")));
    for (what, file, symbols, right) in ROWS {
        let bytes = unpacked(&lab.join(file));
        let none = Vec::new();
        let report = report(&bytes, if *symbols { &stores } else { &none }, &[]);
        assert!(
            right.contains(&status(&report)),
            "{what} ({file}): {}",
            report["hotfix"]["match"]
        );
    }
}

#[test]
fn a_pair_of_dumps_of_one_crash_makes_no_confirmed_machine() {
    let folder = tempfile::tempdir().unwrap();
    let name = "x64-overrun-mfe-ldr22221-001";
    for kind in ["mini.dmp", "kernel.dmp.gz"] {
        let bytes = unpacked(&corpus().join("dumps").join(format!("{name}-{kind}")));
        let file = kind.trim_end_matches(".gz");
        std::fs::write(folder.path().join(file), bytes).unwrap();
    }
    let mut command = command();
    command
        .arg("scan")
        .arg(folder.path())
        .args(["--machine", "ALPHA"]);
    for (images, symbols) in corpus_stores() {
        command
            .arg("--images")
            .arg(images)
            .arg("--symbols")
            .arg(symbols);
    }
    let out = command.output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let machine = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|record| record["type"] == "machine")
        .unwrap_or_else(|| panic!("no machine record: {text}"));
    assert_eq!(
        machine["dumps"],
        json!({ "count": 2, "crashes": 1, "live_reports": 0 })
    );
    assert_eq!(
        machine["hotfix"]["match"]["status"], "unlikely",
        "{machine}"
    );
    let decided = machine["hotfix"]["match"]["decided_by"].as_str().unwrap();
    assert!(decided.ends_with("kernel.dmp"), "{decided}");
}

/// What the program prints on its default screen about these bytes.
fn screen(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.dmp");
    std::fs::write(&file, bytes).unwrap();
    let mut command = command();
    command.arg("triage").env_remove("_NT_SYMBOL_PATH");
    for (images, symbols) in corpus_stores() {
        command
            .arg("--images")
            .arg(images)
            .arg("--symbols")
            .arg(symbols);
    }
    let out = command.arg(&file).output().expect("the program runs");
    String::from_utf8(out.stdout).expect("UTF-8")
}

/// Offsets in the header of 64-bit dumps: BugCheckCode, and the parameters behind it.
const CODE_64: usize = 0x38;
const PARAMETERS_64: usize = 0x40;

#[test]
fn contradictions_are_said_on_the_screen() {
    let small = unpacked(&corpus().join("dumps/x64-multicast-ldr22221-002-mini.dmp"));
    let mut build = small.clone();
    build[BUILD..BUILD + 4].copy_from_slice(&6002u32.to_le_bytes());
    let text = screen(&build);
    assert!(
        text.contains("6002") && text.contains("6.0.6001.22221"),
        "{text}"
    );
    assert!(text.contains("Odd"), "{text}");
    let memory = corpus().join("dumps/x64-multicast-ldr22221-002-kernel.dmp.gz");
    let text = screen(&of_one_processor(&memory));
    assert!(text.contains("counts 1 processor"), "{text}");
}

#[test]
fn an_address_that_was_to_be_executed_is_the_faulting_instructions_own_or_it_is_said() {
    let mut bytes = unpacked(&corpus().join("dumps/x64-multicast-ldr22221-002-mini.dmp"));
    assert_eq!(bytes[CODE_64], 0xD1);
    assert!(!has(&report(&bytes, &[], &[]), "parameters.disagree"));
    // Parameter 3.
    let at = PARAMETERS_64 + 2 * 8;
    bytes[at] = 8;
    let said = report(&bytes, &[], &[]);
    assert!(
        has(&said, "parameters.disagree"),
        "{}",
        said["hotfix"]["match"]
    );
}

#[test]
fn a_small_dumps_header_that_its_own_memory_contradicts_excludes_nothing() {
    for name in [
        "x64-multicast-ldr22221-002-mini.dmp",
        "x64-multicast-inlined-003-mini.dmp",
    ] {
        let right = unpacked(&corpus().join("dumps").join(name));
        let own = u32::from_le_bytes(right[CODE_64..CODE_64 + 4].try_into().unwrap());
        for code in [0x161u32, 0x133, 0x193, 0xDEAD_DEAD] {
            let mut bytes = right.clone();
            bytes[CODE_64..CODE_64 + 4].copy_from_slice(&code.to_le_bytes());
            let report = report(&bytes, &corpus_stores(), &[]);
            let context = format!(
                "{name} {code:#x} over {own:#x}: {}",
                report["hotfix"]["match"]
            );
            assert_ne!(status(&report), "excluded", "{context}");
            assert!(has(&report, "code.sources-disagree"), "{context}");
        }
    }
}

/// The reports about dumps of the corpus, by file name, made in one run of the program.
fn reports(
    files: &[&str],
    stores: &[(PathBuf, PathBuf)],
) -> std::collections::BTreeMap<String, Value> {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command();
    command
        .args(["triage", "--format", "jsonl"])
        .env_remove("_NT_SYMBOL_PATH");
    for (images, symbols) in stores {
        command
            .arg("--images")
            .arg(images)
            .arg("--symbols")
            .arg(symbols);
    }
    for (n, file) in files.iter().enumerate() {
        let place = folder.path().join(format!("{n}.dmp"));
        std::fs::write(&place, unpacked(&corpus().join("dumps").join(file))).unwrap();
        command.arg(place);
    }
    let out = command.output().expect("the program runs");
    let text = String::from_utf8(out.stdout).expect("UTF-8");
    let all: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        all.len(),
        files.len(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    files
        .iter()
        .map(|file| (*file).to_owned())
        .zip(all)
        .collect()
}

#[test]
fn a_dump_with_less_memory_is_never_surer() {
    let order = [
        "excluded",
        "unlikely",
        "insufficient-data",
        "possible",
        "probable",
        "confirmed",
    ];
    let rank = |status: &str| order.iter().position(|known| *known == status).unwrap();
    let labels = std::fs::read_to_string(corpus().join("labels.jsonl")).unwrap();
    let mut runs: std::collections::BTreeMap<String, Vec<(u8, String)>> = Default::default();
    for line in labels.lines() {
        let label: Value = serde_json::from_str(line).unwrap();
        let file = label["file"].as_str().unwrap();
        let (run, kind) = file
            .trim_end_matches(".gz")
            .trim_end_matches(".dmp")
            .rsplit_once('-')
            .unwrap();
        let holds = match kind {
            "mini" => 0,
            "kernel" | "bitmap6" => 1,
            "complete" | "bitmap5" => 2,
            _ => continue,
        };
        runs.entry(run.to_owned())
            .or_default()
            .push((holds, file.to_owned()));
    }
    runs.retain(|_, dumps| dumps.len() > 1);
    assert!(runs.len() > 20, "{}", runs.len());
    for stores in [corpus_stores(), Vec::new()] {
        let files: Vec<&str> = runs
            .values()
            .flatten()
            .map(|(_, file)| file.as_str())
            .collect();
        let all = reports(&files, &stores);
        for dumps in runs.values() {
            let reports: Vec<(u8, &str, &Value)> = dumps
                .iter()
                .map(|(holds, file)| (*holds, file.as_str(), &all[file.as_str()]))
                .collect();
            for (less, one, poorer) in &reports {
                for (_, other, richer) in reports.iter().filter(|(more, _, _)| more > less) {
                    if rank(status(poorer)) <= rank(status(richer)) {
                        continue;
                    }
                    // The richer dump may know better: what decides it is evidence against that the poorer one cannot see.
                    let against = |report: &Value| -> Vec<String> {
                        let all = report["hotfix"]["match"]["evidence"].as_array().unwrap();
                        let against = all.iter().filter(|piece| piece["for"] == false);
                        against
                            .map(|piece| piece["id"].as_str().unwrap().to_owned())
                            .collect()
                    };
                    let known = against(poorer);
                    let decided = richer["hotfix"]["match"]["decided_by"].as_array().unwrap();
                    let new = decided.iter().filter_map(Value::as_str);
                    let new: Vec<&str> = new
                        .filter(|id| !known.iter().any(|own| own == id))
                        .collect();
                    assert!(
                        against(richer).iter().any(|id| new.contains(&id.as_str())),
                        "{one} is {}, {other} only {}: {decided:?}",
                        status(poorer),
                        status(richer)
                    );
                    assert_ne!(status(poorer), "confirmed", "{one}");
                }
            }
        }
    }
}

/// The dump with another bug check, in its header and where the kernel keeps it: five words, KiBugCheckData.
fn with_bug_check(mut bytes: Vec<u8>, code: u32, parameters: [u64; 4]) -> Vec<u8> {
    let wide = &bytes[4..8] == b"DU64";
    let width = if wide { 8 } else { 4 };
    // BugCheckCode and BugCheckParameter1 of both headers (the published structure of a dump's header).
    let (code_at, parameters_at) = if wide { (0x38, 0x40) } else { (0x28, 0x2C) };
    let word = |value: u64| value.to_le_bytes()[..width].to_vec();
    let five = |code: u32, parameters: &[u8]| [word(code.into()), parameters.to_vec()].concat();
    let own = u32::from_le_bytes(bytes[code_at..code_at + 4].try_into().unwrap());
    let old = five(
        own & 0xFFF,
        &bytes[parameters_at..parameters_at + 4 * width],
    );
    let new: Vec<u8> = parameters.iter().flat_map(|value| word(*value)).collect();
    bytes[code_at..code_at + 4].copy_from_slice(&code.to_le_bytes());
    bytes[parameters_at..parameters_at + 4 * width].copy_from_slice(&new);
    let kept = five(code, &new);
    let places: Vec<usize> = (0x1000..bytes.len() - old.len())
        .filter(|at| bytes[*at..].starts_with(&old))
        .collect();
    for at in places {
        bytes[at..at + kept.len()].copy_from_slice(&kept);
    }
    bytes
}

/// A page fault at IRQL 2 ends as 0xD1 or 0x0A; whatever else it is called, the list operation of the defect it was not.
#[test]
fn a_page_fault_with_the_code_of_a_lower_irql_counts_against_whatever_the_frames_show() {
    const VIOLATION: u64 = 0xFFFF_FFFF_C000_0005;
    for (name, codes) in [
        (
            "x64-multicast-ldr22221-002-mini.dmp",
            &[0x50u32, 0x7E, 0x3B, 0x1E, 0x1000_007E][..],
        ),
        (
            "x86-multicast-gdr18311+ldr22222-004-mini.dmp",
            &[0x50, 0x8E, 0x7E, 0x1000_008E],
        ),
    ] {
        let dump = unpacked(&corpus().join("dumps").join(name));
        let right = report(&dump, &corpus_stores(), &[]);
        assert_eq!(status(&right), "probable", "{name}");
        let ip = right["fault"]["instruction_pointer"].as_str().unwrap();
        let ip = u64::from_str_radix(ip.trim_start_matches("0x"), 16).unwrap();
        for code in codes {
            let parameters = match code & 0xFFF {
                0x50 => [0, 1, ip, 0],
                0x1E => [VIOLATION, ip, 1, 0],
                _ => [VIOLATION, ip, 0, 0],
            };
            let dump = with_bug_check(dump.clone(), *code, parameters);
            let report = report(&dump, &corpus_stores(), &[]);
            let said = &report["hotfix"]["match"];
            assert_eq!(report["bugcheck"]["source"], "memory", "{name} {code:#x}");
            assert!(
                matches!(status(&report), "unlikely" | "excluded"),
                "{name} {code:#x}: {said}"
            );
            assert!(
                has(&report, "irql.below-dispatch"),
                "{name} {code:#x}: {said}"
            );
            assert!(
                !has(&report, "code.secondary-victim"),
                "{name} {code:#x}: {said}"
            );
        }
    }
}

/// What no Windows has is no build, and one that its own files contradict excludes nothing.
#[test]
fn a_build_that_cannot_be_excludes_nothing() {
    let dump = unpacked(&corpus().join("dumps/x64-multicast-ldr22221-002-mini.dmp"));
    let with_build = |build: u32| {
        let mut bytes = dump.clone();
        bytes[BUILD..BUILD + 4].copy_from_slice(&build.to_le_bytes());
        bytes
    };
    let status_of = |build: u32, stores: &[(PathBuf, PathBuf)]| {
        let report = report(&with_build(build), stores, &[]);
        let build = report["system"]["build"].clone();
        (status(&report).to_owned(), build)
    };
    // NtBuildNumber whole, with the bits of a free and of a checked build.
    for build in [0xF000_1771, 0xC000_1771] {
        assert_eq!(
            status_of(build, &[]),
            ("possible".to_owned(), json!(6001)),
            "{build:#x}"
        );
    }
    for build in [2600, 3790, 7601, 9200, 0xF000_0000, 0x1234_5678, u32::MAX] {
        let (status, said) = status_of(build, &[]);
        assert!(
            !matches!(status.as_str(), "excluded" | "unlikely"),
            "{build:#x}: {status} {said}"
        );
    }
    // Never written, or no build: the image that was found names it.
    for build in [0, u32::from_le_bytes(*b"PAGE")] {
        assert_eq!(
            status_of(build, &corpus_stores()),
            ("probable".to_owned(), json!(6001)),
            "{build:#x}"
        );
    }
}
