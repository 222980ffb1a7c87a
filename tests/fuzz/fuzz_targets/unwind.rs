//! Hostile unwind data, code, frame programs and stacks: a walk and a search for the fault end.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../support/world.rs"]
mod world;

fuzz_target!(|data: &[u8]| {
    world::check(data);
});
