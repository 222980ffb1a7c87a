//! `symbols check`, `symbols fetch` and `symbols import`: the files themselves.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::dumps::DumpModules;
use super::{SymbolArgs, failure, own_store, report_problems, report_silent_servers};
use crate::cli::analysis::{files, one_file};
use crate::cli::output::Format;
use crate::cli::scan::output::Output;
use crate::cli::triage::usage;
use crate::report::SCHEMA_VERSION;
use crate::report::escape::visible;
use crate::report::json;
use crate::report::text::words;
use crate::symbols::{self, Lookup, Need, Network, Origin, SymbolLibrary, SymbolPath};

/// Which symbol files dumps need, and where they are; asks no server
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  kbtriage symbols check MEMORY.DMP
  kbtriage symbols check --manifest missing.txt Minidump/*.dmp
      then, on a machine with internet: symchk /im missing.txt /s srv*out*SERVER
      and back here: kbtriage symbols import out

Exit status: 0 every dump was read, whatever is missing; 1 some was not.")]
pub struct CheckArgs {
    /// Crash dumps
    #[arg(value_name = "DUMP", required = true)]
    dumps: Vec<PathBuf>,
    /// All modules, not only those a report has a use for
    #[arg(long)]
    all: bool,
    /// Write the missing files as a symchk manifest
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Say for each missing file where it was looked for
    #[arg(long, short)]
    verbose: bool,
    /// Form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    #[command(flatten)]
    symbols: SymbolArgs,
}

/// Get the symbol files dumps need from symbol servers
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
A server in --symbols is consent to ask it; one that only the environment names
is asked with --online. With --online and no server anywhere, Microsoft's public
server is asked. It learns the names and identities of the files, nothing else.

Examples:
  kbtriage symbols fetch --online MEMORY.DMP
  kbtriage symbols fetch --symbols 'srv*/var/symbols*https://symbols.example' *.dmp

Exit status: 0 everything needed is there; 1 something is not, or a dump could
not be read; 2 wrong usage.")]
pub struct FetchArgs {
    /// Crash dumps
    #[arg(value_name = "DUMP", required = true)]
    dumps: Vec<PathBuf>,
    /// All modules, not only those a report has a use for
    #[arg(long)]
    all: bool,
    /// Say for each missing file where it was looked for
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    symbols: SymbolArgs,
}

/// Take symbol files another machine brought into a store
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Takes every image and PDB below the folder, compressed or not, by what it is and
not by where it lies. Without --to they go where every command looks.")]
pub struct ImportArgs {
    /// The folder
    #[arg(value_name = "DIR", value_parser = one_file())]
    folder: PathBuf,
    /// The store to fill
    #[arg(long, value_name = "STORE")]
    to: Option<PathBuf>,
}

/// One file in the JSON output.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct FileRecord {
    kind: &'static str,
    name: String,
    key: String,
    status: &'static str,
    path: Option<String>,
    found: Option<String>,
    tried: Vec<String>,
}

/// Which symbol files one dump needs, and where they are.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(in crate::cli) struct DumpRecord {
    /// Always `symbols`.
    r#type: &'static str,
    /// Version of the contract.
    schema_version: &'static str,
    source: String,
    machine: &'static str,
    files: Vec<FileRecord>,
}

/// Runs `symbols check`.
pub fn check(args: &CheckArgs, out: &mut dyn Write) -> io::Result<u8> {
    let dumps = match files(args.dumps.iter().map(Into::into)) {
        Ok(dumps) => dumps,
        Err(message) => return usage(&message),
    };
    let mut options = args.symbols.options(false);
    options.network = Network::Offline;
    let library = SymbolLibrary::new(options);
    report_problems(&library)?;
    let mut all = Vec::new();
    let mut records: Vec<DumpRecord> = Vec::new();
    let mut failed = false;
    for path in &dumps {
        let Some((dump, needs)) = needs_of(path, &library, args.all, &mut failed)? else {
            continue;
        };
        match args.format {
            Format::Text => text(path, &dump, &needs, args.verbose, out)?,
            Format::Json | Format::Jsonl => records.push(record(path, &dump, &needs)),
        }
        all.extend(needs);
    }
    match args.format {
        Format::Text => {}
        Format::Json => {
            json::write_pretty(&mut *out, &records)?;
            writeln!(out)?;
        }
        Format::Jsonl => {
            for record in &records {
                json::write_compact(&mut *out, record)?;
                writeln!(out)?;
            }
        }
    }
    report_silent_servers(&library)?;
    if let Some(file) = &args.manifest {
        let target = file.canonicalize().ok();
        let is_dump = |dump: &PathBuf| target.is_some() && dump.canonicalize().ok() == target;
        if dumps.iter().any(is_dump) {
            let shown = file.to_string_lossy();
            return failure(&format!("{shown}: is one of the dumps: name another place"));
        }
        let mut nowhere = io::sink();
        let written = Output::new(Some(file), &mut nowhere).and_then(|mut output| {
            output.write_all(symbols::manifest(&all).as_bytes())?;
            output.keep()
        });
        if let Err(error) = written {
            return failure(&format!("{}: {error}", file.display()));
        }
    }
    Ok(u8::from(failed))
}

