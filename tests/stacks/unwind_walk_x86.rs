//! Walks over x86 stacks: frame data, frame pointers, trap frames, the way back from the DPC stack.

use crate::support::unwind::fake::{Fake, Module};
use kbtriage::machine::{Machine, Registers, x86::registers as r};
use kbtriage::unwind::{FrameProgram, StackKind, StackRange, Stop};

const DRIVER: u64 = 0x8D20_0000;
const NT: u64 = 0x8180_0000;
const STACK: u64 = 0x8B5F_0000;
const DPC_TOP: u64 = 0x8C00_3000;

/// Return addresses used below; each lies behind a call.
const BACK: [u32; 4] = [0x1020, 0x1120, 0x1220, 0x1320];

fn driver() -> Module {
    Module::new("driver.sys", DRIVER)
        .function("A", 0x1000, 0x1100, &[])
        .function("B", 0x1100, 0x1200, &[])
        .function("C", 0x1200, 0x1300, &[])
        .function("D", 0x1300, 0x1400, &[])
}

fn nt() -> Module {
    Module::new("ntkrpamp.exe", NT)
        .function("KiTrap0E", 0x1000, 0x1100, &[])
        .function("KiRetireDpcList", 0x1100, 0x1200, &[])
        .function("KiDispatchInterrupt", 0x1200, 0x1300, &[])
        .function("KiFastCallEntry", 0x1300, 0x1400, &[])
}

fn fake(driver: Module) -> Fake {
    Fake::new(
        Machine::X86,
        vec![
            driver.with_image().calls_before(&BACK),
            nt().with_image().calls_before(&BACK),
        ],
    )
}

fn start(ip: u64, sp: u64, ebp: u64) -> Registers {
    let mut registers = Registers::new(Machine::X86);
    registers.set_ip(ip);
    registers.set_sp(sp);
    registers.set(r::EBP, ebp);
    registers
}

/// A trap frame at `at` for code stopped at `eip`; user mode when `user`.
fn trap_frame(fake: Fake, at: u64, eip: u64, ebp: u64, user: bool) -> Fake {
    let (cs, fs) = if user { (0x1B, 0x3B) } else { (8, 0x30) };
    let mut words = [0u64; 0x23];
    let mut set = |offset: usize, value: u64| words[offset / 4] = value;
    set(0x00, ebp);
    set(0x04, eip);
    set(0x08, 0xBADB_0D00);
    set(0x34, 0x23);
    set(0x38, 0x23);
    set(0x40, 0xC0C0);
    set(0x50, fs);
    set(0x54, 0xD1);
    set(0x60, ebp);
    set(0x68, eip);
    set(0x6C, cs);
    set(0x70, 0x10246);
    if user {
        set(0x74, 0x12_F000);
        set(0x78, 0x23);
    }
    let len = if user { 0x1F } else { 0x1D };
    fake.words(at, &words[..len])
}

#[test]
fn the_chain_of_frame_pointers_is_followed_to_the_root() {
    let fake = fake(driver())
        .words(STACK + 0x20, &[STACK + 0x40, DRIVER + 0x1120])
        .words(STACK + 0x40, &[0, 0]);
    let walk = fake.walk(&start(DRIVER + 0x1010, STACK, STACK + 0x20));
    assert_eq!(fake.show(&walk), ["A context", "B frame-pointer"]);
    assert_eq!(walk.frames[1].sp(), Some(STACK + 0x28));
    assert!(walk.complete);
}

#[test]
fn a_program_restores_the_registers_it_names_and_parameters_are_skipped() {
    // A: 8 bytes of locals, ebx saved, 12 bytes of parameters that A itself removes.
    // B: no locals; its caller C is found above A's parameters.
    const PROGRAM: &str = "$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + = $ebx $T0 4 - ^ =";
    const PLAIN: &str = "$T0 .raSearch = $eip $T0 ^ = $esp $T0 4 + =";
    let driver = driver()
        .frame(0x1000, [8, 12, 4], FrameProgram::Program(PROGRAM.into()))
        .frame(0x1100, [0, 0, 0], FrameProgram::Program(PLAIN.into()))
        .frame(0x1200, [0, 0, 0], FrameProgram::Program(PLAIN.into()));
    let fake = fake(driver).words(
        STACK,
        &[
            1,
            2,
            0xBB,
            DRIVER + 0x1120,
            0xA1,
            0xA2,
            0xA3,
            DRIVER + 0x1220,
            0,
        ],
    );
    let walk = fake.walk(&start(DRIVER + 0x1010, STACK, 0x77));
    assert_eq!(
        fake.show(&walk),
        ["A context", "B frame-data", "C frame-data"]
    );
    let b = &walk.frames[1].registers;
    assert_eq!(b.get(r::EBX), Some(0xBB));
    assert_eq!(b.get(r::EBP), Some(0x77), "untouched by A");
    assert_eq!(
        b.get(r::ESI),
        None,
        "A saves registers the program does not name"
    );
    assert_eq!(b.get(r::EAX), None, "volatile");
    assert_eq!(b.sp(), Some(STACK + 0x10));
    assert!(walk.complete);
}

