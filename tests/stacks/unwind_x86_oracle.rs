//! x86 frame records of real PDBs, held against Breakpad's evaluator of the same records.

use std::cell::RefCell;
use std::collections::BTreeMap;

use breakpad_symbols::{FrameWalker, SimpleModule, SymbolFile};
use kbtriage::bytes::{Budget, Gva, ModuleId};
use kbtriage::machine::{Machine, Registers, x86::registers as r};
use kbtriage::memory::{Absent, Memory};
use kbtriage::unwind::{
    CodeInfo, ExceptionDirectory, FrameData, FrameProgram, ModuleSpan, Name, Trust, Walker,
};
use pdb::FallibleIterator;

const BASE: u64 = 0x0040_0000;
const SIZE: u64 = 0x20_0000;
const STACK: u64 = 0x0018_F000;

/// Every word of memory is another address inside the module, so that any can be returned to.
fn content(at: u64) -> u64 {
    let mixed = (at >> 2).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33;
    BASE + 0x1000 + mixed % (SIZE - 0x2000)
}

/// One record, in the words of neither side.
struct Record {
    start: u32,
    size: u32,
    locals: u32,
    parameters: u32,
    saved: u32,
    prolog: u32,
    program: Option<String>,
    uses_base_pointer: bool,
}

/// The records of a PDB, read with the `pdb` crate.
fn records(path: &std::path::Path) -> Vec<Record> {
    let mut pdb = pdb::PDB::open(std::fs::File::open(path).unwrap()).unwrap();
    let (Ok(table), Ok(map)) = (pdb.frame_table(), pdb.address_map()) else {
        return Vec::new();
    };
    let strings = pdb.string_table().ok();
    let mut records = Vec::new();
    let mut frames = table.iter();
    while let Some(frame) = frames.next().unwrap() {
        let Some(start) = frame.code_start.to_rva(&map) else {
            continue;
        };
        let program = frame.program.and_then(|at| {
            let text = at.to_string_lossy(strings.as_ref()?).ok()?;
            Some(text.trim().to_owned())
        });
        if program.is_none() && frame.ty != pdb::FrameType::FPO {
            continue;
        }
        records.push(Record {
            start: start.0,
            size: frame.code_size,
            locals: frame.locals_size,
            parameters: frame.params_size,
            saved: u32::from(frame.saved_regs_size),
            prolog: u32::from(frame.prolog_size),
            program,
            uses_base_pointer: frame.uses_base_pointer,
        });
    }
    records
}

/// Our side: the record is all that is known of the module.
struct World<'a>(&'a Record);

impl Memory for World<'_> {
    fn read(&self, at: Gva, buf: &mut [u8]) -> Result<(), Absent> {
        for (chunk, n) in buf.chunks_mut(4).zip(0u64..) {
            chunk.copy_from_slice(&content(at.0 + n * 4).to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl CodeInfo for World<'_> {
    fn module_at(&self, address: u64) -> Option<ModuleSpan> {
        let span = ModuleSpan {
            id: ModuleId(0),
            base: BASE,
            size: SIZE,
        };
        span.contains(address).then_some(span)
    }
    fn is_executable(&self, _: ModuleSpan, _: u32) -> Option<bool> {
        None
    }
    fn read_image(&self, _: ModuleSpan, _: u32, _: &mut [u8]) -> bool {
        false
    }
    fn exception_directory(&self, _: ModuleSpan) -> Option<ExceptionDirectory> {
        None
    }
    fn frame_data(&self, address: u64) -> Option<FrameData<'_>> {
        let record = self.0;
        let rva = (address - BASE) as u32;
        (record.start <= rva && rva < record.start + record.size).then(|| FrameData {
            start: record.start,
            code_size: record.size,
            locals: record.locals,
            parameters: record.parameters,
            saved_registers: record.saved,
            prolog: record.prolog,
            program: match &record.program {
                Some(text) => FrameProgram::Program(text.as_str().into()),
                None => FrameProgram::Fpo {
                    uses_base_pointer: record.uses_base_pointer,
                },
            },
        })
    }
    fn name_at(&self, _: u64) -> Option<Name<'_>> {
        None
    }
    fn module_name(&self, _: ModuleSpan) -> Option<std::borrow::Cow<'_, str>> {
        None
    }
}

/// Breakpad's side.
struct Walk {
    instruction: u64,
    callee: BTreeMap<&'static str, u64>,
    caller: RefCell<BTreeMap<String, u64>>,
}

