//! `kbtriage scan`: directories of dumps, a record each, and what they say together.

mod args;
pub(super) mod output;
mod progress;
mod refusals;
mod sink;
#[cfg(feature = "store")]
mod stored;
mod text;
mod webhook_notifier;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::report::model::Detail;
use crate::report::records::Shard;
use crate::report::summary::Summary;
use crate::scan::list::{self, ListWriter};
use crate::scan::{self, Discovery, Filter, Job, MachineNamer, Options, Pulse, Roots};
use crate::triage::Engine;

pub use args::ScanArgs;
use args::{DetailArg, ScanFormat};
use output::Output;
pub(super) use refusals::lies_inside;
use refusals::{refuse_inside, refuse_listed, refuse_same, refuse_together};
use sink::ScanSink;
use webhook_notifier::WebhookNotifier;

use super::interrupt::{INTERRUPTED, stop_flag};
use super::output::is_broken_pipe;
use super::triage::usage;

/// Time for one dump where the user sets none: far more than any takes.
const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Longest mapping of paths to machines, in bytes.
const MACHINE_MAP: usize = 32 << 20;

/// A message for a person about a call that cannot be served.
type Refusal = String;

/// Runs the command and gives the exit status.
///
/// # Errors
/// Whatever standard output says.
pub fn run(args: &ScanArgs, out: &mut dyn Write) -> io::Result<u8> {
    match prepare(args) {
        Ok(prepared) => prepared.run(args, out),
        Err(message) => usage(&message),
    }
}

/// A call that was understood.
struct Prepared {
    engine: Engine,
    options: Options,
    roots: Vec<String>,
    shard: Option<Shard>,
}

fn prepare(args: &ScanArgs) -> Result<Prepared, Refusal> {
    let mut analysis = args.analysis.clone();
    // A server is asked for every dump of a share only when that is said.
    analysis.symbols.offline |= !analysis.symbols.online;
    analysis.symbols.quiet = true;
    let mut engine = analysis.engine()?;
    let unpacking = engine.limits.time;
    engine.limits.time.get_or_insert(TIME_LIMIT);
    let mut shard = args.shard()?;
    refuse_together(args, shard)?;
    let (discovery, roots) = discovery(args, shard)?;
    if let (Some(shard), Discovery::List(work)) = (&mut shard, &discovery) {
        shard.list = work.digest;
    }
    refuse_same(args)?;
    let walked = match &discovery {
        Discovery::Walk { roots, .. } => roots.clone(),
        Discovery::List(work) => Roots::new(work.roots.clone()),
    };
    if let Some(output) = &args.output {
        refuse_inside(&walked, output, "--output")?;
    }
    #[cfg(feature = "store")]
    if let Some(db) = &args.store.db {
        refuse_inside(&walked, db, "--db")?;
    }
    refuse_listed(args, &discovery)?;
    #[cfg(feature = "store")]
    if args.store.refresh
        && let (Some(output), Some(db)) = (&args.output, &args.store.db)
        && let Ok(runs) = crate::store::Store::open(db).and_then(|store| store.runs())
    {
        super::store::refuse_scanned(runs.iter(), output, "--output")?;
    }
    let mut options = Options::new(discovery);
    options.stuck = Duration::from_secs(args.stuck);
    let given: Vec<&Path> = walked.iter().map(|root| root.given.as_path()).collect();
    let folders = super::collection::below(given.into_iter(), options.stuck);
    super::collection::add(&mut engine, &folders).map_err(|e| e.to_string())?;
    options.jobs = args.jobs.unwrap_or_default();
    options.sort = args.sort.is_some();
    options.detail = match args.detail {
        DetailArg::Summary => Detail::Summary,
        DetailArg::Full => Detail::Full,
    };
    options.offline_files = args.offline_files;
    options.unpack.enabled = !args.no_archives;
    options.unpack.bytes = args.limit_unpacked << 20;
    if let Some(limit) = unpacking {
        options.unpack.time = limit;
    }
    #[cfg(feature = "store")]
    if args.store.watch {
        // The next look will find it complete.
        options.settle.tries = 0;
        options.settle.leave = true;
    }
    options.settle.recent = Duration::from_secs(args.settle);
    if args.settle == 0 {
        options.settle.tries = 0;
    }
    options.machines = machines(args)?;
    #[cfg(feature = "store")]
    {
        options.keep_facts = args.store.db.is_some();
        options.verify = args.store.verify;
    }
    #[cfg(feature = "store")]
    if let Some(shard) = &mut shard {
        shard.list = stored::part_of(shard.list, &engine, &options);
    }
    Ok(Prepared {
        engine,
        options,
        roots,
        shard,
    })
}

