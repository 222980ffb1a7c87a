//! Signs of causes other than the article's, read where the dump's memory and the code are at hand.
//!
//! Offsets of DEVICE_OBJECT, DRIVER_OBJECT, IRP and IO_STACK_LOCATION: the headers of the Windows Driver Kit,
//! the same from 6.0 to 11. The error record: Common Platform Error Record, UEFI specification, appendix N.

use crate::bytes::{Gva, View};
use crate::facts::{ChangedCode, ClueFacts, FaultBlock, HardwareRecord, Modules, NamedDriver};
use crate::fault::{Crash, Investigation};
use crate::kernel::pool;
use crate::knowledge::bugchecks::{self, DriverParameter, Leads};
use crate::knowledge::windows::{self, Part};
use crate::machine::Machine;
use crate::memory::Memory;

use super::fault::Found;
use super::session::Session;

/// Longest name of a driver read, in bytes of UTF-16.
const LONGEST_NAME: u16 = 512;
/// Sections of an error record that are looked at.
const MOST_SECTIONS: u16 = 16;
/// Bytes of code compared around an address, before and after.
const AROUND: u64 = 32;
/// Places whose code is compared: the fault and its nearest callers.
const PLACES: usize = 4;

/// Windows 10 1809: the first build whose loader rewrites calls in drivers.
const REWRITES_CALLS: u32 = 17_763;

/// `WHEA_ERROR_RECORD_HEADER`: `CPER`, its length and the length of a section's descriptor.
const CPER: u32 = u32::from_le_bytes(*b"CPER");
const RECORD_HEADER: u64 = 128;
const SECTION: u64 = 72;

/// Offsets of the structures that lead to a driver.
struct Objects {
    device_driver: u64,
    driver_start: u64,
    driver_size: u64,
    driver_name: u64,
    irp_location: u64,
    location_device: u64,
}

const OBJECTS_X64: Objects = Objects {
    device_driver: 0x08,
    driver_start: 0x18,
    driver_size: 0x20,
    driver_name: 0x38,
    irp_location: 0xB8,
    location_device: 0x28,
};
const OBJECTS_X86: Objects = Objects {
    device_driver: 0x08,
    driver_start: 0x0C,
    driver_size: 0x10,
    driver_name: 0x1C,
    irp_location: 0x60,
    location_device: 0x14,
};

/// The types that the objects begin with.
const DEVICE: u16 = 3;
const DRIVER: u16 = 4;
const IRP: u16 = 6;

/// Everything but changed code, which needs the files.
pub(super) fn clues(crash: &Crash<'_>, found: &Investigation, modules: &Modules) -> ClueFacts {
    let reading = Reading {
        memory: crash.memory,
        width: crash.machine.pointer_width(),
        objects: match crash.machine.pointer_width() {
            4 => OBJECTS_X86,
            _ => OBJECTS_X64,
        },
        modules,
        machine: crash.machine,
    };
    ClueFacts {
        named: bugchecks::driver_parameters(crash.code, crash.parameters[0].unwrap_or(0))
            .filter_map(|row| reading.named(row, crash.parameters.map(Option::unwrap_or_default)))
            .collect(),
        hardware: match bugchecks::base_code(crash.code) {
            0x124 => reading.hardware(crash.parameters[1].unwrap_or(0)),
            _ => None,
        },
        stack: stack(crash, found),
        block: found
            .access
            .address
            .and_then(|at| pool::block_at(crash.memory, at, crash.machine, crash.build))
            .map(|block| FaultBlock {
                body: block.body,
                size: block.size,
                tag: block.tag.to_string(),
                allocated: block.allocated,
            }),
        changed: None,
    }
}

