//! Calls through a null or trashed pointer, end to end: the caller is on top of the stack, the bucket is its.

use serde_json::Value;

use crate::support::run::reports;
use crate::support::scenes;
use crate::support::stack::Fault;
use crate::support::state::{CrashState, Machine};
use crate::support::write;

fn report(s: &CrashState) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("null.dmp");
    std::fs::write(&path, write(s)).unwrap();
    reports(&[path])[0].clone()
}

/// Puts the return address that a call has just pushed at the stack pointer of the fault. On x64 the stack is
/// aligned to 16 before a call pushes: a trap frame right below `sp` has it in its second word from there on.
fn push(s: &mut CrashState, sp: u64, caller: u64) {
    let put = |s: &mut CrashState, address: u64, value: u64| {
        let at = (address - s.stack.low) as usize;
        let width = if s.is_32_bit() { 4 } else { 8 };
        s.stack.bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
    };
    let trapped = !s.is_32_bit() && sp.is_multiple_of(16);
    if trapped && s.registers.sp != sp {
        put(s, sp - 0x10, sp + 8);
        put(s, sp + 8, caller);
    } else {
        put(s, sp, caller);
    }
}

fn check(s: &CrashState, ip: u64, driver: &str, offset: &str, name: &str) {
    let got = report(s);
    let width = if s.is_32_bit() { 8 } else { 16 };
    let fault = &got["fault"];
    assert_eq!(
        fault["instruction_pointer"],
        format!("0x{ip:0width$x}"),
        "{name}: {fault}"
    );
    assert_eq!(fault["access"], "execute", "{name}");
    assert_eq!(fault["address"], fault["instruction_pointer"], "{name}");
    assert_eq!(fault["caller"]["location"]["module"], driver, "{name}");
    assert_eq!(fault["caller"]["location"]["offset"], offset, "{name}");
    let key = got["bucket"]["key"].as_str().unwrap();
    let stem = driver.split('.').next().unwrap().to_ascii_lowercase();
    assert!(key.contains(&format!("_X_{stem}_")), "{name}: {key}");
    assert!(key.ends_with(&format!("+{offset}")), "{name}: {key}");
    assert!(fault["registers"].as_object().unwrap().len() > 6, "{name}");
}

#[test]
fn a_call_of_no_code_is_its_callers_on_x64() {
    for (driver, offset) in [
        ("tcpip.sys", 0x1_0E9),
        ("ndis.sys", 0x2_1234),
        ("NETIO.SYS", 0x3_0),
    ] {
        let rva = 0x1000 + offset;
        // Null, text in place of a pointer, a user address.
        for ip in [0u64, 0x0000_4141_4141_4141, 0x7_0000] {
            let fault = |s: &CrashState| Fault {
                ip,
                address: ip,
                error_code: 0x10,
                ..scenes::null_flink_x64(s)
            };
            for (code, access) in [(0xD1, 8), (0xD1, 0), (0x0A, 8)] {
                let mut s = scenes::machine(Machine::X64, 6001);
                let fault = fault(&s);
                scenes::irql_fault_x64(&mut s, code, 2, access, &fault);
                let (sp, caller) = (s.stack.low + 0x148 + 0x190, s.driver(driver).at(rva));
                push(&mut s, sp, caller);
                let name = format!("{code:#x} {access} {ip:#x}");
                check(&s, ip, driver, &format!("{rva:#x}"), &name);
            }
            let mut s = scenes::machine(Machine::X64, 6001);
            let unhandled = fault(&s);
            scenes::unhandled_x64(&mut s, 0xC000_0005, [8, ip], &unhandled);
            let (sp, caller) = (s.stack.low + 0x508 + 0x190, s.driver(driver).at(rva));
            push(&mut s, sp, caller);
            check(
                &s,
                ip,
                driver,
                &format!("{rva:#x}"),
                &format!("0x1e {ip:#x}"),
            );

            let mut s = scenes::machine(Machine::X64, 6001);
            let thread = fault(&s);
            scenes::system_thread_x64(&mut s, 0xC000_0005, &thread);
            s.registers.sp += 8;
            let (sp, caller) = (s.registers.sp, s.driver(driver).at(rva));
            push(&mut s, sp, caller);
            let record = (s.parameters[3] - s.stack.low) as usize + 0x98;
            s.stack.bytes[record..record + 8].copy_from_slice(&sp.to_le_bytes());
            // The record says that an instruction was fetched.
            let at = (s.parameters[2] - s.stack.low) as usize + 0x20;
            s.stack.bytes[at] = 8;
            check(
                &s,
                ip,
                driver,
                &format!("{rva:#x}"),
                &format!("0x7e {ip:#x}"),
            );

            // 0x3B names the context and no record.
            s.code = 0x3B;
            s.parameters = [0xC000_0005, ip, s.parameters[3], 0];
            check(
                &s,
                ip,
                driver,
                &format!("{rva:#x}"),
                &format!("0x3b {ip:#x}"),
            );
        }
    }
}

