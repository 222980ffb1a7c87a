//! Text that keeps within its room: wrapped at blanks, cut where it says enough, and blocks of lines of which
//! the least telling are left out when there are too many.

use textwrap::core::display_width;

/// What stands for text that was left out.
const ELLIPSIS: char = '…';

/// Breaks at blanks only: names with hyphens and `module!function` stay whole.
pub fn whole_words<'a>(width: usize) -> textwrap::Options<'a> {
    textwrap::Options::new(width)
        .word_separator(textwrap::WordSeparator::AsciiSpace)
        .word_splitter(textwrap::WordSplitter::NoHyphenation)
}

/// `text` in at most `most` lines of `width` columns: whole, or as far as a clause of it fits, or cut. What is left
/// out is marked.
pub fn lines(text: &str, width: usize, most: usize) -> Vec<String> {
    let wrap = |text: &str| -> Vec<String> {
        let lines = textwrap::wrap(text, whole_words(width).break_words(true));
        lines.into_iter().map(|line| line.into_owned()).collect()
    };
    // A name of a megabyte is not wrapped to be thrown away.
    let room = width.saturating_mul(most).saturating_mul(4);
    let text: String = text.chars().take(room).collect();
    let whole = wrap(&text);
    if whole.len() <= most {
        return whole;
    }
    let mut clause = text.as_str();
    while let Some(shorter) = without_last_clause(clause) {
        clause = shorter;
        let lines = wrap(&format!("{clause} {ELLIPSIS}"));
        if lines.len() <= most {
            return lines;
        }
    }
    let mut cut: Vec<String> = whole.into_iter().take(most).collect();
    if let Some(last) = cut.last_mut() {
        while display_width(last) >= width {
            last.pop();
        }
        last.push(ELLIPSIS);
    }
    cut
}

/// `text` without what follows its last semicolon, colon, comma or opening bracket; `None` when little would
/// be left.
fn without_last_clause(text: &str) -> Option<&str> {
    /// Shorter beginnings say nothing.
    const SAYS_SOMETHING: usize = 16;
    let end = ["; ", ": ", ", ", " ("]
        .iter()
        .filter_map(|mark| text.rfind(mark))
        .max()?;
    (end >= SAYS_SOMETHING).then(|| text.get(..end)).flatten()
}

/// `parts` joined by commas on at most `most` lines of `width` columns, each part whole where it fits a line.
pub fn packed(parts: &[String], width: usize, most: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        let part = cut(part, width.saturating_sub(1));
        let used = lines.last().map(|line| display_width(line));
        let fits = used.is_some_and(|used| used + 3 + display_width(&part) <= width);
        if !fits && lines.len() == most {
            break;
        }
        match lines.last_mut() {
            Some(line) if fits => {
                line.push_str(", ");
                line.push_str(&part);
                continue;
            }
            Some(line) => line.push(','),
            None => {}
        }
        lines.push(part);
    }
    lines
}

/// `text` with its end left out where it is wider than `width` columns.
pub fn cut(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 1;
    for c in text.chars() {
        used += display_width(c.encode_utf8(&mut [0; 4]));
        if used > width {
            break;
        }
        out.push(c);
    }
    out.push(ELLIPSIS);
    out
}

/// A command of Windows' command line on lines of `width` columns: a caret at the end of a line continues it, so that
/// it can be copied whole. What has no blank to break at is cut.
pub fn command(text: &str, width: usize) -> Vec<String> {
    const CONTINUES: &str = " ^";
    if display_width(text) <= width {
        return vec![text.to_owned()];
    }
    let options = whole_words(width.saturating_sub(CONTINUES.len())).subsequent_indent("  ");
    let mut lines: Vec<String> = textwrap::wrap(text, options)
        .into_iter()
        .map(|line| cut(line.trim_end(), width.saturating_sub(CONTINUES.len())))
        .collect();
    let last = lines.len().saturating_sub(1);
    for line in lines.iter_mut().take(last) {
        line.push_str(CONTINUES);
    }
    lines
}

