//! The whole scan of one file, whatever it is: threads, archives, records. Its content is the input; its place
//! is the fuzz target's own program, which is only looked at.
#![no_main]

use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kbtriage::scan::{Discovery, Done, Entry, Job, Jobs, Options, Outcome, Sink, What, WorkList, run};
use kbtriage::source::{Source, SourceError, SourceInfo};
use kbtriage::triage::Engine;
use libfuzzer_sys::fuzz_target;

static CONTENT: Mutex<Vec<u8>> = Mutex::new(Vec::new());

fn open(_: &Path, _: Option<&Metadata>) -> Result<Option<Source>, SourceError> {
    let bytes = CONTENT.lock().expect("no panic").clone();
    Ok(Some(Source::new(SourceInfo::default(), Box::new(bytes))))
}

#[derive(Default)]
struct Count {
    ended: u64,
    bytes: usize,
}

impl Sink for Count {
    fn take(&mut self, done: Done) -> io::Result<()> {
        self.ended += u64::from(done.part.ends());
        if let Outcome::Records(records) = &done.outcome {
            for record in records {
                serde_json::from_str::<serde_json::Value>(&record.line).expect("a record is JSON");
                self.bytes = self.bytes.max(record.line.len());
            }
        }
        Ok(())
    }
}

fuzz_target!(|data: &[u8]| {
    *CONTENT.lock().expect("no panic") = data.to_vec();
    let place = std::env::current_exe().expect("a program");
    let mut options = Options::new(Discovery::List(WorkList {
        digest: None,
        roots: Vec::new(),
        entries: vec![Entry {
            root: None,
            relative: PathBuf::from(place),
            what: What::File,
        }],
    }));
    options.jobs = Jobs::Fixed(1);
    options.open = open;
    options.settle.tries = 0;
    options.unpack.bytes = 16 << 20;
    options.unpack.members = 64;
    options.unpack.time = Duration::from_secs(2);
    let job = Arc::new(Job {
        engine: Engine::default(),
        options,
        catalogue: None,
        stop: Arc::new(AtomicBool::new(false)),
    });
    let mut count = Count::default();
    run(&job, &mut count).expect("the sink takes everything");
    assert_eq!(count.ended, 1);
    assert!(count.bytes < 256 * 1024, "{}", count.bytes);
});