#[test]
fn a_call_of_no_code_is_its_callers_on_x86() {
    for ip in [0u64, 0x4141_4141, 0x7_0000] {
        for (code, access) in [(0xD1, 0), (0xD1, 8), (0x0A, 0)] {
            let mut s = scenes::machine(Machine::X86, 6001);
            let fault = Fault {
                ip,
                address: ip,
                ..scenes::null_flink_x86(&s)
            };
            scenes::irql_fault_x86(&mut s, code, 2, access, &fault);
            let (sp, caller) = (s.stack.low + 0x60 + 0x74, s.driver("tcpip.sys").at(0x10E9));
            push(&mut s, sp, caller);
            check(&s, ip, "tcpip.sys", "0x10e9", &format!("{code:#x} {ip:#x}"));
        }
        let mut s = scenes::machine(Machine::X86, 6001);
        let fault = Fault {
            ip,
            address: ip,
            ..scenes::null_flink_x86(&s)
        };
        scenes::unhandled_x86(&mut s, 0xC000_0005, &fault);
        let (sp, caller) = (s.registers.sp, s.driver("tcpip.sys").at(0x10E9));
        push(&mut s, sp, caller);
        check(&s, ip, "tcpip.sys", "0x10e9", &format!("0x8e {ip:#x}"));
    }
}

#[test]
fn a_trashed_callback_of_the_network_stack_is_a_shape_of_the_defect() {
    let mut s = scenes::machine(Machine::X64, 6001);
    let fault = Fault {
        ip: 0,
        address: 0,
        ..scenes::null_flink_x64(&s)
    };
    scenes::irql_fault_x64(&mut s, 0xD1, 2, 8, &fault);
    let sp = s.stack.low + 0x148 + 0x190;
    for (driver, supports) in [
        ("tcpip.sys", true),
        ("NETIO.SYS", true),
        ("ndis.sys", false),
    ] {
        let caller = s.driver(driver).at(0x10E9);
        push(&mut s, sp, caller);
        let got = report(&s);
        let evidence = got["hotfix"]["match"]["evidence"].to_string();
        assert_eq!(
            evidence.contains("fault.queue-module"),
            supports,
            "{driver}: {evidence}"
        );
    }
}

#[test]
fn a_system_call_that_ends_at_a_raised_irql_has_the_bucket_of_the_call() {
    let bucket = |machine: Machine, address: &dyn Fn(&CrashState) -> u64| {
        let mut s = scenes::machine(machine, 6001);
        s.code = 0x4A;
        s.parameters = [address(&s), 2, 0, 0];
        report(&s)["bucket"].clone()
    };
    for machine in [Machine::X64, Machine::X86] {
        let mut keys = Vec::new();
        for (driver, offset) in [
            ("tcpip.sys", 0x2_10E9),
            ("tcpip.sys", 0x2_2000),
            ("ndis.sys", 0x1_1234),
        ] {
            let found = bucket(machine, &|s| s.driver(driver).at(offset));
            let key = found["key"].as_str().unwrap().to_owned();
            let stem = driver.split('.').next().unwrap();
            assert!(key.starts_with(&format!("0x4A_{stem}_")), "{key}");
            assert!(key.ends_with(&format!("+{offset:#x}")), "{key}");
            assert!(!keys.contains(&key), "two places, two buckets: {keys:?}");
            keys.push(key);
        }
        // An address in a program names no place of the kernel's, the end of every system call least of all.
        let found = bucket(machine, &|_| 0x7700_1234);
        assert!(!found.to_string().contains("KiBugCheckDispatch"), "{found}");
    }
}
