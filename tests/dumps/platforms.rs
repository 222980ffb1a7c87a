//! Programs' dumps of other systems than Windows: they say so, and `stack` shows the exception's thread.

use minidump_synth::{
    DumpString, Exception, Memory, SynthMinidump, SystemInfo, Thread, amd64_context,
};
use test_assembler::{Endian, Section};

use crate::support::run::{kbtriage, reports};

const LE: Endian = Endian::Little;

/// A dump of a system by the number of its platform, whose thread 77 got a signal.
fn dump(platform: u32, csd: &str, code: u32) -> Vec<u8> {
    let csd = DumpString::new(csd, LE);
    let mut dump = SynthMinidump::with_endian(LE).add(csd);
    let mut system = SystemInfo::new(LE).set_processor_architecture(9);
    (
        system.major_version,
        system.minor_version,
        system.build_number,
    ) = (5, 15, 0);
    system.platform_id = platform;
    // The string is the first thing behind the header.
    system.csd_version_rva = 32;
    dump = dump.add_system_info(system);
    let section = Section::with_endian(LE).append_repeated(0, 0x400);
    let stack = Memory::with_section(section, 0x7FFC_0000);
    let context = amd64_context(LE, 0x5555_0000_1234, 0x7FFC_0000);
    let thread = Thread::new(LE, 77, &stack, &context);
    let mut exception = Exception::new(LE);
    exception.thread_id = 77;
    exception.exception_record.exception_code = code;
    exception.exception_record.exception_address = 0x5555_0000_1234;
    dump.add(context)
        .add_memory(stack)
        .add_thread(thread)
        .add_exception(exception)
        .finish()
        .unwrap()
}

#[test]
fn a_dump_of_another_system_names_it_in_text_and_json() {
    for (id, word, name) in [
        (0x8201, "linux", "Linux"),
        (0x8101, "macos", "macOS"),
        (0x8102, "ios", "iOS"),
        (0x8203, "android", "Android"),
        (0x8206, "fuchsia", "Fuchsia"),
        (2, "windows", "Windows"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program.dmp");
        std::fs::write(&path, dump(id, "Linux 5.15.0-91-generic", 11)).unwrap();
        let report = &reports(&[&path])[0];
        let system = &report["system"];
        assert_eq!(system["platform"], word, "{id:#x}");
        let output = kbtriage(&["triage".as_ref(), path.as_os_str()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(name), "{text}");
        if word != "windows" {
            let version = system["version"].as_str().unwrap();
            assert!(version.starts_with("5.15.0"), "{version}");
            assert!(text.contains("5.15.0"), "{text}");
            assert!(!text.contains("System   Windows"), "{text}");
            assert!(system["build"].is_null());
        }
        assert_eq!(report["exception"]["thread"], 77);
        let output = kbtriage(&["stack".as_ref(), path.as_os_str()]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            text.contains("Exception") && text.contains("thread       77"),
            "{text}"
        );
    }
}

/// A number that no list of platforms has.
#[test]
fn a_system_that_is_not_known_is_called_that() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("program.dmp");
    std::fs::write(&path, dump(0x82AA, "", 11)).unwrap();
    let output = kbtriage(&["triage".as_ref(), path.as_os_str()]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("\nSystem   unknown system, not Windows, 5.15.0, x64"),
        "{text}"
    );
    assert!(text.contains("0x0000000B exception in a program"), "{text}");
}