/// Runs `symbols fetch`.
pub fn fetch(args: &FetchArgs, out: &mut dyn Write) -> io::Result<u8> {
    let options = args.symbols.options(false);
    let consent = match options.network {
        Network::Offline => false,
        Network::All => true,
        Network::Named => {
            let named =
                |text: &String| SymbolPath::parse(text, Origin::CommandLine).names_a_server();
            args.symbols
                .symbols
                .iter()
                .chain(&args.symbols.images)
                .any(named)
        }
    };
    if !consent {
        let message = "no server may be asked: name one in --symbols, or give --online";
        failure(message)?;
        return Ok(crate::cli::USAGE);
    }
    let dumps = match files(args.dumps.iter().map(Into::into)) {
        Ok(dumps) => dumps,
        Err(message) => return usage(&message),
    };
    let library = SymbolLibrary::new(options);
    report_problems(&library)?;
    let mut failed = false;
    for path in &dumps {
        if let Some((dump, needs)) = needs_of(path, &library, args.all, &mut failed)? {
            text(path, &dump, &needs, args.verbose, out)?;
            failed |= needs.iter().any(|need| need.state.found().is_none());
        }
    }
    report_silent_servers(&library)?;
    Ok(u8::from(failed))
}

/// Runs `symbols import`.
pub fn import(args: &ImportArgs, out: &mut dyn Write) -> io::Result<u8> {
    let Some(store) = own_store(args.to.as_ref()) else {
        return failure("no cache directory: set KBTRIAGE_CACHE_DIR or give --to");
    };
    let imported = match symbols::import(&args.folder, &store) {
        Ok(imported) => imported,
        Err(error) => return failure(&format!("{}: {error}", args.folder.display())),
    };
    for (name, key) in &imported.taken {
        writeln!(out, "{name}  {key}")?;
    }
    let count = imported.taken.len();
    let store = visible(&store.display().to_string());
    writeln!(
        out,
        "{} taken into {store}, {} left alone",
        words::counted(count as u64, "file"),
        words::counted(imported.other as u64, "other")
    )?;
    for (path, reason) in &imported.refused {
        failure(&format!("{}: {reason}", path.display()))?;
    }
    Ok(u8::from(!imported.refused.is_empty()))
}

/// The dump and the files it needs; `None`, with `failed` set, when it cannot be read.
fn needs_of(
    path: &Path,
    library: &SymbolLibrary,
    all: bool,
    failed: &mut bool,
) -> io::Result<Option<(DumpModules, Vec<Need>)>> {
    let dump = match DumpModules::read(path) {
        Ok(dump) => dump,
        Err(message) => {
            *failed = true;
            failure(&format!("{}: {message}", path.display()))?;
            return Ok(None);
        }
    };
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    for (module, record) in dump.wanted(all) {
        for need in symbols::needs(library, &module, dump.machine, record.as_ref()).0 {
            if seen.insert((need.kind, need.name.clone(), need.key.clone())) {
                found.push(need);
            }
        }
    }
    Ok(Some((dump, found)))
}

fn record(path: &Path, dump: &DumpModules, needs: &[Need]) -> DumpRecord {
    let file = |need: &Need| {
        let shown = |path: &PathBuf| path.display().to_string();
        let (path, found, tried): (_, _, &[String]) = match &need.state {
            Lookup::Found(path) => (path.as_ref().map(shown), None, &[]),
            Lookup::Mismatched { found, path, .. } => {
                (Some(shown(path)), Some(found.as_str()), &[])
            }
            Lookup::Missing { tried } => (None, None, tried),
            Lookup::NotNeeded => (None, None, &[]),
        };
        FileRecord {
            kind: need.kind.as_str(),
            name: need.name.as_str().to_owned(),
            key: need.key.clone(),
            status: need.state.state().as_str(),
            path,
            found: found.map(str::to_owned),
            tried: tried.to_vec(),
        }
    };
    DumpRecord {
        r#type: "symbols",
        schema_version: SCHEMA_VERSION,
        source: path.display().to_string(),
        machine: dump.machine.as_str(),
        files: needs.iter().map(file).collect(),
    }
}

fn text(
    path: &Path,
    dump: &DumpModules,
    needs: &[Need],
    verbose: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let shown = visible(&path.display().to_string());
    let (modules, machine) = (dump.modules.len(), dump.machine.as_str());
    writeln!(
        out,
        "{shown}: {machine}, {}",
        words::counted(modules as u64, "module")
    )?;
    let wide = needs
        .iter()
        .map(|need| need.name.as_str().len())
        .max()
        .unwrap_or_default();
    for need in needs {
        let (kind, word) = (need.kind.as_str(), need.state.state().as_str());
        write!(
            out,
            "  {word:<10} {kind:<5} {:<wide$}  {}",
            need.name.as_str(),
            need.key
        )?;
        match &need.state {
            Lookup::Found(Some(path)) => {
                writeln!(out, "  {}", visible(&path.display().to_string()))?
            }
            Lookup::Mismatched { found, path, .. } => {
                writeln!(out, "  {} is {found}", visible(&path.display().to_string()))?;
            }
            Lookup::Missing { tried } if verbose => {
                writeln!(out)?;
                for place in tried {
                    writeln!(out, "               {}", visible(place))?;
                }
            }
            _ => writeln!(out)?,
        }
    }
    let missing = needs
        .iter()
        .filter(|need| need.state.found().is_none())
        .count();
    let found = needs.len() - missing;
    writeln!(
        out,
        "  {found} of {} found",
        words::counted(needs.len() as u64, "file")
    )
}
