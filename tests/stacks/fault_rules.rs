//! The rule of each bug check, on stacks put together word by word: which context is taken, what is
//! said of the access, and what is not.

use crate::support::unwind::fake::{Fake, Module, allocates, trap_handler};
use kbtriage::bytes::Budget;
use kbtriage::fault::{
    Crash, FaultContext, InstructionKind, Investigation, Snapshot, Source, find_context,
    investigate,
};
use kbtriage::kernel::processor::{ProcessorState, ThreadStack};
use kbtriage::machine::{Machine, Registers, x64::registers as r, x86::registers as r86};
use kbtriage::unwind::CodeInfo;

const DRIVER: u64 = 0xFFFF_F880_0400_0000;
const NT: u64 = 0xFFFF_F800_0180_0000;
const STACK: u64 = 0xFFFF_F880_0500_0000;
const TOP: u64 = STACK + 0x3000;
/// The faulting instruction.
const IP: u64 = DRIVER + 0x1010;
/// Where the machine frame lies.
const AT: u64 = STACK + 0x1008;
const TRAP: u64 = AT - 0x168;

fn fake() -> Fake {
    Fake::new(
        Machine::X64,
        vec![
            Module::new("driver.sys", DRIVER),
            Module::new("ntoskrnl.exe", NT),
        ],
    )
}

/// A trap frame for `IP` whose machine frame lies at `at`, with distinct registers.
fn trap(fake: Fake, at: u64, fault_address: u64) -> Fake {
    let base = at - 0x168;
    fake.words(base + 0x30, &[0xA0, 0xC0, 0xD0, 0x80, 0x90, 0x100, 0x110])
        .words(base + 0xD0, &[fault_address])
        .words(base + 0x158, &[0xBEEF])
        .words(at, &[IP, 0x10, 0x10246, at + 0x28, 0x18])
}

/// The nonvolatile registers of an exception frame at `at`.
fn exception_frame(fake: Fake, at: u64) -> Fake {
    fake.words(at + 0x100, &[0xB1, 0xD1, 0x51, 12, 13, 14, 15])
}

/// An EXCEPTION_RECORD at `at`.
fn record(fake: Fake, at: u64, code: u64, information: [u64; 2]) -> Fake {
    fake.words(at, &[code, 0, IP, 2, information[0], information[1]])
}

/// A CONTEXT at `at`.
fn context_record(fake: Fake, at: u64, ip: u64, sp: u64) -> Fake {
    fake.words(at + 0x30, &[0x10_000F, 0x2B_0010, 0x246_0018_002B_0053])
        .words(at + 0x98, &[sp])
        .words(at + 0xF8, &[ip])
}

fn crash<'a>(fake: &'a Fake, code: u32, parameters: [u64; 4]) -> Crash<'a> {
    let mut header = Registers::new(fake.machine);
    header.set_ip(if fake.machine == Machine::X64 {
        NT + 0x4000
    } else {
        0x8180_4000
    });
    let (low, high) = match fake.machine {
        Machine::X64 => (STACK, TOP),
        _ => (0x8B5F_0000, 0x8B5F_3000),
    };
    header.set_sp(low);
    Crash {
        machine: fake.machine,
        build: Some(6001),
        code,
        parameters: parameters.map(Some),
        context: Some(header),
        stack: Some((low, high)),
        memory: fake,
        code_info: fake,
        kernel: fake.module_at(NT),
        processor: ProcessorState::default(),
        thread: ThreadStack::default(),
    }
}

fn found(crash: &Crash<'_>) -> FaultContext {
    let (low, high) = crash.stack.unwrap();
    find_context(crash, &Snapshot::take(crash.memory, low, high)).unwrap()
}

fn whole(crash: &Crash<'_>) -> Investigation {
    investigate(crash, &Budget::default())
}

