//! The options that every command which analyses dumps shares, and the engine made of them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::bytes::{Budget, PagedReader, contained};
use crate::facts::ForwardingSource;
use crate::gather::external::{self, ExternalState};
use crate::kernel::registry::netsh;
use crate::knowledge::articles::Articles;
use crate::knowledge::load::Loaded;
use crate::report::Report;
use crate::report::escape::visible;
use crate::scan::Folders;
use crate::source::{self, Source, SourceError, SourceInfo};
use crate::triage::{Engine, Limits, Request, Triaged};

use super::kb;
use super::symbols::{SymbolArgs, report_problems, report_silent_servers};
use crate::knowledge::inventory::{Inventory, MAX_INVENTORY_FILE};
use crate::report::model::ToolOptions;
use crate::symbols::SymbolLibrary;

/// Reads an argument that names one file or folder: where shells leave wildcards to programs (Windows), that may be a
/// pattern which one matches. One that matches nothing stays as it is, to be reported as not found.
pub fn one_file() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|given| {
        let mut found = source::expand([given.into_os_string()]).map_err(|e| e.to_string())?;
        match found.len() {
            1 => Ok(found.remove(0)),
            many => Err(format!("{many} files match this pattern: name one")),
        }
    })
}

/// The files or folders that arguments name. Errors are for a person.
pub fn files(arguments: impl IntoIterator<Item = OsString>) -> Result<Vec<PathBuf>, String> {
    source::expand(arguments).map_err(|joined| {
        let argument = joined.argument.to_string_lossy();
        format!("{}: {joined}", visible(&argument))
    })
}

/// Options of the analysis.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Analysis")]
pub struct AnalysisArgs {
    /// Where symbols are.
    #[command(flatten)]
    pub symbols: SymbolArgs,
    /// Table of known builds to add: lines of file, TimeDateStamp, SizeOfImage,
    /// version, separated by tabs
    #[arg(long, value_name = "FILE", value_parser = one_file())]
    pub builds: Option<PathBuf>,
    /// Directory of rule files for other articles: what they say goes into
    /// `other_articles`; how to write one: docs/knowledge.md
    #[arg(long, value_name = "DIR", value_parser = one_file())]
    pub knowledge: Option<PathBuf>,
    /// Article to answer about: KB943650 unless named, or KB972887, MS08-001, or
    /// one of --knowledge; the first of several is the main one
    #[arg(long, value_name = "KB", value_delimiter = ',')]
    pub kb: Vec<String>,
    /// State of the machine from beside its dumps: a SYSTEM hive, a .reg export of the TCP/IP
    /// parameters, or saved output of `netsh interface ipv4 show global`; may be repeated
    #[arg(long, value_name = "FILE", value_parser = one_file())]
    pub registry: Vec<PathBuf>,
    /// Versions of machines' files, as CSV (machine,file,version and optionally
    /// as_of,time_date_stamp,size_of_image) or JSON lines: what they say and
    /// when it counts: docs/inventory.md; may be repeated
    #[arg(long, value_name = "FILE", value_parser = one_file())]
    pub inventory: Vec<PathBuf>,
    /// The machine that every dump is of
    #[arg(long, value_name = "NAME")]
    pub machine: Option<String>,
    /// Compute the SHA-256 of each dump (reads all of it)
    #[arg(long)]
    pub sha256: bool,
    /// Search all of a memory dump for the registry where the kernel's own tables do not lead to it:
    /// reads the whole file
    #[arg(long)]
    pub deep: bool,
    /// Most that is read from standard input, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub limit_memory: u64,
    /// Most time for one dump, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub limit_time: Option<u64>,
}

impl AnalysisArgs {
    /// The engine these options describe.
    ///
    /// # Errors
    /// A line for a person when a file named by an option cannot be used.
    pub fn engine(&self) -> Result<Engine, String> {
        let mut engine = Engine {
            limits: Limits {
                time: self.limit_time.map(Duration::from_secs),
                ..Limits::default()
            },
            sha256: self.sha256,
            deep: self.deep,
            ..Engine::default()
        };
        let options = self.symbols.options(false);
        engine.options = ToolOptions {
            offline: !self.symbols.may_ask_a_server(),
            symbols: self.symbols.is_given(),
            deep: self.deep,
        };
        let library = SymbolLibrary::new(options);
        // A message that standard error does not take is no reason to stop.
        let _ = report_problems(&library);
        engine.symbols = Some(library);
        if let Some(path) = &self.builds {
            engine.knowledge.builds =
                kb::load_builds(path).map_err(|e| format!("--builds: {e}"))?;
        }
        let loaded = match &self.knowledge {
            Some(path) => kb::load_knowledge(path).map_err(|e| format!("--knowledge: {e}"))?,
            None => Loaded::default(),
        };
        engine.knowledge.articles =
            Articles::new(&self.kb, loaded).map_err(|e| format!("--kb: {e}"))?;
        for path in &self.registry {
            let state = registry(path).map_err(|e| format!("--registry: {e}"))?;
            engine.registry.push(state);
        }
        engine.inventory = Arc::new(inventory(&self.inventory)?);
        Ok(engine)
    }

