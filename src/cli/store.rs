//! `kbtriage store`: result stores as files: what is in one, and shards put together.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};

use crate::report::escape::visible;
use crate::report::records::ScanRecord;
use crate::report::text::words;
use crate::scan::Roots;
use crate::source::platform;
use crate::store::{self, Part, Store};

use super::analysis::{files, one_file};
use super::triage::usage;

/// Roots that are looked up; a scan names few.
const MOST_ROOTS: usize = 256;

// Its words for `--help` stand in `cli::Command`.
#[derive(Clone, Debug, Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum StoreCommand {
    /// What a store holds
    Info(StoreFile),
    /// Put the parts of a sharded scan together: stores into --db, or lines into
    /// --output
    #[command(after_help = "\
Examples:
  kbtriage store merge --output dumps.jsonl part-*.jsonl
  kbtriage store merge --db dumps.db part-*.db

Refused unless every shard of one list is there, once and complete. Lines come
out sorted by path, with the machines and the counts of the whole.")]
    Merge(MergeArgs),
    /// Write a store's records by month, as analytical engines take them
    #[command(after_help = "\
Example:
  kbtriage store export dumps.db --format parquet --output crashes

Makes crashes/month=2008-07/crashes.parquet and so on. The folder must not exist.")]
    Export(ExportArgs),
}

/// The store, named as a file or as the other commands name it.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
struct StoreFile {
    /// The store
    #[arg(value_name = "FILE", value_parser = one_file())]
    file: Option<PathBuf>,
    /// The same, as scan and fleet name it
    #[arg(long, value_name = "FILE")]
    db: Option<PathBuf>,
}

impl StoreFile {
    fn path(&self) -> &Path {
        let path = self.file.as_deref().or(self.db.as_deref());
        path.unwrap_or(Path::new(""))
    }
}

#[derive(Clone, Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    store: StoreFile,
    /// Form of the files
    #[arg(long, value_enum)]
    format: ExportFormat,
    /// The folder to make
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
}

/// Form of exported files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum ExportFormat {
    /// The summaries, one a line
    Jsonl,
    /// Columns for DuckDB, Spark and others; only in a build with the feature
    /// parquet
    Parquet,
}

impl ExportArgs {
    fn run(&self) -> Result<(u64, u64), String> {
        let form = match self.format {
            ExportFormat::Jsonl => store::ExportForm::Jsonl,
            #[cfg(feature = "parquet")]
            ExportFormat::Parquet => store::ExportForm::Parquet,
            #[cfg(not(feature = "parquet"))]
            ExportFormat::Parquet => {
                return Err("--format parquet: this build has none: cargo install with --features parquet, \
                            or --format jsonl"
                    .to_owned());
            }
        };
        let path = self.store.path();
        let store =
            Store::open(path).map_err(|e| format!("{}: {e}", visible(&path.to_string_lossy())))?;
        let runs = store.runs().map_err(|e| e.to_string())?;
        refuse_scanned(runs.iter(), &self.output, "--output")?;
        store::export(&store, form, &self.output)
            .map_err(|error| format!("--output: {}", visible(&error.to_string())))
    }
}

#[derive(Clone, Debug, Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("to").required(true))]
struct MergeArgs {
    /// Outputs or stores of all shards
    #[arg(value_name = "PART", required = true)]
    parts: Vec<PathBuf>,
    /// The store to put them into
    #[arg(long, value_name = "FILE", group = "to")]
    db: Option<PathBuf>,
    /// The file to write the lines to, or - for standard output
    #[arg(long, short, value_name = "FILE", group = "to")]
    output: Option<PathBuf>,
    /// The tables that the shards were given, for what machines have now
    #[arg(long, value_name = "FILE", conflicts_with = "db", value_parser = one_file())]
    inventory: Vec<PathBuf>,
}

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &StoreArgs, out: &mut dyn Write) -> io::Result<u8> {
    match &args.command {
        StoreCommand::Info(store) => match info(store.path(), out)? {
            Ok(()) => Ok(0),
            Err(error) => {
                let path = store.path().to_string_lossy();
                usage(&format!("{}: {error}", visible(&path)))
            }
        },
        StoreCommand::Export(args) => match args.run() {
            Ok((count, unreadable)) => {
                let records = words::counted(count, "record");
                writeln!(
                    out,
                    "{records} in {}",
                    visible(&args.output.to_string_lossy())
                )?;
                super::fleet::say_unreadable(unreadable)?;
                Ok(u8::from(unreadable > 0))
            }
            Err(message) => usage(&message),
        },
        StoreCommand::Merge(args) => {
            let parts = match files(args.parts.iter().map(Into::into)) {
                Ok(parts) => parts,
                Err(message) => return usage(&message),
            };
            let mut stop = Arc::new(AtomicBool::new(false));
            let merged = match (&args.db, &args.output) {
                (Some(db), _) => {
                    stop = super::interrupt::stop_flag();
                    stores(db, &parts, &stop)
                }
                (None, Some(output)) => super::analysis::inventory(&args.inventory)
                    .and_then(|inventory| super::merge_lines::run(output, &parts, inventory, out)),
                (None, None) => Err("--db or --output says where to".to_owned()),
            };
            match merged {
                Ok(()) => Ok(0),
                Err(message) => {
                    let status = usage(&message)?;
                    Ok(match stop.load(Ordering::Relaxed) {
                        true => super::interrupt::INTERRUPTED,
                        false => status,
                    })
                }
            }
        }
    }
}