#[test]
fn a_fault_at_raised_irql_has_all_sixteen_registers_from_the_two_frames() {
    for code in [0x0A, 0xD1] {
        let fake = exception_frame(trap(fake(), AT, 8), TRAP - 0x140)
            .words(TRAP - 8, &[NT + 0x2010])
            .zeros(STACK, TOP);
        let context = found(&crash(&fake, code, [8, 2, 1, IP]));
        assert_eq!(context.source, Source::TrapFrame);
        assert_eq!(context.trap_frame, Some(TRAP));
        assert_eq!(context.candidates, 1);
        let value = |reg| context.registers.get(reg);
        assert_eq!(value(r::RAX), Some(0xA0));
        assert_eq!(value(r::RCX), Some(0xC0));
        assert_eq!(value(r::RBP), Some(0xBEEF));
        assert_eq!(value(r::RBX), Some(0xB1));
        assert_eq!(value(r::RDI), Some(0xD1));
        assert_eq!(value(r::RSI), Some(0x51));
        assert_eq!(value(r::R15), Some(15));
        assert_eq!(value(r::RSP), Some(AT + 0x28));
        assert_eq!(value(r::RIP), Some(IP));
    }
}

#[test]
fn nonvolatile_registers_are_not_known_where_nothing_saved_them() {
    // No return address into the kernel below the trap frame; and a page fault has no such frame.
    let fake = exception_frame(trap(fake(), AT, 8), TRAP - 0x140).zeros(STACK, TOP);
    for (code, parameters) in [(0xD1, [8, 2, 1, IP]), (0x50, [8, 0, IP, 0])] {
        let context = found(&crash(&fake, code, parameters));
        assert_eq!(context.source, Source::TrapFrame);
        assert_eq!(context.registers.get(r::RCX), Some(0xC0));
        assert_eq!(context.registers.get(r::RBX), None);
        assert_eq!(context.registers.get(r::R12), None);
    }
}

#[test]
fn an_exception_is_proven_by_the_record_below_its_trap_frame() {
    let fake = record(
        exception_frame(trap(fake(), AT, 0), TRAP - 0x1E0),
        TRAP - 0xA8,
        0xC000_0005,
        [1, 0x77],
    )
    .zeros(STACK, TOP);
    let crash = crash(&fake, 0x1E, [0xFFFF_FFFF_C000_0005, IP, 1, 0x77]);
    let context = found(&crash);
    assert_eq!(context.source, Source::TrapFrame);
    assert_eq!(context.registers.get(r::R13), Some(13));
    assert_eq!(context.access_violation, Some([1, 0x77]));
    let access = whole(&crash).access;
    assert_eq!(access.access.map(|a| a.as_str()), Some("write"));
    assert_eq!(access.address, Some(0x77));
}

#[test]
fn a_machine_frame_alone_is_said_to_be_no_more() {
    let fake = trap(fake(), AT, 0).zeros(STACK, TOP);
    let context = found(&crash(&fake, 0x1E, [0xC000_001D, IP, 0, 0]));
    assert_eq!(context.source, Source::MachineFrame);
}

#[test]
fn a_frame_pushed_with_another_alignment_is_none() {
    let fake = fake()
        .words(AT, &[IP, 0x10, 0x10246, AT + 0x48, 0x18])
        .zeros(STACK, TOP);
    let context = found(&crash(&fake, 0xD1, [8, 2, 1, IP]));
    assert_eq!(context.source, Source::BugcheckParameters);
    assert_eq!(context.registers.ip(), Some(IP));
    assert_eq!(context.registers.sp(), None);
}

#[test]
fn two_frames_that_fit_equally_well_are_counted() {
    let other = AT + 0x800;
    let fake = trap(trap(fake(), AT, 8), other, 8).zeros(STACK, TOP);
    let context = found(&crash(&fake, 0xD1, [8, 2, 1, IP]));
    assert_eq!(context.candidates, 2);
    assert_eq!(context.registers.sp(), Some(AT + 0x28), "the innermost");
    // The fault address decides between them when only one holds it.
    let fake = trap(trap(self::fake(), AT, 0x99), other, 8).zeros(STACK, TOP);
    let context = found(&crash(&fake, 0xD1, [8, 2, 1, IP]));
    assert_eq!(context.candidates, 1);
    assert_eq!(context.registers.sp(), Some(other + 0x28));
}

#[test]
fn the_context_a_parameter_names_is_taken_when_it_is_at_the_named_address() {
    let at = STACK + 0x400;
    let fake = context_record(fake(), at, IP, STACK + 0x2000).zeros(STACK, TOP);
    for (code, parameters) in [
        (0x3B, [0xC000_0005, IP, at, 0]),
        (0x7E, [0xC000_0005, IP, 0, at]),
        (0x1000_007E, [0xC000_0005, IP, 0, at]),
    ] {
        let context = found(&crash(&fake, code, parameters));
        assert_eq!(context.source, Source::ContextRecord, "{code:#x}");
        assert_eq!(context.registers.sp(), Some(STACK + 0x2000));
    }
    // Another address: the record is somebody else's.
    let context = found(&crash(&fake, 0x3B, [0xC000_0005, IP + 1, at, 0]));
    assert_eq!(context.source, Source::BugcheckParameters);
}

