//! Real user-mode dumps against a second reader. Their contents are private, so what is expected is
//! computed while the test runs and never written down.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::mdmp_oracle::Module;
use kbtriage::dump::user;
use kbtriage::facts::{OperatingSystem, Trust};

const FOLDER: &str = "../shared/data/dumps/user";

fn real_dumps() -> Vec<(PathBuf, Vec<u8>)> {
    if !Path::new("../shared").exists() {
        println!("SKIPPED: ../shared is absent");
        return Vec::new();
    }
    let mut dumps: Vec<_> = fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "dmp"))
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    dumps.sort();
    assert_eq!(dumps.len(), 8);
    dumps
}

#[test]
fn every_fact_of_every_real_dump_is_what_a_second_reader_sees() {
    for (path, bytes) in real_dumps() {
        let name = path.file_name().unwrap().to_str().unwrap();
        let expected = crate::support::mdmp_oracle::read(&bytes);
        let dump = user::read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        println!(
            "{name}: {} modules, {} frames, {:?}",
            dump.modules.len(),
            dump.stack.len(),
            dump.exception.as_ref().map(|e| &e.reason)
        );

        assert_eq!(dump.time, Some(expected.time), "{name}");
        assert_eq!(dump.flags, expected.flags, "{name}");
        assert_eq!(dump.process_id, expected.process_id, "{name}");
        assert_eq!(
            dump.process_uptime,
            expected.create_time.map(|start| expected.time - start),
            "{name}"
        );
        assert_eq!(dump.threads, expected.threads, "{name}");

        let system = dump.system.as_ref().unwrap();
        assert_eq!(expected.system.platform, 2, "{name}");
        assert_eq!(system.platform, OperatingSystem::Windows, "{name}");
        assert_eq!(
            (system.major, system.minor, system.build),
            expected.system.version,
            "{name}"
        );
        assert_eq!(system.csd_version.as_ref(), Some(&expected.system.csd));
        let architecture = match expected.system.architecture {
            0 => "x86",
            9 => "x64",
            other => panic!("{name}: architecture {other}"),
        };
        assert_eq!(system.architecture.map(|m| m.as_str()), Some(architecture));
        assert_eq!(system.processors, Some(expected.system.processors));
        assert_eq!(system.product_type, Some(expected.system.product));

        assert_eq!(dump.exception.is_some(), expected.exception.is_some());
        if let (Some(seen), Some(expected)) = (&dump.exception, &expected.exception) {
            assert_eq!(seen.thread, expected.thread, "{name}");
            assert_eq!(seen.code, expected.code, "{name}");
            assert_eq!(seen.address, expected.address, "{name}");
            assert_eq!(seen.parameters, expected.parameters, "{name}");
            let data = match expected.code {
                0xC000_0005 => expected.parameters[1],
                _ => expected.address,
            };
            assert_eq!(seen.crash_address, data, "{name}");
            assert_eq!(
                dump.instruction_pointer.zip(dump.stack_pointer),
                expected.registers,
                "{name}"
            );
            let first = dump.stack.first().unwrap();
            assert_eq!(first.trust, Trust::Context, "{name}");
            assert_eq!(Some(first.instruction_pointer), dump.instruction_pointer);
            assert_eq!(Some(first.stack_pointer), dump.stack_pointer);
        }

        let modules: Vec<Module> = dump
            .modules
            .iter()
            .map(|m| Module {
                path: m.path.clone(),
                base: m.base,
                size: m.size,
                stamp: m.time_date_stamp,
                checksum: m.checksum,
                version: m.version.clone(),
                pdb: m.pdb.as_ref().map(|p| (p.name.clone(), p.guid_age.clone())),
            })
            .collect();
        assert_eq!(modules, expected.modules, "{name}");
        let unloaded: Vec<_> = dump
            .unloaded
            .iter()
            .map(|m| {
                (
                    m.name.clone(),
                    m.base,
                    m.size,
                    m.time_date_stamp,
                    m.checksum,
                )
            })
            .collect();
        assert_eq!(unloaded, expected.unloaded, "{name}");
    }
}

#[test]
fn the_small_copy_gives_the_stack_that_the_whole_file_gives() {
    use minidump_unwind::{Symbolizer, simple_symbol_supplier};
    for (path, bytes) in real_dumps() {
        let whole = minidump::Minidump::read(bytes.as_slice()).unwrap();
        let provider = Symbolizer::new(simple_symbol_supplier(Vec::new()));
        let state =
            pollster::block_on(minidump_processor::process_minidump(&whole, &provider)).unwrap();
        let expected: Vec<_> = state
            .requesting_thread
            .map_or(&[][..], |thread| &state.threads[thread].frames)
            .iter()
            .map(|frame| (frame.resume_address, frame.context.get_stack_pointer()))
            .collect();
        let dump = user::read(&bytes).unwrap();
        let seen: Vec<_> = dump
            .stack
            .iter()
            .map(|frame| (frame.instruction_pointer, frame.stack_pointer))
            .collect();
        if dump.stack_cut {
            // A recursion that used up its stack: limited, and said to be.
            assert!(path.ends_with("breakpad-stack_exhaustion.dmp"));
            assert!(seen.len() > 50);
            assert_eq!(seen, expected[..seen.len()]);
        } else {
            assert_eq!(seen, expected, "{}", path.display());
        }
        assert_eq!(dump.damage, [], "{}", path.display());
    }
}