fn info(db: &Path, out: &mut dyn Write) -> io::Result<Result<(), store::StoreError>> {
    let gathered = Store::open(db).and_then(|store| Ok((store.counts()?, store.runs()?)));
    let ((files, records), runs) = match gathered {
        Ok(gathered) => gathered,
        Err(error) => return Ok(Err(error)),
    };
    writeln!(
        out,
        "{}, {}, {}",
        words::counted(files, "file"),
        words::counted(records, "record"),
        words::counted(runs.len() as u64, "run")
    )?;
    for run in runs {
        let mut roots: Vec<String> = run.roots.iter().map(|root| visible(root)).collect();
        if roots.is_empty() {
            roots.push("judged again without the share".to_owned());
        }
        let shard = run
            .shard
            .map(|shard| format!(", shard {}/{}", shard.index, shard.count))
            .unwrap_or_default();
        writeln!(
            out,
            "  {}{shard}: {}, {}{}",
            roots.join(" "),
            words::counted(run.entries, "entry"),
            words::counted(run.reports, "report"),
            if run.complete { "" } else { ", interrupted" }
        )?;
    }
    Ok(Ok(()))
}

/// True for what is no store but the lines that a scan wrote.
fn is_lines(path: &Path) -> bool {
    let mut first = [0];
    // Opening a pipe would wait.
    if !std::fs::metadata(path).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first == *b"{"
}

/// Says of a part that is not there, or of a pattern that nothing matches, that it is so.
pub(super) fn is_there(part: &Path) -> Result<(), String> {
    match std::fs::metadata(part) {
        Ok(_) => Ok(()),
        Err(error) => {
            let error = crate::source::SourceError::from_io(&error, part, "looking at it");
            Err(format!(
                "{}: {}",
                visible(&part.to_string_lossy()),
                error.message
            ))
        }
    }
}

/// Nothing is written to what the parts' scans read.
pub(super) fn refuse_inside(parts: &[Part], path: &Path, option: &str) -> Result<(), String> {
    refuse_scanned(parts.iter().map(|part| &part.scan), path, option)
}

/// Nothing is written to what was read by these scans.
pub(super) fn refuse_scanned<'a>(
    scans: impl Iterator<Item = &'a ScanRecord>,
    path: &Path,
    option: &str,
) -> Result<(), String> {
    // A folder by a name of its own is taken for the one of that name here. `.` may have been any.
    let is_named = |root: &&Path| {
        let mut parts = root.components();
        root.is_absolute() || parts.any(|part| matches!(part, Component::Normal(_)))
    };
    let roots = scans.flat_map(|scan| &scan.roots).map(Path::new);
    let roots: BTreeSet<PathBuf> = roots
        .filter(is_named)
        .filter_map(|root| std::path::absolute(root).ok())
        .collect();
    // Of a root on another computer its name alone: that computer would be asked, and a part may name any.
    let real = path.parent().and_then(|parent| parent.canonicalize().ok());
    let places = [std::path::absolute(path).ok(), real];
    let mut places = places.iter().flatten().map(|place| platform::folded(place));
    let is_below = places.any(|place| {
        roots
            .iter()
            .any(|root| place.starts_with(platform::folded(root)))
    });
    let here = roots.into_iter().filter(|root| !platform::is_remote(root));
    // A part may name any number, too, and each is looked up and held against the others.
    let here = Roots::new(here.take(MOST_ROOTS).collect());
    match is_below || crate::scan::inside(&here, path) {
        true => Err(super::scan::lies_inside(path, option)),
        false => Ok(()),
    }
}

fn stores(db: &Path, paths: &[PathBuf], stop: &AtomicBool) -> Result<(), String> {
    if db.symlink_metadata().is_ok() {
        let there = store::MergeError::Exists(db.to_string_lossy().into_owned());
        return Err(visible(&there.to_string()));
    }
    let mut parts = Vec::new();
    for path in paths {
        let shown = visible(&path.to_string_lossy());
        is_there(path)?;
        let runs =
            Store::open(path)
                .and_then(|store| store.runs())
                .map_err(|error| match is_lines(path) {
                    true => {
                        format!("{shown}: the lines of a scan: --output merges those, --db stores")
                    }
                    false => format!("{shown}: {error}"),
                })?;
        let [scan] = <[_; 1]>::try_from(runs)
            .map_err(|runs| format!("{shown}: {} runs in it, not one shard's", runs.len()))?;
        parts.push(Part {
            path: path.clone(),
            scan,
        });
    }
    store::check(&parts).map_err(|error| error.to_string())?;
    refuse_inside(&parts, db, "--db")?;
    store::merge(db, paths, stop).map_err(|error| error.to_string())
}
