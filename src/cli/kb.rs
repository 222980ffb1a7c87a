//! `kbtriage kb`: an article's facts, and files or versions checked against it.
//!
//! Knows arguments, files and output; the facts and rules are the `knowledge` room's. Regular files
//! only are opened, and only up to a limit. Text from a file is escaped before it is printed.

mod code;
mod image;
mod inspect;
mod judged;
mod text;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::cli::analysis::{files, one_file};
use crate::cli::symbols::SymbolArgs;
use crate::knowledge::article;
use crate::knowledge::articles::{ArticleKind, Articles};
use crate::knowledge::builds;
use crate::knowledge::hotfix::{self, Hotfix};
use crate::knowledge::load::{self, Loaded};
use crate::knowledge::versions::VersionRule;
use crate::machine::Machine;
use crate::report::escape::visible;
use crate::report::json;

pub use inspect::{FileCheck, check};

// Its words for `--help` stand in `cli::Command`.
#[derive(Debug, Clone, Args)]
pub struct KbArgs {
    #[command(subcommand)]
    pub command: KbCommand,
}

#[derive(Debug, Clone, Subcommand)]
pub enum KbCommand {
    /// Print an article: symptoms, files and versions, workaround, how to get it
    Show(ShowArgs),
    /// Say whether a file or a version holds the fix, and why
    Check(CheckArgs),
}

#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// The article's number
    #[arg(value_name = "KB", default_value = "KB943650")]
    pub article: String,
    /// Directory of rule files for other articles
    #[arg(long, value_name = "DIR", value_parser = one_file())]
    pub knowledge: Option<PathBuf>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "\
Examples:
  kbtriage kb check 6.0.6001.18000
  kbtriage kb check tcpip.sys=6.0.6001.18311 netio.sys=6.0.6001.22497
  kbtriage kb check --format json drivers/tcpip.sys drivers/netio.sys
  kbtriage kb check --symbols srv*C:\\symbols*https://SERVER drivers/tcpip.sys

With the symbols of a tcpip.sys (--symbols, or its PDB beside it) its code is
read too: is the write lock taken before a timer is restarted?


All arguments of one command are taken as files of one machine. A version
without a name is taken as the version of tcpip.sys, which alone decides.

Exit status: 0 every argument was checked, 1 some could not be.")]
pub struct CheckArgs {
    /// A driver or DLL, or a version such as 6.0.6001.18000 or
    /// tcpip.sys=6.0.6001.18000
    #[arg(value_name = "FILE-OR-VERSION", required = true)]
    pub items: Vec<OsString>,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Table of known builds to add: lines of file, TimeDateStamp,
    /// SizeOfImage, version, separated by tabs
    #[arg(long, value_name = "FILE", value_parser = one_file())]
    pub builds: Option<PathBuf>,
    /// Where symbols are.
    #[command(flatten)]
    pub symbols: SymbolArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// An array of objects
    Json,
    /// One object a line
    Jsonl,
}

