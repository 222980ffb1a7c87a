//! The failure bucket: one key for one defect, the same on every machine and in every run.
//!
//! `key` rests on what the dump alone holds and does not change when symbols arrive; `name` is what
//! people read and groups over builds. Both are chosen from the fault, never from a walk down to
//! somebody else's driver.

use crate::knowledge::bugchecks::{Access, base_code};

/// Where the fault lies, as a bucket needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlace<'a> {
    /// File name of the module.
    pub module: &'a str,
    /// Its TimeDateStamp.
    pub time_date_stamp: u32,
    /// Its SizeOfImage.
    pub size_of_image: u32,
    /// Offset of the instruction from the image base.
    pub rva: u64,
    /// Function and displacement, when symbols name it.
    pub symbol: Option<(&'a str, u64)>,
}

/// A failure bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Code, access, module identity and offset, as `0xD1_W_tcpip_47919120e3000+0x2b1c4`; `None`
    /// when the place of the fault is not known.
    pub key: Option<String>,
    /// Code, access, module and function, as `0xD1_W_tcpip!TtStopTimer`; the module alone when the
    /// function is not known.
    pub name: Option<String>,
    /// Bytes from the start of the named function.
    pub offset: Option<u64>,
}

/// The bucket of a fault.
///
/// `exception` is the status of the exception for codes that report one.
pub fn bucket(
    code: u32,
    exception: Option<u32>,
    access: Option<Access>,
    place: Option<&FaultPlace<'_>>,
) -> Bucket {
    let mut head = format!("0x{:X}", base_code(code));
    if let Some(status) = exception {
        head.push_str(&format!("_{status:x}"));
    }
    if let Some(access) = access {
        head.push('_');
        head.push(access.letter());
    }
    let Some(place) = place else {
        return Bucket {
            key: None,
            name: Some(format!("{head}_unknown_module")),
            offset: None,
        };
    };
    let stem = stem(place.module);
    Bucket {
        key: Some(format!(
            "{head}_{stem}_{:08X}{:x}+{:#x}",
            place.time_date_stamp, place.size_of_image, place.rva
        )),
        name: Some(match place.symbol {
            Some((symbol, _)) => format!("{head}_{stem}!{symbol}"),
            None => format!("{head}_{stem}"),
        }),
        offset: place.symbol.map(|(_, displacement)| displacement),
    }
}

/// A module's name as debuggers write it: lower case, without its extension, and `nt` for the
/// kernel in all its flavours.
fn stem(file: &str) -> String {
    let lower = file.to_ascii_lowercase();
    if crate::unwind::names::is_kernel(&lower) && !lower.starts_with("hal") {
        return "nt".to_owned();
    }
    match lower.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => lower,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: FaultPlace<'static> = FaultPlace {
        module: "tcpip.sys",
        time_date_stamp: 0x4791_9120,
        size_of_image: 0xE3000,
        rva: 0x2B1C4,
        symbol: None,
    };

    #[test]
    fn the_key_does_not_change_when_symbols_arrive() {
        let without = bucket(0xD1, None, Some(Access::Write), Some(&PLACE));
        let named = FaultPlace {
            symbol: Some(("TtStopTimer", 0x1A)),
            ..PLACE
        };
        let with = bucket(0xD1, None, Some(Access::Write), Some(&named));
        assert_eq!(
            without.key.as_deref(),
            Some("0xD1_W_tcpip_47919120e3000+0x2b1c4")
        );
        assert_eq!(with.key, without.key);
        assert_eq!(with.name.as_deref(), Some("0xD1_W_tcpip!TtStopTimer"));
        assert_eq!(with.offset, Some(0x1A));
        assert_eq!(without.name.as_deref(), Some("0xD1_W_tcpip"));
    }

    #[test]
    fn an_m_variant_falls_into_the_bucket_of_its_base_code() {
        let nt = FaultPlace {
            module: "NTKRNLMP.EXE",
            ..PLACE
        };
        let bucket = bucket(0x1000_007E, Some(0xC000_0005), None, Some(&nt));
        assert_eq!(bucket.name.as_deref(), Some("0x7E_c0000005_nt"));
    }

    #[test]
    fn a_fault_in_no_module_has_a_name_and_no_key() {
        let bucket = bucket(0xD1, None, Some(Access::Execute), None);
        assert_eq!(bucket.key, None);
        assert_eq!(bucket.name.as_deref(), Some("0xD1_X_unknown_module"));
    }
}
