//! Our own user-mode minidumps, for what the real ones lack: the files of the hotfix's package on the
//! systems it is for. Written with `minidump-synth`, which shares no code with the reader;
//! `KBTRIAGE_WRITE_FIXTURES=1` writes them anew.

use std::fs;
use std::path::PathBuf;

use kbtriage::dump::user::{self, UserDump, UserLocation};
use kbtriage::facts::{OperatingSystem, Trust};
use minidump_common::format::VS_FIXEDFILEINFO;
use minidump_synth::{
    DumpSection, DumpString, Exception, Memory, MiscFieldsProcessTimes, MiscStream, Module,
    SynthMinidump, SystemInfo, Thread, UnloadedModule, amd64_context, x86_context,
};
use test_assembler::{Endian, Section};

const LE: Endian = Endian::Little;

/// 2008-07-20T03:14:07Z.
const WRITTEN: u32 = 1_216_523_647;

struct Machine {
    architecture: u16,
    build: (u32, u32, u32),
    csd: &'static str,
    product: u8,
}

const VISTA_SP1_X86: Machine = Machine {
    architecture: 0,
    build: (6, 0, 6001),
    csd: "Service Pack 1",
    product: 1,
};
const SERVER_2008_X64: Machine = Machine {
    architecture: 9,
    build: (6, 0, 6001),
    csd: "Service Pack 1",
    product: 3,
};
const VISTA_RTM_X86: Machine = Machine {
    architecture: 0,
    build: (6, 0, 6000),
    csd: "",
    product: 1,
};

fn version(parts: [u32; 4]) -> VS_FIXEDFILEINFO {
    VS_FIXEDFILEINFO {
        signature: 0xFEEF_04BD,
        struct_version: 0x1_0000,
        file_version_hi: parts[0] << 16 | parts[1],
        file_version_lo: parts[2] << 16 | parts[3],
        product_version_hi: 0x6_0000,
        product_version_lo: 0,
        file_flags_mask: 0x3F,
        file_flags: 0,
        file_os: 0x4_0004,
        file_type: 2,
        file_subtype: 0,
        file_date_hi: 0,
        file_date_lo: 0,
    }
}

/// A service host that read a null pointer in bfe.dll, with the package's files at `versions`.
fn service_host(machine: &Machine, versions: [(&str, [u32; 4]); 3]) -> Vec<u8> {
    // The service pack's name comes first so that its place, right behind the header, is known.
    let csd = DumpString::new(machine.csd, LE);
    let mut dump = SynthMinidump::with_endian(LE).add(csd);
    let mut system = SystemInfo::new(LE).set_processor_architecture(machine.architecture);
    (
        system.major_version,
        system.minor_version,
        system.build_number,
    ) = machine.build;
    system.platform_id = 2;
    system.number_of_processors = 2;
    system.product_type = machine.product;
    system.csd_version_rva = 32;
    dump = dump.add_system_info(system);

    let wide = machine.architecture == 9;
    let base: u64 = if wide { 0x7FF_7A0A_0000 } else { 0x7090_0000 };
    let sp: u64 = if wide { 0x1F_F000 } else { 0x8_F000 };
    for (index, (name, parts)) in versions.iter().enumerate() {
        let name = DumpString::new(&format!(r"C:\Windows\System32\{name}"), LE);
        let codeview = Section::with_endian(LE)
            .append_bytes(b"RSDS")
            .D32(0x1122_3344)
            .D16(0x5566)
            .D16(0x7788)
            .append_bytes(&[1, 2, 3, 4, 5, 6, 7, 8])
            .D32(2)
            .append_bytes(b"package.pdb\0");
        let module = Module::new(
            LE,
            base + 0x10_0000 * index as u64,
            0x8_0000,
            &name,
            0x4791_A600 + index as u32,
            0x8_1234,
            &version(*parts),
        )
        .cv_record(&codeview);
        dump = dump.add(name).add(codeview).add_module(module);
    }
    let name = DumpString::new("helper.dll", LE);
    let gone = UnloadedModule::new(LE, 0x6000_0000, 0x1_0000, &name, 0x4000_0000, 7);
    dump = dump.add(name).add_unloaded_module(gone);

    // The stack: two values that point nowhere, then the return address into the second module.
    let returns_to = base + 0x10_0000 + 0x4321;
    let mut stack = Section::with_endian(LE);
    for value in [0, 1, returns_to, 0, 0, 0] {
        stack = if wide {
            stack.D64(value)
        } else {
            stack.D32(u32::try_from(value).unwrap())
        };
    }
    let stack = Memory::with_section(stack, sp);
    let ip = base + 0x1_2345;
    let context = if wide {
        amd64_context(LE, ip, sp)
    } else {
        x86_context(LE, u32::try_from(ip).unwrap(), u32::try_from(sp).unwrap())
    };
    let thread = Thread::new(LE, 0x4D8, &stack, &context);
    let place = context.file_offset();
    let size = context.size();
    dump = dump.add(context).add_thread(thread).add_memory(stack);

    let mut exception = Exception::new(LE);
    exception.thread_id = 0x4D8;
    exception.exception_record.exception_code = 0xC000_0005;
    exception.exception_record.exception_address = ip;
    exception.exception_record.number_parameters = 2;
    exception.exception_record.exception_information[1] = 0x18;
    exception.thread_context = (
        u32::try_from(size).unwrap(),
        u32::try_from(place.value().unwrap()).unwrap(),
    );
    dump = dump.add_exception(exception);
    let mut misc = MiscStream::new(LE);
    misc.process_id = Some(1032);
    misc.process_times = Some(MiscFieldsProcessTimes {
        process_create_time: WRITTEN - 86_400,
        ..MiscFieldsProcessTimes::default()
    });
    let mut bytes = dump.add_stream(misc).finish().unwrap();
    bytes[20..24].copy_from_slice(&WRITTEN.to_le_bytes());
    bytes
}

