//! Server 2008 on an Itanium, crashed in tcpip.sys: kernel, drivers, one thread with both its
//! stacks, the trap frame, and what the kernel leaves for a debugger.

use super::descriptors::Descriptors;
use super::dump::Header;
use super::image::{self, Function};
use super::machine::Machine;
use super::{marker, register_behind};
use crate::support::memory_image::Image;

/// Where the kernel's image lies, virtually and physically.
pub const NT: u64 = 0xE000_0000_8300_0000;
/// Variables of the kernel, as offsets from its image.
const DATA: u64 = 0x6000;
const NT_DATA: u32 = 0x4000;
/// The first of the drivers; they lie 1 MiB apart.
const DRIVERS: u64 = 0xE000_0165_9800_0000;
/// Where the list's entries and names lie.
const POOL: u64 = 0xE000_0166_4000_0000;
/// Where both stacks begin.
pub const STACKS: u64 = 0xE000_0165_993B_4000;
const THREAD: u64 = 0xE000_0166_4010_0000;
/// Frames behind the first: the processors' blocks, and what tables and pages are given out from.
const PCR_FRAME: u64 = 8;
const PAGES: u64 = 16;
/// What every trap frame ends with, an exception's.
const TRAP_MARK: u64 = 0xE0F0_E0F0_E0F0_E000;

/// What RsBSP holds where nobody knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsBsp {
    /// Where r32 lies.
    First,
    /// The end of the frame's registers.
    End,
}

/// Which place names the root of the page tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    ParentTable,
    Register,
    Header,
    HeaderPage,
    Nowhere,
}

/// What a test varies.
#[derive(Clone, Debug)]
pub struct Plan {
    pub code: u32,
    pub tcpip: [u16; 4],
    pub trap_bsp: RsBsp,
    pub context_bsp: RsBsp,
    pub root: Root,
    /// The trap frame's kind.
    pub kind: u64,
    /// Distance of page frames.
    pub stride: u64,
    /// IPSR's privilege level of the interrupted code.
    pub level: u64,
    /// The slot of the instruction that faults.
    pub slot: u64,
    /// The first frame of physical memory that is used.
    pub first: u64,
    /// The code called through a bad pointer.
    pub wild: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            code: 0xD1,
            tcpip: [6, 0, 6001, 18000],
            trap_bsp: RsBsp::End,
            context_bsp: RsBsp::First,
            root: Root::ParentTable,
            kind: 2,
            stride: 1,
            level: 0,
            slot: 1,
            first: 0x2400,
            wild: false,
        }
    }
}

/// One frame as it was laid out: a return address or the faulting bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub ip: u64,
    pub sp: u64,
    pub bsp: u64,
}

/// One loaded driver.
#[derive(Clone, Debug)]
pub struct Driver {
    pub name: &'static str,
    pub base: u64,
    pub size: u32,
    pub stamp: u32,
    pub check_sum: u32,
}

pub struct Scene {
    pub machine: Machine,
    pub header: Header,
    /// Of the faulting code, innermost first.
    pub frames: Vec<Frame>,
    pub drivers: Vec<Driver>,
    pub trap_frame: u64,
    /// Innermost stack pointer and end of the register stack.
    pub lowest: u64,
    pub store_end: u64,
    pub address: u64,
    /// b0 and ar.pfs, where the interrupted code has just been called.
    called: Option<(u64, u64)>,
}

/// A stack that was really there: the driver it ran in, at the last of the drivers' places, and what
/// both stacks held.
pub struct Laboratory<'a> {
    pub image: &'a [u8],
    /// Addresses and bytes.
    pub pieces: Vec<(u64, &'a [u8])>,
    /// Innermost first.
    pub frames: Vec<Frame>,
    /// The frame marker of the innermost.
    pub marker: u64,
}

/// A function that calls: where it begins, its frame.
#[derive(Clone, Copy)]
struct Calls {
    driver: usize,
    begin: u32,
    size: u64,
    locals: u64,
    outputs: u64,
}

const LENGTH: u32 = 0x100;