#[test]
fn an_m_variants_header_is_the_faults_context() {
    let fake = fake().zeros(STACK, TOP);
    let mut crash = crash(&fake, 0x1000_007E, [0xC000_0005, IP, 0, 0]);
    crash.context.as_mut().unwrap().set_ip(IP);
    assert_eq!(found(&crash).source, Source::HeaderContext);
}

#[test]
fn the_trap_frame_a_parameter_names_needs_no_address() {
    let fake = trap(fake(), AT, 0x55).zeros(STACK, TOP);
    for (code, parameters, access) in [
        (0xBE, [0x55, 0, TRAP, 0], Some("write")),
        (0xFC, [0x55, 0, TRAP, 0], Some("execute")),
        (0x139, [3, TRAP, 0, 0], None),
    ] {
        let crash = crash(&fake, code, parameters);
        let fault = whole(&crash);
        let context = fault.context.unwrap();
        assert_eq!(context.source, Source::TrapFrame, "{code:#x}");
        assert_eq!(context.registers.ip(), Some(IP));
        assert_eq!(fault.access.access.map(|a| a.as_str()), access, "{code:#x}");
    }
}

#[test]
fn a_page_fault_without_an_address_of_its_instruction_is_found_by_what_it_accessed() {
    let fake = trap(fake(), AT, 0x1234_5678).zeros(STACK, TOP);
    let context = found(&crash(&fake, 0x50, [0x1234_5678, 0, 0, 0]));
    assert_eq!(context.source, Source::TrapFrame);
    assert_eq!(context.registers.ip(), Some(IP));
    let elsewhere = found(&crash(&fake, 0x50, [0x9999, 0, 0, 0]));
    assert_eq!(elsewhere.source, Source::HeaderContext);
}

#[test]
fn special_pool_and_pool_corruption_faults_have_their_own_parameters() {
    let fake = trap(fake(), AT, 0x40).zeros(STACK, TOP);
    for (code, parameters, access, irql) in [
        (0xC5, [0x40, 2, 1, IP], "write", Some(2)),
        (0xCC, [0x40, 1, IP, 0], "write", None),
        (0xD5, [0x40, 0, IP, 0], "read", None),
    ] {
        let crash = crash(&fake, code, parameters);
        let fault = whole(&crash);
        assert_eq!(fault.context.unwrap().registers.ip(), Some(IP), "{code:#x}");
        assert_eq!(fault.access.access.map(|a| a.as_str()), Some(access));
        assert_eq!(fault.access.irql, irql);
        assert_eq!(fault.access.address, Some(0x40));
    }
}

#[test]
fn newer_kernels_write_a_page_faults_access_differently() {
    let fake = trap(fake(), AT, 0x40).zeros(STACK, TOP);
    let access = |build, p2| {
        let mut crash = crash(&fake, 0x50, [0x40, p2, IP, 0]);
        crash.build = Some(build);
        whole(&crash).access.access.map(|a| a.as_str())
    };
    assert_eq!(access(6001, 1), Some("write"));
    assert_eq!(access(6001, 8), Some("execute"));
    assert_eq!(access(19041, 2), Some("write"));
    assert_eq!(access(19041, 0x10), Some("execute"));
    assert_eq!(access(19041, 1), None);
}

#[test]
fn a_fetch_from_the_faulting_address_is_an_execute_whatever_the_code_says() {
    let module = Module::new("driver.sys", DRIVER)
        .function("Caller", 0x1000, 0x1100, &allocates(0x28))
        .with_image()
        .calls_before(&[0x1020]);
    let wild = 0xFFFF_F8A0_0BAD_0000u64;
    let fake = Fake::new(Machine::X64, vec![module, Module::new("ntoskrnl.exe", NT)])
        .words(AT, &[wild, 0x10, 0x10246, AT + 0x28, 0x18])
        .words(TRAP + 0xD0, &[wild])
        .words(AT + 0x28, &[DRIVER + 0x1020])
        .zeros(STACK, TOP);
    let fault = whole(&crash(&fake, 0xD1, [wild, 2, 0, wild]));
    assert_eq!(fault.access.access.map(|a| a.as_str()), Some("execute"));
    let instruction = fault.instruction.unwrap();
    assert_eq!(instruction.kind, Some(InstructionKind::CallThroughPointer));
    assert_eq!(
        fault.place,
        Some(DRIVER + 0x1020),
        "the caller, not the wild address"
    );
}

