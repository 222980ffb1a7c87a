//! The threads of a scan: one that finds files, workers, and the caller's own, which takes results,
//! waits for files that still grow, and replaces a worker whose read never comes back.
//!
//! Threads are not scoped: a read in a dead mount cannot be ended, only left behind.

mod finding;
mod threads;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use self::finding::{Walking, find};
use self::threads::{Message, Slot, Threads};
use super::crew::Crew;
use super::order::Order;
use super::{Done, Item, Job, Outcome, Part, Record, Sink, Skip};
use crate::report::summary::Summary;
use crate::source::{ErrorKind, SourceError, SourceInfo};

/// How long results may gather before they are taken, and files be worked off before more are handed out. Known
/// files come by the ten thousand a second: waking a thread for each one took longer than the look at it.
/// [`QUEUE`] is not worked off in that time.
const GATHER: Duration = Duration::from_millis(1);
/// Files found but not yet taken by a worker.
const QUEUE: usize = 256;
/// How far discovery may run ahead of the oldest unfinished file.
const WINDOW: usize = 4096;
/// How often the state of the threads is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long files in work may take after the run was told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// The state of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Entries found so far.
    pub found: u64,
    /// Entries dealt with.
    pub done: u64,
    /// Everything has been found.
    pub listed: bool,
    /// Entries answered from a store.
    pub known: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Finished {
    /// False when it was told to stop, or finding files got stuck.
    pub complete: bool,
    /// Workers that never came back.
    pub stuck: u64,
    /// The state at the end.
    pub progress: Progress,
}

/// Runs a scan: every entry goes to `sink` exactly once.
///
/// # Errors
/// Those of the sink, and those of starting threads.
pub fn run(job: &Arc<Job>, sink: &mut dyn Sink) -> io::Result<Finished> {
    let job = Arc::clone(job);
    let (item_tx, items) = bounded(QUEUE);
    let (again_tx, again) = unbounded();
    let (results_tx, results) = bounded(QUEUE);
    let (token_tx, tokens) = bounded(WINDOW);
    let walking = Arc::new(Walking::default());
    {
        let (job, results, walking) = (Arc::clone(&job), results_tx.clone(), Arc::clone(&walking));
        thread::Builder::new()
            .name("scan-discovery".to_owned())
            .spawn(move || find(&job, &walking, &item_tx, &token_tx, &results))?;
    }
    let mut threads = Threads {
        job: Arc::clone(&job),
        items,
        again,
        results: results_tx,
        queued: Arc::default(),
        folders: Arc::default(),
        slots: Vec::new(),
        crew: Crew::new(job.options.jobs),
        waited: Default::default(),
        sampled: Default::default(),
    };
    threads.adapt(Duration::ZERO)?;
    let mut run = Run {
        job,
        threads,
        order: Order::new(false),
        again: again_tx,
        tokens,
        deferred: Vec::new(),
        begun: BTreeSet::new(),
        sink,
        finished: Finished::default(),
        total: None,
        whole: false,
        stopped: None,
    };
    run.order = Order::new(run.job.options.sort);
    run.until_done(&results, &walking)
}

struct Run<'a> {
    job: Arc<Job>,
    threads: Threads,
    order: Order,
    again: Sender<Item>,
    tokens: Receiver<()>,
    deferred: Vec<(Instant, Item)>,
    /// Entries of which a part came, and not the last one.
    begun: BTreeSet<u64>,
    sink: &'a mut dyn Sink,
    finished: Finished,
    total: Option<u64>,
    /// Discovery came to its end, and was not told to stop before it.
    whole: bool,
    stopped: Option<Instant>,
}

