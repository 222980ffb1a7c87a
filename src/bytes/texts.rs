//! Many short texts in one piece. The names of a dump's drivers are hundreds: a piece of memory for each took longer
//! than reading them.

use super::View;

/// Where a text lies among others: offsets of its first byte and past its last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    /// Bytes of the text.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// True for a text without a single byte.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The last `len` bytes of the text; `None` when it is shorter.
    pub fn tail(self, len: usize) -> Option<Span> {
        let start = self.end.checked_sub(u32::try_from(len).ok()?)?;
        (start >= self.start).then_some(Span { start, ..self })
    }
}

/// Texts, each found by its [`Span`].
#[derive(Clone, Debug, Default)]
pub struct Texts(String);

impl Texts {
    /// The text at `span`; `None` for a span of other texts.
    pub fn get(&self, span: Span) -> Option<&str> {
        self.0.get(span.start as usize..span.end as usize)
    }
}

/// Texts that are put together.
#[derive(Debug, Default)]
pub struct TextsBuilder(Vec<u8>);

impl TextsBuilder {
    /// Room for `bytes` bytes of text.
    pub fn with_capacity(bytes: usize) -> TextsBuilder {
        TextsBuilder(Vec::with_capacity(bytes))
    }

    /// Adds a text. `None` when all texts together are longer than 4 GiB.
    pub fn push(&mut self, text: &str) -> Option<Span> {
        self.push_both(text, "")
    }

    /// Adds two texts, one behind the other without anything between, as one.
    pub fn push_both(&mut self, one: &str, other: &str) -> Option<Span> {
        let start = self.0.len();
        self.0.extend_from_slice(one.as_bytes());
        self.0.extend_from_slice(other.as_bytes());
        self.since(start)
    }

    /// Adds UTF-16LE text of `units` code units at `at`, unpaired surrogates replaced; `None` past the end.
    pub fn push_utf16(&mut self, view: View<'_>, at: usize, units: usize) -> Option<Span> {
        let start = self.0.len();
        view.utf16_into(at, units, &mut self.0)?;
        self.since(start)
    }

    fn since(&mut self, start: usize) -> Option<Span> {
        let span = u32::try_from(start)
            .ok()
            .zip(u32::try_from(self.0.len()).ok());
        if span.is_none() {
            self.0.truncate(start);
        }
        span.map(|(start, end)| Span { start, end })
    }

    /// The texts, no more of which are added.
    pub fn finish(self) -> Texts {
        // Whole texts were added: it is text all over.
        Texts(String::from_utf8(self.0).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_their_spans() {
        let mut builder = TextsBuilder::default();
        let utf16 = [0x74, 0, 0x00, 0xD8, 0xE9, 0];
        let path = builder.push(r"\drivers\tcpip.sys").unwrap();
        let other = builder.push_utf16(View(&utf16), 0, 3).unwrap();
        let plain = builder.push_utf16(View(&utf16), 0, 1).unwrap();
        assert_eq!(builder.push_utf16(View(&utf16), 0, 4), None);
        let empty = builder.push("").unwrap();
        let texts = builder.finish();
        assert_eq!(texts.get(path), Some(r"\drivers\tcpip.sys"));
        assert_eq!(
            path.tail(9).and_then(|tail| texts.get(tail)),
            Some("tcpip.sys")
        );
        assert_eq!((path.tail(18), path.tail(19)), (Some(path), None));
        assert_eq!(texts.get(other), Some("t\u{FFFD}é"));
        assert_eq!(texts.get(plain), Some("t"));
        assert!(empty.is_empty() && texts.get(empty) == Some(""));
        assert_eq!(Texts::default().get(plain), None);
    }
}
