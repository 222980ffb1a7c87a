//! Writes the seeds of the kernel dump targets: `seeds FOLDER` fills `FOLDER/header` and `FOLDER/triage`
//! from the fixture catalogue, each file at most 64 KiB.

use std::fs;
use std::path::Path;

#[path = "../support/mod.rs"]
mod support;

const LARGEST: usize = 64 * 1024;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).expect("usage: seeds FOLDER");
    for target in ["header", "triage"] {
        fs::create_dir_all(Path::new(&folder).join(target))?;
    }
    for fixture in support::catalogue::all() {
        let bytes = support::write(&fixture.state);
        assert!(bytes.len() <= LARGEST, "{}", fixture.name);
        fs::write(Path::new(&folder).join("triage").join(fixture.name), &bytes)?;
        // The header target needs no more than the header and the first bytes of the body.
        let body = fixture.state.machine.header_size() + 0x100;
        let kept = if fixture.state.dump_type == 4 {
            body.min(bytes.len())
        } else {
            bytes.len()
        };
        fs::write(
            Path::new(&folder).join("header").join(fixture.name),
            &bytes[..kept],
        )?;
    }
    Ok(())
}
