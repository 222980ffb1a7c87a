//! Walks over x64 stacks: trust, borders of activities, candidates, and stacks made to mislead.

use crate::support::unwind::fake::{Fake, Module, allocates, trap_handler};
use kbtriage::bytes::Budget;
use kbtriage::machine::{Machine, x64::registers as r};
use kbtriage::unwind::{MOST_CANDIDATES, MOST_FRAMES, StackKind, StackRange, Stop};

const DRIVER: u64 = 0xFFFF_F880_0400_0000;
const NT: u64 = 0xFFFF_F800_0180_0000;
const STACK: u64 = 0xFFFF_F880_0500_0000;
/// Distance from a trap frame to its machine frame, and size of what a handler allocates.
const TRAP: u64 = 0x168;

fn driver() -> Module {
    Module::new("driver.sys", DRIVER)
        .function("TimerRoutine", 0x1000, 0x1100, &allocates(0x28))
        .function("Innocent", 0x1200, 0x1300, &allocates(0x28))
        .function("Wild", 0x1400, 0x1500, &[])
}

fn nt() -> Module {
    Module::new("ntoskrnl.exe", NT)
        .function("KiRetireDpcList", 0x1000, 0x1100, &allocates(0x28))
        .function("KiDpcInterrupt", 0x1200, 0x1300, &trap_handler(0x160))
        .function("KiPageFault", 0x1400, 0x1500, &trap_handler(0x160))
        .function("KiServiceInternal", 0x1600, 0x1700, &trap_handler(0x160))
        .function("MmAccessFault", 0x1800, 0x1900, &allocates(0x28))
        .function(
            "KiSystemServiceCopyEnd",
            0x1A00,
            0x1B00,
            &trap_handler(0x160),
        )
        .function("", 0x1C00, 0x1D00, &trap_handler(0x160))
}

fn fake() -> Fake {
    Fake::new(Machine::X64, vec![driver().with_image(), nt().with_image()])
}

/// Words of a machine frame at `at` that stopped kernel code at `rip`.
fn kernel_frame(at: u64, rip: u64) -> [u64; 5] {
    [rip, 0x10, 0x10246, at + 0x28, 0x18]
}

/// A frame of `allocates(0x28)` at `at`, returning to `back`.
fn returns(fake: Fake, at: u64, back: u64) -> Fake {
    fake.words(at + 0x28, &[back])
}

/// A trap frame whose machine frame lies at `at`, made while `rip` ran.
fn trapped(fake: Fake, at: u64, rip: u64, exception_active: u64) -> Fake {
    fake.words(at, &kernel_frame(at, rip))
        .words(at - TRAP + 0x28, &[exception_active << 24])
        .zeros(at - TRAP, at)
}

#[test]
fn the_thread_below_a_deferred_procedure_call_does_not_belong_to_the_fault() {
    // TimerRoutine <- KiRetireDpcList <- KiDpcInterrupt | Innocent <- root
    let at = STACK + 0x60 + TRAP;
    let mut fake = returns(fake(), STACK, NT + 0x1010);
    fake = returns(fake, STACK + 0x30, NT + 0x1210);
    fake = trapped(fake, at, DRIVER + 0x1210, 0);
    fake = returns(fake, at + 0x28, 0);
    let walk = fake.walk(&fake.registers(DRIVER + 0x1010, STACK));
    assert_eq!(
        fake.show(&walk),
        [
            "TimerRoutine context",
            "KiRetireDpcList unwind-info dpc",
            "KiDpcInterrupt unwind-info",
            "Innocent trap-frame interrupt",
        ]
    );
    assert_eq!(walk.faulting_activity, 1);
    assert!(walk.complete);
    assert_eq!(walk.stopped_because, None);
}

#[test]
fn code_whose_own_page_fault_led_to_the_crash_belongs_to_it() {
    let at = STACK + 0x30 + TRAP;
    let mut fake = returns(fake(), STACK, NT + 0x1410);
    fake = trapped(fake, at, DRIVER + 0x1210, 1);
    fake = returns(fake, at + 0x28, 0);
    let walk = fake.walk(&fake.registers(NT + 0x1810, STACK));
    assert_eq!(
        fake.show(&walk),
        [
            "MmAccessFault context",
            "KiPageFault unwind-info",
            "Innocent trap-frame exception",
        ]
    );
    assert_eq!(walk.faulting_activity, 3);
}