const GDR: [u32; 4] = [6, 0, 6001, 18000];
const FIXED: [u32; 4] = [6, 0, 6001, 22222];

fn package(parts: [u32; 4]) -> [(&'static str, [u32; 4]); 3] {
    // Names as the loader has them: in no particular case.
    [
        ("BFE.DLL", parts),
        ("fwpuclnt.dll", parts),
        ("IKEEXT.dll", parts),
    ]
}

fn fixtures() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        (
            "vista-sp1-x86-gdr.dmp",
            service_host(&VISTA_SP1_X86, package(GDR)),
        ),
        (
            "vista-sp1-x86-fixed.dmp",
            service_host(&VISTA_SP1_X86, package(FIXED)),
        ),
        (
            "server-2008-x64-gdr.dmp",
            service_host(&SERVER_2008_X64, package(GDR)),
        ),
        (
            "server-2008-x64-fixed.dmp",
            service_host(&SERVER_2008_X64, package(FIXED)),
        ),
        (
            "vista-rtm-x86.dmp",
            service_host(&VISTA_RTM_X86, package([6, 0, 6000, 16386])),
        ),
    ]
}

fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from("fixtures/user").join(name);
    fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn the_committed_fixtures_are_what_the_writer_writes() {
    let write = std::env::var_os("KBTRIAGE_WRITE_FIXTURES").is_some();
    for (name, bytes) in fixtures() {
        assert!(bytes.len() < 8192, "{name} has {} bytes", bytes.len());
        if write {
            fs::create_dir_all("fixtures/user").unwrap();
            fs::write(PathBuf::from("fixtures/user").join(name), &bytes).unwrap();
        }
        assert_eq!(fixture(name), bytes, "{name}");
    }
}

/// Versions of the files of the package that the process had loaded.
fn versions(dump: &UserDump) -> Vec<(&str, String)> {
    ["bfe.dll", "fwpuclnt.dll", "ikeext.dll"]
        .iter()
        .filter_map(|file| {
            let module = dump
                .modules
                .iter()
                .find(|module| module.name.eq_ignore_ascii_case(file))?;
            Some((*file, module.version.clone()?))
        })
        .collect()
}

#[test]
fn a_vista_sp1_process_gives_the_versions_of_the_package_files() {
    for (name, version) in [
        ("vista-sp1-x86-gdr.dmp", "6.0.6001.18000"),
        ("vista-sp1-x86-fixed.dmp", "6.0.6001.22222"),
        ("server-2008-x64-gdr.dmp", "6.0.6001.18000"),
        ("server-2008-x64-fixed.dmp", "6.0.6001.22222"),
        ("vista-rtm-x86.dmp", "6.0.6000.16386"),
    ] {
        let dump = user::read(&fixture(name)).unwrap();
        assert_eq!(
            versions(&dump),
            ["bfe.dll", "fwpuclnt.dll", "ikeext.dll"].map(|file| (file, version.to_owned())),
            "{name}"
        );
        assert_eq!(dump.damage, [], "{name}");
    }
}

