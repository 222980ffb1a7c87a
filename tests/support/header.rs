//! DUMP_HEADER32 and DUMP_HEADER64, and the bodies of the dump types that hold pages
//! (format page §2 to §6). Every header is painted first; only what the writer fills is overwritten.

use super::bytes::{Image, filetime};
use super::context::context;
use super::state::{CrashState, Unwritten, Writer};

/// The header of `state`, with no body.
pub fn header(state: &CrashState) -> Image {
    if state.is_32_bit() {
        header32(state)
    } else {
        header64(state)
    }
}

fn header32(s: &CrashState) -> Image {
    let mut h = Image::painted(0x1000);
    h.put(0x004, b"DUMP");
    h.u32(0x008, 0xF);
    h.u32(0x00C, s.build);
    h.u32(0x010, s.directory_table_base as u32);
    h.u32(0x014, s.pfn_data_base() as u32);
    if !s.leaves(Unwritten::PsLoadedModuleList) {
        h.u32(0x018, s.ps_loaded_module_list() as u32);
    }
    h.u32(0x01C, s.ps_active_process_head() as u32);
    h.u32(0x020, s.machine.image_type());
    h.u32(0x024, s.processors);
    h.u32(0x028, s.code);
    for (index, parameter) in s.parameters.iter().enumerate() {
        h.u32(0x02C + index * 4, *parameter as u32);
    }
    h.u8(0x05C, u8::from(s.pae));
    if !s.leaves(Unwritten::KdDebuggerDataBlock) {
        h.u32(0x060, s.kd_debugger_data_block() as u32);
    }
    if has_runs(s) {
        h.u32(0x064, s.runs.len() as u32);
        h.u32(0x068, s.runs.iter().map(|run| run.1).sum::<u64>() as u32);
        for (index, (base, pages)) in s.runs.iter().enumerate() {
            h.u32(0x06C + index * 8, *base as u32);
            h.u32(0x070 + index * 8, *pages as u32);
        }
    }
    h.put(0x320, &context(s.machine, &s.registers));
    h.zero(0x7D0, 0x50);
    h.u32(0x7D0, 0x8000_0003);
    h.u32(0x7D4, 1);
    h.u32(0x7DC, s.registers.ip as u32);
    h.u32(0xF88, s.dump_type);
    if !s.leaves(Unwritten::MiniDumpFields) && s.dump_type == 4 {
        h.u32(0xF8C, mini_dump_fields(s));
    }
    if !s.leaves(Unwritten::ProductType) {
        h.u32(0xF94, s.product_type);
    }
    if !s.leaves(Unwritten::SuiteMask) {
        h.u32(0xF98, s.suite_mask);
    }
    match s.writer {
        Writer::Kernel => {
            h.zero(0x03C, 32);
            h.u8(0x05D, 0x41);
            h.u32(0xF90, 0);
        }
        Writer::Debugger => {
            h.u8(0x05D, 0);
            h.u32(0xF9C, 0);
        }
    }
    if !s.leaves(Unwritten::SystemUpTime) {
        h.u64(0xFB8, s.uptime_seconds * 10_000_000);
    }
    if !s.leaves(Unwritten::SystemTime) {
        h.u64(0xFC0, filetime(s.crash_time));
    }
    h
}

fn header64(s: &CrashState) -> Image {
    let mut h = Image::painted(0x2000);
    h.put(0x0004, b"DU64");
    h.u32(0x0008, 0xF);
    h.u32(0x000C, s.build);
    h.u64(0x0010, s.directory_table_base);
    h.u64(0x0018, s.pfn_data_base());
    if !s.leaves(Unwritten::PsLoadedModuleList) {
        h.u64(0x0020, s.ps_loaded_module_list());
    }
    h.u64(0x0028, s.ps_active_process_head());
    h.u32(0x0030, s.machine.image_type());
    h.u32(0x0034, s.processors);
    h.u32(0x0038, s.code);
    for (index, parameter) in s.parameters.iter().enumerate() {
        h.u64(0x0040 + index * 8, *parameter);
    }
    if !s.leaves(Unwritten::KdDebuggerDataBlock) {
        h.u64(0x0080, s.kd_debugger_data_block());
    }
    if has_runs(s) {
        h.u32(0x0088, s.runs.len() as u32);
        h.u64(0x0090, s.runs.iter().map(|run| run.1).sum());
        for (index, (base, pages)) in s.runs.iter().enumerate() {
            h.u64(0x0098 + index * 16, *base);
            h.u64(0x00A0 + index * 16, *pages);
        }
    }
    let whole = s.context.clone();
    h.put(
        0x0348,
        &whole.unwrap_or_else(|| context(s.machine, &s.registers)),
    );
    h.zero(0x0F00, 0x98);
    h.u32(0x0F00, 0x8000_0003);
    h.u32(0x0F04, 1);
    h.u64(0x0F10, s.registers.ip);
    h.u32(0x0F98, s.dump_type);
    if !s.leaves(Unwritten::SystemTime) {
        h.u64(0x0FA8, filetime(s.crash_time));
    }
    if !s.leaves(Unwritten::SystemUpTime) {
        h.u64(0x1030, s.uptime_seconds * 10_000_000);
    }
    if !s.leaves(Unwritten::MiniDumpFields) && s.dump_type == 4 {
        h.u32(0x1038, mini_dump_fields(s));
    }
    if !s.leaves(Unwritten::ProductType) {
        h.u32(0x1040, s.product_type);
    }
    if !s.leaves(Unwritten::SuiteMask) {
        h.u32(0x1044, s.suite_mask);
    }
    match s.writer {
        Writer::Kernel => {
            h.zero(0x0060, 32);
            h.u32(0x103C, 0);
            h.u8(0x104D, 0x41);
        }
        Writer::Debugger => {
            h.u32(0x1048, 0);
            h.u8(0x104D, 0);
        }
    }
    h
}