impl Calls {
    fn marker(&self) -> u64 {
        marker(self.locals + self.outputs, self.locals)
    }

    /// The number of the register that keeps ar.pfs; the return address is in the next.
    fn kept(&self) -> u8 {
        (32 + self.locals - 4) as u8
    }

    fn descriptors(&self) -> Descriptors {
        let frame = Descriptors::default().prologue(9).pfs_gr(0, self.kept());
        let frame = match self.size {
            0 => frame,
            size => frame.frame(1, size),
        };
        frame
            .rp_gr(2, self.kept() + 1)
            .body(u64::from(LENGTH / 16 * 3) - 9)
            .label(1)
    }

    fn returns_to(&self, bases: &[u64]) -> u64 {
        bases[self.driver] + u64::from(self.begin) + 0x60
    }
}

/// The loaded drivers in order: the kernel first.
const NAMES: [&str; 6] = [
    "ntoskrnl.exe",
    "hal.dll",
    "ndis.sys",
    "tcpip.sys",
    "NETIO.SYS",
    "libusb0.sys",
];

/// From the idle loop to the code that faults.
const CHAIN: [Calls; 5] = [
    Calls {
        driver: 0,
        begin: 0x1500,
        size: 32,
        locals: 12,
        outputs: 3,
    },
    Calls {
        driver: 0,
        begin: 0x1700,
        size: 0,
        locals: 20,
        outputs: 4,
    },
    Calls {
        driver: 0,
        begin: 0x1900,
        size: 144,
        locals: 7,
        outputs: 2,
    },
    Calls {
        driver: 3,
        begin: 0x1300,
        size: 64,
        locals: 36,
        outputs: 3,
    },
    Calls {
        driver: 3,
        begin: 0x1100,
        size: 48,
        locals: 9,
        outputs: 3,
    },
];
/// The trap handler and the bug check inside of it.
const HANDLER: Calls = Calls {
    driver: 0,
    begin: 0x1B00,
    size: 0,
    locals: 12,
    outputs: 5,
};
const BUG_CHECK: Calls = Calls {
    driver: 0,
    begin: 0x1D00,
    size: 2704,
    locals: 8,
    outputs: 1,
};

impl Scene {
    pub fn new(plan: &Plan) -> Scene {
        let mut scene = Scene::loaded(plan, None);
        scene.chain(plan);
        scene.kernel(plan);
        scene
    }

    /// A crash on a stack that was really there.
    pub fn of_laboratory(plan: &Plan, laboratory: &Laboratory<'_>) -> Scene {
        let mut scene = Scene::loaded(plan, Some(laboratory.image));
        for (address, bytes) in &laboratory.pieces {
            scene.machine.write(*address, bytes);
        }
        scene.frames = laboratory.frames.clone();
        scene.crash(plan, laboratory.marker);
        scene.kernel(plan);
        scene
    }

    /// The bytes at an address.
    pub fn bytes(&mut self, address: u64, len: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < len {
            let physical = self.machine.physical(address + bytes.len() as u64);
            bytes.extend(self.machine.read_physical(physical).to_le_bytes());
        }
        bytes.truncate(len as usize);
        bytes
    }

    fn loaded(plan: &Plan, last: Option<&[u8]>) -> Scene {
        let mut scene = Scene {
            machine: Machine::new(plan.first + PAGES, plan.stride),
            header: Header {
                dump_type: 2,
                build: 6001,
                directory_table_base: 0,
                debugger_data: NT + DATA + 0x100,
                module_list: NT + DATA + 0x40,
                process_list: NT + DATA + 0x60,
                processors: 2,
                code: plan.code,
                parameters: [0; 4],
                context: Vec::new(),
            },
            frames: Vec::new(),
            drivers: Vec::new(),
            trap_frame: 0,
            lowest: 0,
            store_end: 0,
            address: 0x10,
            called: None,
        };
        let size = u64::from(image::BYTES + NT_DATA);
        scene.machine.pin(NT, plan.first << 13, size);
        scene.load(plan, last);
        // Pages of both stacks that hold nothing are there too.
        for at in (STACKS - 0x8000..STACKS + 0x8000).step_by(0x2000) {
            scene.machine.map(at);
        }
        scene
    }

