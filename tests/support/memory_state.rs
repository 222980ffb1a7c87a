//! What a Windows kernel of build 6001 leaves in memory, for tests of memory dumps.
//!
//! Offsets are those of the format page, stated a second time; nothing is shared with the reader.
//! Drivers other than Windows' own are invented.
#![allow(dead_code)]

use super::memory_dump::Header;
use super::memory_image::{self, Image};
use super::memory_machine::{Machine, Mode};

/// Offsets that differ by width.
struct Offsets {
    current_thread: u64,
    idle_thread: u64,
    context: u64,
    cr3: u64,
    cr8: Option<u64>,
    dpc_stack: u64,
    dpc_active: u64,
    saved_irql: u64,
    dpc_time: (u64, u64),
    prcb_size: u16,
    stack_limit: u64,
    stack_base: u64,
    thread_process: u64,
    image_file_name: u64,
    process_links: u64,
    process_id: u64,
    object_table: u64,
}

static X64: Offsets = Offsets {
    current_thread: 0x08,
    idle_thread: 0x18,
    context: 0x120,
    cr3: 0x50,
    cr8: Some(0xE0),
    dpc_stack: 0x3440,
    dpc_active: 0x345E,
    saved_irql: 0x3799,
    dpc_time: (0x37A0, 0x37A4),
    prcb_size: 0x3B20,
    stack_limit: 0x30,
    stack_base: 0x250,
    thread_process: 0x68,
    image_file_name: 0x238,
    process_links: 0xE8,
    process_id: 0xE0,
    object_table: 0x160,
};

static X86: Offsets = Offsets {
    current_thread: 0x04,
    idle_thread: 0x0C,
    context: 0x1C,
    cr3: 0x2F0,
    cr8: None,
    dpc_stack: 0x1A08,
    dpc_active: 0x1A1A,
    saved_irql: 0x5C5,
    dpc_time: (0x5B4, 0x5DC),
    prcb_size: 0x2008,
    stack_limit: 0x2C,
    stack_base: 0x174,
    thread_process: 0x48,
    image_file_name: 0x14C,
    process_links: 0xA0,
    process_id: 0x9C,
    object_table: 0xDC,
};

/// A driver of the state.
#[derive(Clone, Debug)]
pub struct Driver {
    pub file: String,
    pub base: u64,
    pub image: Image,
    /// Address of its list entry.
    pub entry: u64,
}

/// The state: a machine and what a test may ask about it.
pub struct State {
    pub machine: Machine,
    pub header: Header,
    pub drivers: Vec<Driver>,
    pub kdbg: u64,
    pub module_list: u64,
    /// Address of each processor's block and of the thread it runs.
    pub prcbs: Vec<u64>,
    pub threads: Vec<u64>,
    /// The faulting instruction and the trap frame that holds it.
    pub fault_ip: u64,
    pub trap_frame: u64,
    /// Instruction and stack pointer of each processor.
    pub contexts: Vec<(u64, u64)>,
    pub process: u64,
    /// The System process.
    pub system: u64,
}

/// How large a state is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub drivers: usize,
    pub processors: u32,
    pub first_pfn: u64,
    pub stride: u64,
}

pub const SMALL: Size = Size {
    drivers: 6,
    processors: 2,
    first_pfn: 0x20,
    stride: 3,
};

pub const BUILD_LAB: &str = "6001.18000.fixture.longhorn_rtm.080118-1840";

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The address of a driver's image.
fn driver_base(mode: Mode, index: usize) -> u64 {
    match (mode, index) {
        (_, 0) => mode.kernel(0),
        (Mode::X86 | Mode::X86Pae, _) => 0x8290_0000 + index as u64 * 0x8000,
        (_, _) => 0xFFFF_FA60_0040_0000 + index as u64 * 0x1_0000,
    }
}

/// Memory of the kernel's own variables, by number of a page.
pub fn variable(mode: Mode, page: u64) -> u64 {
    mode.kernel(0x10_0000 + page * 0x1000)
}

/// An address in nonpaged pool.
pub fn pool(mode: Mode, offset: u64) -> u64 {
    match mode {
        Mode::X86 | Mode::X86Pae => 0x8460_0000 + offset,
        _ => 0xFFFF_FA80_0100_0000 + offset,
    }
}