impl FrameWalker for Walk {
    fn get_instruction(&self) -> u64 {
        self.instruction
    }
    fn has_grand_callee(&self) -> bool {
        false
    }
    fn get_grand_callee_parameter_size(&self) -> u32 {
        0
    }
    fn get_register_at_address(&self, address: u64) -> Option<u64> {
        Some(content(address))
    }
    fn get_callee_register(&self, name: &str) -> Option<u64> {
        self.callee.get(name).copied()
    }
    fn set_caller_register(&mut self, name: &str, value: u64) -> Option<()> {
        self.caller.borrow_mut().insert(name.to_owned(), value);
        Some(())
    }
    fn clear_caller_register(&mut self, name: &str) {
        self.caller.borrow_mut().remove(name);
    }
    fn set_cfa(&mut self, _: u64) -> Option<()> {
        Some(())
    }
    fn set_ra(&mut self, _: u64) -> Option<()> {
        Some(())
    }
}

/// Microsoft's compiler writes some registers by their CodeView numbers, which Breakpad does not
/// know: it is given their names (`cvconst.h`: 20 ebx, 23 esi, 24 edi).
fn by_name(program: &str) -> String {
    let word = |token| match token {
        "$20" => "$ebx",
        "$23" => "$esi",
        "$24" => "$edi",
        other => other,
    };
    let words: Vec<&str> = program.split_whitespace().map(word).collect();
    words.join(" ")
}

fn theirs(record: &Record, ip: u64) -> Option<BTreeMap<String, u64>> {
    let (kind, rule) = match &record.program {
        Some(text) => (4, format!("1 {}", by_name(text))),
        None => (0, format!("0 {}", u8::from(record.uses_base_pointer))),
    };
    let text = format!(
        "MODULE windows x86 000000000000000000000000000000000 m\nSTACK WIN {kind} {:x} {:x} {:x} 0 {:x} {:x} {:x} 0 {rule}\n",
        record.start, record.size, record.prolog, record.parameters, record.saved, record.locals,
    );
    let symbols = SymbolFile::from_bytes(text.as_bytes()).unwrap();
    let module = SimpleModule {
        base_address: Some(BASE),
        size: Some(SIZE),
        ..SimpleModule::default()
    };
    let mut walk = Walk {
        instruction: ip,
        callee: start_values().into_iter().chain([("eip", ip)]).collect(),
        caller: RefCell::default(),
    };
    symbols.walk_frame(&module, &mut walk)?;
    Some(walk.caller.into_inner())
}

fn start_values() -> [(&'static str, u64); 5] {
    [
        ("esp", STACK),
        ("ebp", STACK + 0x400),
        ("ebx", 0xB0B0),
        ("esi", 0x5151),
        ("edi", 0xD1D1),
    ]
}

#[test]
fn every_frame_record_of_the_real_pdbs_gives_the_caller_that_breakpad_gives() {
    let Some(store) = crate::support::unwind::store() else {
        return;
    };
    let mut paths = Vec::new();
    for name in std::fs::read_dir(&store).unwrap() {
        for key in std::fs::read_dir(name.unwrap().path()).unwrap() {
            for file in std::fs::read_dir(key.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|e| e == "pdb") {
                    paths.push(path);
                }
            }
        }
    }
    paths.sort();
    let (mut compared, mut programs) = (0, std::collections::BTreeSet::new());
    for path in paths {
        for record in records(&path) {
            if record.size == 0 || u64::from(record.start) + u64::from(record.size) > SIZE {
                continue;
            }
            let ip = BASE + u64::from(record.start) + u64::from(record.size) / 2;
            let mut start = Registers::new(Machine::X86);
            start.set_ip(ip);
            for (reg, (_, value)) in [r::ESP, r::EBP, r::EBX, r::ESI, r::EDI]
                .into_iter()
                .zip(start_values())
            {
                start.set(reg, value);
            }
            let world = World(&record);
            let walk = Walker {
                code: &world,
                memory: &world,
                stacks: &[],
                budget: &Budget::new(1, None),
            }
            .walk(&start);
            let theirs = theirs(&record, ip).expect("Breakpad evaluates it");
            let frame = walk.frames.get(1).unwrap_or_else(|| {
                panic!("no caller: {:?} {:?}", record.program, walk.stopped_because)
            });
            assert_eq!(frame.trust, Trust::FrameData, "{:?}", record.program);
            for (name, reg) in [
                ("eip", r::EIP),
                ("esp", r::ESP),
                ("ebp", r::EBP),
                ("ebx", r::EBX),
                ("esi", r::ESI),
                ("edi", r::EDI),
            ] {
                // What Breakpad does not set we may still know; what it sets must be ours.
                if let (Some(theirs), Some(ours)) = (theirs.get(name), frame.registers.get(reg)) {
                    assert_eq!(ours, *theirs, "{name} by {:?}", record.program);
                }
                let needed = ["eip", "esp"].contains(&name);
                assert!(!needed || frame.registers.get(reg).is_some());
            }
            compared += 1;
            programs.extend(record.program);
        }
    }
    println!("{compared} records, {} different programs", programs.len());
    assert!(compared > 500, "{compared}");
    assert!(programs.len() > 5, "{programs:?}");
}
