//! `kb show` and `kb check` as text for a person: plain, as wide as the terminal, 80 columns elsewhere.

use std::io::{self, Write};

use super::inspect::{ASSUMED, FileCheck};
use crate::cli::output::Color;
use crate::facts::LockFact;
use crate::knowledge::Basis;
use crate::knowledge::article::{self, Article};
use crate::knowledge::hotfix::{ARCHITECTURES, Hotfix};
use crate::knowledge::versions::{Applicability, Certainty, FixState};
use crate::report::escape::visible;
use crate::report::text::{whole_words, words};

/// Prints words behind a label, wrapped to the terminal's width and indented to the label's. A name without blanks
/// that is wider is broken.
fn paragraph(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    let indent = " ".repeat(label.chars().count());
    let options = whole_words(Color::Never.palette().width)
        .initial_indent(label)
        .subsequent_indent(&indent);
    for line in textwrap::wrap(text.trim(), options) {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn heading(out: &mut dyn Write, text: &str) -> io::Result<()> {
    writeln!(out, "\n{text}")
}

pub(super) fn check(check: &FileCheck, out: &mut dyn Write) -> io::Result<()> {
    let file = visible(check.file.as_deref().unwrap_or("?"));
    let argument = visible(&check.argument);
    let version = check
        .version
        .map_or_else(|| "(no version)".to_owned(), |v| v.to_string());
    let state = match check.state {
        FixState::Fixed => "FIXED",
        FixState::NotFixed => "NOT FIXED",
        FixState::NotApplicable => "NOT APPLICABLE",
        FixState::Unknown => "UNKNOWN",
    };
    let branch = check
        .branch
        .map(|branch| format!(" ({} branch)", branch.as_str().to_uppercase()))
        .unwrap_or_default();
    writeln!(out, "{file} {version}: {state}{branch}")?;
    if check.file_source != Some(ASSUMED) && argument != file {
        paragraph(out, "  Given:    ", &argument)?;
    }
    if check.file_source == Some(ASSUMED) {
        paragraph(
            out,
            "  Taken as: ",
            "the version of tcpip.sys, because no file was named",
        )?;
    }
    paragraph(out, "  Why:      ", &check.reason)?;
    if check.basis != Basis::None {
        let settles = check.state == FixState::NotFixed && check.certainty == Certainty::Inferred;
        let certainty = match settles {
            true => "; inferred, the code of the file would settle it",
            false => "",
        };
        paragraph(
            out,
            "  Basis:    ",
            &format!("{}{certainty}", words::basis(check.basis)),
        )?;
    }
    if let Some(code) = &check.code {
        let means = match code.finding {
            LockFact::WriteLock => "has the fix: ",
            LockFact::ReadLock => "has the defect: ",
            LockFact::Unknown => "could not look: ",
        };
        paragraph(
            out,
            "  Code:     ",
            &format!("{means}{}", visible(&code.reason)),
        )?;
    }
    paragraph(out, "  Hotfix:   ", advice(check.applicability))?;
    for note in &check.notes {
        paragraph(out, "  Note:     ", &visible(&note.message))?;
    }
    Ok(())
}

fn advice(applicability: Applicability) -> &'static str {
    match applicability {
        Applicability::Applicable => {
            "applies: install Service Pack 2 (KB948465), a later update, or KB943650"
        }
        Applicability::NeedsServicePack => {
            "needs a service pack first: install Service Pack 1 (KB936330), then Service Pack 2 (KB948465) or KB943650"
        }
        Applicability::AlreadyInstalled => "already installed",
        Applicability::IncludedInLaterUpdate => "not needed: a later update includes it",
        Applicability::SupersededByServicePack => "not needed: the service pack includes it",
        Applicability::PartiallyServiced => {
            "applies: the update is only partly in place; install Service Pack 2 (KB948465), a later update, or KB943650, restart, and check again"
        }
        Applicability::NotApplicable => "does not apply to this version of Windows",
        Applicability::Unknown => "not known from this alone",
    }
}

pub(super) fn show(article: &Hotfix, out: &mut dyn Write) -> io::Result<()> {
    paragraph(out, &format!("{}  ", article.kb), article.title)?;
    writeln!(
        out,
        "published {}, revision {}",
        article.published, article.revision
    )?;

    heading(out, "Symptoms")?;
    for symptom in article.symptoms {
        paragraph(out, "  - ", symptom)?;
    }
    heading(out, "Cause")?;
    paragraph(out, "  ", article.cause)?;
    heading(out, "Applies to")?;
    for row in article.applies_to {
        paragraph(
            out,
            &format!("  {:<5} ", row.architecture.as_str()),
            row.products,
        )?;
    }
    paragraph(out, "  ", article.status)?;
    heading(out, "Installing")?;
    for prerequisite in article.prerequisites {
        paragraph(out, "  Needs:    ", prerequisite)?;
    }
    paragraph(out, "  Restart:  ", article.restart)?;
    paragraph(out, "  Replaces: ", article.replacement)?;
    let fixed = format!(
        "{} {} or later of the LDR branch",
        article.decides, article.fixed_version
    );
    paragraph(out, "  Fixed in: ", &fixed)?;

    heading(out, "How to get the fix today")?;
    for row in article.availability.alternatives {
        let text = format!("{} ({}) {}", row.name, row.kb, row.why);
        paragraph(
            out,
            "  - ",
            &format!("{text}. Basis: {}.", words::basis(row.basis)),
        )?;
    }
    let basis = words::basis(article.availability.basis);
    paragraph(
        out,
        "  - ",
        &format!("{} Basis: {basis}.", article.availability.text),
    )?;
    paragraph(out, "  - ", article.availability.afterwards)?;
    writeln!(
        out,
        "  Later tcpip.sys of 6001 (LDR holds the fix, GDR does not):"
    )?;
    for row in article.later_updates.iter().filter(|row| row.build == 6001) {
        writeln!(
            out,
            "    {}  LDR {}  GDR {}",
            row.bulletin, row.ldr, row.gdr
        )?;
    }

    heading(out, "Workaround")?;
    paragraph(out, "  ", article.workaround.text)?;
    for row in article.workaround.commands {
        writeln!(out, "    {}", row.command)?;
        paragraph(
            out,
            "      ",
            &format!("{} ({})", row.purpose, words::basis(row.basis)),
        )?;
    }
    paragraph(out, "  Side effect: ", article.workaround.side_effect)?;

    for architecture in ARCHITECTURES {
        heading(
            out,
            &format!("Files of the {architecture} package (times in UTC)"),
        )?;
        for row in article.files_of(architecture) {
            let version = row
                .version
                .map_or_else(|| "-".to_owned(), |v| v.to_string());
            let platform = row.platform.unwrap_or("-");
            writeln!(
                out,
                "  {:<14}{version:<16}{:>9}  {} {}  {platform}",
                row.name, row.size, row.date, row.time
            )?;
        }
    }
    for architecture in ARCHITECTURES {
        heading(out, &format!("Manifests and packages, {architecture}"))?;
        for row in article
            .manifests
            .iter()
            .filter(|row| row.package == architecture)
        {
            paragraph(out, "  ", row.name)?;
            writeln!(out, "    {:>9}  {} {}", row.size, row.date, row.time)?;
        }
    }

    heading(out, "Look-alikes (other problems with similar crashes)")?;
    for row in article::look_alikes() {
        writeln!(
            out,
            "  {} - {}",
            article::look_alike_name(&row.id),
            row.place
        )?;
        paragraph(out, "    ", &format!("{}.", row.symptom))?;
        paragraph(out, "    Tell it by: ", &format!("{}.", row.tell))?;
    }
    Ok(())
}

/// An article of a rule file.
pub(super) fn show_article(article: &Article, out: &mut dyn Write) -> io::Result<()> {
    let line = |text: &str| visible(text);
    paragraph(
        out,
        &format!("{}  ", line(&article.kb)),
        &line(&article.title),
    )?;
    heading(out, "Which machines")?;
    for row in article.systems.iter() {
        let range = match row.from == row.to {
            true => format!("build {}", row.from),
            false => format!("builds {} to {}", row.from, row.to),
        };
        let text = format!(
            "{}: {} ({})",
            row.applicability,
            line(&row.reason),
            words::basis(row.basis)
        );
        paragraph(out, &format!("  {range}  "), &text)?;
    }
    for row in article.versions.iter() {
        let label = format!("  {} {} to {}  ", line(&article.decides), row.from, row.to);
        let text = format!(
            "{}: {} ({})",
            row.applicability,
            line(&row.reason),
            words::basis(row.basis)
        );
        paragraph(out, &label, &text)?;
    }
    heading(out, "Signs")?;
    for row in article.evidence.iter() {
        let sign = if row.supports { '+' } else { '-' };
        let text = format!(
            "{} ({}, {})",
            line(&row.says),
            row.effect,
            words::basis(row.basis)
        );
        paragraph(out, &format!("  {sign} {}  ", line(&row.id)), &text)?;
    }
    heading(out, "What to do")?;
    for row in article.actions.iter() {
        paragraph(out, "  * ", &line(&row.text))?;
        if let Some(command) = &row.command {
            paragraph(out, "      ", &line(command))?;
        }
    }
    Ok(())
}
