//! A machine put together by a test: modules with named functions, unwind data written byte by byte
//! from Microsoft's description of the format, and memory of single words.

use std::borrow::Cow;
use std::collections::BTreeMap;

use kbtriage::bytes::{Budget, Gva, ModuleId};
use kbtriage::machine::{Machine, Registers};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::{
    CodeInfo, ExceptionDirectory, FrameData, FrameProgram, ModuleSpan, Name, StackRange, Walk,
    Walker,
};

/// Size of every fake module.
pub const SIZE: u32 = 0x8000;
const PDATA: u32 = 0x6000;
const XDATA: u32 = 0x7000;

/// One function: range and x64 unwind record.
pub struct Function {
    pub name: &'static str,
    pub begin: u32,
    pub end: u32,
    pub record: Vec<u8>,
}

/// A module of named functions.
pub struct Module {
    pub name: &'static str,
    pub base: u64,
    pub functions: Vec<Function>,
    pub image: Option<Vec<u8>>,
    pub frames: Vec<FrameData<'static>>,
}

/// Modules, memory and stacks.
pub struct Fake {
    pub machine: Machine,
    pub modules: Vec<Module>,
    pub memory: BTreeMap<u64, u64>,
    pub stacks: Vec<StackRange>,
}

impl Module {
    pub fn new(name: &'static str, base: u64) -> Module {
        Module {
            name,
            base,
            functions: Vec::new(),
            image: None,
            frames: Vec::new(),
        }
    }

    /// Adds a function; functions come in the order of their addresses.
    pub fn function(mut self, name: &'static str, begin: u32, end: u32, record: &[u8]) -> Module {
        self.functions.push(Function {
            name,
            begin,
            end,
            record: record.to_vec(),
        });
        self
    }

    /// Adds an x86 frame record for a range.
    pub fn frame(mut self, start: u32, size: [u32; 3], program: FrameProgram<'static>) -> Module {
        self.frames.push(FrameData {
            start,
            code_size: 0x100,
            locals: size[0],
            parameters: size[1],
            saved_registers: size[2],
            prolog: 0,
            program,
        });
        self
    }