/// The limits of the stack that the fault ran on, where they are known and not only how much of it the dump
/// holds.
fn stack(crash: &Crash<'_>, found: &Investigation) -> Option<(u64, u64)> {
    let sp = found.context.as_ref()?.registers.sp()?;
    let (low, high) = (crash.thread.limit?, crash.thread.base?);
    // A stack pointer below the limit is what an exhausted stack looks like.
    let near = low.saturating_sub(0x1000);
    (near..high).contains(&sp).then_some((low, high))
}

struct Reading<'a> {
    memory: &'a dyn Memory,
    width: usize,
    objects: Objects,
    modules: &'a Modules,
    machine: Machine,
}

impl Reading<'_> {
    fn pointer(&self, base: u64, offset: u64) -> Option<u64> {
        let at = base.checked_add(offset)?;
        let value = self.memory.read_pointer(Gva(at), self.width).ok()?;
        (value != 0).then_some(value)
    }

    fn is(&self, at: u64, kind: u16) -> bool {
        self.memory.read_u16(Gva(at)) == Ok(kind)
    }

    /// The driver that a parameter leads to.
    fn named(&self, row: DriverParameter, parameters: [u64; 4]) -> Option<NamedDriver> {
        let value = self
            .machine
            .truncate(*parameters.get(usize::from(row.index))?);
        if value == 0 {
            return None;
        }
        let (name, over) = match row.leads {
            // The address alone says it.
            Leads::Code => return None,
            Leads::Name => (self.unicode(value)?, "the name it points to"),
            Leads::Driver => (self.driver(value)?, "the driver's object"),
            Leads::Device => (self.device(value)?, "the device's object"),
            Leads::Irp => (self.irp(value)?, "the device that holds the request"),
        };
        Some(NamedDriver {
            parameter: row.index,
            name,
            over: over.to_owned(),
        })
    }

    /// The driver whose device holds a request: that of the current stack location.
    fn irp(&self, at: u64) -> Option<String> {
        let location = self
            .is(at, IRP)
            .then(|| self.pointer(at, self.objects.irp_location))??;
        self.device(self.pointer(location, self.objects.location_device)?)
    }

    fn device(&self, at: u64) -> Option<String> {
        let driver = self
            .is(at, DEVICE)
            .then(|| self.pointer(at, self.objects.device_driver))??;
        self.driver(driver)
    }

    /// The file of a driver's object: the module at its start, else the name of the object.
    fn driver(&self, at: u64) -> Option<String> {
        if !self.is(at, DRIVER) {
            return None;
        }
        let start = self.pointer(at, self.objects.driver_start);
        let size = at.checked_add(self.objects.driver_size);
        let size = size.and_then(|at| self.memory.read_u32(Gva(at)).ok());
        let module = start
            .filter(|_| size != Some(0))
            .and_then(|start| self.modules.locate(start))
            .and_then(|(id, _)| self.modules.get(id)?.name());
        match module {
            Some(name) => Some(name.to_owned()),
            None => self.unicode(at.checked_add(self.objects.driver_name)?),
        }
    }

    /// The text of a UNICODE_STRING; `None` where it is none.
    fn unicode(&self, at: u64) -> Option<String> {
        let length = self.memory.read_u16(Gva(at)).ok()?;
        let buffer = self.pointer(at, self.width as u64)?;
        if length == 0 || length % 2 != 0 || length > LONGEST_NAME {
            return None;
        }
        let mut bytes = vec![0; usize::from(length)];
        self.memory.read(Gva(buffer), &mut bytes).ok()?;
        let units = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
        let text: String = char::decode_utf16(units).collect::<Result<_, _>>().ok()?;
        (!text.chars().any(char::is_control)).then_some(text)
    }

    /// The hardware's error record at `at`.
    fn hardware(&self, at: u64) -> Option<HardwareRecord> {
        let mut bytes = [0; RECORD_HEADER as usize];
        self.memory.read(Gva(at), &mut bytes).ok()?;
        let view = View(&bytes);
        if view.u32(0)? != CPER {
            return None;
        }
        let count = view.u16(10)?.min(MOST_SECTIONS);
        let mut sections: Vec<String> = Vec::new();
        for index in 0..u64::from(count) {
            let descriptor = at.checked_add(RECORD_HEADER + index * SECTION)?;
            let mut guid = [0; 16];
            let Ok(()) = self
                .memory
                .read(Gva(descriptor.checked_add(16)?), &mut guid)
            else {
                break;
            };
            let name = section(&guid).to_owned();
            if !sections.contains(&name) {
                sections.push(name);
            }
        }
        Some(HardwareRecord { sections })
    }
}

