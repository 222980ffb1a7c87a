//! Hostile unwind data, code, frame programs and stacks: a walk and a search for the fault end, and
//! what they say is consistent.
#![no_main]

use std::borrow::Cow;

use kbtriage::bytes::{Budget, Gva, ModuleId};
use kbtriage::fault::{Crash, investigate};
use kbtriage::kernel::processor::{ProcessorState, ThreadStack};
use kbtriage::machine::{Machine, Reg, Registers};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::{
    CodeInfo, ExceptionDirectory, FrameData, FrameProgram, MOST_FRAMES, ModuleSpan, Name,
};
use libfuzzer_sys::fuzz_target;

/// Codes whose rules differ.
const CODES: [u32; 12] = [
    0x0A, 0x1C, 0x1E, 0x3B, 0x50, 0x7E, 0x7F, 0x1000_008E, 0xBE, 0xD1, 0xE2, 0xFC,
];
/// Bytes of the fixed part of an input.
const FIXED: usize = 80;

/// One module and one stack out of the fuzzer's bytes.
struct World<'a> {
    machine: Machine,
    image: &'a [u8],
    stack: &'a [u8],
    module: ModuleSpan,
    stack_base: u64,
    directory: ExceptionDirectory,
    program: String,
    frame: [u8; 4],
}

impl Memory for World<'_> {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let part = |base: u64, bytes: &'_ [u8], buf: &mut [u8]| {
            let from = usize::try_from(at.0.checked_sub(base)?).ok()?;
            let bytes = bytes.get(from..from.checked_add(buf.len())?)?;
            buf.copy_from_slice(bytes);
            Some(())
        };
        part(self.stack_base, self.stack, buf)
            .or_else(|| part(self.module.base, self.image, buf))
            .ok_or(Absent::NotInDump)
    }
}

impl CodeInfo for World<'_> {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        self.module.contains(address).then_some(self.module)
    }

    fn is_executable(&self, address: u64) -> Option<bool> {
        match self.frame[0] & 3 {
            0 => None,
            1 => Some(address % 3 != 0),
            _ => Some(true),
        }
    }

    fn read_image(&self, _: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        let from = rva as usize;
        let bytes = self.image.get(from..from.saturating_add(buf.len()));
        bytes.map(|b| buf.copy_from_slice(b)).is_some()
    }

    fn exception_directory(&self, _: ModuleSpan) -> Option<ExceptionDirectory> {
        (self.frame[1] & 1 == 0).then_some(self.directory)
    }

    fn frame_data(&self, _: u64) -> Option<FrameData<'_>> {
        let [_, kind, locals, parameters] = self.frame;
        Some(FrameData {
            start: 0,
            code_size: u32::MAX,
            locals: u32::from(locals) << (kind >> 3),
            parameters: u32::from(parameters) << (kind >> 4),
            saved_registers: u32::from(kind & 0x1C),
            prolog: 0,
            program: match kind % 5 {
                0 => return None,
                1 => FrameProgram::Fpo {
                    uses_base_pointer: kind & 8 != 0,
                },
                2 => FrameProgram::Standard,
                3 => FrameProgram::Trap,
                _ => FrameProgram::Program(Cow::Borrowed(&self.program)),
            },
        })
    }

    fn name_at(&self, address: u64) -> Option<Name<'_>> {
        let symbol = match address % 7 {
            0 => "KiRetireDpcList",
            1 => "KiPageFault",
            2 => "KiInterruptDispatch",
            3 => "KiSystemServiceCopyEnd",
            _ => return None,
        };
        Some(Name {
            symbol: symbol.into(),
            displacement: 0,
        })
    }

    fn module_name(&self, _: ModuleSpan) -> Option<Cow<'_, str>> {
        Some("ntoskrnl.exe".into())
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((fixed, rest)) = data.split_at_checked(FIXED) else {
        return;
    };
    let word = |n: usize| u64::from_le_bytes(fixed[n * 8..n * 8 + 8].try_into().expect("eight"));
    let machine = match fixed[0] & 1 {
        0 => Machine::X64,
        _ => Machine::X86,
    };
    let (image_base, stack_base) = match machine {
        Machine::X64 => (0xFFFF_F880_0100_0000, 0xFFFF_F880_0200_0000),
        _ => (0x8D20_0000, 0x8B5F_0000),
    };
    let (image, stack) = rest.split_at(rest.len() / 2);
    let text_at = image.len().saturating_sub(usize::from(fixed[1]));
    let world = World {
        machine,
        image,
        stack,
        module: ModuleSpan {
            id: ModuleId(0),
            base: image_base,
            size: image.len() as u64 + 0x1000,
        },
        stack_base,
        directory: ExceptionDirectory {
            rva: word(1) as u32 & 0xFFF,
            size: (word(1) >> 32) as u32 & 0xFFFF,
        },
        program: String::from_utf8_lossy(&image[text_at..]).into_owned(),
        frame: [fixed[2], fixed[3], fixed[4], fixed[5]],
    };
    // Small numbers become addresses of the stack and the image, so that most inputs get far.
    let address = |value: u64| match value & 3 {
        0 => value,
        1 => image_base + (value >> 2) % (image.len() as u64 + 1),
        _ => stack_base + ((value >> 2) % (stack.len() as u64 + 1) & !7),
    };
    let mut context = Registers::new(machine);
    for n in 0..16u8 {
        context.set(Reg(n), address(word(2).rotate_left(u32::from(n) * 5)));
    }
    context.set_ip(address(word(3)));
    context.set_sp(address(word(4)));
    let crash = Crash {
        machine: world.machine,
        build: Some(if fixed[6] & 1 == 0 { 6001 } else { 19041 }),
        code: CODES[usize::from(fixed[7]) % CODES.len()],
        parameters: [5, 6, 7, 8].map(|n| address(word(n))),
        context: Some(context),
        stack: Some((stack_base, stack_base.saturating_add(stack.len() as u64))),
        memory: &world,
        code_info: &world,
        kernel: Some(world.module),
        processor: ProcessorState {
            dpc_stack: Some(address(word(9))),
            ..ProcessorState::default()
        },
        thread: ThreadStack {
            limit: None,
            base: Some(address(word(9) >> 8)),
        },
    };
    let budget = Budget::new(200_000, None);
    let found = investigate(&crash, &budget);
    let walk = &found.walk;
    assert!(walk.frames.len() <= MOST_FRAMES);
    assert!(walk.faulting_activity <= walk.frames.len());
    assert!(walk.complete != walk.stopped_because.is_some() || walk.frames.is_empty());
    if let Some(context) = &found.context {
        assert!(context.candidates >= 1);
        assert_eq!(walk.frames.first().and_then(|f| f.ip()), context.registers.ip());
    }
});