#[test]
fn an_fpo_record_gives_the_caller_by_the_size_of_the_frame() {
    let driver = driver().frame(
        0x1000,
        [0x10, 4, 8],
        FrameProgram::Fpo {
            uses_base_pointer: true,
        },
    );
    // ebp saved as one of two registers: locals, (edi), ebp, return address.
    let fake = fake(driver)
        .words(
            STACK,
            &[STACK + 0x40, 0xE1, 3, 4, 5, 6, DRIVER + 0x1120, 0x51],
        )
        .words(STACK + 0x40, &[0, 0]);
    let walk = fake.walk(&start(DRIVER + 0x1010, STACK, 0x1234_5678));
    assert_eq!(fake.show(&walk)[..2], ["A context", "B frame-data"]);
    assert_eq!(walk.frames[1].sp(), Some(STACK + 0x1C));
    assert_eq!(walk.frames[1].registers.get(r::EBP), Some(STACK + 0x40));
}

#[test]
fn a_trap_frame_on_the_chain_is_crossed_with_all_its_registers() {
    let trap = STACK + 0x40;
    let mut fake = fake(driver()).words(STACK + 0x20, &[trap, NT + 0x1020]);
    fake =
        trap_frame(fake, trap, DRIVER + 0x1210, STACK + 0x100, false).words(STACK + 0x100, &[0, 0]);
    let walk = fake.walk(&start(DRIVER + 0x1010, STACK, STACK + 0x20));
    assert_eq!(
        fake.show(&walk),
        [
            "A context",
            "KiTrap0E frame-pointer",
            "C trap-frame exception"
        ]
    );
    let interrupted = &walk.frames[2].registers;
    assert_eq!(interrupted.sp(), Some(trap + 0x74));
    assert_eq!(interrupted.get(r::ECX), Some(0xC0C0));
    assert_eq!(interrupted.get(r::EDI), Some(0xD1));
    assert_eq!(walk.faulting_activity, 3);
}

#[test]
fn a_handler_is_found_below_its_trap_frame_under_the_arguments_it_gave() {
    // A has no frame of its own: the frame pointer is the handler's, which leads to the trap frame.
    for arguments in 0..=4 {
        let trap = STACK + 4 + arguments * 4;
        let mut words = vec![NT + 0x1020];
        words.extend(std::iter::repeat_n(0x1234, arguments as usize));
        let fake = fake(driver())
            .words(STACK, &words)
            .words(STACK + 0x100, &[0, 0]);
        let fake = trap_frame(fake, trap, DRIVER + 0x1210, STACK + 0x100, false);
        let walk = fake.walk(&start(DRIVER + 0x1010, STACK, trap));
        assert_eq!(
            fake.show(&walk),
            [
                "A context",
                "KiTrap0E frame-pointer",
                "C trap-frame exception"
            ],
            "{arguments} arguments"
        );
    }
}

#[test]
fn a_walk_ends_where_user_mode_called_the_kernel() {
    let trap = STACK + 0x40;
    let mut fake = fake(driver()).words(STACK + 0x20, &[trap, NT + 0x1320]);
    fake = trap_frame(fake, trap, 0x7701_2345, 0x12_F100, true);
    let walk = fake.walk(&start(DRIVER + 0x1010, STACK, STACK + 0x20));
    assert_eq!(
        fake.show(&walk),
        [
            "A context",
            "KiFastCallEntry frame-pointer",
            "? trap-frame user"
        ]
    );
    assert_eq!(walk.frames[2].sp(), Some(0x12_F000));
    assert!(walk.complete);
}

