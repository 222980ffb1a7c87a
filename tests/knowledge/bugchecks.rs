//! Bug check names, parameter texts, and the traps of real parameters.

use kbtriage::knowledge::bugchecks::{
    self, Access, Kind, ParameterText, Parameters, Platform, RaisedAt, RoleKind,
};
use kbtriage::machine::Machine;

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
        // Two names have lost their first letter in this list; the codes' own pages have it.
        let name = match raw {
            0xDF => "IMPERSONATING_WORKER_THREAD",
            0x1D0 => "ACPI_FIRMWARE_WATCHDOG_TIMEOUT",
            _ => name,
        };
        count += 1;
        // The M bit is a mark that some dumps add, not another code.
        if raw >> 28 != 1 {
            assert_eq!(bugchecks::find(raw).name, Some(name), "{code}");
        }
    }
    assert_eq!(count, 379);
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
        let found = bugchecks::find(raw);
        assert_eq!((found.code, found.name), (code, name), "{raw:#x}");
    }
}

/// Windows Server 2008.
const X64: Platform = Platform {
    pointer: 8,
    arm: false,
    build: Some(6001),
};
const X86: Platform = Platform { pointer: 4, ..X64 };

fn parameters(code: u32, values: [u64; 4], platform: Platform) -> Parameters {
    Parameters::written(code, values.map(Some), platform)
}

fn stated(code: u32, params: [u64; 4]) -> Parameters {
    parameters(code, params, X64)
}

fn decoded(code: u32, params: [u64; 4]) -> [Option<String>; 4] {
    [0, 1, 2, 3].map(|index| stated(code, params).text(index).decoded)
}

/// Address and kind of the access that the parameters name.
fn access(code: u32, params: [u64; 4], platform: Platform) -> (Option<u64>, Option<Access>) {
    let found = parameters(code, params, platform).violation();
    found.map_or((None, None), |found| (found.address, found.access))
}

#[test]
fn the_null_write_of_a_torn_list_is_read_from_its_parameters() {
    let params = [0x8, 2, 1, 0xFFFF_F880_016B_4F20];
    let texts = decoded(0xD1, params);
    assert_eq!(texts[1].as_deref(), Some("DISPATCH_LEVEL"));
    assert_eq!(texts[2].as_deref(), Some("write"));
    assert_eq!(
        stated(0xD1, params).instruction(),
        Some(0xFFFF_F880_016B_4F20)
    );
    assert_eq!(stated(0xD1, params).irql(), Some(2));
    assert_eq!(access(0xD1, params, X64), (Some(8), Some(Access::Write)));
}

#[test]
fn an_address_that_is_the_instruction_itself_was_executed_whatever_p3_says() {
    // Without no-execute an x86 system reports a read; one parameter is sign-extended.
    let params = [0x8BAD_F00D, 2, 0, 0xFFFF_FFFF_8BAD_F00D];
    assert_eq!(
        access(0xD1, params, X86),
        (Some(0x8BAD_F00D), Some(Access::Execute))
    );
    let kind = |code, p3| access(code, [0x1000, 2, p3, 0xFFFF_F800_0000_0000], X64).1;
    assert_eq!(kind(0xD1, 2), Some(Access::Execute));
    assert_eq!(kind(0xD1, 8), Some(Access::Execute));
    assert_eq!(kind(0x0A, 8), Some(Access::Execute), "bit 3");
    assert_eq!(kind(0x0A, 2), None, "no bit that 0x0A has");
    assert_eq!(kind(0x0A, 5), None);
}

#[test]
fn a_general_protection_fault_names_neither_address_nor_access() {
    let params = [0xFFFF_FFFF_C000_0005, 0xFFFF_F880_016B_4F20, 0, u64::MAX];
    let found = stated(0x1E, params)
        .violation()
        .expect("an access violation");
    assert_eq!((found.address, found.access), (None, None));
    // The same on x86, where the address is all ones at its width.
    let narrow = [0xC000_0005, 0x8123_4567, 0, 0xFFFF_FFFF];
    assert_eq!(access(0x1E, narrow, X86), (None, None));
    let texts = decoded(0x1E, params);
    assert_eq!(
        texts[0].as_deref(),
        Some("STATUS_ACCESS_VIOLATION (0xC0000005)")
    );
    assert!(texts[3].as_deref().unwrap().contains("non-canonical"));
    assert_eq!(
        stated(0x1E, params).instruction(),
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
            stated(code, params).exception(),
            Some(0xC000_001D),
            "{code:#x}"
        );
        assert_eq!(
            decoded(code, params)[0].as_deref(),
            Some("STATUS_ILLEGAL_INSTRUCTION (0xC000001D)"),
            "{code:#x}"
        );
        assert_eq!(
            stated(code, params).instruction(),
            Some(0x1234),
            "{code:#x}"
        );
    }
    assert_eq!(
        bugchecks::ntstatus_name(0x8000_0003).as_deref(),
        Some("STATUS_BREAKPOINT")
    );
    assert_eq!(stated(0xD1, [0; 4]).exception(), None);
}

#[test]
fn trap_numbers_access_kinds_and_selectors_are_named() {
    let text = |code, index, params| stated(code, params).text(index).decoded;
    assert!(
        text(0x7F, 0, [8, 0, 0, 0])
            .unwrap()
            .contains("double fault")
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
        stated(0xD1, [0; 4]).text(4),
        ParameterText::default(),
        "there is no fifth parameter"
    );
    assert_eq!(
        access(0xBE, [0x1000, 0, 0, 0], X64),
        (Some(0x1000), Some(Access::Write))
    );
    assert_eq!(
        stated(0x50, [1, 0, 0, 2]).instruction(),
        None,
        "zero: not known"
    );
    assert_eq!(stated(0xE2, [0; 4]).violation(), None);
}

