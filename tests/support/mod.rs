//! A writer of kernel crash dumps for the tests: a description of a crash becomes the bytes of a dump.
//!
//! It is written from the format page alone and shares nothing with the reader under test: every
//! offset below is stated a second time on purpose, so that an error has to be made twice to hide.
//! All machines, processes and third-party drivers named here are invented.
#![allow(dead_code)] // each integration test takes the part it needs

/// A test of what only `unix` or only `windows` has: elsewhere the runner lists it as ignored, with the reason.
#[allow(unused_macros)] // not every test program has such a test
macro_rules! only_on {
    ($system:ident, $name:ident, $reason:literal) => {
        #[cfg(not($system))]
        #[test]
        #[ignore = $reason]
        fn $name() {}
    };
}
#[allow(unused_imports)]
pub(crate) use only_on;

pub mod bytes;
pub mod catalogue;
pub mod context;
pub mod facts;
pub mod header;
pub mod itanium;
pub mod kernel;
pub mod layouts;
pub mod mdmp_fields;
pub mod mdmp_oracle;
pub mod memory_dump;
pub mod memory_image;
pub mod memory_machine;
pub mod memory_registry;
pub mod memory_state;
pub mod mutate;
pub mod prng;
pub mod published;
pub mod run;
pub mod scenes;
pub mod share;
pub mod shared;
pub mod stack;
pub mod state;
pub mod symbol_cabinets;
pub mod symbol_pair;
pub mod symbol_seeds;
#[cfg(feature = "online")]
pub mod symbol_server;
pub mod symbols;
pub mod triage;
pub mod unwind;
pub mod world;

pub use state::CrashState;

/// The bytes of the dump that `state` describes.
pub fn write(state: &CrashState) -> Vec<u8> {
    match state.dump_type {
        1 => header::complete(state),
        2 => header::summary(state),
        4 => triage::write(state),
        5 | 6 => header::bitmap(state),
        8..=10 => header::ranges(state),
        _ => header::header(state).into_bytes(),
    }
}
