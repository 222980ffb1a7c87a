//! Hostile descriptors, register stacks and trap frames of an Itanium: a walk ends, and no frame of it
//! lies beyond the stacks it was read from.
#![no_main]

use std::borrow::Cow;

use kbtriage::bytes::{Budget, Gva, ModuleId};
use kbtriage::machine::ia64::registers as r;
use kbtriage::machine::{Machine, Registers};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::ia64::{Executed, rules};
use kbtriage::unwind::{
    CodeInfo, ExceptionDirectory, FrameData, MOST_FRAMES, ModuleSpan, Name, Walker,
};
use libfuzzer_sys::fuzz_target;

const IMAGE: u64 = 0xE000_0165_9850_0000;
const STACKS: u64 = 0xE000_0165_993B_0000;

/// An image and one piece of memory that both stacks lie in.
struct World<'a> {
    image: &'a [u8],
    stacks: &'a [u8],
    directory: ExceptionDirectory,
}

fn part(bytes: &[u8], from: u64, buf: &mut [u8]) -> bool {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    match from.checked_add(buf.len()).and_then(|end| bytes.get(from..end)) {
        Some(bytes) => buf.copy_from_slice(bytes),
        None => return false,
    }
    true
}

impl Memory for World<'_> {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let there = part(self.stacks, at.0.wrapping_sub(STACKS), buf);
        there.then_some(()).ok_or(Absent::NotInDump)
    }
}

impl CodeInfo for World<'_> {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        let span = ModuleSpan {
            id: ModuleId(0),
            base: IMAGE,
            size: self.image.len() as u64,
        };
        span.contains(address).then_some(span)
    }

    fn is_executable(&self, _: ModuleSpan, _: u32) -> Option<bool> {
        None
    }

    fn read_image(&self, _: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        part(self.image, u64::from(rva), buf)
    }

    fn exception_directory(&self, _: ModuleSpan) -> Option<ExceptionDirectory> {
        Some(self.directory)
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

fuzz_target!(|data: &[u8]| {
    let Some((fixed, rest)) = data.split_at_checked(64) else {
        return;
    };
    let word = |n: usize| u64::from_le_bytes(fixed[n * 8..n * 8 + 8].try_into().expect("eight"));
    for call in [false, true] {
        let _ = rules(rest, Executed { slots: word(0) & 0x3FF, call });
    }
    let (image, stacks) = rest.split_at(rest.len() / 2);
    let inside = |value: u64, bytes: &[u8], align: u64| value % (bytes.len() as u64 + 1) & !(align - 1);
    let world = World {
        image,
        stacks,
        directory: ExceptionDirectory {
            rva: word(1) as u32 & 0xFFF,
            size: (word(1) >> 32) as u32 & 0xFFF,
        },
    };
    let mut start = Registers::new(Machine::Ia64);
    start.set_ip(IMAGE + inside(word(2), image, 16));
    start.set_sp(STACKS + inside(word(3), stacks, 16));
    start.set(r::BSP, STACKS + inside(word(4), stacks, 8));
    start.set(r::IFS, word(5));
    start.set(r::PFS, word(6));
    start.set(r::RP, IMAGE + inside(word(7), image, 16));
    let budget = Budget::new(100_000, None);
    let walker = Walker {
        code: &world,
        memory: &world,
        stacks: &[],
        budget: &budget,
    };
    let walk = walker.walk(&start);
    assert!(walk.frames.len() <= MOST_FRAMES);
    assert!(walk.complete != walk.stopped_because.is_some());
    let rising = walk.frames.windows(2).all(|pair| pair[1].trap.is_some() || pair[1].sp() >= pair[0].sp());
    assert!(rising, "the memory stack is left upward");
});
