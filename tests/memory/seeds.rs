//! Seeds for the fuzz targets of memory dumps: whole machines, bodies of every type, hives and exports.

use std::path::PathBuf;

use crate::support::itanium::scene::{Plan, Root, Scene};
use crate::support::memory_dump::{Fill, write};
use crate::support::memory_machine::Mode;
use crate::support::memory_registry::Hive;
use crate::support::memory_state::{Size, State};
use crate::{TYPES, locks};

/// Inputs of `translate`: a mode, a page of header fields, then the machine's memory from page 1 on.
fn machine(state: &State, deep: bool) -> Vec<u8> {
    let (mode, header) = (state.machine.mode, &state.header);
    // Bit 0: 32 bits. Bits 1 to 5: the build. Bit 6: search all pages. Bit 7: PAE.
    let kind =
        u8::from(mode.is_32_bit()) | 2 | u8::from(deep) << 6 | u8::from(mode == Mode::X86Pae) << 7;
    let mut page = vec![0; 0x1000];
    for (i, value) in [
        header.cr3,
        header.module_list,
        header.process_list,
        header.kdbg,
    ]
    .into_iter()
    .enumerate()
    {
        page[i * 8..i * 8 + 8].copy_from_slice(&value.to_le_bytes());
    }
    page[0x20..0x24].copy_from_slice(&header.code.to_le_bytes());
    let width = mode.pointer();
    for (i, value) in header.parameters.iter().enumerate() {
        let at = 0x28 + i * width;
        page[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    }
    page[0x100..0x100 + header.context.len()].copy_from_slice(&header.context);
    let mut bytes = vec![kind];
    bytes.extend(page);
    for pfn in 1..state.machine.end() {
        match state.machine.pages.get(&pfn) {
            Some(page) => bytes.extend(page),
            None => bytes.resize(bytes.len() + 0x1000, 0),
        }
    }
    bytes
}

/// Inputs of `ia64_memory`: a page of header fields, then memory from page 1 on.
fn itanium(root: Root) -> Vec<u8> {
    let scene = Scene::new(&Plan {
        root,
        first: 1,
        ..Plan::default()
    });
    let header = &scene.header;
    let mut page = vec![0; 0x2000];
    let mut put = |at: usize, value: &[u8]| page[at..at + value.len()].copy_from_slice(value);
    put(0, &header.directory_table_base.to_le_bytes());
    put(8, &header.module_list.to_le_bytes());
    put(16, &header.process_list.to_le_bytes());
    put(24, &header.code.to_le_bytes());
    for (n, parameter) in header.parameters.iter().enumerate() {
        put(32 + n * 8, &parameter.to_le_bytes());
    }
    put(64, &header.debugger_data.to_le_bytes());
    put(0x100, &header.context);
    let mut bytes = page;
    for frame in 1..scene.machine.end() {
        match scene.machine.pages.get(&frame) {
            Some(page) => bytes.extend(page),
            None => bytes.resize(bytes.len() + 0x2000, 0),
        }
    }
    bytes
}

#[test]
fn seeds() {
    let Some(folder) = std::env::var_os("KBTRIAGE_SEEDS").map(PathBuf::from) else {
        println!("SKIPPED: KBTRIAGE_SEEDS names no folder");
        return;
    };
    let save = |target: &str, name: String, bytes: Vec<u8>| {
        let folder = folder.join(target);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    for root in [Root::ParentTable, Root::Register, Root::Header] {
        save("ia64_memory", format!("{root:?}"), itanium(root));
    }
    let size = Size {
        drivers: 4,
        processors: 2,
        first_pfn: 1,
        stride: 1,
    };
    for mode in [Mode::X86, Mode::X86Pae, Mode::X64] {
        let mut state = State::new(mode, size);
        Hive::system(128_606_795_000_000_000, Some(1), "ALPHA").load(&mut state);
        for deep in [false, true] {
            let bytes = machine(&state, deep);
            assert!(bytes.len() < 1 << 20, "{mode:?}: {} bytes", bytes.len());
            save("translate", format!("{mode:?}-{deep}"), bytes);
        }
        let small = crate::support::memory_machine::Machine::new(mode, 1, 2);
        for dump_type in TYPES {
            if mode.is_32_bit() && dump_type >= 8 {
                continue;
            }
            let file = write(&small, &crate::header(&small, dump_type), Fill::All);
            // The target takes the byte modulo 12; bit 7 says 32 bits.
            let kind = dump_type as u8 + if mode.is_32_bit() { 0x84 } else { 0 };
            let mut bytes = vec![kind];
            bytes.extend(file.to_vec());
            save("physical", format!("{mode:?}-{dump_type}"), bytes);
        }
    }
    save(
        "translate",
        "forwarding".to_owned(),
        machine(&locks::forwarding_in(size).state, false),
    );
    let hive = Hive::system(128_606_795_000_000_000, Some(1), "ALPHA").file();
    save("registry", "hive".to_owned(), hive);
    let text = "Windows Registry Editor Version 5.00\r\n\r\n[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\
                \\Services\\Tcpip\\Parameters]\r\n\"EnableMulticastForwarding\"=dword:00000001\r\n";
    save("registry", "reg".to_owned(), text.as_bytes().to_vec());
    let text = "Querying active state...\r\n\r\nGeneral Global Parameters\r\n---------------------------------------------\r\n\
                Multicast Forwarding                : enabled\r\n";
    save("registry", "netsh".to_owned(), text.as_bytes().to_vec());
}
