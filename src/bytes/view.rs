//! Checked little-endian access to a byte slice: every reader returns `None` past the end.

/// A byte slice whose fields are read by absolute offset. All integers are little-endian.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(pub &'a [u8]);

impl<'a> View<'a> {
    /// The `len` bytes at `at`, or `None` when any of them lies outside.
    pub fn bytes(&self, at: usize, len: usize) -> Option<&'a [u8]> {
        self.0.get(at..at.checked_add(len)?)
    }

    /// The part from `at` to the end; empty past the end.
    pub fn from(&self, at: usize) -> View<'a> {
        View(self.0.get(at..).unwrap_or_default())
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes(at, N)?.try_into().ok()
    }

    /// One byte.
    pub fn u8(&self, at: usize) -> Option<u8> {
        self.0.get(at).copied()
    }

    /// Two bytes.
    pub fn u16(&self, at: usize) -> Option<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&self, at: usize) -> Option<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&self, at: usize) -> Option<u64> {
        self.array(at).map(u64::from_le_bytes)
    }

    /// A pointer of `width` bytes (4 or 8), zero-extended.
    pub fn pointer(&self, at: usize, width: usize) -> Option<u64> {
        match width {
            4 => self.u32(at).map(u64::from),
            8 => self.u64(at),
            _ => None,
        }
    }

    /// UTF-16LE text of `units` code units, unpaired surrogates replaced.
    pub fn utf16(&self, at: usize, units: usize) -> Option<String> {
        let mut text = Vec::with_capacity(units.min(self.0.len()));
        self.utf16_into(at, units, &mut text)?;
        String::from_utf8(text).ok()
    }

    /// As [`View::utf16`], as UTF-8 behind what `text` holds.
    fn utf16_into(&self, at: usize, units: usize, text: &mut Vec<u8>) -> Option<()> {
        let bytes = self.bytes(at, units.checked_mul(2)?)?;
        let start = text.len();
        // Names of drivers are ASCII nearly always.
        if narrow(bytes, text) {
            return Some(());
        }
        text.truncate(start);
        let pairs = bytes.as_chunks::<2>().0;
        let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
        for c in char::decode_utf16(units) {
            let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
            text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Some(())
    }
}

/// Adds the lower halves of UTF-16LE code units to `text`; false when they are not all ASCII, and `text` is not to
/// be used. Four units at once: there are some two hundred names in each small dump.
fn narrow(bytes: &[u8], text: &mut Vec<u8>) -> bool {
    const NOT_ASCII: u64 = 0xFF80_FF80_FF80_FF80;
    let (words, rest) = bytes.as_chunks::<8>();
    let mut all = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        all |= word;
        // Two bytes of each half, then the four of both.
        let halves = (word | word >> 8) & 0x0000_FFFF_0000_FFFF;
        let four = (halves | halves >> 16) as u32;
        text.extend_from_slice(&four.to_le_bytes());
    }
    for unit in rest.as_chunks::<2>().0 {
        let unit = u16::from_le_bytes(*unit);
        all |= u64::from(unit);
        text.push(unit as u8);
    }
    all & NOT_ASCII == 0
}

#[cfg(test)]
mod tests {
    use super::View;

    #[test]
    fn utf16_text_of_every_length_is_decoded() {
        let plain = "tcpip.sys \\Driver 0123";
        for len in 0..plain.len() {
            for odd in 0..=len {
                // One character that is none of ASCII, at each place.
                let mut text: Vec<char> = plain.chars().take(len).collect();
                if odd < len {
                    text[odd] = ['é', '\u{80}', '\u{4E00}'][odd % 3];
                }
                let text: String = text.into_iter().collect();
                let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                assert_eq!(View(&bytes).utf16(0, len), Some(text));
            }
        }
    }

    #[test]
    fn a_read_that_crosses_the_end_gives_nothing() {
        let view = View(&[1, 2, 3, 4, 5]);
        assert_eq!(view.u32(1), Some(0x0504_0302));
        assert_eq!(view.u32(2), None);
        assert_eq!(view.u64(usize::MAX), None);
        assert_eq!(view.pointer(0, 3), None);
    }

    #[test]
    fn utf16_text_is_decoded_and_a_lone_surrogate_is_replaced() {
        let view = View(&[0x74, 0, 0x00, 0xD8, 0x63, 0]);
        assert_eq!(view.utf16(0, 3).as_deref(), Some("t\u{FFFD}c"));
        assert_eq!(view.utf16(0, 4), None);
    }
}
