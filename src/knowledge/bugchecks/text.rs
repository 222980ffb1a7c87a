//! A parameter's meaning and value in words.

use super::ntstatus::ntstatus_name;
use super::parameters::{ACCESS_VIOLATION, Decoder, Parameters, low_half, row};
use super::{Access, base_code};
use crate::knowledge::tables::bugchecks::VALUES;

const UNKNOWN_ACCESS: &str = "access kind not known: a general protection fault names none";
const NON_CANONICAL: &str =
    "no address: typically a non-canonical pointer, which the processor does not report";

/// Meaning and decoded value of one parameter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParameterText {
    /// `None`: reserved, or a code whose parameters are not described here.
    pub meaning: Option<&'static str>,
    /// `None`: the value speaks for itself, or means nothing that is known.
    pub decoded: Option<String>,
}

/// Are the parameters of this code described?
#[cfg_attr(not(feature = "internals"), expect(dead_code))]
pub fn has_parameter_texts(code: u32) -> bool {
    row(base_code(code), 0).is_some()
}

impl Parameters {
    /// Describes parameter `index` (from 0).
    pub fn text(&self, index: usize) -> ParameterText {
        let (Some(row), Some(value)) = (row(self.check.code, index), self.value(index)) else {
            return ParameterText::default();
        };
        ParameterText {
            meaning: row.meaning,
            decoded: self.decoded(row.decoder, value),
        }
    }

    fn decoded(&self, decoder: Decoder, value: u64) -> Option<String> {
        let violation = || {
            self.violation()
                .filter(|_| self.exception() == Some(ACCESS_VIOLATION))
        };
        match decoder {
            Decoder::Irql => irql_name(value).map(str::to_owned),
            Decoder::Access
            | Decoder::AccessBits
            | Decoder::ReadWrite
            | Decoder::PageFaultAccess
            | Decoder::SpecialPoolAccess => {
                self.access().map(|access| match self.executes_itself() {
                    true if access == Access::Execute => {
                        "execute (the address is the instruction itself)".to_owned()
                    }
                    _ => access.as_str().to_owned(),
                })
            }
            Decoder::NtStatus | Decoder::Exception => Some(ntstatus_text(low_half(value))),
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
            Decoder::ExceptionInfo0 => violation().and_then(|v| match (v.access, v.address) {
                (Some(access), _) => Some(access.as_str().to_owned()),
                (None, None) => Some(UNKNOWN_ACCESS.to_owned()),
                (None, Some(_)) => None,
            }),
            Decoder::ExceptionInfo1 => violation()
                .filter(|v| v.address.is_none())
                .map(|_| NON_CANONICAL.to_owned()),
            Decoder::Set(set) => value_text(set, value).map(str::to_owned),
            _ => None,
        }
    }
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

fn ntstatus_text(status: u32) -> String {
    match ntstatus_name(status) {
        Some(name) => format!("{name} (0x{status:08X})"),
        None => format!("0x{status:08X}"),
    }
}
