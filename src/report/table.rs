//! Tables for other programs: CSV that a spreadsheet cannot be tricked with, and Markdown.

use std::io::{self, Write};

use super::escape::visible;

/// U+FEFF in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// Form of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableForm {
    /// RFC 4180.
    Csv,
    /// The same behind a byte order mark, without which Excel does not take it for UTF-8.
    CsvMarked,
    /// GitHub's pipe tables.
    Markdown,
}

/// Writes rows under a header.
pub struct Table<W: Write> {
    form: TableForm,
    csv: Option<csv::Writer<W>>,
    markdown: Option<W>,
}

impl<W: Write> Table<W> {
    /// A table with the columns `header`.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn new(form: TableForm, mut out: W, header: &[&str]) -> io::Result<Table<W>> {
        match form {
            TableForm::Csv | TableForm::CsvMarked => {
                if form == TableForm::CsvMarked {
                    out.write_all(BYTE_ORDER_MARK)?;
                }
                let mut csv = csv::WriterBuilder::new()
                    .terminator(csv::Terminator::CRLF)
                    .from_writer(out);
                csv.write_record(header)?;
                Ok(Table {
                    form,
                    csv: Some(csv),
                    markdown: None,
                })
            }
            TableForm::Markdown => {
                writeln!(out, "| {} |", header.join(" | "))?;
                writeln!(out, "|{}", "---|".repeat(header.len()))?;
                Ok(Table {
                    form,
                    csv: None,
                    markdown: Some(out),
                })
            }
        }
    }

    /// Writes one row.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn row<S: AsRef<str>>(&mut self, cells: &[S]) -> io::Result<()> {
        debug_assert!((self.form == TableForm::Markdown) == self.csv.is_none());
        if let Some(csv) = &mut self.csv {
            csv.write_record(cells.iter().map(|cell| csv_cell(cell.as_ref())))?;
        }
        if let Some(out) = &mut self.markdown {
            out.write_all(b"|")?;
            for cell in cells {
                write!(out, " {} |", markdown_cell(cell.as_ref()))?;
            }
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        match (&mut self.csv, &mut self.markdown) {
            (Some(csv), _) => csv.flush(),
            (_, Some(out)) => out.flush(),
            _ => Ok(()),
        }
    }
}

/// What begins a formula, in either width.
const FORMULA: [char; 8] = [
    '=', '+', '-', '@', '\u{FF1D}', '\u{FF0B}', '\u{FF0D}', '\u{FF20}',
];

/// A cell that no spreadsheet takes for a formula: one that begins with a character that starts a
/// formula (OWASP's list on CSV injection) gets an apostrophe in front. Controls are made visible.
fn csv_cell(text: &str) -> String {
    let text = visible(text);
    let formula = text.trim_start().starts_with(FORMULA);
    let text = if formula { format!("'{text}") } else { text };
    behind_separators(&text)
}

/// A spreadsheet of another language splits at semicolons, whatever quotes are around the cell: what comes
/// behind one may begin a formula as well.
fn behind_separators(text: &str) -> String {
    if !text.contains(';') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 8);
    for (n, part) in text.split(';').enumerate() {
        if n > 0 {
            out.push(';');
            if part
                .trim_start_matches([' ', '"', '\''])
                .starts_with(FORMULA)
            {
                out.push('\'');
            }
        }
        out.push_str(part);
    }
    out
}

/// Text that Markdown shows as it is: ASCII punctuation that can mean something is escaped, as
/// CommonMark allows for every punctuation character.
fn markdown_cell(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in visible(text).chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '(' | ')' | '#' | '!' | '|' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    // A bare address becomes a link in GitHub's dialect (GFM 6.9).
    let out = out.replace("://", "&#58;//").replace('@', "&#64;");
    without_www(&out)
}

/// `www.` in any case with its stop as an entity.
fn without_www(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find("www.") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        out.push_str("&#46;");
        rest = after.get(1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(form: TableForm, cells: &[&str]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(form, &mut out, &["a", "b"]).unwrap();
        table.row(cells).unwrap();
        table.flush().unwrap();
        drop(table);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_formula_in_a_file_name_stays_text_in_a_spreadsheet() {
        let text = table(TableForm::Csv, &["=cmd|' /C calc'!A0", "a,\"b\""]);
        assert_eq!(text, "a,b\r\n'=cmd|' /C calc'!A0,\"a,\"\"b\"\"\"\r\n");
        assert_eq!(csv_cell("\t@SUM(1)"), "\\u{9}@SUM(1)");
        assert_eq!(csv_cell("  -1+1"), "'  -1+1");
        assert_eq!(csv_cell("a;=1;b; \"@x"), "a;'=1;b;' \"@x");
    }

    #[test]
    fn no_address_in_a_name_becomes_a_link() {
        assert_eq!(markdown_cell("Www.a.example"), "Www&#46;a.example");
        assert_eq!(markdown_cell("ftp://x"), "ftp&#58;//x");
    }

    #[test]
    fn a_pipe_and_markup_in_a_name_do_not_break_a_markdown_table() {
        let text = table(TableForm::Markdown, &["a|b\nc", "<b>[x](http://y)"]);
        assert_eq!(
            text,
            "| a | b |\n|---|---|\n| a\\|b\\\\u\\{a\\}c | &lt;b&gt;\\[x\\]\\(http&#58;//y\\) |\n"
        );
    }
}
