//! Text from a dump is data: what could steer a terminal or deceive a reader is made visible.

/// True for characters that never reach an output as themselves: controls, what turns or joins the text
/// around it, what takes no room or has no form of its own, and what every font may draw as it likes (the
/// Unicode Standard, chapter 23; UTS #39 on what may be ignored).
pub fn is_dangerous(c: char) -> bool {
    matches!(
        c,
        // C0 and C1 controls, DEL, the soft hyphen.
        '\0'..='\u{1F}'
            | '\u{7F}'..='\u{9F}'
            | '\u{AD}'
            // Joiners, fillers and vowels that nobody sees.
            | '\u{34F}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{3164}'
            | '\u{FFA0}'
            // Marks and controls of direction, of lines, of form, and of no width.
            | '\u{61C}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
            // Private use, and what is no character at all.
            | '\u{E000}'..='\u{F8FF}'
            | '\u{FDD0}'..='\u{FDEF}'
            | '\u{FFFE}'..='\u{FFFF}'
            | '\u{F0000}'..='\u{10FFFF}'
    )
}

/// `text` with dangerous characters written as `\u{..}`, for terminals and tables.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_dangerous(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escape_sequence_in_a_name_is_shown_not_obeyed() {
        assert_eq!(visible("a\u{1b}[31mb"), "a\\u{1b}[31mb");
        assert_eq!(visible("x\u{202e}gpj.exe"), "x\\u{202e}gpj.exe");
        assert_eq!(visible("tcpip.sys"), "tcpip.sys");
        assert_eq!(
            visible("a\u{200b}\u{e000}\u{10fffd}"),
            "a\\u{200b}\\u{e000}\\u{10fffd}"
        );
    }
}