/// A context with flags, instruction and stack pointer and one distinctive register.
fn context(mode: Mode, ip: u64, sp: u64, mark: u64) -> Vec<u8> {
    let mut c = vec![0; if mode.is_32_bit() { 0x2CC } else { 0x4D0 }];
    let mut put = |at: usize, data: &[u8]| c[at..at + data.len()].copy_from_slice(data);
    if mode.is_32_bit() {
        put(0, &0x1_003Fu32.to_le_bytes());
        put(0xB0, &(mark as u32).to_le_bytes());
        put(0xB8, &(ip as u32).to_le_bytes());
        put(0xBC, &8u32.to_le_bytes());
        put(0xC0, &0x246u32.to_le_bytes());
        put(0xC4, &(sp as u32).to_le_bytes());
        put(0xC8, &0x10u32.to_le_bytes());
    } else {
        put(0x30, &0x10_001Fu32.to_le_bytes());
        put(0x38, &0x10u16.to_le_bytes());
        put(0x42, &0x18u16.to_le_bytes());
        put(0x44, &0x246u32.to_le_bytes());
        put(0x78, &mark.to_le_bytes());
        put(0x98, &sp.to_le_bytes());
        put(0xF8, &ip.to_le_bytes());
    }
    c
}

/// A trap frame of a kernel-mode fault at `frame`.
fn trap_frame(machine: &mut Machine, frame: u64, ip: u64, address: u64) {
    if machine.mode.is_32_bit() {
        for (at, value) in [
            (0x34, 0x23u32),
            (0x38, 0x23),
            (0x50, 0x30),
            (0x04, ip as u32),
            (0x60, 0x8000_0000),
            (0x68, ip as u32),
            (0x6C, 8),
            (0x70, 0x1_0246),
        ] {
            machine.put_u32(frame + at, value);
        }
        return;
    }
    let hardware = frame + 0x168;
    machine.put_u64(frame + 0xD0, address);
    for (at, value) in [
        (0, ip),
        (8, 0x10),
        (0x10, 0x1_0246),
        (0x18, hardware + 0x28),
        (0x20, 0x18),
    ] {
        machine.put_u64(hardware + at, value);
    }
}

impl State {
    pub fn new(mode: Mode, size: Size) -> State {
        let o = if mode.is_32_bit() { &X86 } else { &X64 };
        let w = mode.pointer() as u64;
        let mut m = Machine::new(mode, size.first_pfn, size.stride);
        let drivers = drivers(mode, size.drivers);
        for driver in &drivers {
            m.put(driver.base, &driver.image.bytes());
        }
        let module_list = variable(mode, 0);
        link_drivers(&mut m, module_list, &drivers);
        let kdbg = variable(mode, 1);
        let code = drivers[2].base + u64::from(memory_image::CODE);
        let fault_ip = code + 0x123;

        // The process, which is the only one besides System.
        let head = variable(mode, 0) + 0x100;
        let process = pool(mode, 0x10_0000);
        let system = pool(mode, 0x11_0000);
        for (at, name, id) in [(system, "System", 4), (process, "svchost.exe", 912)] {
            m.put(at + o.image_file_name, name.as_bytes());
            m.put_ptr(at + o.process_id, id);
        }
        let links = [head, system + o.process_links, process + o.process_links];
        for i in 0..3 {
            m.put_ptr(links[i], links[(i + 1) % 3]);
            m.put_ptr(links[i] + w, links[(i + 2) % 3]);
        }

        let mut state = State {
            header: header(&m, size.processors),
            machine: m,
            drivers,
            kdbg,
            module_list,
            prcbs: Vec::new(),
            threads: Vec::new(),
            fault_ip,
            trap_frame: 0,
            contexts: Vec::new(),
            process,
            system,
        };
        for number in 0..size.processors {
            state.processor(o, number);
        }
        state.debugger_data(o, size.processors);
        state.unloaded();
        let (ip, sp) = state.contexts[1.min(state.contexts.len() - 1)];
        state.header.context = context(mode, ip, sp, 0x1111);
        state.header.parameters = [8, 2, 1, fault_ip];
        state.header.kdbg = kdbg;
        state.header.module_list = module_list;
        state.header.process_list = head;
        state.refresh();
        state
    }

    /// The number of the processor that crashed.
    pub fn crashed(&self) -> usize {
        1.min(self.contexts.len() - 1)
    }

    /// Brings the runs of memory up to date with the pages in use, and the kernel's copy of the bug check
    /// with the header's.
    pub fn refresh(&mut self) {
        let mode = self.machine.mode;
        let at = variable(mode, 2) + 0x100;
        let words = [u64::from(self.header.code)]
            .into_iter()
            .chain(self.header.parameters);
        for (i, value) in (0u64..).zip(words) {
            self.machine.put_ptr(at + i * mode.pointer() as u64, value);
        }
        self.header.runs = vec![(1, self.machine.end() - 1)];
    }

