//! The threads of a scan: one that finds files, workers, and the caller's own, which takes results,
//! waits for files that still grow, and replaces a worker whose read never comes back.
//!
//! Threads are not scoped: a read in a dead mount cannot be ended, only left behind.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{
    Receiver, RecvTimeoutError, Sender, TrySendError, bounded, never, select, unbounded,
};

use super::crew::{Crew, Sample};
use super::discover::{What, discover};
use super::order::Order;
use super::pulse::Pulse;
use super::work::{Folders, Worker};
use super::{Done, Item, Job, Outcome, Part, Record, Sink, Skip};
use crate::report::summary::Summary;
use crate::source::{ErrorKind, SourceError, SourceInfo};

/// Files found but not yet taken by a worker.
const QUEUE: usize = 256;
/// Bytes of results that may wait.
const QUEUED: usize = 16 << 20;
/// How far discovery may run ahead of the oldest unfinished file.
const WINDOW: usize = 4096;
/// How often the state of the threads is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long results may gather before they are taken, and files be worked off before more are handed out. Known
/// files come by the ten thousand a second: waking a thread for each one took longer than the look at it.
/// [`QUEUE`] is not worked off in that time.
const GATHER: Duration = Duration::from_millis(1);
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

enum Message {
    Found(Done),
    Listed(u64),
    Done(Arc<Slot>, Done),
}

/// One worker as its watcher sees it.
#[derive(Default)]
struct Slot {
    pulse: Pulse,
    item: Mutex<Option<Item>>,
    abandoned: AtomicBool,
    /// It is to end once its file is done.
    dismissed: AtomicBool,
    /// It ended.
    gone: AtomicBool,
}

impl Slot {
    fn set(&self, item: Option<Item>) {
        *self.item.lock().unwrap_or_else(PoisonError::into_inner) = item;
    }

