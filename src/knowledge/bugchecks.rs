//! Bug check codes: names, what each parameter means, and what it decodes to.
//!
//! Names and meanings are tables (`data/bugcheck*.tsv`, from Microsoft's public bug check code
//! reference). This file handles what bites in real dumps: the M bit, sign-extended values, and the
//! codes whose parameters name the faulting instruction. Knows no dump and no symbols.

use minidump_common::errors::NtStatusWindows;
use num_traits::FromPrimitive;
use serde::Serialize;

use super::Basis;
use super::hotfix::Architecture;
use super::tables::bugcheck_names::NAMES;
use super::tables::bugchecks::{PARAMETERS, ROLES, VALUES};

/// A bug check code and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BugCheckInfo {
    /// Without the M bit: what codes are compared by.
    pub code: u32,
    /// As the dump stores it.
    pub raw: u32,
    /// Name of `code`; `None` for a code that the reference does not list.
    pub name: Option<&'static str>,
    /// Name of `raw` where the reference has one for it (`..._M`).
    pub raw_name: Option<&'static str>,
}

/// Names a code.
pub fn lookup(raw: u32) -> BugCheckInfo {
    let code = base_code(raw);
    BugCheckInfo {
        code,
        raw,
        name: name_of(code),
        raw_name: name_of(raw),
    }
}

/// The code without the M bit (0x10000000), which triage dumps set for 0x7E, 0x8E and others. Only a
/// top nibble of exactly 1 is the M bit: 0xC000021A keeps its value.
pub fn base_code(raw: u32) -> u32 {
    if raw >> 28 == 1 {
        raw & 0x0FFF_FFFF
    } else {
        raw
    }
}

fn name_of(code: u32) -> Option<&'static str> {
    let at = NAMES.binary_search_by_key(&code, |(code, _)| *code).ok()?;
    NAMES.get(at).map(|(_, name)| *name)
}

/// Number of codes with a name.
pub fn known_codes() -> usize {
    NAMES.len()
}

/// Pointer size of the crashed system: 32-bit dumps hold their addresses zero- or sign-extended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointerWidth {
    /// x86.
    Bits32,
    /// x64, IA-64, ARM64.
    Bits64,
}

impl PointerWidth {
    /// The width of a machine whose pointers are `bytes` wide: 4, otherwise 64 bits.
    pub fn of(bytes: usize) -> PointerWidth {
        match bytes {
            4 => Self::Bits32,
            _ => Self::Bits64,
        }
    }

    fn truncate(self, value: u64) -> u64 {
        match self {
            Self::Bits32 => value & 0xFFFF_FFFF,
            Self::Bits64 => value,
        }
    }
}

/// What a memory access was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Data was read.
    Read,
    /// Data was written.
    Write,
    /// An instruction was fetched.
    Execute,
}

impl Access {
    /// The word of the report contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
        }
    }
}

/// How a parameter turns into words; the generated table names one for each parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoder {
    /// Reserved.
    None,
    /// A number without a further reading.
    Hex,
    /// A data address.
    Address,
    /// An address of code.
    Code,
    Irql,
    /// 0 read, 1 write, 2 or 8 execute.
    Access,
    /// 0 read, 1 or 2 write, 0x10 execute: newer systems store bits of the x86 page-fault error code.
    PageFaultAccess,
    NtStatus,
    /// An NTSTATUS on some systems, a plain number on others: named only when it is an error status.
    NtStatusOrHex,
    /// Source file number in the upper half, line in the lower.
    SourceLine,
    /// ExceptionInformation\[0\] of the exception in parameter 1.
    ExceptionInfo0,
    /// ExceptionInformation\[1\].
    ExceptionInfo1,
    Trap,
    /// A selector with the named set of values.
    Set(&'static str),
}

pub(super) struct ParameterRow {
    pub code: u32,
    /// From 0.
    pub index: u8,
    pub decoder: Decoder,
    pub meaning: Option<&'static str>,
}

/// Meaning and decoded value of one parameter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParameterText {
    /// `None`: reserved, or a code whose parameters are not described here.
    pub meaning: Option<&'static str>,
    /// `None`: the value speaks for itself, or means nothing that is known.
    pub decoded: Option<String>,
}

fn parameter_row(code: u32, index: usize) -> Option<&'static ParameterRow> {
    let key = (code, u8::try_from(index).ok()?);
    let at = PARAMETERS
        .binary_search_by_key(&key, |row| (row.code, row.index))
        .ok()?;
    PARAMETERS.get(at)
}

/// Are the parameters of this code described?
pub fn has_parameter_texts(code: u32) -> bool {
    parameter_row(base_code(code), 0).is_some()
}

