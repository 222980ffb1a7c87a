//! What to do next about a cause, fitted to it: at most five steps.
//!
//! Commands are those of Windows' own tools as Microsoft documents them, for the Windows that crashed.

use super::suspects::written_over;
use super::{Cause, Confidence, Event, Known, Suspect, What};
use crate::facts::{CrashFacts, Format};
use crate::knowledge::article::look_alike_name;
use crate::knowledge::bugchecks::{Blames, BugCheck};
use crate::knowledge::windows;

/// Steps at most.
const MOST: usize = 5;
/// Drivers that one command of Driver Verifier names.
const NAMED: usize = 6;
/// The first build whose chkdsk looks at a volume in use.
const SCANS_ONLINE: u32 = 9200;
/// The next dump is a kernel memory dump (2 of CrashDumpEnabled).
const LARGER: &str = r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v CrashDumpEnabled /t REG_DWORD /d 2 /f";

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Stable, for programs.
    pub id: &'static str,
    /// For a person.
    pub text: String,
    /// The exact command.
    pub command: Option<String>,
}

fn step(id: &'static str, text: impl Into<String>) -> Step {
    Step {
        id,
        text: text.into(),
        command: None,
    }
}

impl Step {
    fn with(mut self, command: impl Into<String>) -> Step {
        self.command = Some(command.into());
        self
    }
}

/// The steps.
pub(super) fn steps(
    facts: &CrashFacts,
    check: &BugCheck,
    cause: &Cause,
    known: &Known<'_>,
) -> Vec<Step> {
    let mut list = Vec::new();
    if let Some(article) = known.article {
        list.push(step(
            "article",
            format!("This may be {article}: its own steps come first."),
        ));
    }
    if let Some((id, why)) = known.look_alikes.first() {
        let name = look_alike_name(id);
        let driver = cause.suspects.iter().any(|s| s.what == What::Driver);
        match name == *id {
            true => list.push(step("look-alike", format!("Read about {id}: {why}."))),
            // The driver that is meant is the suspect already.
            false if driver => {}
            false => list.push(step("look-alike", format!("Look at {name} first: {why}."))),
        }
    }
    match cause.event {
        Event::LiveReport => list.push(step(
            "live-report",
            "Windows went on running: nothing has to be done unless such reports repeat.",
        )),
        Event::Forced => list.push(
            step("all-processors", "Look at what every processor was doing:")
                .with("kbtriage stack --all-frames DUMP"),
        ),
        Event::Crash | Event::Hang => {}
    }
    for suspect in &cause.suspects {
        for step in of(facts, suspect) {
            if !list.contains(&step) {
                list.push(step);
            }
        }
    }
    if cause.suspects.is_empty() && written_over(facts, check) {
        list.extend(verify_all(facts));
        list.push(memory_test());
    } else if cause.suspects.is_empty() && check.blames == Blames::Damage {
        list.push(memory_test());
        list.extend(verify_all(facts));
    }
    let unsure = cause
        .suspects
        .iter()
        .all(|suspect| suspect.trust != Confidence::Strong);
    if cause.event != Event::LiveReport && unsure {
        list.extend(larger(facts));
    }
    list.truncate(MOST);
    list
}

fn of(facts: &CrashFacts, suspect: &Suspect) -> Vec<Step> {
    let file = suspect.module.as_deref().map(str::to_ascii_lowercase);
    match (suspect.what, file) {
        (What::Driver, Some(file)) => {
            let mut list = vec![step(
                "update-driver",
                format!(
                    "Install the current {file} from its vendor, or go back to the one before it if the \
                     crashes began with an update."
                ),
            )];
            if suspect.trust != Confidence::Strong {
                list.extend(verify(&[file]));
            }
            list
        }
        (What::Windows, Some(file)) => vec![step(
            "update-windows",
            format!("Install the current updates of Windows: {file} is part of it."),
        )],
        (What::Hardware, _) => vec![
            memory_test(),
            step("hardware-log", "Read what the hardware reported:").with(
                "wevtutil qe System /q:\"*[System[Provider[@Name='Microsoft-Windows-WHEA-Logger']]]\" \
                 /c:5 /rd:true /f:text",
            ),
            step(
                "hardware",
                "Set clocks and voltages to their defaults, look at cooling and power, and install the \
                 maker's current firmware.",
            ),
        ],
        (What::Firmware, _) => vec![step(
            "firmware",
            "Install the maker's current firmware (BIOS, UEFI), and reset its settings.",
        )],
        (What::Storage, _) => {
            let online = facts.system.build.is_some_and(|build| build >= SCANS_ONLINE);
            vec![
                step("backup", "Save what is on the disk before anything else."),
                step("check-disk", "Check the file system:").with(match online {
                    true => "chkdsk C: /scan",
                    false => "chkdsk C: /r",
                }),
                step(
                    "check-cables",
                    "Check the disk with its maker's tool, its cable, and its controller's driver and \
                     firmware.",
                ),
            ]
        }
        (What::Process, _) => vec![
            step("program-log", "See which program failed, and why:").with(
                "wevtutil qe Application /q:\"*[System[(Level=1 or Level=2)]]\" /c:10 /rd:true /f:text",
            ),
            step("check-files", "Check the files of Windows:").with("sfc /scannow"),
            step(
                "check-disk",
                "A system disk that does not deliver ends such programs too: check it.",
            ),
        ],
        (What::Driver | What::Windows, None) => Vec::new(),
    }
}

fn memory_test() -> Step {
    step("memory-test", "Test the memory:").with("mdsched.exe")
}

/// Driver Verifier on some drivers, with its caution.
fn verify(files: &[String]) -> Option<Step> {
    // A name with other characters is none that a command line should hold.
    let plain = |file: &&String| {
        file.bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    };
    let files: Vec<&str> = files.iter().filter(plain).map(String::as_str).collect();
    (!files.is_empty()).then(|| {
        step(
            "driver-verifier",
            "If it goes on, have Driver Verifier stop Windows at the driver's mistake. Should Windows then \
             not start, \"verifier /reset\" in safe mode ends it:",
        )
        .with(format!("verifier /standard /driver {}", files.join(" ")))
    })
}

/// Driver Verifier on the loaded drivers that are not of Windows, where they are few.
fn verify_all(facts: &CrashFacts) -> Option<Step> {
    let mut files: Vec<String> = facts
        .modules
        .iter()
        .filter_map(|module| module.name())
        .filter(|file| windows::part(file).is_none())
        .map(str::to_ascii_lowercase)
        .filter(|file| file.ends_with(".sys") && !file.starts_with("dump_"))
        .collect();
    files.sort();
    files.dedup();
    (files.len() <= NAMED).then(|| verify(&files)).flatten()
}

/// A kernel memory dump tells more than a small one.
fn larger(facts: &CrashFacts) -> Option<Step> {
    matches!(
        facts.dump.format,
        Format::KernelTriage | Format::KernelHeaderOnly
    )
    .then(|| {
        step(
            "collect-kernel-dump",
            "Make the next dump a kernel memory dump (from the next restart on):",
        )
        .with(LARGER)
    })
}
