//! The triage part of a dump: TRIAGE_DUMP and all it points at, in both writers' manner
//! (format page §7 and §9).

use super::bytes::{Image, utf16};
use super::header::{header, set_required_dump_space};
use super::kernel;
use super::layouts::layout;
use super::state::{Block, CrashState, Driver, Tagged, Unloaded, Writer};

/// Positions of the TRIAGE_DUMP fields whose place depends on the pointer width.
struct Tail {
    top_of_stack: usize,
    debugger_data: usize,
    data_blocks: usize,
    size: usize,
}

const TAIL32: Tail = Tail {
    top_of_stack: 0x48,
    debugger_data: 0x58,
    data_blocks: 0x60,
    size: 0x68,
};
const TAIL64: Tail = Tail {
    top_of_stack: 0x48,
    debugger_data: 0x70,
    data_blocks: 0x78,
    size: 0x80,
};

/// A whole triage dump file.
pub fn write(s: &CrashState) -> Vec<u8> {
    let l = layout(s);
    let width = s.machine.pointer_width();
    let tail = if width == 4 { &TAIL32 } else { &TAIL64 };
    let mut f = header(s);
    let t = s.machine.header_size();
    f.zero(t, tail.size);
    f.u32(t, s.csd_version);
    f.u32(t + 0x0C, if width == 4 { 0x320 } else { 0x348 });
    f.u32(t + 0x10, if width == 4 { 0x7D0 } else { 0xF00 });

    let mm = f.append(8, &mm_storage(s));
    f.u32(t + 0x14, mm as u32);
    let unloaded = f.append(8, &unloaded_drivers(&s.unloaded, width));
    f.u32(t + 0x18, unloaded as u32);
    let prcb = f.append(16, &kernel::prcb(s, &l));
    f.u32(t + 0x1C, prcb as u32);
    let process = f.append(16, &kernel::process(s, &l));
    f.u32(t + 0x20, process as u32);
    let thread = f.append(16, &kernel::thread(s, &l));
    f.u32(t + 0x24, thread as u32);
    let stack = f.append(8, &s.stack.bytes);
    f.u32(t + 0x28, stack as u32);
    f.u32(t + 0x2C, s.stack.bytes.len() as u32);
    f.ptr(t + tail.top_of_stack, s.stack.low, width);
    if let Some(store) = &s.backing_store {
        let at = f.append(8, &store.bytes);
        f.u32(t + 0x50, at as u32);
        f.u32(t + 0x54, store.bytes.len() as u32);
        f.u64(t + 0x58, store.low + store.bytes.len() as u64);
    }
    let debugger_data = f.append(8, &kernel::debugger_data(s, &l));
    f.u32(t + tail.debugger_data, debugger_data as u32);
    f.u32(t + tail.debugger_data + 4, l.debugger_data_size as u32);

    write_drivers(&mut f, s, t);

    let mut blocks = kernel::named_variables(s);
    blocks.extend(s.blocks.iter().cloned());
    let table = write_blocks(&mut f, &blocks, width);
    f.u32(t + tail.data_blocks, table as u32);
    f.u32(t + tail.data_blocks + 4, blocks.len() as u32);

    let options = match s.writer {
        Writer::Kernel => 0x41,
        Writer::Debugger => 0xFFFF_FFFF,
    };
    f.u32(t + 0x44, s.triage_options.unwrap_or(options));

    let mark = f.append(8, if s.tail_intact { b"TRGD" } else { &[0; 4] });
    let size_of_dump = mark + 4;
    f.u32(t + 0x04, size_of_dump as u32);
    f.u32(t + 0x08, mark as u32);
    write_tagged(&mut f, s);
    if s.writer == Writer::Kernel {
        let stale: Vec<u8> = (0..s.slack).map(|n| (n * 7 + 3) as u8).collect();
        f.append(1, &stale);
    }
    // The kernel knows its own file's size; a derived file keeps the size of what it came from.
    let required = match s.writer {
        Writer::Kernel => f.len() as u64,
        Writer::Debugger => f.len() as u64 + 0x3_1000,
    };
    set_required_dump_space(&mut f, required);
    f.into_bytes()
}

/// DUMP_MM_STORAGE with plausible pool figures.
fn mm_storage(s: &CrashState) -> Vec<u8> {
    let mut m = Image::default();
    let pages = [
        0x8000u64, 0x1A40, 0x1_0000, 0x5100, 0x2_2000, 0x2_8000, 0x9_0000,
    ];
    let narrow = s.is_32_bit();
    m.u32(0x00, 1);
    m.u32(0x04, if narrow { 0x34 } else { 0x50 });
    m.zero(0x08, 0x10);
    for (index, value) in pages.iter().enumerate() {
        if narrow {
            m.u32(0x18 + index * 4, *value as u32);
        } else {
            m.u64(0x18 + index * 8, *value);
        }
    }
    m.into_bytes()
}