    fn bases(&self) -> Vec<u64> {
        self.drivers.iter().map(|driver| driver.base).collect()
    }

    /// Loads the images and links them in the list of modules.
    fn load(&mut self, plan: &Plan, last: Option<&[u8]>) {
        for (n, name) in NAMES.into_iter().enumerate() {
            let version = match name {
                "tcpip.sys" | "NETIO.SYS" => plan.tcpip,
                _ => [6, 0, 6001, 18000],
            };
            let image = Image {
                name: name.replace(".sys", ".pdb"),
                wide: true,
                time_date_stamp: 0x4791_9000 + n as u32,
                check_sum: 0x2_0000 + n as u32,
                version,
                lab: "longhorn_rtm.080118-1840".to_owned(),
                guid: [n as u8 + 1; 16],
                age: 1,
            };
            let chain = CHAIN.iter().filter(|calls| calls.driver == n);
            let mut functions: Vec<Function> = chain
                .map(|calls| Function {
                    begin: calls.begin,
                    end: calls.begin + LENGTH,
                    descriptors: Some(match calls.begin {
                        // The idle loop: nothing called it.
                        0x1500 => Descriptors::default()
                            .prologue_saving(0b1000, 0, 3)
                            .frame(1, calls.size)
                            .body(u64::from(LENGTH / 16 * 3) - 3),
                        _ => calls.descriptors(),
                    }),
                })
                .collect();
            if n == 0 {
                functions.push(Function {
                    begin: HANDLER.begin,
                    end: HANDLER.begin + LENGTH,
                    descriptors: Some(
                        Descriptors::default()
                            .prologue(3)
                            .trap(plan.kind as u8)
                            .body(u64::from(LENGTH / 16 * 3) - 3),
                    ),
                });
                functions.push(Function {
                    begin: BUG_CHECK.begin,
                    end: BUG_CHECK.begin + LENGTH,
                    descriptors: Some(BUG_CHECK.descriptors()),
                });
            }
            functions.sort_by_key(|function| function.begin);
            let extra = if n == 0 { NT_DATA } else { 0 };
            let base = if n == 0 {
                NT
            } else {
                DRIVERS + (n as u64) * 0x10_0000
            };
            let bytes = match last.filter(|_| n + 1 == NAMES.len()) {
                Some(bytes) => bytes.to_vec(),
                None => image::bytes(&image, &functions, extra),
            };
            self.machine.write(base, &bytes);
            let field = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let pe = field(0x3C) as usize;
            self.drivers.push(Driver {
                name,
                base,
                size: field(pe + 24 + 56),
                stamp: field(pe + 8),
                check_sum: field(pe + 24 + 64),
            });
        }
        let head = self.header.module_list;
        let entry = |n: usize| match n % (NAMES.len() + 1) {
            0 => head,
            n => POOL + (n as u64) * 0x200,
        };
        for n in 0..=NAMES.len() {
            let at = entry(n);
            self.machine.word(at, entry(n + 1));
            self.machine.word(at + 8, entry(n + NAMES.len()));
        }
        for (n, driver) in self.drivers.clone().into_iter().enumerate() {
            let at = entry(n + 1);
            let text: Vec<u8> = driver
                .name
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect();
            let name = at + 0x100;
            self.machine.write(name, &text);
            for (offset, value) in [
                (0x20, driver.base + 0x5000),
                (0x30, driver.base),
                (0x38, driver.base + 0x4000),
            ] {
                self.machine.word(at + offset, value);
            }
            for (offset, value) in [
                (0x40, driver.size),
                (0x78, driver.check_sum),
                (0x80, driver.stamp),
            ] {
                self.machine.write(at + offset, &u32::to_le_bytes(value));
            }
            for offset in [0x48, 0x58] {
                let length = (text.len() as u16).to_le_bytes();
                self.machine.write(at + offset, &length);
                self.machine.write(at + offset + 2, &length);
                self.machine.word(at + offset + 8, name);
            }
        }
    }