fn mini_dump_fields(s: &CrashState) -> u32 {
    match s.writer {
        Writer::Kernel => 0xDFF,
        Writer::Debugger => 0xCFF,
    }
}

/// A debugger that cuts a dump down leaves the memory description painted.
fn has_runs(s: &CrashState) -> bool {
    !s.runs.is_empty() && (s.writer == Writer::Kernel || s.dump_type != 4)
}

/// Writes how much room the file needs, once it is known.
///
/// The field lies at the same offset in both headers.
pub fn set_required_dump_space(image: &mut Image, bytes: u64) {
    image.u64(0xFA0, bytes);
}

/// A page whose contents say which physical page it is.
fn page(s: &CrashState, pfn: u64) -> Vec<u8> {
    let size = s.machine.page_size();
    pfn.to_le_bytes()
        .iter()
        .copied()
        .cycle()
        .take(size)
        .collect()
}

fn present_pages(s: &CrashState) -> Vec<u64> {
    s.runs
        .iter()
        .flat_map(|(base, pages)| *base..*base + *pages)
        .collect()
}

fn finish(mut image: Image) -> Vec<u8> {
    let len = image.len() as u64;
    set_required_dump_space(&mut image, len);
    image.into_bytes()
}

/// Type 1: the pages of every run, run after run.
pub fn complete(s: &CrashState) -> Vec<u8> {
    let mut image = header(s);
    for pfn in present_pages(s) {
        image.append(1, &page(s, pfn));
    }
    finish(image)
}

/// The bitmap over all pages up to the highest run, least significant bit first.
fn bitmap_bits(s: &CrashState, kept: &[u64]) -> (u64, Vec<u8>) {
    let bits = s.runs.iter().map(|run| run.0 + run.1).max().unwrap_or(0);
    let mut map = vec![0u8; bits.div_ceil(32) as usize * 4];
    for pfn in kept {
        map[(pfn / 8) as usize] |= 1 << (pfn % 8);
    }
    (bits, map)
}

/// Every second page, as a kernel dump leaves user pages out.
fn kernel_pages(s: &CrashState) -> Vec<u64> {
    present_pages(s).into_iter().step_by(2).collect()
}

/// Type 2: SUMMARY_DUMP, bitmap, pages.
pub fn summary(s: &CrashState) -> Vec<u8> {
    let mut image = header(s);
    let kept = kernel_pages(s);
    let (bits, map) = bitmap_bits(s, &kept);
    let at = s.machine.header_size();
    let bits_at = at + if s.is_32_bit() { 0x20 } else { 0x28 };
    let first_page = (bits_at + map.len()).next_multiple_of(s.machine.page_size());
    image.zero(at, first_page - at);
    image.put(at, b"SDMPDUMP");
    image.u32(at + 0x08, 1);
    image.u32(at + 0x0C, first_page as u32);
    image.u32(at + 0x10, bits as u32);
    image.u32(at + 0x14, kept.len() as u32);
    image.u32(at + 0x18, bits as u32);
    image.put(bits_at, &map);
    for pfn in &kept {
        image.append(1, &page(s, *pfn));
    }
    finish(image)
}

/// Types 5 and 6: BITMAP_DUMP. The first page is not aligned, as one real writer leaves it.
pub fn bitmap(s: &CrashState) -> Vec<u8> {
    let mut image = header(s);
    let kept = if s.dump_type == 5 {
        present_pages(s)
    } else {
        kernel_pages(s)
    };
    let (bits, map) = bitmap_bits(s, &kept);
    let at = s.machine.header_size();
    image.zero(at, 0x38);
    image.put(at, if s.dump_type == 5 { b"FDMP" } else { b"SDMP" });
    image.put(at + 4, b"DUMP");
    image.u64(at + 0x20, (at + 0x38 + map.len()) as u64);
    image.u64(at + 0x28, kept.len() as u64);
    image.u64(at + 0x30, bits);
    image.put(at + 0x38, &map);
    for pfn in &kept {
        image.append(1, &page(s, *pfn));
    }
    finish(image)
}

/// Types 8, 9 and 0xA: ranges of pages.
pub fn ranges(s: &CrashState) -> Vec<u8> {
    let mut image = header(s);
    let at = s.machine.header_size();
    let metadata = 0x30 + s.runs.len() * 16;
    let first_page = (at + metadata).next_multiple_of(s.machine.page_size());
    image.zero(at, first_page - at);
    image.u32(at, 0x40);
    image.put(at + 4, b"RDMPDUMP");
    image.u64(at + 0x10, metadata as u64);
    image.u64(at + 0x18, first_page as u64);
    for (index, (base, pages)) in s.runs.iter().enumerate() {
        image.u64(at + 0x30 + index * 16, *base);
        image.u64(at + 0x38 + index * 16, *pages);
    }
    for pfn in present_pages(s) {
        image.append(1, &page(s, pfn));
    }
    finish(image)
}