    fn take(&self) -> Option<Item> {
        self.item
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

struct Threads {
    job: Arc<Job>,
    items: Receiver<Item>,
    again: Receiver<Item>,
    results: Sender<Message>,
    queued: Arc<Queued>,
    folders: Arc<Folders>,
    slots: Vec<Arc<Slot>>,
    crew: Crew,
    /// What workers that ended had waited, and all had by the last sample.
    waited: (Duration, u64),
    sampled: (Duration, u64),
}

/// Bytes of results that wait to be taken. Their number alone bounds nothing: those of hostile files are
/// large.
#[derive(Default)]
struct Queued(AtomicUsize);

impl Queued {
    /// Sends a result once there is room for it; one is let through whatever its size. False when nobody
    /// takes results any more.
    fn send(&self, results: &Sender<Message>, message: Message) -> bool {
        let weight = message.weight();
        while self.0.load(Ordering::Relaxed) > QUEUED {
            thread::sleep(GATHER);
        }
        self.0.fetch_add(weight, Ordering::Relaxed);
        results.send(message).is_ok()
    }

    fn taken(&self, message: &Message) {
        self.0.fetch_sub(message.weight(), Ordering::Relaxed);
    }
}

impl Message {
    /// About as many bytes as it takes, where workers made it.
    fn weight(&self) -> usize {
        match self {
            Message::Done(_, done) => done.weight(),
            Message::Found(_) | Message::Listed(_) => 0,
        }
    }
}

impl Threads {
    fn spawn(&mut self) -> io::Result<()> {
        let slot = Arc::new(Slot::default());
        self.slots.push(Arc::clone(&slot));
        let (job, items, again, results, queued, folders) = (
            Arc::clone(&self.job),
            self.items.clone(),
            self.again.clone(),
            self.results.clone(),
            Arc::clone(&self.queued),
            Arc::clone(&self.folders),
        );
        thread::Builder::new()
            .name("scan-worker".to_owned())
            .spawn(move || {
                let worker = Worker::new(&job, &slot.pulse, &folders);
                work(&job, &slot, worker, items, &again, &results, &queued);
                slot.gone.store(true, Ordering::Release);
            })?;
        Ok(())
    }

    /// More workers, or fewer, by what they did in `time`.
    fn adapt(&mut self, time: Duration) -> io::Result<()> {
        let waited = &mut self.waited;
        self.slots.retain(|slot| {
            let gone = slot.gone.load(Ordering::Acquire);
            if gone {
                *waited = sum(*waited, slot.pulse.waited());
            }
            !gone
        });
        let all = self
            .slots
            .iter()
            .fold(self.waited, |all, slot| sum(all, slot.pulse.waited()));
        let wanted = self.crew.take(Sample {
            time,
            waited: all.0.saturating_sub(self.sampled.0),
            calls: all.1.saturating_sub(self.sampled.1),
            has_more: !self.items.is_empty(),
        });
        self.sampled = all;
        let mut kept = 0;
        for slot in &self.slots {
            let stays = kept < wanted;
            slot.dismissed.store(!stays, Ordering::Relaxed);
            kept += usize::from(stays);
        }
        for _ in kept..wanted {
            // What the system does not give more threads for is done by those there are.
            if let Err(error) = self.spawn() {
                self.slots.pop();
                return match self.slots.is_empty() {
                    true => Err(error),
                    false => Ok(()),
                };
            }
        }
        Ok(())
    }
}

fn sum(a: (Duration, u64), b: (Duration, u64)) -> (Duration, u64) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

/// A worker's life: files that were put off come before new ones.
fn work(
    job: &Job,
    slot: &Arc<Slot>,
    mut worker: Worker<'_>,
    mut items: Receiver<Item>,
    again: &Receiver<Item>,
    results: &Sender<Message>,
    queued: &Queued,
) {
    loop {
        if slot.dismissed.load(Ordering::Relaxed) {
            return;
        }
        let item = match again.try_recv() {
            Ok(item) => item,
            Err(_) => select! {
                recv(again) -> item => match item {
                    Ok(item) => item,
                    Err(_) => return,
                },
                recv(items) -> item => match item {
                    Ok(item) => item,
                    Err(_) => {
                        items = never();
                        continue;
                    }
                },
            },
        };
        if job.stop.load(Ordering::Relaxed) {
            continue;
        }
        slot.set(Some(item.clone()));
        let done = worker.handle(item, &mut |part| {
            // Whoever left this worker behind takes nothing more of it.
            if !slot.abandoned.load(Ordering::Acquire) {
                queued.send(results, Message::Done(Arc::clone(slot), part));
            }
        });
        slot.set(None);
        if slot.abandoned.load(Ordering::Acquire) {
            return;
        }
        if !queued.send(results, Message::Done(Arc::clone(slot), done)) {
            return;
        }
    }
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
        stopped: None,
    };
    run.order = Order::new(run.job.options.sort);
    run.until_done(&results, &walking)
}

/// The finding thread as its watcher sees it.
#[derive(Default)]
struct Walking {
    pulse: Pulse,
    last: Mutex<PathBuf>,
}

/// Finds files until there are no more or the run is told to stop.
fn find(
    job: &Job,
    walking: &Walking,
    items: &Sender<Item>,
    tokens: &Sender<()>,
    results: &Sender<Message>,
) {
    let mut number = 0u64;
    let (discovery, limit) = (&job.options.discovery, job.options.stuck);
    let _ = discover(discovery, limit, &walking.pulse, &mut |found| {
        if job.stop.load(Ordering::Relaxed) || tokens.send(()).is_err() {
            return ControlFlow::Break(());
        }
        walking
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&found.path);
        let outcome = match found.what {
            What::File => None,
            What::Skipped(skip) => Some(Outcome::Skipped(skip)),
            What::Unreadable(message) => Some(Outcome::Unreadable(message)),
        };
        let sent = match outcome {
            None => hand_out(
                items,
                Item {
                    number,
                    path: found.path,
                    relative: found.relative,
                    file: found.file,
                    is_listed: found.is_listed,
                    folder: found.folder,
                    attempt: 0,
                },
            ),
            Some(outcome) => results
                .send(Message::Found(Done {
                    number,
                    path: found.path,
                    relative: found.relative,
                    stat: None,
                    outcome,
                    known: false,
                    part: Part::Whole,
                    date: false,
                    earlier: None,
                }))
                .is_ok(),
        };
        number += 1;
        match sent {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        }
    });
    let _ = results.send(Message::Listed(number));
}

/// Queues a file for the workers, many at once where they are slower; false when there are none any more.
fn hand_out(items: &Sender<Item>, item: Item) -> bool {
    match items.try_send(item) {
        Ok(()) => true,
        Err(TrySendError::Full(item)) => {
            thread::sleep(GATHER);
            items.send(item).is_ok()
        }
        Err(TrySendError::Disconnected(_)) => false,
    }
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
                self.finished.complete = self.stopped.is_none();
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
            Message::Listed(total) => {
                self.total = Some(total);
                self.finished.progress.listed = true;
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
