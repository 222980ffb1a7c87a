//! The one way text reaches standard output and standard error. Whatever it is made of (a dump, a file name,
//! an archive's member, a server's answer, a library's error, an argument), what could steer a terminal or
//! deceive a reader becomes visible text here; only this program's own colours pass.

use std::io::{self, BufWriter, StderrLock, StdoutLock, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::report::escape::is_dangerous;
use crate::report::table::BYTE_ORDER_MARK;

/// Longest of the program's own sequences, in bytes.
const LONGEST_STYLE: usize = 5;

/// Colours were asked for, or it is a terminal that has them.
static STYLED: AtomicBool = AtomicBool::new(false);

/// Lets the program's own colours pass from here on.
pub fn allow_styles() {
    STYLED.store(true, Ordering::Relaxed);
}

/// A byte order mark may begin the output.
static MARKED: AtomicBool = AtomicBool::new(false);

/// Lets one byte order mark pass from here on.
pub fn allow_mark() {
    MARKED.store(true, Ordering::Relaxed);
}

/// Standard output.
pub fn stdout() -> Terminal<BufWriter<StdoutLock<'static>>> {
    Terminal::new(BufWriter::new(io::stdout().lock()))
}

/// Standard error.
pub fn stderr() -> Terminal<StderrLock<'static>> {
    Terminal::new(io::stderr().lock())
}

/// Writes `text` over the line before, whose rest is cleared (`ESC [ K`): for progress on a terminal.
///
/// # Errors
/// Whatever standard error says.
pub fn line_over(text: &str, ended: bool) -> io::Result<()> {
    let mut out = io::stderr().lock();
    out.write_all(b"\r")?;
    Terminal::new(&mut out).write_all(text.as_bytes())?;
    out.write_all(if ended { b"\x1B[K\n" } else { b"\x1B[K" })?;
    out.flush()
}

/// A writer of text that shows dangerous characters instead of passing them on.
pub struct Terminal<W: Write> {
    inner: W,
    /// The beginning of a character or of a sequence whose rest is still to come.
    held: Vec<u8>,
}

impl<W: Write> Terminal<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Terminal<W> {
        Terminal {
            inner,
            held: Vec::new(),
        }
    }

    /// Writes all of `bytes` but what may be the beginning of something longer, which it returns; nothing
    /// is left when this is the `last`.
    fn show<'b>(&mut self, bytes: &'b [u8], last: bool) -> io::Result<&'b [u8]> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let plain = rest.iter().take_while(|byte| is_plain(**byte)).count();
            let (before, after) = rest.split_at(plain);
            self.inner.write_all(before)?;
            rest = after;
            let Some(first) = rest.first() else {
                break;
            };
            let taken = match first {
                b'\r' | 0x1B if !last && could_grow(rest) => return Ok(rest),
                b'\r' if rest.get(1) == Some(&b'\n') => {
                    self.inner.write_all(b"\r\n")?;
                    2
                }
                0x1B if STYLED.load(Ordering::Relaxed) && style(rest) > 0 => {
                    let len = style(rest);
                    self.inner.write_all(rest.get(..len).unwrap_or_default())?;
                    len
                }
                _ => match character(rest) {
                    Ok('\u{FEFF}') if MARKED.swap(false, Ordering::Relaxed) => {
                        self.inner.write_all(BYTE_ORDER_MARK)?;
                        BYTE_ORDER_MARK.len()
                    }
                    Ok(c) if is_dangerous(c) => {
                        write!(self.inner, "{}", c.escape_unicode())?;
                        c.len_utf8()
                    }
                    Ok(c) => {
                        let len = c.len_utf8();
                        self.inner.write_all(rest.get(..len).unwrap_or_default())?;
                        len
                    }
                    Err(None) if !last => return Ok(rest),
                    Err(broken) => {
                        let len = broken.unwrap_or(rest.len());
                        for byte in rest.get(..len).unwrap_or_default() {
                            write!(self.inner, "\\x{{{byte:02x}}}")?;
                        }
                        len
                    }
                },
            };
            rest = rest.get(taken..).unwrap_or_default();
        }
        Ok(rest)
    }
}

