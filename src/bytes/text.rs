//! Text of files that other programs wrote, whose encoding is not told.

/// Text in UTF-16 with a byte order mark, or in any superset of ASCII: what is no UTF-8 is replaced.
pub fn decode(bytes: &[u8]) -> String {
    let units = |swap: bool| -> String {
        let pairs = bytes.get(2..).unwrap_or_default().as_chunks::<2>().0;
        let units = pairs.iter().map(|pair| match swap {
            true => u16::from_be_bytes(*pair),
            false => u16::from_le_bytes(*pair),
        });
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    };
    match bytes {
        [0xFF, 0xFE, ..] => units(false),
        [0xFE, 0xFF, ..] => units(true),
        _ => String::from_utf8_lossy(bytes)
            .trim_start_matches('\u{FEFF}')
            .to_owned(),
    }
}