    fn processor(&mut self, o: &Offsets, number: u32) {
        let mode = self.machine.mode;
        let n = u64::from(number);
        let m = &mut self.machine;
        let prcb = mode.kernel(0x20_0000 + n * 0x8000 + 0x180);
        let thread = pool(mode, 0x20_0000 + n * 0x1000 + 0x60);
        let idle = pool(mode, 0x30_0000 + n * 0x1000 + 0x60);
        let limit = pool(mode, 0x40_0000 + n * 0x10_000);
        let base = limit + if mode.is_32_bit() { 0x3000 } else { 0x6000 };
        let sp = base - 0x1000;
        m.put(limit, &vec![0; (base - limit) as usize]);
        m.put(prcb, &vec![0; usize::from(o.prcb_size)]);
        m.put(thread, &[0; 0x300]);
        let nt = self.drivers[0].base + u64::from(memory_image::CODE);
        let ip = nt + 0x40 + n * 0x10;
        m.put(prcb + o.context, &context(mode, ip, sp, 0x1111 * (n + 1)));
        m.put_ptr(prcb + o.current_thread, thread);
        m.put_ptr(prcb + o.idle_thread, idle);
        m.put(
            prcb + if mode.is_32_bit() { 0x10 } else { 0x04 },
            &[number as u8],
        );
        m.put_ptr(prcb + o.dpc_stack, pool(mode, 0x50_0000 + n * 0x10_000));
        let cr3 = m.cr3;
        m.put_ptr(prcb + o.cr3, cr3);
        if let Some(cr8) = o.cr8 {
            m.put_ptr(prcb + cr8, 2);
        } else {
            // The KPCR around it: SelfPcr, Prcb, Irql.
            let pcr = prcb - 0x120;
            m.put_ptr(pcr + 0x1C, pcr);
            m.put_ptr(pcr + 0x20, prcb);
            m.put(pcr + 0x24, &[if number == 1 { 31 } else { 2 }]);
        }
        m.put(prcb + o.dpc_active, &[u8::from(number == 0)]);
        m.put(prcb + o.saved_irql, &[2]);
        m.put_u32(prcb + o.dpc_time.0, 7 + number);
        m.put_u32(prcb + o.dpc_time.1, 20);
        m.put_ptr(thread + o.stack_limit, limit);
        m.put_ptr(thread + o.stack_base, base);
        m.put_ptr(thread + o.thread_process, self.process);
        // A return address into tcpip.sys, behind a call, on every stack.
        let code = self.drivers[2].base + u64::from(memory_image::CODE);
        m.put(code + 0x200 - 5, &[0xE8, 0, 0, 0, 0]);
        m.put_ptr(sp + 0x20, code + 0x200);
        if number == 1 {
            self.trap_frame = sp + 0x100;
            trap_frame(m, sp + 0x100, self.fault_ip, 8);
        }
        self.prcbs.push(prcb);
        self.threads.push(thread);
        self.contexts.push((ip, sp));
    }

    fn debugger_data(&mut self, o: &Offsets, processors: u32) {
        let mode = self.machine.mode;
        let m = &mut self.machine;
        let w = mode.pointer() as u64;
        let (k, vars) = (self.kdbg, variable(mode, 2));
        m.put(k, &[0; 0x330]);
        m.put(k + 0x10, b"KDBG");
        m.put_u32(k + 0x14, 0x330);
        for (at, value) in [
            (0x18, self.drivers[0].base),
            (0x48, self.module_list),
            (0x50, self.module_list + 0x100),
            (0x88, vars + 0x100),
            (0x120, vars + 0x180),
            (0x1B8, vars + 0x190),
            (0x208, vars + 0x200),
            (0x218, vars + 0x300),
            (0x220, vars + 0x1A0),
            (0x228, vars + 0x1B0),
            (0x268, vars + 0x1C0),
        ] {
            m.put_u64(k + at, value);
        }
        for (at, value) in [
            (0x29E, 0x28u16),
            (0x2A0, o.thread_process as u16),
            (0x2A8, if w == 4 { 0x270 } else { 0x3E8 }),
            (0x2B0, o.prcb_size),
            (0x2B2, o.dpc_active as u16),
            (0x2B4, o.current_thread as u16),
            (0x2BC, o.context as u16),
            (0x2BE, if w == 4 { 0x10 } else { 0x04 }),
            (0x2C0, if w == 4 { 0x288 } else { 0x450 }),
        ] {
            m.put(k + at, &value.to_le_bytes());
        }
        for (i, value) in [0xD1, 8, 2, 1, self.fault_ip].into_iter().enumerate() {
            m.put_ptr(vars + 0x100 + i as u64 * w, value);
        }
        m.put_ptr(vars + 0x180, mode.paged_pool());
        m.put(vars + 0x200, BUILD_LAB.as_bytes());
        m.put(vars + 0x200 + BUILD_LAB.len() as u64, &[0]);
        for number in 0..u64::from(processors) {
            m.put_ptr(vars + 0x300 + number * w, self.prcbs[number as usize]);
        }
        m.put_u32(vars + 0x1C0, 0x100);
    }

