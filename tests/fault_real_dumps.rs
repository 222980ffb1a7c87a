//! The fault contexts of the real dumps.

use std::path::{Path, PathBuf};

use kbtriage::bytes::{Budget, PagedReader};
use kbtriage::dump::{self, Body};
use kbtriage::facts;
use kbtriage::fault::{self, Crash, FaultContext, Snapshot, find_context};
use kbtriage::modules::Modules;
use kbtriage::unwind::MemoryCode;

fn dumps() -> Option<Vec<PathBuf>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/dumps/kernel");
    let Ok(files) = std::fs::read_dir(path) else {
        println!("SKIPPED: ../shared is absent");
        return None;
    };
    let mut files: Vec<_> = files.map(|f| f.unwrap().path()).collect();
    files.sort();
    Some(files)
}

/// Runs `f` with the crash of a dump.
fn with_crash<T>(file: &Path, f: impl FnOnce(&Crash<'_>, &Modules) -> T) -> T {
    let bytes = std::fs::read(file).unwrap();
    let reader = PagedReader::open(&bytes).unwrap();
    let dump = dump::open(&reader, &Budget::default()).unwrap();
    let Body::Triage(triage) = &dump.body else {
        panic!("{} is a triage dump", file.display())
    };
    let memory = facts::address_space(&reader, &dump.header, triage);
    let opened = dump::open(&reader, &Budget::default()).unwrap();
    let modules = facts::gather(&reader, opened).modules;
    let code = MemoryCode::new(&modules, &memory);
    let crash = Crash::from_triage(&reader, &dump.header, triage, &memory, &code).unwrap();
    f(&crash, &modules)
}

fn fault(crash: &Crash<'_>) -> Option<FaultContext> {
    let (from, to) = crash.stack.unwrap();
    find_context(crash, &Snapshot::take(crash.memory, from, to))
}

#[test]
fn table() {
    let Some(files) = dumps() else { return };
    for file in files {
        with_crash(&file, |crash, modules| {
            let f = fault(crash);
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            let f2 = f.as_ref();
            println!(
                "{name:22} {:#x} ip {:x?} -> {:?} cand {:?} tf {:x?} by {:?} regs {} loc {:?} dpc {:?} irql {:?} thread {:x?} sp {:x?} stack {:x?} av {:x?}",
                crash.code,
                crash.named_ip(),
                f2.map(|f| f.source.name()),
                f2.map(|f| f.candidates),
                f2.and_then(|f| f.trap_frame),
                f2.map(|f| f.confirmed_by.clone()),
                f2.map_or(0, |f| f.registers.iter().count()),
                f2.and_then(|f| f.registers.ip())
                    .and_then(|ip| modules.locate(ip))
                    .map(|(id, off)| format!(
                        "{}+{off:x}",
                        modules.get(id).unwrap().name.clone().unwrap_or_default()
                    )),
                crash.processor.dpc_active,
                crash.processor.saved_irql,
                crash.thread,
                f2.and_then(|f| f.registers.sp()),
                crash.stack,
                f2.and_then(|f| f.access_violation)
            );
        });
    }
    let _ = fault::rules::RULES;
}