#[test]
fn the_irql_is_the_parameters_else_the_processor_blocks_and_never_the_trap_frames() {
    // PreviousIrql in the trap frame says 9.
    let fake = trap(fake(), AT, 8)
        .words(TRAP + 0x28, &[0x900])
        .zeros(STACK, TOP);
    let irql = |code, parameters, saved| {
        let mut crash = crash(&fake, code, parameters);
        crash.processor.saved_irql = saved;
        whole(&crash).access.irql
    };
    assert_eq!(irql(0xD1, [8, 2, 1, IP], Some(0xF)), Some(2));
    assert_eq!(irql(0x1E, [0xC000_0005, IP, 1, 8], Some(2)), Some(2));
    assert_eq!(irql(0x1E, [0xC000_0005, IP, 1, 8], None), None);
}

#[test]
fn what_was_running_comes_from_the_processor_block_and_the_stack() {
    let fake = trap(fake(), AT, 8).zeros(STACK, TOP);
    let running = |irql, processor, thread| {
        let mut crash = crash(&fake, 0xD1, [8, irql, 1, IP]);
        crash.processor = processor;
        crash.thread = thread;
        whole(&crash).access.activity.map(|a| a.as_str())
    };
    let state = |dpc, current, idle| ProcessorState {
        dpc_active: dpc,
        current_thread: Some(current),
        idle_thread: Some(idle),
        ..ProcessorState::default()
    };
    let here = ThreadStack {
        limit: Some(STACK),
        base: Some(TOP),
        store: None,
    };
    let elsewhere = ThreadStack {
        limit: Some(STACK + 0x10000),
        base: Some(TOP + 0x10000),
        store: None,
    };
    assert_eq!(running(2, state(Some(true), 1, 2), here), Some("dpc"));
    assert_eq!(running(2, state(Some(false), 7, 7), here), Some("idle"));
    assert_eq!(running(2, state(Some(false), 1, 2), here), Some("thread"));
    assert_eq!(running(2, state(Some(false), 1, 2), elsewhere), None);
    assert_eq!(running(2, state(None, 1, 2), here), None);
    assert_eq!(running(5, state(Some(true), 1, 2), here), Some("interrupt"));
}

#[test]
fn forced_dumps_judge_what_was_interrupted() {
    // KeBugCheckEx <- an interrupt handler | the driver's loop <- root
    let modules = vec![
        Module::new("driver.sys", DRIVER)
            .function("Spin", 0x1000, 0x1100, &allocates(0x28))
            .with_image(),
        Module::new("ntoskrnl.exe", NT)
            .function("KiInterruptDispatch", 0x1000, 0x1100, &trap_handler(0x160))
            .function("KeBugCheckEx", 0x4000, 0x4100, &allocates(0x28))
            .with_image(),
    ];
    let at = STACK + 0x30 + 0x168;
    let fake = trap(Fake::new(Machine::X64, modules), at, 0)
        .words(STACK + 0x28, &[NT + 0x1010])
        .words(at + 0x28 + 0x28, &[0])
        .zeros(STACK, TOP);
    for code in [0x80, 0x9E, 0xE2, 0x101, 0x133] {
        let mut crash = crash(&fake, code, [0; 4]);
        crash.context.as_mut().unwrap().set_ip(NT + 0x4010);
        let fault = whole(&crash);
        let context = fault.context.unwrap();
        assert_eq!(context.source, Source::TrapFrame, "{code:#x}");
        assert_eq!(context.registers.ip(), Some(IP), "{code:#x}");
        assert_eq!(fault.walk.frames[0].ip(), Some(IP));
        assert!(fault.walk.complete);
        assert_eq!(fault.place, Some(IP));
        assert_eq!(fault.access.address, None);
    }
}

