//! `docs/verdicts.md` shows one real report for each verdict, as the program prints it.
//!
//! `KBTRIAGE_BLESS=1 cargo test --test answers verdicts_page` writes the page again. The verdicts themselves
//! are expected here, by what each dump is.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::support::run::command;
use serde_json::Value;

/// One report of the page.
struct Sample {
    verdict: &'static str,
    status: &'static str,
    /// What the dump is.
    says: &'static str,
    /// Below `fixtures`.
    dump: &'static str,
    /// With the images and symbols of the laboratory.
    symbols: bool,
    /// Another build number for the header.
    build: Option<u32>,
}

const SAMPLES: &[Sample] = &[
    Sample {
        verdict: "applies",
        status: "confirmed",
        says: "A kernel memory dump of the laboratory's defect, with images and symbols.",
        dump: "corpus/dumps/x86pae-multicast-gdr18311-001-kernel.dmp.gz",
        symbols: true,
        build: None,
    },
    Sample {
        verdict: "applies-after-service-pack",
        status: "probable",
        says: "The small dump of the same crash, as of Windows Vista without a service pack: 6000 in the dump's header and in the version of \
               tcpip.sys. No small dump is confirmed.",
        dump: "corpus/dumps/x86pae-multicast-gdr18311-001-mini.dmp",
        symbols: true,
        build: Some(6000),
    },
    Sample {
        verdict: "probably-applies",
        status: "probable",
        says: "A small dump of a machine that hung, forced by NMI, with images and symbols.",
        dump: "corpus/dumps/x86pae-multicast-gdr18000+ldr22222-010-mini.dmp",
        symbols: true,
        build: None,
    },
    Sample {
        verdict: "may-apply",
        status: "possible",
        says: "A small dump alone, without images and symbols.",
        dump: "dumps/server2008-x64-d1.dmp",
        symbols: false,
        build: None,
    },
    Sample {
        verdict: "undetermined",
        status: "insufficient-data",
        says: "A small dump of a forced stop: it shows one processor, and that one was idle.",
        dump: "dumps/server2008-x64-e2.dmp",
        symbols: false,
        build: None,
    },
    Sample {
        verdict: "does-not-apply",
        status: "unlikely",
        says: "The network adapter's driver faulted; the machine lacks the hotfix all the same.",
        dump: "dumps/server2008-x64-d1-nic.dmp",
        symbols: false,
        build: None,
    },
    Sample {
        verdict: "does-not-apply",
        status: "excluded",
        says: "Service Pack 2 holds the fix; the nearest look-alike is named.",
        dump: "dumps/server2008-sp2-x64-d1.dmp",
        symbols: false,
        build: None,
    },
];

const INTRO: &str = "\
# One report for each verdict

After this you know what each answer looks like and what it asks of you.

What `kbtriage DUMP` prints, verdict by verdict, on dumps of this repository (`fixtures/`). No dump of a real machine with the defect
was available: those of `fixtures/corpus` come from the laboratory (`fixtures/lab`), the others from the tests' dump writer. The page is
checked: a test prints every report again.
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// MinorVersion of the dump header, 32-bit and 64-bit: the build.
const BUILD_AT: usize = 0x0C;

/// Copies every build of tcpip.sys of a store, each with the version of the release of a Windows build.
fn versions(from: &Path, store: &Path, build: u32) {
    /// VS_FIXEDFILEINFO begins with it; dwFileVersionLS lies 12 bytes behind.
    const SIGNATURE: [u8; 4] = 0xFEEF_04BD_u32.to_le_bytes();
    const RELEASE: u32 = 16_386;
    for folder in std::fs::read_dir(from).unwrap() {
        let folder = folder.unwrap();
        let mut image = std::fs::read(folder.path().join("tcpip.sys")).unwrap();
        let at = image
            .windows(4)
            .position(|bytes| bytes == SIGNATURE)
            .expect("a version resource");
        image[at + 12..at + 16].copy_from_slice(&(build << 16 | RELEASE).to_le_bytes());
        let to = store.join("tcpip.sys").join(folder.file_name());
        std::fs::create_dir_all(&to).unwrap();
        std::fs::write(to.join("tcpip.sys"), image).unwrap();
    }
}

