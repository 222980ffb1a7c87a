//! CONTEXT records of the four architectures (format page §10; ARM64 from the public `winnt.h`).

use super::bytes::Image;
use super::state::{Machine, Registers};

/// The bytes of a CONTEXT.
pub fn context(machine: Machine, r: &Registers) -> Vec<u8> {
    match machine {
        Machine::X86 => x86(r),
        Machine::X64 => x64(r),
        Machine::Ia64 => ia64(r),
        Machine::Arm64 => arm64(r),
    }
}

fn x86(r: &Registers) -> Vec<u8> {
    let mut c = Image::zeroed(0x2CC);
    c.u32(0x00, 0x1_003F);
    c.u32(0x8C, 0x00); // gs
    c.u32(0x90, 0x30); // fs
    c.u32(0x94, 0x23); // es
    c.u32(0x98, 0x23); // ds
    let [eax, ecx, edx, ebx, _, _, esi, edi, ..] = r.general;
    for (at, value) in [
        (0x9C, edi),
        (0xA0, esi),
        (0xA4, ebx),
        (0xA8, edx),
        (0xAC, ecx),
        (0xB0, eax),
        (0xB4, r.fp),
        (0xB8, r.ip),
        (0xBC, 0x08),
        (0xC0, u64::from(r.flags)),
        (0xC4, r.sp),
        (0xC8, 0x10),
    ] {
        c.u32(at, value as u32);
    }
    c.into_bytes()
}

fn x64(r: &Registers) -> Vec<u8> {
    let mut c = Image::zeroed(0x4D0);
    c.u32(0x30, 0x10_001F);
    c.u32(0x34, 0x1F80);
    for (at, selector) in [
        (0x38, 0x10),
        (0x3A, 0x2B),
        (0x3C, 0x2B),
        (0x3E, 0x53),
        (0x40, 0x2B),
        (0x42, 0x18),
    ] {
        c.u16(at, selector);
    }
    c.u32(0x44, r.flags);
    for (index, value) in r.general.iter().enumerate() {
        c.u64(0x78 + index * 8, *value);
    }
    c.u64(0x98, r.sp);
    c.u64(0xA0, r.fp);
    c.u64(0xF8, r.ip);
    c.u16(0x100, 0x027F);
    c.u32(0x118, 0x1F80);
    c.into_bytes()
}

fn ia64(r: &Registers) -> Vec<u8> {
    let mut c = Image::zeroed(0xA70);
    c.u32(0x00, 0x0008_003F);
    c.u64(0x870, 0x0009_804C_0270_033F); // StFPSR
    c.u64(0x878, r.general[0]); // IntGp
    for index in 0..4 {
        c.u64(0x890 + index * 8, r.general[4 + index]); // r4..r7
    }
    c.u64(0x8B0, r.general[8]); // IntV0
    c.u64(0x8D0, r.sp); // IntSp
    c.u64(0x8D8, r.general[13]); // IntTeb
    c.u64(0x980, r.link); // BrRp
    c.u64(0x9E8, 0x0000_0000_0000_0307); // RsPFS
    c.u64(0x9F0, r.backing_store); // RsBSP
    c.u64(0x9F8, r.backing_store); // RsBSPSTORE
    c.u64(0xA00, 3); // RsRSC
    c.u64(0xA10, 0x0000_1210_0802_2018 | (1 << 41)); // StIPSR, slot 1
    c.u64(0xA18, r.ip); // StIIP
    c.u64(0xA20, 0x8000_0000_0000_0307); // StIFS
    c.into_bytes()
}

fn arm64(r: &Registers) -> Vec<u8> {
    let mut c = Image::zeroed(0x390);
    c.u32(0x00, 0x0040_0007);
    c.u32(0x04, r.flags);
    for (index, value) in r.general.iter().enumerate() {
        c.u64(0x08 + index * 8, *value);
    }
    c.u64(0xF0, r.fp);
    c.u64(0xF8, r.link);
    c.u64(0x100, r.sp);
    c.u64(0x108, r.ip);
    c.into_bytes()
}
