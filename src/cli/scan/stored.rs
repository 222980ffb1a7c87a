//! The result store of a scan: opening it, and judging what it holds again.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use twox_hash::XxHash3_128;

use crate::report::escape::visible;
use crate::report::model::Detail;
use crate::scan::{self, Done, Finished, Job, Keeper, Options, Outcome, Progress, Sink};
use crate::store::{Store, StoreCatalogue, StoreError, StoreWriter};
use crate::triage::Engine;

use super::{Kept, Refusal, ScanArgs};

/// Opens the store that was asked for, for writing and for looking up.
pub fn open(args: &ScanArgs, engine: &Engine, options: &Options) -> Result<Option<Kept>, Refusal> {
    let Some(path) = &args.store.db else {
        return Ok(None);
    };
    let made_by = made_by(args, engine, options);
    let store = Store::create(path)
        .map_err(|error| format!("--db: {}: {error}", visible(&path.to_string_lossy())))?;
    let catalogue = StoreCatalogue::new(path.clone(), made_by.clone());
    Ok(Some((
        Box::new(StoreWriter::new(store, made_by)),
        Box::new(catalogue),
    )))
}

/// The store again, for the next look at the same directories.
///
/// # Errors
/// Those of the store.
pub fn keeper(args: &ScanArgs, job: &Job) -> io::Result<Box<dyn Keeper>> {
    let kept = open(args, &job.engine, &job.options).map_err(io::Error::other)?;
    kept.map(|(keeper, _)| keeper)
        .ok_or_else(|| io::Error::other("--watch needs --db"))
}

/// Waits until the next look; true when the run was told to stop.
pub fn wait(args: &ScanArgs, stop: &AtomicBool) -> bool {
    let due = Instant::now() + Duration::from_secs(args.store.interval);
    while Instant::now() < due {
        if stop.load(Ordering::Relaxed) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

/// Everything that a stored result depends on besides the file: program, knowledge, options.
fn made_by(args: &ScanArgs, engine: &Engine, options: &Options) -> String {
    let machines = &options.machines;
    let made_by = (
        engine.tool(),
        engine.sha256,
        engine.limits.steps,
        engine.limits.time.map(|time| time.as_millis()),
        engine.knowledge.builds.len(),
        engine.inventory.fingerprint(),
        engine.knowledge.articles.names(),
        format!("{:?}", engine.folders),
        options.unpack.enabled,
        options.unpack.bytes,
        &machines.fixed,
        &machines.mapping,
        machines.pattern.as_ref().map(regex::Regex::as_str),
        &args.analysis.symbols.symbols,
        &args.analysis.symbols.images,
    );
    serde_json::to_string(&made_by).unwrap_or_default()
}

/// Tells a part of one list, scanned with these options, from parts of others: parts together are what one worker
/// would have made. What differs from worker to worker, such as where its symbols are, is not looked at.
pub fn part_of(list: Option<u32>, engine: &Engine, options: &Options) -> Option<u32> {
    let machines = &options.machines;
    let same = (
        list,
        engine.sha256,
        engine.limits.steps,
        engine.knowledge.builds.len(),
        engine.inventory.fingerprint(),
        engine.knowledge.articles.names(),
        options.detail == Detail::Full,
        (options.unpack.enabled, options.unpack.bytes),
        &machines.fixed,
        &machines.mapping,
        machines.pattern.as_ref().map(regex::Regex::as_str),
    );
    let text = serde_json::to_vec(&same).unwrap_or_default();
    let [a, b, c, d, ..] = XxHash3_128::oneshot(&text).to_le_bytes();
    Some(u32::from_le_bytes([a, b, c, d]))
}

/// Judges every stored dump again and hands the results to `sink`, in the order of paths.
///
/// # Errors
/// Those of the store and of the sink.
pub fn refresh(args: &ScanArgs, job: &Job, sink: &mut dyn Sink) -> io::Result<Finished> {
    let mut finished = Finished {
        complete: true,
        ..Finished::default()
    };
    let Some(path) = &args.store.db else {
        return Ok(finished);
    };
    let store = Store::open(path)?;
    let mut progress = Progress::default();
    let mut unreadable = 0;
    store.each_file::<RefreshError>(|file| {
        if job.stop.load(Ordering::Relaxed) {
            finished.complete = false;
            return Ok(());
        }
        // It stays as it is: without its summary nothing says what its facts are of.
        if file.unreadable > 0 {
            unreadable += file.unreadable;
            finished.complete = false;
            return Ok(());
        }
        let records = file
            .records
            .into_iter()
            .map(|(summary, facts)| {
                let judged = facts.and_then(|facts| {
                    let mut record = scan::rejudge(job, &file.relative, &summary, &facts)?;
                    record.facts = Some(facts);
                    Some(record)
                });
                // What failed has no facts: it stays as it is.
                judged.unwrap_or_else(|| scan::Record {
                    line: scan::summary_line(&summary),
                    summary,
                    is_full: false,
                    facts: None,
                })
            })
            .collect();
        sink.take(Done {
            number: progress.done,
            path: file.path,
            relative: file.relative,
            stat: Some(file.stat),
            outcome: Outcome::Records(records),
            known: false,
            part: crate::scan::Part::Whole,
            date: false,
            earlier: file.earlier,
        })
        .map_err(RefreshError::Sink)?;
        progress.done += 1;
        progress.found += 1;
        sink.progress(&progress).map_err(RefreshError::Sink)
    })?;
    finished.progress = progress;
    crate::cli::fleet::say_unreadable(unreadable)?;
    Ok(finished)
}

enum RefreshError {
    Store(StoreError),
    Sink(io::Error),
}

impl From<StoreError> for RefreshError {
    fn from(error: StoreError) -> RefreshError {
        RefreshError::Store(error)
    }
}

impl From<RefreshError> for io::Error {
    fn from(error: RefreshError) -> io::Error {
        match error {
            RefreshError::Store(error) => error.into(),
            RefreshError::Sink(error) => error,
        }
    }
}