/// What the program prints about a sample. It runs beside the dump, so that no path is in the text.
fn print(sample: &Sample, format: &str) -> String {
    let fixtures = root().join("fixtures");
    let path = fixtures.join(sample.dump);
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    if sample.dump.ends_with(".gz") {
        let packed = std::mem::take(&mut bytes);
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_end(&mut bytes)
            .unwrap();
    }
    if let Some(build) = sample.build {
        bytes[BUILD_AT..BUILD_AT + 4].copy_from_slice(&build.to_le_bytes());
        // NtBuildLab, which says the same.
        let release = format!("{build}.16386");
        let own = b"6001.1";
        while let Some(at) = bytes.windows(own.len()).position(|bytes| bytes == own) {
            bytes[at..at + release.len()].copy_from_slice(release.as_bytes());
        }
    }
    let name = path.file_name().unwrap().to_str().unwrap();
    let name = name.trim_end_matches(".gz");
    std::fs::write(directory.path().join(name), bytes).unwrap();
    let mut command = command();
    command
        .current_dir(directory.path())
        .args(["triage", "--format", format]);
    if let Some(build) = sample.build {
        // Of that Windows its tcpip.sys is, too: a file of another would contradict the header.
        let store = directory.path().join("images");
        versions(&fixtures.join("corpus/images/x86/tcpip.sys"), &store, build);
        command.arg("--images").arg(store);
    }
    if sample.symbols {
        let corpus = fixtures.join("corpus");
        for images in ["images/x64", "images/x86"] {
            command.arg("--images").arg(corpus.join(images));
        }
        command.arg("--symbols").arg(corpus.join("symbols"));
    }
    let output = command.arg(name).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_verdict_has_a_sample_that_gets_it() {
    for sample in SAMPLES {
        let report: Value = serde_json::from_str(&print(sample, "jsonl")).unwrap();
        let hotfix = &report["hotfix"];
        assert_eq!(hotfix["verdict"], sample.verdict, "{}", sample.dump);
        assert_eq!(hotfix["match"]["status"], sample.status, "{}", sample.dump);
    }
    for verdict in kbtriage::verdict::Verdict::ALL {
        let word = verdict.as_str();
        assert!(
            SAMPLES.iter().any(|sample| sample.verdict == word),
            "{word}"
        );
    }
    for status in kbtriage::verdict::MatchStatus::ALL {
        let word = status.as_str();
        assert!(SAMPLES.iter().any(|sample| sample.status == word), "{word}");
    }
}

#[test]
fn the_page_shows_what_the_program_prints() {
    let mut page = INTRO.to_owned();
    for sample in SAMPLES {
        page.push_str(&format!(
            "\n## `{}` ({})\n\n{}\n\n```text\n{}```\n",
            sample.verdict,
            sample.status,
            sample.says,
            print(sample, "text")
        ));
    }
    let path = root().join("docs/verdicts.md");
    if std::env::var_os("KBTRIAGE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed.replace("\r\n", "\n") == page,
        "docs/verdicts.md is not what the program prints: KBTRIAGE_BLESS=1 cargo test --test answers verdicts_page"
    );
}

#[test]
fn the_report_of_a_lab_positive_says_what_happened_on_which_evidence_and_what_to_do() {
    let text = print(&SAMPLES[0], "text");
    // The order a person reads it in.
    let mut rest = text.as_str();
    for part in [
        "KB943650: APPLIES (crash: confirmed; tcpip.sys: not fixed)\n",
        "The timer queue of multicast forwarding was corrupt.\n",
        "0xD1 DRIVER_IRQL_NOT_LESS_OR_EQUAL, 2009-12-22 00:47 UTC, up 39 s",
        "Windows Server 2008 (6001) x86, 3 processors",
        "tcpip!TtStopTimer+0xf writing 0x0",
        "TtStopTimer < IppRestartMfeTimer < IppForwardMulticastPackets",
        "netsh interface ipv4 set global multicastforwarding=disabled",
        "Service Pack 2 (KB948465) and restart",
        "tcpip.sys is 6.0.6002.18005 or later",
        "Everything else: kbtriage explain x86pae-multicast-gdr18311-001-kernel.dmp\n",
    ] {
        rest = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part}:\n{text}"))
            .1;
    }
}

#[test]
fn explain_prints_every_check_and_every_rule_with_what_it_lacks() {
    let output = command()
        .current_dir(root())
        .args(["explain", "fixtures/dumps/server2008-x64-d1.dmp"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let checks = text.split_once("\nEvery check\n").unwrap().1;
    let (checks, rules) = checks.split_once("\nEvery rule of the match").unwrap();
    // Each check says what it looked for, and what it saw or why it could not look.
    for part in [
        "build.tcpip",
        "could not look: ",
        "neutral: ",
        "for: ",
        "frame.nearest-caller",
    ] {
        assert!(checks.contains(part), "{part}");
    }
    let states: Vec<&str> = rules.lines().filter(|line| line.contains("hold")).collect();
    let decides: Vec<&&str> = states
        .iter()
        .filter(|line| line.contains("holds, and decides"))
        .collect();
    assert_eq!(decides.len(), 1);
    assert!(decides[0].contains("possible"), "{rules}");
    assert!(
        rules.contains("seen: ") && rules.contains("fault.queue-module"),
        "{rules}"
    );
    assert!(rules.contains("missing: "), "{rules}");
    for line in text.lines().filter(|line| !line.starts_with("       ")) {
        assert!(line.chars().count() <= 80, "{line}");
    }
}