#[test]
fn without_names_a_forced_dump_still_judges_what_was_interrupted() {
    // The handler of a non-maskable interrupt marks its trap frame as an exception's.
    let modules = vec![
        Module::new("driver.sys", DRIVER)
            .function("", 0x1000, 0x1100, &allocates(0x28))
            .with_image(),
        Module::new("ntoskrnl.exe", NT)
            .function("", 0x1000, 0x1100, &trap_handler(0x160))
            .function("", 0x4000, 0x4100, &allocates(0x28))
            .with_image(),
    ];
    let at = STACK + 0x30 + 0x168;
    let fake = trap(Fake::new(Machine::X64, modules), at, 0)
        .words(at - 0x168 + 0x28, &[1 << 24])
        .words(STACK + 0x28, &[NT + 0x1010])
        .words(at + 0x28 + 0x28, &[0])
        .zeros(STACK, TOP);
    let mut crash = crash(&fake, 0x80, [0x4F_4454, 0, 0, 0]);
    crash.context.as_mut().unwrap().set_ip(NT + 0x4010);
    let fault = whole(&crash);
    assert_eq!(fault.walk.frames[0].ip(), Some(IP));
    assert_eq!(fault.context.unwrap().source, Source::TrapFrame);
}

#[test]
fn a_context_cut_behind_its_general_registers_is_read() {
    // The dump holds the stack up to the middle of the record.
    let at = TOP - 0x100;
    let fake = context_record(fake(), at, IP, STACK + 0x2000).zeros(STACK, TOP);
    for (code, parameters) in [
        (0x3B, [0xC000_0005, IP, at, 0]),
        (0x1E, [0xC000_0005, IP, 0, 8]),
    ] {
        let context = found(&crash(&fake, code, parameters));
        assert_eq!(context.source, Source::ContextRecord, "{code:#x}");
        assert_eq!(context.registers.sp(), Some(STACK + 0x2000));
    }
    let cut =
        context_record(Fake::new(Machine::X64, vec![]), TOP - 0xF8, IP, STACK).zeros(STACK, TOP);
    let mut cut = cut;
    cut.memory.retain(|address, _| *address < TOP);
    let context = found(&crash(&cut, 0x3B, [0xC000_0005, IP, TOP - 0xF8, 0]));
    assert_eq!(context.source, Source::BugcheckParameters, "rip is cut off");
}

#[test]
fn the_bug_checks_own_registers_are_never_shown_as_the_faults() {
    // A double fault of which the dump holds nothing.
    let fake = fake().zeros(STACK, TOP);
    let fault = whole(&crash(&fake, 0x7F, [8, 0, 0, 0]));
    assert_eq!(fault.context.unwrap().source, Source::HeaderContext);
    assert!(fault.instruction.is_none());
    assert_eq!(fault.place, None);
}

/// What Microsoft's bug check code reference says of each code's parameters: which is the address
/// referenced, the IRQL, the kind of access and the instruction, counted from 1; and how the access
/// is written. "Bug Check 0x50" gives other numbers for newer systems.
type Reference = (
    u32,
    Option<usize>,
    Option<usize>,
    Option<usize>,
    Option<usize>,
    &'static [(u64, &'static str)],
);
const REFERENCE: &[Reference] = &[
    (0x0A, Some(1), Some(2), Some(3), Some(4), READ_WRITE_EXECUTE),
    (0x1E, Some(4), None, Some(3), Some(2), READ_WRITE),
    (0x3B, None, None, None, Some(2), &[]),
    (0x50, Some(1), None, Some(2), Some(3), READ_WRITE),
    (0x7E, None, None, None, Some(2), &[]),
    (0x8E, None, None, None, Some(2), &[]),
    (0xBE, Some(1), None, None, None, &[(0, "write")]),
    (0xC5, Some(1), Some(2), Some(3), Some(4), READ_WRITE),
    (0xCC, Some(1), None, Some(2), Some(3), READ_WRITE),
    (0xCD, Some(1), None, Some(2), Some(3), READ_WRITE),
    (0xD1, Some(1), Some(2), Some(3), Some(4), READ_WRITE_EXECUTE),
    (0xD5, Some(1), None, Some(2), Some(3), READ_WRITE),
    (0xD6, Some(1), None, Some(2), Some(3), READ_WRITE),
    (0xFC, Some(1), None, None, None, &[(0, "execute")]),
];
const READ_WRITE: &[(u64, &str)] = &[(0, "read"), (1, "write")];
const READ_WRITE_EXECUTE: &[(u64, &str)] = &[(0, "read"), (1, "write"), (8, "execute")];

