//! Walks over stacks of real functions whose frames an independent implementation measured.

use crate::support::unwind::chain::{Stack, call_sites, chain};
use crate::support::unwind::{Image, store};
use kbtriage::bytes::Budget;
use kbtriage::bytes::Gva;
use kbtriage::facts::{Module, Modules};
use kbtriage::machine::{Machine, Registers};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::{CodeInfo, MemoryCode, Trust, Walker};

const STACK: u64 = 0xFFFF_F880_0900_0000;

#[test]
fn stacks_of_real_driver_functions_are_walked_frame_by_frame() {
    let Some(store) = store() else { return };
    let path = store.join("tcpip.sys/8CA873CB2eb000/tcpip.sys");
    let image = Image::load(&path, 0xFFFF_F880_0160_0000);
    let sites = call_sites(&image, 1);
    assert!(sites.len() > 4000, "{} call sites", sites.len());
    let mut walked = 0;
    for part in sites.chunks(40) {
        let chain = chain(&image, part, STACK);
        let mut start = Registers::new(Machine::X64);
        start.set_ip(chain.ips[0]);
        start.set_sp(chain.sps[0]);
        for reg in [3, 5, 6, 7, 12, 13, 14, 15] {
            start.set(kbtriage::machine::Reg(reg), 0);
        }
        let walk = Walker {
            code: &image,
            memory: &chain.stack,
            stacks: &[],
            budget: &Budget::default(),
        }
        .walk(&start);
        let ips: Vec<u64> = walk.frames.iter().filter_map(|f| f.ip()).collect();
        let sps: Vec<u64> = walk.frames.iter().filter_map(|f| f.sp()).collect();
        assert_eq!(ips, chain.ips, "{:?}", walk.stopped_because);
        assert_eq!(sps, chain.sps);
        assert!(walk.complete);
        assert_eq!(walk.faulting_activity, part.len());
        assert!(
            walk.frames[1..]
                .iter()
                .all(|f| f.trust == Trust::UnwindInfo)
        );
        walked += ips.len();
    }
    println!("{walked} frames of real functions");
}

/// A stack and an image in one address space, as a memory dump has them.
struct Both<'a>(&'a Stack, &'a Stack);

impl Memory for Both<'_> {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        self.0.read(at, buf).or_else(|_| self.1.read(at, buf))
    }
}

#[test]
fn an_image_in_the_dumps_own_memory_serves_as_well_as_its_file() {
    let Some(store) = store() else { return };
    let path = store.join("tcpip.sys/8CA873CB2eb000/tcpip.sys");
    let image = Image::load(&path, 0xFFFF_F880_0160_0000);
    let sites = call_sites(&image, 211);
    let chain = chain(&image, &sites, STACK);
    let loaded = Stack {
        base: image.span.base,
        bytes: image.bytes.clone(),
    };
    let memory = Both(&chain.stack, &loaded);
    let modules = Modules::from(vec![Module {
        name: Some("tcpip.sys".to_owned()),
        base: image.span.base,
        size: image.span.size as u32,
        ..Module::default()
    }]);
    let code = MemoryCode::new(&modules, &memory);
    assert_eq!(code.exception_directory(image.span), Some(image.directory));
    for rva in [0x10, 0x1000, (chain.ips[0] - image.span.base) as u32] {
        let known = code.is_executable(image.span, rva);
        assert_eq!(known, image.is_executable(image.span, rva));
    }
    let mut start = Registers::new(Machine::X64);
    start.set_ip(chain.ips[0]);
    start.set_sp(chain.sps[0]);
    let walk = Walker {
        code: &code,
        memory: &memory,
        stacks: &[],
        budget: &Budget::default(),
    }
    .walk(&start);
    let ips: Vec<u64> = walk.frames.iter().filter_map(|f| f.ip()).collect();
    assert_eq!(ips, chain.ips, "{:?}", walk.stopped_because);
}