/// Describes parameter `index` (from 0) of a bug check. `code` may carry the M bit.
pub fn describe_parameter(
    code: u32,
    index: usize,
    params: &[u64; 4],
    width: PointerWidth,
) -> ParameterText {
    let code = base_code(code);
    let (Some(row), Some(value)) = (parameter_row(code, index), params.get(index)) else {
        return ParameterText::default();
    };
    let value = width.truncate(*value);
    let exception = params.first().map(|first| low_half(*first));
    let decoded = match row.decoder {
        Decoder::None | Decoder::Hex | Decoder::Address | Decoder::Code => None,
        Decoder::Irql => irql_name(value).map(str::to_owned),
        Decoder::Access | Decoder::PageFaultAccess => access_text(code, params, width),
        Decoder::NtStatus => Some(ntstatus_text(low_half(value))),
        Decoder::NtStatusOrHex => ntstatus_name(low_half(value))
            .filter(|_| low_half(value) >> 30 == 3)
            .map(|name| format!("{name} (0x{:08X})", low_half(value))),
        Decoder::SourceLine => {
            let value = low_half(value);
            Some(format!(
                "source file {}, line {}",
                value >> 16,
                value & 0xFFFF
            ))
        }
        Decoder::ExceptionInfo0 if exception == Some(ACCESS_VIOLATION) => {
            exception_access(params, width).map_or_else(
                || non_canonical(params, width).then(|| UNKNOWN_ACCESS.to_owned()),
                |access| Some(access.as_str().to_owned()),
            )
        }
        Decoder::ExceptionInfo1 if exception == Some(ACCESS_VIOLATION) => {
            non_canonical(params, width).then(|| NON_CANONICAL.to_owned())
        }
        Decoder::ExceptionInfo0 | Decoder::ExceptionInfo1 => None,
        Decoder::Trap => value_text("trap", value).map(str::to_owned),
        Decoder::Set(set) => value_text(set, value).map(str::to_owned),
    };
    ParameterText {
        meaning: row.meaning,
        decoded,
    }
}

const ACCESS_VIOLATION: u32 = 0xC000_0005;
const UNKNOWN_ACCESS: &str = "access kind not known: a general protection fault names none";
const NON_CANONICAL: &str =
    "no address: typically a non-canonical pointer, which the processor does not report";

/// The low 32 bits: exception codes come sign-extended to 64 bits in some codes and not in others.
fn low_half(value: u64) -> u32 {
    (value & 0xFFFF_FFFF) as u32
}

fn value_text(set: &str, value: u64) -> Option<&'static str> {
    let at = VALUES
        .binary_search_by_key(&(set, value), |(set, value, _)| (*set, *value))
        .ok()?;
    VALUES.get(at).map(|(_, _, text)| *text)
}

/// Name of an IRQL; the numbers above DISPATCH_LEVEL differ between architectures and get none.
fn irql_name(irql: u64) -> Option<&'static str> {
    match irql {
        0 => Some("PASSIVE_LEVEL"),
        1 => Some("APC_LEVEL"),
        2 => Some("DISPATCH_LEVEL"),
        3..=0xFF => Some("above DISPATCH_LEVEL"),
        _ => None,
    }
}

/// Name of an NTSTATUS (`STATUS_ACCESS_VIOLATION`), from minidump-common's tables and the one code
/// that kernels meet and those tables lack.
pub fn ntstatus_name(status: u32) -> Option<String> {
    if status == 0xE06D_7363 {
        return Some("C++ exception".to_owned());
    }
    NtStatusWindows::from_u32(status).map(|name| format!("{name:?}"))
}

fn ntstatus_text(status: u32) -> String {
    match ntstatus_name(status) {
        Some(name) => format!("{name} (0x{status:08X})"),
        None => format!("0x{status:08X}"),
    }
}

/// Where a code's parameters keep the things that a fault is described by; indices from 0.
struct FaultParameters {
    instruction: Option<usize>,
    address: Option<usize>,
    exception: Option<usize>,
}

/// From the decoders of the table: one source for both meanings and positions.
fn fault_parameters(code: u32) -> FaultParameters {
    let position = |wanted: fn(&Decoder) -> bool| {
        (0..4).find(|index| parameter_row(code, *index).is_some_and(|row| wanted(&row.decoder)))
    };
    let access = position(|decoder| matches!(decoder, Decoder::Access | Decoder::PageFaultAccess));
    let always_names_address = matches!(code, 0xBE | 0xFC);
    let raises_exception = matches!(code, 0x1E | 0x3B | 0x7E | 0x8E);
    FaultParameters {
        instruction: position(|decoder| *decoder == Decoder::Code),
        address: access
            .map(|_| 0)
            .or_else(|| always_names_address.then_some(0)),
        exception: raises_exception.then_some(0),
    }
}

/// The faulting instruction, for the codes whose parameters name it (0x0A, 0xD1 and 0xC5: the
/// fourth; 0x1E, 0x3B, 0x7E, 0x8E: the second; 0x50 and the special-pool codes: the third). Zero
/// means that the system did not know it. The value is as stored; 32-bit addresses may be
/// sign-extended.
pub fn fault_ip_parameter(code: u32, params: &[u64; 4]) -> Option<u64> {
    let index = fault_parameters(base_code(code)).instruction?;
    params.get(index).copied().filter(|address| *address != 0)
}

/// The exception code in the parameters, masked to 32 bits, for 0x1E, 0x3B, 0x7E and 0x8E.
pub fn exception_code(code: u32, params: &[u64; 4]) -> Option<u32> {
    let index = fault_parameters(base_code(code)).exception?;
    params.get(index).map(|value| low_half(*value))
}