#[test]
fn each_code_reads_its_parameters_as_the_published_reference_describes_them() {
    const ADDRESS: u64 = 0xFFFF_FA80_0123_4560;
    let fake = fake().zeros(STACK, TOP);
    for (code, address, irql, access, ip, meanings) in REFERENCE {
        let mut parameters = [0; 4];
        let mut set = |at: &Option<usize>, value| {
            if let Some(n) = at {
                parameters[n - 1] = value;
            }
        };
        set(address, ADDRESS);
        set(irql, 5);
        set(ip, IP);
        // The exception of the codes that report one.
        if matches!(code, 0x1E | 0x3B | 0x7E | 0x8E) {
            parameters[0] = 0xC000_0005;
        }
        for (value, word) in *meanings {
            if let Some(n) = access {
                parameters[n - 1] = *value;
            }
            for code in [*code, code | 0x1000_0000] {
                let crash = crash(&fake, code, parameters);
                let fault = whole(&crash);
                let said = fault.access;
                assert_eq!(crash.named_ip(), ip.map(|_| IP), "{code:#x}");
                assert_eq!(said.address, address.map(|_| ADDRESS), "{code:#x}");
                assert_eq!(said.irql, irql.map(|_| 5), "{code:#x}");
                assert_eq!(said.access.map(|a| a.as_str()), Some(*word), "{code:#x}");
            }
        }
        if meanings.is_empty() {
            assert_eq!(
                crash(&fake, *code, parameters).named_ip(),
                Some(IP),
                "{code:#x}"
            );
        }
    }
}

#[test]
fn an_x64_double_fault_is_found_on_the_stack_it_switched_to() {
    // The processor pushed the frame on another stack than the one that ran out.
    let lost = 0xFFFF_F880_0600_0010;
    let fake = fake()
        .words(AT, &[IP, 0x10, 0x10246, lost, 0x18])
        .words(TRAP - 8, &[NT + 0x2010])
        .zeros(STACK, TOP);
    let context = found(&crash(&fake, 0x7F, [8, 0, 0, 0]));
    assert_eq!(context.source, Source::TrapFrame);
    assert_eq!(context.registers.ip(), Some(IP));
    assert_eq!(context.registers.sp(), Some(lost));
}

#[test]
fn a_failed_check_stands_at_the_caller_of_the_bug_check() {
    let modules = vec![
        Module::new("driver.sys", DRIVER)
            .function("Dereference", 0x1000, 0x1100, &allocates(0x28))
            .with_image(),
        Module::new("ntoskrnl.exe", NT)
            .function("KeBugCheck", 0x3000, 0x3100, &allocates(0x28))
            .function("KeBugCheckEx", 0x4000, 0x4100, &[1, 0, 0, 0])
            .with_image(),
    ];
    let fake = Fake::new(Machine::X64, modules)
        .words(STACK, &[NT + 0x3010])
        .words(STACK + 0x30, &[DRIVER + 0x1010])
        .zeros(STACK, TOP);
    let fault = whole(&crash(&fake, 0x1C, [0; 4]));
    assert_eq!(fault.context.unwrap().source, Source::HeaderContext);
    assert_eq!(fault.place, Some(DRIVER + 0x1010));
    assert!(fault.instruction.is_none());
}

#[test]
fn registers_that_the_search_could_not_find_come_from_unwinding() {
    // MmAccessFault saved rbx on the way to the bug check; the trap frame does not hold it.
    let modules = vec![
        Module::new("driver.sys", DRIVER),
        Module::new("ntoskrnl.exe", NT)
            .function("KiPageFault", 0x1000, 0x1100, &trap_handler(0x160))
            .function("KeBugCheckEx", 0x4000, 0x4100, &[1, 1, 1, 0, 1, 0x30])
            .with_image(),
    ];
    let at = STACK + 0x10 + 0x168;
    let fake = trap(Fake::new(Machine::X64, modules), at, 8)
        .words(STACK, &[0xB00B, NT + 0x1010])
        .zeros(STACK, TOP);
    let mut crash = crash(&fake, 0x50, [8, 0, IP, 0]);
    let header = crash.context.as_mut().unwrap();
    header.set_ip(NT + 0x4010);
    header.set(r::R12, 0xC12);
    let fault = whole(&crash);
    let registers = fault.context.unwrap().registers;
    assert_eq!(registers.get(r::RBX), Some(0xB00B), "restored");
    assert_eq!(registers.get(r::R12), Some(0xC12), "never touched");
    assert_eq!(registers.get(r::RCX), Some(0xC0), "the trap frame's");
}

