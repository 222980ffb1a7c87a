//! An archive of any kind to the reports on its dumps, with small limits.
#![no_main]

use std::sync::OnceLock;
use std::time::Duration;

use kbtriage::scan::archive::{self, ArchiveKind, Meter};
use kbtriage::scan::{Pulse, UnpackLimits};
use kbtriage::triage::{Engine, Request};
use libfuzzer_sys::{Corpus, fuzz_target};

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(Engine::default)
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some(kind) = ArchiveKind::of(data) else {
        return Corpus::Reject;
    };
    let limits = UnpackLimits {
        enabled: true,
        bytes: 16 << 20,
        members: 64,
        time: Duration::from_secs(2),
    };
    let (bytes, mut unpacked) = (data.to_vec(), 0);
    let meter = Meter::new(&limits);
    let walked = archive::open(kind, &bytes, &meter, &Pulse::default(), &mut |member| {
        assert!(member.names.iter().all(|name| name.len() < 2048));
        match &member.content {
            Ok(source) => {
                unpacked += source.bytes().len();
                let report = engine().triage(source.bytes(), Request::new(&source.info)).report;
                serde_json::to_vec(&report).expect("a report is always JSON");
            }
            Err(error) => assert!(!error.message.is_empty()),
        }
    });
    assert!(unpacked <= limits.bytes);
    if let Err(error) = walked {
        assert!(!error.message.is_empty());
    }
    Corpus::Keep
});
