//! A stack of real functions: call sites of an image chained so that each frame has the size
//! that `pe-unwind-info` gives it. What a walk finds is known before it starts.

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use kbtriage::bytes::Gva;
use kbtriage::memory::{Absent, Memory};
use pe_unwind_info::x86_64 as oracle;

use super::Image;

/// Bytes of stack from one address.
pub struct Stack {
    pub base: u64,
    pub bytes: Vec<u8>,
}

impl Memory for Stack {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let from = at.0.checked_sub(self.base).ok_or(Absent::NotInDump)? as usize;
        let bytes = self.bytes.get(from..).and_then(|b| b.get(..buf.len()));
        buf.copy_from_slice(bytes.ok_or(Absent::NotInDump)?);
        Ok(())
    }
}

/// A chain of calls and the walk it must give.
pub struct Chain {
    pub stack: Stack,
    /// Instruction pointer of each frame, innermost first.
    pub ips: Vec<u64>,
    /// Stack pointer of each frame.
    pub sps: Vec<u64>,
}

/// A call site: the address behind the call, and how far above the stack pointer there the caller's
/// own frame begins.
#[derive(Clone, Copy)]
pub struct Site {
    pub rva: u32,
    pub frame: u64,
}

struct Probe {
    registers: [u64; 16],
    read: u64,
}

impl oracle::UnwindState for Probe {
    fn read_register(&mut self, register: oracle::Register) -> u64 {
        self.registers[register as usize]
    }
    fn read_stack(&mut self, at: u64) -> Option<u64> {
        self.read = at;
        Some(0)
    }
    fn write_register(&mut self, register: oracle::Register, value: u64) {
        self.registers[register as usize] = value;
    }
    fn write_xmm_register(&mut self, _: oracle::XmmRegister, _: u128) {}
}

/// Size of the frame at `rva` by the oracle; `None` when it depends on another register.
fn frame_size(image: &Image, rva: u32) -> Option<u64> {
    let from = image.directory.rva as usize;
    let table = &image.bytes[from..from + image.directory.size as usize];
    let entries = oracle::FunctionTableEntries::parse(table);
    entries.lookup(rva)?;
    let size = |others: u64| {
        let mut probe = Probe {
            registers: [others; 16],
            read: 0,
        };
        probe.registers[4] = 0x10_0000;
        entries.unwind_frame(&mut probe, |at| image.bytes.get(at as usize..), rva)?;
        probe.registers[4].checked_sub(0x10_0000)
    };
    let (one, other) = (size(0x20_0000)?, size(0x30_0000)?);
    (one == other && one < 0x1000).then_some(one)
}

/// Every `step`th call site of the image whose frame is known.
pub fn call_sites(image: &Image, step: usize) -> Vec<Site> {
    let mut sites = Vec::new();
    let entries = (0..image.directory.size / 12)
        .map(|n| image.directory.rva + n * 12)
        .map(|at| (image.u32(at), image.u32(at + 4)));
    for (begin, end) in entries.step_by(step) {
        let code = &image.bytes[begin as usize..end as usize];
        let decoder = Decoder::with_ip(64, code, u64::from(begin), DecoderOptions::NONE);
        let instructions: Vec<_> = decoder.into_iter().collect();
        let site = instructions.windows(2).find_map(|pair| {
            let call = matches!(
                pair[0].flow_control(),
                FlowControl::Call | FlowControl::IndirectCall
            );
            // The oracle takes every jump for the end of a function.
            let jump = pair[1].flow_control() == FlowControl::UnconditionalBranch;
            (call && !jump).then_some(pair[1].ip() as u32)
        });
        if let Some(rva) = site
            && let Some(frame) = frame_size(image, rva)
        {
            sites.push(Site { rva, frame });
        }
    }
    sites
}

/// A stack on which the given sites called each other, the first one innermost.
pub fn chain(image: &Image, sites: &[Site], base: u64) -> Chain {
    let size = sites.iter().map(|s| s.frame).sum::<u64>() + 0x1000;
    let mut chain = Chain {
        stack: Stack {
            base,
            bytes: vec![0; size as usize],
        },
        ips: Vec::new(),
        sps: Vec::new(),
    };
    let mut sp = base;
    for (site, outer) in sites
        .iter()
        .zip(sites.iter().skip(1).map(Some).chain([None]))
    {
        chain.ips.push(image.span.base + u64::from(site.rva));
        chain.sps.push(sp);
        sp += site.frame;
        let slot = (sp - 8 - base) as usize;
        let back = outer.map_or(0, |outer| image.span.base + u64::from(outer.rva));
        chain.stack.bytes[slot..slot + 8].copy_from_slice(&back.to_le_bytes());
    }
    chain
}