/// Why the command could not run at all.
#[derive(Debug, thiserror::Error)]
pub enum KbError {
    /// Wrong usage: exit status 2.
    #[error("{0}")]
    UnknownArticle(String),
    /// Wrong usage: exit status 2.
    #[error("{0}")]
    Argument(String),
    /// Wrong usage: exit status 2.
    #[error("--knowledge: {0}")]
    Knowledge(String),
    /// Wrong usage: exit status 2.
    #[error("--builds: {0}")]
    Builds(String),
    /// Output failed; a broken pipe is to end the program quietly.
    #[error("writing the output: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command. Records go to `out`, what could not be checked to `errors`. Gives the exit
/// status: 0 everything was checked, 1 some argument could not be.
pub fn run(args: &KbArgs, out: &mut dyn Write, errors: &mut dyn Write) -> Result<u8, KbError> {
    match &args.command {
        KbCommand::Show(show) => {
            let loaded = match &show.knowledge {
                Some(path) => load_knowledge(path).map_err(KbError::Knowledge)?,
                None => Loaded::default(),
            };
            let asked = Articles::new(std::slice::from_ref(&show.article), loaded)
                .map_err(KbError::UnknownArticle)?;
            if let ArticleKind::Article(article) = &asked.main {
                match show.format {
                    Format::Text => text::show_article(article, out)?,
                    form => write_records(&[record(article, &asked.version)], form, out)?,
                }
                return Ok(0);
            }
            let article = hotfix::KB943650;
            match show.format {
                Format::Text => text::show(article, out)?,
                form => write_records(&[hotfix_record(article)], form, out)?,
            }
            Ok(0)
        }
        KbCommand::Check(args) => {
            let table = match &args.builds {
                None => builds::BuildTable::embedded(),
                Some(path) => load_builds(path).map_err(KbError::Builds)?,
            };
            let code = |file: &Path, bytes: &[u8]| code::read(&args.symbols, file, bytes);
            let items: Vec<OsString> = files(args.items.iter().cloned())
                .map_err(KbError::Argument)?
                .into_iter()
                .map(Into::into)
                .collect();
            let checks = check(&items, &table, &code);
            match args.format {
                Format::Text => {
                    for check in checks.iter().filter(|check| check.error.is_none()) {
                        text::check(check, out)?;
                    }
                }
                form => write_records(&checks, form, out)?,
            }
            let mut status = 0;
            for check in &checks {
                if let Some(error) = &check.error {
                    status = 1;
                    writeln!(
                        errors,
                        "kbtriage: {}: {}",
                        visible(&check.argument),
                        visible(&error.message)
                    )?;
                }
            }
            Ok(status)
        }
    }
}

/// The embedded table of known builds and the user's file. Errors are for a person: they name the
/// file, the line and what was expected.
pub fn load_builds(path: &std::path::Path) -> Result<builds::BuildTable, String> {
    let (text, name) = read_text(path, builds::MAX_BUILDS_FILE)?;
    let mut table = builds::BuildTable::embedded();
    table.extend(builds::parse(&text, &name).map_err(|error| visible(&error.to_string()))?);
    Ok(table)
}

/// The text of a regular file of at most `limit` bytes, and its name as it may be shown. Errors are for a
/// person.
pub fn read_text(path: &std::path::Path, limit: usize) -> Result<(String, String), String> {
    let name = visible(&path.to_string_lossy());
    let bytes = inspect::read_regular(path, limit as u64)
        .map_err(|error| format!("{name}: {}", error.message))?;
    let text = match bytes.as_slice() {
        // UTF-16, as PowerShell 5 and old editors of Windows write it.
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => crate::bytes::text::decode(&bytes),
        _ => String::from_utf8(bytes).map_err(|_| format!("{name}: neither UTF-8 nor UTF-16"))?,
    };
    let text = match text.strip_prefix('\u{FEFF}') {
        Some(behind_mark) => behind_mark.to_owned(),
        None => text,
    };
    Ok((text, name))
}

/// The rule files of a directory. Errors are for a person: they name the file, the line and what
/// was expected.
pub fn load_knowledge(path: &std::path::Path) -> Result<Loaded, String> {
    let read = |path: &std::path::Path| {
        inspect::read_regular(path, load::MAX_FILE as u64).map_err(|error| error.message)
    };
    load::directory(path, read).map_err(|error| visible(&error.to_string()))
}

fn write_records<T: Serialize>(records: &[T], form: Format, out: &mut dyn Write) -> io::Result<()> {
    if form == Format::Jsonl {
        for record in records {
            json::write_compact(&mut *out, record)?;
            writeln!(out)?;
        }
        return Ok(());
    }
    json::write_pretty(&mut *out, &records)?;
    writeln!(out)
}

/// An article as programs read it.
#[derive(Serialize)]
struct Record<'a, T> {
    r#type: &'static str,
    schema_version: &'static str,
    knowledge: &'a str,
    #[serde(flatten)]
    article: T,
}

/// The article with its look-alikes and the names of its packages.
#[derive(Serialize)]
struct WithPackages {
    packages: Vec<Packages>,
    look_alikes: &'static [article::LookAlike],
    version_rules: &'static [VersionRule],
    #[serde(flatten)]
    article: &'static Hotfix,
}

#[derive(Serialize)]
struct Packages {
    architecture: Machine,
    packages: Vec<&'static str>,
}

fn record<T: Serialize>(article: T, knowledge: &str) -> Record<'_, T> {
    Record {
        r#type: "article",
        schema_version: crate::report::SCHEMA_VERSION,
        knowledge,
        article,
    }
}

fn hotfix_record(article: &'static Hotfix) -> Record<'static, WithPackages> {
    let packages = hotfix::ARCHITECTURES.iter();
    let packages = packages.map(|architecture| Packages {
        architecture: *architecture,
        packages: article.packages(*architecture).collect(),
    });
    let article = WithPackages {
        packages: packages.collect(),
        look_alikes: article::look_alikes(),
        version_rules: crate::knowledge::versions::version_rules(),
        article,
    };
    record(article, crate::knowledge::VERSION)
}