/// TimerRoutine on the DPC stack <- KiRetireDpcList <- KiDispatchInterrupt, `arguments` words below
/// the topmost one, which holds the thread's stack pointer. There lie what KiDispatchInterrupt
/// saved (`saved`), and an interrupt's trap frame further out.
fn interrupted_by_dpc(arguments: u64, saved: &[u64]) -> (Fake, Registers) {
    let thread = STACK + 0x200;
    let trap = thread + 0x40;
    let dpc = DPC_TOP - 0x40;
    let mut fake = fake(driver())
        .zeros(thread, trap)
        .zeros(dpc, DPC_TOP)
        .words(dpc + 0x10, &[dpc + 0x20, NT + 0x1120]);
    // KiRetireDpcList keeps its frame in ebp; what it returns to is KiDispatchInterrupt.
    let back = DPC_TOP - 4 - arguments * 4 - 8;
    fake.memory.insert(dpc + 0x10, back);
    fake = fake
        .words(back, &[STACK + 0x300, NT + 0x1220])
        .words(DPC_TOP - 4, &[thread])
        .words(thread, saved);
    fake =
        trap_frame(fake, trap, DRIVER + 0x1310, STACK + 0x300, false).words(STACK + 0x300, &[0, 0]);
    fake.stacks = vec![
        StackRange {
            low: DPC_TOP - 0x3000,
            high: DPC_TOP,
            kind: StackKind::Dpc,
        },
        StackRange {
            low: STACK,
            high: STACK + 0x3000,
            kind: StackKind::Thread,
        },
    ];
    (fake, start(DRIVER + 0x1010, dpc, dpc + 0x10))
}

#[test]
fn the_interrupted_stack_is_found_in_the_topmost_word_of_the_dpc_stack() {
    let trap = STACK + 0x240;
    // The head of the exception list, ebx, the caller's frame pointer, the return address.
    let saved = [0xFFFF_FFFF, 0xBB, trap, DRIVER + 0x1220];
    for arguments in [0, 1] {
        let (fake, start) = interrupted_by_dpc(arguments, &saved);
        let walk = fake.walk(&start);
        assert_eq!(
            fake.show(&walk),
            [
                "A context",
                "KiRetireDpcList frame-pointer dpc",
                "KiDispatchInterrupt frame-pointer",
                "C frame-pointer",
                "D trap-frame interrupt",
            ]
        );
        assert_eq!(walk.frames[3].sp(), Some(STACK + 0x210));
        assert_eq!(walk.faulting_activity, 1);
        assert!(walk.complete);
    }
}

#[test]
fn what_is_found_on_the_interrupted_stack_without_a_frame_pointer_is_a_candidate() {
    let (fake, start) = interrupted_by_dpc(0, &[0xFFFF_FFFF, 0xBB, 0xEB, DRIVER + 0x1220]);
    let walk = fake.walk(&start);
    assert_eq!(fake.show(&walk)[3], "C scan");
    assert!(!walk.complete);
    // Nor is there a return address: the trap frame further out is only a candidate.
    let (fake, start) = interrupted_by_dpc(0, &[0xFFFF_FFFF, 0xBB]);
    assert_eq!(fake.show(&fake.walk(&start))[3], "D scan interrupt");
}

#[test]
fn an_interrupted_stack_that_is_not_in_the_dump_is_said() {
    let (mut fake, start) = interrupted_by_dpc(0, &[]);
    fake.memory.retain(|at, _| *at >= DPC_TOP - 0x3000);
    let walk = fake.walk(&start);
    assert_eq!(walk.frames.len(), 3);
    assert_eq!(
        walk.stopped_because,
        Some(Stop::NoStack { at: STACK + 0x200 })
    );
}

#[test]
fn an_expanded_stack_belongs_to_the_same_activity() {
    // A runs on the larger stack it was given; the function that switched keeps its frame on the
    // thread's own, below.
    let nt = |name| {
        Module::new("ntkrpamp.exe", NT)
            .function(name, 0x1000, 0x1100, &[])
            .with_image()
            .calls_before(&BACK)
    };
    let larger = STACK + 0x40_0000;
    let walk = |name, stacks| {
        let modules = vec![driver().with_image().calls_before(&BACK), nt(name)];
        let mut fake = Fake::new(Machine::X86, modules)
            .words(larger + 0x20, &[STACK + 0x40, NT + 0x1020])
            .words(STACK + 0x40, &[STACK + 0x60, DRIVER + 0x1220])
            .words(STACK + 0x60, &[0, 0]);
        fake.stacks = stacks;
        let walk = fake.walk(&start(DRIVER + 0x1010, larger, larger + 0x20));
        (fake.show(&walk), walk.complete, walk.faulting_activity)
    };
    let own = StackRange {
        low: STACK,
        high: STACK + 0x3000,
        kind: StackKind::Thread,
    };
    let whole = |name: &str| {
        [
            "A context".to_owned(),
            format!("{name} frame-pointer"),
            "C frame-pointer".to_owned(),
        ]
    };
    let (shown, complete, activity) = walk("KiSwitchKernelStackAndCallout", vec![]);
    assert_eq!(shown, whole("KiSwitchKernelStackAndCallout"));
    assert!(complete);
    assert_eq!(activity, 3);
    let (shown, complete, _) = walk("SomeFunction", vec![own]);
    assert_eq!(shown, whole("SomeFunction"));
    assert!(complete, "the limits of the thread's stack are known");
    let (shown, complete, _) = walk("SomeFunction", vec![]);
    assert_eq!(shown.len(), 1, "nothing says that this is a stack");
    assert!(!complete);
}