#[test]
fn without_names_the_trap_frame_itself_says_whether_it_was_an_interrupt() {
    let border = |active: u64| {
        let at = STACK + TRAP;
        let mut fake = trapped(fake(), at, DRIVER + 0x1210, active);
        fake = returns(fake, at + 0x28, 0);
        let walk = fake.walk(&fake.registers(NT + 0x1C10, STACK));
        (
            walk.frames[1].boundary.map(|b| b.as_str()),
            walk.faulting_activity,
        )
    };
    assert_eq!(border(0), (Some("interrupt"), 1));
    assert_eq!(border(1), (Some("exception"), 2));
    assert_eq!(
        border(2),
        (None, 2),
        "a system service called from the kernel"
    );
}

#[test]
fn an_expanded_stack_belongs_to_the_same_activity() {
    let other = STACK + 0x9000;
    let nt = Module::new("ntoskrnl.exe", NT)
        .function(
            "KxSwitchKernelStackCallout",
            0x1000,
            0x1100,
            &[1, 0, 1, 0, 0, 0x0A],
        )
        .with_image();
    let mut fake = Fake::new(Machine::X64, vec![driver().with_image(), nt]);
    fake = returns(fake, STACK, NT + 0x1010)
        .words(STACK + 0x30, &[DRIVER + 0x1210, 0x10, 0x246, other, 0x18]);
    fake = returns(fake, other, 0);
    let walk = fake.walk(&fake.registers(DRIVER + 0x1010, STACK));
    assert_eq!(
        fake.show(&walk),
        [
            "TimerRoutine context",
            "KxSwitchKernelStackCallout unwind-info",
            "Innocent trap-frame",
        ]
    );
    assert_eq!(walk.faulting_activity, 3);
}

#[test]
fn a_trap_frame_gives_the_interrupted_codes_volatile_registers() {
    let at = STACK + TRAP;
    let mut fake = trapped(fake(), at, DRIVER + 0x1210, 1);
    fake = returns(fake, at + 0x28, 0).words(at - TRAP + 0x30, &[0xA0, 0xC0, 0xD0]);
    let mut start = fake.registers(NT + 0x1410, STACK);
    start.set(r::RBX, 0xB0);
    start.set(r::RCX, 0xDEAD);
    let walk = fake.walk(&start);
    let interrupted = &walk.frames[1].registers;
    assert_eq!(interrupted.get(r::RAX), Some(0xA0));
    assert_eq!(interrupted.get(r::RCX), Some(0xC0));
    assert_eq!(
        interrupted.get(r::RBX),
        Some(0xB0),
        "preserved by the handler"
    );
    assert_eq!(
        interrupted.get(r::R12),
        None,
        "never saved and not known before"
    );
    assert_eq!(interrupted.sp(), Some(at + 0x28));
}

#[test]
fn a_walk_ends_at_user_mode() {
    let at = STACK + TRAP;
    let fake = fake()
        .words(at, &[0x7FF6_1234_5678, 0x33, 0x246, 0x1F_F000, 0x2B])
        .zeros(at - TRAP, at);
    let walk = fake.walk(&fake.registers(NT + 0x1A10, STACK));
    assert_eq!(walk.frames[1].boundary.map(|b| b.as_str()), Some("user"));
    assert!(walk.complete);
    assert_eq!(walk.frames.len(), 2);
}

