//! Bug check names, parameter texts, and the traps of real parameters.

use kbtriage::knowledge::bugchecks::{self, Access, PointerWidth, RoleKind};
use kbtriage::knowledge::hotfix::Architecture;

use super::shared;

#[test]
fn every_code_of_the_reference_has_its_name() {
    let Some(path) = shared("data/bugcheck-names.tsv") else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let mut count = 0;
    for (code, name) in text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
    {
        let raw = u32::from_str_radix(code.trim_start_matches("0x"), 16).unwrap();
        assert_eq!(bugchecks::lookup(raw).raw_name, Some(name), "{code}");
        count += 1;
    }
    assert_eq!((count, bugchecks::known_codes()), (379, 379));
}

#[test]
fn the_m_bit_goes_only_when_the_top_nibble_is_exactly_one() {
    for (raw, code, name) in [
        (
            0x1000_007E,
            0x7E,
            Some("SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"),
        ),
        (0x1000_008E, 0x8E, Some("KERNEL_MODE_EXCEPTION_NOT_HANDLED")),
        (0xC000_021A, 0xC000_021A, Some("WINLOGON_FATAL_ERROR")),
        (0xDEAD_DEAD, 0xDEAD_DEAD, Some("MANUALLY_INITIATED_CRASH1")),
        (
            0x4000_008A,
            0x4000_008A,
            Some("THREAD_TERMINATE_HELD_MUTEX"),
        ),
        (0x3000_007E, 0x3000_007E, None),
        (0xD1, 0xD1, Some("DRIVER_IRQL_NOT_LESS_OR_EQUAL")),
        (0x0FFF_FFFF, 0x0FFF_FFFF, None),
    ] {
        let found = bugchecks::lookup(raw);
        assert_eq!(
            (found.code, found.raw, found.name),
            (code, raw, name),
            "{raw:#x}"
        );
    }
    assert_eq!(
        bugchecks::lookup(0x1000_007E).raw_name,
        Some("SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M")
    );
}

fn decoded(code: u32, params: [u64; 4], width: PointerWidth) -> [Option<String>; 4] {
    [0, 1, 2, 3].map(|index| bugchecks::describe_parameter(code, index, &params, width).decoded)
}

#[test]
fn the_null_write_of_a_torn_list_is_read_from_its_parameters() {
    let params = [0x8, 2, 1, 0xFFFF_F880_016B_4F20];
    let texts = decoded(0xD1, params, PointerWidth::Bits64);
    assert_eq!(texts[1].as_deref(), Some("DISPATCH_LEVEL"));
    assert_eq!(texts[2].as_deref(), Some("write"));
    assert_eq!(
        bugchecks::fault_ip_parameter(0xD1, &params),
        Some(0xFFFF_F880_016B_4F20)
    );
    assert_eq!(bugchecks::irql_parameter(0xD1, &params), Some(2));
    let access = bugchecks::fault_access(0xD1, &params, PointerWidth::Bits64).unwrap();
    assert_eq!(
        (access.address, access.access),
        (Some(8), Some(Access::Write))
    );
}

#[test]
fn an_address_that_is_the_instruction_itself_was_executed_whatever_p3_says() {
    // Without no-execute an x86 system reports a read; one parameter is sign-extended.
    let params = [0x8BAD_F00D, 2, 0, 0xFFFF_FFFF_8BAD_F00D];
    let access = bugchecks::fault_access(0xD1, &params, PointerWidth::Bits32).unwrap();
    assert_eq!(
        (access.address, access.access),
        (Some(0x8BAD_F00D), Some(Access::Execute))
    );
    for p3 in [2, 8] {
        let params = [0x1000, 2, p3, 0xFFFF_F800_0000_0000];
        let access = bugchecks::fault_access(0x0A, &params, PointerWidth::Bits64).unwrap();
        assert_eq!(access.access, Some(Access::Execute), "P3 = {p3}");
    }
    let odd = [0x1000, 2, 5, 0xFFFF_F800_0000_0000];
    assert_eq!(
        bugchecks::fault_access(0x0A, &odd, PointerWidth::Bits64)
            .unwrap()
            .access,
        None
    );
}

#[test]
fn a_general_protection_fault_names_neither_address_nor_access() {
    let params = [0xFFFF_FFFF_C000_0005, 0xFFFF_F880_016B_4F20, 0, u64::MAX];
    let access = bugchecks::fault_access(0x1E, &params, PointerWidth::Bits64).unwrap();
    assert_eq!((access.address, access.access), (None, None));
    let texts = decoded(0x1E, params, PointerWidth::Bits64);
    assert_eq!(
        texts[0].as_deref(),
        Some("STATUS_ACCESS_VIOLATION (0xC0000005)")
    );
    assert!(texts[3].as_deref().unwrap().contains("non-canonical"));
    assert_eq!(
        bugchecks::fault_ip_parameter(0x1E, &params),
        Some(0xFFFF_F880_016B_4F20)
    );
}

#[test]
fn exception_codes_are_masked_to_32_bits_whether_sign_extended_or_not() {
    for (code, first) in [
        (0x1E, 0xFFFF_FFFF_C000_001D),
        (0x1000_007E, 0xFFFF_FFFF_C000_001D),
        (0x3B, 0xC000_001D),
        (0x8E, 0xC000_001D),
    ] {
        let params = [first, 0x1234, 0, 0];
        assert_eq!(
            bugchecks::exception_code(code, &params),
            Some(0xC000_001D),
            "{code:#x}"
        );
        assert_eq!(
            decoded(code, params, PointerWidth::Bits64)[0].as_deref(),
            Some("STATUS_ILLEGAL_INSTRUCTION (0xC000001D)"),
            "{code:#x}"
        );
        assert_eq!(
            bugchecks::fault_ip_parameter(code, &params),
            Some(0x1234),
            "{code:#x}"
        );
    }
    assert_eq!(
        bugchecks::ntstatus_name(0x8000_0003).as_deref(),
        Some("STATUS_BREAKPOINT")
    );
    assert_eq!(bugchecks::exception_code(0xD1, &[0; 4]), None);
}