#[test]
fn a_thread_begins_at_the_top_of_its_stack_with_a_frame_pointer_of_zero() {
    let walk = |kernel: bool, size: u64| {
        let first = if kernel { NT } else { DRIVER } + 0x1320;
        let mut fake = fake(driver()).words(STACK + 0x20, &[0, first]);
        fake.stacks = vec![StackRange {
            low: STACK,
            high: STACK + size,
            kind: StackKind::Thread,
        }];
        fake.walk(&start(DRIVER + 0x1010, STACK, STACK + 0x20))
    };
    assert_eq!(walk(true, 0x200).frames.len(), 2);
    assert!(walk(true, 0x200).complete);
    assert!(
        !walk(false, 0x200).complete,
        "a driver uses ebp as it likes"
    );
    assert!(!walk(true, 0x2000).complete, "there is more above");
}

#[test]
fn a_function_that_has_not_set_its_frame_pointer_yet_has_its_caller_on_top() {
    // With and without the first two bytes; mov ebp, esp in either encoding.
    for prologue in [
        [0x8Bu8, 0xFF, 0x55, 0x8B, 0xEC],
        [0x8B, 0xFF, 0x55, 0x89, 0xE5],
        [0x55, 0x8B, 0xEC, 0x90, 0x90],
        [0x55, 0x89, 0xE5, 0x90, 0x90],
    ] {
        let module = driver().with_image().calls_before(&BACK);
        let fake = Fake::new(Machine::X86, vec![module.code(0x1000, &prologue)])
            .words(STACK, &[DRIVER + 0x1120])
            .words(STACK + 0x20, &[STACK + 0x40, DRIVER + 0x1220])
            .words(STACK + 0x40, &[0, 0]);
        let walk = fake.walk(&start(DRIVER + 0x1000, STACK, STACK + 0x20));
        assert_eq!(
            fake.show(&walk),
            ["A context", "B frame-pointer", "C frame-pointer"]
        );
    }
}

#[test]
fn a_call_through_a_bad_pointer_has_its_caller_on_top() {
    let fake = fake(driver())
        .words(STACK, &[DRIVER + 0x1120])
        .words(STACK + 0x20, &[STACK + 0x40, DRIVER + 0x1220])
        .words(STACK + 0x40, &[0, 0]);
    let walk = fake.walk(&start(0xDEAD_BEE0, STACK, STACK + 0x20));
    assert_eq!(
        fake.show(&walk),
        ["? context", "B frame-pointer", "C frame-pointer"]
    );
}

#[test]
fn what_the_chain_does_not_give_is_scanned_and_said_to_be() {
    let fake = fake(driver()).words(STACK, &[0, DRIVER + 0x1030, DRIVER + 0x1120, 0]);
    let walk = fake.walk(&start(DRIVER + 0x1010, STACK, 0));
    // The first word behind no call is passed over.
    assert_eq!(fake.show(&walk), ["A context", "B scan"]);
    assert_eq!(walk.faulting_activity, 1);
    assert!(!walk.complete);
}

#[test]
fn a_chain_that_turns_back_on_itself_ends() {
    let fake = fake(driver())
        .words(STACK + 0x20, &[STACK + 0x30, DRIVER + 0x1120])
        .words(STACK + 0x30, &[STACK + 0x20, DRIVER + 0x1220])
        .zeros(STACK, STACK + 0x60);
    let walk = fake.walk(&start(DRIVER + 0x1010, STACK, STACK + 0x20));
    // The second link points inward: it is no frame pointer, its return address a candidate.
    assert_eq!(fake.show(&walk), ["A context", "B frame-pointer", "C scan"]);
    assert!(matches!(walk.stopped_because, Some(Stop::Step(_))));
}