/// Runs the instruction at `IP` with `rcx` = 8 and `rax` = 0x20.
fn instruction(
    code: &[u8],
    offset: u32,
    parameters: [u64; 4],
) -> (String, Option<InstructionKind>, Option<bool>) {
    let module = Module::new("driver.sys", DRIVER)
        .with_image()
        .code(0x1010 - offset, code);
    let fake = Fake::new(Machine::X64, vec![module, Module::new("ntoskrnl.exe", NT)]);
    let fake = trap(fake, AT, parameters[0])
        .words(TRAP + 0x30, &[0x20, 8])
        .zeros(STACK, TOP);
    let fault = whole(&crash(&fake, 0xD1, parameters));
    let instruction = fault.instruction.unwrap();
    (
        instruction.text.unwrap(),
        instruction.kind,
        instruction.effective_address.and_then(|e| e.agrees),
    )
}

/// `movsq` reads at rsi and writes at rdi: where no parameter names the address, the one that cannot be one is what
/// faulted, whichever operand it is.
#[test]
fn an_operand_that_cannot_be_an_address_is_the_one_that_faulted() {
    const WILD: u64 = 0x0012_3456_789A_BCDE;
    for wild in [r::RSI, r::RDI] {
        let module = Module::new("driver.sys", DRIVER)
            .with_image()
            .code(0x1010, &[0x48, 0xA5]);
        let fake = Fake::new(Machine::X64, vec![module, Module::new("ntoskrnl.exe", NT)])
            .zeros(STACK, TOP);
        let mut crash = crash(&fake, 0x3B, [0xC000_0005, IP, 0, 0]);
        let header = crash.context.as_mut().unwrap();
        header.set_ip(IP);
        header.set(r::RSI, STACK);
        header.set(r::RDI, STACK);
        header.set(wild, WILD);
        let effective = whole(&crash)
            .instruction
            .and_then(|instruction| instruction.effective_address)
            .unwrap();
        assert_eq!(
            (effective.value, effective.agrees),
            (WILD, None),
            "{wild:?}"
        );
    }
}

#[test]
fn the_two_stores_of_an_unlink_are_recognised_by_each_other() {
    // mov [rax], rcx; mov [rcx+8], rax; ret
    let unlink = [0x48, 0x89, 0x08, 0x48, 0x89, 0x41, 0x08, 0xC3];
    let first = instruction(&unlink, 0, [0x20, 2, 1, IP]);
    assert_eq!(
        first,
        (
            "mov [rax],rcx".into(),
            Some(InstructionKind::ListUnlink),
            Some(true)
        )
    );
    let second = instruction(&unlink, 3, [0x10, 2, 1, IP]);
    assert_eq!(
        second,
        (
            "mov [rcx+8],rax".into(),
            Some(InstructionKind::ListUnlink),
            Some(true)
        )
    );
}

#[test]
fn an_insertion_stores_one_entry_into_both_neighbours() {
    // mov [rax], rcx; mov [rdx+8], rcx; ret
    let insert = [0x48, 0x89, 0x08, 0x48, 0x89, 0x4A, 0x08, 0xC3];
    let (text, kind, _) = instruction(&insert, 0, [0x20, 2, 1, IP]);
    assert_eq!(
        (text.as_str(), kind),
        ("mov [rax],rcx", Some(InstructionKind::ListInsert))
    );
}