    /// Analyses the input at `path`, with what lies beside it; `-` is standard input.
    pub fn analyse(&self, engine: &Engine, folders: &Folders, path: &Path) -> Triaged {
        match self.open(path) {
            Ok(mut source) => {
                if path.as_os_str() != "-" {
                    source.info.beside = Some(folders.beside(path));
                }
                // One bad dump never takes the others with it.
                let triaged = contained(|| {
                    let machine =
                        |own: Option<&str>| self.machine.clone().or(own.map(str::to_owned));
                    let request = Request {
                        machine: &machine,
                        ..Request::new(&source.info)
                    };
                    engine.triage(source.bytes(), request)
                });
                match triaged {
                    Ok(triaged) => changed(triaged, &source, engine),
                    Err(_) => engine.unreadable(&source.info, &defect()),
                }
            }
            Err(error) => engine.unreadable(&SourceInfo::of_path(path), &error),
        }
    }

    /// Says once for each symbol server that gave no answer that it did not.
    ///
    /// # Errors
    /// Whatever standard error says.
    pub fn say_silent_servers(&self, engine: &Engine) -> std::io::Result<()> {
        match &engine.symbols {
            Some(library) => report_silent_servers(library),
            None => Ok(()),
        }
    }

    fn open(&self, path: &Path) -> Result<Source, SourceError> {
        if path.as_os_str() == "-" {
            return source::stdin(self.limit_memory << 20);
        }
        source::open(path)
    }
}

/// The tables of file versions together.
pub(super) fn inventory(files: &[PathBuf]) -> Result<Inventory, String> {
    let mut inventory = Inventory::default();
    for path in files {
        let (text, name) =
            kb::read_text(path, MAX_INVENTORY_FILE).map_err(|e| format!("--inventory: {e}"))?;
        inventory
            .read(&text, &name)
            .map_err(|error| format!("--inventory: {}", visible(&error.to_string())))?;
    }
    Ok(inventory)
}

/// What a file of machine state says.
pub(super) fn registry(path: &Path) -> Result<ExternalState, String> {
    let shown = || visible(&path.to_string_lossy());
    let source = source::open(path).map_err(|error| format!("{}: {error}", shown()))?;
    let reader =
        PagedReader::open(source.bytes()).map_err(|error| format!("{}: {error}", shown()))?;
    let state = contained(|| external::read(&reader, source.info.modified, &Budget::default()))
        .ok()
        .flatten()
        .ok_or_else(|| {
            format!(
                "{}: neither a registry hive, nor a .reg export, nor, in its first megabyte, output of \
                 netsh (which is read in {})",
                shown(),
                netsh::LANGUAGES
            )
        })?;
    if let Some(row) = &state.unread {
        return Err(format!(
            "{}: the value of its line `{}` is in no word that is read for on or off; they are read in {}",
            shown(),
            visible(row),
            netsh::LANGUAGES
        ));
    }
    let tells = state.ipv4.is_some() || state.ipv6.is_some() || state.contradictory;
    if state.source == Some(ForwardingSource::NetshOutput) && !tells {
        return Err(format!(
            "{}: this output of netsh does not say whether multicast forwarding is on, in words that \
             are read. It has to be that of `netsh interface ipv4 show global`, in {}",
            shown(),
            netsh::LANGUAGES
        ));
    }
    Ok(state)
}

/// A report on bytes that changed while they were read would be about no file that ever was.
fn changed(triaged: Triaged, source: &Source, engine: &Engine) -> Triaged {
    let same = source
        .check_unchanged()
        .and_then(|()| match &triaged.report.source.fingerprint {
            Some(fingerprint) if source.changed_just_now() => source.check_fingerprint(fingerprint),
            _ => Ok(()),
        });
    match same {
        Ok(()) => triaged,
        Err(error) => engine.unreadable(&source.info, &error),
    }
}

fn defect() -> SourceError {
    SourceError::new(
        source::ErrorKind::Internal,
        "kbtriage failed on this dump: that is a defect of kbtriage, please report it",
    )
}

/// The line for standard error about an input that could not be analysed.
pub fn error_line(report: &Report) -> Option<String> {
    let error = report.error.as_ref()?;
    Some(format!(
        "kbtriage: {}: {}",
        crate::report::escape::visible(&report.source.path),
        crate::report::escape::visible(&error.message)
    ))
}
