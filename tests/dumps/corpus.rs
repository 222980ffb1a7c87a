//! Replays the small inputs of `tests/fuzz/corpus`: found by fuzzing, or made to be at the edge of a format. Each
//! gives a report or an error, soon and in bounded memory, and never a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kbtriage::bytes::{Budget, PagedReader, ReadAt};
use kbtriage::image::Image;
use kbtriage::scan::archive::{self, ArchiveKind, Meter};
use kbtriage::scan::{Pulse, UnpackLimits};
use kbtriage::source::SourceInfo;
use kbtriage::symbols::index_pdb;
use kbtriage::triage::{Engine, Request};

/// Far more than any takes, on a busy machine and without optimisation.
const LONGEST: Duration = Duration::from_secs(30);

fn corpus() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut found = Vec::new();
    for target in fs::read_dir(&root).unwrap() {
        let target = target.unwrap();
        for file in fs::read_dir(target.path()).unwrap() {
            let name = target.file_name().into_string().unwrap();
            found.push((name, file.unwrap().path()));
        }
    }
    found.sort();
    found
}

fn report(engine: &Engine, bytes: &dyn ReadAt) {
    let report = engine
        .triage(bytes, Request::new(&SourceInfo::default()))
        .report;
    let text = serde_json::to_string(&report).unwrap();
    assert!(text.len() < 8 << 20, "{} bytes of report", text.len());
}

fn replay(engine: &Engine, target: &str, bytes: Vec<u8>) {
    match target {
        "archive" => {
            let Some(kind) = ArchiveKind::of(&bytes) else {
                return;
            };
            let limits = UnpackLimits {
                bytes: 16 << 20,
                members: 64,
                ..UnpackLimits::default()
            };
            let meter = Meter::new(&limits);
            let _ = archive::open(kind, &bytes, &meter, &Pulse::default(), &mut |member| {
                if let Ok(source) = &member.content {
                    report(engine, source.bytes());
                }
            });
        }
        "image" => {
            if let Ok(image) = Image::from_file(bytes) {
                let _ = (image.version(), image.codeview(), image.exports());
            }
        }
        "pdb" => {
            let _ = index_pdb(bytes);
        }
        "registry" => {
            let reader = PagedReader::open(&bytes).unwrap();
            let _ = kbtriage::gather::external::read(&reader, None, &Budget::default());
        }
        "template" =>
        {
            #[cfg(feature = "tickets")]
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = kbtriage::fleet::template::Template::new("ticket.html", text);
            }
        }
        _ => report(engine, &bytes),
    }
}

#[test]
fn every_input_of_the_corpus_gives_a_report_or_an_error_soon() {
    let engine = Engine::default();
    let corpus = corpus();
    assert!(corpus.len() >= 20, "{} inputs", corpus.len());
    for (target, path) in corpus {
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() <= 64 * 1024, "{} is not small", path.display());
        let began = Instant::now();
        replay(&engine, &target, bytes);
        assert!(began.elapsed() < LONGEST, "{}", path.display());
    }
}
