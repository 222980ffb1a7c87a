//! `kbtriage symbols`: which symbol files dumps need, getting them, and asking them.
//!
//! Also the options by which every command is told where symbols are, and the rule of consent
//! they carry. Reads module lists through the dump reader; knows no symbol format.

mod dumps;
pub(super) mod files;
mod names;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};

use crate::report::escape::visible;
use crate::symbols::{
    Cache, DEFAULT_SERVER, Network, Origin, Progress, ServerLimits, SymbolLibrary, SymbolOptions,
    SymbolPath,
};

/// Time between two looks of a download's line.
const BETWEEN_LINES: Duration = Duration::from_millis(100);

/// Where symbols and images are, and whether servers may be asked.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Symbols")]
pub struct SymbolArgs {
    /// Where symbol files are, as debuggers write it: folders, stores,
    /// srv*CACHE*SERVER; may be repeated
    #[arg(long, value_name = "PATH")]
    pub symbols: Vec<String>,
    /// Where images (.sys, .exe) are; the same syntax
    #[arg(long, value_name = "PATH")]
    pub images: Vec<String>,
    /// Allow every symbol server in the path, also those named by the
    /// environment; without any, Microsoft's public one
    #[arg(long)]
    pub online: bool,
    /// Ask no server, whatever else is said
    #[arg(long)]
    pub offline: bool,
    /// No line for downloads: the command has its own.
    #[arg(skip)]
    pub quiet: bool,
}

impl SymbolArgs {
    /// True when a symbol or image path was given, on the command line or by the environment.
    pub fn is_given(&self) -> bool {
        let by_environment = [
            "_NT_SYMBOL_PATH",
            "_NT_ALT_SYMBOL_PATH",
            "_NT_EXECUTABLE_IMAGE_PATH",
        ]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()));
        !self.symbols.is_empty() || !self.images.is_empty() || by_environment
    }

    /// True when these options consent to asking a server.
    pub fn may_ask_a_server(&self) -> bool {
        let named = self
            .symbols
            .iter()
            .chain(&self.images)
            .any(|text| SymbolPath::parse(text, Origin::CommandLine).names_a_server());
        !self.offline && (self.online || named)
    }

    /// Where and how to look. `scan` is the command that needs `--online` in any case.
    ///
    /// The order is: the command line, the debuggers' environment variables, the tool's own store.
    pub fn options(&self, scan: bool) -> SymbolOptions {
        let parse = |texts: &[String]| {
            let mut path = SymbolPath::default();
            for text in texts {
                path.append(SymbolPath::parse(text, Origin::CommandLine));
            }
            path
        };
        let network = Network::from_flags(self.offline, self.online, scan);
        let mut options = SymbolOptions {
            symbols: parse(&self.symbols),
            images: parse(&self.images),
            network,
            cache: Cache::of_user(),
            servers: ServerLimits::default(),
            progress: if self.quiet { None } else { progress() },
            ..SymbolOptions::default()
        }
        .with_environment();
        let own = match network == Network::All && !options.symbols.names_a_server() {
            true => format!("srv**{DEFAULT_SERVER}"),
            false => "cache*".to_owned(),
        };
        options
            .symbols
            .append(SymbolPath::parse(&own, Origin::CommandLine));
        options
    }
}

// Its words for `--help` stand in `cli::Command`.
#[derive(Clone, Debug, Args)]
pub struct SymbolsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Check(files::CheckArgs),
    Fetch(files::FetchArgs),
    Import(files::ImportArgs),
    Resolve(names::ResolveArgs),
    Find(names::FindArgs),
    Cache(CacheArgs),
}

/// Show or clear the cache of indexes and downloaded files
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
The cache is the folder KBTRIAGE_CACHE_DIR names, otherwise the system's folder
for caches. Losing it costs time only.")]
struct CacheArgs {
    /// Show what the cache holds (the default)
    #[arg(long)]
    info: bool,
    /// Delete what this tool put there
    #[arg(long, conflicts_with = "info")]
    clear: bool,
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &SymbolsArgs, out: &mut dyn Write) -> io::Result<u8> {
    match &args.command {
        Command::Check(args) => files::check(args, out),
        Command::Fetch(args) => files::fetch(args, out),
        Command::Import(args) => files::import(args, out),
        Command::Resolve(args) => names::resolve(args, out),
        Command::Find(args) => names::find(args, out),
        Command::Cache(args) => cache(args, out),
    }
}

fn cache(args: &CacheArgs, out: &mut dyn Write) -> io::Result<u8> {
    let Some(cache) = Cache::of_user() else {
        return failure("no cache directory: set KBTRIAGE_CACHE_DIR");
    };
    if args.clear
        && let Err(error) = cache.clear()
    {
        return failure(&format!("{}: {error}", cache.root().display()));
    }
    let info = cache.info();
    writeln!(
        out,
        "cache     {}",
        visible(&cache.root().display().to_string())
    )?;
    writeln!(
        out,
        "indexes   {} ({} KiB)",
        info.indexes,
        info.index_bytes.div_ceil(1024)
    )?;
    writeln!(
        out,
        "files     {} ({} KiB)",
        info.files,
        info.file_bytes.div_ceil(1024)
    )?;
    writeln!(out, "not found {} remembered for a day", info.missing)?;
    Ok(0)
}

/// Says on standard error what went wrong; the status of a command that could not do its work.
fn failure(message: &str) -> io::Result<u8> {
    writeln!(
        crate::cli::terminal::stderr(),
        "kbtriage: {}",
        visible(message)
    )?;
    Ok(1)
}

/// Says which parts of the symbol path are of no use here.
pub(super) fn report_problems(library: &SymbolLibrary) -> io::Result<()> {
    for problem in library.problems() {
        writeln!(
            crate::cli::terminal::stderr(),
            "kbtriage: symbol path: {}",
            visible(&problem)
        )?;
    }
    Ok(())
}

/// Says once for each symbol server that gave no answer that it did not.
pub(super) fn report_silent_servers(library: &SymbolLibrary) -> io::Result<()> {
    for (server, why) in library.silent_servers() {
        let line = format!("the symbol server {server} gave no answer: {why}");
        writeln!(
            crate::cli::terminal::stderr(),
            "kbtriage: {}",
            visible(&line)
        )?;
    }
    Ok(())
}

/// A line that follows each download, on a terminal only.
fn progress() -> Option<Box<crate::symbols::OnProgress>> {
    if !io::stderr().is_terminal() || !crate::source::platform::stderr_takes_escapes() {
        return None;
    }
    let shown = Mutex::new(None::<Instant>);
    Some(Box::new(move |progress: &Progress| {
        let Ok(mut shown) = shown.lock() else { return };
        let recent = shown.is_some_and(|at| at.elapsed() < BETWEEN_LINES);
        if recent && !progress.ended {
            return;
        }
        *shown = Some(Instant::now());
        let _ = crate::cli::terminal::line_over(&line(progress), progress.ended);
    }))
}

/// What the terminal shows of a download.
fn line(progress: &Progress) -> String {
    let name = progress.url.rsplit('/').next().unwrap_or_default();
    let received = progress.received.div_ceil(1024);
    let of = progress
        .total
        .map(|total| format!(" of {}", total.div_ceil(1024)))
        .unwrap_or_default();
    format!("{name}: {received}{of} KiB")
}

/// The store that fetched and imported files go to.
fn own_store(named: Option<&PathBuf>) -> Option<PathBuf> {
    match named {
        Some(folder) => Some(folder.clone()),
        None => Cache::of_user().map(|cache| cache.downstream()),
    }
}
