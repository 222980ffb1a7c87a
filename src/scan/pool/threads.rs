//! The workers' threads: one file after the other, as many threads as the crew wants, and results that wait to be
//! taken bounded by their bytes.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, never, select};

use super::GATHER;
use crate::scan::crew::{Crew, Sample};
use crate::scan::pulse::Pulse;
use crate::scan::work::{Folders, Worker};
use crate::scan::{Done, Item, Job};

/// Bytes of results that may wait.
const QUEUED: usize = 16 << 20;

pub(super) enum Message {
    Found(Done),
    Listed(u64, bool),
    Done(Arc<Slot>, Done),
}

/// One worker as its watcher sees it.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) pulse: Pulse,
    pub(super) item: Mutex<Option<Item>>,
    pub(super) abandoned: AtomicBool,
    /// It is to end once its file is done.
    pub(super) dismissed: AtomicBool,
    /// It ended.
    pub(super) gone: AtomicBool,
}

impl Slot {
    pub(super) fn set(&self, item: Option<Item>) {
        *self.item.lock().unwrap_or_else(PoisonError::into_inner) = item;
    }

    pub(super) fn take(&self) -> Option<Item> {
        self.item
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

pub(super) struct Threads {
    pub(super) job: Arc<Job>,
    pub(super) items: Receiver<Item>,
    pub(super) again: Receiver<Item>,
    pub(super) results: Sender<Message>,
    pub(super) queued: Arc<Queued>,
    pub(super) folders: Arc<Folders>,
    pub(super) slots: Vec<Arc<Slot>>,
    pub(super) crew: Crew,
    /// What workers that ended had waited, and all had by the last sample.
    pub(super) waited: (Duration, u64),
    pub(super) sampled: (Duration, u64),
}

/// Bytes of results that wait to be taken. Their number alone bounds nothing: those of hostile files are
/// large.
#[derive(Default)]
pub(super) struct Queued(AtomicUsize);

impl Queued {
    /// Sends a result once there is room for it; one is let through whatever its size. False when nobody
    /// takes results any more.
    pub(super) fn send(&self, results: &Sender<Message>, message: Message) -> bool {
        let weight = message.weight();
        while self.0.load(Ordering::Relaxed) > QUEUED {
            thread::sleep(GATHER);
        }
        self.0.fetch_add(weight, Ordering::Relaxed);
        results.send(message).is_ok()
    }

    pub(super) fn taken(&self, message: &Message) {
        self.0.fetch_sub(message.weight(), Ordering::Relaxed);
    }
}

impl Message {
    /// About as many bytes as it takes, where workers made it.
    pub(super) fn weight(&self) -> usize {
        match self {
            Message::Done(_, done) => done.weight(),
            Message::Found(_) | Message::Listed(..) => 0,
        }
    }
}

impl Threads {
    pub(super) fn spawn(&mut self) -> io::Result<()> {
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
    pub(super) fn adapt(&mut self, time: Duration) -> io::Result<()> {
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

pub(super) fn sum(a: (Duration, u64), b: (Duration, u64)) -> (Duration, u64) {
    (a.0.saturating_add(b.0), a.1.saturating_add(b.1))
}

/// A worker's life: files that were put off come before new ones.
pub(super) fn work(
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