/// The count and the entries; names are cut at twelve characters.
fn unloaded_drivers(list: &[Unloaded], width: usize) -> Vec<u8> {
    let mut u = Image::default();
    let (first, stride, name_at, start_at) = if width == 4 {
        (4, 0x28, 0x08, 0x20)
    } else {
        (8, 0x38, 0x10, 0x28)
    };
    u.ptr(0, list.len() as u64, width);
    for (index, driver) in list.iter().enumerate() {
        let at = first + index * stride;
        let mut name = utf16(driver.name);
        name.truncate(24);
        u.zero(at, stride);
        u.u16(at, name.len() as u16);
        u.u16(at + 2, 24);
        u.put(at + name_at, &name);
        u.ptr(at + start_at, driver.start, width);
        u.ptr(at + start_at + width, driver.end, width);
    }
    u.into_bytes()
}

/// What a dump of this writer calls the driver.
fn shown_name(s: &CrashState, driver: &Driver) -> String {
    match s.writer {
        Writer::Kernel => driver.name.clone(),
        Writer::Debugger => format!("{}{}", driver.directory, driver.name),
    }
}

fn write_drivers(f: &mut Image, s: &CrashState, t: usize) {
    let narrow = s.is_32_bit();
    let stride = if narrow { 0x4C } else { 0x90 };
    let list = f.align(8);
    f.zero(list, stride * s.drivers.len());
    let pool = f.align(8);
    for (index, driver) in s.drivers.iter().enumerate() {
        let name = shown_name(s, driver);
        let units = name.encode_utf16().count();
        let mut text = (units as u32).to_le_bytes().to_vec();
        text.extend(utf16(&name));
        text.extend([0, 0]);
        let at = f.append(8, &text);
        let entry = list + index * stride;
        f.u32(entry, at as u32);
        let base_name = if s.writer == Writer::Kernel {
            (driver.name.encode_utf16().count() * 2) as u16
        } else {
            0
        };
        let full = (units * 2) as u16;
        if narrow {
            f.u32(entry + 0x1C, driver.base as u32);
            f.u32(entry + 0x20, driver.base as u32 + 0x1000);
            f.u32(entry + 0x24, driver.size);
            f.u16(entry + 0x28, full);
            f.u16(entry + 0x30, base_name);
            f.u32(entry + 0x38, 0x0900_4000);
            f.u32(entry + 0x44, driver.checksum);
            f.u32(entry + 0x48, driver.time_date_stamp);
        } else {
            f.u64(entry + 0x38, driver.base);
            f.u64(entry + 0x40, driver.base + 0x1000);
            f.u32(entry + 0x48, driver.size);
            f.u16(entry + 0x50, full);
            f.u16(entry + 0x60, base_name);
            f.u32(entry + 0x70, 0x0900_4000);
            f.u32(entry + 0x80, driver.checksum);
            f.u32(entry + 0x88, driver.time_date_stamp);
        }
    }
    let end = f.align(8);
    f.u32(t + 0x30, list as u32);
    f.u32(t + 0x34, s.drivers.len() as u32);
    f.u32(t + 0x38, pool as u32);
    f.u32(t + 0x3C, (end - pool) as u32);
}

/// The table, then the contents. Sixteen bytes an entry in both flavours; a 32-bit address is sign-extended.
fn write_blocks(f: &mut Image, blocks: &[Block], width: usize) -> usize {
    let table = f.align(8);
    f.zero(table, blocks.len() * 16);
    for (index, block) in blocks.iter().enumerate() {
        let at = f.append(8, &block.bytes);
        let address = if width == 4 {
            block.address as u32 as i32 as i64 as u64
        } else {
            block.address
        };
        f.u64(table + index * 16, address);
        f.u32(table + index * 16 + 8, at as u32);
        f.u32(table + index * 16 + 12, block.bytes.len() as u32);
    }
    table
}

fn write_tagged(f: &mut Image, s: &CrashState) {
    if s.tagged.is_empty() {
        return;
    }
    let mut head = b"DumpBlob".to_vec();
    head.extend(0x10u32.to_le_bytes());
    head.extend((0xF000_0000 | s.build).to_le_bytes());
    f.append(1, &head);
    for Tagged {
        guid,
        data,
        pre_pad,
        post_pad,
    } in &s.tagged
    {
        let mut block = 0x20u32.to_le_bytes().to_vec();
        block.extend(guid);
        block.extend((data.len() as u32).to_le_bytes());
        block.extend(pre_pad.to_le_bytes());
        block.extend(post_pad.to_le_bytes());
        block.extend(vec![0; *pre_pad as usize]);
        block.extend(data);
        block.extend(vec![0; *post_pad as usize]);
        f.append(1, &block);
    }
}