/// `text` with its middle left out where it is wider than `width` columns: both ends of a path tell most, the
/// last more.
pub fn middle(text: &str, width: usize) -> String {
    if display_width(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let front = room / 4;
    let mut start = String::new();
    for c in text.chars() {
        if display_width(&start) >= front {
            break;
        }
        start.push(c);
    }
    let left = room.saturating_sub(display_width(&start));
    let mut end: Vec<char> = Vec::new();
    let mut used = 0;
    for c in text.chars().rev() {
        used += display_width(c.encode_utf8(&mut [0; 4]));
        if used > left {
            break;
        }
        end.push(c);
    }
    let end: String = end.into_iter().rev().collect();
    format!("{start}{ELLIPSIS}{end}")
}

/// Lines that stay or go together.
pub struct Block {
    /// The lines, without line ends.
    pub lines: Vec<String>,
    /// 0 stays; of the others the greatest goes first.
    pub goes: u8,
}

/// The lines of `blocks` in their order, those that go first left out while there are more than `most`.
pub fn fitting(mut blocks: Vec<Block>, most: usize) -> Vec<String> {
    let count = |blocks: &[Block]| blocks.iter().map(|block| block.lines.len()).sum::<usize>();
    while count(&blocks) > most {
        let first = (0..blocks.len())
            .filter(|&i| blocks.get(i).is_some_and(|block| block.goes > 0))
            .max_by_key(|&i| blocks.get(i).map(|block| (block.goes, i)));
        match first {
            Some(index) => drop(blocks.remove(index)),
            None => break,
        }
    }
    blocks.into_iter().flat_map(|block| block.lines).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_ends_with_a_clause() {
        let text = "tcpip.sys 6.0.6001.18311: GDR branch of Service Pack 1: not fixed whatever its date, \
                    because hotfixes go into the LDR branch only";
        assert_eq!(
            lines(text, 90, 1),
            [
                "tcpip.sys 6.0.6001.18311: GDR branch of Service Pack 1: not fixed whatever its date …"
            ]
        );
        let name = "x".repeat(500);
        let cut = lines(&name, 20, 2);
        assert_eq!(cut.len(), 2);
        assert!(cut.iter().all(|line| display_width(line) <= 20), "{cut:?}");
        assert!(cut[1].ends_with('…'));
    }

    #[test]
    fn a_path_keeps_both_ends() {
        let path = "/mnt/dumps/2009/12/HOST-17/Minidump/Mini122209-01.dmp";
        let short = middle(path, 30);
        assert!(display_width(&short) <= 30, "{short}");
        assert!(
            short.starts_with("/mnt/du") && short.ends_with("Mini122209-01.dmp"),
            "{short}"
        );
        assert_eq!(middle(path, 60), path);
        // Wide letters take two columns each.
        assert!(display_width(&middle(&"長".repeat(60), 21)) <= 21);
        assert!(display_width(&cut(&"長".repeat(60), 21)) <= 21);
    }

    #[test]
    fn a_long_command_is_continued_by_carets() {
        let text = r"reg add HKLM\SYSTEM\CurrentControlSet\Control\CrashControl /v CrashDumpEnabled /t REG_DWORD /d 2 /f";
        for width in [60, 71, 80, 96] {
            let lines = command(text, width);
            assert!(lines.iter().all(|line| line.len() <= width), "{lines:?}");
            let (last, others) = lines.split_last().unwrap();
            let whole: String = others
                .iter()
                .map(|line| line.strip_suffix(" ^").unwrap().trim_start().to_owned() + " ")
                .collect();
            assert_eq!(whole + last.trim_start(), text);
        }
        assert_eq!(command(text, text.len()), [text]);
    }

    #[test]
    fn what_tells_least_goes_first() {
        let block = |text: &str, goes| Block {
            lines: vec![text.to_owned()],
            goes,
        };
        let blocks = || vec![block("answer", 0), block("hint", 9), block("against", 3)];
        assert_eq!(fitting(blocks(), 2), ["answer", "against"]);
        assert_eq!(fitting(blocks(), 3).len(), 3);
        assert_eq!(fitting(blocks(), 0), ["answer"]);
    }
}
