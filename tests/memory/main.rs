//! Memory dumps: physical memory, translation, and what Windows left in it.

#[path = "../support/mod.rs"]
mod support;

mod converted;
mod emulated;
mod entries;
mod itanium;
mod itanium_fixtures;
mod itanium_small;
mod kernel;
mod lab;
mod locks;
mod physical;
mod reports;
mod seeds;
mod translate;
mod worst;

use crate::support::memory_dump::{Header, SparseFile};
use crate::support::memory_machine::{Machine, Mode};
use kbtriage::bytes::{Budget, PagedReader};
use kbtriage::dump::{self, Body, KernelDump, PhysicalBody};

/// A header for a test machine in one run of memory.
fn header(machine: &Machine, dump_type: u32) -> Header {
    Header {
        dump_type,
        build: 6001,
        cr3: machine.cr3,
        kdbg: 0,
        module_list: 0,
        process_list: 0,
        processors: 1,
        code: 0xD1,
        parameters: [8, 2, 1, 0],
        pae: match machine.mode {
            Mode::X86 => Some(false),
            Mode::X86Pae => Some(true),
            _ => None,
        },
        context: Vec::new(),
        runs: vec![(1, machine.end() - 1)],
        patches: Vec::new(),
    }
}

/// Every dump type that holds physical memory.
const TYPES: [u32; 7] = [1, 2, 5, 6, 8, 9, 10];

fn opened(reader: &PagedReader<'_>) -> KernelDump {
    dump::open(reader, &Budget::default()).unwrap()
}

fn body(dump: &KernelDump) -> PhysicalBody {
    match &dump.body {
        Body::Physical(Some(body)) => body.clone(),
        other => panic!("{other:?} {:?}", dump.damage),
    }
}

fn reader(file: &SparseFile) -> PagedReader<'_> {
    PagedReader::open(file).unwrap()
}

fn damage(dump: KernelDump) -> Vec<String> {
    dump.damage.into_vec().into_iter().map(|d| d.what).collect()
}
