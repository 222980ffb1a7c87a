//! The filler rule: the kernel paints a header with the text `PAGE` before it fills fields in,
//! so a field that still holds it was never written and has no value.

/// `PAGE` as a little-endian 32-bit number.
const PAGE32: u32 = u32::from_le_bytes(*b"PAGE");
/// `PAGEPAGE` as a little-endian 64-bit number.
const PAGE64: u64 = u64::from_le_bytes(*b"PAGEPAGE");

/// The value of a 32-bit field unless it was never written.
pub fn written32(value: u32) -> Option<u32> {
    (value != PAGE32).then_some(value)
}

/// The value of a 64-bit field unless it was never written. A field of which only one half holds
/// filler is a value: a pointer may contain these bytes by chance.
pub fn written64(value: u64) -> Option<u64> {
    (value != PAGE64).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn painted_fields_have_no_value() {
        assert_eq!(written32(0x4547_4150), None);
        assert_eq!(written64(0x4547_4150_4547_4150), None);
        assert_eq!(written32(0), Some(0));
        assert_eq!(written64(0x4547_4150), Some(0x4547_4150));
    }
}
