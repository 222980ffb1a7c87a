//! A report on one screen: the answer first, then what happened, why, and what to do now.
//!
//! Never more than 24 lines, whatever the dump holds. Reads the record only, so that text and JSON never
//! disagree; everything from the dump is made harmless by [`visible`].

use crate::report::escape::visible;
use crate::report::model::{Hotfix, Report};
use crate::verdict::Verdict;

use super::advice;
use super::answer::answered;
use super::fit::{self, Block};
use super::happened::{fault, is_live, odd, stop, system};
use super::palette::Palette;
use super::reasons::{self, evidence, missing};
use super::words;

/// Lines of a terminal as it comes.
pub const LINES: usize = 24;
/// Column at which a labelled line's text begins.
const INDENT: usize = 9;
/// Lines that say where the rest is, with the one above them.
const CLOSING: usize = 3;

/// The screen of one report, ending with a line end. `titled`: one of several, each under its path.
pub fn render(report: &Report, palette: Palette, titled: bool) -> String {
    let page = Page { report, palette };
    let mut blocks = Vec::new();
    if titled {
        let path = fit::middle(&visible(&report.source.path), palette.width);
        blocks.push(keep(vec![palette.heading(&path)]));
    }
    match &report.hotfix {
        Some(hotfix) => page.about(hotfix, &mut blocks),
        None => {
            page.crash(&mut blocks);
            page.closing(&mut blocks);
        }
    }
    let mut out = fit::fitting(blocks, LINES).join("\n");
    out.push('\n');
    out
}

/// One screen in the making.
struct Page<'a> {
    report: &'a Report,
    palette: Palette,
}

fn keep(lines: Vec<String>) -> Block {
    Block { lines, goes: 0 }
}

fn blank() -> Block {
    keep(vec![String::new()])
}

impl Page<'_> {
    fn about(&self, hotfix: &Hotfix, blocks: &mut Vec<Block>) {
        blocks.push(keep(self.answer(hotfix)));
        blocks.push(blank());
        self.crash(blocks);
        self.reasons(hotfix, blocks);
        blocks.push(blank());
        let used = blocks.iter().map(|block| block.lines.len()).sum::<usize>();
        let negative = hotfix.verdict == Verdict::DoesNotApply;
        let room = match LINES.saturating_sub(used + CLOSING) {
            // What it is instead is what is asked.
            left if negative => left.max(advice::OTHER),
            // Where little happened there is room for more advice.
            left if left >= advice::MANY => advice::MANY,
            _ => advice::FEW,
        };
        let lines = advice::lines(self.report, hotfix, self.palette, room);
        blocks.push(keep(lines));
        self.closing(blocks);
    }

    /// The verdict and what it means, in a sentence or two.
    fn answer(&self, hotfix: &Hotfix) -> Vec<String> {
        let said = answered(self.report, hotfix);
        let detail = match said.detail.is_empty() {
            true => String::new(),
            false => format!(" ({})", said.detail),
        };
        let kb = visible(&hotfix.kb);
        let verdict = words::verdict_headline(hotfix.verdict);
        let room = self.palette.width.saturating_sub(verdict.len() + 2);
        let kb = fit::cut(&kb, room);
        let detail = fit::cut(&detail, room.saturating_sub(kb.len()));
        let mut lines = vec![format!(
            "{}: {}{detail}",
            self.palette.heading(&kb),
            self.palette.verdict(hotfix.verdict, &verdict)
        )];
        let wrapped = fit::lines(&said.meaning, self.palette.width - 2, 2);
        lines.extend(wrapped.iter().map(|line| format!("  {line}")));
        lines
    }

    /// What happened: stop, system, fault, bucket.
    fn crash(&self, blocks: &mut Vec<Block>) {
        let report = self.report;
        let room = self.palette.width - INDENT;
        let mut row = |label: &str, lines: Vec<String>, goes: u8| {
            if lines.iter().any(|line| !line.is_empty()) {
                blocks.push(Block {
                    lines: self.labelled(label, lines),
                    goes,
                });
            }
        };
        let label = match is_live(report) {
            true => "Live",
            false => "Stop",
        };
        row(label, stop(report, room), 0);
        row("System", fit::packed(&system(report), room, 2), 0);
        row("Fault", fit::lines(&fault(report), room, 2), 0);
        if let Some(bucket) = &report.bucket {
            let name = bucket.name.as_ref().unwrap_or(&bucket.key);
            row("Bucket", vec![fit::cut(&visible(name), room)], 1);
        }
    }

    /// Why: what speaks for and against, what is odd, what is missing.
    fn reasons(&self, hotfix: &Hotfix, blocks: &mut Vec<Block>) {
        let width = self.palette.width - INDENT;
        let mut rows = |label: &str, texts: Vec<String>, each: usize, most: usize, goes: u8| {
            let mut left = most;
            for (index, text) in texts.iter().enumerate() {
                let text = visible(text);
                let lines = fit::lines(&text, width, each.min(left));
                // Only what decided is worth being cut.
                if index > 0 && fit::lines(&text, width, usize::MAX).len() > lines.len() {
                    continue;
                }
                left -= lines.len();
                let label = if index == 0 { label } else { "" };
                // The first of a kind goes last.
                let goes = goes.saturating_add(u8::from(index > 0));
                blocks.push(Block {
                    lines: self.labelled(label, lines),
                    goes,
                });
                if left == 0 {
                    break;
                }
            }
        };
        let (supporting, against) = evidence(self.report, hotfix);
        match hotfix.verdict {
            // What the answer rests on comes first.
            Verdict::DoesNotApply => {
                rows("Against", against, 2, 3, 4);
                rows("Despite", supporting, 2, 3, 5);
            }
            _ => {
                rows("For", supporting, 2, 4, 3);
                rows("Against", against, 2, 3, 4);
            }
        }
        // What makes the answer doubtful stays longest.
        rows("Odd", odd(self.report), 2, 4, 1);
        rows("Or", reasons::other(hotfix).into_iter().collect(), 2, 2, 2);
        let missing = missing(hotfix);
        rows("Missing", missing.into_iter().collect(), 3, 3, 2);
        rows(
            "Also",
            reasons::others(self.report).into_iter().collect(),
            1,
            1,
            7,
        );
    }

    fn labelled(&self, label: &str, lines: Vec<String>) -> Vec<String> {
        let lines = lines.into_iter().enumerate();
        lines
            .map(|(index, line)| match index {
                0 => {
                    let pad = " ".repeat(INDENT.saturating_sub(label.len()));
                    let line = format!("{}{pad}{line}", self.palette.heading(label));
                    line.trim_end().to_owned()
                }
                _ => format!("{}{line}", " ".repeat(INDENT)),
            })
            .collect()
    }

    /// Where the rest is.
    fn closing(&self, blocks: &mut Vec<Block>) {
        blocks.push(blank());
        let lead = "Everything else: ";
        let command = advice::command("explain", self.report, self.palette.width - 2);
        let lines = match lead.len() + command.chars().count() <= self.palette.width {
            true => vec![format!("{lead}{command}")],
            false => vec![lead.trim_end().to_owned(), format!("  {command}")],
        };
        blocks.push(keep(lines));
    }
}