#[test]
fn the_system_and_its_service_pack_are_read() {
    let facts = |name: &str| {
        let system = user::read(&fixture(name)).unwrap().system.unwrap();
        (
            (system.major, system.minor, system.build),
            system.service_pack,
            system.product_type,
            system.architecture.unwrap(),
            system.processors,
        )
    };
    assert_eq!(
        facts("vista-sp1-x86-gdr.dmp"),
        (
            (6, 0, 6001),
            Some(1),
            Some(1),
            kbtriage::machine::Machine::X86,
            Some(2)
        )
    );
    assert_eq!(
        facts("server-2008-x64-gdr.dmp"),
        (
            (6, 0, 6001),
            Some(1),
            Some(3),
            kbtriage::machine::Machine::X64,
            Some(2)
        )
    );
    assert_eq!(
        facts("vista-rtm-x86.dmp"),
        (
            (6, 0, 6000),
            Some(0),
            Some(1),
            kbtriage::machine::Machine::X86,
            Some(2)
        )
    );
}

#[test]
fn what_crashed_where_and_when_is_read() {
    for (name, base, sp, width) in [
        ("vista-sp1-x86-gdr.dmp", 0x7090_0000u64, 0x8_F000u64, 4),
        ("server-2008-x64-gdr.dmp", 0x7FF_7A0A_0000, 0x1F_F000, 8),
    ] {
        let dump = user::read(&fixture(name)).unwrap();
        assert_eq!(dump.time, Some(u64::from(WRITTEN)));
        assert_eq!(dump.process_id, Some(1032));
        assert_eq!(dump.process_uptime, Some(86_400));
        assert_eq!(dump.threads, Some(1));
        let exception = dump.exception.unwrap();
        assert_eq!(exception.thread, 0x4D8);
        assert_eq!(exception.code, 0xC000_0005);
        assert_eq!(
            exception.name.as_deref(),
            Some("EXCEPTION_ACCESS_VIOLATION")
        );
        assert_eq!(exception.reason, "EXCEPTION_ACCESS_VIOLATION_READ");
        assert_eq!(exception.crash_address, 0x18);
        let crashed_at = UserLocation {
            module: "BFE.DLL".to_owned(),
            offset: 0x1_2345,
        };
        assert_eq!(exception.location.as_ref(), Some(&crashed_at), "{name}");

        let frames: Vec<_> = dump
            .stack
            .iter()
            .map(|f| (f.instruction_pointer, f.stack_pointer, f.trust))
            .collect();
        assert_eq!(
            frames,
            [
                (base + 0x1_2345, sp, Trust::Context),
                (base + 0x10_4321, sp + 3 * width, Trust::Scan),
            ],
            "{name}"
        );
        assert!(!dump.stack_cut);

        let bfe = &dump.modules[0];
        assert_eq!(bfe.path, r"C:\Windows\System32\BFE.DLL");
        assert_eq!((bfe.base, bfe.size), (base, 0x8_0000));
        assert_eq!((bfe.time_date_stamp, bfe.checksum), (0x4791_A600, 0x8_1234));
        let pdb = bfe.pdb.as_ref().unwrap();
        assert_eq!(pdb.name, "package.pdb");
        assert_eq!(pdb.guid_age, "112233445566778801020304050607082");
        assert_eq!(dump.unloaded.len(), 1);
        assert_eq!(dump.unloaded[0].name, "helper.dll");
    }
}

#[test]
fn a_minidump_of_another_system_says_so() {
    let mut bytes = service_host(&VISTA_SP1_X86, package(GDR));
    let dump = user::read(&bytes).unwrap();
    assert_eq!(dump.system.unwrap().platform, OperatingSystem::Windows);
    // PlatformId of Linux in Breakpad's minidumps; it stands 20 bytes into the system information.
    let at = bytes
        .windows(8)
        .position(|w| w == [0x71, 0x17, 0, 0, 2, 0, 0, 0])
        .unwrap();
    bytes[at + 4..at + 8].copy_from_slice(&0x8201u32.to_le_bytes());
    let dump = user::read(&bytes).unwrap();
    assert_eq!(
        dump.system.as_ref().unwrap().platform,
        OperatingSystem::Linux
    );
    assert_eq!(dump.system.as_ref().unwrap().service_pack, None);
}