#[test]
fn leaving_the_dpc_stack_is_a_boundary_without_any_names() {
    // A function that keeps its frame in rbp returns to another stack.
    let frame_in_rbp = [1, 4, 2, 0x05, 4, 0x03, 1, 0x50];
    let other = STACK + 0x10000;
    let mut fake = Fake::new(
        Machine::X64,
        vec![
            Module::new("driver.sys", DRIVER)
                .function("Dpc", 0x1000, 0x1100, &allocates(0x28))
                .function("Switch", 0x1200, 0x1300, &frame_in_rbp)
                .function("Thread", 0x1400, 0x1500, &allocates(0x28))
                .with_image(),
        ],
    );
    fake = returns(fake, STACK, DRIVER + 0x1210)
        .words(other, &[7, DRIVER + 0x1410])
        .words(other + 0x10 + 0x28, &[0]);
    fake.stacks = vec![
        StackRange {
            low: STACK,
            high: STACK + 0x6000,
            kind: StackKind::Dpc,
        },
        StackRange {
            low: other - 0x1000,
            high: other + 0x1000,
            kind: StackKind::Thread,
        },
    ];
    let mut start = fake.registers(DRIVER + 0x1010, STACK);
    start.set(r::RBP, other);
    let walk = fake.walk(&start);
    assert_eq!(
        fake.show(&walk),
        [
            "Dpc context",
            "Switch unwind-info",
            "Thread unwind-info dpc"
        ]
    );
    assert_eq!(walk.faulting_activity, 2);
}

#[test]
fn without_unwind_data_only_words_behind_calls_are_candidates() {
    let module = driver().with_image().calls_before(&[0x1020, 0x1230]);
    let mut fake = Fake::new(Machine::X64, vec![module, Module::new("ntoskrnl.exe", NT)]);
    let word = |rva: u64| DRIVER + rva;
    fake = fake.words(
        STACK,
        &[
            word(0x1030), // inside code, but behind no call
            word(0x6010), // not executable
            word(0x10),   // the image's headers
            word(0x1020), // behind a call
            1,
        ],
    );
    let walk = fake.walk(&fake.registers(NT + 0x1010, STACK));
    assert_eq!(walk.frames[1].ip(), Some(word(0x1020)));
    assert_eq!(walk.frames[1].trust.as_str(), "scan");
    assert_eq!(
        walk.faulting_activity, 1,
        "a candidate counts for nothing here"
    );
    // What unwinding makes of a candidate's frame is no better than the candidate.
    assert!(walk.frames[1..].iter().all(|f| f.trust.as_str() == "scan"));
}

#[test]
fn where_no_code_is_at_hand_a_few_candidates_are_shown_and_no_more() {
    let mut fake = Fake::new(Machine::X64, vec![Module::new("ntoskrnl.exe", NT)]);
    let words: Vec<u64> = (0..200).map(|n| NT + 0x2000 + n * 8).collect();
    fake = fake.words(STACK, &words);
    let walk = fake.walk(&fake.registers(NT + 0x1010, STACK));
    assert_eq!(walk.frames.len(), 1 + MOST_CANDIDATES);
    assert_eq!(
        walk.stopped_because,
        Some(Stop::Candidates(MOST_CANDIDATES))
    );
    // Calls push with an aligned stack: every second slot only.
    assert!(walk.frames[1..].iter().all(|f| f.sp().unwrap() % 16 == 0));
}

#[test]
fn a_trap_frame_found_among_candidates_is_one_itself() {
    // An interrupt long finished leaves such a frame behind: without unwind data nothing tells it
    // from one that still counts.
    let at = STACK + 0x240 + TRAP;
    let mut fake = Fake::new(Machine::X64, vec![Module::new("ntoskrnl.exe", NT)]);
    // One where a call pushes it; one in what the kernel saved below the trap frame, and one inside it.
    fake = fake
        .words(STACK + 8, &[NT + 0x2000])
        .words(STACK + 0x208, &[NT + 0x2100])
        .words(STACK + 0x288, &[NT + 0x2200]);
    fake = trapped(fake, at, NT + 0x3000, 0).zeros(STACK, at);
    let walk = fake.walk(&fake.registers(NT + 0x1010, STACK));
    let trust: Vec<_> = walk.frames.iter().map(|f| f.trust.as_str()).collect();
    assert_eq!(trust, ["context", "scan", "scan"]);
    assert_eq!(walk.frames[2].sp(), Some(at + 0x28), "its registers");
    assert_eq!(
        walk.frames[2].boundary.map(|b| b.as_str()),
        Some("interrupt")
    );
    assert_eq!(walk.faulting_activity, 1, "no candidate counts");
}

