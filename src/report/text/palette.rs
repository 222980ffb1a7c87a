//! How text is decorated and how wide it is. A colour means the same everywhere (red: applies, yellow: open,
//! grey: does not), and no line says with colour what it does not say in words.

use anstyle::{AnsiColor, Style};

use crate::verdict::Verdict;

/// Columns of text that goes to a file or a pipe, and the fewest of a terminal that are used.
pub const COLUMNS: usize = 80;
/// Most columns that are used: longer lines are hard to read.
pub const MOST_COLUMNS: usize = 120;

/// How text is decorated and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Colours and bold text; only for a terminal.
    pub color: bool,
    /// Columns, from 80 to 120.
    pub width: usize,
}

impl Default for Palette {
    fn default() -> Palette {
        Palette {
            color: false,
            width: COLUMNS,
        }
    }
}

impl Palette {
    fn paint(self, style: Style, text: &str) -> String {
        match self.color && !text.is_empty() {
            true => format!("{style}{text}{style:#}"),
            false => text.to_owned(),
        }
    }

    /// A heading.
    pub fn heading(self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// `text`, which says the verdict, in its colour.
    pub fn verdict(self, verdict: Verdict, text: &str) -> String {
        let tone = match verdict {
            Verdict::Applies | Verdict::AppliesAfterServicePack | Verdict::ProbablyApplies => {
                AnsiColor::Red
            }
            Verdict::MayApply | Verdict::Undetermined => AnsiColor::Yellow,
            Verdict::DoesNotApply => AnsiColor::BrightBlack,
        };
        self.paint(color(tone).bold(), text)
    }
}

fn color(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(color.into()))
}