    /// Keeps a caller's marker and return address where the callee's descriptors say.
    fn keep(&mut self, callee: &Calls, bsp: u64, marker: u64, back: u64) {
        let at = register_behind(bsp, i64::from(callee.kept()) - 32);
        self.machine.word(at, marker | 0xC000_0000_0000_0000);
        self.machine.word(register_behind(at, 1), back);
    }

    /// The stack from the idle loop to the code that faults.
    fn chain(&mut self, plan: &Plan) {
        let bases = self.bases();
        // So far up that a page ends within the fourth frame's registers.
        let (mut sp, mut bsp) = (STACKS, STACKS + 0x1E00);
        let mut frames = Vec::new();
        for (n, calls) in CHAIN.iter().enumerate() {
            sp -= calls.size;
            if n > 0 {
                let caller = CHAIN[n - 1];
                bsp = register_behind(bsp, caller.locals as i64);
                self.keep(calls, bsp, caller.marker(), caller.returns_to(&bases));
            }
            frames.push(Frame {
                ip: calls.returns_to(&bases),
                sp,
                bsp,
            });
        }
        let faulting = CHAIN[CHAIN.len() - 1];
        let ip = bases[faulting.driver] + u64::from(faulting.begin) + 0x80;
        frames.last_mut().unwrap().ip = ip;
        frames.reverse();
        self.frames = frames;
        if !plan.wild {
            return self.crash(plan, faulting.marker());
        }
        let back = faulting.returns_to(&bases);
        self.frames[0].ip = back;
        self.called = Some((back, faulting.marker()));
        self.address = 0x20;
        let nowhere = Frame {
            ip: 0x20,
            sp,
            bsp: register_behind(bsp, faulting.locals as i64),
        };
        self.frames.insert(0, nowhere);
        self.crash(plan, super::marker(faulting.outputs, 0));
    }

    /// The trap at the innermost frame, whose marker this is, and the bug check inside of it.
    fn crash(&mut self, plan: &Plan, marker: u64) {
        let bases = self.bases();
        let Frame { ip, sp, bsp } = self.frames[0];
        self.header.parameters = match plan.code {
            0x1E => [0xFFFF_FFFF_C000_0005, ip, 0, self.address],
            0x7E => [0xFFFF_FFFF_C000_0005, ip, sp - 0x1800, sp - 0x1700],
            _ if plan.wild => [self.address, 2, 8, ip],
            _ => [self.address, 2, 0, ip],
        };
        // The trap: all registers of the interrupted frame are covered.
        let trap = sp - 0x340;
        let end = register_behind(bsp, (marker & 0x7F) as i64);
        let stated = match plan.trap_bsp {
            RsBsp::End => end,
            RsBsp::First => bsp,
        };
        self.trap(plan, trap, (sp, ip), marker, stated);
        self.trap_frame = trap;
        if plan.code == 0x7E {
            self.dispatched(plan, ip, marker, stated);
        }
        // The handler's frame begins there; the bug check's is inside of it.
        let check_bsp = register_behind(end, HANDLER.locals as i64);
        let check_sp = trap - BUG_CHECK.size;
        self.keep(
            &BUG_CHECK,
            check_bsp,
            HANDLER.marker(),
            HANDLER.returns_to(&bases),
        );
        let check_end = register_behind(check_bsp, (BUG_CHECK.locals + BUG_CHECK.outputs) as i64);
        self.lowest = check_sp;
        self.store_end = check_end;
        let stated = match plan.context_bsp {
            RsBsp::First => check_bsp,
            RsBsp::End => check_end,
        };
        let here = BUG_CHECK.returns_to(&bases);
        let mut context = vec![0; 0xA70];
        let mut put = |at: usize, value: u64| {
            context[at..at + 8].copy_from_slice(&value.to_le_bytes());
        };
        for (at, value) in [
            (0, 0x8_003F),
            (0x8D0, check_sp),
            (0x980, here),
            (0x9E8, BUG_CHECK.marker()),
            (0x9F0, stated),
            (0x9F8, check_end),
            (0xA00, 3),
            (0xA10, 0x0000_1010_0802_6018),
            (0xA18, here),
            (0xA20, BUG_CHECK.marker() | 1 << 63),
        ] {
            put(at, value);
        }
        self.header.context = context;
    }

