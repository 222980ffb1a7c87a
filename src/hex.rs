//! Numbers and bytes as hex text. A scan writes about a hundred of them for each dump, and the machinery of
//! `format!` took longer than all the evidence.

/// Digits in the order of their values.
const DIGITS: &[u8; 16] = b"0123456789abcdef";
/// Most digits of a number.
const MOST: usize = 16;

/// The last four bits of `value` as a digit.
fn digit(value: u64) -> u8 {
    DIGITS[(value & 0xF) as usize]
}

/// `value` as `0x` and lower-case digits, at least `least` of them (up to 16).
pub fn number(value: u64, least: usize) -> String {
    let needed = (u64::BITS - value.leading_zeros()).div_ceil(4) as usize;
    let len = needed.max(least).clamp(1, MOST);
    let mut text = *b"0x0000000000000000";
    let mut rest = value;
    let digits = text.iter_mut().skip(2).take(len);
    for place in digits.rev() {
        *place = digit(rest);
        rest >>= 4;
    }
    ascii(text.get(..2 + len).unwrap_or_default())
}

/// `bytes` as two lower-case digits each.
pub fn bytes(bytes: &[u8]) -> String {
    let digits = bytes
        .iter()
        .flat_map(|byte| [digit(u64::from(byte >> 4)), digit(u64::from(*byte))]);
    ascii(&digits.collect::<Vec<u8>>())
}

fn ascii(digits: &[u8]) -> String {
    str::from_utf8(digits).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_are_written_as_the_standard_library_does() {
        for value in [
            0,
            1,
            0xF,
            0x10,
            0xABC,
            u64::from(u32::MAX),
            1 << 63,
            u64::MAX,
        ] {
            assert_eq!(number(value, 0), format!("{value:#x}"));
            assert_eq!(number(value, 8), format!("{value:#010x}"));
            assert_eq!(number(value, 16), format!("{value:#018x}"));
        }
        assert_eq!(bytes(&[0, 0x7F, 0xA0, 0xFF]), "007fa0ff");
        assert_eq!(bytes(&[]), "");
    }
}