/// Where files come from, and the roots as the closing record names them.
fn discovery(args: &ScanArgs, shard: Option<Shard>) -> Result<(Discovery, Vec<String>), Refusal> {
    let shown = |path: &Path| path.to_string_lossy().into_owned();
    if let Some(path) = &args.files_from {
        let work = if path.as_os_str() == "-" {
            list::read(&mut io::stdin().lock(), shard)
        } else {
            let file = crate::source::open_list(path).map_err(|e| format!("--files-from: {e}"))?;
            list::read(&mut io::BufReader::new(file), shard)
        };
        let mut work = work.map_err(|e| format!("--files-from: {e}"))?;
        if args.sort.is_some() {
            work.entries
                .sort_by_cached_key(|entry| (entry.root, scan::path_key(&entry.relative)));
        }
        let roots = work.roots.iter().map(|root| shown(root)).collect();
        return Ok((Discovery::List(work), roots));
    }
    let filter = Filter::new(&args.include, &args.exclude).map_err(|e| e.to_string())?;
    let roots = Roots::new(super::analysis::files(args.roots.iter().cloned())?);
    let names = roots.iter().map(|root| shown(&root.given)).collect();
    let discovery = Discovery::Walk {
        roots,
        filter,
        follow_links: args.follow_links,
        sorted: args.sort.is_some(),
    };
    Ok((discovery, names))
}

fn machines(args: &ScanArgs) -> Result<MachineNamer, Refusal> {
    let mapping = match &args.machine_map {
        Some(path) => {
            let (text, _) = super::kb::read_text(path, MACHINE_MAP)
                .map_err(|e| format!("--machine-map: {e}"))?;
            MachineNamer::read_mapping(&text).map_err(|e| format!("--machine-map: {e}"))?
        }
        None => Default::default(),
    };
    let pattern = match &args.machine_from {
        Some(pattern) => Some(
            regex::RegexBuilder::new(pattern)
                .size_limit(1 << 20)
                .build()
                .map_err(|e| format!("--machine-from: {e}"))?,
        ),
        None => None,
    };
    Ok(MachineNamer {
        fixed: args.analysis.machine.clone(),
        mapping,
        pattern,
    })
}

impl Prepared {
    fn run(self, args: &ScanArgs, out: &mut dyn Write) -> io::Result<u8> {
        if args.list {
            return self.list(args, out);
        }
        let stop = stop_flag();
        let to_terminal = args.output.is_none() && io::stdout().is_terminal();
        let format = args.format.unwrap_or(match to_terminal {
            true => ScanFormat::Text,
            false => ScanFormat::Jsonl,
        });
        if self.shard.is_some() && !args.analysis.inventory.is_empty() && !args.quiet {
            writeln!(
                crate::cli::terminal::stderr(),
                "kbtriage: what machines have now is worked out when parts are merged: give --inventory there, too"
            )?;
        }
        let mut roots_missing = false;
        if let Discovery::Walk { roots, .. } = &self.options.discovery {
            roots_missing = roots.iter().any(|root| !root.given.exists());
            for dropped in &roots.dropped {
                writeln!(
                    crate::cli::terminal::stderr(),
                    "kbtriage: {} lies inside another directory that is scanned",
                    crate::report::escape::visible(&dropped.to_string_lossy())
                )?;
            }
        }
        #[cfg(feature = "store")]
        if args.store.watch && !matches!(format, ScanFormat::Text | ScanFormat::Jsonl) {
            return usage("--watch writes text or jsonl");
        }
        let tool = self.engine.tool();
        let mut output = match Output::new(args.output.as_deref(), out) {
            Ok(output) => output,
            Err(error) => return usage(&output_failed(args, &error)),
        };
        let opened = match open_store(args, &self.engine, &self.options) {
            Ok(opened) => opened,
            Err(message) => return usage(&message),
        };
        let (keeper, catalogue) = opened.unzip();
        let notifier = match WebhookNotifier::start(args) {
            Ok(notifier) => notifier,
            Err(message) => return usage(&message),
        };
        let tell = |summary: &Summary| notifier.tell(summary);
        let tell = notifier.is_on().then_some(&tell as sink::Tell<'_>);
        let job = Arc::new(Job {
            engine: self.engine,
            options: self.options,
            catalogue,
            stop,
        });
        let named = match &job.options.discovery {
            Discovery::Walk { roots, .. } => roots.iter().map(|root| root.given.clone()).collect(),
            Discovery::List(_) => Vec::new(),
        };
        let mut sink = ScanSink::new(format, args, tool.clone(), keeper, &mut output)?
            .with(Arc::clone(&job.engine.inventory))
            .named(named)
            .notifier(tell);
        sink.begin(&self.roots, self.shard)?;
        let run = |sink: &mut ScanSink<'_>| match scan::run(&job, sink) {
            Err(error) if !is_broken_pipe(&error) => {
                sink.say_stopped();
                Err(error)
            }
            other => other,
        };
        let mut finished = match mode(args) {
            Mode::Once => run(&mut sink)?,
            #[cfg(feature = "store")]
            Mode::Refresh => stored::refresh(args, &job, &mut sink)?,
            #[cfg(feature = "store")]
            Mode::Watch => {
                sink = sink.only_new();
                loop {
                    let finished = run(&mut sink)?;
                    if job.stop.load(Ordering::Relaxed) {
                        // The stop may have come in the middle of this look.
                        break scan::Finished {
                            complete: false,
                            ..finished
                        };
                    }
                    if stored::wait(args, &job.stop) {
                        break finished;
                    }
                    let seen = sink.pause()?;
                    let keeper = stored::keeper(args, &job)?;
                    sink = ScanSink::new(format, args, tool.clone(), Some(keeper), &mut output)?
                        .with(Arc::clone(&job.engine.inventory))
                        .notifier(tell)
                        .only_new()
                        .after(seen);
                }
            }
        };
        let interrupted = !finished.complete && finished.stuck == 0;
        // A directory that is not there has not been looked through.
        finished.complete &= !roots_missing;
        // A person who reads the output has the summary there.
        let words = !args.quiet && (format != ScanFormat::Text || args.output.is_some());
        let mut stderr = crate::cli::terminal::stderr();
        let words = words.then_some(&mut stderr as &mut dyn Write);
        let tally = sink.finish(self.roots, self.shard, finished, words)?;
        args.analysis.say_silent_servers(&job.engine)?;
        let hint = notifier.hint();
        let untold = notifier.finish(&|| job.stop.load(Ordering::Relaxed));
        if untold > 0 {
            writeln!(
                crate::cli::terminal::stderr(),
                "kbtriage: --webhook: {untold} findings could not be delivered{hint}"
            )?;
        }
        // A part that is not whole keeps its temporary name.
        if finished.complete || self.shard.is_none() {
            output.keep()?;
        } else if let Some(partial) = output.leave()? {
            writeln!(
                crate::cli::terminal::stderr(),
                "kbtriage: --output: not whole, left as {}",
                partial.display()
            )?;
        }
        if interrupted {
            return Ok(INTERRUPTED);
        }
        let unread = tally.failed() && !args.unreadable_ok;
        let failed = unread || !finished.complete || untold > 0;
        Ok(match (args.exit_verdict && tally.matched(), failed) {
            (true, true) => 11,
            (true, false) => 10,
            (false, failed) => u8::from(failed),
        })
    }