    fn trap(&mut self, plan: &Plan, at: u64, (sp, ip): (u64, u64), covered: u64, bsp: u64) {
        // b0 was written over since the function was called, unless it was only just called.
        let called = self.called.unwrap_or((0xE000_0000_0000_0010, marker(3, 1)));
        let words = [
            (0xF0, 0xE000_0165_9870_0000), // gp
            (0x120, 0x8001),               // predicates
            (0x128, self.address),         // r8
            (0x148, sp),
            (0x1F0, called.0),
            (0x208, 3),
            (0x210, bsp),
            (0x218, bsp),
            (0x228, called.1),
            // ic, it, the level, the slot.
            (
                0x230,
                1 << 13 | 1 << 36 | plan.level << 32 | plan.slot << 41,
            ),
            (0x238, ip),
            (0x240, covered | 1 << 63),
            (0x250, 1 << 34 | 1 << 41), // ISR: a read
            (0x258, self.address),
            (0x288, 0xC000_0005),
            (0x298, ip),
            (0x2A0, 2),
            (0x2A8, 0),
            (0x2B0, self.address),
            (0x328, bsp),
            (0x330, TRAP_MARK | plan.kind),
        ];
        for (offset, value) in words {
            self.machine.word(at + offset, value);
        }
    }

    /// The records that the filter of a system thread's exception was given: EXCEPTION_RECORD and
    /// CONTEXT.
    fn dispatched(&mut self, plan: &Plan, ip: u64, marker: u64, bsp: u64) {
        let sp = self.frames[0].sp;
        let (record, context) = (sp - 0x1800, sp - 0x1700);
        for (offset, value) in [
            (0, 0xC000_0005),
            (0x10, ip),
            (0x18, 2),
            (0x20, 0),
            (0x28, self.address),
        ] {
            self.machine.word(record + offset, value);
        }
        for (offset, value) in [
            (0, 0x8_003F),
            (0x8D0, sp),
            (0x980, 0xE000_0000_0000_0010),
            (0x9E8, super::marker(3, 1)),
            (0x9F0, bsp),
            (0x9F8, bsp),
            (0xA10, 1 << 13 | 1 << 36 | plan.slot << 41),
            (0xA18, ip),
            (0xA20, marker | 1 << 63),
        ] {
            self.machine.word(context + offset, value);
        }
    }