    /// Gives the module its bytes: unwind data as described, code of `int 3`.
    pub fn with_image(mut self) -> Module {
        let mut image = vec![0xCC; SIZE as usize];
        let mut put = |at: u32, bytes: &[u8]| {
            image[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        };
        for (n, function) in (0u32..).zip(&self.functions) {
            let record = XDATA + n * 0x40;
            for (field, value) in (0u32..).zip([function.begin, function.end, record]) {
                put(PDATA + n * 12 + field * 4, &value.to_le_bytes());
            }
            put(record, &function.record);
        }
        self.image = Some(image);
        self
    }

    /// Puts code bytes at an offset.
    pub fn code(mut self, at: u32, bytes: &[u8]) -> Module {
        let image = self.image.as_mut().expect("an image");
        image[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Puts `call` instructions in front of return addresses.
    pub fn calls_before(mut self, addresses: &[u32]) -> Module {
        for at in addresses {
            self = self.code(at - 5, &[0xE8, 0, 0, 0, 0]);
        }
        self
    }
}

/// A prologue that allocates `bytes` (a multiple of 8, at most 128).
pub fn allocates(bytes: u8) -> Vec<u8> {
    vec![1, 4, 1, 0, 4, ((bytes / 8 - 1) << 4) | 2, 0, 0]
}

/// A trap handler: allocates `bytes` below a machine frame with an error code.
pub fn trap_handler(bytes: u16) -> Vec<u8> {
    let [low, high] = (bytes / 8).to_le_bytes();
    vec![1, 4, 3, 0, 4, 0x01, low, high, 0, 0x1A, 0, 0]
}

impl Fake {
    pub fn new(machine: Machine, modules: Vec<Module>) -> Fake {
        Fake {
            machine,
            modules,
            memory: BTreeMap::new(),
            stacks: Vec::new(),
        }
    }

    /// Writes pointer-sized words from `at` upward.
    pub fn words(mut self, at: u64, words: &[u64]) -> Fake {
        let width = self.machine.pointer_width() as u64;
        for (n, word) in (0u64..).zip(words) {
            self.memory.insert(at + n * width, *word);
        }
        self
    }

    /// Fills `from..to` with words of zero where nothing was written.
    pub fn zeros(mut self, from: u64, to: u64) -> Fake {
        let width = self.machine.pointer_width();
        for at in (from..to).step_by(width) {
            self.memory.entry(at).or_insert(0);
        }
        self
    }

    pub fn registers(&self, ip: u64, sp: u64) -> Registers {
        let mut registers = Registers::new(self.machine);
        registers.set_ip(ip);
        registers.set_sp(sp);
        registers
    }

    pub fn walk(&self, start: &Registers) -> Walk {
        self.walk_within(start, &Budget::default())
    }

    pub fn walk_within(&self, start: &Registers, budget: &Budget) -> Walk {
        Walker {
            code: self,
            memory: self,
            stacks: &self.stacks,
            budget,
        }
        .walk(start)
    }

    /// A walk as text: a word a frame.
    pub fn show(&self, walk: &Walk) -> Vec<String> {
        walk.frames
            .iter()
            .map(|frame| {
                let name = frame
                    .ip()
                    .and_then(|ip| self.name_at(ip))
                    .map_or("?".to_owned(), |name| name.symbol.into_owned());
                let trust = frame.trust.as_str();
                match frame.boundary {
                    Some(boundary) => format!("{name} {trust} {}", boundary.as_str()),
                    None => format!("{name} {trust}"),
                }
            })
            .collect()
    }

    fn module(&self, address: u64) -> Option<&Module> {
        self.modules
            .iter()
            .find(|m| m.base <= address && address < m.base + u64::from(SIZE))
    }
}

impl Memory for Fake {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        let width = self.machine.pointer_width() as u64;
        for (n, byte) in (0u64..).zip(buf.iter_mut()) {
            let address = at.0.checked_add(n).ok_or(Absent::NotInDump)?;
            let word = address - address % width;
            let value = self.memory.get(&word).ok_or(Absent::NotInDump)?;
            *byte = value.to_le_bytes()[(address - word) as usize];
        }
        Ok(())
    }
}

impl CodeInfo for Fake {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        let module = self.module(address)?;
        let id = self.modules.iter().position(|m| m.base == module.base)?;
        Some(ModuleSpan {
            id: ModuleId(id as u16),
            base: module.base,
            size: u64::from(SIZE),
        })
    }

    fn is_executable(&self, module: ModuleSpan, rva: u32) -> Option<bool> {
        self.modules[usize::from(module.id.0)].image.as_ref()?;
        Some((0x1000..PDATA).contains(&rva))
    }

    fn read_image(&self, module: ModuleSpan, rva: u32, buf: &mut [u8]) -> bool {
        self.modules[usize::from(module.id.0)]
            .image
            .as_ref()
            .and_then(|image| image.get(rva as usize..)?.get(..buf.len()))
            .map(|bytes| buf.copy_from_slice(bytes))
            .is_some()
    }

    fn exception_directory(&self, module: ModuleSpan) -> Option<ExceptionDirectory> {
        let module = &self.modules[usize::from(module.id.0)];
        module.image.as_ref()?;
        Some(ExceptionDirectory {
            rva: PDATA,
            size: module.functions.len() as u32 * 12,
        })
    }

    fn frame_data(&self, address: u64) -> Option<FrameData<'_>> {
        let module = self.module(address)?;
        let rva = (address - module.base) as u32;
        module
            .frames
            .iter()
            .find(|f| f.start <= rva && rva < f.start + f.code_size)
            .cloned()
    }

    fn name_at(&self, address: u64) -> Option<Name<'_>> {
        let module = self.module(address)?;
        let rva = (address - module.base) as u32;
        let function = module
            .functions
            .iter()
            .find(|f| f.begin <= rva && rva < f.end)?;
        (!function.name.is_empty()).then(|| Name {
            symbol: Cow::Borrowed(function.name),
            displacement: u64::from(rva - function.begin),
        })
    }

    fn module_name(&self, module: ModuleSpan) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.modules[usize::from(module.id.0)].name))
    }
}
