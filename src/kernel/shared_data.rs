//! `KUSER_SHARED_DATA`: the page that every kernel keeps its time and version in, at the same address in
//! all of them. Offsets are those of the public symbols; they have not moved since Windows 2000.

use crate::bytes::{Gva, View};
use crate::machine::Machine;
use crate::memory::Memory;

const AT_X64: u64 = 0xFFFF_F780_0000_0000;
const AT_X86: u64 = 0xFFDF_0000;
const INTERRUPT_TIME: usize = 0x08;
const SYSTEM_TIME: usize = 0x14;
const PRODUCT_TYPE: usize = 0x264;
const MAJOR_VERSION: usize = 0x26C;
const MINOR_VERSION: usize = 0x270;
/// Bytes up to the last field read.
const SIZE: usize = 0x274;
/// FILETIMEs of the years 2000 and 2100: a time outside is none.
const TIMES: std::ops::Range<u64> = 125_911_584_000_000_000..157_469_184_000_000_000;
/// Longest time a machine was ever up, in FILETIME units: twenty years.
const LONGEST: u64 = 20 * 366 * 86_400 * 10_000_000;

/// What the page says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedData {
    /// System time, a FILETIME.
    pub time: Option<u64>,
    /// Time since start-up in units of 100 ns.
    pub uptime: Option<u64>,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product: Option<u32>,
    /// Major and minor version of Windows.
    pub version: Option<(u32, u32)>,
}

/// Reads the page; everything is `None` where it is not in the dump.
pub fn read(memory: &dyn Memory, machine: Machine) -> SharedData {
    let at = match machine {
        Machine::X64 => AT_X64,
        Machine::X86 => AT_X86,
        _ => return SharedData::default(),
    };
    let mut bytes = [0; SIZE];
    if memory.read(Gva(at), &mut bytes).is_err() {
        return SharedData::default();
    }
    let view = View(&bytes);
    // A KSYSTEM_TIME is written high word first and read until both high words agree.
    let time = |at: usize| {
        let (low, high, again) = (view.u32(at)?, view.u32(at + 4)?, view.u32(at + 8)?);
        (high == again).then_some(u64::from(high) << 32 | u64::from(low))
    };
    SharedData {
        time: time(SYSTEM_TIME).filter(|time| TIMES.contains(time)),
        uptime: time(INTERRUPT_TIME).filter(|time| (1..LONGEST).contains(time)),
        product: view.u32(PRODUCT_TYPE).filter(|p| (1..=3).contains(p)),
        version: view
            .u32(MAJOR_VERSION)
            .zip(view.u32(MINOR_VERSION))
            .filter(|(major, minor)| (5..=10).contains(major) && *minor < 10),
    }
}
