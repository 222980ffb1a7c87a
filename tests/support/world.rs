//! Hostile unwind data, code, frame programs and stacks out of arbitrary bytes: a walk and a search
//! for the fault end, and what they say is consistent. Used by a test and by a fuzz target.

use std::borrow::Cow;

use kbtriage::bytes::{Budget, Gva, ModuleId};
use kbtriage::fault::{Crash, investigate};
use kbtriage::kernel::processor::{ProcessorState, ThreadStack};
use kbtriage::machine::{Machine, Reg, Registers};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::{
    CodeInfo, ExceptionDirectory, FrameData, FrameProgram, MOST_FRAMES, ModuleSpan, Name, Walker,
};

/// Codes whose rules differ.
const CODES: [u32; 12] = [
    0x0A,
    0x1C,
    0x1E,
    0x3B,
    0x50,
    0x7E,
    0x7F,
    0x1000_008E,
    0xBE,
    0xD1,
    0xE2,
    0xFC,
];
/// Where the code begins: a return address never lies in the headers.
const CODE: u32 = 0x1000;
/// Bytes of the fixed part of an input.
const FIXED: usize = 80;

/// One module and one stack out of the fuzzer's bytes.
struct World<'a> {
    machine: Machine,
    image: &'a [u8],
    stack: Vec<u8>,
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
        part(self.stack_base, &self.stack, buf)
            .or_else(|| part(self.module.base, self.image, buf))
            .ok_or(Absent::NotInDump)
    }
}

impl CodeInfo for World<'_> {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        self.module.contains(address).then_some(self.module)
    }

    fn is_executable(&self, module: ModuleSpan, rva: u32) -> Option<bool> {
        match self.frame[0] & 3 {
            0 => None,
            1 => Some(!(module.base + u64::from(rva)).is_multiple_of(3)),
            _ => Some(true),
        }
    }

    fn read_image(&self, _: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        // The same bytes are the headers' page and the code behind it; the code may be absent.
        let from = match rva.checked_sub(CODE) {
            Some(_) if self.frame[0] & 4 == 0 => return false,
            Some(from) => from as usize,
            None => rva as usize,
        };
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

/// The stack's bytes, each word of them made an address, and some of them a machine frame.
fn stack_words(machine: Machine, bytes: &[u8], base: u64, address: impl Fn(u64) -> u64) -> Vec<u8> {
    let width = machine.pointer_width();
    let mut words: Vec<u64> = bytes
        .chunks_exact(width)
        .map(|chunk| {
            let mut word = [0; 8];
            word[..width].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        })
        .collect();
    let mut at = 0;
    while at < words.len() {
        let frame = words[at] & 0xFF == 0x75 && machine == Machine::X64 && at % 2 == 1;
        words[at] = address(words[at]);
        if frame && at + 5 <= words.len() {
            let above = base + (at as u64 + 5) * 8;
            words[at + 1..at + 5].copy_from_slice(&[0x10, 0x246, above, 0x18]);
            at += 4;
        }
        at += 1;
    }
    words
        .iter()
        .flat_map(|word| word.to_le_bytes().into_iter().take(width))
        .collect()
}

/// Investigates the crash that `data` describes, checks what came of it, and gives the number of
/// frames.
pub fn check(data: &[u8]) -> usize {
    let Some((fixed, rest)) = data.split_at_checked(FIXED) else {
        return 0;
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
    // Small numbers become addresses of the stack and the image, so that most inputs get far.
    let (image_len, stack_len) = (image.len() as u64, stack.len() as u64);
    let address = |value: u64| match value & 3 {
        0 => value,
        1 => image_base + u64::from(CODE) + (value >> 2) % (image_len + 1),
        _ => stack_base + (((value >> 2) % (stack_len + 1)) & !7),
    };
    let world = World {
        machine,
        image,
        stack: stack_words(machine, stack, stack_base, address),
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
    let mut context = Registers::new(machine);
    for n in 0..16u8 {
        context.set(Reg(n), address(word(2).rotate_left(u32::from(n) * 5)));
    }
    context.set_ip(address(word(3)));
    context.set_sp(address(word(4) | 2));
    let crash = Crash {
        machine: world.machine,
        build: Some(if fixed[6] & 1 == 0 { 6001 } else { 19041 }),
        code: CODES[usize::from(fixed[7]) % CODES.len()],
        parameters: [5, 6, 7, 8].map(|n| Some(address(word(n)))),
        context: Some(context),
        stack: Some((
            stack_base,
            stack_base.saturating_add(world.stack.len() as u64),
        )),
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
            store: None,
        },
    };
    let budget = Budget::new(200_000, None);
    let stacks = [];
    let from_start = crash.context.as_ref().map_or(0, |context| {
        let walker = Walker {
            code: &world,
            memory: &world,
            stacks: &stacks,
            budget: &budget,
        };
        let walk = walker.walk(context);
        assert!(walk.frames.len() <= MOST_FRAMES);
        walk.frames.len()
    });
    let found = investigate(&crash, &budget);
    let walk = &found.walk;
    assert!(walk.frames.len() <= MOST_FRAMES);
    assert!(walk.faulting_activity <= walk.frames.len());
    assert!(walk.complete != walk.stopped_because.is_some() || walk.frames.is_empty());
    if let Some(context) = &found.context {
        assert!(context.candidates >= 1);
        assert_eq!(
            walk.frames.first().and_then(|f| f.ip()),
            context.registers.ip()
        );
    }
    walk.frames.len().max(from_start)
}