#[test]
fn other_list_and_call_instructions_have_their_kinds() {
    let kind = |code: &[u8]| instruction(code, 0, [8, 2, 0, IP]).1;
    // mov rcx, [rcx]: the next entry.
    assert_eq!(
        kind(&[0x48, 0x8B, 0x09, 0xC3]),
        Some(InstructionKind::ListWalk)
    );
    // cmp [rcx+8], rax; jne; mov [rax], rdx; mov [rdx+8], rax
    let checked = [
        0x48, 0x39, 0x41, 0x08, 0x75, 0x10, 0x48, 0x89, 0x10, 0x48, 0x89, 0x42, 0x08,
    ];
    assert_eq!(kind(&checked), Some(InstructionKind::CheckedUnlink));
    // call [rcx]
    assert_eq!(
        kind(&[0xFF, 0x11]),
        Some(InstructionKind::CallThroughPointer)
    );
    // movzx eax, byte [rcx]
    assert_eq!(
        kind(&[0x0F, 0xB6, 0x01]),
        Some(InstructionKind::PlainAccess)
    );
}

#[test]
fn registers_that_do_not_lead_to_the_reported_address_are_said_not_to() {
    let (_, _, agrees) = instruction(&[0x48, 0x8B, 0x01, 0xC3], 0, [0x5555, 2, 0, IP]);
    assert_eq!(agrees, Some(false));
}

mod x86 {
    use super::*;

    const STACK: u64 = 0x8B5F_0000;
    const IP: u64 = 0x8D20_1010;

    fn fake() -> Fake {
        Fake::new(
            Machine::X86,
            vec![
                Module::new("driver.sys", 0x8D20_0000),
                Module::new("ntkrnlpa.exe", 0x8180_0000),
            ],
        )
    }

    fn trap(fake: Fake, at: u64) -> Fake {
        fake.words(at, &[0x77, IP, 0xBADB_0D00])
            .words(at + 0x34, &[0x23, 0x23, 0xD0, 0xC0, 0xA0])
            .words(
                at + 0x50,
                &[0x30, 0xD1, 0x51, 0xB1, 0x77, 2, IP, 8, 0x10246],
            )
    }

    #[test]
    fn a_trap_frame_is_found_by_its_selectors() {
        for (code, parameters) in [
            (0xD1, [4, 2, 1, IP]),
            (0x0A, [4, 2, 1, IP]),
            (0x1E, [0xC000_0005, IP, 1, 4]),
            (0x50, [4, 1, IP, 0]),
        ] {
            let at = STACK + 0x800;
            let fake = trap(fake(), at).zeros(STACK, STACK + 0x3000);
            let context = found(&crash(&fake, code, parameters));
            assert_eq!(context.source, Source::TrapFrame, "{code:#x}");
            assert_eq!(context.trap_frame, Some(at));
            assert_eq!(context.registers.sp(), Some(at + 0x74));
            assert_eq!(context.registers.get(r86::EBX), Some(0xB1));
            assert_eq!(context.registers.get(r86::EAX), Some(0xA0));
            assert_eq!(context.registers.get(r86::EDX), Some(0xD0));
        }
    }

    #[test]
    fn other_selectors_are_no_trap_frame() {
        let at = STACK + 0x800;
        let fake = trap(fake(), at)
            .words(at + 0x50, &[0x3B])
            .zeros(STACK, STACK + 0x3000);
        let context = found(&crash(&fake, 0xD1, [4, 2, 1, IP]));
        assert_eq!(context.source, Source::BugcheckParameters);
    }

    #[test]
    fn the_trap_frame_that_8e_names_is_taken_sign_extended_or_not() {
        let at = STACK + 0x800;
        let fake = trap(fake(), at).zeros(STACK, STACK + 0x3000);
        for frame in [at, at | 0xFFFF_FFFF_0000_0000] {
            let crash = crash(&fake, 0x1000_008E, [0xC000_0005, IP, frame, 0]);
            assert_eq!(found(&crash).source, Source::TrapFrame);
        }
    }

    #[test]
    fn a_double_fault_leaves_the_task_state() {
        let tss = STACK + 0x400;
        let fake = fake()
            .words(
                tss + 0x20,
                &[IP, 0x10246, 1, 2, 3, 4, STACK + 0x10, 6, 7, 8],
            )
            .words(tss + 0x48, &[0x23, 8, 0x10, 0x23, 0x30, 0])
            .zeros(STACK, STACK + 0x3000);
        let context = found(&crash(&fake, 0x7F, [8, tss, 0, 0]));
        assert_eq!(context.registers.ip(), Some(IP));
        assert_eq!(context.registers.sp(), Some(STACK + 0x10));
        assert_eq!(context.registers.get(r86::EDI), Some(8));
        assert_eq!(context.source, Source::ContextRecord);
    }
}