#[test]
fn a_page_fault_s_access_is_read_as_its_windows_wrote_it_and_said_in_the_same_words() {
    let old = X64;
    let new = Platform {
        build: Some(19041),
        ..X64
    };
    let arm = Platform { arm: true, ..new };
    let unknown = Platform { build: None, ..X64 };
    use Access::{Execute, Read, Write};
    for (platform, value, wanted) in [
        (old, 0, Some(Read)),
        (old, 1, Some(Write)),
        // No published meaning before Windows 10.
        (old, 2, None),
        (old, 8, Some(Execute)),
        (old, 0x10, None),
        (new, 0, Some(Read)),
        (new, 1, None),
        (new, 2, Some(Write)),
        (new, 0x10, Some(Execute)),
        (arm, 1, Some(Write)),
        (arm, 8, Some(Execute)),
        (arm, 2, None),
        // Each value has one meaning wherever it has any.
        (unknown, 1, Some(Write)),
        (unknown, 2, Some(Write)),
        (unknown, 0x10, Some(Execute)),
    ] {
        let parameters = parameters(0x50, [0x10, value, 0x999, 0], platform);
        let found = parameters.violation().and_then(|v| v.access);
        assert_eq!(found, wanted, "{platform:?} {value:#x}");
        let text = parameters.text(1).decoded;
        assert_eq!(
            text.as_deref(),
            wanted.map(Access::as_str),
            "{platform:?} {value:#x}"
        );
    }
    // Special pool reads 1 as a write on every system.
    let special = parameters(0xD5, [0x10, 1, 0x999, 0], new);
    assert_eq!(special.violation().unwrap().access, Some(Write));
}

#[test]
fn a_call_of_address_zero_has_an_instruction_and_an_unknown_one_has_none() {
    assert_eq!(stated(0xD1, [0, 2, 8, 0]).instruction(), Some(0));
    assert_eq!(stated(0x1E, [0xC000_0005, 0, 8, 0]).instruction(), Some(0));
    assert_eq!(
        stated(0xD1, [8, 2, 1, 0]).instruction(),
        None,
        "a write, and no place"
    );
    assert_eq!(
        stated(0xD1, [0; 4]).instruction(),
        None,
        "parameters never written"
    );
    assert_eq!(
        stated(0x50, [0, 8, 0, 0]).instruction(),
        None,
        "0x50 does not always know it"
    );
}

#[test]
fn forced_dumps_hangs_and_irqls_are_told_by_the_table() {
    for code in [0xE2, 0x80, 0x9E, 0xDEAD_DEAD, 0x161, 0x1C8] {
        assert!(bugchecks::find(code).is_forced(), "{code:#x}");
    }
    for code in [0x101, 0x133, 0x1CA] {
        assert_eq!(bugchecks::find(code).kind, Kind::Hang, "{code:#x}");
    }
    assert_eq!(bugchecks::find(0x12345).kind, Kind::Check);
    assert_eq!(bugchecks::find(0xD1).irql, RaisedAt::DispatchOrAbove);
    assert_eq!(bugchecks::find(0x50).irql, RaisedAt::BelowDispatch);
    for code in [0x1E, 0x3B, 0x7E, 0x1000_008E] {
        let irql = bugchecks::find(code).irql;
        assert_eq!(irql, RaisedAt::BelowDispatchWithAddress, "{code:#x}");
    }
    // A code's part in the defect and its kind are one statement.
    for role in bugchecks::roles() {
        let forced = bugchecks::find(role.code).is_forced();
        let said = role.kind == RoleKind::Forced;
        let excluded = role.kind == RoleKind::Impossible;
        assert!(said == forced || excluded, "{:#x}", role.code);
    }
}

#[test]
fn the_codes_that_matter_have_parameter_texts() {
    for code in [
        0x0A, 0x19, 0x1A, 0x1C, 0x1E, 0x3B, 0x50, 0x7E, 0x7F, 0x80, 0x8E, 0x9E, 0xBE, 0xC2, 0xC5,
        0xCC, 0xD1, 0xD5, 0xE2, 0xFC, 0x101, 0x133, 0x139, 0x24, 0x4E, 0x7A, 0x7B, 0x9F, 0xEA,
        0xEF, 0xF4, 0xF7, 0x109, 0x116, 0x124,
    ] {
        assert!(bugchecks::has_parameter_texts(code), "{code:#x}");
        assert!(bugchecks::find(code).name.is_some(), "{code:#x}");
    }
    assert!(bugchecks::has_parameter_texts(0x1000_007E));
}

#[test]
fn only_codes_that_vista_cannot_raise_are_impossible() {
    let impossible =
        |code| bugchecks::role(code).is_some_and(|role| role.kind == RoleKind::Impossible);
    for code in [0x133, 0x139, 0x161] {
        assert!(impossible(code), "{code:#x}");
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
        assert!(!impossible(code), "{code:#x}");
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
    for code in [0xE2, 0x80, 0x9E, 0xDEAD_DEAD] {
        assert_eq!(kind(code), Some(RoleKind::Forced), "{code:#x}");
    }
    assert_eq!(kind(0x101), Some(RoleKind::WeaklyAgainst));
    assert_eq!(kind(0x7B), None);
    assert_eq!(bugchecks::role(0x8E).unwrap().architectures, [Machine::X86]);
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
            let found = stated(code, params).instruction();
            assert_eq!(found, Some(expected), "{name}");
            compared += 1;
        }
        for index in 0..4 {
            stated(code, params).text(index);
        }
        assert!(bugchecks::find(code).name.is_some(), "{name}");
    }
    assert!(compared >= 10, "only {compared} dumps name a fault");
}