/// The IRQL in the parameters (0x0A, 0xD1, 0xC5), if it is one.
pub fn irql_parameter(code: u32, params: &[u64; 4]) -> Option<u8> {
    let code = base_code(code);
    let index = (0..4).find(|index| {
        parameter_row(code, *index).is_some_and(|row| row.decoder == Decoder::Irql)
    })?;
    u8::try_from(*params.get(index)?).ok()
}

/// Address and kind of the memory access that a bug check reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultAccess {
    /// Truncated to the pointer width. `None`: the processor named none (non-canonical pointer).
    pub address: Option<u64>,
    /// `None`: not known.
    pub access: Option<Access>,
}

/// The memory access that the parameters name. An address that equals the faulting instruction's is
/// an execution, whatever the access parameter says: systems without no-execute report a read.
/// `None` for codes whose parameters name no access.
pub fn fault_access(code: u32, params: &[u64; 4], width: PointerWidth) -> Option<FaultAccess> {
    let code = base_code(code);
    if code == 0x1E && low_half(params[0]) == ACCESS_VIOLATION {
        let address = (!non_canonical(params, width)).then(|| width.truncate(params[3]));
        return Some(FaultAccess {
            address,
            access: exception_access(params, width),
        });
    }
    let address = width.truncate(*params.get(fault_parameters(code).address?)?);
    let access = match code {
        0xBE => Some(Access::Write),
        0xFC => Some(Access::Execute),
        _ => decoded_access(code, params, width),
    };
    Some(FaultAccess {
        address: Some(address),
        access,
    })
}

fn decoded_access(code: u32, params: &[u64; 4], width: PointerWidth) -> Option<Access> {
    let address = width.truncate(params[0]);
    if fault_ip_parameter(code, params).is_some_and(|ip| width.truncate(ip) == address) {
        return Some(Access::Execute);
    }
    (0..4).find_map(|index| {
        let value = width.truncate(*params.get(index)?);
        match (parameter_row(code, index)?.decoder, value) {
            (Decoder::Access | Decoder::PageFaultAccess, 0) => Some(Access::Read),
            (Decoder::Access | Decoder::PageFaultAccess, 1) => Some(Access::Write),
            (Decoder::Access, 2 | 8) => Some(Access::Execute),
            (Decoder::PageFaultAccess, 2) => Some(Access::Write),
            (Decoder::PageFaultAccess, 0x10) => Some(Access::Execute),
            _ => None,
        }
    })
}

fn access_text(code: u32, params: &[u64; 4], width: PointerWidth) -> Option<String> {
    let access = decoded_access(code, params, width)?;
    let by_address = access == Access::Execute
        && fault_ip_parameter(code, params)
            .is_some_and(|ip| width.truncate(ip) == width.truncate(params[0]));
    Some(match by_address {
        true => "execute (the address is the instruction itself)".to_owned(),
        false => access.as_str().to_owned(),
    })
}

/// 0x1E with an access violation that names no address: #GP, which x64 raises for a non-canonical
/// pointer, arrives as read of the highest address.
fn non_canonical(params: &[u64; 4], width: PointerWidth) -> bool {
    params[2] == 0 && width == PointerWidth::Bits64 && params[3] == u64::MAX
}

fn exception_access(params: &[u64; 4], width: PointerWidth) -> Option<Access> {
    if non_canonical(params, width) {
        return None;
    }
    match width.truncate(params[2]) {
        0 if width.truncate(params[1]) == width.truncate(params[3]) => Some(Access::Execute),
        0 => Some(Access::Read),
        1 => Some(Access::Write),
        8 => Some(Access::Execute),
        _ => None,
    }
}

/// What a code says about KB943650.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoleKind {
    /// The corrupted list itself can raise it.
    Primary,
    /// Damage done by the defect, found later by somebody else.
    SecondaryVictim,
    /// A person or a monitor forced the dump: the code says nothing, what the processors did does.
    Forced,
    /// Speaks against, without excluding.
    WeaklyAgainst,
    /// Windows 6.0 cannot raise it: excludes.
    Impossible,
}

/// A code's part in KB943650.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CodeRole {
    pub code: u32,
    /// What the code is to the defect.
    pub kind: RoleKind,
    /// Where the system raises it so; empty: everywhere.
    pub architectures: &'static [Architecture],
    /// What the row rests on.
    pub basis: Basis,
    /// One sentence for a person.
    pub meaning: &'static str,
}

/// A code's part in KB943650; `None`: none that is known. `raw` may carry the M bit.
pub fn role(raw: u32) -> Option<&'static CodeRole> {
    let code = base_code(raw);
    ROLES.iter().find(|role| role.code == code)
}

/// All codes with a part in KB943650, ascending by code.
pub fn roles() -> &'static [CodeRole] {
    ROLES
}

/// Can Windows 6.0 raise this code? False only where it is known that it cannot.
pub fn possible_on_6_0(code: u32) -> bool {
    role(code).is_none_or(|role| role.kind != RoleKind::Impossible)
}
