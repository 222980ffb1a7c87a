//! How long a walk and a search take: `cargo bench --bench unwind`.
//!
//! Prints the median and the fastest of many rounds. A 40-frame x64 walk with the image at hand
//! is meant to stay under 100 µs, the search of a 24 KB stack for the fault under 200 µs.

#[path = "../support/mod.rs"]
mod support;

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use kbtriage::bytes::{Budget, ModuleId};
use kbtriage::fault::{Crash, Snapshot, find_context};
use kbtriage::kernel::processor::{ProcessorState, ThreadStack};
use kbtriage::machine::{Machine, Reg, Registers};
use kbtriage::unwind::{CodeInfo, ExceptionDirectory, FrameData, ModuleSpan, Name, Walker};
use support::unwind::chain::{Stack, call_sites, chain};
use support::unwind::{Image, store};

fn measure(what: &str, rounds: usize, mut f: impl FnMut()) {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{what}: median {:.1} µs, fastest {:.1} µs",
        times[rounds / 2].as_secs_f64() * 1e6,
        times[0].as_secs_f64() * 1e6
    );
}

fn walk_of_forty_frames() {
    let Some(store) = store() else { return };
    let path = store.join("tcpip.sys/8CA873CB2eb000/tcpip.sys");
    let image = Image::load(&path, 0xFFFF_F880_0160_0000);
    let sites = call_sites(&image, 97);
    let chain = chain(&image, &sites[..40], 0xFFFF_F880_0900_0000);
    let mut start = Registers::new(Machine::X64);
    for reg in (0..16).map(Reg) {
        start.set(reg, 0);
    }
    start.set_ip(chain.ips[0]);
    start.set_sp(chain.sps[0]);
    measure("40-frame x64 walk", 2000, || {
        let budget = Budget::default();
        let walker = Walker {
            code: &image,
            memory: &chain.stack,
            stacks: &[],
            budget: &budget,
        };
        let walk = walker.walk(&start);
        assert_eq!(walk.frames.len(), 40);
        black_box(walk);
    });
}

/// A 24 KB stack of addresses inside the kernel, the fault's trap frame near its top.
fn search_of_a_stack() {
    let base = 0xFFFF_F880_0900_0000u64;
    let kernel = 0xFFFF_F800_0180_0000u64;
    let mut bytes = vec![0u8; 0x6000];
    for (n, slot) in bytes.chunks_exact_mut(8).enumerate() {
        let value = kernel + (n as u64 * 0x151) % 0x40_0000;
        slot.copy_from_slice(&value.to_le_bytes());
    }
    let (ip, at) = (0xFFFF_F880_0161_2345u64, 0x5800usize);
    let address = base + at as u64;
    for (n, word) in [ip, 0x10, 0x10246, address + 0x28, 0x18].iter().enumerate() {
        bytes[at + n * 8..at + n * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    bytes[at - 0x168 + 0xD0..at - 0x168 + 0xD8].copy_from_slice(&8u64.to_le_bytes());
    let memory = Stack { base, bytes };
    let crash = Crash {
        machine: Machine::X64,
        build: Some(6001),
        code: 0xD1,
        parameters: [8, 2, 1, ip].map(Some),
        context: None,
        stack: Some((base, base + 0x6000)),
        memory: &memory,
        code_info: &NoCode,
        kernel: Some(ModuleSpan {
            id: ModuleId(0),
            base: kernel,
            size: 0x60_0000,
        }),
        processor: ProcessorState::default(),
        thread: ThreadStack::default(),
    };
    measure("fault search on a 24 KB stack", 2000, || {
        let snapshot = Snapshot::take(crash.memory, base, base + 0x6000);
        let context = find_context(&crash, &snapshot).expect("the trap frame");
        assert_eq!(context.registers.ip(), Some(ip));
        black_box(context);
    });
}

fn main() {
    walk_of_forty_frames();
    search_of_a_stack();
}

/// A machine of which no code is known.
struct NoCode;

impl CodeInfo for NoCode {
    fn module_at(&self, _: u64) -> Option<ModuleSpan> {
        None
    }

    fn is_executable(&self, _: ModuleSpan, _: u32) -> Option<bool> {
        None
    }

    fn read_image(&self, _: ModuleSpan, _: u32, _: &mut [u8]) -> bool {
        false
    }

    fn exception_directory(&self, _: ModuleSpan) -> Option<ExceptionDirectory> {
        None
    }

    fn frame_data(&self, _: u64) -> Option<FrameData<'_>> {
        None
    }

    fn name_at(&self, _: u64) -> Option<Name<'_>> {
        None
    }

    fn module_name(&self, _: ModuleSpan) -> Option<Cow<'_, str>> {
        None
    }
}
