//! The small value types of the report contract: hex text, times, open-ended enumerations.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::facts::unix_from_filetime;
use crate::hex;

/// An address or a register value: `0x` and lower-case hex, padded to the dump's pointer width.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hex(pub String);

impl Hex {
    /// An address of a machine whose pointers are `pointer` bytes wide.
    pub fn address(value: u64, pointer: usize) -> Hex {
        Hex(hex::number(value, if pointer == 4 { 8 } else { 16 }))
    }

    /// An offset or a 64-bit quantity, not padded.
    pub fn plain(value: u64) -> Hex {
        Hex(hex::number(value, 1))
    }

    /// A 32-bit quantity that is usually written with eight digits.
    pub fn word(value: u32) -> Hex {
        Hex(hex::number(value.into(), 8))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Hex {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Hex".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^0x[0-9a-f]+$" })
    }
}

/// A bug check or exception code: `0x` and eight upper-case hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Code(pub String);

impl Code {
    /// The number; `None` for text that is none, in a record of another program.
    pub fn number(&self) -> Option<u32> {
        u32::from_str_radix(self.0.strip_prefix("0x")?, 16).ok()
    }

    /// The text of `value`.
    pub fn new(value: u32) -> Code {
        Code(format!("0x{value:08X}"))
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Code {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^0x[0-9A-F]{8}$" })
    }
}

/// Registers by name, in the order in which debuggers print them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterValues(pub Vec<(String, Hex)>);

impl Serialize for RegisterValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for RegisterValues {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RegisterValues, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RegisterValues;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("registers by name")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RegisterValues, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(RegisterValues(all))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for RegisterValues {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "RegisterValues".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = Hex::json_schema(generator);
        schemars::json_schema!({ "type": "object", "additionalProperties": value })
    }
}

/// A FILETIME (100 ns since 1601-01-01 UTC) as RFC 3339 UTC text to the second; `None` outside
/// the years 1601 to 9999.
pub fn rfc3339_from_filetime(filetime: u64) -> Option<String> {
    rfc3339_from_unix(unix_from_filetime(filetime)?)
}

/// Seconds since 1970-01-01 UTC as RFC 3339 text.
pub fn rfc3339_from_unix(seconds: i64) -> Option<String> {
    let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
    time.format(&time::format_description::well_known::Rfc3339)
        .ok()
}

/// Seconds since 1970-01-01 UTC of an RFC 3339 text.
pub fn unix_from_rfc3339(text: &str) -> Option<i64> {
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
        .ok()
        .map(time::OffsetDateTime::unix_timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filetime_is_printed_as_utc() {
        // 2008-07-15T06:38:00Z, the article's time for the x64 tcpip.sys.
        let unix = 1_216_103_880u64;
        let filetime = (unix + 11_644_473_600) * 10_000_000 + 1234;
        assert_eq!(
            rfc3339_from_filetime(filetime).as_deref(),
            Some("2008-07-15T06:38:00Z")
        );
        assert_eq!(rfc3339_from_filetime(u64::MAX), None);
    }

    #[test]
    fn addresses_are_padded_to_the_pointer_width() {
        assert_eq!(Hex::address(0x8, 8).0, "0x0000000000000008");
        assert_eq!(Hex::address(0x8, 4).0, "0x00000008");
        assert_eq!(Code::new(0xd1).0, "0x000000D1");
    }
}