#[test]
fn trap_numbers_access_kinds_and_selectors_are_named() {
    let text = |code, index, params| {
        bugchecks::describe_parameter(code, index, &params, PointerWidth::Bits64).decoded
    };
    assert!(
        text(0x7F, 0, [8, 0, 0, 0])
            .unwrap()
            .contains("double fault")
    );
    assert_eq!(text(0x50, 1, [0x10, 1, 0x999, 0]).as_deref(), Some("write"));
    assert_eq!(
        text(0x50, 1, [0x10, 2, 0x999, 0]).as_deref(),
        Some("write"),
        "a page-fault error bit"
    );
    assert_eq!(
        text(0x50, 1, [0x10, 0x10, 0x999, 0]).as_deref(),
        Some("execute")
    );
    assert!(
        text(0xC2, 0, [7, 0, 0, 0])
            .unwrap()
            .contains("already freed")
    );
    assert!(text(0x139, 0, [3, 0, 0, 0]).unwrap().contains("list entry"));
    assert_eq!(
        text(0x7F, 0, [0x77, 0, 0, 0]),
        None,
        "an unknown value stays without a text"
    );
    assert_eq!(
        bugchecks::describe_parameter(0xD1, 4, &[0; 4], PointerWidth::Bits64).meaning,
        None
    );
    assert_eq!(
        bugchecks::fault_access(0xBE, &[0x1000, 0, 0, 0], PointerWidth::Bits64)
            .unwrap()
            .access,
        Some(Access::Write)
    );
    assert_eq!(
        bugchecks::fault_ip_parameter(0x50, &[1, 0, 0, 2]),
        None,
        "zero: not known"
    );
    assert_eq!(
        bugchecks::fault_access(0xE2, &[0; 4], PointerWidth::Bits64),
        None
    );
}

#[test]
fn the_codes_that_matter_have_parameter_texts() {
    for code in [
        0x0A, 0x19, 0x1A, 0x1C, 0x1E, 0x3B, 0x50, 0x7E, 0x7F, 0x80, 0x8E, 0x9E, 0xBE, 0xC2, 0xC5,
        0xCC, 0xD1, 0xD5, 0xE2, 0xFC, 0x101, 0x133, 0x139, 0x24, 0x4E, 0x7A, 0x7B, 0x9F, 0xEA,
        0xEF, 0xF4, 0xF7, 0x109, 0x116, 0x124,
    ] {
        assert!(bugchecks::has_parameter_texts(code), "{code:#x}");
        assert!(bugchecks::lookup(code).name.is_some(), "{code:#x}");
    }
    assert!(bugchecks::has_parameter_texts(0x1000_007E));
}

#[test]
fn only_codes_that_vista_cannot_raise_are_impossible() {
    for code in [0x133, 0x139, 0x161] {
        assert!(!bugchecks::possible_on_6_0(code), "{code:#x}");
    }
    for code in [
        0x0A,
        0xD1,
        0x1E,
        0x1000_008E,
        0x101,
        0xE2,
        0x80,
        0x9E,
        0x12345,
    ] {
        assert!(bugchecks::possible_on_6_0(code), "{code:#x}");
    }
}

#[test]
fn each_code_has_the_part_that_the_mechanism_gives_it() {
    let kind = |code| bugchecks::role(code).map(|role| role.kind);
    for code in [
        0x0A,
        0xD1,
        0x1E,
        0x1000_007E,
        0x1000_008E,
        0x3B,
        0xBE,
        0xCC,
        0xD5,
    ] {
        assert_eq!(kind(code), Some(RoleKind::Primary), "{code:#x}");
    }
    for code in [0x19, 0xC2, 0xC5, 0x50] {
        assert_eq!(kind(code), Some(RoleKind::SecondaryVictim), "{code:#x}");
    }
    for code in [0xE2, 0x80, 0x9E] {
        assert_eq!(kind(code), Some(RoleKind::Forced), "{code:#x}");
    }
    assert_eq!(kind(0x101), Some(RoleKind::WeaklyAgainst));
    assert_eq!(kind(0x7B), None);
    assert_eq!(
        bugchecks::role(0x8E).unwrap().architectures,
        [Architecture::X86]
    );
}

#[test]
fn the_faulting_instruction_of_every_real_dump_is_the_parameter_that_an_independent_reader_took() {
    let Some(path) = shared("data/dumps/expected.json") else {
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let dumps: serde_json::Value = serde_json::from_str(&text).unwrap();
    let hex = |value: &serde_json::Value| {
        u64::from_str_radix(value.as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
    };
    let mut compared = 0;
    for (name, dump) in dumps.as_object().unwrap() {
        let code = hex(&dump["bugcheck_code"]) as u32;
        let params: Vec<u64> = dump["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .map(hex)
            .collect();
        let params: [u64; 4] = params.try_into().unwrap();
        if let Some(expected) = dump
            .get("fault")
            .map(|fault| hex(&fault["instruction_pointer"]))
        {
            let found = bugchecks::fault_ip_parameter(code, &params);
            assert_eq!(found, Some(expected), "{name}");
            compared += 1;
        }
        for index in 0..4 {
            bugchecks::describe_parameter(code, index, &params, PointerWidth::Bits64);
        }
        assert!(bugchecks::lookup(code).name.is_some(), "{name}");
    }
    assert!(compared >= 10, "only {compared} dumps name a fault");
}
