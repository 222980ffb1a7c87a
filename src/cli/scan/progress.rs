//! Progress on a terminal: files, rate, verdicts so far, time left. Silent in pipes.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use crate::scan::{Progress, Tally};

/// Files a second in whole numbers: a part of a file says nothing.
fn rate(state: &ProgressState, out: &mut dyn std::fmt::Write) {
    let _ = write!(out, "{:.0}/s", state.per_sec());
}

/// Progress, or nothing.
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// A bar on standard error when that is a terminal and nobody asked for quiet.
    pub fn new(quiet: bool) -> Bar {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
        if quiet || bar.is_hidden() {
            return Bar(None);
        }
        let style = ProgressStyle::with_template(
            "{spinner} {pos}/{len} files  {rate}  {msg}  {elapsed}, {eta} left",
        );
        if let Ok(style) = style {
            bar.set_style(style.with_key("rate", rate));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(Some(bar))
    }

    /// Shows the state.
    pub fn show(&self, progress: &Progress, tally: &Tally) {
        let Some(bar) = &self.0 else {
            return;
        };
        bar.set_length(progress.found);
        bar.set_position(progress.done);
        let matched: u64 = ["applies", "applies-after-service-pack", "probably-applies"]
            .iter()
            .filter_map(|name| tally.verdicts().get(*name))
            .sum();
        let may = tally.verdicts().get("may-apply").copied().unwrap_or(0);
        let listing = if progress.listed { "" } else { ", listing" };
        bar.set_message(format!("{matched} match, {may} may{listing}"));
    }

    /// Takes the bar away before other text.
    pub fn hide<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away for good.
    pub fn finish(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
