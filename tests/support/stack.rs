//! Stacks as a crash leaves them: hardware frames, the kernel's own frames, return addresses
//! (format page §11).

use super::bytes::Image;
use super::state::Stack;

/// A stack under construction, addressed by virtual address.
pub struct StackBuilder {
    low: u64,
    width: usize,
    image: Image,
}

/// What the processor was doing when the fault happened.
#[derive(Clone, Debug, Default)]
pub struct Fault {
    pub ip: u64,
    /// Address that was touched.
    pub address: u64,
    pub error_code: u32,
    pub flags: u32,
    pub fp: u64,
    /// x86: eax ecx edx ebx _ _ esi edi; x64: rax rcx rdx rbx _ _ rsi rdi r8..r15.
    pub general: [u64; 16],
}

impl StackBuilder {
    /// `size` zero bytes from `low`.
    pub fn new(low: u64, size: usize, width: usize) -> StackBuilder {
        StackBuilder {
            low,
            width,
            image: Image::zeroed(size),
        }
    }

    fn offset(&self, address: u64) -> usize {
        let at = (address - self.low) as usize;
        assert!(at < self.image.len(), "the scene writes outside its stack");
        at
    }

    pub fn ptr(&mut self, address: u64, value: u64) {
        let at = self.offset(address);
        self.image.ptr(at, value, self.width);
    }

    pub fn u32(&mut self, address: u64, value: u32) {
        let at = self.offset(address);
        self.image.u32(at, value);
    }

    fn u16(&mut self, address: u64, value: u16) {
        let at = self.offset(address);
        self.image.u16(at, value);
    }

    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        let at = self.offset(address);
        self.image.put(at, bytes);
    }

    /// x64 KTRAP_FRAME of a fault in kernel mode at `frame` (16-byte aligned). The stack pointer of
    /// the fault is `frame + 0x190`, which is returned.
    pub fn trap_frame_x64(&mut self, frame: u64, fault: &Fault) -> u64 {
        assert_eq!(
            frame % 16,
            0,
            "the processor aligns the stack before it pushes"
        );
        let g = &fault.general;
        let sp = frame + 0x190;
        self.u16(frame + 0x28, 0);
        self.put(frame + 0x2B, &[1]);
        self.u32(frame + 0x2C, 0x1F80);
        for (at, value) in [
            (0x30, g[0]),
            (0x38, g[1]),
            (0x40, g[2]),
            (0x48, g[8]),
            (0x50, g[9]),
            (0x58, g[10]),
            (0x60, g[11]),
            (0xD0, fault.address),
            (0x158, fault.fp),
            (0x160, u64::from(fault.error_code)),
            (0x168, fault.ip),
            (0x170, 0x10),
            (0x178, u64::from(fault.flags)),
            (0x180, sp),
            (0x188, 0x18),
        ] {
            self.ptr(frame + at, value);
        }
        sp
    }

    /// x64 KEXCEPTION_FRAME at `frame`: the registers that a trap frame does not keep.
    pub fn exception_frame_x64(&mut self, frame: u64, fault: &Fault, return_address: u64) {
        let g = &fault.general;
        for (at, value) in [
            (0xF8, fault.fp),
            (0x100, g[3]),
            (0x108, g[7]),
            (0x110, g[6]),
            (0x118, g[12]),
            (0x120, g[13]),
            (0x128, g[14]),
            (0x130, g[15]),
            (0x138, return_address),
        ] {
            self.ptr(frame + at, value);
        }
    }

    /// EXCEPTION_RECORD64 at `record`.
    pub fn exception_record64(
        &mut self,
        record: u64,
        code: u32,
        address: u64,
        information: &[u64],
    ) {
        self.u32(record, code);
        self.u32(record + 4, 0);
        self.ptr(record + 0x08, 0);
        self.ptr(record + 0x10, address);
        self.u32(record + 0x18, information.len() as u32);
        for (index, value) in information.iter().enumerate() {
            self.ptr(record + 0x20 + index as u64 * 8, *value);
        }
    }

    /// x86 KTRAP_FRAME of a fault in kernel mode at `frame`; the fault's Esp is `frame + 0x74`.
    pub fn trap_frame_x86(&mut self, frame: u64, fault: &Fault) -> u64 {
        let g = &fault.general;
        for (at, value) in [
            (0x00, fault.fp),
            (0x04, fault.ip),
            (0x08, 0xBADB_0D00),
            (0x30, 0),
            (0x34, 0x23),
            (0x38, 0x23),
            (0x3C, g[2]),
            (0x40, g[1]),
            (0x44, g[0]),
            (0x48, 0),
            (0x4C, 0xFFFF_FFFF),
            (0x50, 0x30),
            (0x54, g[7]),
            (0x58, g[6]),
            (0x5C, g[3]),
            (0x60, fault.fp),
            (0x64, u64::from(fault.error_code)),
            (0x68, fault.ip),
            (0x6C, 0x08),
            (0x70, u64::from(fault.flags)),
        ] {
            self.ptr(frame + at, value);
        }
        frame + 0x74
    }

    pub fn finish(self) -> Stack {
        Stack {
            low: self.low,
            bytes: self.image.into_bytes(),
        }
    }
}