#[test]
fn a_root_reached_over_candidates_does_not_make_a_stack_complete() {
    let driver = driver().with_image().calls_before(&[0x1020]);
    let mut fake = Fake::new(Machine::X64, vec![driver, Module::new("ntoskrnl.exe", NT)]);
    fake = fake.words(STACK, &[DRIVER + 0x1020]);
    fake = returns(fake, STACK + 8, 0);
    let walk = fake.walk(&fake.registers(NT + 0x1010, STACK));
    assert_eq!(fake.show(&walk), ["? context", "TimerRoutine scan"]);
    assert!(!walk.complete);
    assert_eq!(walk.stopped_because, Some(Stop::Guessed));
}

#[test]
fn the_idle_loop_below_a_deferred_procedure_call_is_told_by_the_processor_block() {
    // TimerRoutine <- (nt, no names) <- (nt) <- root, on the idle thread's stack.
    let nameless = |name: &'static str| {
        Module::new(name, NT)
            .function("", 0x1000, 0x1100, &allocates(0x28))
            .function("", 0x1200, 0x1300, &allocates(0x28))
            .with_image()
    };
    let walk = |kind, kernel: &'static str| {
        let mut fake = Fake::new(Machine::X64, vec![driver().with_image(), nameless(kernel)]);
        fake = returns(fake, STACK, DRIVER + 0x1210);
        fake = returns(fake, STACK + 0x30, NT + 0x1010);
        fake = returns(fake, STACK + 0x60, NT + 0x1210);
        fake = returns(fake, STACK + 0x90, 0);
        fake.stacks = vec![StackRange {
            low: STACK,
            high: STACK + 0x6000,
            kind,
        }];
        let walk = fake.walk(&fake.registers(DRIVER + 0x1010, STACK));
        assert!(walk.complete);
        let marks: Vec<_> = walk
            .frames
            .iter()
            .map(|f| f.boundary.map_or("", |b| b.as_str()))
            .collect();
        (marks.join(","), walk.faulting_activity)
    };
    assert_eq!(walk(StackKind::Idle, "ntoskrnl.exe"), (",,dpc,".into(), 2));
    assert_eq!(walk(StackKind::Thread, "ntoskrnl.exe"), (",,,".into(), 4));
    assert_eq!(
        walk(StackKind::Idle, "other.sys"),
        (",,,".into(), 4),
        "only the kernel has an idle loop"
    );
}

#[test]
fn one_border_is_marked_where_the_dispatcher_leaves_the_dpc_stack() {
    // TimerRoutine <- KiRetireDpcList <- KyRetireDpcList | machine frame to the thread's stack.
    let other = STACK + 0x10000;
    let switch = [1, 4, 2, 0, 4, 0x42, 0, 0x0A];
    let nt = |named: bool| {
        let name = |name: &'static str| if named { name } else { "" };
        Module::new("ntoskrnl.exe", NT)
            .function(name("KiRetireDpcList"), 0x1000, 0x1100, &allocates(0x28))
            .function(name("KyRetireDpcList"), 0x1200, 0x1300, &switch)
            .function(name("KxDispatch"), 0x1400, 0x1500, &allocates(0x28))
            .with_image()
    };
    let walk = |named| {
        let mut fake = Fake::new(Machine::X64, vec![driver().with_image(), nt(named)]);
        fake = returns(fake, STACK, NT + 0x1010);
        fake = returns(fake, STACK + 0x30, NT + 0x1210);
        // KyRetireDpcList: 0x28 bytes, then the machine frame whose rsp is the thread's.
        fake = fake.words(STACK + 0x60 + 0x28, &[NT + 0x1410, 0, 0, other, 0]);
        fake = returns(fake, other, DRIVER + 0x1210);
        fake = returns(fake, other + 0x30, 0);
        fake.stacks = vec![StackRange {
            low: STACK,
            high: STACK + 0x1000,
            kind: StackKind::Dpc,
        }];
        let walk = fake.walk(&fake.registers(DRIVER + 0x1010, STACK));
        assert_eq!(walk.frames.len(), 5, "{:?}", walk.stopped_because);
        let marks: Vec<_> = walk
            .frames
            .iter()
            .map(|f| f.boundary.map_or("", |b| b.as_str()))
            .collect();
        (marks.join(","), walk.faulting_activity)
    };
    assert_eq!(walk(true), (",dpc,,,".into(), 1));
    assert_eq!(walk(false), (",,,dpc,".into(), 3), "by KPRCB.DpcStack");
}