    /// The kernel's variables, the processor's block and the thread.
    fn kernel(&mut self, plan: &Plan) {
        let kdbg = self.header.debugger_data;
        let pcr_frame = plan.first + PCR_FRAME;
        let pcr = 0x8000_0000_0000_0000 + (pcr_frame << 13);
        let prcb = pcr + 0xE80;
        let root = self.machine.root;
        let array = NT + DATA + 0x800;
        let parent = NT + DATA + 0x900;
        let lab = NT + DATA + 0xA00;
        for (offset, value) in [
            (0, kdbg),
            (8, kdbg),
            (0x10, u64::from(u32::from_le_bytes(*b"KDBG")) | 0x330 << 32),
            (0x18, NT),
            (0x48, self.header.module_list),
            (0x50, self.header.process_list),
            (0x88, NT + DATA + 0xB00),
            (0x208, lab),
            (0x218, array),
            (0x220, NT + DATA + 0xD00),
            (0x228, NT + DATA + 0xD08),
            (0x268, NT + DATA + 0xC00),
            (0x288, parent),
        ] {
            self.machine.word(kdbg + offset, value);
        }
        let shorts: [(u64, u16); 9] = [
            (0x29E, 0x28),
            (0x2A4, 0x48),
            (0x2A6, 0x50),
            (0x2B0, 0x3A80),
            (0x2B4, 8),
            (0x2BC, 0x140),
            (0x2BE, 0x20),
            (0x2F0, 0x38),
            (0x2F2, 0xBB0),
        ];
        for (offset, value) in shorts {
            self.machine.write(kdbg + offset, &value.to_le_bytes());
        }
        self.machine
            .write(lab, b"6001.18000.ia64fre.longhorn_rtm.080118-1840\0");
        self.machine
            .write(NT + DATA + 0xC00, &0x100u32.to_le_bytes());
        let (code, parameters) = (self.header.code, self.header.parameters);
        for (n, value) in [u64::from(code)].into_iter().chain(parameters).enumerate() {
            self.machine.word(NT + DATA + 0xB00 + n as u64 * 8, value);
        }
        self.machine.word(array, prcb);
        // Another processor, which its freeze found in the idle loop.
        let other = pcr + 0x8000;
        self.machine.write(other, &vec![0; 3 * 0x2000]);
        self.machine.word(other + 0xB18, other + 0xE80);
        self.machine.word(array + 8, other + 0xE80);
        self.machine.write(other + 0xB2B, &[0]);
        let idle = CHAIN[0].returns_to(&self.bases());
        for (offset, value) in [
            (0, 0x8_003F),
            (0x8D0, STACKS - 0x6000),
            (0x980, idle),
            (0x9F0, STACKS + 0x6000),
            (0x9F8, STACKS + 0x6100),
            (0xA10, 1 << 13 | 1 << 36),
            (0xA18, idle),
            (0xA20, CHAIN[0].marker() | 1 << 63),
        ] {
            self.machine.word(other + 0xE80 + 0x140 + offset, value);
        }
        // A driver that was unloaded: a ring of fifty, and how many there were.
        let (ring, last) = (NT + DATA + 0xD00, NT + DATA + 0xD08);
        let entries = POOL + 0x4000;
        self.machine.word(ring, entries);
        self.machine.word(last, 1);
        let name: Vec<u8> = "old.sys"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        self.machine.write(entries, &vec![0; 50 * 0x28]);
        self.machine
            .write(entries, &(name.len() as u16).to_le_bytes());
        self.machine.word(entries + 8, entries + 0x1000);
        self.machine.word(entries + 0x10, DRIVERS + 0x90_0000);
        self.machine.word(entries + 0x18, DRIVERS + 0x90_8000);
        self.machine.write(entries + 0x1000, &name);
        // The processor: its own pages, one behind the other.
        self.machine.write(pcr, &vec![0; 3 * 0x2000]);
        self.machine.word(pcr + 0xB18, prcb);
        self.machine.write(pcr + 0xB2B, &[2]);
        self.machine.word(pcr + 0xC38, 0xFFFF_FF00_0000_0000);
        self.machine.word(prcb + 8, THREAD);
        self.machine.word(prcb + 0x18, THREAD + 0x1000);
        self.machine.word(prcb + 0x38, pcr_frame);
        self.machine.write(prcb + 0x19D6, &[1]);
        let context = self.header.context.clone();
        self.machine.write(prcb + 0x140, &context);
        for (offset, value) in [
            (0x28, STACKS),
            (0x30, STACKS - 0x8000),
            (0x48, STACKS),
            (0x50, STACKS + 0x8000),
            (0x290, STACKS),
        ] {
            self.machine.word(THREAD + offset, value);
        }
        match plan.root {
            Root::ParentTable => self.machine.word(parent, root),
            Root::Register => {
                // The third of the data registers: index, value, page size, address.
                let at = prcb + 0x140 + 0xEB0 + (8 + 2) * 0x20;
                for (n, value) in [2, root << 13 | 0x661, 13 << 2, 0xFFFF_FFFF_FFF0_0000]
                    .into_iter()
                    .enumerate()
                {
                    self.machine.word(at + n as u64 * 8, value);
                }
            }
            Root::Header => self.header.directory_table_base = root << 13,
            Root::HeaderPage => self.header.directory_table_base = root,
            Root::Nowhere => {}
        }
    }
}