    /// Writes the work list instead of working it off.
    fn list(self, args: &ScanArgs, out: &mut dyn Write) -> io::Result<u8> {
        let Discovery::Walk { roots, .. } = &self.options.discovery else {
            return usage("--list lists directories: it does not go with --files-from");
        };
        let given: Vec<_> = roots.iter().map(|root| root.given.clone()).collect();
        let mut output = match Output::new(args.output.as_deref(), out) {
            Ok(output) => output,
            Err(error) => return usage(&output_failed(args, &error)),
        };
        let mut failed = false;
        let mut result = Ok(());
        let mut list = ListWriter::new(&mut output, &given)?;
        let (discovery, limit) = (&self.options.discovery, self.options.stuck);
        let stop = super::interrupt::stop_flag();
        let _ = scan::discover(discovery, limit, &Pulse::default(), &mut |found| {
            if stop.load(Ordering::Relaxed) {
                return std::ops::ControlFlow::Break(());
            }
            let found = found.unless_elsewhere(self.options.offline_files);
            failed |= matches!(found.what, scan::What::Unreadable(_));
            match list.add(found) {
                Ok(_) => std::ops::ControlFlow::Continue(()),
                Err(error) => {
                    result = Err(error);
                    std::ops::ControlFlow::Break(())
                }
            }
        });
        result?;
        if stop.load(Ordering::Relaxed) {
            // Half a list is none.
            return Ok(INTERRUPTED);
        }
        list.finish()?;
        output.keep()?;
        Ok(u8::from(failed))
    }
}

/// Why there is no output, with its name.
fn output_failed(args: &ScanArgs, error: &io::Error) -> String {
    let path = args.output.as_deref().unwrap_or(Path::new("-"));
    let shown = crate::report::escape::visible(&path.to_string_lossy());
    format!("--output: {shown}: {error}")
}

/// What keeps results, and what knows those of earlier runs.
type Kept = (Box<dyn scan::Keeper>, Box<dyn scan::Catalogue>);

#[cfg(feature = "store")]
fn open_store(
    args: &ScanArgs,
    engine: &Engine,
    options: &Options,
) -> Result<Option<Kept>, Refusal> {
    stored::open(args, engine, options)
}

#[cfg(not(feature = "store"))]
fn open_store(_: &ScanArgs, _: &Engine, _: &Options) -> Result<Option<Kept>, Refusal> {
    Ok(None)
}

/// How a scan is run.
enum Mode {
    Once,
    /// Stored facts are judged instead of dumps.
    #[cfg(feature = "store")]
    Refresh,
    /// Again and again.
    #[cfg(feature = "store")]
    Watch,
}

fn mode(args: &ScanArgs) -> Mode {
    #[cfg(feature = "store")]
    {
        if args.store.refresh {
            return Mode::Refresh;
        }
        if args.store.watch {
            return Mode::Watch;
        }
    }
    let _ = args;
    Mode::Once
}