#[test]
fn a_call_through_a_bad_pointer_leads_to_its_caller() {
    let module = driver().with_image().calls_before(&[0x1020]);
    let mut fake = Fake::new(Machine::X64, vec![module]);
    fake = fake.words(STACK, &[DRIVER + 0x1020]);
    fake = returns(fake, STACK + 8, 0);
    let walk = fake.walk(&fake.registers(0xFFFF_F8A0_DEAD_BEE0, STACK));
    assert_eq!(fake.show(&walk), ["? context", "TimerRoutine unwind-info"]);
    assert!(walk.complete);
}

#[test]
fn a_stack_of_frames_without_end_stops_at_the_limit() {
    let mut fake = fake();
    for n in 0..2000 {
        fake = returns(fake, STACK + n * 0x30, DRIVER + 0x1010);
    }
    let walk = fake.walk(&fake.registers(DRIVER + 0x1010, STACK));
    assert_eq!(walk.frames.len(), MOST_FRAMES);
    assert_eq!(walk.stopped_because, Some(Stop::TooManyFrames(MOST_FRAMES)));
}

#[test]
fn a_machine_frame_that_leads_back_to_itself_is_given_up() {
    let at = STACK + TRAP;
    // The interrupted code is the handler itself with the same stack pointer.
    let fake = fake()
        .words(at, &[NT + 0x1210, 0x10, 0x246, STACK, 0x18])
        .zeros(STACK, at);
    let walk = fake.walk(&fake.registers(NT + 0x1210, STACK));
    assert!(walk.frames.len() < 32, "{} frames", walk.frames.len());
    assert_eq!(walk.stopped_because, Some(Stop::NoProgress { at: STACK }));
}

#[test]
fn a_frame_register_that_points_inward_is_given_up() {
    let frame_in_rbp = [1, 4, 2, 0x05, 4, 0x03, 1, 0x50];
    let module = Module::new("driver.sys", DRIVER)
        .function("Loop", 0x1000, 0x1100, &frame_in_rbp)
        .with_image();
    let mut fake = Fake::new(Machine::X64, vec![module]);
    fake = fake.words(STACK - 0x40, &[STACK - 0x40, DRIVER + 0x1010]);
    let mut start = fake.registers(DRIVER + 0x1010, STACK);
    start.set(r::RBP, STACK - 0x40);
    let walk = fake.walk(&start);
    assert_eq!(walk.frames.len(), 1);
    assert_eq!(walk.stopped_because, Some(Stop::NoProgress { at: STACK }));
}

#[test]
fn the_budget_ends_a_walk_with_what_was_found() {
    let mut fake = fake();
    for n in 0..100 {
        fake = returns(fake, STACK + n * 0x30, DRIVER + 0x1010);
    }
    let walk = fake.walk_within(
        &fake.registers(DRIVER + 0x1010, STACK),
        &Budget::new(10, None),
    );
    assert_eq!(walk.stopped_because, Some(Stop::Budget));
    assert_eq!(walk.frames.len(), 11);
}

#[test]
fn a_stack_that_is_not_in_the_dump_is_named_by_its_address() {
    let fake = fake();
    let walk = fake.walk(&fake.registers(DRIVER + 0x1010, STACK));
    assert_eq!(
        walk.stopped_because,
        Some(Stop::NoStack { at: STACK + 0x28 })
    );
    assert!(!walk.complete);
}