/// What a section of an error record is about, by its type's GUID as it lies in memory.
fn section(guid: &[u8; 16]) -> &'static str {
    // Only the first field of each: no two types share it.
    match u32::from_le_bytes([guid[0], guid[1], guid[2], guid[3]]) {
        0x9876_CCAD | 0xDC3E_A0B0 | 0xE429_FAF1 | 0xE19E_3D16 => "processor",
        0xA5BC_1114 | 0x61EC_04FC => "memory",
        0xD995_E954 => "PCI Express",
        0xC575_3963 => "PCI bus",
        0xEB5E_4685 => "PCI device",
        0x8121_2A96 => "firmware",
        0x5B51_FEF7 | 0x7174_8B5B | 0x036F_84E1 => "DMA remapping",
        _ => "another part",
    }
}

/// Compares the code in memory with the file's at the fault and its nearest certain callers.
///
/// Only where code stays as it was loaded: x64 drivers before Windows 10 1809, whose loader began to rewrite
/// calls. x86 code holds addresses that the loader adjusts, and the kernel patches itself everywhere.
pub(super) fn changed_code(
    session: &Session<'_>,
    found: &Found,
    build: Option<u32>,
) -> Option<ChangedCode> {
    if session.machine != Machine::X64 || build.is_none_or(|build| build >= REWRITES_CALLS) {
        return None;
    }
    let frames = found.stack.iter().flat_map(|stack| {
        let most = stack
            .faulting_activity
            .and_then(|n| usize::try_from(n).ok());
        let certain = stack.frames.iter().take(most.unwrap_or(1));
        certain.take_while(|frame| frame.trust != crate::facts::Trust::Scan)
    });
    let places = found.fault.ip.into_iter().chain(frames.map(|f| f.ip));
    places.take(PLACES).find_map(|at| compare(session, at))
}

/// The first difference between memory and the image around an address.
fn compare(session: &Session<'_>, at: u64) -> Option<ChangedCode> {
    let (id, rva) = session.modules.locate(at)?;
    let file = session.modules.get(id)?.name()?;
    if windows::part(file) == Some(Part::Kernel) {
        return None;
    }
    let resolved = session.resolve(id)?;
    let image = resolved.image.found()?;
    let start = rva.saturating_sub(AROUND);
    let len = usize::try_from(rva.checked_add(AROUND)?.checked_sub(start)?).ok()?;
    let start_rva = u32::try_from(start)
        .ok()
        .filter(|rva| image.is_executable(*rva))?;
    let mut wanted = vec![0; len];
    if !image.read(start_rva, &mut wanted) {
        return None;
    }
    let base = at.checked_sub(rva)?;
    let mut held = vec![0; len];
    session
        .space
        .read(Gva(base.checked_add(start)?), &mut held)
        .ok()?;
    let differ = |(own, file): (&u8, &u8)| own != file;
    let first = held.iter().zip(&wanted).position(&differ)?;
    let bytes = held
        .iter()
        .zip(&wanted)
        .filter(|pair| differ(*pair))
        .count();
    let bits: u32 = held
        .iter()
        .zip(&wanted)
        .map(|(own, file)| (own ^ file).count_ones())
        .sum();
    Some(ChangedCode {
        address: base.checked_add(start)?.checked_add(first as u64)?,
        bytes: u32::try_from(bytes).ok()?,
        bits,
    })
}