impl Run<'_> {
    fn until_done(
        mut self,
        results: &Receiver<Message>,
        walking: &Walking,
    ) -> io::Result<Finished> {
        let mut ticked = Instant::now();
        loop {
            match results.recv_timeout(TICK) {
                Ok(message) => {
                    self.take(message)?;
                    for message in results.try_iter().take(QUEUE) {
                        self.take(message)?;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self
                .total
                .is_some_and(|total| self.finished.progress.done >= total)
            {
                self.finished.complete = self.whole && self.stopped.is_none();
                break;
            }
            let since = ticked.elapsed();
            if since >= TICK {
                ticked = Instant::now();
                self.tick(walking)?;
                self.threads.adapt(since)?;
            }
            if self.stopped.is_some_and(|since| self.is_over(since)) {
                break;
            }
            thread::sleep(GATHER);
        }
        for done in std::mem::replace(&mut self.order, Order::new(false)).rest() {
            self.sink.take(done?)?;
        }
        self.sink.progress(&self.finished.progress)?;
        Ok(self.finished)
    }

    /// After a stop: nothing is in work any more, or it took too long.
    fn is_over(&self, since: Instant) -> bool {
        let busy = self.threads.slots.iter().any(|slot| {
            slot.item
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_some()
        });
        since.elapsed() > GRACE || (!busy && since.elapsed() > TICK * 2)
    }

    fn take(&mut self, message: Message) -> io::Result<()> {
        self.threads.queued.taken(&message);
        match message {
            Message::Listed(total, whole) => {
                self.total = Some(total);
                self.whole = whole;
                self.finished.progress.listed = whole;
                self.finished.progress.found = total;
                Ok(())
            }
            Message::Found(done) => self.done(done),
            Message::Done(slot, done) => {
                if slot.abandoned.load(Ordering::Acquire) {
                    return Ok(());
                }
                if !matches!(done.outcome, Outcome::Later) {
                    return self.done(done);
                }
                self.put_off(done);
                Ok(())
            }
        }
    }

    fn put_off(&mut self, done: Done) {
        let attempt = self
            .deferred
            .iter()
            .find(|(_, item)| item.number == done.number)
            .map_or(0, |(_, item)| item.attempt);
        let wait = self.job.options.settle.wait;
        let due = Instant::now() + wait.saturating_mul(1 << attempt.min(8));
        self.deferred.retain(|(_, item)| item.number != done.number);
        self.deferred.push((
            due,
            Item {
                number: done.number,
                path: done.path,
                relative: done.relative,
                // Whatever is there by then.
                file: None,
                is_listed: false,
                folder: None,
                attempt: attempt + 1,
            },
        ));
    }

    fn done(&mut self, mut done: Done) -> io::Result<()> {
        if !done.part.ends() {
            self.begun.insert(done.number);
            return self.hand_over(done);
        }
        self.begun.remove(&done.number);
        self.deferred.retain(|(_, item)| item.number != done.number);
        let _ = self.tokens.try_recv();
        self.finished.progress.done += 1;
        self.finished.progress.found = self
            .finished
            .progress
            .found
            .max(self.finished.progress.done);
        if done.known {
            self.finished.progress.known += 1;
        }
        if let Outcome::Later = done.outcome {
            done.outcome = Outcome::Skipped(Skip::new("growing", "it kept changing"));
        }
        self.hand_over(done)
    }

    fn hand_over(&mut self, done: Done) -> io::Result<()> {
        let (order, sink) = (&mut self.order, &mut *self.sink);
        order.add(done, &mut |done| sink.take(done))
    }

    fn tick(&mut self, walking: &Walking) -> io::Result<()> {
        if self.stopped.is_none() && self.job.stop.load(Ordering::Relaxed) {
            self.stopped = Some(Instant::now());
        }
        let now = Instant::now();
        let never = now + Duration::from_secs(86_400 * 365);
        for (due, item) in &mut self.deferred {
            if *due <= now {
                // It stays on record, for its number of tries, until it is done.
                *due = never;
                let _ = self.again.send(item.clone());
            }
        }
        self.leave_stuck_workers()?;
        let idle = self.threads.slots.iter().all(|slot| {
            slot.item
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_none()
        });
        if self.total.is_none()
            && idle
            && self.deferred.is_empty()
            && walking.pulse.waiting() > self.job.options.stuck
        {
            // Listing a directory does not come back: what was found is done, the rest is unknown.
            let path = walking
                .last
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let number = self.finished.progress.done;
            self.done(Done {
                number,
                relative: PathBuf::new(),
                path,
                stat: None,
                outcome: Outcome::Unreadable(
                    "listing the directory after this one does not come back".to_owned(),
                ),
                known: false,
                part: Part::Whole,
                date: false,
                earlier: None,
            })?;
            self.finished.stuck += 1;
            self.total = Some(number);
            self.stopped = Some(now);
        }
        self.sink.progress(&self.finished.progress)
    }

    /// Reports files whose read does not come back, and puts new workers in place.
    fn leave_stuck_workers(&mut self) -> io::Result<()> {
        let limit = self.job.options.stuck;
        let stuck: Vec<Arc<Slot>> = self
            .threads
            .slots
            .iter()
            .filter(|slot| slot.pulse.waiting() > limit)
            .map(Arc::clone)
            .collect();
        for slot in stuck {
            slot.abandoned.store(true, Ordering::Release);
            self.threads
                .slots
                .retain(|other| !Arc::ptr_eq(other, &slot));
            let Some(item) = slot.take() else {
                continue;
            };
            self.finished.stuck += 1;
            self.threads.spawn()?;
            let outcome = Outcome::Records(vec![self.stuck_record(&item)]);
            self.done(Done {
                number: item.number,
                path: item.path,
                relative: item.relative,
                stat: None,
                outcome,
                known: false,
                part: match self.begun.contains(&item.number) {
                    true => Part::Last,
                    false => Part::Whole,
                },
                date: false,
                earlier: None,
            })?;
        }
        Ok(())
    }

    fn stuck_record(&self, item: &Item) -> Record {
        let error = SourceError::new(
            ErrorKind::Timeout,
            format!(
                "reading it did not come back within {} s: is the file server there?",
                self.job.options.stuck.as_secs()
            ),
        );
        let info = SourceInfo::of_path(&item.path);
        let report = self.job.engine.unreadable(&info, &error).report;
        let machine = self.job.options.machines.name(&item.relative, None);
        let summary = Summary::of(report, machine);
        Record {
            line: super::work::line(&summary),
            summary,
            is_full: false,
            facts: None,
        }
    }
}
