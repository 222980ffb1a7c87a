//! The same crash as a small dump: what Windows keeps in one, and as blocks of memory whatever else
//! is asked for.

use super::scene::{Plan, STACKS, Scene};
use crate::support::scenes;
use crate::support::state::{Block, CrashState, Driver, Machine, Stack};

/// The state of the crash for the writer of small dumps, without images.
pub fn state(scene: &mut Scene) -> CrashState {
    let mut s = scenes::machine(Machine::Ia64, 6001);
    let header = scene.header.clone();
    (s.code, s.parameters) = (header.code, header.parameters);
    s.processors = header.processors;
    s.processor_number = 0;
    s.drivers = scene
        .drivers
        .iter()
        .map(|driver| Driver {
            name: driver.name.to_owned(),
            directory: "\\SystemRoot\\system32\\drivers\\",
            base: driver.base,
            size: driver.size,
            time_date_stamp: driver.stamp,
            checksum: driver.check_sum,
        })
        .collect();
    s.thread_stack = (STACKS - 0x8000, STACKS);
    s.stack = Stack {
        low: scene.lowest,
        bytes: scene.bytes(scene.lowest, STACKS - scene.lowest),
    };
    s.backing_store = Some(Stack {
        low: STACKS,
        bytes: scene.bytes(STACKS, scene.store_end - STACKS),
    });
    s.registers.sp = scene.lowest;
    s.context = Some(header.context);
    s
}

/// A fixture: the crash with Windows' own link times, and no image.
pub fn fixture(code: u32) -> CrashState {
    let released = scenes::machine(Machine::Ia64, 6001);
    let mut scene = Scene::new(&Plan {
        code,
        ..Plan::default()
    });
    let mut s = state(&mut scene);
    for driver in &mut s.drivers {
        let known = released
            .drivers
            .iter()
            .find(|known| known.name.eq_ignore_ascii_case(&driver.name));
        if let Some(known) = known {
            driver.time_date_stamp = known.time_date_stamp;
        }
        // The scene's kernel is as long as its code; the header's addresses lie in the data behind it.
        if driver.name.eq_ignore_ascii_case("ntoskrnl.exe") {
            driver.size = 0x14_0000;
        }
    }
    s
}

/// The images of all drivers as blocks of memory.
pub fn add_images(scene: &mut Scene, s: &mut CrashState) {
    for driver in scene.drivers.clone() {
        let bytes = scene.bytes(driver.base, u64::from(driver.size));
        let address = driver.base;
        s.blocks.push(Block { address, bytes });
    }
}