    /// Two drivers were unloaded; the ring has room for fifty.
    fn unloaded(&mut self) {
        let mode = self.machine.mode;
        let m = &mut self.machine;
        let w = mode.pointer() as u64;
        let (vars, ring) = (variable(mode, 2), pool(mode, 0x60_0000));
        let size = if w == 4 { 0x18 } else { 0x28 };
        m.put(ring, &vec![0; 50 * size]);
        m.put_ptr(vars + 0x1A0, ring);
        m.put_u32(vars + 0x1B0, 2);
        for (i, name) in ["crashdmp.sys", "dump_fix.sys"].into_iter().enumerate() {
            let at = ring + (i * size) as u64;
            let text = ring + 0x1000 + i as u64 * 0x40;
            m.put(text, &utf16(name));
            m.put(at, &(name.len() as u16 * 2).to_le_bytes());
            m.put(at + 2, &(name.len() as u16 * 2).to_le_bytes());
            m.put_ptr(at + w, text);
            let start = driver_base(mode, 1) + 0x100_0000 + i as u64 * 0x10_000;
            m.put_ptr(at + 2 * w, start);
            m.put_ptr(at + 3 * w, start + 0x9000);
        }
    }
}

fn header(m: &Machine, processors: u32) -> Header {
    Header {
        dump_type: 1,
        build: 6001,
        cr3: m.cr3,
        kdbg: 0,
        module_list: 0,
        process_list: 0,
        processors,
        code: 0xD1,
        parameters: [0; 4],
        pae: match m.mode {
            Mode::X86 => Some(false),
            Mode::X86Pae => Some(true),
            _ => None,
        },
        context: Vec::new(),
        runs: Vec::new(),
        patches: Vec::new(),
    }
}

fn drivers(mode: Mode, count: usize) -> Vec<Driver> {
    (0..count)
        .map(|i| {
            let (file, revision) = match i {
                0 => ("ntoskrnl.exe".to_owned(), 18000),
                1 => ("hal.dll".to_owned(), 18000),
                2 => ("tcpip.sys".to_owned(), 18063),
                3 => ("netio.sys".to_owned(), 18000),
                n => (format!("fixdrv{n:03}.sys"), 18000),
            };
            let stem = file.split('.').next().unwrap().to_owned();
            Driver {
                base: driver_base(mode, i),
                image: Image {
                    name: format!("{stem}.pdb"),
                    wide: !mode.is_32_bit(),
                    time_date_stamp: 0x4791_9100 + i as u32,
                    check_sum: 0x1_0000 + i as u32,
                    version: [6, 0, 6001, revision],
                    lab: "vistasp1_gdr.080425-1930".to_owned(),
                    guid: [i as u8; 16],
                    age: 1 + i as u32,
                },
                entry: pool(mode, 0x1000 + i as u64 * 0x200),
                file,
            }
        })
        .collect()
}

fn link_drivers(m: &mut Machine, head: u64, drivers: &[Driver]) {
    let mode = m.mode;
    let w = mode.pointer() as u64;
    let (base, size, full, short, sum, stamp) = if w == 4 {
        (0x18, 0x20, 0x24, 0x2C, 0x40, 0x44)
    } else {
        (0x30, 0x40, 0x48, 0x58, 0x78, 0x80)
    };
    let links: Vec<u64> = [head]
        .into_iter()
        .chain(drivers.iter().map(|driver| driver.entry))
        .collect();
    for (i, at) in links.iter().enumerate() {
        m.put_ptr(*at, links[(i + 1) % links.len()]);
        m.put_ptr(*at + w, links[(i + links.len() - 1) % links.len()]);
    }
    for (i, driver) in drivers.iter().enumerate() {
        let text = mode.paged_pool() + 0x10_000 + i as u64 * 0x100;
        let path = match i {
            0 | 1 => format!(r"\SystemRoot\system32\{}", driver.file),
            _ => format!(r"\SystemRoot\System32\drivers\{}", driver.file),
        };
        m.put(text, &utf16(&path));
        let units = |s: &str| s.len() as u16 * 2;
        m.put(driver.entry + full, &units(&path).to_le_bytes());
        m.put_ptr(driver.entry + full + w, text);
        let tail = text + u64::from(units(&path) - units(&driver.file));
        m.put(driver.entry + short, &units(&driver.file).to_le_bytes());
        m.put_ptr(driver.entry + short + w, tail);
        m.put_ptr(driver.entry + base, driver.base);
        m.put_u32(driver.entry + size, memory_image::SIZE);
        m.put_u32(driver.entry + sum, driver.image.check_sum);
        m.put_u32(driver.entry + stamp, driver.image.time_date_stamp);
    }
}