impl<W: Write> Write for Terminal<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.held.is_empty() {
            let rest = self.show(buf, false)?;
            self.held.extend_from_slice(rest);
        } else {
            let mut bytes = std::mem::take(&mut self.held);
            bytes.extend_from_slice(buf);
            let rest = self.show(&bytes, false)?;
            self.held.extend_from_slice(rest);
        }
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        self.show(&held, true)?;
        self.inner.flush()
    }
}

/// A writer that goes away keeps nothing to itself.
impl<W: Write> Drop for Terminal<W> {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

/// Printable ASCII, a line's end, a tab.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n' | b'\t')
}

/// True when what begins here may be one of the sequences that pass, and is not all there.
fn could_grow(bytes: &[u8]) -> bool {
    match bytes {
        [b'\r'] => true,
        [0x1B, rest @ ..] => {
            bytes.len() < LONGEST_STYLE
                && rest.first().is_none_or(|byte| *byte == b'[')
                && rest.iter().skip(1).all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// The length of the sequence at the start of `bytes`, when it is one of the program's own: ESC, `[`, one or
/// two digits, `m`, of normal, bold, faint and the sixteen colours (ECMA-48, 8.3.117).
fn style(bytes: &[u8]) -> usize {
    let Some(end) = bytes.iter().take(LONGEST_STYLE).position(|b| *b == b'm') else {
        return 0;
    };
    let number = bytes
        .get(2..end)
        .filter(|_| bytes.starts_with(b"\x1B["))
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse::<u8>().ok());
    match number {
        Some(0..=2 | 30..=37 | 39 | 90..=97) => end + 1,
        _ => 0,
    }
}

/// The first character; else how many bytes are none, or `None` when it may only be cut.
fn character(bytes: &[u8]) -> Result<char, Option<usize>> {
    let first = bytes.get(..bytes.len().min(4)).unwrap_or_default();
    let valid = match std::str::from_utf8(first) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => first
            .get(..error.valid_up_to())
            .and_then(|valid| std::str::from_utf8(valid).ok())
            .unwrap_or_default(),
        Err(error) => return Err(error.error_len()),
    };
    valid.chars().next().ok_or(Some(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What arrives when `pieces` are written one after the other.
    fn shown(pieces: &[&[u8]]) -> String {
        let mut terminal = Terminal::new(Vec::new());
        for piece in pieces {
            terminal.write_all(piece).unwrap();
        }
        terminal.flush().unwrap();
        String::from_utf8(terminal.inner.clone()).unwrap()
    }

    #[test]
    fn text_passes_and_what_steers_a_terminal_is_shown() {
        for (text, expected) in [
            ("tcpip.sys\tok\r\n", "tcpip.sys\tok\r\n"),
            (
                "Gr\u{F6}\u{DF}e \u{65E5}\u{672C}",
                "Gr\u{F6}\u{DF}e \u{65E5}\u{672C}",
            ),
            ("\u{1B}]52;c;aGk=\u{7}", "\\u{1b}]52;c;aGk=\\u{7}"),
            ("over\rwritten", "over\\u{d}written"),
            (
                "\u{9B}31m \u{202E}gpj \u{200B} \u{E000}",
                "\\u{9b}31m \\u{202e}gpj \\u{200b} \\u{e000}",
            ),
            (
                "\u{F0000}\u{E0041}\u{FEFF}",
                "\\u{f0000}\\u{e0041}\\u{feff}",
            ),
        ] {
            assert_eq!(shown(&[text.as_bytes()]), expected);
            // However it is cut.
            let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(shown(&bytes), expected);
        }
        assert_eq!(shown(&[b"a\xFFb\xE2\x82"]), "a\\x{ff}b\\x{e2}\\x{82}");
    }

    #[test]
    fn only_the_programs_own_colours_are_known() {
        for own in ["\u{1B}[1m", "\u{1B}[0m", "\u{1B}[31m", "\u{1B}[97m"] {
            assert_eq!(style(own.as_bytes()), own.len());
        }
        for other in [
            "\u{1B}[8m",
            "\u{1B}[5m",
            "\u{1B}[2J",
            "\u{1B}]0;m",
            "\u{1B}[1;31m",
            "\u{1B}m",
        ] {
            assert_eq!(style(other.as_bytes()), 0, "{other:?}");
        }
    }
}
