//! What the parameters of each bug check say about the fault, as data.
//!
//! Source: Microsoft's bug check code reference; where a code's parameters changed with a Windows
//! version, the version is in the rule. Codes that are not listed name no fault.

/// A bug check parameter, counted from 0.
type Parameter = usize;

/// How a parameter encodes the kind of access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessCode {
    /// 0 read, 1 write, 2 or 8 execute.
    Trap(Parameter),
    /// As [`AccessCode::Trap`] before build 10240; 0 read, 2 write, 0x10 execute from there on.
    PageFault(Parameter),
    /// Always a write.
    Write,
    /// Always an instruction fetch.
    Execute,
    /// The exception's own parameters, when it is an access violation.
    Exception,
    /// The parameters do not say.
    Unstated,
}

/// What kind of event the code reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An instruction faulted: its context is looked for.
    Fault,
    /// Someone or something stopped a running machine: what it was doing is looked for.
    Forced,
    /// A check in the kernel failed: the caller of the bug check is the place.
    Check,
}

/// What one bug check code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The code, without the M bit.
    pub code: u32,
    /// What happened.
    pub kind: Kind,
    /// The faulting instruction.
    pub ip: Option<Parameter>,
    /// The address accessed.
    pub address: Option<Parameter>,
    /// How it was accessed.
    pub access: AccessCode,
    /// IRQL at the fault.
    pub irql: Option<Parameter>,
    /// Address of a KTRAP_FRAME.
    pub trap_frame: Option<Parameter>,
    /// Address of a CONTEXT.
    pub context: Option<Parameter>,
    /// Address of an EXCEPTION_RECORD.
    pub record: Option<Parameter>,
    /// NTSTATUS of the exception.
    pub exception: Option<Parameter>,
    /// The trap frame's FaultAddress is the address accessed.
    pub page_fault: bool,
    /// The exception frame of KiBugCheckDispatch lies below the trap frame.
    pub bug_check_dispatch: bool,
}

const NOTHING: Rule = Rule {
    code: 0,
    kind: Kind::Check,
    ip: None,
    address: None,
    access: AccessCode::Unstated,
    irql: None,
    trap_frame: None,
    context: None,
    record: None,
    exception: None,
    page_fault: false,
    bug_check_dispatch: false,
};

const fn at_irql(code: u32) -> Rule {
    Rule {
        code,
        kind: Kind::Fault,
        ip: Some(3),
        address: Some(0),
        access: AccessCode::Trap(2),
        irql: Some(1),
        page_fault: true,
        bug_check_dispatch: true,
        ..NOTHING
    }
}

const fn page_fault(code: u32) -> Rule {
    Rule {
        code,
        kind: Kind::Fault,
        ip: Some(2),
        address: Some(0),
        access: AccessCode::PageFault(1),
        page_fault: true,
        ..NOTHING
    }
}

const fn exception(code: u32) -> Rule {
    Rule {
        code,
        kind: Kind::Fault,
        ip: Some(1),
        exception: Some(0),
        access: AccessCode::Exception,
        ..NOTHING
    }
}

const fn protection(code: u32, access: AccessCode) -> Rule {
    Rule {
        code,
        kind: Kind::Fault,
        address: Some(0),
        access,
        trap_frame: Some(2),
        page_fault: true,
        ..NOTHING
    }
}

const fn forced(code: u32) -> Rule {
    Rule {
        code,
        kind: Kind::Forced,
        ..NOTHING
    }
}

/// Every code with a rule of its own, ascending.
pub static RULES: &[Rule] = &[
    at_irql(0x0A),
    Rule {
        code: 0x1C,
        ..NOTHING
    },
    exception(0x1E),
    Rule {
        context: Some(2),
        ..exception(0x3B)
    },
    page_fault(0x50),
    Rule {
        record: Some(2),
        context: Some(3),
        ..exception(0x7E)
    },
    Rule {
        code: 0x7F,
        kind: Kind::Fault,
        bug_check_dispatch: true,
        ..NOTHING
    },
    forced(0x80),
    Rule {
        trap_frame: Some(2),
        ..exception(0x8E)
    },
    forced(0x9E),
    protection(0xBE, AccessCode::Write),
    at_irql(0xC5),
    page_fault(0xCC),
    page_fault(0xCD),
    at_irql(0xD1),
    page_fault(0xD5),
    page_fault(0xD6),
    forced(0xE2),
    protection(0xFC, AccessCode::Execute),
    forced(0x101),
    forced(0x133),
    Rule {
        code: 0x139,
        kind: Kind::Fault,
        trap_frame: Some(1),
        record: Some(2),
        ..NOTHING
    },
];

/// The code without the bit that marks a dump whose header holds the fault's context. Only the
/// pattern 0x1xxxxxxx is an M variant: other high bits belong to the code.
pub fn base_code(code: u32) -> u32 {
    match code >> 28 {
        1 => code & 0x0FFF_FFFF,
        _ => code,
    }
}

/// The rule of a code, M variants included.
pub fn find(code: u32) -> Rule {
    let code = base_code(code);
    RULES
        .iter()
        .find(|rule| rule.code == code)
        .copied()
        .unwrap_or(Rule { code, ..NOTHING })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_m_variant_has_the_rule_of_its_base_code_and_a_status_code_keeps_its_bits() {
        assert_eq!(find(0x1000_007E).context, Some(3));
        assert_eq!(find(0x1000_008E).trap_frame, Some(2));
        assert_eq!(base_code(0xC000_021A), 0xC000_021A);
        assert_eq!(find(0xC000_021A).kind, Kind::Check);
    }

    #[test]
    fn codes_are_listed_once_and_ascending() {
        assert!(RULES.windows(2).all(|pair| pair[0].code < pair[1].code));
    }
}
