//! `kbtriage explain`: the whole reasoning about one dump, check by check.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use crate::evidence::{Observation, Outcome};
use crate::report::Report;
use crate::report::escape::visible;
use crate::report::model::Detail;
use crate::report::text::{self, Length, Palette, words};
use crate::scan::Folders;
use crate::triage::{Judged, judge};
use crate::verdict::{MatchStatus, RuleStep};

use super::analysis::{AnalysisArgs, error_line, one_file};
use super::output::Color;
use super::triage::usage;

// Its words for `--help` stand in `cli::Command`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Example:
  kbtriage explain MEMORY.DMP")]
pub struct ExplainArgs {
    /// A crash dump; - reads it from standard input
    #[arg(value_name = "DUMP", value_parser = one_file(), value_hint = clap::ValueHint::FilePath)]
    pub dump: PathBuf,
    /// When to colour text
    #[arg(long, value_enum, value_name = "WHEN", default_value_t = Color::Auto)]
    pub color: Color,
    /// Options of the analysis.
    #[command(flatten)]
    pub analysis: AnalysisArgs,
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &ExplainArgs, out: &mut dyn Write) -> io::Result<u8> {
    let engine = match args.analysis.engine() {
        Ok(engine) => engine,
        Err(message) => return usage(&message),
    };
    let triaged = args
        .analysis
        .analyse(&engine, &Folders::default(), &args.dump);
    if let Some(line) = error_line(&triaged.report) {
        writeln!(crate::cli::terminal::stderr(), "{line}")?;
        return Ok(1);
    }
    if let Some(facts) = &triaged.facts {
        let judged = judge(facts, &engine.knowledge, Detail::Full);
        out.write_all(render(&triaged.report, &judged, args.color.palette()).as_bytes())?;
    }
    args.analysis.say_silent_servers(&engine)?;
    Ok(0)
}

fn render(report: &Report, judged: &Judged, palette: Palette) -> String {
    let length = Length {
        long: true,
        titled: true,
        drivers: false,
    };
    let mut out = text::render(report, palette, length);
    let parameters = text::parameters(report, palette);
    if !parameters.is_empty() {
        let _ = writeln!(out, "\n{}", palette.heading("Bug check parameters"));
        out.push_str(&parameters);
    }
    let _ = writeln!(out, "\n{}", palette.heading("Every check"));
    for observation in &judged.observations {
        check(observation, palette, &mut out);
    }
    rules(&judged.steps, palette, &mut out);
    out
}

/// Every rule of the match, in the order in which they are asked.
fn rules(steps: &[RuleStep], palette: Palette, out: &mut String) {
    const TITLE: &str = "Every rule of the match with KB943650: the first that holds decides";
    let _ = writeln!(out, "\n{}", palette.heading(TITLE));
    let first = steps.iter().position(|step| step.held);
    for (index, step) in steps.iter().enumerate() {
        let state = match (first == Some(index), step.held) {
            (true, _) => "holds, and decides",
            (false, true) => "would hold",
            (false, false) => "does not hold",
        };
        let _ = writeln!(out, "  {}  {state}", palette.heading(step.status.as_str()));
        indented(out, palette, &format!("rule: {}", step.rule));
        if !step.by.is_empty() {
            indented(out, palette, &format!("seen: {}", step.by.join(", ")));
        }
        for missing in &step.missing {
            indented(out, palette, &format!("missing: {}", missing.phrase()));
        }
    }
    if first.is_none() {
        let _ = writeln!(out, "  none holds: {}", MatchStatus::InsufficientData);
    }
}

fn indented(out: &mut String, palette: Palette, line: &str) {
    let options = text::whole_words(palette.width)
        .initial_indent("      ")
        .subsequent_indent("        ");
    for line in textwrap::wrap(&visible(line), options) {
        let _ = writeln!(out, "{line}");
    }
}

fn check(observation: &Observation, palette: Palette, out: &mut String) {
    let head = format!("{}  {}", observation.observer, observation.question);
    let options = text::whole_words(palette.width)
        .initial_indent("  ")
        .subsequent_indent("      ");
    for (index, line) in textwrap::wrap(&head, options).iter().enumerate() {
        let _ = match index {
            0 => writeln!(
                out,
                "{}",
                line.replacen(
                    observation.observer,
                    &palette.heading(observation.observer),
                    1
                )
            ),
            _ => writeln!(out, "{line}"),
        };
    }
    let lines: Vec<(&str, String)> = match &observation.outcome {
        Outcome::Found(found) => found
            .iter()
            .map(|e| {
                (
                    if e.supports { "for" } else { "against" },
                    format!(
                        "{} ({}, {}; {})",
                        e.summary,
                        e.id,
                        words::strength(e.strength),
                        words::basis(e.basis)
                    ),
                )
            })
            .collect(),
        Outcome::Neutral(text) => vec![("neutral", text.clone())],
        Outcome::NotObservable(text) => vec![("could not look", text.clone())],
    };
    for (kind, line) in lines {
        indented(out, palette, &format!("{kind}: {line}"));
    }
}
